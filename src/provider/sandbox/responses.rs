//! `POST /v1/responses`: checks, and the answer as a whole. Its stream is in [`super::responses_stream`].
//!
//! The sandbox keeps nothing, so `previous_response_id` is accepted and adds nothing to what was said, and `background`
//! is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::conversation::{Conversation, Role};
use super::openai::{UsageRule, call_id, check_sampling, effort_tokens, model, schema_format, tier};
use super::plan::{Ask, CallSaid, End, Format, Said};
use super::refusal::Refusal;
use super::reply::Reply;
use super::request::{Call, Fields};
use super::responses_stream;
use super::tokens::{self, MEDIA_TOKENS, MESSAGE_TOKENS};
use super::tools::{self, Shape};

/// The service takes no smaller limit.
const OUTPUT_MAX_MIN: i64 = 16;

/// Everything that the answer's two forms are made of.
pub(super) struct Answered {
    /// The response without status, output and usage.
    head: Map<String, Value>,
    pub(super) items: Vec<Item>,
    usage: Value,
    is_cut: bool,
    created: u64,
}

/// One item of the output.
pub(super) struct Item {
    pub(super) id: String,
    pub(super) content: ItemContent,
    /// False where the limit of tokens cut it.
    pub(super) is_whole: bool,
}

/// What an item is.
pub(super) enum ItemContent {
    Reasoning { summary: Option<String>, encrypted: Option<String> },
    Message { text: String },
    Call { call: CallSaid },
}

/// Answers a request for a response.
pub(super) fn responses(call: &Call<'_>) -> Result<Reply, Refusal> {
    let fields = call.fields();
    let model = model(&fields)?;
    if fields.flag("background")?.unwrap_or(false) {
        let message = "The sandbox keeps nothing from call to call: 'background' has to be false or left out.";
        return Err(Refusal::of_field("background", "unsupported_value", message));
    }
    let reasoning = Reasoning::read(&fields)?;
    let mut tools = tools::of_openai(&fields, Shape::Flat)?;
    tools.list.retain(|tool| !tool.name.is_empty());
    check_sampling(&fields)?;
    let is_stream = fields.flag("stream")?.unwrap_or(false);
    if fields.get("stream_options").is_some() && !is_stream {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(Refusal { param: Some("stream_options".to_owned()), ..Refusal::invalid(message) });
    }
    let ask = Ask {
        seed: call.seed,
        script: call.script,
        conversation: conversation(&fields)?,
        tools,
        format: format(&fields)?,
        output_max: fields.integer("max_output_tokens", OUTPUT_MAX_MIN, i64::MAX)?,
        stops: Vec::new(),
        thought_tokens: reasoning.tokens,
        text_tokens: call.text_tokens(1),
        talks_before_calls: false,
    };
    let said = ask.say(0);
    let rule = UsageRule { is_keyed: fields.text("prompt_cache_key")?.is_some(), has_breakpoint: false };
    let answered = Answered {
        head: head(call, &fields, model, tier(&fields)?),
        usage: usage(&rule, ask.input_tokens(), &said),
        is_cut: said.end == End::Length,
        created: call.seed.created(),
        items: items(call, said, &reasoning),
    };
    Ok(if is_stream { responses_stream::stream(&answered) } else { Reply::json(&answered.response(true)) })
}

impl Answered {
    /// The response as it stands at its beginning or at its end.
    pub(super) fn response(&self, is_done: bool) -> Value {
        let mut response = self.head.clone();
        let mut set = |name: &str, value| {
            response.insert(name.to_owned(), value);
        };
        set("status", json!(if is_done { self.status() } else { "in_progress" }));
        if is_done {
            set("output", self.items.iter().map(|item| item.value(true)).collect());
            set("usage", self.usage.clone());
            if self.is_cut {
                set("incomplete_details", json!({"reason": "max_output_tokens"}));
            } else {
                set("completed_at", json!(self.created));
            }
        }
        Value::Object(response)
    }

    /// How it ends.
    pub(super) fn status(&self) -> &'static str {
        if self.is_cut { "incomplete" } else { "completed" }
    }
}

