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

mod reading {
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
        let message =
            json!({"reasoning_content": "t", "thinking_blocks": redacted["thinking_blocks"], "content": "hi"});
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
}

mod writing {
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
        inner
            .iter()
            .map(|record| serde_json::from_str::<Value>(record).unwrap()["choices"][0]["delta"].clone())
            .collect()
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
        let blocks = json!([{"type": "thinking", "thinking": "so", "signature": "s"}, {"type": "redacted_thinking", "data": "d"}]);
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
}
