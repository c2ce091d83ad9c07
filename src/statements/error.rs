//! Why there is no reading, and what to do about it. Neither keys nor addresses are repeated.

use super::account::Company;

/// Why a provider's reports could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// No connection, or it broke.
    #[error("no answer from its reports: {detail}")]
    Unreachable {
        /// The innermost cause.
        detail: String,
    },
    /// The key opens nothing.
    #[error("it doesn't know the admin key (401): {}", how_to_get_a_key(company))]
    UnknownKey {
        /// Whose key it should be.
        company: &'static str,
    },
    /// The key is of another kind, or may not read reports.
    #[error("the key may not read its reports (403): {}", how_to_get_a_key(company))]
    WrongKey {
        /// Whose key it should be.
        company: &'static str,
    },
    /// It wants to be asked later, and was asked often enough.
    #[error("it has too many requests for now (429): try again in {seconds} s")]
    Limited {
        /// When.
        seconds: u64,
    },
    /// It refuses the question.
    #[error("it refuses the question with status {status}: {text}")]
    Refused {
        /// Its status.
        status: u16,
        /// The beginning of what it says.
        text: String,
    },
    /// It fails.
    #[error("it fails with status {status}: try again later")]
    Failing {
        /// Its status.
        status: u16,
    },
    /// What came is no report.
    #[error("its answer is no report that is understood here: {detail}")]
    Garbage {
        /// What is wrong with it.
        detail: String,
    },
}

fn how_to_get_a_key(company: &'static str) -> &'static str {
    if company == Company::Anthropic.name() {
        "admin_api_key has to be an Admin API key (sk-ant-admin…), which an admin of the organization makes in the Claude Console; keys for calls don't work there"
    } else {
        "admin_api_key has to be an admin key (sk-admin-…) with the right to read usage, which an owner of the organization makes under Settings, Admin keys; keys for calls don't work there"
    }
}

/// Why a file was not taken: nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// No CSV.
    #[error("line {line}: {problem}; nothing was imported")]
    Line {
        /// Which one, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// Not a file that is known here.
    #[error(
        "the file's columns are {found}; expected are those of one of these exports: {expected}. Nothing was imported"
    )]
    Unknown {
        /// Its columns.
        found: String,
        /// The columns of every file that is known.
        expected: String,
    },
    /// A header, and nothing that tells a day.
    #[error("the file has no row with a day in it; nothing was imported")]
    Empty,
    /// The days are too many.
    #[error("{0}; nothing was imported")]
    Days(#[from] super::DaysError),
    /// Another company's file.
    #[error(
        "this is a file of {company}, and provider {provider} is not: name the right one with --provider; nothing was imported"
    )]
    OtherCompany {
        /// Whose file it is.
        company: &'static str,
        /// The provider that it was meant for.
        provider: String,
    },
}
