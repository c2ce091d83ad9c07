//! Reads a client's request of chat completions.
//!
//! Three things can become of a field: it is translated; it says nothing beyond a default that frameworks send, and is let go; or it is
//! refused by its path. Whether the model or the other shape can do what is asked is for the writer of that shape.

mod messages;
mod parts;
mod tools;

#[cfg(test)]
mod tests;

use crate::dialect::Untranslatable;
use crate::dialect::object::{Field, Object};
use crate::domain::Endpoint;
use crate::domain::chat::{ChatRequest, Effort, OutputFormat, Reasoning, TierWish};

/// Reads a client's request.
pub fn read_request(body: &[u8]) -> Result<ChatRequest, Untranslatable> {
    let mut body = Object::of_body(body)?;
    // The name is the router's business; the tags are the gateway's own; the rest are hints to OpenAI's cache, which change no answer.
    for name in ["model", "metadata", "prompt_cache_retention", "prompt_cache_options"] {
        body.take(name);
    }
    refuse_without_counterpart(&mut body)?;
    let conversation = messages::read(&body.required("messages")?)?;
    let tools = tools::read(&mut body)?;
    let user = body.text("user")?;
    let request = ChatRequest {
        endpoint: Endpoint::ChatCompletions,
        system: conversation.system,
        turns: conversation.turns,
        tools: tools.tools,
        tool_choice: tools.choice,
        parallel_tool_calls: tools.parallel,
        output_tokens_max: output_cap(&mut body)?,
        temperature: body.number("temperature")?,
        top_p: body.number("top_p")?,
        top_k: body.count("top_k")?,
        stop: stop(&mut body)?,
        format: format(&mut body)?,
        reasoning: reasoning(&mut body)?,
        verbosity: verbosity(&mut body)?,
        user: body.text("safety_identifier")?.or(user),
        tier: tier(&mut body)?,
        prompt_cache_key: body.text("prompt_cache_key")?,
        stream: body.flag("stream")?.unwrap_or(false),
    };
    stream_options(&mut body)?;
    body.finish()?;
    Ok(request)
}

/// A field without a counterpart, the value of it that says nothing, and what to do about others.
type NoCounterpart = (&'static str, fn(&str) -> bool, &'static str);

const NO_COUNTERPART: &[NoCounterpart] = &[
    ("n", is_one, "only one choice can be had; send the request several times"),
    ("presence_penalty", is_zero, "penalties can't be passed on; leave presence_penalty out or set it to 0"),
    ("frequency_penalty", is_zero, "penalties can't be passed on; leave frequency_penalty out or set it to 0"),
    ("logprobs", is_false, "log probabilities can't be had; leave logprobs out or set it to false"),
    ("top_logprobs", is_zero, "log probabilities can't be had; leave top_logprobs out"),
    ("logit_bias", is_empty, "a bias of tokens can't be passed on; leave logit_bias out"),
    ("seed", never, "a seed can't be passed on; leave seed out"),
    ("store", is_false, "answers can't be stored there; leave store out or set it to false"),
    ("modalities", is_text_only, "only text can be had; leave modalities out or set it to [\"text\"]"),
    ("audio", never, "audio can't be had; leave audio out"),
    ("prediction", never, "a predicted output can't be passed on; leave prediction out"),
    ("web_search_options", never, "web search can't be passed on; leave web_search_options out"),
    ("moderation", never, "moderation can't be passed on; leave moderation out"),
];

fn refuse_without_counterpart(body: &mut Object<'_>) -> Result<(), Untranslatable> {
    for (name, says_nothing, reason) in NO_COUNTERPART {
        if let Some(field) = body.take(name).filter(|field| !says_nothing(field.json)) {
            return Err(field.refuse(*reason));
        }
    }
    Ok(())
}

fn never(_: &str) -> bool {
    false
}

fn is_one(json: &str) -> bool {
    json.parse() == Ok(1.0)
}

fn is_zero(json: &str) -> bool {
    json.parse() == Ok(0.0)
}

fn is_false(json: &str) -> bool {
    json == "false"
}

