//! What the API and the page of providers are asked of a call that nobody makes.

use std::sync::Arc;

use super::state::State;
use crate::config::STRATEGIES_NOT_YET;
use crate::domain::{Endpoint, IdError, KeyId, Name, Strategy};
use crate::keys::{KeyStatus, VirtualKey};

/// The paths whose calls have a choice.
pub(super) const ENDPOINTS: [Endpoint; 5] =
    [Endpoint::ChatCompletions, Endpoint::Messages, Endpoint::Responses, Endpoint::Completions, Endpoint::Embeddings];
/// Characters of an operation's or a session's name.
const NAME_CHARS_MAX: usize = 128;

/// The strategies that calls can ask for.
pub(super) fn strategies() -> impl Iterator<Item = Strategy> {
    Strategy::ALL.iter().copied().filter(|strategy| !STRATEGIES_NOT_YET.contains(strategy))
}

/// An operation or a session, as the headers of a call may name it.
pub(super) fn name(text: &str) -> Result<Name, IdError> {
    Name::new(text, NAME_CHARS_MAX)
}

/// The live key of an id or a name: another makes no call.
pub(super) fn live_key(state: &State, named: &str) -> Option<Arc<VirtualKey>> {
    let now = state.clock.now();
    let by_id = KeyId::new(named).ok().and_then(|id| state.keys.get(&id));
    by_id.filter(|key| key.status(now) == KeyStatus::Live).or_else(|| state.keys.named(named, now))
}
