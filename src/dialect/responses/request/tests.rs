use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::responses::wire::Carried;
use crate::domain::chat::{
    AssistantPart, CacheMark, Document, DocumentSource, Image, Media, ResultPart, ToolCall, ToolResult, Turn, UserPart,
};

fn read(body: &Value) -> ChatRequest {
    match read_request(body.to_string().as_bytes()) {
        Ok(request) => request,
        Err(refusal) => panic!("{}: {refusal}", refusal.param),
    }
}

/// A request that says `hi`, with other fields.
fn with(mut fields: Value) -> Value {
    let given = fields.as_object_mut().unwrap();
    given.entry("model").or_insert(json!("m"));
    given.entry("input").or_insert(json!("hi"));
    fields
}

/// A request with this input.
fn with_input(input: Value) -> Value {
    Value::from_iter([("input", input)])
}

/// The turns that an input becomes.
fn turns(input: Value) -> Vec<Turn> {
    read(&with_input(input)).turns
}

#[track_caller]
fn check_refused(fields: Value, param: &str, reason: &str) {
    let refusal = read_request(with(fields).to_string().as_bytes()).unwrap_err();
    assert_eq!(refusal.param, param);
    assert!(refusal.reason.contains(reason), "{:?} lacks {reason:?}", refusal.reason);
}

#[track_caller]
fn check_item_refused(item: Value, param: &str, reason: &str) {
    check_refused(with_input(Value::from(vec![user("hi"), item])), &format!("input[1]{param}"), reason);
}

#[track_caller]
fn check_part_refused(part: Value, param: &str, reason: &str) {
    let message = Value::from_iter([("role", json!("user")), ("content", Value::from(vec![part]))]);
    check_refused(with_input(Value::from(vec![message])), &format!("input[0].content[0]{param}"), reason);
}

/// Turns as one can read them.
fn shown(turns: &[Turn]) -> String {
    let user = |part: &Marked<UserPart>| match &part.part {
        UserPart::Text(text) => text.clone(),
        UserPart::Image(_) => "image".to_owned(),
        UserPart::Document(_) => "document".to_owned(),
        UserPart::ToolResult(result) => format!("{}={:?}", result.call_id, result.content.len()),
    };
    let assistant = |part: &Marked<AssistantPart>| match &part.part {
        AssistantPart::Text(text) => text.clone(),
        AssistantPart::Refusal(text) => format!("no:{text}"),
        AssistantPart::Thinking { text, signature } => format!("({text}){}", signature.as_deref().unwrap_or_default()),
        AssistantPart::RedactedThinking(data) => format!("(({data}))"),
        AssistantPart::ToolCall(call) => format!("{}()", call.id),
    };
    let turn = |turn: &Turn| match turn {
        Turn::System(texts) => {
            format!("S {}", texts.iter().map(|text| text.part.as_str()).collect::<Vec<_>>().join(" "))
        }
        Turn::User(parts) => format!("U {}", parts.iter().map(user).collect::<Vec<_>>().join(" ")),
        Turn::Assistant(parts) => format!("A {}", parts.iter().map(assistant).collect::<Vec<_>>().join(" ")),
    };
    turns.iter().map(turn).collect::<Vec<_>>().join(" | ")
}

fn call(id: &str) -> Value {
    json!({"type": "function_call", "call_id": id, "name": "f", "arguments": "{}", "id": "fc_1", "status": "completed"})
}

