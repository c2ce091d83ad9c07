//! A report from the ledger: sums from rollups, budgets from the same sums.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{Date, date};

use super::{BudgetLine, Group, Kind, MonthSoFar, Period, Report};
use crate::budget::{budget_name, outlook, scope_of};
use crate::domain::{BudgetDefinition, BudgetScope, KeyId, Picodollars, Window, WindowId};
use crate::keys::Keys;
use crate::ledger::{CostGroup, Costs, GroupBy, Ledger, LedgerError, TimeRange};

/// Single calls of each kind that a report tells.
const CALLS_TOLD: usize = 10;
/// What a report sums by, in the order of its sections.
const GROUPINGS: [GroupBy; 5] = [GroupBy::Provider, GroupBy::Model, GroupBy::Operation, GroupBy::Team, GroupBy::Key];
/// Where sums over all time begin: before anything that was ever booked.
const BEGINNING: Date = date(2000, 1, 1);

impl Report {
    /// The report of a period, as it can be told now. Blocking: reads the ledger, for a month of a million calls about a second.
    pub fn of(period: Period, ledger: &Ledger, keys: &Keys, now: Timestamp) -> Result<Self, LedgerError> {
        let sums = Sums::read(ledger, period.range)?;
        let before = Sums::read(ledger, period.before)?;
        let groups = |by: &GroupBy| {
            let was: HashMap<&str, Picodollars> =
                before.groups(by).iter().map(|group| (group.name.as_str(), group.sums.cost)).collect();
            let group = |CostGroup { name, sums, .. }: &CostGroup| {
                let (shown, id) = if *by == GroupBy::Key { key_name(keys, name) } else { (name.clone(), None) };
                Group { name: shown, id, sums: *sums, before: was.get(name.as_str()).copied().unwrap_or_default() }
            };
            sums.groups(by).iter().map(group).collect::<Vec<_>>()
        };
        let [providers, models, operations, teams, key_groups] = GROUPINGS.each_ref().map(groups);
        let mut windows = Windows { period: &period, ledger, now, read: HashMap::new() };
        let total = sums.costs[0].total;
        let forecast = period.is_running.then(|| outlook(period.window, &period.zone, now, total.cost, None).forecast);
        let forecast = forecast.flatten();
        let month = match period.kind {
            Kind::Monthly => None,
            Kind::Daily => Some(windows.month()?.with_day(total.cost, forecast)),
        };
        let mut budgets = Vec::new();
        for definition in keys.budgets().iter() {
            budgets.extend(windows.budget(definition, keys)?);
        }
        Ok(Self {
            written: now,
            total,
            before: before.costs[0].total,
            held: sums.costs[0].held,
            forecast,
            month,
            budgets,
            providers,
            models,
            operations,
            teams,
            keys: key_groups,
            extremes: ledger.extremes(period.range, CALLS_TOLD)?,
            period,
        })
    }
}

/// A key's name, with its id where it is known by another.
fn key_name(keys: &Keys, id: &str) -> (String, Option<String>) {
    let key = KeyId::new(id).ok().and_then(|id| keys.get(&id));
    (key.map_or_else(|| id.to_owned(), |key| key.name.clone()), Some(id.to_owned()))
}

/// The sums of a range of time under every grouping.
struct Sums {
    costs: Vec<Costs>,
}

impl Sums {
    fn read(ledger: &Ledger, range: TimeRange) -> Result<Self, LedgerError> {
        Ok(Self { costs: ledger.costs_by_each(range, &GROUPINGS)? })
    }

    fn groups(&self, by: &GroupBy) -> &[CostGroup] {
        let place = GROUPINGS.iter().position(|grouping| grouping == by);
        place.map_or(&[], |place| &self.costs[place].groups)
    }

