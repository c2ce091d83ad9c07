#![expect(clippy::needless_pass_by_value, reason = "a case reads best with its JSON in place")]

use serde_json::json;

use super::*;
use crate::domain::chat::{
    AssistantPart, CacheMark, Document, DocumentSource, Image, Marked, Media, ResultPart, ToolCall, ToolChoice,
    ToolResult, Turn, UserPart,
};
use proptest::prelude::*;

fn read(request: &serde_json::Value) -> Result<ChatRequest, Untranslatable> {
    read_request(request.to_string().as_bytes())
}

/// A request of one message and some more fields.
fn with(fields: serde_json::Value) -> Result<ChatRequest, Untranslatable> {
    let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    read(&request)
}

fn messages(messages: serde_json::Value) -> Result<ChatRequest, Untranslatable> {
    read(&json!({"model": "m", "messages": messages}))
}

/// What one user message with this content becomes.
fn content(content: serde_json::Value) -> Result<Vec<Marked<UserPart>>, Untranslatable> {
    let turns = messages(json!([{"role": "user", "content": content}]))?.turns;
    let [Turn::User(parts)] = <[Turn; 1]>::try_from(turns).unwrap() else { panic!("no user's turn") };
    Ok(parts)
}

fn refused<T>(result: Result<T, Untranslatable>, param: &str, says: &str) {
    let Err(refusal) = result else { panic!("{param} is taken") };
    assert_eq!(refusal.param, param, "{}", refusal.reason);
    assert!(refusal.reason.contains(says), "{}", refusal.reason);
}

fn text(text: &str) -> Marked<UserPart> {
    Marked::plain(UserPart::Text(text.to_owned()))
}

fn said(text: &str) -> Marked<AssistantPart> {
    Marked::plain(AssistantPart::Text(text.to_owned()))
}

fn call(id: &str, arguments: &str) -> Marked<AssistantPart> {
    let (id, name, arguments) = (id.to_owned(), "f".to_owned(), arguments.to_owned());
    Marked::plain(AssistantPart::ToolCall(ToolCall { id, name, arguments }))
}

fn result(id: &str, text: &str) -> Marked<UserPart> {
    let content = vec![ResultPart::Text(text.to_owned())];
    Marked::plain(UserPart::ToolResult(ToolResult { call_id: id.to_owned(), content, is_error: false }))
}

fn wire_call(id: &str, arguments: &str) -> serde_json::Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}})
}

#[test]
fn leading_instructions_are_the_system_and_later_ones_stay_in_place() {
    let request = messages(json!([
        {"role": "system", "content": "one"},
        {"role": "developer", "content": [{"type": "text", "text": "two", "prompt_cache_breakpoint": {}}, {"type": "text", "text": ""}]},
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "three"},
        {"role": "user", "content": "ho"},
    ]))
    .unwrap();
    let two = Marked { part: "two".to_owned(), cache: Some(CacheMark::FiveMinutes) };
    assert_eq!(request.system, [Marked::plain("one".to_owned()), two]);
    let [Turn::User(_), Turn::System(later), Turn::User(_)] = request.turns.as_slice() else { panic!() };
    assert_eq!(later, &[Marked::plain("three".to_owned())]);
}

