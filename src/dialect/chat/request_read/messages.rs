//! Reads the messages of a request into turns: leading instructions apart, results of tools in the order of their calls.

use serde::de::IgnoredAny;

use crate::dialect::Untranslatable;
use crate::dialect::object::{Field, Object};
use crate::domain::chat::{AssistantPart, Marked, ResultPart, ToolCall, ToolResult, Turn, UserPart};

use super::parts;
use super::unknown_word;

/// A conversation as it was read.
#[derive(Default)]
pub(super) struct Conversation {
    pub(super) system: Vec<Marked<String>>,
    pub(super) turns: Vec<Turn>,
    /// Calls of the last assistant message, until something other than their results comes.
    open: Vec<OpenCall>,
}

struct OpenCall {
    path: String,
    id: String,
    name: String,
    is_older: bool,
    result: Option<Marked<UserPart>>,
}

pub(super) fn read(messages: &Field<'_>) -> Result<Conversation, Untranslatable> {
    let list = messages.list()?;
    if list.is_empty() {
        return Err(messages.refuse("messages is empty; send at least one message"));
    }
    let mut conversation = Conversation::default();
    for (index, field) in list.iter().enumerate() {
        let mut message = field.object()?;
        let role = message.required("role")?;
        match role.text()?.as_str() {
            "system" | "developer" => conversation.instructions(&mut message)?,
            "user" => conversation.user(&mut message)?,
            "assistant" => conversation.assistant(&mut message, index)?,
            "tool" => conversation.tool(&mut message)?,
            "function" => conversation.function(&mut message)?,
            other => return Err(unknown_word(&role, other, "developer, system, user, assistant or tool")),
        }
        message.finish()?;
    }
    let results = conversation.results()?;
    if !results.is_empty() {
        conversation.turns.push(Turn::User(results));
    }
    Ok(conversation)
}

impl Conversation {
    fn instructions(&mut self, message: &mut Object<'_>) -> Result<(), Untranslatable> {
        refuse_name(message)?;
        let texts = parts::texts(&message.required("content")?)?;
        self.close()?;
        match self.turns.is_empty() {
            true => self.system.extend(texts),
            false if texts.is_empty() => {}
            false => self.turns.push(Turn::System(texts)),
        }
        Ok(())
    }

    fn user(&mut self, message: &mut Object<'_>) -> Result<(), Untranslatable> {
        // A label that other shapes have no place for. Frameworks send it with every message, and it is no part of what was said.
        message.text("name")?;
        let content = message.required("content")?;
        let said = parts::user_parts(&content)?;
        if said.is_empty() {
            return Err(content.refuse(format!("{} is empty; leave the message out", content.path)));
        }
        let mut turn = self.results()?;
        turn.extend(said);
        self.turns.push(Turn::User(turn));
        Ok(())
    }

    fn assistant(&mut self, message: &mut Object<'_>, index: usize) -> Result<(), Untranslatable> {
        refuse_name(message)?;
        self.close()?;
        let mut turn: Vec<_> = thinking(message)?.into_iter().map(Marked::plain).collect();
        let content = message.take("content");
        if let Some(content) = &content {
            turn.extend(parts::assistant_parts(content)?);
        }
        let refusal = message.text("refusal")?.filter(|text| !text.is_empty());
        turn.extend(refusal.map(|text| Marked::plain(AssistantPart::Refusal(text))));
        if let Some(audio) = message.take("audio") {
            return Err(audio.refuse("an answer in audio can't be passed on; send its transcript as content"));
        }
        // An answer that is sent back as it came has an empty list here.
        if let Some(annotations) =
            message.take("annotations").filter(|field| !matches!(field.list(), Ok(list) if list.is_empty()))
        {
            return Err(annotations.refuse("annotations can't be passed on; leave them out"));
        }
        for field in message.list("tool_calls")? {
            self.call(&field, &mut turn)?;
        }
        if let Some(field) = message.take("function_call") {
            let id = format!("call_{index}");
            let (name, arguments) = function(&field)?;
            self.open_call(field.path.clone(), &id, &name, true);
            turn.push(Marked::plain(AssistantPart::ToolCall(ToolCall { id, name, arguments })));
        }
        if turn.is_empty() && content.is_none() {
            let place = message.path_of("content");
            return Err(Untranslatable::new(place.clone(), format!("{place} is missing, and there are no tool_calls")));
        }
        // A message of nothing but an empty text says nothing, and other shapes refuse it.
        if !turn.is_empty() {
            self.turns.push(Turn::Assistant(turn));
        }
        Ok(())
    }

    fn call(&mut self, field: &Field<'_>, turn: &mut Vec<Marked<AssistantPart>>) -> Result<(), Untranslatable> {
        let mut call = field.object()?;
        // A call that was put together from a stream may still have its number.
        call.count("index")?;
        if let Some(kind) = call.take("type").filter(|kind| !matches!(kind.text(), Ok(word) if word == "function")) {
            return Err(kind.refuse("only calls of function tools can be passed on"));
        }
        let id = call.required("id")?.text()?;
        let (name, arguments) = function(&call.required("function")?)?;
        call.finish()?;
        self.open_call(field.path.clone(), &id, &name, false);
        turn.push(Marked::plain(AssistantPart::ToolCall(ToolCall { id, name, arguments })));
        Ok(())
    }

