#![expect(clippy::needless_pass_by_value, reason = "values of json! are handed over as they are made")]
use serde_json::{Value, json};

use super::*;

fn read(messages: &Value, is_strict: bool) -> Result<Vec<Turn>, Untranslatable> {
    let json = messages.to_string();
    turns(&Field { path: "messages".to_owned(), json: &json }, is_strict)
}

fn taken(messages: Value) -> Vec<Turn> {
    read(&messages, false).unwrap_or_else(|refusal| panic!("{messages}: {}: {refusal}", refusal.param))
}

fn refused(messages: Value, param: &str) -> String {
    let refusal = read(&messages, false).map(|_| ()).expect_err(&messages.to_string());
    assert_eq!(refusal.param, param, "{refusal}");
    refusal.reason
}

fn user(content: Value) -> Value {
    json!([{"role": "user", "content": content}])
}

fn users_parts(content: Value) -> Vec<Marked<UserPart>> {
    match taken(user(content)).pop() {
        Some(Turn::User(parts)) => parts,
        other => panic!("{other:?}"),
    }
}

fn assistants_parts(content: Value) -> Vec<Marked<AssistantPart>> {
    match taken(json!([{"role": "assistant", "content": content}])).pop() {
        Some(Turn::Assistant(parts)) => parts,
        other => panic!("{other:?}"),
    }
}

fn call(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "f", "input": {}})
}

fn result(id: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": "r"})
}

#[test]
fn texts_come_as_a_string_or_as_blocks() {
    let text = |text: &str| Marked::plain(UserPart::Text(text.to_owned()));
    assert_eq!(users_parts(json!("a")), [text("a")]);
    let blocks =
        json!([{"type": "text", "text": "a", "citations": []}, {"type": "text", "text": " b", "citations": null}]);
    assert_eq!(users_parts(blocks), [text("a"), text(" b")]);
    let marked = json!([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]);
    assert_eq!(users_parts(marked)[0].cache, Some(CacheMark::FiveMinutes));
}

#[test]
fn pictures_by_bytes_or_address() {
    let image = |source: Value| json!([{"type": "image", "source": source}]);
    let media = |media_type: &str| json!({"type": "base64", "media_type": media_type, "data": "AA=="});
    for media_type in IMAGE_TYPES {
        let source = Media::Base64 { media_type: media_type.to_owned(), data: "AA==".to_owned() };
        let part = UserPart::Image(Image { source, detail: None });
        assert_eq!(users_parts(image(media(media_type))), [Marked::plain(part)]);
    }
    let by_address = users_parts(image(json!({"type": "url", "url": "HTTPS://e.x/a.png"})));
    assert!(
        matches!(&by_address[0].part, UserPart::Image(Image { source: Media::Url(url), .. }) if url == "HTTPS://e.x/a.png")
    );
    refused(user(image(media("image/bmp"))), "messages[0].content[0].source.media_type");
    refused(user(image(json!({"type": "url", "url": "file:///etc/passwd"}))), "messages[0].content[0].source.url");
    refused(user(image(json!({"type": "file", "file_id": "f"}))), "messages[0].content[0].source");
    refused(user(image(json!({"type": "fax"}))), "messages[0].content[0].source.type");
}

#[test]
fn documents_by_bytes_text_or_address() {
    let document =
        |source: Value| json!([{"type": "document", "source": source, "title": "t", "citations": {"enabled": false}}]);
    let read = |source: Value| match users_parts(document(source)).pop().unwrap().part {
        UserPart::Document(document) => {
            assert_eq!(document.title.as_deref(), Some("t"));
            document.source
        }
        other => panic!("{other:?}"),
    };
    let pdf = json!({"type": "base64", "media_type": "application/pdf", "data": "AA=="});
    assert!(matches!(read(pdf.clone()), DocumentSource::File(Media::Base64 { .. })));
    let text = json!({"type": "text", "media_type": "text/plain", "data": "words"});
    assert_eq!(read(text), DocumentSource::Text("words".to_owned()));
    let address = json!({"type": "url", "url": "https://e.x/a.pdf"});
    assert!(matches!(read(address), DocumentSource::File(Media::Url(_))));
    let place = "messages[0].content[0]";
    refused(user(document(json!({"type": "file", "file_id": "f"}))), &format!("{place}.source"));
    refused(user(document(json!({"type": "content", "content": "x"}))), &format!("{place}.source"));
    refused(
        user(document(json!({"type": "base64", "media_type": "text/csv", "data": "A"}))),
        &format!("{place}.source.media_type"),
    );
    let with = |name: &str, value: Value| {
        let mut block = json!({"type": "document", "source": pdf});
        block[name] = value;
        user(json!([block]))
    };
    refused(with("citations", json!({"enabled": true})), &format!("{place}.citations"));
    refused(with("context", json!("from a friend")), &format!("{place}.context"));
}

