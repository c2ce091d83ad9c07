//! A client's request, but for its conversation: tools, limits, and what is refused because nothing is kept here.

use serde_json::value::RawValue;

use super::input;
use super::wire::ECHOED;
use crate::dialect::Untranslatable;
use crate::dialect::compact::compact;
use crate::dialect::object::Object;
use crate::domain::Endpoint;
use crate::domain::chat::{ChatRequest, Effort, Json, Marked, OutputFormat, Reasoning, TierWish, Tool, ToolChoice};
use crate::domain::json::members;

/// Reads a client's request.
pub fn read_request(body: &[u8]) -> Result<ChatRequest, Untranslatable> {
    let mut fields = Object::of_body(body)?;
    refuse_state(&mut fields)?;
    take_silent(&mut fields)?;
    let conversation = input::read(&mut fields)?;
    let (tools, tool_choice) = tools(&mut fields)?;
    let (format, verbosity) = text(&mut fields)?;
    let (user, safety_identifier) = (fields.text("user")?, fields.text("safety_identifier")?);
    let request = ChatRequest {
        endpoint: Endpoint::Responses,
        system: conversation.system,
        turns: conversation.turns,
        tools,
        tool_choice,
        parallel_tool_calls: fields.flag("parallel_tool_calls")?,
        output_tokens_max: fields.count("max_output_tokens")?,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: None,
        stop: Vec::new(),
        format,
        reasoning: reasoning(&mut fields)?,
        verbosity,
        // The newer name counts where a client that is between the two sends both.
        user: safety_identifier.or(user),
        tier: tier(&mut fields)?,
        prompt_cache_key: fields.text("prompt_cache_key")?,
        stream: fields.flag("stream")?.unwrap_or(false),
    };
    fields.finish()?;
    Ok(request)
}

/// The fields of a request that an answer repeats, as they were written; none where the body is no JSON object.
pub fn echo(body: &[u8]) -> Vec<(&'static str, Json)> {
    let given = members(body).unwrap_or_default();
    let echoed = |(name, _): (&'static str, &str)| {
        let member = given.iter().find(|member| member.name == name && member.value != "null")?;
        Some((name, RawValue::from_string(compact(member.value)).ok()?))
    };
    ECHOED.into_iter().filter_map(echoed).collect()
}

/// What would need a memory, or OpenAI's own machinery.
fn refuse_state(fields: &mut Object<'_>) -> Result<(), Untranslatable> {
    const REFUSED: [(&str, &str); 4] = [
        (
            "previous_response_id",
            "no answer is kept, so none can be gone on from; send the whole conversation in `input`",
        ),
        ("conversation", "no conversation is kept; send all of it in `input`"),
        ("prompt", "prompt templates are kept by OpenAI; write the prompt into `instructions` and `input`"),
        ("max_tool_calls", "it counts calls of tools that run at OpenAI, and there are none; leave it out"),
    ];
    for (name, reason) in REFUSED {
        if fields.has(name) {
            return Err(fields.refuse(name, reason));
        }
    }
    if fields.flag("store")? == Some(true) {
        return Err(fields.refuse("store", "answers aren't stored; set `store` to false or leave it out"));
    }
    if fields.flag("background")? == Some(true) {
        let reason = "nothing runs in the background; leave `background` out, and wait for the answer or stream it";
        return Err(fields.refuse("background", reason));
    }
    if fields.word("truncation", &["disabled", "auto"])? == Some("auto") {
        let reason = "a conversation isn't shortened for the model; leave `truncation` out and send what it can hold";
        return Err(fields.refuse("truncation", reason));
    }
    Ok(())
}

/// Fields that are fine and change nothing.
fn take_silent(fields: &mut Object<'_>) -> Result<(), Untranslatable> {
    fields.ignore(&["model", "prompt_cache_retention"]);
    fields.json("metadata")?;
    fields.json("stream_options")?;
    if let Some(mut options) = fields.object("prompt_cache_options")? {
        options.ignore(&["mode", "ttl"]);
        options.finish()?;
    }
    if fields.count("top_logprobs")?.is_some_and(|count| count > 0) {
        let reason = "log probabilities aren't told in the provider's dialect; leave `top_logprobs` out";
        return Err(fields.refuse("top_logprobs", reason));
    }
    for entry in fields.list("include")? {
        // Thinking is always handed out in a form that can be handed back.
        if entry.json != r#""reasoning.encrypted_content""# {
            let reason =
                format!("{} isn't to be had; of `include` only \"reasoning.encrypted_content\" is known", entry.json);
            return Err(entry.refuse(reason));
        }
    }
    Ok(())
}

type Tools = (Vec<Marked<Tool>>, Option<ToolChoice>);

