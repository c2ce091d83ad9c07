//! `/api/routes`: the routes and how their deployments do, what would become of a call, and what prompt caches served.

use std::sync::Arc;
use std::time::Instant;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::Items;
use super::decision::DecisionJson;
use super::input::{Lines, Params};
use crate::config::{HedgeAfter, Operation, RouteConfig};
use crate::domain::{Deployment, Endpoint, IdError, KeyId, Name, Picodollars, Strategy};
use crate::gateway::{Explained, GatewayError, HedgeOutlook, Sample};
use crate::http::explain::{ENDPOINTS, live_key};
use crate::http::inference::{operation_name, session_name, strategies};
use crate::http::problem::{Code, Problem};
use crate::http::state::State;
use crate::keys::VirtualKey;
use crate::routing::{Candidate, Cause, Finding, Reads, RouteError, Router};

/// The query parameters of an explanation.
pub(super) const EXPLAIN_PARAMETERS: &[&str] = &["endpoint", "operation", "strategy", "key", "session", "stream"];

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RouteJson {
    name: String,
    strategy: &'static str,
    attempts_max: u32,
    /// Null where no second attempt starts beside a slow one.
    hedge: Option<HedgeJson>,
    /// False for those that ship with the program.
    configured: bool,
    /// The operations that the model `auto` leads here.
    operations: Vec<&'static str>,
    deployments: Vec<DeploymentJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HedgeJson {
    /// `p95`, or a time such as `800ms`.
    after: String,
    /// Of a hundred calls of the route, so many may be hedged.
    percent_max: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeploymentJson {
    deployment: String,
    weight: u32,
    circuit: &'static str,
    /// Null before the first answer.
    first_token_ms: Option<f64>,
    /// The time within which 95 of 100 streams have begun, and 95 of 100 whole answers have come; null while fewer than 20
    /// were measured lately.
    p95_first_token_ms: Option<f64>,
    p95_whole_ms: Option<f64>,
    tokens_per_second: Option<f64>,
    /// How many answers the speed rests on, older ones counting less.
    samples: f64,
}

/// `GET /api/routes`.
pub(super) async fn list(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let router = state.gateway.router();
    let configured = router.routes().iter().map(|route| route_json(&router, route, true));
    let own = router.own_routes().into_iter().map(|route| route_json(&router, route, false));
    let items = configured.chain(own).collect();
    Ok(HttpResponse::Ok().json(Items { items, next_cursor: None }))
}

fn route_json(router: &Router, route: &RouteConfig, configured: bool) -> RouteJson {
    let now = Instant::now();
    let deployment = |(place, deployment): (usize, &Deployment)| {
        let pace = router.experience().pace(deployment, now);
        let tenths = |number: f64| (number * 10.0).round() / 10.0;
        let p95 = |stream| {
            let (p95, _) = router.experience().p95(deployment, stream, now);
            p95.map(|p95| tenths(p95.as_secs_f64() * 1_000.0))
        };
        DeploymentJson {
            deployment: deployment.to_string(),
            weight: route.weights.get(place).copied().unwrap_or(1),
            circuit: router.circuit(deployment, now).as_str(),
            first_token_ms: pace.map(|pace| tenths(pace.first * 1_000.0)),
            p95_first_token_ms: p95(true),
            p95_whole_ms: p95(false),
            tokens_per_second: pace.map(|pace| tenths(1.0 / pace.per_token)),
            samples: pace.map_or(0.0, |pace| tenths(pace.samples)),
        }
    };
    RouteJson {
        name: route.name.clone(),
        strategy: route.strategy.as_str(),
        attempts_max: route.attempts_max,
        hedge: route.hedge.map(|hedge| HedgeJson {
            after: match hedge.after {
                HedgeAfter::P95 => "p95".to_owned(),
                HedgeAfter::Time(after) => humantime::format_duration(after).to_string(),
            },
            percent_max: hedge.percent_max,
        }),
        configured,
        operations: router.operations_of(route).map(Operation::as_str).collect(),
        deployments: route.deployments.iter().enumerate().map(deployment).collect(),
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExplanationJson {
    /// The name that was asked about.
    name: String,
    #[serde(flatten)]
    decision: DecisionJson,
    /// Where the call would go, in order, one after another failure.
    order: Vec<String>,
    /// Who can take the call too, and would not be asked: the attempts are used up before.
    unasked: Vec<String>,
    attempts_max: u32,
    /// When a second attempt would start beside a slow first one; null where the route has none.
    hedge: Option<OutlookJson>,
    /// Why it would be refused; null where it would not.
    refusal: Option<RefusalJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OutlookJson {
    /// How long the first would have to be silent; null where too little was measured.
    after_ms: Option<f64>,
    deployment: Option<String>,
    percent_max: u32,
    /// Why there would be none at the moment; null where there would.
    reason: Option<String>,
}

impl From<HedgeOutlook> for OutlookJson {
    fn from(outlook: HedgeOutlook) -> Self {
        Self {
            after_ms: outlook.after.map(|after| (after.as_secs_f64() * 1_000.0).round()),
            deployment: outlook.deployment.map(|deployment| deployment.to_string()),
            percent_max: outlook.percent_max,
            reason: outlook.reason,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RefusalJson {
    status: u16,
    code: &'static str,
    message: String,
}

/// `GET /api/routes/{name}/explain`: for a plain call.
pub(super) async fn explain_plain(
    state: web::Data<State>,
    request: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    explained(&state, &request, &name, b"{}")
}

/// `POST /api/routes/{name}/explain`: for a call with the body that was sent.
pub(super) async fn explain_sample(
    state: web::Data<State>,
    request: HttpRequest,
    name: web::Path<String>,
    Lines(body): Lines,
) -> Result<HttpResponse, Problem> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    explained(&state, &request, &name, body)
}

fn explained(state: &State, request: &HttpRequest, name: &str, body: &[u8]) -> Result<HttpResponse, Problem> {
    let params = Params::of(request, EXPLAIN_PARAMETERS)?;
    let endpoint = params.word("endpoint", &ENDPOINTS, Endpoint::as_str)?.unwrap_or(Endpoint::ChatCompletions);
    let served: Vec<Strategy> = strategies().collect();
    let strategy = params.word("strategy", &served, Strategy::as_str)?;
    let stream = params.word("stream", &[true, false], |stream| if stream { "true" } else { "false" })?;
    let named = |parameter: &str, name: fn(&str) -> Result<Name, IdError>| {
        let checked = params.text(parameter).map(name).transpose();
        checked.map_err(|error| Problem::parameter(parameter, format!("{parameter} can't be used: {error}")))
    };
    let (operation, session) = (named("operation", operation_name)?, named("session", session_name)?);
    let caller = params.text("key").map(|named| key(state, named)).transpose()?;
    let sample = Sample {
        endpoint,
        body,
        operation: operation.as_ref().map_or("chat", Name::as_str),
        strategy,
        caller: caller.as_deref(),
        session: session.as_ref().map(Name::as_str),
        stream,
        dice: getrandom::u64().unwrap_or_default(),
    };
    let explanation = match state.gateway.explain(name, &sample) {
        Ok(Explained { plan, decision, hedge }) => {
            let names = |candidates: &[Candidate]| {
                candidates.iter().map(|candidate| candidate.deployment.to_string()).collect()
            };
            let (asked, unasked) = plan.within_attempts();
            ExplanationJson {
                name: name.to_owned(),
                decision: DecisionJson::from(&decision),
                order: names(asked),
                unasked: names(unasked),
                attempts_max: plan.attempts_max,
                hedge: hedge.map(OutlookJson::from),
                refusal: None,
            }
        }
        Err(error @ GatewayError::Route(RouteError::UnknownModel { .. })) => {
            return Err(Problem::new(Code::NotFound, error.to_string()));
        }
        Err(error @ (GatewayError::Body(_) | GatewayError::Field { .. })) => {
            return Err(Problem::new(Code::InvalidJson, format!("the sample is no request: {error}")));
        }
        Err(error) => refused(name, &error, endpoint),
    };
    Ok(HttpResponse::Ok().json(explanation))
}

fn refused(name: &str, error: &GatewayError, endpoint: Endpoint) -> ExplanationJson {
    let decision = match error {
        GatewayError::Route(RouteError::NoneFits(decision)) => DecisionJson::from(&**decision),
        _ => DecisionJson::none(name),
    };
    let fault = error.fault(endpoint.dialect());
    let refusal = RefusalJson { status: fault.status, code: fault.code, message: error.to_string() };
    ExplanationJson {
        name: name.to_owned(),
        decision,
        order: Vec::new(),
        unasked: Vec::new(),
        attempts_max: 0,
        hedge: None,
        refusal: Some(refusal),
    }
}

fn key(state: &State, named: &str) -> Result<Arc<VirtualKey>, Problem> {
    live_key(state, named).ok_or_else(|| {
        Problem::parameter("key", "key has to be the id or name of a live virtual key: GET /api/keys lists them")
    })
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PromptCacheJson {
    name: String,
    /// By key, the dearest losses first; since the start.
    keys: Vec<ReadsJson>,
    /// Turns whose beginning had to be read anew, newest first.
    findings: Vec<FindingJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReadsJson {
    key: String,
    key_id: String,
    calls: u64,
    input_tokens: u64,
    expected_cache_read_tokens: u64,
    cache_read_tokens: u64,
    lost_usd: Picodollars,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FindingJson {
    time: String,
    request_id: String,
    key: String,
    deployment: String,
    cause: &'static str,
    /// What happened and what to do, in a sentence.
    text: String,
    /// Where the turn stops being as the one before it was: null unless something changed.
    place: Option<String>,
    /// The first byte that differs, in the body of the request, in its piece, and in all pieces in the order of the cache.
    body_offset: Option<u64>,
    place_offset: Option<u64>,
    prefix_offset: Option<u64>,
    before: Option<String>,
    after: Option<String>,
    lost_tokens: u64,
    lost_usd: Option<Picodollars>,
}

/// `GET /api/routes/{name}/prompt-cache`.
pub(super) async fn prompt_cache(
    state: web::Data<State>,
    request: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let router = state.gateway.router();
    let experience = router.experience();
    let name = name.into_inner();
    let keys = experience.reads(Some(&name)).into_iter().map(|(key, _, reads)| reads_json(&state, &key, &reads));
    let findings = experience.findings(Some(&name)).into_iter().map(|finding| finding_json(&state, finding));
    let (keys, findings) = (keys.collect(), findings.collect());
    Ok(HttpResponse::Ok().json(PromptCacheJson { name, keys, findings }))
}

fn key_name(state: &State, key: &KeyId) -> String {
    state.keys.get(key).map_or_else(|| key.to_string(), |key| key.name.as_str().to_owned())
}

fn reads_json(state: &State, key: &KeyId, reads: &Reads) -> ReadsJson {
    ReadsJson {
        key: key_name(state, key),
        key_id: key.to_string(),
        calls: reads.calls,
        input_tokens: reads.input_tokens,
        expected_cache_read_tokens: reads.expected_tokens,
        cache_read_tokens: reads.actual_tokens,
        lost_usd: reads.lost,
    }
}

fn finding_json(state: &State, finding: Finding) -> FindingJson {
    let cause = finding.cause.as_str();
    let text = finding.cause.words();
    let change = if let Cause::Changed(change) = finding.cause { Some(change) } else { None };
    let excerpts = change.as_ref().and_then(|change| change.excerpts.clone());
    let (before, after) = excerpts.map_or((None, None), |(before, after)| (Some(before.into()), Some(after.into())));
    FindingJson {
        time: finding.at.to_string(),
        request_id: finding.request.to_string(),
        key: key_name(state, &finding.key),
        deployment: finding.deployment.to_string(),
        cause,
        text,
        place: change.as_ref().map(|change| change.place.to_string()),
        body_offset: change.as_ref().map(|change| change.body_offset),
        place_offset: change.as_ref().map(|change| change.piece_offset),
        prefix_offset: change.as_ref().map(|change| change.prefix_offset),
        before,
        after,
        lost_tokens: finding.lost_tokens,
        lost_usd: finding.lost,
    }
}
