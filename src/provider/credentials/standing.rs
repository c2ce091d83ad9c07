//! How credentials do, as people read it: by their place in the settings and the end of the key, never by more.

use std::fmt;
use std::time::Instant;

use crate::domain::Secret;

use super::condition::{Condition, Refusal};
use super::scope::Scope;

/// A key that is shorter is not shown by its end: too much of it would be known.
const SHOWN_CHARS_MIN: usize = 16;

/// How one credential does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialStanding {
    /// Its place in the settings, from 1.
    pub position: usize,
    /// The end of the key, where it is long enough.
    pub last4: Option<String>,
    /// How it does at the whole provider.
    pub state: CredentialState,
    /// When the provider last answered a call with it.
    pub answered: Option<Instant>,
    /// Paths and models at which it does otherwise, in order; no more models than are worth reading.
    pub elsewhere: Vec<(Scope, CredentialState)>,
}

/// The state of a credential, as people read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialState {
    /// It is used in its turn.
    Ready,
    /// It is not used before the time that the provider asked for.
    Cooling {
        /// When that was asked for.
        since: Instant,
        /// The time.
        until: Instant,
    },
    /// It is not used before a time: the provider doesn't take it.
    Disabled {
        /// Why.
        refusal: Refusal,
        /// Since when.
        since: Instant,
        /// The time from which one live call may find out.
        until: Instant,
    },
    /// A live call is finding out whether the provider takes it again, or the next one will.
    HalfOpen {
        /// Why it didn't.
        refusal: Refusal,
        /// Since when.
        since: Instant,
    },
}

impl CredentialState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Cooling { .. } => "cooling",
            Self::Disabled { .. } => "disabled",
            Self::HalfOpen { .. } => "half-open",
        }
    }

    /// Every word, as metrics list them.
    pub const WORDS: [&'static str; 4] = ["ready", "cooling", "disabled", "half-open"];

    /// Since when it is so, where it is not simply ready.
    pub const fn since(self) -> Option<Instant> {
        match self {
            Self::Ready => None,
            Self::Cooling { since, .. } | Self::Disabled { since, .. } | Self::HalfOpen { since, .. } => Some(since),
        }
    }

    /// When it may be used again, where that is later.
    pub const fn until(self) -> Option<Instant> {
        match self {
            Self::Cooling { until, .. } | Self::Disabled { until, .. } => Some(until),
            Self::Ready | Self::HalfOpen { .. } => None,
        }
    }

    /// Why the provider doesn't take it.
    pub const fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Disabled { refusal, .. } | Self::HalfOpen { refusal, .. } => Some(refusal),
            Self::Ready | Self::Cooling { .. } => None,
        }
    }

    pub(super) fn of(condition: Condition, now: Instant) -> Self {
        match condition {
            Condition::Cooling { since, until, .. } if now < until => Self::Cooling { since, until },
            Condition::Ready { .. } | Condition::Cooling { .. } => Self::Ready,
            Condition::Disabled { refusal, since, until, .. } if now < until => {
                Self::Disabled { refusal, since, until }
            }
            Condition::Disabled { refusal, since, .. } | Condition::Tried { refusal, since, .. } => {
                Self::HalfOpen { refusal, since }
            }
        }
    }
}

impl CredentialStanding {
    /// The worst of its states, at the whole provider and at parts of it: one that is refused before one that is limited.
    pub fn worst(&self) -> CredentialState {
        let states = || std::iter::once(self.state).chain(self.elsewhere.iter().map(|(_, state)| *state));
        let refused = states().find(|state| state.refusal().is_some());
        refused.or_else(|| states().find(|state| *state != CredentialState::Ready)).unwrap_or(CredentialState::Ready)
    }

    /// What it is called in sentences: `key 2 (…abcd)`.
    pub fn name(&self) -> impl fmt::Display {
        Named { position: self.position, last4: self.last4.clone() }
    }
}

/// `key 2 (…abcd)`.
pub(super) struct Named {
    pub(super) position: usize,
    pub(super) last4: Option<String>,
}

impl fmt::Display for Named {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "key {}", self.position)?;
        self.last4.as_ref().map_or(Ok(()), |last4| write!(formatter, " (…{last4})"))
    }
}

/// The end of a secret that is long enough to be known by it.
pub(super) fn last4(secret: &Secret<String>) -> Option<String> {
    let text = secret.expose();
    let count = text.chars().count();
    (count >= SHOWN_CHARS_MIN).then(|| text.chars().skip(count - 4).collect())
}
