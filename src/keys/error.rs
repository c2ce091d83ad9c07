//! What can go wrong with credentials, told to the caller in a sentence that helps.

use jiff::Timestamp;

use crate::domain::wording::per_window;
use crate::domain::{BudgetError, BudgetId, BudgetScope, IdError, KeyId, Window};
use crate::store::SettingsError;

use super::password::{Busy, PasswordProblem};
use super::pepper::PepperError;
use super::tables::RowError;

/// Why a presented credential opens nothing.
///
/// The variants have the same message, so that an answer doesn't tell whether a guess was near; logs and metrics take the
/// difference from [`KeyError::reason`]. Only whoever holds a key is told that its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum KeyError {
    /// It doesn't have the form of a credential.
    #[error("{}", KeyError::MESSAGE)]
    Malformed,
    /// It was cut or mistyped.
    #[error("{}", KeyError::MESSAGE)]
    Checksum,
    /// Nobody has it.
    #[error("{}", KeyError::MESSAGE)]
    Unknown,
    /// Its time is over.
    #[error("this credential expired on {at}: ask an admin for a new one")]
    Expired {
        /// When that was.
        at: Timestamp,
    },
    /// It was taken back.
    #[error("{}", KeyError::MESSAGE)]
    Revoked,
}

impl KeyError {
    const MESSAGE: &str = "this credential is not valid: check that it was copied whole and is still in force, or ask an admin for a new one";

    /// The word for logs and metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Checksum => "checksum",
            Self::Unknown => "unknown",
            Self::Expired { .. } => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// Why nobody was logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Name or password is wrong; which of them isn't told.
    #[error("the user name or the password is wrong: try again, or run `tollgate admin reset-password` on the server")]
    Wrong,
    /// Too many are logging in at this moment.
    #[error("too many people are logging in at this moment: try again in a few seconds")]
    Busy,
}

impl From<Busy> for LoginError {
    fn from(Busy: Busy) -> Self {
        Self::Busy
    }
}

/// Why keys, users, sessions, tokens or budgets can't be changed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A field has a value that it can't have.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field, as the management API names it.
        field: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Two live things can't have one name.
    #[error("the name {name:?} is taken by another {what}: choose another name, or remove that one first")]
    NameTaken {
        /// `virtual key`, `team`, `user` or `admin token`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Nothing has this id or name.
    #[error("there is no {what} {name:?}: list what there is to find the right one")]
    NotFound {
        /// `virtual key`, `team`, `budget`, `user` or `admin token`.
        what: &'static str,
        /// What was asked for.
        name: String,
    },
    /// There is no such user.
    #[error("there is no user {name:?}: {}", users_in_words(known))]
    UnknownUser {
        /// What was asked for.
        name: String,
        /// The names of those there are.
        known: Vec<String>,
    },
    /// A key that was revoked or has expired can't come back.
    #[error("the virtual key {0} is not in force any more: create a new one")]
    KeyNotLive(KeyId),
    /// At most one budget per scope and window.
    #[error("there is a budget of {scope} {} already, {id}: change that one", per_window(*window))]
    BudgetExists {
        /// Whom it binds.
        scope: BudgetScope,
        /// Its window.
        window: Window,
        /// The one that is there.
        id: BudgetId,
    },
    /// Somebody else was first.
    #[error("this {what} was changed meanwhile by someone else: read it again, and make the change to what it is now")]
    ChangedMeanwhile {
        /// `virtual key`, `team` or `budget`.
        what: &'static str,
    },
    /// A team with keys, budgets or people can't go.
    #[error("the team {name:?} can't be removed yet: it has {} - revoke its keys or give them another team, remove its budgets, and give its people another team first", holdings(*keys, *budgets, *people))]
    TeamInUse {
        /// Its name.
        name: String,
        /// Its live keys.
        keys: usize,
        /// Its own budgets.
        budgets: usize,
        /// Who is in it.
        people: usize,
    },
    /// Without an admin nobody could let anybody in again.
    #[error("{0:?} is the only admin who can log in: make another admin first")]
    LastAdmin(String),
    /// A budget that can't be.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// A password that can't be.
    #[error(transparent)]
    Password(#[from] PasswordProblem),
    /// The first admin is there already.
    #[error("an admin exists already: log in, or run `tollgate admin reset-password` on the server")]
    SetUpAlready,
    /// The setup token is wrong, used or too old.
    #[error(
        "this setup link is not valid any more: restart the server, which prints a fresh one while there is no admin"
    )]
    SetupToken,
    /// The reset link is wrong, used or too old.
    #[error("this link is not valid any more: ask an admin for another one, or run `tollgate admin reset-password`")]
    ResetLink,
    /// Too many passwords are hashed at this moment.
    #[error("the server is busy with other passwords: try again in a few seconds")]
    Busy,
    /// A bound that keeps the settings small.
    #[error("there are {max} {what} already, which is the most that are kept: remove some first")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// A stored row that makes no sense.
    #[error(
        "the settings hold a row that can't be read ({table} {row:?}): restore the settings from a backup; nothing was changed"
    )]
    Damaged {
        /// The table.
        table: &'static str,
        /// The row's key.
        row: String,
        /// What is wrong with it.
        #[source]
        source: RowError,
    },
    /// The settings file failed.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

