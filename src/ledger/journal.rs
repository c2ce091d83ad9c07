//! The writer's side of the ledger: the only place where money is held, booked and given back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use redb::{Database, ReadableDatabase as _, ReadableTable, WriteTransaction};
use tokio::sync::{broadcast, oneshot};

use crate::domain::{CostBasis, EntryStatus, Picodollars, RequestId, Window, WindowId};
use crate::store::{CommitError, Journal};

use super::cells::{Cell, CellKey, contributions};
use super::names::Names;
use super::record::{Acknowledge, Attempt, Balance, CallFacts, Charge, Entry, Outcome, Scope};
use super::tables::{
    BALANCES, BY_KEY, CELLS, ENTRIES, NAMES, PENDING, StoredBalance, balance_key, decode_balance, decode_cell,
    decode_entry, encode_balance, encode_cell, encode_entry, read_names,
};
use super::{LedgerError, sums};

/// Cells kept in memory between batches; beyond, they are read again when needed.
const CELLS_CACHED_MAX: usize = 50_000;

/// What callers ask the writer for.
pub(super) enum Command {
    /// Holds money back for an attempt, under every charge at once, or refuses.
    Reserve(Box<Reserve>),
    /// Books a call.
    Settle(Box<Settle>),
    /// Begins to keep the sum of a scope in the window of an instant, for a budget.
    Track { scope: Scope, window: WindowId, reply: oneshot::Sender<Result<(), LedgerError>> },
}

/// A reservation to make: the first of a call, or the next one after an attempt that failed.
pub(super) struct Reserve {
    /// Set for the first attempt.
    pub(super) facts: Option<CallFacts>,
    pub(super) id: RequestId,
    /// The attempt before, with what it cost.
    pub(super) ended: Option<Attempt>,
    /// Where the next attempt goes; its cost is what is held.
    pub(super) next: Attempt,
    pub(super) charges: Vec<Charge>,
    pub(super) reply: oneshot::Sender<Result<(), LedgerError>>,
}

/// A call's end.
pub(super) struct Settle {
    /// Set where there was no reservation: a refusal, a cache hit.
    pub(super) facts: Option<CallFacts>,
    pub(super) id: RequestId,
    pub(super) outcome: Outcome,
    pub(super) reply: Option<oneshot::Sender<Result<(), LedgerError>>>,
}

type SumKey = (Scope, WindowId);