    /// What a scope comes to; `None` where rollups don't tell it.
    fn of_scope(&self, scope: &BudgetScope) -> Option<Picodollars> {
        let by = match scope {
            BudgetScope::Everything => return Some(self.costs[0].total.cost),
            BudgetScope::Provider(_) => GroupBy::Provider,
            // The groups have the names of models alone.
            BudgetScope::Model(models) if models.as_str().contains('/') => return None,
            BudgetScope::Model(models) => {
                let of_it = self.groups(&GroupBy::Model).iter().filter(|group| models.fits_model(&group.name));
                return Some(of_it.map(|group| group.sums.cost).sum());
            }
            BudgetScope::Operation(_) => GroupBy::Operation,
            BudgetScope::Team(_) => GroupBy::Team,
            BudgetScope::Key(_) => GroupBy::Key,
            BudgetScope::Tag { .. } | BudgetScope::Run(_) => return None,
        };
        let name = scope.id()?;
        let found = self.groups(&by).iter().find(|group| group.name == name);
        Some(found.map(|group| group.sums.cost).unwrap_or_default())
    }
}

/// The windows that the end of a period lies in, each summed up to that end and read once.
struct Windows<'a> {
    period: &'a Period,
    ledger: &'a Ledger,
    now: Timestamp,
    read: HashMap<Window, Sums>,
}

impl Windows<'_> {
    /// The last moment that counts.
    fn last(&self) -> Timestamp {
        let until = self.period.known_until(self.now);
        Timestamp::from_millisecond(until.as_millisecond() - 1).unwrap_or(until)
    }

    fn at_the_end(&self, window: Window) -> WindowId {
        window.at(self.last(), &self.period.zone)
    }

    fn sums(&mut self, window: Window) -> Result<&Sums, LedgerError> {
        if !self.read.contains_key(&window) {
            let zone = &self.period.zone;
            let beginning = || zone.to_ambiguous_timestamp(BEGINNING.at(0, 0, 0, 0)).compatible().unwrap_or_default();
            let from = self.at_the_end(window).start(zone).unwrap_or_else(beginning);
            let sums = Sums::read(self.ledger, TimeRange { from, until: self.period.range.until })?;
            self.read.insert(window, sums);
        }
        Ok(&self.read[&window])
    }

    fn month(&mut self) -> Result<MonthSoFar, LedgerError> {
        let spent = self.sums(Window::Month)?.costs[0].total.cost;
        let window = self.at_the_end(Window::Month);
        Ok(MonthSoFar { window, spent, forecast: self.forecast(window, spent) })
    }

    /// What a window comes to at its pace by the end of the period; nothing once it is over.
    fn forecast(&self, window: WindowId, spent: Picodollars) -> Option<Picodollars> {
        let until = self.period.known_until(self.now);
        let is_over = window.end(&self.period.zone).is_none_or(|end| end <= until);
        if is_over { None } else { outlook(window, &self.period.zone, until, spent, None).forecast }
    }

    /// How a budget stood; nothing where its windows are shorter than the period, or it was set after it.
    fn budget(&mut self, definition: &Arc<BudgetDefinition>, keys: &Keys) -> Result<Option<BudgetLine>, LedgerError> {
        if definition.window < self.period.kind.window() || definition.created >= self.period.range.until {
            return Ok(None);
        }
        let window = self.at_the_end(definition.window);
        let spent = match self.sums(definition.window)?.of_scope(&definition.scope) {
            Some(spent) => Some(spent),
            None => self.balance(definition, window)?,
        };
        Ok(Some(BudgetLine {
            definition: Arc::clone(definition),
            name: budget_name(definition, keys),
            spent,
            forecast: spent.and_then(|spent| self.forecast(window, spent)),
        }))
    }

    /// The kept sum of a window, which stands for its end or for now: of a moment in between nothing is kept.
    fn balance(&self, definition: &BudgetDefinition, window: WindowId) -> Result<Option<Picodollars>, LedgerError> {
        let is_for_its_end = window.end(&self.period.zone) == Some(self.period.range.until);
        if !is_for_its_end && self.now >= self.period.range.until {
            return Ok(None);
        }
        Ok(Some(self.ledger.balance(&scope_of(&definition.scope), window)?.spent))
    }
}
