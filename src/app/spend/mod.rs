//! What was spent elsewhere: rows of a CSV, checked and mapped to calls of the past.
//!
//! Two kinds are known by their headers: our own export of costs, and the spend logs of LiteLLM. The file is read twice: once
//! to check every row of it and sum it up ([`check`]), once to book it ([`Reader`]); nothing is kept of it in between but the
//! ids and the adjustments of calls ([`Adjustments`]). Amounts are read digit by digit. An id follows from the row alone, so that a row is booked once however often it comes.

mod adjustments;
mod columns;
mod csv;
mod mapping;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::BufRead;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::domain::{Picodollars, RequestId};
use crate::http::api::PastCallJson;

pub(super) use adjustments::Adjustments;
pub(super) use csv::CsvError;
pub(super) use mapping::{KnownKey, Mapping, UnknownKeys};

use columns::Columns;

/// Bad rows that are told one by one.
const BAD_ROWS_MAX: usize = 20;

/// A row that can't be taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadRow {
    pub(super) line: u64,
    /// The column as the header has it; empty where it is about the row.
    pub(super) column: String,
    pub(super) reason: String,
}

/// Calls of one key and model in one month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) calls: u64,
    pub(super) cost: Picodollars,
}

/// What a whole file comes to.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Rows that can be booked.
    pub(super) rows: u64,
    /// Rows that stand in the file more than once.
    pub(super) repeated: u64,
    /// Rows whose amount had more digits than a picodollar.
    pub(super) rounded: u64,
    /// Rows that are no calls, but are in the amounts of those that they adjust.
    pub(super) adjustments: u64,
    pub(super) cost: Picodollars,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    /// By key, model and month.
    pub(super) sums: BTreeMap<(String, String, String), Sum>,
    /// Keys of the file that no virtual key stands for, with their calls.
    pub(super) unknown_keys: BTreeMap<String, u64>,
    /// Teams as they are booked.
    pub(super) teams: BTreeMap<String, u64>,
    /// The first rows that can't be booked.
    pub(super) bad: Vec<BadRow>,
    /// How many there are in all.
    pub(super) bad_len: u64,
    /// Kind of file: whose it is.
    pub(super) source: &'static str,
}

/// A row that can be booked.
pub(super) struct Taken {
    pub(super) call: PastCallJson,
    pub(super) id: RequestId,
    is_rounded: bool,
    unknown_key: Option<String>,
}

/// The rows of a file, as calls.
pub(super) struct Reader<'m, R> {
    rows: csv::Rows<R>,
    columns: Columns,
    mapping: &'m Mapping,
    adjustments: &'m Adjustments,
    now: Timestamp,
    /// How often each row without an id has come, for rows that are alike in everything.
    alike: HashMap<u128, u32>,
    /// The ids so far, each with a digest of its row.
    seen: HashMap<RequestId, u128>,
    repeated: u64,
}

impl<'m, R: BufRead> Reader<'m, R> {
    /// Reads the header.
    pub(super) fn new(
        input: R,
        mapping: &'m Mapping,
        adjustments: &'m Adjustments,
        now: Timestamp,
    ) -> Result<Self, CsvError> {
        let mut rows = csv::Rows::new(input);
        let header = rows.next()?;
        let header = header.ok_or_else(|| CsvError { line: 1, reason: "the file is empty".to_owned() })?;
        let columns = Columns::of(&header.cells).map_err(|reason| CsvError { line: header.line, reason })?;
        Ok(Self { rows, columns, mapping, adjustments, now, alike: HashMap::new(), seen: HashMap::new(), repeated: 0 })
    }

    /// The next row that isn't a repetition: a call, or what is wrong with it. The outer error ends the file.
    pub(super) fn next(&mut self) -> Result<Option<Result<Taken, BadRow>>, CsvError> {
        while let Some(row) = self.rows.next()? {
            match self.columns.adjusts(&row) {
                Ok(Some(adjusts)) if self.adjustments.has(&adjusts) => continue,
                Ok(Some(_)) => {
                    let reason = "its id stands in the file before, for another adjustment".to_owned();
                    return Ok(Some(Err(BadRow { line: row.line, column: self.columns.id_column(), reason })));
                }
                Ok(None) => {}
                Err(bad) => return Ok(Some(Err(bad))),
            }
            let read = self.columns.call(&row, self.mapping, self.adjustments, &mut self.alike);
            let taken = read.and_then(|taken| {
                let bad = |reason| BadRow { line: row.line, column: String::new(), reason };
                taken.call.checked(self.now).map(|_| taken).map_err(bad)
            });
            let taken = match taken {
                Ok(taken) => taken,
                Err(bad) => return Ok(Some(Err(bad))),
            };
            let digest = columns::digest(&[&format!("{:?}", taken.call)]);
            match self.seen.insert(taken.id, digest) {
                None => return Ok(Some(Ok(taken))),
                Some(before) if before == digest => self.repeated += 1,
                Some(_) => {
                    let reason = "its id stands in the file before, for another call".to_owned();
                    return Ok(Some(Err(BadRow { line: row.line, column: self.columns.id_column(), reason })));
                }
            }
        }
        Ok(None)
    }
}

/// Reads a whole file, and books nothing.
pub(super) fn check(
    input: impl BufRead,
    mapping: &Mapping,
    adjustments: &Adjustments,
    now: Timestamp,
    zone: &TimeZone,
) -> Result<Checked, CsvError> {
    let mut reader = Reader::new(input, mapping, adjustments, now)?;
    let mut checked = Checked { source: reader.columns.source(), adjustments: adjustments.len(), ..Checked::default() };
    while let Some(next) = reader.next()? {
        match next {
            Ok(taken) => add(&mut checked, taken, zone),
            Err(bad) => add_bad(&mut checked, bad),
        }
    }
    checked.repeated = reader.repeated;
    if checked.bad_len == 0 {
        // A call that can't be read would be missed here too, and is told of already.
        let calls: HashSet<RequestId> = reader.seen.into_keys().collect();
        for (line, of) in adjustments.without(&calls) {
            let reason = format!("it adjusts {of}, which the file doesn't have: export both together");
            add_bad(&mut checked, BadRow { line, column: "error".to_owned(), reason });
        }
    }
    Ok(checked)
}

fn add_bad(checked: &mut Checked, bad: BadRow) {
    checked.bad_len += 1;
    if checked.bad.len() < BAD_ROWS_MAX {
        checked.bad.push(bad);
    }
}

fn add(checked: &mut Checked, taken: Taken, zone: &TimeZone) {
    let Taken { call, id, is_rounded, unknown_key } = taken;
    let time = Timestamp::from_millisecond(id.unix_ms()).unwrap_or_default();
    checked.rows += 1;
    checked.rounded += u64::from(is_rounded);
    checked.cost += call.cost_usd;
    checked.first = Some(checked.first.map_or(time, |first| first.min(time)));
    checked.last = Some(checked.last.map_or(time, |last| last.max(time)));
    if let Some(key) = unknown_key {
        *checked.unknown_keys.entry(key).or_default() += 1;
    }
    if let Some(team) = call.team {
        *checked.teams.entry(team).or_default() += 1;
    }
    let month = zone.to_datetime(time).date().strftime("%Y-%m").to_string();
    let sum = checked.sums.entry((call.key_name, format!("{}/{}", call.provider, call.model), month)).or_default();
    sum.calls += 1;
    sum.cost += call.cost_usd;
}