#[test]
fn texts_are_parts_and_empty_ones_are_left_out() {
    assert_eq!(content(json!("hi")).unwrap(), [text("hi")]);
    let parts = json!([{"type": "text", "text": ""}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    assert_eq!(content(parts).unwrap(), [text("a"), text("b")]);
    refused(content(json!("")), "messages[0].content", "is empty");
    refused(content(json!([])), "messages[0].content", "is empty");
    refused(content(json!(7)), "messages[0].content", "must be a string or a list");
    refused(messages(json!([{"role": "user"}])), "messages[0].content", "is missing");
}

#[test]
fn pictures_come_as_bytes_or_addresses() {
    let picture = |url: &str, detail: &str| {
        let parts = content(json!([{"type": "image_url", "image_url": {"url": url, "detail": detail}}]))?;
        let [Marked { part: UserPart::Image(image), cache: None }] = <[_; 1]>::try_from(parts).unwrap() else {
            panic!()
        };
        Ok::<_, Untranslatable>(image)
    };
    let source = Media::Base64 { media_type: "image/png".to_owned(), data: "AA==".to_owned() };
    assert_eq!(picture("data:image/png;base64,AA==", "auto").unwrap(), Image { source, detail: None });
    let image = picture("https://a.example/b.png", "low").unwrap();
    assert_eq!(image.source, Media::Url("https://a.example/b.png".to_owned()));
    assert_eq!(image.detail.as_deref(), Some("low"));
    let url = "messages[0].content[0].image_url.url";
    refused(picture("data:image/tiff;base64,AA==", "auto"), url, "image/tiff");
    refused(picture("data:image/png,AA", "auto"), url, "base64");
    refused(picture("file:///etc/passwd", "auto"), url, "http(s)");
    refused(picture("AA==", "auto"), url, "http(s)");
    refused(picture("https://a.example", "most"), "messages[0].content[0].image_url.detail", "most");
}

#[test]
fn files_come_as_pdf_or_text() {
    let file = |file: serde_json::Value| content(json!([{"type": "file", "file": file}]));
    let pdf = file(json!({"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="})).unwrap();
    let source =
        DocumentSource::File(Media::Base64 { media_type: "application/pdf".to_owned(), data: "AA==".to_owned() });
    let title = Some("a.pdf".to_owned());
    assert_eq!(pdf, [Marked::plain(UserPart::Document(Document { source, title }))]);
    let plain = file(json!({"file_data": "data:text/plain;charset=utf-8;base64,aGk="})).unwrap();
    let source = DocumentSource::Text("hi".to_owned());
    assert_eq!(plain, [Marked::plain(UserPart::Document(Document { source, title: None }))]);
    let place = "messages[0].content[0].file.";
    refused(file(json!({"file_id": "file-1"})), &format!("{place}file_id"), "send its bytes");
    refused(file(json!({})), &format!("{place}file_data"), "missing");
    refused(file(json!({"file_data": "data:text/plain;base64,/w=="})), &format!("{place}file_data"), "UTF-8");
    refused(file(json!({"file_data": "data:a/b;base64,AA=="})), &format!("{place}file_data"), "a/b");
    refused(file(json!({"file_data": "https://a.example/b.pdf"})), &format!("{place}file_data"), "data: URL");
}

#[test]
fn other_parts_are_refused_by_their_place() {
    let audio =
        json!([{"type": "text", "text": "a"}, {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]);
    refused(content(audio), "messages[0].content[1].input_audio", "audio");
    refused(content(json!([{"type": "video", "video": {}}])), "messages[0].content[0].type", "video");
    refused(content(json!([{"type": "text", "text": "a", "x": 1}])), "messages[0].content[0].x", "can't be translated");
    let system = json!([{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://a"}}]}]);
    refused(messages(system), "messages[0].content[0].type", "send text");
}

#[test]
fn marks_come_in_both_spellings() {
    let mark = |field: &str, value: serde_json::Value| {
        let mut part = json!({"type": "text", "text": "a"});
        part[field] = value;
        content(json!([part])).map(|parts| parts[0].cache)
    };
    assert_eq!(mark("prompt_cache_breakpoint", json!({"mode": "explicit"})), Ok(Some(CacheMark::FiveMinutes)));
    assert_eq!(mark("prompt_cache_breakpoint", json!(null)), Ok(None));
    assert_eq!(mark("cache_control", json!({"type": "ephemeral"})), Ok(Some(CacheMark::FiveMinutes)));
    assert_eq!(mark("cache_control", json!({"type": "ephemeral", "ttl": "1h"})), Ok(Some(CacheMark::OneHour)));
    let place = "messages[0].content[0].cache_control.";
    refused(mark("cache_control", json!({"type": "x"})), &format!("{place}type"), "ephemeral");
    refused(mark("cache_control", json!({"type": "ephemeral", "ttl": "2h"})), &format!("{place}ttl"), "5m or 1h");
}

#[test]
fn an_assistant_says_thinks_refuses_and_calls() {
    let request = messages(json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "look", "refusal": "no", "reasoning_content": "so", "annotations": [], "audio": null,
         "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
    ]));
    let turns = request.unwrap().turns;
    let Turn::Assistant(parts) = &turns[1] else { panic!() };
    let thinking = AssistantPart::Thinking { text: "so".to_owned(), signature: None };
    let refusal = Marked::plain(AssistantPart::Refusal("no".to_owned()));
    assert_eq!(parts, &[Marked::plain(thinking), said("look"), refusal, call("a", "{\"x\": 1}")]);
}

#[test]
fn blocks_of_thinking_win_over_their_bare_text() {
    let assistant = |fields: serde_json::Value| {
        let mut message = json!({"role": "assistant", "content": ""});
        message.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let turns = messages(json!([message])).unwrap().turns;
        let [Turn::Assistant(parts)] = <[Turn; 1]>::try_from(turns).unwrap() else { panic!() };
        parts.into_iter().map(|part| part.part).collect::<Vec<_>>()
    };
    let thinking = |text: &str, signature: Option<&str>| AssistantPart::Thinking {
        text: text.to_owned(),
        signature: signature.map(str::to_owned),
    };
    let both = json!({"reasoning_content": "so", "thinking_blocks": [
        {"type": "thinking", "thinking": "so", "signature": "s"}, {"type": "thinking", "thinking": "t", "signature": "", "index": 1},
        {"type": "redacted_thinking", "data": "d"}]});
    let redacted = AssistantPart::RedactedThinking("d".to_owned());
    assert_eq!(assistant(both), [thinking("so", Some("s")), thinking("t", None), redacted]);
    assert_eq!(assistant(json!({"reasoning_content": "so", "thinking_blocks": []})), [thinking("so", None)]);
    assert_eq!(assistant(json!({"reasoning": "so"})), [thinking("so", None)]);
}

#[test]
fn an_empty_assistant_message_says_nothing_and_a_missing_content_is_refused() {
    let empty = json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": ""}]);
    assert_eq!(messages(empty).unwrap().turns.len(), 1);
    refused(messages(json!([{"role": "assistant", "content": null}])), "messages[0].content", "no tool_calls");
    refused(messages(json!([{"role": "assistant", "audio": {"id": "a"}}])), "messages[0].audio", "transcript");
    let noted = json!([{"role": "assistant", "content": "a", "annotations": [{"type": "url_citation"}]}]);
    refused(messages(noted), "messages[0].annotations", "leave them out");
}

#[test]
fn results_stand_first_in_the_order_of_their_calls() {
    let request = messages(json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": null, "tool_calls": [wire_call("a", "{}"), wire_call("b", "")]},
        {"role": "tool", "tool_call_id": "b", "content": "2", "name": "f"},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "1"}]},
        {"role": "user", "content": "and?"},
    ]));
    let turns = request.unwrap().turns;
    let [_, Turn::Assistant(calls), Turn::User(parts)] = turns.as_slice() else { panic!() };
    assert_eq!(calls, &[call("a", "{}"), call("b", "")]);
    assert_eq!(parts, &[result("a", "1"), result("b", "2"), text("and?")]);
}

