//! Sums over a range of time, in groups: from rollups where whole windows are asked for, from entries at ragged edges.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::{Picodollars, RequestId, Window, WindowId};

use super::cells::{Cell, CellKey, GRAINS, contribute};
use super::query::ROWS_A_TRANSACTION;
use super::record::Entry;
use super::sums::entries_between;
use super::tables::{CELLS, ENTRIES, cell_names, decode_cell};
use super::{Ledger, LedgerError};

/// What sums are grouped by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// The configured provider.
    Provider,
    /// The model, in the provider's words.
    Model,
    /// What calls were for.
    Operation,
    /// The virtual key, by its id.
    Key,
    /// The team.
    Team,
    /// The value of a label; read from the entries.
    Tag(String),
    /// The local day.
    Day,
    /// The local hour.
    Hour,
}

impl GroupBy {
    /// The grouping that a query's word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "provider" => Self::Provider,
            "model" => Self::Model,
            "operation" => Self::Operation,
            "key" => Self::Key,
            "team" => Self::Team,
            "day" => Self::Day,
            "hour" => Self::Hour,
            _ => Self::Tag(word.strip_prefix("tag:").filter(|name| !name.is_empty())?.to_owned()),
        })
    }
}

/// A half-open range of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The first instant in it.
    pub from: Timestamp,
    /// The first instant after it.
    pub until: Timestamp,
}

/// One group's sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostGroup {
    /// The provider, model, … by name; a day as `2026-11-22`, an hour as `2026-11-22T14`.
    pub name: String,
    /// The series that the sums belong to, where a second grouping was asked for; else empty.
    pub series: String,
    /// The sums.
    pub sums: Cell,
}

/// Sums over a range of time.
#[derive(Clone, Debug, Default)]
pub struct Costs {
    /// Everything in the range.
    pub total: Cell,
    /// Held for calls that run and began in the range.
    pub held: Picodollars,
    /// How many they are.
    pub pending: u64,
    /// Per group: dearest first, times in order.
    pub groups: Vec<CostGroup>,
}

/// The sums of one window and one combination of names, as the ledger keeps them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollup {
    /// The window.
    pub window: WindowId,
    /// The team, where the key had one.
    pub team: Option<Arc<str>>,
    /// The virtual key, by its id.
    pub key: Option<Arc<str>>,
    /// The provider; absent for calls that never reached one.
    pub provider: Option<Arc<str>>,
    /// The model.
    pub model: Option<Arc<str>>,
    /// What calls were for.
    pub operation: Option<Arc<str>>,
    /// The sums.
    pub sums: Cell,
}

impl Ledger {
    /// Sums of a range of time, grouped once or twice (`[Day, Model]` for a chart). Blocking.
    pub fn costs(&self, range: TimeRange, group_by: &[GroupBy]) -> Result<Costs, LedgerError> {
        Ok(self.costs_of(None, range, group_by)?)
    }

    /// Sums of a range of time under each of several groupings, all from one look, so that they agree. Blocking.
    pub fn costs_by_each(&self, range: TimeRange, groupings: &[GroupBy]) -> Result<Vec<Costs>, LedgerError> {
        let groupings: Vec<&[GroupBy]> = groupings.iter().map(std::slice::from_ref).collect();
        Ok(self.sum_up(None, range, &groupings)?)
    }

    /// The sums of one team's calls, or of all.
    pub(super) fn costs_of(
        &self,
        team: Option<&str>,
        range: TimeRange,
        group_by: &[GroupBy],
    ) -> Result<Costs, redb::Error> {
        Ok(self.sum_up(team, range, &[group_by])?.pop().unwrap_or_default())
    }

    /// The rollups of each local day that begins in a range of time, as they are kept, in the order of the days. Blocking.
    pub fn day_rollups(&self, range: TimeRange) -> Result<Vec<Rollup>, LedgerError> {
        Ok(self.read_day_rollups(range)?)
    }

