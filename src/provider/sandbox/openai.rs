//! `POST /v1/chat/completions`.
//!
//! Reasoning is counted where it is asked for, and not shown, as with OpenAI. Of the prompt, half counts as cached where
//! `prompt_cache_key` or a `prompt_cache_breakpoint` is given, and with the latter a quarter as written to the cache.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::plan::{Ask, CallSaid, End, Format, Said};
use super::refusal::{OPENAI_STREAM_ERROR, Refusal};
use super::reply::{Frames, Reply};
use super::request::{Call, Fields};
use super::seed::Seed;
use super::tokens::pieces;
use super::tools::{self, Choice, Shape, Tool, Tools};
use super::wire_openai::{
    Chat, ChatChoice, ChatMessage, Chunk, ChunkChoice, CompletionDetails, Custom, Delta, Function, Logprob, Logprobs,
    PromptDetails, ToolCall, TopLogprob, Usage,
};

mod input;

use input::conversation;

/// Stands in for the version of a model's weights.
pub(super) const FINGERPRINT: &str = "fp_sandbox";
const CHOICES_MAX: i64 = 128;

/// Everything of a chat request that the answer needs.
struct Asked<'a> {
    ask: Ask<'a>,
    model: &'a str,
    choices: usize,
    stream: Streaming,
    logprobs: Option<usize>,
    usage: UsageRule,
    tier: &'a str,
    /// The client sent `functions`, the older way to give tools.
    is_legacy: bool,
}

/// Answers a chat.
pub(super) fn chat(call: &Call<'_>) -> Result<Reply, Refusal> {
    let asked = read(call)?;
    let said: Vec<_> = (0..asked.choices).map(|index| asked.ask.say(index)).collect();
    let usage = asked.usage.of(asked.ask.input_tokens(), &said);
    let id = call.seed.part("chat", 0).id("chatcmpl-", 29);
    let head = Head { id: &id, created: call.seed.created(), asked: &asked };
    Ok(if asked.stream.is_on { head.stream(&said, usage) } else { head.whole(&said, usage) })
}

fn read<'a>(call: &'a Call<'_>) -> Result<Asked<'a>, Refusal> {
    let fields = call.fields();
    let model = model(&fields)?;
    let (conversation, has_breakpoint) = conversation(&fields)?;
    let mut tools = tools::of_openai(&fields, Shape::Nested)?;
    let is_legacy = legacy_functions(&fields, &mut tools)?;
    let stream = Streaming::read(&fields)?;
    check_sampling(&fields)?;
    let choices = usize::try_from(fields.integer("n", 1, CHOICES_MAX)?.unwrap_or(1)).unwrap_or(1);
    let logprobs = fields.flag("logprobs")?.unwrap_or(false);
    let top = fields.integer("top_logprobs", 0, 20)?;
    if top.is_some() && !logprobs {
        let message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.";
        return Err(Refusal { param: Some("top_logprobs".to_owned()), ..Refusal::invalid(message) });
    }
    Ok(Asked {
        ask: Ask {
            seed: call.seed,
            script: call.script,
            conversation,
            tools,
            format: format(&fields)?,
            output_max: output_max(&fields)?,
            stops: stops(&fields)?,
            thought_tokens: effort_tokens(&fields, "reasoning_effort")?,
            text_tokens: call.text_tokens(choices),
            talks_before_calls: false,
        },
        model,
        choices,
        stream,
        logprobs: logprobs.then(|| usize::try_from(top.unwrap_or(0)).unwrap_or(0)),
        usage: UsageRule { is_keyed: fields.text("prompt_cache_key")?.is_some(), has_breakpoint },
        tier: tier(&fields)?,
        is_legacy,
    })
}

/// The model's name: any will do.
pub(super) fn model<'a>(fields: &Fields<'a>) -> Result<&'a str, Refusal> {
    let model = fields.text("model")?.filter(|model| !model.is_empty());
    model.ok_or_else(|| Refusal {
        param: Some("model".to_owned()),
        code: Some("missing_required_parameter"),
        ..Refusal::invalid("you must provide a model parameter")
    })
}

