//! Anthropic's own API.

mod count;
mod decode;
pub mod usage;

use http::{HeaderMap, HeaderName};

use crate::domain::{Dialect, Endpoint, Secret};

use super::upstream::{ForwardedHeaders, Provider, base_headers, insert, secret_value};

pub(super) use count::CountDecoder;
pub(super) use decode::AnthropicDecoder;

/// The version asked for where the client named none: the one that every model and server still takes.
const VERSION: &str = "2023-06-01";

/// Anthropic.
pub(super) struct Anthropic;

impl Provider for Anthropic {
    fn asked_at(&self, endpoint: Endpoint) -> Option<Endpoint> {
        match endpoint {
            Endpoint::ChatCompletions | Endpoint::Responses => Some(Endpoint::Messages),
            own if own.dialect() == Dialect::Anthropic => Some(own),
            _ => None,
        }
    }

    fn base_ends_in_v1(&self) -> bool {
        false
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
