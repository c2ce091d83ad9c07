//! Adjustments in our own export: rows that say what a call costs more or less than was booked.
//!
//! A call is taken in as it costs after all of them, and they are no calls. They may stand anywhere in the file, so it is read
//! for them first.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::BufRead;

use super::columns::Columns;
use super::{CsvError, csv};
use crate::domain::{Picodollars, RequestId};

/// One adjustment: the row's own id, the call that it adjusts, and by how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Adjusts {
    pub(super) id: RequestId,
    pub(super) of: RequestId,
    pub(super) more: Picodollars,
}

/// All adjustments of a file.
#[derive(Debug, Default)]
pub(in crate::app) struct Adjustments {
    /// By the call: the line and the amount of each row, under its id.
    by_call: HashMap<RequestId, BTreeMap<RequestId, (u64, Picodollars)>>,
}

impl Adjustments {
    /// Reads a whole file for them. What is wrong with a row is told when it is read as such.
    pub(in crate::app) fn read(input: impl BufRead) -> Result<Self, CsvError> {
        let mut rows = csv::Rows::new(input);
        let mut found = Self::default();
        let Some(Ok(columns)) = rows.next()?.map(|header| Columns::of(&header.cells)) else { return Ok(found) };
        while let Some(row) = rows.next()? {
            if let Ok(Some(Adjusts { id, of, more })) = columns.adjusts(&row) {
                found.by_call.entry(of).or_default().entry(id).or_insert((row.line, more));
            }
        }
        Ok(found)
    }

    /// What a call costs more or less, where something adjusts it; an amount beyond any is as good as the largest.
    pub(super) fn of(&self, call: RequestId) -> Option<Picodollars> {
        let rows = self.by_call.get(&call)?.values();
        Some(Picodollars::new(rows.fold(0_i128, |sum, (_, more)| sum.saturating_add(more.get()))))
    }

    /// Whether a row is the one that was read first under its id.
    pub(super) fn has(&self, row: &Adjusts) -> bool {
        let known = self.by_call.get(&row.of).and_then(|rows| rows.get(&row.id));
        known.is_some_and(|(_, more)| *more == row.more)
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.by_call.values().map(|rows| rows.len() as u64).sum()
    }

    /// The lines of those whose calls the file doesn't have, with the calls.
    pub(super) fn without(&self, calls: &HashSet<RequestId>) -> Vec<(u64, RequestId)> {
        let missing = self.by_call.iter().filter(|(call, _)| !calls.contains(call));
        let mut lines: Vec<_> =
            missing.flat_map(|(call, rows)| rows.values().map(|(line, _)| (*line, *call))).collect();
        lines.sort_unstable();
        lines
    }
}
