//! Answers for clients, as they are written.

use super::*;

fn frame(include_usage: bool) -> Frame {
    Frame { created: 7, include_usage, echo: Vec::new() }
}

fn usage() -> TokenUsage {
    TokenUsage {
        uncached_input: 25,
        cache_read: 1000,
        cache_write_5m: 200,
        cache_write_1h: 300,
        output: 89,
        reasoning: 40,
        ..TokenUsage::default()
    }
}

fn usage_json() -> Value {
    json!({
        "prompt_tokens": 1525, "completion_tokens": 89, "total_tokens": 1614,
        "prompt_tokens_details": {"cached_tokens": 1000, "cache_write_tokens": 500, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 40, "audio_tokens": 0},
    })
}

fn answer(parts: Vec<AssistantPart>, reason: FinishReason) -> ChatAnswer {
    ChatAnswer { id: "msg_1".to_owned(), model: "m".to_owned(), parts, ending: ending(reason) }
}

fn whole_json(answer: &ChatAnswer) -> Value {
    serde_json::from_slice(&write_answer(answer, &usage(), &frame(false))).unwrap()
}

/// The records of a stream, without `data: ` and the blank lines.
fn records(events: &[ChatEvent], frame: Frame) -> Vec<String> {
    let (mut writer, mut out) = (Writer::new(frame), BytesMut::new());
    for event in events {
        writer.event(event, &mut out);
    }
    writer.end(&usage(), &mut out);
    let text = String::from_utf8(out.to_vec()).unwrap();
    text.split_terminator("\n\n").map(|record| record.strip_prefix("data: ").unwrap().to_owned()).collect()
}

/// The deltas of an answer's stream, between the role and the finish.
fn deltas_of(answer: ChatAnswer) -> Vec<Value> {
    let records = records(&answer.into_events(), frame(false));
    let inner = &records[1..records.len() - 2];
    inner.iter().map(|record| serde_json::from_str::<Value>(record).unwrap()["choices"][0]["delta"].clone()).collect()
}

#[test]
fn a_whole_answer_has_every_field_that_clients_look_for() {
    let written = whole_json(&answer(vec![text("a"), text("b")], FinishReason::Stop));
    let message = json!({"role": "assistant", "content": "ab", "refusal": null});
    let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"});
    let expected = json!({"id": "chatcmpl-msg_1", "object": "chat.completion", "created": 7, "model": "m",
        "choices": [choice], "usage": usage_json()});
    assert_eq!(written, expected);
}

#[test]
fn an_id_gets_its_prefix_where_it_has_none() {
    let id = |id: &str| {
        whole_json(&ChatAnswer { id: id.to_owned(), ..answer(Vec::new(), FinishReason::Stop) })["id"].clone()
    };
    assert_eq!(id("chatcmpl-9"), "chatcmpl-9");
    assert_eq!(id("msg_9"), "chatcmpl-msg_9");
    assert_eq!(id(""), "chatcmpl-7");
}