/// The service tier that the answer says was billed: the one asked for, where that is a special one.
pub(super) fn tier<'a>(fields: &Fields<'a>) -> Result<&'a str, Refusal> {
    let known = ["auto", "default", "flex", "scale", "priority", "fast"];
    match fields.text("service_tier")? {
        None | Some("auto" | "default") => Ok("default"),
        Some(tier) if known.contains(&tier) => Ok(tier),
        Some(other) => Err(fields.unknown_value("service_tier", other, &known)),
    }
}

/// How many tokens of reasoning an effort stands for.
pub(super) fn effort_tokens(fields: &Fields<'_>, name: &str) -> Result<u64, Refusal> {
    Ok(match fields.text(name)? {
        None | Some("none") => 0,
        Some("minimal") => 16,
        Some("low") => 32,
        Some("medium") => 64,
        Some("high") => 128,
        Some("xhigh") => 192,
        Some("max") => 256,
        Some(other) => {
            let known = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
            return Err(fields.unknown_value(name, other, &known));
        }
    })
}

/// Checks what changes nothing here, so that a wrong value is found before it meets a real server.
pub(super) fn check_sampling(fields: &Fields<'_>) -> Result<(), Refusal> {
    fields.number("temperature", 0, 2)?;
    fields.number("top_p", 0, 1)?;
    fields.number("presence_penalty", -2, 2)?;
    fields.number("frequency_penalty", -2, 2)?;
    fields.integer("seed", i64::MIN, i64::MAX)?;
    fields.object("logit_bias")?;
    fields.object("metadata")?;
    fields.flag("store")?;
    fields.text("user")?;
    Ok(())
}

fn output_max(fields: &Fields<'_>) -> Result<Option<u64>, Refusal> {
    let old = fields.integer("max_tokens", 1, i64::MAX)?;
    let new = fields.integer("max_completion_tokens", 1, i64::MAX)?;
    if old.is_some() && new.is_some() {
        let message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.";
        return Err(Refusal { param: Some("max_tokens".to_owned()), ..Refusal::invalid(message) });
    }
    Ok(new.or(old))
}

/// `stop`: a text or up to four of them.
pub(super) fn stops(fields: &Fields<'_>) -> Result<Vec<String>, Refusal> {
    if let Some(Value::String(stop)) = fields.get("stop") {
        return Ok(vec![stop.clone()]);
    }
    let list = fields.list("stop")?.unwrap_or_default();
    if list.len() > 4 {
        let message = format!(
            "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length {} \
             instead.",
            list.len()
        );
        return Err(Refusal::of_field("stop", "array_above_max_length", message));
    }
    let texts = list.iter().map(|stop| stop.as_str().map(str::to_owned));
    texts.collect::<Option<_>>().ok_or_else(|| fields.wrong_type("stop", "an array of strings"))
}

fn format(fields: &Fields<'_>) -> Result<Format, Refusal> {
    let Some(format) = fields.object("response_format")? else { return Ok(Format::Text) };
    match format.required("type", format.text("type")?)? {
        "text" => Ok(Format::Text),
        "json_object" => Ok(Format::JsonObject),
        "json_schema" => {
            let inner = format.required("json_schema", format.object("json_schema")?)?;
            tools::tool_name(&inner)?;
            Ok(schema_format(&inner)?.unwrap_or(Format::JsonObject))
        }
        other => Err(format.unknown_value("type", other, &["json_object", "json_schema", "text"])),
    }
}

/// The `schema` of a format.
pub(super) fn schema_format(fields: &Fields<'_>) -> Result<Option<Format>, Refusal> {
    let schema = fields.object("schema")?;
    Ok(schema.map(|schema| Format::Schema(Value::Object(schema.map().clone()))))
}

/// Tools as clients gave them before there were `tools`; true where they are.
fn legacy_functions(fields: &Fields<'_>, tools: &mut Tools) -> Result<bool, Refusal> {
    let Some(functions) = fields.objects("functions")? else { return Ok(false) };
    for function in &functions {
        let (name, schema) = (tools::tool_name(function)?, tools::schema(function, "parameters")?);
        tools.list.push(Tool { name, schema, is_free_text: false });
    }
    tools.is_parallel = false;
    tools.choice = match fields.get("function_call") {
        None => Choice::Auto,
        Some(Value::String(word)) if word == "none" => Choice::None,
        Some(Value::String(word)) if word == "auto" => Choice::Auto,
        Some(Value::String(word)) => return Err(fields.unknown_value("function_call", word, &["none", "auto"])),
        Some(_) => {
            let named = fields.required("function_call", fields.object("function_call")?)?;
            let name = named.required("name", named.text("name")?)?;
            if !tools.list.iter().any(|tool| tool.name == name) {
                let message = format!("Function '{name}' not found in 'functions' parameter.");
                return Err(Refusal { param: Some("function_call".to_owned()), ..Refusal::invalid(message) });
            }
            Choice::Named(name.to_owned())
        }
    };
    Ok(true)
}

