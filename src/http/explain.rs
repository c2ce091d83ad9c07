//! What the API and the page of providers are asked of a call that nobody makes.

use std::sync::Arc;

use super::state::State;
use crate::domain::{Endpoint, KeyId};
use crate::keys::{KeyStatus, VirtualKey};

/// The paths whose calls have a choice.
pub(super) const ENDPOINTS: [Endpoint; 5] =
    [Endpoint::ChatCompletions, Endpoint::Messages, Endpoint::Responses, Endpoint::Completions, Endpoint::Embeddings];

/// The live key of an id or a name: another makes no call.
pub(super) fn live_key(state: &State, named: &str) -> Option<Arc<VirtualKey>> {
    let now = state.clock.now();
    let by_id = KeyId::new(named).ok().and_then(|id| state.keys.get(&id));
    by_id.filter(|key| key.status(now) == KeyStatus::Live).or_else(|| state.keys.named(named, now))
}
