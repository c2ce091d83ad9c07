//! The last turn of each conversation: where it went, and what it said, so that the next one can be compared with it.
//!
//! In memory alone, bounded in number, bytes and time; never written anywhere.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::domain::Deployment;

use super::prefix::{ConversationId, Place, Prefix};

/// Bytes of all turns that are remembered.
const BYTES_MAX: usize = 16 << 20;
/// Turns that are remembered.
const TURNS_MAX: usize = 16_384;
/// Of a longer turn the place alone is remembered, not what it said.
const TURN_BYTES_MAX: usize = 512 << 10;
/// How long a conversation stays where it is, whatever its provider keeps.
pub(super) const STICKY_FOR: Duration = Duration::from_hours(1);

/// The last turn of a conversation.
#[derive(Debug)]
pub(super) struct LastTurn {
    pub(super) deployment: Deployment,
    pub(super) seen: Instant,
    /// Until when its provider keeps it; absent where it doesn't.
    pub(super) cached_until: Option<Instant>,
    /// Tokens that its provider can read again.
    pub(super) kept_tokens: u64,
    pieces: Vec<(Place, Box<str>)>,
    bytes: usize,
}

/// Where a turn is not the beginning of the next one any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The piece.
    pub place: Place,
    /// The first byte that differs, counted from the beginning of all pieces.
    pub prefix_offset: u64,
    /// The same within the piece.
    pub piece_offset: u64,
    /// The same within the body of the later turn.
    pub body_offset: u64,
    /// What stood there before, and what stands there now; only where bodies are kept.
    pub excerpts: Option<(Box<str>, Box<str>)>,
}

/// Bytes of an excerpt on each side of a change.
const EXCERPT_BYTES: usize = 24;

impl LastTurn {
    pub(super) fn new(
        prefix: &Prefix<'_>,
        deployment: Deployment,
        kept_tokens: u64,
        seen: Instant,
        cached_until: Option<Instant>,
    ) -> Self {
        let bytes = prefix.bytes();
        let remembers = cached_until.is_some() && bytes <= TURN_BYTES_MAX;
        let pieces = prefix.pieces.iter().filter(|_| remembers).map(|piece| (piece.place, piece.text.as_ref().into()));
        Self {
            deployment,
            seen,
            cached_until,
            kept_tokens,
            pieces: pieces.collect(),
            bytes: if remembers { bytes } else { 0 },
        }
    }

    /// Where the next turn stops beginning like this one.
    pub(super) fn change(&self, next: &Prefix<'_>, with_excerpts: bool) -> Option<Change> {
        let mut before = 0;
        for ((_, old), piece) in self.pieces.iter().zip(&next.pieces) {
            let new = &*piece.text;
            if **old != *new {
                let same = old.bytes().zip(new.bytes()).take_while(|(old, new)| old == new).count();
                return Some(Change {
                    place: piece.place,
                    prefix_offset: (before + same) as u64,
                    piece_offset: same as u64,
                    body_offset: piece.body_offset(same) as u64,
                    excerpts: with_excerpts.then(|| (excerpt(old, same), excerpt(new, same))),
                });
            }
            before += new.len();
        }
        None
    }
}

fn excerpt(text: &str, at: usize) -> Box<str> {
    let start = text.floor_char_boundary(at.saturating_sub(EXCERPT_BYTES));
    let end = text.floor_char_boundary((at + EXCERPT_BYTES).min(text.len()));
    text[start..end.max(start)].into()
}

#[derive(Debug, Default)]
struct Book {
    turns: HashMap<ConversationId, (u64, Arc<LastTurn>)>,
    /// Conversations in the order of their last turns; one that was seen again since stands there twice.
    order: VecDeque<(ConversationId, u64)>,
    /// Conversations by what was said second in them.
    cut: HashMap<ConversationId, ConversationId>,
    bytes: usize,
    number: u64,
}

impl Book {
    fn remember(&mut self, id: ConversationId, cut: Option<ConversationId>, turn: LastTurn) {
        self.number += 1;
        self.bytes += turn.bytes;
        if let Some((_, old)) = self.turns.insert(id, (self.number, Arc::new(turn))) {
            self.bytes -= old.bytes;
        }
        self.order.push_back((id, self.number));
        if let Some(cut) = cut {
            if self.cut.len() >= TURNS_MAX {
                self.cut.clear();
            }
            self.cut.insert(cut, id);
        }
        while self.bytes > BYTES_MAX || self.turns.len() > TURNS_MAX || self.order.len() > 2 * TURNS_MAX {
            let Some((id, number)) = self.order.pop_front() else { break };
            if self.turns.get(&id).is_some_and(|(latest, _)| *latest == number)
                && let Some((_, old)) = self.turns.remove(&id)
            {
                self.bytes -= old.bytes;
            }
        }
    }
}

/// The conversations that are going on.
#[derive(Debug, Default)]
pub(super) struct Conversations(Mutex<Book>);