/// Whether to stream, and whether with usage.
#[derive(Clone, Copy)]
pub(super) struct Streaming {
    pub(super) is_on: bool,
    pub(super) has_usage: bool,
}

impl Streaming {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, Refusal> {
        let is_on = fields.flag("stream")?.unwrap_or(false);
        let options = fields.object("stream_options")?;
        if options.is_some() && !is_on {
            let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
            return Err(Refusal { param: Some("stream_options".to_owned()), ..Refusal::invalid(message) });
        }
        let has_usage = options.map_or(Ok(None), |options| options.flag("include_usage"))?.unwrap_or(false);
        Ok(Self { is_on, has_usage })
    }
}

/// What of the prompt counts as cached.
pub(super) struct UsageRule {
    pub(super) is_keyed: bool,
    pub(super) has_breakpoint: bool,
}

impl UsageRule {
    /// The cached part of a prompt, and the part written to the cache.
    pub(super) fn cached(&self, prompt: u64) -> (u64, Option<u64>) {
        let cached = if self.is_keyed || self.has_breakpoint { prompt / 2 } else { 0 };
        (cached, self.has_breakpoint.then_some(prompt / 4))
    }

    fn of(&self, prompt: u64, said: &[Said]) -> Usage {
        let completion = said.iter().map(|said| said.output_tokens).sum();
        let reasoning_tokens = said.iter().map(|said| said.thought_tokens).sum();
        let (cached_tokens, cache_write_tokens) = self.cached(prompt);
        Usage {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: prompt + completion,
            prompt_tokens_details: PromptDetails { cached_tokens, cache_write_tokens, audio_tokens: 0 },
            completion_tokens_details: CompletionDetails { reasoning_tokens, ..CompletionDetails::default() },
        }
    }
}

/// OpenAI's word for how an answer ended.
pub(super) fn finish_reason(end: &End) -> &'static str {
    match end {
        End::Stop | End::Sequence(_) => "stop",
        End::Length => "length",
        End::Calls => "tool_calls",
    }
}

/// One server-sent record without a name.
pub(super) fn record(value: &impl Serialize) -> Bytes {
    let mut record = b"data: ".to_vec();
    serde_json::to_writer(&mut record, value).expect("wire types have text keys only, and memory takes all writes");
    record.extend_from_slice(b"\n\n");
    record.into()
}

/// What is the same in all records of an answer.
struct Head<'a> {
    id: &'a str,
    created: u64,
    asked: &'a Asked<'a>,
}

