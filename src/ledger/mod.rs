//! The ledger: what every call cost, exactly, whatever happens.
//!
//! A call is reserved for durably before anything is sent upstream, and booked durably before the last byte of its
//! answer leaves ([`Reservation`]). Entries, sums and rollups change in one transaction of one writer thread
//! (`journal`), so totals always equal rows, and [`Ledger::verify`] proves it. A call whose process died becomes `unknown`
//! at the next start, charged at what was held for it. What budgets there are and which apply is not known here: charges come in with a
//! reservation.

mod adjustments;
mod balances;
mod cells;
mod chain;
mod costs;
mod decisions;
mod doubts;
mod extremes;
mod hold;
mod inspect;
mod journal;
mod names;
mod past;
mod query;
mod record;
mod reservation;
mod sums;
mod tables;
mod tally;
#[cfg(test)]
pub(crate) mod tests;
mod verify;
mod view;
mod worst_case;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use redb::{Database, ReadableTable as _};
use tokio::sync::{broadcast, oneshot, watch};

use crate::domain::{BudgetId, Picodollars, RequestId, WindowId};
use crate::store::{OnPanic, OpenError, OpenOptions, SubmitError, Writer, WriterOptions, guard};

pub use adjustments::{ADJUSTMENTS_MAX, Adjusted, Cause, NotAdjustable, Outcomes, Wanted};
pub use cells::Cell;
pub use chain::{ChainDay, ChainFault, Digest, Fault, Head, Heads};
pub use costs::{CostGroup, Costs, GroupBy, Rollup, TimeRange};

pub use doubts::Doubts;
pub use extremes::Extremes;
pub use hold::{Hold, Planned};
pub use inspect::Inspection;
pub use past::{PastCall, TakenIn};
pub use query::{Counts, EntryFilter, Page};
pub use record::{
    Acknowledge, Adjustment, AdjustmentKind, Attempt, Balance, CallFacts, Charge, Entry, Hedge, OVERTAKEN, Outcome,
    Rating, Scope,
};
pub use reservation::{Renewal, Reservation};
pub use tally::Tally;
pub use verify::{Difference, VerifyReport};
pub use view::View;
pub use worst_case::WorstCase;

use journal::{Command, LedgerJournal};
use names::Names;

/// Commands that may wait for the writer: a place for each call that runs, and one to spare for what it asks next.
const LEDGER_QUEUE_LEN: usize = 32_768;
/// Commands of one transaction: beyond a thousand, commits get slower without getting cheaper.
const LEDGER_BATCH_MAX: usize = 1_024;
const LEDGER_SIZES: WriterOptions = WriterOptions {
    queue_len: LEDGER_QUEUE_LEN,
    batch_max: LEDGER_BATCH_MAX,
    // Waiting for more lost at every number of callers that was measured.
    gather_time: Duration::ZERO,
    reopen_pause: Duration::from_millis(200),
    on_panic: OnPanic::Abort,
};
/// What a crash may lose at most where calls don't wait for the disk, beside what is being written. Longer saves little:
/// a commit's own cost is a hundredth of the time by then.
const RELAXED_GATHER_TIME: Duration = Duration::from_millis(20);
/// How long a read waits at most for what was queued before it: many times what a commit takes on a slow disk.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(1);
/// Entries that live pages may lag behind before they miss some.
const LIVE_ENTRIES_LEN: usize = 1_024;
/// Memory for cached pages of the file.
const LEDGER_CACHE_BYTES: usize = 16 << 20;

/// Where the ledger is and how it keeps.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// The file.
    pub path: PathBuf,
    /// The zone whose hours, days and months are summed.
    pub zone: TimeZone,
    /// When a reservation or settlement counts as done.
    pub acknowledge: Acknowledge,
}

/// What can go wrong with the ledger.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// A budget would be exceeded.
    #[error("{budget} has {spent} of {limit} USD spent and {held} held in this {window}; the call may cost {asked}",
        spent = balance.spent, held = balance.held, window = window.window)]
    OverBudget {
        /// The budget that refuses.
        budget: BudgetId,
        /// The window that the call falls into.
        window: WindowId,
        /// The budget's limit.
        limit: Picodollars,
        /// How the sum stands.
        balance: Balance,
        /// What the call may cost under this budget, with the lowest cap that its output may have.
        asked: Picodollars,
        /// When so much of what is held should have come back that it fits; absent where that wouldn't help.
        settles_in: Option<Duration>,
    },
    /// The call has no room under a budget that sends it elsewhere then.
    #[error("{budget} has no room for the call in this {}, which goes elsewhere", window.window)]
    Turned {
        /// The budget.
        budget: BudgetId,
        /// The window that the call falls into.
        window: WindowId,
        /// The budget's limit.
        limit: Picodollars,
        /// How the sum stands.
        balance: Balance,
        /// What the call may cost under this budget.
        asked: Picodollars,
    },
    /// As many calls run as the ledger takes.
    #[error("too many calls are waiting for the ledger")]
    Busy,
    /// The file can't be written.
    #[error("the ledger can't be written: {detail}")]
    Unwritable {
        /// What the disk or the database says.
        detail: Arc<str>,
    },
    /// The file can't be read.
    #[error("the ledger can't be read: {detail}")]
    Unreadable {
        /// What the disk or the database says.
        detail: Arc<str>,
    },
    /// The call is not running, or where it is to be adjusted, has not ended.
    #[error("{id} is no call that this can be done to")]
    NoSuchCall {
        /// The call that was meant.
        id: RequestId,
    },
    /// The call has been adjusted as often as calls can be.
    #[error("{id} has been adjusted {ADJUSTMENTS_MAX} times, and no call can be more often")]
    TooManyAdjustments {
        /// The call that was meant.
        id: RequestId,
    },
}

