//! Tools for Anthropic, which of them to call, and the tool that stands in for a format of the answer.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::{Target, Untranslatable};
use crate::domain::chat::{ChatRequest, OutputFormat, ToolChoice as Wish};

use super::client_field::ClientField;
use super::request_write::Marks;
use super::wire::{Tool, ToolChoice};

/// The tool whose arguments are the answer.
pub(super) const ANSWER_TOOL: &str = "json_answer";

/// The request's tools.
pub(super) fn tools<'a>(request: &'a ChatRequest, marks: &mut Marks) -> Result<Vec<Tool<'a>>, Untranslatable> {
    let write = |tool: &'a crate::domain::chat::Marked<crate::domain::chat::Tool>| {
        let input_schema = object_schema(tool.part.parameters.as_deref()).ok_or_else(|| {
            let reason = format!("the parameters of {} must be a schema of an object; make them one", tool.part.name);
            ClientField::Tools.refused(request.endpoint, reason)
        })?;
        Ok(Tool {
            name: &tool.part.name,
            description: tool.part.description.as_deref(),
            input_schema,
            strict: tool.part.strict,
            cache_control: marks.place(tool.cache),
        })
    };
    request.tools.iter().map(write).collect()
}

/// A schema that says of itself that it is one of an object, as Anthropic wants it.
fn object_schema(schema: Option<&RawValue>) -> Option<Cow<'_, RawValue>> {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(rename = "type", borrow)]
        kind: Option<&'a RawValue>,
    }
    let owned = |json: String| RawValue::from_string(json).expect("a member before the others leaves an object");
    let Some(schema) = schema.filter(|schema| schema.get() != "null") else {
        return Some(Cow::Owned(owned(r#"{"type":"object","properties":{}}"#.to_owned())));
    };
    let members = schema.get().strip_prefix('{')?;
    if members.trim_start().starts_with('}') {
        return object_schema(None);
    }
    let typed: Typed<'_> = serde_json::from_str(schema.get()).ok()?;
    match typed.kind.map(RawValue::get) {
        None => Some(Cow::Owned(owned(format!(r#"{{"type":"object",{members}"#)))),
        Some(r#""object""#) => Some(Cow::Borrowed(schema)),
        Some(_) => None,
    }
}

/// Which tools to call; nothing without tools, where it would mean nothing.
pub(super) fn choice<'a>(
    request: &'a ChatRequest,
    target: &Target<'_>,
    is_thinking: bool,
) -> Result<Option<ToolChoice<'a>>, Untranslatable> {
    if request.tools.is_empty() {
        return Ok(None);
    }
    let is_serial = request.parallel_tool_calls == Some(false);
    let of_kind = |kind| ToolChoice { r#type: kind, name: None, disable_parallel_tool_use: is_serial };
    let choice = match &request.tool_choice {
        None if is_serial => of_kind("auto"),
        None => return Ok(None),
        Some(Wish::Auto) => of_kind("auto"),
        Some(Wish::None) => ToolChoice { r#type: "none", ..ToolChoice::default() },
        Some(Wish::Required) => of_kind("any"),
        Some(Wish::Named(name)) => ToolChoice { name: Some(name), ..of_kind("tool") },
    };
    let is_forced = ["any", "tool"].contains(&choice.r#type);
    let reason = match target.capabilities.forced_tool_use {
        Some(false) if is_forced => {
            "the model can't be made to call a tool; say auto and ask for it in the instructions"
        }
        _ if is_forced && is_thinking => {
            "the model can't be made to call a tool while it thinks; say auto, or leave the reasoning out"
        }
        _ => return Ok(Some(choice)),
    };
    Err(ClientField::ToolChoice.refused(request.endpoint, reason))
}

/// The choice of one tool, once.
pub(super) fn only(tool: &'static str) -> ToolChoice<'static> {
    ToolChoice { r#type: "tool", name: Some(tool), disable_parallel_tool_use: true }
}

/// The tool whose arguments are the answer, in the format that was asked for.
pub(super) fn answer_tool<'a>(request: &'a ChatRequest, name: &'static str) -> Result<Tool<'a>, Untranslatable> {
    const DESCRIPTION: &str = "Takes the answer. Call it once, with the whole answer as its arguments.";
    let (input_schema, description) = match &request.format {
        OutputFormat::JsonSchema { schema, description, .. } => (object_schema(Some(schema)), description.as_deref()),
        OutputFormat::JsonObject | OutputFormat::Text => {
            let open = RawValue::from_string(r#"{"type":"object"}"#.to_owned()).expect("it is JSON");
            (Some(Cow::Owned(open)), None)
        }
    };
    let input_schema = input_schema.ok_or_else(|| {
        let reason = "the model answers with an object only; put the schema into a property of one";
        ClientField::Format.refused(request.endpoint, reason)
    })?;
    let description = Some(description.unwrap_or(DESCRIPTION));
    Ok(Tool { name, description, input_schema, strict: None, cache_control: None })
}

#[cfg(test)]
mod tests;
