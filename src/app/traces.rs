//! Traces of calls for a collector: made from entries as they are booked, so that a call itself carries nothing of them.
//!
//! A call is one span of the kind SERVER, each of its attempts one of the kind CLIENT below it. A call that came with a
//! `traceparent` belongs to the client's trace, and is left out where the client doesn't record it; any other begins a trace
//! whose id is the number of its own id.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use http::{HeaderName, HeaderValue};
use jiff::{Timestamp, ToSpan as _};
use tokio::sync::broadcast::error::RecvError;

use super::parts::Parts;
use crate::config::{Config, TelemetryConfig};
use crate::domain::{Endpoint, ProviderKind, ProviderName, Secret};
use crate::ledger::{Attempt, Entry};
use crate::outbound;
use crate::telemetry::names;
use crate::telemetry::traces::{Collector, Span, SpanKind, Traces, Value};

/// The longest that one batch may take to be taken in.
const SEND_TIME_MAX: Duration = Duration::from_secs(10);
/// How often is looked, at the stop, whether the last call has been booked.
const LAST_CALLS_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Starts sending traces, where a collector is configured.
pub(super) fn start(parts: &Parts, version: &'static str) -> anyhow::Result<()> {
    let TelemetryConfig { otlp_endpoint: Some(endpoint), otlp_headers, .. } = &parts.started.telemetry else {
        return Ok(());
    };
    let instance = getrandom::u64().map_err(|error| anyhow!("the system gives no random numbers: {error}"))?;
    let ca_file = parts.started.tls.ca_file.as_deref();
    let client = outbound::client(ca_file)
        .and_then(|builder| builder.timeout(SEND_TIME_MAX).build().map_err(|error| error.to_string()));
    let collector = Collector {
        client: client.map_err(|error| anyhow!("the client of the collector can't be made: {error}"))?,
        endpoint: endpoint.clone(),
        headers: otlp_headers.iter().map(header).collect::<Result<_, _>>()?,
        version,
        instance: format!("{instance:016x}"),
    };
    let (traces, sending) = Traces::to(collector, parts.tasks.stopping().clone());
    parts.tasks.spawn(sending);
    follow_entries(parts, traces);
    Ok(())
}

fn header((name, value): &(HeaderName, Secret<String>)) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::from_str(value.expose()).with_context(|| format!("telemetry.otlp_headers: {name}"))?;
    // So that no log of the client shows it.
    value.set_sensitive(true);
    Ok((name.clone(), value))
}

/// Makes spans of entries until the process stops and its last call is booked.
fn follow_entries(parts: &Parts, traces: Traces) {
    let gateway = Arc::clone(&parts.gateway);
    let (metrics, stopping) = (Arc::clone(&parts.metrics), parts.tasks.stopping().clone());
    let mut settled = parts.ledger.subscribe();
    parts.tasks.spawn(async move {
        let mut lost = 0_u64;
        let mut config = Arc::clone(&gateway.in_force().config);
        let mut providers = Providers::of(&config);
        loop {
            let entry = tokio::select! {
                biased;
                entry = settled.recv() => entry,
                () = until_quiet(&stopping, || metrics.totals().in_flight == 0) => break,
            };
            let in_force = gateway.in_force();
            if !Arc::ptr_eq(&config, &in_force.config) {
                config = Arc::clone(&in_force.config);
                providers = Providers::of(&config);
            }
            let missed = match entry {
                Ok(entry) => {
                    providers.spans(&entry).into_iter().filter(|span| !traces.take(span.clone())).count() as u64
                }
                Err(RecvError::Lagged(entries)) => entries,
                Err(RecvError::Closed) => break,
            };
            if missed > 0 && lost == 0 {
                tracing::warn!("more calls than the collector takes: traces are being lost");
            }
            lost = if missed > 0 { lost + missed } else { 0 };
        }
    });
}