fn output(id: &str) -> Value {
    json!({"type": "function_call_output", "call_id": id, "output": "4"})
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

#[test]
fn a_text_is_a_turn_of_the_user() {
    let request = read(&json!({"model": "m", "input": "hi"}));
    assert_eq!(shown(&request.turns), "U hi");
    assert_eq!(request.endpoint, Endpoint::Responses);
    assert!(request.system.is_empty() && request.tools.is_empty() && !request.stream);
    assert!(request.reasoning.is_none() && request.tier.is_none() && request.user.is_none());
}

#[test]
fn every_field_that_can_be_said_is_read() {
    let request = read(&with(json!({
        "instructions": "be brief", "max_output_tokens": 100, "temperature": 0.5, "top_p": 0.9, "stream": true,
        "parallel_tool_calls": false, "prompt_cache_key": "k", "safety_identifier": "s", "user": "u",
        "reasoning": {"effort": "high", "summary": "auto"}, "service_tier": "default",
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "strict": true,
            "description": "d", "schema": {"b": 1, "a": 2}}},
        "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"b": 1, "a": 2}, "strict": false}],
        "tool_choice": {"type": "function", "name": "f"},
    })));
    assert_eq!(request.system, [Marked::plain("be brief".to_owned())]);
    assert_eq!((request.output_tokens_max, request.parallel_tool_calls), (Some(100), Some(false)));
    assert_eq!(request.temperature.unwrap().to_string(), "0.5");
    assert_eq!(request.top_p.unwrap().to_string(), "0.9");
    assert_eq!((request.user.as_deref(), request.prompt_cache_key.as_deref()), (Some("s"), Some("k")));
    assert_eq!(request.reasoning, Some(Reasoning::Effort(Effort::High)));
    assert_eq!((request.tier, request.verbosity.as_deref()), (Some(TierWish::Standard), Some("low")));
    assert_eq!(request.tool_choice, Some(ToolChoice::Named("f".to_owned())));
    assert!(request.stream);
    let tool = &request.tools[0].part;
    assert_eq!((tool.name.as_str(), tool.description.as_deref(), tool.strict), ("f", Some("d"), Some(false)));
    let OutputFormat::JsonSchema { name, description, schema, strict } = request.format else { panic!() };
    assert_eq!((name.as_deref(), description.as_deref(), strict), (Some("n"), Some("d"), Some(true)));
    assert!(schema.get().starts_with('{'));
}

