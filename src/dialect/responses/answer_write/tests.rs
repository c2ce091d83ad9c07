use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::responses::{answer_of_stream, echo, read_answer, sequence_number_after};
use crate::dialect::sse::{RecordSplitter, fields};
use crate::domain::chat::{AssistantPart, ToolCall};

const USAGE: TokenUsage = TokenUsage {
    uncached_input: 10,
    cache_read: 20,
    cache_write_5m: 3,
    cache_write_1h: 4,
    output: 9,
    reasoning: 5,
    audio_input: 0,
    audio_output: 0,
    web_searches: 0,
};

fn ending(reason: FinishReason) -> Ending {
    Ending { reason, stop_sequence: None, explanation: None }
}

fn answer(parts: Vec<AssistantPart>, reason: FinishReason) -> ChatAnswer {
    ChatAnswer { id: "resp_1".to_owned(), model: "m".to_owned(), parts, ending: ending(reason) }
}

fn text(text: &str) -> AssistantPart {
    AssistantPart::Text(text.to_owned())
}

fn call(arguments: &str) -> AssistantPart {
    AssistantPart::ToolCall(ToolCall { id: "c".to_owned(), name: "f".to_owned(), arguments: arguments.to_owned() })
}

fn frame() -> Frame {
    Frame { created: 7, ..Frame::default() }
}

/// The bytes of a stream.
fn stream(events: Vec<ChatEvent>) -> BytesMut {
    let (mut writer, mut out) = (Writer::new(frame()), BytesMut::new());
    for event in events {
        writer.event(&event, &mut out);
    }
    writer.end(&USAGE, &mut out);
    out
}

/// The events of a stream, each checked to bear the same name outside and inside.
fn events(bytes: &[u8]) -> Vec<Value> {
    let mut splitter = RecordSplitter::default();
    splitter.push(bytes);
    let mut events = Vec::new();
    while let Some(record) = splitter.next_record().unwrap() {
        let fields = fields(&record);
        let event: Value = serde_json::from_slice(&fields.data).unwrap();
        assert_eq!(event["type"].as_str().unwrap().as_bytes(), fields.event.unwrap());
        events.push(event);
    }
    assert!(splitter.rest().is_empty());
    events
}

/// What a stream says, a line each.
fn told(events: &[Value]) -> Vec<String> {
    let line = |event: &Value| {
        let said = ["delta", "text", "refusal", "arguments"].iter().find_map(|name| event[name].as_str());
        let kind = event["type"].as_str().unwrap().trim_start_matches("response.");
        format!("{kind} {}", said.unwrap_or_default()).trim_end().to_owned()
    };
    events.iter().map(line).collect()
}

fn whole(answer: &ChatAnswer) -> Value {
    serde_json::from_slice(&write_answer(answer, &USAGE, &frame())).unwrap()
}

#[test]
fn a_text_is_told_as_the_official_api_tells_it() {
    let recorded = include_bytes!("../../../../tests/fixtures/wire/openai_responses_stream.sse");
    let recorded = events(recorded);
    let text = |event: &Value| event["delta"].as_str().map(|delta| ChatEvent::Text(delta.to_owned()));
    let start = ChatEvent::Start { id: "resp_fixture01".to_owned(), model: "gpt-4o-mini-2024-07-18".to_owned() };
    let mut steps = vec![start];
    steps.extend(recorded.iter().filter_map(text));
    steps.extend([ChatEvent::PartEnd, ChatEvent::Finish(ending(FinishReason::Stop))]);
    let written = events(&stream(steps));
    assert_eq!(told(&written), told(&recorded));
    for (written, recorded) in written.iter().zip(&recorded) {
        let names = |event: &Value| {
            let mut names: Vec<String> = event.as_object().unwrap().keys().cloned().collect();
            names.sort();
            names
        };
        assert_eq!(names(written), names(recorded));
    }
}

