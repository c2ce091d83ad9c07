//! The writer's side of calls of the past: each is booked unless its id is there.

use std::collections::HashSet;

use redb::WriteTransaction;

use crate::domain::RequestId;

use super::super::adjustments::{self, Adjusted};
use super::super::past::{TakeIn, TakenIn};
use super::super::record::Entry;
use super::super::tables::ENTRIES;
use super::LedgerJournal;

/// Whether a call is in the ledger as another book has it: as it cost then or costs since, for the same key.
fn is_same(there: &Adjusted, entry: &Entry) -> bool {
    let cost = entry.cost();
    there.entry.facts.key == entry.facts.key && (there.entry.cost() == cost || there.cost() == cost)
}

impl LedgerJournal {
    /// Books what isn't booked yet; comes before [`LedgerJournal::write_ended`], which writes it.
    pub(super) fn write_past(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        if self.work.past.is_empty() {
            return Ok(());
        }
        let entries = transaction.open_table(ENTRIES)?;
        let mut booked: HashSet<RequestId> = self.work.ended.iter().map(|(entry, _)| entry.facts.id).collect();
        self.work.live_len = Some(self.work.ended.len());
        let mut told = Vec::new();
        for TakeIn { entries: past, reply } in std::mem::take(&mut self.work.past) {
            let mut taken = TakenIn::default();
            for mut entry in past {
                let id = entry.facts.id;
                let there = adjustments::find(&entries, &self.names, id)?;
                if !booked.insert(id) || self.pending.contains_key(&id) || there.is_some() {
                    taken.known += 1;
                    taken.differing += u64::from(there.is_some_and(|there| !is_same(&there, &entry)));
                    continue;
                }
                self.tame(&mut entry);
                self.book(entry);
                taken.booked += 1;
            }
            told.push((reply, taken));
        }
        self.work.taken_in = told;
        Ok(())
    }
}
