//! What can go wrong upstream: whose fault it is, and whether another attempt may help.

use std::time::Duration;

use crate::domain::Secret;

use super::credentials::{Away, Cause, Refusal};
use super::words::{no_credential, no_message, redirected, timed_out, unauthorized};

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// No connection: refused, reset before an answer, no address, a certificate that is not accepted.
    #[error("can't connect to {provider}: {detail}")]
    Connect {
        /// The configured provider.
        provider: String,
        /// What the network says.
        detail: String,
    },
    /// The connection was lost after the request went out and before an answer began.
    #[error("{provider} closed the connection without an answer: {detail}")]
    Lost {
        /// The configured provider.
        provider: String,
        /// What the network says.
        detail: String,
    },
    /// One of the time limits ran out.
    #[error("{}", timed_out(provider, *limit, *after))]
    Timeout {
        /// The configured provider.
        provider: String,
        /// Which limit.
        limit: TimeLimit,
        /// How long it is.
        after: Duration,
    },
    /// The provider limits the rate of our account.
    #[error("{provider} limits the rate: {message}")]
    RateLimited {
        /// The configured provider.
        provider: String,
        /// The provider's words.
        message: String,
        /// Whether this request alone is more than the limit allows: it would be refused at any time, and smaller ones are not.
        is_of_request: bool,
        /// When it says to come back.
        retry_after: Option<Duration>,
    },
    /// The provider's account has no money left.
    #[error("{provider} says that its account is out of money: {message}")]
    OutOfFunds {
        /// The configured provider.
        provider: String,
        /// Its status: 402 or 429.
        status: u16,
        /// The provider's words.
        message: String,
    },
    /// The provider is too busy.
    #[error("{provider} is overloaded: {message}")]
    Overloaded {
        /// The configured provider.
        provider: String,
        /// Its status: 503 or 529.
        status: u16,
        /// The provider's words.
        message: String,
        /// When it says to come back.
        retry_after: Option<Duration>,
    },
    /// The provider failed.
    #[error("{provider} failed with status {status}: {message}")]
    Broken {
        /// The configured provider.
        provider: String,
        /// Its status.
        status: u16,
        /// The provider's words.
        message: String,
        /// When it says to come back.
        retry_after: Option<Duration>,
    },
    /// The provider doesn't accept the gateway's own key.
    #[error("{}", unauthorized(provider, *status, *refusal))]
    Unauthorized {
        /// The configured provider.
        provider: String,
        /// Its status: 401 or 403.
        status: u16,
        /// What the provider itself says of the key; nothing where it is a firewall that stands before it that refuses, perhaps for
        /// what was asked.
        refusal: Option<Refusal>,
    },
    /// None of the provider's keys may be used at the moment, so nothing was sent.
    #[error("{}", no_credential(provider, away))]
    NoCredential {
        /// The configured provider.
        provider: String,
        /// Why, and until when.
        away: Away,
    },
    /// The provider finds fault with the request; another would too.
    #[error("{message}")]
    Rejected {
        /// The configured provider.
        provider: String,
        /// Its status.
        status: u16,
        /// The provider's words.
        message: String,
        /// The provider's kind of error.
        kind: Option<String>,
        /// The field that it names.
        param: Option<String>,
        /// Its code.
        code: Option<String>,
    },
    /// The provider points elsewhere, and our key and a client's words go to no place that the settings don't name.
    #[error("{}", redirected(provider, *status, to.as_deref()))]
    Redirected {
        /// The configured provider.
        provider: String,
        /// Its status.
        status: u16,
        /// The place that it points to, without credentials.
        to: Option<String>,
    },
    /// The answer is not of the dialect.
    #[error("{provider} sent an answer that can't be read: {detail}")]
    Garbage {
        /// The configured provider.
        provider: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The answer began and stopped before its end.
    #[error("the answer of {provider} broke off: {detail}")]
    BrokeOff {
        /// The configured provider.
        provider: String,
        /// How.
        detail: String,
    },
    /// The stream carried an error record.
    #[error("{provider} failed while answering: {message}")]
    StreamError {
        /// The configured provider.
        provider: String,
        /// The provider's words.
        message: String,
        /// True where the record says that the provider is overloaded.
        overloaded: bool,
    },
    /// Nobody needed the answer any more, so that the attempt was given up: that says nothing of the provider.
    #[error("{provider} was given up because {}", why.in_words())]
    GivenUp {
        /// The configured provider.
        provider: String,
        /// Why nobody needed it.
        why: Unneeded,
        /// Whether the request had begun to go out.
        sent: bool,
    },
    /// As many calls run at the provider as are allowed.
    #[error("{provider} has as many calls running as its concurrent_requests_max allows")]
    Crowded {
        /// The configured provider.
        provider: String,
    },
    /// The circuit breaker is open.
    #[error("{provider} is not called for the moment because it kept failing")]
    CircuitOpen {
        /// The configured provider.
        provider: String,
        /// When it is tried again.
        retry_after: Duration,
    },
}

