//! What a model can do: facts of the price list that routing and translation both ask for.

use serde::{Deserialize, Serialize};

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
