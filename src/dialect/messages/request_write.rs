//! A request for Anthropic: everything around its messages.
//!
//! Decisions: temperature 1 and top_p 1 are what the model does anyway, so they are left out; of the two only one may be
//! said, since newer models refuse both together and the list doesn't say which. A verbosity of `medium` is no wish. Where nobody said
//! a cap, it is the model's own.

use serde_json::Number;

use crate::dialect::{Target, Untranslatable, Written};
use crate::domain::chat::{CacheMark, ChatRequest, OutputFormat, TierWish, Turn};

use super::client_field::ClientField;
use super::closed_schema::closed;
use super::reasoning::{self, Thoughts};
use super::tools_write;
use super::turns_write;
use super::wire::{CacheControl, Format, Metadata, OutputConfig, Request, Thinking};

/// The cap for a model of which none is known: every model that Anthropic ever had takes it.
const OUTPUT_TOKENS_DEFAULT: u64 = 4_096;
/// As many as Anthropic takes.
const MARKS_MAX: usize = 4;

/// Writes a request for a model.
pub(super) fn write(request: &ChatRequest, target: &Target<'_>) -> Result<Written, Untranslatable> {
    let mut marks = Marks::of(request);
    let mut dropped = Vec::new();
    // In the order of Anthropic's cache, so that the last marks are kept.
    let mut tools = tools_write::tools(request, &mut marks)?;
    let (system, messages) = turns_write::turns(request, target, &mut marks, &mut dropped)?;
    let max_tokens = output_cap(request, target)?;
    let thoughts = reasoning::thoughts(request, target, max_tokens, turns_write::lost_its_thinking(&messages))?;
    let is_thinking = matches!(thoughts.thinking, Some(Thinking::Adaptive | Thinking::Enabled { .. }));
    check_sampling(request, target, is_thinking)?;
    let mut tool_choice = tools_write::choice(request, target, is_thinking)?;
    let Answering { format, tool: answer_tool } = answering(request, target, is_thinking)?;
    if let Some(tool) = answer_tool {
        tool_choice = Some(tools_write::only(tool));
        tools.push(tools_write::answer_tool(request, tool)?);
    }
    if marks.dropped {
        dropped.push("prompt_cache_breakpoint");
    }
    let Thoughts { thinking, effort, is_turned_off } = thoughts;
    if is_turned_off {
        dropped.push(ClientField::Reasoning.of(request.endpoint));
    }
    let wire = Request {
        model: target.model,
        max_tokens,
        system,
        messages,
        tools,
        tool_choice,
        thinking,
        output_config: OutputConfig { effort, format },
        temperature: said(request.temperature.as_ref()),
        top_p: said(request.top_p.as_ref()),
        top_k: request.top_k,
        stop_sequences: stops(request)?,
        metadata: request.user.as_deref().map(|user_id| Metadata { user_id }),
        service_tier: request.tier.filter(|tier| *tier == TierWish::Standard).map(|_| "standard_only"),
        stream: request.stream,
    };
    check_verbosity(request)?;
    let body = serde_json::to_vec(&wire).expect("wire types have text keys only, and memory takes all writes");
    Ok(Written { body, answer_tool, dropped })
}

fn output_cap(request: &ChatRequest, target: &Target<'_>) -> Result<u64, Untranslatable> {
    match request.output_tokens_max {
        Some(0) => Err(ClientField::OutputCap.refused(request.endpoint, "the answer must have at least one token")),
        Some(cap) => Ok(cap),
        None => Ok(target.max_output.unwrap_or(OUTPUT_TOKENS_DEFAULT)),
    }
}

/// A sampling parameter, unless it says what holds anyway.
fn said(number: Option<&Number>) -> Option<&Number> {
    number.filter(|number| number.as_f64().is_none_or(|value| (value - 1.0).abs() > f64::EPSILON))
}

