//! The inference paths: who calls, what they send, and the answer on its way back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderValue, Method};
use tokio::sync::mpsc;

use crate::cache::Directives;
use crate::config::STRATEGIES_NOT_YET as NOT_YET;
use crate::domain::{Dialect, Endpoint, EndpointFamily, IdError, Name, RequestId, Strategy, TraceParent};
use crate::gateway::{Answer, AnswerBody, GatewayError, Inbound, Piece, Refusal, UpstreamClient, below, may_call};
use crate::idempotency::{IdempotencyKey, KeyError};
use crate::keys::VirtualKey;
use crate::provider::{ForwardedHeaders, Opaque};

use super::State;
use super::dialect::{SOON, Told, ids};

/// The paths whose calls are read.
pub(super) const CALLS: [Endpoint; 6] = [
    Endpoint::ChatCompletions,
    Endpoint::Messages,
    Endpoint::Responses,
    Endpoint::Completions,
    Endpoint::Embeddings,
    Endpoint::CountTokens,
];
/// The paths, and what is below them, whose calls pass through unread.
pub(super) const OPAQUE: [Endpoint; 6] = [
    Endpoint::Images,
    Endpoint::Audio,
    Endpoint::Moderations,
    Endpoint::Files,
    Endpoint::Batches,
    Endpoint::MessageBatches,
];
/// The longest that a body may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// Below this many bytes a second, after a while, a sender is too slow.
const BODY_RATE_MIN: u64 = 1_024;
/// The while.
const BODY_RATE_GRACE: Duration = Duration::from_secs(5);
/// Labels of one call.
const TAGS_MAX: usize = 16;
/// Characters of a session's name: what programs use for one is an id.
const SESSION_CHARS_MAX: usize = 128;
/// Characters of a label's name or value.
const TAG_CHARS_MAX: usize = 64;

/// The dialect of a path that both have, or neither: Anthropic's SDKs always send their version.
pub(super) fn dialect_of(request: &HttpRequest) -> Dialect {
    let is_anthropic =
        request.path().starts_with("/v1/messages") || request.headers().contains_key("anthropic-version");
    if is_anthropic { Dialect::Anthropic } else { Dialect::OpenAi }
}

/// `POST` on the path of an endpoint.
pub(super) async fn call(
    endpoint: Endpoint,
    request: HttpRequest,
    body: web::Payload,
    state: web::Data<State>,
    client: web::Data<UpstreamClient>,
) -> HttpResponse {
    let arrived = Instant::now();
    let dialect = endpoint.dialect();
    let id = state.gateway.next_id();
    let caller = match authenticate(&state, request.headers(), dialect) {
        Ok(caller) => caller,
        Err(told) => return told.response(dialect, Some(id), false),
    };
    if let Err(told) = check_endpoint(&caller, endpoint.family(), dialect) {
        return told.response(dialect, Some(id), false);
    }
    let refuse = |error: GatewayError| Told::new(&error, dialect).response(dialect, Some(id), false);
    if state.draining.load(Ordering::Relaxed) {
        return refuse(GatewayError::Stopping);
    }
    let opaque = match opaque(endpoint, &request) {
        Ok(opaque) => opaque,
        Err(told) => return told.response(dialect, Some(id), false),
    };
    // Before the body is read: bodies that are still on their way take memory too.
    // From here on one state of the settings holds for the call, whatever is reloaded meanwhile.
    let in_force = state.gateway.in_force();
    let limits = &in_force.config.limits;
    let Some(running) = state.metrics.try_begin(limits.concurrent_requests_max) else {
        return refuse(GatewayError::Overloaded { retry_after: SOON });
    };
    let body = tokio::select! {
        biased;
        body = read_body(&request, body, limits.body_bytes_max, dialect) => body,
        () = state.tasks.ending().cancelled() => return refuse(GatewayError::Stopping),
    };
    let body = match body {
        Ok(body) => body,
        Err(told) => return told.response(dialect, Some(id), false),
    };
    let inbound = match inbound(id, endpoint, caller, body, &request, arrived) {
        Ok(inbound) => Inbound { opaque, ..inbound },
        Err(error) => return refuse(error),
    };
    match state.gateway.begin(in_force, &client.into_inner(), inbound, running).outcome().await {
        Ok(answer) => respond(answer, id, endpoint),
        Err(refusal) => {
            let Refusal { error, attempts, deployment } = refusal;
            let exhausted = attempts > 1 && matches!(error, GatewayError::Upstream(_));
            let mut response = Told::new(&error, dialect).response(dialect, Some(id), exhausted);
            let mut insert = |name: &'static str, value: String| {
                if let Ok(value) = header::HeaderValue::from_str(&value) {
                    response.headers_mut().insert(HeaderName::from_static(name), value);
                }
            };
            insert("x-tollgate-attempts", attempts.to_string());
            if let Some(deployment) = deployment {
                insert("x-tollgate-provider", deployment.provider.to_string());
                insert("x-tollgate-model", deployment.model.to_string());
            }
            response
        }
    }
}

