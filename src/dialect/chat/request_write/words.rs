//! What the client calls the things that a provider may not take: refusals speak its words.

use crate::domain::Endpoint;

/// The names of a client's fields.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) conversation: &'static str,
    pub(super) system: &'static str,
    pub(super) output_cap: &'static str,
    pub(super) stop: &'static str,
    pub(super) format: &'static str,
    pub(super) thinking: &'static str,
    pub(super) effort: &'static str,
    pub(super) verbosity: &'static str,
    pub(super) user: &'static str,
    /// What stands between `tools[0].` and the fields of a function.
    pub(super) inside_tool: &'static str,
}

const CHAT: Words = Words {
    conversation: "messages",
    system: "messages",
    output_cap: "max_completion_tokens",
    stop: "stop",
    format: "response_format",
    thinking: "reasoning_effort",
    effort: "reasoning_effort",
    verbosity: "verbosity",
    user: "safety_identifier",
    inside_tool: "function.",
};

const MESSAGES: Words = Words {
    conversation: "messages",
    system: "system",
    output_cap: "max_tokens",
    stop: "stop_sequences",
    format: "output_config.format",
    thinking: "thinking",
    effort: "output_config.effort",
    verbosity: "verbosity",
    user: "metadata.user_id",
    inside_tool: "",
};

const RESPONSES: Words = Words {
    conversation: "input",
    system: "instructions",
    output_cap: "max_output_tokens",
    stop: "stop",
    format: "text.format",
    thinking: "reasoning",
    effort: "reasoning.effort",
    verbosity: "text.verbosity",
    user: "safety_identifier",
    inside_tool: "",
};

/// The words of the client that came in by a path.
pub(super) fn words(endpoint: Endpoint) -> &'static Words {
    match endpoint {
        Endpoint::Messages => &MESSAGES,
        Endpoint::Responses => &RESPONSES,
        _ => &CHAT,
    }
}
