//! `/api/cache/warm`: real calls, made so that their answers are there when somebody asks.
//!
//! They take the way of every call, under a virtual key that pays for them: routed, limited, booked. Nothing is run
//! before every line has been understood.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use super::input::{Lines, Params};
use crate::cache::Directives;
use crate::config::CacheScope;
use crate::domain::json::members;
use crate::domain::{CacheOutcome, Endpoint, KeyId};
use crate::gateway::{AnswerBody, Inbound, Piece, UpstreamClient};
use crate::http::guard::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::state::State;
use crate::keys::{KeyStatus, VirtualKey};
use crate::provider::ForwardedHeaders;

/// The query parameters.
pub(super) const PARAMETERS: &[&str] = &["key"];
/// What the body is.
pub(super) const JSON_LINES: &str = "application/x-ndjson";
/// Requests of one body. Each waits for a provider, so that more would outlast most clients' patience.
const LINES_MAX: usize = 1_000;
/// Calls at once: few enough that a provider's rate limits leave room for people.
const CALLS_AT_ONCE: usize = 8;
/// Failures, and answers that are not kept, that are told one by one.
const FAILURES_TOLD_MAX: usize = 20;
/// What the official SDKs send, so that theirs find what was warmed.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// A line that was understood.
struct Line {
    number: usize,
    endpoint: Endpoint,
    body: Bytes,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct WarmedJson {
    requests: u64,
    /// Answered by a provider.
    warmed: u64,
    /// There already.
    hits: u64,
    /// Answered, but not kept.
    not_cached: u64,
    failed: u64,
    /// Why answers were not kept, in the order of their lines.
    not_cached_lines: Vec<NotCachedJson>,
    failures: Vec<FailureJson>,
}

#[derive(Debug, Serialize)]
struct NotCachedJson {
    line: usize,
    reason: String,
}

/// What came of a line.
enum Made {
    Warmed,
    Hit,
    NotCached(String),
}

#[derive(Debug, Serialize)]
struct FailureJson {
    line: usize,
    error: String,
}

/// `POST /api/cache/warm`.
pub(super) async fn warm(
    state: web::Data<State>,
    client: web::Data<UpstreamClient>,
    caller: Caller,
    request: HttpRequest,
    body: Lines,
) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, PARAMETERS)?;
    let lines = lines(&body.0)?;
    if !state.config().cache.enabled {
        return Err(Problem::new(
            Code::CacheOff,
            "the response cache is off, so nothing can be kept in it: set enabled = true in [cache] of tollgate.toml",
        ));
    }
    let key = payer(&state, params.text("key"))?;
    tracing::info!("{caller} warms the response cache with {} calls of virtual key {}", lines.len(), key.id);
    let client = client.into_inner();
    let calls = lines.into_iter().map(|line| {
        let (state, client, key) = (state.clone(), Arc::clone(&client), Arc::clone(&key));
        async move { (line.number, call(&state, &client, key, line).await) }
    });
    let mut calls = stream::iter(calls).buffer_unordered(CALLS_AT_ONCE);
    let mut warmed = WarmedJson::default();
    while let Some((line, result)) = calls.next().await {
        warmed.requests += 1;
        match result {
            Ok(Made::Warmed) => warmed.warmed += 1,
            Ok(Made::Hit) => warmed.hits += 1,
            Ok(Made::NotCached(reason)) => {
                warmed.not_cached += 1;
                if warmed.not_cached_lines.len() < FAILURES_TOLD_MAX {
                    warmed.not_cached_lines.push(NotCachedJson { line, reason });
                }
            }
            Err(error) => {
                warmed.failed += 1;
                if warmed.failures.len() < FAILURES_TOLD_MAX {
                    warmed.failures.push(FailureJson { line, error });
                }
            }
        }
    }
    warmed.failures.sort_by_key(|failure| failure.line);
    warmed.not_cached_lines.sort_by_key(|told| told.line);
    Ok(HttpResponse::Ok().json(warmed))
}

