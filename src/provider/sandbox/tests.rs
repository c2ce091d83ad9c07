use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Sends a request with a key and whatever headers are given beside it.
pub(super) fn send(
    settings: &SandboxSettings,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> SandboxAnswer {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    answer(settings, &SandboxRequest { method, path, headers: &map, body: body.as_bytes() })
}

/// Posts a body with a key, in the old Anthropic version where that matters.
pub(super) fn post(path: &str, body: &Value) -> SandboxAnswer {
    post_with(path, body, &[])
}

pub(super) fn post_with(path: &str, body: &Value, more: &[(&str, &str)]) -> SandboxAnswer {
    let mut headers = vec![("authorization", "Bearer any")];
    if path.starts_with("/v1/messages") && !more.iter().any(|(name, _)| *name == "anthropic-version") {
        headers.push(("anthropic-version", "2023-06-01"));
    }
    headers.extend(more);
    send(&SandboxSettings::default(), "POST", path, &headers, &body.to_string())
}

pub(super) fn bytes(answer: &SandboxAnswer) -> Vec<u8> {
    match &answer.body {
        SandboxBody::Whole(body) => body.to_vec(),
        SandboxBody::Stream { frames, .. } => frames.concat(),
    }
}

/// The body of a call that has to succeed.
pub(super) fn whole(path: &str, body: &Value) -> Value {
    let answer = post(path, body);
    let value: Value = serde_json::from_slice(&bytes(&answer)).unwrap();
    assert_eq!(answer.status, 200, "{value}");
    value
}

/// The status and error of a call that has to fail.
pub(super) fn refused(answer: &SandboxAnswer) -> (u16, Value) {
    assert_ne!(answer.status, 200);
    let body: Value = serde_json::from_slice(&bytes(answer)).unwrap();
    (answer.status, body["error"].clone())
}

/// The records of a stream: the name of each, and its data (a text where it is no JSON).
pub(super) fn records(answer: &SandboxAnswer) -> Vec<(String, Value)> {
    assert_eq!(answer.headers["content-type"], "text/event-stream; charset=utf-8");
    let SandboxBody::Stream { frames, .. } = &answer.body else { panic!("no stream: {answer:?}") };
    let record = |frame: &Bytes| {
        let text = std::str::from_utf8(frame).unwrap().strip_suffix("\n\n").unwrap();
        let (name, data) = match text.strip_prefix("event: ") {
            Some(named) => named.split_once('\n').unwrap(),
            None => ("", text),
        };
        let data = data.strip_prefix("data: ").unwrap();
        assert!(!data.contains('\n'));
        (name.to_owned(), serde_json::from_str(data).unwrap_or_else(|_| json!(data)))
    };
    frames.iter().map(record).collect()
}

fn hello(path: &str) -> Value {
    match path {
        "/v1/messages" => json!({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "Hello"}]}),
        "/v1/chat/completions" | "/v1/messages/count_tokens" => {
            json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]})
        }
        "/v1/responses" | "/v1/embeddings" => json!({"model": "m", "input": "Hello"}),
        "/v1/completions" => json!({"model": "m", "prompt": "Hello"}),
        other => panic!("{other}"),
    }
}

const POSTS: [&str; 6] = [
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/completions",
];

#[test]
fn the_same_request_gets_the_same_answer_to_the_byte() {
    for path in POSTS {
        let (first, second) = (post(path, &hello(path)), post(path, &hello(path)));
        assert_eq!(first.status, 200, "{path}");
        assert_eq!(bytes(&first), bytes(&second), "{path}");
        assert_eq!(first.headers, second.headers, "{path}");
    }
}

#[test]
fn any_key_will_do_but_there_has_to_be_one() {
    for path in POSTS {
        let send = |headers: &[(&str, &str)]| {
            let headers = [&[("anthropic-version", "2023-06-01")], headers].concat();
            send(&SandboxSettings::default(), "POST", path, &headers, &hello(path).to_string())
        };
        assert_eq!(send(&[("x-api-key", "k")]).status, 200, "{path}");
        assert_eq!(send(&[("authorization", "bearer k")]).status, 200, "{path}");
        assert_eq!(send(&[("authorization", "Bearer k"), ("x-api-key", "k")]).status, 200, "{path}");
        assert_eq!(send(&[("authorization", "Bearer k"), ("x-api-key", "other")]).status, 401, "{path}");
        assert_eq!(send(&[]).status, 401, "{path}");
        assert_eq!(send(&[("authorization", "Bearer ")]).status, 401, "{path}");
        assert_eq!(send(&[("authorization", "Basic k")]).status, 401, "{path}");
    }
}