#[test]
fn schemas_keep_their_bytes() {
    let body = br#"{"input":"hi","tools":[{"type":"function","name":"f","parameters":{"z": 1.50,  "a":2}}]}"#;
    let request = read_request(body).unwrap();
    assert_eq!(request.tools[0].part.parameters.as_ref().unwrap().get(), r#"{"z": 1.50,  "a":2}"#);
}

#[test]
fn values_that_change_nothing_are_taken() {
    read(&with(json!({
        "store": false, "background": false, "truncation": "disabled", "top_logprobs": 0, "metadata": {"a": "b"},
        "include": ["reasoning.encrypted_content"], "stream_options": {"include_obfuscation": false},
        "service_tier": "auto", "prompt_cache_retention": "24h", "prompt_cache_options": {"mode": "implicit"},
        "previous_response_id": null, "conversation": null, "max_tool_calls": null, "prompt": null,
        "reasoning": {"effort": null, "summary": "detailed", "mode": "standard"}, "text": {"format": {"type": "text"}},
        "anything": null, "tools": [], "tool_choice": "auto",
    })));
    assert_eq!(read(&with(json!({"reasoning": {"effort": "none"}}))).reasoning, Some(Reasoning::Off));
    assert_eq!(read(&with(json!({"reasoning": {"summary": "auto"}}))).reasoning, None);
    assert!(matches!(
        read(&with(json!({"text": {"format": {"type": "json_object"}}}))).format,
        OutputFormat::JsonObject
    ));
    assert_eq!(read(&with(json!({"user": "u"}))).user.as_deref(), Some("u"));
}

#[test]
fn what_needs_a_memory_is_refused() {
    check_refused(json!({"previous_response_id": "resp_1"}), "previous_response_id", "send the whole conversation");
    check_refused(json!({"conversation": {"id": "conv_1"}}), "conversation", "send all of it");
    check_refused(json!({"store": true}), "store", "set `store` to false");
    check_refused(json!({"background": true}), "background", "stream it");
    check_refused(json!({"prompt": {"id": "pmpt_1"}}), "prompt", "`instructions`");
    check_refused(json!({"truncation": "auto"}), "truncation", "leave `truncation` out");
    check_refused(json!({"max_tool_calls": 3}), "max_tool_calls", "leave it out");
    check_item_refused(json!({"type": "item_reference", "id": "msg_1"}), ".id", "send the item itself");
    check_item_refused(json!({"id": "msg_1"}), ".id", "send the item itself");
}

#[test]
fn what_only_openai_runs_is_refused() {
    for kind in ["web_search", "file_search", "mcp", "code_interpreter", "image_generation", "local_shell"] {
        check_refused(json!({"tools": [{"type": kind}]}), "tools[0].type", "run at OpenAI alone");
    }
    check_refused(json!({"tools": [{"type": "custom", "name": "c"}]}), "tools[0].type", "describe it as a function");
    check_refused(json!({"tool_choice": {"type": "web_search"}}), "tool_choice.type", "run at OpenAI alone");
    for kind in ["web_search_call", "mcp_call", "computer_call_output", "custom_tool_call", "compaction"] {
        check_item_refused(json!({"type": kind, "id": "x"}), ".type", kind);
    }
    check_refused(json!({"service_tier": "flex"}), "service_tier", "sold by OpenAI alone");
    check_refused(
        json!({"include": ["reasoning.encrypted_content", "web_search_call.results"]}),
        "include[1]",
        "web_search",
    );
}

#[test]
fn unknown_fields_are_refused_wherever_they_stand() {
    check_refused(json!({"moderation": {"model": "x"}}), "moderation", "leave it out");
    check_refused(json!({"seed": 1}), "seed", "leave it out");
    check_refused(json!({"text": {"shape": 1}}), "text.shape", "leave it out");
    check_refused(json!({"reasoning": {"tokens": 1}}), "reasoning.tokens", "leave it out");
    check_refused(json!({"prompt_cache_options": {"prewarm": true}}), "prompt_cache_options.prewarm", "leave it out");
    check_refused(
        json!({"tools": [{"type": "function", "name": "f", "defer_loading": true}]}),
        "tools[0].defer_loading",
        "",
    );
    check_item_refused(json!({"role": "user", "content": "a", "name": "bob"}), ".name", "leave it out");
    check_part_refused(json!({"type": "input_text", "text": "a", "x": 1}), ".x", "leave it out");
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    check_refused(json!({"temperature": "warm"}), "temperature", "a number");
    check_refused(json!({"max_output_tokens": -1}), "max_output_tokens", "a whole number");
    check_refused(json!({"stream": "yes"}), "stream", "true or false");
    check_refused(json!({"input": 7}), "input", "a string or a list");
    check_refused(json!({"input": null}), "input", "missing");
    check_refused(json!({"input": ""}), "input", "empty");
    check_refused(json!({"input": []}), "input", "a message");
    check_refused(json!({"input": ["hi"]}), "input[0]", "an object");
    check_refused(json!({"tools": {}}), "tools", "a list");
    check_refused(json!({"tools": [{"name": "f"}]}), "tools[0].type", "missing");
    check_refused(json!({"tools": [{"type": "function"}]}), "tools[0].name", "missing");
    check_refused(json!({"tools": [{"type": "function", "function": {"name": "f"}}]}), "tools[0].function", "flat");
    check_refused(
        json!({"tools": [{"type": "function", "name": "f", "parameters": []}]}),
        "tools[0].parameters",
        "an object",
    );
    check_refused(json!({"tool_choice": "any"}), "tool_choice", "required");
    check_refused(json!({"reasoning": {"effort": "huge"}}), "reasoning.effort", "huge");
    check_refused(json!({"reasoning": {"mode": "pro"}}), "reasoning.mode", "pro");
    check_refused(json!({"top_logprobs": 3}), "top_logprobs", "leave `top_logprobs` out");
    check_refused(json!({"text": {"verbosity": "loud"}}), "text.verbosity", "loud");
    check_refused(json!({"text": {"format": {"type": "xml"}}}), "text.format.type", "xml");
    check_refused(json!({"text": {"format": {"type": "json_schema", "name": "n"}}}), "text.format.schema", "missing");
    let refusal = read_request(br#"{"input":"a","input":"b"}"#).unwrap_err();
    assert_eq!(refusal.param, "input");
}

#[test]
fn allowed_tools_are_the_only_ones_that_are_told() {
    let tools = json!([{"type": "function", "name": "f"}, {"type": "function", "name": "g"}]);
    let choice = |mode: &str, name: &str| {
        let allowed = json!({"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": name}]});
        json!({"tools": tools, "tool_choice": allowed})
    };
    let request = read(&with(choice("required", "g")));
    assert_eq!(request.tools.iter().map(|tool| tool.part.name.as_str()).collect::<Vec<_>>(), ["g"]);
    assert_eq!(request.tool_choice, Some(ToolChoice::Required));
    assert_eq!(read(&with(choice("auto", "f"))).tool_choice, Some(ToolChoice::Auto));
    check_refused(choice("auto", "h"), "tool_choice.tools[0].name", "not among the tools");
    check_refused(choice("some", "f"), "tool_choice.mode", "some");
    let hosted = json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "server_label": "x"}]});
    check_refused(json!({"tools": tools, "tool_choice": hosted}), "tool_choice.tools[0].type", "run at OpenAI alone");
}

