//! Answers and failures in the shape of the dialect that was asked, so that SDKs raise the right exception.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use serde::Serialize;

use crate::dialect::responses;
use crate::domain::{Dialect, Endpoint, RequestId};
use crate::gateway::{Fault, GatewayError};
use crate::provider::{Cause, ProviderError, Refusal};

#[derive(Serialize)]
struct OpenAiBody<'a> {
    error: OpenAiError<'a>,
}

#[derive(Serialize)]
struct OpenAiError<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

#[derive(Serialize)]
struct AnthropicBody<'a> {
    #[serde(rename = "type")]
    tag: &'static str,
    error: AnthropicError<'a>,
    request_id: Option<String>,
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    message: &'a str,
}

/// A failure, ready to be told.
pub(super) struct Told {
    fault: Fault,
    message: String,
    kind: String,
    param: Option<String>,
    code: String,
}

impl Told {
    /// A failure of the gateway; what a provider said about a request is kept.
    pub(super) fn new(error: &GatewayError, dialect: Dialect) -> Self {
        let fault = error.fault(dialect);
        let mut told = Self {
            message: error.to_string(),
            kind: fault.kind.to_owned(),
            param: None,
            code: fault.code.to_owned(),
            fault,
        };
        match error {
            GatewayError::Field { param, .. } => told.param = Some((*param).to_owned()),
            GatewayError::Untranslatable { untranslatable, .. } => {
                told.param = Some(untranslatable.param.to_string());
            }
            GatewayError::Upstream(no_answer) => told.tell_provider(&no_answer.error, dialect),
            _ => {}
        }
        told
    }

    /// Tells a provider's failure: what it said of a request in its own words, and what SDKs know by a code under that.
    fn tell_provider(&mut self, error: &ProviderError, dialect: Dialect) {
        match error {
            ProviderError::Rejected { kind, param, code, .. } => {
                self.param.clone_from(param);
                let is_too_long = error.is_context_too_long();
                match dialect {
                    // The provider's own words, where it has the same; the status decides over the exception.
                    Dialect::OpenAi => {
                        let own = if is_too_long {
                            "context_length_exceeded"
                        } else if error.is_model_not_found() {
                            "model_not_found"
                        } else {
                            ""
                        };
                        self.code = code.clone().unwrap_or_else(|| own.to_owned());
                        let is_anthropics =
                            |kind: &&String| matches!(&***kind, "not_found_error" | "request_too_large");
                        if let Some(kind) = kind.as_ref().filter(|kind| !is_anthropics(kind)) {
                            self.kind.clone_from(kind);
                        }
                    }
                    // Anthropic's clients know it by its first words.
                    Dialect::Anthropic if is_too_long && !self.message.starts_with("prompt is too long") => {
                        self.message = format!("prompt is too long: {}", self.message);
                    }
                    Dialect::Anthropic => {}
                }
            }
            ProviderError::NoCredential { away, .. } => match away.cause {
                Cause::Limited => "rate_limit_exceeded".clone_into(&mut self.code),
                Cause::Refused(Refusal::OutOfFunds) => "insufficient_quota".clone_into(&mut self.code),
                Cause::Refused(_) => {}
            },
            ProviderError::OutOfFunds { .. } => "insufficient_quota".clone_into(&mut self.code),
            ProviderError::RateLimited { .. } => "rate_limit_exceeded".clone_into(&mut self.code),
            ProviderError::Overloaded { .. } => "overloaded".clone_into(&mut self.code),
            _ => {}
        }
    }

    /// A failure that never reached the gateway.
    pub(super) fn plain(status: u16, kind: &'static str, code: &'static str, message: String) -> Self {
        let fault = Fault { status, kind, code, retry_after: None, should_retry: None };
        Self { fault, message, kind: kind.to_owned(), param: None, code: code.to_owned() }
    }

    fn json(&self, dialect: Dialect, id: Option<RequestId>) -> String {
        let code = Some(self.code.as_str()).filter(|code| !code.is_empty());
        let json = match dialect {
            Dialect::OpenAi => serde_json::to_string(&OpenAiBody {
                error: OpenAiError { message: &self.message, kind: &self.kind, param: self.param.as_deref(), code },
            }),
            Dialect::Anthropic => serde_json::to_string(&AnthropicBody {
                tag: "error",
                error: AnthropicError { kind: self.fault.kind, message: &self.message },
                request_id: id.map(|id| id.to_string()),
            }),
        };
        json.expect("strings always have a JSON form")
    }

    /// The answer that tells of it; `exhausted` says that the gateway has made all the attempts that help.
    pub(super) fn response(&self, dialect: Dialect, id: Option<RequestId>, exhausted: bool) -> HttpResponse {
        let status = StatusCode::from_u16(self.fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status);
        if let Some(id) = id {
            ids(&mut response, id);
        }
        if let Some(after) = self.fault.retry_after {
            response.insert_header((header::RETRY_AFTER, after.as_secs_f64().ceil().to_string()));
            response.insert_header(("retry-after-ms", after.as_millis().to_string()));
        }
        if let Some(should_retry) = self.fault.should_retry.or(exhausted.then_some(false)) {
            response.insert_header(("x-should-retry", if should_retry { "true" } else { "false" }));
        }
        response.insert_header((header::CACHE_CONTROL, "private, no-store"));
        response.content_type("application/json").body(self.json(dialect, id))
    }

    /// The record that ends a stream of a path with it, after the last bytes that went out.
    pub(super) fn record(&self, endpoint: Endpoint, id: RequestId, last: &[u8]) -> Bytes {
        if endpoint == Endpoint::Responses {
            let number = responses::sequence_number_after(last);
            return responses::error_record(&self.code, &self.message, number).into();
        }
        let json = self.json(endpoint.dialect(), Some(id));
        match endpoint.dialect() {
            Dialect::OpenAi => format!("data: {json}\n\n").into(),
            Dialect::Anthropic => format!("event: error\ndata: {json}\n\n").into(),
        }
    }
}

/// Every name that an SDK looks for an id under; read by the compiler, not by each call.
const ID_NAMES: [HeaderName; 3] = [
    HeaderName::from_static("x-tollgate-request-id"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
];

/// Our id under every name that an SDK looks for.
pub(super) fn ids(response: &mut HttpResponseBuilder, id: RequestId) {
    let value = HeaderValue::from_str(&id.to_string()).expect("ids are ASCII");
    for name in ID_NAMES {
        response.insert_header((name, value.clone()));
    }
}

/// Shortest sensible wait to tell a client that came too early.
pub(super) const SOON: Duration = Duration::from_secs(1);
