//! What a whole answer says, for its tokens to be counted where it has no usage, and for refusals to be told apart.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::provider::decode::Said;
use crate::provider::usage::{object, objects};

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    /// Of the older completions.
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    function_call: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    function: Option<&'a RawValue>,
    #[serde(borrow)]
    custom: Option<&'a RawValue>,
}

/// A called tool, or an item of a response's output.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    summary: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
}

/// What the choices of a chat completion, or of an older one, say.
pub(super) fn in_choices(choices: &str) -> Said {
    let mut said = Said::default();
    for choice in list::<Choice<'_>>(choices) {
        said.add(choice.text);
        let Some(message) = object::<Message<'_>>(choice.message) else { continue };
        content(&mut said, message.content);
        said.add_refusal(message.refusal);
        // Servers that have both say the same in both.
        said.add(message.reasoning_content.or(message.reasoning));
        for call in objects::<Call<'_>>(message.tool_calls) {
            called(&mut said, call.function.or(call.custom));
        }
        called(&mut said, message.function_call);
    }
    said
}

/// What the output of a response says.
pub(super) fn in_output(output: &str) -> Said {
    let mut said = Said::default();
    for item in list::<Item<'_>>(output) {
        add_item(&mut said, &item);
    }
    said
}

fn list<'a, T: Deserialize<'a>>(json: &'a str) -> impl Iterator<Item = T> {
    objects(serde_json::from_str(json).ok())
}

fn called(said: &mut Said, tool: Option<&RawValue>) {
    if let Some(tool) = object::<Item<'_>>(tool) {
        add_item(said, &tool);
    }
}

fn add_item(said: &mut Said, item: &Item<'_>) {
    said.add(item.name);
    said.add(item.arguments);
    said.add(item.input);
    content(said, item.content);
    content(said, item.summary);
}

/// A text, or a list of parts.
fn content(said: &mut Said, content: Option<&RawValue>) {
    if content.is_some_and(|content| content.get().starts_with('"')) {
        return said.add(content);
    }
    for part in objects::<Part<'_>>(content) {
        said.add(part.text);
        said.add(part.thinking);
        said.add_refusal(part.refusal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_and_part_counts_and_nothing_around_them() {
        let check = |choices: &str, bytes: u64| assert_eq!(in_choices(choices).bytes, bytes, "{choices}");
        check("[]", 0);
        check("null", 0);
        check(r#"[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"abc"}}]"#, 3);
        check(r#"[{"message":{"content":"abc"}},{"message":{"content":[{"type":"text","text":"de"}]}}]"#, 5);
        check(r#"[{"text":"abcd","logprobs":null}]"#, 4);
        check(
            r#"[{"message":{"content":null,"tool_calls":[{"id":"x","function":{"name":"f","arguments":"{}"}}]}}]"#,
            3,
        );
        check(r#"[{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]}}]"#, 8);
        check(r#"[{"message":{"content":"a","reasoning_content":"bc","reasoning":"bc"}}]"#, 3);
        check(r#"[{"message":{"content":"a"},"logprobs":{"content":[{"token":"a"}]}}]"#, 1);
    }

    #[test]
    fn the_output_of_a_response_says_text_thoughts_calls_and_refusals() {
        let output = r#"[
            {"type":"reasoning","id":"r","summary":[{"type":"summary_text","text":"so"}]},
            {"type":"message","content":[{"type":"output_text","text":"abc","annotations":[{"type":"url_citation"}]}]},
            {"type":"function_call","call_id":"c","name":"f","arguments":"{}"},
            {"type":"web_search_call","id":"w","action":{"type":"search","query":"q"}}]"#;
        assert_eq!(in_output(output), Said { bytes: 8, has_refused: false });
        let refusing = r#"[{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]"#;
        assert_eq!(in_output(refusing), Said { bytes: 2, has_refused: true });
    }
}
