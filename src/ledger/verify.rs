//! Proving the ledger: that its entries are those that were booked, and that every sum is what they come to.

use std::collections::{BTreeMap, HashMap};

use jiff::tz::TimeZone;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use crate::domain::{EntryStatus, Picodollars, RequestId, Window, WindowId};

use super::balances::ScopeIndex;
use super::cells::{Cell, CellKey};
use super::chain::{self, ChainCheck, ChainFault, Heads};
use super::names::Names;
use super::record::{Entry, Scope};
use super::sums::{add, add_to_cells, entries_between, first_id};
use super::tables::{
    BALANCES, CELLS, ENTRIES, NAMES, PENDING, StoredBalance, balance_key, decode_balance, decode_cell, decode_entry,
    encode_balance, encode_cell, read_names,
};
use super::{Ledger, LedgerError};

/// Entries between two words of how far a verification is.
const ENTRIES_A_STEP: u64 = 50_000;

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Entries that were read.
    pub entries: u64,
    /// Calls that run, left out of every sum.
    pub running: u64,
    /// Entries whose end was never seen.
    pub unknown: u64,
    /// What all entries come to.
    pub total: Picodollars,
    /// Rollups compared.
    pub cells: u64,
    /// Balances compared.
    pub balances: u64,
    /// Sums that are not what the entries say.
    pub differences: Vec<Difference>,
    /// Where the entries themselves are not what was booked.
    pub chain_faults: Vec<ChainFault>,
    /// The heads of the chains that were looked at.
    pub heads: Heads,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.differences.is_empty() && self.chain_faults.is_empty()
    }
}

/// One sum that is not what the entries say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which sum.
    pub what: String,
    /// What the file has.
    pub stored: Picodollars,
    /// What the entries come to.
    pub computed: Picodollars,
}

impl Ledger {
    /// Replays every entry, folds its day's chain and compares all balances and rollups. Blocking.
    ///
    /// Heads that were kept before have to be those of the first so many entries of their days. One read transaction is
    /// held throughout, because only rows and sums of the same instant can be compared: some seconds a million
    /// entries, in which the file can't reuse pages and grows by what is written meanwhile. Where the file has to be
    /// opened again meanwhile, the verification fails. `progress` is told now and then how many entries have been read.
    pub fn verify(&self, expected: Option<&Heads>, progress: impl FnMut(u64)) -> Result<VerifyReport, LedgerError> {
        Ok(self.compare(None, expected, progress)?)
    }

    /// The same for whole local days, from the one that an id was made in: what a start can afford to look at.
    ///
    /// Compares the hours and days since then, the balances whose window began since, and the chains from the UTC day on
    /// that the first of them began in.
    pub fn verify_since(&self, since: RequestId) -> Result<VerifyReport, LedgerError> {
        Ok(self.compare_since(since)?)
    }

    pub(super) fn compare_since(&self, since: RequestId) -> Result<VerifyReport, redb::Error> {
        let instant = jiff::Timestamp::from_millisecond(since.unix_ms()).unwrap_or_default();
        self.compare(Some(Window::Day.at(instant, &self.zone)), None, |_| {})
    }

    fn compare(
        &self,
        since: Option<WindowId>,
        expected: Option<&Heads>,
        mut progress: impl FnMut(u64),
    ) -> Result<VerifyReport, redb::Error> {
        let reading = self.read()?;
        let mut comparison = Comparison::begin(&reading, &self.zone, since)?;
        let entries = reading.open_table(ENTRIES)?;
        let from = since.map_or(RequestId::from_number(0), |day| first_id(day, &self.zone));
        let chained_from = chain::first_of_its_day(from);
        let mut chains = ChainCheck::begin(&reading, chained_from, expected)?;
        for row in entries.range(chained_from.number()..)? {
            let (id, row) = row?;
            let id = RequestId::from_number(id.value());
            chains.take(id, row.value());
            if id < from {
                continue;
            }
            // What can't be read is told, and shows in the sums as well.
            match decode_entry(id.number(), row.value(), &self.names) {
                Ok(entry) => comparison.take(&entry, &self.names),
                Err(_) => chains.unreadable(id),
            }
            if comparison.report.entries.is_multiple_of(ENTRIES_A_STEP) {
                progress(comparison.report.entries);
            }
        }
        let pending = reading.open_table(PENDING)?;
        for row in pending.iter()? {
            let id = row?.0.value();
            comparison.report.running += 1;
            if entries.get(id)?.is_some() {
                let id = RequestId::from_number(id);
                comparison.differ(format!("{id} runs and has ended"), Picodollars::ZERO, Picodollars::ZERO);
            }
        }
        let (heads, chain_faults) = chains.end(&reading)?;
        Ok(VerifyReport { chain_faults, heads, ..comparison.end(&reading)? })
    }
}

/// What is being compared.
struct Comparison<'a> {
    zone: &'a TimeZone,
    /// The first local day that is looked at.
    since: Option<WindowId>,
    cells: HashMap<CellKey, Cell>,
    index: ScopeIndex,
    /// Per scope and kind of window: its first window that is kept, and what is stored and computed from there on.
    balances: HashMap<(usize, Window), (u32, BTreeMap<u32, Compared>)>,
    report: VerifyReport,
}

#[derive(Default)]
struct Compared {
    stored: StoredBalance,
    computed: StoredBalance,
}

