use serde_json::{Value, json};

use super::super::tests::{post, post_with, records, refused, whole};

const PATH: &str = "/v1/messages";

fn body(more: &Value) -> Value {
    let mut body = json!({"model": "claude-x", "max_tokens": 2000, "messages": [{"role": "user", "content": "How is it in Paris?"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn weather() -> Value {
    json!([{"name": "get_weather", "input_schema": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}])
}

/// Puts a stream together as a client does: the message as it ends up.
fn joined(records: &[(String, Value)]) -> Value {
    let mut message = Value::Null;
    let mut json = String::new();
    let mut is_open = false;
    for (name, event) in records {
        assert_eq!(event["type"], *name);
        match name.as_str() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                assert!(!is_open, "one block at a time");
                assert_eq!(event["index"], message["content"].as_array().unwrap().len());
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
                (json, is_open) = (String::new(), true);
            }
            "content_block_delta" => {
                let block = message["content"].as_array_mut().unwrap().last_mut().unwrap();
                let delta = &event["delta"];
                for field in ["text", "thinking", "signature"] {
                    if let Some(piece) = delta[field].as_str() {
                        block[field] = json!(format!("{}{piece}", block[field].as_str().unwrap()));
                    }
                }
                json.push_str(delta["partial_json"].as_str().unwrap_or_default());
                if !json.is_empty() {
                    block["input"] = serde_json::from_str(&json).unwrap_or_default();
                }
            }
            "content_block_stop" => is_open = false,
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["stop_sequence"] = event["delta"]["stop_sequence"].clone();
                for (name, count) in event["usage"].as_object().unwrap() {
                    message["usage"][name] = count.clone();
                }
            }
            "ping" | "message_stop" => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(records.first().unwrap().0, "message_start");
    assert_eq!(records.last().unwrap().0, "message_stop");
    message
}

#[test]
fn a_stream_put_together_is_the_whole_message() {
    let long = json!([{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]);
    for options in [
        json!({}),
        json!({"tools": weather()}),
        json!({"tools": weather(), "tool_choice": {"type": "any"}}),
        json!({"tools": weather(), "thinking": {"type": "enabled", "budget_tokens": 1024}, "system": long}),
        json!({"thinking": {"type": "adaptive", "display": "omitted"}}),
        json!({"stop_sequences": ["Paris"]}),
        json!({"max_tokens": 3}),
        json!({"max_tokens": 0}),
    ] {
        let mut streamed = body(&options);
        streamed["stream"] = json!(true);
        assert_eq!(joined(&records(&post(PATH, &streamed))), whole(PATH, &body(&options)), "{options}");
    }
}

#[test]
fn an_answer_has_the_shape_and_sums_of_anthropic() {
    let answer = whole(PATH, &body(&json!({})));
    assert_eq!(
        (&answer["type"], &answer["role"], &answer["model"]),
        (&json!("message"), &json!("assistant"), &json!("claude-x"))
    );
    assert_eq!(answer["stop_reason"], "end_turn");
    let text = answer["content"][0]["text"].as_str().unwrap();
    assert_eq!(answer["usage"]["output_tokens"], text.chars().count().div_ceil(4));
    assert_eq!(answer["usage"]["input_tokens"], 11);
    let count = json!({"model": "m", "messages": [{"role": "user", "content": "How is it in Paris?"}]});
    assert_eq!(whole("/v1/messages/count_tokens", &count), json!({"input_tokens": 11}));
}

#[test]
fn tools_thinking_and_ends_are_told_in_anthropics_words() {
    let kinds = |answer: &Value| -> Vec<String> {
        answer["content"].as_array().unwrap().iter().map(|block| block["type"].as_str().unwrap().to_owned()).collect()
    };
    let thinking = json!({"type": "enabled", "budget_tokens": 1024});
    let answer = whole(PATH, &body(&json!({"tools": weather(), "thinking": thinking})));
    assert_eq!(kinds(&answer), ["thinking", "text", "tool_use"]);
    assert_eq!(answer["content"][2]["input"], json!({"city": "Paris"}));
    assert_eq!(answer["stop_reason"], "tool_use");
    assert_eq!(answer["usage"]["output_tokens_details"]["thinking_tokens"], 64);
    let forced =
        whole(PATH, &body(&json!({"tools": weather(), "tool_choice": {"type": "tool", "name": "get_weather"}})));
    assert_eq!(kinds(&forced), ["tool_use"]);
    let none = whole(PATH, &body(&json!({"tools": weather(), "tool_choice": {"type": "none"}})));
    assert_eq!(kinds(&none), ["text"]);
    let stopped = whole(PATH, &body(&json!({"stop_sequences": ["Paris"]})));
    assert_eq!((&stopped["stop_reason"], &stopped["stop_sequence"]), (&json!("stop_sequence"), &json!("Paris")));
    let cut = whole(PATH, &body(&json!({"tools": weather(), "tool_choice": {"type": "any"}, "max_tokens": 4})));
    assert_eq!((kinds(&cut).len(), &cut["stop_reason"]), (0, &json!("max_tokens")));
    let filled = whole(PATH, &body(&json!({"max_tokens": 0})));
    assert_eq!((kinds(&filled).len(), &filled["usage"]["output_tokens"]), (0, &json!(0)));
}

#[test]
fn after_results_the_answer_is_text() {
    let messages = json!([
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "get_weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "21 degrees"}]}]}
    ]);
    let answer = whole(PATH, &body(&json!({"tools": weather(), "messages": messages})));
    assert_eq!(answer["stop_reason"], "end_turn");
    assert!(answer["content"][0]["text"].as_str().unwrap().contains("21 degrees"));
}

#[test]
fn schemas_are_followed() {
    let schema =
        json!({"type": "object", "properties": {"n": {"const": 3}}, "required": ["n"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "schema": schema});
    for options in [json!({"output_config": {"format": format}}), json!({"output_format": format})] {
        assert_eq!(whole(PATH, &body(&options))["content"][0]["text"], "{\"n\":3}");
    }
}

#[test]
fn cache_control_splits_the_input_without_a_rest() {
    let system = |ttl: Value| {
        json!({"system": [{"type": "text", "text": "Be kind. ".repeat(40),
        "cache_control": {"type": "ephemeral", "ttl": ttl}}]})
    };
    let total =
        whole(PATH, &body(&json!({"system": "Be kind. ".repeat(40)})))["usage"]["input_tokens"].as_u64().unwrap();
    for (ttl, bucket) in [(json!("1h"), "ephemeral_1h_input_tokens"), (Value::Null, "ephemeral_5m_input_tokens")] {
        let usage = whole(PATH, &body(&system(ttl)))["usage"].clone();
        let count = |name: &str| usage[name].as_u64().unwrap();
        assert_eq!(count("cache_read_input_tokens"), total / 2);
        assert_eq!(count("cache_creation_input_tokens"), total / 4);
        assert_eq!(count("input_tokens"), total - total / 2 - total / 4);
        assert_eq!(usage["cache_creation"][bucket], total / 4);
    }
}

#[test]
fn wrong_requests_are_refused_in_anthropics_words() {
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let use_a = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]});
    let hi = json!({"role": "user", "content": "hi"});
    let result_b = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "b"}]});
    let marked = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
    for (wrong, part) in [
        (json!({"model": null}), "model: Field required"),
        (json!({"messages": null}), "messages: Field required"),
        (json!({"messages": []}), "at least one message"),
        (json!({"messages": "hi"}), "messages: Input should be a valid array"),
        (json!({"max_tokens": null}), "max_tokens: Field required"),
        (json!({"max_tokens": -1}), "max_tokens: Input should be greater than or equal to 0"),
        (json!({"max_tokens": "9"}), "max_tokens: Input should be a valid integer"),
        (json!({"messages": [{"role": "robot", "content": "x"}]}), "messages.0.role: Input should be one of"),
        (json!({"messages": [{"role": "user"}]}), "messages.0.content: Field required"),
        (user(json!("")), "non-empty content"),
        (user(json!([])), "non-empty content"),
        (user(json!([{"type": "text", "text": ""}])), "text content blocks must be non-empty"),
        (user(json!([{"type": "text", "text": " \n"}])), "must contain non-whitespace text"),
        (user(json!([{"type": "image"}])), "messages.0.content.0.source: Field required"),
        (user(json!([marked, marked, marked, marked, marked])), "A maximum of 4 blocks with cache_control"),
        (user(json!([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "2h"}}])), "ttl"),
        (
            json!({"messages": [hi, use_a, hi]}),
            "`tool_use` ids were found without `tool_result` blocks immediately after: a",
        ),
        (json!({"messages": [hi, result_b]}), "unexpected `tool_use_id` found in `tool_result` blocks: b"),
        (json!({"messages": [hi, {"role": "assistant", "content": "So "}]}), "trailing whitespace"),
        (json!({"temperature": 1.5}), "temperature: Input should be less than or equal to 1"),
        (json!({"stop_sequences": [" "]}), "non-whitespace"),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 10}}), "greater than or equal to 1024"),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}), "`max_tokens` must be greater"),
        (
            json!({"thinking": {"type": "adaptive"}, "tools": weather(), "tool_choice": {"type": "any"}}),
            "forces tool use",
        ),
        (json!({"thinking": {"type": "adaptive"}, "temperature": 0.5}), "may only be set to 1"),
        (json!({"tools": [{"name": "f"}]}), "tools.0.input_schema: Field required"),
        (json!({"tools": [{"name": "a b", "input_schema": {}}]}), "tools.0.name"),
        (json!({"tools": [weather()[0], weather()[0]]}), "must be unique"),
        (json!({"tool_choice": {"type": "any"}}), "while providing tools"),
        (json!({"tools": weather(), "tool_choice": {"type": "tool", "name": "g"}}), "Tool 'g' not found"),
        (json!({"output_config": {"effort": "extreme"}}), "output_config.effort"),
        (json!({"output_config": {"format": {"type": "json_schema"}}}), "output_config.format.schema: Field required"),
    ] {
        let (status, error) = refused(&post(PATH, &body(&wrong)));
        assert_eq!((status, &error["type"]), (400, &json!("invalid_request_error")), "{wrong}");
        assert!(error["message"].as_str().unwrap().contains(part), "{wrong}: {error}");
    }
}

