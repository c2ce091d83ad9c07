//! The sandbox as a provider: it speaks both dialects and wants no credential.

use http::HeaderMap;

use crate::domain::{Endpoint, Secret};

use crate::provider::upstream::{ForwardedHeaders, Provider};

/// The built-in stand-in.
pub(in crate::provider) struct Sandbox;

impl Provider for Sandbox {
    fn asked_at(&self, endpoint: Endpoint) -> Option<Endpoint> {
        (!endpoint.is_opaque()).then_some(endpoint)
    }

    fn base_ends_in_v1(&self) -> bool {
        false
    }

    /// Nothing travels: the client answers in the process.
    fn headers(&self, _: Endpoint, _: Option<&Secret<String>>, _: &ForwardedHeaders) -> HeaderMap {
        HeaderMap::new()
    }
}