#[test]
fn each_kind_of_part_has_its_events() {
    let thinking = AssistantPart::Thinking { text: "so".to_owned(), signature: Some("s".to_owned()) };
    let refusal = AssistantPart::Refusal("no".to_owned());
    let redacted = AssistantPart::RedactedThinking("r".to_owned());
    let parts = vec![thinking, redacted, text("hi"), refusal, call(""), call(r#"{"a":1}"#)];
    let told = told(&events(&stream(answer(parts, FinishReason::ToolCalls).into_events())));
    assert_eq!(
        told,
        [
            "created",
            "in_progress",
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta so",
            "reasoning_summary_text.done so",
            "reasoning_summary_part.done",
            "output_item.done",
            "output_item.added",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta hi",
            "output_text.done hi",
            "content_part.done",
            "content_part.added",
            "refusal.delta no",
            "refusal.done no",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta {}",
            "function_call_arguments.done {}",
            "output_item.done",
            "output_item.added",
            r#"function_call_arguments.delta {"a":1}"#,
            r#"function_call_arguments.done {"a":1}"#,
            "output_item.done",
            "completed",
        ]
    );
}

#[test]
fn the_whole_has_every_item() {
    let thinking = AssistantPart::Thinking { text: "so".to_owned(), signature: Some("s".to_owned()) };
    let response = whole(&answer(vec![thinking, text("a"), text(""), text("b"), call("")], FinishReason::ToolCalls));
    let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
    let expected = json!([
        {"type": "reasoning", "id": "rs_1_0", "summary": [{"type": "summary_text", "text": "so"}],
            "encrypted_content": Carried::Signature("s".to_owned()).pack()},
        {"type": "message", "id": "msg_1_1", "status": "completed", "role": "assistant", "content": [part("a"), part("b")]},
        {"type": "function_call", "id": "fc_1_2", "status": "completed", "call_id": "c", "name": "f", "arguments": "{}"},
    ]);
    assert_eq!(response["output"], expected);
    let usage = json!({
        "input_tokens": 37, "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 7},
        "output_tokens": 9, "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 46,
    });
    assert_eq!(response["usage"], usage);
    assert_eq!(
        (&response["id"], &response["created_at"], &response["status"]),
        (&json!("resp_1"), &json!(7), &json!("completed"))
    );
    assert_eq!(
        (&response["tools"], &response["tool_choice"], &response["store"]),
        (&json!([]), &json!("auto"), &json!(false))
    );
}

#[test]
fn ids_get_the_right_prefix() {
    for (given, expected) in [("chatcmpl-9", "resp_9"), ("msg_01", "resp_01"), ("x", "resp_x"), ("", "resp_7")] {
        let answer = ChatAnswer { id: given.to_owned(), ..answer(vec![text("a")], FinishReason::Stop) };
        assert_eq!(whole(&answer)["id"], expected);
    }
}

#[test]
fn endings_are_told() {
    let check = |parts: Vec<AssistantPart>, ending: Ending, status: &str, reason: Option<&str>| {
        let response = whole(&ChatAnswer { ending, ..answer(parts, FinishReason::Stop) });
        assert_eq!(response["status"], status);
        assert_eq!(response["incomplete_details"]["reason"].as_str(), reason);
        response["output"].clone()
    };
    check(vec![text("a")], ending(FinishReason::StopSequence), "completed", None);
    let cut = check(vec![call("{}"), text("a")], ending(FinishReason::Length), "incomplete", Some("max_output_tokens"));
    assert_eq!((&cut[0]["status"], &cut[1]["status"]), (&json!("completed"), &json!("incomplete")));
    check(vec![text("a")], ending(FinishReason::Refusal), "incomplete", Some("content_filter"));
    let refusal = AssistantPart::Refusal("no".to_owned());
    check(vec![refusal], ending(FinishReason::Refusal), "completed", None);
    let explained = Ending { explanation: Some("why".to_owned()), ..ending(FinishReason::Refusal) };
    let output = check(vec![text("a")], explained, "incomplete", Some("content_filter"));
    assert_eq!(output[0]["content"][1], json!({"type": "refusal", "refusal": "why"}));
}

#[test]
fn an_answer_repeats_the_request_on_one_line() {
    let request = b"{\"input\":\"hi\",\"tools\":[{\"type\":\"function\",\n\n\"name\":\"f\"}],\"temperature\":0.50,\"user\":\"u\"}";
    let frame = Frame { echo: echo(request), ..frame() };
    let (mut writer, mut out) = (Writer::new(frame), BytesMut::new());
    for event in answer(vec![text("a")], FinishReason::Stop).into_events() {
        writer.event(&event, &mut out);
    }
    writer.end(&USAGE, &mut out);
    for event in events(&out) {
        if let Some(response) = event.get("response") {
            assert_eq!(response["tools"], json!([{"type": "function", "name": "f"}]));
            assert_eq!((&response["temperature"], &response["user"]), (&json!(0.5), &json!("u")));
        }
    }
}

#[test]
fn a_stream_without_its_finish_has_no_end() {
    let start = ChatEvent::Start { id: "resp_1".to_owned(), model: "m".to_owned() };
    let told = told(&events(&stream(vec![start, ChatEvent::Text("a".to_owned())])));
    assert_eq!(told.last().unwrap(), "output_text.delta a");
}

#[test]
fn a_ping_is_a_comment() {
    let mut out = BytesMut::new();
    Writer::new(frame()).ping(&mut out);
    assert!(!fields(&out).has_data);
    assert!(out.ends_with(b"\n\n"));
}

#[test]
fn a_broken_stream_says_so_in_both_ways_that_clients_know() {
    let mut out = stream(vec![ChatEvent::Start { id: "resp_1".to_owned(), model: "m".to_owned() }]);
    let number = sequence_number_after(&out);
    assert_eq!(number, 2);
    out.extend_from_slice(&error_record("overloaded", "too \"much\"", number));
    let last = events(&out).pop().unwrap();
    let error = json!({"type": "server_error", "code": "overloaded", "message": "too \"much\"", "param": null});
    assert_eq!(
        last,
        json!({"type": "error", "sequence_number": 2, "code": "overloaded", "message": "too \"much\"", "param": null, "error": error})
    );
}

/// Parts that this shape can hold: no empty texts, and arguments that are there.
fn part() -> impl Strategy<Value = AssistantPart> {
    let word = "[a-zé\"\n😀]{1,6}";
    prop_oneof![
        word.prop_map(AssistantPart::Text),
        word.prop_map(AssistantPart::Refusal),
        (word, prop::option::of("[a-z]{1,6}"))
            .prop_map(|(text, signature)| AssistantPart::Thinking { text, signature }),
        word.prop_map(|signature| AssistantPart::Thinking { text: String::new(), signature: Some(signature) }),
        word.prop_map(AssistantPart::RedactedThinking),
        (word, word, "\\{\"a\":[0-9]{1,3}\\}").prop_map(|(id, name, arguments)| AssistantPart::ToolCall(ToolCall {
            id,
            name,
            arguments
        })),
    ]
}

fn any_answer() -> impl Strategy<Value = ChatAnswer> {
    (prop::collection::vec(part(), 0..6), 0..3_u8, "[a-z0-9]{1,8}").prop_map(|(parts, cut, id)| {
        let has = |is: fn(&AssistantPart) -> bool| parts.iter().any(is);
        let reason = match cut {
            0 => FinishReason::Length,
            _ if has(|part| matches!(part, AssistantPart::ToolCall(_))) => FinishReason::ToolCalls,
            _ if has(|part| matches!(part, AssistantPart::Refusal(_))) => FinishReason::Refusal,
            1 => FinishReason::Refusal,
            _ => FinishReason::Stop,
        };
        ChatAnswer { id: format!("resp_{id}"), ..answer(parts, reason) }
    })
}

/// The same answer in smaller steps.
fn in_pieces(answer: ChatAnswer) -> Vec<ChatEvent> {
    let mut steps = Vec::new();
    for event in answer.into_events() {
        let split: (fn(String) -> ChatEvent, String) = match event {
            ChatEvent::Text(text) => (ChatEvent::Text, text),
            ChatEvent::Refusal(text) => (ChatEvent::Refusal, text),
            ChatEvent::Thinking(text) => (ChatEvent::Thinking, text),
            ChatEvent::Arguments(text) => (ChatEvent::Arguments, text),
            other => {
                steps.push(other);
                continue;
            }
        };
        let (make, text) = split;
        steps.push(make(String::new()));
        steps.extend(text.chars().map(|c| make(c.to_string())));
    }
    steps
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(answer in any_answer()) {
        prop_assert_eq!(read_answer(&write_answer(&answer, &USAGE, &frame())).unwrap(), answer);
    }

    #[test]
    fn a_stream_and_the_whole_say_the_same(answer in any_answer()) {
        let bytes = stream(in_pieces(answer.clone()));
        let written = write_answer(&answer, &USAGE, &frame());
        prop_assert_eq!(answer_of_stream(&bytes).unwrap(), written);
    }

    #[test]
    fn events_are_numbered_and_their_deltas_add_up(answer in any_answer()) {
        let bytes = stream(in_pieces(answer));
        let events = events(&bytes);
        prop_assert_eq!(sequence_number_after(&bytes), events.len() as u64);
        let (mut open, mut items) = (String::new(), Vec::new());
        for (number, event) in events.iter().enumerate() {
            prop_assert_eq!(event["sequence_number"].as_u64().unwrap(), number as u64);
            let kind = event["type"].as_str().unwrap();
            if let Some(delta) = event["delta"].as_str() {
                open.push_str(delta);
            } else if let Some(done) = ["text", "refusal", "arguments"].iter().find_map(|name| event[name].as_str()) {
                prop_assert_eq!(&std::mem::take(&mut open), done);
            } else if kind == "response.output_item.done" {
                prop_assert_eq!(event["output_index"].as_u64().unwrap(), items.len() as u64);
                items.push(event["item"].clone());
            }
        }
        prop_assert_eq!(&events.last().unwrap()["response"]["output"], &Value::Array(items));
    }
}