#[test]
fn unknown_paths_methods_and_bodies_are_refused_in_the_dialect() {
    let key = [("authorization", "Bearer k")];
    let settings = SandboxSettings::default();
    assert_eq!(refused(&send(&settings, "POST", "/v1/nothing", &key, "{}")).0, 404);
    let both = [key[0], ("anthropic-version", "2023-06-01")];
    let (status, error) = refused(&send(&settings, "POST", "/v1/messages/batches", &both, "{}"));
    assert_eq!((status, &error["type"]), (404, &json!("not_found_error")));
    assert_eq!(refused(&send(&settings, "GET", "/v1/chat/completions", &key, "")).0, 405);
    assert_eq!(refused(&send(&settings, "GET", "/v1/responses/resp_1", &key, "")).0, 404);
    for (path, kind) in [("/v1/chat/completions", "invalid_request_error"), ("/v1/messages", "invalid_request_error")] {
        for body in ["", "{", "[]", "{\"model\":\"m\",}"] {
            let (status, error) = refused(&send(&settings, "POST", path, &both, body));
            assert_eq!((status, &error["type"]), (400, &json!(kind)), "{path} {body}");
        }
    }
}

#[test]
fn the_version_header_decides_over_the_shape_of_models() {
    let get = |path: &str, headers: &[(&str, &str)]| -> Value {
        let headers = [&[("x-api-key", "k")], headers].concat();
        serde_json::from_slice(&bytes(&send(&SandboxSettings::default(), "GET", path, &headers, ""))).unwrap()
    };
    let version = [("anthropic-version", "2026-10-21")];
    assert_eq!(get("/v1/models", &[])["object"], "list");
    assert_eq!(get("/v1/models", &[])["data"][0]["id"], "sandbox-small");
    assert_eq!(get("/v1/models?limit=2", &version)["has_more"], true);
    assert_eq!(get("/v1/models", &version)["data"][2]["type"], "model");
    assert_eq!(get("/v1/models/meta%2Fllama", &[])["id"], "meta/llama");
    assert_eq!(get("/v1/models/meta/llama", &version)["display_name"], "meta/llama");
    assert_eq!(get("/v1/models", &[("anthropic-version", "1999-01-01")])["type"], "error");
}

#[test]
fn asked_for_errors_come_with_body_and_headers_of_the_dialect() {
    for path in POSTS {
        let answer = post_with(path, &hello(path), &[("x-tollgate-sandbox", "error=429,retry_after=2")]);
        let (status, error) = refused(&answer);
        let is_anthropic = path.starts_with("/v1/messages");
        assert_eq!(status, 429);
        assert_eq!(answer.headers["retry-after"], "2");
        assert_eq!(error["type"], if is_anthropic { "rate_limit_error" } else { "requests" });
        assert!(answer.headers.contains_key(if is_anthropic { "request-id" } else { "x-request-id" }));
        let (status, error) = refused(&post_with(path, &hello(path), &[("x-tollgate-sandbox", "eror=500")]));
        assert_eq!(status, 400);
        assert!(error["message"].as_str().unwrap().contains("retry_after"), "{error}");
    }
}

#[test]
fn an_asked_for_error_needs_no_sound_request() {
    let answer = post_with("/v1/messages", &json!({}), &[("x-tollgate-sandbox", "error=529")]);
    assert_eq!(refused(&answer).1["type"], "overloaded_error");
}

