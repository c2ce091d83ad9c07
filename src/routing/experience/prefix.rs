//! A request as its provider's prompt cache sees it: tools first, then the system prompt, then message by message.
//!
//! A prompt cache holds beginnings. Two requests share one up to the first piece that differs, whatever the order of the
//! fields in their bodies; `cache_control`, which moves from message to message, is no part of it.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hasher as _};
use std::time::Duration;

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::catalog::ModelFacts;
use crate::domain::json::members;
use crate::domain::{Endpoint, ProviderKind};

/// A shorter body has fewer tokens than any provider caches.
pub const PROMPT_BYTES_MIN: usize = 2_048;
/// How long OpenAI keeps a beginning that nobody asks for again, at least; compatible servers are taken to do the same.
const OPENAI_KEEPS: Duration = Duration::from_mins(5);
/// How long Anthropic keeps one unless told otherwise; each use begins the time anew.
const ANTHROPIC_KEEPS: Duration = Duration::from_mins(5);

/// Where in a request a piece stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An item of `tools`.
    Tool(u32),
    /// The form that the answer shall have.
    Format,
    /// `system` or `instructions`.
    System(&'static str),
    /// An item of `messages` or `input`.
    Message(&'static str, u32),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tool(number) => write!(formatter, "tools[{number}]"),
            Self::Format => formatter.write_str("response format"),
            Self::System(name) => formatter.write_str(name),
            Self::Message(name, number) => write!(formatter, "{name}[{number}]"),
        }
    }
}

/// A piece of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) place: Place,
    /// As it stands in the body, but for its `cache_control`.
    pub(super) text: Cow<'a, str>,
    /// Where in the body it stands.
    pub(super) at: usize,
    /// What was taken out, as places within the piece.
    pub(super) removed: Vec<(usize, usize)>,
    role: Role,
}

impl Piece<'_> {
    /// Where in the body the byte of the text at a place is.
    pub(super) fn body_offset(&self, offset: usize) -> usize {
        let mut offset = offset;
        for (start, end) in &self.removed {
            if *start <= offset {
                offset += end - start;
            }
        }
        self.at + offset
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    User,
    Assistant,
    Other,
}

/// What a request says about how long it shall be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wishes {
    /// Where `cache_control` or a breakpoint stands: for how long.
    marked: Option<Duration>,
    /// `prompt_cache_retention`, or the like.
    retention: Option<Duration>,
    is_keyed: bool,
}

/// A request as prompt caches see it.
#[derive(Clone, Debug)]
pub struct Prefix<'a> {
    pub(super) pieces: Vec<Piece<'a>>,
    wishes: Wishes,
    /// Who asks: beginnings of different keys are told apart.
    key: u64,
    session: Option<u64>,
}

/// What names a conversation: the session that the client names, or the first thing that its person said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConversationId(pub(super) u64);

/// A beginning: what stands for all of it, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    pub(super) hash: u64,
    pub(super) bytes: usize,
}

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow, default)]
    role: Option<Cow<'a, str>>,
}

impl<'a> Prefix<'a> {
    /// Reads a body; nothing where it is no conversation.
    pub fn of(endpoint: Endpoint, body: &'a [u8], key: &str, session: Option<&str>) -> Option<Self> {
        if !endpoint.is_conversation() {
            return None;
        }
        let members = members(body).ok()?;
        let start = body.as_ptr().addr();
        let mut pieces = Vec::with_capacity(16);
        // In the order in which providers put them before the model, not in that of the body.
        for names in
            [&["tools", "functions"][..], &["response_format", "text", "output_config"], &["system", "instructions"]]
        {
            for member in members.iter().filter(|member| names.contains(&&*member.name) && member.value != "null") {
                match &*member.name {
                    "tools" | "functions" => push_items(&mut pieces, member.value, start, Place::Tool),
                    "system" => pieces.push(Piece::new(Place::System("system"), member.value, start)),
                    "instructions" => pieces.push(Piece::new(Place::System("instructions"), member.value, start)),
                    _ => pieces.push(Piece::new(Place::Format, member.value, start)),
                }
            }
        }
        for member in members.iter().filter(|member| matches!(&*member.name, "messages" | "input")) {
            let name = if member.name == "input" { "input" } else { "messages" };
            push_items(&mut pieces, member.value, start, |number| Place::Message(name, number));
        }
        let wishes = Wishes::of(body, &members);
        let session = session.map(|session| hash_of(&(key, "session", session)));
        Some(Self { pieces, wishes, key: hash_of(&key), session })
    }