/// Why nobody needs an attempt's answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unneeded {
    /// Another attempt of its call answered first.
    Overtaken,
    /// The client has left.
    ClientLeft,
    /// The server ends what still runs.
    Stopping,
}

impl Unneeded {
    fn in_words(self) -> &'static str {
        match self {
            Self::Overtaken => "another deployment answered first",
            Self::ClientLeft => "its client has left",
            Self::Stopping => "the server is stopping; try again in a few seconds",
        }
    }

    /// The stable code.
    fn code(self) -> &'static str {
        match self {
            Self::Overtaken => "cancelled",
            Self::ClientLeft => "client_left",
            Self::Stopping => "stopping",
        }
    }
}

/// The time limits of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLimit {
    /// Until the connection stands.
    Connect,
    /// Until the first content of a stream.
    FirstToken,
    /// Between two pieces of an answer.
    Idle,
    /// From start to end.
    Total,
    /// The same, as the client asked for with the call.
    Call,
    /// From start to end, when the request had not been sent yet.
    Unsent,
}

impl std::fmt::Display for TimeLimit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Connect => "connect",
            Self::FirstToken => "first_token",
            Self::Idle => "idle",
            Self::Total | Self::Unsent => "total",
            Self::Call => "call's own",
        })
    }
}

/// What may be done about a failed attempt, as long as nothing has gone out to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// The next deployment may be tried, or this one again; not before the time given, where one is.
    Retry(Option<Duration>),
    /// The next deployment may be tried, but not this one again.
    FallBack,
    /// Every deployment would refuse it.
    GiveUp,
}

/// What a failed attempt may have cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    /// Nothing: it was not taken, or refused.
    Nothing,
    /// Perhaps everything: it was taken, and its end was never seen.
    Perhaps,
    /// What had come of the answer, and its input.
    WhatCame,
}

impl ProviderError {
    /// No `_` arm: a new failure has to say here whether another attempt may help.
    pub fn recovery(&self) -> Recovery {
        match self {
            Self::Connect { .. } | Self::Lost { .. } | Self::StreamError { .. } => Recovery::Retry(None),
            Self::RateLimited { is_of_request: true, .. } => Recovery::FallBack,
            Self::RateLimited { retry_after, .. }
            | Self::Overloaded { retry_after, .. }
            | Self::Broken { retry_after, .. } => Recovery::Retry(*retry_after),
            // Waiting as long again would double what the caller waits; another provider may be quicker.
            Self::Timeout { limit: TimeLimit::Connect, .. } => Recovery::Retry(None),
            Self::Timeout { limit: TimeLimit::FirstToken | TimeLimit::Idle, .. } => Recovery::FallBack,
            // What broke off may have been paid for; the same again would be paid for again.
            Self::OutOfFunds { .. }
            | Self::Unauthorized { .. }
            | Self::BrokeOff { .. }
            | Self::Redirected { .. }
            | Self::Garbage { .. }
            | Self::NoCredential { .. }
            | Self::Crowded { .. }
            | Self::CircuitOpen { .. } => Recovery::FallBack,
            Self::Timeout { limit: TimeLimit::Total | TimeLimit::Call | TimeLimit::Unsent, .. }
            | Self::Rejected { .. }
            | Self::GivenUp { .. } => Recovery::GiveUp,
        }
    }

