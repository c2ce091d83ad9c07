//! Spend over time as bars: the steps of a range, and the sums of the ledger laid onto them.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::charts::{Bars, Chart, Column, SERIES_MAX, Series, Slot};
use super::super::format::{Clock, money};
use crate::domain::{Picodollars, Window};
use crate::ledger::{Cell, Costs, GroupBy, LedgerError, TimeRange, View};

/// More columns than these can't be told apart.
const COLUMNS_MAX: usize = 400;

/// A range cut into hours or days.
pub(super) struct Steps {
    /// The whole of it.
    pub(super) range: TimeRange,
    /// `Hour` or `Day`.
    pub(super) window: Window,
    /// Each step by the name that the ledger's groups have.
    columns: Vec<(String, Column)>,
    /// The range in words: `21 Oct to 19 Nov`.
    pub(super) words: String,
}

impl Steps {
    /// Cuts a range at the borders of hours or days.
    pub(super) fn new(range: TimeRange, window: Window, now: Timestamp, zone: &TimeZone, clock: &Clock) -> Self {
        let mut columns = Vec::new();
        let mut at = range.from;
        while at < range.until && columns.len() < COLUMNS_MAX {
            let id = window.at(at, zone);
            let (Some(date), Some(end)) = (id.first_date(), id.end(zone)) else { break };
            let day = clock.day(date);
            let long = date.strftime("%a %-d %b %Y").to_string();
            let (name, label, title) = if window == Window::Hour {
                let hour = id.number % 24;
                (format!("{date}T{hour:02}"), format!("{hour:02}:00"), format!("{long}, {hour:02}:00"))
            } else {
                (date.to_string(), day, long)
            };
            let is_partial = id.start(zone).is_some_and(|start| start <= now) && now < end;
            columns.push((name, Column { is_partial, ..Column::new(label, title) }));
            if end <= at {
                break;
            }
            at = end;
        }
        let last = Timestamp::from_millisecond(range.until.as_millisecond() - 1)
            .unwrap_or(range.until)
            .min(now.max(range.from));
        let (first, last) = (zone.to_datetime(range.from), zone.to_datetime(last));
        let words = if first.date() == last.date() {
            clock.day(first.date())
        } else {
            format!("{} to {}", clock.day(first.date()), clock.day(last.date()))
        };
        Self { range, window, columns, words }
    }

    /// The grouping that goes with the steps.
    pub(super) fn group_by(&self) -> GroupBy {
        if self.window == Window::Hour { GroupBy::Hour } else { GroupBy::Day }
    }

    /// `Hour` or `Day`.
    pub(super) fn step(&self) -> &'static str {
        if self.window == Window::Hour { "Hour" } else { "Day" }
    }

    /// The steps as columns, and where each of the ledger's groups belongs.
    pub(super) fn columns(&self) -> (Vec<Column>, HashMap<&str, usize>) {
        let places = self.columns.iter().enumerate().map(|(index, (name, _))| (name.as_str(), index)).collect();
        (self.columns.iter().map(|(_, column)| column.clone()).collect(), places)
    }
}

/// The models of the last thirty days, dearest first: their ranks are their colours on every page.
pub(super) fn model_ranks(view: &View, now: Timestamp) -> Result<Vec<String>, LedgerError> {
    let range = days_back(now, view.zone(), 30);
    let costs = view.costs(range, &[GroupBy::Model])?;
    Ok(costs.groups.into_iter().map(|group| group.name).filter(|name| !name.is_empty()).collect())
}

/// So many days, today included.
pub(super) fn days_back(now: Timestamp, zone: &TimeZone, days: i64) -> TimeRange {
    use jiff::ToSpan as _;
    let today = zone.to_datetime(now).date();
    let start = |date: jiff::civil::Date| zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible().unwrap_or(now);
    TimeRange { from: start(today.saturating_sub((days - 1).days())), until: start(today.saturating_add(1.day())) }
}

/// The colour of a rank; behind the last that a stack names there is only `other`.
pub(super) fn slot_of(rank: Option<usize>) -> Slot {
    rank.filter(|rank| *rank < SERIES_MAX).map_or(Slot::OTHER, Slot::of_rank)
}

