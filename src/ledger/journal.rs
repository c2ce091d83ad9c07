//! The writer's side of the ledger: the only place where money is held, booked and given back.

mod admission;
mod past;
mod rows;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use redb::{Database, ReadableDatabase as _, ReadableTable, WriteTransaction};
use tokio::sync::{broadcast, oneshot};

use crate::domain::{CostBasis, EntryStatus, Picodollars, RequestId, Window, WindowId};
use crate::store::{CommitError, Journal};

use super::LedgerError;
use super::adjustments::{Adjust, Outcomes};
use super::balances::{Balances, Standing};
use super::cells::{Cell, CellKey};
use super::chain::{CHAINS, Chains};
use super::hold::{Granted, Planned};
use super::names::{Names, OTHER};
use super::past::{TakeIn, TakenIn};
use super::record::{Acknowledge, Attempt, CallFacts, Charge, Entry, Outcome, Scope};
use super::tables::{ENTRIES, NAMES, PENDING, decode_entry, read_names};
use super::worst_case::WorstCase;
use admission::Waiting;

/// Cells kept in memory between batches; beyond, they are read again when needed.
const CELLS_CACHED_MAX: usize = 50_000;

/// Told when something is done; of a reservation, what was granted.
type Reply = oneshot::Sender<Result<Granted, LedgerError>>;

/// What callers ask the writer for.
pub(super) enum Command {
    /// Holds money back for an attempt, under every charge at once, or refuses.
    Reserve(Box<Reserve>),
    /// A reservation that waits for others to settle is to be decided for good.
    EndWait { id: RequestId },
    /// An attempt of a call has ended, and none is asked for: these are all that it has, each at what it cost or may cost.
    Stand { id: RequestId, attempts: Vec<Attempt> },
    /// Books a call.
    Settle(Box<Settle>),
    /// Books calls of the past.
    TakeIn(Box<TakeIn>),
    /// Begins to keep the sum of a scope in the window of an instant, for a budget.
    Track { scope: Scope, window: WindowId, reply: Reply },
    /// Books what calls cost more or less than was booked.
    Adjust(Box<Adjust>),
}

/// A reservation to make: the first of a call, the next one after an attempt that failed, or a second one beside an attempt.
pub(super) struct Reserve {
    /// Set for the first attempt.
    pub(super) facts: Option<CallFacts>,
    pub(super) id: RequestId,
    /// The call's attempts before it, as its caller knows them: whatever the ledger has, of a reservation whose outcome the
    /// caller never learned, gives way.
    pub(super) before: Vec<Attempt>,
    /// Whether the attempt before it is in flight, so that this one is no more than a luxury.
    pub(super) is_beside: bool,
    /// Where the next attempt goes; its cost is set to what is held.
    pub(super) next: Attempt,
    pub(super) worst_case: WorstCase,
    pub(super) charges: Vec<Charge>,
    /// Budgets that send the call elsewhere where it has no room under them.
    pub(super) turning: Vec<Charge>,
    /// All budgets that apply and don't refuse.
    pub(super) watched: Vec<Charge>,
    /// Whether it waits while only what others hold is in the way.
    pub(super) may_wait: bool,
    pub(super) reply: Reply,
}

impl Reserve {
    /// For the next attempt of a running call, that doesn't wait.
    pub(super) fn new(id: RequestId, before: Vec<Attempt>, planned: Planned, reply: Reply) -> Self {
        let next = planned.attempt();
        let Planned { worst_case, charges, turning, watched, .. } = planned;
        Self {
            facts: None,
            id,
            before,
            is_beside: false,
            next,
            worst_case,
            charges,
            turning,
            watched,
            may_wait: false,
            reply,
        }
    }
}

/// A call's end.
pub(super) struct Settle {
    /// Set where there was no reservation: a refusal, a cache hit.
    pub(super) facts: Option<CallFacts>,
    pub(super) id: RequestId,
    /// The attempts before the last one of the outcome.
    pub(super) before: Vec<Attempt>,
    pub(super) outcome: Outcome,
    pub(super) reply: Option<Reply>,
}

