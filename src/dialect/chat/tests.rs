//! Answers, read and written: each quirk that was seen on the wire, and what both directions must agree on.

use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::sse::RecordSplitter;
use crate::dialect::{AnswerReader, AnswerWriter, Frame, NotOfShape};
use crate::domain::TokenUsage;
use crate::domain::chat::{AssistantPart, ChatAnswer, ChatEvent, Ending, FinishReason, ToolCall};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/wire/", $name))
    };
}

// After the macro that they use.
mod reading;
mod writing;

/// The events of a stream, checked for what every stream must keep to.
fn events_of(stream: &[u8]) -> Result<Vec<ChatEvent>, NotOfShape> {
    let (mut splitter, mut reader, mut events) = (RecordSplitter::default(), Reader::new(), Vec::new());
    splitter.push(stream);
    while let Some(record) = splitter.next_record().unwrap() {
        reader.record(&record, &mut events)?;
    }
    reader.record(&splitter.rest(), &mut events)?;
    reader.end(&mut events)?;
    check_order(&events);
    Ok(events)
}

/// One start, one finish, one open part at a time.
fn check_order(events: &[ChatEvent]) {
    let (mut open, last) = (None::<&str>, events.len() - 1);
    for (at, event) in events.iter().enumerate() {
        let kind = match event {
            ChatEvent::Start { .. } => {
                assert_eq!(at, 0, "{events:?}");
                continue;
            }
            ChatEvent::Finish(_) => {
                assert!(at == last && open.is_none(), "{events:?}");
                continue;
            }
            ChatEvent::PartEnd => {
                assert!(open.take().is_some(), "{events:?}");
                continue;
            }
            ChatEvent::Text(_) => "text",
            ChatEvent::Refusal(_) => "refusal",
            ChatEvent::Thinking(_) | ChatEvent::Signature(_) => "thinking",
            ChatEvent::RedactedThinking(_) => "redacted",
            ChatEvent::ToolCall { .. } => {
                assert_eq!(open, None, "{events:?}");
                "call"
            }
            ChatEvent::Arguments(_) => {
                assert_eq!(open, Some("call"), "{events:?}");
                "call"
            }
        };
        assert!(open.is_none_or(|before| before == kind), "{events:?}");
        open = Some(kind);
    }
    assert!(matches!(events.last(), Some(ChatEvent::Finish(_))), "{events:?}");
}

fn stream(records: &[Value]) -> Vec<u8> {
    records.iter().flat_map(|record| format!("data: {record}\n\n").into_bytes()).collect()
}

/// The answer that a stream of such deltas tells, ended by this word.
fn deltas(deltas: &[Value], finish: &str) -> Result<ChatAnswer, NotOfShape> {
    let mut records: Vec<_> = deltas.iter().map(|delta| json!({"id": "c", "choices": [{"delta": delta}]})).collect();
    records.push(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}));
    events_of(&stream(&records)).map(|events| ChatAnswer::from_events(events).unwrap())
}

fn parts(said: &[Value]) -> Vec<AssistantPart> {
    deltas(said, "stop").unwrap().parts
}

/// A whole answer with this message.
fn whole(message: &Value, finish: &Value) -> Result<ChatAnswer, NotOfShape> {
    let choice = json!({"index": 0, "message": message, "finish_reason": finish});
    read_answer(json!({"id": "c", "model": "m", "choices": [choice]}).to_string().as_bytes())
}

fn text(text: &str) -> AssistantPart {
    AssistantPart::Text(text.to_owned())
}

fn thinking(text: &str, signature: Option<&str>) -> AssistantPart {
    AssistantPart::Thinking { text: text.to_owned(), signature: signature.map(str::to_owned) }
}

fn call(id: &str, name: &str, arguments: &str) -> AssistantPart {
    let (id, name, arguments) = (id.to_owned(), name.to_owned(), arguments.to_owned());
    AssistantPart::ToolCall(ToolCall { id, name, arguments })
}

fn begun(index: u64, id: &str, arguments: &str) -> Value {
    json!({"index": index, "id": id, "type": "function", "function": {"name": "f", "arguments": arguments}})
}

fn more(index: u64, arguments: &str) -> Value {
    json!({"index": index, "function": {"arguments": arguments}})
}

fn calls(calls: &[Value]) -> Value {
    json!({"tool_calls": calls})
}

fn ending(reason: FinishReason) -> Ending {
    Ending { reason, stop_sequence: None, explanation: None }
}
