//! The writer's side of calls of the past: each is booked unless its id is there.

use std::collections::HashSet;

use redb::{ReadableTable as _, WriteTransaction};

use crate::domain::RequestId;

use super::super::past::{TakeIn, TakenIn};
use super::super::tables::ENTRIES;
use super::LedgerJournal;

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
                if !booked.insert(id) || self.pending.contains_key(&id) || entries.get(id.number())?.is_some() {
                    taken.known += 1;
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