    /// The conversation that the request belongs to; nothing where nobody says anything in it.
    pub fn conversation(&self) -> Option<ConversationId> {
        self.session.map(ConversationId).or_else(|| self.said(0))
    }

    /// The same by what was said as the second: where the beginning of a conversation is cut off, that is left.
    pub(super) fn conversation_when_cut(&self) -> Option<ConversationId> {
        if self.session.is_some() { None } else { self.said(1) }
    }

    fn said(&self, number: usize) -> Option<ConversationId> {
        let said = self.pieces.iter().filter(|piece| piece.role == Role::User).nth(number)?;
        Some(ConversationId(hash_of(&(self.key, &*said.text))))
    }

    /// Whether it is a later turn, or says itself where it belongs: a first question that others ask too is nobody's conversation.
    pub fn is_continued(&self) -> bool {
        self.session.is_some() || self.pieces.iter().any(|piece| piece.role == Role::Assistant)
    }

    /// Its beginnings, shortest first: one after each piece.
    pub(super) fn beginnings(&self) -> impl DoubleEndedIterator<Item = Beginning> + ExactSizeIterator + use<'_, 'a> {
        let mut beginning = Beginning { hash: self.key, bytes: 0 };
        let all: Vec<Beginning> = self
            .pieces
            .iter()
            .map(|piece| {
                beginning = Beginning {
                    hash: hash_of(&(beginning.hash, &*piece.text)),
                    bytes: beginning.bytes + piece.text.len(),
                };
                beginning
            })
            .collect();
        all.into_iter()
    }

    /// How many pieces stand before the messages: what conversations of one program have in common.
    pub(super) fn fixed_len(&self) -> usize {
        self.pieces.iter().take_while(|piece| !matches!(piece.place, Place::Message(..))).count()
    }

    /// Bytes of all pieces.
    pub(super) fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.text.len()).sum()
    }

    /// How long a provider keeps it from now on; nothing where it does not keep it at all.
    pub(super) fn kept_for(&self, kind: ProviderKind, facts: Option<&ModelFacts>) -> Option<Duration> {
        if facts.is_some_and(|facts| facts.capabilities.prompt_cache == Some(false)) {
            return None;
        }
        let Wishes { marked, retention, is_keyed } = self.wishes;
        match kind {
            // Keeps what is marked, and nothing else.
            ProviderKind::Anthropic => marked,
            ProviderKind::OpenAi | ProviderKind::OpenAiCompatible => Some(retention.unwrap_or(OPENAI_KEEPS)),
            ProviderKind::Sandbox => marked.or_else(|| is_keyed.then_some(retention.unwrap_or(OPENAI_KEEPS))),
        }
    }

    /// Whether the client marks what shall be written to the cache, and for how long.
    pub(in crate::routing) fn marked(&self) -> Option<Duration> {
        self.wishes.marked
    }
}

