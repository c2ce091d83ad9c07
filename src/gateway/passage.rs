//! What becomes of a provider's records on their way to the client.

use bytes::{Bytes, BytesMut};

use crate::dialect::NotOfShape;
use crate::domain::TokenUsage;
use crate::provider::{Decoder, Meaning, ProviderError};
use crate::routing::Candidate;

use super::attempt::Flow;
use super::translation::Interpreter;

/// The most of a stream that is recorded for the cache.
const RECORDING_BYTES_MAX: usize = 8 << 20;

/// The way of a stream's records, and what the client gets of them where the cache may keep it.
pub(super) struct Passage {
    way: Way,
    recording: Option<BytesMut>,
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
    /// A way, recorded or not.
    pub(super) fn new(way: Way, is_recorded: bool) -> Self {
        Self { way, recording: is_recorded.then(BytesMut::new) }
    }

    /// All that the client got, where it was recorded.
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
        let (last, error) = self.way.end(record, flow, candidate);
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
            if recording.len() > RECORDING_BYTES_MAX {
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

    fn end(&mut self, record: Bytes, flow: &Flow, candidate: &Candidate) -> (Bytes, Option<ProviderError>) {
        let Self::Translated(interpreter) = self else { return (record, None) };
        let mut before = BytesMut::new();
        let ended = interpreter.record(&record, &mut before).and_then(|()| interpreter.end(&usage(flow)));
        match ended {
            Ok(last) => {
                before.extend_from_slice(&last);
                (before.freeze(), None)
            }
            Err(error) => (Bytes::new(), Some(garbage(candidate, &error))),
        }
    }
}

/// The usage that the client is told: the provider's, or what was counted here in its place.
fn usage(flow: &Flow) -> TokenUsage {
    let counted = || TokenUsage { output: flow.progress.counted_output(), ..TokenUsage::default() };
    flow.progress.reported().map_or_else(counted, |reported| reported.usage)
}

/// An answer that is not of its shape, as a failure of its provider.
pub(super) fn garbage(candidate: &Candidate, error: &NotOfShape) -> ProviderError {
    ProviderError::Garbage { provider: candidate.upstream.name().to_string(), detail: error.to_string() }
}