#[test]
fn leading_instructions_are_the_system_and_later_ones_stay_in_place() {
    let request = read(&with(json!({"instructions": "one", "input": [
        {"role": "developer", "content": "two"},
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "three"}, {"type": "input_text", "text": ""}]},
        user("hi"),
        {"role": "system", "content": "four"},
        {"role": "system", "content": ""},
    ]})));
    let system: Vec<_> = request.system.iter().map(|text| text.part.as_str()).collect();
    assert_eq!(system, ["one", "two", "three"]);
    assert_eq!(shown(&request.turns), "U hi | S four");
    let image = json!({"type": "input_image", "image_url": "https://a/b.png"});
    check_item_refused(json!({"role": "system", "content": [image]}), ".content[0].type", "instructions are text");
}

#[test]
fn what_the_model_said_is_one_turn() {
    let input = json!([
        user("hi"),
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "so"}, {"type": "summary_text", "text": "then"}]},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": "commentary", "content": [
            {"type": "output_text", "text": "well", "annotations": [], "logprobs": []},
            {"type": "output_text", "text": ""},
            {"type": "refusal", "refusal": "no"}]},
        call("a"), call("b"), output("b"), output("a"), user("and?"),
        {"role": "assistant", "content": "5"},
        {"role": "assistant", "content": ""},
        user("one"), user("two"),
    ]);
    let expected = "U hi | A (so\n\nthen) well no:no a() b() | U b=1 a=1 and? | A 5 | U one | U two";
    assert_eq!(shown(&turns(input)), expected);
}

#[test]
fn results_stand_right_after_their_calls_wherever_they_were_put() {
    assert_eq!(shown(&turns(json!([user("q"), call("a"), user("x"), output("a")]))), "U q | A a() | U a=1 x");
    let late = json!([user("q"), call("a"), call("b"), output("a"), call("c"), output("b"), output("c")]);
    assert_eq!(shown(&turns(late)), "U q | A a() b() | U a=1 b=1 | A c() | U c=1");
    let between =
        json!([user("q"), call("a"), {"role": "system", "content": "s"}, call("b"), output("a"), output("b")]);
    assert_eq!(shown(&turns(between)), "U q | A a() | U a=1 | S s | A b() | U b=1");
}

#[test]
fn calls_and_results_must_match() {
    check_item_refused(call("a"), ".call_id", "nothing answers the call `a`");
    check_item_refused(output("a"), ".call_id", "no call `a` waits");
    check_refused(json!({"input": [call("a"), call("a"), output("a")]}), "input[1].call_id", "no result yet");
    check_refused(json!({"input": [call("a"), output("a"), output("a")]}), "input[2].call_id", "no call `a` waits");
    check_item_refused(json!({"type": "function_call", "call_id": "", "name": "f"}), ".call_id", "empty");
    for arguments in ["[]", "{", "{} x", "null"] {
        let item = json!({"type": "function_call", "call_id": "a", "name": "f", "arguments": arguments});
        check_item_refused(item, ".arguments", "a JSON object");
    }
    // The same id again, once it has its result, is another call.
    assert_eq!(shown(&turns(json!([call("a"), output("a"), call("a"), output("a")]))), "A a() | U a=1 | A a() | U a=1");
}

#[test]
fn arguments_keep_their_bytes() {
    let arguments = "{ \"b\": 1.0, \"a\": \"\\u00e9\" }";
    let input = json!([{"type": "function_call", "call_id": "a", "name": "f", "arguments": arguments}, output("a")]);
    let Turn::Assistant(parts) = turns(input).remove(0) else { panic!() };
    let expected = ToolCall { id: "a".to_owned(), name: "f".to_owned(), arguments: arguments.to_owned() };
    assert_eq!(parts[0].part, AssistantPart::ToolCall(expected));
}

#[test]
fn results_have_texts_pictures_and_documents() {
    let output = json!({"type": "function_call_output", "call_id": "a", "name": "f", "output": [
        {"type": "input_text", "text": "see", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}},
        {"type": "input_image", "image_url": "https://a/b.png"},
        {"type": "input_file", "file_url": "https://a/b.pdf"}]});
    let Turn::User(parts) = turns(json!([call("a"), output])).remove(1) else { panic!() };
    assert_eq!(parts[0].cache, Some(CacheMark::OneHour));
    let UserPart::ToolResult(ToolResult { content, is_error: false, .. }) = &parts[0].part else { panic!() };
    assert!(matches!(&content[..], [ResultPart::Text(_), ResultPart::Image(_), ResultPart::Document(_)]));
    let silent = json!({"type": "function_call_output", "call_id": "a", "output": ""});
    assert_eq!(shown(&turns(json!([call("a"), silent]))), "A a() | U a=0");
}

