//! How much of a provider the outcome of a call speaks for.

use std::fmt;

use crate::domain::{Endpoint, ModelId};

use super::super::Errand;
use super::condition::{Refusal, Shown};

/// A part of a provider, at which a credential may do otherwise than at the rest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One path.
    Path(Endpoint),
    /// One model.
    Model(ModelId),
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => formatter.write_str(path.path()),
            Self::Model(model) => model.fmt(formatter),
        }
    }
}

/// How much of a provider an outcome speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// All of it.
    Provider,
    /// The path that was asked.
    Path,
    /// The model that was asked for.
    Model,
}

impl Errand {
    /// How much of the provider a refusal or a limit speaks for.
    ///
    /// Of a path that passes through unread that alone: whoever may not make pictures may still talk, and nothing but the path is
    /// known of such a call for sure.
    pub(super) fn reach(&self, shown: Shown) -> Reach {
        match shown {
            Shown::Refused(_) | Shown::Limited(_) if self.path.is_opaque() => Reach::Path,
            Shown::Refused(Refusal::OutOfScope) => Reach::Path,
            Shown::Refused(Refusal::Forbidden) | Shown::Limited(_) => Reach::Model,
            Shown::Refused(Refusal::Unknown | Refusal::OutOfFunds) | Shown::Accepted | Shown::Unclear => {
                Reach::Provider
            }
        }
    }
}
