//! Messages for Anthropic.
//!
//! Neighbours of one role become one message; the results of calls come first in theirs, in the order of the calls, and
//! every call has exactly one. Texts of whitespace alone say nothing and would be refused, so they are left out.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::dialect::{Target, Untranslatable};
use crate::domain::Endpoint;
use crate::domain::chat::{
    AssistantPart, ChatRequest, Document, DocumentSource, Image, Marked, Media, ResultPart, ToolCall, ToolResult, Turn,
    UserPart,
};

use super::client_field::ClientField;
use super::request_write::Marks;
use super::turns_read::{IMAGE_TYPES, is_web_address};
use super::wire::{Block, Content, Message, Role, Source};

/// Writes `system` and `messages`.
pub(super) fn turns<'a>(
    request: &'a ChatRequest,
    target: &Target<'_>,
    marks: &mut Marks,
    dropped: &mut Vec<&'static str>,
) -> Result<(Vec<Block<'a>>, Vec<Message<'a>>), Untranslatable> {
    let mut system = texts(&request.system, marks);
    let stays = target.capabilities.mid_conversation_system == Some(true);
    let mut writer = Writer { endpoint: request.endpoint, marks, has_lost_thoughts: false };
    let mut messages: Vec<Message<'a>> = Vec::with_capacity(request.turns.len());
    for turn in &request.turns {
        let (role, mut content) = match turn {
            Turn::System(parts) => (Role::System, texts(parts, writer.marks)),
            Turn::User(parts) => (Role::User, writer.user(parts)?),
            Turn::Assistant(parts) => (Role::Assistant, writer.assistant(parts)?),
        };
        // Before the first turn instructions have their own place.
        if role == Role::System && (!stays || messages.is_empty()) {
            system.append(&mut content);
        }
        match messages.last_mut() {
            _ if content.is_empty() => {}
            Some(last) if last.role == role => last.content.append(&mut content),
            _ => messages.push(Message { role, content }),
        }
    }
    if writer.has_lost_thoughts {
        dropped.push("thinking");
    }
    pair(&mut messages, request.endpoint)?;
    let last = messages.last().map(|message| message.role);
    match last {
        None => Err(ClientField::Conversation.refused(request.endpoint, "there is no message of a user; send one")),
        Some(Role::Assistant) if target.capabilities.prefill == Some(false) => {
            let reason = "the model doesn't go on with a message that it is given; end with a user's message";
            Err(ClientField::Conversation.refused(request.endpoint, reason))
        }
        Some(_) => Ok((system, messages)),
    }
}

/// Whether the calls that are being answered came without the thoughts that led to them.
pub(super) fn lost_its_thinking(messages: &[Message<'_>]) -> bool {
    let [.., called, answered] = messages else { return false };
    let is_answer = answered.content.iter().any(|block| matches!(block.content, Content::ToolResult { .. }));
    let first = called.content.first().map(|block| &block.content);
    is_answer && !matches!(first, Some(Content::Thinking { .. } | Content::RedactedThinking { .. }))
}

fn texts<'a>(parts: &'a [Marked<String>], marks: &mut Marks) -> Vec<Block<'a>> {
    let mut blocks = Vec::with_capacity(parts.len());
    for Marked { part, cache } in parts {
        match said(part) {
            Some(content) => blocks.push(Block { content, cache_control: marks.place(*cache) }),
            None => marks.lose(*cache),
        }
    }
    blocks
}

/// A text that says something.
fn said(text: &str) -> Option<Content<'_>> {
    (!text.trim().is_empty()).then_some(Content::Text { text: Cow::Borrowed(text) })
}

struct Writer<'m> {
    endpoint: Endpoint,
    marks: &'m mut Marks,
    has_lost_thoughts: bool,
}

