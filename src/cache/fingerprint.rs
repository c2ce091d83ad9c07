//! What an answer is kept under: a hash of everything that decides over it, within the circle of those who share it.

use std::fmt;

use super::canonical::{Sink, VERSION, write};
use super::index::Unreadable;
use crate::config::CacheScope;
use crate::domain::{Endpoint, KeyId};

/// The first field of every hash: what is hashed here is hashed nowhere else.
const PURPOSE: &[u8] = b"tollgate response cache";

/// Those who share answers. Made of what the server knows about the caller, never of what the caller says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle<'a> {
    kind: &'static str,
    id: &'a str,
}

impl<'a> Circle<'a> {
    /// The circle of a key; a key without a team shares with nobody but itself, also where teams share.
    pub fn of(scope: CacheScope, key: &'a KeyId, team: Option<&'a str>) -> Self {
        match (scope, team) {
            (CacheScope::Global, _) => Self { kind: "global", id: "" },
            (CacheScope::Team, Some(team)) => Self { kind: "team", id: team },
            (CacheScope::Team, None) | (CacheScope::Key, _) => Self { kind: "key", id: key.as_str() },
        }
    }
}

/// A request, as far as its answer depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The path: an answer has its shape.
    pub endpoint: Endpoint,
    /// The body as the client sent it.
    pub body: &'a [u8],
    /// The header `anthropic-version`: another one gives answers of another shape.
    pub version: Option<&'a str>,
    /// The header `anthropic-beta`: features that change what fields mean. Its order doesn't matter.
    pub betas: Option<&'a str>,
    /// What else goes to the provider beside the body: the query, and the sandbox's header.
    pub extras: [Option<&'a str>; 2],
}

/// The hash of a question within a circle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

/// A fingerprint, and what was seen of the request on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The fingerprint.
    pub fingerprint: Fingerprint,
    /// Whether the request asks for the likeliest answer: a temperature of 0.
    pub is_deterministic: bool,
}

impl Fingerprint {
    /// Takes the fingerprint of a request; a body that is no JSON object has none.
    pub fn of(circle: &Circle<'_>, question: &Question<'_>) -> Result<Taken, Unreadable> {
        let mut sink = Sink::new();
        sink.put_field(PURPOSE);
        sink.put(&[VERSION]);
        sink.put_field(circle.kind.as_bytes());
        sink.put_field(circle.id.as_bytes());
        sink.put_field(question.endpoint.as_str().as_bytes());
        put_optional(&mut sink, question.version.map(str::trim));
        put_list(&mut sink, question.betas);
        for extra in question.extras {
            put_optional(&mut sink, extra);
        }
        let shown = write(question.body, question.endpoint, &mut sink)?;
        Ok(Taken { fingerprint: Self(sink.finish()), is_deterministic: shown.is_deterministic })
    }

    /// The whole of it, for names elsewhere: unlike what is shown.
    pub(super) fn to_hex(self) -> String {
        use fmt::Write as _;
        let mut hex = String::with_capacity(2 * self.0.len());
        self.0.iter().for_each(|byte| write!(hex, "{byte:02x}").expect("a text takes everything"));
        hex
    }

    /// The fingerprint that [`Self::to_hex`] has written.
    pub(super) fn from_hex(hex: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if hex.len() != 2 * bytes.len() || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// A byte of it, to spread by.
    pub(super) fn spread(&self) -> u8 {
        self.0[0]
    }
}

/// Shown short: the first twelve bytes tell any two apart that are kept at once.
impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..12].iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fingerprint({self})")
    }
}

fn put_optional(sink: &mut Sink, field: Option<&str>) {
    match field {
        None => sink.put(&[0]),
        Some(field) => {
            sink.put(&[1]);
            sink.put_field(field.as_bytes());
        }
    }
}

/// A list with commas, as a set.
fn put_list(sink: &mut Sink, list: Option<&str>) {
    let mut words: Vec<&str> =
        list.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    words.dedup();
    sink.put(&(words.len() as u64).to_le_bytes());
    for word in words {
        sink.put_field(word.as_bytes());
    }
}

#[cfg(test)]
mod tests;