impl Item {
    /// The item whole, or empty as a stream opens it.
    pub(super) fn value(&self, is_done: bool) -> Value {
        let status = match (is_done, self.is_whole) {
            (false, _) => "in_progress",
            (true, true) => "completed",
            (true, false) => "incomplete",
        };
        match &self.content {
            ItemContent::Reasoning { summary, encrypted } => {
                let summary: Vec<_> = summary.iter().filter(|_| is_done).map(|text| summary_part(text)).collect();
                let mut item = json!({"id": self.id, "type": "reasoning", "summary": summary});
                if let Some(encrypted) = encrypted {
                    item["encrypted_content"] = json!(encrypted);
                }
                item
            }
            ItemContent::Message { text } => {
                let content: Vec<_> = is_done.then(|| text_part(text)).into_iter().collect();
                json!({"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content})
            }
            ItemContent::Call { call } => {
                let (kind, field) = call_words(call);
                let given = if is_done { call.arguments.as_str() } else { "" };
                json!({"id": self.id, "type": kind, "status": status, "call_id": call_id(call), "name": call.name,
                    field: given})
            }
        }
    }
}

/// The type of a call's item, and the name of the field with what is given to the tool.
pub(super) fn call_words(call: &CallSaid) -> (&'static str, &'static str) {
    if call.is_free_text { ("custom_tool_call", "input") } else { ("function_call", "arguments") }
}

/// A part of a message.
pub(super) fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

/// A part of a summary of reasoning.
pub(super) fn summary_part(text: &str) -> Value {
    json!({"type": "summary_text", "text": text})
}

fn items(call: &Call<'_>, said: Said, reasoning: &Reasoning) -> Vec<Item> {
    let id = |prefix: &str, index| call.seed.part(prefix, index).id(prefix, 48);
    let is_cut = said.end == End::Length;
    let mut items = Vec::new();
    if said.thought_tokens > 0 {
        let encrypted = reasoning.is_encrypted.then(|| STANDARD.encode(call.seed.part("encrypted", 0).bytes()));
        let summary = reasoning.is_summarized.then_some(said.thought);
        items.push(Item { id: id("rs_", 0), content: ItemContent::Reasoning { summary, encrypted }, is_whole: true });
    }
    // A limit that left nothing but the thought leaves no message either.
    let has_text = !said.text.is_empty() || (said.calls.is_empty() && !is_cut);
    if has_text {
        let is_whole = !is_cut || !said.calls.is_empty();
        items.push(Item { id: id("msg_", 0), content: ItemContent::Message { text: said.text }, is_whole });
    }
    for (index, call) in said.calls.into_iter().enumerate() {
        let prefix = if call.is_free_text { "ctc_" } else { "fc_" };
        let is_whole = call.is_whole;
        items.push(Item { id: id(prefix, index), content: ItemContent::Call { call }, is_whole });
    }
    items
}

fn usage(rule: &UsageRule, input: u64, said: &Said) -> Value {
    let (cached, written) = rule.cached(input);
    json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written.unwrap_or(0)},
        "output_tokens": said.output_tokens,
        "output_tokens_details": {"reasoning_tokens": said.thought_tokens},
        "total_tokens": input + said.output_tokens,
    })
}

/// What the client wants to be thought, and to see of it.
struct Reasoning {
    tokens: u64,
    is_summarized: bool,
    is_encrypted: bool,
}

impl Reasoning {
    fn read(fields: &Fields<'_>) -> Result<Self, Refusal> {
        let include = fields.list("include")?.unwrap_or_default();
        let is_encrypted = include.contains(&json!("reasoning.encrypted_content"));
        let Some(reasoning) = fields.object("reasoning")? else {
            return Ok(Self { tokens: 0, is_summarized: false, is_encrypted });
        };
        let known = ["auto", "concise", "detailed"];
        let is_summarized = match reasoning.text("summary")?.or(reasoning.text("generate_summary")?) {
            None => false,
            Some(summary) if known.contains(&summary) => true,
            Some(other) => return Err(reasoning.unknown_value("summary", other, &known)),
        };
        let tokens = match effort_tokens(&reasoning, "effort")? {
            // A summary is asked for without an effort: that of most models.
            0 if is_summarized && reasoning.get("effort").is_none() => 64,
            tokens => tokens,
        };
        Ok(Self { tokens, is_summarized, is_encrypted })
    }
}

fn format(fields: &Fields<'_>) -> Result<Format, Refusal> {
    let Some(text) = fields.object("text")? else { return Ok(Format::Text) };
    let Some(format) = text.object("format")? else { return Ok(Format::Text) };
    match format.required("type", format.text("type")?)? {
        "text" => Ok(Format::Text),
        "json_object" => Ok(Format::JsonObject),
        "json_schema" => {
            tools::tool_name(&format)?;
            let schema = schema_format(&format)?;
            format.required("schema", schema)
        }
        other => Err(format.unknown_value("type", other, &["text", "json_schema", "json_object"])),
    }
}

