//! What must hold of any bytes whatever: the bodies of the fuzz targets, called by property tests too.
//!
//! Each takes bytes from outside as they come in, and panics where something that is promised doesn't hold. Not part of
//! the program: compiled for tests, and under cargo-fuzz, which sets `cfg(fuzzing)`.

use jiff::Timestamp;

use crate::catalog::Catalog;
use crate::config::Config;
use crate::dialect::sse::{RECORD_BYTES_MAX, RecordSplitter};
use crate::domain::{Billed, Endpoint, TokenUsage};
use crate::provider::{Progress, decoder};

/// A request body is read or refused; one that was read, and into which model, cap and usage wish were written, is read
/// again as what was written.
pub fn envelope(body: &[u8]) {
    crate::gateway::fuzzing::envelope(body);
}

/// A stream is cut into the same records whatever pieces it comes in; nothing is lost or added.
pub fn records(stream: &[u8]) {
    let (size, stream) = stream.split_first().map_or((1, stream), |(size, stream)| (usize::from(*size) + 1, stream));
    let whole = cut(std::iter::once(stream));
    assert_eq!(whole, cut(stream.chunks(size)));
    assert_eq!(whole.concat(), stream);
}

fn cut<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut splitter = RecordSplitter::default();
    let mut records = Vec::new();
    for chunk in chunks {
        splitter.push(chunk);
        while let Some(record) = splitter.next_record().expect("no stream of a fuzz target is as long") {
            assert!(!record.is_empty());
            records.push(record.to_vec());
        }
    }
    let rest = splitter.rest();
    assert!(rest.len() <= RECORD_BYTES_MAX);
    records.push(rest.to_vec());
    records
}

/// Whatever a provider of OpenAI's dialect sends, its usage can be summed.
pub fn openai_answer(bytes: &[u8]) {
    for endpoint in [Endpoint::ChatCompletions, Endpoint::Responses, Endpoint::Completions, Endpoint::Embeddings] {
        answer(endpoint, bytes);
    }
}

/// The same of Anthropic's dialect.
pub fn anthropic_answer(bytes: &[u8]) {
    answer(Endpoint::Messages, bytes);
}

fn answer(endpoint: Endpoint, bytes: &[u8]) {
    let decoder = decoder(endpoint);
    if let Ok(whole) = decoder.whole("p", bytes)
        && let Some(reported) = whole.usage
    {
        summed(&reported.usage);
    }
    let _ = decoder.error("p", 500, None, bytes);
    let (mut splitter, mut progress) = (RecordSplitter::default(), Progress::new(endpoint.dialect()));
    splitter.push(bytes);
    while let Ok(Some(record)) = splitter.next_record() {
        decoder.record("p", &record, &mut progress);
        let _ = decoder.without_usage(&record);
    }
    if let Some(reported) = progress.reported() {
        summed(&reported.usage);
        let _ = reported.billed(Timestamp::UNIX_EPOCH);
    }
}

fn summed(usage: &TokenUsage) {
    let _ = (usage.total_input(), usage.total_output(), usage.cache_write());
}

/// A price list is read or refused; what was read prices any usage without a cost below zero.
pub fn price_file(text: &[u8]) {
    let Ok(catalog) = std::str::from_utf8(text).map_err(drop).and_then(|text| Catalog::parse(text).map_err(drop))
    else {
        return;
    };
    let usage = TokenUsage { uncached_input: 1_000_000, cache_read: 7, output: 1_000_000, ..TokenUsage::default() };
    for list in catalog.lists() {
        for facts in catalog.models(list) {
            assert!(!facts.prices.cost(&usage, &Billed::plainly(Timestamp::UNIX_EPOCH)).cost.is_negative());
        }
    }
}

/// A text is a credential only if it is of the form in which credentials are made.
pub fn credential(text: &[u8]) {
    if let Ok(text) = std::str::from_utf8(text) {
        crate::keys::fuzzing::credential(text);
    }
}

/// Any text can stand in a session's cookie; the token that goes with it tells nothing of it.
pub fn session_cookie(text: &[u8]) {
    if let Ok(text) = std::str::from_utf8(text) {
        crate::keys::fuzzing::session_cookie(text);
    }
}

/// Settings are read or refused; those that were read can be printed.
pub fn settings(text: &[u8]) {
    if let Ok(text) = std::str::from_utf8(text)
        && let Ok(config) = Config::from_toml(text)
    {
        assert!(!config.masked().is_empty());
    }
}

/// A cell of an export begins no formula, and holds the text that was given.
pub fn csv_cell(text: &[u8]) {
    if let Ok(text) = std::str::from_utf8(text) {
        crate::http::api::fuzzing::csv_cell(text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Bytes of any kind, and such as nearly are what is read.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let words = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"",
            "\\",
            "null",
            "true",
            "0",
            "-1",
            "18446744073709551615",
            "1e999",
            "\n",
            "\r",
            "\n\n",
            "data: ",
            "event: ",
            "[DONE]",
            "\"model\"",
            "\"a\"",
            "\"stream\"",
            "\"stream_options\"",
            "\"include_usage\"",
            "\"max_tokens\"",
            "\"n\"",
            "\"usage\"",
            "\"prompt_tokens\"",
            "\"completion_tokens\"",
            "\"input_tokens\"",
            "\"output_tokens\"",
            "\"type\"",
            "\"message_start\"",
            "\"models\"",
            "\"prices\"",
            "tg-",
            "[[providers]]",
            "name = \"a\"",
            "kind = \"sandbox\"",
            "=",
            "é",
        ]);
        let pieced = prop::collection::vec(words, 0..40).prop_map(|words| words.concat().into_bytes());
        prop_oneof![prop::collection::vec(any::<u8>(), 0..400), pieced, ".{0,60}".prop_map(String::into_bytes)]
    }

    /// Bodies whose fields are all of those that are read, with values that may not be.
    fn body() -> impl Strategy<Value = String> {
        let value = prop::sample::select(vec![
            "null",
            "true",
            "false",
            "0",
            "7",
            "-1",
            "\"a\"",
            "{}",
            "{\"include_usage\":false}",
            "{ }",
            "[]",
            "{\"include_usage\":null,\"x\":1}",
        ]);
        let name = prop::sample::select(vec![
            "stream",
            "stream_options",
            "max_tokens",
            "max_completion_tokens",
            "n",
            "user",
            "messages",
        ]);
        let fields = prop::collection::btree_map(name, value, 0..6);
        fields.prop_map(|fields| {
            let mut body = "{\"model\":\"m\"".to_owned();
            for (name, value) in fields {
                body.push_str(&format!(",\"{name}\": {value} "));
            }
            body + "}"
        })
    }

    macro_rules! holds {
        ($($name:ident),+) => {
            proptest! {
                $(#[test]
                fn $name(bytes in bytes()) {
                    super::$name(&bytes);
                })+
            }
        };
    }

    holds!(
        envelope,
        records,
        openai_answer,
        anthropic_answer,
        price_file,
        credential,
        session_cookie,
        settings,
        csv_cell
    );

    proptest! {
        #[test]
        fn every_body_that_is_read_can_be_written_into(body in body()) {
            super::envelope(body.as_bytes());
        }
    }
}