impl Writer<'_> {
    fn user<'a>(&mut self, parts: &'a [Marked<UserPart>]) -> Result<Vec<Block<'a>>, Untranslatable> {
        let mut blocks = Vec::with_capacity(parts.len());
        for Marked { part, cache } in parts {
            let content = match part {
                UserPart::Text(text) => said(text),
                UserPart::Image(image) => Some(Content::Image { source: self.image(image)? }),
                UserPart::Document(document) => Some(self.document(document)?),
                UserPart::ToolResult(result) => Some(self.result(result)?),
            };
            match content {
                Some(content) => blocks.push(Block { content, cache_control: self.marks.place(*cache) }),
                None => self.marks.lose(*cache),
            }
        }
        if blocks.is_empty() {
            let reason = "a user's message says nothing; leave it out or give it a text";
            return Err(ClientField::Content.refused(self.endpoint, reason));
        }
        Ok(blocks)
    }

    fn assistant<'a>(&mut self, parts: &'a [Marked<AssistantPart>]) -> Result<Vec<Block<'a>>, Untranslatable> {
        let mut blocks = Vec::with_capacity(parts.len());
        for Marked { part, cache } in parts {
            let content = match part {
                AssistantPart::Text(text) | AssistantPart::Refusal(text) => said(text),
                AssistantPart::Thinking { text, signature } => self.thinking(text, signature.as_deref()),
                AssistantPart::RedactedThinking(data) => Some(Content::RedactedThinking { data }),
                AssistantPart::ToolCall(call) => Some(self.call(call)?),
            };
            match content {
                // Thoughts take no mark.
                Some(content @ (Content::Thinking { .. } | Content::RedactedThinking { .. })) => {
                    self.marks.lose(*cache);
                    blocks.push(content.into());
                }
                Some(content) => blocks.push(Block { content, cache_control: self.marks.place(*cache) }),
                None => self.marks.lose(*cache),
            }
        }
        Ok(blocks)
    }

    /// A thought, if Anthropic will know it for its own.
    fn thinking<'a>(&mut self, thinking: &'a str, signature: Option<&'a str>) -> Option<Content<'a>> {
        let signed = signature.filter(|signature| !signature.is_empty());
        self.has_lost_thoughts |= signed.is_none();
        signed.map(|signature| Content::Thinking { thinking, signature })
    }

    fn call<'a>(&self, call: &'a ToolCall) -> Result<Content<'a>, Untranslatable> {
        let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
        let input = serde_json::from_str::<&RawValue>(arguments).ok().filter(|input| input.get().starts_with('{'));
        let input = input.ok_or_else(|| {
            let reason = format!("the arguments of the call {} are no JSON object; send one", call.id);
            ClientField::CallArguments.refused(self.endpoint, reason)
        })?;
        Ok(Content::ToolUse { id: safe_id(&call.id), name: &call.name, input, call: &call.id })
    }

    fn result<'a>(&self, result: &'a ToolResult) -> Result<Content<'a>, Untranslatable> {
        let mut content = Vec::with_capacity(result.content.len());
        for part in &result.content {
            let block = match part {
                ResultPart::Text(text) => said(text),
                ResultPart::Image(image) => Some(Content::Image { source: self.image(image)? }),
                ResultPart::Document(document) => Some(self.document(document)?),
            };
            content.extend(block.map(Block::from));
        }
        Ok(Content::ToolResult {
            tool_use_id: safe_id(&result.call_id),
            content,
            is_error: result.is_error,
            call: &result.call_id,
        })
    }

    fn image<'a>(&self, image: &'a Image) -> Result<Source<'a>, Untranslatable> {
        match &image.source {
            // A wrong name of the same type, which browsers and clients know too.
            Media::Base64 { media_type, data } if media_type == "image/jpg" => {
                Ok(Source::Base64 { media_type: "image/jpeg", data })
            }
            Media::Base64 { media_type, data } if IMAGE_TYPES.contains(&media_type.as_str()) => {
                Ok(Source::Base64 { media_type, data })
            }
            Media::Base64 { media_type, .. } => {
                let reason = format!("the model takes no {media_type}; send {}", IMAGE_TYPES.join(", "));
                Err(ClientField::Image.refused(self.endpoint, reason))
            }
            Media::Url(url) => self.address(url, ClientField::Image),
        }
    }

    fn document<'a>(&self, document: &'a Document) -> Result<Content<'a>, Untranslatable> {
        let source = match &document.source {
            DocumentSource::Text(text) => Source::Text { media_type: "text/plain", data: Cow::Borrowed(text) },
            DocumentSource::File(Media::Url(url)) => self.address(url, ClientField::Document)?,
            DocumentSource::File(Media::Base64 { media_type, data }) if media_type == "application/pdf" => {
                Source::Base64 { media_type, data }
            }
            DocumentSource::File(Media::Base64 { media_type, data }) if media_type == "text/plain" => {
                let text = STANDARD.decode(data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let text = text.ok_or_else(|| {
                    ClientField::Document.refused(self.endpoint, "the text file is no UTF-8 in base64; send it as text")
                })?;
                Source::Text { media_type: "text/plain", data: Cow::Owned(text) }
            }
            DocumentSource::File(Media::Base64 { media_type, .. }) => {
                let reason = format!("the model takes no {media_type}; send application/pdf or text/plain");
                return Err(ClientField::Document.refused(self.endpoint, reason));
            }
        };
        Ok(Content::Document { source, title: document.title.as_deref() })
    }

    fn address<'a>(&self, url: &'a str, field: ClientField) -> Result<Source<'a>, Untranslatable> {
        if is_web_address(url) {
            return Ok(Source::Url { url });
        }
        Err(field.refused(self.endpoint, "the address is neither http nor https; send such a one, or the data itself"))
    }
}

