//! Reads the tools of a request and the choice among them, in today's and the older spelling.

use crate::dialect::Untranslatable;
use crate::dialect::object::{Field, Object};
use crate::domain::chat::{Marked, Tool, ToolChoice};

use super::parts::mark;
use super::unknown_word;

/// What a request says of tools.
pub(super) struct Tools {
    pub(super) tools: Vec<Marked<Tool>>,
    pub(super) choice: Option<ToolChoice>,
    pub(super) parallel: Option<bool>,
}

pub(super) fn read(body: &mut Object<'_>) -> Result<Tools, Untranslatable> {
    let mut tools = Vec::new();
    for field in body.list("tools")? {
        tools.push(tool(&field)?);
    }
    let functions = body.list("functions")?;
    if !tools.is_empty() && !functions.is_empty() {
        return Err(body.refuse("functions", "functions is the older name of tools; send only one of them"));
    }
    for field in &functions {
        tools.push(Marked::plain(function(field.object()?)?));
    }
    let mut choice = None;
    if let Some(field) = body.take("function_call") {
        choice = Some(older_choice(&field)?);
    }
    if let Some(field) = body.take("tool_choice") {
        choice = Some(newer_choice(&field, &mut tools)?);
    }
    let parallel = body.flag("parallel_tool_calls")?;
    // Without tools there is nothing to choose from; frameworks send these all the same.
    let has_tools = !tools.is_empty();
    Ok(Tools { tools, choice: choice.filter(|_| has_tools), parallel: parallel.filter(|_| has_tools) })
}

fn tool(field: &Field<'_>) -> Result<Marked<Tool>, Untranslatable> {
    let mut fields = field.object()?;
    let kind = fields.required("type")?;
    match kind.text()?.as_str() {
        "function" => {}
        other => {
            return Err(kind.refuse(format!("a tool of type {other:?} can't be passed on; send function tools only")));
        }
    }
    let cache = mark(&mut fields)?;
    let part = function(fields.required("function")?.object()?)?;
    fields.finish()?;
    Ok(Marked { part, cache })
}

fn function(mut fields: Object<'_>) -> Result<Tool, Untranslatable> {
    let tool = Tool {
        name: fields.required("name")?.text()?,
        description: fields.text("description")?,
        parameters: fields.take("parameters").map(|field| field.object_as_written()).transpose()?,
        strict: fields.flag("strict")?,
    };
    fields.finish()?;
    Ok(tool)
}

fn older_choice(field: &Field<'_>) -> Result<ToolChoice, Untranslatable> {
    if field.is_text() {
        return match field.text()?.as_str() {
            "none" => Ok(ToolChoice::None),
            "auto" => Ok(ToolChoice::Auto),
            other => Err(unknown_word(field, other, "none, auto or an object with a name")),
        };
    }
    let mut fields = field.object()?;
    let choice = ToolChoice::Named(fields.required("name")?.text()?);
    fields.finish()?;
    Ok(choice)
}

fn newer_choice(field: &Field<'_>, tools: &mut Vec<Marked<Tool>>) -> Result<ToolChoice, Untranslatable> {
    const KNOWN: &str = "none, auto, required or an object";
    if field.is_text() {
        return match field.text()?.as_str() {
            "none" => Ok(ToolChoice::None),
            "auto" => Ok(ToolChoice::Auto),
            "required" => Ok(ToolChoice::Required),
            other => Err(unknown_word(field, other, KNOWN)),
        };
    }
    let mut fields = field.object()?;
    let kind = fields.required("type")?;
    let choice = match kind.text()?.as_str() {
        "function" => ToolChoice::Named(named(&fields.required("function")?)?),
        "allowed_tools" => allowed(&fields.required("allowed_tools")?, tools)?,
        other => return Err(unknown_word(&kind, other, "function or allowed_tools")),
    };
    fields.finish()?;
    Ok(choice)
}

fn named(field: &Field<'_>) -> Result<String, Untranslatable> {
    let mut function = field.object()?;
    let name = function.required("name")?.text()?;
    function.finish()?;
    Ok(name)
}

/// Keeps only the tools that are allowed: other shapes have no such list.
fn allowed(field: &Field<'_>, tools: &mut Vec<Marked<Tool>>) -> Result<ToolChoice, Untranslatable> {
    let mut fields = field.object()?;
    let mode = fields.required("mode")?;
    let choice = match mode.text()?.as_str() {
        "auto" => ToolChoice::Auto,
        "required" => ToolChoice::Required,
        other => return Err(unknown_word(&mode, other, "auto or required")),
    };
    let mut names = Vec::new();
    for item in fields.list("tools")? {
        let mut allowed = item.object()?;
        let kind = allowed.required("type")?;
        if kind.text()? != "function" {
            return Err(kind.refuse("only function tools can be passed on"));
        }
        let name = named(&allowed.required("function")?)?;
        allowed.finish()?;
        if !tools.iter().any(|tool| tool.part.name == name) {
            return Err(item.refuse(format!("{name:?} is not among the tools of the request")));
        }
        names.push(name);
    }
    if names.is_empty() {
        return Err(fields.refuse("tools", "a list of allowed tools needs at least one; send tool_choice \"none\""));
    }
    fields.finish()?;
    tools.retain(|tool| names.contains(&tool.part.name));
    Ok(choice)
}
