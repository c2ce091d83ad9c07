//! The providers in their last hours, from the attempts that were made there.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::super::charts::{Health, Strip};
use super::super::format::{NO_VALUE, count_exact, counted, duration, percent};
use super::super::view::{Badge, Link, Notice, ProviderLine, ProvidersCard, Tone};
use super::attempts::{Tally, is_answered};
use super::{Facts, unreadable};
use crate::domain::{ProviderHealth, ProviderName, RequestId};
use crate::ledger::{Entry, EntryFilter, GroupBy, LedgerError, TimeRange};

const STEPS: usize = 32;
const STEP: SignedDuration = SignedDuration::from_mins(30);
/// Entries that are read one by one; of what is older, the sums of the hours are shown.
const ENTRIES_MAX: usize = 5_000;

/// The last hours of one provider.
#[derive(Clone, Debug, Default)]
struct History {
    steps: [Tally; STEPS],
    /// Of the attempts that were read one by one.
    attempts: Tally,
    latency_ms: Vec<u32>,
}

impl History {
    fn of<'a>(histories: &'a mut HashMap<String, Self>, provider: &str) -> &'a mut Self {
        histories.entry(provider.to_owned()).or_default()
    }
}

pub(super) fn card(facts: &Facts<'_>) -> ProvidersCard {
    let router = facts.state.gateway.router();
    let lines = if router.upstreams().is_empty() {
        Err(Notice::empty(
            "No provider yet",
            "Put a provider’s key into the environment or the settings.",
            Some(Link::new("Show me how", "/welcome")),
        ))
    } else {
        match histories(facts) {
            Err(error) => unreadable("Providers", &error, "/"),
            Ok((first, histories)) => {
                let line = |name: &ProviderName| {
                    let history = histories.get(name.as_str()).cloned().unwrap_or_default();
                    line(facts, name, &router.health_of(name, Instant::now()), first, history)
                };
                Ok(router.upstreams().iter().map(|upstream| line(upstream.name())).collect())
            }
        }
    };
    ProvidersCard { range: "last 16 hours".to_owned(), lines, is_update: false }
}

/// The beginning of the first step, and what happened since at each provider.
fn histories(facts: &Facts<'_>) -> Result<(Timestamp, HashMap<String, History>), LedgerError> {
    let step_ms = i64::try_from(STEP.as_millis()).expect("half an hour");
    let present = facts.now.as_millisecond().div_euclid(step_ms);
    let first_ms = (present + 1) * step_ms - i64::try_from(STEPS).expect("a few dozen") * step_ms;
    let first = Timestamp::from_millisecond(first_ms).unwrap_or(facts.now);
    let mut histories = HashMap::new();
    let filter = EntryFilter { from: Some(RequestId::first_of(first_ms)), ..EntryFilter::default() };
    let page = facts.state.ledger.entries(&filter, None, ENTRIES_MAX)?;
    let index = |ms: i64| usize::try_from((ms - first_ms).div_euclid(step_ms)).ok().filter(|index| *index < STEPS);
    for entry in &page.items {
        add(&mut histories, entry, index);
    }
    if let (Some(_), Some(oldest)) = (page.next, page.items.last()) {
        let until = oldest.time();
        let range = TimeRange { from: first, until: until.max(first) };
        let hours = facts.state.ledger.costs(range, &[GroupBy::Hour, GroupBy::Provider])?;
        for group in &hours.groups {
            let Some(start) = hour_start(facts, &group.name) else { continue };
            // An hour is two steps; each of them is shown as the hour was.
            for at in [start, start + STEP] {
                if let Some(index) = index(at.as_millisecond()).filter(|_| at < until) {
                    let step = &mut History::of(&mut histories, &group.series).steps[index];
                    step.made += group.sums.requests;
                    step.failed += group.sums.failed;
                }
            }
        }
    }
    Ok((first, histories))
}

fn hour_start(facts: &Facts<'_>, name: &str) -> Option<Timestamp> {
    let (date, hour) = name.split_once('T')?;
    let date: jiff::civil::Date = date.parse().ok()?;
    facts.zone().to_ambiguous_timestamp(date.at(hour.parse().ok()?, 0, 0, 0)).compatible().ok()
}

fn add(histories: &mut HashMap<String, History>, entry: &Entry, index: impl Fn(i64) -> Option<usize>) {
    for attempt in &entry.attempts {
        let at = entry.time().as_millisecond() + i64::from(attempt.started_ms);
        let Some(index) = index(at) else { continue };
        let history = History::of(histories, attempt.deployment.provider.as_str());
        history.steps[index].add(attempt);
        history.attempts.add(attempt);
        if is_answered(attempt) {
            history.latency_ms.push(attempt.latency_ms);
        }
    }
}

fn line(
    facts: &Facts<'_>,
    name: &ProviderName,
    health: &ProviderHealth,
    first: Timestamp,
    mut history: History,
) -> ProviderLine {
    let calls: u64 = history.steps.iter().map(|step| step.made).sum();
    let steps = history.steps.iter().enumerate().map(|(index, step)| {
        let at = first + STEP * i32::try_from(index).unwrap_or(0);
        let time = facts.clock.clock_time(at).text;
        let time = time.get(..5).unwrap_or(&time);
        let words = match step {
            Tally { made: 0, .. } => "no calls".to_owned(),
            Tally { made, failed: 0 } => format!("{}, none failed", counted(*made, "call", "calls")),
            Tally { made, failed } => {
                format!("{} of {} failed", count_exact(*failed), counted(*made, "call", "calls"))
            }
        };
        (Health::of(step.made, step.failed), format!("{time}, {words}"))
    });
    let strip = Strip::new(format!("{name}: last 16 hours in half-hour steps"), steps.collect::<Vec<_>>().into_iter());
    history.latency_ms.sort_unstable();
    let p95 = history.latency_ms.get(history.latency_ms.len() * 95 / 100);
    let summary = if calls == 0 {
        "No calls in this time".to_owned()
    } else {
        let p95 = p95.map_or_else(|| NO_VALUE.to_owned(), |ms| duration(Duration::from_millis((*ms).into())));
        format!("p95 {p95} · {} errors", percent(history.attempts.failed_percent()))
    };
    let (tone, badge) = match health {
        ProviderHealth::Down(_) => (Tone::Bad, Some("Down")),
        ProviderHealth::TriedAgain(_) => (Tone::Warn, Some("Half-open")),
        ProviderHealth::Degraded(_) => (Tone::Warn, Some("Degraded")),
        ProviderHealth::Failing(_) => (Tone::Warn, Some("Failing")),
        ProviderHealth::Unknown | ProviderHealth::Well if history.attempts.is_all_failed() => {
            (Tone::Bad, Some("Failing"))
        }
        ProviderHealth::Unknown | ProviderHealth::Well if calls == 0 => (Tone::Neutral, None),
        ProviderHealth::Unknown | ProviderHealth::Well => (Tone::Ok, None),
    };
    ProviderLine { name: name.to_string(), tone, badge: badge.map(|text| Badge::new(text, tone)), summary, strip }
}
