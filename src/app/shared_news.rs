//! What other instances have taken out of the cache, looked for now and then.

use std::sync::Arc;
use std::time::Duration;

use super::parts::Parts;

/// How long an entry that was taken out at one instance may still answer at another.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Starts following the others, where instances share a cache, until the process stops.
pub(super) fn follow(parts: &Parts) {
    if !parts.cache.is_shared() {
        return;
    }
    let (cache, clock, stopping) = (Arc::clone(&parts.cache), parts.clock.clone(), parts.tasks.stopping().clone());
    parts.tasks.spawn(async move {
        loop {
            cache.follow_others(clock.now()).await;
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    });
}
