//! `/api/metrics`, figures for people and scripts, and `/metrics`, the page for Prometheus.

use std::sync::Arc;
use std::time::Instant;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::blocking;
use super::budgets::standings;
use super::cache::CacheJson;
use super::input::Params;
use super::status::QueueJson;
use crate::domain::{BudgetScope, Picodollars, ProviderHealth, Window};
use crate::http::problem::Problem;
use crate::http::state::State;
use crate::keys::KeyStatus;
use crate::ledger::{LedgerError, TimeRange};
use crate::provider::{CredentialState, Crowd, Upstream};
use crate::telemetry::{Limit, Percentiles};

/// What the page is: the format that the library writes.
pub(super) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// A page with a gauge for every key of a large team would be larger than all the rest together.
const BUDGETS_MAX: usize = 1_000;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MetricsJson {
    uptime_seconds: u64,
    requests: RequestsJson,
    errors: ErrorsJson,
    tokens: TokensJson,
    latency_ms: PercentilesJson,
    time_to_first_token_ms: PercentilesJson,
    cost_usd: CostJson,
    cache: CacheJson,
    queue: QueueJson,
    overload: OverloadJson,
}

/// How near the limits on calls at once are.
#[derive(Debug, Serialize)]
struct OverloadJson {
    /// The most calls that the server runs at once.
    limit: u32,
    refused: RefusedJson,
    providers: Vec<CrowdJson>,
}

/// Calls since the process began, by the limit that refused them.
#[derive(Debug, Serialize)]
struct RefusedJson {
    server: u64,
    key: u64,
    provider: u64,
}

#[derive(Debug, Serialize)]
struct CrowdJson {
    name: String,
    running: usize,
    waiting: usize,
    limit: usize,
}

impl OverloadJson {
    fn of(state: &State) -> Self {
        let refused = |limit| state.metrics.refusals(limit);
        let crowd = |upstream: &Arc<Upstream>| {
            let Crowd { running, waiting, places } = upstream.places().crowd();
            CrowdJson { name: upstream.name().to_string(), running, waiting, limit: places }
        };
        Self {
            limit: state.config().limits.concurrent_requests_max,
            refused: RefusedJson {
                server: refused(Limit::Server),
                key: refused(Limit::Key),
                provider: refused(Limit::Provider),
            },
            providers: state.gateway.router().upstreams().iter().map(crowd).collect(),
        }
    }
}

/// Since the process began.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestsJson {
    total: u64,
    in_flight: i64,
}

#[derive(Debug, Serialize)]
struct ErrorsJson {
    total: u64,
    rate: f64,
}

#[derive(Debug, Serialize)]
struct TokensJson {
    input: u64,
    output: u64,
}

/// Of the most recent calls; null before the first.
#[derive(Debug, Serialize)]
struct PercentilesJson {
    p50: Option<u32>,
    p95: Option<u32>,
}

impl From<Percentiles> for PercentilesJson {
    fn from(Percentiles { p50, p95 }: Percentiles) -> Self {
        Self { p50, p95 }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CostJson {
    today: Picodollars,
    this_month: Picodollars,
}

/// `GET /api/metrics`.
pub(super) async fn show(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let (ledger, now) = (Arc::clone(&state.ledger), state.clock.now());
    let spent = move |window: Window| {
        let window = window.at(now, ledger.zone());
        let (from, until) = (window.start(ledger.zone()).unwrap_or(now), window.end(ledger.zone()).unwrap_or(now));
        ledger.costs(TimeRange { from, until }, &[]).map(|costs| costs.total.cost)
    };
    let cost_usd = blocking(move || {
        Ok::<_, LedgerError>(CostJson { today: spent(Window::Day)?, this_month: spent(Window::Month)? })
    })
    .await?;
    let totals = state.metrics.totals();
    let (latency, first_token) = state.metrics.recent();
    let rate = if totals.requests == 0 { 0.0 } else { totals.errors as f64 / totals.requests as f64 };
    Ok(HttpResponse::Ok().json(MetricsJson {
        uptime_seconds: state.uptime_seconds(),
        requests: RequestsJson { total: totals.requests, in_flight: totals.in_flight },
        errors: ErrorsJson { total: totals.errors, rate },
        tokens: TokensJson { input: totals.input_tokens, output: totals.output_tokens },
        latency_ms: latency.into(),
        time_to_first_token_ms: first_token.into(),
        cost_usd,
        cache: CacheJson::of(&state),
        queue: QueueJson::of(&state),
        overload: OverloadJson::of(&state),
    }))
}

/// What a budget binds, as people call it; none of a key that is not in force any more, whose name another may have.
fn scope_label(state: &State, scope: &BudgetScope) -> Option<String> {
    let BudgetScope::Key(id) = scope else { return Some(scope.to_string()) };
    let key = state.keys.get(id).filter(|key| key.status(state.clock.now()) == KeyStatus::Live)?;
    Some(format!("key {}", key.name))
}

/// `GET /metrics`.
pub(super) async fn page(state: web::Data<State>) -> HttpResponse {
    let in_force = state.gateway.in_force();
    let (config, router) = (&in_force.config, &in_force.router);
    for provider in &config.providers {
        let circuit = match router.health_of(&provider.name, Instant::now()) {
            ProviderHealth::Unknown | ProviderHealth::Well | ProviderHealth::Failing(_) => 0,
            ProviderHealth::Degraded(_) | ProviderHealth::TriedAgain(_) => 1,
            ProviderHealth::Down(_) => 2,
        };
        state.metrics.circuit(provider.name.as_str(), circuit);
    }
    for upstream in router.upstreams() {
        let Crowd { running, waiting, .. } = upstream.places().crowd();
        state.metrics.provider(upstream.name().as_str(), running, waiting);
        let standings = upstream.credentials().standings(Instant::now());
        for word in CredentialState::WORDS {
            let count = standings.iter().filter(|standing| standing.worst().as_str() == word).count();
            state.metrics.credentials(upstream.name().as_str(), word, count);
        }
    }
    let waiting = state.revisions.in_force().map_or(0, |revision| revision.waiting.len());
    state.metrics.settings(state.revisions.last_refused().is_some(), waiting);
    let budgets = state.keys.budgets().iter().take(BUDGETS_MAX).map(Arc::clone).collect();
    // Where the ledger can't be read, the counters are still worth showing: that is when somebody looks.
    if let Ok(standings) = standings(&state, budgets).await {
        for standing in standings {
            let Some(scope) = scope_label(&state, &standing.definition.scope) else { continue };
            state.metrics.budget(&scope, standing.definition.window.as_str(), standing.free().to_dollars_f64());
        }
    }
    state.metrics.redis(state.cache.stats().shared.is_some_and(|shared| shared.reachable));
    HttpResponse::Ok().content_type(OPENMETRICS).body(state.metrics.page())
}
