//! What is watched for alerts while the server runs: entries as they are booked, circuits, the ledger, the clock.
//!
//! Two tasks: one notes entries, which must not wait, the other looks, which waits for the disk. Deliveries have tasks of
//! their own, so a receiver that is away holds up neither.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;

use super::parts::Parts;
use crate::budget::Watch;
use crate::provider::Upstream;

/// How often is looked at what calls have touched: an alert a second after its cause is early enough.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often is looked at everything.
const LOOK_AT_ALL_INTERVAL: Duration = Duration::from_mins(1);

/// Starts watching and delivering, until the process stops.
pub(super) fn start(parts: &Parts) {
    parts.alerts.deliver(&parts.tasks);
    let watch = Arc::new(Watch::new(
        Arc::clone(&parts.budgets),
        Arc::clone(&parts.keys),
        Arc::clone(&parts.ledger),
        Arc::clone(&parts.alerts),
    ));
    note_entries(parts, &watch);
    look_now_and_then(parts, watch);
}

fn note_entries(parts: &Parts, watch: &Arc<Watch>) {
    let (watch, stopping) = (Arc::clone(watch), parts.tasks.stopping().clone());
    let mut settled = parts.ledger.subscribe();
    parts.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                entry = settled.recv() => match entry {
                    Ok(entry) => watch.note(&entry),
                    Err(RecvError::Lagged(_)) => watch.note_missed(),
                    Err(RecvError::Closed) => return,
                },
            }
        }
    });
}

fn look_now_and_then(parts: &Parts, watch: Arc<Watch>) {
    let (gateway, clock, stopping) = (Arc::clone(&parts.gateway), parts.clock.clone(), parts.tasks.stopping().clone());
    let trouble = parts.ledger.watch_trouble();
    parts.tasks.spawn(async move {
        let mut looked_at_all: Option<Instant> = None;
        loop {
            let is_all_due = looked_at_all.is_none_or(|looked| looked.elapsed() >= LOOK_AT_ALL_INTERVAL);
            if is_all_due {
                looked_at_all = Some(Instant::now());
            }
            let (watch, now) = (Arc::clone(&watch), clock.now());
            let router = gateway.router();
            let of =
                |upstream: &Arc<Upstream>| (upstream.name().clone(), upstream.health().of_provider(Instant::now()));
            let providers: Vec<_> = router.upstreams().iter().map(of).collect();
            let standings = router.upstreams().iter().flat_map(|upstream| {
                let standings = upstream.credentials().standings(Instant::now());
                standings.into_iter().map(|standing| (upstream.name().clone(), standing))
            });
            let credentials: Vec<_> = standings.collect();
            let trouble = trouble.borrow().clone();
            let leap = clock.leap();
            let looked = tokio::task::spawn_blocking(move || {
                watch.look_at_ledger(trouble.as_deref(), now);
                watch.look_at_clock(leap, now);
                watch.look_at_providers(&providers, now);
                watch.look_at_credentials(&credentials, now);
                if is_all_due {
                    watch.look_at_all(now);
                } else {
                    watch.look(now);
                }
            });
            if let Err(error) = looked.await {
                tracing::error!("looking for what is worth an alert failed: {error}");
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    });
}
