//! Usage in Anthropic's words.
//!
//! `input_tokens` excludes what was read from and written to caches. In a stream the usage of `message_delta` is a
//! running total: what it names takes the place of what `message_start` said, and nothing is ever added.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::{Residency, ServiceTier, TokenUsage};
use crate::provider::usage::{
    COUNT_MAX, Count, RAW_BYTES_MAX, ReportedAnswer, ReportedUsage, UsageError, compacted, dropped, object, objects,
    record, word,
};

/// More fields than this, over all records of a stream, are no usage object that anybody could read.
const RAW_FIELDS_MAX: usize = 64;

#[derive(Deserialize)]
struct AnswerWire<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    stop_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    /// The message inside `message_start`.
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    /// The change inside `message_delta`.
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    /// `message`, where it is one.
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct DeltaWire<'a> {
    #[serde(borrow)]
    stop_reason: Option<&'a RawValue>,
}

/// A usage, or one iteration of it.
#[derive(Deserialize)]
struct UsageWire<'a> {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default)]
    cache_creation_input_tokens: Count,
    #[serde(default)]
    cache_read_input_tokens: Count,
    #[serde(borrow)]
    cache_creation: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    server_tool_use: Option<&'a RawValue>,
    #[serde(borrow)]
    iterations: Option<&'a RawValue>,
    #[serde(borrow)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    inference_geo: Option<&'a RawValue>,
    #[serde(borrow)]
    speed: Option<&'a RawValue>,
}

/// The objects inside a usage, which have no field in common.
#[derive(Default, Deserialize)]
#[serde(default)]
struct DetailsWire {
    ephemeral_5m_input_tokens: Count,
    ephemeral_1h_input_tokens: Count,
    thinking_tokens: Count,
    web_search_requests: Count,
}

/// The usage in a message or in a `message_start`. Of a stream's later records use [`UsageProgress`].
pub fn decode_usage(json: &[u8]) -> Result<Option<ReportedUsage>, UsageError> {
    decode_answer(json)?.usage
}

/// Who answered, how it ended and what it used, from a message or a record of a stream.
pub fn decode_answer(json: &[u8]) -> Result<ReportedAnswer<'_>, UsageError> {
    let wire = answer(json)?;
    let (tier, usage) = reported(&wire);
    Ok(ReportedAnswer { id: word(wire.id), model: word(wire.model), finish_reason: stop_reason(&wire), tier, usage })
}

/// What of a whole message decides whether it is one, and what it cost.
pub(super) struct Message<'a> {
    pub(super) kind: Option<Cow<'a, str>>,
    pub(super) content: Option<&'a RawValue>,
    pub(super) model: Option<Cow<'a, str>>,
    pub(super) finish_reason: Option<Cow<'a, str>>,
    pub(super) usage: Result<Option<ReportedUsage>, UsageError>,
}

/// Reads a whole message in one pass; its content is not looked into.
pub(super) fn decode_message(json: &[u8]) -> Result<Message<'_>, UsageError> {
    let outer: AnswerWire = record(json)?;
    let (kind, content) = (word(outer.kind), outer.content);
    let wire = object(outer.message).unwrap_or(outer);
    let finish_reason = stop_reason(&wire);
    Ok(Message { kind, content, model: word(wire.model), finish_reason, usage: reported(&wire).1 })
}

fn reported(wire: &AnswerWire<'_>) -> (Option<ServiceTier>, Result<Option<ReportedUsage>, UsageError>) {
    let told = told(wire.usage);
    let tier = told.as_ref().ok().and_then(|told| told.tier);
    let usage = told.map(|told| {
        let buckets = told.buckets()?;
        Some(told.reported(buckets, compacted(wire.usage?.get())))
    });
    (tier, usage)
}

fn answer(json: &[u8]) -> Result<AnswerWire<'_>, UsageError> {
    let outer: AnswerWire = record(json)?;
    Ok(object(outer.message).unwrap_or(outer))
}

fn stop_reason<'a>(wire: &AnswerWire<'a>) -> Option<Cow<'a, str>> {
    word(wire.stop_reason).or_else(|| object(wire.delta).and_then(|delta: DeltaWire<'a>| word(delta.stop_reason)))
}

/// The counts that one record names; what it leaves out is `None`.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    /// Cache writes for five minutes and for an hour.
    cache_writes: Option<(u64, u64)>,
    thinking: Option<u64>,
    web_searches: Option<u64>,
    /// The sum of the iterations, which say more than the counts above.
    iterations: Option<TokenUsage>,
    tier: Option<ServiceTier>,
    residency: Option<Residency>,
    fast: Option<bool>,
}

impl Told {
    /// Puts what a later record names in place of what was told before.
    fn replace_with(&mut self, later: Self) {
        if later.output.is_some() && later.iterations.is_none() {
            self.iterations = None;
        }
        self.input = later.input.or(self.input);
        self.output = later.output.or(self.output);
        self.cache_read = later.cache_read.or(self.cache_read);
        self.cache_write = later.cache_write.or(self.cache_write);
        self.cache_writes = later.cache_writes.or(self.cache_writes);
        self.thinking = later.thinking.or(self.thinking);
        self.web_searches = later.web_searches.or(self.web_searches);
        self.iterations = later.iterations.or(self.iterations);
        self.tier = later.tier.or(self.tier);
        self.residency = later.residency.or(self.residency);
        self.fast = later.fast.or(self.fast);
    }