pub(super) struct LedgerJournal {
    names: Names,
    zone: TimeZone,
    acknowledge: Acknowledge,
    settled: broadcast::Sender<Arc<Entry>>,
    /// Calls that run, with the attempt in flight as the last of `attempts`.
    pending: HashMap<RequestId, Entry>,
    /// Sums that budgets are held against; only what is here is kept up to date in the file.
    sums: HashMap<SumKey, Balance>,
    cells: HashMap<CellKey, Cell>,
    /// True until the file's first load: what is pending then has lost its process.
    first_load: bool,
    /// Settlements whose write failed; they go first when the file can be written again.
    backlog: Vec<Settle>,
    /// Calls that were told that they can't begin, although the failed write may have reached the disk.
    disowned: Vec<RequestId>,
    work: Work,
    window_memo: Option<WindowMemo>,
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
    dirty_sums: HashSet<SumKey>,
    tracked: Vec<SumKey>,
    replies: Vec<oneshot::Sender<Result<(), LedgerError>>>,
    settles: Vec<Settle>,
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
            sums: HashMap::new(),
            cells: HashMap::new(),
            first_load: true,
            backlog: Vec::new(),
            disowned: Vec::new(),
            work: Work::default(),
            window_memo: None,
        }
    }

    /// The windows that an instant lies in; calls come in order, so the last answer nearly always serves again.
    fn windows(&mut self, instant: Timestamp) -> [WindowId; 5] {
        if let Some(memo) = &self.window_memo
            && memo.from <= instant
            && instant < memo.until
        {
            return memo.windows;
        }
        let windows = Window::ALL.map(|window| window.at(instant, &self.zone));
        let hour = windows[0];
        if let (Some(from), Some(until)) = (hour.start(&self.zone), hour.end(&self.zone)) {
            self.window_memo = Some(WindowMemo { from, until, windows });
        }
        windows
    }

    fn decide_one(&mut self, command: Command) {
        match command {
            Command::Reserve(reserve) => self.reserve(*reserve),
            Command::Settle(settle) => self.settle(*settle),
            Command::Track { scope, window, reply } => {
                let key = (scope, window);
                if !self.sums.contains_key(&key) {
                    self.work.tracked.push(key);
                }
                self.work.replies.push(reply);
            }
        }
    }

    fn reserve(&mut self, reserve: Reserve) {
        let Reserve { facts, id, ended, next, charges, reply } = reserve;
        let begins = facts.is_some();
        let before = if begins { None } else { self.take_pending(id) };
        let Some(mut entry) = before.clone().or_else(|| facts.map(begin)) else {
            let _ = reply.send(Err(LedgerError::NoSuchCall { id }));
            return;
        };
        if let Some(ended) = ended {
            entry.attempts.pop();
            entry.attempts.push(ended);
        }
        entry.attempts.push(next);
        // Attempts that ended stay held until the call is booked as a whole.
        entry.reserved = entry.cost();
        if let Some(refusal) = self.refusal(&entry, &charges) {
            // What the attempt before cost is handed in again when the call is settled.
            if let Some(before) = before {
                self.hold(&before, before.reserved);
                self.pending.insert(id, before);
            }
            let _ = reply.send(Err(refusal));
            return;
        }
        self.hold(&entry, entry.reserved);
        self.pending.insert(id, entry);
        self.work.touched.insert(id);
        if begins {
            self.work.begun.push(id);
        }
        self.acknowledge(reply);
    }

    /// The first charge that the call doesn't fit under.
    fn refusal(&mut self, entry: &Entry, charges: &[Charge]) -> Option<LedgerError> {
        for charge in charges {
            let key = (charge.scope.clone(), charge.window);
            // A window nobody has spent in begins at nothing; one that began before its budget is tracked beforehand.
            let balance = *self.sums.entry(key).or_default();
            let asked: Picodollars =
                entry.postings().into_iter().filter(|(scope, _)| *scope == charge.scope).map(|(_, cost)| cost).sum();
            let free = charge.limit.saturating_sub(balance.spent).saturating_sub(balance.held);
            if asked > free {
                let (budget, window, limit) = (charge.budget, charge.window, charge.limit);
                return Some(LedgerError::OverBudget { budget, window, limit, balance, asked });
            }
        }
        None
    }

    fn acknowledge(&mut self, reply: oneshot::Sender<Result<(), LedgerError>>) {
        match self.acknowledge {
            Acknowledge::Durable => self.work.replies.push(reply),
            Acknowledge::Queued => drop(reply.send(Ok(()))),
        }
    }

    /// Takes a running call out, and gives back what it holds.
    fn take_pending(&mut self, id: RequestId) -> Option<Entry> {
        let entry = self.pending.remove(&id)?;
        self.work.touched.insert(id);
        self.hold(&entry, -entry.reserved);
        Some(entry)
    }

    /// Adds to what is held in every sum that the entry touches.
    fn hold(&mut self, entry: &Entry, amount: Picodollars) {
        let sign = amount.is_negative();
        let windows = self.windows(entry.time());
        for (scope, cost) in entry.postings() {
            for window in windows {
                if let Some(balance) = self.sums.get_mut(&(scope.clone(), window)) {
                    balance.held = if sign { balance.held - cost } else { balance.held + cost };
                }
            }
        }
    }

    fn settle(&mut self, mut settle: Settle) {
        let known = match settle.facts.clone() {
            Some(facts) => Some(begin(facts)),
            None => self.take_pending(settle.id),
        };
        let Some(mut entry) = known else {
            if let Some(reply) = settle.reply.take() {
                let _ = reply.send(Err(LedgerError::NoSuchCall { id: settle.id }));
            }
            return;
        };
        let outcome = settle.outcome.clone();
        if let Some(last) = outcome.last {
            if settle.facts.is_none() {
                entry.attempts.pop();
            }
            entry.attempts.push(last);
        }
        entry.status = outcome.status;
        entry.error = outcome.error;
        entry.http_status = outcome.http_status;
        entry.latency_ms = outcome.latency_ms;
        entry.time_to_first_token_ms = outcome.time_to_first_token_ms;
        entry.saved = outcome.saved;
        entry.reserved = Picodollars::ZERO;
        self.book(entry);
        if self.acknowledge == Acknowledge::Queued
            && let Some(reply) = settle.reply.take()
        {
            let _ = reply.send(Ok(()));
        }
        self.work.settles.push(settle);
    }

    /// Adds an ended entry to every sum and cell that it touches.
    fn book(&mut self, entry: Entry) {
        let windows = self.windows(entry.time());
        for (scope, cost) in entry.postings() {
            for window in windows {
                let key = (scope.clone(), window);
                if let Some(balance) = self.sums.get_mut(&key) {
                    balance.spent += cost;
                    if entry.status == EntryStatus::Unknown {
                        balance.unknown += cost;
                    }
                    self.work.dirty_sums.insert(key);
                }
            }
        }
        self.work.ended.push((entry, [windows[0], windows[1], windows[3]]));
    }

    /// The end that a call gets whose process died: charged at what was held for it.
    fn orphan(entry: &Entry) -> Settle {
        let mut last = entry.attempts.last().cloned();
        if let Some(attempt) = &mut last {
            attempt.basis = CostBasis::Reserved;
            attempt.error = Some("crashed".into());
        }
        let outcome = Outcome {
            status: EntryStatus::Unknown,
            error: Some("crashed".into()),
            http_status: 0,
            last,
            latency_ms: 0,
            time_to_first_token_ms: None,
            saved: Picodollars::ZERO,
        };
        Settle { facts: None, id: entry.facts.id, outcome, reply: None }
    }

    /// The end that a call gets whose caller was told that it can't begin.
    fn never_sent(entry: &Entry) -> Settle {
        let mut settle = Self::orphan(entry);
        settle.outcome.status = EntryStatus::Failed;
        settle.outcome.error = Some("ledger_unavailable".into());
        if let Some(attempt) = &mut settle.outcome.last {
            attempt.cost = Picodollars::ZERO;
            attempt.basis = CostBasis::Exact;
            attempt.error = Some("ledger_unavailable".into());
        }
        settle
    }
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
    }
}

