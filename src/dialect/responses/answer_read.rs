//! Answers of this shape, whole or at the end of a stream, as they are read.

use super::thinking;
use super::wire::{ContentRead, EndRead, ItemRead, ResponseRead, TextRead};
use crate::dialect::NotOfShape;
use crate::dialect::sse::{RecordSplitter, fields};
use crate::domain::chat::{AssistantPart, ChatAnswer, Ending, FinishReason, ToolCall};

/// Reads a whole answer.
///
/// Items of hosted tools and citations have no place in the neutral form, nor has a response that did not come to its end.
pub fn read_answer(body: &[u8]) -> Result<ChatAnswer, NotOfShape> {
    let response: ResponseRead =
        serde_json::from_slice(body).map_err(|error| NotOfShape(format!("not a response: {error}")))?;
    let mut parts = Vec::new();
    for item in response.output {
        match item {
            ItemRead::Message { content } => {
                for part in content {
                    parts.push(message_part(part)?);
                }
            }
            ItemRead::FunctionCall { call_id, name, arguments } => {
                parts.push(AssistantPart::ToolCall(ToolCall { id: call_id, name, arguments }));
            }
            ItemRead::Reasoning { summary, content, encrypted_content } => {
                let content = content.unwrap_or_default();
                parts.extend(thinking(texts(&summary), texts(&content), encrypted_content.as_deref()));
            }
        }
    }
    let incomplete = response.incomplete_details.and_then(|details| details.reason);
    let reason = reason(&response.status, incomplete.as_deref(), &parts)?;
    let ending = Ending { reason, stop_sequence: None, explanation: None };
    Ok(ChatAnswer { id: response.id, model: response.model, parts, ending })
}

fn texts(parts: &[TextRead]) -> impl Iterator<Item = &str> {
    parts.iter().map(|part| part.text.as_str())
}

fn message_part(part: ContentRead) -> Result<AssistantPart, NotOfShape> {
    match part {
        ContentRead::OutputText { text, annotations } if annotations.is_empty() => Ok(AssistantPart::Text(text)),
        ContentRead::OutputText { .. } => Err(NotOfShape("a text with annotations".to_owned())),
        ContentRead::Refusal { refusal } => Ok(AssistantPart::Refusal(refusal)),
    }
}

fn reason(status: &str, incomplete: Option<&str>, parts: &[AssistantPart]) -> Result<FinishReason, NotOfShape> {
    let has = |is: fn(&AssistantPart) -> bool| parts.iter().any(is);
    match (status, incomplete) {
        ("completed", _) if has(|part| matches!(part, AssistantPart::ToolCall(_))) => Ok(FinishReason::ToolCalls),
        ("completed", _) if has(|part| matches!(part, AssistantPart::Refusal(_))) => Ok(FinishReason::Refusal),
        ("completed", _) => Ok(FinishReason::Stop),
        ("incomplete", Some("max_output_tokens")) => Ok(FinishReason::Length),
        ("incomplete", Some("content_filter")) => Ok(FinishReason::Refusal),
        (status, _) => Err(NotOfShape(format!("a response with the status {status:?}"))),
    }
}

/// The response that a complete stream ends with, byte for byte; none where the stream did not come to its end.
pub fn answer_of_stream(records: &[u8]) -> Option<Vec<u8>> {
    let mut splitter = RecordSplitter::default();
    splitter.push(records);
    while let Ok(Some(record)) = splitter.next_record() {
        if let Some(response) = response_of(&record) {
            return Some(response);
        }
    }
    response_of(&splitter.rest())
}

fn response_of(record: &[u8]) -> Option<Vec<u8>> {
    const ENDS: [&str; 2] = ["response.completed", "response.incomplete"];
    let fields = fields(record);
    // The name outside spares the look inside: only two records of a stream are worth it.
    if fields.event.is_some_and(|event| !ENDS.iter().any(|end| end.as_bytes() == event)) {
        return None;
    }
    let end: EndRead<'_> = serde_json::from_slice(&fields.data).ok()?;
    ENDS.contains(&&*end.kind).then(|| end.response.get().as_bytes().to_vec())
}