/// Bars of costs that were grouped by step and then by something; `ranks` orders and colours the series. `None` where nothing
/// was spent.
pub(super) fn draw(
    id: &str,
    what: &str,
    steps: &Steps,
    costs: &Costs,
    ranks: &[String],
    label: impl Fn(&str) -> String,
    has_sums: bool,
) -> Option<Chart> {
    let (columns, places) = steps.columns();
    let mut series: HashMap<&str, Vec<Picodollars>> = HashMap::new();
    let mut totals = vec![Picodollars::ZERO; columns.len()];
    for group in costs.groups.iter().filter(|group| !group.sums.cost.is_zero()) {
        let Some(&index) = places.get(group.name.as_str()) else { continue };
        let values = series.entry(&group.series).or_insert_with(|| vec![Picodollars::ZERO; columns.len()]);
        values[index] += group.sums.cost;
        totals[index] += group.sums.cost;
    }
    let rank = |name: &str| ranks.iter().position(|ranked| ranked == name);
    let mut series: Vec<(&str, Vec<Picodollars>)> = series.into_iter().collect();
    series.sort_by_key(|(name, _)| (rank(name).unwrap_or(usize::MAX), (*name).to_owned()));
    let total: Picodollars = totals.iter().copied().sum();
    let peak = totals.iter().zip(&columns).max_by_key(|(sum, _)| **sum);
    let peak = peak.map_or_else(String::new, |(sum, column)| format!(" Peak {} on {}.", money(*sum), column.title));
    let step = steps.step();
    let bars = Bars {
        id: id.to_owned(),
        sentence: format!("{what} per {}, {}. Total {}.{peak}", step.to_lowercase(), steps.words, money(total)),
        step: step.to_owned(),
        height: 208,
        columns,
        series: series
            .into_iter()
            .map(|(name, values)| Series { name: label(name), slot: slot_of(rank(name)), values })
            .collect(),
        has_sums,
    };
    bars.draw()
}

/// Bars of requests: answered, from the cache, failed. `None` where there were none.
pub(super) fn draw_requests(step: &str, sentence: String, columns: Vec<Column>, sums: &[Cell]) -> Option<Chart> {
    if sums.iter().all(|cell| cell.requests == 0) {
        return None;
    }
    let part = |name: &str, rank: usize, value: fn(&Cell) -> u64| Series {
        name: name.to_owned(),
        slot: Slot::of_rank(rank),
        values: sums.iter().map(value).collect(),
    };
    let bars = Bars {
        id: "rate".to_owned(),
        sentence,
        step: step.to_owned(),
        height: 84,
        columns,
        series: vec![
            part("OK", 0, |cell| cell.requests.saturating_sub(cell.failed + cell.cache_hits)),
            part("From cache", 2, |cell| cell.cache_hits),
            part("Failed", 1, |cell| cell.failed),
        ],
        has_sums: false,
    };
    bars.draw()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(range: (&str, &str), window: Window, zone: &str) -> Vec<String> {
        let zone = TimeZone::get(zone).unwrap();
        let range = TimeRange { from: range.0.parse().unwrap(), until: range.1.parse().unwrap() };
        let clock = Clock::new(range.until, zone.clone());
        let steps = Steps::new(range, window, range.until, &zone, &clock);
        steps.columns.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn steps_have_the_names_of_the_ledgers_groups() {
        let days = steps(("2026-11-20T15:00:00Z", "2026-11-22T15:00:00Z"), Window::Day, "Asia/Seoul");
        assert_eq!(days, ["2026-11-21", "2026-11-22"]);
        let hours = steps(("2026-11-20T22:00:00Z", "2026-11-21T01:00:00Z"), Window::Hour, "UTC");
        assert_eq!(hours, ["2026-11-20T22", "2026-11-20T23", "2026-11-21T00"]);
    }

    #[test]
    fn a_day_on_which_clocks_change_is_one_step_and_its_hours_come_once() {
        let days = steps(("2026-10-23T22:00:00Z", "2026-10-25T23:00:00Z"), Window::Day, "Europe/Berlin");
        assert_eq!(days, ["2026-10-24", "2026-10-25"]);
        let hours = steps(("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"), Window::Hour, "Europe/Berlin");
        assert_eq!(hours.len(), 24);
    }
}