#[test]
fn what_only_anthropic_runs_is_refused_by_its_place() {
    for kind in ["search_result", "container_upload", "web_search_tool_result", "mcp_tool_result"] {
        refused(user(json!([{"type": "text", "text": "x"}, {"type": kind}])), "messages[0].content[1]");
    }
    for kind in ["server_tool_use", "web_search_tool_result", "mcp_tool_use", "compaction", "tool_result", "image"] {
        let messages = json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": [{"type": kind}]}]);
        refused(messages, "messages[1].content[0]");
    }
    let parts = |block: Value| {
        json!([{"role": "assistant", "content": [call("a")]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [block]}]}])
    };
    refused(parts(json!({"type": "search_result"})), "messages[1].content[0].content[0]");
    refused(parts(json!({"type": "tool_reference", "tool_name": "f"})), "messages[1].content[0].content[0]");
    refused(user(json!([{"type": "thinking", "thinking": "x"}])), "messages[0].content[0]");
    refused(user(json!([{"type": "text", "text": "x", "tone": "kind"}])), "messages[0].content[0].tone");
    refused(json!([{"role": "user", "content": "x", "name": "n"}]), "messages[0].name");
}

#[test]
fn what_says_nothing_is_refused_as_anthropic_does() {
    refused(user(json!("")), "messages[0].content");
    refused(user(json!(" \n\t")), "messages[0].content");
    refused(user(json!([])), "messages[0].content");
    refused(user(json!([{"type": "text", "text": ""}])), "messages[0].content[0].text");
    refused(user(json!([{"type": "text", "text": " \n"}])), "messages[0].content[0].text");
    refused(json!([{"role": "user"}]), "messages[0].content");
    refused(json!([{"role": "tool", "content": "x"}]), "messages[0].role");
    refused(json!([]), "messages");
    assert_eq!(taken(json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}])).len(), 1);
    refused(json!([{"role": "assistant", "content": ""}, {"role": "user", "content": "x"}]), "messages[0].content");
}

#[test]
fn thoughts_are_kept_with_their_signatures() {
    let parts = assistants_parts(json!([
        {"type": "thinking", "thinking": "so", "signature": "s"},
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "redacted_thinking", "data": "r"},
        {"type": "text", "text": "a", "citations": null},
    ]));
    let parts: Vec<_> = parts.into_iter().map(|marked| marked.part).collect();
    let thinking = |text: &str, signature: Option<&str>| AssistantPart::Thinking {
        text: text.to_owned(),
        signature: signature.map(str::to_owned),
    };
    let expected = [
        thinking("so", Some("s")),
        thinking("hm", None),
        AssistantPart::RedactedThinking("r".to_owned()),
        AssistantPart::Text("a".to_owned()),
    ];
    assert_eq!(parts, expected);
}

#[test]
fn an_input_is_compact_and_keeps_the_order_of_its_keys() {
    let json = r#"[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","caller":{"type":"direct"},
        "input":{ "z" : 1,
          "a" : " x  y" }}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}]"#;
    let turns = turns(&Field { path: "messages".to_owned(), json }, false).unwrap();
    let Turn::Assistant(parts) = &turns[0] else { panic!("{turns:?}") };
    let AssistantPart::ToolCall(call) = &parts[0].part else { panic!("{parts:?}") };
    assert_eq!(call.arguments, r#"{"z":1,"a":" x  y"}"#);
}

#[test]
fn a_call_needs_an_id_a_name_and_an_object() {
    let with = |name: &str, value: Value| {
        let mut block = call("a");
        block[name] = value;
        json!([{"role": "assistant", "content": [block]}, {"role": "user", "content": [result("a")]}])
    };
    taken(with("name", json!("g")));
    refused(with("id", json!("")), "messages[0].content[0].id");
    refused(with("name", Value::Null), "messages[0].content[0].name");
    refused(with("input", json!("{}")), "messages[0].content[0].input");
    refused(with("input", json!([])), "messages[0].content[0].input");
    refused(
        with("caller", json!({"type": "code_execution_20250825", "tool_id": "t"})),
        "messages[0].content[0].caller",
    );
}

