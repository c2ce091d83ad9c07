//! Writes the conversation: neighbours of one kind joined, results of tools first, pictures moved out of them.

use std::borrow::Cow;

use crate::dialect::Untranslatable;
use crate::dialect::compact::compact;
use crate::domain::chat::{
    AssistantPart, Document, DocumentSource, Image, Marked, Media, ResultPart, ToolCall, ToolResult, Turn, UserPart,
};

use super::super::servers::Prefill;
use super::super::wire::{self, Content, Message, Part};
use super::ids::call_id;
use super::{Writing, refuse};

/// What stands between texts that were parts and become one.
const JOINT: &str = "\n\n";

/// Stands before what a failed tool gave: this shape has no field for the failure.
const ERROR_PREFIX: &str = "Error: ";

/// Turns of one kind that follow each other; templates of many servers refuse such neighbours.
enum Run<'a> {
    System(Vec<&'a str>),
    User(Vec<&'a UserPart>),
    Assistant(Vec<&'a AssistantPart>),
}

pub(super) fn write<'a>(writing: &mut Writing<'a>, body: &mut wire::Request<'a>) -> Result<(), Untranslatable> {
    let request = writing.request;
    if !request.system.is_empty() {
        if writing.target.capabilities.system == Some(false) {
            return refuse(writing.words.system, "the model takes no system messages; say it as the user");
        }
        body.messages.push(Message::new("system", texts(writing, request.system.iter().map(text_of), JOINT)));
    }
    let runs = runs(&request.turns);
    let ends_with_assistant = matches!(runs.last(), Some(Run::Assistant(_)));
    for run in runs {
        match run {
            Run::System(found) => {
                let is_taken = writing.target.capabilities.mid_conversation_system;
                if !is_taken.unwrap_or(writing.server.later_system) {
                    let reason =
                        format!("{} takes system messages at the beginning only; move it there", writing.server.name);
                    return refuse(writing.words.conversation, reason);
                }
                body.messages.push(Message::new("system", texts(writing, found.into_iter(), JOINT)));
            }
            Run::User(parts) => user(writing, &parts, &mut body.messages)?,
            Run::Assistant(parts) => body.messages.extend(assistant(writing, &parts)),
        }
    }
    if ends_with_assistant { prefill(writing, body) } else { Ok(()) }
}

fn text_of(text: &Marked<String>) -> &str {
    &text.part
}

fn runs(turns: &[Turn]) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = Vec::new();
    for turn in turns {
        match (turn, runs.last_mut()) {
            (Turn::System(found), Some(Run::System(run))) => run.extend(found.iter().map(text_of)),
            (Turn::System(found), _) => runs.push(Run::System(found.iter().map(text_of).collect())),
            (Turn::User(parts), Some(Run::User(run))) => run.extend(parts.iter().map(|part| &part.part)),
            (Turn::User(parts), _) => runs.push(Run::User(parts.iter().map(|part| &part.part).collect())),
            (Turn::Assistant(parts), Some(Run::Assistant(run))) => run.extend(parts.iter().map(|part| &part.part)),
            (Turn::Assistant(parts), _) => {
                runs.push(Run::Assistant(parts.iter().map(|part| &part.part).collect()));
            }
        }
    }
    runs
}

/// Texts as one string, or as parts where there are several and the server takes them.
fn texts<'a>(writing: &Writing<'_>, texts: impl Iterator<Item = &'a str>, joint: &str) -> Content<'a> {
    let texts: Vec<&'a str> = texts.collect();
    match texts.as_slice() {
        [one] => Content::Text(Cow::Borrowed(one)),
        [_, _, ..] if writing.server.text_parts => {
            Content::Parts(texts.into_iter().map(|text| Part::Text { text: Cow::Borrowed(text) }).collect())
        }
        several => Content::Text(Cow::Owned(several.join(joint))),
    }
}

fn user<'a>(
    writing: &Writing<'a>,
    parts: &[&'a UserPart],
    messages: &mut Vec<Message<'a>>,
) -> Result<(), Untranslatable> {
    let mut rest = Vec::new();
    for part in parts {
        if let UserPart::ToolResult(result) = part {
            messages.push(tool(writing, result, &mut rest)?);
        }
    }
    for part in parts {
        match part {
            UserPart::Text(text) => rest.push(Part::Text { text: Cow::Borrowed(text) }),
            UserPart::Image(image) => rest.push(picture(writing, image)?),
            UserPart::Document(found) => rest.push(document(writing, found)?),
            UserPart::ToolResult(_) => {}
        }
    }
    if !rest.is_empty() {
        messages.push(Message::new("user", content(writing, rest)));
    }
    Ok(())
}

/// Parts as content: one string where they are texts alone and the server wants it so.
fn content<'a>(writing: &Writing<'_>, mut parts: Vec<Part<'a>>) -> Content<'a> {
    if let [Part::Text { text }] = parts.as_mut_slice() {
        return Content::Text(std::mem::take(text));
    }
    let are_texts = parts.iter().all(|part| matches!(part, Part::Text { .. }));
    if !are_texts || writing.server.text_parts {
        return Content::Parts(parts);
    }
    let texts = parts.into_iter().filter_map(|part| match part {
        Part::Text { text } => Some(text),
        Part::ImageUrl { .. } | Part::File { .. } => None,
    });
    Content::Text(Cow::Owned(texts.collect::<Vec<_>>().join(JOINT)))
}

