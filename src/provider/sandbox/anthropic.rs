//! `POST /v1/messages` and `/v1/messages/count_tokens`: checks and the answer.
//!
//! Where `cache_control` stands anywhere, half of the input counts as read from the cache and a quarter as written to it,
//! for an hour if any of them says so. A tool call that `max_tokens` cuts is left out, because its input would be no JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::plan::{Ask, End, Format, Said};
use super::refusal::{ANTHROPIC_STREAM_ERROR, Refusal};
use super::reply::{Frames, Reply};
use super::request::{AnthropicVersion, Call, Fields};
use super::seed::Seed;
use super::tokens::pieces;
use super::tools::{self, Choice, Tool, Tools};
use super::wire_anthropic::{
    Block, CacheCreation, Delta, DeltaUsage, Event, Message, MessageDelta, OutputDetails, Usage,
};

mod input;

use input::{Caching, conversation};

/// The least that a thinking budget may be.
const BUDGET_MIN: u64 = 1024;
const THOUGHT_TOKENS_DEFAULT: u64 = 64;

/// Answers a message.
pub(super) fn messages(call: &Call<'_>) -> Result<Reply, Refusal> {
    let fields = call.fields();
    let model = model(&fields)?;
    let output_max = fields.required("max_tokens", fields.integer("max_tokens", 0, i64::MAX)?)?;
    let (asked, thinking) = ask(call, &fields, Some(output_max))?;
    check_sampling(&fields, call.version(), &thinking)?;
    let is_stream = fields.flag("stream")?.unwrap_or(false);
    let said = if output_max == 0 { silence() } else { asked.say(0) };
    let answer = Answer {
        id: call.seed.part("message", 0).id("msg_01", 22),
        model,
        usage: Caching::read(call)?.usage(asked.input_tokens(), &said),
        signature: signature(call.seed),
        shows_thought: thinking.is_shown,
        said,
    };
    Ok(if is_stream { answer.stream() } else { answer.whole() })
}

/// Counts what a message would take in.
pub(super) fn count_tokens(call: &Call<'_>) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    struct Count {
        input_tokens: u64,
    }
    let fields = call.fields();
    model(&fields)?;
    let (asked, _) = ask(call, &fields, None)?;
    Caching::read(call)?;
    Ok(Reply::json(&Count { input_tokens: asked.input_tokens() }))
}

fn model<'a>(fields: &Fields<'a>) -> Result<&'a str, Refusal> {
    let model = fields.required("model", fields.text("model")?)?;
    if model.is_empty() {
        return Err(Refusal::invalid("model: String should have at least 1 character"));
    }
    Ok(model)
}

fn ask<'a>(call: &Call<'a>, fields: &Fields<'_>, output_max: Option<u64>) -> Result<(Ask<'a>, Thinking), Refusal> {
    let tools = tools_of(fields)?;
    let thinking = Thinking::read(fields, output_max)?;
    if thinking.tokens > 0 && tools.is_forced() {
        return Err(Refusal::invalid("Thinking may not be enabled when tool_choice forces tool use."));
    }
    let ask = Ask {
        seed: call.seed,
        script: call.script,
        conversation: conversation(fields, call.version())?,
        tools,
        format: format(fields)?,
        output_max,
        stops: stops(fields)?,
        thought_tokens: thinking.tokens,
        text_tokens: call.text_tokens(1),
        talks_before_calls: true,
    };
    Ok((ask, thinking))
}

fn check_sampling(fields: &Fields<'_>, version: AnthropicVersion, thinking: &Thinking) -> Result<(), Refusal> {
    if version == AnthropicVersion::V2026 {
        for name in ["temperature", "top_p", "top_k"] {
            if fields.get(name).is_some() {
                return Err(Refusal::invalid(format!(
                    "{name}: not supported with anthropic-version 2026-10-21; leave it out"
                )));
            }
        }
    }
    let temperature = fields.number("temperature", 0, 1)?;
    fields.number("top_p", 0, 1)?;
    fields.integer("top_k", 0, i64::MAX)?;
    if thinking.tokens > 0 && temperature.is_some_and(|temperature| temperature < 1.0) {
        return Err(Refusal::invalid("`temperature` may only be set to 1 when thinking is enabled."));
    }
    if let Some(metadata) = fields.object("metadata")? {
        metadata.text("user_id")?;
    }
    let known = ["auto", "standard_only"];
    match fields.text("service_tier")? {
        Some(tier) if !known.contains(&tier) => Err(fields.unknown_value("service_tier", tier, &known)),
        _ => Ok(()),
    }
}