/// Makes one call and reads its answer to the end.
async fn call(
    state: &web::Data<State>,
    client: &Arc<UpstreamClient>,
    key: Arc<VirtualKey>,
    line: Line,
) -> Result<Made, String> {
    if state.is_draining() {
        return Err("the server is stopping".to_owned());
    }
    let is_messages = line.endpoint == Endpoint::Messages;
    let not_kept = Arc::new(OnceLock::new());
    let inbound = Inbound {
        not_kept: Some(Arc::clone(&not_kept)),
        id: state.gateway.next_id(),
        endpoint: line.endpoint,
        body: line.body,
        headers: ForwardedHeaders {
            anthropic_version: is_messages.then(|| ANTHROPIC_VERSION.to_owned()),
            ..ForwardedHeaders::default()
        },
        opaque: None,
        strategy: None,
        session: None,
        client_request_id: None,
        trace: None,
        operation: "chat".into(),
        tags: key.tags.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect(),
        caller: key,
        arrived: Instant::now(),
        cache: Directives::default(),
        idempotency_key: None,
        timeout: None,
    };
    let running = state.metrics.began();
    let answer = state.gateway.begin(state.gateway.in_force(), client, inbound, running).outcome().await;
    let answer = answer.map_err(|refusal| refusal.error.to_string())?;
    if let AnswerBody::Stream(mut pieces) = answer.body {
        loop {
            match pieces.recv().await {
                Some(Piece::Bytes(_)) => {}
                Some(Piece::End(_)) => break,
                Some(Piece::Failed(error)) => return Err(error.to_string()),
                None => return Err("the answer was cut; the log of the server has the reason".to_owned()),
            }
        }
    }
    Ok(match (answer.cache, not_kept.get()) {
        (CacheOutcome::Hit | CacheOutcome::Semantic, _) => Made::Hit,
        (CacheOutcome::Miss, None) => Made::Warmed,
        (CacheOutcome::Miss, Some(reason)) => Made::NotCached(reason.to_string()),
        (CacheOutcome::Bypass, _) => Made::NotCached("answers to such a request are never kept".to_owned()),
    })
}

/// The key whose calls these are: it pays, and it or its team finds the answers.
fn payer(state: &State, named: Option<&str>) -> Result<Arc<VirtualKey>, Problem> {
    let now = state.clock.now();
    let is_live = |key: &VirtualKey| key.status(now) == KeyStatus::Live;
    if let Some(named) = named {
        let by_id = KeyId::new(named).ok().and_then(|id| state.keys.get(&id));
        let found = by_id.or_else(|| state.keys.named(named, now)).filter(|key| is_live(key));
        return found.ok_or_else(|| {
            Problem::parameter("key", "key has to be the id or name of a live virtual key: GET /api/keys lists them")
        });
    }
    let mut live: Vec<Arc<VirtualKey>> = state.keys.list().into_iter().filter(|key| is_live(key)).collect();
    live.sort_by_key(|key| key.created);
    let is_choice = live.len() > 1 && state.config().cache.scope != CacheScope::Global;
    match live.into_iter().next() {
        Some(oldest) if !is_choice => Ok(oldest),
        Some(_) => Err(Problem::parameter(
            "key",
            "key is missing: name the virtual key that pays for the calls and shall find the answers, as in key=ci",
        )),
        None => Err(Problem::parameter(
            "key",
            "there is no live virtual key that could pay for the calls: make one with POST /api/keys",
        )),
    }
}

/// Reads all lines, or refuses all for the first that is none.
fn lines(text: &Bytes) -> Result<Vec<Line>, Problem> {
    let mut lines = Vec::new();
    for (number, written) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let written = written.trim_ascii();
        if written.is_empty() {
            continue;
        }
        let (endpoint, body) = line(written)
            .map_err(|reason| Problem::field("line", format!("line {number}: {reason}")).with("line", number))?;
        lines.push(Line { number, endpoint, body: text.slice_ref(body) });
    }
    match lines.len() {
        0 => Err(Problem::new(
            Code::InvalidJson,
            "the body has no request: send one a line, such as {\"endpoint\":\"/v1/chat/completions\",\"body\":{…}}",
        )),
        1..=LINES_MAX => Ok(lines),
        more => Err(Problem::new(
            Code::BodyTooLarge,
            format!("{more} requests are more than the {LINES_MAX} that are taken at once: send the rest by itself"),
        )),
    }
}

