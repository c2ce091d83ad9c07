//! What differs between the servers that speak chat completions, as data.
//!
//! A server is known by its host, by Ollama's port, or by the name that the operator gave the provider. One that isn't known is spoken to in
//! the way that most of them understand.

/// What differs between the servers that speak chat completions.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one fact about a server, and none depends on another")]
pub struct Server {
    /// What a refusal calls it.
    pub(super) name: &'static str,
    /// Whether it knows `max_completion_tokens`; the others know only `max_tokens`, which OpenAI's newer models refuse.
    pub(super) newer_output_cap: bool,
    /// Whether several texts may be a list of parts; else they are joined.
    pub(super) text_parts: bool,
    /// Whether system messages may stand between others, where the model's facts don't say.
    pub(super) later_system: bool,
    /// Whether it takes pictures by their address.
    pub(super) image_urls: bool,
    /// Whether it takes PDF files.
    pub(super) files: bool,
    /// Whether an assistant's refusal has its own field; else it is sent as text.
    pub(super) refusal_field: bool,
    /// Where the client's name of its end user goes.
    pub(super) user: UserField,
    /// Whether it takes `top_k`.
    pub(super) top_k: bool,
    /// How it is told to think.
    pub(super) reasoning: ReasoningField,
    /// Whether earlier thinking is given back to it, as `reasoning_content`.
    pub(super) takes_thinking: bool,
    /// Whether it takes `verbosity`.
    pub(super) verbosity: bool,
    /// Whether it has service tiers, and `prompt_cache_key`.
    pub(super) tiers_and_cache_key: bool,
    /// What ids of tool calls look like.
    pub(super) call_ids: CallIds,
    /// The most characters of a tool's name.
    pub(super) tool_name_max: Option<usize>,
    /// The word for "call at least one tool".
    pub(super) required_word: &'static str,
    /// Whether it takes a JSON schema for its answer, where the model's facts don't say.
    pub(super) json_schema: bool,
    /// The most texts that end an answer.
    pub(super) stop_max: Option<usize>,
    /// What it makes of an assistant's message at the end.
    pub(super) prefill: Prefill,
    /// Whether it takes `stream_options`; the others send usage without being asked.
    pub(super) stream_options: bool,
}

/// Where the client's name of its end user goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UserField {
    /// `safety_identifier`, of at most 64 characters.
    SafetyIdentifier,
    /// `user`.
    User,
    /// Nowhere: the server refuses fields that it doesn't know.
    None,
}

/// How a server is told to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReasoningField {
    /// `reasoning_effort`.
    Effort,
    /// `reasoning: {effort, max_tokens, enabled}`.
    Object,
    /// `thinking: {type}`, and `reasoning_effort` beside it.
    Thinking,
}

/// What ids of tool calls look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallIds {
    /// Anything.
    Any,
    /// At most so many characters.
    UpTo(usize),
    /// Exactly nine letters and digits.
    NineAlphanumerics,
}

/// What a server makes of an assistant's message at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefill {
    /// It answers after it instead of going on with it.
    Refused,
    /// It goes on with it by itself.
    ByItself,
    /// With `add_generation_prompt: false` and `continue_final_message: true`.
    ContinueFinalMessage,
    /// With `prefix: true` on the message.
    Prefix,
}

impl Server {
    /// OpenAI itself.
    pub const OPENAI: Self = Self {
        name: "OpenAI",
        newer_output_cap: true,
        text_parts: true,
        files: true,
        refusal_field: true,
        user: UserField::SafetyIdentifier,
        verbosity: true,
        tiers_and_cache_key: true,
        call_ids: CallIds::UpTo(40),
        tool_name_max: Some(64),
        stop_max: Some(4),
        ..Self::GENERIC
    };

    /// A server of which nothing is known.
    pub const GENERIC: Self = Self {
        name: "its server",
        newer_output_cap: false,
        text_parts: false,
        later_system: true,
        image_urls: true,
        files: false,
        refusal_field: false,
        user: UserField::User,
        top_k: false,
        reasoning: ReasoningField::Effort,
        takes_thinking: false,
        verbosity: false,
        tiers_and_cache_key: false,
        call_ids: CallIds::Any,
        tool_name_max: None,
        required_word: "required",
        json_schema: true,
        stop_max: None,
        prefill: Prefill::Refused,
        stream_options: true,
    };

