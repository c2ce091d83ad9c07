//! An answer that is kept, with what is known of the call that it came from.

use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::prompt::Prompt;
use crate::domain::{Deployment, Endpoint, KeyId, ModelId, Picodollars, RequestId, TokenUsage};

/// Bytes that a cache needs for an entry beside what the entry points to.
const OVERHEAD_BYTES: usize = 256;

/// In which form an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON document.
    Whole,
    /// The records of a stream, its end marker included.
    Stream {
        /// Whether its usage was asked for, where that has to be.
        usage: bool,
    },
}

/// An answer to keep, and the call that it came from.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// The call that was answered.
    pub request: RequestId,
    /// The path, whose shape the answer has.
    pub endpoint: Endpoint,
    /// The form of the answer.
    pub form: Form,
    /// The answer. It is copied, because what came from a socket is often a small part of a large buffer.
    pub body: Bytes,
    /// Who answered.
    pub deployment: Deployment,
    /// The name that the client asked for.
    pub requested_model: ModelId,
    /// What the call was for.
    pub operation: Arc<str>,
    /// The key that called.
    pub key: KeyId,
    /// The key's name.
    pub key_name: Arc<str>,
    /// The key's team.
    pub team: Option<Arc<str>>,
    /// The labels of the call.
    pub tags: Vec<(Arc<str>, Arc<str>)>,
    /// What was asked, in words.
    pub prompt: Prompt,
    /// What the call used.
    pub usage: TokenUsage,
    /// What the call cost, and every hit saves.
    pub cost: Picodollars,
    /// The provider's own id of the call.
    pub upstream_request_id: Option<Arc<str>>,
    /// How long the answer is good; as the settings say where nothing is said.
    pub ttl: Option<Duration>,
}

/// An answer that is kept.
#[derive(Debug)]
pub struct Entry {
    /// The answer and its call.
    pub facts: NewEntry,
    /// When it was kept.
    pub stored_at: Timestamp,
    /// How long it is good.
    pub ttl: Duration,
    hits: AtomicU64,
}

impl Entry {
    /// Keeps an answer from `now` on.
    pub(super) fn new(mut facts: NewEntry, ttl_default: Duration, now: Timestamp) -> Self {
        facts.body = Bytes::copy_from_slice(&facts.body);
        let ttl = facts.ttl.unwrap_or(ttl_default);
        Self { facts, stored_at: now, ttl, hits: AtomicU64::new(0) }
    }

    /// How old it is.
    pub fn age(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.stored_at)).unwrap_or_default()
    }

    /// How long it is still good.
    pub fn time_left(&self, now: Timestamp) -> Duration {
        self.ttl.saturating_sub(self.age(now))
    }

    /// When it stops to be good.
    pub fn expires_at(&self) -> Timestamp {
        self.stored_at.checked_add(self.ttl).unwrap_or(Timestamp::MAX)
    }

    /// How often it has answered.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// What it has saved.
    pub fn saved(&self) -> Picodollars {
        Picodollars::new(self.facts.cost.get().saturating_mul(self.hits().into()))
    }

    pub(super) fn count_hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes of memory that it takes.
    pub fn weight(&self) -> u64 {
        let facts = &self.facts;
        let tags: usize =
            facts.tags.iter().map(|(name, value)| name.len() + value.len() + 4 * size_of::<usize>()).sum();
        let names = facts.deployment.model.as_str().len()
            + facts.requested_model.as_str().len()
            + facts.operation.len()
            + facts.key_name.len()
            + facts.upstream_request_id.as_deref().map_or(0, str::len);
        (size_of::<Self>() + OVERHEAD_BYTES + facts.body.len() + facts.prompt.weight() + tags + names) as u64
    }
}
