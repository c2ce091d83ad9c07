//! What is said at a path of the inference API that is not there: most often the `base_url` of a client is wrong.
//!
//! Clients of OpenAI put `/chat/completions` behind their `base_url`, those of Anthropic `/v1/messages`. Whoever mixes the two up
//! gets an error in the shape that the client reads, with the address that is right.

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::domain::{Dialect, Endpoint};

use super::State;
use super::dashboard::address;
use super::dialect::Told;
use super::inference::{CALLS, OPAQUE, dialect_of};

const MODELS: &str = "/v1/models";

/// Any path under `/v1` that nothing else answers.
pub(super) async fn unknown(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    if let Some(answer) = misplaced(&request, &state) {
        return answer;
    }
    let path: String = request.path().chars().take(200).collect();
    let dialect = dialect_of(&request);
    if let Some(allowed) = methods(&path) {
        let message = format!("{path} takes {allowed}, not {}", request.method());
        let mut response = tell(&state, dialect, 405, "invalid_request_error", "method_not_allowed", message);
        let allowed = HeaderValue::from_str(&allowed).expect("methods are ASCII");
        response.headers_mut().insert(header::ALLOW, allowed);
        return response;
    }
    let message = match path.as_str() {
        "/v1/realtime" => "realtime sessions are not served: use /v1/chat/completions with stream".to_owned(),
        path => {
            let served: Vec<&str> = CALLS.iter().chain(&OPAQUE).map(|endpoint| endpoint.path()).collect();
            format!("there is no {path}: served are {}, and {MODELS}", served.join(", "))
        }
    };
    tell(&state, dialect, 404, kind(dialect), "unknown_path", message)
}

/// The answer at a path that would be one of ours, had the client the right `base_url`.
pub(super) fn misplaced(request: &HttpRequest, state: &web::Data<State>) -> Option<HttpResponse> {
    let right = right_path(request.path())?;
    let is_messages = right.starts_with(Endpoint::Messages.path());
    let is_anthropic = is_messages || (right.starts_with(MODELS) && dialect_of(request) == Dialect::Anthropic);
    let dialect = if is_anthropic { Dialect::Anthropic } else { Dialect::OpenAi };
    let root = address(&state.config(), request);
    let asked: String = request.path().chars().take(200).collect();
    let base = match dialect {
        Dialect::OpenAi => format!("the base_url of OpenAI's clients ends in /v1: {root}/v1"),
        Dialect::Anthropic => format!("the base_url of Anthropic's clients ends without /v1: {root}"),
    };
    let message = format!("there is no {asked} here, but {right}; {base}");
    Some(tell(state, dialect, 404, kind(dialect), "unknown_path", message))
}

fn kind(dialect: Dialect) -> &'static str {
    if dialect == Dialect::Anthropic { "not_found_error" } else { "invalid_request_error" }
}

fn tell(
    state: &web::Data<State>,
    dialect: Dialect,
    status: u16,
    kind: &'static str,
    code: &'static str,
    message: String,
) -> HttpResponse {
    Told::plain(status, kind, code, message).response(dialect, Some(state.gateway.next_id()), false)
}

/// The path that was meant by one with a `/v1` too many, or too few, or a slash too many.
fn right_path(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let versions = parts.iter().take_while(|part| **part == "v1").count();
    let right = format!("/v1/{}", parts.get(versions..)?.join("/"));
    (right != path && methods(&right).is_some()).then_some(right)
}

/// What may be done at a path that is served; nothing where there is none.
fn methods(path: &str) -> Option<String> {
    let is_below = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
    let is_at = |root: &str| path == root || is_below(root);
    if CALLS.iter().any(|endpoint| endpoint.path() == path) {
        return Some("POST".to_owned());
    }
    if OPAQUE.iter().any(|endpoint| is_at(endpoint.path())) {
        return Some("GET, POST, DELETE".to_owned());
    }
    is_at(MODELS).then(|| "GET".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_version_too_many_or_too_few_was_meant_to_be_another() {
        let check = |path: &str, expected: Option<&str>| assert_eq!(right_path(path).as_deref(), expected, "{path}");
        for (wrong, right) in [
            ("/chat/completions", "/v1/chat/completions"),
            ("/responses", "/v1/responses"),
            ("/embeddings", "/v1/embeddings"),
            ("/completions", "/v1/completions"),
            ("/models", "/v1/models"),
            ("/models/openai/gpt-5", "/v1/models/openai/gpt-5"),
            ("/messages", "/v1/messages"),
            ("/messages/count_tokens", "/v1/messages/count_tokens"),
            ("/v1/v1/messages", "/v1/messages"),
            ("/v1/v1/chat/completions", "/v1/chat/completions"),
            ("//v1/chat/completions", "/v1/chat/completions"),
            ("/v1//chat/completions", "/v1/chat/completions"),
            ("/v1/chat/completions/", "/v1/chat/completions"),
            ("/files/file-1/content", "/v1/files/file-1/content"),
        ] {
            check(wrong, Some(right));
        }
        for path in ["/", "", "/v1", "/v1/v1", "/v1/chat/completions", "/chat", "/v1/realtime", "/login/", "/v1/chat/x"]
        {
            check(path, None);
        }
    }

    #[test]
    fn every_path_says_what_it_takes() {
        let check = |path: &str, expected: Option<&str>| assert_eq!(methods(path).as_deref(), expected, "{path}");
        check("/v1/chat/completions", Some("POST"));
        check("/v1/messages/count_tokens", Some("POST"));
        check("/v1/messages/batches", Some("GET, POST, DELETE"));
        check("/v1/files/file-1", Some("GET, POST, DELETE"));
        check("/v1/models", Some("GET"));
        check("/v1/modelsandmore", None);
        check("/v1/realtime", None);
    }
}
