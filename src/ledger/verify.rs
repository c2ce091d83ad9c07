//! Proving the sums: everything taken anew from the entries and compared.

use std::collections::HashMap;

use jiff::tz::TimeZone;
use redb::{ReadableTable, WriteTransaction};

use crate::domain::{EntryStatus, Picodollars, RequestId, Window, WindowId};

use super::cells::{Cell, CellKey};
use super::names::Names;
use super::record::Scope;
use super::sums::{add_to_cells, entries_between};
use super::tables::{
    BALANCES, CELLS, ENTRIES, NAMES, StoredBalance, balance_key, decode_balance, decode_cell, encode_balance,
    encode_cell, read_names,
};
use super::{Ledger, LedgerError};

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
    /// Replays every entry and compares all balances and rollups. Blocking, and holds one read transaction throughout.
    pub fn verify(&self) -> Result<VerifyReport, LedgerError> {
        let reading = self.read()?;
        Ok(verify(&reading, &self.names, &self.zone)?)
    }
}

fn verify(reading: &redb::ReadTransaction, names: &Names, zone: &TimeZone) -> Result<VerifyReport, redb::Error> {
    let mut report = VerifyReport::default();
    let mut cells: HashMap<CellKey, Cell> = HashMap::new();
    let mut balances: HashMap<(Scope, WindowId), (StoredBalance, StoredBalance)> = HashMap::new();
    for row in reading.open_table(BALANCES)?.iter()? {
        let (key, value) = row?;
        let (scope, kind, number) = key.value();
        let Some(&window) = Window::ALL.get(usize::from(kind)) else { continue };
        let key = (Scope::stored(scope), WindowId { window, number });
        balances.insert(key, (decode_balance(value.value())?, StoredBalance::default()));
    }
    let entries = reading.open_table(ENTRIES)?;
    for entry in entries_between(&entries, names, RequestId::from_number(0), None)? {
        let entry = entry?;
        report.entries += 1;
        report.unknown += u64::from(entry.status == EntryStatus::Unknown);
        report.total += entry.cost();
        add_to_cells(&mut cells, &entry, names, zone);
        let windows = Window::ALL.map(|window| window.at(entry.time(), zone));
        for (scope, cost) in entry.postings() {
            for window in windows {
                if let Some((_, computed)) = balances.get_mut(&(scope.clone(), window)) {
                    computed.spent += cost;
                    if entry.status == EntryStatus::Unknown {
                        computed.unknown += cost;
                    }
                }
            }
        }
    }
    report.running = reading.open_table(super::tables::PENDING)?.iter()?.count() as u64;
    for ((scope, window), (stored, computed)) in balances {
        report.balances += 1;
        if stored != computed {
            report.differences.push(Difference {
                what: format!("balance of {} in {} {}", scope.as_str(), window.window, window.number),
                stored: stored.spent,
                computed: computed.spent,
            });
        }
    }
    for row in reading.open_table(CELLS)?.iter()? {
        let (key, value) = row?;
        report.cells += 1;
        let stored = decode_cell(value.value())?;
        let key = CellKey::from_bytes(key.value());
        let computed = key.and_then(|key| cells.remove(&key)).unwrap_or_default();
        if stored != computed {
            report.differences.push(cell_difference(key, &stored, &computed));
        }
    }
    for (key, computed) in cells {
        report.differences.push(cell_difference(Some(key), &Cell::default(), &computed));
    }
    Ok(report)
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
    let mut cells: HashMap<CellKey, Cell> = HashMap::new();
    let mut sums: HashMap<(Scope, WindowId), StoredBalance> = HashMap::new();
    let scopes: Vec<(Scope, Window)> = {
        let mut scopes = Vec::new();
        for row in transaction.open_table(BALANCES)?.iter()? {
            let (key, _) = row?;
            let (scope, kind, _) = key.value();
            let Some(&window) = Window::ALL.get(usize::from(kind)) else { continue };
            scopes.push((Scope::stored(scope), window));
        }
        scopes.sort();
        scopes.dedup();
        scopes
    };
    {
        let entries = transaction.open_table(ENTRIES)?;
        for entry in entries_between(&entries, &names, RequestId::from_number(0), None)? {
            let entry = entry?;
            add_to_cells(&mut cells, &entry, &names, zone);
            for (scope, window) in &scopes {
                let key = (scope.clone(), window.at(entry.time(), zone));
                super::sums::add(sums.entry(key).or_default(), &entry, scope);
            }
        }
    }
    transaction.delete_table(CELLS)?;
    let mut table = transaction.open_table(CELLS)?;
    for (key, cell) in cells {
        table.insert(key.to_bytes(), encode_cell(&cell).as_slice())?;
    }
    transaction.delete_table(BALANCES)?;
    let mut table = transaction.open_table(BALANCES)?;
    for ((scope, window), sum) in sums {
        table.insert(balance_key(&scope, window), encode_balance(sum).as_slice())?;
    }
    Ok(())
}
