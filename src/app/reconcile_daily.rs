//! The daily look at what providers say they charged, where an admin key is configured.
//!
//! It comes after yesterday's reports are complete, at a moment of its own so that not every server of the world asks at
//! once, and soon after a start that has missed it. What fails is tried again the next day; the page tells.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::parts::Parts;
use crate::reconciliation::{DAYS_USUAL, REPORTING_LAG, ReconcileError};
use crate::statements::Days;

/// Over this time the moments of servers are spread.
const SPREAD: Duration = Duration::from_hours(1);
/// How long a start waits before it makes up for what it has missed: calls come first.
const AFTER_START: Duration = Duration::from_mins(2);
/// The longest sleep: a machine that was suspended, or whose clock was set, looks again.
const LOOK_INTERVAL: Duration = Duration::from_mins(10);

/// Starts the daily fetch, until the process stops. While there is no admin key there is nothing to do.
pub(super) fn start(parts: &Parts) {
    let (reconciler, ledger) = (Arc::clone(&parts.reconciler), Arc::clone(&parts.ledger));
    let (gateway, alerts, clock) = (Arc::clone(&parts.gateway), Arc::clone(&parts.alerts), parts.clock.clone());
    let stopping = parts.tasks.stopping().clone();
    // Without random numbers all servers ask at the same moment, which is no reason not to ask.
    let jitter = Duration::from_secs(getrandom::u64().unwrap_or(0) % SPREAD.as_secs());
    parts.tasks.spawn(async move {
        let last = reconciler.attempts().ok().and_then(|attempts| attempts.into_values().map(|one| one.at).min());
        let mut next = first(last, clock.now(), jitter);
        loop {
            let now = clock.now();
            if now < next {
                let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default().min(LOOK_INTERVAL);
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(wait) => continue,
                }
            }
            next = after(now, jitter);
            if reconciler.accounts().is_empty() {
                continue;
            }
            let days = Days::up_to_today(DAYS_USUAL + 1, now);
            let fetched = tokio::select! {
                () = stopping.cancelled() => return,
                fetched = reconciler.fetch(None, days, &clock) => fetched,
            };
            // Somebody fetches at this very moment, or the disk is full: tomorrow is another day.
            if let Err(error) = fetched {
                tracing::warn!("the reports of providers could not be fetched: {error}");
                continue;
            }
            let (reconciler, ledger) = (Arc::clone(&reconciler), Arc::clone(&ledger));
            let (router, alerts) = (gateway.router(), Arc::clone(&alerts));
            let told = tokio::task::spawn_blocking(move || {
                let comparison = reconciler.compare(None, days, &ledger, router.catalog())?;
                reconciler.tell(&comparison, &alerts)?;
                Ok::<_, ReconcileError>(())
            });
            match told.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!("what providers charged could not be compared: {error}"),
                Err(error) => tracing::error!("comparing what providers charged failed: {error}"),
            }
        }
    });
}

/// The next moment after an instant: when yesterday is complete, and the jitter.
fn after(now: Timestamp, jitter: Duration) -> Timestamp {
    let today = TimeZone::UTC.to_datetime(now).date();
    let of_day = |date: jiff::civil::Date| {
        let start = date.at(0, 0, 0, 0).to_zoned(TimeZone::UTC).map_or(now, |zoned| zoned.timestamp());
        start + REPORTING_LAG + jitter
    };
    let moment = of_day(today);
    if moment > now { moment } else { of_day(today.saturating_add(1.day())) }
}

/// The first moment after a start: soon, where the last one was missed.
fn first(last: Option<Timestamp>, now: Timestamp, jitter: Duration) -> Timestamp {
    let next = after(now, jitter);
    let due = next - 24.hours();
    let is_missed = last.is_none_or(|last| last < due);
    if is_missed { (now + AFTER_START).min(next) } else { next }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_daily_moment_comes_once_yesterday_is_complete() {
        let jitter = Duration::from_mins(20);
        for (now, expected) in [
            ("2026-11-22T00:00:00Z", "2026-11-22T06:20:00Z"),
            ("2026-11-22T06:19:59Z", "2026-11-22T06:20:00Z"),
            ("2026-11-22T06:20:00Z", "2026-11-23T06:20:00Z"),
            ("2026-12-31T12:00:00Z", "2027-01-01T06:20:00Z"),
        ] {
            assert_eq!(after(at(now), jitter), at(expected), "{now}");
        }
    }

    #[test]
    fn a_start_makes_up_for_what_was_missed_and_for_nothing_else() {
        let jitter = Duration::from_mins(20);
        let noon = at("2026-11-22T12:00:00Z");
        let soon = noon + AFTER_START;
        assert_eq!(first(None, noon, jitter), soon);
        assert_eq!(first(Some(at("2026-11-21T06:20:01Z")), noon, jitter), soon);
        assert_eq!(first(Some(at("2026-11-22T06:20:01Z")), noon, jitter), at("2026-11-23T06:20:00Z"));
        let just_before = at("2026-11-22T06:19:30Z");
        assert_eq!(first(None, just_before, jitter), at("2026-11-22T06:20:00Z"));
    }
}
