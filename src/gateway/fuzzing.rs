//! What must hold of any request body.

use bytes::Bytes;

use crate::domain::Endpoint;

use super::ceiling::ceiling;
use super::envelope::{Envelope, Splices};

/// See [`crate::fuzzing::envelope`].
pub(crate) fn envelope(body: &[u8]) {
    for endpoint in [Endpoint::ChatCompletions, Endpoint::Messages] {
        let Ok(envelope) = Envelope::parse(body, endpoint) else { continue };
        let _ = ceiling(&envelope, body.len(), None, true);
        let cap = envelope.output_cap.is_none().then_some(("max_tokens", 77));
        let splices = Splices { model: Some("another/model"), output_cap: cap, usage: true };
        let spliced = envelope.splice(&Bytes::copy_from_slice(body), &splices);
        let again = Envelope::parse(&spliced, endpoint).expect("what was read before is read again");
        assert_eq!(again.model, "another/model");
        assert_eq!(again.output_cap, envelope.output_cap.or(Some(77)));
        assert_eq!((again.stream, again.choices), (envelope.stream, envelope.choices));
        assert!(!again.usage_unasked(), "the usage of a stream is asked for");
    }
}