/// One line: a path and a body, or the body of a chat completion alone.
fn line(written: &[u8]) -> Result<(Endpoint, &[u8]), String> {
    const SHAPE: &str =
        "write {\"endpoint\":\"/v1/chat/completions\",\"body\":{…}}, or the body of a chat completion alone";
    let members =
        members(written).map_err(|error| format!("{}; {SHAPE}", error.to_string().replace("the body", "it")))?;
    let find = |name: &str| members.iter().find(|member| member.name == name);
    let Some(body) = find("body") else {
        return if find("model").is_some() { Ok((Endpoint::ChatCompletions, written)) } else { Err(SHAPE.to_owned()) };
    };
    if let Some(unknown) = members.iter().find(|member| !matches!(&*member.name, "endpoint" | "body")) {
        return Err(format!("there is no field {:?}; {SHAPE}", unknown.name));
    }
    if !body.value.starts_with('{') {
        return Err(format!("body has to be an object; {SHAPE}"));
    }
    let endpoint = match find("endpoint") {
        None => Endpoint::ChatCompletions,
        Some(member) => {
            let path: String =
                serde_json::from_str(member.value).map_err(|_| "endpoint has to be a path in quotes".to_owned())?;
            let kept = || Endpoint::ALL.iter().copied().filter(|endpoint| endpoint.is_repeatable());
            kept().find(|endpoint| endpoint.path() == path).ok_or_else(|| {
                let known: Vec<&str> = kept().map(Endpoint::path).collect();
                format!("endpoint has to be one of {}", known.join(", "))
            })?
        }
    };
    Ok((endpoint, &written[body.span.clone()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(usize, Endpoint, String)>, String> {
        let lines = lines(&Bytes::copy_from_slice(text.as_bytes())).map_err(|problem| problem.to_string())?;
        let shown = |line: Line| (line.number, line.endpoint, String::from_utf8(line.body.to_vec()).unwrap());
        Ok(lines.into_iter().map(shown).collect())
    }

    #[test]
    fn a_line_is_a_body_alone_or_with_its_path() {
        let text =
            "{\"model\":\"m\"}\r\n\n {\"endpoint\":\"/v1/messages\", \"body\": {\"model\":\"n\"} }\n{\"body\":{}}";
        assert_eq!(
            read(text).unwrap(),
            [
                (1, Endpoint::ChatCompletions, "{\"model\":\"m\"}".to_owned()),
                (3, Endpoint::Messages, "{\"model\":\"n\"}".to_owned()),
                (4, Endpoint::ChatCompletions, "{}".to_owned()),
            ]
        );
    }

    #[test]
    fn one_wrong_line_refuses_all_and_says_which() {
        for (text, expected) in [
            ("", "no request"),
            ("\n \n", "no request"),
            ("{\"model\":\"m\"}\n{\"x\":1}", "line 2: write {"),
            ("[1]", "line 1: it is not a JSON object"),
            ("{\"model\":\"m\"", "line 1: it is not a JSON object"),
            ("{\"body\":1}", "body has to be an object"),
            ("{\"body\":{},\"key\":\"a\"}", "no field \"key\""),
            ("{\"body\":{},\"endpoint\":\"/v1/realtime\"}", "one of /v1/chat/completions, /v1/messages"),
            ("{\"body\":{},\"endpoint\":1}", "a path in quotes"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(expected), "{text:?}: {refused}");
        }
        assert!(read(&"{\"body\":{}}\n".repeat(1_001)).unwrap_err().starts_with("body_too_large: 1001 requests"));
    }
}
