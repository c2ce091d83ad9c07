//! OpenAI's own API.

mod decode;
mod other;
mod responses;
mod said;
pub mod usage;

use http::{HeaderMap, header};

use crate::domain::{Endpoint, Secret};

use super::upstream::{ForwardedHeaders, Provider, base_headers, secret_value};

pub(super) use decode::OpenAiDecoder;
pub(super) use other::{CompletionsDecoder, EmbeddingsDecoder, OpaqueDecoder};
pub(super) use responses::ResponsesDecoder;

/// OpenAI.
pub(super) struct OpenAi;

impl Provider for OpenAi {
    fn asked_at(&self, endpoint: Endpoint) -> Option<Endpoint> {
        match endpoint {
            Endpoint::Messages => Some(Endpoint::ChatCompletions),
            Endpoint::CountTokens | Endpoint::MessageBatches => None,
            own => Some(own),
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