impl Wishes {
    fn of(body: &[u8], members: &[crate::domain::json::Member<'_>]) -> Self {
        let has = |text: &[u8]| memmem::find(body, text).is_some();
        let mut wishes = Self::default();
        // A quoted name inside a text has its quotes escaped, so this is a field.
        if has(b"\"cache_control\"") || has(b"\"prompt_cache_breakpoint\"") {
            let is_long = has(b"\"ttl\":\"1h\"") || has(b"\"ttl\": \"1h\"");
            wishes.marked = Some(if is_long { Duration::from_hours(1) } else { ANTHROPIC_KEEPS });
        }
        for member in members {
            match &*member.name {
                "prompt_cache_key" => wishes.is_keyed = member.value != "null",
                "prompt_cache_retention" if member.value == "\"24h\"" => {
                    wishes.retention = Some(Duration::from_hours(24));
                }
                "prompt_cache_options" if member.value.contains("\"30m\"") => {
                    wishes.retention = Some(Duration::from_mins(30));
                }
                _ => {}
            }
        }
        wishes
    }
}

impl<'a> Piece<'a> {
    fn new(place: Place, value: &'a str, body_start: usize) -> Self {
        let (text, removed) = without_marks(value);
        let role = match place {
            Place::Message(..) => match serde_json::from_str::<Turn<'_>>(value).ok().and_then(|turn| turn.role) {
                Some(role) if role == "user" => Role::User,
                Some(role) if role == "assistant" => Role::Assistant,
                // A bare text is what a person says.
                None if value.starts_with('"') => Role::User,
                _ => Role::Other,
            },
            _ => Role::Other,
        };
        Self { place, text, at: value.as_ptr().addr() - body_start, removed, role }
    }
}

/// A list piece by piece; what is no list is one piece.
fn push_items<'a>(pieces: &mut Vec<Piece<'a>>, value: &'a str, start: usize, place: impl Fn(u32) -> Place) {
    let items: Option<Vec<&'a RawValue>> = serde_json::from_str(value).ok();
    match items {
        Some(items) => {
            let numbered = (0..).zip(items);
            pieces.extend(numbered.map(|(number, item)| Piece::new(place(number), item.get(), start)));
        }
        None => pieces.push(Piece::new(place(0), value, start)),
    }
}

/// A text without its `cache_control` members, and where those were.
fn without_marks(text: &str) -> (Cow<'_, str>, Vec<(usize, usize)>) {
    const NAME: &[u8] = b"\"cache_control\"";
    let bytes = text.as_bytes();
    let mut removed = Vec::new();
    for name in memmem::find_iter(bytes, NAME) {
        let spaces = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let colon = name + NAME.len() + spaces(name + NAME.len());
        if bytes.get(colon) != Some(&b':') {
            continue;
        }
        let value = colon + 1 + spaces(colon + 1);
        // An object without objects in it, or null.
        let length = match bytes.get(value) {
            Some(b'{') => memchr::memchr(b'}', &bytes[value..]).map(|close| close + 1),
            _ if bytes[value..].starts_with(b"null") => Some("null".len()),
            _ => None,
        };
        let Some(length) = length else { continue };
        let mut end = value + length;
        // With the comma before it, or the one after it where it is the first.
        let before = bytes[..name].iter().rposition(|byte| !byte.is_ascii_whitespace());
        let start = match before {
            Some(comma) if bytes[comma] == b',' => comma,
            _ => {
                if bytes.get(end + spaces(end)) == Some(&b',') {
                    end += spaces(end) + 1;
                }
                name
            }
        };
        removed.push((start, end));
    }
    if removed.is_empty() {
        return (Cow::Borrowed(text), removed);
    }
    let mut kept = String::with_capacity(text.len());
    let mut at = 0;
    for (start, end) in &removed {
        kept.push_str(&text[at..*start.max(&at)]);
        at = *end;
    }
    kept.push_str(&text[at..]);
    (Cow::Owned(kept), removed)
}

