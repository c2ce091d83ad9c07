//! `/providers`: how each provider does, and what was made of it in a range of time. Routes and explanations stand beside
//! it, in `routing`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::{SignedDuration, Timestamp};

use super::super::answer::{PageError, blocking, page};
use super::super::form::{Fields, href};
use super::super::format::{Clock, MoneyColumn, NO_VALUE, count_cell, count_exact, counted, duration, percent};
use super::super::session::{Submission, Visitor};
use super::super::summary::attempts::{Tally, failure_of, is_answered};
use super::super::summary::{Shared, unreadable};
use super::super::view::{
    Badge, Card, Choice, CircuitLine, Entry, LastError, Layout, Notice, ProviderNow, ProviderRow, ProvidersNow,
    ProvidersPage, Tone, WhyForm,
};
use super::{clock, explain as why, layout, provider_keys, routing};
use crate::config::ProviderConfig;
use crate::domain::{Picodollars, ProviderHealth, ProviderKind, RequestId};
use crate::http::State;
use crate::ledger::{Entry as LedgerEntry, EntryFilter, GroupBy, LedgerError, TimeRange};
use crate::provider::{Circuit, CredentialState, Upstream};

const RANGES: [(&str, &str, SignedDuration); 4] = [
    ("1h", "1 h", SignedDuration::from_hours(1)),
    ("24h", "24 h", SignedDuration::from_hours(24)),
    ("7d", "7 d", SignedDuration::from_hours(7 * 24)),
    ("30d", "30 d", SignedDuration::from_hours(30 * 24)),
];
const RANGE_DEFAULT: &str = "24h";
/// Calls that are read one by one, for times and failures; sums are of all.
const ENTRIES_MAX: usize = 5_000;
/// The event stream of the page.
const EVENTS: &str = "/events?topics=health";

const NO_PROVIDER_LINES: &str = "\
[[providers]]
name = \"openai\"
kind = \"openai\"
api_key = \"env:OPENAI_API_KEY\"

[[providers]]
name = \"local\"
kind = \"openai-compatible\"
base_url = \"http://127.0.0.1:11434/v1\"