impl KeysError {
    /// Whether another request would do better: the caller asked for something that can't be.
    pub const fn is_callers_fault(&self) -> bool {
        match self {
            Self::Invalid { .. }
            | Self::NameTaken { .. }
            | Self::NotFound { .. }
            | Self::UnknownUser { .. }
            | Self::KeyNotLive(_)
            | Self::BudgetExists { .. }
            | Self::ChangedMeanwhile { .. }
            | Self::TeamInUse { .. }
            | Self::LastAdmin(_)
            | Self::Budget(_)
            | Self::Password(_)
            | Self::SetUpAlready
            | Self::SetupToken
            | Self::ResetLink
            | Self::TooMany { .. } => true,
            Self::Busy | Self::Damaged { .. } | Self::Settings(_) => false,
        }
    }

    pub(super) fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid { field, problem: problem.into() }
    }

    pub(super) fn not_found(what: &'static str, name: &str) -> Self {
        Self::NotFound { what, name: name.chars().take(64).collect() }
    }
}

fn users_in_words(known: &[String]) -> String {
    match known {
        [] => "there is none yet, and the link that the server printed at its start makes the first".to_owned(),
        known => format!("there is {}", known.join(", ")),
    }
}

impl From<Busy> for KeysError {
    fn from(Busy: Busy) -> Self {
        Self::Busy
    }
}

/// Why the keys can't be opened at the start.
#[derive(Debug, thiserror::Error)]
pub enum OpenKeysError {
    /// The server's own secret is missing or foreign.
    #[error(transparent)]
    Pepper(#[from] PepperError),
    /// What is stored can't be read.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

impl From<SettingsError> for OpenKeysError {
    fn from(error: SettingsError) -> Self {
        Self::Keys(error.into())
    }
}

/// Checks a text of people's choice: 1 to `max` characters, none of them a control character, no space at the ends.
pub(super) fn checked_text(field: &'static str, text: &str, max: usize) -> Result<String, KeysError> {
    match crate::domain::Name::new(text, max) {
        Err(IdError::Empty) => Err(KeysError::invalid(field, format!("give 1 to {max} characters"))),
        Err(IdError::TooLong(..)) => Err(KeysError::invalid(field, format!("give at most {max} characters"))),
        Err(_) => Err(KeysError::invalid(field, "leave out line breaks and other control characters")),
        Ok(_) if text.trim() != text => Err(KeysError::invalid(field, "leave out the spaces at the ends")),
        Ok(_) => Ok(text.to_owned()),
    }
}

/// What a team has, in words: `2 live keys and 1 budget`.
fn holdings(keys: usize, budgets: usize, people: usize) -> String {
    let counted = |count: usize, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        _ => Some(format!("{count} {many}")),
    };
    let parts = [
        counted(keys, "live key", "live keys"),
        counted(budgets, "budget", "budgets"),
        counted(people, "person", "people"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}
