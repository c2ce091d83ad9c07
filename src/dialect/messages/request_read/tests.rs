use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::chat::Turn;

fn body(fields: &Value) -> Value {
    let mut body = json!({"model": "m", "max_tokens": 4096, "messages": [{"role": "user", "content": "hi"}]});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn read_in(version: &str, fields: &Value) -> Result<ChatRequest, Untranslatable> {
    read(body(fields).to_string().as_bytes(), Some(version))
}

fn taken(fields: &Value) -> ChatRequest {
    read_in("2023-06-01", fields).unwrap_or_else(|refusal| panic!("{fields}: {}: {refusal}", refusal.param))
}

fn refused(fields: &Value, param: &str) {
    let refusal = read_in("2023-06-01", fields).map(|_| ()).expect_err(&fields.to_string());
    assert_eq!(refusal.param, param, "{refusal}");
    assert!(!refusal.reason.is_empty() && !refusal.reason.ends_with('.'));
}

#[test]
fn a_plain_request_is_read() {
    let request = taken(&json!({}));
    assert_eq!(request.endpoint, Endpoint::Messages);
    assert_eq!(request.output_tokens_max, Some(4096));
    assert!(matches!(&request.turns[..], [Turn::User(parts)] if parts.len() == 1));
    assert!(!request.stream && request.tools.is_empty() && request.reasoning.is_none() && request.user.is_none());
}

#[test]
fn settings_are_kept_as_they_were_written() {
    let request = taken(&json!({
        "temperature": 0.2, "top_p": 1, "top_k": 40, "stop_sequences": ["a", " b"], "stream": true,
        "metadata": {"user_id": "u"}, "service_tier": "standard_only",
    }));
    assert_eq!(request.temperature.unwrap().to_string(), "0.2");
    assert_eq!(request.top_p.unwrap().to_string(), "1");
    assert_eq!(request.top_k, Some(40));
    assert_eq!(request.stop, ["a", " b"]);
    assert_eq!((request.user.as_deref(), request.tier), (Some("u"), Some(TierWish::Standard)));
    assert!(request.stream);
    assert_eq!(taken(&json!({"service_tier": "auto"})).tier, Some(TierWish::Auto));
}

#[test]
fn system_is_a_text_or_blocks() {
    assert_eq!(taken(&json!({"system": "be brief"})).system, [Marked::plain("be brief".to_owned())]);
    assert!(taken(&json!({"system": ""})).system.is_empty());
    let blocks = json!([{"type": "text", "text": "a"},
        {"type": "text", "text": "b", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
    let system = taken(&json!({"system": blocks})).system;
    assert_eq!(system[0], Marked::plain("a".to_owned()));
    assert_eq!(system[1].cache, Some(CacheMark::OneHour));
    refused(&json!({"system": [{"type": "text", "text": " \n"}]}), "system[0].text");
    refused(&json!({"system": [{"type": "image"}]}), "system[0]");
    refused(&json!({"system": 1}), "system");
}

#[test]
fn thinking_in_all_its_ways() {
    let of = |fields: Value| taken(&fields).reasoning;
    assert_eq!(of(json!({"thinking": {"type": "disabled"}})), Some(Reasoning::Off));
    assert_eq!(of(json!({"thinking": {"type": "adaptive", "display": "omitted"}})), Some(Reasoning::Adaptive(None)));
    assert_eq!(
        of(json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}})),
        Some(Reasoning::Adaptive(Some(Effort::XHigh)))
    );
    assert_eq!(
        of(json!({"thinking": {"type": "enabled", "budget_tokens": 1024}})),
        Some(Reasoning::Budget { tokens: 1024, effort: None })
    );
    assert_eq!(of(json!({"output_config": {"effort": "low"}})), Some(Reasoning::Effort(Effort::Low)));
    refused(&json!({"thinking": {"type": "between_tools"}}), "thinking.type");
    refused(&json!({"thinking": {"type": "often"}}), "thinking.type");
    refused(&json!({"thinking": {"type": "enabled"}}), "thinking.budget_tokens");
    refused(&json!({"thinking": {"type": "enabled", "budget_tokens": 1023}}), "thinking.budget_tokens");
    refused(&json!({"thinking": {"type": "enabled", "budget_tokens": 4096}}), "thinking.budget_tokens");
    refused(&json!({"thinking": {"type": "adaptive", "depth": 1}}), "thinking.depth");
    refused(&json!({"output_config": {"effort": "minimal"}}), "output_config.effort");
    refused(&json!({"output_config": {"task_budget": {}}}), "output_config.task_budget");
}

#[test]
fn a_schema_is_read_from_either_place_byte_for_byte() {
    let raw = |field: &str| {
        let body = format!(r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"x"}}],{field}}}"#);
        match read(body.as_bytes(), None).unwrap().format {
            OutputFormat::JsonSchema { schema, .. } => schema.get().to_owned(),
            other => panic!("{other:?}"),
        }
    };
    let format = r#"{"type":"json_schema","schema":{"z": 1, "a": 2}}"#;
    assert_eq!(raw(&format!(r#""output_config":{{"format":{format}}}"#)), r#"{"z": 1, "a": 2}"#);
    assert_eq!(raw(&format!(r#""output_format":{format}"#)), r#"{"z": 1, "a": 2}"#);
    let schema = json!({"type": "json_schema", "schema": {}});
    refused(&json!({"output_config": {"format": schema}, "output_format": schema}), "output_format");
    refused(&json!({"output_config": {"format": {"type": "grammar"}}}), "output_config.format.type");
    refused(&json!({"output_format": {"type": "json_schema", "schema": []}}), "output_format.schema");
}

#[test]
fn tools_and_their_choice() {
    let request = taken(&json!({
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": true, "type": "custom",
            "eager_input_streaming": true, "defer_loading": false, "input_examples": [], "allowed_callers": ["direct"],
            "cache_control": {"type": "ephemeral"}}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
    }));
    let tool = &request.tools[0];
    assert_eq!((tool.part.name.as_str(), tool.part.description.as_deref()), ("f", Some("d")));
    assert_eq!(tool.part.parameters.as_ref().unwrap().get(), r#"{"type":"object"}"#);
    assert_eq!((tool.part.strict, tool.cache), (Some(true), Some(CacheMark::FiveMinutes)));
    assert_eq!(request.tool_choice, Some(ToolChoice::Named("f".to_owned())));
    assert_eq!(request.parallel_tool_calls, Some(false));
    let choice = |kind: &str| taken(&json!({"tool_choice": {"type": kind}})).tool_choice;
    assert_eq!(choice("auto"), Some(ToolChoice::Auto));
    assert_eq!(choice("any"), Some(ToolChoice::Required));
    assert_eq!(choice("none"), Some(ToolChoice::None));
    refused(&json!({"tool_choice": {"type": "some"}}), "tool_choice.type");
    refused(&json!({"tool_choice": {"type": "tool"}}), "tool_choice.name");
}

#[test]
fn tools_that_only_anthropic_has_are_refused() {
    for kind in ["web_search_20250305", "bash_20250124", "text_editor_20250728", "computer_20250124", "mcp_toolset"] {
        refused(&json!({"tools": [{"type": kind, "name": "x"}]}), "tools[0].type");
    }
    let with = |name: &str, value: Value| {
        let mut tool = json!({"name": "f", "input_schema": {}});
        tool[name] = value;
        json!({"tools": [{"name": "g", "input_schema": {}}, tool]})
    };
    refused(&with("defer_loading", json!(true)), "tools[1].defer_loading");
    refused(&with("input_examples", json!([{}])), "tools[1].input_examples");
    refused(&with("allowed_callers", json!(["code_execution_20250825"])), "tools[1].allowed_callers[0]");
    refused(&with("max_uses", json!(1)), "tools[1].max_uses");
    refused(&with("input_schema", json!("x")), "tools[1].input_schema");
    refused(&with("cache_control", json!({"type": "eternal"})), "tools[1].cache_control.type");
    refused(&with("cache_control", json!({"type": "ephemeral", "ttl": "1d"})), "tools[1].cache_control.ttl");
    refused(&json!({"tools": [{"input_schema": {}}]}), "tools[0].name");
}

#[test]
fn what_stays_with_anthropic_is_refused_by_its_name() {
    for (name, value) in [
        ("container", json!("c")),
        ("context_management", json!({"edits": []})),
        ("user_profile_id", json!("u")),
        ("diagnostics", json!({})),
        ("mcp_servers", json!([{"type": "url"}])),
        ("inference_geo", json!("us")),
        ("speed", json!("fast")),
        ("service_tier", json!("priority")),
        ("invented_tomorrow", json!(false)),
    ] {
        refused(&json!({name: value}), name);
        taken(&json!({name: null}));
    }
    refused(&json!({"metadata": {"user_id": "u", "trace": "t"}}), "metadata.trace");
}

#[test]
fn what_changes_nothing_is_taken() {
    taken(&json!({
        "mcp_servers": [], "inference_geo": "global", "speed": "standard", "cache_control": {"type": "ephemeral"},
        "stop_sequences": [], "tools": [], "thinking": {"type": "disabled"}, "output_config": {"effort": "low"},
    }));
}

#[test]
fn the_cap_is_required_and_above_zero() {
    refused(&json!({"max_tokens": null}), "max_tokens");
    refused(&json!({"max_tokens": 0}), "max_tokens");
    refused(&json!({"max_tokens": -1}), "max_tokens");
    refused(&json!({"max_tokens": "9"}), "max_tokens");
}

#[test]
fn values_that_anthropic_refuses_are_refused() {
    refused(&json!({"temperature": 1.5}), "temperature");
    refused(&json!({"top_p": -0.1}), "top_p");
    refused(&json!({"top_k": 0.5}), "top_k");
    refused(&json!({"stop_sequences": ["a", " \n"]}), "stop_sequences[1]");
    refused(&json!({"stream": "yes"}), "stream");
    refused(&json!({"messages": null}), "messages");
    refused(&json!({"messages": []}), "messages");
}

#[test]
fn from_the_new_version_on_sampling_is_refused_whatever_its_value() {
    for version in ["2026-10-21", "2027-01-01"] {
        for name in ["temperature", "top_p", "top_k"] {
            let refusal = read_in(version, &json!({name: 1})).map(|_| ()).unwrap_err();
            assert_eq!(refusal.param, name);
        }
    }
    assert!(read(body(&json!({"temperature": 1})).to_string().as_bytes(), None).is_ok());
}

#[test]
fn a_body_that_is_no_sound_object_is_refused() {
    for bytes in [b"".as_slice(), b"[]", b"{", b"\"\xff\""] {
        assert_eq!(read(bytes, None).map(|_| ()).unwrap_err().param, "body");
    }
    let twice = br#"{"model":"m","max_tokens":1,"max_tokens":2,"messages":[]}"#;
    assert_eq!(read(twice, None).map(|_| ()).unwrap_err().param, "max_tokens");
}

/// JSON of any kind, with names and words that the reader knows strewn in.
fn any_json() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "user",
        "assistant",
        "system",
        "text",
        "image",
        "document",
        "tool_use",
        "tool_result",
        "thinking",
        "base64",
        "url",
        "ephemeral",
        "custom",
        "application/pdf",
        "image/png",
        "",
        " ",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "type",
        "role",
        "content",
        "text",
        "source",
        "id",
        "name",
        "input",
        "tool_use_id",
        "cache_control",
        "thinking",
        "signature",
        "data",
        "media_type",
        "url",
        "title",
        "citations",
        "other",
    ]);
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = read(&bytes, Some("2023-06-01"));
    }

    #[test]
    fn any_json_is_read_or_refused(
        name in prop::sample::select(vec![
            "messages", "system", "tools", "tool_choice", "thinking", "output_config", "metadata", "stop_sequences",
            "cache_control", "mcp_servers",
        ]),
        value in any_json(),
        is_strict in any::<bool>(),
    ) {
        let version = if is_strict { "2026-10-21" } else { "2023-06-01" };
        if let Err(refusal) = read_in(version, &json!({name: value})) {
            prop_assert!(!refusal.param.is_empty() && !refusal.reason.is_empty());
        }
    }
}
