//! A client's messages: turns and their blocks.
//!
//! Calls and their results are checked against each other as Anthropic does it: a provider of another shape would complain
//! in words that the client can't place.

use crate::dialect::Untranslatable;
use crate::dialect::compact::compact;
use crate::dialect::object::{Field, Object, must_be};
use crate::domain::chat::{
    AssistantPart, CacheMark, Document, DocumentSource, Image, Marked, Media, ResultPart, ToolCall, ToolResult, Turn,
    UserPart,
};

use super::request_read::cache_mark;

/// What Anthropic takes as pictures.
pub(super) const IMAGE_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// Reads `messages`.
pub(super) fn turns(messages: &Field<'_>, is_strict: bool) -> Result<Vec<Turn>, Untranslatable> {
    let list = messages.list()?;
    if list.is_empty() {
        return Err(Untranslatable::new("messages", "there is no message; send at least one"));
    }
    let last = list.len() - 1;
    let mut reader = Reader { is_strict, ..Reader::default() };
    for (index, message) in list.into_iter().enumerate() {
        reader.message(message.object()?, index == last)?;
    }
    reader.expect_no_open_call()?;
    Ok(reader.turns)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    User,
    Assistant,
    System,
}

#[derive(Debug, Default)]
struct Reader {
    is_strict: bool,
    turns: Vec<Turn>,
    role: Option<Role>,
    /// Calls that wait for their results.
    open_calls: Vec<OpenCall>,
    /// Whether the user's turn has come to something that is no result.
    is_past_results: bool,
}

#[derive(Debug)]
struct OpenCall {
    id: String,
    at: String,
}