    fn open_call(&mut self, path: String, id: &str, name: &str, is_older: bool) {
        let (id, name) = (id.to_owned(), name.to_owned());
        self.open.push(OpenCall { path, id, name, is_older, result: None });
    }

    fn tool(&mut self, message: &mut Object<'_>) -> Result<(), Untranslatable> {
        // Older clients repeat the function's name, which the call has already told.
        message.text("name")?;
        let id = message.required("tool_call_id")?;
        let text = id.text()?;
        let no_call = || id.refuse(format!("no call {text:?} without a result is in the assistant message before it"));
        let at = self.open.iter().position(|call| call.id == text && call.result.is_none()).ok_or_else(no_call)?;
        self.open[at].result = Some(result(text.clone(), &message.required("content")?)?);
        Ok(())
    }

    fn function(&mut self, message: &mut Object<'_>) -> Result<(), Untranslatable> {
        let name = message.required("name")?;
        let text = name.text()?;
        let no_call = || name.refuse(format!("no function_call of {text:?} is in the assistant message before it"));
        let is_it = |call: &OpenCall| call.is_older && call.name == text && call.result.is_none();
        let at = self.open.iter().position(is_it).ok_or_else(no_call)?;
        let id = self.open[at].id.clone();
        self.open[at].result = Some(result(id, &message.required("content")?)?);
        Ok(())
    }

    /// The results of the open calls in the order of the calls; refuses where one is missing.
    fn results(&mut self) -> Result<Vec<Marked<UserPart>>, Untranslatable> {
        let result = |call: OpenCall| {
            call.result.ok_or_else(|| {
                let reason = format!("the call {:?} has no result; send a tool message with its tool_call_id", call.id);
                Untranslatable::new(call.path, reason)
            })
        };
        std::mem::take(&mut self.open).into_iter().map(result).collect()
    }

    /// Ends a run of results that no user message follows.
    fn close(&mut self) -> Result<(), Untranslatable> {
        let results = self.results()?;
        if !results.is_empty() {
            self.turns.push(Turn::User(results));
        }
        Ok(())
    }
}

fn refuse_name(message: &mut Object<'_>) -> Result<(), Untranslatable> {
    match message.take("name") {
        None => Ok(()),
        Some(name) => Err(name.refuse("names of speakers can't be passed on; put the name into the content")),
    }
}

/// A function's name and arguments: the text of a JSON object, or nothing.
fn function(field: &Field<'_>) -> Result<(String, String), Untranslatable> {
    let mut function = field.object()?;
    let name = function.required("name")?.text()?;
    let place = function.path_of("arguments");
    let arguments = function.text("arguments")?.unwrap_or_default();
    function.finish()?;
    let trimmed = arguments.trim_ascii();
    let is_object = trimmed.starts_with('{') && serde_json::from_str::<IgnoredAny>(trimmed).is_ok();
    match (trimmed.is_empty(), is_object) {
        (true, _) => Ok((name, String::new())),
        (_, true) => Ok((name, arguments)),
        _ => Err(Untranslatable::new(place.clone(), format!("{place} must be the text of a JSON object"))),
    }
}

fn result(call_id: String, content: &Field<'_>) -> Result<Marked<UserPart>, Untranslatable> {
    let mut cache = None;
    let mut found = Vec::new();
    for part in parts::user_parts(content)? {
        cache = part.cache.or(cache);
        found.extend(match part.part {
            UserPart::Text(text) => Some(ResultPart::Text(text)),
            UserPart::Image(image) => Some(ResultPart::Image(image)),
            UserPart::Document(document) => Some(ResultPart::Document(document)),
            UserPart::ToolResult(_) => None,
        });
    }
    // This shape can't say that a tool failed.
    let result = ToolResult { call_id, content: found, is_error: false };
    Ok(Marked { part: UserPart::ToolResult(result), cache })
}

/// Thinking that a client sends back: blocks with their signatures where it kept them, else the bare text.
fn thinking(message: &mut Object<'_>) -> Result<Vec<AssistantPart>, Untranslatable> {
    let bare = message.text("reasoning_content")?;
    let other_name = message.text("reasoning")?;
    let mut found = Vec::new();
    for field in message.list("thinking_blocks")? {
        let mut block = field.object()?;
        let kind = block.required("type")?;
        found.push(match kind.text()?.as_str() {
            "thinking" => AssistantPart::Thinking {
                text: block.required("thinking")?.text()?,
                signature: block.text("signature")?.filter(|proof| !proof.is_empty()),
            },
            "redacted_thinking" => AssistantPart::RedactedThinking(block.required("data")?.text()?),
            other => return Err(unknown_word(&kind, other, "thinking or redacted_thinking")),
        });
        // A block that was put together from a stream still has its number.
        block.count("index")?;
        block.finish()?;
    }
    if found.is_empty() {
        let text = bare.filter(|text| !text.is_empty()).or(other_name).filter(|text| !text.is_empty());
        found.extend(text.map(|text| AssistantPart::Thinking { text, signature: None }));
    }
    Ok(found)
}