fn hash_of(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> Prefix<'_> {
        Prefix::of(Endpoint::Messages, body.as_bytes(), "key_1", None).unwrap()
    }

    fn last(body: &str) -> u64 {
        of(body).beginnings().next_back().unwrap().hash
    }

    #[test]
    fn pieces_stand_in_the_order_of_caches_and_know_their_place_in_the_body() {
        let body =
            r#"{"messages":[{"role":"user","content":"hi"}],"model":"m","system":"be kind","tools":[{"name":"a"}]}"#;
        let prefix = of(body);
        let shown: Vec<(String, &str)> = prefix
            .pieces
            .iter()
            .map(|piece| (piece.place.to_string(), &body[piece.at..][..piece.text.len()]))
            .collect();
        let expected = [
            ("tools[0]", r#"{"name":"a"}"#),
            ("system", r#""be kind""#),
            ("messages[0]", r#"{"role":"user","content":"hi"}"#),
        ];
        assert_eq!(shown, expected.map(|(place, text)| (place.to_owned(), text)));
        assert_eq!(prefix.fixed_len(), 2);
    }

    #[test]
    fn the_order_of_fields_and_marks_for_the_cache_change_nothing() {
        let plain = r#"{"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]}"#;
        for same in [
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"system":[{"type":"text","text":"s"}]}"#,
            r#"{"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]}"#,
            r#"{"system":[{"cache_control" : {"type":"ephemeral","ttl":"1h"}, "type":"text","text":"s"}],"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":null}]}]}"#,
        ] {
            // The space behind a comma that was taken out is all that is left of a mark.
            assert_eq!(last(&same.replace("}, \"type\"", "},\"type\"")), last(plain), "{same}");
        }
        assert_ne!(last(&plain.replace("\"a\"", "\"b\"")), last(plain));
        let other_key = Prefix::of(Endpoint::Messages, plain.as_bytes(), "key_2", None).unwrap();
        assert_ne!(other_key.beginnings().next_back().unwrap().hash, last(plain));
    }

    #[test]
    fn a_place_behind_a_mark_is_found_in_the_body() {
        let body = r#"{"messages":[{"role":"user","cache_control":{"type":"ephemeral"},"content":"hello"}]}"#;
        let prefix = of(body);
        let piece = &prefix.pieces[0];
        let offset = piece.text.find("hello").unwrap();
        assert_eq!(piece.body_offset(offset), body.find("hello").unwrap());
        assert_eq!(piece.body_offset(3), body.find("role").unwrap() + 1);
    }

    #[test]
    fn a_conversation_is_named_by_its_session_or_by_what_was_said_first() {
        let first = r#"{"system":"at 10:00","messages":[{"role":"user","content":"fix it"}]}"#;
        let second = r#"{"system":"at 10:01","messages":[{"role":"user","content":"fix it"},{"role":"assistant","content":"ok"},{"role":"user","content":"more"}]}"#;
        let cut = r#"{"system":"at 10:02","messages":[{"role":"assistant","content":"ok"},{"role":"user","content":"more"}]}"#;
        assert_eq!(of(first).conversation(), of(second).conversation());
        assert!(!of(first).is_continued() && of(second).is_continued());
        assert_eq!(of(cut).conversation(), of(second).conversation_when_cut());
        let session = |body| Prefix::of(Endpoint::Messages, body, "key_1", Some("s")).unwrap();
        assert_eq!(session(first.as_bytes()).conversation(), session(cut.as_bytes()).conversation());
        assert!(session(first.as_bytes()).is_continued());
        let text = Prefix::of(Endpoint::Responses, br#"{"input":"hi"}"#, "k", None).unwrap();
        assert!(text.conversation().is_some());
    }

    #[test]
    fn each_provider_keeps_what_it_says_it_keeps() {
        use ProviderKind::{Anthropic, OpenAi, Sandbox};
        let minutes = |minutes| Some(Duration::from_mins(minutes));
        let check = |body: &str, kind, expected| assert_eq!(of(body).kept_for(kind, None), expected, "{body} {kind}");
        let plain = r#"{"messages":[]}"#;
        check(plain, Anthropic, None);
        check(plain, OpenAi, minutes(5));
        check(plain, Sandbox, None);
        let marked = r#"{"system":[{"cache_control":{"type":"ephemeral"}}]}"#;
        check(marked, Anthropic, minutes(5));
        check(marked, Sandbox, minutes(5));
        check(r#"{"system":[{"cache_control":{"type":"ephemeral","ttl":"1h"}}]}"#, Anthropic, minutes(60));
        check(r#"{"prompt_cache_retention":"24h"}"#, OpenAi, minutes(24 * 60));
        check(r#"{"prompt_cache_options":{"ttl":"30m"}}"#, OpenAi, minutes(30));
        check(r#"{"prompt_cache_key":"k"}"#, Sandbox, minutes(5));
        let mut facts = ModelFacts::default();
        facts.capabilities.prompt_cache = Some(false);
        assert_eq!(of(plain).kept_for(OpenAi, Some(&facts)), None);
    }
}
