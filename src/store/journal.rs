//! One writer thread for a file: takes what queued, commits it as one transaction, answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::Database;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::watch;

use super::open::{OpenError, OpenOptions, guard, open};

/// The longest pause before a file that failed is opened again.
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a command waits at most to be refused while the file can't be written.
const REFUSE_PAUSE: Duration = Duration::from_millis(10);

/// How commands change the tables of one file, and the sums that are kept in memory beside them.
///
/// The calls come in this order, all on the writer's thread: `decide`, once or several times, then, where something is to be
/// written, `write` inside a transaction, then `committed` or `failed`. After a failure come any number of `refuse` and then `reload` before
/// the next `decide`, which goes on with what `failed` and `refuse` kept because it must not be lost.
pub trait Journal: Send + 'static {
    /// What callers ask for; carries its own way to answer.
    type Command: Send + 'static;

    /// Takes a batch in the order of its arrival, answers what can be refused from memory, and keeps the rest to write.
    /// Returns whether anything has to be written, of this batch or of those before.
    fn decide(&mut self, batch: &mut Vec<Self::Command>) -> bool;

    /// Writes what was kept.
    fn write(&mut self, transaction: &redb::WriteTransaction) -> Result<(), redb::Error>;

    /// The transaction is durable: answers the waiters.
    fn committed(&mut self);

    /// The transaction's outcome is unknown: tells the waiters.
    fn failed(&mut self, error: &CommitError);

    /// Refuses commands that came while the file can't be written, but for those that must not be lost.
    fn refuse(&mut self, batch: &mut Vec<Self::Command>, error: &CommitError);

    /// Rebuilds the sums in memory from the file. Where it fails, nothing that was kept may be lost: it is called again.
    fn reload(&mut self, database: &Database) -> Result<(), redb::Error>;

    /// Whether there is something to decide although no command came.
    fn has_more(&self) -> bool;

    /// Whether somebody waits for what was kept to be written.
    fn is_awaited(&self) -> bool;
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
    /// How long what nobody waits for may gather before it is written, to make one transaction of many batches.
    pub gather_time: Duration,
    /// The first pause before a file that failed is opened again; doubles up to five seconds.
    pub reopen_pause: Duration,
    /// What a panic over the file means.
    pub on_panic: OnPanic,
}

/// What a panic of the writer means for the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPanic {
    /// The process ends: nobody may be served without this file.
    Abort,
    /// A write has failed like any other: everybody can be served without this file.
    Recover,
}

/// A handle on the writer thread of one file, and on the file for reads.
pub struct Writer<J: Journal> {
    queue: mpsc::Sender<Message<J::Command>>,
    shared: Arc<Shared>,
    /// Beside it the place in the queue that is kept for telling it to stop.
    thread: Mutex<Option<Thread<J::Command>>>,
}

type Thread<C> = (JoinHandle<()>, Place<C>);

enum Message<C> {
    Command(C),
    /// Somebody waits until what was queued before is written: until this is dropped.
    Flush(Flushing),
    Stop,
}

type Flushing = std::sync::mpsc::Sender<std::convert::Infallible>;

/// A place in the queue, for a command that must find room later, even in a `drop`.
pub struct Place<C>(mpsc::OwnedPermit<Message<C>>);

impl<C> std::fmt::Debug for Place<C> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Place")
    }
}

impl<C> Place<C> {
    /// Queues the command. Nothing comes of it, and no answer either, where the writer has stopped: [`SubmitError`].
    pub fn send(self, command: C) -> Result<(), SubmitError> {
        let queue = self.0.send(Message::Command(command));
        is_open(&queue)
    }
}

struct Shared {
    /// What people call the file, for messages.
    name: &'static str,
    /// Absent while the file is being opened again.
    database: RwLock<Option<Arc<Database>>>,
    /// `None`: writable. Otherwise the reason why it is not.
    trouble: watch::Sender<Option<Arc<str>>>,
    /// Why nothing may be written any more, whatever the disk says.
    distrust: OnceLock<Arc<str>>,
}

impl Shared {
    fn database(&self) -> Option<Arc<Database>> {
        self.database.read().expect("no holder of this lock panics").clone()
    }

    fn replace(&self, database: Option<Arc<Database>>) -> Option<Arc<Database>> {
        std::mem::replace(&mut *self.database.write().expect("no holder of this lock panics"), database)
    }
}

