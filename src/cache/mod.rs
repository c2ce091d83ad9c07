//! The response cache: the same question, asked again within the circle of those who share answers, costs nothing.
//!
//! [`Fingerprint`] says which questions are the same; [`Cache`] keeps answers under it, in memory, bounded by bytes and time,
//! and joins calls that ask the same at the same time. Whoever leads a call asks [`may_use`] before and [`may_store`]
//! after it; what a hit looks like on the wire and in the ledger is decided above. Nothing is kept over a restart, unless
//! instances share a Redis as a second tier.
//!
//! Answers never cross a circle: its name, made by the server, is a part of what is hashed, and so is everything else that
//! decides over the answer. A kept answer goes out as it came: the bytes are shared, not copied.

mod canonical;
mod directives;
mod entry;
mod fingerprint;
mod flight;
mod index;
mod list;
mod memory;
mod pattern;
mod prompt;
mod shared;
mod storable;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use crate::config::CacheConfig;
use crate::domain::Picodollars;
use crate::shared::Shared;

pub use directives::{DirectiveError, Directives, Mode};
pub use entry::{Entry, Form, NewEntry};
pub use fingerprint::{Circle, Fingerprint, Question, Taken};
pub use flight::{Flight, Follower, Joined, Leader};
pub use index::Unreadable;
pub use list::{Cursor, Listed, Order, Page};
pub use pattern::{Pattern, PatternError};
pub use prompt::Prompt;
pub use storable::{AnswerEnd, Asked, NotKept, may_store, may_use};

use flight::Flights;
use memory::Memory;
use shared::{News, SharedAnswers};

/// The answers that are kept, and the calls that are under way.
pub struct Cache {
    memory: Memory,
    /// What other instances keep too, where they share a Redis.
    shared: Option<SharedAnswers>,
    flights: Arc<Flights>,
    /// How often entries were taken out by hand.
    generation: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    /// In picodollars: 64 bits hold eighteen million dollars, which is more than a process saves.
    saved: AtomicU64,
}

/// What the cache holds and what it has done since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Answers that are kept.
    pub entries: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Calls answered from the cache.
    pub hits: u64,
    /// Calls that were looked up and not found.
    pub misses: u64,
    /// Calls answered by meaning; this version does not.
    pub semantic_hits: u64,
    /// Answers that had to go for want of room.
    pub evictions: u64,
    /// What the hits would have cost.
    pub saved: Picodollars,
    /// Calls that others may wait for right now.
    pub in_flight: u64,
    /// What the Redis has done for it, where instances share one.
    pub shared: Option<SharedTier>,
}

/// What the second tier has done since the process began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedTier {
    /// Whether it is asked at the moment: after failures nobody does for a while.
    pub reachable: bool,
    /// Answers that it had.
    pub hits: u64,
    /// Questions that it had no answer to.
    pub misses: u64,
}

impl Stats {
    /// The part of looked-up calls that was answered; 0 before the first.
    pub fn hit_rate(&self) -> f64 {
        let hits = self.hits + self.semantic_hits;
        let all = hits + self.misses;
        if all == 0 { 0.0 } else { hits as f64 / all as f64 }
    }
}

impl Cache {
    /// An empty cache of the size that the settings say; with a Redis, answers are shared through it. Whether it is used at
    /// all, and how, is said with each call.
    pub fn new(config: &CacheConfig, shared: Option<Arc<Shared>>) -> Self {
        Self {
            shared: shared.map(SharedAnswers::new),
            memory: Memory::new(config.bytes_max),
            flights: Arc::default(),
            generation: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            saved: AtomicU64::new(0),
        }
    }

    /// Joins the calls that ask the same, after a [`Cache::peek`] that found nothing. A leader looks once more: the answer may
    /// have come between the two.
    pub fn join(&self, fingerprint: Fingerprint) -> Flight {
        self.flights.join(fingerprint)
    }

    /// Looks for a kept answer and counts nothing.
    pub fn peek(&self, fingerprint: &Fingerprint, now: Timestamp) -> Option<Arc<Entry>> {
        self.memory.get(fingerprint, now)
    }

