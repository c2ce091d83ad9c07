//! A client's request: everything around its messages.
//!
//! What the neutral form can't hold, and what Anthropic itself would refuse, is refused here with the client's own field.
//! Taken without effect, because they are hints or say what holds anyway: a top-level `cache_control`, `speed: standard`,
//! `inference_geo: global`, an empty `mcp_servers`, `thinking.display` (the thoughts come either way) and an effort beside thinking
//! that is off.

use serde_json::Number;

use crate::dialect::Untranslatable;
use crate::dialect::object::{Field, Object, must_be};
use crate::domain::Endpoint;
use crate::domain::chat::{
    CacheMark, ChatRequest, Effort, Marked, OutputFormat, Reasoning, TierWish, Tool, ToolChoice,
};

use super::turns_read::{self, block_text};

/// From this version on sampling parameters, documents of the assistant and citations of the user are refused.
const STRICT_SINCE: &str = "2026-10-21";
/// The least that a thinking budget may be.
pub(super) const BUDGET_TOKENS_MIN: u64 = 1_024;

/// Reads a request in the client's version of the API.
pub(super) fn read(body: &[u8], version: Option<&str>) -> Result<ChatRequest, Untranslatable> {
    // Versions are dates, so their order is that of their letters.
    let is_strict = version.is_some_and(|version| version >= STRICT_SINCE);
    let mut fields = Object::of_body(body)?;
    // Which model it is was read before a shape was chosen.
    fields.take("model");
    refuse_what_stays_with_anthropic(&mut fields)?;
    if is_strict {
        refuse_sampling(&mut fields)?;
    }
    let output_tokens_max = output_cap(&mut fields)?;
    let mut config = fields.object("output_config")?;
    let effort = config.as_mut().map(effort).transpose()?.flatten();
    let reasoning = reasoning(&mut fields, effort, output_tokens_max)?;
    let format = format(&mut fields, config)?;
    let (tool_choice, parallel_tool_calls) = tool_choice(&mut fields)?;
    let request = ChatRequest {
        endpoint: Endpoint::Messages,
        system: system(&mut fields)?,
        turns: turns_read::turns(&fields.required("messages")?, is_strict)?,
        tools: fields.list("tools")?.iter().map(tool).collect::<Result<_, _>>()?,
        tool_choice,
        parallel_tool_calls,
        output_tokens_max: Some(output_tokens_max),
        temperature: share(&mut fields, "temperature")?,
        top_p: share(&mut fields, "top_p")?,
        top_k: fields.count("top_k")?,
        stop: stop_sequences(&mut fields)?,
        format,
        reasoning,
        verbosity: None,
        user: user(&mut fields)?,
        tier: tier(&mut fields)?,
        prompt_cache_key: None,
        stream: fields.flag("stream")?.unwrap_or(false),
    };
    fields.finish()?;
    Ok(request)
}

/// What no other provider has, each with its way out.
fn refuse_what_stays_with_anthropic(fields: &mut Object<'_>) -> Result<(), Untranslatable> {
    const REFUSED: [(&str, &str); 4] = [
        ("container", "containers run at Anthropic only; leave container out"),
        ("context_management", "only Anthropic edits a context by itself; leave context_management out"),
        ("user_profile_id", "profiles of users are known to Anthropic only; leave user_profile_id out"),
        ("diagnostics", "only Anthropic diagnoses its cache; leave diagnostics out"),
    ];
    for (name, reason) in REFUSED {
        if fields.take(name).is_some() {
            return Err(Untranslatable::new(name, reason));
        }
    }
    if !fields.list("mcp_servers")?.is_empty() {
        let reason =
            "only Anthropic calls MCP servers by itself; leave mcp_servers out and hand their tools over in tools";
        return Err(Untranslatable::new("mcp_servers", reason));
    }
    match fields.text("inference_geo")?.as_deref() {
        None | Some("global") => {}
        Some(_) => {
            let reason = "where it runs can't be chosen there; leave inference_geo out";
            return Err(Untranslatable::new("inference_geo", reason));
        }
    }
    match fields.text("speed")?.as_deref() {
        None | Some("standard") => {}
        Some(_) => return Err(Untranslatable::new("speed", "there is no faster speed there; leave speed out")),
    }
    // Asks for a cache wherever one is possible: the other providers do that without being asked.
    cache_mark(fields).map(|_| ())
}