impl Reader {
    fn message(&mut self, mut message: Object<'_>, is_last: bool) -> Result<(), Untranslatable> {
        let role = match message.required_text("role")?.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            _ => return Err(must_be(message.path_of("role"), "user, assistant or system")),
        };
        self.change_to(role)?;
        let content = message.required("content")?;
        message.finish()?;
        let (words, blocks) = if content.is_text() {
            (Some(content.text()?).filter(|words| !words.is_empty()), Vec::new())
        } else {
            (None, content.list()?)
        };
        if words.is_none() && blocks.is_empty() && is_last && role == Role::Assistant {
            // The beginning of the answer may be empty: then there is none.
            return Ok(());
        }
        if words.as_ref().map_or(blocks.is_empty(), |words| words.trim().is_empty()) {
            return Err(content.refuse("the message says nothing; leave it out or give it a text"));
        }
        let turn = match role {
            Role::User => Turn::User(self.user(words, blocks)?),
            Role::Assistant => Turn::Assistant(self.assistant(words, blocks)?),
            Role::System => {
                let words = words.map(|words| Ok(Marked::plain(words)));
                Turn::System(words.into_iter().chain(blocks.iter().map(block_text)).collect::<Result<_, _>>()?)
            }
        };
        self.turns.push(turn);
        Ok(())
    }

    /// Neighbours of one role are one turn, as Anthropic has it; only the user's next to the assistant's may hold results.
    fn change_to(&mut self, role: Role) -> Result<(), Untranslatable> {
        if self.role != Some(role) {
            if (self.role, role) != (Some(Role::Assistant), Role::User) {
                self.expect_no_open_call()?;
            }
            self.is_past_results = false;
            self.role = Some(role);
        }
        Ok(())
    }

    fn expect_no_open_call(&self) -> Result<(), Untranslatable> {
        self.open_calls.first().map_or(Ok(()), |call| {
            let reason = format!(
                "the call {} has no tool_result in the user message right after it; send one for every call",
                call.id
            );
            Err(Untranslatable::new(call.at.clone(), reason))
        })
    }

    fn user(&mut self, words: Option<String>, blocks: Vec<Field<'_>>) -> Result<Vec<Marked<UserPart>>, Untranslatable> {
        let mut parts: Vec<_> = words.map(|words| Marked::plain(UserPart::Text(words))).into_iter().collect();
        self.is_past_results |= !parts.is_empty();
        for block in blocks {
            let mut fields = block.object()?;
            let kind = fields.required_text("type")?;
            let mut inner_mark = None;
            let part = match kind.as_str() {
                "text" => UserPart::Text(self.users_text(&mut fields)?),
                "image" => UserPart::Image(image(&mut fields)?),
                "document" => UserPart::Document(document(&mut fields)?),
                "tool_result" => UserPart::ToolResult(self.tool_result(&mut fields, &mut inner_mark)?),
                _ => return Err(unknown_block(&fields, &kind)),
            };
            self.is_past_results |= !matches!(part, UserPart::ToolResult(_));
            let cache = cache_mark(&mut fields)?.or(inner_mark);
            fields.finish()?;
            parts.push(Marked { part, cache });
        }
        Ok(parts)
    }

    fn users_text(&self, fields: &mut Object<'_>) -> Result<String, Untranslatable> {
        if !fields.list("citations")?.is_empty() {
            let reason = if self.is_strict {
                "anthropic-version 2026-10-21 has no citations on a user's text; leave them out"
            } else {
                "citations can't be translated; leave them out"
            };
            return Err(Untranslatable::new(fields.path_of("citations"), reason));
        }
        text(fields)
    }

    fn tool_result(
        &mut self,
        fields: &mut Object<'_>,
        mark: &mut Option<CacheMark>,
    ) -> Result<ToolResult, Untranslatable> {
        if self.is_past_results {
            let reason = "results of tools stand before everything else in a user's turn; move it to the front";
            return Err(Untranslatable::new(fields.path().to_owned(), reason));
        }
        let call_id = fields.required_text("tool_use_id")?;
        let Some(open) = self.open_calls.iter().position(|call| call.id == call_id) else {
            let reason = format!("no tool_use of the message before has the id {call_id}; answer each call once");
            return Err(Untranslatable::new(fields.path_of("tool_use_id"), reason));
        };
        self.open_calls.remove(open);
        let content = match fields.take("content") {
            None => Vec::new(),
            Some(value) if value.is_text() => {
                Some(value.text()?).filter(|text| !text.is_empty()).map(ResultPart::Text).into_iter().collect()
            }
            Some(value) => value.list()?.iter().map(|block| result_part(block, mark)).collect::<Result<_, _>>()?,
        };
        Ok(ToolResult { call_id, content, is_error: fields.flag("is_error")?.unwrap_or(false) })
    }

    fn assistant(
        &mut self,
        words: Option<String>,
        blocks: Vec<Field<'_>>,
    ) -> Result<Vec<Marked<AssistantPart>>, Untranslatable> {
        let mut parts: Vec<_> = words.map(|words| Marked::plain(AssistantPart::Text(words))).into_iter().collect();
        for block in blocks {
            let mut fields = block.object()?;
            let kind = fields.required_text("type")?;
            let part = match kind.as_str() {
                "text" => AssistantPart::Text(assistants_text(&mut fields)?),
                "thinking" => AssistantPart::Thinking {
                    text: fields.text("thinking")?.unwrap_or_default(),
                    signature: fields.text("signature")?.filter(|signature| !signature.is_empty()),
                },
                "redacted_thinking" => AssistantPart::RedactedThinking(fields.required_text("data")?),
                "tool_use" => AssistantPart::ToolCall(self.tool_call(&mut fields)?),
                "document" if self.is_strict => {
                    let reason = "anthropic-version 2026-10-21 has no documents in an assistant's message; \
                                  move it to a user's";
                    return Err(Untranslatable::new(fields.path().to_owned(), reason));
                }
                _ => return Err(unknown_block(&fields, &kind)),
            };
            let cache = cache_mark(&mut fields)?;
            fields.finish()?;
            parts.push(Marked { part, cache });
        }
        Ok(parts)
    }

    fn tool_call(&mut self, fields: &mut Object<'_>) -> Result<ToolCall, Untranslatable> {
        let id = fields.required_text("id")?;
        let name = fields.required_text("name")?;
        let input = fields.required("input")?;
        if !input.json.starts_with('{') {
            return Err(input.must_be("an object"));
        }
        if let Some(mut caller) = fields.object("caller")?
            && caller.required_text("type")? != "direct"
        {
            let reason = "calls by code that runs at Anthropic can't be translated; begin a new conversation";
            return Err(Untranslatable::new(fields.path_of("caller"), reason));
        }
        self.open_calls.push(OpenCall { id: id.clone(), at: fields.path().to_owned() });
        Ok(ToolCall { id, name, arguments: compact(input.json) })
    }
}

fn unknown_block(fields: &Object<'_>, kind: &str) -> Untranslatable {
    let reason = match kind {
        "search_result" => "a search_result can't be said there; send it as text".to_owned(),
        "document" | "image" => format!("a block of type {kind} can't stand there; move it to a user's message"),
        "tool_use" | "thinking" | "redacted_thinking" => {
            format!("a block of type {kind} stands in an assistant's message only")
        }
        "tool_result" => "a tool_result stands in a user's message only".to_owned(),
        _ => format!("blocks of type {kind} belong to what Anthropic itself runs; leave them out"),
    };
    Untranslatable::new(fields.path().to_owned(), reason)
}

/// A text block that stands by itself, as in `system`.
pub(super) fn block_text(block: &Field<'_>) -> Result<Marked<String>, Untranslatable> {
    let mut fields = block.object()?;
    let kind = fields.required_text("type")?;
    if kind != "text" {
        let reason = format!("instructions are text only; a block of type {kind} can't stand there");
        return Err(Untranslatable::new(fields.path().to_owned(), reason));
    }
    let part = assistants_text(&mut fields)?;
    let cache = cache_mark(&mut fields)?;
    fields.finish()?;
    Ok(Marked { part, cache })
}