fn tools(fields: &mut Object<'_>) -> Result<Tools, Untranslatable> {
    let tools = fields.objects("tools")?.into_iter().map(tool).collect::<Result<Vec<_>, _>>()?;
    let Some(written) = fields.take("tool_choice") else { return Ok((tools, None)) };
    if !written.json.starts_with('{') {
        let choice = match written.json {
            r#""none""# => ToolChoice::None,
            r#""auto""# => ToolChoice::Auto,
            r#""required""# => ToolChoice::Required,
            _ => {
                return Err(written.must_be("none, auto, required, a function or a list of allowed tools"));
            }
        };
        return Ok((tools, Some(choice)));
    }
    let mut choice = written.object()?;
    match choice.required_text("type")?.as_str() {
        "function" => {
            let name = choice.required_text("name")?;
            choice.finish()?;
            Ok((tools, Some(ToolChoice::Named(name))))
        }
        "allowed_tools" => allowed(choice, tools),
        other => Err(choice.refuse("type", hosted(other))),
    }
}

fn tool(mut tool: Object<'_>) -> Result<Marked<Tool>, Untranslatable> {
    match tool.required_text("type")?.as_str() {
        "function" => {}
        "custom" => {
            let reason = "custom tools take free text, which the provider's dialect doesn't know; \
                          describe it as a function with one text as its argument";
            return Err(tool.refuse("type", reason));
        }
        other => return Err(tool.refuse("type", hosted(other))),
    }
    if tool.has("function") {
        let reason = "functions stand flat in this API: `name` and `parameters` go beside `type`";
        return Err(tool.refuse("function", reason));
    }
    let function = Tool {
        name: tool.required_text("name")?,
        description: tool.text("description")?,
        parameters: tool.json("parameters")?,
        strict: tool.flag("strict")?,
    };
    tool.ignore_false(&["defer_loading", "async"]);
    tool.finish()?;
    Ok(Marked::plain(function))
}

fn hosted(kind: &str) -> String {
    format!("tools of the type `{kind}` run at OpenAI alone; send functions, or ask a model of OpenAI's own")
}

/// Only these tools: the others aren't told to the model at all.
fn allowed(mut choice: Object<'_>, mut tools: Vec<Marked<Tool>>) -> Result<Tools, Untranslatable> {
    let mode = choice.word("mode", &["auto", "required"])?.ok_or_else(|| choice.missing("mode"))?;
    let mut names = Vec::new();
    for mut entry in choice.objects("tools")? {
        match entry.required_text("type")?.as_str() {
            "function" => {}
            other => return Err(entry.refuse("type", hosted(other))),
        }
        let name = entry.required_text("name")?;
        if !tools.iter().any(|tool| tool.part.name == name) {
            return Err(entry.refuse("name", format!("`{name}` is not among the tools of the request")));
        }
        entry.finish()?;
        names.push(name);
    }
    choice.finish()?;
    tools.retain(|tool| names.contains(&tool.part.name));
    Ok((tools, Some(if mode == "required" { ToolChoice::Required } else { ToolChoice::Auto })))
}

fn text(fields: &mut Object<'_>) -> Result<(OutputFormat, Option<String>), Untranslatable> {
    let Some(mut text) = fields.object("text")? else { return Ok((OutputFormat::Text, None)) };
    let verbosity = text.word("verbosity", &["low", "medium", "high"])?.map(str::to_owned);
    let format = text.object("format")?.map(format).transpose()?.unwrap_or_default();
    text.finish()?;
    Ok((format, verbosity))
}

fn format(mut format: Object<'_>) -> Result<OutputFormat, Untranslatable> {
    let kind = format.word("type", &["text", "json_object", "json_schema"])?;
    let read = match kind.ok_or_else(|| format.missing("type"))? {
        "json_schema" => OutputFormat::JsonSchema {
            name: Some(format.required_text("name")?),
            description: format.text("description")?,
            schema: format.json("schema")?.ok_or_else(|| format.missing("schema"))?,
            strict: format.flag("strict")?,
        },
        "json_object" => OutputFormat::JsonObject,
        _ => OutputFormat::Text,
    };
    format.finish()?;
    Ok(read)
}

fn reasoning(fields: &mut Object<'_>) -> Result<Option<Reasoning>, Untranslatable> {
    let Some(mut reasoning) = fields.object("reasoning")? else { return Ok(None) };
    let effort = match reasoning.text("effort")?.as_deref() {
        None => None,
        Some("none") => Some(Reasoning::Off),
        Some(word) => {
            let unknown = || {
                let reason = format!("no effort `{word}` is known; it is one of `none`, `minimal` to `max`");
                reasoning.refuse("effort", reason)
            };
            Some(Reasoning::Effort(Effort::from_word(word).ok_or_else(unknown)?))
        }
    };
    // A summary is given wherever the provider shows its thinking.
    for name in ["summary", "generate_summary"] {
        reasoning.word(name, &["auto", "concise", "detailed"])?;
    }
    reasoning.word("context", &["auto"])?;
    reasoning.word("mode", &["standard"])?;
    reasoning.finish()?;
    Ok(effort)
}

fn tier(fields: &mut Object<'_>) -> Result<Option<TierWish>, Untranslatable> {
    match fields.text("service_tier")?.as_deref() {
        None | Some("auto") => Ok(None),
        Some("default") => Ok(Some(TierWish::Standard)),
        Some(other) => {
            let reason = format!("the tier `{other}` is sold by OpenAI alone; leave `service_tier` out");
            Err(fields.refuse("service_tier", reason))
        }
    }
}

#[cfg(test)]
mod tests;
