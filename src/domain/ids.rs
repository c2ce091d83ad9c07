//! Names and ids: short texts of a checked alphabet, and ids that sort by time.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is no name or id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing at all.
    #[error("a name can't be empty")]
    Empty,
    /// Longer than names may be.
    #[error("{0:?}… is longer than {1} characters")]
    TooLong(String, usize),
    /// A character that names may not have.
    #[error("{0:?} has control characters")]
    Control(String),
    /// A deployment without its slash.
    #[error("{0:?} is not of the form provider/model")]
    NotADeployment(String),
    /// Not of the form that this product's ids have.
    #[error("{0:?} is not an id")]
    NotAnId(String),
}

/// A short text without control characters, cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks and keeps a name of at most `max` characters.
    pub fn new(text: &str, max: usize) -> Result<Self, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        if text.chars().count() > max {
            return Err(IdError::TooLong(text.chars().take(20).collect(), max));
        }
        if text.chars().any(char::is_control) {
            return Err(IdError::Control(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text, 256).map_err(serde::de::Error::custom)
    }
}

/// Crockford's base 32, in lower case: no letter that reads as a digit.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The id of one client call and of its ledger entry: 48 bits of milliseconds, then 80 bits that count up within it.
///
/// Ids of one process are unique and sort by time. Shown as `req_` and 26 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u128);

impl RequestId {
    /// An id from its stored number.
    pub const fn from_number(number: u128) -> Self {
        Self(number)
    }

    /// The number to store.
    pub const fn number(self) -> u128 {
        self.0
    }

    /// The smallest id of a millisecond since 1970.
    pub fn first_of(unix_ms: i64) -> Self {
        Self(u128::from(u64::try_from(unix_ms).unwrap_or(0)) << 80)
    }

    /// The millisecond since 1970 in which the id was made.
    pub fn unix_ms(self) -> i64 {
        i64::try_from(self.0 >> 80).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = *b"req_00000000000000000000000000";
        let mut rest = self.0;
        for place in text[4..].iter_mut().rev() {
            *place = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        formatter.pad(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl FromStr for RequestId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::NotAnId(text.chars().take(64).collect());
        let digits = text.strip_prefix("req_").filter(|digits| digits.len() == 26).ok_or_else(wrong)?;
        let mut number = 0_u128;
        for byte in digits.bytes() {
            let digit = ALPHABET.iter().position(|&letter| letter == byte).ok_or_else(wrong)?;
            if number >> 123 != 0 {
                return Err(wrong());
            }
            number = number << 5 | digit as u128;
        }
        Ok(Self(number))
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Hands out request ids: unique in a process, and unlikely to meet those of another by a random part.
#[derive(Debug)]
pub struct RequestIds {
    /// The random part of this process in the upper half, a counter in the lower.
    salt: u64,
    count: AtomicU64,
}

impl RequestIds {
    /// A source of ids; `salt` is random and differs from process to process.
    pub const fn new(salt: u64) -> Self {
        Self { salt, count: AtomicU64::new(0) }
    }

    /// The next id, made at this millisecond.
    pub fn next(&self, unix_ms: i64) -> RequestId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let low = u128::from(count & 0xffff_ffff) << 48 | u128::from(self.salt & 0xffff_ffff_ffff);
        RequestId(RequestId::first_of(unix_ms).0 | low)
    }
}

/// The id of a virtual key: not secret, stable over rotation, shown in lists and entries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(Name);

impl KeyId {
    /// Checks and keeps an id.
    pub fn new(text: &str) -> Result<Self, IdError> {
        Name::new(text, 64).map(Self)
    }

    /// The id itself.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// The id of a team: the name that it was made with. It stays when the name is changed, for entries, budgets and keys
/// refer to it, and is never given to another team.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TeamId(Name);

impl TeamId {
    /// Checks and keeps an id.
    pub fn new(text: &str) -> Result<Self, IdError> {
        Name::new(text, 100).map(Self)
    }

    /// The id itself.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for TeamId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// The id of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BudgetId(pub u32);

impl fmt::Display for BudgetId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "budget_{}", self.0)
    }
}

impl FromStr for BudgetId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        text.strip_prefix("budget_")
            .and_then(|number| number.parse().ok())
            .map(Self)
            .ok_or_else(|| IdError::NotAnId(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn request_ids_sort_by_time_and_never_repeat() {
        let ids = RequestIds::new(0x1234_5678_9abc_def0);
        let first = ids.next(1_795_330_000_000);
        let second = ids.next(1_795_330_000_000);
        let later = ids.next(1_795_330_000_001);
        assert!(first < second && second < later);
        assert_eq!(first.unix_ms(), 1_795_330_000_000);
        assert!(RequestId::first_of(1_795_330_000_000) <= first);
    }

    proptest! {
        #[test]
        fn a_request_id_survives_being_shown(number in any::<u128>()) {
            let id = RequestId(number);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn any_text_parses_or_is_refused_but_never_panics(text in ".{0,40}") {
            let _ = text.parse::<RequestId>();
            let _ = text.parse::<BudgetId>();
            let _ = KeyId::new(&text);
            let _ = TeamId::new(&text);
        }
    }

    #[test]
    fn names_are_short_and_printable() {
        assert_eq!(Name::new("", 5), Err(IdError::Empty));
        assert!(Name::new("toolong", 5).is_err());
        assert!(Name::new("a\nb", 5).is_err());
        assert_eq!(Name::new("é✓", 2).map(|name| name.as_str().to_owned()), Ok("é✓".to_owned()));
    }
}
