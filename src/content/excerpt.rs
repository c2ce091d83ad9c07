//! The beginning of a body, and how long all of it was.

use serde::{Deserialize, Serialize};

/// The most that is kept of a body: a long conversation in text; what is longer is mostly media.
pub const BODY_BYTES_MAX: usize = 256 << 10;

/// The first [`BODY_BYTES_MAX`] bytes of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    bytes: Vec<u8>,
    /// The length of the whole.
    whole: u64,
}

impl Excerpt {
    /// Of a body that is there as a whole. Copies, so that a large body isn't held for the sake of its beginning.
    pub fn of(body: &[u8]) -> Self {
        let mut excerpt = Self::default();
        excerpt.push(body);
        excerpt
    }

    /// Adds the next piece of a body that arrives piece by piece.
    pub fn push(&mut self, piece: &[u8]) {
        let room = BODY_BYTES_MAX.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        self.whole += piece.len() as u64;
    }

    /// The bytes that are kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes that are kept, to be changed.
    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What is kept, as text; what is no text is marked as such, character by character.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The length of the whole body.
    pub fn whole_len(&self) -> u64 {
        self.whole
    }

    /// Whether the body went on.
    pub fn is_truncated(&self) -> bool {
        self.whole > BODY_BYTES_MAX as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_body_is_kept_whole_and_of_a_long_one_the_beginning() {
        let short = Excerpt::of(b"{}");
        assert_eq!((short.bytes(), short.whole_len(), short.is_truncated()), (&b"{}"[..], 2, false));
        let exact = Excerpt::of(&vec![b'a'; BODY_BYTES_MAX]);
        assert!(!exact.is_truncated());
        let mut long = Excerpt::default();
        for _ in 0..3 {
            long.push(&vec![b'b'; BODY_BYTES_MAX / 2]);
        }
        assert_eq!(long.bytes().len(), BODY_BYTES_MAX);
        assert_eq!(long.whole_len(), (BODY_BYTES_MAX / 2 * 3) as u64);
        assert!(long.is_truncated());
    }

    #[test]
    fn what_is_no_text_is_still_shown() {
        assert_eq!(Excerpt::of(b"a\xffb").text(), "a\u{fffd}b");
    }
}