impl Conversations {
    /// The turn before this one; also where the conversation's beginning has been cut off since.
    pub(super) fn last(&self, prefix: &Prefix<'_>) -> Option<Arc<LastTurn>> {
        let id = prefix.conversation()?;
        let book = self.0.lock().expect("no holder of this lock panics");
        let turn = book.turns.get(&id).or_else(|| book.turns.get(book.cut.get(&id)?))?;
        Some(Arc::clone(&turn.1))
    }

    /// How many conversations each deployment served the last turn of, whose provider still has it in its prompt cache.
    pub(super) fn held(&self, now: Instant) -> HashMap<Deployment, usize> {
        let book = self.0.lock().expect("no holder of this lock panics");
        let mut held = HashMap::new();
        for (_, turn) in book.turns.values().filter(|(_, turn)| turn.cached_until.is_some_and(|until| until > now)) {
            *held.entry(turn.deployment.clone()).or_default() += 1;
        }
        held
    }

    pub(super) fn remember(&self, prefix: &Prefix<'_>, turn: LastTurn) {
        let Some(id) = prefix.conversation() else { return };
        let mut book = self.0.lock().expect("no holder of this lock panics");
        book.remember(id, prefix.conversation_when_cut(), turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Endpoint;

    fn prefix(body: &str) -> Prefix<'_> {
        Prefix::of(Endpoint::ChatCompletions, body.as_bytes(), "k", None).unwrap()
    }

    fn turn(body: &str) -> LastTurn {
        let now = Instant::now();
        LastTurn::new(&prefix(body), "a/m".parse().unwrap(), 100, now, Some(now + Duration::from_mins(5)))
    }

    /// The change is at the byte of the later body that a mark (`^`) stands before.
    fn check(before: &str, marked: &str, place: &str) {
        let at = marked.find('^').unwrap();
        let after = marked.replace('^', "");
        let change = turn(before).change(&prefix(&after), true).unwrap();
        assert_eq!((change.place.to_string().as_str(), change.body_offset), (place, at as u64), "{marked}");
        let (old, new) = change.excerpts.unwrap();
        assert!(before.contains(&*old) && after.contains(&*new));
    }

    #[test]
    fn the_byte_that_changed_is_named() {
        let before = r#"{"messages":[{"role":"system","content":"it is 10:00"},{"role":"user","content":"hi"}]}"#;
        check(
            before,
            r#"{"messages":[{"role":"system","content":"it is 10:0^1"},{"role":"user","content":"hi"}]}"#,
            "messages[0]",
        );
        check(
            before,
            r#"{"messages":[{"role":"system","content":"it is 10:00"},{"role":"user","content":"h^o"}]}"#,
            "messages[1]",
        );
        check(before, r#"{"tools":[^[1]],"messages":[]}"#, "tools[0]");
        let umlaut = r#"{"messages":[{"role":"user","content":"ä"}]}"#;
        let change = turn(umlaut).change(&prefix(&umlaut.replace('ä', "ö")), true).unwrap();
        assert_eq!(change.body_offset, umlaut.find('ä').unwrap() as u64 + 1, "the second byte of the letter");
    }

    #[test]
    fn a_turn_that_goes_on_or_goes_back_changes_nothing() {
        let one = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
        let two = r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"}]}"#;
        assert_eq!(turn(one).change(&prefix(two), false), None);
        assert_eq!(turn(two).change(&prefix(one), false), None);
        let changed = turn(two).change(&prefix(&two.replace("ho", "hu")), false).unwrap();
        assert_eq!(changed.excerpts, None, "nothing is quoted unless bodies are kept");
    }

    #[test]
    fn a_conversation_is_found_again_when_its_beginning_was_cut_off() {
        let conversations = Conversations::default();
        let long = r#"{"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"a"},{"role":"user","content":"two"}]}"#;
        conversations.remember(&prefix(long), turn(long));
        let cut = r#"{"messages":[{"role":"user","content":"two"},{"role":"user","content":"three"}]}"#;
        let last = conversations.last(&prefix(cut)).unwrap();
        assert_eq!(last.change(&prefix(cut), false).unwrap().place, Place::Message("messages", 0));
        assert!(conversations.last(&prefix(r#"{"messages":[{"role":"user","content":"nine"}]}"#)).is_none());
    }

    #[test]
    fn turns_are_bounded_in_number_and_bytes() {
        let mut book = Book::default();
        let long = format!(r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(TURN_BYTES_MAX - 100));
        for number in 0..100 {
            book.remember(ConversationId(number), None, turn(&long));
        }
        assert!(book.bytes <= BYTES_MAX && book.turns.len() < 40);
        assert!(book.turns.contains_key(&ConversationId(99)));
        for number in 0..40_000 {
            book.remember(ConversationId(number), Some(ConversationId(number)), turn(r#"{"messages":[]}"#));
        }
        assert!(book.turns.len() <= TURNS_MAX && book.cut.len() <= TURNS_MAX && book.order.len() <= 2 * TURNS_MAX);
        let huge = format!(r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(TURN_BYTES_MAX));
        assert_eq!(turn(&huge).pieces.len(), 0);
    }
}