    /// The counts in buckets; nothing without the input, since that would say too little.
    fn buckets(&self) -> Option<TokenUsage> {
        let (briefly, for_an_hour) = self.cache_writes.unwrap_or_default();
        let usage = match self.iterations {
            Some(sum) => sum,
            None => TokenUsage {
                uncached_input: self.input?,
                cache_read: self.cache_read.unwrap_or_default(),
                // Writes that the split leaves out, and all writes without one, last five minutes.
                cache_write_5m: briefly.max(self.cache_write.unwrap_or_default().saturating_sub(for_an_hour)),
                cache_write_1h: for_an_hour,
                output: self.output.unwrap_or_default(),
                ..TokenUsage::default()
            },
        };
        Some(TokenUsage {
            reasoning: self.thinking.unwrap_or_default().min(usage.output),
            web_searches: self.web_searches.unwrap_or_default(),
            ..usage
        })
    }

    fn reported(&self, usage: TokenUsage, raw: Box<str>) -> ReportedUsage {
        ReportedUsage {
            usage,
            tier: self.tier.unwrap_or_default(),
            residency: self.residency.unwrap_or_default(),
            fast: self.fast.unwrap_or_default(),
            raw,
        }
    }
}

fn told(raw: Option<&RawValue>) -> Result<Told, UsageError> {
    let Some(wire) = object::<UsageWire>(raw) else { return Ok(Told::default()) };
    let mut told = counts(&wire)?;
    let details: DetailsWire = object(wire.output_tokens_details).unwrap_or_default();
    let tools: DetailsWire = object(wire.server_tool_use).unwrap_or_default();
    told.thinking = details.thinking_tokens.told("thinking_tokens")?;
    told.web_searches = tools.web_search_requests.told("web_search_requests")?;
    told.tier = word(wire.service_tier).map(|tier| ServiceTier::from_word(&tier));
    told.residency =
        word(wire.inference_geo).map(|place| if place == "us" { Residency::Us } else { Residency::Anywhere });
    told.fast = word(wire.speed).map(|speed| speed == "fast");
    for iteration in objects::<UsageWire>(wire.iterations) {
        let counted = Told { input: iteration_input(&iteration)?, ..counts(&iteration)? };
        let sum = told.iterations.unwrap_or_default() + counted.buckets().unwrap_or_default();
        if sum.total_input().max(sum.output) > COUNT_MAX {
            return Err(UsageError::Count { field: "iterations" });
        }
        told.iterations = Some(sum);
    }
    Ok(told)
}

fn iteration_input(wire: &UsageWire<'_>) -> Result<Option<u64>, UsageError> {
    wire.input_tokens.or_zero("input_tokens").map(Some)
}

fn counts(wire: &UsageWire<'_>) -> Result<Told, UsageError> {
    let cache_writes = object(wire.cache_creation).map(|split: DetailsWire| {
        let briefly = split.ephemeral_5m_input_tokens.or_zero("ephemeral_5m_input_tokens")?;
        let for_an_hour = split.ephemeral_1h_input_tokens.or_zero("ephemeral_1h_input_tokens")?;
        Ok((briefly, for_an_hour))
    });
    Ok(Told {
        input: wire.input_tokens.told("input_tokens")?,
        output: wire.output_tokens.told("output_tokens")?,
        cache_read: wire.cache_read_input_tokens.told("cache_read_input_tokens")?,
        cache_write: wire.cache_creation_input_tokens.told("cache_creation_input_tokens")?,
        cache_writes: cache_writes.transpose()?,
        ..Told::default()
    })
}

/// What the records of one stream said, put together.
#[derive(Debug, Default)]
pub struct UsageProgress {
    id: Option<Box<str>>,
    model: Option<Box<str>>,
    stop_reason: Option<Box<str>>,
    told: Told,
    /// The usage objects put together in the same way.
    raw: BTreeMap<Box<str>, Box<RawValue>>,
    /// The size of a usage object that was too long to keep.
    raw_dropped: Option<usize>,
    is_final: bool,
}

impl UsageProgress {
    /// Takes in a record: `message_start`, `message_delta`, or any other, which changes nothing.
    ///
    /// After an error the usage counts as unfinished, and what was told before stands.
    pub fn take(&mut self, json: &[u8]) -> Result<(), UsageError> {
        let wire = answer(json)?;
        self.id = self.id.take().or_else(|| word(wire.id).map(Into::into));
        self.model = self.model.take().or_else(|| word(wire.model).map(Into::into));
        if let Some(reason) = stop_reason(&wire) {
            self.stop_reason = Some(reason.into());
        }
        let told = told(wire.usage).inspect_err(|_| self.is_final = false)?;
        self.is_final |= told.output.is_some() && self.stop_reason.is_some();
        self.told.replace_with(told);
        self.keep_raw(wire.usage);
        Ok(())
    }

    fn keep_raw(&mut self, usage: Option<&RawValue>) {
        let bytes = usage.map_or(0, |usage| usage.get().len());
        if bytes > RAW_BYTES_MAX || self.raw.len() > RAW_FIELDS_MAX {
            self.raw_dropped = Some(bytes);
            return;
        }
        let fields: Option<BTreeMap<Box<str>, Option<Box<RawValue>>>> = object(usage);
        let told = fields.into_iter().flatten().filter_map(|(name, value)| value.map(|value| (name, value)));
        self.raw.extend(told);
    }

    /// The usage as far as it was told.
    pub fn reported(&self) -> Option<ReportedUsage> {
        let usage = self.told.buckets()?;
        let raw = || serde_json::to_string(&self.raw).expect("a map of names to JSON prints as JSON");
        Some(self.told.reported(usage, self.raw_dropped.map_or_else(|| compacted(&raw()), dropped)))
    }

    /// True once the usage of the whole answer has come.
    pub fn is_final(&self) -> bool {
        self.is_final
    }

    /// The provider's id of the message.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The model that answers.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Why it ended, where it has.
    pub fn stop_reason(&self) -> Option<&str> {
        self.stop_reason.as_deref()
    }
}

#[cfg(test)]
mod tests;
