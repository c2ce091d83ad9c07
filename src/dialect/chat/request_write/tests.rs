use serde_json::{Value, json};

use super::super::request_read::read_request;
use super::*;
use crate::domain::chat::{
    AssistantPart, Document, DocumentSource, Image, Marked, Media, ResultPart, ToolCall, ToolResult, Turn, UserPart,
};
use crate::domain::{Capabilities, Endpoint};

fn request() -> ChatRequest {
    ChatRequest {
        endpoint: Endpoint::Messages,
        system: Vec::new(),
        turns: vec![said("hi")],
        tools: Vec::new(),
        tool_choice: None,
        parallel_tool_calls: None,
        output_tokens_max: None,
        temperature: None,
        top_p: None,
        top_k: None,
        stop: Vec::new(),
        format: OutputFormat::Text,
        reasoning: None,
        verbosity: None,
        user: None,
        tier: None,
        prompt_cache_key: None,
        stream: false,
    }
}

fn user(parts: Vec<UserPart>) -> Turn {
    Turn::User(parts.into_iter().map(Marked::plain).collect())
}

fn text(text: &str) -> UserPart {
    UserPart::Text(text.to_owned())
}

fn said(words: &str) -> Turn {
    user(vec![text(words)])
}

fn assistant(parts: Vec<AssistantPart>) -> Turn {
    Turn::Assistant(parts.into_iter().map(Marked::plain).collect())
}

fn answered(text: &str) -> AssistantPart {
    AssistantPart::Text(text.to_owned())
}

fn call(id: &str, arguments: &str) -> AssistantPart {
    let (id, name, arguments) = (id.to_owned(), "f".to_owned(), arguments.to_owned());
    AssistantPart::ToolCall(ToolCall { id, name, arguments })
}

fn result(id: &str, content: Vec<ResultPart>, is_error: bool) -> UserPart {
    UserPart::ToolResult(ToolResult { call_id: id.to_owned(), content, is_error })
}

fn picture() -> Image {
    let source = Media::Base64 { media_type: "image/png".to_owned(), data: "AA==".to_owned() };
    Image { source, detail: None }
}

fn pdf() -> Document {
    let source = Media::Base64 { media_type: "application/pdf".to_owned(), data: "AA==".to_owned() };
    Document { source: DocumentSource::File(source), title: None }
}

fn server(name: &str) -> &'static Server {
    let server = Server::of(if name == "openai" { "api.openai.com" } else { "host" }, None, name);
    assert!(name == "generic" || server != &Server::GENERIC, "{name}");
    server
}

fn target(model: &str, capabilities: Capabilities) -> Target<'_> {
    Target { model, max_output: None, capabilities }
}

fn written(request: &ChatRequest, name: &str, capabilities: Capabilities) -> Result<Written, Untranslatable> {
    write_request(request, &target("m", capabilities), server(name))
}

fn body(request: &ChatRequest, name: &str) -> Value {
    let written = written(request, name, Capabilities::default()).unwrap();
    serde_json::from_slice(&written.body).unwrap()
}

fn messages(turns: Vec<Turn>, name: &str) -> Value {
    body(&ChatRequest { turns, ..request() }, name)["messages"].clone()
}

fn refused(request: &ChatRequest, name: &str, param: &str, says: &str) {
    refused_by(request, name, Capabilities::default(), param, says);
}

fn refused_by(request: &ChatRequest, name: &str, capabilities: Capabilities, param: &str, says: &str) {
    let refusal = written(request, name, capabilities).unwrap_err();
    assert_eq!(refusal.param, param, "{}", refusal.reason);
    assert!(refusal.reason.contains(says), "{}", refusal.reason);
}