/// An id that Anthropic takes: the client's own, or one made of it, the same for the call and its result.
fn safe_id(id: &str) -> Cow<'_, str> {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !id.is_empty() && id.bytes().all(is_safe) {
        return Cow::Borrowed(id);
    }
    let digest = Sha256::digest(id.as_bytes());
    Cow::Owned(digest[..12].iter().fold("toolu_".to_owned(), |id, byte| format!("{id}{byte:02x}")))
}

/// Brings each call's result to the front of the message after it, in the order of the calls.
fn pair(messages: &mut [Message<'_>], endpoint: Endpoint) -> Result<(), Untranslatable> {
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        let mut calls = std::mem::take(&mut open);
        if message.role == Role::User {
            let place = |block: &Block<'_>| match &block.content {
                Content::ToolResult { call, .. } => calls.iter().position(|id| id == call),
                _ => Some(usize::MAX),
            };
            if let Some(orphan) = message.content.iter().find(|block| place(block).is_none()) {
                return Err(unpaired_result(&orphan.content, endpoint));
            }
            message.content.sort_by_key(|block| place(block));
        }
        for block in &message.content {
            match &block.content {
                Content::ToolUse { call, .. } => open.push(call),
                // Taken out, so that a second result for the same call has none.
                Content::ToolResult { call, .. } => match calls.iter().position(|id| id == call) {
                    Some(index) => drop(calls.remove(index)),
                    None => return Err(unpaired_result(&block.content, endpoint)),
                },
                _ => {}
            }
        }
        refuse_unanswered(&calls, endpoint)?;
    }
    refuse_unanswered(&open, endpoint)
}

fn unpaired_result(content: &Content<'_>, endpoint: Endpoint) -> Untranslatable {
    let id = if let Content::ToolResult { call, .. } = content { call } else { "" };
    let reason = format!("the result of {id} answers no call right before it; answer each call once");
    ClientField::ResultId.refused(endpoint, reason)
}

fn refuse_unanswered(calls: &[&str], endpoint: Endpoint) -> Result<(), Untranslatable> {
    calls.first().map_or(Ok(()), |id| {
        let reason = format!("the call {id} has no result right after it; send one for every call");
        Err(ClientField::CallId.refused(endpoint, reason))
    })
}

#[cfg(test)]
mod tests;
