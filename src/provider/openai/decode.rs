//! OpenAI's answers, and those of the servers that imitate it: read leniently, passed on untouched.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::sse::fields;
use crate::domain::json;
use crate::provider::credentials::Refusal;
use crate::provider::decode::{
    Decoder, Meaning, Progress, Said, Whole, is_about_the_key, may_be_object, short, unreadable,
};
use crate::provider::error::ProviderError;
use crate::provider::field::Field;
use crate::provider::words::no_message;

use super::said;
use super::usage::decode_completion;

static ERROR: LazyLock<Field> = LazyLock::new(|| Field::new("\"error\""));
static USAGE: LazyLock<Field> = LazyLock::new(|| Field::new("\"usage\""));
static FINISH_REASON: LazyLock<Field> = LazyLock::new(|| Field::new("\"finish_reason\""));
/// What the words of a refusal stand in.
pub(super) static REFUSAL: LazyLock<Field> = LazyLock::new(|| Field::new("\"refusal\""));
/// What holds the text of a record; the most frequent first.
static TEXTS: LazyLock<[Field; 4]> =
    LazyLock::new(|| ["\"content\"", "\"arguments\"", "\"reasoning_content\"", "\"reasoning\""].map(Field::new));

/// How a 429 begins that one request alone is larger than what the account may use in a minute.
const TOO_LARGE: &str = "Request too large";

/// Reads chat completions.
pub(in crate::provider) struct OpenAiDecoder;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    function_call: Option<&'a RawValue>,
    #[serde(borrow, default)]
    audio: Option<&'a RawValue>,
}

impl Chunk<'_> {
    fn has_content(&self) -> bool {
        let says = |text: Option<&RawValue>| text.is_some_and(|text| !matches!(text.get(), "\"\"" | "null"));
        self.choices.iter().flatten().filter_map(|choice| choice.delta.as_ref()).any(|delta| {
            says(delta.content)
                || says(delta.reasoning_content)
                || says(delta.reasoning)
                || says(delta.refusal)
                || says(delta.function_call)
                || says(delta.audio)
                || delta.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())
        })
    }
}

#[derive(Deserialize, Default)]
struct ErrorBody {
    error: Option<serde_json::Value>,
    /// Some servers answer without the outer object.
    message: Option<serde_json::Value>,
    detail: Option<serde_json::Value>,
}

struct Told {
    message: String,
    kind: Option<String>,
    param: Option<String>,
    code: Option<String>,
    /// Whether it is about what the request says.
    is_flagged: bool,
}

fn told(body: &[u8], status: u16) -> Told {
    let read: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => Some(short(text)),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let field = |name: &str| read.error.as_ref().and_then(|error| error.get(name)).and_then(text);
    let message = field("message")
        .or_else(|| read.error.as_ref().and_then(text))
        .or_else(|| read.message.as_ref().and_then(text))
        .or_else(|| read.detail.as_ref().map(|detail| short(&detail.to_string())))
        .unwrap_or_else(|| no_message(status));
    let metadata = read.error.as_ref().and_then(|error| error.get("metadata"));
    let is_flagged =
        metadata.is_some_and(|metadata| ["flagged_input", "reasons"].iter().any(|name| metadata.get(name).is_some()));
    Told { message, kind: field("type"), param: field("param"), code: field("code"), is_flagged }
}