#[test]
fn the_smallest_request_has_a_model_and_messages_alone() {
    let written = written(&request(), "openai", Capabilities::default()).unwrap();
    assert_eq!(written.body, br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#);
    assert!(written.dropped.is_empty() && written.answer_tool.is_none());
}

#[test]
fn instructions_are_the_first_message_in_parts_or_joined() {
    let system = |texts: &[&str]| texts.iter().map(|text| Marked::plain((*text).to_owned())).collect();
    let one = ChatRequest { system: system(&["a"]), ..request() };
    assert_eq!(body(&one, "openai")["messages"][0], json!({"role": "system", "content": "a"}));
    let two = ChatRequest { system: system(&["a", "b"]), ..request() };
    let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    assert_eq!(body(&two, "openai")["messages"][0]["content"], parts);
    assert_eq!(body(&two, "vllm")["messages"][0]["content"], "a\n\nb");
    let none = Capabilities { system: Some(false), ..Capabilities::default() };
    refused_by(&one, "openai", none, "system", "no system messages");
}

#[test]
fn later_instructions_stay_where_templates_take_them() {
    let turns = vec![said("hi"), Turn::System(vec![Marked::plain("s".to_owned())]), said("ho")];
    let later = ChatRequest { turns, ..request() };
    for name in ["openai", "ollama", "groq", "generic"] {
        assert_eq!(body(&later, name)["messages"][1], json!({"role": "system", "content": "s"}), "{name}");
    }
    for name in ["vllm", "llama", "mistral"] {
        refused(&later, name, "messages", "at the beginning");
    }
    let takes = Capabilities { mid_conversation_system: Some(true), ..Capabilities::default() };
    assert!(written(&later, "vllm", takes).is_ok());
}

#[test]
fn neighbours_of_one_kind_become_one_message() {
    let turns = || {
        vec![
            said("a"),
            said("b"),
            assistant(vec![answered("c")]),
            assistant(vec![call("1", "{}")]),
            user(vec![result("1", vec![ResultPart::Text("r".to_owned())], false)]),
            said("d"),
        ]
    };
    let call = json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let joined = json!([
        {"role": "user", "content": "a\n\nb"},
        {"role": "assistant", "content": "c", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "r"},
        {"role": "user", "content": "d"},
    ]);
    assert_eq!(messages(turns(), "generic"), joined);
    let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    assert_eq!(messages(turns(), "openai")[0]["content"], parts);
}

#[test]
fn pictures_go_as_data_or_address() {
    let url = Image { source: Media::Url("https://a.example/b".to_owned()), detail: Some("low".to_owned()) };
    let turns = vec![user(vec![text("look"), UserPart::Image(picture()), UserPart::Image(url)])];
    let both = ChatRequest { turns, ..request() };
    let parts = json!([
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "image_url", "image_url": {"url": "https://a.example/b", "detail": "low"}},
    ]);
    assert_eq!(body(&both, "generic")["messages"][0]["content"], parts);
    refused(&both, "ollama", "messages", "send their bytes");
    let blind = Capabilities { vision: Some(false), ..Capabilities::default() };
    refused_by(&both, "openai", blind, "messages", "no pictures");
}

#[test]
fn documents_go_as_files_to_those_that_take_them_and_texts_to_all() {
    let with = |document: Document| ChatRequest { turns: vec![user(vec![UserPart::Document(document)])], ..request() };
    let file = json!([{"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,AA=="}}]);
    assert_eq!(body(&with(pdf()), "openai")["messages"][0]["content"], file);
    let titled = Document { title: Some("a.pdf".to_owned()), ..pdf() };
    assert_eq!(body(&with(titled), "openrouter")["messages"][0]["content"][0]["file"]["filename"], "a.pdf");
    refused(&with(pdf()), "vllm", "messages", "no PDF");
    let no_pdf = Capabilities { pdf: Some(false), ..Capabilities::default() };
    refused_by(&with(pdf()), "openai", no_pdf, "messages", "no PDF");
    let url = Document { source: DocumentSource::File(Media::Url("https://a".to_owned())), title: None };
    refused(&with(url), "openai", "messages", "fetches no documents");
    let plain = Document { source: DocumentSource::Text("words".to_owned()), title: Some("t".to_owned()) };
    assert_eq!(body(&with(plain), "vllm")["messages"][0]["content"], "t\n\nwords");
}

