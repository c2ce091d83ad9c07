//! The tools of a request, and the rule by which the sandbox calls them.
//!
//! - `none`: never. A tool named by `tool_choice`: that one, every time.
//! - `required` (`any`): the tools that the last user message mentions, else the first tool.
//! - `auto`: text, if a tool has answered since the assistant spoke last. Else the tools that the last user message
//!   mentions; else the first tool, if no tool has answered in this conversation yet; else text.
//!
//! A tool is mentioned if its name stands in the message as words, in any case and with `_`, `-` or spaces between.
//! Several mentioned tools are called at once, in their order in the request and four at most, unless parallel calls are switched off. Tools
//! that the provider would run itself (web search and the like) are never called.

use serde_json::{Value, json};

use super::conversation::Conversation;
use super::refusal::Refusal;
use super::request::Fields;

const CALLS_MAX: usize = 4;
const NAME_LEN_MAX: usize = 64;

/// A tool that the client runs.
#[derive(Clone, Debug)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) schema: Value,
    /// Takes a text instead of JSON (OpenAI's `custom`).
    pub(super) is_free_text: bool,
}

/// What the client says about calling them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Choice {
    None,
    #[default]
    Auto,
    Required,
    Named(String),
}

/// All tools of a request.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    pub(super) list: Vec<Tool>,
    pub(super) choice: Choice,
    pub(super) is_parallel: bool,
}

impl Tools {
    /// Those that the answer calls.
    pub(super) fn called(&self, conversation: &Conversation) -> Vec<&Tool> {
        let mentioned = || {
            let message = words(conversation.last_user());
            let at_most = if self.is_parallel { CALLS_MAX } else { 1 };
            self.list.iter().filter(|tool| message.contains(&words(&tool.name))).take(at_most).collect::<Vec<_>>()
        };
        let first = || self.list.first().into_iter().collect();
        match &self.choice {
            Choice::None => Vec::new(),
            Choice::Named(name) => self.list.iter().find(|tool| tool.name == *name).into_iter().collect(),
            Choice::Required => Some(mentioned()).filter(|tools| !tools.is_empty()).unwrap_or_else(first),
            Choice::Auto if conversation.fresh_results().next().is_some() => Vec::new(),
            Choice::Auto => match mentioned() {
                tools if tools.is_empty() && !conversation.has_results() => first(),
                tools => tools,
            },
        }
    }

    /// True where the client left no choice.
    pub(super) fn is_forced(&self) -> bool {
        matches!(self.choice, Choice::Required | Choice::Named(_))
    }
}

/// Lower case, one space between words and at both ends.
fn words(text: &str) -> String {
    let mut words = String::from(" ");
    for character in text.chars().flat_map(char::to_lowercase) {
        if character.is_alphanumeric() {
            words.push(character);
        } else if !words.ends_with(' ') {
            words.push(' ');
        }
    }
    if !words.ends_with(' ') {
        words.push(' ');
    }
    words
}

/// How OpenAI's two endpoints write a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Chat: `{"type":"function","function":{"name":…}}`.
    Nested,
    /// Responses: `{"type":"function","name":…}`.
    Flat,
}

/// Reads `tools`, `tool_choice` and `parallel_tool_calls` as OpenAI's endpoints have them.
pub(super) fn of_openai(fields: &Fields<'_>, shape: Shape) -> Result<Tools, Refusal> {
    let entries = fields.objects("tools")?;
    let has_tools = entries.as_ref().is_some_and(|entries| !entries.is_empty());
    let mut list = Vec::new();
    for entry in entries.unwrap_or_default() {
        let kind = entry.required("type", entry.text("type")?)?;
        match kind {
            "function" | "custom" => list.push(openai_tool(&entry, kind, shape)?),
            _ if shape == Shape::Nested => return Err(entry.unknown_value("type", kind, &["function", "custom"])),
            // Tools that OpenAI runs itself.
            _ => {}
        }
    }
    let is_parallel = fields.flag("parallel_tool_calls")?;
    if is_parallel.is_some() && !has_tools && shape == Shape::Nested {
        let message = "Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is only allowed when 'tools' are \
                       specified.";
        return Err(Refusal { param: Some("parallel_tool_calls".to_owned()), ..Refusal::invalid(message) });
    }
    let mut tools = Tools { list, choice: Choice::Auto, is_parallel: is_parallel.unwrap_or(true) };
    tools.choice = openai_choice(fields, shape, &mut tools)?;
    if tools.is_forced() && !has_tools {
        let message = "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.";
        return Err(Refusal { param: Some("tool_choice".to_owned()), ..Refusal::invalid(message) });
    }
    if let Choice::Named(name) = &tools.choice
        && !tools.list.iter().any(|tool| tool.name == *name)
    {
        let message = format!("Tool choice '{name}' not found in 'tools' parameter.");
        return Err(Refusal { param: Some("tool_choice".to_owned()), ..Refusal::invalid(message) });
    }
    Ok(tools)
}

fn openai_tool(entry: &Fields<'_>, kind: &str, shape: Shape) -> Result<Tool, Refusal> {
    let inner;
    let fields = match shape {
        Shape::Flat => entry,
        Shape::Nested => {
            inner = entry.required(kind, entry.object(kind)?)?;
            &inner
        }
    };
    Ok(Tool { name: tool_name(fields)?, schema: schema(fields, "parameters")?, is_free_text: kind == "custom" })
}

