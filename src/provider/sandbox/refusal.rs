//! What the sandbox says when it says no, in either dialect's words.

use serde::Serialize;

use crate::domain::Dialect;

use super::seed::Seed;

/// An error answer.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// OpenAI's `type`; Anthropic's follows from the status.
    pub(super) kind: &'static str,
    pub(super) code: Option<&'static str>,
    pub(super) param: Option<String>,
    pub(super) message: String,
    /// Seconds for the `retry-after` header.
    pub(super) retry_after: Option<u64>,
}

const INVALID: &str = "invalid_request_error";

impl Refusal {
    /// A request that has to be corrected.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self { status: 400, kind: INVALID, code: None, param: None, message: message.into(), retry_after: None }
    }

    /// The same, naming the field and OpenAI's code for what is wrong with it.
    pub(super) fn of_field(param: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), code: Some(code), ..Self::invalid(message) }
    }

    /// A path or thing that isn't there.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self { status: 404, ..Self::invalid(message) }
    }

    /// No key, or two that differ.
    pub(super) fn unauthorized(message: impl Into<String>) -> Self {
        Self { status: 401, code: Some("invalid_api_key"), ..Self::invalid(message) }
    }

    /// What a real server of the dialect says with that status when the request isn't to blame for it.
    pub(super) fn for_status(dialect: Dialect, status: u16, retry_after: Option<u64>) -> Self {
        let (kind, code, message) = match dialect {
            Dialect::OpenAi => openai_words(status),
            Dialect::Anthropic => ("", None, anthropic_words(status)),
        };
        // Both services tell with every 429 how long to wait.
        let retry_after = retry_after.or((status == 429).then_some(1));
        Self { status, kind, code, param: None, message: message.to_owned(), retry_after }
    }

    /// The error body of the dialect.
    pub(super) fn body(&self, dialect: Dialect, seed: Seed) -> Vec<u8> {
        #[derive(Serialize)]
        struct OpenAi<'a> {
            error: OpenAiError<'a>,
        }
        #[derive(Serialize)]
        struct Anthropic<'a> {
            r#type: &'a str,
            error: AnthropicError<'a>,
            request_id: String,
        }
        let text = match dialect {
            Dialect::OpenAi => serde_json::to_vec(&OpenAi { error: self.openai() }),
            Dialect::Anthropic => serde_json::to_vec(&Anthropic {
                r#type: "error",
                error: AnthropicError { r#type: anthropic_kind(self.status), message: &self.message },
                request_id: request_id(dialect, seed),
            }),
        };
        text.expect("texts and numbers always serialise")
    }

    fn openai(&self) -> OpenAiError<'_> {
        OpenAiError { message: &self.message, r#type: self.kind, param: self.param.as_deref(), code: self.code }
    }
}

#[derive(Serialize)]
struct OpenAiError<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    r#type: &'a str,
    message: &'a str,
}

/// The id that an answer carries in its headers, and Anthropic's errors in their body.
pub(super) fn request_id(dialect: Dialect, seed: Seed) -> String {
    match dialect {
        Dialect::OpenAi => seed.part("request", 0).id("req_", 32),
        Dialect::Anthropic => seed.part("request", 0).id("req_011", 21),
    }
}

/// The record that ends a chat stream when the server fails in the midst of it.
pub(super) const OPENAI_STREAM_ERROR: &str = "data: {\"error\":{\"message\":\"The server had an error while processing \
     your request. Sorry about that!\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n";

/// The same for a stream of messages.
pub(super) const ANTHROPIC_STREAM_ERROR: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\
     \"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";

fn openai_words(status: u16) -> (&'static str, Option<&'static str>, &'static str) {
    match status {
        401 => (INVALID, Some("invalid_api_key"), "Incorrect API key provided. Check the key that you send."),
        402 => (
            "insufficient_quota",
            Some("insufficient_quota"),
            "You exceeded your current quota, please check your plan and billing details.",
        ),
        403 => (INVALID, Some("unsupported_country_region_territory"), "Country, region, or territory not supported"),
        404 => (INVALID, Some("model_not_found"), "The model does not exist or you do not have access to it."),
        408 => (INVALID, Some("timeout"), "Request timed out."),
        413 => (INVALID, Some("request_too_large"), "The request body is too large."),
        429 => (
            "requests",
            Some("rate_limit_exceeded"),
            "Rate limit reached on requests per min (RPM). Please wait as long as the retry-after header says.",
        ),
        503 => ("server_error", Some("overloaded"), "The engine is currently overloaded, please try again later."),
        400..=499 => (INVALID, None, "The request was refused, as x-tollgate-sandbox asked."),
        _ => ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    }
}

fn anthropic_words(status: u16) -> &'static str {
    match status {
        401 => "invalid x-api-key",
        402 => "Your credit balance is too low to access the Anthropic API.",
        403 => "Your API key does not have permission to use the specified resource.",
        404 => "The requested resource could not be found.",
        413 => "Request exceeds the maximum size",
        429 => {
            "This request would exceed your organization's rate limit. Please wait as long as the retry-after header says."
        }
        504 => "The request timed out.",
        503 | 529 => "Overloaded",
        400..=499 => "The request was refused, as x-tollgate-sandbox asked.",
        _ => "Internal server error",
    }
}

fn anthropic_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        400..=499 => INVALID,
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn body(dialect: Dialect, status: u16) -> Value {
        let refusal = Refusal::for_status(dialect, status, None);
        serde_json::from_slice(&refusal.body(dialect, Seed::of_bytes("", b""))).unwrap()
    }

    #[test]
    fn every_openai_error_has_all_four_keys() {
        for status in [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529] {
            let error = body(Dialect::OpenAi, status)["error"].clone();
            let keys: Vec<_> = error.as_object().unwrap().keys().cloned().collect();
            assert_eq!(keys.len(), 4, "{status}: {keys:?}");
            assert!(error["type"].as_str().is_some_and(|kind| !kind.is_empty()), "{status}");
        }
        assert_eq!(body(Dialect::OpenAi, 429)["error"]["code"], json!("rate_limit_exceeded"));
        assert_eq!(body(Dialect::OpenAi, 500)["error"]["type"], json!("server_error"));
    }

    #[test]
    fn every_anthropic_error_has_its_type_and_request_id() {
        let kinds = [400, 401, 402, 403, 404, 413, 429, 500, 504, 529].map(|status| {
            let body = body(Dialect::Anthropic, status);
            assert_eq!(body["type"], json!("error"));
            assert!(body["request_id"].as_str().unwrap().starts_with("req_"));
            body["error"]["type"].as_str().unwrap().to_owned()
        });
        assert_eq!(
            kinds,
            [
                "invalid_request_error",
                "authentication_error",
                "billing_error",
                "permission_error",
                "not_found_error",
                "request_too_large",
                "rate_limit_error",
                "api_error",
                "timeout_error",
                "overloaded_error"
            ]
        );
    }

    #[test]
    fn only_a_rate_limit_names_a_wait_unasked() {
        assert_eq!(Refusal::for_status(Dialect::OpenAi, 429, None).retry_after, Some(1));
        assert_eq!(Refusal::for_status(Dialect::OpenAi, 429, Some(7)).retry_after, Some(7));
        assert_eq!(Refusal::for_status(Dialect::OpenAi, 503, None).retry_after, None);
        assert_eq!(Refusal::for_status(Dialect::Anthropic, 529, Some(2)).retry_after, Some(2));
    }
}
