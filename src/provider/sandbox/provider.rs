//! The sandbox as a provider: it speaks both dialects and wants no credential.

use http::HeaderMap;

use crate::domain::{Endpoint, Secret};

use crate::provider::upstream::{ForwardedHeaders, Provider};

/// The built-in stand-in.
pub(in crate::provider) struct Sandbox;

impl Provider for Sandbox {
    fn speaks(&self, _: Endpoint) -> bool {
        true
    }

    fn path(&self, endpoint: Endpoint) -> &'static str {
        match endpoint {
            Endpoint::ChatCompletions => "/v1/chat/completions",
            Endpoint::Messages => "/v1/messages",
        }
    }

    /// Nothing travels: the client answers in the process.
    fn headers(&self, _: Endpoint, _: Option<&Secret<String>>, _: &ForwardedHeaders) -> HeaderMap {
        HeaderMap::new()
    }
}