#[test]
fn results_go_first_and_their_pictures_move_behind_all_of_them() {
    let turns = vec![
        assistant(vec![call("1", ""), call("2", "{ \"b\" : \" x \",\n\"a\": 1 }")]),
        user(vec![
            result("1", vec![ResultPart::Image(picture()), ResultPart::Text("one".to_owned())], false),
            result("2", vec![ResultPart::Text("two".to_owned())], true),
            text("so?"),
        ]),
    ];
    let messages = messages(turns, "openai");
    assert_eq!(messages[0]["content"], Value::Null);
    assert_eq!(messages[0]["tool_calls"][0]["function"]["arguments"], "{}");
    assert_eq!(messages[0]["tool_calls"][1]["function"]["arguments"], r#"{"b":" x ","a":1}"#);
    assert_eq!(messages[1], json!({"role": "tool", "tool_call_id": "1", "content": "one"}));
    assert_eq!(messages[2], json!({"role": "tool", "tool_call_id": "2", "content": "Error: two"}));
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}});
    assert_eq!(messages[3], json!({"role": "user", "content": [picture, {"type": "text", "text": "so?"}]}));
    assert_eq!(messages.as_array().unwrap().len(), 4);
}

#[test]
fn results_without_text_are_still_results() {
    let document = Document { source: DocumentSource::Text("doc".to_owned()), title: None };
    let turns = vec![
        assistant(vec![call("1", ""), call("2", ""), call("3", "")]),
        user(vec![
            result("1", Vec::new(), false),
            result("2", Vec::new(), true),
            result("3", vec![ResultPart::Document(document), ResultPart::Text("t".to_owned())], false),
        ]),
    ];
    let messages = messages(turns, "generic");
    let contents: Vec<_> = (1..4).map(|at| messages[at]["content"].as_str().unwrap()).collect();
    assert_eq!(contents, ["", "Error: the tool failed", "doc\n\nt"]);
}

#[test]
fn thinking_goes_to_those_that_can_use_it_and_its_loss_is_told() {
    let thinking = AssistantPart::Thinking { text: "so".to_owned(), signature: Some("s".to_owned()) };
    let redacted = AssistantPart::RedactedThinking("d".to_owned());
    let turns = vec![said("a"), assistant(vec![thinking.clone(), redacted, answered("b")]), said("c")];
    let thought = ChatRequest { turns, ..request() };
    for (name, field) in [("openai", Value::Null), ("vllm", json!("so")), ("deepseek", json!("so"))] {
        let written = written(&thought, name, Capabilities::default()).unwrap();
        let body: Value = serde_json::from_slice(&written.body).unwrap();
        assert_eq!(
            (&body["messages"][1]["reasoning_content"], &written.dropped),
            (&field, &vec!["thinking"]),
            "{name}"
        );
    }
    // Nothing is left of it, so no message is.
    let alone = || vec![said("a"), assistant(vec![thinking.clone()]), said("c")];
    assert_eq!(messages(alone(), "openai").as_array().unwrap().len(), 2);
    assert_eq!(messages(alone(), "vllm")[1], json!({"role": "assistant", "reasoning_content": "so", "content": ""}));
}

#[test]
fn a_refusal_goes_in_its_own_field_or_as_text() {
    let turns = || vec![said("a"), assistant(vec![AssistantPart::Refusal("no".to_owned())]), said("b")];
    assert_eq!(messages(turns(), "openai")[1], json!({"role": "assistant", "content": null, "refusal": "no"}));
    assert_eq!(messages(turns(), "vllm")[1], json!({"role": "assistant", "content": "no"}));
}

#[test]
fn ids_of_calls_and_results_stay_together() {
    let long = "toolu_".repeat(8);
    let turns = || vec![assistant(vec![call(&long, "")]), user(vec![result(&long, Vec::new(), false)])];
    for (name, length) in [("openai", 37), ("mistral", 9), ("vllm", 48)] {
        let messages = messages(turns(), name);
        let id = messages[0]["tool_calls"][0]["id"].as_str().unwrap();
        assert_eq!((id, id.len()), (messages[1]["tool_call_id"].as_str().unwrap(), length), "{name}");
    }
}

