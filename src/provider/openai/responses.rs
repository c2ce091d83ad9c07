//! OpenAI's Responses: read for usage, content and their end, passed on untouched.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::sse::{fields, string_length_after};
use crate::provider::decode::{Decoder, Meaning, Progress, Said, Whole, may_be_object, short, unreadable};
use crate::provider::error::ProviderError;

use super::OpenAiDecoder;
use super::decode::REFUSAL;
use super::said;
use super::usage::decode_answer;

/// Reads responses.
pub(in crate::provider) struct ResponsesDecoder;

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// An event of a stream: what it is, and the failure that it may tell of.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(borrow, default)]
    response: Option<Response<'a>>,
    /// Some servers put the error into an object of its own.
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Failure {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

fn failure(error: Option<&RawValue>) -> Option<Failure> {
    let error = error.filter(|error| error.get() != "null")?;
    Some(serde_json::from_str(error.get()).unwrap_or_default())
}

/// Whether the response that a stream ends with is a refusal.
fn has_refused(data: &[u8]) -> bool {
    let output = serde_json::from_slice::<Event<'_>>(data).ok().and_then(|event| event.response?.output);
    output.is_some_and(|output| said::in_output(output.get()).has_refused)
}

fn gave_up(provider: &str, failure: Failure) -> ProviderError {
    let Failure { code, message } = failure;
    let overloaded = code.as_deref().is_some_and(|code| code.contains("overload"));
    let message = message.map_or_else(|| "it gave no reason".to_owned(), |message| short(&message));
    ProviderError::StreamError { provider: provider.to_owned(), message, overloaded }
}

impl Decoder for ResponsesDecoder {
    fn whole(&self, provider: &str, body: &[u8]) -> Result<Whole, ProviderError> {
        let garbage =
            |detail: &str| ProviderError::Garbage { provider: provider.to_owned(), detail: detail.to_owned() };
        let answer = decode_answer(body).map_err(|_| garbage("it is not a JSON object"))?;
        let read: Response<'_> = serde_json::from_slice(body).map_err(|_| garbage("it is not a response"))?;
        let usage = answer.usage.unwrap_or_default();
        // One that failed after it had used tokens is billed, and its body tells the client why.
        if usage.is_none()
            && let Some(failure) = failure(read.error)
        {
            return Err(gave_up(provider, failure));
        }
        let Some(output) = read.output else { return Err(garbage("it has no output")) };
        // Only where it is needed: it reads the whole answer once more.
        let is_read = usage.is_none() || REFUSAL.says_text(body);
        let said = if is_read { said::in_output(output.get()) } else { Said::default() };
        Ok(Whole {
            model: answer.model.map(std::borrow::Cow::into_owned),
            finish_reason: answer.finish_reason.map(std::borrow::Cow::into_owned),
            has_refused: said.has_refused,
            counted_output: if usage.is_none() { said.counted() } else { 0 },
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
        if data.trim_ascii() == b"[DONE]" {
            return if progress.finished { Meaning::End } else { quiet };
        }
        let named = fields.event.and_then(|event| std::str::from_utf8(event).ok()).map(std::borrow::Cow::Borrowed);
        // Servers that imitate the dialect may leave the event line out.
        let told = || Some(serde_json::from_slice::<Event<'_>>(data).ok()?.kind.unwrap_or_default());
        let is_readable = |kind: &std::borrow::Cow<'_, str>| kind == "error" || may_be_object(data);
        let Some(kind) = named.or_else(told).filter(is_readable) else { return unreadable(provider) };
        match &*kind {
            kind if kind.rsplit_once('.').is_some_and(|(_, what)| what == "delta") => {
                progress.has_refused |= kind == "response.refusal.delta";
                progress.text(string_length_after(data, b"\"delta\":\"").max(1));
                Meaning::Content
            }
            "response.completed" | "response.incomplete" => {
                let _ = progress.openai.take(data);
                progress.finished = true;
                // Servers that don't stream a refusal tell it here alone.
                progress.has_refused |= REFUSAL.says_text(data) && has_refused(data);
                Meaning::End
            }
            "response.failed" | "error" => {
                // What a failure cost is told with it.
                let _ = progress.openai.take(data);
                let event = serde_json::from_slice::<Event<'_>>(data).ok();
                let told = event.map_or_else(Failure::default, |event| {
                    let inner = event.response.and_then(|response| response.error).or(event.error);
                    failure(inner).unwrap_or(Failure { code: event.code, message: event.message })
                });
                Meaning::Error(gave_up(provider, told))
            }
            "response.created" | "response.in_progress" | "response.queued" => {
                let _ = progress.openai.take(data);
                quiet
            }
            _ => quiet,
        }
    }

    fn error(&self, provider: &str, status: u16, retry_after: Option<Duration>, body: &[u8]) -> ProviderError {
        OpenAiDecoder.error(provider, status, retry_after, body)
    }

    fn without_usage(&self, _: &Bytes) -> Option<Bytes> {
        // Usage is a part of the last event: every client has asked for it.
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Dialect;

    fn read(records: &[(&str, &str)]) -> (Vec<Meaning>, Progress) {
        let mut progress = Progress::new(Dialect::OpenAi);
        let read = |(event, data): &(&str, &str)| {
            let record = format!("event: {event}\ndata: {data}\n\n");
            ResponsesDecoder.record("p", record.as_bytes(), &mut progress)
        };
        (records.iter().map(read).collect(), progress)
    }

    #[test]
    fn a_stream_is_prelude_content_end() {
        use Meaning::{Content, End, Other, Prelude};
        let (meanings, progress) = read(&[
            ("response.created", r#"{"type":"response.created","response":{"model":"m","status":"in_progress"}}"#),
            ("response.output_item.added", r#"{"type":"response.output_item.added"}"#),
            ("response.output_text.delta", r#"{"type":"response.output_text.delta","delta":"Hello"}"#),
            ("response.output_text.done", r#"{"type":"response.output_text.done","text":"Hello"}"#),
            (
                "response.completed",
                r#"{"response":{"status":"completed","model":"m","usage":{"input_tokens":5,"output_tokens":2}}}"#,
            ),
        ]);
        assert_eq!(meanings, [Prelude, Prelude, Content, Other, End]);
        assert!(progress.finished && progress.usage_is_final());
        assert_eq!(
            (progress.text_bytes, progress.finish_reason(), progress.model()),
            (5, Some("completed"), Some("m"))
        );
        assert_eq!(progress.reported().unwrap().usage.output, 2);
    }

    #[test]
    fn a_refusal_is_seen_whole_and_streamed_however_it_is_written() {
        let output = r#"[{"type": "message", "content": [{"type" : "refusal", "refusal" : "no"}]}]"#;
        let usage = r#"{"input_tokens": 5, "output_tokens": 2}"#;
        let body = format!(r#"{{"status": "completed", "output": {output}, "usage": {usage}}}"#);
        assert!(ResponsesDecoder.whole("p", body.as_bytes()).unwrap().has_refused);
        let completed = format!(r#"{{"response": {body}}}"#);
        assert!(read(&[("response.completed", &completed)]).1.has_refused);
        assert!(read(&[("response.refusal.delta", r#"{"delta": "no"}"#)]).1.has_refused);
        let quoted = body.replace(output, r#"[{"content": [{"text": "\"refusal\":\"no\""}]}]"#);
        assert!(!ResponsesDecoder.whole("p", quoted.as_bytes()).unwrap().has_refused);
        let echoed =
            body.replace(output, "[]").replace("\"status\"", "\"metadata\": {\"refusal\": \"no\"}, \"status\"");
        assert!(!ResponsesDecoder.whole("p", echoed.as_bytes()).unwrap().has_refused);
    }

    #[test]
    fn both_kinds_of_failure_are_errors_and_keep_their_words() {
        for (event, data) in [
            ("error", r#"{"type":"error","code":"overloaded","message":"too much"}"#),
            (
                "response.failed",
                r#"{"response":{"status":"failed","error":{"code":"overloaded","message":"too much"}}}"#,
            ),
        ] {
            let (meanings, progress) = read(&[(event, data)]);
            assert!(
                matches!(&meanings[0], Meaning::Error(ProviderError::StreamError { message, overloaded: true, .. }) if message == "too much"),
                "{meanings:?}"
            );
            assert!(!progress.finished);
        }
    }

    #[test]
    fn a_whole_response_has_its_usage_and_a_failed_one_is_an_error() {
        let whole = ResponsesDecoder
            .whole("p", br#"{"object":"response","status":"incomplete","error":null,"output":[],"usage":{"input_tokens":3,"output_tokens":1}}"#)
            .unwrap();
        assert_eq!(
            (whole.usage.unwrap().usage.uncached_input, whole.finish_reason.as_deref()),
            (3, Some("incomplete"))
        );
        for (body, expected) in [
            (r#"{"status":"failed","output":[],"error":{"code":"server_error","message":"no"}}"#, "no"),
            (r#"{"object":"response"}"#, "it has no output"),
            ("[]", "it is not"),
        ] {
            let error = ResponsesDecoder.whole("p", body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }

    #[test]
    fn half_a_record_and_other_words_are_garbage_but_for_errors_in_plain_words() {
        let check = |event: &str, data: &str, is_garbage: bool| {
            let (meanings, _) = read(&[(event, data)]);
            let found = matches!(&meanings[0], Meaning::Error(ProviderError::Garbage { .. }));
            assert_eq!(found, is_garbage, "{event} {data}: {:?}", meanings[0]);
        };
        for event in ["response.created", "response.output_text.delta", "response.completed", "response.what_is_new"] {
            check(event, r#"{"type":"response"#, true);
            check(event, "<html>", true);
            check(event, r#"{"type":"x"}"#, false);
        }
        check("error", "out of order", false);
    }
}
