//! Where chance would be: everything that varies is derived from a hash of the request.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The first second that answers are dated: 1 January 2026.
const CREATED_FIRST: u64 = 1_767_225_600;
/// Answers are dated within this many seconds (a quarter of a year).
const CREATED_SPAN: u64 = 7_776_000;
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// These decide how an answer travels, not what it says.
const TRANSPORT_FIELDS: [&str; 2] = ["stream", "stream_options"];

/// The hash that decides ids, words and dice of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seed([u8; 32]);

impl Seed {
    /// For a body that is no JSON object.
    pub(super) fn of_bytes(path: &str, body: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(path.as_bytes());
        hasher.update([0]);
        hasher.update(body);
        Self(hasher.finalize().into())
    }

    /// For a JSON body: the order of its keys, its white space and whether it is streamed don't matter.
    pub(super) fn of_body(path: &str, body: &serde_json::Map<String, Value>) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(path.as_bytes());
        hasher.update([0]);
        feed_object(&mut hasher, body, &TRANSPORT_FIELDS);
        Self(hasher.finalize().into())
    }

    /// A seed of its own for one part of the answer.
    pub(super) fn part(self, label: &str, index: usize) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(label.as_bytes());
        hasher.update(index.to_le_bytes());
        Self(hasher.finalize().into())
    }

    /// Rolls that begin here.
    pub(super) fn dice(self) -> Dice {
        let mut state = [0; 8];
        state.copy_from_slice(&self.0[..8]);
        Dice(u64::from_le_bytes(state))
    }

    /// An id of that many letters and digits after its prefix.
    pub(super) fn id(self, prefix: &str, letters: usize) -> String {
        let mut dice = self.part("id", 0).dice();
        let mut id = String::with_capacity(prefix.len() + letters);
        id.push_str(prefix);
        for _ in 0..letters {
            id.push(char::from(LETTERS[dice.below(LETTERS.len())]));
        }
        id
    }

    /// The hash itself, for signatures.
    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// When the answer says that it was made, in seconds since 1970.
    pub(super) fn created(self) -> u64 {
        CREATED_FIRST + self.part("created", 0).dice().roll() % CREATED_SPAN
    }
}

/// Keys are sorted here because the map may or may not keep them so.
fn feed_object(hasher: &mut Sha256, object: &serde_json::Map<String, Value>, skipped: &[&str]) {
    let mut entries: Vec<_> = object.iter().filter(|(key, _)| !skipped.contains(&key.as_str())).collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    hasher.update(b"{");
    for (key, value) in entries {
        feed_text(hasher, key);
        feed(hasher, value);
    }
    hasher.update(b"}");
}

fn feed(hasher: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hasher.update(b"n"),
        Value::Bool(flag) => hasher.update(if *flag { b"t" } else { b"f" }),
        Value::Number(number) => feed_text(hasher, &number.to_string()),
        Value::String(text) => feed_text(hasher, text),
        Value::Array(items) => {
            hasher.update(b"[");
            for item in items {
                feed(hasher, item);
            }
            hasher.update(b"]");
        }
        Value::Object(object) => feed_object(hasher, object, &[]),
    }
}

/// The length in front keeps `["ab"]` and `["a","b"]` apart.
fn feed_text(hasher: &mut Sha256, text: &str) {
    hasher.update(text.len().to_le_bytes());
    hasher.update(text.as_bytes());
}

/// A row of numbers that look random and never differ from run to run (splitmix64).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number under the bound; 0 where the bound is 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.roll() % bound).unwrap_or(0)
    }

    /// At least 0, under 1.
    pub(super) fn fraction(&mut self) -> f64 {
        // 53 bits are what a double holds exactly.
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True for about that share of all seeds.
    pub(super) fn chance(&mut self, rate: f64) -> bool {
        self.fraction() < rate
    }

    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seed(body: &Value) -> Seed {
        Seed::of_body("/v1/x", body.as_object().unwrap())
    }

    #[test]
    fn streaming_the_same_request_keeps_its_seed() {
        let plain = seed(&json!({"model": "m", "n": 1}));
        assert_eq!(plain, seed(&json!({"n": 1, "model": "m", "stream": true, "stream_options": {}})));
        assert_ne!(plain, seed(&json!({"model": "m", "n": 2})));
    }

    #[test]
    fn nested_fields_and_borders_between_texts_count() {
        assert_ne!(seed(&json!({"a": ["ab"]})), seed(&json!({"a": ["a", "b"]})));
        assert_ne!(seed(&json!({"a": {"stream": true}})), seed(&json!({"a": {"stream": false}})));
    }

    #[test]
    fn a_rate_of_one_always_hits_and_of_zero_never() {
        let mut dice = seed(&json!({})).dice();
        for _ in 0..1000 {
            assert!(dice.chance(1.0));
            assert!(!dice.chance(0.0));
        }
    }

    #[test]
    fn a_rate_is_about_the_share_that_it_says() {
        let mut dice = seed(&json!({})).dice();
        let hits = (0..10_000).filter(|_| dice.chance(0.25)).count();
        assert!((2_200..2_800).contains(&hits), "{hits}");
    }

    #[test]
    fn an_id_has_its_prefix_and_length() {
        let id = seed(&json!({})).id("chatcmpl-", 29);
        assert!(id.starts_with("chatcmpl-"));
        assert_eq!(id.len(), 38);
        assert!(id[9..].bytes().all(|letter| letter.is_ascii_alphanumeric()));
    }
}
