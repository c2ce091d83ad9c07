//! Calls that a client may send twice and wants made once: `Idempotency-Key`.
//!
//! A key belongs to a virtual key and a path, and is stored only as a hash, for 24 hours, in `idempotency.redb`: beside the
//! ledger, because answers are content. [`Idempotency::begin`] says what there is of it. A call that goes on holds a
//! [`Claim`]; [`Claim::bind`] makes the key durable before anything is sent, and [`Claim::finish`] the answer before its
//! last piece leaves. So no crash leads to a second call: a key that is bound and has no answer is the ledger's to judge
//! ([`Fate`]). Where nothing is owed the key is free again, also for another body; where something may be, it stays taken
//! and says so. Nothing is written for a failure. Running calls are known in memory, each as long as it runs.

mod journal;
mod key;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use redb::{Database, ReadableDatabase as _};
use tokio::sync::oneshot;

use crate::domain::{Deployment, Owner, Picodollars, RequestId};
use crate::store::{OnPanic, OpenOptions, Writer, WriterOptions, guard};

pub use key::{IdempotencyKey, KeyError, Question};

use journal::{Command, IdempotencyJournal, Reply};
use tables::{ANSWERS, CLAIMS, Claimed, Slot};

/// The longest answer that is kept.
pub const ANSWER_BYTES_MAX: usize = 256 << 10;
/// How long a key is remembered.
pub const KEPT_FOR: Duration = Duration::from_hours(24);

/// Writes that may wait for the disk, of an answer at most each: what a stalled disk may cost in memory. Beyond, calls with
/// a key are told to come back.
const QUEUE_LEN: usize = 256;
/// Memory for cached pages: a key is looked up at most a few times.
const CACHE_BYTES: usize = 8 << 20;
/// Claims that one read transaction looks at when those of an owner are sought.
const CLAIMS_A_TRANSACTION: usize = 2_000;
/// What the file is called in messages.
const NAME: &str = "retry store";

/// An answer as it went out, with what was told beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The call that it was given to.
    pub call: RequestId,
    /// Who answered; absent where the gateway did.
    pub deployment: Option<Deployment>,
    /// The provider's own id of the call.
    pub upstream_request_id: Option<Arc<str>>,
    /// What of the request was left out.
    pub dropped: Vec<String>,
    /// Whether the answer is an estimate of the gateway's own.
    pub estimated: bool,
    /// The body's type, where it isn't JSON.
    pub content_type: Option<String>,
    /// The body: of a stream, its records as they were sent.
    pub body: Bytes,
}

/// What is remembered of a call that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Its answer.
    Kept(Box<Kept>),
    /// Its answer was longer than [`ANSWER_BYTES_MAX`].
    TooLarge,
    /// Its answer has been deleted since.
    Deleted,
}

/// What the ledger says of a call whose end is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing is owed for it: it may be made again.
    Free,
    /// It still runs.
    Running,
    /// It was made and costs, or may cost, so much; nothing where nobody knows.
    Owed(Option<Picodollars>),
}

/// What there is of a key.
#[derive(Debug)]
pub enum Begun {
    /// Nothing: make the call.
    Go(Claim),
    /// A call with the same body runs, for so long now.
    Running {
        /// The call.
        call: RequestId,
        /// Since it arrived.
        since: Duration,
    },
    /// A call with another body runs or was made.
    OtherBody {
        /// The call.
        call: RequestId,
    },
    /// The same call was answered.
    Answered {
        /// The call.
        call: RequestId,
        /// With this.
        answered: Answered,
    },
    /// The same call was made, and didn't end with a whole answer.
    Unanswered {
        /// The call.
        call: RequestId,
        /// What is booked for it, where that is known.
        cost: Option<Picodollars>,
    },
}

/// Why keys can't be used at the moment.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the file of idempotency keys can't be used: {detail}")]
pub struct IdempotencyError {
    detail: Arc<str>,
    /// Whether it is only that too much waits to be written.
    is_busy: bool,
}

impl IdempotencyError {
    fn new(detail: &impl ToString) -> Self {
        Self { detail: detail.to_string().into(), is_busy: false }
    }

    /// Whether it will pass by itself in a moment.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }
}

enum Store {
    /// It can't be opened; why.
    Broken(Arc<str>),
    Open(Writer<IdempotencyJournal>),
}

/// A call that runs under a key.
#[derive(Clone, Copy, Debug)]
struct Running {
    digest: [u8; 32],
    call: RequestId,
    since: Timestamp,
}