fn conversation(fields: &Fields<'_>) -> Result<Conversation, Refusal> {
    let mut conversation = Conversation::default();
    if let Some(instructions) = fields.text("instructions")? {
        conversation.tokens += tokens::count(instructions) + MESSAGE_TOKENS;
        conversation.push(Role::System, instructions.to_owned());
    }
    let input = fields.required("input", fields.get("input"))?;
    if let Some(text) = input.as_str() {
        conversation.tokens += tokens::count(text) + MESSAGE_TOKENS;
        conversation.push(Role::User, text.to_owned());
        return Ok(conversation);
    }
    if !input.is_array() {
        return Err(fields.wrong_type("input", "one of a string or array of objects"));
    }
    let has_past = fields.text("previous_response_id")?.is_some() || fields.get("conversation").is_some();
    let mut calls: Vec<&str> = Vec::new();
    for item in fields.objects("input")?.unwrap_or_default() {
        conversation.tokens += MESSAGE_TOKENS;
        match item.text("type")?.unwrap_or("message") {
            "message" => message(&item, &mut conversation)?,
            "function_call" | "custom_tool_call" => {
                calls.push(item.required("call_id", item.text("call_id")?)?);
                let name = item.required("name", item.text("name")?)?;
                let given = item.text("arguments")?.or(item.text("input")?).unwrap_or_default();
                conversation.tokens += tokens::count(name) + tokens::count(given);
                conversation.push(Role::Assistant, String::new());
            }
            "function_call_output" | "custom_tool_call_output" => {
                let id = item.required("call_id", item.text("call_id")?)?;
                if !has_past && !calls.contains(&id) {
                    let message = format!("No tool call found for function call output with call_id {id}.");
                    return Err(Refusal { param: Some("input".to_owned()), ..Refusal::invalid(message) });
                }
                let text = parts(&item, "output", &mut conversation)?;
                conversation.tokens += tokens::count(&text);
                conversation.push(Role::Tool, text);
            }
            // Reasoning, references and the items of hosted tools: they count as what they are.
            _ => conversation.tokens += tokens::count_json(&Value::Object(item.map().clone())),
        }
    }
    Ok(conversation)
}

fn message(item: &Fields<'_>, conversation: &mut Conversation) -> Result<(), Refusal> {
    let role = match item.required("role", item.text("role")?)? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" | "developer" => Role::System,
        other => return Err(item.unknown_value("role", other, &["assistant", "system", "developer", "user"])),
    };
    item.required("content", item.get("content"))?;
    let text = parts(item, "content", conversation)?;
    conversation.tokens += tokens::count(&text);
    conversation.push(role, text);
    Ok(())
}

/// A text, or the texts of a list of parts; other parts are only counted.
fn parts(item: &Fields<'_>, name: &str, conversation: &mut Conversation) -> Result<String, Refusal> {
    if let Some(Value::String(text)) = item.get(name) {
        return Ok(text.clone());
    }
    let mut texts = Vec::new();
    for part in item.objects(name)?.unwrap_or_default() {
        match part.required("type", part.text("type")?)? {
            "input_text" | "output_text" | "text" => texts.push(part.required("text", part.text("text")?)?),
            "refusal" => texts.push(part.required("refusal", part.text("refusal")?)?),
            "input_image" | "input_file" | "input_audio" => conversation.tokens += MEDIA_TOKENS,
            other => {
                let known = ["input_text", "input_image", "output_text", "refusal", "input_file"];
                return Err(part.unknown_value("type", other, &known));
            }
        }
    }
    Ok(texts.join("\n"))
}

/// What the response repeats of the request, and what never changes.
fn head(call: &Call<'_>, fields: &Fields<'_>, model: &str, tier: &str) -> Map<String, Value> {
    let echo = |name: &str, default: Value| fields.get(name).cloned().unwrap_or(default);
    let head = json!({
        "id": call.seed.part("response", 0).id("resp_", 48),
        "object": "response",
        "created_at": call.seed.created(),
        "completed_at": null,
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": echo("instructions", Value::Null),
        "max_output_tokens": echo("max_output_tokens", Value::Null),
        "metadata": echo("metadata", json!({})),
        "model": model,
        "output": [],
        "parallel_tool_calls": echo("parallel_tool_calls", json!(true)),
        "previous_response_id": echo("previous_response_id", Value::Null),
        "prompt_cache_key": echo("prompt_cache_key", Value::Null),
        "reasoning": echo("reasoning", json!({"effort": null, "summary": null})),
        "safety_identifier": echo("safety_identifier", Value::Null),
        "service_tier": tier,
        "store": echo("store", json!(true)),
        "temperature": echo("temperature", json!(1.0)),
        "text": echo("text", json!({"format": {"type": "text"}})),
        "tool_choice": echo("tool_choice", json!("auto")),
        "tools": echo("tools", json!([])),
        "top_p": echo("top_p", json!(1.0)),
        "truncation": echo("truncation", json!("disabled")),
        "usage": null,
        "user": echo("user", Value::Null),
    });
    match head {
        Value::Object(head) => head,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests;