fn stops(fields: &Fields<'_>) -> Result<Vec<String>, Refusal> {
    let list = fields.list("stop_sequences")?.unwrap_or_default();
    let mut stops = Vec::new();
    for (index, stop) in list.iter().enumerate() {
        match stop.as_str() {
            None => {
                return Err(Refusal::invalid(format!("stop_sequences.{index}: Input should be a valid string")));
            }
            Some(stop) if stop.trim().is_empty() => {
                return Err(Refusal::invalid(format!(
                    "stop_sequences: each stop sequence must contain non-whitespace (stop_sequences.{index})"
                )));
            }
            Some(stop) => stops.push(stop.to_owned()),
        }
    }
    Ok(stops)
}

/// `output_config.format`, or `output_format` as it was called in the beta.
fn format(fields: &Fields<'_>) -> Result<Format, Refusal> {
    let config = fields.object("output_config")?;
    let format = match &config {
        Some(config) => {
            effort_tokens(config)?;
            config.object("format")?
        }
        None => None,
    };
    let Some(format) = format.map_or_else(|| fields.object("output_format"), |format| Ok(Some(format)))? else {
        return Ok(Format::Text);
    };
    match format.required("type", format.text("type")?)? {
        "json_schema" => {
            let schema = format.required("schema", format.object("schema")?)?;
            Ok(Format::Schema(Value::Object(schema.map().clone())))
        }
        other => Err(format.unknown_value("type", other, &["json_schema"])),
    }
}

fn effort_tokens(config: &Fields<'_>) -> Result<u64, Refusal> {
    Ok(match config.text("effort")? {
        None => THOUGHT_TOKENS_DEFAULT,
        Some("low") => 16,
        Some("medium") => 32,
        Some("high") => 64,
        Some("xhigh") => 96,
        Some("max") => 128,
        Some(other) => {
            return Err(config.unknown_value("effort", other, &["low", "medium", "high", "xhigh", "max"]));
        }
    })
}

/// What the client wants to be thought, and to see of it.
struct Thinking {
    tokens: u64,
    is_shown: bool,
}

impl Thinking {
    fn read(fields: &Fields<'_>, output_max: Option<u64>) -> Result<Self, Refusal> {
        let nothing = Self { tokens: 0, is_shown: false };
        let Some(thinking) = fields.object("thinking")? else { return Ok(nothing) };
        let effort = match fields.object("output_config")? {
            Some(config) => effort_tokens(&config)?,
            None => THOUGHT_TOKENS_DEFAULT,
        };
        let tokens = match thinking.required("type", thinking.text("type")?)? {
            "disabled" | "between_tools" => return Ok(nothing),
            "adaptive" => effort,
            "enabled" => {
                let budget = thinking.integer("budget_tokens", 0, i64::MAX)?;
                let budget = thinking.required("budget_tokens", budget)?;
                if budget < BUDGET_MIN {
                    return Err(Refusal::invalid(
                        "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
                    ));
                }
                if output_max.is_some_and(|max| max <= budget) {
                    return Err(Refusal::invalid("`max_tokens` must be greater than `thinking.budget_tokens`"));
                }
                effort.min(budget)
            }
            other => {
                let known = ["adaptive", "enabled", "disabled", "between_tools"];
                return Err(thinking.unknown_value("type", other, &known));
            }
        };
        let is_shown = match thinking.text("display")? {
            None | Some("summarized") => true,
            Some("omitted") => false,
            Some(other) => return Err(thinking.unknown_value("display", other, &["summarized", "omitted"])),
        };
        Ok(Self { tokens, is_shown })
    }
}

