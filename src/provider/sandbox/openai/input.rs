//! Reads the messages of a chat, and refuses what OpenAI refuses.

use serde_json::Value;

use super::super::conversation::{Conversation, Role};
use super::super::refusal::Refusal;
use super::super::request::Fields;
use super::super::tokens::{self, MEDIA_TOKENS, MESSAGE_TOKENS};

const ROLES: [&str; 6] = ["system", "assistant", "user", "function", "tool", "developer"];

/// The messages, and whether one of them has a cache breakpoint.
pub(super) fn conversation(fields: &Fields<'_>) -> Result<(Conversation, bool), Refusal> {
    let messages = fields.required("messages", fields.objects("messages")?)?;
    if messages.is_empty() {
        let message = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty \
                       array instead.";
        return Err(Refusal::of_field("messages", "empty_array", message));
    }
    let mut conversation = Conversation::default();
    let mut has_breakpoint = false;
    let mut open_calls: Vec<&str> = Vec::new();
    for message in &messages {
        let word = message.required("role", message.text("role")?)?;
        let role = match word {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" | "function" => Role::Tool,
            other => return Err(message.unknown_value("role", other, &ROLES)),
        };
        if word == "tool" {
            let id = message.required("tool_call_id", message.text("tool_call_id")?)?;
            let Some(position) = open_calls.iter().position(|open| *open == id) else {
                let text = "Invalid parameter: messages with role 'tool' must be a response to a preceding message \
                            with 'tool_calls'.";
                return Err(Refusal { param: Some(message.place("role")), ..Refusal::invalid(text) });
            };
            open_calls.remove(position);
        } else {
            check_answered(&open_calls, message)?;
        }
        let mut content = Content::read(message, role)?;
        has_breakpoint |= content.has_breakpoint;
        if role == Role::Assistant {
            open_calls = content.calls(message)?;
        }
        conversation.tokens += content.tokens() + MESSAGE_TOKENS;
        conversation.push(role, content.text);
    }
    if let Some(last) = messages.last() {
        check_answered(&open_calls, last)?;
    }
    Ok((conversation, has_breakpoint))
}

fn check_answered(open_calls: &[&str], message: &Fields<'_>) -> Result<(), Refusal> {
    if open_calls.is_empty() {
        return Ok(());
    }
    let text = format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. \
         The following tool_call_ids did not have response messages: {}",
        open_calls.join(", ")
    );
    Err(Refusal { param: Some(message.place("role")), ..Refusal::invalid(text) })
}

/// What one message holds.
struct Content {
    text: String,
    extra_tokens: u64,
    has_breakpoint: bool,
}

impl Content {
    fn read(message: &Fields<'_>, role: Role) -> Result<Self, Refusal> {
        let mut content = Self { text: String::new(), extra_tokens: 0, has_breakpoint: false };
        match message.get("content") {
            Some(Value::String(text)) => content.text.clone_from(text),
            Some(Value::Array(_)) => {
                for part in message.objects("content")?.unwrap_or_default() {
                    content.part(&part)?;
                }
            }
            Some(_) => return Err(message.wrong_type("content", "one of a string or array of objects")),
            // An assistant's message may consist of calls alone, or of a refusal.
            None if role == Role::Assistant => content.text.push_str(message.text("refusal")?.unwrap_or_default()),
            None => return Err(message.wrong_type("content", "a string")),
        }
        Ok(content)
    }

    fn part(&mut self, part: &Fields<'_>) -> Result<(), Refusal> {
        let known = ["text", "refusal", "image_url", "input_audio", "file"];
        self.has_breakpoint |= part.get("prompt_cache_breakpoint").is_some();
        match part.required("type", part.text("type")?)? {
            kind @ ("text" | "refusal") => {
                if !self.text.is_empty() {
                    self.text.push('\n');
                }
                self.text.push_str(part.required(kind, part.text(kind)?)?);
            }
            kind @ ("image_url" | "input_audio" | "file") => {
                let inner = part.required(kind, part.object(kind)?)?;
                if kind == "image_url" {
                    inner.required("url", inner.text("url")?)?;
                }
                self.extra_tokens += MEDIA_TOKENS;
            }
            other => return Err(part.unknown_value("type", other, &known)),
        }
        Ok(())
    }

    /// Counts the calls of an assistant's message and returns their ids.
    fn calls<'a>(&mut self, message: &Fields<'a>) -> Result<Vec<&'a str>, Refusal> {
        let mut ids = Vec::new();
        for call in message.objects("tool_calls")?.unwrap_or_default() {
            ids.push(call.required("id", call.text("id")?)?);
            let kind = call.text("type")?.unwrap_or("function");
            let inner = call.required(kind, call.object(kind)?)?;
            self.count_call(&inner)?;
        }
        if let Some(call) = message.object("function_call")? {
            self.count_call(&call)?;
        }
        Ok(ids)
    }

    fn count_call(&mut self, call: &Fields<'_>) -> Result<(), Refusal> {
        let name = call.required("name", call.text("name")?)?;
        let given = call.text("arguments")?.or(call.text("input")?).unwrap_or_default();
        self.extra_tokens += tokens::count(name) + tokens::count(given);
        Ok(())
    }

    fn tokens(&self) -> u64 {
        tokens::count(&self.text) + self.extra_tokens
    }
}
