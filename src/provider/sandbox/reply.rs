//! An answer before it is put on the wire: a whole body, or frames of which we know where the ending begins.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::Dialect;

use super::SandboxBody;
use super::refusal::request_id;
use super::seed::Seed;

/// What is said.
#[derive(Debug)]
pub(super) enum Reply {
    /// One JSON document.
    Whole(Vec<u8>),
    /// Server-sent events.
    Stream(Frames),
    /// As much as is sent before the connection breaks.
    Broken { frames: Vec<Bytes>, media: &'static str },
}

/// SSE records in their order.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) records: Vec<Bytes>,
    /// How many records at the end say that the answer is complete: a stream that is to break off lacks them all.
    pub(super) ending: usize,
    /// The record that this kind of stream ends with when the server fails.
    pub(super) error: Bytes,
}

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream; charset=utf-8";

impl Reply {
    /// A document.
    pub(super) fn json(value: &impl serde::Serialize) -> Self {
        Self::Whole(serde_json::to_vec(value).expect("answers are made of texts, numbers and maps with text keys"))
    }

    fn media(&self) -> &'static str {
        match self {
            Self::Whole(_) => JSON,
            Self::Stream(_) => EVENTS,
            Self::Broken { media, .. } => media,
        }
    }

    /// Breaks off about half-way, before anything that says the answer is complete.
    pub(super) fn cut(self, error_record: bool) -> Self {
        let media = self.media();
        match self {
            Self::Stream(Frames { mut records, ending, error }) => {
                let middle = records.len().saturating_sub(ending).div_ceil(2).max(1);
                records.truncate(middle);
                if error_record {
                    records.push(error);
                }
                Self::Broken { frames: records, media }
            }
            Self::Whole(mut body) => {
                body.truncate(body.len() / 2);
                Self::Broken { frames: vec![body.into()], media }
            }
            broken @ Self::Broken { .. } => broken,
        }
    }

    /// As the server sends it.
    pub(super) fn into_body(self, delay: Duration) -> SandboxBody {
        match self {
            Self::Whole(body) => SandboxBody::Whole(body.into()),
            Self::Stream(Frames { records, .. }) => SandboxBody::Stream { frames: records, delay, cut: false },
            Self::Broken { frames, .. } => SandboxBody::Stream { frames, delay, cut: true },
        }
    }
}

/// The headers that clients of the dialect read. The limits are far away and never come nearer.
pub(super) fn headers(dialect: Dialect, status: u16, reply: &Reply, retry_after: Option<u64>, seed: Seed) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).expect("made of visible ASCII only");
        headers.insert(HeaderName::from_static(name), value);
    };
    set("content-type", reply.media());
    let id = request_id(dialect, seed);
    let remaining = if status == 429 { "0" } else { "9999" };
    match dialect {
        Dialect::OpenAi => {
            set("x-request-id", &id);
            set("openai-version", "2020-10-01");
            set("openai-organization", "sandbox");
            set("openai-processing-ms", "1");
            set("x-ratelimit-limit-requests", "10000");
            set("x-ratelimit-remaining-requests", remaining);
            set("x-ratelimit-reset-requests", "6ms");
            set("x-ratelimit-limit-tokens", "2000000");
            set("x-ratelimit-remaining-tokens", "1999999");
            set("x-ratelimit-reset-tokens", "1ms");
            if let Some(seconds) = retry_after {
                set("retry-after-ms", &seconds.saturating_mul(1000).to_string());
            }
        }
        Dialect::Anthropic => {
            set("request-id", &id);
            set("anthropic-organization-id", "sandbox");
            let reset = rfc3339(seed.created());
            set("anthropic-ratelimit-requests-limit", "10000");
            set("anthropic-ratelimit-requests-remaining", remaining);
            set("anthropic-ratelimit-requests-reset", &reset);
            set("anthropic-ratelimit-tokens-limit", "2000000");
            set("anthropic-ratelimit-tokens-remaining", "1999999");
            set("anthropic-ratelimit-tokens-reset", &reset);
        }
    }
    if let Some(seconds) = retry_after {
        set("retry-after", &seconds.to_string());
    }
    if matches!(reply, Reply::Stream(_)) {
        set("cache-control", "no-cache");
    }
    headers
}

fn rfc3339(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(records: usize, ending: usize) -> Reply {
        let records = (0..records).map(|number| Bytes::from(number.to_string())).collect();
        Reply::Stream(Frames { records, ending, error: Bytes::from_static(b"error") })
    }

    fn frames(reply: Reply) -> Vec<Bytes> {
        match reply {
            Reply::Broken { frames, .. } => frames,
            other => panic!("not broken: {other:?}"),
        }
    }

    #[test]
    fn a_cut_stream_has_half_of_its_records_and_never_its_ending() {
        assert_eq!(frames(stream(12, 2).cut(false)).len(), 5);
        assert_eq!(frames(stream(4, 3).cut(false)).len(), 1);
        assert_eq!(frames(stream(12, 2).cut(true)).last().unwrap(), "error");
    }

    #[test]
    fn a_cut_document_lacks_its_second_half() {
        assert_eq!(frames(Reply::Whole(b"12345678".to_vec()).cut(false)), ["1234"]);
    }
}
