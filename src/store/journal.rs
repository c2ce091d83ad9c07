//! One writer thread for a file: takes what queued, commits it as one transaction, answers.

use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::Database;
use tokio::sync::mpsc;
use tokio::sync::watch;

use super::open::{OpenError, OpenOptions, open};

/// How commands change the tables of one file, and the sums that are kept in memory beside them.
///
/// The calls come in this order, all on the writer's thread: `decide`, then, where something is to be written, `write`
/// inside a transaction, then `committed` or `failed`. After a failure `reload` follows before the next `decide`, and
/// what `failed` kept because it must not be lost is written first: `decide` is called with an empty batch for it.
pub trait Journal: Send + 'static {
    /// What callers ask for; carries its own way to answer.
    type Command: Send + 'static;

    /// Takes a batch in the order of its arrival, answers what can be refused from memory, and keeps the rest to write.
    /// Returns whether anything has to be written.
    fn decide(&mut self, batch: &mut Vec<Self::Command>) -> bool;

    /// Writes what was kept.
    fn write(&mut self, transaction: &redb::WriteTransaction) -> Result<(), redb::Error>;

    /// The transaction is durable: answers the waiters.
    fn committed(&mut self);

    /// The transaction's outcome is unknown: tells the waiters.
    fn failed(&mut self, error: &CommitError);

    /// Rebuilds the sums in memory from the file.
    fn reload(&mut self, database: &Database) -> Result<(), redb::Error>;
}

/// Why a batch was not written, as far as is known.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the write failed: {detail}")]
pub struct CommitError {
    /// What the database says.
    pub detail: Arc<str>,
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// As many commands wait as may.
    #[error("the queue of the writer is full")]
    Full,
    /// The file can't be written at the moment, or the writer has stopped.
    #[error("the file can't be written")]
    Unwritable,
}

/// The sizes of a writer.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// How many commands may wait.
    pub queue_len: usize,
    /// How many commands one transaction takes at most.
    pub batch_max: usize,
    /// The first pause before a file that failed is opened again; doubles up to five seconds.
    pub reopen_pause: Duration,
}

/// A handle on the writer thread of one file, and on the file for reads.
pub struct Writer<J: Journal> {
    queue: mpsc::Sender<J::Command>,
    shared: Arc<Shared>,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    /// Absent while the file is being opened again.
    database: RwLock<Option<Arc<Database>>>,
    /// `None`: writable. Otherwise the reason why it is not.
    trouble: watch::Sender<Option<Arc<str>>>,
}

impl<J: Journal> Writer<J> {
    /// Opens the file, loads the journal's sums and starts the thread.
    pub fn start(options: OpenOptions, sizes: WriterOptions, journal: J) -> Result<Self, OpenError> {
        let database = Arc::new(open(&options)?);
        Self::start_with(database, move || open(&options), sizes, journal)
    }

    /// The same over a database that is open already; `reopen` brings it back after a failed write.
    pub fn start_with(
        database: Arc<Database>,
        reopen: impl Fn() -> Result<Database, OpenError> + Send + 'static,
        sizes: WriterOptions,
        mut journal: J,
    ) -> Result<Self, OpenError> {
        let damaged = |error: redb::Error| OpenError::Damaged {
            name: "database",
            path: std::path::PathBuf::new(),
            detail: error.to_string(),
        };
        journal.reload(&database).map_err(damaged)?;
        // What an earlier process left open is booked before anybody is served.
        if journal.decide(&mut Vec::new()) {
            write(&mut journal, &database).map_err(damaged)?;
            journal.committed();
        }
        let (queue, commands) = mpsc::channel(sizes.queue_len);
        let shared = Arc::new(Shared { database: RwLock::new(Some(database)), trouble: watch::Sender::new(None) });
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("store-writer".to_owned())
                .spawn(move || {
                    // A gateway whose ledger has stopped must not go on serving: the supervisor starts it anew.
                    let guard = AbortOnPanic;
                    run(&mut journal, commands, &shared, &reopen, sizes);
                    std::mem::forget(guard);
                })
                .map_err(|source| OpenError::Io { name: "database", path: std::path::PathBuf::new(), source })?
        };
        Ok(Self { queue, shared, thread: std::sync::Mutex::new(Some(thread)) })
    }

    /// Queues a command without waiting.
    pub fn submit(&self, command: J::Command) -> Result<(), SubmitError> {
        if self.trouble().is_some() {
            return Err(SubmitError::Unwritable);
        }
        self.queue.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SubmitError::Full,
            mpsc::error::TrySendError::Closed(_) => SubmitError::Unwritable,
        })
    }

    /// Keeps a place in the queue for a command that must find room later, even in a `drop`.
    pub fn keep_place(&self) -> Result<mpsc::OwnedPermit<J::Command>, SubmitError> {
        self.queue.clone().try_reserve_owned().map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SubmitError::Full,
            mpsc::error::TrySendError::Closed(_) => SubmitError::Unwritable,
        })
    }

    /// The file, for short reads; `None` while it is being opened again.
    pub fn database(&self) -> Option<Arc<Database>> {
        self.shared.database.read().expect("no holder of this lock panics").clone()
    }

    /// Why the file can't be written, if it can't.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.shared.trouble.borrow().clone()
    }

    /// Closes the queue, waits until everything in it is written, and closes the file.
    pub fn stop(self) {
        let Self { queue, shared, thread } = self;
        drop(queue);
        if let Some(thread) = thread.into_inner().expect("no holder of this lock panics") {
            // A panic of the thread has aborted the process already.
            let _ = thread.join();
        }
        shared.database.write().expect("no holder of this lock panics").take();
    }
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        std::process::abort();
    }
}