fn tools_of(fields: &Fields<'_>) -> Result<Tools, Refusal> {
    let mut list = Vec::new();
    let mut names = Vec::new();
    for entry in fields.objects("tools")?.unwrap_or_default() {
        match entry.text("type")? {
            None | Some("custom") => {
                let name =
                    tools::tool_name(&entry).map_err(|refusal| Refusal { param: None, code: None, ..refusal })?;
                entry.required("input_schema", entry.object("input_schema")?)?;
                names.push(name.clone());
                list.push(Tool { name, schema: tools::schema(&entry, "input_schema")?, is_free_text: false });
            }
            // A tool that Anthropic defines: the sandbox knows no arguments for it, so it is never called.
            Some(_) => names.extend(entry.text("name")?.map(str::to_owned)),
        }
    }
    if let Some(name) = names.iter().enumerate().find_map(|(at, name)| names[..at].contains(name).then_some(name)) {
        return Err(Refusal::invalid(format!("tools: Tool names must be unique (\"{name}\" is there twice).")));
    }
    let mut tools = Tools { list, choice: Choice::Auto, is_parallel: true };
    let Some(choice) = fields.object("tool_choice")? else { return Ok(tools) };
    tools.is_parallel = !choice.flag("disable_parallel_tool_use")?.unwrap_or(false);
    tools.choice = match choice.required("type", choice.text("type")?)? {
        "auto" => Choice::Auto,
        "none" => Choice::None,
        "any" => Choice::Required,
        "tool" => Choice::Named(choice.required("name", choice.text("name")?)?.to_owned()),
        other => return Err(choice.unknown_value("type", other, &["auto", "any", "tool", "none"])),
    };
    match &tools.choice {
        Choice::Named(name) if !names.contains(name) => {
            Err(Refusal::invalid(format!("Tool '{name}' not found in provided tools")))
        }
        Choice::Required if names.is_empty() => {
            Err(Refusal::invalid("tool_choice: may only be specified while providing tools."))
        }
        _ => Ok(tools),
    }
}

/// Looks like a signature and is one, of nothing.
fn signature(seed: Seed) -> String {
    let seed = seed.part("signature", 0);
    STANDARD.encode([*seed.bytes(), *seed.part("signature", 1).bytes()].concat())
}

/// `max_tokens: 0` fills the cache and says nothing.
fn silence() -> Said {
    Said {
        thought: String::new(),
        text: String::new(),
        calls: Vec::new(),
        end: End::Length,
        output_tokens: 0,
        thought_tokens: 0,
    }
}

impl Caching {
    fn usage(self, total: u64, said: &Said) -> Usage {
        let (read, written) = if self.breakpoints > 0 { (total / 2, total / 4) } else { (0, 0) };
        let (short, long) = if self.is_long { (0, written) } else { (written, 0) };
        let details = (said.thought_tokens > 0).then_some(OutputDetails { thinking_tokens: said.thought_tokens });
        Usage {
            input_tokens: total - read - written,
            cache_creation_input_tokens: written,
            cache_read_input_tokens: read,
            cache_creation: CacheCreation { ephemeral_5m_input_tokens: short, ephemeral_1h_input_tokens: long },
            output_tokens: said.output_tokens,
            output_tokens_details: details,
            service_tier: "standard",
        }
    }
}

/// An answer that only has to be put on the wire.
struct Answer<'a> {
    id: String,
    model: &'a str,
    said: Said,
    usage: Usage,
    signature: String,
    shows_thought: bool,
}

