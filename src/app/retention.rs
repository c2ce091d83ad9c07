//! What is kept for a time only: contents of calls and idempotency keys, swept as their time ends.

use std::sync::Arc;
use std::time::Duration;

use crate::content::Content;
use crate::domain::RequestId;
use crate::idempotency::Idempotency;
use crate::runtime::{Clock, Tasks};

/// How often contents are swept: the shortest time to keep them is an hour.
const SWEEP_INTERVAL: Duration = Duration::from_mins(10);

/// Sweeps now and then, from the start on; `retention` says how long contents are kept at that time, nothing means for ever.
pub(crate) fn sweep_contents(
    content: &Arc<Content>,
    retention: impl Fn() -> Option<Duration> + Send + Sync + 'static,
    clock: &Clock,
    tasks: &Tasks,
) {
    let (content, clock, stopping) = (Arc::clone(content), clock.clone(), tasks.stopping().clone());
    tasks.spawn(async move {
        loop {
            let swept = match retention() {
                Some(retention) => content.sweep(first_kept(&clock, retention)).await,
                None => Ok(0),
            };
            match swept {
                Ok(0) => {}
                Ok(gone) => tracing::info!("the contents of {gone} calls were deleted: their time was over"),
                // The writer has told of a file that can't be written when it found out.
                Err(error) => tracing::debug!("contents whose time is over couldn't be deleted: {error}"),
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(SWEEP_INTERVAL) => {}
            }
        }
    });
}

/// Forgets keys whose time is over, from the start on; until then they are passed over.
pub(crate) fn sweep_idempotency_keys(idempotency: &Arc<Idempotency>, clock: &Clock, tasks: &Tasks) {
    let (idempotency, clock, stopping) = (Arc::clone(idempotency), clock.clone(), tasks.stopping().clone());
    tasks.spawn(async move {
        loop {
            match idempotency.sweep(clock.now()).await {
                Ok(gone) => tracing::debug!("{gone} idempotency keys were forgotten: their time was over"),
                // The writer has told of a file that can't be written when it found out.
                Err(error) => tracing::debug!("idempotency keys whose time is over couldn't be forgotten: {error}"),
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(SWEEP_INTERVAL) => {}
            }
        }
    });
}

/// The first id whose contents are still to be kept.
fn first_kept(clock: &Clock, retention: Duration) -> RequestId {
    let retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    RequestId::first_of(clock.now().as_millisecond().saturating_sub(retention_ms))
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;
    use crate::config::Bodies;
    use crate::content::{ContentOptions, Excerpt, Exchange};
    use crate::domain::KeyId;

    #[tokio::test]
    async fn contents_go_when_their_time_is_over_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let options = ContentOptions {
            commit_interval: Duration::ZERO,
            ..ContentOptions::new(folder.path().join("content.redb"), Bodies::Full, Vec::new())
        };
        let content = Arc::new(Content::open(options));
        let clock = Clock::manual("2026-11-22T12:00:00Z".parse().unwrap());
        let at = |text: &str| {
            let at: jiff::Timestamp = text.parse().unwrap();
            RequestId::first_of(at.as_millisecond())
        };
        let (old, young) = (at("2026-11-21T11:59:59.999Z"), at("2026-11-21T12:00:00Z"));
        for id in [old, young] {
            let key = KeyId::new("key_1").unwrap();
            let (request, answer) = (Excerpt::of(b"{}"), Excerpt::of(b"{}"));
            content.keep(Exchange { id, key, session: None, users: Vec::new(), request, answer });
        }
        assert_eq!(content.sweep(RequestId::from_number(0)).await.unwrap(), 0, "both are written");
        let tasks = Tasks::default();
        let looked = Arc::new(Notify::new());
        let seen = Arc::clone(&looked);
        let for_ever = move || {
            seen.notify_one();
            None
        };
        sweep_contents(&content, for_ever, &clock, &tasks);
        looked.notified().await;
        assert!(content.find(old).unwrap().is_some());
        sweep_contents(&content, || Some(Duration::from_hours(24)), &clock, &tasks);
        tokio::time::timeout(Duration::from_secs(20), async {
            while content.find(old).unwrap().is_some() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        assert!(content.find(young).unwrap().is_some());
        tasks.stop().await;
    }
}
