//! OpenAI's own API.

mod decode;
pub mod usage;

use http::{HeaderMap, header};

use crate::domain::{Endpoint, Secret};

use super::upstream::{ForwardedHeaders, Provider, base_headers, is_openai, secret_value};

pub(super) use decode::OpenAiDecoder;

/// OpenAI.
pub(super) struct OpenAi;

impl Provider for OpenAi {
    fn speaks(&self, endpoint: Endpoint) -> bool {
        is_openai(endpoint)
    }

    fn path(&self, endpoint: Endpoint) -> &'static str {
        match endpoint {
            Endpoint::ChatCompletions => "/chat/completions",
            Endpoint::Messages => "/messages",
        }
    }

    fn headers(&self, _: Endpoint, credential: Option<&Secret<String>>, _: &ForwardedHeaders) -> HeaderMap {
        let mut headers = base_headers();
        if let Some(value) = credential.and_then(|credential| secret_value("Bearer ", credential)) {
            headers.insert(header::AUTHORIZATION, value);
        }
        headers
    }
}