#[test]
fn pictures_are_data_or_addresses() {
    let image = |url: &str| json!({"type": "input_image", "image_url": url, "detail": "low"});
    let content =
        json!([image("data:image/png;base64,aGk="), image("https://a/b.png"), {"type": "input_text", "text": ""}]);
    let Turn::User(parts) = turns(json!([{"role": "user", "content": content}])).remove(0) else { panic!() };
    let base64 = Media::Base64 { media_type: "image/png".to_owned(), data: "aGk=".to_owned() };
    for (part, source) in parts.iter().zip([base64, Media::Url("https://a/b.png".to_owned())]) {
        assert_eq!(part.part, UserPart::Image(Image { source, detail: Some("low".to_owned()) }));
    }
    assert_eq!(parts.len(), 2, "the empty text says nothing");
    for url in ["data:text/plain;base64,aGk=", "data:image/png,aGk=", "ftp://a/b", "data:image/png;base64,", "b.png"] {
        check_part_refused(image(url), ".image_url", "a data URL");
    }
    check_part_refused(json!({"type": "input_image", "file_id": "file_1"}), ".file_id", "send its data");
    check_part_refused(json!({"type": "input_image"}), ".image_url", "missing");
}

#[test]
fn files_are_documents() {
    let document = |part: Value| {
        let Turn::User(parts) = turns(json!([{"role": "user", "content": [part]}])).remove(0) else { panic!() };
        let UserPart::Document(document) = parts[0].part.clone() else { panic!() };
        document
    };
    let base64 = |media_type: &str| {
        DocumentSource::File(Media::Base64 { media_type: media_type.to_owned(), data: "aMOp".to_owned() })
    };
    let pdf =
        document(json!({"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aMOp"}));
    assert_eq!(pdf, Document { source: base64("application/pdf"), title: Some("a.pdf".to_owned()) });
    let bare = document(json!({"type": "input_file", "filename": "a.PDF", "file_data": "aMOp"}));
    assert_eq!(bare.source, base64("application/pdf"));
    let text = document(json!({"type": "input_file", "file_data": "data:text/plain;charset=utf-8;base64,aMOp"}));
    assert_eq!(text.source, DocumentSource::Text("hé".to_owned()));
    let far = document(json!({"type": "input_file", "file_url": "https://a/b.pdf", "detail": "high"}));
    assert_eq!(far.source, DocumentSource::File(Media::Url("https://a/b.pdf".to_owned())));
    check_part_refused(json!({"type": "input_file", "file_id": "f"}), ".file_id", "send its data");
    check_part_refused(json!({"type": "input_file", "file_data": "aMOp"}), ".file_data", "a data URL");
    check_part_refused(
        json!({"type": "input_file", "file_data": "data:text/plain;base64,/w=="}),
        ".file_data",
        "UTF-8",
    );
    check_part_refused(json!({"type": "input_file", "file_url": "file:///etc/passwd"}), ".file_url", "https");
    check_part_refused(json!({"type": "input_file"}), ".file_data", "missing");
}

#[test]
fn other_parts_are_refused() {
    let audio = json!({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}});
    check_part_refused(audio, ".input_audio", "audio isn't taken");
    check_part_refused(json!({"type": "text", "text": "a"}), ".type", "`input_text`");
    check_part_refused(json!({"text": "a"}), ".type", "missing");
    check_item_refused(json!({"role": "tool", "content": "a"}), ".role", "tool");
    check_item_refused(json!({"role": "user", "content": ""}), ".content", "empty");
    check_item_refused(json!({"role": "user", "content": []}), ".content", "empty");
    check_item_refused(json!({"role": "user"}), ".content", "missing");
    check_item_refused(
        json!({"role": "assistant", "content": [{"type": "input_image"}]}),
        ".content[0].type",
        "output_text",
    );
}

