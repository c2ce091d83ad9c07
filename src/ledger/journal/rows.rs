//! The rows that a batch of the writer becomes, and the sums that a start reads.

use std::collections::{HashMap, HashSet};

use jiff::tz::TimeZone;
use redb::{ReadTransaction, ReadableTable as _, WriteTransaction};

use crate::domain::{Picodollars, RequestId, Window, WindowId};

use super::super::balances::{Balances, Standing};
use super::super::cells::{Cell, CellKey, contribute};
use super::super::record::{Balance, Entry, Scope};
use super::super::sums;
use super::super::tables::{
    BALANCES, CELLS, ENTRIES, NAMES, PENDING, StoredBalance, balance_key, decode_balance, decode_cell, encode_balance,
    encode_cell, encode_entry,
};
use super::{LedgerJournal, windows_of};

impl LedgerJournal {
    pub(super) fn write_pending(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut pending = transaction.open_table(PENDING)?;
        for id in &self.work.touched {
            if let Some(entry) = self.pending.get(id) {
                encode_entry(entry, &self.names, &mut self.buffer);
                pending.insert(id.number(), self.buffer.as_slice())?;
            } else {
                pending.remove(id.number())?;
            }
        }
        Ok(())
    }

    pub(super) fn write_ended(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut changed: HashMap<CellKey, Cell> = HashMap::new();
        let mut entries = transaction.open_table(ENTRIES)?;
        for (entry, windows) in &self.work.ended {
            let names = encode_entry(entry, &self.names, &mut self.buffer);
            let number = entry.facts.id.number();
            if entries.insert(number, self.buffer.as_slice())?.is_some() {
                // The batch fails, and what was booked before is left out when it is tried again.
                return Err(redb::Error::Corrupted(format!("{} is in the ledger already", entry.facts.id)));
            }
            contribute(&mut changed, entry, &names, windows);
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
        Ok(())
    }

    pub(super) fn write_balances(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut table = transaction.open_table(BALANCES)?;
        for (scope, window, change) in self.balances.late() {
            let key = balance_key(scope, window);
            let stored = table.get(key)?.map(|value| decode_balance(value.value())).transpose()?;
            let mut sum = stored.unwrap_or_default();
            sum.spent += change.spent;
            sum.unknown += change.unknown;
            table.insert(key, encode_balance(sum).as_slice())?;
        }
        for (scope, window, sum) in self.balances.changed() {
            table.insert(balance_key(scope, window), encode_balance(sum).as_slice())?;
        }
        for (scope, window) in std::mem::take(&mut self.work.tracked) {
            let sums = match self.balances.standing(&scope, window) {
                Standing::Known(_) => continue,
                Standing::InFile => {
                    let stored = table.get(balance_key(&scope, window))?;
                    let stored = stored.map(|value| decode_balance(value.value())).transpose()?.unwrap_or_default();
                    vec![(window.number, stored)]
                }
                Standing::Untracked => {
                    // Booked before the budget was there: taken from the entries themselves, this batch's included.
                    let entries = transaction.open_table(ENTRIES)?;
                    let until = self.balances.first(&scope, window.window);
                    let mut sums = sums::of_scope(&entries, &self.names, &self.zone, &scope, window, until)?;
                    sums.entry(window.number).or_default();
                    // A later window in which calls only run so far must not look as if it had not begun.
                    for entry in self.pending.values().filter(|entry| entry.cost_in(&scope).is_some()) {
                        let its = window.window.at(entry.time(), &self.zone);
                        if its > window && until.is_none_or(|until| its < until) {
                            sums.entry(its.number).or_default();
                        }
                    }
                    for (&number, sum) in &sums {
                        let key = WindowId { window: window.window, number };
                        table.insert(balance_key(&scope, key), encode_balance(*sum).as_slice())?;
                    }
                    sums.into_iter().collect()
                }
            };
            for (number, StoredBalance { spent, unknown }) in sums {
                let window = WindowId { window: window.window, number };
                let running =
                    self.pending.values().filter(|entry| window.window.at(entry.time(), &self.zone) == window);
                let held = running.filter_map(|entry| entry.cost_in(&scope)).sum();
                self.balances.adopt(&scope, window, Balance { spent, unknown, held });
            }
        }
        Ok(())
    }

    pub(super) fn write_names(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let new = self.names.unstored();
        if let Some((last, _)) = new.last() {
            self.work.names_until = *last;
            let mut table = transaction.open_table(NAMES)?;
            for (number, name) in &new {
                table.insert(number, &**name)?;
            }
        }
        Ok(())
    }
}

/// Reads the sums that matter now: the newest ones, and those that calls run in. Nothing is held in them yet.
pub(super) fn read_balances(
    reading: &ReadTransaction,
    zone: &TimeZone,
    pending: &HashMap<RequestId, Entry>,
) -> Result<Balances, redb::Error> {
    let mut balances = Balances::default();
    let table = reading.open_table(BALANCES)?;
    for row in table.iter()? {
        let (key, value) = row?;
        let (scope, kind, number) = key.value();
        let Some(&window) = Window::ALL.get(usize::from(kind)) else {
            return Err(redb::Error::Corrupted("a balance has an unknown window".to_owned()));
        };
        let StoredBalance { spent, unknown } = decode_balance(value.value())?;
        let balance = Balance { spent, unknown, held: Picodollars::ZERO };
        balances.adopt(&Scope::stored(scope), WindowId { window, number }, balance);
    }
    balances.forget_old();
    let mut missing = HashSet::new();
    for entry in pending.values() {
        balances.missing(entry, &windows_of(entry.time(), zone), &mut missing);
    }
    for (scope, window) in missing {
        let stored = table.get(balance_key(&scope, window))?;
        let stored = stored.map(|value| decode_balance(value.value())).transpose()?.unwrap_or_default();
        let StoredBalance { spent, unknown } = stored;
        balances.adopt(&scope, window, Balance { spent, unknown, held: Picodollars::ZERO });
    }
    Ok(balances)
}
