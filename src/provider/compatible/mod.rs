//! Servers that speak OpenAI's chat completions: vLLM, Ollama, llama.cpp, Groq, Mistral, OpenRouter and many more.

use http::HeaderMap;

use crate::domain::{Endpoint, Secret};

use super::openai::OpenAi;
use super::upstream::{ForwardedHeaders, Provider, is_openai};

/// Any OpenAI-compatible server.
pub(super) struct Compatible;

impl Provider for Compatible {
    fn speaks(&self, endpoint: Endpoint) -> bool {
        is_openai(endpoint)
    }

    fn path(&self, endpoint: Endpoint) -> &'static str {
        OpenAi.path(endpoint)
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
    fn output_cap_field(&self) -> &'static str {
        "max_tokens"
    }
}
