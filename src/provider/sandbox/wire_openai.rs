//! What OpenAI's chat, completions, embeddings and models answer, field by field in its order.

#![expect(clippy::struct_field_names, reason = "these are the names on the wire")]
#![expect(clippy::option_option, reason = "on the wire, null and left out are two things")]

use serde::Serialize;

/// Usage of chat, completions and embeddings.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Usage {
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
    pub(super) total_tokens: u64,
    pub(super) prompt_tokens_details: PromptDetails,
    pub(super) completion_tokens_details: CompletionDetails,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct PromptDetails {
    pub(super) cached_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_write_tokens: Option<u64>,
    pub(super) audio_tokens: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct CompletionDetails {
    pub(super) reasoning_tokens: u64,
    pub(super) audio_tokens: u64,
    pub(super) accepted_prediction_tokens: u64,
    pub(super) rejected_prediction_tokens: u64,
}

/// `chat.completion`.
#[derive(Debug, Serialize)]
pub(super) struct Chat<'a> {
    pub(super) id: &'a str,
    pub(super) object: &'static str,
    pub(super) created: u64,
    pub(super) model: &'a str,
    pub(super) choices: Vec<ChatChoice<'a>>,
    pub(super) usage: Usage,
    pub(super) service_tier: &'a str,
    pub(super) system_fingerprint: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct ChatChoice<'a> {
    pub(super) index: usize,
    pub(super) message: ChatMessage<'a>,
    pub(super) logprobs: Option<Logprobs<'a>>,
    pub(super) finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct ChatMessage<'a> {
    pub(super) role: &'static str,
    pub(super) content: Option<&'a str>,
    pub(super) refusal: Option<&'a str>,
    pub(super) annotations: [(); 0],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<ToolCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_call: Option<Function<'a>>,
}

/// A tool call, whole or one piece of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct ToolCall<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) r#type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function: Option<Function<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) custom: Option<Custom<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct Function<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    pub(super) arguments: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct Custom<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    pub(super) input: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct Logprobs<'a> {
    pub(super) content: Vec<Logprob<'a>>,
    pub(super) refusal: Option<()>,
}

#[derive(Debug, Serialize)]
pub(super) struct Logprob<'a> {
    pub(super) token: &'a str,
    pub(super) logprob: f64,
    pub(super) bytes: &'a [u8],
    pub(super) top_logprobs: Vec<TopLogprob<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct TopLogprob<'a> {
    pub(super) token: &'a str,
    pub(super) logprob: f64,
    pub(super) bytes: &'a [u8],
}

/// `chat.completion.chunk`.
#[derive(Debug, Serialize)]
pub(super) struct Chunk<'a> {
    pub(super) id: &'a str,
    pub(super) object: &'static str,
    pub(super) created: u64,
    pub(super) model: &'a str,
    pub(super) service_tier: &'a str,
    pub(super) system_fingerprint: &'static str,
    pub(super) choices: &'a [ChunkChoice<'a>],
    /// Left out unless the client asked for usage, and then null in all chunks but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Option<Usage>>,
}

#[derive(Debug, Serialize)]
pub(super) struct ChunkChoice<'a> {
    pub(super) index: usize,
    pub(super) delta: Delta<'a>,
    pub(super) logprobs: Option<Logprobs<'a>>,
    pub(super) finish_reason: Option<&'static str>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_calls: Option<[ToolCall<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_call: Option<Function<'a>>,
}

/// `text_completion`, whole or a chunk of it.
#[derive(Debug, Serialize)]
pub(super) struct Completion<'a> {
    pub(super) id: &'a str,
    pub(super) object: &'static str,
    pub(super) created: u64,
    pub(super) model: &'a str,
    pub(super) choices: Vec<CompletionChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Option<Usage>>,
    pub(super) system_fingerprint: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct CompletionChoice<'a> {
    pub(super) text: &'a str,
    pub(super) index: usize,
    pub(super) logprobs: Option<()>,
    pub(super) finish_reason: Option<&'static str>,
}

/// A list of embeddings.
#[derive(Debug, Serialize)]
pub(super) struct Embeddings<'a> {
    pub(super) object: &'static str,
    pub(super) data: Vec<Embedding>,
    pub(super) model: &'a str,
    pub(super) usage: EmbeddingUsage,
}

#[derive(Debug, Serialize)]
pub(super) struct Embedding {
    pub(super) object: &'static str,
    pub(super) index: usize,
    pub(super) embedding: Vector,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Vector {
    Floats(Vec<f32>),
    Base64(String),
}

#[derive(Debug, Serialize)]
pub(super) struct EmbeddingUsage {
    pub(super) prompt_tokens: u64,
    pub(super) total_tokens: u64,
}