fn refuse_sampling(fields: &mut Object<'_>) -> Result<(), Untranslatable> {
    for name in ["temperature", "top_p", "top_k"] {
        if fields.take(name).is_some() {
            let reason = format!("anthropic-version {STRICT_SINCE} has no {name}; leave it out, or send 2023-06-01");
            return Err(Untranslatable::new(name, reason));
        }
    }
    Ok(())
}

fn share(fields: &mut Object<'_>, name: &str) -> Result<Option<Number>, Untranslatable> {
    let number = fields.number(name)?;
    match number.as_ref().and_then(Number::as_f64) {
        Some(value) if !(0.0..=1.0).contains(&value) => Err(must_be(fields.path_of(name), "a number from 0 to 1")),
        _ => Ok(number),
    }
}

fn output_cap(fields: &mut Object<'_>) -> Result<u64, Untranslatable> {
    match fields.count("max_tokens")? {
        None => Err(Untranslatable::new("max_tokens", "max_tokens is required; say the most tokens of the answer")),
        Some(0) => {
            let reason =
                "a cache that is filled without an answer is known to Anthropic only; say a max_tokens above 0";
            Err(Untranslatable::new("max_tokens", reason))
        }
        Some(cap) => Ok(cap),
    }
}

fn effort(config: &mut Object<'_>) -> Result<Option<Effort>, Untranslatable> {
    let Some(word) = config.text("effort")? else { return Ok(None) };
    // `minimal` is OpenAI's.
    match Effort::from_word(&word).filter(|effort| *effort > Effort::Minimal) {
        Some(effort) => Ok(Some(effort)),
        None => Err(must_be(config.path_of("effort"), "low, medium, high, xhigh or max")),
    }
}

fn reasoning(
    fields: &mut Object<'_>,
    effort: Option<Effort>,
    output_tokens_max: u64,
) -> Result<Option<Reasoning>, Untranslatable> {
    let Some(mut thinking) = fields.object("thinking")? else { return Ok(effort.map(Reasoning::Effort)) };
    let reasoning = match thinking.required_text("type")?.as_str() {
        "disabled" => Reasoning::Off,
        "adaptive" => Reasoning::Adaptive(effort),
        "enabled" => Reasoning::Budget { tokens: budget(thinking.count("budget_tokens")?, output_tokens_max)?, effort },
        "between_tools" => {
            let reason = "thinking between tools only is known to Anthropic only; say adaptive or disabled";
            return Err(Untranslatable::new("thinking.type", reason));
        }
        _ => return Err(must_be("thinking.type", "adaptive, enabled or disabled")),
    };
    match thinking.text("display")?.as_deref() {
        None | Some("summarized" | "omitted") => {}
        Some(_) => return Err(must_be("thinking.display", "summarized or omitted")),
    }
    thinking.finish()?;
    Ok(Some(reasoning))
}

fn budget(tokens: Option<u64>, output_tokens_max: u64) -> Result<u64, Untranslatable> {
    let reason = match tokens {
        Some(tokens) if tokens >= output_tokens_max => "thinking.budget_tokens must be below max_tokens".to_owned(),
        Some(tokens) if tokens >= BUDGET_TOKENS_MIN => return Ok(tokens),
        _ => format!("thinking.budget_tokens must be a whole number of at least {BUDGET_TOKENS_MIN}"),
    };
    Err(Untranslatable::new("thinking.budget_tokens", reason))
}

/// `output_config.format`, or `output_format` as it was called in the beta.
fn format(fields: &mut Object<'_>, config: Option<Object<'_>>) -> Result<OutputFormat, Untranslatable> {
    let mut formats = Vec::new();
    if let Some(mut config) = config {
        formats.extend(config.object("format")?);
        config.finish()?;
    }
    formats.extend(fields.object("output_format")?);
    if formats.len() > 1 {
        return Err(Untranslatable::new("output_format", "the format is said twice; say output_config.format alone"));
    }
    let Some(mut format) = formats.pop() else { return Ok(OutputFormat::Text) };
    if format.required_text("type")? != "json_schema" {
        return Err(must_be(format.path_of("type"), "json_schema"));
    }
    let schema = format.required("schema")?.object_as_written()?;
    format.finish()?;
    Ok(OutputFormat::JsonSchema { name: None, description: None, schema, strict: None })
}

