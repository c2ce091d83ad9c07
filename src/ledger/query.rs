//! Reading entries: one, a page of many, those that run.

use std::time::{Duration, Instant};

use redb::{ReadableDatabase as _, ReadableTable as _};

use crate::domain::{EntryStatus, Picodollars, RequestId, WindowId};

use super::record::{Balance, Entry, Scope};
use super::tables::{BALANCES, BY_KEY, ENTRIES, PENDING, balance_key, decode_balance, decode_entry};
use super::{Ledger, LedgerError};

/// Rows that one read transaction looks at before it is opened anew: a long one keeps the file from reusing pages.
const ROWS_A_TRANSACTION: usize = 5_000;
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
            && self.status.is_none_or(|status| status == entry.status)
            && is(&self.cache, Some(facts.cache.as_str()))
            && self
                .tag
                .as_ref()
                .is_none_or(|(name, value)| facts.tags.iter().any(|(n, v)| **n == **name && **v == **value))
            && self.text.as_deref().is_none_or(|text| {
                let found = |value: &str| value.contains(text);
                found(&facts.id.to_string())
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

impl Ledger {
    /// One entry, ended or running.
    pub fn entry(&self, id: RequestId) -> Result<Option<Entry>, LedgerError> {
        let reading = self.read()?;
        for table in [ENTRIES, PENDING] {
            let table = reading.open_table(table).map_err(redb::Error::from)?;
            if let Some(row) = table.get(id.number()).map_err(redb::Error::from)? {
                return Ok(Some(decode_entry(id.number(), row.value(), &self.names).map_err(redb::Error::from)?));
            }
        }
        Ok(None)
    }

    /// Entries that a filter takes, newest first, from a cursor on. Blocking: seconds at most.
    pub fn entries(&self, filter: &EntryFilter, cursor: Option<RequestId>, limit: usize) -> Result<Page, LedgerError> {
        if filter.status == Some(EntryStatus::Pending) {
            let mut items = self.running()?;
            items.retain(|entry| filter.takes(entry));
            items.sort_by_key(|entry| std::cmp::Reverse(entry.facts.id));
            items.truncate(limit);
            return Ok(Page { items, next: None });
        }
        let started = Instant::now();
        let from = filter.from.unwrap_or(RequestId::from_number(0));
        let mut until = filter.until.unwrap_or(RequestId::from_number(u128::MAX));
        until = until.min(cursor.unwrap_or(until));
        let mut items = Vec::new();
        loop {
            let rows = self.rows_before(filter, from, until)?;
            let Some(last) = rows.last().map(|entry| entry.facts.id) else {
                return Ok(Page { items, next: None });
            };
            for entry in rows {
                until = entry.facts.id;
                if filter.takes(&entry) {
                    items.push(entry);
                    if items.len() == limit {
                        return Ok(Page { items, next: Some(until) });
                    }
                }
            }
            debug_assert_eq!(until, last, "rows come newest first");
            if started.elapsed() > SEARCH_TIME_MAX {
                return Ok(Page { items, next: Some(until) });
            }
        }
    }

    /// The newest rows of a half-open range, in one short transaction.
    fn rows_before(&self, filter: &EntryFilter, from: RequestId, until: RequestId) -> Result<Vec<Entry>, LedgerError> {
        if from >= until {
            return Ok(Vec::new());
        }
        let reading = self.read()?;
        let entries = reading.open_table(ENTRIES).map_err(redb::Error::from)?;
        let mut rows = Vec::new();
        let key = filter.key.as_deref().filter(|key| key.starts_with("key_")).and_then(|key| self.names.find(key));
        if let Some(key) = key {
            let index = reading.open_table(BY_KEY).map_err(redb::Error::from)?;
            let range = index.range((key, from.number())..(key, until.number())).map_err(redb::Error::from)?;
            for row in range.rev().take(ROWS_A_TRANSACTION) {
                let (_, id) = row.map_err(redb::Error::from)?.0.value();
                if let Some(value) = entries.get(id).map_err(redb::Error::from)? {
                    rows.push(decode_entry(id, value.value(), &self.names).map_err(redb::Error::from)?);
                }
            }
        } else {
            let range = entries.range(from.number()..until.number()).map_err(redb::Error::from)?;
            for row in range.rev().take(ROWS_A_TRANSACTION) {
                let (id, value) = row.map_err(redb::Error::from)?;
                rows.push(decode_entry(id.value(), value.value(), &self.names).map_err(redb::Error::from)?);
            }
        }
        Ok(rows)
    }

    /// The calls that run.
    pub fn running(&self) -> Result<Vec<Entry>, LedgerError> {
        let reading = self.read()?;
        let table = reading.open_table(PENDING).map_err(redb::Error::from)?;
        let mut running = Vec::new();
        for row in table.iter().map_err(redb::Error::from)? {
            let (id, value) = row.map_err(redb::Error::from)?;
            running.push(decode_entry(id.value(), value.value(), &self.names).map_err(redb::Error::from)?);
        }
        Ok(running)
    }

    /// What a sum that is kept for a budget comes to.
    pub fn balance(&self, scope: &Scope, window: WindowId) -> Result<Balance, LedgerError> {
        let reading = self.read()?;
        let table = reading.open_table(BALANCES).map_err(redb::Error::from)?;
        let stored = table.get(balance_key(scope, window)).map_err(redb::Error::from)?;
        let stored = stored.map(|value| decode_balance(value.value()).map_err(redb::Error::from)).transpose()?;
        let stored = stored.unwrap_or_default();
        let mut held = Picodollars::ZERO;
        for entry in self.running()? {
            if window.window.at(entry.time(), &self.zone) == window {
                held += entry.postings().into_iter().filter(|(posted, _)| posted == scope).map(|(_, cost)| cost).sum();
            }
        }
        Ok(Balance { spent: stored.spent, unknown: stored.unknown, held })
    }

    pub(super) fn read(&self) -> Result<redb::ReadTransaction, LedgerError> {
        let database = self.writer.database();
        let database =
            database.ok_or_else(|| LedgerError::Unreadable { detail: "the file is being reopened".into() })?;
        Ok(database.begin_read().map_err(redb::Error::from)?)
    }
}