#[test]
fn results_without_a_user_message_are_a_turn_by_themselves() {
    let calling = json!({"role": "assistant", "tool_calls": [wire_call("a", "{}")]});
    let tool = json!({"role": "tool", "tool_call_id": "a", "content": ""});
    for next in [json!({"role": "assistant", "content": "ok"}), json!({"role": "system", "content": "ok"})] {
        let turns = messages(json!([{"role": "user", "content": "hi"}, calling, tool, next])).unwrap().turns;
        let Turn::User(parts) = &turns[2] else { panic!() };
        assert!(matches!(&parts[0].part, UserPart::ToolResult(result) if result.content.is_empty()));
        assert_eq!(turns.len(), 4);
    }
    assert_eq!(messages(json!([calling, tool])).unwrap().turns.len(), 2);
}

#[test]
fn a_missing_or_strange_result_is_refused_with_its_id() {
    let calling = json!({"role": "assistant", "tool_calls": [wire_call("a", "{}"), wire_call("b", "{}")]});
    let tool = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "1"});
    let missing = "messages[0].tool_calls[1]";
    refused(messages(json!([calling, tool("a")])), missing, "\"b\"");
    refused(messages(json!([calling, tool("a"), {"role": "user", "content": "x"}])), missing, "\"b\"");
    refused(messages(json!([calling, tool("a"), {"role": "system", "content": "x"}, tool("b")])), missing, "\"b\"");
    refused(messages(json!([calling])), "messages[0].tool_calls[0]", "\"a\"");
    refused(messages(json!([calling, tool("c")])), "messages[1].tool_call_id", "\"c\"");
    refused(messages(json!([calling, tool("a"), tool("a")])), "messages[2].tool_call_id", "\"a\"");
    refused(messages(json!([tool("a")])), "messages[0].tool_call_id", "\"a\"");
    refused(messages(json!([{"role": "tool", "content": "1"}])), "messages[0].tool_call_id", "missing");
}