#[test]
fn cache_marks_are_read() {
    let part = json!({"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}});
    let Turn::User(parts) = turns(json!([{"role": "user", "content": [part]}])).remove(0) else { panic!() };
    assert_eq!(parts[0].cache, Some(CacheMark::FiveMinutes));
    let part = json!({"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "magic"}});
    check_part_refused(part, ".prompt_cache_breakpoint.mode", "magic");
}

#[test]
fn thinking_comes_back_with_what_it_was_given_out_with() {
    let reasoning = |summary: &str, encrypted: Option<String>| {
        let summary: Vec<_> =
            (!summary.is_empty()).then(|| json!({"type": "summary_text", "text": summary})).into_iter().collect();
        json!([user("q"), {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": encrypted}])
    };
    let signed = Some(Carried::Signature("sig".to_owned()).pack());
    assert_eq!(shown(&turns(reasoning("so", signed.clone()))), "U q | A (so)sig");
    assert_eq!(shown(&turns(reasoning("", signed))), "U q | A ()sig");
    assert_eq!(shown(&turns(reasoning("", Some(Carried::Redacted("r".to_owned()).pack())))), "U q | A ((r))");
    // Another service's ciphertext is of no use here; what it was summed up as is.
    let foreign = || Some("gAAAAABoSecret==".to_owned());
    assert_eq!(shown(&turns(reasoning("so", foreign()))), "U q | A (so)");
    assert_eq!(shown(&turns(reasoning("", foreign()))), "U q");
    let content = json!([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "short"}],
        "content": [{"type": "reasoning_text", "text": "long"}]}]);
    assert_eq!(shown(&turns(content)), "A (long)");
    check_item_refused(
        json!({"type": "reasoning", "summary": [{"type": "poem", "text": ""}]}),
        ".summary[0].type",
        "poem",
    );
}

#[test]
fn an_answer_repeats_what_the_request_said() {
    let body = b"{\"model\":\"m\",\"input\":\"hi\",\"temperature\":1.50,\"metadata\":null,\"tools\":[\n {\"type\":\r\n\"function\"}],\"store\":false}";
    let echoed: Vec<_> = echo(body).into_iter().map(|(name, value)| format!("{name}={}", value.get())).collect();
    assert_eq!(echoed, ["store=false", "temperature=1.50", "tools=[{\"type\":\"function\"}]"]);
    assert!(echo(b"[]").is_empty());
}

/// JSON of any form, with the words of this API among its keys and texts.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "input",
        "type",
        "role",
        "content",
        "message",
        "user",
        "assistant",
        "function_call",
        "function_call_output",
        "call_id",
        "output",
        "reasoning",
        "summary",
        "summary_text",
        "text",
        "input_text",
        "input_image",
        "image_url",
        "data:image/png;base64,aa",
        "input_file",
        "file_data",
        "filename",
        "a.pdf",
        "arguments",
        "{}",
        "name",
        "tools",
        "tool_choice",
        "function",
        "allowed_tools",
        "mode",
        "auto",
        "format",
        "json_schema",
        "schema",
        "é",
        "",
        "encrypted_content",
        "prompt_cache_breakpoint",
        "include",
        "metadata",
        "developer",
        "refusal",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(word.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused(input in any_json(), body in any_json()) {
        let _ = read_request(body.to_string().as_bytes());
        let _ = read_request(json!({"input": [input]}).to_string().as_bytes());
        let _ = read_request(json!({"input": [{"role": "user", "content": [input]}]}).to_string().as_bytes());
        let _ = echo(body.to_string().as_bytes());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = read_request(&bytes);
        let _ = echo(&bytes);
    }

    #[test]
    fn every_call_has_its_result_in_the_next_turn(steps in prop::collection::vec((0..4_u8, 0..4_u8), 1..20)) {
        let items: Vec<_> = steps.iter().map(|(kind, id)| match kind {
            0 => call(&id.to_string()),
            1 => output(&id.to_string()),
            2 => user("u"),
            _ => json!({"role": "assistant", "content": "a"}),
        }).collect();
        if let Ok(request) = read_request(with(json!({"input": items})).to_string().as_bytes()) {
            for (index, turn) in request.turns.iter().enumerate() {
                let Turn::Assistant(parts) = turn else { continue };
                let mut calls: Vec<_> = parts.iter().filter_map(|part| match &part.part {
                    AssistantPart::ToolCall(call) => Some(call.id.clone()),
                    _ => None,
                }).collect();
                let mut results: Vec<_> = match request.turns.get(index + 1) {
                    Some(Turn::User(parts)) => parts.iter().map_while(|part| match &part.part {
                        UserPart::ToolResult(result) => Some(result.call_id.clone()),
                        _ => None,
                    }).collect(),
                    _ => Vec::new(),
                };
                calls.sort();
                results.sort();
                prop_assert_eq!(calls, results);
            }
        }
    }
}