[prices.\"local/*\"]
input = \"0\"
output = \"0\"
";

/// Shows the page; with a route in the query, also what would become of a plain call.
pub(in super::super) async fn show(
    visitor: Visitor,
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, PageError> {
    answer(&visitor, &shared, Fields::of_query(request.query_string())).await
}

/// `POST /providers`: what would become of a call with the body that was sent. Nothing is called.
pub(in super::super) async fn explain(
    submission: Submission,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, PageError> {
    let Submission { visitor, fields } = submission;
    answer(&visitor, &shared, fields).await
}

async fn answer(visitor: &Visitor, shared: &web::Data<Shared>, fields: Fields) -> Result<HttpResponse, PageError> {
    let layout =
        Layout { events: Some(EVENTS), ..layout(visitor, shared, "Providers & routing", Entry::Providers).await? };
    let state = visitor.state.clone();
    let built = blocking(move || build(&state, &fields, layout)).await?;
    let is_wrong = built.why.as_ref().is_some_and(WhyForm::is_wrong);
    Ok(page(if is_wrong { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }, &built))
}

fn build(state: &State, fields: &Fields, layout: Layout) -> ProvidersPage {
    let asked = RANGES.iter().find(|(word, ..)| *word == fields.text("range"));
    let range = asked.unwrap_or_else(|| RANGES.iter().find(|(word, ..)| *word == RANGE_DEFAULT).unwrap_or(&RANGES[0]));
    let (word, label, length) = *range;
    let time = state.clock.now();
    let range = TimeRange { from: time - length, until: time + SignedDuration::from_secs(1) };
    let filter = EntryFilter { from: Some(RequestId::first_of(range.from.as_millisecond())), ..EntryFilter::default() };
    let calls = state.ledger.entries(&filter, None, ENTRIES_MAX);
    let calls: Result<Vec<LedgerEntry>, LedgerError> = calls.map(|page| page.items);
    let entries = calls.as_deref().unwrap_or_default();
    let providers = &state.config().providers;
    let now = now(state);
    let rows = if providers.is_empty() {
        Err(Notice::empty(
            "No provider yet",
            "Put a key into the environment, or lines such as these into tollgate.toml, and start again.",
            None,
        ))
    } else {
        match &calls {
            Ok(entries) => rows(state, entries, range, &now),
            Err(error) => unreadable("The providers", error, "/providers"),
        }
    };
    let note = if entries.len() == ENTRIES_MAX {
        format!(
            "Calls and cost of the last {label}; errors, times and failures of the newest {} calls in it.",
            count_exact(ENTRIES_MAX as u64)
        )
    } else {
        format!(
            "The last {label}. A call that was tried at two providers counts at the last one. Errors: attempts by which the provider failed, not those that a client broke off or got wrong."
        )
    };
    let ranges = RANGES.iter().map(|(other, label, _)| Choice {
        label: (*label).to_owned(),
        href: href("/providers", &[("range", if *other == RANGE_DEFAULT { "" } else { other })]),
        is_current: *other == word,
    });
    let is_admin = layout.is_admin();
    let (form, explanation) = why::explain(state, fields);
    // As in the API: a plain call by a link for every reader, a request that is sent for admins.
    let why = is_admin.then_some(form);
    ProvidersPage {
        layout,
        ranges: ranges.collect(),
        lines: providers.is_empty().then_some(NO_PROVIDER_LINES),
        rows,
        note,
        done: provider_keys::enabled(state, fields.text("enabled")),
        keys: provider_keys::lines(state, is_admin),
        now,
        routes: routing::routes(state, entries),
        why,
        explanation,
        prompt_caches: routing::prompt_caches(state),
    }
}

/// How every provider does now, without a look into the ledger.
pub(in super::super) fn now(state: &State) -> ProvidersNow {
    let (router, now, clock) = (state.gateway.router(), Instant::now(), clock(state));
    let mut circuits = Vec::new();
    let mut providers = Vec::new();
    for (place, provider) in state.config().providers.iter().enumerate() {
        let health = router.health_of(&provider.name, now);
        let upstream = router.upstream(provider.name.as_str());
        for (model, circuit) in upstream.map(|upstream| upstream.health().not_closed(now)).unwrap_or_default() {
            let deployment = format!("{}/{model}", provider.name);
            circuits.push(circuit_line(&deployment, circuit, now, &clock, state.clock.now()));
        }
        let crowd = upstream.map(|upstream| upstream.places().crowd());
        let running = crowd.map_or_else(
            || NO_VALUE.to_owned(),
            |crowd| format!("{} of {}", count_exact(crowd.running as u64), count_exact(crowd.places as u64)),
        );
        let waiting = crowd.filter(|crowd| crowd.waiting > 0);
        let waiting = waiting.map(|crowd| format!("{} waiting", count_exact(crowd.waiting as u64))).unwrap_or_default();
        let (word, tone, words) = in_words(&health);
        providers.push(ProviderNow { place, health: Badge::new(word, tone), words, running, waiting });
    }
    ProvidersNow { providers, circuits }
}

fn in_words(health: &ProviderHealth) -> (&'static str, Tone, String) {
    let failing = health.failing_named();
    match health {
        ProviderHealth::Unknown => ("Not known", Tone::Neutral, "No call has shown it lately".to_owned()),
        ProviderHealth::Well => ("Answers", Tone::Ok, "Nothing of it fails".to_owned()),
        ProviderHealth::Failing(_) => (
            "Failing lately",
            Tone::Warn,
            format!("{failing} failed a few times, and nothing of it has answered since"),
        ),
        ProviderHealth::Degraded(_) => ("Partly failing", Tone::Warn, format!("{failing} fails; the rest answers")),
        ProviderHealth::TriedAgain(_) => {
            ("Tried again", Tone::Warn, format!("{failing} failed; the next call shows whether it still does"))
        }
        ProviderHealth::Down(_) => {
            ("Failing", Tone::Bad, format!("{failing} fails, and nothing of it has answered since"))
        }
    }
}

fn circuit_line(deployment: &str, circuit: Circuit, now: Instant, clock: &Clock, time: Timestamp) -> CircuitLine {
    let at = |until: Instant| {
        let left = SignedDuration::try_from(until.saturating_duration_since(now)).unwrap_or_default();
        clock.clock_time(time + left).text
    };
    let (state, words) = match circuit {
        Circuit::Closed { .. } => (Badge::new("Closed", Tone::Ok), "Calls go there".to_owned()),
        Circuit::Open { until, .. } => {
            (Badge::new("Open", Tone::Bad), format!("No call goes there until {}; then one finds out", at(until)))
        }
        Circuit::HalfOpen { lost, .. } if lost > now => {
            (Badge::new("Half-open", Tone::Warn), format!("One call is finding out; it counts as lost at {}", at(lost)))
        }
        Circuit::HalfOpen { .. } => (Badge::new("Half-open", Tone::Warn), "The next call finds out".to_owned()),
    };
    CircuitLine { deployment: deployment.to_owned(), state, words }
}

/// What the calls of a range showed of one provider.
#[derive(Default)]
struct Shown {
    attempts: Tally,
    first_ms: Vec<u32>,
    total_ms: Vec<u32>,
    /// The newest failure.
    failed: Option<(Timestamp, RequestId, String, String)>,
}

fn rows(state: &State, entries: &[LedgerEntry], range: TimeRange, now: &ProvidersNow) -> Card<Vec<ProviderRow>> {
    let sums = match state.ledger.costs(range, &[GroupBy::Provider]) {
        Ok(costs) => costs.groups,
        Err(error) => return unreadable("The providers", &error, "/providers"),
    };
    let mut shown: HashMap<&str, Shown> = HashMap::new();
    // Newest first.
    for entry in entries {
        for attempt in &entry.attempts {
            let shown = shown.entry(attempt.deployment.provider.as_str()).or_default();
            shown.attempts.add(attempt);
            if is_answered(attempt) {
                shown.first_ms.extend(attempt.time_to_first_token_ms);
                shown.total_ms.push(attempt.latency_ms);
            }
            if let (Some(code), None) = (failure_of(attempt), &shown.failed) {
                let (code, model) = (code.to_owned(), attempt.deployment.model.to_string());
                shown.failed = Some((entry.time(), entry.facts.id, code, model));
            }
        }
    }
    let of = |name: &str| sums.iter().find(|group| group.name == name).map(|group| group.sums).unwrap_or_default();
    let column = MoneyColumn::of(sums.iter().map(|group| group.sums.cost));
    let clock = clock(state);
    let router = state.gateway.router();
    let row = |(provider, now): (&ProviderConfig, ProviderNow)| {
        let sums = of(provider.name.as_str());
        let Shown { attempts, first_ms, total_ms, failed } = shown.remove(provider.name.as_str()).unwrap_or_default();
        let errors = attempts.failed_percent();
        let last_error = failed.map(|(at, id, code, model)| LastError {
            code,
            model,
            time: clock.ago(at),
            href: format!("/requests/{id}"),
        });
        ProviderRow {
            name: provider.name.to_string(),
            now,
            sub: sub(provider),
            calls: count_cell(sums.requests),
            errors: percent(errors),
            errors_tone: match errors {
                errors if errors >= 10.0 => Tone::Bad,
                errors if errors >= 1.0 => Tone::Warn,
                _ => Tone::Neutral,
            },
            first: percentiles(first_ms),
            total: percentiles(total_ms),
            cost: column.cell(if sums.cost.is_zero() { Picodollars::ZERO } else { sums.cost }),
            keys: keys(router.upstream(provider.name.as_str()), provider),
            prices: prices(state, provider),
            last_error,
        }
    };
    Ok(state.config().providers.iter().zip(now.providers.iter().cloned()).map(row).collect())
}

/// How many keys there are, and how many of them are ready where not all are.
fn keys(upstream: Option<&Arc<Upstream>>, provider: &ProviderConfig) -> String {
    let all = provider.api_keys.len();
    let standings = upstream.map(|upstream| upstream.credentials().standings(Instant::now())).unwrap_or_default();
    let ready = standings.iter().filter(|standing| standing.worst() == CredentialState::Ready).count();
    match all {
        0 => "No key".to_owned(),
        _ if ready == all => counted(all as u64, "key", "keys"),
        _ => format!("{}, {} ready", counted(all as u64, "key", "keys"), count_exact(ready as u64)),
    }
}

/// Its kind, and the host that it is called at: a whole address could hold more than is for every reader.
fn sub(provider: &ProviderConfig) -> String {
    match provider.base_url.host_str() {
        Some(host) if provider.kind != ProviderKind::Sandbox => format!("{} at {host}", provider.kind.as_str()),
        _ => provider.kind.as_str().to_owned(),
    }
}

fn prices(state: &State, provider: &ProviderConfig) -> String {
    let own = format!("{}/", provider.name);
    let own = state.config().prices.iter().filter(|prices| prices.pattern.starts_with(&own)).count() as u64;
    let list = if state.config().catalog_file.is_some() { "your list" } else { "built-in list" };
    let own = if own > 0 { format!(", {} of your own", count_exact(own)) } else { String::new() };
    format!("Prices of {}, {list}{own}", provider.catalog)
}

/// The middle and the 95th percentile.
fn percentiles(mut values_ms: Vec<u32>) -> [String; 2] {
    values_ms.sort_unstable();
    [50, 95].map(|percent| {
        let value = values_ms.get(values_ms.len() * percent / 100);
        value.map_or_else(|| NO_VALUE.to_owned(), |ms| duration(Duration::from_millis((*ms).into())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_there_is() {
        assert_eq!(percentiles(Vec::new()), ["–", "–"]);
        assert_eq!(percentiles(vec![300]), ["300 ms", "300 ms"]);
        assert_eq!(percentiles((1..=100).rev().map(|ms| ms * 10).collect()), ["510 ms", "960 ms"]);
    }

    #[test]
    fn a_circuit_says_until_when_and_what_comes_then() {
        let (now, clock) = (Instant::now(), Clock::new(Timestamp::UNIX_EPOCH, jiff::tz::TimeZone::UTC));
        let later = now + Duration::from_secs(24);
        let check = |circuit, state: &str, expected: &str| {
            let line = circuit_line("p/m", circuit, now, &clock, Timestamp::UNIX_EPOCH);
            assert_eq!(line.state.text, state);
            assert!(line.words.contains(expected), "{line:?}");
        };
        let next = Duration::from_secs(10);
        let since = now;
        check(Circuit::Open { since, until: later, next }, "Open", "until 00:00:24");
        check(Circuit::HalfOpen { since, begun: now, next, lost: later }, "Half-open", "lost at 00:00:24");
        check(Circuit::HalfOpen { since, begun: now, next, lost: now }, "Half-open", "next call");
        check(Circuit::default(), "Closed", "Calls go there");
    }
}
