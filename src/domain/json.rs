//! The top level of a JSON object, with the places of its values: enough to splice a body without printing it anew.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// The deepest nesting that is taken: no dialect needs a tenth of it, and recursion further on stays bounded.
pub const DEPTH_MAX: usize = 64;

/// Why a body can't be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or not an object.
    #[error("the body is not a JSON object: {0}")]
    Malformed(String),
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("the body is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// A key of the top level that stands twice: which of the two counts is anybody's guess, and a trick's way in.
    #[error("the key {0:?} stands twice; say it once")]
    Duplicate(String),
}

/// One member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its key, escapes resolved.
    pub name: Cow<'a, str>,
    /// Its value as written.
    pub value: &'a str,
    /// Where the value stands in the body.
    pub span: Range<usize>,
}

/// Reads the members of a JSON object; checks the syntax of all of it, its depth, and that no key stands twice.
pub fn members(body: &[u8]) -> Result<Vec<Member<'_>>, JsonError> {
    check_depth(body)?;
    let text = std::str::from_utf8(body).map_err(|error| JsonError::Malformed(format!("it is not UTF-8: {error}")))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let malformed = |error: serde_json::Error| JsonError::Malformed(error.to_string());
    let raw = reader.deserialize_map(Members).map_err(malformed)?;
    reader.end().map_err(malformed)?;
    let mut members: Vec<Member<'_>> = Vec::with_capacity(raw.len());
    for (name, value) in raw {
        if members.iter().any(|member| member.name == name) {
            return Err(JsonError::Duplicate(name.into_owned()));
        }
        let value = value.get();
        let start = value.as_ptr().addr() - text.as_ptr().addr();
        members.push(Member { name, value, span: start..start + value.len() });
    }
    Ok(members)
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(8);
        while let Some((Key(name), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
            members.push((name, value));
        }
        Ok(members)
    }
}

/// A key, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }
            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

fn check_depth(body: &[u8]) -> Result<(), JsonError> {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(&byte) = body.get(at) {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(JsonError::TooDeep);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                at += 1;
                while let Some(found) = body.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
                    at += found;
                    if body[at] == b'"' {
                        break;
                    }
                    at += 2;
                }
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn members_come_with_their_places() {
        let body = br#" {"model" : "gpt-5", "n":1,"a\u0062": [ {"x":"}"} ] } "#;
        let members = members(body).unwrap();
        let shown: Vec<_> = members.iter().map(|member| (&*member.name, member.value)).collect();
        assert_eq!(shown, [("model", "\"gpt-5\""), ("n", "1"), ("ab", r#"[ {"x":"}"} ]"#)]);
        for member in members {
            assert_eq!(&body[member.span], member.value.as_bytes());
        }
    }

    #[test]
    fn what_is_no_sound_object_is_refused() {
        assert_eq!(members(br#"{"a":1,"\u0061":2}"#), Err(JsonError::Duplicate("a".to_owned())));
        assert_eq!(members("[".repeat(65).as_bytes()), Err(JsonError::TooDeep));
        for body in ["", "[]", "null", "{", "{}x", r#"{"a":}"#, r#"{"a":01}"#, r#"{"a":NaN}"#, "{'a':1}"] {
            assert!(matches!(members(body.as_bytes()), Err(JsonError::Malformed(_))), "{body:?}");
        }
        assert!(matches!(members(b"{\"a\":\"\xff\"}"), Err(JsonError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = members(&bytes);
        }
    }
}