#[test]
fn arguments_are_the_text_of_an_object() {
    let with = |arguments: &str| messages(json!([{"role": "assistant", "tool_calls": [wire_call("a", arguments)]}]));
    for arguments in ["[]", "1", "{", "{\"a\":}", "x"] {
        refused(with(arguments), "messages[0].tool_calls[0].function.arguments", "JSON object");
    }
    let custom = json!([{"role": "assistant", "tool_calls": [{"id": "a", "type": "custom", "custom": {}}]}]);
    refused(messages(custom), "messages[0].tool_calls[0].type", "function tools");
}

#[test]
fn the_older_calls_and_results_are_read_too() {
    let older = json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}});
    let request =
        messages(json!([{"role": "user", "content": "hi"}, older, {"role": "function", "name": "f", "content": "1"}]));
    let turns = request.unwrap().turns;
    let [_, Turn::Assistant(calls), Turn::User(results)] = turns.as_slice() else { panic!() };
    assert_eq!(
        (calls.as_slice(), results.as_slice()),
        ([call("call_1", "{}")].as_slice(), [result("call_1", "1")].as_slice())
    );
    refused(messages(json!([older, {"role": "function", "name": "g", "content": "1"}])), "messages[1].name", "\"g\"");
    refused(messages(json!([older])), "messages[0].function_call", "no result");
    let functions =
        with(json!({"functions": [{"name": "f", "parameters": {}}], "function_call": {"name": "f"}})).unwrap();
    assert_eq!(functions.tools[0].part.name, "f");
    assert_eq!(functions.tool_choice, Some(ToolChoice::Named("f".to_owned())));
    let auto = with(json!({"functions": [{"name": "f"}], "function_call": "auto"})).unwrap();
    assert_eq!(auto.tool_choice, Some(ToolChoice::Auto));
    refused(with(json!({"functions": [{"name": "f"}], "function_call": "any"})), "function_call", "any");
    let both = json!({"functions": [{"name": "f"}], "tools": [{"type": "function", "function": {"name": "g"}}]});
    refused(with(both), "functions", "only one");
}

#[test]
fn names_of_speakers_are_refused_but_for_the_user() {
    assert!(messages(json!([{"role": "user", "content": "a", "name": "ann"}])).is_ok());
    refused(messages(json!([{"role": "system", "content": "a", "name": "x"}])), "messages[0].name", "content");
    refused(messages(json!([{"role": "assistant", "content": "a", "name": "x"}])), "messages[0].name", "content");
}

#[test]
fn what_is_no_conversation_is_refused() {
    refused(messages(json!([])), "messages", "empty");
    refused(messages(json!("hi")), "messages", "a list");
    refused(messages(json!(["hi"])), "messages[0]", "an object");
    refused(messages(json!([{"content": "hi"}])), "messages[0].role", "missing");
    refused(messages(json!([{"role": "robot", "content": "hi"}])), "messages[0].role", "robot");
    refused(
        messages(json!([{"role": "user", "content": "hi", "mood": "x"}])),
        "messages[0].mood",
        "can't be translated",
    );
    refused(read(&json!({"model": "m"})), "messages", "missing");
    refused(read_request(b"{\"n\":1,\"n\":1}"), "n", "twice");
    refused(read_request(b"[]"), "body", "not a JSON object");
}

#[test]
fn tools_keep_the_bytes_of_their_schemas() {
    let body = br#"{"messages":[{"role":"user","content":"hi"}],"tools":[
        {"type":"function","function":{"name":"f","description":"d","strict":true,"parameters":{ "z":1, "a":1.0 }}},
        {"type":"function","function":{"name":"g","parameters":null},"cache_control":{"type":"ephemeral"}}]}"#;
    let tools = read_request(body).unwrap().tools;
    let first = &tools[0].part;
    assert_eq!(first.parameters.as_ref().unwrap().get(), r#"{ "z":1, "a":1.0 }"#);
    assert_eq!((first.name.as_str(), first.description.as_deref(), first.strict), ("f", Some("d"), Some(true)));
    assert!(tools[1].part.parameters.is_none() && tools[1].cache == Some(CacheMark::FiveMinutes));
    let tool = |tool: serde_json::Value| with(json!({"tools": [tool]}));
    refused(tool(json!({"type": "custom", "custom": {"name": "x"}})), "tools[0].type", "function tools");
    refused(tool(json!({"type": "function"})), "tools[0].function", "missing");
    refused(tool(json!({"type": "function", "function": {}})), "tools[0].function.name", "missing");
    let wrong = json!({"type": "function", "function": {"name": "f", "parameters": []}});
    refused(tool(wrong), "tools[0].function.parameters", "an object");
}

