use super::*;
use crate::dialect::sse::RecordSplitter;

const STREAM: &[u8] = include_bytes!("../../../../tests/fixtures/wire/anthropic_stream.sse");
const STREAM_ERROR: &[u8] = include_bytes!("../../../../tests/fixtures/wire/anthropic_stream_error.sse");
const STREAM_THINKING: &[u8] = include_bytes!("../../../../tests/fixtures/wire/anthropic_stream_thinking.sse");
const STREAM_TOOLS: &[u8] = include_bytes!("../../../../tests/fixtures/wire/anthropic_stream_tools.sse");
const MESSAGE: &[u8] = include_bytes!("../../../../tests/fixtures/wire/anthropic_message.json");
const MESSAGE_TOOLS: &[u8] = include_bytes!("../../../../tests/fixtures/wire/anthropic_message_tools.json");

fn events_of(stream: &[u8], answer_tool: Option<&'static str>) -> Result<Vec<ChatEvent>, NotOfShape> {
    let mut splitter = RecordSplitter::default();
    splitter.push(stream);
    let mut reader = Reader::new(answer_tool);
    let mut events = Vec::new();
    while let Some(record) = splitter.next_record().unwrap() {
        reader.record(&record, &mut events)?;
    }
    reader.end(&mut events)?;
    Ok(events)
}

fn told(stream: &[u8]) -> ChatAnswer {
    ChatAnswer::from_events(events_of(stream, None).unwrap()).unwrap()
}

/// A stream with these blocks between its beginning and its end.
fn around(blocks: &[&str], stop_reason: &str) -> Vec<u8> {
    let mut stream = "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\"}}\n\n".to_owned();
    for block in blocks {
        stream += &format!("data: {block}\n\n");
    }
    stream += &format!(
        "data: {{\"type\":\"message_delta\",\"delta\":{stop_reason}}}\n\ndata: {{\"type\":\"message_stop\"}}\n\n"
    );
    stream.into_bytes()
}

fn text(text: &str) -> AssistantPart {
    AssistantPart::Text(text.to_owned())
}

fn call(id: &str, name: &str, arguments: &str) -> AssistantPart {
    AssistantPart::ToolCall(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments: arguments.to_owned() })
}

fn ended(reason: FinishReason) -> Ending {
    Ending { reason, stop_sequence: None, explanation: None }
}

#[test]
fn a_stream_of_text() {
    let answer = told(STREAM);
    assert_eq!(
        (answer.id.as_str(), answer.model.as_str()),
        ("msg_01FixtureAAAAAAAAAAAAAAAA", "claude-haiku-4-5-20251001")
    );
    assert_eq!(answer.parts, [text("The answer is café 😀.")]);
    assert_eq!(answer.ending, ended(FinishReason::Stop));
    let deltas =
        events_of(STREAM, None).unwrap().into_iter().filter(|event| matches!(event, ChatEvent::Text(_))).count();
    assert_eq!(deltas, 6, "each delta goes on by itself");
}

#[test]
fn a_stream_of_thoughts() {
    let thinking = AssistantPart::Thinking {
        text: "Two plus two is four.".to_owned(),
        signature: Some("Rml4dHVyZVNpZ25hdHVyZQ==".to_owned()),
    };
    let redacted = AssistantPart::RedactedThinking("Rml4dHVyZVJlZGFjdGVk".to_owned());
    assert_eq!(told(STREAM_THINKING).parts, [thinking, redacted, text("4")]);
}