fn tool(name: &str, schema: Option<&str>, strict: Option<bool>) -> Marked<Tool> {
    let parameters = schema.map(|schema| serde_json::from_str(schema).unwrap());
    Marked::plain(Tool { name: name.to_owned(), description: None, parameters, strict })
}

#[test]
fn tools_keep_the_bytes_of_their_schemas() {
    let schema = r#"{ "z":1, "properties":{} }"#;
    let tools = vec![tool("f", Some(schema), None), tool("g", None, None)];
    let written = written(&ChatRequest { tools, ..request() }, "openai", Capabilities::default()).unwrap();
    let expected = format!(
        r#""tools":[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}},{{"type":"function","function":{{"name":"g"}}}}]"#
    );
    let text = String::from_utf8(written.body).unwrap();
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn strict_tools_stay_strict_where_openai_can_hold_them() {
    let strict = r#"{"type":"object","properties":{"a":{}},"required":["a"],"additionalProperties":false}"#;
    let loose = r#"{"type":"object","properties":{"a":{}},"additionalProperties":false}"#;
    let tools = vec![tool("f", Some(strict), Some(true)), tool("g", Some(loose), Some(true))];
    let written = written(&ChatRequest { tools, ..request() }, "openai", Capabilities::default()).unwrap();
    let body: Value = serde_json::from_slice(&written.body).unwrap();
    assert_eq!(body["tools"][0]["function"]["strict"], true);
    assert_eq!((&body["tools"][1]["function"]["strict"], written.dropped), (&Value::Null, vec!["strict"]));
}

#[test]
fn names_of_tools_have_an_end() {
    let tools = vec![tool("f", None, None), tool(&"x".repeat(65), None, None)];
    let long = ChatRequest { tools, ..request() };
    refused(&long, "openai", "tools[1].name", "64");
    refused(
        &ChatRequest { endpoint: Endpoint::ChatCompletions, ..long.clone() },
        "openai",
        "tools[1].function.name",
        "64",
    );
    assert!(written(&long, "vllm", Capabilities::default()).is_ok());
    let none = Capabilities { tools: Some(false), ..Capabilities::default() };
    refused_by(&long, "vllm", none, "tools", "no tools");
}

#[test]
fn a_choice_of_tools_is_said_in_the_servers_words() {
    let with = |choice: ToolChoice, name: &str| {
        let tools = vec![tool("f", None, None)];
        body(&ChatRequest { tools, tool_choice: Some(choice), ..request() }, name)["tool_choice"].clone()
    };
    assert_eq!(with(ToolChoice::None, "openai"), "none");
    assert_eq!(with(ToolChoice::Auto, "openai"), "auto");
    assert_eq!(with(ToolChoice::Required, "openai"), "required");
    assert_eq!(with(ToolChoice::Required, "mistral"), "any");
    let named = json!({"type": "function", "function": {"name": "f"}});
    assert_eq!(with(ToolChoice::Named("f".to_owned()), "openai"), named);
    let without = ChatRequest { tool_choice: Some(ToolChoice::Auto), parallel_tool_calls: Some(false), ..request() };
    assert_eq!(body(&without, "openai").as_object().unwrap().len(), 2);
}

#[test]
fn one_call_at_a_time_is_said_where_it_means_something() {
    let tools = vec![tool("f", None, None)];
    let one = ChatRequest { tools, parallel_tool_calls: Some(false), ..request() };
    assert_eq!(body(&one, "openai")["parallel_tool_calls"], false);
    let never = Capabilities { parallel_tools: Some(false), ..Capabilities::default() };
    let written = written(&one, "openai", never).unwrap();
    assert!(!String::from_utf8(written.body).unwrap().contains("parallel"));
    let several = ChatRequest { parallel_tool_calls: Some(true), ..one };
    assert!(body(&several, "openai").get("parallel_tool_calls").is_none());
}

#[test]
fn the_cap_on_output_has_the_servers_name() {
    let capped = ChatRequest { output_tokens_max: Some(9), ..request() };
    assert_eq!(body(&capped, "openai")["max_completion_tokens"], 9);
    for name in ["ollama", "vllm", "llama", "groq", "mistral", "deepseek", "openrouter", "generic"] {
        let body = body(&capped, name);
        assert_eq!((&body["max_tokens"], body.get("max_completion_tokens")), (&json!(9), None), "{name}");
    }
    refused(&ChatRequest { output_tokens_max: Some(0), ..request() }, "openai", "max_tokens", "at least 1");
}

#[test]
fn texts_that_end_the_answer_are_counted() {
    let stop = |count: usize| ChatRequest { stop: vec!["x".to_owned(); count], ..request() };
    assert_eq!(body(&stop(4), "openai")["stop"], json!(["x", "x", "x", "x"]));
    refused(&stop(5), "openai", "stop_sequences", "at most 4");
    refused(&ChatRequest { endpoint: Endpoint::ChatCompletions, ..stop(5) }, "groq", "stop", "at most 4");
    assert!(written(&stop(5), "vllm", Capabilities::default()).is_ok());
}

#[test]
fn sampling_goes_where_it_is_taken() {
    let number = |json: &str| Some(serde_json::from_str(json).unwrap());
    let warm = ChatRequest { temperature: number("0.70"), top_p: number("0.9"), ..request() };
    let text = String::from_utf8(written(&warm, "openai", Capabilities::default()).unwrap().body).unwrap();
    assert!(text.contains(r#""temperature":0.7,"top_p":0.9"#), "{text}");
    let never = Capabilities { sampling_params: Some(false), ..Capabilities::default() };
    refused_by(&warm, "openai", never, "temperature", "no temperature");
    refused_by(&ChatRequest { temperature: None, ..warm }, "openai", never, "top_p", "no top_p");
    let default = ChatRequest { temperature: number("1"), top_p: number("1.0"), ..request() };
    let text = String::from_utf8(written(&default, "openai", never).unwrap().body).unwrap();
    assert!(!text.contains("temperature") && !text.contains("top_p"));
    let top_k = ChatRequest { top_k: Some(5), ..request() };
    for name in ["vllm", "ollama", "llama", "openrouter"] {
        assert_eq!(body(&top_k, name)["top_k"], 5, "{name}");
    }
    for name in ["openai", "mistral", "groq", "deepseek", "generic"] {
        refused(&top_k, name, "top_k", "no top_k");
    }
    refused_by(&top_k, "vllm", never, "top_k", "no top_k");
}

#[test]
fn a_schema_is_named_and_strict_where_it_can_be() {
    let format = |schema: &str, strict: Option<bool>| ChatRequest {
        format: OutputFormat::JsonSchema {
            name: None,
            description: None,
            schema: serde_json::from_str(schema).unwrap(),
            strict,
        },
        ..request()
    };
    let closed =
        r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"#;
    let text =
        String::from_utf8(written(&format(closed, None), "openai", Capabilities::default()).unwrap().body).unwrap();
    let expected = format!(r#""json_schema":{{"name":"response","schema":{closed},"strict":true}}"#);
    assert!(text.contains(&expected), "{text}");
    let open = format(r#"{"type":"object"}"#, None);
    assert!(body(&open, "openai")["response_format"]["json_schema"].get("strict").is_none());
    let asked = format(r#"{"type":"object"}"#, Some(false));
    assert_eq!(body(&asked, "openai")["response_format"]["json_schema"]["strict"], false);
    refused(&open, "deepseek", "output_config.format", "JSON schema");
    let no_schema = Capabilities { json_schema: Some(false), ..Capabilities::default() };
    refused_by(&open, "openai", no_schema, "output_config.format", "JSON schema");
    let object = ChatRequest { format: OutputFormat::JsonObject, ..request() };
    assert_eq!(body(&object, "deepseek")["response_format"], json!({"type": "json_object"}));
}

fn thinks(reasons: bool) -> Capabilities {
    Capabilities { reasoning: Some(reasons), ..Capabilities::default() }
}

fn thinking(reasoning: Reasoning, name: &str, model: &str, capabilities: Capabilities) -> Value {
    let asked = ChatRequest { reasoning: Some(reasoning), ..request() };
    let written = write_request(&asked, &target(model, capabilities), server(name)).unwrap();
    let mut body: Value = serde_json::from_slice(&written.body).unwrap();
    let fields = body.as_object_mut().unwrap();
    fields.retain(|name, _| matches!(name.as_str(), "reasoning_effort" | "reasoning" | "thinking"));
    body
}

#[test]
fn thinking_is_asked_for_by_effort() {
    let check = |reasoning: Reasoning, expected: Value| {
        let body = thinking(reasoning, "openai", "gpt-5.1", thinks(true));
        assert_eq!(body, expected, "{reasoning:?}");
    };
    check(Reasoning::Effort(Effort::Max), json!({"reasoning_effort": "max"}));
    check(Reasoning::Adaptive(None), json!({}));
    check(Reasoning::Adaptive(Some(Effort::Low)), json!({"reasoning_effort": "low"}));
    let budget = |tokens| Reasoning::Budget { tokens, effort: None };
    check(budget(1024), json!({"reasoning_effort": "low"}));
    check(budget(2048), json!({"reasoning_effort": "medium"}));
    check(budget(31_999), json!({"reasoning_effort": "high"}));
    check(Reasoning::Budget { tokens: 1024, effort: Some(Effort::XHigh) }, json!({"reasoning_effort": "xhigh"}));
    check(Reasoning::Off, json!({"reasoning_effort": "none"}));
}

#[test]
fn no_thinking_is_said_only_to_those_that_understand_it() {
    for model in ["o3", "o4-mini", "gpt-5", "gpt-5-mini"] {
        assert_eq!(thinking(Reasoning::Off, "openai", model, thinks(true)), json!({}), "{model}");
    }
    let always = Capabilities { thinking_always_on: Some(true), ..thinks(true) };
    assert_eq!(thinking(Reasoning::Off, "openai", "gpt-6-sol", always), json!({}));
    assert_eq!(thinking(Reasoning::Off, "openai", "gpt-4o", thinks(false)), json!({}));
    assert_eq!(thinking(Reasoning::Off, "ollama", "é", Capabilities::default()), json!({}));
    assert_eq!(thinking(Reasoning::Adaptive(None), "openai", "gpt-4o", thinks(false)), json!({}));
    let adaptive = ChatRequest { reasoning: Some(Reasoning::Adaptive(Some(Effort::High))), ..request() };
    for capabilities in [thinks(false), Capabilities::default()] {
        assert_eq!(written(&adaptive, "ollama", capabilities).unwrap().dropped, ["output_config.effort"]);
    }
}

#[test]
fn thinking_is_refused_where_the_model_cannot_in_the_clients_words() {
    let asked = |reasoning| ChatRequest { reasoning: Some(reasoning), ..request() };
    let budget = asked(Reasoning::Budget { tokens: 1024, effort: None });
    refused_by(&budget, "openai", thinks(false), "thinking", "does not think");
    refused_by(
        &asked(Reasoning::Effort(Effort::Low)),
        "openai",
        thinks(false),
        "output_config.effort",
        "does not think",
    );
    let chat = ChatRequest { endpoint: Endpoint::ChatCompletions, ..budget };
    refused_by(&chat, "openai", thinks(false), "reasoning_effort", "does not think");
}

#[test]
fn servers_are_told_to_think_in_their_own_fields() {
    let ask = |reasoning, name| thinking(reasoning, name, "m", thinks(true));
    let budget = Reasoning::Budget { tokens: 3000, effort: None };
    assert_eq!(ask(budget, "openrouter"), json!({"reasoning": {"max_tokens": 3000}}));
    assert_eq!(ask(Reasoning::Effort(Effort::High), "openrouter"), json!({"reasoning": {"effort": "high"}}));
    assert_eq!(ask(Reasoning::Adaptive(None), "openrouter"), json!({"reasoning": {"enabled": true}}));
    assert_eq!(ask(Reasoning::Off, "openrouter"), json!({"reasoning": {"enabled": false}}));
    assert_eq!(ask(Reasoning::Off, "deepseek"), json!({"thinking": {"type": "disabled"}}));
    let high = json!({"thinking": {"type": "enabled"}, "reasoning_effort": "high"});
    assert_eq!(ask(Reasoning::Effort(Effort::High), "deepseek"), high);
}

#[test]
fn the_user_the_tier_and_the_rest_go_where_they_are_known() {
    let asked = ChatRequest {
        user: Some("u".repeat(65)),
        tier: Some(TierWish::Standard),
        verbosity: Some("medium".to_owned()),
        prompt_cache_key: Some("k".to_owned()),
        ..request()
    };
    let openai = body(&asked, "openai");
    assert_eq!(openai["safety_identifier"].as_str().unwrap().len(), 64);
    assert_eq!((&openai["service_tier"], &openai["prompt_cache_key"]), (&json!("default"), &json!("k")));
    assert_eq!(openai["verbosity"], "medium");
    let vllm = body(&asked, "vllm");
    assert_eq!(vllm["user"].as_str().unwrap().len(), 65);
    assert_eq!(vllm.as_object().unwrap().len(), 3);
    let mistral = written(&asked, "mistral", Capabilities::default()).unwrap();
    assert_eq!(mistral.dropped, ["metadata.user_id"]);
    let auto = ChatRequest { tier: Some(TierWish::Auto), ..request() };
    assert!(body(&auto, "openai").get("service_tier").is_none());
    refused(&ChatRequest { verbosity: Some("low".to_owned()), ..request() }, "vllm", "verbosity", "no verbosity");
}

#[test]
fn a_stream_is_asked_to_tell_its_usage() {
    let stream = ChatRequest { stream: true, ..request() };
    let body_of = |name| body(&stream, name);
    assert_eq!(body_of("openai")["stream_options"], json!({"include_usage": true}));
    assert_eq!(body_of("openai")["stream"], true);
    assert_eq!((&body_of("mistral")["stream"], body_of("mistral").get("stream_options")), (&json!(true), None));
}

#[test]
fn an_assistants_last_message_is_gone_on_with_or_refused() {
    let open = ChatRequest { turns: vec![said("a"), assistant(vec![answered("b")])], ..request() };
    for name in ["openai", "deepseek", "generic"] {
        refused(&open, name, "messages", "go on with");
    }
    let vllm = body(&open, "vllm");
    assert_eq!((&vllm["add_generation_prompt"], &vllm["continue_final_message"]), (&json!(false), &json!(true)));
    assert_eq!(body(&open, "mistral")["messages"][1]["prefix"], true);
    assert_eq!(body(&open, "llama").as_object().unwrap().len(), 2);
    let never = Capabilities { prefill: Some(false), ..Capabilities::default() };
    refused_by(&open, "vllm", never, "messages", "go on with");
}

#[test]
fn refusals_speak_the_words_of_every_endpoint() {
    for endpoint in Endpoint::ALL {
        let expected = match endpoint.as_str() {
            "messages" => "output_config.format",
            "responses" => "text.format",
            _ => "response_format",
        };
        assert_eq!(words(*endpoint).format, expected);
    }
}

#[test]
fn what_was_read_is_written_the_same() {
    let wire = r#"{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"},{"role":"assistant","content":"c","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"1","content":"r"},{"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"https://a.example/b"}}]}],"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}}],"tool_choice":"auto","parallel_tool_calls":false,"max_completion_tokens":5,"temperature":0.5,"stop":["x"],"response_format":{"type":"json_object"},"reasoning_effort":"low","verbosity":"low","safety_identifier":"u","service_tier":"default","prompt_cache_key":"k","stream":true,"stream_options":{"include_usage":true}}"#;
    let read = read_request(wire.as_bytes()).unwrap();
    let written = written(&read, "openai", Capabilities::default()).unwrap();
    assert_eq!(String::from_utf8(written.body).unwrap(), wire);
}