#[test]
fn content_is_null_only_beside_calls_or_a_refusal() {
    let message = |parts| whole_json(&answer(parts, FinishReason::Stop))["choices"][0]["message"].clone();
    let called = message(vec![call("t", "f", "")]);
    let expected = json!([{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    assert_eq!((&called["content"], &called["tool_calls"]), (&Value::Null, &expected));
    assert_eq!(message(vec![text("a"), call("t", "f", "{}")])["content"], "a");
    assert_eq!(message(Vec::new())["content"], "");
    let refused = message(vec![AssistantPart::Refusal("no".to_owned())]);
    assert_eq!((&refused["content"], &refused["refusal"]), (&Value::Null, &json!("no")));
}

#[test]
fn thinking_stands_in_its_field_and_signed_in_blocks_too() {
    let message = |parts| whole_json(&answer(parts, FinishReason::Stop))["choices"][0]["message"].clone();
    let bare = message(vec![thinking("so", None), text("a")]);
    assert_eq!((&bare["reasoning_content"], bare.get("thinking_blocks")), (&json!("so"), None));
    let redacted = AssistantPart::RedactedThinking("d".to_owned());
    let signed = message(vec![thinking("so", Some("s")), redacted, text("a")]);
    let blocks =
        json!([{"type": "thinking", "thinking": "so", "signature": "s"}, {"type": "redacted_thinking", "data": "d"}]);
    assert_eq!((&signed["reasoning_content"], &signed["thinking_blocks"]), (&json!("so"), &blocks));
}

#[test]
fn every_ending_has_its_word() {
    for (reason, word) in [
        (FinishReason::Stop, "stop"),
        (FinishReason::StopSequence, "stop"),
        (FinishReason::Length, "length"),
        (FinishReason::ToolCalls, "tool_calls"),
        (FinishReason::Refusal, "content_filter"),
    ] {
        assert_eq!(whole_json(&answer(Vec::new(), reason))["choices"][0]["finish_reason"], word);
        let records = records(&answer(Vec::new(), reason).into_events(), frame(false));
        let finish: Value = serde_json::from_str(&records[1]).unwrap();
        assert_eq!(finish["choices"][0], json!({"index": 0, "delta": {}, "finish_reason": word}));
    }
}

#[test]
fn a_refusal_tells_its_explanation() {
    let mut refused = answer(vec![text("a")], FinishReason::Refusal);
    refused.ending.explanation = Some("not this".to_owned());
    assert_eq!(whole_json(&refused)["choices"][0]["message"]["refusal"], "not this");
    assert_eq!(deltas_of(refused)[1], json!({"refusal": "not this"}));
}

#[test]
fn a_stream_is_role_deltas_finish_end() {
    let records = records(&answer(vec![text("a")], FinishReason::Stop).into_events(), frame(false));
    let chunk = |rest: &str| {
        format!(
            r#"{{"id":"chatcmpl-msg_1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{rest}]}}"#
        )
    };
    let expected = [
        chunk(r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}"#),
        chunk(r#"{"index":0,"delta":{"content":"a"},"finish_reason":null}"#),
        chunk(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#),
        "[DONE]".to_owned(),
    ];
    assert_eq!(records, expected);
}

/// LiteLLM sends choices in this chunk, which clients then take for content.
#[test]
fn usage_comes_in_a_chunk_without_choices_if_it_was_asked_for() {
    let records = records(&answer(vec![text("a")], FinishReason::Stop).into_events(), frame(true));
    let chunks: Vec<Value> =
        records[..records.len() - 1].iter().map(|record| serde_json::from_str(record).unwrap()).collect();
    let (last, before) = chunks.split_last().unwrap();
    assert!(before.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &usage_json()));
    assert_eq!(records.last().unwrap(), "[DONE]");
}

#[test]
fn calls_are_numbered_among_themselves_and_never_without_arguments() {
    let parts = vec![thinking("so", None), text("a"), call("x", "f", "{\"a\":1}"), text("b"), call("y", "g", "")];
    let begun = |index: u64, id: &str, name: &str| {
        let function = json!({"name": name, "arguments": ""});
        json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]})
    };
    let expected = [
        json!({"reasoning_content": "so"}),
        json!({"content": "a"}),
        begun(0, "x", "f"),
        calls(&[more(0, "{\"a\":1}")]),
        json!({"content": "b"}),
        begun(1, "y", "g"),
        calls(&[more(1, "{}")]),
    ];
    assert_eq!(deltas_of(answer(parts, FinishReason::ToolCalls)), expected);
}

#[test]
fn empty_deltas_are_not_sent_and_a_new_part_ends_the_one_before() {
    let (id, name) = ("x".to_owned(), "f".to_owned());
    let events = [
        ChatEvent::Start { id: String::new(), model: String::new() },
        ChatEvent::Thinking("so".to_owned()),
        ChatEvent::Signature("s".to_owned()),
        ChatEvent::ToolCall { id, name },
        ChatEvent::Arguments(String::new()),
        ChatEvent::Text(String::new()),
        ChatEvent::Text("a".to_owned()),
        ChatEvent::Finish(ending(FinishReason::Stop)),
    ];
    let records = records(&events, frame(false));
    let deltas: Vec<Value> = records[1..records.len() - 2]
        .iter()
        .map(|record| serde_json::from_str::<Value>(record).unwrap()["choices"][0]["delta"].clone())
        .collect();
    let block = json!({"index": 0, "type": "thinking", "thinking": "so", "signature": "s"});
    assert_eq!(deltas[1], json!({"thinking_blocks": [block]}));
    assert_eq!(deltas[3..], [calls(&[more(0, "{}")]), json!({"content": "a"})]);
}

/// Else OpenAI's SDK raises an error when it joins the second to the first.
#[test]
fn blocks_of_thinking_are_numbered_in_a_stream() {
    let parts = vec![AssistantPart::RedactedThinking("d".to_owned()), thinking("", Some("s"))];
    let expected = [
        json!({"thinking_blocks": [{"index": 0, "type": "redacted_thinking", "data": "d"}]}),
        json!({"thinking_blocks": [{"index": 1, "type": "thinking", "thinking": "", "signature": "s"}]}),
    ];
    assert_eq!(deltas_of(answer(parts, FinishReason::Stop)), expected);
}

#[test]
fn a_ping_is_a_comment() {
    let mut out = BytesMut::new();
    Writer::new(Frame::default()).ping(&mut out);
    assert_eq!(&*out, b": ping\n\n");
}

/// The two directions of one shape agree.
fn written_and_read(answer: ChatAnswer, include_usage: bool) -> ChatAnswer {
    let bytes: Vec<u8> = records(&answer.into_events(), frame(include_usage))
        .iter()
        .flat_map(|record| format!("data: {record}\n\n").into_bytes())
        .collect();
    ChatAnswer::from_events(events_of(&bytes).unwrap()).unwrap()
}

fn word() -> impl Strategy<Value = String> {
    "[a-zé\"\\\\{} \n]{1,8}"
}

fn any_call() -> impl Strategy<Value = AssistantPart> {
    let arguments = prop_oneof![
        Just("{}".to_owned()),
        (word(), any::<i32>()).prop_map(|(key, value)| json!({key: value}).to_string()),
        (word(), word()).prop_map(|(key, value)| format!("{{ {}:\n[{}, {{}}] }}", json!(key), json!(value))),
    ];
    ("[a-z]{1,4}", arguments).prop_map(|(name, arguments)| call("", &name, &arguments))
}

fn any_thinking() -> impl Strategy<Value = AssistantPart> {
    prop_oneof![
        (word(), word()).prop_map(|(text, proof)| thinking(&text, Some(&proof))),
        word().prop_map(AssistantPart::RedactedThinking),
    ]
}

/// What a whole message can hold: thinking, then text, a refusal, calls.
fn any_answer() -> impl Strategy<Value = ChatAnswer> {
    let thoughts = prop_oneof![
        proptest::collection::vec(any_thinking(), 0..3),
        word().prop_map(|text| vec![thinking(&text, None)]),
    ];
    let said = (proptest::option::of(word()), proptest::option::weighted(0.1, word()));
    (thoughts, said, proptest::collection::vec(any_call(), 0..4), any::<bool>()).prop_map(
        |(mut parts, (said, refusal), calls, is_cut)| {
            let reason = match (is_cut, &refusal, calls.as_slice()) {
                (true, ..) => FinishReason::Length,
                (_, Some(_), _) => FinishReason::Refusal,
                (_, None, [_, ..]) => FinishReason::ToolCalls,
                _ => FinishReason::Stop,
            };
            parts.extend(said.map(AssistantPart::Text));
            parts.extend(refusal.map(AssistantPart::Refusal));
            parts.extend(calls);
            // Every call has an id of its own.
            for (at, part) in parts.iter_mut().enumerate() {
                if let AssistantPart::ToolCall(call) = part {
                    call.id = format!("toolu_{at}");
                }
            }
            ChatAnswer { id: "chatcmpl-1".to_owned(), ..answer(parts, reason) }
        },
    )
}

proptest! {
    #[test]
    fn a_whole_answer_reads_as_it_was_written(answer in any_answer()) {
        let body = write_answer(&answer, &usage(), &frame(false));
        prop_assert_eq!(read_answer(&body).unwrap(), answer);
    }

    #[test]
    fn a_stream_reads_as_it_was_written(answer in any_answer(), include_usage in any::<bool>()) {
        prop_assert_eq!(written_and_read(answer.clone(), include_usage), answer);
    }

    #[test]
    fn a_stream_keeps_the_order_of_parts(mut parts in proptest::collection::vec(
        prop_oneof![any_thinking(), word().prop_map(AssistantPart::Text), any_call()], 0..8,
    )) {
        // Texts that follow each other are one on the wire.
        parts.dedup_by(|next, before| matches!((next, before), (AssistantPart::Text(_), AssistantPart::Text(_))));
        for (at, part) in parts.iter_mut().enumerate() {
            if let AssistantPart::ToolCall(call) = part {
                call.id = format!("toolu_{at}");
            }
        }
        let has_calls = parts.iter().any(|part| matches!(part, AssistantPart::ToolCall(_)));
        let reason = if has_calls { FinishReason::ToolCalls } else { FinishReason::Stop };
        let answer = ChatAnswer { id: "chatcmpl-1".to_owned(), ..answer(parts, reason) };
        prop_assert_eq!(written_and_read(answer.clone(), false), answer);
    }

    #[test]
    fn interleaved_calls_lose_nothing(
        arguments in proptest::collection::vec(word().prop_map(|value| json!({"k": value}).to_string()), 1..5),
        order in proptest::collection::vec(0_usize..5, 0..60),
        announced_first in any::<bool>(),
    ) {
        let mut left: Vec<_> = arguments.iter().map(|text| text.chars().collect::<std::collections::VecDeque<_>>()).collect();
        let mut begun_already = vec![false; left.len()];
        let mut said = Vec::new();
        let mut say = |at: usize, said: &mut Vec<Value>, text: &str| {
            if std::mem::replace(&mut begun_already[at], true) {
                said.push(calls(&[more(at as u64, text)]));
            } else {
                said.push(calls(&[begun(at as u64, &format!("id{at}"), text)]));
            }
        };
        if announced_first {
            (0..left.len()).for_each(|at| say(at, &mut said, ""));
        }
        for at in order.into_iter().filter(|at| *at < arguments.len()) {
            if let Some(letter) = left[at].pop_front() {
                say(at, &mut said, &letter.to_string());
            }
        }
        for (at, rest) in left.iter().enumerate() {
            let rest: String = rest.iter().collect();
            say(at, &mut said, &rest);
        }
        let mut found: Vec<_> = parts(&said).into_iter().map(|part| match part {
            AssistantPart::ToolCall(call) => (call.id, call.arguments),
            other => panic!("{other:?}"),
        }).collect();
        found.sort();
        let expected: Vec<_> = arguments.into_iter().enumerate().map(|(at, text)| (format!("id{at}"), text)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_bytes_are_an_answer_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = read_answer(&bytes);
        let _ = Reader::new().record(&bytes, &mut Vec::new());
    }
}
