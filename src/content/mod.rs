//! What calls said, where somebody asked for it to be kept: requests and answers, in a file of their own.
//!
//! The contents lie in `content.redb`, never in the ledger's file, with the key, session and users that they can be
//! deleted by. Nobody waits for them: [`Content::keep`] hands an [`Exchange`] to the writer thread, which commits once a
//! second, and what finds no room is dropped and told. A file that is damaged or can't be written costs contents alone;
//! nothing here ever fails a call. Secrets that are known are cut out before anything is written.

mod excerpt;
mod journal;
mod scrub;
mod tables;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redb::ReadableDatabase as _;
use tokio::sync::oneshot;

use crate::config::Bodies;
use crate::domain::{KeyId, Owner, RequestId, Secret};
use crate::store::{OnPanic, OpenOptions, Writer, WriterOptions, guard};

pub use excerpt::{BODY_BYTES_MAX, Excerpt};

use journal::{Command, ContentJournal, Erase};
use scrub::Secrets;
use tables::{BODIES, decode};

/// Exchanges that may wait for the writer, of half a MiB at most each: what a stalled disk may cost in memory.
const CONTENT_QUEUE_LEN: usize = 64;
/// Memory for cached pages: contents are read one at a time, by people.
const CONTENT_CACHE_BYTES: usize = 8 << 20;
/// How long contents gather before they are written; a crash loses as much.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
const NAME: &str = "content";

/// Where contents are kept, and whose.
#[derive(Clone, Debug)]
pub struct ContentOptions {
    /// The file.
    pub path: PathBuf,
    /// Whose contents are kept.
    pub bodies: Bodies,
    /// What must never be in the file, such as the providers' keys.
    pub secrets: Vec<Secret<String>>,
    /// How long contents gather before they are written.
    pub commit_interval: Duration,
}

impl ContentOptions {
    /// The usual way to keep.
    pub fn new(path: PathBuf, bodies: Bodies, secrets: Vec<Secret<String>>) -> Self {
        Self { path, bodies, secrets, commit_interval: COMMIT_INTERVAL }
    }
}

/// What a call said, and what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The call.
    pub id: RequestId,
    /// Its virtual key.
    pub key: KeyId,
    /// The session that it belongs to.
    pub session: Option<Arc<str>>,
    /// The people that its body names.
    pub users: Vec<String>,
    /// Its body.
    pub request: Excerpt,
    /// What came of it.
    pub answer: Excerpt,
}

/// Why contents can't be read or deleted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ContentError {
    /// The file can't be read or written.
    #[error("the content file can't be used: {detail}")]
    Unavailable {
        /// What the disk or the database says.
        detail: Arc<str>,
    },
}

impl ContentError {
    fn new(detail: &impl ToString) -> Self {
        Self::Unavailable { detail: detail.to_string().into() }
    }
}

/// A file that was begun.
enum Store {
    /// It can't be opened; why.
    Broken(Arc<str>),
    /// It is open.
    Open(Writer<ContentJournal>),
}

/// The contents of one data folder.
pub struct Content {
    opening: OpenOptions,
    commit_interval: Duration,
    secrets: Secrets,
    /// Empty while nothing is kept and nothing has been.
    store: OnceLock<Store>,
    dropped: AtomicU64,
}

impl Content {
    /// Opens the file. One that can't be opened is told of in the log and by [`Content::trouble`]; none is begun while nothing
    /// is to be kept.
    pub fn open(options: ContentOptions) -> Self {
        let ContentOptions { path, bodies, secrets, commit_interval } = options;
        let opening = OpenOptions { path, name: NAME, cache_bytes: CONTENT_CACHE_BYTES };
        let was_begun = opening.path.exists() || opening.path.with_extension("created").exists();
        let content = Self {
            opening,
            commit_interval,
            secrets: Secrets::default(),
            store: OnceLock::new(),
            dropped: AtomicU64::new(0),
        };
        content.learn(secrets);
        content.make_ready(if was_begun { Bodies::Full } else { bodies });
        content
    }

    /// A place that keeps nothing.
    pub fn absent() -> Self {
        Self::open(ContentOptions::new(PathBuf::new(), Bodies::Off, Vec::new()))
    }