impl Journal for LedgerJournal {
    type Command = Command;

    fn decide(&mut self, batch: &mut Vec<Command>) -> bool {
        for settle in std::mem::take(&mut self.backlog) {
            self.settle(settle);
        }
        for command in batch.drain(..) {
            self.decide_one(command);
        }
        let Work { touched, ended, tracked, replies, .. } = &self.work;
        !(touched.is_empty() && ended.is_empty() && tracked.is_empty() && replies.is_empty())
    }

    fn write(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let work = &mut self.work;
        {
            let mut pending = transaction.open_table(PENDING)?;
            for id in &work.touched {
                match self.pending.get(id) {
                    Some(entry) => {
                        let (bytes, _) = encode_entry(entry, &self.names);
                        pending.insert(id.number(), bytes.as_slice())?;
                    }
                    None => drop(pending.remove(id.number())?),
                }
            }
        }
        let mut changed: HashMap<CellKey, Cell> = HashMap::new();
        {
            let mut entries = transaction.open_table(ENTRIES)?;
            let mut by_key = transaction.open_table(BY_KEY)?;
            for (entry, windows) in &work.ended {
                let (bytes, names) = encode_entry(entry, &self.names);
                let number = entry.facts.id.number();
                entries.insert(number, bytes.as_slice())?;
                by_key.insert((names.key, number), ())?;
                for (key, cell) in contributions(entry, &names, windows) {
                    changed.entry(key).or_default().add(&cell);
                }
            }
        }
        let mut cells = transaction.open_table(CELLS)?;
        for (key, change) in changed {
            let cell = match self.cells.entry(key) {
                std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::hash_map::Entry::Vacant(place) => {
                    let stored = cells.get(key.to_bytes())?.map(|bytes| decode_cell(bytes.value())).transpose()?;
                    place.insert(stored.unwrap_or_default())
                }
            };
            cell.add(&change);
            cells.insert(key.to_bytes(), encode_cell(cell).as_slice())?;
        }
        let mut balances = transaction.open_table(BALANCES)?;
        for (scope, window) in std::mem::take(&mut work.tracked) {
            // Booked before the budget was there: taken from the entries themselves, this batch's included.
            let entries = transaction.open_table(ENTRIES)?;
            let spent = sums::of_scope(&entries, &self.names, &self.zone, &scope, window)?;
            let mut balance = Balance { spent: spent.spent, unknown: spent.unknown, held: Picodollars::ZERO };
            for entry in self.pending.values().filter(|entry| window.window.at(entry.time(), &self.zone) == window) {
                let postings = entry.postings().into_iter().filter(|(posted, _)| *posted == scope);
                balance.held += postings.map(|(_, cost)| cost).sum();
            }
            self.sums.insert((scope.clone(), window), balance);
            work.dirty_sums.insert((scope, window));
        }
        for key in &work.dirty_sums {
            let Some(balance) = self.sums.get(key) else { continue };
            let stored = StoredBalance { spent: balance.spent, unknown: balance.unknown };
            balances.insert(balance_key(&key.0, key.1), encode_balance(stored).as_slice())?;
        }
        let new_names = self.names.unstored();
        if !new_names.is_empty() {
            let mut table = transaction.open_table(NAMES)?;
            for (number, name) in &new_names {
                table.insert(number, &**name)?;
            }
        }
        Ok(())
    }

