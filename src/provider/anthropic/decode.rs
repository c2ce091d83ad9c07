//! Anthropic's answers: read for usage and their end, passed on untouched.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::sse::fields;
use crate::provider::credentials::Refusal;
use crate::provider::decode::{
    Decoder, Meaning, Progress, Said, Whole, is_about_the_key, may_be_object, short, unreadable,
};
use crate::provider::error::ProviderError;
use crate::provider::field::Field;
use crate::provider::usage::objects;
use crate::provider::words::no_message;

use super::usage::decode_message;

/// What holds the text of a delta.
static TEXTS: LazyLock<[Field; 3]> = LazyLock::new(|| ["\"text\"", "\"thinking\"", "\"partial_json\""].map(Field::new));

/// Reads messages.
pub(in crate::provider) struct AnthropicDecoder;

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    content_block: Option<Block>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type", default)]
    kind: String,
}

/// A block of a whole message, as far as it says something.
#[derive(Deserialize)]
struct Words<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// What the blocks of a message say.
fn said(content: &RawValue) -> Said {
    let mut said = Said::default();
    for block in objects::<Words<'_>>(Some(content)) {
        for words in [block.text, block.thinking, block.name, block.input] {
            said.add(words);
        }
    }
    said
}

#[derive(Deserialize, Default)]
struct ErrorBody {
    #[serde(default)]
    error: Option<ErrorDetail>,
}

#[derive(Deserialize)]
struct ErrorDetail {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

fn told(body: &[u8], status: u16) -> (String, Option<String>) {
    let read: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
    let (kind, message) = read.error.map_or((None, None), |error| (error.kind, error.message));
    let message = message.map(|message| short(&message));
    (message.unwrap_or_else(|| no_message(status)), kind)
}

impl Decoder for AnthropicDecoder {
    fn whole(&self, provider: &str, body: &[u8]) -> Result<Whole, ProviderError> {
        let garbage =
            |detail: &str| ProviderError::Garbage { provider: provider.to_owned(), detail: detail.to_owned() };
        let answer = decode_message(body).map_err(|_| garbage("it is not a JSON object"))?;
        let Some(content) = answer.content.filter(|_| answer.kind.as_deref() == Some("message")) else {
            return Err(garbage("it is not a message"));
        };
        // A usage that can't be right counts as absent: the call is estimated instead.
        let usage = answer.usage.unwrap_or_default();
        Ok(Whole {
            finish_reason: answer.finish_reason.map(Cow::into_owned),
            model: answer.model.map(Cow::into_owned),
            // A refusal has no words of its own in this dialect: it is why an answer ends.
            has_refused: false,
            // Only where it is needed: it reads the whole answer once more.
            counted_output: if usage.is_none() { said(content).counted() } else { 0 },
            usage,
        })
    }

    fn record(&self, provider: &str, record: &[u8], progress: &mut Progress) -> Meaning {
        let fields = fields(record);
        let quiet = if progress.began { Meaning::Other } else { Meaning::Prelude };
        if !fields.has_data {
            return quiet;
        }
        let data = &*fields.data;
        let kind: Cow<'_, str> = match fields.event {
            Some(event) => Cow::Borrowed(std::str::from_utf8(event).unwrap_or_default()),
            // Servers that imitate the dialect may leave the event line out.
            None => serde_json::from_slice::<Typed<'_>>(data).ok().and_then(|typed| typed.kind).unwrap_or_default(),
        };
        if kind != "error" && !may_be_object(data) {
            return unreadable(provider);
        }
        match &*kind {
            "content_block_delta" => {
                let bytes: usize = TEXTS.iter().map(|text| text.text_length(data)).sum();
                progress.text(bytes);
                Meaning::Content
            }
            "content_block_start" => {
                // These come whole in their first record; every other block is empty until its first delta.
                let whole = ["redacted_thinking", "tool_use", "server_tool_use", "web_search_tool_result"];
                let block = serde_json::from_slice::<Typed<'_>>(data).ok().and_then(|typed| typed.content_block);
                if block.is_some_and(|block| whole.contains(&block.kind.as_str())) {
                    progress.text(1);
                    return Meaning::Content;
                }
                quiet
            }
            "message_start" | "message_delta" => {
                // A usage that can't be right counts as absent: the call is estimated instead.
                let _ = progress.anthropic.take(data);
                quiet
            }
            "message_stop" => {
                progress.finished = true;
                Meaning::End
            }
            "error" => {
                let (message, kind) = told(data, 200);
                let overloaded = kind.as_deref() == Some("overloaded_error");
                Meaning::Error(ProviderError::StreamError { provider: provider.to_owned(), message, overloaded })
            }
            _ => quiet,
        }
    }

