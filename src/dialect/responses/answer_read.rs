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

/// The number of the record that comes after these of a stream, the first one's where none has a number.
///
/// What breaks a stream is often found by somebody who only passes its bytes on.
pub fn sequence_number_after(records: &[u8]) -> u64 {
    const KEY: &[u8] = b"\"sequence_number\":";
    let digits = memchr::memmem::rfind(records, KEY).map(|at| &records[at + KEY.len()..]).unwrap_or_default();
    let digits = digits.trim_ascii_start();
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let number = std::str::from_utf8(&digits[..end]).ok().and_then(|digits| digits.parse::<u64>().ok());
    number.map_or(0, |number| number.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn response(status: &str, reason: Option<&str>, output: &serde_json::Value) -> Vec<u8> {
        let details = reason.map(|reason| json!({ "reason": reason }));
        json!({"id": "resp_1", "model": "m", "status": status, "incomplete_details": details, "output": output})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn a_recorded_stream_holds_its_answer() {
        let recorded = include_bytes!("../../../tests/fixtures/wire/openai_responses_stream.sse");
        let body = answer_of_stream(recorded).unwrap();
        assert!(memchr::memmem::find(recorded, &body).is_some(), "byte for byte");
        let answer = read_answer(&body).unwrap();
        assert_eq!((answer.id.as_str(), answer.model.as_str()), ("resp_fixture01", "gpt-4o-mini-2024-07-18"));
        assert_eq!(answer.parts, [AssistantPart::Text("The answer is café 😀.".to_owned())]);
        assert_eq!(answer.ending.reason, FinishReason::Stop);
        assert_eq!(sequence_number_after(recorded), 14);
    }

    #[test]
    fn a_stream_that_broke_holds_none() {
        let recorded = include_str!("../../../tests/fixtures/wire/openai_responses_stream.sse");
        let end = recorded.find("event: response.completed").unwrap();
        assert_eq!(answer_of_stream(&recorded.as_bytes()[..end]), None);
        assert_eq!(answer_of_stream(&recorded.as_bytes()[..recorded.len() - 40]), None);
        let failed = b"event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{}}\n\n";
        assert_eq!(answer_of_stream(failed), None);
    }

    #[test]
    fn a_stream_is_read_with_or_without_names_outside() {
        let incomplete = b"data: {\"response\": {\"id\" :1},\"type\":\"response.incomplete\"}";
        assert_eq!(answer_of_stream(incomplete).unwrap(), b"{\"id\" :1}");
    }

    #[test]
    fn endings_are_read() {
        let text = json!([{"type": "message", "content": [{"type": "output_text", "text": "a"}]}]);
        let check = |status, reason, output: &serde_json::Value, expected| {
            assert_eq!(read_answer(&response(status, reason, output)).unwrap().ending.reason, expected);
        };
        check("completed", None, &text, FinishReason::Stop);
        check("incomplete", Some("max_output_tokens"), &text, FinishReason::Length);
        check("incomplete", Some("content_filter"), &text, FinishReason::Refusal);
        let refusal = json!([{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]);
        check("completed", None, &refusal, FinishReason::Refusal);
        let call = json!([{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]);
        check("completed", None, &call, FinishReason::ToolCalls);
    }

    #[test]
    fn thoughts_are_read_where_they_can_be() {
        let output = json!([
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"},
            {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "so"}]},
        ]);
        let answer = read_answer(&response("completed", None, &output)).unwrap();
        assert_eq!(answer.parts, [AssistantPart::Thinking { text: "so".to_owned(), signature: None }]);
    }

    #[test]
    fn what_has_no_place_here_is_not_of_shape() {
        let annotated = json!([{"type": "message", "content": [
            {"type": "output_text", "text": "a", "annotations": [{"type": "url_citation"}]}]}]);
        let searched = json!([{"type": "web_search_call", "id": "ws_1", "status": "completed"}]);
        for body in [
            response("completed", None, &annotated),
            response("completed", None, &searched),
            response("failed", None, &json!([])),
            response("in_progress", None, &json!([])),
            response("incomplete", Some("steered"), &json!([])),
            b"{\"error\":{}}".to_vec(),
            b"<html>".to_vec(),
        ] {
            assert!(read_answer(&body).is_err(), "{}", String::from_utf8_lossy(&body));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (read_answer(&bytes), answer_of_stream(&bytes), sequence_number_after(&bytes));
        }
    }
}