#[test]
fn a_choice_of_tools_is_read_and_says_nothing_without_tools() {
    let choice = |choice: serde_json::Value| {
        let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
        with(json!({"tools": [tool("f"), tool("g"), tool("h")], "tool_choice": choice}))
    };
    let check = |wire: serde_json::Value, expected: ToolChoice| {
        assert_eq!(choice(wire.clone()).unwrap().tool_choice, Some(expected), "{wire}");
    };
    check(json!("none"), ToolChoice::None);
    check(json!("auto"), ToolChoice::Auto);
    check(json!("required"), ToolChoice::Required);
    check(json!({"type": "function", "function": {"name": "g"}}), ToolChoice::Named("g".to_owned()));
    refused(choice(json!("any")), "tool_choice", "any");
    refused(choice(json!({"type": "custom", "custom": {"name": "g"}})), "tool_choice.type", "custom");

    let named = |name: &str| json!({"type": "function", "function": {"name": name}});
    let allowed = |tools: serde_json::Value, mode: &str| {
        choice(json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}))
    };
    let request = allowed(json!([named("h"), named("f")]), "required").unwrap();
    let names: Vec<_> = request.tools.iter().map(|tool| tool.part.name.as_str()).collect();
    assert_eq!((names, request.tool_choice), (vec!["f", "h"], Some(ToolChoice::Required)));
    assert_eq!(allowed(json!([named("f")]), "auto").unwrap().tool_choice, Some(ToolChoice::Auto));
    refused(allowed(json!([named("x")]), "auto"), "tool_choice.allowed_tools.tools[0]", "\"x\"");
    refused(allowed(json!([]), "auto"), "tool_choice.allowed_tools.tools", "at least one");
    refused(allowed(json!([named("f")]), "any"), "tool_choice.allowed_tools.mode", "any");

    let without = with(json!({"tool_choice": "required", "parallel_tool_calls": true})).unwrap();
    assert!(without.tool_choice.is_none() && without.parallel_tool_calls.is_none());
    let parallel = with(json!({"tools": [named("f")], "parallel_tool_calls": false})).unwrap();
    assert_eq!(parallel.parallel_tool_calls, Some(false));
}

#[test]
fn values_are_kept_as_they_were_written() {
    let request = with(json!({
        "max_completion_tokens": 7, "temperature": 0.1, "top_p": 1, "top_k": 5, "stop": "x", "reasoning_effort": "xhigh",
        "verbosity": "low", "user": "u", "safety_identifier": "s", "service_tier": "default", "prompt_cache_key": "k",
        "stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false},
    }))
    .unwrap();
    assert_eq!(request.output_tokens_max, Some(7));
    assert_eq!(request.temperature.unwrap().to_string(), "0.1");
    assert_eq!(request.top_p.unwrap().to_string(), "1");
    assert_eq!((request.top_k, request.stop), (Some(5), vec!["x".to_owned()]));
    assert_eq!(request.reasoning, Some(Reasoning::Effort(Effort::XHigh)));
    assert_eq!((request.verbosity.as_deref(), request.user.as_deref()), (Some("low"), Some("s")));
    assert_eq!((request.tier, request.prompt_cache_key.as_deref()), (Some(TierWish::Standard), Some("k")));
    assert!(request.stream && request.endpoint == Endpoint::ChatCompletions);
    assert_eq!(with(json!({"max_tokens": 3})).unwrap().output_tokens_max, Some(3));
    assert_eq!(with(json!({"stop": ["a", "b"]})).unwrap().stop, ["a", "b"]);
    assert_eq!(with(json!({"reasoning_effort": "none"})).unwrap().reasoning, Some(Reasoning::Off));
    assert_eq!(with(json!({"service_tier": "auto"})).unwrap().tier, Some(TierWish::Auto));
}