#[test]
fn delays_and_silence_are_told_to_who_serves_them() {
    let settings = SandboxSettings {
        latency: Duration::from_millis(7),
        chunk_delay: Duration::from_millis(3),
        ..SandboxSettings::default()
    };
    let mut body = hello("/v1/chat/completions");
    body["stream"] = json!(true);
    let send = |more: &str| {
        let headers = [("x-api-key", "k"), ("x-tollgate-sandbox", more)];
        send(&settings, "POST", "/v1/chat/completions", &headers, &body.to_string())
    };
    let delay = |answer: &SandboxAnswer| match answer.body {
        SandboxBody::Stream { delay, .. } => delay,
        SandboxBody::Whole(_) => panic!("no stream"),
    };
    let plain = send("");
    assert_eq!((plain.delay, delay(&plain)), (settings.latency, settings.chunk_delay));
    let other = send("latency=1s,chunk_delay=0ms");
    assert_eq!((other.delay, delay(&other)), (Duration::from_secs(1), Duration::ZERO));
    assert!(send("hang=true").hang && !plain.hang);
}

#[test]
fn rates_of_one_hit_every_post_and_spare_what_is_unsound() {
    let check = |settings: &SandboxSettings, path: &str, body: &Value| {
        let headers = [("x-api-key", "k"), ("anthropic-version", "2023-06-01")];
        send(settings, "POST", path, &headers, &body.to_string())
    };
    for path in POSTS {
        let hangs = SandboxSettings { hang_rate: 1.0, ..SandboxSettings::default() };
        assert!(check(&hangs, path, &hello(path)).hang, "{path}");
        let limited = SandboxSettings { rate_limit_rate: 1.0, ..SandboxSettings::default() };
        let answer = check(&limited, path, &hello(path));
        assert_eq!((answer.status, answer.headers["retry-after"].as_bytes()), (429, b"1".as_slice()));
        let fails = SandboxSettings { error_rate: 1.0, ..SandboxSettings::default() };
        assert_eq!(check(&fails, path, &hello(path)).status, 500);
        assert_eq!(check(&fails, path, &json!({})).status, 400);
    }
}

#[test]
fn a_cut_stream_ends_without_its_end_and_an_error_record_comes_last() {
    for (path, terminal) in [
        ("/v1/chat/completions", "finish_reason\":\""),
        ("/v1/completions", "finish_reason\":\""),
        ("/v1/messages", "message_delta"),
        ("/v1/responses", "response.completed"),
    ] {
        let mut body = hello(path);
        body["stream"] = json!(true);
        let all = records(&post(path, &body)).len();
        let cut = post_with(path, &body, &[("x-tollgate-sandbox", "cut=true")]);
        assert!(matches!(cut.body, SandboxBody::Stream { cut: true, .. }), "{path}");
        let text = String::from_utf8(bytes(&cut)).unwrap();
        assert!(!text.contains(terminal) && !text.contains("[DONE]"), "{path}: {text}");
        assert!((1..all).contains(&records(&cut).len()), "{path}");
        let failed = records(&post_with(path, &body, &[("x-tollgate-sandbox", "stream_error=true")]));
        let (name, last) = failed.last().unwrap();
        assert!(last.get("error").is_some() || last["type"] == "error", "{path}: {last}");
        assert_eq!(name == "error", !path.ends_with("completions"), "{path}");
    }
}

#[test]
fn a_cut_document_breaks_off_in_the_middle() {
    let path = "/v1/embeddings";
    let cut = post_with(path, &hello(path), &[("x-tollgate-sandbox", "cut=true")]);
    assert!(matches!(cut.body, SandboxBody::Stream { cut: true, .. }));
    assert_eq!(cut.headers["content-type"], "application/json");
    assert!(serde_json::from_slice::<Value>(&bytes(&cut)).is_err());
}

#[test]
fn a_completion_goes_on_with_every_prompt() {
    let path = "/v1/completions";
    let body = json!({"model": "m", "prompt": ["one", "two"], "n": 2, "echo": true, "max_tokens": 5});
    let answer = whole(path, &body);
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 4);
    assert!(choices[3]["text"].as_str().unwrap().starts_with("two"));
    assert_eq!(choices[3]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 20);
    assert_eq!(refused(&post(path, &json!({"model": "m"}))).1["param"], "prompt");
    assert_eq!(refused(&post(path, &json!({"model": "m", "prompt": []}))).0, 400);
    assert_eq!(refused(&post(path, &json!({"model": "m", "prompt": [1, "a"]}))).0, 400);
    let mut stream = body;
    stream["stream"] = json!(true);
    stream["stream_options"] = json!({"include_usage": true});
    let records = records(&post(path, &stream));
    assert_eq!(records.last().unwrap().1, "[DONE]");
    assert_eq!(records[records.len() - 2].1["usage"], answer["usage"]);
    assert!(records[0].1["usage"].is_null() && records[0].1.get("usage").is_some());
}

