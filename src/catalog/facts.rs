//! What is known of a model beside its name.

use serde::{Deserialize, Serialize};

use super::sheet::PriceSheet;

/// What a model is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Messages in, a message out.
    #[default]
    Chat,
    /// The older text completion.
    Completion,
    /// Text in, vectors out.
    Embedding,
    /// Reached by OpenAI's Responses API.
    Responses,
}

/// What a model can do and what it refuses; `None` where the list does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    /// Function tools.
    pub tools: Option<bool>,
    /// Several tool calls in one answer.
    pub parallel_tools: Option<bool>,
    /// The `tool_choice` field.
    pub tool_choice: Option<bool>,
    /// `Some(false)`: a forced choice of tool is refused.
    pub forced_tool_use: Option<bool>,
    /// Images in the input.
    pub vision: Option<bool>,
    /// PDF documents in the input.
    pub pdf: Option<bool>,
    /// Audio in the input.
    pub audio_in: Option<bool>,
    /// Answers that follow a JSON schema.
    pub json_schema: Option<bool>,
    /// A JSON schema as Anthropic's `output_config.format`.
    pub native_json_schema: Option<bool>,
    /// Thinks before it answers.
    pub reasoning: Option<bool>,
    /// Takes `thinking: {type: adaptive}`.
    pub adaptive_thinking: Option<bool>,
    /// Takes `thinking: {type: enabled, budget_tokens}`.
    pub budget_thinking: Option<bool>,
    /// Refuses `thinking: disabled`.
    pub thinking_always_on: Option<bool>,
    /// Has a prompt cache.
    pub prompt_cache: Option<bool>,
    /// `Some(false)`: an assistant message at the end is refused.
    pub prefill: Option<bool>,
    /// `Some(false)`: temperature, `top_p` and `top_k` are refused.
    pub sampling_params: Option<bool>,
    /// System messages.
    pub system: Option<bool>,
    /// System messages between others.
    pub mid_conversation_system: Option<bool>,
    /// Web searches that the provider runs.
    pub web_search: Option<bool>,
}

/// One model of a provider's list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFacts {
    /// The id that the list has it under.
    pub id: Box<str>,
    /// The list it stands in, such as `openai`.
    pub catalog: Box<str>,
    /// Other names of the same model, at the same price.
    pub aliases: Vec<Box<str>>,
    /// What it is for.
    pub mode: Mode,
    /// The most tokens that input and output may have together.
    pub context: Option<u64>,
    /// The most tokens that it puts out.
    pub max_output: Option<u64>,
    /// The length of an embedding's vector.
    pub dimensions: Option<u32>,
    /// The shortest prompt that its cache takes.
    pub prompt_cache_min_tokens: Option<u64>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// The API paths that it answers on; empty where the list does not say.
    pub endpoints: Vec<Box<str>>,
    /// The day on which it stops answering.
    pub retires_on: Option<jiff::civil::Date>,
    /// What it costs.
    pub prices: PriceSheet,
}
