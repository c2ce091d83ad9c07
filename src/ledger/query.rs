//! Reading entries: one, a page of many, those that run.

use std::time::{Duration, Instant};

use redb::{ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};

use crate::domain::{EntryStatus, RequestId, Window, WindowId};

use super::cells::{Cell, CellKey};
use super::record::{Balance, Entry, Scope};
use super::tables::{
    BALANCES, CELLS, ENTRIES, PENDING, balance_key, decode_balance, decode_cell, decode_entry, decode_key,
};
use super::{Ledger, LedgerError};

/// Rows that one read transaction looks at before it is opened anew: a long one keeps the file from reusing pages.
pub(super) const ROWS_A_TRANSACTION: usize = 5_000;
/// The longest that one search may take: what was found by then is the page, and the cursor goes on from there.
const SEARCH_TIME_MAX: Duration = Duration::from_secs(2);

/// Which entries are wanted; an absent part takes all.
#[derive(Clone, Debug, Default)]
pub struct EntryFilter {
    /// The first id that is wanted.
    pub from: Option<RequestId>,
    /// The first id that is not wanted any more.
    pub until: Option<RequestId>,
    /// The key's id or name.
    pub key: Option<String>,
    /// The team.
    pub team: Option<String>,
    /// A provider that was tried.
    pub provider: Option<String>,
    /// The model that answered or was asked for.
    pub model: Option<String>,
    /// The operation.
    pub operation: Option<String>,
    /// The entry's status; `pending` lists what runs.
    pub status: Option<EntryStatus>,
    /// `hit`, `semantic`, `miss` or `bypass`.
    pub cache: Option<String>,
    /// A label and its value.
    pub tag: Option<(String, String)>,
    /// A text in the id, the client's id, the model or the error.
    pub text: Option<String>,
}

impl EntryFilter {
    fn takes(&self, entry: &Entry) -> bool {
        let facts = &entry.facts;
        let is =
            |wanted: &Option<String>, value: Option<&str>| wanted.as_deref().is_none_or(|wanted| value == Some(wanted));
        let any_attempt = |wanted: &Option<String>, name: fn(&super::record::Attempt) -> &str| {
            wanted.as_deref().is_none_or(|wanted| entry.attempts.iter().any(|attempt| name(attempt) == wanted))
        };
        (is(&self.key, Some(facts.key.as_str())) || is(&self.key, Some(&facts.key_name)))
            && is(&self.team, facts.team.as_deref())
            && any_attempt(&self.provider, |attempt| attempt.deployment.provider.as_str())
            && (is(&self.model, Some(facts.requested_model.as_str()))
                || any_attempt(&self.model, |attempt| attempt.deployment.model.as_str()))
            && is(&self.operation, Some(&facts.operation))
            // An adjustment has no end of its own.
            && self.status.is_none_or(|status| status == entry.status && entry.adjustment.is_none())
            && is(&self.cache, Some(facts.cache.as_str()))
            && self
                .tag
                .as_ref()
                .is_none_or(|(name, value)| facts.tags.iter().any(|(n, v)| **n == **name && **v == **value))
            && self.text.as_deref().is_none_or(|text| {
                let found = |value: &str| value.contains(text);
                found(&facts.id.to_string())
                    || entry.adjustment.as_ref().is_some_and(|adjustment| found(&adjustment.of.to_string()))
                    || facts.client_request_id.as_deref().is_some_and(found)
                    || found(facts.requested_model.as_str())
                    || entry.model().is_some_and(|model| found(model.as_str()))
                    || entry.error.as_deref().is_some_and(found)
            })
    }
}

/// A page of a list, newest first.
#[derive(Clone, Debug)]
pub struct Page {
    /// The entries.
    pub items: Vec<Entry>,
    /// Where the next page begins; absent at the end.
    pub next: Option<RequestId>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that ended.
    pub entries: u64,
    /// Calls that run.
    pub running: u64,
    /// The sums of all calls that ended.
    pub total: Cell,
}

/// What one transaction of a search found.
struct Found {
    /// Where the search goes on, before this id; absent at the end.
    next: Option<RequestId>,
    items: Vec<Entry>,
}

impl Ledger {
    /// One entry, ended or running.
    pub fn entry(&self, id: RequestId) -> Result<Option<Entry>, LedgerError> {
        Ok(self.find(id)?)
    }

    pub(super) fn find(&self, id: RequestId) -> Result<Option<Entry>, redb::Error> {
        let reading = self.read()?;
        for table in [ENTRIES, PENDING] {
            if let Some(row) = reading.open_table(table)?.get(id.number())? {
                return Ok(Some(decode_entry(id.number(), row.value(), &self.names)?));
            }
        }
        Ok(None)
    }

    /// How many entries there are and what they come to, from the monthly rollups.
    pub fn counts(&self) -> Result<Counts, LedgerError> {
        Ok(self.count()?)
    }

