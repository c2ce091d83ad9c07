use serde_json::{Value, json};

use super::super::tests::{post, records, refused, whole};

const PATH: &str = "/v1/responses";

fn body(more: &Value) -> Value {
    let mut body = json!({"model": "gpt-x", "input": "How is it in Paris?"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn weather() -> Value {
    json!([{"type": "function", "name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}])
}

fn streamed(options: &Value) -> Vec<(String, Value)> {
    let mut body = body(options);
    body["stream"] = json!(true);
    records(&post(PATH, &body))
}

#[test]
fn events_of_a_text_come_in_openais_order_and_are_numbered() {
    let records = streamed(&json!({}));
    let mut names: Vec<_> = records.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    assert_eq!(
        names,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed"
        ]
    );
    for (number, (name, event)) in records.iter().enumerate() {
        assert_eq!((&event["type"], &event["sequence_number"]), (&json!(name), &json!(number)));
    }
}

#[test]
fn a_stream_ends_with_the_whole_response() {
    let summary = json!({"effort": "low", "summary": "auto"});
    for options in [
        json!({}),
        json!({"tools": weather()}),
        json!({"tools": [{"type": "custom", "name": "shell"}]}),
        json!({"reasoning": summary, "include": ["reasoning.encrypted_content"]}),
        json!({"reasoning": summary, "max_output_tokens": 16}),
        json!({"max_output_tokens": 16}),
    ] {
        let response = whole(PATH, &body(&options));
        let records = streamed(&options);
        let (name, last) = records.last().unwrap();
        assert_eq!(last["response"], response, "{options}");
        assert_eq!(*name, format!("response.{}", response["status"].as_str().unwrap()));
        let done: Vec<_> = records.iter().filter(|(name, _)| name == "response.output_item.done").collect();
        let items: Vec<_> = done.iter().map(|(_, event)| event["item"].clone()).collect();
        assert_eq!(json!(items), response["output"]);
        let deltas: String = records.iter().filter_map(|(_, event)| event["delta"].as_str()).collect();
        let said = response["output"].as_array().unwrap().iter().map(|item| {
            let text = [&item["content"][0]["text"], &item["arguments"], &item["input"], &item["summary"][0]["text"]];
            text.into_iter().filter_map(Value::as_str).collect::<String>()
        });
        assert_eq!(deltas, said.collect::<String>());
    }
}

#[test]
fn a_limit_makes_the_response_incomplete() {
    let response = whole(PATH, &body(&json!({"max_output_tokens": 16})));
    assert_eq!(response["status"], "incomplete");
    assert_eq!(response["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(response["usage"]["output_tokens"], 16);
    assert_eq!(response["output"][0]["status"], "incomplete");
}

#[test]
fn tools_are_called_and_their_output_repeated() {
    let response = whole(PATH, &body(&json!({"tools": weather()})));
    let call = response["output"][0].clone();
    assert_eq!((&call["type"], &call["arguments"]), (&json!("function_call"), &json!("{\"city\":\"Paris\"}")));
    let output = json!({"type": "function_call_output", "call_id": call["call_id"], "output": "21 degrees"});
    let input = json!([{"role": "user", "content": "Weather?"}, call, output]);
    for options in [
        json!({"tools": weather(), "input": input}),
        json!({"tools": weather(), "input": [output], "previous_response_id": response["id"]}),
    ] {
        let response = whole(PATH, &body(&options));
        assert!(response["output"][0]["content"][0]["text"].as_str().unwrap().contains("21 degrees"), "{response}");
    }
    let hosted = whole(PATH, &body(&json!({"tools": [{"type": "web_search"}]})));
    assert_eq!(hosted["output"][0]["type"], "message");
}

#[test]
fn schemas_are_followed() {
    let schema = json!({"type": "object", "properties": {"n": {"const": 3}}, "required": ["n"]});
    let format = json!({"type": "json_schema", "name": "x", "schema": schema});
    let response = whole(PATH, &body(&json!({"text": {"format": format}})));
    assert_eq!(response["output"][0]["content"][0]["text"], "{\"n\":3}");
}

#[test]
fn wrong_requests_are_refused_by_field() {
    for (wrong, param) in [
        (json!({"model": null}), "model"),
        (json!({"input": null}), "input"),
        (json!({"input": 5}), "input"),
        (json!({"input": [{"role": "robot", "content": "x"}]}), "input[0].role"),
        (json!({"input": [{"role": "user"}]}), "input[0].content"),
        (json!({"input": [{"role": "user", "content": [{"type": "text?"}]}]}), "input[0].content[0].type"),
        (json!({"input": [{"type": "function_call_output", "call_id": "a", "output": "x"}]}), "input"),
        (json!({"max_output_tokens": 15}), "max_output_tokens"),
        (json!({"stream_options": {}}), "stream_options"),
        (json!({"background": true}), "background"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].name"),
        (json!({"tools": weather(), "tool_choice": {"type": "function", "name": "g"}}), "tool_choice"),
        (json!({"text": {"format": {"type": "json_schema", "name": "x"}}}), "text.format.schema"),
        (json!({"reasoning": {"effort": "extreme"}}), "reasoning.effort"),
        (json!({"temperature": 3}), "temperature"),
    ] {
        let (status, error) = refused(&post(PATH, &body(&wrong)));
        assert_eq!((status, &error["param"]), (400, &json!(param)), "{wrong}: {error}");
    }
}