#[test]
fn results_stand_first_and_answer_each_call_once() {
    let after = |content: Value| {
        json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": [call("a"), call("b")]},
            {"role": "user", "content": content}])
    };
    let text = json!({"type": "text", "text": "x"});
    taken(after(json!([result("b"), result("a"), text])));
    let reason = refused(after(json!([result("a"), text])), "messages[1].content[1]");
    assert!(reason.contains("the call b has no tool_result"), "{reason}");
    refused(after(json!([text, result("a"), result("b")])), "messages[2].content[1]");
    refused(after(json!([result("a"), result("a"), result("b")])), "messages[2].content[1].tool_use_id");
    refused(after(json!([result("a"), result("b"), result("c")])), "messages[2].content[2].tool_use_id");
    refused(after(json!("never mind")), "messages[1].content[0]");
    refused(
        json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": [call("a")]}]),
        "messages[1].content[0]",
    );
    refused(user(json!([result("a")])), "messages[0].content[0].tool_use_id");
}

#[test]
fn neighbours_of_one_role_are_one_turn() {
    let messages = |between: Value| {
        json!([{"role": "assistant", "content": [call("a")]}, {"role": "assistant", "content": [call("b")]},
            {"role": "user", "content": [result("a")]}, between, {"role": "user", "content": "x"}])
    };
    taken(messages(json!({"role": "user", "content": [result("b")]})));
    refused(messages(json!({"role": "user", "content": "y"})), "messages[1].content[0]");
    refused(messages(json!({"role": "system", "content": "y"})), "messages[1].content[0]");
}

#[test]
fn results_hold_texts_pictures_and_documents() {
    let with = |block: Value| {
        let turns = taken(json!([{"role": "assistant", "content": [call("a")]}, {"role": "user", "content": [block]}]));
        match turns.into_iter().next_back() {
            Some(Turn::User(mut parts)) => parts.remove(0),
            other => panic!("{other:?}"),
        }
    };
    let of = |content: Value, is_error: bool| json!({"type": "tool_result", "tool_use_id": "a", "content": content, "is_error": is_error});
    let plain = with(of(json!("r"), true));
    let expected =
        ToolResult { call_id: "a".to_owned(), content: vec![ResultPart::Text("r".to_owned())], is_error: true };
    assert_eq!(plain, Marked::plain(UserPart::ToolResult(expected)));
    for empty in [json!(null), json!(""), json!([])] {
        assert!(matches!(with(of(empty, false)).part, UserPart::ToolResult(result) if result.content.is_empty()));
    }
    let blocks = with(of(
        json!([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
            {"type": "image", "source": {"type": "url", "url": "https://e.x"}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}]),
        false,
    ));
    assert_eq!(blocks.cache, Some(CacheMark::FiveMinutes));
    let UserPart::ToolResult(ToolResult { content, .. }) = blocks.part else { panic!() };
    assert!(matches!(&content[..], [ResultPart::Text(_), ResultPart::Image(_), ResultPart::Document(_)]));
}

#[test]
fn instructions_between_turns_are_text_only() {
    let turns = taken(json!([{"role": "user", "content": "x"}, {"role": "system", "content": "be brief"},
        {"role": "system", "content": [{"type": "text", "text": "be kind"}]}]));
    assert!(matches!(&turns[1], Turn::System(texts) if texts[0].part == "be brief"));
    assert!(matches!(&turns[2], Turn::System(texts) if texts[0].part == "be kind"));
    refused(json!([{"role": "system", "content": [{"type": "image"}]}]), "messages[0].content[0]");
}

#[test]
fn the_new_version_refuses_documents_of_the_assistant_and_citations_of_the_user() {
    let document = json!([{"role": "assistant", "content": [{"type": "document"}]}]);
    let citations = user(json!([{"type": "text", "text": "x", "citations": [{"type": "char_location"}]}]));
    for (messages, param) in [(document, "messages[0].content[0]"), (citations, "messages[0].content[0].citations")] {
        let strict = read(&messages, true).map(|_| ()).unwrap_err();
        assert_eq!(strict.param, param);
        assert!(strict.reason.contains("2026-10-21"), "{strict}");
        let reason = refused(messages, param);
        assert!(!reason.contains("2026-10-21"), "{reason}");
    }
    let answered = json!([{"role": "assistant", "content": [{"type": "text", "text": "x", "citations": [{}]}]}]);
    refused(answered, "messages[0].content[0].citations");
}