impl Answer<'_> {
    fn stop_reason(&self) -> &'static str {
        match self.said.end {
            End::Stop => "end_turn",
            End::Sequence(_) => "stop_sequence",
            End::Length => "max_tokens",
            End::Calls => "tool_use",
        }
    }

    fn stop_sequence(&self) -> Option<&str> {
        match &self.said.end {
            End::Sequence(sequence) => Some(sequence),
            _ => None,
        }
    }

    fn message<'a>(&'a self, content: Vec<Block<'a>>) -> Message<'a> {
        Message {
            id: &self.id,
            r#type: "message",
            role: "assistant",
            model: self.model,
            content,
            stop_reason: None,
            stop_sequence: None,
            usage: self.usage,
        }
    }

    fn thought(&self) -> &str {
        if self.shows_thought { &self.said.thought } else { "" }
    }

    /// The calls whose arguments are whole, as JSON.
    fn calls(&self) -> impl Iterator<Item = (String, &str, &RawValue)> {
        let whole = self.said.calls.iter().filter(|call| call.is_whole);
        whole.filter_map(|call| {
            let input = serde_json::from_str(&call.arguments).ok()?;
            Some((call.seed.id("toolu_01", 22), call.name.as_str(), input))
        })
    }

    fn whole(&self) -> Reply {
        let mut content = Vec::new();
        if !self.said.thought.is_empty() {
            content.push(Block::Thinking { thinking: self.thought(), signature: &self.signature });
        }
        if !self.said.text.is_empty() {
            content.push(Block::Text { text: &self.said.text });
        }
        content.extend(self.calls().map(|(id, name, input)| Block::ToolUse { id, name, input }));
        let mut message = self.message(content);
        message.stop_reason = Some(self.stop_reason());
        message.stop_sequence = self.stop_sequence();
        Reply::json(&message)
    }

    fn stream(&self) -> Reply {
        let mut records = Records::default();
        let mut message = self.message(Vec::new());
        // As with Anthropic, the opening counts the input and only the first token of the output.
        message.usage.output_tokens = self.usage.output_tokens.min(1);
        message.usage.output_tokens_details = None;
        records.push(&Event::MessageStart { message });
        if !self.said.thought.is_empty() {
            records.open(Block::Thinking { thinking: "", signature: "" });
            for thinking in pieces(self.thought()) {
                records.delta(Delta::ThinkingDelta { thinking });
            }
            records.delta(Delta::SignatureDelta { signature: &self.signature });
            records.close();
        }
        if !self.said.text.is_empty() {
            records.open(Block::Text { text: "" });
            for text in pieces(&self.said.text) {
                records.delta(Delta::TextDelta { text });
            }
            records.close();
        }
        let nothing = RawValue::from_string("{}".to_owned()).expect("an empty object is JSON");
        for (id, name, input) in self.calls() {
            records.open(Block::ToolUse { id, name, input: &nothing });
            records.delta(Delta::InputJsonDelta { partial_json: "" });
            for partial_json in pieces(input.get()) {
                records.delta(Delta::InputJsonDelta { partial_json });
            }
            records.close();
        }
        records.push(&Event::MessageDelta {
            delta: MessageDelta { stop_reason: self.stop_reason(), stop_sequence: self.stop_sequence() },
            usage: DeltaUsage {
                input_tokens: self.usage.input_tokens,
                cache_creation_input_tokens: self.usage.cache_creation_input_tokens,
                cache_read_input_tokens: self.usage.cache_read_input_tokens,
                output_tokens: self.usage.output_tokens,
                output_tokens_details: self.usage.output_tokens_details,
            },
        });
        records.push(&Event::MessageStop);
        let error = Bytes::from_static(ANTHROPIC_STREAM_ERROR.as_bytes());
        Reply::Stream(Frames { records: records.list, ending: 2, error })
    }
}

/// The records of a stream, one block open at a time.
#[derive(Default)]
struct Records {
    list: Vec<Bytes>,
    block: usize,
}

impl Records {
    fn push(&mut self, event: &Event<'_>) {
        let mut record = format!("event: {}\ndata: ", event.name()).into_bytes();
        serde_json::to_writer(&mut record, event).expect("wire types have text keys only, and memory takes all writes");
        record.extend_from_slice(b"\n\n");
        self.list.push(record.into());
    }

    fn open(&mut self, content_block: Block<'_>) {
        self.push(&Event::ContentBlockStart { index: self.block, content_block });
        if self.block == 0 {
            self.push(&Event::Ping);
        }
    }

    fn delta(&mut self, delta: Delta<'_>) {
        self.push(&Event::ContentBlockDelta { index: self.block, delta });
    }

    fn close(&mut self) {
        self.push(&Event::ContentBlockStop { index: self.block });
        self.block += 1;
    }
}

#[cfg(test)]
mod tests;