impl<J: Journal> Writer<J> {
    /// Opens the file, loads the journal's sums and starts the thread.
    pub fn start(options: OpenOptions, sizes: WriterOptions, journal: J) -> Result<Self, OpenError> {
        let database = open(&options)?;
        Self::start_with(&options.clone(), database, move || open(&options), sizes, journal)
    }

    /// The same over a database that is open already; `reopen` brings it back after a failed write.
    pub fn start_with(
        options: &OpenOptions,
        database: Database,
        reopen: impl Fn() -> Result<Database, OpenError> + Send + 'static,
        sizes: WriterOptions,
        mut journal: J,
    ) -> Result<Self, OpenError> {
        guard(options, || {
            journal.reload(&database)?;
            // What an earlier process left open is booked before anybody is served.
            if journal.decide(&mut Vec::new()) {
                write(&mut journal, &database)?;
                journal.committed();
            }
            Ok(())
        })?;
        let io = |source| OpenError::Io { name: options.name, path: options.path.clone(), source };
        // One place more than commands may wait: telling the thread to stop needs one whatever happens.
        let (queue, commands) = mpsc::channel(sizes.queue_len + 1);
        let stop = Place(queue.clone().try_reserve_owned().expect("the queue is empty"));
        let database = RwLock::new(Some(Arc::new(database)));
        let shared = Arc::new(Shared {
            name: options.name,
            database,
            trouble: watch::Sender::new(None),
            distrust: OnceLock::new(),
        });
        // Waiting with a limit needs a runtime's clock.
        let timer = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(io)?;
        let inbox = Inbox {
            queue: commands,
            messages: Vec::new(),
            batch_max: sizes.batch_max,
            flushes: Vec::new(),
            is_stopping: false,
            timer,
        };
        let mut run = Run { journal, inbox, shared: Arc::clone(&shared), reopen: Box::new(reopen), sizes };
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            // A gateway whose ledger has stopped must not go on serving: the supervisor starts it anew.
            let guard = AbortOnPanic;
            run.run();
            std::mem::forget(guard);
        });
        Ok(Self { queue, shared, thread: Mutex::new(Some((thread.map_err(io)?, stop))) })
    }

    /// Queues a command without waiting.
    pub fn submit(&self, command: J::Command) -> Result<(), SubmitError> {
        if self.shared.trouble.borrow().is_some() {
            return Err(SubmitError::Unwritable);
        }
        self.queue.try_send(Message::Command(command)).map_err(|error| submit_error(&error))?;
        is_open(&self.queue)
    }

    /// Keeps a place in the queue.
    pub fn keep_place(&self) -> Result<Place<J::Command>, SubmitError> {
        self.queue.clone().try_reserve_owned().map(Place).map_err(|error| submit_error(&error))
    }

    /// Waits until what was queued before is in the file, so that a read finds it; no longer than told, and not where the file
    /// can't be written. Blocking; whoever queued it waits for nothing.
    pub fn flush(&self, time_max: Duration) {
        let (flushing, flushed) = std::sync::mpsc::channel();
        if self.shared.trouble.borrow().is_none() && self.queue.try_send(Message::Flush(flushing)).is_ok() {
            // However it ends, the file is to be read now.
            let _ = flushed.recv_timeout(time_max);
        }
    }

    /// The file, for short reads; `None` while it is being opened again, and after the stop.
    pub fn database(&self) -> Option<Arc<Database>> {
        self.shared.database()
    }

    /// Why the file can't be written, if it can't.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.shared.trouble.borrow().clone()
    }

    /// Tells when the file can't be written any more, and when it can be again.
    pub fn watch_trouble(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.shared.trouble.subscribe()
    }

    /// Takes no commands any more: what the file holds can't be right. What has a place in the queue is written all the same.
    pub fn distrust(&self, detail: Arc<str>) {
        let detail = self.shared.distrust.get_or_init(|| detail);
        self.shared.trouble.send_replace(Some(Arc::clone(detail)));
    }

    /// Writes what is queued and closes the file. Places that are still kept lead nowhere from then on.
    ///
    /// Blocking; where the file can't be written, one more attempt is made to write what must not be lost.
    pub fn stop(&self) {
        let thread = self.thread.lock().expect("no holder of this lock panics").take();
        if let Some((thread, stop)) = thread {
            stop.0.send(Message::Stop);
            // A panic of the thread has aborted the process already.
            let _ = thread.join();
        }
        self.shared.replace(None);
    }
}