    /// What may be owed for the attempt.
    pub fn owed(&self) -> Owed {
        match self {
            Self::Connect { .. }
            | Self::Timeout { limit: TimeLimit::Connect | TimeLimit::Unsent, .. }
            | Self::RateLimited { .. }
            | Self::OutOfFunds { .. }
            | Self::Overloaded { .. }
            | Self::Broken { .. }
            | Self::Unauthorized { .. }
            | Self::Redirected { .. }
            | Self::NoCredential { .. }
            | Self::Rejected { .. }
            | Self::GivenUp { sent: false, .. }
            | Self::Crowded { .. }
            | Self::CircuitOpen { .. } => Owed::Nothing,
            Self::Lost { .. } | Self::Timeout { .. } | Self::Garbage { .. } => Owed::Perhaps,
            Self::BrokeOff { .. } | Self::StreamError { .. } | Self::GivenUp { sent: true, .. } => Owed::WhatCame,
        }
    }

    /// Whether the request was refused because it is longer than the model's context, in the words of either dialect.
    pub fn is_context_too_long(&self) -> bool {
        match self {
            Self::Rejected { code, message, .. } => {
                code.as_deref() == Some("context_length_exceeded") || message.starts_with("prompt is too long")
            }
            _ => false,
        }
    }

    /// A 404 without a reason is most often that of an address, not of a model: says which address it was.
    #[must_use]
    pub fn not_found_at(mut self, path: &str) -> Self {
        if let Self::Rejected { provider, status: status @ 404, message, code, .. } = &mut self {
            let is_bare = *message == no_message(*status)
                || message.trim_matches(|c: char| !c.is_alphanumeric()).eq_ignore_ascii_case("not found");
            if is_bare && code.is_none() {
                *message = format!(
                    "{provider} answered 404 at {path} and gave no reason: if the model is there, its base_url in tollgate.toml is wrong"
                );
            }
        }
        self
    }

    /// Whether the request was refused because there is no such model, as far as the provider's words tell.
    pub fn is_model_not_found(&self) -> bool {
        match self {
            Self::Rejected { status: 404, message, kind, .. } => {
                let is_told = kind.as_deref() == Some("not_found_error") || message.to_lowercase().contains("model");
                is_told && !message.contains(" and gave no reason: ")
            }
            _ => false,
        }
    }

    /// Whether the provider's health is to blame: a request that is refused says nothing about it, nor does a client that
    /// gave it too little time.
    pub fn is_ill_health(&self) -> bool {
        match self {
            Self::Timeout { limit: TimeLimit::Call | TimeLimit::Unsent, .. } => false,
            Self::Connect { .. }
            | Self::Lost { .. }
            | Self::Timeout { .. }
            | Self::Overloaded { .. }
            | Self::Broken { .. }
            | Self::Redirected { .. }
            | Self::Garbage { .. }
            | Self::BrokeOff { .. }
            | Self::StreamError { .. } => true,
            Self::RateLimited { .. }
            | Self::OutOfFunds { .. }
            | Self::Unauthorized { .. }
            | Self::NoCredential { .. }
            | Self::Rejected { .. }
            | Self::GivenUp { .. }
            | Self::Crowded { .. }
            | Self::CircuitOpen { .. } => false,
        }
    }

    /// The error without the secrets that a provider's words may repeat: they go to clients and into the log.
    #[must_use]
    pub fn without(mut self, secrets: &[Secret<String>]) -> Self {
        let (text, more) = match &mut self {
            Self::Connect { detail, .. }
            | Self::Lost { detail, .. }
            | Self::Garbage { detail, .. }
            | Self::BrokeOff { detail, .. } => (detail, [None, None, None]),
            Self::RateLimited { message, .. }
            | Self::OutOfFunds { message, .. }
            | Self::Overloaded { message, .. }
            | Self::Broken { message, .. }
            | Self::StreamError { message, .. } => (message, [None, None, None]),
            Self::Rejected { message, kind, param, code, .. } => {
                (message, [kind.as_mut(), param.as_mut(), code.as_mut()])
            }
            Self::Redirected { to: Some(to), .. } => (to, [None, None, None]),
            // In our own words, which name no key.
            Self::Redirected { to: None, .. }
            | Self::Timeout { .. }
            | Self::Unauthorized { .. }
            | Self::GivenUp { .. }
            | Self::NoCredential { .. }
            | Self::Crowded { .. }
            | Self::CircuitOpen { .. } => return self,
        };
        for text in std::iter::once(text).chain(more.into_iter().flatten()) {
            for secret in secrets.iter().filter(|secret| !secret.expose().is_empty()) {
                *text = text.replace(secret.expose().as_str(), "***");
            }
        }
        self
    }

