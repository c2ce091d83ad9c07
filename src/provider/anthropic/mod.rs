//! Anthropic's own API.

mod decode;
pub mod usage;

use http::{HeaderMap, HeaderName};

use crate::domain::{Dialect, Endpoint, Secret};

use super::upstream::{ForwardedHeaders, Provider, base_headers, insert, secret_value};

pub(super) use decode::AnthropicDecoder;

/// The version asked for where the client named none: the one that every model and server still takes.
const VERSION: &str = "2023-06-01";

/// Anthropic.
pub(super) struct Anthropic;

impl Provider for Anthropic {
    fn speaks(&self, endpoint: Endpoint) -> bool {
        endpoint.dialect() == Dialect::Anthropic
    }

    fn path(&self, endpoint: Endpoint) -> &'static str {
        match endpoint {
            Endpoint::ChatCompletions => "/v1/chat/completions",
            Endpoint::Messages => "/v1/messages",
        }
    }

    fn headers(&self, _: Endpoint, credential: Option<&Secret<String>>, forwarded: &ForwardedHeaders) -> HeaderMap {
        let mut headers = base_headers();
        if let Some(value) = credential.and_then(|credential| secret_value("", credential)) {
            headers.insert(HeaderName::from_static("x-api-key"), value);
        }
        insert(&mut headers, "anthropic-version", Some(forwarded.anthropic_version.as_deref().unwrap_or(VERSION)));
        insert(&mut headers, "anthropic-beta", forwarded.anthropic_beta.as_deref());
        headers
    }
}