impl From<SubmitError> for LedgerError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Full => Self::Busy,
            SubmitError::Unwritable => Self::Unwritable { detail: "the last write failed".into() },
        }
    }
}

impl From<redb::Error> for LedgerError {
    fn from(error: redb::Error) -> Self {
        Self::Unreadable { detail: error.to_string().into() }
    }
}

/// The ledger of one data folder.
pub struct Ledger {
    opening: OpenOptions,
    writer: Writer<LedgerJournal>,
    names: Names,
    zone: TimeZone,
    settled: broadcast::Sender<Arc<Entry>>,
    last_inspection: Mutex<Option<(Instant, Inspection)>>,
}

impl Ledger {
    /// Opens the file, books what a crash left open, and starts the writer.
    pub fn open(options: LedgerOptions) -> Result<Self, OpenError> {
        let opening = OpenOptions { path: options.path, name: "ledger", cache_bytes: LEDGER_CACHE_BYTES };
        let database = crate::store::open(&opening)?;
        let reopened = opening.clone();
        let sizes = match options.acknowledge {
            Acknowledge::Durable => LEDGER_SIZES,
            Acknowledge::Queued => WriterOptions { gather_time: RELAXED_GATHER_TIME, ..LEDGER_SIZES },
        };
        let reopen = move || crate::store::open(&reopened);
        Self::start(&opening, database, reopen, options.zone, options.acknowledge, sizes)
    }

    fn start(
        opening: &OpenOptions,
        database: Database,
        reopen: impl Fn() -> Result<Database, OpenError> + Send + 'static,
        zone: TimeZone,
        acknowledge: Acknowledge,
        sizes: WriterOptions,
    ) -> Result<Self, OpenError> {
        if let Some(found) = guard(opening, || prepare(&database, &zone))? {
            return Err(OpenError::Newer {
                name: opening.name,
                path: opening.path.clone(),
                found,
                known: tables::FORMAT,
            });
        }
        let names = Names::default();
        let settled = broadcast::Sender::new(LIVE_ENTRIES_LEN);
        let journal = LedgerJournal::new(names.clone(), zone.clone(), acknowledge, settled.clone());
        let writer = Writer::start_with(opening, database, reopen, sizes, journal)?;
        Ok(Self { opening: opening.clone(), writer, names, zone, settled, last_inspection: Mutex::default() })
    }

    fn writer(&self) -> &Writer<LedgerJournal> {
        &self.writer
    }

    /// The zone whose hours, days and months are summed.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Calls from now on, as they are booked; adjustments are not among them.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.settled.subscribe()
    }

    /// Why calls can't be booked, if they can't.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.writer.trouble()
    }

    /// Tells when calls can't be booked any more, and when they can be again.
    pub fn watch_trouble(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.writer.watch_trouble()
    }

    /// Begins to keep a sum up to date, from everything that was booked in its window before.
    pub async fn track(&self, scope: Scope, window: WindowId) -> Result<(), LedgerError> {
        let (reply, answer) = oneshot::channel();
        self.writer.submit(Command::Track { scope, window, reply })?;
        let tracked = answer.await;
        tracked.unwrap_or_else(|_| Err(LedgerError::Unwritable { detail: "the writer has stopped".into() })).map(drop)
    }

    /// Waits until what was recorded before is in the file, a second at most; blocking.
    pub fn flush(&self) {
        self.writer.flush(FLUSH_TIME_MAX);
    }

    /// Writes everything that is queued and closes the file; blocking. Calls that still run become `unknown` at the next
    /// start.
    pub fn stop(&self) {
        self.writer.stop();
    }
}

/// Makes the tables of a new file, chains what an older one has, and sums everything anew where the time zone has
/// changed. Returns the file's format
/// where it is a later one, and leaves such a file as it is.
fn prepare(database: &Database, zone: &TimeZone) -> Result<Option<String>, redb::Error> {
    use chain::CHAINS;
    use tables::{BALANCES, CELLS, ENTRIES, FORMAT, META, NAMES, PENDING};
    let transaction = database.begin_write()?;
    let zone_name = zone.iana_name().map_or_else(|| format!("{zone:?}"), ToOwned::to_owned);
    let (has_moved, is_unchained) = {
        let mut meta = transaction.open_table(META)?;
        let format = meta.get("format")?.map(|format| format.value().to_owned());
        let is_unchained = match format.as_deref().map(str::parse::<u32>) {
            None => false,
            Some(Ok(format)) if format <= FORMAT => format < 2,
            Some(_) => return Ok(format),
        };
        meta.insert("format", FORMAT.to_string().as_str())?;
        let before = meta.insert("time_zone", zone_name.as_str())?.map(|name| name.value().to_owned());
        (before.is_some_and(|before| before != zone_name), is_unchained)
    };
    transaction.open_table(PENDING)?;
    transaction.open_table(ENTRIES)?;
    transaction.open_table(CELLS)?;
    transaction.open_table(BALANCES)?;
    transaction.open_table(NAMES)?;
    transaction.open_table(CHAINS)?;
    if is_unchained {
        tracing::info!("the ledger's entries are chained day by day from now on; those it has are taken in");
        chain::take_over(&transaction)?;
    }
    if has_moved {
        tracing::info!("the time zone has changed to {zone_name}: sums and rollups are taken anew");
        verify::rebuild(&transaction, zone)?;
    }
    transaction.commit()?;
    Ok(None)
}