/// A result as its own message; what isn't text moves to the user's message behind all results, as vLLM has it.
fn tool<'a>(
    writing: &Writing<'a>,
    result: &'a ToolResult,
    moved: &mut Vec<Part<'a>>,
) -> Result<Message<'a>, Untranslatable> {
    let mut texts = Vec::new();
    for part in &result.content {
        match part {
            ResultPart::Text(text) => texts.push(Part::Text { text: Cow::Borrowed(text) }),
            ResultPart::Image(image) => moved.push(picture(writing, image)?),
            ResultPart::Document(found) => match document(writing, found)? {
                text @ Part::Text { .. } => texts.push(text),
                file => moved.push(file),
            },
        }
    }
    if result.is_error {
        match texts.first_mut() {
            Some(Part::Text { text }) => text.to_mut().insert_str(0, ERROR_PREFIX),
            _ => texts.push(Part::Text { text: Cow::Owned(format!("{ERROR_PREFIX}the tool failed")) }),
        }
    }
    let content = if texts.is_empty() { Content::Text(Cow::Borrowed("")) } else { content(writing, texts) };
    let id = call_id(&result.call_id, writing.server.call_ids);
    Ok(Message { tool_call_id: Some(id), ..Message::new("tool", content) })
}

fn picture<'a>(writing: &Writing<'_>, image: &'a Image) -> Result<Part<'a>, Untranslatable> {
    if writing.target.capabilities.vision == Some(false) {
        return refuse(writing.words.conversation, "the model takes no pictures; leave them out");
    }
    let url = match &image.source {
        Media::Base64 { media_type, data } => Cow::Owned(format!("data:{media_type};base64,{data}")),
        Media::Url(_) if !writing.server.image_urls => {
            let reason = format!("{} fetches no pictures; send their bytes", writing.server.name);
            return refuse(writing.words.conversation, reason);
        }
        Media::Url(url) => Cow::Borrowed(url.as_str()),
    };
    Ok(Part::ImageUrl { image_url: wire::ImageUrl { url, detail: image.detail.as_deref() } })
}

fn document<'a>(writing: &Writing<'_>, found: &'a Document) -> Result<Part<'a>, Untranslatable> {
    match &found.source {
        DocumentSource::Text(text) => Ok(Part::Text {
            text: match &found.title {
                Some(title) => Cow::Owned(format!("{title}{JOINT}{text}")),
                None => Cow::Borrowed(text),
            },
        }),
        DocumentSource::File(_) if !writing.server.files || writing.target.capabilities.pdf == Some(false) => {
            refuse(writing.words.conversation, "it takes no PDF document; send its text")
        }
        DocumentSource::File(Media::Url(_)) => {
            let reason = format!("{} fetches no documents; send their bytes", writing.server.name);
            refuse(writing.words.conversation, reason)
        }
        DocumentSource::File(Media::Base64 { media_type, data }) => {
            let filename = found.title.as_deref().unwrap_or("document.pdf");
            let file_data = format!("data:{media_type};base64,{data}");
            Ok(Part::File { file: wire::File { filename, file_data } })
        }
    }
}

/// An assistant's message; none where nothing is left of it.
fn assistant<'a>(writing: &mut Writing<'a>, parts: &[&'a AssistantPart]) -> Option<Message<'a>> {
    let (mut said, mut refusal, mut thoughts, mut calls) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        match part {
            AssistantPart::Text(text) => said.push(text.as_str()),
            AssistantPart::Refusal(text) if writing.server.refusal_field => refusal.push(text.as_str()),
            AssistantPart::Refusal(text) => said.push(text.as_str()),
            AssistantPart::Thinking { text, .. } if writing.server.takes_thinking => thoughts.push(text.as_str()),
            AssistantPart::Thinking { .. } => writing.drop("thinking"),
            // Only the provider that made it can read it.
            AssistantPart::RedactedThinking(_) => writing.drop("thinking"),
            AssistantPart::ToolCall(call) => calls.push(written_call(writing, call)),
        }
    }
    if said.is_empty() && refusal.is_empty() && thoughts.is_empty() && calls.is_empty() {
        return None;
    }
    let content = match said.is_empty() {
        true if calls.is_empty() && refusal.is_empty() => Content::Text(Cow::Borrowed("")),
        true => Content::Null,
        false => texts(writing, said.into_iter(), ""),
    };
    let joined = |texts: Vec<&str>, joint: &str| (!texts.is_empty()).then(|| texts.join(joint));
    Some(Message {
        reasoning_content: joined(thoughts, JOINT),
        refusal: joined(refusal, JOINT),
        tool_calls: calls,
        ..Message::new("assistant", content)
    })
}

fn written_call<'a>(writing: &Writing<'_>, call: &'a ToolCall) -> wire::Call<'a> {
    let arguments = match compact(&call.arguments) {
        empty if empty.is_empty() => Cow::Borrowed("{}"),
        arguments => Cow::Owned(arguments),
    };
    wire::Call {
        index: None,
        id: Some(call_id(&call.id, writing.server.call_ids)),
        kind: Some("function"),
        function: wire::Function { name: Some(&call.name), arguments },
    }
}

/// A conversation that ends with the assistant asks for its message to be gone on with.
fn prefill<'a>(writing: &Writing<'a>, body: &mut wire::Request<'a>) -> Result<(), Untranslatable> {
    let is_refused = writing.server.prefill == Prefill::Refused || writing.target.capabilities.prefill == Some(false);
    // Nothing may be left of the message: then there is nothing to go on with.
    let Some(last) = body.messages.last_mut().filter(|message| message.role == "assistant") else { return Ok(()) };
    if is_refused {
        let reason = "it can't go on with the assistant's last message; end with a message of the user";
        return refuse(writing.words.conversation, reason);
    }
    match writing.server.prefill {
        Prefill::Refused | Prefill::ByItself => {}
        Prefill::ContinueFinalMessage => {
            body.add_generation_prompt = Some(false);
            body.continue_final_message = Some(true);
        }
        Prefill::Prefix => last.prefix = true,
    }
    Ok(())
}