    fn error(&self, provider: &str, status: u16, retry_after: Option<Duration>, body: &[u8]) -> ProviderError {
        let (message, kind) = told(body, status);
        let provider = provider.to_owned();
        let is_about_the_key = is_about_the_key(status, body);
        match status {
            401 => {
                ProviderError::Unauthorized { provider, status, refusal: is_about_the_key.then_some(Refusal::Unknown) }
            }
            403 => ProviderError::Unauthorized {
                provider,
                status,
                refusal: is_about_the_key.then_some(Refusal::Forbidden),
            },
            402 => ProviderError::OutOfFunds { provider, status, message },
            429 => ProviderError::RateLimited { provider, message, is_of_request: false, retry_after },
            503 | 529 => ProviderError::Overloaded { provider, status, message, retry_after },
            408 | 409 | 500.. => ProviderError::Broken { provider, status, message, retry_after },
            400..500 => ProviderError::Rejected { provider, status, message, kind, param: None, code: None },
            _ => {
                let detail = format!("its status is {status}");
                ProviderError::Garbage { provider, detail }
            }
        }
    }

    fn without_usage(&self, _: &Bytes) -> Option<Bytes> {
        // Usage is a part of this dialect: every client has asked for it.
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Dialect;

    fn read(records: &[(&str, &str)]) -> (Vec<Meaning>, Progress) {
        let mut progress = Progress::new(Dialect::Anthropic);
        let read = |(event, data): &(&str, &str)| {
            let record = format!("event: {event}\ndata: {data}\n\n");
            AnthropicDecoder.record("p", record.as_bytes(), &mut progress)
        };
        (records.iter().map(read).collect(), progress)
    }

    const START: (&str, &str) = (
        "message_start",
        r#"{"type":"message_start","message":{"id":"m","model":"claude","content":[],"usage":{"input_tokens":25,"output_tokens":1}}}"#,
    );

    #[test]
    fn a_stream_is_prelude_content_end() {
        use Meaning::{Content, End, Other, Prelude};
        let (meanings, progress) = read(&[
            START,
            ("ping", r#"{"type":"ping"}"#),
            (
                "content_block_start",
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            ),
            (
                "content_block_delta",
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#,
            ),
            ("content_block_stop", r#"{"type":"content_block_stop","index":0}"#),
            (
                "message_delta",
                r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}"#,
            ),
            ("message_stop", r#"{"type":"message_stop"}"#),
        ]);
        assert_eq!(meanings, [Prelude, Prelude, Prelude, Content, Other, Other, End]);
        assert!(progress.finished && progress.usage_is_final());
        let usage = progress.reported().unwrap().usage;
        assert_eq!((usage.uncached_input, usage.output), (25, 9));
    }

    #[test]
    fn a_whole_message_without_usage_is_counted_by_what_it_says() {
        let check = |content: &str, expected: u64| {
            let body = format!(
                r#"{{"id":"m","type":"message","model":"claude","content":{content},"stop_reason":"end_turn"}}"#
            );
            assert_eq!(AnthropicDecoder.whole("p", body.as_bytes()).unwrap().counted_output, expected, "{content}");
        };
        check("[]", 0);
        check(r#"[{"type":"text","text":"answer nousage"}]"#, 4);
        check(r#"[{"type":"thinking","thinking":"so","signature":"long and worth nothing"}]"#, 1);
        check(r#"[{"type":"tool_use","id":"toolu_1","name":"f","input":{"a":1}}]"#, 3);
    }

    #[test]
    fn an_error_event_is_an_error_and_what_was_told_before_stands() {
        let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        let (meanings, progress) = read(&[START, ("error", overloaded)]);
        assert!(matches!(&meanings[1], Meaning::Error(ProviderError::StreamError { overloaded: true, .. })));
        assert!(!progress.finished);
        assert_eq!(progress.reported().unwrap().usage.uncached_input, 25);
    }

    #[test]
    fn half_a_record_and_other_words_are_garbage_but_for_errors_in_plain_words() {
        let check = |event: &str, data: &str, is_garbage: bool| {
            let (meanings, _) = read(&[START, (event, data)]);
            let found = matches!(&meanings[1], Meaning::Error(ProviderError::Garbage { .. }));
            assert_eq!(found, is_garbage, "{event} {data}: {:?}", meanings[1]);
        };
        for event in
            ["message_start", "content_block_start", "content_block_delta", "message_stop", "ping", "what_is_new"]
        {
            check(event, "{not json", true);
            check(event, "<html>", true);
            check(event, r#"{"type":"x"}"#, false);
        }
        check("error", "out of order", false);
    }
}
