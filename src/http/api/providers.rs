//! `/api/providers`: what stands behind the gateway, and how it does.

use std::time::{Duration, Instant};

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use url::Url;

use super::Items;
use super::input::Params;
use crate::config::{ProviderConfig, Timeouts};
use crate::domain::{ProviderHealth, ProviderKind};
use crate::http::problem::Problem;
use crate::http::state::State;

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
    /// The deployments whose last calls failed in a row.
    failing: Vec<String>,
    concurrent_requests_max: u32,
    timeouts: TimeoutsJson,
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
    let health = |provider: &ProviderConfig| router.health().of_provider(&provider.name, now);
    let provider = |(provider, health): (&ProviderConfig, ProviderHealth)| ProviderJson {
        name: provider.name.to_string(),
        kind: provider.kind.as_str(),
        base_url: (provider.kind != ProviderKind::Sandbox).then(|| address(&provider.base_url)),
        catalog: provider.catalog.clone(),
        circuit: health.circuit(),
        failing: health.failing().iter().take(FAILING_TOLD_MAX).map(ToString::to_string).collect(),
        concurrent_requests_max: provider.concurrent_requests_max,
        timeouts: provider.timeouts.into(),
    };
    let items = config.providers.iter().map(|configured| (configured, health(configured))).map(provider).collect();
    Ok(HttpResponse::Ok().json(Items { items, next_cursor: None }))
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
