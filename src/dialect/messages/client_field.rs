//! What the client calls the fields that a model may refuse.

use crate::dialect::Untranslatable;
use crate::domain::Endpoint;

/// A field of a request, whatever its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientField {
    OutputCap,
    Temperature,
    TopP,
    TopK,
    Stop,
    Format,
    Reasoning,
    Tools,
    ToolChoice,
    Verbosity,
    Conversation,
    Content,
    CallArguments,
    CallId,
    ResultId,
    Image,
    Document,
}

impl ClientField {
    /// Its name in the words of the path that the request came in by.
    pub(super) fn of(self, endpoint: Endpoint) -> &'static str {
        let (chat, responses, messages) = self.names();
        match endpoint {
            Endpoint::ChatCompletions => chat,
            Endpoint::Messages => messages,
            _ => responses,
        }
    }

    /// The request refused because of this field.
    pub(super) fn refused(self, endpoint: Endpoint, reason: impl Into<String>) -> Untranslatable {
        Untranslatable::new(self.of(endpoint), reason)
    }

    /// Chat completions, Responses, messages.
    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::OutputCap => ("max_completion_tokens", "max_output_tokens", "max_tokens"),
            Self::Temperature => ("temperature", "temperature", "temperature"),
            Self::TopP => ("top_p", "top_p", "top_p"),
            Self::TopK => ("top_k", "top_k", "top_k"),
            Self::Stop => ("stop", "stop", "stop_sequences"),
            Self::Format => ("response_format", "text.format", "output_config.format"),
            Self::Reasoning => ("reasoning_effort", "reasoning", "thinking"),
            Self::Tools => ("tools", "tools", "tools"),
            Self::ToolChoice => ("tool_choice", "tool_choice", "tool_choice"),
            Self::Verbosity => ("verbosity", "text.verbosity", "verbosity"),
            Self::Conversation => ("messages", "input", "messages"),
            Self::Content => ("messages[].content", "input[].content", "messages[].content"),
            Self::CallArguments => {
                ("messages[].tool_calls[].function.arguments", "input[].arguments", "messages[].content[].input")
            }
            Self::CallId => ("messages[].tool_calls[].id", "input[].call_id", "messages[].content[].id"),
            Self::ResultId => ("messages[].tool_call_id", "input[].call_id", "messages[].content[].tool_use_id"),
            Self::Image => {
                ("messages[].content[].image_url", "input[].content[].image_url", "messages[].content[].source")
            }
            Self::Document => {
                ("messages[].content[].file", "input[].content[].file_data", "messages[].content[].source")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_its_own_words() {
        assert_eq!(ClientField::Format.of(Endpoint::ChatCompletions), "response_format");
        assert_eq!(ClientField::Format.of(Endpoint::Messages), "output_config.format");
        assert_eq!(ClientField::Format.names().1, "text.format");
    }
}