impl Decoder for OpenAiDecoder {
    fn whole(&self, provider: &str, body: &[u8]) -> Result<Whole, ProviderError> {
        let garbage =
            |detail: &str| ProviderError::Garbage { provider: provider.to_owned(), detail: detail.to_owned() };
        let answer = decode_completion(body).map_err(|_| garbage("it is not a JSON object"))?;
        if answer.error.is_some_and(|error| error != "null") {
            let Told { message, .. } = told(body, 200);
            return Err(ProviderError::StreamError { provider: provider.to_owned(), message, overloaded: false });
        }
        match answer.choices {
            None | Some("null") => return Err(garbage("it has no choices")),
            Some(choices) if !is_list_of_objects(choices) => return Err(garbage("it is not a chat completion")),
            Some(_) => {}
        }
        // A usage that can't be right counts as absent: the call is estimated instead.
        let usage = answer.usage.unwrap_or_default();
        // Only where it is needed: it reads the whole answer once more.
        let is_read = usage.is_none() || REFUSAL.says_text(body);
        let said = if is_read { said::in_choices(answer.choices.unwrap_or_default()) } else { Said::default() };
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
        if !fields.has_data {
            return if progress.began { Meaning::Other } else { Meaning::Prelude };
        }
        let data = &*fields.data;
        if data.trim_ascii() == b"[DONE]" {
            return Meaning::End;
        }
        // Some servers keep a connection alive with data that is empty; behind the end nothing is missed.
        if progress.began && !progress.finished && !data.is_empty() && !may_be_object(data) {
            return unreadable(provider);
        }
        if ERROR.says_something(data)
            && let Ok(Chunk { error: Some(error), .. }) = serde_json::from_slice::<Chunk<'_>>(data)
            && error.get() != "null"
        {
            let Told { message, code, .. } = told(data, 200);
            let overloaded = code.as_deref().is_some_and(|code| code.contains("overload") || code == "503");
            return Meaning::Error(ProviderError::StreamError { provider: provider.to_owned(), message, overloaded });
        }
        let mut usage_only = false;
        // Providers that were asked for usage put `"usage":null` on every record: only the one that has it is parsed.
        if !progress.began || USAGE.says_something(data) || FINISH_REASON.says_text(data) {
            let before = progress.openai.reported().is_some();
            // A usage that can't be right counts as absent: the call is estimated instead.
            let _ = progress.openai.take(data);
            progress.finished |= progress.openai.finish_reason().is_some();
            usage_only = !before && progress.openai.reported().is_some() && has_no_choices(data);
        }
        let refused = REFUSAL.text_length(data);
        progress.has_refused |= refused > 0;
        let bytes: usize = TEXTS.iter().map(|text| text.text_length(data)).sum::<usize>() + refused;
        if bytes > 0 {
            progress.text(bytes);
            return Meaning::Content;
        }
        if progress.began {
            return if usage_only { Meaning::UsageOnly } else { Meaning::Other };
        }
        match serde_json::from_slice::<Chunk<'_>>(data) {
            Ok(chunk) if chunk.has_content() => {
                progress.text(1);
                Meaning::Content
            }
            Ok(_) if usage_only => Meaning::UsageOnly,
            Ok(_) => Meaning::Prelude,
            Err(_) => unreadable(provider),
        }
    }

    fn error(&self, provider: &str, status: u16, retry_after: Option<Duration>, body: &[u8]) -> ProviderError {
        let Told { message, kind, param, code, is_flagged } = told(body, status);
        let provider = provider.to_owned();
        let is_quota = [&kind, &code].into_iter().flatten().any(|word| word == "insufficient_quota");
        match status {
            // OpenRouter's word for what its moderation has flagged: any key would be refused.
            403 if is_flagged => ProviderError::Rejected { provider, status, message, kind, param, code },
            401 | 403 => {
                let refusal = is_about_the_key(status, body).then(|| refusal(status, &message, code.as_deref()));
                ProviderError::Unauthorized { provider, status, refusal }
            }
            402 => ProviderError::OutOfFunds { provider, status, message },
            429 if is_quota => ProviderError::OutOfFunds { provider, status, message },
            429 => {
                let is_of_request = message.starts_with(TOO_LARGE);
                let retry_after = retry_after.filter(|_| !is_of_request);
                ProviderError::RateLimited { provider, message, is_of_request, retry_after }
            }
            503 | 529 => ProviderError::Overloaded { provider, status, message, retry_after },
            408 | 409 | 500.. => ProviderError::Broken { provider, status, message, retry_after },
            400..500 => ProviderError::Rejected { provider, status, message, kind, param, code },
            _ => {
                let detail = format!("its status is {status}");
                ProviderError::Garbage { provider, detail }
            }
        }
    }

    fn without_usage(&self, record: &Bytes) -> Option<Bytes> {
        // As servers write it: at the end of the record's object.
        const LAST: &[u8] = b",\"usage\":null}";
        let end = record.len() - record.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
        if record[..end].ends_with(LAST) {
            let mut cut = BytesMut::with_capacity(record.len());
            cut.extend_from_slice(&record[..end - LAST.len()]);
            cut.extend_from_slice(b"}");
            cut.extend_from_slice(&record[end..]);
            return Some(cut.freeze());
        }
        memmem::find(record, b"\"usage\"")?;
        cut_null_usage(record)
    }
}

