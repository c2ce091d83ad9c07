//! OpenAI's other paths: the older completions, embeddings, and what passes through unread.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::sse::{fields, string_length_after};
use crate::provider::decode::{Decoder, Meaning, Progress, Whole};
use crate::provider::error::ProviderError;

use super::OpenAiDecoder;
use super::usage::decode_answer;

/// Reads completions: chat completions but for the place of their text.
pub(in crate::provider) struct CompletionsDecoder;

impl Decoder for CompletionsDecoder {
    fn whole(&self, provider: &str, body: &[u8]) -> Result<Whole, ProviderError> {
        OpenAiDecoder.whole(provider, body)
    }

    fn record(&self, provider: &str, record: &[u8], progress: &mut Progress) -> Meaning {
        let meaning = OpenAiDecoder.record(provider, record, progress);
        if matches!(meaning, Meaning::Error(_) | Meaning::End | Meaning::UsageOnly) {
            return meaning;
        }
        match string_length_after(&fields(record).data, b"\"text\":\"") {
            0 => meaning,
            bytes => {
                progress.text(bytes);
                Meaning::Content
            }
        }
    }

    fn error(&self, provider: &str, status: u16, retry_after: Option<Duration>, body: &[u8]) -> ProviderError {
        OpenAiDecoder.error(provider, status, retry_after, body)
    }

    fn without_usage(&self, record: &Bytes) -> Option<Bytes> {
        OpenAiDecoder.without_usage(record)
    }
}

/// Reads embeddings.
pub(in crate::provider) struct EmbeddingsDecoder;

#[derive(Deserialize)]
struct Embeddings<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl Decoder for EmbeddingsDecoder {
    fn whole(&self, provider: &str, body: &[u8]) -> Result<Whole, ProviderError> {
        let garbage =
            |detail: &str| ProviderError::Garbage { provider: provider.to_owned(), detail: detail.to_owned() };
        let answer = decode_answer(body).map_err(|_| garbage("it is not a JSON object"))?;
        let read: Embeddings<'_> = serde_json::from_slice(body).map_err(|_| garbage("it is not a list of vectors"))?;
        if read.data.is_none_or(|data| !data.get().starts_with('[')) {
            return Err(garbage("it has no data"));
        }
        Ok(Whole {
            model: answer.model.map(std::borrow::Cow::into_owned),
            usage: answer.usage.unwrap_or_default(),
            ..Whole::default()
        })
    }

    fn record(&self, provider: &str, _: &[u8], _: &mut Progress) -> Meaning {
        no_stream(provider)
    }

    fn error(&self, provider: &str, status: u16, retry_after: Option<Duration>, body: &[u8]) -> ProviderError {
        OpenAiDecoder.error(provider, status, retry_after, body)
    }

    fn without_usage(&self, _: &Bytes) -> Option<Bytes> {
        None
    }
}

/// Takes answers of any form, and their usage where they are JSON and have one. Errors are of a dialect.
pub(in crate::provider) struct OpaqueDecoder<D: 'static>(pub(in crate::provider) &'static D);

impl<D: Decoder> Decoder for OpaqueDecoder<D> {
    fn whole(&self, _: &str, body: &[u8]) -> Result<Whole, ProviderError> {
        let answer = decode_answer(body).ok();
        let model = answer.as_ref().and_then(|answer| answer.model.as_deref().map(ToOwned::to_owned));
        let usage = answer.and_then(|answer| answer.usage.ok().flatten());
        Ok(Whole { usage, model, ..Whole::default() })
    }

    fn record(&self, provider: &str, _: &[u8], _: &mut Progress) -> Meaning {
        no_stream(provider)
    }

    fn error(&self, provider: &str, status: u16, retry_after: Option<Duration>, body: &[u8]) -> ProviderError {
        self.0.error(provider, status, retry_after, body)
    }

    fn without_usage(&self, _: &Bytes) -> Option<Bytes> {
        None
    }
}

fn no_stream(provider: &str) -> Meaning {
    let detail = "this path has no streams".to_owned();
    Meaning::Error(ProviderError::Garbage { provider: provider.to_owned(), detail })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Dialect;

    #[test]
    fn text_of_completions_is_content() {
        let mut progress = Progress::new(Dialect::OpenAi);
        let mut read = |data: &str| {
            let record = format!("data: {data}\n\n");
            CompletionsDecoder.record("p", record.as_bytes(), &mut progress)
        };
        assert_eq!(read(r#"{"choices":[{"text":"","index":0,"finish_reason":null}]}"#), Meaning::Prelude);
        assert_eq!(read(r#"{"choices":[{"text":"Hi","index":0,"finish_reason":null}]}"#), Meaning::Content);
        assert_eq!(read(r#"{"choices":[{"text":"","index":0,"finish_reason":"stop"}]}"#), Meaning::Other);
        assert_eq!(read("[DONE]"), Meaning::End);
        assert!(progress.finished && progress.text_bytes == 2);
    }

    #[test]
    fn embeddings_have_data_and_usage() {
        let body = br#"{"object":"list","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":4,"total_tokens":4}}"#;
        let whole = EmbeddingsDecoder.whole("p", body).unwrap();
        assert_eq!(whole.usage.unwrap().usage.uncached_input, 4);
        assert!(EmbeddingsDecoder.whole("p", br#"{"object":"list"}"#).is_err());
        assert!(EmbeddingsDecoder.whole("p", b"<html>").is_err());
    }

    #[test]
    fn what_passes_unread_may_be_anything() {
        let opaque = OpaqueDecoder(&OpenAiDecoder);
        assert_eq!(opaque.whole("p", b"\xff\xfb sound").unwrap(), Whole::default());
        let image = br#"{"created":1,"data":[],"usage":{"input_tokens":7,"output_tokens":9}}"#;
        assert_eq!(opaque.whole("p", image).unwrap().usage.unwrap().usage.output, 9);
    }
}
