//! Servers that speak OpenAI's chat completions: vLLM, Ollama, llama.cpp, Groq, Mistral, OpenRouter and many more.

use http::HeaderMap;

use crate::domain::{Endpoint, Secret};

use super::openai::OpenAi;
use super::upstream::{ForwardedHeaders, Provider};

/// Any OpenAI-compatible server.
pub(super) struct Compatible;

impl Provider for Compatible {
    fn asked_at(&self, endpoint: Endpoint) -> Option<Endpoint> {
        match endpoint {
            // Few of these servers have it, and those keep no state: chat completions say the same.
            Endpoint::Responses => Some(Endpoint::ChatCompletions),
            other => OpenAi.asked_at(other),
        }
    }

    fn headers(
        &self,
        endpoint: Endpoint,
        credential: Option<&Secret<String>>,
        forwarded: &ForwardedHeaders,
    ) -> HeaderMap {
        OpenAi.headers(endpoint, credential, forwarded)
    }

    /// Most of these servers know only the older name.
    fn output_cap_field(&self, _: Endpoint) -> &'static str {
        "max_tokens"
    }
}
