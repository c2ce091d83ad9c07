//! What a client says to have its call made once, and what it asks for: read once, hashed, and forgotten.

use memchr::memmem;
use sha2::{Digest as _, Sha256};

use super::tables::Slot;
use crate::domain::KeyId;

/// Characters of a key: what every service takes that knows the header.
const KEY_LEN_MAX: usize = 255;

/// What a client sent as `Idempotency-Key`.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(Box<str>);

/// Why a key can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has to be one value of 1 to {KEY_LEN_MAX} visible ASCII characters, such as a UUID")]
pub struct KeyError;

impl IdempotencyKey {
    /// The header.
    pub const HEADER: &'static str = "idempotency-key";

    /// Reads the value of the header.
    pub fn parse(value: &[u8]) -> Result<Self, KeyError> {
        let is_key = (1..=KEY_LEN_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
        let text = std::str::from_utf8(value).ok().filter(|_| is_key);
        text.map(|text| Self(text.into())).ok_or(KeyError)
    }
}

impl std::fmt::Debug for IdempotencyKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Some clients put more into it than they should.
        formatter.write_str("IdempotencyKey(***)")
    }
}

/// A key with what is asked under it, both as hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    pub(super) slot: Slot,
    pub(super) digest: [u8; 32],
}

impl Question {
    /// What a virtual key asks at a path. `said` is everything beside the body that changes the answer, in a fixed order.
    pub fn new(
        key: &IdempotencyKey,
        caller: &KeyId,
        path: &str,
        said: &[Option<&str>],
        content_type: Option<&str>,
        body: &[u8],
    ) -> Self {
        let slot = hash(&[Some(caller.as_str().as_bytes()), Some(path.as_bytes()), Some(key.0.as_bytes())]).finalize();
        let said: Vec<Option<&[u8]>> = said.iter().map(|said| said.map(str::as_bytes)).collect();
        let mut digest = hash(&said);
        match content_type.and_then(boundary) {
            // Clients draw a new boundary each time they send the same form.
            Some(boundary) => {
                let mut rest = body;
                while let Some(at) = memmem::find(rest, boundary.as_bytes()) {
                    digest.update(&rest[..at]);
                    digest.update([0]);
                    rest = &rest[at + boundary.len()..];
                }
                digest.update(rest);
            }
            None => digest.update(body),
        }
        Self { slot: slot.into(), digest: digest.finalize().into() }
    }
}

/// A hash of parts that can't run into each other.
fn hash(parts: &[Option<&[u8]>]) -> Sha256 {
    let mut hash = Sha256::new();
    for part in parts {
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        hash.update(length.to_be_bytes());
        hash.update(part.unwrap_or_default());
    }
    hash
}

/// What separates the parts of a form.
fn boundary(content_type: &str) -> Option<&str> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().get(.."multipart/".len())?.eq_ignore_ascii_case("multipart/") {
        return None;
    }
    let named = rest.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    });
    named.filter(|boundary| !boundary.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &[u8], is_key: bool) {
        assert_eq!(IdempotencyKey::parse(value).is_ok(), is_key, "{:?}", String::from_utf8_lossy(value));
    }

    #[test]
    fn a_key_is_visible_ascii_of_some_length() {
        check(b"a", true);
        check(b"stainless-node-retry-8a1f!~\"", true);
        check(&[b'k'; 255], true);
        check(&[b'k'; 256], false);
        for value in [&b""[..], b" ", b"a b", b"a\tb", b"\x7f", "ü".as_bytes(), b"\xff"] {
            check(value, false);
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        let key = IdempotencyKey::parse(b"mail-of-ada@example.test").unwrap();
        assert!(!format!("{key:?}").contains("ada"));
    }

    fn asked(key: &str, caller: &str, path: &str, said: &[Option<&str>], body: &str) -> Question {
        let (key, caller) = (IdempotencyKey::parse(key.as_bytes()).unwrap(), KeyId::new(caller).unwrap());
        Question::new(&key, &caller, path, said, Some("application/json"), body.as_bytes())
    }

    #[test]
    fn keys_of_other_callers_and_paths_are_other_keys() {
        let one = asked("k", "key_1", "/v1/messages", &[], "{}");
        assert_eq!(one, asked("k", "key_1", "/v1/messages", &[], "{}"));
        for other in [
            asked("l", "key_1", "/v1/messages", &[], "{}"),
            asked("k", "key_2", "/v1/messages", &[], "{}"),
            asked("k", "key_1", "/v1/responses", &[], "{}"),
        ] {
            assert_ne!(one.slot, other.slot);
            assert_eq!(one.digest, other.digest);
        }
    }

    #[test]
    fn what_changes_the_answer_is_another_body() {
        let one = asked("k", "key_1", "/p", &[Some("a"), None], "{}");
        for (said, body) in [
            (&[Some("a"), None][..], "{ }"),
            (&[Some("b"), None], "{}"),
            (&[None, Some("a")], "{}"),
            (&[Some("a"), Some("")], "{}"),
            (&[Some("a{}"), None], ""),
        ] {
            let other = asked("k", "key_1", "/p", said, body);
            assert_eq!(one.slot, other.slot);
            assert_ne!(one.digest, other.digest, "{said:?} {body}");
        }
    }

    #[test]
    fn the_same_form_with_another_boundary_is_the_same_body() {
        let form = |boundary: &str, word: &str| {
            let (key, caller) = (IdempotencyKey::parse(b"k").unwrap(), KeyId::new("key_1").unwrap());
            let body = format!("--{boundary}\r\n\r\n{word}\r\n--{boundary}--\r\n");
            let kind = format!("Multipart/form-data; charset=x; boundary=\"{boundary}\"");
            Question::new(&key, &caller, "/v1/files", &[], Some(&kind), body.as_bytes())
        };
        assert_eq!(form("aaaa", "word"), form("bbbbbb", "word"));
        assert_ne!(form("aaaa", "word").digest, form("aaaa", "other").digest);
        for kind in ["multipart/form-data", "multipart/form-data; boundary=", "text/plain; boundary=x", "m;boundary=x"]
        {
            assert_eq!(boundary(kind), None, "{kind}");
        }
    }
}