impl<J: Journal> Drop for Writer<J> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What was queued before the queue closed is answered or dropped with it; what came after could wait for ever.
fn is_open<C>(queue: &mpsc::Sender<Message<C>>) -> Result<(), SubmitError> {
    if queue.is_closed() { Err(SubmitError::Unwritable) } else { Ok(()) }
}

fn submit_error<T>(error: &TrySendError<T>) -> SubmitError {
    match error {
        TrySendError::Full(_) => SubmitError::Full,
        TrySendError::Closed(_) => SubmitError::Unwritable,
    }
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// The thread's end of the queue.
struct Inbox<C> {
    queue: mpsc::Receiver<Message<C>>,
    messages: Vec<Message<C>>,
    batch_max: usize,
    /// Of those who wait for what was queued before them.
    flushes: Vec<Flushing>,
    /// What is queued is still taken, but nothing is waited for any more.
    is_stopping: bool,
    timer: tokio::runtime::Runtime,
}

/// How long to wait for a command where none is queued.
#[derive(Clone, Copy)]
enum Wait {
    NotAtAll,
    Until(Instant),
    Forever,
}

impl<C> Inbox<C> {
    /// Takes a batch of what is queued; waits for something only if told to. Returns whether anything came.
    fn take(&mut self, batch: &mut Vec<C>, wait: Wait) -> bool {
        let Self { queue, messages, batch_max, flushes, is_stopping, timer } = self;
        match wait {
            Wait::Forever if !*is_stopping => drop(queue.blocking_recv_many(messages, *batch_max)),
            Wait::Until(until) if !*is_stopping => {
                let receiving = queue.recv_many(messages, *batch_max);
                // Nothing is lost where the time is over first.
                let _ = timer.block_on(async { tokio::time::timeout_at(until.into(), receiving).await });
            }
            _ => {
                while messages.len() < *batch_max {
                    match queue.try_recv() {
                        Ok(message) => messages.push(message),
                        Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                    }
                }
            }
        }
        for message in messages.drain(..) {
            match message {
                Message::Command(command) => batch.push(command),
                Message::Flush(flushing) => flushes.push(flushing),
                Message::Stop => *is_stopping = true,
            }
        }
        !batch.is_empty()
    }
}

/// What the thread works with.
struct Run<J: Journal> {
    journal: J,
    inbox: Inbox<J::Command>,
    shared: Arc<Shared>,
    reopen: Box<dyn Fn() -> Result<Database, OpenError> + Send>,
    sizes: WriterOptions,
}

impl<J: Journal> Run<J> {
    fn run(&mut self) {
        let mut batch = Vec::with_capacity(self.sizes.batch_max);
        // Since when, and how many commands, have been decided and not written.
        let mut kept: Option<(Instant, usize)> = None;
        let mut has_failed_at_stop = false;
        loop {
            let was_stopping = self.inbox.is_stopping;
            let wait = match kept {
                Some((since, _)) => Wait::Until(since + self.sizes.gather_time),
                None if self.journal.has_more() => Wait::NotAtAll,
                None => Wait::Forever,
            };
            let has_come = self.inbox.take(&mut batch, wait);
            if was_stopping && !has_come && matches!(wait, Wait::Forever) {
                return;
            }
            let taken = batch.len();
            if !self.journal.decide(&mut batch) {
                self.inbox.flushes.clear();
                continue;
            }
            let (since, count) = kept.take().unwrap_or_else(|| (Instant::now(), 0));
            let is_awaited = self.journal.is_awaited() || !self.inbox.flushes.is_empty();
            let may_gather = !self.inbox.is_stopping && !is_awaited && count + taken < self.sizes.batch_max;
            if may_gather && since.elapsed() < self.sizes.gather_time {
                kept = Some((since, count + taken));
                continue;
            }
            let written = self.contained(|run| match run.shared.database() {
                Some(database) => write(&mut run.journal, &database),
                None => Err(redb::Error::DatabaseClosed),
            });
            // Whatever came of it, a read finds no more for waiting.
            self.inbox.flushes.clear();
            match written {
                Ok(()) => self.journal.committed(),
                Err(error) => {
                    let name = self.shared.name;
                    let error = CommitError { detail: error.to_string().into() };
                    tracing::error!("the {name} can't be written; what depends on it is refused: {}", error.detail);
                    self.shared.trouble.send_replace(Some(Arc::clone(&error.detail)));
                    self.journal.failed(&error);
                    // A file that can be opened and still not be written, as a damaged one, would hold the stop up for ever.
                    let is_last = was_stopping && std::mem::replace(&mut has_failed_at_stop, true);
                    if is_last || !self.recover(&error) {
                        tracing::error!("the {name} could not be written before the stop");
                        return;
                    }
                    tracing::warn!("the {name} can be written again");
                    self.shared.trouble.send_replace(self.shared.distrust.get().cloned());
                }
            }
        }
    }

    /// Works on the file; a panic over it ends the process or is a failure, as the file's options have it.
    fn contained<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        match self.sizes.on_panic {
            OnPanic::Abort => work(self),
            OnPanic::Recover => catch_unwind(AssertUnwindSafe(|| work(self)))
                .unwrap_or_else(|_| Err(redb::Error::Corrupted("its pages contradict each other".to_owned()))),
        }
    }

    /// Opens the file again until a write goes through; refuses what arrives meanwhile. False: it is time to stop.
    fn recover(&mut self, error: &CommitError) -> bool {
        let mut pause = self.sizes.reopen_pause;
        loop {
            self.refuse_for(pause, error);
            pause = (pause * 2).min(REOPEN_PAUSE_MAX);
            // A stop ends the waiting, but not before one more attempt.
            let was_stopping = self.inbox.is_stopping;
            let reopened = self.contained(|run| Ok(run.reopen()));
            match reopened.unwrap_or_else(|error| Err(error.to_string().into())) {
                Ok(true) => return true,
                Ok(false) => {}
                Err(detail) => drop(self.shared.trouble.send_replace(Some(detail))),
            }
            if was_stopping {
                return false;
            }
        }
    }

    /// Refuses what arrives for a while.
    fn refuse_for(&mut self, pause: Duration, error: &CommitError) {
        let until = Instant::now() + pause;
        let mut batch = Vec::new();
        loop {
            if self.inbox.take(&mut batch, Wait::NotAtAll) {
                self.journal.refuse(&mut batch, error);
                continue;
            }
            self.inbox.flushes.clear();
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() || self.inbox.is_stopping {
                return;
            }
            std::thread::sleep(rest.min(REFUSE_PAUSE));
        }
    }

    /// Whether the file could be opened and written again; not while somebody reads it.
    fn reopen(&mut self) -> Result<bool, Arc<str>> {
        // redb refuses every write after a failed one until the file is opened anew. Closing it ends the reads that are
        // under way with an error; only who is about to begin one has to be waited for.
        if let Some(database) = self.shared.replace(None)
            && let Err(still_read) = Arc::try_unwrap(database)
        {
            self.shared.replace(Some(still_read));
            return Ok(false);
        }
        let open = || (self.reopen)().map_err(|error| Arc::from(error.to_string()));
        let database = open()?;
        if let Err(error) = probe(&database).and_then(|()| self.journal.reload(&database)) {
            // What can't be written may still be read, through a handle that hasn't failed.
            drop(database);
            self.shared.replace(Some(Arc::new(open()?)));
            return Err(error.to_string().into());
        }
        self.shared.replace(Some(Arc::new(database)));
        Ok(true)
    }
}

fn write<J: Journal>(journal: &mut J, database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    journal.write(&transaction)?;
    transaction.commit()?;
    Ok(())
}

/// Shows that the file can grow again, before anything is promised.
fn probe(database: &Database) -> Result<(), redb::Error> {
    const PROBE: redb::TableDefinition<&str, &[u8]> = redb::TableDefinition::new("probe");
    let room = vec![0; 64 << 10];
    let transaction = database.begin_write()?;
    transaction.open_table(PROBE)?.insert("room", room.as_slice())?;
    transaction.commit()?;
    let transaction = database.begin_write()?;
    transaction.open_table(PROBE)?.remove("room")?;
    transaction.commit()?;
    Ok(())
}