/// How a call was made that passes through unread.
fn opaque(endpoint: Endpoint, request: &HttpRequest) -> Result<Option<Opaque>, Told> {
    if !endpoint.is_opaque() {
        return Ok(None);
    }
    let below = below(endpoint, request.path()).ok_or_else(|| {
        let message = format!("{} leads nowhere: there is no such path below {}", request.path(), endpoint.path());
        let kind = if endpoint.dialect() == Dialect::Anthropic { "not_found_error" } else { "invalid_request_error" };
        Told::plain(404, kind, "unknown_path", message)
    })?;
    let method = Method::from_bytes(request.method().as_str().as_bytes()).unwrap_or(Method::POST);
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
    Ok(Some(Opaque { method, below: below.to_owned(), content_type }))
}

fn inbound(
    id: RequestId,
    endpoint: Endpoint,
    caller: Arc<VirtualKey>,
    body: Bytes,
    request: &HttpRequest,
    arrived: Instant,
) -> Result<Inbound, GatewayError> {
    let headers = request.headers();
    let text = |name: &'static str| {
        // A static name is looked for as it is; a string would be copied first.
        let value = headers.get(HeaderName::from_static(name))?;
        value.to_str().ok().filter(|value| !value.is_empty())
    };
    let tags = tags(text("x-tollgate-tags"), &caller)?;
    let operation = match text("x-tollgate-operation") {
        None => "chat".into(),
        Some(name) => operation_name(name)
            .map(|name| name.as_str().into())
            .map_err(|error| header_error("x-tollgate-operation", &error.to_string()))?,
    };
    let cache = Directives::parse(text("x-tollgate-cache"), text("x-tollgate-cache-ttl"))
        .map_err(|error| header_error(error.header(), &error.to_string()))?;
    let session = match text("x-tollgate-session") {
        None => None,
        Some(name) => Some(
            session_name(name)
                .map(|name| name.as_str().into())
                .map_err(|error| header_error("x-tollgate-session", &error.to_string()))?,
        ),
    };
    let timeout = text("x-tollgate-timeout").map(timeout).transpose()?;
    let idempotency_key = idempotency_key(request)?;
    let client_request_id = match text("x-request-id") {
        Some(given) if given.len() <= TAG_CHARS_MAX && given.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Some(given.into())
        }
        _ => None,
    };
    Ok(Inbound {
        not_kept: None,
        id,
        endpoint,
        body,
        opaque: None,
        headers: ForwardedHeaders {
            anthropic_version: text("anthropic-version").map(ToOwned::to_owned),
            anthropic_beta: text("anthropic-beta").map(ToOwned::to_owned),
            sandbox: text("x-tollgate-sandbox").map(ToOwned::to_owned),
            query: Some(request.query_string()).filter(|query| !query.is_empty()).map(ToOwned::to_owned),
        },
        client_request_id,
        idempotency_key,
        trace: text("traceparent").and_then(TraceParent::parse),
        operation,
        strategy: strategy(text("x-tollgate-strategy"))?,
        session,
        tags,
        caller,
        arrived,
        cache,
        timeout,
    })
}

/// How long a call may take, where it says so. None at all would be a call that can only fail.
fn timeout(given: &str) -> Result<Duration, GatewayError> {
    let wrong = |what: &str| header_error("x-tollgate-timeout", &format!("{given:?} {what} such as 30s or 1500ms"));
    match humantime::parse_duration(given) {
        Ok(Duration::ZERO) => Err(wrong("leaves the call no time: leave the header out, or write a duration")),
        Ok(timeout) => Ok(timeout),
        Err(_) => Err(wrong("is not a duration")),
    }
}

/// An operation, in one spelling: budgets, routes and sums hold for every way to write it.
pub(super) fn operation_name(given: &str) -> Result<Name, IdError> {
    Name::new(&given.to_lowercase(), TAG_CHARS_MAX)
}

/// The name of a conversation.
pub(super) fn session_name(given: &str) -> Result<Name, IdError> {
    Name::new(given, SESSION_CHARS_MAX)
}

/// The strategies that calls can ask for.
pub(super) fn strategies() -> impl Iterator<Item = Strategy> {
    Strategy::ALL.iter().copied().filter(|strategy| !NOT_YET.contains(strategy))
}

