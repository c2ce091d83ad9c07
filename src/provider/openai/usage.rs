//! Usage in OpenAI's words: chat completions, embeddings, the Responses API, and the servers that imitate them.
//!
//! `prompt_tokens` includes what was read from and written to caches, and audio; the details are breakdowns of the
//! totals, never additions. `total_tokens` is never read.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::{Residency, ServiceTier, TokenUsage};
use crate::provider::usage::{
    Count, ReportedAnswer, ReportedUsage, UsageError, compacted, object, objects, record, word,
};

#[derive(Deserialize)]
struct AnswerWire<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    /// Groq's own corner, which has the usage in a stream.
    #[serde(borrow)]
    x_groq: Option<&'a RawValue>,
    /// The Responses API: how the response ended, and what it put out.
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    /// The response inside a streamed event of the Responses API.
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    /// What stands in place of an answer where there is none, whatever the status says.
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct GroqWire<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ChoiceWire<'a> {
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
}

/// An item of a response's output, or the action of one.
#[derive(Deserialize)]
struct ItemWire<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    action: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(default)]
struct UsageWire<'a> {
    prompt_tokens: Count,
    completion_tokens: Count,
    #[serde(borrow)]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens_details: Option<&'a RawValue>,
    input_tokens: Count,
    output_tokens: Count,
    #[serde(borrow)]
    input_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens_details: Option<&'a RawValue>,
    /// DeepSeek's name for cached tokens.
    prompt_cache_hit_tokens: Count,
    /// Mistral's.
    num_cached_tokens: Count,
}

impl Default for UsageWire<'_> {
    fn default() -> Self {
        Self {
            prompt_tokens: Count::Absent,
            completion_tokens: Count::Absent,
            prompt_tokens_details: None,
            completion_tokens_details: None,
            input_tokens: Count::Absent,
            output_tokens: Count::Absent,
            input_tokens_details: None,
            output_tokens_details: None,
            prompt_cache_hit_tokens: Count::Absent,
            num_cached_tokens: Count::Absent,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "these are the wire's names")]
struct DetailsWire {
    cached_tokens: Count,
    cache_write_tokens: Count,
    audio_tokens: Count,
    reasoning_tokens: Count,
}

/// The usage in a response body or a record of a stream, where it has one.
pub fn decode_usage(json: &[u8]) -> Result<Option<ReportedUsage>, UsageError> {
    decode_answer(json)?.usage
}

/// Who answered, how it ended and what it used, from a response body or a record of a stream.
pub fn decode_answer(json: &[u8]) -> Result<ReportedAnswer<'_>, UsageError> {
    let outer: AnswerWire = record(json)?;
    let wire = object(outer.response).unwrap_or(outer);
    let tier = word(wire.service_tier).map(|tier| ServiceTier::from_word(&tier));
    Ok(ReportedAnswer {
        id: word(wire.id),
        model: word(wire.model),
        finish_reason: finish_reason(&wire),
        tier,
        usage: reported(&wire, tier.unwrap_or_default()),
    })
}

/// What of a whole chat completion decides whether it is one, and what it cost.
pub(super) struct Completion<'a> {
    /// The member `error`, as written.
    pub(super) error: Option<&'a str>,
    /// The member `choices`, as written.
    pub(super) choices: Option<&'a str>,
    pub(super) model: Option<Cow<'a, str>>,
    pub(super) finish_reason: Option<Cow<'a, str>>,
    pub(super) usage: Result<Option<ReportedUsage>, UsageError>,
}

/// Reads a whole chat completion; of its choices only why they ended.
pub(super) fn decode_completion(json: &[u8]) -> Result<Completion<'_>, UsageError> {
    let outer: AnswerWire = record(json)?;
    let (error, choices) = (outer.error.map(RawValue::get), outer.choices.map(RawValue::get));
    let wire = object(outer.response).unwrap_or(outer);
    let tier = word(wire.service_tier).map(|tier| ServiceTier::from_word(&tier)).unwrap_or_default();
    let finish_reason = finish_reason(&wire);
    Ok(Completion { error, choices, model: word(wire.model), finish_reason, usage: reported(&wire, tier) })
}

/// Where OpenAI computes what is sent to a host: its regional hosts promise to stay in their region.
pub fn residency_of_host(host: &str) -> Residency {
    match host {
        "us.api.openai.com" => Residency::Us,
        "eu.api.openai.com" => Residency::Eu,
        _ => Residency::Anywhere,
    }
}

fn finish_reason<'a>(wire: &AnswerWire<'a>) -> Option<Cow<'a, str>> {
    objects(wire.choices)
        .find_map(|choice: ChoiceWire<'a>| word(choice.finish_reason))
        .or_else(|| word(wire.status).filter(|status| !matches!(&**status, "queued" | "in_progress")))
}