pub(super) struct LedgerJournal {
    names: Names,
    zone: TimeZone,
    acknowledge: Acknowledge,
    settled: broadcast::Sender<Arc<Entry>>,
    /// Calls that run, with the attempts in flight, two at most, as the last of `attempts`.
    pending: HashMap<RequestId, Entry>,
    /// Sums that budgets are held against; only what is here is kept up to date in the file.
    balances: Balances,
    cells: HashMap<CellKey, Cell>,
    chains: Chains,
    /// True until the file's first load: what is pending then has lost its process.
    is_first_load: bool,
    /// Calls that ended but whose write failed; they go first when the file can be written again.
    backlog: Vec<Entry>,
    /// Reservations under sums that have to be read first; decided with the next batch, before anything else.
    deferred: Vec<Reserve>,
    waiting: Waiting,
    /// Calls that were told that they can't begin, although the failed write may have reached the disk.
    disowned: Vec<RequestId>,
    work: Work,
    memo: Option<WindowMemo>,
    /// Where rows are encoded, to keep the allocation.
    buffer: Vec<u8>,
}

/// What one batch writes.
#[derive(Default)]
struct Work {
    /// Pending rows that changed; absent in `pending` means that the row goes.
    touched: HashSet<RequestId>,
    /// What is booked, with its hour, day and month.
    ended: Vec<(Entry, [WindowId; 3])>,
    /// Calls whose first reservation is in the batch.
    begun: Vec<RequestId>,
    /// Sums to take in.
    tracked: Vec<(Scope, WindowId)>,
    /// Calls to adjust, and those whose adjustments are in the transaction.
    to_adjust: Vec<Adjust>,
    adjusted: Vec<(Adjust, Outcomes)>,
    /// Calls of the past: what is there already is only known in the transaction.
    past: Vec<TakeIn>,
    /// How many of `ended` were made here, where others follow: those are news to nobody who follows calls as they are booked.
    live_len: Option<usize>,
    /// Who waits for calls of the past, and what is to be told.
    taken_in: Vec<(oneshot::Sender<Result<TakenIn, LedgerError>>, TakenIn)>,
    replies: Vec<(Reply, Granted)>,
    /// The highest number of a name that the batch writes.
    names_until: u32,
}

struct WindowMemo {
    from: Timestamp,
    until: Timestamp,
    windows: [WindowId; 5],
}

impl LedgerJournal {
    pub(super) fn new(
        names: Names,
        zone: TimeZone,
        acknowledge: Acknowledge,
        settled: broadcast::Sender<Arc<Entry>>,
    ) -> Self {
        Self {
            names,
            zone,
            acknowledge,
            settled,
            pending: HashMap::new(),
            balances: Balances::default(),
            cells: HashMap::new(),
            chains: Chains::default(),
            is_first_load: true,
            backlog: Vec::new(),
            deferred: Vec::new(),
            waiting: Waiting::default(),
            disowned: Vec::new(),
            work: Work::default(),
            memo: None,
            buffer: Vec::new(),
        }
    }

    /// The windows that an entry belongs to; calls come in order, so the last answer nearly always serves again.
    fn windows(&mut self, entry: &Entry) -> [WindowId; 5] {
        let instant = entry.time();
        if let Some(memo) = &self.memo
            && memo.from <= instant
            && instant < memo.until
        {
            return memo.windows;
        }
        let windows = windows_of(instant, &self.zone);
        if let (Some(from), Some(until)) = (windows[0].start(&self.zone), windows[0].end(&self.zone)) {
            self.memo = Some(WindowMemo { from, until, windows });
        }
        windows
    }

    fn decide_one(&mut self, command: Command) {
        match command {
            Command::Reserve(reserve) => self.reserve(*reserve),
            Command::EndWait { id } => self.end_wait(id),
            Command::Stand { id, attempts } => self.stand(id, attempts),
            Command::Settle(settle) => self.settle(*settle),
            Command::TakeIn(past) => self.work.past.push(*past),
            Command::Track { scope, window, reply } => {
                if let Standing::Known(_) = self.balances.standing(&scope, window) {
                    let _ = reply.send(Ok(Granted::default()));
                } else {
                    self.work.tracked.push((scope, window));
                    self.work.replies.push((reply, Granted::default()));
                }
            }
            Command::Adjust(adjust) => self.work.to_adjust.push(*adjust),
        }
    }

