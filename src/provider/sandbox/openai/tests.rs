use serde_json::{Value, json};

use super::super::tests::{post, post_with, records, refused, whole};

const PATH: &str = "/v1/chat/completions";

fn body(more: &Value) -> Value {
    let mut body = json!({"model": "gpt-x", "messages": [{"role": "user", "content": "How is it in Paris?"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn weather() -> Value {
    json!([{"type": "function", "function": {"name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}])
}

/// Puts the chunks of one choice together as a client does.
fn joined(records: &[(String, Value)], index: u64) -> (String, Vec<(String, String)>, Vec<String>) {
    let (mut text, mut calls, mut ends) = (String::new(), Vec::<(String, String)>::new(), Vec::new());
    let choices = records.iter().flat_map(|(_, record)| record["choices"].as_array().cloned().unwrap_or_default());
    for choice in choices.filter(|choice| choice["index"] == index) {
        text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let position = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            if position == calls.len() {
                assert!(call["id"].as_str().unwrap().starts_with("call_"));
                calls.push((call["function"]["name"].as_str().unwrap().to_owned(), String::new()));
            } else {
                assert!(call.get("id").is_none() && call["function"].get("name").is_none());
            }
            calls[position].1.push_str(call["function"]["arguments"].as_str().unwrap());
        }
        ends.extend(choice["finish_reason"].as_str().map(str::to_owned));
    }
    (text, calls, ends)
}

#[test]
fn an_answer_has_the_shape_and_sums_of_openai() {
    let answer = whole(PATH, &body(&json!({})));
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "gpt-x");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(choice["message"]["role"], "assistant");
    let text = choice["message"]["content"].as_str().unwrap();
    assert!(text.contains("How is it in Paris"), "{text}");
    let usage = &answer["usage"];
    // 19 characters are 5 tokens, the message and the opening of the answer 3 each.
    assert_eq!(usage["prompt_tokens"], 11);
    assert_eq!(usage["completion_tokens"], text.chars().count().div_ceil(4));
    assert_eq!(usage["total_tokens"].as_u64().unwrap(), 11 + usage["completion_tokens"].as_u64().unwrap());
}

#[test]
fn a_stream_says_what_the_whole_says_and_ends_in_order() {
    let answer = whole(PATH, &body(&json!({"n": 2})));
    let options = json!({"n": 2, "stream": true, "stream_options": {"include_usage": true}});
    let records = records(&post(PATH, &body(&options)));
    for index in 0..2 {
        let (text, _, ends) = joined(&records, index);
        assert_eq!(answer["choices"][usize::try_from(index).unwrap()]["message"]["content"], text);
        assert_eq!(ends, ["stop"]);
    }
    let (last, before) = records.split_last().unwrap();
    assert_eq!(last.1, "[DONE]");
    let (usage, chunks) = before.split_last().unwrap();
    assert_eq!((&usage.1["choices"], &usage.1["usage"]), (&json!([]), &answer["usage"]));
    assert!(chunks.iter().all(|(_, chunk)| chunk.get("usage") == Some(&Value::Null)));
    assert!(chunks.iter().all(|(name, chunk)| name.is_empty() && chunk["id"] == answer["id"]));
    assert_eq!(chunks[0].1["choices"][0]["delta"]["role"], "assistant");
}

#[test]
fn usage_is_streamed_only_where_it_is_asked_for() {
    for options in [json!({"stream": true}), json!({"stream": true, "stream_options": {"include_usage": false}})] {
        let records = records(&post(PATH, &body(&options)));
        assert!(records.iter().all(|(_, record)| record.get("usage").is_none()));
        assert_eq!(records[records.len() - 2].1["choices"][0]["finish_reason"], "stop");
    }
}

#[test]
fn tool_calls_are_whole_and_in_pieces_the_same() {
    let options = json!({"tools": weather()});
    let answer = whole(PATH, &body(&options));
    let message = &answer["choices"][0]["message"];
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    assert!(message["content"].is_null());
    let given = message["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(given).unwrap(), json!({"city": "Paris"}));
    let streamed = records(&post(PATH, &body(&json!({"tools": weather(), "stream": true}))));
    let (text, calls, ends) = joined(&streamed, 0);
    assert_eq!((text.as_str(), ends), ("", vec!["tool_calls".to_owned()]));
    assert_eq!(calls, [("get_weather".to_owned(), given.to_owned())]);
    assert!(streamed[0].1["choices"][0]["delta"]["content"].is_null());
    assert!(streamed.len() > 5, "arguments come in fragments");
}

#[test]
fn after_results_the_answer_is_text() {
    let messages = json!([
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "21 degrees"}
    ]);
    let answer = whole(PATH, &body(&json!({"tools": weather(), "messages": messages})));
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().contains("21 degrees"));
    let forced = body(&json!({"tools": weather(), "messages": messages, "tool_choice": "required"}));
    assert_eq!(whole(PATH, &forced)["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn allowed_custom_and_legacy_tools_are_called_in_their_shapes() {
    let mut tools = weather();
    tools.as_array_mut().unwrap().push(json!({"type": "custom", "custom": {"name": "shell"}}));
    let choice = json!({"type": "allowed_tools", "allowed_tools": {"mode": "required",
        "tools": [{"type": "custom", "custom": {"name": "shell"}}]}});
    let answer = whole(PATH, &body(&json!({"tools": tools, "tool_choice": choice})));
    let call = &answer["choices"][0]["message"]["tool_calls"][0];
    assert_eq!((&call["type"], &call["custom"]["name"]), (&json!("custom"), &json!("shell")));
    let old = json!({"functions": [{"name": "f"}], "function_call": {"name": "f"}});
    let answer = whole(PATH, &body(&old));
    assert_eq!(answer["choices"][0]["finish_reason"], "function_call");
    assert_eq!(answer["choices"][0]["message"]["function_call"], json!({"name": "f", "arguments": "{}"}));
}

#[test]
fn formats_are_followed() {
    let text = |format: Value| {
        let answer = whole(PATH, &body(&json!({"response_format": format})));
        answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 3}},
        "required": ["n"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema}});
    assert_eq!(text(format), "{\"n\":3}");
    assert!(serde_json::from_str::<Value>(&text(json!({"type": "json_object"}))).unwrap().is_object());
}

#[test]
fn limits_stops_reasoning_and_cache_show_in_the_numbers() {
    let answer = whole(PATH, &body(&json!({"max_tokens": 4})));
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 4);
    let answer = whole(PATH, &body(&json!({"stop": "Paris"})));
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert!(!answer["choices"][0]["message"]["content"].as_str().unwrap().contains("Paris"));
    let answer = whole(PATH, &body(&json!({"reasoning_effort": "low", "prompt_cache_key": "k"})));
    assert_eq!(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 32);
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 5);
    let parts = json!([{"type": "text", "text": "How is it?", "prompt_cache_breakpoint": {}}]);
    let answer = whole(PATH, &body(&json!({"messages": [{"role": "user", "content": parts}]})));
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cache_write_tokens"], 2);
    let answer = post_with(PATH, &body(&json!({})), &[("x-tollgate-sandbox", "tokens=50")]);
    let answer: Value = serde_json::from_slice(&super::super::tests::bytes(&answer)).unwrap();
    assert_eq!(answer["usage"]["completion_tokens"], 50);
}

#[test]
fn logprobs_cover_the_text() {
    let answer = whole(PATH, &body(&json!({"logprobs": true, "top_logprobs": 1})));
    let choice = &answer["choices"][0];
    let tokens = choice["logprobs"]["content"].as_array().unwrap();
    let text: String = tokens.iter().map(|token| token["token"].as_str().unwrap()).collect();
    assert_eq!(choice["message"]["content"], text);
    assert!(
        tokens.iter().all(|token| token["logprob"].as_f64().unwrap() <= 0.0 && token["top_logprobs"][0].is_object())
    );
    assert!(whole(PATH, &body(&json!({})))["choices"][0]["logprobs"].is_null());
}

#[test]
fn wrong_requests_are_refused_by_field() {
    let call = |id: &str| {
        json!({"role": "assistant", "tool_calls": [{"id": id, "type": "function",
        "function": {"name": "f", "arguments": "{}"}}]})
    };
    let user = json!({"role": "user", "content": "x"});
    for (wrong, param) in [
        (json!({"model": null}), "model"),
        (json!({"model": 1}), "model"),
        (json!({"messages": null}), "messages"),
        (json!({"messages": "hi"}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": ["hi"]}), "messages[0]"),
        (json!({"messages": [{"content": "hi"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "robot", "content": "hi"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": 1}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": [{"type": "video"}]}]}), "messages[0].content[0].type"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}),
            "messages[0].content[0].image_url.url",
        ),
        (json!({"messages": [user, {"role": "tool", "tool_call_id": "a", "content": "x"}]}), "messages[1].role"),
        (json!({"messages": [call("a"), user]}), "messages[1].role"),
        (json!({"messages": [user, call("a")]}), "messages[1].role"),
        (json!({"n": 0}), "n"),
        (json!({"n": 129}), "n"),
        (json!({"temperature": 2.1}), "temperature"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_tokens": -5}), "max_tokens"),
        (json!({"max_tokens": 1.5}), "max_tokens"),
        (json!({"max_tokens": 5, "max_completion_tokens": 5}), "max_tokens"),
        (json!({"stream": "yes"}), "stream"),
        (json!({"stream_options": {"include_usage": true}}), "stream_options"),
        (json!({"stop": ["1", "2", "3", "4", "5"]}), "stop"),
        (json!({"stop": [1]}), "stop"),
        (json!({"top_logprobs": 2}), "top_logprobs"),
        (json!({"parallel_tool_calls": true}), "parallel_tool_calls"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"tool_choice": "always", "tools": weather()}), "tool_choice"),
        (
            json!({"tool_choice": {"type": "function", "function": {"name": "other"}}, "tools": weather()}),
            "tool_choice",
        ),
        (json!({"tools": [{"type": "function"}]}), "tools[0].function"),
        (json!({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}), "tools[0].function.name"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"response_format": {"type": "xml"}}), "response_format.type"),
        (json!({"response_format": {"type": "json_schema"}}), "response_format.json_schema"),
        (json!({"response_format": {"type": "json_schema", "json_schema": {}}}), "response_format.json_schema.name"),
        (json!({"reasoning_effort": "extreme"}), "reasoning_effort"),
        (json!({"service_tier": "gold"}), "service_tier"),
    ] {
        let (status, error) = refused(&post(PATH, &body(&wrong)));
        assert_eq!((status, &error["param"]), (400, &json!(param)), "{wrong}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
    }
}

#[test]
fn defaults_that_frameworks_send_are_no_errors() {
    let defaults = json!({"n": 1, "temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0,
        "logit_bias": null, "stop": null, "tools": null, "tool_choice": "auto", "stream": false, "store": false,
        "response_format": {"type": "text"}, "logprobs": false, "seed": 7, "user": "u", "metadata": {}, "unknown": 1});
    assert_eq!(post(PATH, &body(&defaults)).status, 200);
}