    fn count(&self) -> Result<Counts, redb::Error> {
        let reading = self.read()?;
        let (entries, running) = (reading.open_table(ENTRIES)?.len()?, reading.open_table(PENDING)?.len()?);
        let mut total = Cell::default();
        let (first, last) = CellKey::range(WindowId { window: Window::Month, number: 0 }, u32::MAX);
        for row in reading.open_table(CELLS)?.range(first..last)? {
            total.add(&decode_cell(row?.1.value())?);
        }
        Ok(Counts { entries, running, total })
    }

    /// Entries that a filter takes, newest first, from a cursor on. Blocking: seconds at most.
    ///
    /// Calls that run are in a list of their own: they come only where the filter asks for `pending`.
    pub fn entries(&self, filter: &EntryFilter, cursor: Option<RequestId>, limit: usize) -> Result<Page, LedgerError> {
        let limit = limit.max(1);
        let from = filter.from.unwrap_or(RequestId::from_number(0));
        let mut until = filter.until.unwrap_or(RequestId::from_number(u128::MAX));
        until = until.min(cursor.unwrap_or(until));
        if filter.status == Some(EntryStatus::Pending) {
            let mut items = self.running()?;
            items.retain(|entry| (from..until).contains(&entry.facts.id) && filter.takes(entry));
            items.sort_by_key(|entry| std::cmp::Reverse(entry.facts.id));
            let is_cut = items.len() > limit;
            items.truncate(limit);
            let next = items.last().filter(|_| is_cut).map(|entry| entry.facts.id);
            return Ok(Page { items, next });
        }
        let started = Instant::now();
        let mut items = Vec::new();
        loop {
            let found = self.search(filter, from, until, limit - items.len())?;
            items.extend(found.items);
            let is_enough = items.len() == limit || started.elapsed() > SEARCH_TIME_MAX;
            match found.next {
                Some(next) if !is_enough => until = next,
                next => return Ok(Page { items, next }),
            }
        }
    }

    /// The newest entries of a half-open range that a filter takes, in one short transaction.
    fn search(
        &self,
        filter: &EntryFilter,
        from: RequestId,
        until: RequestId,
        limit: usize,
    ) -> Result<Found, redb::Error> {
        let mut found = Found { next: None, items: Vec::new() };
        let key = filter.key.as_deref().map(|key| self.names.find(key));
        // A name that no entry has.
        if from >= until || key == Some(None) {
            return Ok(found);
        }
        let key = key.flatten();
        let reading = self.read()?;
        let entries = reading.open_table(ENTRIES)?;
        // Rows of other keys are passed over without being decoded, ten times as fast.
        let rows_max = if key.is_some() { ROWS_A_TRANSACTION * 10 } else { ROWS_A_TRANSACTION };
        let mut looked_at = 0;
        for row in entries.range(from.number()..until.number())?.rev().take(rows_max) {
            let (id, value) = row?;
            looked_at += 1;
            found.next = Some(RequestId::from_number(id.value()));
            let is_other = |key| decode_key(value.value()).is_some_and(|(id, name)| key != id && key != name);
            if key.is_some_and(is_other) {
                continue;
            }
            let entry = decode_entry(id.value(), value.value(), &self.names)?;
            if filter.takes(&entry) {
                found.items.push(entry);
                if found.items.len() == limit {
                    return Ok(found);
                }
            }
        }
        found.next = found.next.filter(|_| looked_at == rows_max);
        Ok(found)
    }

    /// The calls that run.
    pub fn running(&self) -> Result<Vec<Entry>, LedgerError> {
        Ok(self.running_in(&self.read()?)?)
    }

    pub(super) fn running_in(&self, reading: &redb::ReadTransaction) -> Result<Vec<Entry>, redb::Error> {
        let table = reading.open_table(PENDING)?;
        let mut running = Vec::new();
        for row in table.iter()? {
            let (id, value) = row?;
            running.push(decode_entry(id.value(), value.value(), &self.names)?);
        }
        Ok(running)
    }

    /// What a sum that is kept for a budget comes to.
    pub fn balance(&self, scope: &Scope, window: WindowId) -> Result<Balance, LedgerError> {
        Ok(self.read_balance(scope, window)?)
    }

    fn read_balance(&self, scope: &Scope, window: WindowId) -> Result<Balance, redb::Error> {
        let reading = self.read()?;
        let stored = reading.open_table(BALANCES)?.get(balance_key(scope, window))?;
        let stored = stored.map(|value| decode_balance(value.value())).transpose()?.unwrap_or_default();
        let running = self.running_in(&reading)?;
        let running = running.iter().filter(|entry| window.window.at(entry.time(), &self.zone) == window);
        let held = running.filter_map(|entry| entry.cost_in(scope)).sum();
        Ok(Balance { spent: stored.spent, unknown: stored.unknown, held })
    }

    pub(super) fn read(&self) -> Result<redb::ReadTransaction, redb::Error> {
        Ok(self.writer.database().ok_or(redb::Error::DatabaseClosed)?.begin_read()?)
    }
}