fn assistants_text(fields: &mut Object<'_>) -> Result<String, Untranslatable> {
    // Answers carry an empty list, and clients send them back as they came.
    if !fields.list("citations")?.is_empty() {
        return Err(Untranslatable::new(fields.path_of("citations"), "citations can't be translated; leave them out"));
    }
    text(fields)
}

fn text(fields: &mut Object<'_>) -> Result<String, Untranslatable> {
    let text = fields.required("text")?;
    match text.text()? {
        words if words.trim().is_empty() => {
            Err(Untranslatable::new(text.path, "a text must hold more than whitespace; leave the block out"))
        }
        words => Ok(words),
    }
}

fn result_part(block: &Field<'_>, mark: &mut Option<CacheMark>) -> Result<ResultPart, Untranslatable> {
    let mut fields = block.object()?;
    let kind = fields.required_text("type")?;
    let part = match kind.as_str() {
        "text" => ResultPart::Text(assistants_text(&mut fields)?),
        "image" => ResultPart::Image(image(&mut fields)?),
        "document" => ResultPart::Document(document(&mut fields)?),
        _ => return Err(unknown_block(&fields, &kind)),
    };
    // The neutral form has no marks inside a result: the next place is its end.
    *mark = cache_mark(&mut fields)?.or(*mark);
    fields.finish()?;
    Ok(part)
}

fn image(fields: &mut Object<'_>) -> Result<Image, Untranslatable> {
    let mut source = source(fields)?;
    let media = match source.required_text("type")?.as_str() {
        "base64" => {
            let media_type = source.required_text("media_type")?;
            if !IMAGE_TYPES.contains(&media_type.as_str()) {
                return Err(must_be(source.path_of("media_type"), &IMAGE_TYPES.join(", ")));
            }
            Media::Base64 { media_type, data: source.required_text("data")? }
        }
        "url" => Media::Url(address(&mut source)?),
        "file" => return Err(file_source(&source)),
        _ => return Err(must_be(source.path_of("type"), "base64 or url")),
    };
    source.finish()?;
    Ok(Image { source: media, detail: None })
}

fn document(fields: &mut Object<'_>) -> Result<Document, Untranslatable> {
    let mut source = source(fields)?;
    let content = match source.required_text("type")?.as_str() {
        "base64" => {
            let media_type = source.required_text("media_type")?;
            if media_type != "application/pdf" {
                return Err(must_be(source.path_of("media_type"), "application/pdf"));
            }
            DocumentSource::File(Media::Base64 { media_type, data: source.required_text("data")? })
        }
        "text" => {
            if source.required_text("media_type")? != "text/plain" {
                return Err(must_be(source.path_of("media_type"), "text/plain"));
            }
            DocumentSource::Text(source.required_text("data")?)
        }
        "url" => DocumentSource::File(Media::Url(address(&mut source)?)),
        "file" => return Err(file_source(&source)),
        "content" => {
            let reason = "a document of blocks can't be said there; send its blocks as text and images";
            return Err(Untranslatable::new(source.path().to_owned(), reason));
        }
        _ => return Err(must_be(source.path_of("type"), "base64, text or url")),
    };
    source.finish()?;
    if let Some(mut citations) = fields.object("citations")?
        && citations.flag("enabled")? == Some(true)
    {
        return Err(Untranslatable::new(fields.path_of("citations"), "citations can't be translated; leave them out"));
    }
    if fields.take("context").is_some() {
        let reason = "there is no place for the context of a document; send it as text";
        return Err(Untranslatable::new(fields.path_of("context"), reason));
    }
    Ok(Document { source: content, title: fields.text("title")? })
}

fn source<'a>(fields: &mut Object<'a>) -> Result<Object<'a>, Untranslatable> {
    fields.required("source")?.object()
}

fn file_source(source: &Object<'_>) -> Untranslatable {
    let reason = "an image or document by file_id is known only to the provider that it was uploaded to; send base64 or, where it may be one, a url";
    Untranslatable::new(source.path().to_owned(), reason)
}

fn address(source: &mut Object<'_>) -> Result<String, Untranslatable> {
    let url = source.required_text("url")?;
    if is_web_address(&url) {
        return Ok(url);
    }
    Err(must_be(source.path_of("url"), "an http or https address"))
}

/// Whether an address is one that a provider may fetch: a file of somebody's machine is not.
pub(super) fn is_web_address(url: &str) -> bool {
    ["https://", "http://"]
        .iter()
        .any(|scheme| url.get(..scheme.len()).is_some_and(|it| it.eq_ignore_ascii_case(scheme)))
}

#[cfg(test)]
mod tests;