#[test]
fn embeddings_come_as_floats_or_as_their_bytes() {
    use base64::Engine as _;
    let path = "/v1/embeddings";
    let body = |more: Value| {
        let mut body = json!({"model": "m", "input": ["hello world", "other"], "dimensions": 8});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let floats = whole(path, &body(json!({})));
    let encoded = whole(path, &body(json!({"encoding_format": "base64"})));
    let raw =
        base64::engine::general_purpose::STANDARD.decode(encoded["data"][1]["embedding"].as_str().unwrap()).unwrap();
    let decoded: Vec<_> = raw.chunks(4).map(|four| f64::from(f32::from_le_bytes(four.try_into().unwrap()))).collect();
    let plain: Vec<_> =
        floats["data"][1]["embedding"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect();
    assert_eq!(decoded.len(), 8);
    assert!(decoded.iter().zip(&plain).all(|(first, second)| (first - second).abs() < 1e-6));
    assert_eq!(floats["usage"], json!({"prompt_tokens": 5, "total_tokens": 5}));
    assert_eq!(whole(path, &json!({"model": "m", "input": [1, 2, 3]}))["usage"]["prompt_tokens"], 3);
    for wrong in [
        json!({"input": ""}),
        json!({"input": []}),
        json!({"input": {}}),
        json!({"input": [true]}),
        json!({"dimensions": 0}),
        json!({"dimensions": 4000}),
        json!({"encoding_format": "hex"}),
    ] {
        assert_eq!(refused(&post(path, &body(wrong.clone()))).0, 400, "{wrong}");
    }
}

/// Any JSON, with texts that mean something somewhere.
fn json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "",
        " ",
        "text",
        "user",
        "assistant",
        "tool",
        "function",
        "custom",
        "auto",
        "required",
        "any",
        "json_schema",
        "enabled",
        "adaptive",
        "object",
        "array",
        "integer",
        "#",
        "tool_use",
        "tool_result",
        "message",
        "low",
        "é",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3_i64..2000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "type",
        "role",
        "content",
        "text",
        "name",
        "function",
        "parameters",
        "input_schema",
        "schema",
        "json_schema",
        "format",
        "id",
        "tool_call_id",
        "tool_use_id",
        "call_id",
        "input",
        "arguments",
        "tool_calls",
        "properties",
        "required",
        "items",
        "anyOf",
        "allOf",
        "$ref",
        "minItems",
        "minLength",
        "minimum",
        "multipleOf",
        "pattern",
        "enum",
        "budget_tokens",
        "effort",
        "summary",
        "cache_control",
        "ttl",
        "include_usage",
        "source",
        "output",
    ]);
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_is_sent_is_answered_or_refused_in_sound_json(
        path in prop::sample::select(POSTS.to_vec()),
        field in prop::sample::select(vec![
            "model", "messages", "input", "prompt", "tools", "tool_choice", "functions", "function_call", "n", "stop",
            "response_format", "text", "output_config", "thinking", "reasoning", "system", "instructions", "metadata",
            "max_tokens", "max_output_tokens", "stop_sequences", "cache_control", "dimensions", "stream_options",
        ]),
        value in json(),
        is_stream in any::<bool>(),
    ) {
        let mut body = hello(path);
        body["stream"] = json!(is_stream);
        body[field] = value;
        let answer = post(path, &body);
        match &answer.body {
            SandboxBody::Stream { .. } => prop_assert!(records(&answer).len() > 1),
            SandboxBody::Whole(whole) => prop_assert!(serde_json::from_slice::<Value>(whole).is_ok()),
        }
        prop_assert!([200, 400].contains(&answer.status));
    }

    #[test]
    fn any_schema_gets_sound_json(schema in json()) {
        let text = schema::generate(&schema, "x", Seed::of_bytes("", b""));
        prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text}");
    }
}