/// What a refusal of a key means. Restricted keys have scopes, each for some paths: what one lacks is told with 401, as if the key
/// were unknown, or with 403, and only the words tell it apart.
fn refusal(status: u16, message: &str, code: Option<&str>) -> Refusal {
    if code == Some("missing_scope") || message.contains("Missing scopes") {
        Refusal::OutOfScope
    } else if status == 401 {
        Refusal::Unknown
    } else {
        Refusal::Forbidden
    }
}

/// Whether a value that is known to be sound JSON is a list, and begins with an object where it isn't empty.
fn is_list_of_objects(value: &str) -> bool {
    value.strip_prefix('[').is_some_and(|items| items.trim_ascii_start().starts_with(['{', ']']))
}

fn has_no_choices(data: &[u8]) -> bool {
    serde_json::from_slice::<Chunk<'_>>(data).is_ok_and(|chunk| chunk.choices.is_none_or(|choices| choices.is_empty()))
}

/// Takes `"usage": null` out of a record's object wherever it stands in it.
fn cut_null_usage(record: &Bytes) -> Option<Bytes> {
    let start = memchr::memchr(b'{', record)?;
    let end = memchr::memrchr(b'}', record)? + 1;
    let members = json::members(record.get(start..end)?).ok()?;
    let usage = members.iter().find(|member| member.name == "usage" && member.value == "null")?;
    let value = start + usage.span.start;
    let name = memmem::rfind(&record[..value], b"\"usage\"")?;
    let (mut from, mut until) = (name, value + usage.value.len());
    // One comma goes with it: the one behind, or else the one before.
    let behind = record[until..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    if record.get(until + behind) == Some(&b',') {
        until += behind + 1;
    } else {
        let before = record[..from].iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
        if record[..from - before].last() == Some(&b',') {
            from -= before + 1;
        }
    }
    let mut cut = BytesMut::with_capacity(record.len());
    cut.extend_from_slice(&record[..from]);
    cut.extend_from_slice(&record[until..]);
    Some(cut.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Dialect;

    fn read(records: &[&str]) -> (Vec<Meaning>, Progress) {
        let mut progress = Progress::new(Dialect::OpenAi);
        let read = |record: &&str| OpenAiDecoder.record("p", format!("data: {record}\n\n").as_bytes(), &mut progress);
        (records.iter().map(read).collect(), progress)
    }

    #[test]
    fn a_stream_is_prelude_content_finish_usage_end() {
        let (meanings, progress) = read(&[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"Hi"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
            "[DONE]",
        ]);
        assert_eq!(meanings, [Meaning::Prelude, Meaning::Content, Meaning::Other, Meaning::UsageOnly, Meaning::End]);
        assert!(progress.finished && progress.usage_is_final());
        assert_eq!(progress.reported().unwrap().usage.output, 1);
    }

    #[test]
    fn a_null_usage_on_every_record_and_spaces_after_colons_change_nothing() {
        use Meaning::{Content, Other, Prelude, UsageOnly};
        let (meanings, progress) = read(&[
            r#"{"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": null}], "usage": null}"#,
            r#"{"choices": [{"delta": {"content": "Hi"}, "finish_reason": null}], "error": null, "usage": null}"#,
            r#"{"choices": [{"delta": {"content": " you"}, "finish_reason": null}], "usage": null}"#,
            r#"{"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": null}"#,
            r#"{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}"#,
        ]);
        assert_eq!(meanings, [Prelude, Content, Content, Other, UsageOnly]);
        assert_eq!((progress.text_bytes, progress.content_records), (6, 2));
        assert!(progress.finished && progress.usage_is_final());
    }

    #[test]
    fn a_whole_answer_has_choices_and_no_error() {
        let check = |body: &str| OpenAiDecoder.whole("p", body.as_bytes());
        let answer = check(r#"{"model":"m","choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":3}}"#);
        let answer = answer.unwrap();
        assert_eq!((answer.model.as_deref(), answer.counted_output), (Some("m"), 0));
        assert!(check(r#"{"choices":[]}"#).unwrap().usage.is_none());
        assert_eq!(check(r#"{"choices":[{}],"usage":null,"error":null}"#).unwrap().counted_output, 0);
        for body in ["[]", "{", "{}", r#"{"choices":null}"#, r#"{"choices":1}"#, r#"{"choices":["x"]}"#] {
            assert!(matches!(check(body), Err(ProviderError::Garbage { .. })), "{body}");
        }
        let failed = check(r#"{"choices":[],"error":{"message":"boom"}}"#);
        assert!(matches!(failed, Err(ProviderError::StreamError { message, .. }) if message == "boom"));
    }

    #[test]
    fn a_whole_answer_without_usage_counts_as_much_as_its_stream() {
        let check = |message: &str, delta: &str| {
            let body = format!(r#"{{"id":"c","model":"m","choices":[{{"index":0,"message":{message}}}]}}"#);
            let whole = OpenAiDecoder.whole("p", body.as_bytes()).unwrap();
            let (_, progress) = read(&[&format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#)]);
            assert_eq!(whole.counted_output, progress.counted_output(), "{message}");
        };
        for said in [
            r#"{"role":"assistant","content":"answer nousage"}"#,
            r#"{"content": "a", "reasoning_content": "because of that", "refusal": null}"#,
            r#"{"content":null,"refusal":"I will not do that."}"#,
        ] {
            check(said, said);
        }
        let call = r#"{"tool_calls":[{"id":"c","function":{"name":"f","arguments":"{\"city\":\"Paris\"}"}}]}"#;
        check(call, r#"{"content":"f","tool_calls":[{"function":{"arguments":"{\"city\":\"Paris\"}"}}]}"#);
    }

    #[test]
    fn a_refusal_is_seen_whole_and_streamed_however_it_is_written() {
        let check = |message: &str, expected: bool| {
            let body = format!(
                r#"{{"choices": [{{"message": {message}, "finish_reason": "stop"}}], "usage": {{"prompt_tokens": 1}}}}"#
            );
            assert_eq!(OpenAiDecoder.whole("p", body.as_bytes()).unwrap().has_refused, expected, "{body}");
            let (_, progress) = read(&[
                r#"{"choices":[{"delta":{"content":"","refusal":null}}]}"#,
                &format!(r#"{{"choices": [{{"delta": {message}}}]}}"#),
            ]);
            assert_eq!(progress.has_refused, expected, "{message}");
        };
        check(r#"{"content":null,"refusal":"no"}"#, true);
        check(r#"{"content": null, "refusal" : "no"}"#, true);
        check(r#"{"content":[{"type": "refusal", "refusal": "no"}]}"#, true);
        check(r#"{"content": "the word \"refusal\":\"no\"", "refusal": null}"#, false);
        check(r#"{"content": "", "refusal": ""}"#, false);
    }

    #[test]
    fn tools_reasoning_and_refusals_are_content() {
        for delta in [
            r#"{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]}"#,
            r#"{"reasoning_content":"so"}"#,
            r#"{"reasoning":"so"}"#,
            r#"{"refusal":"no"}"#,
        ] {
            let (meanings, _) = read(&[&format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#)]);
            assert_eq!(meanings, [Meaning::Content], "{delta}");
        }
        let (meanings, _) = read(&[r#"{"choices":[{"delta":{"content":"","tool_calls":[]}}]}"#]);
        assert_eq!(meanings, [Meaning::Prelude]);
    }

    #[test]
    fn an_error_record_is_an_error_and_the_word_in_a_text_is_not() {
        let (meanings, _) =
            read(&[r#"{"choices":[{"delta":{"content":"\"error\": x"}}]}"#, r#"{"error":{"message":"boom"}}"#]);
        assert_eq!(meanings[0], Meaning::Content);
        assert!(
            matches!(&meanings[1], Meaning::Error(ProviderError::StreamError { message, .. }) if message == "boom")
        );
    }

    #[test]
    fn null_usage_goes_wherever_it_stands() {
        let check = |record: &str, expected: Option<&str>| {
            let cut = OpenAiDecoder.without_usage(&Bytes::copy_from_slice(record.as_bytes()));
            assert_eq!(cut.as_deref(), expected.map(str::as_bytes), "{record}");
        };
        check("data: {\"a\":1,\"usage\":null}\n\n", Some("data: {\"a\":1}\n\n"));
        check("data: {\"usage\": null, \"a\":1}\n\n", Some("data: { \"a\":1}\n\n"));
        check("data: {\"a\":1 , \"usage\" : null }\n\n", Some("data: {\"a\":1  }\n\n"));
        check("data: {\"a\":\"usage\"}\n\n", None);
        check("data: {\"a\":{\"usage\":null}}\n\n", None);
        check(": \"usage\" comment\n\n", None);
        check("data: } {\"usage\"\n\n", None);
    }

    #[test]
    fn errors_keep_what_the_provider_said() {
        let body = br#"{"error":{"message":"bad","type":"invalid_request_error","param":"n","code":"x"}}"#;
        let error = OpenAiDecoder.error("p", 400, None, body);
        let ProviderError::Rejected { message, param, code, .. } = error else { panic!("{error:?}") };
        assert_eq!((message.as_str(), param.as_deref(), code.as_deref()), ("bad", Some("n"), Some("x")));
        let quota = br#"{"error":{"message":"no money","type":"insufficient_quota","code":"insufficient_quota"}}"#;
        assert!(matches!(OpenAiDecoder.error("p", 429, None, quota), ProviderError::OutOfFunds { .. }));
        assert!(matches!(OpenAiDecoder.error("p", 500, None, b"<html>"), ProviderError::Broken { .. }));
        assert!(matches!(OpenAiDecoder.error("p", 199, None, b""), ProviderError::Garbage { .. }));
    }

    #[test]
    fn a_request_that_is_larger_than_the_limit_is_told_from_a_limit_that_is_used_up() {
        let check = |message: &str, expected: bool| {
            let body = format!(r#"{{"error":{{"message":"{message}","type":"tokens","code":"rate_limit_exceeded"}}}}"#);
            let error = OpenAiDecoder.error("p", 429, Some(Duration::from_secs(9)), body.as_bytes());
            let ProviderError::RateLimited { is_of_request, retry_after, .. } = error else { panic!("{error:?}") };
            assert_eq!((is_of_request, retry_after.is_none()), (expected, expected), "{message}");
        };
        let limit = "for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000";
        check(&format!("Request too large {limit}, Requested 60000. The input must be reduced."), true);
        check(&format!("Rate limit reached {limit}, Used 29000, Requested 6000. Please try again in 9s."), false);
    }

    #[test]
    fn a_refused_key_is_unknown_forbidden_a_model_or_lacks_a_scope_and_a_firewall_says_nothing_of_it() {
        let check = |status: u16, body: &str, expected: Option<Refusal>| {
            let error = OpenAiDecoder.error("p", status, None, body.as_bytes());
            assert_eq!(
                error,
                ProviderError::Unauthorized { provider: "p".to_owned(), status, refusal: expected },
                "{body}"
            );
        };
        check(
            401,
            r#"{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}"#,
            Some(Refusal::Unknown),
        );
        for bare in [r#"{"detail":"Unauthorized"}"#, "Unauthorized", ""] {
            check(401, bare, Some(Refusal::Unknown));
        }
        check(403, "", None);
        check(403, r#"{"error":{"message":"Project has no access to model x"}}"#, Some(Refusal::Forbidden));
        let scopes = "You have insufficient permissions for this operation. Missing scopes: model.request. Check that";
        for status in [401, 403] {
            check(status, &format!(r#"{{"error":{{"message":"{scopes}","code":null}}}}"#), Some(Refusal::OutOfScope));
            check(status, r#"{"error":{"message":"no","code":"missing_scope"}}"#, Some(Refusal::OutOfScope));
            check(status, " <html>", None);
        }
    }

    #[test]
    fn half_a_record_and_other_words_are_garbage_also_after_the_first_word() {
        let word = r#"{"choices":[{"index":0,"delta":{"content":"Hi"}}]}"#;
        let check = |data: &str, is_garbage: bool| {
            let (meanings, _) = read(&[word, data]);
            let found = matches!(&meanings[1], Meaning::Error(ProviderError::Garbage { .. }));
            assert_eq!(found, is_garbage, "{data}: {:?}", meanings[1]);
        };
        for data in ["{not json", r#"{"choices":[{"index":0,"del"#, "<html>", "[]", "DONE"] {
            check(data, true);
        }
        for data in ["", " {} ", word, "[DONE]"] {
            check(data, false);
        }
        let (meanings, _) = read(&[word, r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#, "DONE"]);
        assert_eq!(meanings[2], Meaning::Other, "behind the end nothing is missed");
    }
}
