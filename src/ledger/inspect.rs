//! Looking at every row once, beside the calls, after a start that had no time for it.
//!
//! A file is checked page by page when it is opened, but for large ones, which would keep a start waiting. Here every row
//! of such a file is read soon after. What can't be read is trouble from then on: calls are refused, as they would have
//! been by a refused start. A digit that has changed in silence shows in the chains and the sums instead: those of the last
//! day are looked at here, and `tollgate verify` looks at all.

use std::ops::Bound::{Excluded, Unbounded};
use std::time::Instant;

use crate::domain::RequestId;
use crate::store::{OpenError, guard};

use super::Ledger;
use super::query::ROWS_A_TRANSACTION;
use super::tables::{CELLS, ENTRIES, decode_cell, decode_entry};

/// What an inspection came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspection {
    /// Every row can be read, and the day's sums are what the entries say.
    Sound {
        /// How many rows there are.
        rows: u64,
    },
    /// Every row can be read, but so many of the day's sums are not what the entries say, or entries not what was booked.
    Differs {
        /// Sums that differ, and faults of the chains.
        differences: usize,
    },
    /// It was ended early, or the file was being opened again.
    Unfinished,
    /// The file is damaged, and calls are refused from now on.
    Damaged {
        /// A sentence that says what to do.
        detail: String,
    },
}

impl Ledger {
    /// Reads every row, some thousands at a time, and then proves the days since an id was made. Blocking.
    ///
    /// Ends early where `is_wanted` says so.
    pub fn inspect(&self, since: RequestId, is_wanted: impl Fn() -> bool) -> Inspection {
        let looked = self.guarded(|| {
            let Some(rows) = self.read_every_row(&is_wanted)? else { return Ok(None) };
            let report = self.compare_since(since)?;
            Ok(Some((rows, report.differences.len() + report.chain_faults.len())))
        });
        let found = match looked {
            Ok(Some((rows, 0))) => Inspection::Sound { rows },
            Ok(Some((_, differences))) => Inspection::Differs { differences },
            Ok(None) => Inspection::Unfinished,
            Err(error) => self.damaged(&error),
        };
        self.note_inspection(found.clone());
        found
    }

    /// What the last look at the rows came to, this one or a verification, and when it ended.
    pub fn last_inspection(&self) -> Option<(Instant, Inspection)> {
        self.last_inspection.lock().expect("no holder of this lock panics").clone()
    }

    pub(super) fn note_inspection(&self, found: Inspection) {
        *self.last_inspection.lock().expect("no holder of this lock panics") = Some((Instant::now(), found));
    }

    /// Does what must not panic over a damaged file. `None`: the file is out of reach, which says nothing about its rows.
    fn guarded<T>(&self, work: impl FnOnce() -> Result<Option<T>, redb::Error>) -> Result<Option<T>, OpenError> {
        guard(&self.opening, || match work() {
            // The writer has met trouble, and opens the file again.
            Err(redb::Error::DatabaseClosed | redb::Error::PreviousIo | redb::Error::Io(_)) => Ok(None),
            done => done,
        })
    }

    fn damaged(&self, error: &OpenError) -> Inspection {
        let detail = error.to_string();
        self.writer().distrust(detail.as_str().into());
        Inspection::Damaged { detail }
    }

    /// Reads all entries and rollups; the names and balances were read by the start. `None` where that is not wanted any more.
    fn read_every_row(&self, is_wanted: &impl Fn() -> bool) -> Result<Option<u64>, redb::Error> {
        let mut rows = 0;
        let mut last = None;
        loop {
            let entries = self.read()?.open_table(ENTRIES)?;
            let before = rows;
            for row in entries.range::<u128>((last.map_or(Unbounded, Excluded), Unbounded))?.take(ROWS_A_TRANSACTION) {
                let (id, value) = row?;
                decode_entry(id.value(), value.value(), &self.names)?;
                (last, rows) = (Some(id.value()), rows + 1);
            }
            if rows == before {
                break;
            }
            if !is_wanted() {
                return Ok(None);
            }
        }
        let mut last = None;
        loop {
            let cells = self.read()?.open_table(CELLS)?;
            let before = rows;
            for row in cells.range((last.map_or(Unbounded, Excluded), Unbounded))?.take(ROWS_A_TRANSACTION) {
                let (key, value) = row?;
                decode_cell(value.value())?;
                (last, rows) = (Some(key.value()), rows + 1);
            }
            if rows == before {
                return Ok(Some(rows));
            }
            if !is_wanted() {
                return Ok(None);
            }
        }
    }
}
