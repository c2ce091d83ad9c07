//! The second tier: answers that instances share through their Redis, where they have one.
//!
//! What was kept by one instance is found by all that ask the same within the same circle, for as long as it is good. A value
//! is the entry in postcard, compressed and sealed under its own name; one that doesn't open, or says anything that can't
//! be, counts as absent. Taking entries out reaches the Redis at once and the memory of the other instances within a second
//! ([`SharedAnswers::news`]): each reads the list of patterns that others have announced. A pattern is announced before what it
//! fits is looked for, and who has not read all that is announced keeps nothing there: so an answer that somebody wanted to be rid
//! of doesn't come back behind the search. It is announced again behind it, for those who have fetched such an answer meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::entry::{Entry, Form, NewEntry};
use super::fingerprint::Fingerprint;
use super::prompt::Prompt;
use crate::domain::{Deployment, Endpoint, KeyId, ModelId, Picodollars, RequestId, TokenUsage};
use crate::shared::Shared;

/// What the names of answers begin with.
const ANSWERS: &str = "answer:";
/// The list of patterns that were taken out.
const NEWS: &str = "taken-out";
/// Patterns that are remembered for instances that were away; who has missed more empties its memory.
const NEWS_LEN: i64 = 100;
/// Answers that are looked at in one go when some are taken out: 16 MiB at most.
const SWEEP_LEN: usize = 16;
/// Not written at all: an answer this large takes longer than anybody waits.
const VALUE_BYTES_MAX: usize = 1 << 20;

/// The answers in a Redis.
pub(super) struct SharedAnswers {
    shared: Arc<Shared>,
    hits: AtomicU64,
    misses: AtomicU64,
    /// How many patterns had been announced when somebody looked last; nothing before the first look.
    news_read: AtomicI64,
}

const NEVER_READ: i64 = -1;

/// What other instances have taken out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing that wasn't known.
    Nothing,
    /// These patterns.
    Patterns(Vec<String>),
    /// More than is remembered, or the Redis has begun anew: anything may be gone.
    Everything,
}

/// An entry as it is kept there. A new field goes to the end, and [`crate::shared`]'s number up.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    request: u128,
    endpoint: Endpoint,
    form: StoredForm,
    #[serde(borrow, with = "serde_bytes_like")]
    body: &'a [u8],
    deployment: Deployment,
    requested_model: ModelId,
    operation: &'a str,
    key: KeyId,
    key_name: &'a str,
    team: Option<&'a str>,
    #[serde(borrow)]
    tags: Vec<(&'a str, &'a str)>,
    prompt: &'a str,
    prompt_last: u64,
    usage: TokenUsage,
    cost: i128,
    upstream_request_id: Option<&'a str>,
    stored_at_ms: i64,
    ttl_ms: u64,
}

#[derive(Serialize, Deserialize)]
enum StoredForm {
    Whole,
    Stream,
    StreamWithUsage,
}

/// Bytes in one piece: serde would write them one by one.
mod serde_bytes_like {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'de [u8], D::Error> {
        <&[u8]>::deserialize(deserializer)
    }
}