    const OLLAMA: Self =
        Self { name: "Ollama", top_k: true, image_urls: false, prefill: Prefill::ByItself, ..Self::GENERIC };

    /// Its chat templates mostly refuse a system message that isn't the first.
    const VLLM: Self = Self {
        name: "vLLM",
        later_system: false,
        top_k: true,
        takes_thinking: true,
        prefill: Prefill::ContinueFinalMessage,
        ..Self::GENERIC
    };

    /// The templates are the same as vLLM's.
    const LLAMA_CPP: Self = Self {
        name: "llama.cpp",
        later_system: false,
        top_k: true,
        takes_thinking: true,
        prefill: Prefill::ByItself,
        ..Self::GENERIC
    };

    const DEEPSEEK: Self = Self {
        name: "DeepSeek",
        takes_thinking: true,
        reasoning: ReasoningField::Thinking,
        json_schema: false,
        ..Self::GENERIC
    };

    const OPENROUTER: Self = Self {
        name: "OpenRouter",
        text_parts: true,
        files: true,
        top_k: true,
        reasoning: ReasoningField::Object,
        prefill: Prefill::ByItself,
        ..Self::GENERIC
    };

    const GROQ: Self = Self { name: "Groq", stop_max: Some(4), prefill: Prefill::ByItself, ..Self::GENERIC };

    /// It refuses fields that it doesn't know, and sends usage without being asked.
    const MISTRAL: Self = Self {
        name: "Mistral",
        later_system: false,
        user: UserField::None,
        call_ids: CallIds::NineAlphanumerics,
        required_word: "any",
        prefill: Prefill::Prefix,
        stream_options: false,
        ..Self::GENERIC
    };

    /// The server at an address, as far as it can be told.
    pub fn of(base_url_host: &str, port: Option<u16>, provider_name: &str) -> &'static Self {
        const OLLAMA_PORT: u16 = 11434;
        let host = base_url_host.to_ascii_lowercase();
        let by_host = HOSTS.iter().find(|(domain, _)| {
            // A subdomain is the same company's: `us.api.openai.com`.
            host.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        });
        if let Some((_, server)) = by_host {
            return server;
        }
        if port == Some(OLLAMA_PORT) {
            return &Self::OLLAMA;
        }
        let name = provider_name.to_ascii_lowercase();
        NAMES.iter().find(|(word, _)| name.contains(word)).map_or(&Self::GENERIC, |(_, server)| server)
    }
}

const HOSTS: &[(&str, Server)] = &[
    ("api.openai.com", Server::OPENAI),
    ("api.groq.com", Server::GROQ),
    ("api.mistral.ai", Server::MISTRAL),
    ("openrouter.ai", Server::OPENROUTER),
    ("api.deepseek.com", Server::DEEPSEEK),
];

/// Words in the names that operators give; the first that fits counts, so `ollama` stands before `llama`.
const NAMES: &[(&str, Server)] = &[
    ("ollama", Server::OLLAMA),
    ("vllm", Server::VLLM),
    ("llama", Server::LLAMA_CPP),
    ("groq", Server::GROQ),
    ("openrouter", Server::OPENROUTER),
    ("mistral", Server::MISTRAL),
    ("deepseek", Server::DEEPSEEK),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_host_then_port_then_name() {
        let check = |host: &str, port, name: &str, expected: &str| {
            assert_eq!(Server::of(host, port, name).name, expected, "{host} {port:?} {name}");
        };
        check("api.openai.com", None, "x", "OpenAI");
        check("EU.api.openai.com", Some(443), "x", "OpenAI");
        check("api.groq.com", None, "mistral", "Groq");
        check("api.mistral.ai", None, "x", "Mistral");
        check("openrouter.ai", None, "x", "OpenRouter");
        check("api.deepseek.com", None, "x", "DeepSeek");
        check("localhost", Some(11434), "vllm", "Ollama");
        check("localhost", Some(8000), "my-vLLM", "vLLM");
        check("gpu", None, "Ollama-2", "Ollama");
        check("gpu", None, "llama-cpp", "llama.cpp");
        check("gpu", None, "groq-like", "Groq");
        check("gpu", None, "mistral", "Mistral");
        check("gpu", None, "deepseek", "DeepSeek");
        check("gpu", None, "openrouter", "OpenRouter");
        check("notapi.openai.com.evil.example", Some(80), "lab", "its server");
        check("evilapi.groq.com", None, "lab", "its server");
    }
}