impl<'a> Comparison<'a> {
    fn begin(reading: &ReadTransaction, zone: &'a TimeZone, since: Option<WindowId>) -> Result<Self, redb::Error> {
        let mut this = Self {
            zone,
            since,
            cells: HashMap::new(),
            index: ScopeIndex::default(),
            balances: HashMap::new(),
            report: VerifyReport::default(),
        };
        for row in reading.open_table(BALANCES)?.iter()? {
            let (key, value) = row?;
            let (scope, kind, number) = key.value();
            let stored = decode_balance(value.value())?;
            let Some(&window) = Window::ALL.get(usize::from(kind)) else {
                this.differ(format!("balance of {scope} in an unknown window"), stored.spent, Picodollars::ZERO);
                continue;
            };
            let place = this.index.insert(&Scope::stored(scope));
            let is_compared = this.compares(WindowId { window, number });
            let (_, sums) = this.balances.entry((place, window)).or_insert_with(|| (number, BTreeMap::new()));
            if is_compared {
                sums.insert(number, Compared { stored, computed: StoredBalance::default() });
            }
        }
        Ok(this)
    }

    /// Whether a window lies wholly in what is looked at.
    fn compares(&self, window: WindowId) -> bool {
        let Some(day) = self.since else { return true };
        match window.window {
            Window::Hour => window.number >= day.number * 24,
            Window::Total => false,
            Window::Day | Window::Week | Window::Month => window.number >= day.number,
        }
    }

    fn take(&mut self, entry: &Entry, names: &Names) {
        self.report.entries += 1;
        self.report.unknown += u64::from(entry.status == EntryStatus::Unknown && entry.adjustment.is_none());
        self.report.total += entry.cost();
        add_to_cells(&mut self.cells, entry, names, self.zone);
        let windows = Window::ALL.map(|window| window.at(entry.time(), self.zone));
        let windows = windows.map(|window| (window, self.compares(window)));
        let Self { index, balances, .. } = self;
        index.each(entry, |place, cost| {
            for (WindowId { window, number }, is_compared) in windows {
                // From its first window on, a sum must be there: one that is missing is as wrong as one that differs.
                if let Some((first, sums)) = balances.get_mut(&(place, window))
                    && number >= *first
                    && is_compared
                {
                    add(&mut sums.entry(number).or_default().computed, entry, cost);
                }
            }
        });
    }

    fn differ(&mut self, what: String, stored: Picodollars, computed: Picodollars) {
        self.report.differences.push(Difference { what, stored, computed });
    }

    fn end(mut self, reading: &ReadTransaction) -> Result<VerifyReport, redb::Error> {
        for ((place, window), (_, sums)) in std::mem::take(&mut self.balances) {
            for (number, Compared { stored, computed }) in sums {
                self.report.balances += 1;
                if stored != computed {
                    let scope = self.index.scope(place).as_str();
                    self.differ(format!("balance of {scope} in {window} {number}"), stored.spent, computed.spent);
                }
            }
        }
        let mut cells = std::mem::take(&mut self.cells);
        for row in reading.open_table(CELLS)?.iter()? {
            let (key, value) = row?;
            let key = CellKey::from_bytes(key.value());
            if key.is_some_and(|key| !self.compares(key.window)) {
                continue;
            }
            self.report.cells += 1;
            let stored = decode_cell(value.value())?;
            let computed = key.and_then(|key| cells.remove(&key)).unwrap_or_default();
            if stored != computed {
                self.report.differences.push(cell_difference(key, &stored, &computed));
            }
        }
        for (key, computed) in cells {
            if self.compares(key.window) {
                self.report.differences.push(cell_difference(Some(key), &Cell::default(), &computed));
            }
        }
        Ok(self.report)
    }
}

fn cell_difference(key: Option<CellKey>, stored: &Cell, computed: &Cell) -> Difference {
    let what = key.map_or_else(
        || "a rollup whose key can't be read".to_owned(),
        |key| format!("rollup of {} {} ({key:?})", key.window.window, key.window.number),
    );
    Difference { what, stored: stored.cost, computed: computed.cost }
}

/// Takes all rollups and balances anew from the entries.
pub(super) fn rebuild(transaction: &WriteTransaction, zone: &TimeZone) -> Result<(), redb::Error> {
    let names = Names::default();
    names.load(read_names(&transaction.open_table(NAMES)?)?);
    let mut index = ScopeIndex::default();
    let mut kinds: Vec<Vec<Window>> = Vec::new();
    for row in transaction.open_table(BALANCES)?.iter()? {
        let key = row?.0;
        let (scope, kind, _) = key.value();
        let Some(&window) = Window::ALL.get(usize::from(kind)) else { continue };
        let place = index.insert(&Scope::stored(scope));
        kinds.resize_with(kinds.len().max(place + 1), Vec::new);
        if !kinds[place].contains(&window) {
            kinds[place].push(window);
        }
    }
    let mut cells: HashMap<CellKey, Cell> = HashMap::new();
    let mut sums: HashMap<(usize, WindowId), StoredBalance> = HashMap::new();
    for entry in entries_between(&transaction.open_table(ENTRIES)?, &names, RequestId::from_number(0), None)? {
        let entry = entry?;
        add_to_cells(&mut cells, &entry, &names, zone);
        index.each(&entry, |place, cost| {
            for window in &kinds[place] {
                add(sums.entry((place, window.at(entry.time(), zone))).or_default(), &entry, cost);
            }
        });
    }
    transaction.delete_table(CELLS)?;
    let mut table = transaction.open_table(CELLS)?;
    for (key, cell) in cells {
        table.insert(key.to_bytes(), encode_cell(&cell).as_slice())?;
    }
    transaction.delete_table(BALANCES)?;
    let mut table = transaction.open_table(BALANCES)?;
    for ((place, window), sum) in sums {
        table.insert(balance_key(index.scope(place), window), encode_balance(sum).as_slice())?;
    }
    Ok(())
}
