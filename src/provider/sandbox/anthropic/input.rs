//! Reads the messages of a request in Anthropic's shape, and refuses what Anthropic refuses.

use serde_json::Value;

use super::super::conversation::{Conversation, Role};
use super::super::refusal::Refusal;
use super::super::request::{AnthropicVersion, Call, Fields};
use super::super::tokens::{self, MEDIA_TOKENS, MESSAGE_TOKENS};

const BREAKPOINTS_MAX: usize = 4;

/// Where `cache_control` stands, counted over the whole request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Caching {
    pub(super) breakpoints: usize,
    /// One of them lasts an hour.
    pub(super) is_long: bool,
}

impl Caching {
    pub(super) fn read(call: &Call<'_>) -> Result<Self, Refusal> {
        let fields = call.fields();
        let mut caching = Self::default();
        caching.note(&fields)?;
        for name in ["system", "tools"] {
            if fields.get(name).is_some_and(Value::is_array) {
                caching.note_all(&fields, name)?;
            }
        }
        for message in fields.objects("messages")?.unwrap_or_default() {
            if message.get("content").is_some_and(Value::is_array) {
                caching.note_all(&message, "content")?;
            }
        }
        if caching.breakpoints > BREAKPOINTS_MAX {
            return Err(Refusal::invalid(format!(
                "A maximum of {BREAKPOINTS_MAX} blocks with cache_control may be provided. Found {}.",
                caching.breakpoints
            )));
        }
        Ok(caching)
    }