/// The strategy that a call asks for.
pub(super) fn strategy(given: Option<&str>) -> Result<Option<Strategy>, GatewayError> {
    let Some(given) = given else { return Ok(None) };
    let words: Vec<&str> = strategies().map(Strategy::as_str).collect();
    let wrong = |what: String| header_error("x-tollgate-strategy", &format!("{what}; use {}", words.join(", ")));
    match Strategy::from_word(given) {
        Some(strategy) if NOT_YET.contains(&strategy) => {
            Err(wrong(format!("{given:?} is not served by this version yet")))
        }
        Some(strategy) => Ok(Some(strategy)),
        None => Err(wrong(format!("{:?} is no strategy", given.chars().take(TAG_CHARS_MAX).collect::<String>()))),
    }
}

/// What makes a call that is sent twice one call. What only reads or deletes needs no such thing.
fn idempotency_key(request: &HttpRequest) -> Result<Option<IdempotencyKey>, GatewayError> {
    let mut given = request.headers().get_all(IdempotencyKey::HEADER);
    let Some(first) = given.next().filter(|_| request.method() == actix_web::http::Method::POST) else {
        return Ok(None);
    };
    let key = if given.next().is_none() { IdempotencyKey::parse(first.as_bytes()) } else { Err(KeyError) };
    key.map(Some).map_err(|error| header_error(IdempotencyKey::HEADER, &error.to_string()))
}

fn header_error(name: &'static str, message: &str) -> GatewayError {
    GatewayError::Field { param: name, message: format!("the header {name} can't be used: {message}") }
}

/// Labels: names and values.
type Tags = Vec<(Arc<str>, Arc<str>)>;

/// The labels of a call: its key's own, and those that it brings under other names. Those of the key hold: a budget over a tag
/// would be none if its calls could name another.
fn tags(given: Option<&str>, caller: &VirtualKey) -> Result<Tags, GatewayError> {
    let mut tags: Tags =
        caller.tags.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
    for pair in given.into_iter().flat_map(|given| given.split(',')) {
        let wrong = || header_error("x-tollgate-tags", &format!("{pair:?} is not of the form name=value"));
        let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
        let name = Name::new(name.trim(), TAG_CHARS_MAX).map_err(|_| wrong())?;
        let value = Name::new(value.trim(), TAG_CHARS_MAX).map_err(|_| wrong())?;
        if caller.tags.contains_key(name.as_str()) {
            continue;
        }
        tags.retain(|(known, _)| **known != *name.as_str());
        tags.push((name.as_str().into(), value.as_str().into()));
    }
    if tags.len() > TAGS_MAX {
        return Err(header_error("x-tollgate-tags", &format!("a call has at most {TAGS_MAX} tags")));
    }
    Ok(tags)
}

/// The key of a call: `Authorization: Bearer` or `x-api-key`, in both dialects; both only if they are the same.
pub(super) fn authenticate(state: &State, headers: &HeaderMap, dialect: Dialect) -> Result<Arc<VirtualKey>, Told> {
    let kind = if dialect == Dialect::Anthropic { "authentication_error" } else { "invalid_request_error" };
    let refuse = |message: &str| Told::plain(401, kind, "invalid_api_key", message.to_owned());
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let presented = match (bearer, text(HeaderName::from_static("x-api-key"))) {
        (Some(bearer), Some(key)) if bearer != key => {
            return Err(refuse("Authorization and x-api-key name different keys: send one of them"));
        }
        (Some(key), _) | (None, Some(key)) => key,
        (None, None) => {
            return Err(refuse(
                "no key was sent: use a virtual key of Tollgate as the API key (Authorization: Bearer tg-… or x-api-key)",
            ));
        }
    };
    state.keys.authenticate(presented, state.clock.now()).map_err(|error| {
        tracing::debug!("a virtual key was refused: {}", error.reason());
        refuse(&format!("{error}: use a virtual key that `tollgate key create` has made"))
    })
}

/// Refuses a key that was not let in to these endpoints.
pub(super) fn check_endpoint(caller: &VirtualKey, family: EndpointFamily, dialect: Dialect) -> Result<(), Told> {
    may_call(caller, family).map_err(|error| Told::new(&error, dialect))
}