/// The idempotency keys of one data folder.
pub struct Idempotency {
    opening: OpenOptions,
    store: Store,
    /// At most as many as calls run.
    running: Mutex<HashMap<Slot, Running>>,
}

impl Idempotency {
    /// Opens the file. One that can't be opened is told of in the log, and calls with a key are refused until it can be:
    /// without it nobody knows whether they were made before.
    pub fn open(path: PathBuf) -> Self {
        let opening = OpenOptions { path, name: NAME, cache_bytes: CACHE_BYTES };
        let sizes = WriterOptions {
            queue_len: QUEUE_LEN,
            batch_max: QUEUE_LEN,
            reopen_pause: Duration::from_millis(200),
            // Somebody waits for every one of them.
            gather_time: Duration::ZERO,
            on_panic: OnPanic::Recover,
        };
        let store = match Writer::start(opening.clone(), sizes, IdempotencyJournal::default()) {
            Ok(writer) => Store::Open(writer),
            Err(error) => {
                tracing::error!("calls with an Idempotency-Key are refused, others go on: {error}");
                Store::Broken(error.to_string().into())
            }
        };
        Self { opening, store, running: Mutex::default() }
    }

    /// That the ledger couldn't be asked.
    pub fn unknown(detail: &impl ToString) -> IdempotencyError {
        IdempotencyError::new(detail)
    }

    fn writer(&self) -> Result<&Writer<IdempotencyJournal>, IdempotencyError> {
        match &self.store {
            Store::Broken(why) => Err(IdempotencyError::new(why)),
            Store::Open(writer) => Ok(writer),
        }
    }

    /// Why keys can't be used, if they can't.
    pub fn trouble(&self) -> Option<Arc<str>> {
        match &self.store {
            Store::Broken(why) => Some(Arc::clone(why)),
            Store::Open(writer) => writer.trouble(),
        }
    }

    /// Takes the key of a call, or tells what there is of it. `fate` is asked where a call was begun with the key whose end is not
    /// known here. Blocks for the disk.
    pub fn begin(
        self: &Arc<Self>,
        question: &Question,
        call: RequestId,
        now: Timestamp,
        fate: impl FnOnce(RequestId) -> Result<Fate, IdempotencyError>,
    ) -> Result<Begun, IdempotencyError> {
        // Once without a claim: those who ask again for what is answered must not get into each other's way.
        if let Some((claimed, Some(answered))) = self.read(question.slot, now)? {
            return Ok(answer(question, &claimed, answered));
        }
        let claim = match self.claim(question, call, now) {
            Ok(claim) => claim,
            Err(running) if running.digest != question.digest => return Ok(Begun::OtherBody { call: running.call }),
            Err(Running { call, since, .. }) => return Ok(Begun::Running { call, since: elapsed(since, now) }),
        };
        // And once with it: another call may have come to its end between the two.
        let Some((claimed, answered)) = self.read(question.slot, now)? else { return Ok(Begun::Go(claim)) };
        if let Some(answered) = answered {
            return Ok(answer(question, &claimed, answered));
        }
        let is_same = claimed.digest == question.digest;
        let (begun, since) = (claimed.call(), claimed.started());
        Ok(match fate(begun)? {
            Fate::Free => Begun::Go(claim),
            _ if !is_same => Begun::OtherBody { call: begun },
            Fate::Running => Begun::Running { call: begun, since: elapsed(since, now) },
            Fate::Owed(cost) => Begun::Unanswered { call: begun, cost },
        })
    }

