//! `/api/providers`: what stands behind the gateway, and how it does.

use std::time::{Duration, Instant};

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::{SignedDuration, Timestamp, Unit};
use serde::Serialize;
use url::Url;

use super::Items;
use super::input::Params;
use crate::config::{ProviderConfig, Timeouts};
use crate::domain::{ProviderHealth, ProviderKind};
use crate::http::guard::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::state::State;
use crate::provider::{CredentialStanding, CredentialState, Refusal, Scope};

/// Deployments of one provider that are named: clients make names up.
const FAILING_TOLD_MAX: usize = 20;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProviderJson {
    name: String,
    kind: &'static str,
    /// Null for the sandbox, which has no address.
    base_url: Option<String>,
    catalog: String,
    circuit: &'static str,
    health: &'static str,
    /// The deployments whose last calls failed.
    failing: Vec<String>,
    credentials: Vec<CredentialJson>,
    concurrent_requests_max: u32,
    retry_percent_max: u32,
    timeouts: TimeoutsJson,
}

/// One key of a provider, without anything that could be used as one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CredentialJson {
    /// Its place in the settings, from 1.
    position: usize,
    /// Null where the key is short.
    last4: Option<String>,
    #[serde(flatten)]
    state: StateJson,
    /// When the provider last answered a call with it; null before.
    last_answered_at: Option<String>,
    /// The models at which it does otherwise.
    models: Vec<ModelStateJson>,
    /// The paths at which it does.
    paths: Vec<PathStateJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StateJson {
    state: &'static str,
    since: Option<String>,
    until: Option<String>,
    /// The code of the error that showed it.
    error: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct ModelStateJson {
    model: String,
    #[serde(flatten)]
    state: StateJson,
}

#[derive(Debug, Serialize)]
struct PathStateJson {
    path: &'static str,
    #[serde(flatten)]
    state: StateJson,
}

/// What a moment of the steady clock is on the wall.
#[derive(Clone, Copy)]
struct Wall {
    steady: Instant,
    now: Timestamp,
}

impl Wall {
    fn text(self, at: Instant) -> String {
        let span = |duration: Duration| SignedDuration::try_from(duration).unwrap_or_default();
        let moment = self.now + span(at.saturating_duration_since(self.steady))
            - span(self.steady.saturating_duration_since(at));
        moment.round(Unit::Second).unwrap_or(moment).to_string()
    }

    fn state(self, state: CredentialState) -> StateJson {
        StateJson {
            state: state.as_str(),
            since: state.since().map(|at| self.text(at)),
            until: state.until().map(|at| self.text(at)),
            error: match state {
                CredentialState::Cooling { .. } => Some("upstream_rate_limited"),
                state => state.refusal().map(Refusal::code),
            },
        }
    }

    fn credential(self, standing: CredentialStanding) -> CredentialJson {
        let (mut models, mut paths) = (Vec::new(), Vec::new());
        for (scope, state) in standing.elsewhere {
            let state = self.state(state);
            match scope {
                Scope::Model(model) => models.push(ModelStateJson { model: model.to_string(), state }),
                Scope::Path(path) => paths.push(PathStateJson { path: path.path(), state }),
            }
        }
        CredentialJson {
            position: standing.position,
            last4: standing.last4,
            state: self.state(standing.state),
            last_answered_at: standing.answered.map(|at| self.text(at)),
            models,
            paths,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "a reader of the JSON sees no type, so the unit stands in each name")]
struct TimeoutsJson {
    connect_ms: u64,
    first_token_ms: u64,
    idle_ms: u64,
    total_ms: u64,
}

impl From<Timeouts> for TimeoutsJson {
    fn from(timeouts: Timeouts) -> Self {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            connect_ms: ms(timeouts.connect),
            first_token_ms: ms(timeouts.first_token),
            idle_ms: ms(timeouts.idle),
            total_ms: ms(timeouts.total),
        }
    }
}

/// `GET /api/providers`.
pub(super) async fn list(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let in_force = state.gateway.in_force();
    let (config, router) = (&in_force.config, &in_force.router);
    let now = Instant::now();
    let wall = Wall { steady: now, now: state.clock.now() };
    let upstream = |provider: &ProviderConfig| router.upstream(provider.name.as_str());
    let credentials = |provider: &ProviderConfig| {
        let standings = upstream(provider).map(|upstream| upstream.credentials().standings(now));
        standings.unwrap_or_default().into_iter().map(|standing| wall.credential(standing)).collect()
    };
    let health = |provider: &ProviderConfig| router.health_of(&provider.name, now);
    let provider = |(provider, health): (&ProviderConfig, ProviderHealth)| ProviderJson {
        name: provider.name.to_string(),
        kind: provider.kind.as_str(),
        base_url: (provider.kind != ProviderKind::Sandbox).then(|| address(&provider.base_url)),
        catalog: provider.catalog.clone(),
        circuit: health.circuit(),
        health: health.as_str(),
        failing: health.failing().iter().take(FAILING_TOLD_MAX).map(ToString::to_string).collect(),
        credentials: credentials(provider),
        concurrent_requests_max: provider.concurrent_requests_max,
        retry_percent_max: provider.retry_percent_max,
        timeouts: provider.timeouts.into(),
    };
    let items = config.providers.iter().map(|configured| (configured, health(configured))).map(provider).collect();
    Ok(HttpResponse::Ok().json(Items { items, next_cursor: None }))
}

/// `POST /api/providers/{name}/credentials/{position}/enable`: the key is used at once, whatever was shown of it.
pub(super) async fn enable(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let (name, position) = path.into_inner();
    let router = state.gateway.router();
    let Some(upstream) = router.upstream(&name) else {
        return Err(Problem::new(Code::NotFound, "there is no such provider: GET /api/providers lists them"));
    };
    let credentials = upstream.credentials();
    let position = position.parse().unwrap_or_default();
    let now = Instant::now();
    if !credentials.enable(position, now) {
        let detail = format!("{name} has no key at this position: GET /api/providers lists its keys, from 1");
        return Err(Problem::new(Code::NotFound, detail));
    }
    tracing::info!("{caller} enabled key {position} of the provider {name}");
    let wall = Wall { steady: now, now: state.clock.now() };
    let standing = credentials.standings(now).swap_remove(position - 1);
    Ok(HttpResponse::Ok().json(wall.credential(standing)))
}

/// Host and path alone: a name, a password or a query could be a credential.
fn address(url: &Url) -> String {
    let path = url.path().trim_end_matches('/');
    format!("{}{path}", url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_credentials() {
        let url = Url::parse("https://user:canary@api.example:8443/v1/?key=canary#canary").unwrap();
        assert_eq!(address(&url), "https://api.example:8443/v1");
    }
}
