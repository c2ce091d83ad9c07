//! Which state of a thing someone has seen: counted up with every change, so that of two who edit the same thing the
//! second one is told instead of undoing what the first one did.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::KeysError;

/// The count of a thing's changes, its making included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(u64);

impl Revision {
    /// That of a thing that was made and not changed since.
    pub const FIRST: Self = Self(1);

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Default for Revision {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for Revision {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The state that a thing has to be in for a change to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it is in.
    #[default]
    Any,
    /// One that the caller has seen.
    OneOf(Vec<Revision>),
}

impl Expected {
    pub(super) fn check(&self, present: Revision, what: &'static str) -> Result<(), KeysError> {
        match self {
            Self::OneOf(seen) if !seen.contains(&present) => Err(KeysError::ChangedMeanwhile { what }),
            Self::Any | Self::OneOf(_) => Ok(()),
        }
    }
}