    fn settle(&mut self, settle: Settle) {
        let Settle { facts, id, before, outcome, reply } = settle;
        let Some(mut entry) = facts.map(begin).or_else(|| self.take_pending(id)) else {
            // Given up while it waited.
            self.waiting.forget(id);
            if let Some(reply) = reply {
                let _ = reply.send(Err(LedgerError::NoSuchCall { id }));
            }
            return;
        };
        entry.attempts.clear();
        entry.attempts.extend(before.into_iter().chain(outcome.last));
        entry.status = outcome.status;
        entry.error = outcome.error;
        entry.http_status = outcome.http_status;
        entry.latency_ms = outcome.latency_ms;
        entry.time_to_first_token_ms = outcome.time_to_first_token_ms;
        entry.saved = outcome.saved;
        if !entry.reserved.is_zero() {
            self.waiting.note_held(outcome.latency_ms);
        }
        entry.reserved = Picodollars::ZERO;
        self.tame(&mut entry);
        self.book(entry);
        if let Some(reply) = reply {
            self.acknowledge(reply, Granted::default());
        }
    }

    /// Holds for a running call what its attempts, ended and in flight, cost and may cost now.
    fn stand(&mut self, id: RequestId, attempts: Vec<Attempt>) {
        let Some(mut entry) = self.take_pending(id) else { return };
        entry.attempts = attempts;
        self.tame(&mut entry);
        entry.reserved = entry.cost();
        let windows = self.windows(&entry);
        self.balances.hold(&entry, &windows);
        self.pending.insert(id, entry);
    }

    /// Takes a running call out, and gives back what it holds.
    fn take_pending(&mut self, id: RequestId) -> Option<Entry> {
        let entry = self.pending.remove(&id)?;
        self.work.touched.insert(id);
        let windows = self.windows(&entry);
        self.balances.release(&entry, &windows);
        self.waiting.note_room();
        Some(entry)
    }

    /// Adds an ended entry to every sum and cell that it touches.
    fn book(&mut self, entry: Entry) {
        let windows = self.windows(&entry);
        self.balances.book(&entry, &windows);
        self.work.ended.push((entry, [windows[0], windows[1], windows[3]]));
    }

    /// Keeps what would move money backwards or make the list of names grow for ever out of the ledger.
    fn tame(&self, entry: &mut Entry) {
        for attempt in &mut entry.attempts {
            if attempt.cost.is_negative() {
                tracing::error!(
                    "a negative cost of {} was handed in for {}; booked as 0",
                    attempt.cost,
                    entry.facts.id
                );
                attempt.cost = Picodollars::ZERO;
            }
        }
        if self.names.is_crowded() {
            if self.names.find(entry.facts.requested_model.as_str()).is_none() {
                entry.facts.requested_model = OTHER.parse().expect("it is a name");
            }
            if self.names.find(&entry.facts.operation).is_none() {
                entry.facts.operation = OTHER.into();
            }
            for attempt in &mut entry.attempts {
                if self.names.find(attempt.deployment.model.as_str()).is_none() {
                    attempt.deployment.model = OTHER.parse().expect("it is a name");
                }
            }
        }
    }
}

fn windows_of(instant: Timestamp, zone: &TimeZone) -> [WindowId; 5] {
    Window::ALL.map(|window| window.at(instant, zone))
}

/// A call that has only begun.
fn begin(facts: CallFacts) -> Entry {
    Entry {
        facts,
        status: EntryStatus::Pending,
        error: None,
        http_status: 0,
        attempts: Vec::with_capacity(1),
        reserved: Picodollars::ZERO,
        latency_ms: 0,
        time_to_first_token_ms: None,
        saved: Picodollars::ZERO,
        adjustment: None,
    }
}