    fn read_day_rollups(&self, range: TimeRange) -> Result<Vec<Rollup>, redb::Error> {
        let day_from = |at: Timestamp| {
            let day = Window::Day.at(at, &self.zone);
            day.number + u32::from(day.start(&self.zone) != Some(at))
        };
        let (first, until) = (day_from(range.from), day_from(range.until));
        let mut rollups = Vec::new();
        each_cell(&self.read()?, WindowId { window: Window::Day, number: first }, until, &mut |key, sums, _| {
            let name = |number| self.names.name(number);
            rollups.push(Rollup {
                window: key.window,
                team: name(key.team),
                key: name(key.key),
                provider: name(key.provider),
                model: name(key.model),
                operation: name(key.operation),
                sums: *sums,
            });
        })?;
        Ok(rollups)
    }

    fn sum_up(
        &self,
        team: Option<&str>,
        range: TimeRange,
        groupings: &[&[GroupBy]],
    ) -> Result<Vec<Costs>, redb::Error> {
        // A team that never made a call has no number, and no sums.
        let number = team.map(|team| self.names.find(team));
        let is_wanted = |key: &CellKey| number.is_none_or(|number| number == Some(key.team));
        let mut groups: Vec<HashMap<(String, String), Cell>> = vec![HashMap::new(); groupings.len()];
        let mut total = Cell::default();
        let all = || groupings.iter().copied().flatten();
        let by_tag = all().any(|by| matches!(by, GroupBy::Tag(_)));
        let by_time = |by: &GroupBy| match by {
            GroupBy::Hour => Some(Window::Hour),
            GroupBy::Day => Some(Window::Day),
            _ => None,
        };
        let finest = all().filter_map(by_time).min();
        let mut take = |key: &CellKey, cell: &Cell, entry: Option<&Entry>| {
            if !is_wanted(key) {
                return;
            }
            total.add(cell);
            for (group_by, groups) in groupings.iter().zip(&mut groups).filter(|(group_by, _)| !group_by.is_empty()) {
                let mut names = group_by.iter().map(|by| self.group_name(by, key, entry));
                let group = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
                groups.entry(group).or_default().add(cell);
            }
        };
        let parts = self.parts(range, if by_tag { None } else { Some(finest.unwrap_or(Window::Month)) });
        let reading = self.read()?;
        let running = self.running_in(&reading)?;
        for part in &parts {
            if let Part::Cells(from, until) = *part {
                each_cell(&reading, from, until, &mut take)?;
            }
        }
        drop(reading);
        for part in parts {
            if let Part::Entries(from, until) = part {
                self.each_entry(from, until, finest.unwrap_or(Window::Hour), &mut take)?;
            }
        }
        let begun: Vec<&Entry> = running
            .iter()
            .filter(|entry| (range.from..range.until).contains(&entry.time()) && is_of(entry, team))
            .collect();
        let held: Picodollars = begun.iter().map(|entry| entry.reserved).sum();
        let costs = groups.into_iter().zip(groupings).map(|(groups, group_by)| Costs {
            total,
            held,
            pending: begun.len() as u64,
            groups: sorted(groups, group_by.first().and_then(by_time).is_some()),
        });
        Ok(costs.collect())
    }

    fn group_name(&self, by: &GroupBy, key: &CellKey, entry: Option<&Entry>) -> String {
        let named = |number| self.names.name(number).map(|name| name.to_string()).unwrap_or_default();
        match by {
            GroupBy::Provider => named(key.provider),
            GroupBy::Model => named(key.model),
            GroupBy::Operation => named(key.operation),
            GroupBy::Key => named(key.key),
            GroupBy::Team => named(key.team),
            GroupBy::Tag(name) => entry
                .and_then(|entry| entry.facts.tags.iter().find(|(tag, _)| **tag == **name))
                .map(|(_, value)| value.to_string())
                .unwrap_or_default(),
            GroupBy::Day => key.window.first_date().map(|date| date.to_string()).unwrap_or_default(),
            GroupBy::Hour => {
                let date = key.window.first_date().map(|date| date.to_string()).unwrap_or_default();
                format!("{date}T{:02}", key.window.number % 24)
            }
        }
    }