impl SharedAnswers {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, hits: AtomicU64::new(0), misses: AtomicU64::new(0), news_read: AtomicI64::new(NEVER_READ) }
    }

    /// The answer of a fingerprint that is still good.
    pub(super) async fn fetch(&self, fingerprint: &Fingerprint, now: Timestamp) -> Option<Entry> {
        let name = name(fingerprint);
        let found = self.shared.fetch(std::slice::from_ref(&name)).await?.pop().flatten();
        let entry = found.and_then(|value| self.read(&name, &value)).filter(|entry| !entry.time_left(now).is_zero());
        let counter = if entry.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        entry
    }

    /// Keeps an answer for the others, where nothing was announced that its keeper had not read.
    pub(super) async fn keep(&self, fingerprint: &Fingerprint, entry: &Entry, news_read: i64, now: Timestamp) {
        let name = name(fingerprint);
        if let Some(value) = self.write(&name, entry) {
            self.shared.keep_unless_announced(&name, &value, entry.time_left(now), NEWS, news_read).await;
        }
    }

    /// Takes out what fits, there and, by announcing it, in the memory of the others. Returns how many were there; nothing
    /// where the Redis didn't answer, so that some may be left.
    pub(super) async fn take_out(&self, written: &str, fits: impl Fn(&Fingerprint, &Entry) -> bool) -> Option<u64> {
        self.announce(written).await?;
        let (mut cursor, mut removed) = (0, 0);
        loop {
            let (next, names) = self.shared.names(ANSWERS, cursor).await?;
            for names in names.chunks(SWEEP_LEN) {
                let values = self.shared.fetch_at_leisure(names).await?;
                let fitting = names.iter().zip(values).filter_map(|(name, value)| {
                    let fingerprint = name.strip_prefix(ANSWERS).and_then(Fingerprint::from_hex)?;
                    let entry = self.read(name, &value?)?;
                    fits(&fingerprint, &entry).then(|| name.clone())
                });
                removed += self.shared.forget(&fitting.collect::<Vec<_>>()).await?;
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        if removed > 0 {
            self.announce(written).await?;
        }
        Some(removed)
    }

    /// Tells the others what to take out of their memory. Our own is taken out already.
    async fn announce(&self, written: &str) -> Option<()> {
        let count = self.shared.announce(NEWS, written, NEWS_LEN).await?;
        let _ = self.news_read.compare_exchange(count - 1, count, Ordering::SeqCst, Ordering::SeqCst);
        Some(())
    }

    /// What others have taken out since the last look, and how much was ever announced: to be noted by [`Self::have_read`] once
    /// it is taken out here too.
    pub(super) async fn news(&self) -> Option<(News, i64)> {
        let (count, lines) = self.shared.announced(NEWS).await?;
        let before = self.news_read();
        let news = match count - before {
            _ if before == NEVER_READ => News::Nothing,
            0 => News::Nothing,
            new => match usize::try_from(new).ok().and_then(|new| lines.len().checked_sub(new)) {
                Some(known) => News::Patterns(lines.into_iter().skip(known).collect()),
                None => News::Everything,
            },
        };
        Some((news, count))
    }

    /// Notes that what was announced by then is taken out here.
    pub(super) fn have_read(&self, count: i64) {
        self.news_read.store(count, Ordering::SeqCst);
    }

    /// How much of what was announced is taken out here.
    pub(super) fn news_read(&self) -> i64 {
        self.news_read.load(Ordering::SeqCst)
    }

    /// Hits and misses there, and whether it is asked at the moment.
    pub(super) fn stats(&self) -> (u64, u64, bool) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed), self.shared.stats().reachable)
    }

    fn write(&self, name: &str, entry: &Entry) -> Option<Vec<u8>> {
        let facts = &entry.facts;
        if facts.body.len() > VALUE_BYTES_MAX {
            return None;
        }
        let (prompt, prompt_last) = facts.prompt.parts();
        let stored = Stored {
            request: facts.request.number(),
            endpoint: facts.endpoint,
            form: match facts.form {
                Form::Whole => StoredForm::Whole,
                Form::Stream { usage: false } => StoredForm::Stream,
                Form::Stream { usage: true } => StoredForm::StreamWithUsage,
            },
            body: &facts.body,
            deployment: facts.deployment.clone(),
            requested_model: facts.requested_model.clone(),
            operation: &facts.operation,
            key: facts.key.clone(),
            key_name: &facts.key_name,
            team: facts.team.as_deref(),
            tags: facts.tags.iter().map(|(name, value)| (&**name, &**value)).collect(),
            prompt,
            prompt_last: prompt_last as u64,
            usage: facts.usage,
            cost: facts.cost.get(),
            upstream_request_id: facts.upstream_request_id.as_deref(),
            stored_at_ms: entry.stored_at.as_millisecond(),
            ttl_ms: u64::try_from(entry.ttl.as_millis()).unwrap_or(u64::MAX),
        };
        let written = postcard::to_stdvec(&stored).ok()?;
        Some(self.shared.seal(name, &lz4_flex::compress_prepend_size(&written)))
    }

    fn read(&self, name: &str, value: &[u8]) -> Option<Entry> {
        // Only what one of us has sealed is unpacked: a size that lies would take the memory.
        let packed = self.shared.unseal(name, value)?;
        let written = lz4_flex::decompress_size_prepended(packed).ok()?;
        let stored: Stored<'_> = postcard::from_bytes(&written).ok()?;
        let ttl = Duration::from_millis(stored.ttl_ms);
        let facts = NewEntry {
            request: RequestId::from_number(stored.request),
            endpoint: stored.endpoint,
            form: match stored.form {
                StoredForm::Whole => Form::Whole,
                StoredForm::Stream => Form::Stream { usage: false },
                StoredForm::StreamWithUsage => Form::Stream { usage: true },
            },
            body: Bytes::copy_from_slice(stored.body),
            deployment: stored.deployment,
            requested_model: stored.requested_model,
            operation: stored.operation.into(),
            key: stored.key,
            key_name: stored.key_name.into(),
            team: stored.team.map(Into::into),
            tags: stored.tags.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            prompt: Prompt::from_parts(stored.prompt, usize::try_from(stored.prompt_last).ok()?)?,
            usage: stored.usage,
            cost: Picodollars::new(stored.cost),
            upstream_request_id: stored.upstream_request_id.map(Into::into),
            ttl: Some(ttl),
        };
        let stored_at = Timestamp::from_millisecond(stored.stored_at_ms).ok()?;
        Some(Entry::new(facts, ttl, stored_at))
    }
}

fn name(fingerprint: &Fingerprint) -> String {
    format!("{ANSWERS}{}", fingerprint.to_hex())
}