    fn committed(&mut self) {
        if let Some((last, _)) = self.names.unstored().last() {
            self.names.mark_stored(*last);
        }
        let work = std::mem::take(&mut self.work);
        for reply in work.replies {
            let _ = reply.send(Ok(()));
        }
        for mut settle in work.settles {
            if let Some(reply) = settle.reply.take() {
                let _ = reply.send(Ok(()));
            }
        }
        if self.settled.receiver_count() > 0 {
            for (entry, _) in work.ended {
                let _ = self.settled.send(Arc::new(entry));
            }
        }
        if self.cells.len() > CELLS_CACHED_MAX {
            self.cells.clear();
        }
    }

    fn failed(&mut self, error: &CommitError) {
        let work = std::mem::take(&mut self.work);
        let told = || LedgerError::Unwritable { detail: Arc::clone(&error.detail) };
        for reply in work.replies {
            let _ = reply.send(Err(told()));
        }
        if self.acknowledge == Acknowledge::Durable {
            self.disowned.extend(work.begun);
        }
        for mut settle in work.settles {
            if let Some(reply) = settle.reply.take() {
                let _ = reply.send(Err(told()));
            }
            self.backlog.push(settle);
        }
    }

    fn reload(&mut self, database: &Database) -> Result<(), redb::Error> {
        let reading = database.begin_read()?;
        self.names.load(read_names(&reading.open_table(NAMES)?)?);
        self.cells.clear();
        self.sums.clear();
        for row in reading.open_table(BALANCES)?.iter()? {
            let (key, value) = row?;
            let (scope, kind, number) = key.value();
            let Some(&window) = Window::ALL.get(usize::from(kind)) else { continue };
            let stored = decode_balance(value.value())?;
            let balance = Balance { spent: stored.spent, unknown: stored.unknown, held: Picodollars::ZERO };
            self.sums.insert((Scope::stored(scope), WindowId { window, number }), balance);
        }
        let mut stored = HashMap::new();
        for row in reading.open_table(PENDING)?.iter()? {
            let (id, value) = row?;
            stored.insert(RequestId::from_number(id.value()), decode_entry(id.value(), value.value(), &self.names)?);
        }
        let entries = reading.open_table(ENTRIES)?;
        let live = std::mem::replace(&mut self.pending, stored);
        if self.first_load {
            self.first_load = false;
            self.backlog = self.pending.values().map(Self::orphan).collect();
        } else {
            if self.acknowledge == Acknowledge::Queued {
                // These calls run on a promise that the disk has not seen.
                for (id, entry) in live {
                    if !self.pending.contains_key(&id) && entries.get(id.number())?.is_none() {
                        self.pending.insert(id, entry);
                        self.work.touched.insert(id);
                    }
                }
            }
            // A commit that failed may have reached the disk all the same: what it booked is not booked again.
            for settle in std::mem::take(&mut self.backlog) {
                let running = settle.facts.is_some() || self.pending.contains_key(&settle.id);
                if running && entries.get(settle.id.number())?.is_none() {
                    self.backlog.push(settle);
                }
            }
            for id in std::mem::take(&mut self.disowned) {
                self.backlog.extend(self.pending.get(&id).map(Self::never_sent));
            }
        }
        let running: Vec<Entry> = self.pending.values().cloned().collect();
        for entry in &running {
            self.hold(entry, entry.reserved);
        }
        Ok(())
    }
}
