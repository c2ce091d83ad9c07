//! The built-in provider that needs no key, no network and no money: every answer is computed from the request.
//!
//! It speaks both dialects in full: chat, responses, completions, embeddings, messages, token counts and models, with
//! streams, tools, schema-conforming output, usage and errors. This is the pure core: one function from request to
//! answer, without clock, chance or I/O. The same request always gets the same answer, ids and dice rolls included; whether it is
//! streamed changes nothing in what is said. Who serves it (a listener, the gateway) waits, sends and breaks
//! connections as the answer tells.
//!
//! Rules that people rely on: a token is four characters, rounded up (`tokens`); which tools are called stands in
//! `tools`; what is said in `plan` and `text`; what goes wrong, and how to ask for it, in `faults`.

mod anthropic;
mod completions;
mod conversation;
mod embeddings;
mod faults;
mod models;
mod openai;
mod pattern;
mod plan;
mod provider;
mod refusal;
mod reply;
mod request;
mod responses;
mod responses_stream;
mod schema;
mod script;
mod seed;
mod text;
mod tokens;
mod tools;
mod wire_anthropic;
mod wire_openai;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use faults::{Fault, Overrides};
use refusal::Refusal;
use reply::Reply;
use request::{Call, Route};
use seed::Seed;

pub(super) use provider::Sandbox;
pub use script::{ScriptError, ScriptLine, parse_script};

/// How the sandbox behaves; `Default` is instant and never fails.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SandboxSettings {
    /// How long every answer waits before its first byte.
    pub latency: Duration,
    /// How long a stream waits between two frames.
    pub chunk_delay: Duration,
    /// The share of calls, 0 to 1, that end in a server error.
    pub error_rate: f64,
    /// The share of calls, 0 to 1, that are told to slow down.
    pub rate_limit_rate: f64,
    /// The share of calls, 0 to 1, that are never answered.
    pub hang_rate: f64,
    /// What to say where a user message holds a given text; the first line that fits is taken.
    pub script: Arc<[ScriptLine]>,
}

/// One HTTP request, as it came.
#[derive(Clone, Copy, Debug)]
pub struct SandboxRequest<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// The path, with its query if it has one.
    pub path: &'a str,
    /// All headers.
    pub headers: &'a http::HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

/// One HTTP answer, and how to send it.
#[derive(Clone, Debug)]
pub struct SandboxAnswer {
    /// The HTTP status.
    pub status: u16,
    /// All headers but those of the transport (length, encoding).
    pub headers: http::HeaderMap,
    /// How long to wait before the first byte.
    pub delay: Duration,
    /// What to send.
    pub body: SandboxBody,
    /// Send nothing at all, ever: the connection stays open and silent until the client leaves.
    pub hang: bool,
}

/// The body of an answer.
#[derive(Clone, Debug)]
pub enum SandboxBody {
    /// All of it at once.
    Whole(Bytes),
    /// Piece by piece.
    Stream {
        /// What to send, one write each: whole SSE records, or parts of a body that is to break off.
        frames: Vec<Bytes>,
        /// How long to wait between two frames.
        delay: Duration,
        /// The connection drops after the last frame, without a proper end.
        cut: bool,
    },
}

/// Answers one request.
pub fn answer(settings: &SandboxSettings, request: &SandboxRequest<'_>) -> SandboxAnswer {
    let route = Route::of(request);
    let mut seed = Seed::of_bytes(request.path, request.body);
    let (overrides, result) = match Overrides::parse(request.headers) {
        Ok(overrides) => {
            let result = respond(settings, request, &route, &overrides, &mut seed);
            (overrides, result)
        }
        Err(refusal) => (Overrides::default(), Err(refusal)),
    };
    let delay = overrides.latency.unwrap_or(settings.latency);
    let chunk_delay = overrides.chunk_delay.unwrap_or(settings.chunk_delay);
    let (status, retry_after, reply, hang) = match result {
        Ok(Outcome::Said(reply)) => (200, None, reply, false),
        Ok(Outcome::Hang) => (200, None, Reply::Whole(Vec::new()), true),
        Err(refusal) => (refusal.status, refusal.retry_after, Reply::Whole(refusal.body(route.dialect, seed)), false),
    };
    let headers = reply::headers(route.dialect, status, &reply, retry_after, seed);
    let body = faults::broken(reply, &overrides, status).into_body(chunk_delay);
    SandboxAnswer { status, headers, delay, body, hang }
}

enum Outcome {
    Said(Reply),
    Hang,
}

/// Asked-for faults come first, then the checks that a real server makes, then chance.
fn respond(
    settings: &SandboxSettings,
    request: &SandboxRequest<'_>,
    route: &Route<'_>,
    overrides: &Overrides,
    seed: &mut Seed,
) -> Result<Outcome, Refusal> {
    if overrides.hang {
        return Ok(Outcome::Hang);
    }
    if let Some(status) = overrides.error {
        return Err(Refusal::for_status(route.dialect, status, overrides.retry_after));
    }
    let call = Call::check(request, route, overrides.tokens, &settings.script)?;
    *seed = call.seed;
    let reply = call.answer()?;
    match faults::roll(settings, request, call.seed) {
        Some(Fault::Hang) => Ok(Outcome::Hang),
        Some(Fault::Status(status)) => Err(Refusal::for_status(route.dialect, status, overrides.retry_after)),
        None => Ok(Outcome::Said(reply)),
    }
}

#[cfg(test)]
mod tests;