async fn read_body(
    request: &HttpRequest,
    mut payload: web::Payload,
    bytes_max: u64,
    dialect: Dialect,
) -> Result<Bytes, Told> {
    let refuse = |status, code, message: String| {
        let kind = match (dialect, status) {
            (Dialect::Anthropic, 413) => "request_too_large",
            _ => "invalid_request_error",
        };
        Told::plain(status, kind, code, message)
    };
    let too_large =
        || refuse(413, "body_too_large", format!("the body is larger than the {bytes_max} bytes that are taken"));
    let encoding = request.headers().get(header::CONTENT_ENCODING).map(header::HeaderValue::as_bytes);
    if encoding.is_some_and(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity")) {
        return Err(refuse(
            415,
            "encoding_not_taken",
            "compressed bodies are not taken: send the JSON as it is".to_owned(),
        ));
    }
    let told = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|told| told > bytes_max) {
        return Err(too_large());
    }
    let began = Instant::now();
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut read = 0_u64;
    loop {
        let left = BODY_TIME_MAX.saturating_sub(began.elapsed());
        let next = tokio::time::timeout(left, payload.next()).await;
        let slow =
            || refuse(408, "body_too_slow", "the body came too slowly: it has 30 s, at 1 KB/s or more".to_owned());
        let Some(chunk) = next.map_err(|_| slow())? else { break };
        let chunk =
            chunk.map_err(|error| refuse(400, "body_broken", format!("the body could not be read: {error}")))?;
        read += chunk.len() as u64;
        if read > bytes_max {
            return Err(too_large());
        }
        let elapsed = began.elapsed();
        if elapsed > BODY_RATE_GRACE && read < BODY_RATE_MIN * elapsed.as_secs() {
            return Err(slow());
        }
        // A body in one piece, as most are, is not copied.
        match &first {
            None => first = Some(chunk),
            Some(head) => {
                if rest.is_empty() {
                    rest.extend_from_slice(head);
                }
                rest.extend_from_slice(&chunk);
            }
        }
    }
    Ok(if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() })
}

fn respond(answer: Answer, id: RequestId, endpoint: Endpoint) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    ids(&mut response, id);
    if let Some(deployment) = &answer.deployment {
        response
            .insert_header((const { HeaderName::from_static("x-tollgate-provider") }, deployment.provider.as_str()));
        response.insert_header((const { HeaderName::from_static("x-tollgate-model") }, deployment.model.as_str()));
    }
    response.insert_header((const { HeaderName::from_static("x-tollgate-cache") }, answer.cache.as_str()));
    response.insert_header((const { HeaderName::from_static("x-tollgate-attempts") }, answer.attempts.to_string()));
    if let Some(remaining) = answer.budget_remaining {
        let name = const { HeaderName::from_static("x-tollgate-budget-remaining-usd") };
        response.insert_header((name, remaining.to_string()));
    }
    response.insert_header((header::CACHE_CONTROL, "private, no-store"));
    if let Some(kept) = answer.kept {
        response.insert_header(("x-tollgate-cache-age", kept.age.as_secs().to_string()));
        response.insert_header(("x-tollgate-cache-entry", kept.entry));
    }
    if let Some(original) = answer.replay_of {
        response.insert_header(("idempotent-replayed", "true"));
        response.insert_header(("x-tollgate-original-request-id", original.to_string()));
    }
    if answer.estimated {
        response.insert_header(("x-tollgate-estimated", "true"));
    }
    if let Some(cap) = answer.clipped {
        response.insert_header(("x-tollgate-budget-clipped", cap.to_string()));
    }
    if let Some(route) = answer.downgraded.as_deref() {
        response.insert_header(("x-tollgate-budget-downgraded", route));
    }
    if !answer.dropped.is_empty() {
        response.insert_header(("x-tollgate-dropped", answer.dropped.join(",")));
    }
    if let Some(upstream) = answer.upstream_request_id.as_deref() {
        response.insert_header((const { HeaderName::from_static("x-tollgate-upstream-request-id") }, upstream));
    }
    match answer.body {
        AnswerBody::Whole { bytes, content_type, cost } => {
            if let Some(cost) = cost {
                response.insert_header((const { HeaderName::from_static("x-tollgate-cost-usd") }, cost.to_string()));
            }
            match content_type {
                Some(content_type) => response.insert_header((header::CONTENT_TYPE, content_type.as_bytes())),
                None => response.content_type("application/json"),
            };
            response.body(bytes)
        }
        AnswerBody::Stream(pieces) => {
            response.insert_header((const { HeaderName::from_static("x-accel-buffering") }, "no"));
            response.content_type("text/event-stream; charset=utf-8").streaming(body_of(pieces, id, endpoint))
        }
    }
}

/// The body of a stream. One that was cut is no whole body either: the connection ends within it.
fn body_of(
    pieces: mpsc::Receiver<Piece>,
    id: RequestId,
    endpoint: Endpoint,
) -> impl Stream<Item = std::io::Result<Bytes>> {
    stream::unfold(Some((pieces, Bytes::new())), move |state| async move {
        let (mut pieces, last) = state?;
        Some(match pieces.recv().await {
            Some(Piece::Bytes(bytes)) => (Ok(bytes.clone()), Some((pieces, bytes))),
            Some(Piece::End(bytes)) => (Ok(bytes), None),
            Some(Piece::Failed(error)) => (Ok(Told::new(&error, endpoint.dialect()).record(endpoint, id, &last)), None),
            None => (
                Err(std::io::Error::other("the stream was cut: its client took nothing of it, or its call died")),
                None,
            ),
        })
    })
}
