//! `/api/status`: the state of the server on one page.

use std::sync::Arc;
use std::time::Instant;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::budgets::{percent_used, standings};
use super::cache::CacheJson;
use super::config::ConfigStateJson;
use super::content::ContentStateJson;
use super::input::Params;
use crate::budget::Standing;
use crate::domain::{Picodollars, Window};
use crate::http::problem::Problem;
use crate::http::state::State;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusJson {
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    cache: CacheJson,
    budget: BudgetsJson,
    queue: QueueJson,
    providers: Vec<ProviderJson>,
    content: ContentStateJson,
    idempotency: IdempotencyJson,
    config: ConfigStateJson,
}

/// The keys of calls that are made once.
#[derive(Debug, Serialize)]
struct IdempotencyJson {
    /// Why calls with a key are refused; null where they are taken.
    trouble: Option<Arc<str>>,
}

/// The budgets over everything; null where none is set.
#[derive(Debug, Serialize)]
struct BudgetsJson {
    daily: Option<BudgetJson>,
    monthly: Option<BudgetJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BudgetJson {
    budget: Picodollars,
    spent: Picodollars,
    held: Picodollars,
    remaining: Picodollars,
    percent_used: f64,
}

impl From<&Standing> for BudgetJson {
    fn from(standing: &Standing) -> Self {
        Self {
            budget: standing.definition.limit,
            spent: standing.balance.spent,
            held: standing.balance.held,
            remaining: standing.free(),
            percent_used: percent_used(standing),
        }
    }
}

/// The queue of jobs; this version has no jobs yet, so nothing waits or runs.
#[derive(Debug, Serialize)]
pub(super) struct QueueJson {
    capacity: u32,
    queued: u32,
    running: u32,
    workers: u32,
}

impl QueueJson {
    pub(super) fn of(state: &State) -> Self {
        let workers = &state.config().workers;
        Self { capacity: workers.queue_capacity, queued: 0, running: 0, workers: workers.concurrency }
    }
}

#[derive(Debug, Serialize)]
struct ProviderJson {
    name: String,
    circuit: &'static str,
}

/// `GET /api/status`.
pub(super) async fn show(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let windows = [Window::Day, Window::Month];
    let wanted = windows.into_iter().filter_map(|window| state.budgets.over_everything(window)).collect();
    let standings = standings(&state, wanted).await?;
    let of = |window| standings.iter().find(|standing| standing.definition.window == window).map(BudgetJson::from);
    let in_force = state.gateway.in_force();
    let (config, router) = (&in_force.config, &in_force.router);
    let provider = |provider: &crate::config::ProviderConfig| ProviderJson {
        name: provider.name.to_string(),
        circuit: router.health_of(&provider.name, Instant::now()).circuit(),
    };
    let status = match (state.ledger.trouble(), state.is_draining()) {
        (Some(_), _) => "unavailable",
        (None, true) => "draining",
        (None, false) => "ok",
    };
    Ok(HttpResponse::Ok().json(StatusJson {
        status,
        version: state.version,
        uptime_seconds: state.uptime_seconds(),
        cache: CacheJson::of(&state),
        budget: BudgetsJson { daily: of(Window::Day), monthly: of(Window::Month) },
        queue: QueueJson::of(&state),
        providers: config.providers.iter().map(provider).collect(),
        content: ContentStateJson::of(&state.gateway.parts().content, config.log.bodies),
        idempotency: IdempotencyJson { trouble: state.gateway.parts().idempotency.trouble() },
        config: ConfigStateJson::of(&state),
    }))
}