impl Head<'_> {
    fn finish(&self, said: &Said) -> &'static str {
        if self.asked.is_legacy && said.end == End::Calls { "function_call" } else { finish_reason(&said.end) }
    }

    fn whole(&self, said: &[Said], usage: Usage) -> Reply {
        let choices = said.iter().enumerate().map(|(index, said)| {
            let has_text = said.calls.is_empty() || !said.text.is_empty();
            let mut message = ChatMessage {
                role: "assistant",
                content: has_text.then_some(said.text.as_str()),
                refusal: None,
                annotations: [],
                tool_calls: Vec::new(),
                function_call: None,
            };
            if self.asked.is_legacy {
                message.function_call =
                    said.calls.first().map(|call| Function { name: Some(&call.name), arguments: &call.arguments });
            } else {
                message.tool_calls = said.calls.iter().map(|call| tool_call(None, call, &call.arguments)).collect();
            }
            let logprobs = self.logprobs(&said.text, self.asked.ask.seed.part("logprobs", index));
            ChatChoice { index, message, logprobs, finish_reason: self.finish(said) }
        });
        Reply::json(&Chat {
            id: self.id,
            object: "chat.completion",
            created: self.created,
            model: self.asked.model,
            choices: choices.collect(),
            usage,
            service_tier: self.asked.tier,
            system_fingerprint: FINGERPRINT,
        })
    }

    fn stream(&self, said: &[Said], usage: Usage) -> Reply {
        let mut records = Vec::new();
        for (index, said) in said.iter().enumerate() {
            let has_text = said.calls.is_empty() || !said.text.is_empty();
            let opening = Delta {
                role: Some("assistant"),
                content: Some(has_text.then_some("")),
                refusal: Some(None),
                ..Delta::default()
            };
            records.push(self.delta(index, opening));
            for (count, piece) in pieces(&said.text).enumerate() {
                let seed = self.asked.ask.seed.part("logprobs", index).part("piece", count);
                let delta = Delta { content: Some(Some(piece)), ..Delta::default() };
                let logprobs = self.logprobs(piece, seed);
                records.push(self.chunk(ChunkChoice { index, delta, logprobs, finish_reason: None }));
            }
            for (position, call) in said.calls.iter().enumerate() {
                self.call(index, position, call, &mut records);
            }
            let finish_reason = Some(self.finish(said));
            records.push(self.chunk(ChunkChoice { index, delta: Delta::default(), logprobs: None, finish_reason }));
        }
        let mut ending = 2;
        if self.asked.stream.has_usage {
            records.push(self.record(&[], Some(usage)));
            ending += 1;
        }
        records.push(Bytes::from_static(b"data: [DONE]\n\n"));
        Reply::Stream(Frames { records, ending, error: Bytes::from_static(OPENAI_STREAM_ERROR.as_bytes()) })
    }

    /// A call's name and id come first, then its arguments piece by piece.
    fn call(&self, index: usize, position: usize, call: &CallSaid, records: &mut Vec<Bytes>) {
        let wrap = |call| Delta { tool_calls: Some([call]), ..Delta::default() };
        let legacy = |name, arguments| Delta { function_call: Some(Function { name, arguments }), ..Delta::default() };
        records.push(self.delta(
            index,
            if self.asked.is_legacy { legacy(Some(&call.name), "") } else { wrap(tool_call(Some(position), call, "")) },
        ));
        for piece in pieces(&call.arguments) {
            let mut part = ToolCall { index: Some(position), ..ToolCall::default() };
            if call.is_free_text {
                part.custom = Some(Custom { name: None, input: piece });
            } else {
                part.function = Some(Function { name: None, arguments: piece });
            }
            records.push(self.delta(index, if self.asked.is_legacy { legacy(None, piece) } else { wrap(part) }));
        }
    }

    fn delta(&self, index: usize, delta: Delta<'_>) -> Bytes {
        self.chunk(ChunkChoice { index, delta, logprobs: None, finish_reason: None })
    }

    fn chunk(&self, choice: ChunkChoice<'_>) -> Bytes {
        self.record(&[choice], None)
    }

    fn record(&self, choices: &[ChunkChoice<'_>], usage: Option<Usage>) -> Bytes {
        record(&Chunk {
            id: self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: self.asked.model,
            service_tier: self.asked.tier,
            system_fingerprint: FINGERPRINT,
            choices,
            usage: self.asked.stream.has_usage.then_some(usage),
        })
    }

    fn logprobs<'t>(&self, text: &'t str, seed: Seed) -> Option<Logprobs<'t>> {
        let top = self.asked.logprobs?;
        let mut dice = seed.dice();
        let content = pieces(text).map(|token| {
            let logprob = -dice.fraction();
            let bytes = token.as_bytes();
            let top_logprobs = if top == 0 { Vec::new() } else { vec![TopLogprob { token, logprob, bytes }] };
            Logprob { token, logprob, bytes, top_logprobs }
        });
        Some(Logprobs { content: content.collect(), refusal: None })
    }
}

/// The id of a call, the same in chat and responses.
pub(super) fn call_id(call: &CallSaid) -> String {
    call.seed.id("call_", 24)
}

fn tool_call<'a>(index: Option<usize>, call: &'a CallSaid, given: &'a str) -> ToolCall<'a> {
    let (function, custom, kind) = if call.is_free_text {
        (None, Some(Custom { name: Some(&call.name), input: given }), "custom")
    } else {
        (Some(Function { name: Some(&call.name), arguments: given }), None, "function")
    };
    ToolCall { index, id: Some(call_id(call)), r#type: Some(kind), function, custom }
}

#[cfg(test)]
mod tests;
