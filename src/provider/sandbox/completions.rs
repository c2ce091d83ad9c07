//! `POST /v1/completions`, the oldest of them: a text goes on.

use serde_json::Value;

use super::conversation::{Conversation, Role};
use super::openai::{FINGERPRINT, Streaming, check_sampling, finish_reason, model, record, stops};
use super::plan::{Ask, Format, Said};
use super::refusal::{OPENAI_STREAM_ERROR, Refusal};
use super::reply::{Frames, Reply};
use super::request::{Call, Fields};
use super::tokens::{self, pieces};
use super::tools::{Choice, Tools};
use super::wire_openai::{Completion, CompletionChoice, CompletionDetails, PromptDetails, Usage};

use bytes::Bytes;

/// What the service gives where nothing else is asked.
const OUTPUT_TOKENS_DEFAULT: u64 = 16;
const CHOICES_MAX: i64 = 128;
/// `n` times the number of prompts.
const ANSWERS_MAX: usize = 2048;
const PROMPTS_MAX: usize = 2048;

/// Answers a completion.
pub(super) fn completions(call: &Call<'_>) -> Result<Reply, Refusal> {
    let fields = call.fields();
    let model = model(&fields)?;
    let prompts = prompts(&fields)?;
    let stream = Streaming::read(&fields)?;
    check_sampling(&fields)?;
    let choices = usize::try_from(fields.integer("n", 1, CHOICES_MAX)?.unwrap_or(1)).unwrap_or(1);
    if choices * prompts.len() > ANSWERS_MAX {
        let message = format!("Invalid 'n': 'n' times the number of prompts may be {ANSWERS_MAX} at most.");
        return Err(Refusal::of_field("n", "integer_above_max_value", message));
    }
    let echo = fields.flag("echo")?.unwrap_or(false);
    let output_max = fields.integer("max_tokens", 0, i64::MAX)?.unwrap_or(OUTPUT_TOKENS_DEFAULT);
    let stops = stops(&fields)?;
    let mut said: Vec<(String, Said)> = Vec::new();
    let mut prompt_tokens = 0;
    for (position, prompt) in prompts.iter().enumerate() {
        prompt_tokens += prompt.tokens;
        let mut conversation = Conversation::default();
        conversation.push(Role::User, prompt.text.clone());
        let ask = Ask {
            seed: call.seed.part("prompt", position),
            script: call.script,
            conversation,
            tools: Tools { list: Vec::new(), choice: Choice::None, is_parallel: false },
            format: Format::Text,
            output_max: Some(output_max),
            stops: stops.clone(),
            thought_tokens: 0,
            text_tokens: call.text_tokens(choices * prompts.len()),
            talks_before_calls: false,
        };
        said.extend((0..choices).map(|index| {
            let said = ask.say(index);
            let text = if echo { format!("{}{}", prompt.text, said.text) } else { said.text.clone() };
            (text, said)
        }));
    }
    let completion_tokens = said.iter().map(|(_, said)| said.output_tokens).sum();
    let usage = Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: prompt_tokens + completion_tokens,
        prompt_tokens_details: PromptDetails { cached_tokens: 0, cache_write_tokens: None, audio_tokens: 0 },
        completion_tokens_details: CompletionDetails::default(),
    };
    let id = call.seed.part("completion", 0).id("cmpl-", 29);
    let completion = |choices, usage| Completion {
        id: &id,
        object: "text_completion",
        created: call.seed.created(),
        model,
        choices,
        usage,
        system_fingerprint: FINGERPRINT,
    };
    if !stream.is_on {
        let choices = said.iter().enumerate().map(|(index, (text, said))| {
            let finish_reason = Some(finish_reason(&said.end));
            CompletionChoice { text, index, logprobs: None, finish_reason }
        });
        return Ok(Reply::json(&completion(choices.collect(), Some(Some(usage)))));
    }
    let no_usage = stream.has_usage.then_some(None);
    let mut records = Vec::new();
    for (index, (text, said)) in said.iter().enumerate() {
        let ends = [("", Some(finish_reason(&said.end)))];
        for (text, finish_reason) in pieces(text).map(|piece| (piece, None)).chain(ends) {
            let choice = CompletionChoice { text, index, logprobs: None, finish_reason };
            records.push(record(&completion(vec![choice], no_usage)));
        }
    }
    let mut ending = 2;
    if stream.has_usage {
        records.push(record(&completion(Vec::new(), Some(Some(usage)))));
        ending += 1;
    }
    records.push(Bytes::from_static(b"data: [DONE]\n\n"));
    Ok(Reply::Stream(Frames { records, ending, error: Bytes::from_static(OPENAI_STREAM_ERROR.as_bytes()) }))
}

/// A text, or a list of token numbers standing for one.
pub(super) struct Prompt {
    pub(super) text: String,
    pub(super) tokens: u64,
}

fn prompts(fields: &Fields<'_>) -> Result<Vec<Prompt>, Refusal> {
    let value = fields.required("prompt", fields.get("prompt"))?;
    let prompts = texts_or_tokens(value).ok_or_else(|| fields.wrong_type("prompt", "a string or an array"))?;
    if prompts.is_empty() || prompts.len() > PROMPTS_MAX {
        let message = format!("Invalid 'prompt': expected 1 to {PROMPTS_MAX} prompts, but got {}.", prompts.len());
        return Err(Refusal::of_field("prompt", "invalid_value", message));
    }
    Ok(prompts)
}

/// Reads `string | [string] | [int] | [[int]]`, as prompts and inputs of embeddings are.
pub(super) fn texts_or_tokens(value: &Value) -> Option<Vec<Prompt>> {
    let of_text = |text: &str| Prompt { text: text.to_owned(), tokens: tokens::count(text) };
    match value {
        Value::String(text) => Some(vec![of_text(text)]),
        Value::Array(items) if items.first().is_some_and(Value::is_number) => Some(vec![of_numbers(items)?]),
        Value::Array(items) => items
            .iter()
            .map(|item| match item {
                Value::String(text) => Some(of_text(text)),
                Value::Array(numbers) => of_numbers(numbers),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

fn of_numbers(numbers: &[Value]) -> Option<Prompt> {
    let words = numbers.iter().map(|number| number.as_u64().map(|number| number.to_string()));
    let words: Vec<_> = words.collect::<Option<_>>()?;
    Some(Prompt { text: words.join(" "), tokens: u64::try_from(numbers.len()).ok()? })
}