    /// Opens the file where these contents are to be kept from now on, and it isn't open yet. Blocks for the disk.
    pub fn make_ready(&self, bodies: Bodies) {
        if bodies == Bodies::Off {
            return;
        }
        self.store.get_or_init(|| {
            let sizes = WriterOptions {
                queue_len: CONTENT_QUEUE_LEN,
                batch_max: CONTENT_QUEUE_LEN / 2,
                reopen_pause: Duration::from_secs(1),
                gather_time: self.commit_interval,
                on_panic: OnPanic::Recover,
            };
            match Writer::start(self.opening.clone(), sizes, ContentJournal::new(self.secrets.clone())) {
                Ok(writer) => Store::Open(writer),
                Err(error) => {
                    tracing::error!("no contents are kept, and calls go on without: {error}");
                    Store::Broken(error.to_string().into())
                }
            }
        });
    }

    /// More that must never be in the file. What was a secret once stays one: somebody may still paste the old key.
    pub fn learn(&self, secrets: impl IntoIterator<Item = Secret<String>>) {
        self.secrets.learn(secrets);
    }

    /// Whether the contents of a call that ends this way are kept, where the settings say whose are.
    pub fn keeps(&self, bodies: Bodies, failed: bool) -> bool {
        let is_wanted = match bodies {
            Bodies::Off => false,
            Bodies::Errors => failed,
            Bodies::Full => true,
        };
        is_wanted && matches!(self.store.get(), Some(Store::Open(_)))
    }

    /// Hands an exchange to the writer. Doesn't wait and can't fail: what finds no room is dropped.
    pub fn keep(&self, exchange: Exchange) {
        let Some(Store::Open(writer)) = self.store.get() else { return };
        if writer.submit(Command::Keep(Box::new(exchange))).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            // Each power of two: a disk that stands still must not fill the log as well.
            if dropped.is_power_of_two() {
                tracing::warn!("the contents of {dropped} calls so far are not kept: the disk doesn't keep up");
            }
        }
    }

    /// How many exchanges found no room since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Why contents can't be kept, if they can't.
    pub fn trouble(&self) -> Option<Arc<str>> {
        match self.store.get()? {
            Store::Broken(why) => Some(Arc::clone(why)),
            Store::Open(writer) => writer.trouble(),
        }
    }

    /// What is kept of a call. Blocks for the disk.
    pub fn find(&self, id: RequestId) -> Result<Option<Exchange>, ContentError> {
        let writer = match self.store.get() {
            None => return Ok(None),
            Some(Store::Broken(why)) => return Err(ContentError::new(why)),
            Some(Store::Open(writer)) => writer,
        };
        let database = writer.database().ok_or_else(|| ContentError::new(&"it is being opened again"))?;
        let found = guard(&self.opening, || {
            let table = database.begin_read()?.open_table(BODIES)?;
            let row = table.get(id.number())?;
            row.map(|row| decode(id, row.value())).transpose()
        });
        found.map_err(|error| ContentError::new(&error))
    }

    /// Deletes what is kept of an owner's calls and tells of how many; the ledger's entries stay.
    pub async fn delete(&self, owner: Owner) -> Result<u64, ContentError> {
        self.erase(Erase::Owner(owner)).await
    }

    /// Deletes what is kept of calls before this one, and tells of how many.
    pub async fn sweep(&self, before: RequestId) -> Result<u64, ContentError> {
        self.erase(Erase::Before(before)).await
    }

    async fn erase(&self, what: Erase) -> Result<u64, ContentError> {
        let writer = match self.store.get() {
            None => return Ok(0),
            Some(Store::Broken(why)) => return Err(ContentError::new(why)),
            Some(Store::Open(writer)) => writer,
        };
        let (reply, answer) = oneshot::channel();
        writer.submit(Command::Erase { what, reply }).map_err(|error| ContentError::new(&error))?;
        answer.await.map_err(|_| ContentError::new(&"the writer has stopped"))?
    }

    /// Writes what waits and closes the file. Blocks for the disk.
    pub fn stop(&self) {
        if let Some(Store::Open(writer)) = self.store.get() {
            writer.stop();
        }
    }
}
