//! What a provider says that a call used, in one shape for all of them.
//!
//! Each provider's decoder fills it in from the provider's own JSON, reading only what it needs. Decoders forgive a
//! strange shape, since servers differ, but no strange number: a count that can't be one makes the whole usage invalid.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::{Billed, Residency, ServiceTier, TokenUsage};

/// The largest count that is believed. A million million tokens are beyond any request, and keep every sum inside its
/// type.
pub const COUNT_MAX: u64 = 1_000_000_000_000;

/// The longest usage object that is kept with a call. Real ones have a few hundred bytes.
pub const RAW_BYTES_MAX: usize = 2_048;

/// The usage that a provider reported for one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedUsage {
    /// The counts, in disjoint buckets.
    pub usage: TokenUsage,
    /// The service tier that was billed.
    pub tier: ServiceTier,
    /// Where it was computed.
    pub residency: Residency,
    /// True for Anthropic's `speed: fast`.
    pub fast: bool,
    /// The provider's own usage object, compacted, or `{"dropped_bytes":N}` for one that is too long to keep.
    pub raw: Box<str>,
}

impl ReportedUsage {
    /// What decides over the price, for a call made at a time.
    pub fn billed(&self, at: Timestamp) -> Billed {
        Billed { tier: self.tier, residency: self.residency, fast: self.fast, at }
    }
}

/// What the money side wants to know of a response, or of one record of a stream.
#[derive(Debug)]
pub struct ReportedAnswer<'a> {
    /// The provider's id of the response.
    pub id: Option<Cow<'a, str>>,
    /// The model that answered, which may not be the one asked for.
    pub model: Option<Cow<'a, str>>,
    /// Why it ended, in the provider's word; `None` where it has not.
    pub finish_reason: Option<Cow<'a, str>>,
    /// The service tier, where the answer names one.
    pub tier: Option<ServiceTier>,
    /// The usage, where the answer has one.
    pub usage: Result<Option<ReportedUsage>, UsageError>,
}

/// Why a usage can't be believed. A caller treats it as if there were none, and says so.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The record is no JSON object.
    #[error("the record is no JSON object")]
    NotJson(#[source] Option<serde_json::Error>),
    /// A count is negative, a fraction, a text, or larger than any that is believed.
    #[error("the usage has a {field} that can't be a count")]
    Count {
        /// The provider's name of the count.
        field: &'static str,
    },
}

/// A count as it stands in JSON. Reading it never fails, so that the error can name the field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Count {
    #[default]
    Absent,
    Told(u64),
    Hostile,
}

impl Count {
    /// The count, where there is one.
    pub(super) fn told(self, field: &'static str) -> Result<Option<u64>, UsageError> {
        match self {
            Self::Absent => Ok(None),
            Self::Told(count) => Ok(Some(count)),
            Self::Hostile => Err(UsageError::Count { field }),
        }
    }

    /// The count, or 0 where there is none.
    pub(super) fn or_zero(self, field: &'static str) -> Result<u64, UsageError> {
        self.told(field).map(Option::unwrap_or_default)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("anything")
    }

    fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
        Ok(if count <= COUNT_MAX { Count::Told(count) } else { Count::Hostile })
    }

    fn visit_i64<E>(self, _: i64) -> Result<Count, E> {
        // A number that is not negative comes as unsigned.
        Ok(Count::Hostile)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Count, E> {
        Ok(Count::Hostile)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
        Ok(Count::Hostile)
    }

    fn visit_str<E>(self, _: &str) -> Result<Count, E> {
        Ok(Count::Hostile)
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count::Absent)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count::Hostile)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Count, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count::Hostile)
    }
}

/// Reads a whole record, which has to be an object.
pub(super) fn record<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, UsageError> {
    // Asked first, because a struct would also be read from a list.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(UsageError::NotJson(None));
    }
    serde_json::from_slice(json).map_err(|error| UsageError::NotJson(Some(error)))
}

/// Reads an object inside a record; anything else, or one of another shape, counts as absent.
pub(super) fn object<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    raw.map(RawValue::get).filter(|text| text.starts_with('{')).and_then(|text| serde_json::from_str(text).ok())
}

/// Reads the objects of a list; anything else counts as an empty list.
pub(super) fn objects<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> impl Iterator<Item = T> {
    let items: Vec<&'a RawValue> = raw.and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default();
    items.into_iter().filter_map(|item| object(Some(item)))
}

/// Reads a text, without a copy where it has no escapes; anything else counts as absent.
pub(super) fn word(raw: Option<&RawValue>) -> Option<Cow<'_, str>> {
    let text = raw?.get();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(text).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// A usage object without the spaces between its parts, or a marker in place of one that is too long.
pub(super) fn compacted(json: &str) -> Box<str> {
    let mut compact = String::with_capacity(json.len().min(RAW_BYTES_MAX));
    let (mut is_text, mut is_escaped) = (false, false);
    // Copied in runs, from one space to the next; all that is looked at is ASCII, so no run ends inside a character.
    let mut run = 0;
    for (at, byte) in json.bytes().enumerate() {
        if is_escaped {
            is_escaped = false;
        } else if byte == b'"' {
            is_text = !is_text;
        } else if is_text {
            is_escaped = byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            if compact.len() + (at - run) > RAW_BYTES_MAX {
                break;
            }
            compact.push_str(&json[run..at]);
            run = at + 1;
        }
    }
    if compact.len() + (json.len() - run) > RAW_BYTES_MAX {
        return dropped(json.len());
    }
    compact.push_str(&json[run..]);
    compact.into()
}

/// The marker in place of a usage object that is too long to keep.
pub(super) fn dropped(bytes: usize) -> Box<str> {
    format!("{{\"dropped_bytes\":{bytes}}}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Count) {
        assert_eq!(serde_json::from_str::<Count>(json).unwrap(), expected, "{json}");
    }

    #[test]
    fn a_whole_number_up_to_the_largest_believed_is_a_count() {
        check("0", Count::Told(0));
        check("1000000000000", Count::Told(COUNT_MAX));
        check("null", Count::Absent);
    }

    #[test]
    fn nothing_else_is_a_count() {
        let hostile =
            ["-1", "1000000000001", "18446744073709551615", "1e999999", "12.5", "12.0", "1e3", "\"12\"", "true"];
        for json in hostile.into_iter().filter(|json| *json != "1e999999").chain(["[1]", "{\"a\":[{}]}", "-0"]) {
            check(json, Count::Hostile);
        }
        assert!(serde_json::from_str::<Count>("1e999999").is_err());
    }

    #[test]
    fn a_usage_object_is_kept_without_its_spaces() {
        assert_eq!(&*compacted("{ \"a b\" : 1,\n\t\"c\\\" d\": [ 2 , 3 ] }"), r#"{"a b":1,"c\" d":[2,3]}"#);
    }

    #[test]
    fn a_usage_object_that_is_too_long_leaves_a_marker() {
        let fits = format!("{{\"a\":\"{}\"}}", "x".repeat(RAW_BYTES_MAX - 8));
        assert_eq!(*compacted(&fits), *fits);
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(RAW_BYTES_MAX - 7));
        assert_eq!(*compacted(&long), format!("{{\"dropped_bytes\":{}}}", RAW_BYTES_MAX + 1));
    }

    #[test]
    fn a_record_has_to_be_an_object() {
        for json in ["", "[DONE]", "[]", "null", "{", "{}x", "\u{0}"] {
            assert!(matches!(record::<IgnoredAny>(json.as_bytes()), Err(UsageError::NotJson(_))), "{json:?}");
        }
    }
}
