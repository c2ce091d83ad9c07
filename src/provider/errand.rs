//! What a call wants of a provider.

use crate::domain::{Endpoint, ModelId};

/// A model, by a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// The model.
    pub model: ModelId,
    /// Whether the settings or the price list name it: a client may have made it up.
    pub is_listed: bool,
    /// The path at the provider.
    pub path: Endpoint,
}