fn reported(wire: &AnswerWire<'_>, tier: ServiceTier) -> Result<Option<ReportedUsage>, UsageError> {
    let in_groqs_corner = || object(wire.x_groq).and_then(|groq: GroqWire| groq.usage);
    let Some(raw) = wire.usage.or_else(in_groqs_corner) else { return Ok(None) };
    let Some(usage) = object(Some(raw)) else { return Ok(None) };
    let Some(mut usage) = buckets(&usage)? else { return Ok(None) };
    usage.web_searches = searches(wire.output);
    Ok(Some(ReportedUsage { usage, tier, residency: Residency::Anywhere, fast: false, raw: compacted(raw.get()) }))
}

fn buckets(wire: &UsageWire<'_>) -> Result<Option<TokenUsage>, UsageError> {
    let (prompt, completion, prompt_details, completion_details) = match wire.prompt_tokens.told("prompt_tokens")? {
        Some(prompt) => {
            let completion = wire.completion_tokens.or_zero("completion_tokens")?;
            (prompt, completion, wire.prompt_tokens_details, wire.completion_tokens_details)
        }
        None => match wire.input_tokens.told("input_tokens")? {
            Some(input) => (
                input,
                wire.output_tokens.or_zero("output_tokens")?,
                wire.input_tokens_details,
                wire.output_tokens_details,
            ),
            // Without its input a usage would say too little, so it counts as absent.
            None => return Ok(None),
        },
    };
    let input: DetailsWire = object(prompt_details).unwrap_or_default();
    let output: DetailsWire = object(completion_details).unwrap_or_default();
    // The same count under three names: the first that says anything.
    let told = [
        input.cached_tokens.or_zero("cached_tokens")?,
        wire.prompt_cache_hit_tokens.or_zero("prompt_cache_hit_tokens")?,
        wire.num_cached_tokens.or_zero("num_cached_tokens")?,
    ];
    let cache_read = told.into_iter().find(|count| *count > 0).unwrap_or_default();
    let cache_write = input.cache_write_tokens.or_zero("cache_write_tokens")?;
    let audio_input = input.audio_tokens.or_zero("audio_tokens")?;
    let audio_output = output.audio_tokens.or_zero("audio_tokens")?;
    let text_output = completion.saturating_sub(audio_output);
    Ok(Some(TokenUsage {
        uncached_input: prompt.saturating_sub(cache_read).saturating_sub(cache_write).saturating_sub(audio_input),
        cache_read,
        cache_write_5m: cache_write,
        cache_write_1h: 0,
        output: text_output,
        reasoning: output.reasoning_tokens.or_zero("reasoning_tokens")?.min(text_output),
        audio_input,
        audio_output,
        web_searches: 0,
    }))
}

/// The searches in a response's output. Opening a page that was found is free.
fn searches(output: Option<&RawValue>) -> u64 {
    let is_search = |item: &ItemWire| {
        let action: Option<ItemWire> = object(item.action);
        word(item.kind).is_some_and(|kind| kind == "web_search_call")
            && action.and_then(|action| word(action.kind)).is_none_or(|kind| kind == "search")
    };
    objects(output).filter(is_search).count() as u64
}

/// What the records of one stream said, put together.
#[derive(Debug, Default)]
pub struct UsageProgress {
    id: Option<Box<str>>,
    model: Option<Box<str>>,
    finish_reason: Option<Box<str>>,
    tier: Option<ServiceTier>,
    usage: Option<ReportedUsage>,
    is_final: bool,
}

impl UsageProgress {
    /// Takes in a record. A later usage takes the place of an earlier one: they are running totals.
    ///
    /// After an error the usage counts as unfinished, and what was told before stands.
    pub fn take(&mut self, json: &[u8]) -> Result<(), UsageError> {
        let answer = decode_answer(json)?;
        self.id = self.id.take().or_else(|| answer.id.map(Into::into));
        self.model = self.model.take().or_else(|| answer.model.map(Into::into));
        self.tier = answer.tier.or(self.tier);
        let ends = answer.finish_reason.is_some();
        if let Some(reason) = answer.finish_reason {
            self.finish_reason = Some(reason.into());
        }
        match answer.usage {
            Ok(Some(usage)) => {
                self.usage = Some(usage);
                self.is_final = self.finish_reason.is_some();
            }
            // A usage that came with every chunk is whole only with the chunk that ends the answer.
            Ok(None) => self.is_final &= !ends,
            Err(error) => {
                self.is_final = false;
                return Err(error);
            }
        }
        Ok(())
    }

    /// The usage as far as it was told.
    pub fn reported(&self) -> Option<ReportedUsage> {
        let tier = self.tier.unwrap_or_default();
        self.usage.as_ref().map(|usage| ReportedUsage { tier, ..usage.clone() })
    }

    /// True once the usage of the whole answer has come.
    pub fn is_final(&self) -> bool {
        self.is_final
    }

    /// The provider's id of the response.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The model that answers.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Why it ended, where it has.
    pub fn finish_reason(&self) -> Option<&str> {
        self.finish_reason.as_deref()
    }
}

#[cfg(test)]
mod tests;