fn tool_choice(fields: &mut Object<'_>) -> Result<(Option<ToolChoice>, Option<bool>), Untranslatable> {
    let Some(mut choice) = fields.object("tool_choice")? else { return Ok((None, None)) };
    let chosen = match choice.required_text("type")?.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(choice.required_text("name")?),
        _ => return Err(must_be("tool_choice.type", "auto, any, tool or none")),
    };
    let is_serial = choice.flag("disable_parallel_tool_use")?;
    choice.finish()?;
    Ok((Some(chosen), is_serial.map(|is_serial| !is_serial)))
}

fn tool(value: &Field<'_>) -> Result<Marked<Tool>, Untranslatable> {
    let mut fields = value.object()?;
    match fields.text("type")?.as_deref() {
        None | Some("custom") => {}
        Some(kind) => {
            let reason =
                format!("the tool {kind} is one that Anthropic defines; hand over a function of your own instead");
            return Err(Untranslatable::new(fields.path_of("type"), reason));
        }
    }
    let tool = Tool {
        name: fields.required_text("name")?,
        description: fields.text("description")?,
        parameters: Some(fields.required("input_schema")?.object_as_written()?),
        strict: fields.flag("strict")?,
    };
    let cache = cache_mark(&mut fields)?;
    // How the arguments arrive, not what they are.
    fields.flag("eager_input_streaming")?;
    if fields.flag("defer_loading")? == Some(true) {
        let reason = "a tool is always loaded there; leave defer_loading out";
        return Err(Untranslatable::new(fields.path_of("defer_loading"), reason));
    }
    if !fields.list("input_examples")?.is_empty() {
        let reason = "there is no place for examples of arguments; put them into the description";
        return Err(Untranslatable::new(fields.path_of("input_examples"), reason));
    }
    for caller in fields.list("allowed_callers")? {
        if caller.text()? != "direct" {
            return Err(Untranslatable::new(
                caller.path,
                "only the model itself calls tools there; allow direct alone",
            ));
        }
    }
    fields.finish()?;
    Ok(Marked { part: tool, cache })
}

fn system(fields: &mut Object<'_>) -> Result<Vec<Marked<String>>, Untranslatable> {
    match fields.take("system") {
        None => Ok(Vec::new()),
        // An empty text is what a client sends that has nothing to say; Anthropic takes it too.
        Some(value) if value.is_text() => {
            Ok(Some(value.text()?).filter(|text| !text.is_empty()).map(Marked::plain).into_iter().collect())
        }
        Some(value) if value.json.starts_with('[') => value.list()?.iter().map(block_text).collect(),
        Some(value) => Err(value.must_be("a string or a list of blocks")),
    }
}

fn stop_sequences(fields: &mut Object<'_>) -> Result<Vec<String>, Untranslatable> {
    let read = |value: Field<'_>| match value.text()? {
        text if text.trim().is_empty() => {
            Err(Untranslatable::new(value.path, "a stop sequence must hold more than whitespace"))
        }
        text => Ok(text),
    };
    fields.list("stop_sequences")?.into_iter().map(read).collect()
}

fn user(fields: &mut Object<'_>) -> Result<Option<String>, Untranslatable> {
    let Some(mut metadata) = fields.object("metadata")? else { return Ok(None) };
    let user = metadata.text("user_id")?;
    metadata.finish()?;
    Ok(user)
}

fn tier(fields: &mut Object<'_>) -> Result<Option<TierWish>, Untranslatable> {
    match fields.text("service_tier")?.as_deref() {
        None => Ok(None),
        Some("auto") => Ok(Some(TierWish::Auto)),
        Some("standard_only") => Ok(Some(TierWish::Standard)),
        Some(_) => Err(must_be("service_tier", "auto or standard_only")),
    }
}

/// The `cache_control` of an object.
pub(super) fn cache_mark(fields: &mut Object<'_>) -> Result<Option<CacheMark>, Untranslatable> {
    let Some(mut control) = fields.object("cache_control")? else { return Ok(None) };
    if control.required_text("type")? != "ephemeral" {
        return Err(must_be(control.path_of("type"), "ephemeral"));
    }
    let mark = match control.text("ttl")?.as_deref() {
        None | Some("5m") => CacheMark::FiveMinutes,
        Some("1h") => CacheMark::OneHour,
        Some(_) => return Err(must_be(control.path_of("ttl"), "5m or 1h")),
    };
    control.finish()?;
    Ok(Some(mark))
}

#[cfg(test)]
mod tests;