    /// Counts a call that found nothing.
    pub fn count_miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts that a call which had missed was answered after all, by the answer of another that it had joined.
    pub fn count_joined(&self, entry: &Entry) {
        let _ = self.misses.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |misses| misses.checked_sub(1));
        self.count_hit(entry);
    }

    /// Counts an answer from what is kept.
    pub fn count_hit(&self, entry: &Entry) {
        entry.count_hit();
        self.hits.fetch_add(1, Ordering::Relaxed);
        self.saved.fetch_add(u64::try_from(entry.facts.cost.get()).unwrap_or(0), Ordering::Relaxed);
    }

    /// A number that [`Self::invalidate`] changes: whoever makes a call notes it before, and hands it to [`Self::store`].
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Keeps an answer of which [`may_store`] says yes, in place of what was kept before, for `ttl` where its call doesn't say
    /// how long; not where entries were taken out
    /// since its call began: it may be what somebody wanted to be rid of. The entry is for those who wait for it:
    /// [`Leader::publish`].
    pub fn store(
        &self,
        fingerprint: Fingerprint,
        entry: NewEntry,
        ttl: Duration,
        generation: u64,
        now: Timestamp,
    ) -> (Arc<Entry>, Result<(), NotKept>) {
        let entry = Arc::new(Entry::new(entry, ttl, now));
        let kept = self.keep(fingerprint, &entry, generation);
        (entry, kept)
    }

    fn keep(&self, fingerprint: Fingerprint, entry: &Arc<Entry>, generation: u64) -> Result<(), NotKept> {
        self.memory.insert(fingerprint, Arc::clone(entry));
        // Looked at when it is in: what is taken out from now on takes this out too.
        if self.generation() == generation {
            return Ok(());
        }
        self.memory.remove_one(&fingerprint);
        Err(NotKept::TakenOut)
    }

    /// Looks for an answer that another instance has kept; found, it is kept here too, unless entries were taken out while the
    /// Redis was asked. For leaders alone: one question is enough for all who ask the same.
    pub async fn fetch(&self, fingerprint: Fingerprint, now: Timestamp) -> Option<Arc<Entry>> {
        let generation = self.generation();
        let entry = Arc::new(self.shared.as_ref()?.fetch(&fingerprint, now).await?);
        self.keep(fingerprint, &entry, generation).ok()?;
        Some(entry)
    }

    /// Whether instances share answers.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Keeps what [`Self::store`] has kept for the other instances too; not where entries were taken out since its call began,
    /// here or by another instance.
    pub async fn share(&self, fingerprint: Fingerprint, entry: &Entry, generation: u64, now: Timestamp) {
        let Some(shared) = &self.shared else { return };
        // Read first: what is news by then counts in the generation already.
        let news_read = shared.news_read();
        if self.generation() == generation {
            shared.keep(&fingerprint, entry, news_read, now).await;
        }
    }

    /// Takes out what the other instances have taken out since the last look.
    pub async fn follow_others(&self, now: Timestamp) {
        let Some(shared) = &self.shared else { return };
        let Some((news, count)) = shared.news().await else { return };
        match news {
            News::Nothing => {}
            News::Patterns(patterns) => {
                for pattern in patterns.iter().filter_map(|written| written.parse::<Pattern>().ok()) {
                    self.invalidate(&pattern, now);
                }
            }
            News::Everything => {
                self.clear(now);
            }
        }
        shared.have_read(count);
    }

    /// What the cache holds and has done.
    pub fn stats(&self) -> Stats {
        let (entries, bytes, evictions) = self.memory.size();
        Stats {
            entries,
            bytes,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            semantic_hits: 0,
            evictions,
            saved: Picodollars::new(self.saved.load(Ordering::Relaxed).into()),
            in_flight: self.flights.len() as u64,
            shared: self.shared.as_ref().map(|shared| {
                let (hits, misses, reachable) = shared.stats();
                SharedTier { reachable, hits, misses }
            }),
        }
    }

    /// One page of the entries that fit, in an order. Goes through all of them: not for the way of a call.
    pub fn list(&self, page: &Page, now: Timestamp) -> Listed {
        list::list(self.memory.iter(now), page, now)
    }

    /// Takes out the entries that fit, and tells how many there were.
    pub fn invalidate(&self, pattern: &Pattern, now: Timestamp) -> u64 {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.memory.remove(now, |fingerprint, entry| pattern.fits(fingerprint, entry, now))
    }

    /// Takes them out of the Redis too, and of the memory of those who share it. Tells how many there were in it; nothing
    /// where there is none, or it didn't answer.
    pub async fn invalidate_elsewhere(&self, pattern: &Pattern, written: &str, now: Timestamp) -> Option<u64> {
        let shared = self.shared.as_ref()?;
        shared.take_out(written, |fingerprint, entry| pattern.fits(fingerprint, entry, now)).await
    }

    /// Takes everything out, and tells how much there was.
    pub fn clear(&self, now: Timestamp) -> u64 {
        self.invalidate(&Pattern::all(), now)
    }
}