/// A checked `name`.
pub(super) fn tool_name(fields: &Fields<'_>) -> Result<String, Refusal> {
    let name = fields.required("name", fields.text("name")?)?;
    let is_sound = (1..=NAME_LEN_MAX).contains(&name.len())
        && name.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_' || letter == b'-');
    if is_sound {
        return Ok(name.to_owned());
    }
    let place = fields.place("name");
    let message = format!(
        "Invalid '{place}': string does not match pattern. Expected a string that matches the pattern \
         '^[a-zA-Z0-9_-]{{1,64}}$'."
    );
    Err(Refusal::of_field(place, "invalid_value", message))
}

/// The schema of a tool's arguments; without one it takes none.
pub(super) fn schema(fields: &Fields<'_>, name: &str) -> Result<Value, Refusal> {
    let schema = fields.object(name)?.map(|schema| Value::Object(schema.map().clone()));
    Ok(schema.unwrap_or_else(|| json!({"type": "object", "properties": {}})))
}

fn openai_choice(fields: &Fields<'_>, shape: Shape, tools: &mut Tools) -> Result<Choice, Refusal> {
    let Some(value) = fields.get("tool_choice") else { return Ok(Choice::Auto) };
    if let Some(word) = value.as_str() {
        return choice_word(word)
            .ok_or_else(|| fields.unknown_value("tool_choice", word, &["none", "auto", "required"]));
    }
    let Some(choice) = fields.object("tool_choice")? else { return Ok(Choice::Auto) };
    let kind = choice.required("type", choice.text("type")?)?;
    let inner = match shape {
        Shape::Flat => None,
        Shape::Nested => choice.object(kind)?,
    };
    let inside = inner.as_ref().unwrap_or(&choice);
    match kind {
        "function" | "custom" => Ok(Choice::Named(inside.required("name", inside.text("name")?)?.to_owned())),
        "allowed_tools" => {
            let allowed = inside.required("tools", inside.objects("tools")?)?;
            let mut names = Vec::new();
            for entry in &allowed {
                let kind = entry.text("type")?.unwrap_or("function");
                let nested = if shape == Shape::Nested { entry.object(kind)? } else { None };
                names.extend(nested.as_ref().unwrap_or(entry).text("name")?);
            }
            tools.list.retain(|tool| names.contains(&tool.name.as_str()));
            let mode = inside.text("mode")?.unwrap_or("auto");
            choice_word(mode).ok_or_else(|| inside.unknown_value("mode", mode, &["auto", "required"]))
        }
        // A tool that OpenAI runs itself is named: nothing for the client to do.
        _ if shape == Shape::Flat => Ok(Choice::Auto),
        _ => Err(choice.unknown_value("type", kind, &["function", "custom", "allowed_tools"])),
    }
}

fn choice_word(word: &str) -> Option<Choice> {
    match word {
        "none" => Some(Choice::None),
        "auto" => Some(Choice::Auto),
        "required" => Some(Choice::Required),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::conversation::Role;
    use super::*;

    fn tools(choice: Choice) -> Tools {
        let tool = |name: &str| Tool { name: name.to_owned(), schema: json!({}), is_free_text: false };
        Tools { list: vec![tool("get_weather"), tool("get-time"), tool("go")], choice, is_parallel: true }
    }

    fn called(tools: &Tools, turns: &[(Role, &str)]) -> Vec<String> {
        let mut conversation = Conversation::default();
        for (role, text) in turns {
            conversation.push(*role, (*text).to_owned());
        }
        tools.called(&conversation).into_iter().map(|tool| tool.name.clone()).collect()
    }

    #[test]
    fn auto_calls_what_is_mentioned_else_the_first_tool_once() {
        let auto = tools(Choice::Auto);
        assert_eq!(called(&auto, &[(Role::User, "hello")]), ["get_weather"]);
        assert_eq!(called(&auto, &[(Role::User, "Get time, please")]), ["get-time"]);
        assert_eq!(called(&auto, &[(Role::User, "get_weather and get-time")]), ["get_weather", "get-time"]);
        let after = [(Role::User, "get time"), (Role::Assistant, ""), (Role::Tool, "noon")];
        assert!(called(&auto, &after).is_empty());
        let later = [&after[..], &[(Role::Assistant, "It is noon."), (Role::User, "Thanks!")]].concat();
        assert!(called(&auto, &later).is_empty());
        let again = [&after[..], &[(Role::Assistant, "It is noon."), (Role::User, "get time again")]].concat();
        assert_eq!(called(&auto, &again), ["get-time"]);
    }

    #[test]
    fn a_name_inside_another_word_is_no_mention() {
        assert_eq!(called(&tools(Choice::Required), &[(Role::User, "good going, cargo")]), ["get_weather"]);
        assert_eq!(called(&tools(Choice::Required), &[(Role::User, "ready? Go!")]), ["go"]);
    }

    #[test]
    fn a_forced_choice_calls_even_after_results() {
        let after = [(Role::User, "x"), (Role::Assistant, ""), (Role::Tool, "y")];
        assert_eq!(called(&tools(Choice::Named("go".to_owned())), &after), ["go"]);
        assert_eq!(called(&tools(Choice::Required), &after), ["get_weather"]);
        assert!(called(&tools(Choice::None), &[(Role::User, "get_weather")]).is_empty());
    }

    #[test]
    fn without_parallel_calls_one_tool_is_called() {
        let one = Tools { is_parallel: false, ..tools(Choice::Auto) };
        assert_eq!(called(&one, &[(Role::User, "get_weather and get-time")]), ["get_weather"]);
    }
}