#[test]
fn the_new_version_refuses_what_it_removed_and_the_old_takes_it() {
    let document = json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}});
    let cited = json!([{"type": "text", "text": "x", "citations": [{"type": "char_location"}]}]);
    for removed in [
        json!({"temperature": 1}),
        json!({"top_p": 0.9}),
        json!({"top_k": 5}),
        json!({"messages": [{"role": "user", "content": cited}]}),
        json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": [document]},
            {"role": "user", "content": "y"}]}),
    ] {
        assert_eq!(post(PATH, &body(&removed)).status, 200, "{removed}");
        let answer = post_with(PATH, &body(&removed), &[("anthropic-version", "2026-10-21")]);
        assert_eq!(refused(&answer).0, 400, "{removed}");
    }
    let plain = post_with(PATH, &body(&json!({})), &[("anthropic-version", "2026-10-21")]);
    assert_eq!(plain.status, 200);
}

#[test]
fn without_a_version_nothing_is_answered() {
    let settings = super::super::SandboxSettings::default();
    let answer =
        super::super::tests::send(&settings, "POST", PATH, &[("x-api-key", "k")], &body(&json!({})).to_string());
    let (status, error) = refused(&answer);
    assert_eq!((status, &error["message"]), (400, &json!("anthropic-version: header is required")));
}

#[test]
fn the_query_of_older_sdks_is_accepted() {
    assert_eq!(post("/v1/messages?beta=true", &body(&json!({}))).status, 200);
}