    /// The stable code in entries, metrics and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "upstream_connect",
            Self::Lost { .. } => "upstream_lost",
            Self::Timeout { limit: TimeLimit::Connect, .. } => "timeout_connect",
            Self::Timeout { limit: TimeLimit::FirstToken, .. } => "timeout_first_token",
            Self::Timeout { limit: TimeLimit::Idle, .. } => "timeout_idle",
            Self::Timeout { limit: TimeLimit::Total | TimeLimit::Call | TimeLimit::Unsent, .. } => "timeout_total",
            Self::RateLimited { .. } => "upstream_rate_limited",
            Self::OutOfFunds { .. } => "upstream_out_of_funds",
            Self::Overloaded { .. } => "upstream_overloaded",
            Self::Broken { .. } => "upstream_error",
            Self::Unauthorized { refusal: Some(_), .. } => "upstream_unauthorized",
            Self::Unauthorized { refusal: None, .. } => "upstream_blocked",
            Self::Redirected { .. } => "upstream_redirected",
            Self::NoCredential { away, .. } => match away.cause {
                Cause::Limited => "upstream_rate_limited",
                Cause::Refused(refusal) => refusal.code(),
            },
            Self::Rejected { .. } => "upstream_rejected",
            Self::Garbage { .. } => "upstream_garbage",
            Self::BrokeOff { .. } => "stream_broke_off",
            Self::StreamError { .. } => "stream_error",
            Self::GivenUp { why, .. } => why.code(),
            Self::Crowded { .. } => "provider_crowded",
            Self::CircuitOpen { .. } => "circuit_open",
        }
    }

    /// The code of the attempt, in its entry. A call that took too long has one word for its client, but an attempt that ran
    /// into the client's own limit, or for which no time was left, was not failed by its provider.
    pub fn attempt_code(&self) -> &'static str {
        match self {
            Self::Timeout { limit: TimeLimit::Call | TimeLimit::Unsent, .. } => "timeout_call",
            error => error.code(),
        }
    }

    /// The upstream's HTTP status, where it gave one.
    pub fn status(&self) -> u16 {
        match self {
            Self::Broken { status, .. }
            | Self::Unauthorized { status, .. }
            | Self::OutOfFunds { status, .. }
            | Self::Overloaded { status, .. }
            | Self::Redirected { status, .. }
            | Self::Rejected { status, .. } => *status,
            Self::RateLimited { .. } => 429,
            Self::Garbage { .. } | Self::BrokeOff { .. } | Self::StreamError { .. } => 200,
            Self::Connect { .. }
            | Self::Lost { .. }
            | Self::Timeout { .. }
            | Self::NoCredential { .. }
            | Self::GivenUp { .. }
            | Self::Crowded { .. }
            | Self::CircuitOpen { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_404_says_where_it_came_from_and_one_with_a_reason_is_left_alone() {
        let check = |message: &str, kind: Option<&str>, is_model: bool, expected: &str| {
            let rejected = ProviderError::Rejected {
                provider: "p".to_owned(),
                status: 404,
                message: message.to_owned(),
                kind: kind.map(str::to_owned),
                param: None,
                code: None,
            };
            let told = rejected.not_found_at("/api/v1/chat/completions");
            assert_eq!((told.to_string().contains(expected), told.is_model_not_found()), (true, is_model), "{told}");
        };
        let bare = "p answered 404 at /api/v1/chat/completions and gave no reason";
        check(&no_message(404), None, false, bare);
        check("\"Not Found\"", None, false, bare);
        check("Not found.", Some("not_found_error"), false, bare);
        check("model 'x' not found, try pulling it first", None, true, "try pulling");
        check("model: claude-x", Some("not_found_error"), true, "model: claude-x");
        check("No such File object: file-1", None, false, "No such File");
    }

    #[test]
    fn a_message_that_repeats_our_key_loses_it() {
        let told = ProviderError::Rejected {
            provider: "p".to_owned(),
            status: 400,
            message: "Incorrect API key provided: sk-secret.".to_owned(),
            kind: None,
            param: Some("sk-secret".to_owned()),
            code: None,
        };
        let told = format!("{:?}", told.without(&[Secret::new("sk-secret".to_owned()), Secret::new(String::new())]));
        assert!(!told.contains("sk-secret") && told.contains("provided: ***."), "{told}");
    }
}