/// The end that a call gets whose process died: charged at what was held for it.
fn orphan(running: &Entry) -> Entry {
    let error: Arc<str> = "crashed".into();
    let mut entry = Entry { status: EntryStatus::Unknown, error: Some(Arc::clone(&error)), ..running.clone() };
    entry.reserved = Picodollars::ZERO;
    for attempt in entry.attempts.iter_mut().filter(|attempt| attempt.is_in_flight()) {
        attempt.error = Some(Arc::clone(&error));
    }
    entry
}

/// The end that a call gets whose caller was told that it can't begin.
fn never_sent(running: &Entry) -> Entry {
    let error: Arc<str> = "ledger_unavailable".into();
    let mut entry = Entry { status: EntryStatus::Failed, error: Some(Arc::clone(&error)), ..running.clone() };
    entry.reserved = Picodollars::ZERO;
    if let Some(attempt) = entry.attempts.last_mut() {
        attempt.cost = Picodollars::ZERO;
        attempt.basis = CostBasis::Exact;
        attempt.error = Some(error);
    }
    entry
}

impl Journal for LedgerJournal {
    type Command = Command;

    fn decide(&mut self, batch: &mut Vec<Command>) -> bool {
        for entry in std::mem::take(&mut self.backlog) {
            self.take_pending(entry.facts.id);
            self.book(entry);
        }
        for reserve in std::mem::take(&mut self.deferred) {
            self.reserve(reserve);
        }
        for command in batch.drain(..) {
            self.decide_one(command);
        }
        self.reserve_waiting();
        let Work { touched, ended, tracked, past, to_adjust, .. } = &self.work;
        let is_asked = !(past.is_empty() && to_adjust.is_empty());
        is_asked || !(touched.is_empty() && ended.is_empty() && tracked.is_empty())
    }

    fn write(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        self.write_pending(transaction)?;
        self.write_past(transaction)?;
        if !(self.work.ended.is_empty() && self.work.to_adjust.is_empty()) {
            self.write_ended(transaction)?;
        }
        self.write_balances(transaction)?;
        self.write_names(transaction)?;
        self.write_chains(transaction)
    }

    fn committed(&mut self) {
        let work = std::mem::take(&mut self.work);
        self.names.mark_stored(work.names_until);
        self.balances.committed();
        for (reply, granted) in work.replies {
            let _ = reply.send(Ok(granted));
        }
        for (reply, taken) in work.taken_in {
            let _ = reply.send(Ok(taken));
        }
        for (adjust, outcomes) in work.adjusted {
            let _ = adjust.reply.send(Ok(outcomes));
        }
        if self.settled.receiver_count() > 0 {
            let live_len = work.live_len.unwrap_or(work.ended.len());
            for (entry, _) in work.ended.into_iter().take(live_len) {
                let _ = self.settled.send(Arc::new(entry));
            }
        }
        if self.cells.len() > CELLS_CACHED_MAX {
            self.cells.clear();
        }
    }

    fn failed(&mut self, error: &CommitError) {
        let work = std::mem::take(&mut self.work);
        let deferred = std::mem::take(&mut self.deferred).into_iter().map(|reserve| reserve.reply);
        let waiting = self.waiting.dissolve();
        for reply in work.replies.into_iter().map(|(reply, _)| reply).chain(deferred).chain(waiting) {
            let _ = reply.send(Err(LedgerError::Unwritable { detail: Arc::clone(&error.detail) }));
        }
        let taken_in = work.taken_in.into_iter().map(|(reply, _)| reply);
        for reply in work.past.into_iter().map(|past| past.reply).chain(taken_in) {
            let _ = reply.send(Err(LedgerError::Unwritable { detail: Arc::clone(&error.detail) }));
        }
        let adjusted = work.adjusted.into_iter().map(|(adjust, _)| adjust);
        for adjust in work.to_adjust.into_iter().chain(adjusted) {
            // Whoever adjusts may do so again: what was booked all the same makes no difference twice.
            let _ = adjust.reply.send(Err(LedgerError::Unwritable { detail: Arc::clone(&error.detail) }));
        }
        // Who was told that a call has begun may go on with it.
        if self.acknowledge == Acknowledge::Durable {
            self.disowned.extend(work.begun);
        }
        self.backlog.extend(work.ended.into_iter().map(|(entry, _)| entry));
    }