    /// Cuts a range into whole months, days and hours as large as `largest` allows, and edges that need the entries.
    fn parts(&self, range: TimeRange, largest: Option<Window>) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut at = range.from;
        while at < range.until {
            let whole = largest.and_then(|largest| {
                let fits = |grain: &&Window| {
                    let id = grain.at(at, &self.zone);
                    **grain <= largest
                        && id.start(&self.zone) == Some(at)
                        && id.end(&self.zone).is_some_and(|end| end <= range.until && end > at)
                };
                GRAINS.iter().rev().find(fits).copied()
            });
            let next = if let Some(grain) = whole {
                let id = grain.at(at, &self.zone);
                let end = id.end(&self.zone).expect("grains end");
                parts.push(Part::Cells(id, grain.at(end, &self.zone).number));
                end
            } else {
                let hour = Window::Hour.at(at, &self.zone).end(&self.zone).filter(|end| *end > at && largest.is_some());
                let end = hour.unwrap_or(range.until).min(range.until);
                parts.push(Part::Entries(at, end));
                end
            };
            at = next;
        }
        parts
    }

    /// Looks at entries in short transactions: what was read stays, what is booked meanwhile may come or not.
    fn each_entry(
        &self,
        from: Timestamp,
        until: Timestamp,
        grain: Window,
        take: &mut impl FnMut(&CellKey, &Cell, Option<&Entry>),
    ) -> Result<(), redb::Error> {
        let (mut from, until) = (first_id_at(from), first_id_at(until));
        let mut cells = HashMap::new();
        while from < until {
            let reading = self.read()?;
            let table = reading.open_table(ENTRIES)?;
            let mut looked_at = 0;
            for entry in entries_between(&table, &self.names, from, Some(until))?.take(ROWS_A_TRANSACTION) {
                let entry = entry?;
                looked_at += 1;
                from = RequestId::from_number(entry.facts.id.number() + 1);
                let window = grain.at(entry.time(), &self.zone);
                contribute(&mut cells, &entry, &cell_names(&entry, &self.names), &[window]);
                for (key, cell) in cells.drain() {
                    take(&key, &cell, Some(&entry));
                }
            }
            if looked_at < ROWS_A_TRANSACTION {
                break;
            }
        }
        Ok(())
    }
}

/// Whether a call is of a team; of any, where none is named.
pub(super) fn is_of(entry: &Entry, team: Option<&str>) -> bool {
    team.is_none_or(|team| entry.facts.team.as_deref() == Some(team))
}

/// The groups in the order in which they are shown: times as they come, everything else dearest first.
fn sorted(groups: HashMap<(String, String), Cell>, is_timeline: bool) -> Vec<CostGroup> {
    let mut groups: Vec<CostGroup> =
        groups.into_iter().map(|((name, series), sums)| CostGroup { name, series, sums }).collect();
    groups.sort_by(|a, b| {
        let names = (&a.name, &a.series).cmp(&(&b.name, &b.series));
        let dearest = (b.sums.cost, b.sums.requests).cmp(&(a.sums.cost, a.sums.requests));
        if is_timeline { names } else { dearest.then(names) }
    });
    groups
}

/// The first id at or after an instant: ids know whole milliseconds.
pub(super) fn first_id_at(instant: Timestamp) -> RequestId {
    let floor = instant.as_millisecond();
    let is_later = Timestamp::from_millisecond(floor).is_ok_and(|floor| floor < instant);
    RequestId::first_of(floor + i64::from(is_later))
}

fn each_cell(
    reading: &redb::ReadTransaction,
    from: WindowId,
    until: u32,
    take: &mut impl FnMut(&CellKey, &Cell, Option<&Entry>),
) -> Result<(), redb::Error> {
    let table = reading.open_table(CELLS)?;
    let (first, end) = CellKey::range(from, until);
    for row in table.range(first..end)? {
        let (key, value) = row?;
        let key = CellKey::from_bytes(key.value())
            .ok_or_else(|| redb::Error::Corrupted("a rollup has an unknown grain".to_owned()))?;
        take(&key, &decode_cell(value.value())?, None);
    }
    Ok(())
}

enum Part {
    /// Cells of whole windows: from one to before a number of the same kind.
    Cells(WindowId, u32),
    /// Entries of a half-open range.
    Entries(Timestamp, Timestamp),
}
