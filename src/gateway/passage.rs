//! What becomes of a provider's records on their way to the client.

use bytes::{Bytes, BytesMut};

use crate::dialect::NotOfShape;
use crate::idempotency;
use crate::provider::{Decoder, Meaning, ProviderError};
use crate::routing::Candidate;

use super::attempt::Flow;
use super::booking::Evidence;
use super::translation::Interpreter;

/// The most of a stream that is recorded for the cache.
const RECORDING_BYTES_MAX: usize = 8 << 20;

/// The way of a stream's records, and what the client gets of them where it may be kept.
pub(super) struct Passage {
    way: Way,
    /// The request, from which the input is estimated where no usage comes.
    request: Bytes,
    recording: Option<BytesMut>,
    recording_bytes_max: usize,
}

/// Who wants what the client gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recorded {
    /// The response cache.
    pub(super) for_cache: bool,
    /// Those who send the same call again.
    pub(super) for_retries: bool,
}

/// The way of a stream's records.
pub(super) enum Way {
    /// As they came.
    AsItCame {
        /// But for the usage, which the client has not asked for.
        strip_usage: bool,
    },
    /// Into the client's shape.
    Translated(Interpreter),
}

impl Passage {
    /// A way, recorded for who wants it.
    pub(super) fn new(way: Way, wanted: Recorded, request: Bytes) -> Self {
        let recording_bytes_max = if wanted.for_cache { RECORDING_BYTES_MAX } else { idempotency::ANSWER_BYTES_MAX };
        let recording = (wanted.for_cache || wanted.for_retries).then(BytesMut::new);
        Self { way, request, recording, recording_bytes_max }
    }

    /// All that the client got, where it was recorded and not too much.
    pub(super) fn recorded(self) -> Option<Bytes> {
        self.recording.map(BytesMut::freeze)
    }

    /// Appends what a record becomes.
    pub(super) fn record(
        &mut self,
        record: &Bytes,
        meaning: &Meaning,
        decoder: &dyn Decoder,
        candidate: &Candidate,
        out: &mut BytesMut,
    ) -> Result<(), ProviderError> {
        let before = out.len();
        self.way.record(record, meaning, decoder, candidate, out)?;
        self.note(&out[before..]);
        Ok(())
    }

    /// What the record becomes that ends the stream as it should.
    pub(super) fn end(&mut self, record: Bytes, flow: &Flow, candidate: &Candidate) -> (Bytes, Option<ProviderError>) {
        let (last, error) = self.way.end(record, flow, candidate, &self.request);
        self.note(&last);
        (last, error)
    }

    /// Whether the client gets other records than the provider's own.
    pub(super) fn is_translated(&self) -> bool {
        matches!(self.way, Way::Translated(_))
    }

    /// Appends a sign of life, where one may stand now; the cache has no use for it.
    pub(super) fn ping(&mut self, out: &mut BytesMut) {
        if let Way::Translated(interpreter) = &mut self.way {
            interpreter.ping(out);
        }
    }

    fn note(&mut self, sent: &[u8]) {
        if let Some(recording) = &mut self.recording {
            recording.extend_from_slice(sent);
            if recording.len() > self.recording_bytes_max {
                self.recording = None;
            }
        }
    }
}

impl Way {
    fn record(
        &mut self,
        record: &Bytes,
        meaning: &Meaning,
        decoder: &dyn Decoder,
        candidate: &Candidate,
        out: &mut BytesMut,
    ) -> Result<(), ProviderError> {
        match self {
            Self::AsItCame { strip_usage: true } if *meaning == Meaning::UsageOnly => {}
            Self::AsItCame { strip_usage } => {
                let shown = if *strip_usage { decoder.without_usage(record) } else { None };
                out.extend_from_slice(shown.as_ref().unwrap_or(record));
            }
            Self::Translated(interpreter) => {
                interpreter.record(record, out).map_err(|error| garbage(candidate, &error))?;
            }
        }
        Ok(())
    }

    fn end(
        &mut self,
        record: Bytes,
        flow: &Flow,
        candidate: &Candidate,
        request: &[u8],
    ) -> (Bytes, Option<ProviderError>) {
        let Self::Translated(interpreter) = self else { return (record, None) };
        let mut before = BytesMut::new();
        // The usage that will be booked, whether the provider told it or not.
        let usage = Evidence::stream(&flow.progress, request).used();
        let ended = interpreter.record(&record, &mut before).and_then(|()| interpreter.end(&usage));
        match ended {
            Ok(last) => {
                before.extend_from_slice(&last);
                (before.freeze(), None)
            }
            Err(error) => (Bytes::new(), Some(garbage(candidate, &error))),
        }
    }
}

/// An answer that is not of its shape, as a failure of its provider.
pub(super) fn garbage(candidate: &Candidate, error: &NotOfShape) -> ProviderError {
    ProviderError::Garbage { provider: candidate.upstream.name().to_string(), detail: error.to_string() }
}
