//! What of the ledger one reader may see: everything, or the calls of one team.
//!
//! Whoever reads for somebody reads through a view, which asks for no filter that could be forgotten: of another team it
//! finds nothing, as if it had never made a call. Whoever was told how a call ended finds it, also where its entry was still to be
//! written. A call belongs to the team that its key had when it was made.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::costs::is_of;
use super::{Adjusted, Costs, Entry, EntryFilter, GroupBy, Ledger, LedgerError, Page, Rollup, TimeRange};
use crate::domain::{EntryStatus, RequestId, TeamId};

/// The ledger, as far as one reader may see it.
#[derive(Clone)]
pub struct View {
    ledger: Arc<Ledger>,
    team: Option<TeamId>,
}

impl View {
    /// The calls of one team, or all of them.
    pub fn new(ledger: &Arc<Ledger>, team: Option<&TeamId>) -> Self {
        Self { ledger: Arc::clone(ledger), team: team.cloned() }
    }

    /// The team whose calls alone are seen.
    pub fn team(&self) -> Option<&TeamId> {
        self.team.as_ref()
    }

    fn team_text(&self) -> Option<&str> {
        self.team.as_ref().map(TeamId::as_str)
    }

    /// The zone of days and months.
    pub fn zone(&self) -> &TimeZone {
        self.ledger.zone()
    }

    /// Whether a call may be seen.
    pub fn sees(&self, entry: &Entry) -> bool {
        is_of(entry, self.team_text())
    }

    /// One call, ended or running, with what adjusts it; what may not be seen is not there, and an adjustment is seen by whoever
    /// sees its call. Blocking.
    pub fn call(&self, id: RequestId) -> Result<Option<Adjusted>, LedgerError> {
        let mut call = self.ledger.call(id)?;
        // Its client may have been told of its end before the disk was.
        if call.as_ref().is_none_or(|call| call.entry.status == EntryStatus::Pending) {
            self.ledger.flush();
            call = self.ledger.call(id)?;
        }
        Ok(call.filter(|call| self.sees(&call.entry)))
    }

    /// Entries that a filter takes, newest first, from a cursor on; without one with every call whose client was told of its end.
    /// Blocking: seconds at most.
    pub fn entries(&self, filter: &EntryFilter, cursor: Option<RequestId>, limit: usize) -> Result<Page, LedgerError> {
        if cursor.is_none() {
            self.ledger.flush();
        }
        let Some(own) = self.team_text() else { return self.ledger.entries(filter, cursor, limit) };
        if filter.team.as_deref().is_some_and(|asked| asked != own) {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let filter = EntryFilter { team: Some(own.to_owned()), ..filter.clone() };
        self.ledger.entries(&filter, cursor, limit)
    }

    /// Sums of a range of time, grouped once or twice. Blocking.
    pub fn costs(&self, range: TimeRange, group_by: &[GroupBy]) -> Result<Costs, LedgerError> {
        Ok(self.ledger.costs_of(self.team_text(), range, group_by)?)
    }

    /// The rollups of each local day that begins in a range of time, in the order of the days. Blocking.
    pub fn day_rollups(&self, range: TimeRange) -> Result<Vec<Rollup>, LedgerError> {
        let mut rollups = self.ledger.day_rollups(range)?;
        if let Some(own) = self.team_text() {
            rollups.retain(|rollup| rollup.team.as_deref() == Some(own));
        }
        Ok(rollups)
    }
}