/// Returns when the process stops and nothing runs any more.
async fn until_quiet(stopping: &tokio_util::sync::CancellationToken, is_quiet: impl Fn() -> bool) {
    stopping.cancelled().await;
    loop {
        // First: what has ended is on its way here.
        tokio::time::sleep(LAST_CALLS_POLL_INTERVAL).await;
        if is_quiet() {
            return;
        }
    }
}

/// What spans say of providers beyond their names.
struct Providers(HashMap<ProviderName, (&'static str, String)>);

impl Providers {
    fn of(config: &Config) -> Self {
        let known = |kind| match kind {
            ProviderKind::OpenAi => "openai",
            ProviderKind::Anthropic => "anthropic",
            // By their own names: the convention has none for them.
            ProviderKind::OpenAiCompatible | ProviderKind::Sandbox => "",
        };
        let told = config.providers.iter().map(|provider| {
            let host = provider.base_url.host_str().unwrap_or_default().to_owned();
            (provider.name.clone(), (known(provider.kind), host))
        });
        Self(told.collect())
    }

    /// The spans of a call: its own, then one for each attempt.
    fn spans(&self, entry: &Entry) -> Vec<Span> {
        let facts = &entry.facts;
        if facts.trace.is_some_and(|parent| !parent.sampled) {
            return Vec::new();
        }
        let trace = facts.trace.map_or_else(|| facts.id.number(), |parent| parent.trace);
        let own = span_id(facts.id.number(), 0);
        let mut spans = Vec::with_capacity(1 + entry.attempts.len());
        spans.push(Span {
            trace,
            id: own,
            parent: facts.trace.map(|parent| parent.span),
            name: format!("POST {}", facts.endpoint.path()),
            kind: SpanKind::Server,
            start: entry.time(),
            end: after(entry.time(), entry.latency_ms),
            attributes: of_call(entry),
            error: entry.error.as_deref().map(ToOwned::to_owned),
        });
        for (place, attempt) in entry.attempts.iter().enumerate() {
            let start = after(entry.time(), attempt.started_ms);
            let number = place as u64 + 1;
            spans.push(Span {
                trace,
                id: span_id(facts.id.number(), number),
                parent: Some(own),
                name: format!("{} {}", operation(facts.endpoint), attempt.deployment.model),
                kind: SpanKind::Client,
                start,
                end: after(start, attempt.latency_ms),
                attributes: self.of_attempt(entry, attempt, number),
                error: attempt.error.as_deref().map(ToOwned::to_owned),
            });
        }
        spans
    }

    fn of_attempt(&self, entry: &Entry, attempt: &Attempt, number: u64) -> Vec<(&'static str, Value)> {
        let Attempt { deployment, usage, .. } = attempt;
        let name = deployment.provider.as_str();
        let (provider, host) =
            self.0.get(&deployment.provider).map_or(("", ""), |(known, host)| (*known, host.as_str()));
        let mut told = vec![
            (names::OPERATION_NAME, operation(entry.facts.endpoint).into()),
            (names::PROVIDER_NAME, if provider.is_empty() { name } else { provider }.into()),
            (names::REQUEST_MODEL, deployment.model.as_str().into()),
            (names::REQUEST_STREAM, Value::Flag(entry.facts.stream)),
            (names::INPUT_TOKENS, usage.total_input().into()),
            (names::CACHE_READ_TOKENS, usage.cache_read.into()),
            (names::CACHE_CREATION_TOKENS, (usage.cache_write_5m + usage.cache_write_1h).into()),
            (names::OUTPUT_TOKENS, usage.total_output().into()),
            (names::REASONING_TOKENS, usage.reasoning.into()),
            (names::ATTEMPT, number.into()),
            (names::DEPLOYMENT, Value::Text(deployment.to_string())),
            (names::COST, picodollars(attempt.cost)),
            (names::COST_BASIS, attempt.basis.as_str().into()),
        ];
        if !host.is_empty() {
            told.push((names::SERVER_ADDRESS, host.into()));
        }
        if entry.hedge().is_some_and(|hedge| hedge.place as u64 + 1 == number) {
            told.push((names::HEDGE, Value::Flag(true)));
        }
        if attempt.status != 0 {
            told.push((names::STATUS_CODE, u64::from(attempt.status).into()));
        }
        if let Some(first) = attempt.time_to_first_token_ms {
            told.push((names::TIME_TO_FIRST_CHUNK, Value::Measure(f64::from(first) / 1000.0)));
        }
        if let Some(id) = attempt.upstream_request_id.as_deref() {
            told.push((names::UPSTREAM_REQUEST_ID, id.into()));
        }
        if let Some(error) = attempt.error.as_deref() {
            told.push((names::ERROR_TYPE, error.into()));
        }
        told
    }
}

fn of_call(entry: &Entry) -> Vec<(&'static str, Value)> {
    let facts = &entry.facts;
    let mut told = vec![
        (names::REQUEST_METHOD, "POST".into()),
        (names::ROUTE, facts.endpoint.path().into()),
        (names::REQUEST_ID, Value::Text(facts.id.to_string())),
        (names::REQUEST_MODEL, facts.requested_model.as_str().into()),
        (names::REQUEST_STREAM, Value::Flag(facts.stream)),
        (names::TASK, (*facts.operation).into()),
        (names::KEY, (*facts.key_name).into()),
        (names::CACHE_OUTCOME, facts.cache.as_str().into()),
        (names::ENTRY_STATUS, entry.status.as_str().into()),
        (names::ATTEMPTS, (entry.attempts.len() as u64).into()),
        (names::COST, picodollars(entry.cost())),
        (names::COST_BASIS, entry.basis().as_str().into()),
    ];
    if entry.http_status != 0 {
        told.push((names::STATUS_CODE, u64::from(entry.http_status).into()));
    }
    if let Some(team) = facts.team.as_deref() {
        told.push((names::TEAM, team.into()));
    }
    if let Some(error) = entry.error.as_deref() {
        told.push((names::ERROR_TYPE, error.into()));
    }
    told
}

/// The word of the convention for what a path does; its own name where the convention has none.
const fn operation(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::ChatCompletions | Endpoint::Messages | Endpoint::Responses => "chat",
        Endpoint::Completions => "text_completion",
        Endpoint::Embeddings => "embeddings",
        other => other.as_str(),
    }
}

/// A span's id: the call's own bits, mixed so that spans of one call differ in more than their last digit. Never 0, which is
/// no id.
fn span_id(request: u128, number: u64) -> u64 {
    let half = |shift: u32| u64::try_from((request >> shift) & u128::from(u64::MAX)).unwrap_or_default();
    (half(64) ^ half(0) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xff51_afd7_ed55_8ccd).max(1)
}

fn picodollars(cost: crate::domain::Picodollars) -> Value {
    Value::Number(i64::try_from(cost.get()).unwrap_or(i64::MAX))
}

fn after(instant: Timestamp, milliseconds: u32) -> Timestamp {
    instant.checked_add(i64::from(milliseconds).milliseconds()).unwrap_or(instant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_a_call_have_ids_of_their_own_that_are_never_nothing() {
        let ids: Vec<u64> = (0..5).map(|number| span_id(7 << 80 | 1, number)).collect();
        assert!(ids.iter().enumerate().all(|(at, id)| *id != 0 && !ids[..at].contains(id)), "{ids:?}");
        assert_ne!(span_id(0, 0), 0);
    }

    #[test]
    fn paths_have_the_words_of_the_convention() {
        assert_eq!(operation(Endpoint::Messages), "chat");
        assert_eq!(operation(Endpoint::Completions), "text_completion");
        assert_eq!(operation(Endpoint::Embeddings), "embeddings");
        assert_eq!(operation(Endpoint::Images), "images");
    }
}
