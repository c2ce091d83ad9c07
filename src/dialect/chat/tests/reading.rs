//! Answers of providers, as they are read.

use super::*;

fn fixture_answer(stream: &str) -> ChatAnswer {
    ChatAnswer::from_events(events_of(stream.as_bytes()).unwrap()).unwrap()
}

#[test]
fn openai_streams_are_read() {
    for stream in [fixture!("openai_stream.sse"), fixture!("openai_stream_usage.sse")] {
        let answer = fixture_answer(stream);
        assert_eq!(answer.parts, [text("The answer is café 😀.")]);
        assert_eq!(answer.id, "chatcmpl-Fix0000000000000000000002");
        assert_eq!((answer.model.as_str(), answer.ending), ("gpt-4o-mini-2024-07-18", ending(FinishReason::Stop)));
    }
    let answer = fixture_answer(fixture!("openai_stream_tools.sse"));
    let paris = call("call_FixA", "get_weather", r#"{"city":"Paris","unit":"celsius"}"#);
    assert_eq!(answer.parts, [paris, call("call_FixB", "get_weather", r#"{"city":"São Paulo"}"#)]);
    assert_eq!(answer.ending.reason, FinishReason::ToolCalls);
}

/// Text on the role chunk (litellm#30014), `tool_calls: []` (litellm#29286), content beside a call (litellm#18238), calls without an
/// index (ollama#7881), all arguments at once (ollama#9632, litellm#25561, #25605, #25836), "stop" after calls.
#[test]
fn the_quirks_of_compatible_servers_are_read() {
    let answer = fixture_answer(fixture!("compat_stream_quirks.sse"));
    let paris = call("call_q1", "get_weather", r#"{"city":"Paris","unit":"celsius"}"#);
    let sao_paulo = call("call_q2", "get_weather", r#"{"city":"São Paulo"}"#);
    assert_eq!(answer.parts, [text("Let me look. Ok"), paris, sao_paulo]);
    assert_eq!(answer.ending, ending(FinishReason::ToolCalls));
    let answer = fixture_answer(fixture!("compat_stream_reasoning.sse"));
    assert_eq!(answer.parts, [thinking("Two plus two.", None), text("4")]);
}

#[test]
fn a_stream_that_just_ends_is_no_answer() {
    assert!(events_of(fixture!("openai_stream_truncated.sse").as_bytes()).is_err());
    assert!(events_of(b"").is_err());
    assert!(events_of(b"data: [DONE]\n\n").is_err());
    let null = json!({"choices": [{"delta": {"content": "a"}, "finish_reason": null}]});
    let empty = json!({"choices": [{"delta": {}, "finish_reason": ""}]});
    assert!(events_of(&stream(&[null, empty])).is_err());
}

#[test]
fn records_without_meaning_tell_nothing() {
    let finish = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    // Azure's first record, comments, an empty one, usage, the end marker.
    let azure = json!({"id": "", "model": "", "choices": [], "prompt_filter_results": []});
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 1}});
    let first = json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant"}}]});
    let mut bytes = b": OPENROUTER PROCESSING\n\ndata:\n\n".to_vec();
    bytes.extend(stream(&[azure, first, finish, usage]));
    bytes.extend(b"data: [DONE]\n\n");
    let events = events_of(&bytes).unwrap();
    let start = ChatEvent::Start { id: "c".to_owned(), model: "m".to_owned() };
    assert_eq!(events, [start, ChatEvent::Finish(ending(FinishReason::Stop))]);
    let mut reader = Reader::new();
    assert!(reader.record(b"data: <html>\n\n", &mut Vec::new()).is_err());
    assert!(reader.record(b"data: [1]\n\n", &mut Vec::new()).is_err());
}

#[test]
fn only_the_first_choice_counts() {
    let records = [
        json!({"choices": [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]}),
        json!({"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]}),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    ];
    let answer = ChatAnswer::from_events(events_of(&stream(&records)).unwrap()).unwrap();
    assert_eq!((answer.parts, answer.ending), (vec![text("a")], ending(FinishReason::Stop)));
}

#[test]
fn a_new_id_is_a_new_call_whatever_its_index() {
    let two = [call("a", "f", "{}"), call("b", "f", "{}")];
    assert_eq!(parts(&[calls(&[begun(0, "a", "{}")]), calls(&[begun(0, "b", "{}")])]), two);
    let without = |id: &str| json!({"id": id, "function": {"name": "f", "arguments": "{}"}});
    assert_eq!(parts(&[calls(&[without("a"), without("b")])]), two);
    assert_eq!(parts(&[calls(&[without("a")]), calls(&[without("b")])]), two);
}

#[test]
fn an_id_that_is_repeated_or_made_up_anew_is_the_same_call() {
    let repeated = [calls(&[begun(0, "a", "{\"x\":")]), calls(&[begun(0, "a", "1}")])];
    assert_eq!(parts(&repeated), [call("a", "f", "{\"x\":1}")]);
    let anew = json!({"index": 0, "id": "z", "function": {"arguments": "1}"}});
    assert_eq!(parts(&[calls(&[begun(0, "a", "{\"x\":")]), calls(&[anew])]), [call("a", "f", "{\"x\":1}")]);
}

#[test]
fn a_missing_id_is_made_up_from_the_place() {
    let named = json!({"function": {"name": "f", "arguments": "{\"x\":"}});
    let rest = json!({"function": {"arguments": "1}"}});
    let expected = [call("call_0", "f", "{\"x\":1}"), call("call_1", "f", "{\"x\":1}")];
    let one_by_one = [&named, &rest, &named, &rest].map(|delta| calls(std::slice::from_ref(delta)));
    assert_eq!(parts(&one_by_one), expected);
    let indexed = |index: u64| json!({"index": index, "id": "", "function": {"name": "f", "arguments": "{}"}});
    let expected = [call("call_0", "f", "{}"), call("call_1", "f", "{}")];
    assert_eq!(parts(&[calls(&[indexed(0), indexed(1)])]), expected);
}

#[test]
fn arguments_may_be_an_object_or_come_before_the_name() {
    let object = json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": {"b": 1, "a": 2.0}}});
    assert_eq!(parts(&[calls(&[object])]), [call("a", "f", r#"{"a":2.0,"b":1}"#)]);
    let nameless = json!({"index": 0, "id": "a", "function": {"arguments": "{"}});
    let named = json!({"index": 0, "function": {"name": "f", "arguments": "}"}});
    assert_eq!(parts(&[calls(std::slice::from_ref(&nameless)), calls(&[named])]), [call("a", "f", "{}")]);
    assert!(deltas(&[calls(&[nameless])], "tool_calls").is_err());
    let null = json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": null}});
    assert_eq!(parts(&[calls(&[null])]), [call("a", "f", "")]);
}

#[test]
fn calls_that_interleave_come_out_one_by_one() {
    let mixed = [
        calls(&[begun(0, "a", ""), begun(1, "b", "")]),
        calls(&[more(1, "{\"y\":")]),
        calls(&[more(0, "{\"x\":\"}\\\"")]),
        json!({"content": "between"}),
        calls(&[more(1, "2}")]),
        calls(&[more(0, "1\"}")]),
    ];
    let (a, b) = (call("a", "f", r#"{"x":"}\"1"}"#), call("b", "f", r#"{"y":2}"#));
    assert_eq!(parts(&mixed), [a, b, text("between")]);
}

#[test]
fn calls_one_after_another_are_told_at_once() {
    let (mut reader, mut events) = (Reader::new(), Vec::new());
    for delta in [calls(&[begun(0, "a", "{}")]), calls(&[begun(1, "b", "")]), calls(&[more(1, "{\"x\"")])] {
        let record = stream(&[json!({"choices": [{"delta": delta}]})]);
        reader.record(&record, &mut events).unwrap();
    }
    assert_eq!(events.last(), Some(&ChatEvent::Arguments("{\"x\"".to_owned())));
    // White space after the end says nothing; more of a call that was whole is an error, not a loss.
    let late = |arguments: &str| stream(&[json!({"choices": [{"delta": calls(&[more(0, arguments)])}]})]);
    assert!(reader.record(&late("\n"), &mut events).is_ok());
    assert!(reader.record(&late("{}"), &mut events).is_err());
}

#[test]
fn the_older_function_call_is_read() {
    let said = [
        json!({"function_call": {"name": "f", "arguments": ""}}),
        json!({"function_call": {"arguments": "{\"x\":"}}),
        json!({"function_call": {"arguments": "1}"}}),
    ];
    let answer = deltas(&said, "function_call").unwrap();
    assert_eq!(answer.parts, [call("call_0", "f", "{\"x\":1}")]);
    assert_eq!(answer.ending.reason, FinishReason::ToolCalls);
    let whole = whole(&json!({"function_call": {"name": "f", "arguments": "{}"}}), &json!("function_call"));
    assert_eq!(whole.unwrap().parts, [call("call_0", "f", "{}")]);
}

#[test]
fn reasoning_has_several_names() {
    for field in ["reasoning", "reasoning_content"] {
        let said = [json!({field: "a", "content": ""}), json!({field: "b"}), json!({"content": "c"})];
        assert_eq!(parts(&said), [thinking("ab", None), text("c")], "{field}");
    }
    let both = [json!({"reasoning": "a", "reasoning_content": "a"})];
    assert_eq!(parts(&both), [thinking("a", None)]);
    // Mistral's way.
    let list = json!({"content": [
        {"type": "thinking", "thinking": [{"type": "text", "text": "so"}]}, {"type": "text", "text": "hi"}]});
    assert_eq!(parts(&[list]), [thinking("so", None), text("hi")]);
}

#[test]
fn signed_thinking_is_read_from_its_blocks() {
    let block =
        |thinking: &str, signature: &str| json!({"type": "thinking", "thinking": thinking, "signature": signature});
    // Bare text first, then the whole with its signature: our own way.
    let ours = [json!({"reasoning_content": "so"}), json!({"thinking_blocks": [block("so", "s")]})];
    assert_eq!(parts(&ours), [thinking("so", Some("s"))]);
    // Each delta in both fields, the signature alone at the end: LiteLLM's.
    let litellm = [
        json!({"reasoning_content": "s", "thinking_blocks": [block("s", "")]}),
        json!({"reasoning_content": "o", "thinking_blocks": [block("o", "")]}),
        json!({"reasoning_content": "", "thinking_blocks": [block("", "s")]}),
        json!({"content": "hi"}),
    ];
    assert_eq!(parts(&litellm), [thinking("so", Some("s")), text("hi")]);
    let redacted = json!({"thinking_blocks": [{"type": "redacted_thinking", "data": "d"}, block("t", "u")]});
    let message = json!({"reasoning_content": "t", "thinking_blocks": redacted["thinking_blocks"], "content": "hi"});
    let expected = [AssistantPart::RedactedThinking("d".to_owned()), thinking("t", Some("u")), text("hi")];
    assert_eq!(whole(&message, &json!("stop")).unwrap().parts, expected);
}

#[test]
fn every_word_for_an_ending_is_read() {
    let reason = |said: &[Value], word: &str| deltas(said, word).unwrap().ending.reason;
    let nothing = [json!({"content": "a"})];
    let calling = [calls(&[begun(0, "a", "{}")])];
    let refusing = [json!({"refusal": "no"})];
    assert_eq!(reason(&nothing, "stop"), FinishReason::Stop);
    assert_eq!(reason(&nothing, "length"), FinishReason::Length);
    assert_eq!(reason(&nothing, "content_filter"), FinishReason::Refusal);
    assert_eq!(reason(&nothing, "eos_token"), FinishReason::Stop);
    assert_eq!(reason(&nothing, "tool_calls"), FinishReason::Stop);
    assert_eq!(reason(&calling, "tool_calls"), FinishReason::ToolCalls);
    assert_eq!(reason(&calling, "function_call"), FinishReason::ToolCalls);
    assert_eq!(reason(&calling, "stop"), FinishReason::ToolCalls);
    assert_eq!(reason(&calling, "length"), FinishReason::Length);
    assert_eq!(reason(&refusing, "stop"), FinishReason::Refusal);
    assert_eq!(parts(&refusing), [AssistantPart::Refusal("no".to_owned())]);
}

#[test]
fn vllm_names_the_text_that_ended_the_answer() {
    let ended = |stop_reason: Value| {
        let choice = json!({"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": stop_reason});
        let events = events_of(&stream(&[json!({"choices": [choice]})])).unwrap();
        ChatAnswer::from_events(events).unwrap().ending
    };
    let sequence = ended(json!("END"));
    assert_eq!((sequence.reason, sequence.stop_sequence.as_deref()), (FinishReason::StopSequence, Some("END")));
    assert_eq!(ended(json!(151_643)), ending(FinishReason::Stop));
    assert_eq!(ended(json!(null)), ending(FinishReason::Stop));
}

#[test]
fn whole_answers_are_read() {
    let answer = read_answer(fixture!("openai_chat.json").as_bytes()).unwrap();
    assert_eq!(answer.parts, [text("Paris is the capital of France. é✓ 😀")]);
    assert_eq!(answer.ending, ending(FinishReason::Stop));
    let tools = read_answer(fixture!("openai_chat_tools.json").as_bytes()).unwrap();
    let paris = call("call_FixA", "get_weather", r#"{"city":"Paris","unit":"celsius"}"#);
    assert_eq!(tools.parts, [paris, call("call_FixB", "get_weather", r#"{"city":"S\u00e3o Paulo"}"#)]);
    assert_eq!(tools.ending.reason, FinishReason::ToolCalls);
    for body in [fixture!("openai_chat_reasoning.json"), fixture!("openai_chat_cache_write.json")] {
        assert_eq!(read_answer(body.as_bytes()).unwrap().parts.len(), 1);
    }
    // It has ended, whether it says why or not.
    let silent = whole(&json!({"content": "a", "tool_calls": []}), &Value::Null).unwrap();
    assert_eq!((silent.parts, silent.ending), (vec![text("a")], ending(FinishReason::Stop)));
}

#[test]
fn what_is_no_answer_is_not_of_the_shape() {
    for body in ["", "[]", "{}", r#"{"choices":[]}"#, r#"{"choices":[{"index":1}]}"#, r#"{"choices":[{}]}"#] {
        assert!(read_answer(body.as_bytes()).is_err(), "{body}");
    }
}
