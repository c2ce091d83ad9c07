//! The rows that a batch of the writer becomes, and the sums that a start reads.

use std::collections::{HashMap, HashSet};

use jiff::tz::TimeZone;
use redb::{ReadTransaction, ReadableTable as _, Table, WriteTransaction};

use crate::domain::{Picodollars, RequestId, Window, WindowId};

use super::super::adjustments::{self, Adjust, Outcomes};
use super::super::balances::{Balances, Standing};
use super::super::cells::{Cell, CellKey, contribute};
use super::super::chain::CHAINS;
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
        let chains = transaction.open_table(CHAINS)?;
        let ended = std::mem::take(&mut self.work.ended);
        let mut write = |(entry, windows)| self.write_entry(entry, windows, &mut entries, &chains, &mut changed);
        let written = ended.iter().try_for_each(|(entry, windows)| write((entry, windows)));
        // What a failure leaves is booked later.
        self.work.ended = ended;
        written?;
        let mut to_adjust = std::mem::take(&mut self.work.to_adjust).into_iter();
        while let Some(adjust) = to_adjust.next() {
            match self.write_adjustments(transaction, &adjust, &mut entries, &chains, &mut changed) {
                Ok(outcomes) => self.work.adjusted.push((adjust, outcomes)),
                Err(error) => {
                    self.work.to_adjust.push(adjust);
                    self.work.to_adjust.extend(to_adjust);
                    return Err(error);
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
        Ok(())
    }

    fn write_adjustments(
        &mut self,
        transaction: &WriteTransaction,
        adjust: &Adjust,
        entries: &mut Table<'_, u128, &'static [u8]>,
        chains: &Table<'_, u32, &'static [u8]>,
        changed: &mut HashMap<CellKey, Cell>,
    ) -> Result<Outcomes, redb::Error> {
        let mut outcomes = Vec::with_capacity(adjust.calls.len());
        for call in &adjust.calls {
            let outcome = adjustments::work_out(transaction, entries, &self.names, &adjust.cause, call)?;
            if let Ok(Some(entry)) = &outcome {
                let windows = self.windows(entry);
                self.balances.book(entry, &windows);
                self.write_entry(entry, &[windows[0], windows[1], windows[3]], entries, chains, changed)?;
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// Puts an entry in its place and in the chain of its day, and adds what it changes to the cells of its windows.
    fn write_entry(
        &mut self,
        entry: &Entry,
        windows: &[WindowId; 3],
        entries: &mut Table<'_, u128, &'static [u8]>,
        chains: &Table<'_, u32, &'static [u8]>,
        changed: &mut HashMap<CellKey, Cell>,
    ) -> Result<(), redb::Error> {
        let names = encode_entry(entry, &self.names, &mut self.buffer);
        self.chains.seal(entry.facts.id, &mut self.buffer, chains)?;
        if entries.insert(entry.facts.id.number(), self.buffer.as_slice())?.is_some() {
            // The batch fails, and what was booked before is left out when it is tried again.
            return Err(redb::Error::Corrupted(format!("{} is in the ledger already", entry.facts.id)));
        }
        contribute(changed, entry, &names, windows);
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
            let chains = transaction.open_table(CHAINS)?;
            for (number, name) in &new {
                table.insert(number, &**name)?;
                self.chains.add_name(*number, name, &chains)?;
            }
        }
        Ok(())
    }

    pub(super) fn write_chains(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        if self.chains.have_moved() {
            self.chains.write(&mut transaction.open_table(CHAINS)?)?;
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