    fn claim(self: &Arc<Self>, question: &Question, call: RequestId, now: Timestamp) -> Result<Claim, Running> {
        let mut running = self.running();
        if let Some(other) = running.get(&question.slot) {
            return Err(*other);
        }
        running.insert(question.slot, Running { digest: question.digest, call, since: now });
        drop(running);
        let claimed = Claimed::new(question.digest, call, now);
        Ok(Claim { store: Arc::clone(self), slot: question.slot, claimed })
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Slot, Running>> {
        self.running.lock().expect("no holder of this lock panics")
    }

    /// What is on the disk of a key.
    fn read(&self, slot: Slot, now: Timestamp) -> Result<Option<(Claimed, Option<Answered>)>, IdempotencyError> {
        self.reading(|database| {
            let reading = database.begin_read()?;
            let Some(row) = reading.open_table(CLAIMS)?.get(&slot)? else { return Ok(None) };
            let claimed = tables::decode_claim(row.value())?;
            if claimed.expires() <= now {
                return Ok(None);
            }
            let answer = reading.open_table(ANSWERS)?.get(&slot)?;
            let answered = answer.map(|row| tables::decode_answer(claimed.call(), row.value())).transpose()?;
            Ok(Some((claimed, answered)))
        })
    }

    fn reading<T>(&self, read: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, IdempotencyError> {
        let database = self.writer()?.database();
        let database = database.ok_or_else(|| IdempotencyError::new(&"it is being opened again"))?;
        guard(&self.opening, || read(&database)).map_err(|error| IdempotencyError::new(&error))
    }

    async fn write(&self, command: impl FnOnce(Reply) -> Command) -> Result<u64, IdempotencyError> {
        let (reply, answer) = oneshot::channel();
        self.writer()?.submit(command(reply)).map_err(|error| IdempotencyError {
            detail: error.to_string().into(),
            is_busy: error == crate::store::SubmitError::Full,
        })?;
        answer.await.map_err(|_| IdempotencyError::new(&"its writer has stopped"))?
    }

    /// Forgets the keys whose time is over, and tells how many.
    pub async fn sweep(&self, now: Timestamp) -> Result<u64, IdempotencyError> {
        self.write(|reply| Command::Sweep { now, reply }).await
    }

    /// Deletes the answers that are kept of an owner's calls, and tells of how many; that the calls were made is still known.
    pub async fn delete(self: &Arc<Self>, owner: Owner) -> Result<u64, IdempotencyError> {
        let mut deleted = 0;
        let mut after = None;
        loop {
            let (store, owner) = (Arc::clone(self), owner.clone());
            let found = tokio::task::spawn_blocking(move || store.of_owner(&owner, after)).await;
            let (slots, next) = found.map_err(|error| IdempotencyError::new(&error))??;
            if !slots.is_empty() {
                deleted += self.write(|reply| Command::Delete { slots, reply }).await?;
            }
            let Some(next) = next else { return Ok(deleted) };
            after = Some(next);
        }
    }

    /// Claims of an owner behind a place, and the place to go on from.
    fn of_owner(&self, owner: &Owner, after: Option<Slot>) -> Result<(Vec<Slot>, Option<Slot>), IdempotencyError> {
        self.reading(|database| {
            let table = database.begin_read()?.open_table(CLAIMS)?;
            let mut found = Vec::new();
            let mut last = None;
            let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
            let mut seen = 0;
            for row in table.range::<Slot>((from, std::ops::Bound::Unbounded))?.take(CLAIMS_A_TRANSACTION) {
                let (slot, row) = row?;
                seen += 1;
                last = Some(slot.value());
                // One that can't be read any more belongs to whoever asks: better gone than kept.
                if tables::decode_claim(row.value()).map_or(true, |claimed| claimed.is_of(owner)) {
                    found.push(slot.value());
                }
            }
            Ok((found, last.filter(|_| seen == CLAIMS_A_TRANSACTION)))
        })
    }

    /// Writes what waits and closes the file. Blocks for the disk.
    pub fn stop(&self) {
        if let Store::Open(writer) = &self.store {
            writer.stop();
        }
    }
}

fn answer(question: &Question, claimed: &Claimed, answered: Answered) -> Begun {
    let call = claimed.call();
    if claimed.digest == question.digest { Begun::Answered { call, answered } } else { Begun::OtherBody { call } }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

/// The right to make the call of a key. Whoever asks with the same key meanwhile is told that it runs; dropped, it is the
/// ledger's word that says whether another call may be made.
#[must_use = "dropped, it lets another call with the same key go"]
pub struct Claim {
    store: Arc<Idempotency>,
    slot: Slot,
    claimed: Claimed,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Claim({})", self.claimed.call())
    }
}

impl Claim {
    /// Makes it durable that a call is made with the key, before it is. Beside it, whose contents its answer is.
    pub async fn bind(&mut self, owners: Vec<Owner>) -> Result<(), IdempotencyError> {
        self.claimed.own(owners);
        let (slot, claimed) = (self.slot, self.claimed.clone());
        self.store.write(|reply| Command::Bind { slot, claimed, reply }).await.map(drop)
    }

    /// Keeps the answer durably. Where that fails, the key stays taken, and a retry hears that the answer is lost.
    pub async fn finish(self, answered: Answered) -> Result<(), IdempotencyError> {
        let (slot, claimed) = (self.slot, self.claimed.clone());
        self.store.write(|reply| Command::Finish { slot, claimed, answered, reply }).await.map(drop)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.store.running().remove(&self.slot);
    }
}
