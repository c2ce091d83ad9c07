//! Of two who change the same thing, the second one is told instead of undoing what the first one did.

use super::error::KeysError;
use crate::domain::Revision;

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