#[test]
fn forms_of_answers_are_read() {
    let format = |format: serde_json::Value| with(json!({"response_format": format})).map(|request| request.format);
    assert!(matches!(format(json!({"type": "text"})), Ok(OutputFormat::Text)));
    assert!(matches!(format(json!({"type": "json_object"})), Ok(OutputFormat::JsonObject)));
    let schema =
        json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {"type": "object"}}});
    let Ok(OutputFormat::JsonSchema { name, description: None, schema, strict }) = format(schema) else { panic!() };
    assert_eq!((name.as_deref(), schema.get(), strict), (Some("n"), r#"{"type":"object"}"#, Some(true)));
    refused(format(json!({"type": "grammar"})), "response_format.type", "grammar");
    refused(format(json!({"type": "json_schema"})), "response_format.json_schema", "missing");
    let bare = json!({"type": "json_schema", "json_schema": {"name": "n"}});
    refused(format(bare), "response_format.json_schema.schema", "missing");
}

#[test]
fn defaults_that_frameworks_send_are_let_go() {
    let defaults = json!({
        "n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logprobs": false, "top_logprobs": 0, "logit_bias": {},
        "store": false, "modalities": ["text"], "service_tier": "auto", "metadata": {"a": "b"}, "seed": null, "audio": null,
        "prompt_cache_retention": "24h", "prompt_cache_options": {"mode": "implicit"}, "whatever": null, "stop": null,
        "tools": null, "tool_choice": null, "response_format": null, "stream_options": null, "reasoning_effort": null,
    });
    let request = with(defaults).unwrap();
    assert!(request.tools.is_empty() && request.stop.is_empty() && !request.stream);
    assert!(with(json!({"logit_bias": null, "n": 1.0})).is_ok());
}

#[test]
fn everything_else_is_refused_by_its_name() {
    for (name, value) in [
        ("n", json!(2)),
        ("presence_penalty", json!(0.5)),
        ("frequency_penalty", json!(-1)),
        ("logprobs", json!(true)),
        ("top_logprobs", json!(3)),
        ("logit_bias", json!({"1": 5})),
        ("seed", json!(0)),
        ("store", json!(true)),
        ("modalities", json!(["text", "audio"])),
        ("audio", json!({"voice": "x", "format": "wav"})),
        ("prediction", json!({"type": "content", "content": "x"})),
        ("web_search_options", json!({})),
        ("moderation", json!({"model": "x"})),
        ("thinking", json!({"type": "enabled"})),
        ("service_tier", json!("flex")),
        ("service_tier", json!("priority")),
        ("max_tokens", json!(0)),
        ("max_completion_tokens", json!(0)),
        ("max_tokens", json!("many")),
        ("max_tokens", json!(1.5)),
        ("temperature", json!("hot")),
        ("stop", json!(5)),
        ("stream", json!("yes")),
        ("reasoning_effort", json!("huge")),
        ("verbosity", json!("chatty")),
        ("user", json!(1)),
    ] {
        refused(with(json!({name: value})), name, "");
    }
    refused(with(json!({"stream_options": {"x": 1}})), "stream_options.x", "can't be translated");
    refused(with(json!({"max_tokens": 1, "max_completion_tokens": 2})), "max_tokens", "only one");
    assert_eq!(with(json!({"max_tokens": 2, "max_completion_tokens": 2})).unwrap().output_tokens_max, Some(2));
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    const WORDS: &[&str] = &[
        "messages",
        "role",
        "user",
        "assistant",
        "tool",
        "system",
        "function",
        "content",
        "type",
        "text",
        "image_url",
        "url",
        "file",
        "file_data",
        "tool_calls",
        "id",
        "name",
        "arguments",
        "tool_call_id",
        "tools",
        "tool_choice",
        "data:image/png;base64,",
        "{}",
        "thinking_blocks",
        "stop",
        "response_format",
        "json_schema",
        "schema",
        "é",
        "data:é",
    ];
    let word = || proptest::sample::select(WORDS).prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|flag| json!(flag)),
        any::<i32>().prop_map(|number| json!(number)),
        word().prop_map(|text| json!(text)),
        ".{0,6}".prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(|items| json!(items)),
            proptest::collection::btree_map(word(), inner, 0..6).prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused(value in any_json(), list in proptest::collection::vec(any_json(), 0..4)) {
        let _ = read(&value);
        let _ = messages(json!(list.clone()));
        let _ = messages(json!([{"role": "user", "content": list}]));
        let _ = with(json!({"tools": value.clone(), "response_format": value.clone(), "tool_choice": value}));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = read_request(&bytes);
    }
}