fn check_sampling(request: &ChatRequest, target: &Target<'_>, is_thinking: bool) -> Result<(), Untranslatable> {
    let temperature = said(request.temperature.as_ref());
    let top_p = said(request.top_p.as_ref());
    let given = [
        (ClientField::Temperature, temperature.is_some()),
        (ClientField::TopP, top_p.is_some()),
        (ClientField::TopK, request.top_k.is_some()),
    ];
    for (field, is_given) in given {
        let name = field.of(request.endpoint);
        if is_given && target.capabilities.sampling_params == Some(false) {
            return Err(field.refused(request.endpoint, format!("the model takes no {name}; leave it out")));
        }
        if is_given && is_thinking {
            let reason = format!("the model takes no {name} while it thinks; leave {name} or the reasoning out");
            return Err(field.refused(request.endpoint, reason));
        }
    }
    for (field, number) in [(ClientField::Temperature, temperature), (ClientField::TopP, top_p)] {
        if number.and_then(Number::as_f64).is_some_and(|value| !(0.0..=1.0).contains(&value)) {
            let reason = format!("the model takes a {} from 0 to 1; choose one", field.of(request.endpoint));
            return Err(field.refused(request.endpoint, reason));
        }
    }
    if temperature.is_some() && top_p.is_some() {
        let reason = "the model takes temperature or top_p, not both; leave top_p out";
        return Err(ClientField::TopP.refused(request.endpoint, reason));
    }
    Ok(())
}

fn stops(request: &ChatRequest) -> Result<&[String], Untranslatable> {
    if request.stop.iter().any(|stop| stop.trim().is_empty()) {
        let reason = "the model stops at no text of whitespace alone; leave it out";
        return Err(ClientField::Stop.refused(request.endpoint, reason));
    }
    Ok(&request.stop)
}

fn check_verbosity(request: &ChatRequest) -> Result<(), Untranslatable> {
    match request.verbosity.as_deref() {
        None | Some("medium") => Ok(()),
        Some(_) => {
            let reason = "the model has no verbosity; leave it out and say in the instructions how long to answer";
            Err(ClientField::Verbosity.refused(request.endpoint, reason))
        }
    }
}

/// How the answer gets its form.
#[derive(Debug, Default)]
struct Answering {
    format: Option<Format>,
    tool: Option<&'static str>,
}

fn answering(request: &ChatRequest, target: &Target<'_>, is_thinking: bool) -> Result<Answering, Untranslatable> {
    let refused = |reason: &str| Err(ClientField::Format.refused(request.endpoint, reason));
    match &request.format {
        OutputFormat::Text => return Ok(Answering::default()),
        OutputFormat::JsonSchema { schema, .. } if target.capabilities.native_json_schema == Some(true) => {
            let format = Format { r#type: "json_schema", schema: closed(schema) };
            return Ok(Answering { format: Some(format), tool: None });
        }
        OutputFormat::JsonSchema { .. } | OutputFormat::JsonObject => {}
    }
    // The model has no such format of its own: it shall hand its answer to a tool that takes nothing else.
    let capabilities = target.capabilities;
    if !request.tools.is_empty() {
        return refused("the model can't answer in this format and call tools too; leave one of them out");
    }
    if is_thinking || capabilities.thinking_always_on == Some(true) {
        return refused("the model can't answer in this format while it thinks; leave it out or use a JSON schema");
    }
    if capabilities.forced_tool_use == Some(false) || capabilities.tools == Some(false) {
        return refused("the model has no such format; leave it out and ask for JSON in the instructions");
    }
    Ok(Answering { format: None, tool: Some(tools_write::ANSWER_TOOL) })
}

/// The places where a cache may end; the model takes few, and the last reach furthest.
#[derive(Debug)]
pub(super) struct Marks {
    skip: usize,
    dropped: bool,
}

impl Marks {
    fn of(request: &ChatRequest) -> Self {
        let count = request.tools.iter().filter(|tool| tool.cache.is_some()).count()
            + request.system.iter().filter(|text| text.cache.is_some()).count()
            + request.turns.iter().map(marks_in).sum::<usize>();
        Self { skip: count.saturating_sub(MARKS_MAX), dropped: count > MARKS_MAX }
    }

    /// The next mark, in the order of the cache.
    pub(super) fn place(&mut self, mark: Option<CacheMark>) -> Option<CacheControl> {
        let mark = mark?;
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        let ttl = (mark == CacheMark::OneHour).then_some("1h");
        Some(CacheControl { r#type: "ephemeral", ttl })
    }

    /// A mark stands where the model takes none.
    pub(super) fn lose(&mut self, mark: Option<CacheMark>) {
        self.dropped |= mark.is_some();
        self.skip = self.skip.saturating_sub(usize::from(mark.is_some()));
    }
}

fn marks_in(turn: &Turn) -> usize {
    match turn {
        Turn::System(parts) => parts.iter().filter(|part| part.cache.is_some()).count(),
        Turn::User(parts) => parts.iter().filter(|part| part.cache.is_some()).count(),
        Turn::Assistant(parts) => parts.iter().filter(|part| part.cache.is_some()).count(),
    }
}

#[cfg(test)]
mod tests;