fn is_empty(json: &str) -> bool {
    json.bytes().filter(|byte| !byte.is_ascii_whitespace()).eq(*b"{}")
}

fn is_text_only(json: &str) -> bool {
    serde_json::from_str::<Vec<String>>(json).is_ok_and(|words| words == ["text"])
}

fn output_cap(body: &mut Object<'_>) -> Result<Option<u64>, Untranslatable> {
    let (newer, older) = (body.count("max_completion_tokens")?, body.count("max_tokens")?);
    let name = if newer.is_some() { "max_completion_tokens" } else { "max_tokens" };
    match (newer, older) {
        (Some(newer), Some(older)) if newer != older => {
            Err(body.refuse("max_tokens", "max_tokens and max_completion_tokens differ; send only one of them"))
        }
        (Some(0), _) | (_, Some(0)) => Err(body.refuse(name, format!("{name} must be at least 1"))),
        _ => Ok(newer.or(older)),
    }
}

fn stop(body: &mut Object<'_>) -> Result<Vec<String>, Untranslatable> {
    match body.take("stop") {
        None => Ok(Vec::new()),
        Some(field) if field.is_text() => Ok(vec![field.text()?]),
        Some(field) => field.parsed("a string or a list of strings"),
    }
}

fn format(body: &mut Object<'_>) -> Result<OutputFormat, Untranslatable> {
    let Some(field) = body.take("response_format") else { return Ok(OutputFormat::Text) };
    let mut format = field.object()?;
    let kind = format.required("type")?;
    let read = match kind.text()?.as_str() {
        "text" => OutputFormat::Text,
        "json_object" => OutputFormat::JsonObject,
        "json_schema" => {
            let mut schema = format.required("json_schema")?.object()?;
            let read = OutputFormat::JsonSchema {
                name: schema.text("name")?,
                description: schema.text("description")?,
                schema: schema.required("schema")?.object_as_written()?,
                strict: schema.flag("strict")?,
            };
            schema.finish()?;
            read
        }
        other => return Err(unknown_word(&kind, other, "text, json_object or json_schema")),
    };
    format.finish()?;
    Ok(read)
}

fn reasoning(body: &mut Object<'_>) -> Result<Option<Reasoning>, Untranslatable> {
    let Some(field) = body.take("reasoning_effort") else { return Ok(None) };
    let word = field.text()?;
    if word == "none" {
        return Ok(Some(Reasoning::Off));
    }
    match Effort::from_word(&word) {
        Some(effort) => Ok(Some(Reasoning::Effort(effort))),
        None => Err(unknown_word(&field, &word, "none, minimal, low, medium, high, xhigh or max")),
    }
}

fn verbosity(body: &mut Object<'_>) -> Result<Option<String>, Untranslatable> {
    let Some(field) = body.take("verbosity") else { return Ok(None) };
    let word = field.text()?;
    if matches!(word.as_str(), "low" | "medium" | "high") {
        return Ok(Some(word));
    }
    Err(unknown_word(&field, &word, "low, medium or high"))
}

fn tier(body: &mut Object<'_>) -> Result<Option<TierWish>, Untranslatable> {
    let Some(field) = body.take("service_tier") else { return Ok(None) };
    match field.text()?.as_str() {
        "auto" => Ok(Some(TierWish::Auto)),
        "default" => Ok(Some(TierWish::Standard)),
        other => Err(field.refuse(format!("it has no service tier {other:?}; send \"auto\" or \"default\""))),
    }
}

/// Whether the stream ends with usage is for whoever frames the answer; here only its form is checked.
fn stream_options(body: &mut Object<'_>) -> Result<(), Untranslatable> {
    let Some(field) = body.take("stream_options") else { return Ok(()) };
    let mut options = field.object()?;
    options.flag("include_usage")?;
    options.flag("include_obfuscation")?;
    options.finish()
}

fn unknown_word(field: &Field<'_>, word: &str, known: &str) -> Untranslatable {
    field.refuse(format!("{} can't be {word:?}; send {known}", field.path))
}