#[test]
fn a_stream_of_calls() {
    let answer = told(STREAM_TOOLS);
    let weather = call("toolu_01FixA", "get_weather", r#"{"city":"Paris","unit":"celsius"}"#);
    assert_eq!(answer.parts, [text("I will check."), weather, call("toolu_01FixB", "get_time", "")]);
    assert_eq!(answer.ending, ended(FinishReason::ToolCalls));
    let events = events_of(STREAM_TOOLS, None).unwrap();
    assert!(!events.contains(&ChatEvent::Arguments(String::new())), "an empty delta says nothing");
}

#[test]
fn a_stream_without_its_stop_reason_is_no_success() {
    assert!(events_of(STREAM_ERROR, None).is_err());
    assert!(events_of(b"", None).is_err());
    assert!(events_of(&around(&[], r#"{"stop_reason":null}"#), None).is_err());
}

#[test]
fn whole_answers_say_what_streams_say() {
    let answer = read(MESSAGE, None).unwrap();
    assert_eq!(answer.parts, [text("Paris is the capital of France. é✓")]);
    assert_eq!((answer.id.as_str(), answer.ending), ("msg_01FixtureAAAAAAAAAAAAAAAA", ended(FinishReason::Stop)));
    let answer = read(MESSAGE_TOOLS, None).unwrap();
    let weather = call("toolu_01FixA", "get_weather", r#"{"city":"Paris","unit":"celsius"}"#);
    assert_eq!(answer.parts, [text("I will check both."), weather, call("toolu_01FixB", "get_time", "")]);
    let whole = br#"{"id":"msg_1","model":"m","stop_reason":"end_turn","content":[
        {"type":"thinking","thinking":"so","signature":"s"},{"type":"thinking","thinking":"hm","signature":""},
        {"type":"redacted_thinking","data":"r"},{"type":"server_tool_use","id":1},{"type":"text","text":""},
        {"type":"text","text":"a","citations":[{}]}]}"#;
    let thinking = |text: &str, signature: Option<&str>| AssistantPart::Thinking {
        text: text.to_owned(),
        signature: signature.map(str::to_owned),
    };
    let redacted = AssistantPart::RedactedThinking("r".to_owned());
    assert_eq!(
        read(whole, None).unwrap().parts,
        [thinking("so", Some("s")), thinking("hm", None), redacted, text("a")]
    );
}

#[test]
fn every_stop_reason_has_its_meaning() {
    for (word, reason) in [
        ("end_turn", FinishReason::Stop),
        ("stop_sequence", FinishReason::StopSequence),
        ("max_tokens", FinishReason::Length),
        ("model_context_window_exceeded", FinishReason::Length),
        ("compaction", FinishReason::Length),
        ("tool_use", FinishReason::ToolCalls),
        ("refusal", FinishReason::Refusal),
        ("invented_tomorrow", FinishReason::Stop),
    ] {
        let whole = format!(r#"{{"content":[],"stop_reason":"{word}"}}"#);
        assert_eq!(read(whole.as_bytes(), None).unwrap().ending, ended(reason), "{word}");
        let stream = around(&[], &format!(r#"{{"stop_reason":"{word}","stop_sequence":null}}"#));
        assert_eq!(told(&stream).ending, ended(reason), "{word}");
    }
    assert!(read(br#"{"content":[],"stop_reason":"pause_turn"}"#, None).is_err());
    assert!(events_of(&around(&[], r#"{"stop_reason":"pause_turn"}"#), None).is_err());
    assert!(read(br#"{"content":[],"stop_reason":null}"#, None).is_err());
}

#[test]
fn a_stop_sequence_and_an_explanation_are_told() {
    let ending = told(&around(&[], r#"{"stop_reason":"stop_sequence","stop_sequence":"END"}"#)).ending;
    assert_eq!(ending.stop_sequence.as_deref(), Some("END"));
    let refusal = r#"{"stop_reason":"refusal","stop_details":{"type":"refusal","category":"x","explanation":"no"}}"#;
    assert_eq!(told(&around(&[], refusal)).ending.explanation.as_deref(), Some("no"));
    let whole = br#"{"content":[],"stop_reason":"refusal","stop_details":{"type":"refusal","explanation":"no"}}"#;
    assert_eq!(read(whole, None).unwrap().ending.explanation.as_deref(), Some("no"));
}

const TOOL_USE: &str = r#"{"stop_reason":"tool_use"}"#;

#[test]
fn an_input_that_the_beginning_names_is_arguments_unless_others_follow() {
    let start =
        r#"{"type":"content_block_start","content_block":{"type":"tool_use","id":"t","name":"f","input":{"a": 1}}}"#;
    let stop = r#"{"type":"content_block_stop"}"#;
    let delta = r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"{\"b\":2}"}}"#;
    assert_eq!(told(&around(&[start, stop], TOOL_USE)).parts, [call("t", "f", r#"{"a":1}"#)]);
    assert_eq!(told(&around(&[start], TOOL_USE)).parts, [call("t", "f", r#"{"a":1}"#)]);
    assert_eq!(told(&around(&[start, delta, stop], TOOL_USE)).parts, [call("t", "f", r#"{"b":2}"#)]);
}

#[test]
fn a_call_without_an_id_gets_one() {
    let start = r#"{"type":"content_block_start","content_block":{"type":"tool_use","name":"f"}}"#;
    assert_eq!(
        told(&around(&[start, start], TOOL_USE)).parts,
        [call("toolu_1_0", "f", ""), call("toolu_1_1", "f", "")]
    );
}

#[test]
fn arguments_without_a_call_are_not_lost_in_silence() {
    let delta = r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"{"}}"#;
    assert!(events_of(&around(&[delta], TOOL_USE), None).is_err());
}

#[test]
fn what_only_anthropic_runs_is_skipped() {
    let stream = around(
        &[
            r#"{"type":"content_block_start","content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#,
            r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
            r#"{"type":"content_block_stop"}"#,
            r#"{"type":"content_block_start","content_block":{"type":"web_search_tool_result","content":[{"text":1}]}}"#,
            r#"{"type":"content_block_stop"}"#,
            r#"{"type":"invented_tomorrow","delta":3}"#,
            r#"{"type":"content_block_start","content_block":{"type":"text","text":"a"}}"#,
            r#"{"type":"content_block_delta","delta":{"type":"citations_delta","citation":{}}}"#,
            r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"b"}}"#,
            r#"{"type":"content_block_stop"}"#,
        ],
        r#"{"stop_reason":"end_turn"}"#,
    );
    assert_eq!(told(&stream).parts, [text("ab")]);
}

#[test]
fn the_answering_tool_answers_with_text() {
    let stream = around(
        &[
            r#"{"type":"content_block_start","content_block":{"type":"tool_use","id":"t","name":"json_answer","input":{}}}"#,
            r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":""}}"#,
            r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}"#,
            r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":" 1}"}}"#,
            r#"{"type":"content_block_stop"}"#,
        ],
        TOOL_USE,
    );
    let answer = ChatAnswer::from_events(events_of(&stream, Some("json_answer")).unwrap()).unwrap();
    assert_eq!((answer.parts, answer.ending), (vec![text(r#"{"a": 1}"#)], ended(FinishReason::Stop)));
    let start = r#"{"type":"content_block_start","content_block":{"type":"tool_use","id":"t","name":"json_answer","input":{}}}"#;
    let empty = ChatAnswer::from_events(events_of(&around(&[start], TOOL_USE), Some("json_answer")).unwrap()).unwrap();
    assert_eq!(empty.parts, [text("{}")]);
    let whole =
        br#"{"stop_reason":"tool_use","content":[{"type":"tool_use","id":"t","name":"json_answer","input":{"a": 1}}]}"#;
    let answer = read(whole, Some("json_answer")).unwrap();
    assert_eq!((answer.parts, answer.ending), (vec![text(r#"{"a":1}"#)], ended(FinishReason::Stop)));
    let cut = around(&[start], r#"{"stop_reason":"max_tokens"}"#);
    let cut = ChatAnswer::from_events(events_of(&cut, Some("json_answer")).unwrap()).unwrap();
    assert_eq!(cut.ending.reason, FinishReason::Length);
}

#[test]
fn the_event_line_stands_in_for_a_missing_type_and_back() {
    let mut reader = Reader::new(None);
    let mut events = Vec::new();
    let records: [&[u8]; 4] = [
        b": comment\n\n",
        b"event: message_start\ndata: {\"message\":{\"id\":\"msg_1\",\"model\":\"m\"}}\n\n",
        b"data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n",
        b"event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n",
    ];
    for record in records {
        reader.record(record, &mut events).unwrap();
    }
    reader.end(&mut events).unwrap();
    assert_eq!(ChatAnswer::from_events(events).unwrap().parts, [text("a")]);
}

#[test]
fn the_last_stop_reason_that_is_told_counts() {
    let more = r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"}}"#;
    assert_eq!(told(&around(&[more], r#"{"stop_reason":null}"#)).ending.reason, FinishReason::Length);
}

#[test]
fn a_stream_begins_once() {
    let again = r#"{"type":"message_start","message":{"id":"msg_2","model":"n"}}"#;
    let events = events_of(&around(&[again], r#"{"stop_reason":"end_turn"}"#), None).unwrap();
    let starts = events.iter().filter(|event| matches!(event, ChatEvent::Start { .. })).count();
    assert_eq!(starts, 1);
    let mut reader = Reader::new(None);
    let mut events = Vec::new();
    let early = b"data: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"text\",\"text\":\"a\"}}\n\n";
    reader.record(early, &mut events).unwrap();
    assert!(matches!(&events[..], [ChatEvent::Start { .. }, ChatEvent::Text(_)]));
}

#[test]
fn what_is_not_of_the_shape_is_told() {
    for body in [b"".as_slice(), b"[]", b"{}", br#"{"content":"x"}"#, br#"{"content":[{}],"stop_reason":"end_turn"}"#] {
        assert!(read(body, None).is_err(), "{}", String::from_utf8_lossy(body));
    }
    let mut events = Vec::new();
    for record in [b"data: [DONE]\n\n".as_slice(), b"data: {\n\n", b"data: {\"type\":1}\n\n"] {
        assert!(Reader::new(None).record(record, &mut events).is_err());
    }
}