    fn note_all(&mut self, fields: &Fields<'_>, name: &str) -> Result<(), Refusal> {
        for block in fields.objects(name)?.unwrap_or_default() {
            self.note(&block)?;
            if block.get("content").is_some_and(Value::is_array) {
                for inner in block.objects("content")?.unwrap_or_default() {
                    self.note(&inner)?;
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, block: &Fields<'_>) -> Result<(), Refusal> {
        let Some(control) = block.object("cache_control")? else { return Ok(()) };
        match control.required("type", control.text("type")?)? {
            "ephemeral" => self.breakpoints += 1,
            other => return Err(control.unknown_value("type", other, &["ephemeral"])),
        }
        match control.text("ttl")? {
            None | Some("5m") => {}
            Some("1h") => self.is_long = true,
            Some(other) => return Err(control.unknown_value("ttl", other, &["5m", "1h"])),
        }
        Ok(())
    }
}

/// Reads `system` and `messages`.
pub(super) fn conversation(fields: &Fields<'_>, version: AnthropicVersion) -> Result<Conversation, Refusal> {
    let messages = fields.required("messages", fields.objects("messages")?)?;
    if messages.is_empty() {
        return Err(Refusal::invalid("messages: at least one message is required"));
    }
    let mut reader = Reader { version, conversation: Conversation::default(), open_calls: Vec::new() };
    reader.system(fields)?;
    for (index, message) in messages.iter().enumerate() {
        reader.message(message, index + 1 == messages.len())?;
    }
    // A call in the very last message is a prefill, which nobody has to answer yet.
    Ok(reader.conversation)
}

struct Reader {
    version: AnthropicVersion,
    conversation: Conversation,
    /// Ids of the calls in the message before.
    open_calls: Vec<String>,
}

impl Reader {
    fn system(&mut self, fields: &Fields<'_>) -> Result<(), Refusal> {
        let text = match fields.get("system") {
            None => return Ok(()),
            Some(Value::String(text)) => text.clone(),
            Some(_) => {
                let mut texts = Vec::new();
                for block in fields.objects("system")?.unwrap_or_default() {
                    match block.required("type", block.text("type")?)? {
                        "text" => texts.push(block_text(&block)?),
                        other => return Err(block.unknown_value("type", other, &["text"])),
                    }
                }
                texts.join("\n")
            }
        };
        self.conversation.tokens += tokens::count(&text) + MESSAGE_TOKENS;
        self.conversation.push(Role::System, text);
        Ok(())
    }

    fn message(&mut self, message: &Fields<'_>, is_last: bool) -> Result<(), Refusal> {
        let role = match message.required("role", message.text("role")?)? {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            other => return Err(message.unknown_value("role", other, &["user", "assistant", "system"])),
        };
        let content = message.required("content", message.get("content"))?;
        let calls = std::mem::take(&mut self.open_calls);
        self.conversation.tokens += MESSAGE_TOKENS;
        let mut text = String::new();
        let mut results: Vec<String> = Vec::new();
        match content {
            Value::String(words) => text.clone_from(words),
            Value::Array(_) => {
                for block in message.objects("content")?.unwrap_or_default() {
                    self.block(&block, role, &calls, &mut text, &mut results)?;
                }
            }
            _ => return Err(message.wrong_type("content", "a string or list")),
        }
        let missing: Vec<_> = calls.iter().filter(|id| !results.contains(id)).map(String::as_str).collect();
        if !missing.is_empty() {
            return Err(Refusal::invalid(format!(
                "{}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` \
                 block must have a corresponding `tool_result` block in the next message.",
                message.at(),
                missing.join(", ")
            )));
        }
        let is_empty = content.as_str().map_or_else(|| content.as_array().is_some_and(Vec::is_empty), str::is_empty);
        if is_empty && !(is_last && role == Role::Assistant) {
            return Err(Refusal::invalid(format!(
                "{}: all messages must have non-empty content except for the optional final assistant message",
                message.at()
            )));
        }
        if is_last && role == Role::Assistant && text.ends_with(char::is_whitespace) {
            return Err(Refusal::invalid("messages: final assistant content cannot end with trailing whitespace"));
        }
        self.conversation.tokens += tokens::count(&text);
        // A message of results alone is no word of the user.
        if role != Role::User || !text.is_empty() || results.is_empty() {
            self.conversation.push(role, text);
        }
        Ok(())
    }

    fn block(
        &mut self,
        block: &Fields<'_>,
        role: Role,
        calls: &[String],
        text: &mut String,
        results: &mut Vec<String>,
    ) -> Result<(), Refusal> {
        let kind = block.required("type", block.text("type")?)?;
        if role == Role::System && kind != "text" {
            return Err(block.unknown_value("type", kind, &["text"]));
        }
        match kind {
            "text" => {
                let has_citations = block.list("citations")?.is_some_and(|citations| !citations.is_empty());
                if has_citations && role == Role::User && self.version == AnthropicVersion::V2026 {
                    return Err(Refusal::invalid(format!(
                        "{}.citations: not supported in user messages with anthropic-version 2026-10-21",
                        block.at()
                    )));
                }
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(block_text(block)?);
            }
            "document" if role == Role::Assistant && self.version == AnthropicVersion::V2026 => {
                return Err(Refusal::invalid(format!(
                    "{}: document blocks are not supported in assistant messages with anthropic-version 2026-10-21",
                    block.at()
                )));
            }
            "image" | "document" => {
                block.required("source", block.object("source")?)?;
                self.conversation.tokens += MEDIA_TOKENS;
            }
            "tool_use" => {
                let id = block.required("id", block.text("id")?)?;
                let name = block.required("name", block.text("name")?)?;
                let input = block.required("input", block.object("input")?)?;
                let input = Value::Object(input.map().clone());
                self.conversation.tokens += tokens::count(name) + tokens::count_json(&input);
                self.open_calls.push(id.to_owned());
            }
            "tool_result" => {
                let id = block.required("tool_use_id", block.text("tool_use_id")?)?;
                if !calls.iter().any(|call| call == id) {
                    return Err(Refusal::invalid(format!(
                        "{}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block \
                         must have a corresponding `tool_use` block in the previous message.",
                        block.at()
                    )));
                }
                results.push(id.to_owned());
                self.result(block)?;
            }
            "thinking" => {
                let thinking = block.required("thinking", block.text("thinking")?)?;
                block.required("signature", block.text("signature")?)?;
                self.conversation.tokens += tokens::count(thinking);
            }
            // Blocks of tools that Anthropic runs, and whatever is new: they count as what they are.
            _ => self.conversation.tokens += tokens::count_json(&Value::Object(block.map().clone())),
        }
        Ok(())
    }

    fn result(&mut self, block: &Fields<'_>) -> Result<(), Refusal> {
        let mut text = String::new();
        match block.get("content") {
            None => {}
            Some(Value::String(words)) => text.clone_from(words),
            Some(_) => {
                for inner in block.objects("content")?.unwrap_or_default() {
                    match inner.text("text")? {
                        Some(words) if !text.is_empty() => {
                            text.push('\n');
                            text.push_str(words);
                        }
                        Some(words) => text.push_str(words),
                        None => self.conversation.tokens += MEDIA_TOKENS,
                    }
                }
            }
        }
        block.flag("is_error")?;
        self.conversation.tokens += tokens::count(&text);
        self.conversation.push(Role::Tool, text);
        Ok(())
    }
}

/// The text of a block, which has to say something.
fn block_text<'a>(block: &Fields<'a>) -> Result<&'a str, Refusal> {
    let text = block.required("text", block.text("text")?)?;
    if text.is_empty() {
        return Err(Refusal::invalid(format!("{}: text content blocks must be non-empty", block.at())));
    }
    if text.trim().is_empty() {
        return Err(Refusal::invalid(format!("{}: text content blocks must contain non-whitespace text", block.at())));
    }
    Ok(text)
}