fn run<J: Journal>(
    journal: &mut J,
    mut commands: mpsc::Receiver<J::Command>,
    shared: &Shared,
    reopen: &dyn Fn() -> Result<Database, OpenError>,
    sizes: WriterOptions,
) {
    let mut batch = Vec::with_capacity(sizes.batch_max);
    let mut backlog = false;
    while backlog || commands.blocking_recv_many(&mut batch, sizes.batch_max) > 0 {
        backlog = false;
        if !journal.decide(&mut batch) {
            continue;
        }
        let database = shared.database.read().expect("no holder of this lock panics").clone();
        let written = database.map_or(Err(redb::Error::DatabaseClosed), |database| write(journal, &database));
        match written {
            Ok(()) => journal.committed(),
            Err(error) => {
                let error = CommitError { detail: error.to_string().into() };
                tracing::error!("the ledger can't be written; priced calls are refused until it can: {}", error.detail);
                shared.trouble.send_replace(Some(Arc::clone(&error.detail)));
                journal.failed(&error);
                if !recover(journal, &mut commands, &error, shared, reopen, sizes) {
                    return;
                }
                tracing::warn!("the ledger can be written again");
                // What was paid for meanwhile is booked before anything new is promised.
                backlog = true;
                shared.trouble.send_replace(None);
            }
        }
    }
}

fn write<J: Journal>(journal: &mut J, database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    journal.write(&transaction)?;
    transaction.commit()?;
    Ok(())
}

/// Opens the file again until a write goes through; refuses what arrives meanwhile. False: nobody is left to serve.
fn recover<J: Journal>(
    journal: &mut J,
    commands: &mut mpsc::Receiver<J::Command>,
    error: &CommitError,
    shared: &Shared,
    reopen: &dyn Fn() -> Result<Database, OpenError>,
    sizes: WriterOptions,
) -> bool {
    let mut pause = sizes.reopen_pause;
    let mut refused = Vec::new();
    loop {
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_secs(5));
        loop {
            match commands.try_recv() {
                Ok(command) => refused.push(command),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => return false,
            }
        }
        if !refused.is_empty() {
            journal.decide(&mut refused);
            journal.failed(error);
            refused.clear();
        }
        // redb refuses every write after a failed one until the file is opened anew, which needs all readers gone.
        if let Some(database) = shared.database.write().expect("no holder of this lock panics").take()
            && let Err(still_read) = Arc::try_unwrap(database)
        {
            shared.database.write().expect("no holder of this lock panics").replace(still_read);
            continue;
        }
        match reopen().map_err(|error| error.to_string()).and_then(|database| {
            probe(&database).and_then(|()| journal.reload(&database)).map_err(|error| error.to_string())?;
            Ok(database)
        }) {
            Ok(database) => {
                shared.database.write().expect("no holder of this lock panics").replace(Arc::new(database));
                return true;
            }
            Err(detail) => {
                shared.trouble.send_replace(Some(detail.into()));
            }
        }
    }
}

/// Shows that the file can grow again, before anything is promised.
fn probe(database: &Database) -> Result<(), redb::Error> {
    const PROBE: redb::TableDefinition<&str, &[u8]> = redb::TableDefinition::new("probe");
    let transaction = database.begin_write()?;
    transaction.open_table(PROBE)?.insert("room", vec![0_u8; 64 << 10].as_slice())?;
    transaction.commit()?;
    let transaction = database.begin_write()?;
    transaction.open_table(PROBE)?.remove("room")?;
    transaction.commit()?;
    Ok(())
}