    fn refuse(&mut self, batch: &mut Vec<Command>, error: &CommitError) {
        for command in batch.drain(..) {
            match command {
                // What was paid for is booked later, whatever the caller has to be told now.
                Command::Settle(settle) => self.settle(*settle),
                Command::TakeIn(past) => self.work.past.push(*past),
                Command::Adjust(adjust) => self.work.to_adjust.push(*adjust),
                Command::Reserve(reserve) => self.work.replies.push((reserve.reply, Granted::default())),
                Command::Track { reply, .. } => self.work.replies.push((reply, Granted::default())),
                // Nobody waits any more, or what is held is given back with the call's end.
                Command::EndWait { .. } | Command::Stand { .. } => {}
            }
        }
        self.failed(error);
    }

    fn reload(&mut self, database: &Database) -> Result<(), redb::Error> {
        // Everything that can fail comes first: what is kept in memory for the file must not be lost on the way.
        let reading = database.begin_read()?;
        let names = read_names(&reading.open_table(NAMES)?)?;
        self.names.load(names);
        let chains = Chains::load(&reading.open_table(CHAINS)?)?;
        let mut stored = HashMap::new();
        for row in reading.open_table(PENDING)?.iter()? {
            let (id, value) = row?;
            stored.insert(RequestId::from_number(id.value()), decode_entry(id.value(), value.value(), &self.names)?);
        }
        // A commit that failed may have reached the disk all the same: what it booked is not booked again.
        let entries = reading.open_table(ENTRIES)?;
        let mut booked = HashSet::new();
        for entry in &self.backlog {
            if entries.get(entry.facts.id.number())?.is_some() {
                booked.insert(entry.facts.id);
            }
        }
        let mut pending = stored;
        let mut touched = HashSet::new();
        if self.acknowledge == Acknowledge::Queued && !self.is_first_load {
            // These calls run on promises that the disk may not have seen, so memory is right about them.
            touched.extend(pending.keys().chain(self.pending.keys()));
            pending.extend(self.pending.iter().map(|(id, entry)| (*id, entry.clone())));
        }
        let mut balances = rows::read_balances(&reading, &self.zone, &pending)?;
        for entry in pending.values() {
            balances.hold(entry, &windows_of(entry.time(), &self.zone));
        }

        self.backlog.retain(|entry| !booked.contains(&entry.facts.id));
        if std::mem::take(&mut self.is_first_load) {
            self.backlog = pending.values().map(orphan).collect();
            if !pending.is_empty() {
                let held: Picodollars = pending.values().map(|entry| entry.reserved).sum();
                tracing::warn!(
                    "{} calls were running when the process before ended: booked as unknown, {held} USD",
                    pending.len()
                );
            }
        }
        let known: HashSet<RequestId> = self.backlog.iter().map(|entry| entry.facts.id).collect();
        let disowned = std::mem::take(&mut self.disowned);
        let disowned = disowned.iter().filter(|id| !known.contains(id)).filter_map(|id| pending.get(id));
        self.backlog.extend(disowned.map(never_sent));
        self.pending = pending;
        self.balances = balances;
        self.cells.clear();
        self.chains = chains;
        self.work = Work { touched, ..Work::default() };
        Ok(())
    }

    fn is_awaited(&self) -> bool {
        // A reservation that waits for its sums gets them with the write.
        let Work { replies, past, taken_in, to_adjust, .. } = &self.work;
        let is_asked = !(past.is_empty() && taken_in.is_empty() && to_adjust.is_empty());
        is_asked || !(replies.is_empty() && self.deferred.is_empty())
    }

    fn has_more(&self) -> bool {
        !(self.backlog.is_empty() && self.deferred.is_empty() && self.work.touched.is_empty())
    }
}
