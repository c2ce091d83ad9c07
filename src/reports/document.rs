//! A report in words and tables, before anybody writes it as Markdown or HTML.
//!
//! Every number is rounded here once, by the rules of [`crate::domain::wording`], so that all writings agree. Names come
//! from anybody: they are spans of their own, and whoever writes a document escapes every span.

use std::time::Duration;

use super::{BudgetLine, Group, Kind, Report};
use crate::budget::window_words;
use crate::domain::wording::{
    MoneyColumn, NO_VALUE, change, count_exact, counted, duration, money, money_whole, percent, percent_whole, share,
};
use crate::domain::{Picodollars, RequestId};
use crate::ledger::{Cell, Entry};

/// Groups that a table tells by name; the rest are one row.
const GROUPS_TOLD: usize = 15;
/// Models, budgets and errors that a sentence tells by name.
const NAMES_TOLD: usize = 3;
/// A change below this many percent is none.
const CHANGE_PERCENT_MIN: f64 = 0.5;
/// The heading of what needs a look.
pub(super) const STOOD_OUT: &str = "What stood out";

/// A report to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The day or month.
    pub title: String,
    /// What comes first: one paragraph each.
    pub lead: Vec<Line>,
    /// Everything else.
    pub sections: Vec<Section>,
    /// When and from what it was made.
    pub written: String,
}

/// A part with a heading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// The heading.
    pub heading: &'static str,
    /// What stands below it.
    pub blocks: Vec<Block>,
}

/// What a section is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// Sentences.
    Paragraph(Line),
    /// Points.
    List(Vec<Line>),
    /// Rows.
    Table(Table),
}

/// A table; columns of numbers stand to the right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// What each column is, and whether it has numbers.
    pub heads: Vec<(&'static str, bool)>,
    /// As many cells in each as there are heads.
    pub rows: Vec<Vec<Line>>,
}

/// Words that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(pub Vec<Span>);

/// How words are set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// As they are.
    Plain(String),
    /// Stronger.
    Strong(String),
    /// The id of a call, which pages link to it.
    Call(RequestId),
}

impl Line {
    fn new(text: impl Into<String>) -> Self {
        Self::default().plain(text)
    }

    fn plain(mut self, text: impl Into<String>) -> Self {
        self.0.push(Span::Plain(text.into()));
        self
    }

    fn strong(mut self, text: impl Into<String>) -> Self {
        self.0.push(Span::Strong(text.into()));
        self
    }

    /// The words alone.
    pub fn to_plain(&self) -> String {
        let text = |span: &Span| match span {
            Span::Plain(text) | Span::Strong(text) => text.clone(),
            Span::Call(id) => id.to_string(),
        };
        self.0.iter().map(text).collect()
    }
}

impl Table {
    /// Whether a column has numbers.
    pub fn is_number(&self, column: &usize) -> bool {
        self.heads.get(*column).is_some_and(|(_, is_number)| *is_number)
    }
}

impl Section {
    fn table(heading: &'static str, table: Table) -> Self {
        Self { heading, blocks: vec![Block::Table(table)] }
    }
}

impl Report {
    /// The report in words and tables.
    pub fn document(&self) -> Document {
        let mut sections = Vec::new();
        let stood_out = self.stood_out();
        if !stood_out.is_empty() {
            sections.push(Section { heading: STOOD_OUT, blocks: vec![Block::List(stood_out)] });
        }
        if !self.budgets.is_empty() {
            sections.push(Section::table("Budgets", self.budget_table()));
        }
        for (heading, head, groups, unnamed) in [
            ("By provider", "Provider", &self.providers, "no provider asked"),
            ("By model", "Model", &self.models, "no provider asked"),
            ("By operation", "Operation", &self.operations, "–"),
            ("By team", "Team", &self.teams, "no team"),
            ("By key", "Key", &self.keys, "–"),
        ] {
            // Where nobody is in a team there is nothing to tell apart.
            if groups.iter().any(|group| !group.name.is_empty()) {
                sections.push(Section::table(heading, self.group_table(head, groups, unnamed)));
            }
        }
        if !self.extremes.dearest.is_empty() {
            sections.push(self.calls("Dearest calls", &self.extremes.dearest));
        }
        if !self.extremes.slowest.is_empty() {
            sections.push(self.calls("Slowest calls", &self.extremes.slowest));
        }
        Document { title: self.period.title(), lead: self.lead(), sections, written: self.written_words() }
    }

    fn written_words(&self) -> String {
        let at = self.period.zone.to_datetime(self.written).strftime("%-d %b %Y, %H:%M");
        format!("written {at} {} from {}", self.period.zone_name(), counted(self.total.requests, "request", "requests"))
    }

    fn lead(&self) -> Vec<Line> {
        let (total, compared) = (&self.total, self.period.compared());
        let mut lines = Vec::new();
        if total.requests == 0 {
            lines.push(Line::default().strong("Nothing was spent").plain(": no request came in."));
        } else {
            let mut line = Line::default().strong(format!("{} spent", money(total.cost)));
            let against = change_words(self.before.cost, total.cost, compared);
            line = line.plain(format!(" on {}, {against}.", counted(total.requests, "request", "requests")));
            if !total.saved.is_zero() {
                line = line.plain(format!(
                    " The response cache saved {} on {}.",
                    money(total.saved),
                    counted(total.cache_hits, "hit", "hits")
                ));
            }
            let failed = match total.failed {
                0 => " No request failed.".to_owned(),
                failed => {
                    let rate = percent(share(failed as f64, total.requests as f64));
                    let was = share(self.before.failed as f64, self.before.requests as f64);
                    let was = if was.is_finite() { format!(", {} {compared}", percent(was)) } else { String::new() };
                    format!(" {} failed ({rate}{was}).", counted(failed, "request", "requests"))
                }
            };
            lines.push(line.plain(failed));
        }
        if self.period.is_running {
            let mut text = "It is not over yet".to_owned();
            if let Some(forecast) = self.forecast {
                text += &format!(": at this pace it comes to about {}", money(forecast));
            }
            if !self.held.is_zero() {
                text += &format!("; {} more are held for calls that still run", money(self.held));
            }
            lines.push(Line::new(text + "."));
        }
        lines
    }

    /// What needs a look, most urgent first.
    fn stood_out(&self) -> Vec<Line> {
        let mut items: Vec<Line> = self.budgets.iter().filter_map(budget_item).collect();
        let total = &self.total;
        if total.unpriced > 0 {
            let models: Vec<&str> =
                self.models.iter().filter(|model| model.sums.unpriced > 0).map(Group::shown).collect();
            items.push(Line::new(format!(
                "{} had no known price, and {} as $0.00 unless priced again since: {}.",
                counted(total.unpriced, "attempt", "attempts"),
                if total.unpriced == 1 { "counts" } else { "count" },
                named(&models)
            )));
        }
        if total.unknown > 0 {
            items.push(Line::new(format!(
                "{} of unknown end, booked at {}: all that was held, unless adjusted since.",
                counted(total.unknown, "request is", "requests are"),
                money(total.unknown_cost)
            )));
        }
        if !self.extremes.errors.is_empty() {
            let told = self.extremes.errors.iter().take(NAMES_TOLD);
            let told: Vec<String> = told.map(|(code, count)| format!("{code} ({})", count_exact(*count))).collect();
            items.push(Line::new(format!("Most frequent errors: {}{}.", told.join(", "), self.of_the_last())));
        }
        items.extend(self.moved());
        items.extend(self.month_item());
        items
    }

    /// The model whose cost has moved most.
    fn moved(&self) -> Option<Line> {
        if self.before.cost.is_zero() {
            return None;
        }
        let difference = |group: &Group| (group.sums.cost - group.before).get().abs();
        let group = self.models.iter().max_by_key(|group| difference(group)).filter(|group| difference(group) > 0)?;
        let (was, is, compared) = (group.before, group.sums.cost, self.period.compared());
        let apart = money(Picodollars::new(difference(group)));
        let line = Line::default().strong(group.shown());
        Some(match (was.is_zero(), is > was) {
            (true, _) => line.plain(format!(" is new: {}, and nothing {compared}.", money(is))),
            (false, true) => line.plain(format!(
                " rose by {}: {apart} more than {compared}.",
                percent_whole(is.percent_of(was) - 100.0)
            )),
            (false, false) => line.plain(format!(
                " fell by {}: {apart} less than {compared}.",
                percent_whole(100.0 - is.percent_of(was))
            )),
        })
    }

    fn month_item(&self) -> Option<Line> {
        let month = self.month.filter(|month| !month.spent.is_zero())?;
        let name = month.window.first_date()?.strftime("%B").to_string();
        let spent = format!("{name} so far: {}", money(month.spent));
        Some(Line::new(match month.forecast {
            Some(forecast) => format!("{spent}; at this pace it comes to about {}.", money(forecast)),
            None => format!("{spent}."),
        }))
    }

    fn budget_table(&self) -> Table {
        let row = |budget: &BudgetLine| {
            let limit = budget.definition.limit;
            let spent = budget.spent.map_or_else(|| NO_VALUE.to_owned(), money);
            let used = budget.spent.map_or_else(|| NO_VALUE.to_owned(), |spent| percent_whole(used(spent, limit)));
            let forecast =
                budget.forecast.map_or_else(|| NO_VALUE.to_owned(), |forecast| format!("about {}", money(forecast)));
            [
                budget.name.clone(),
                window_words(budget.definition.window).to_owned(),
                spent,
                money_whole(limit),
                used,
                forecast,
            ]
            .map(Line::new)
            .to_vec()
        };
        Table {
            heads: vec![
                ("Budget", false),
                ("Window", false),
                ("Spent", true),
                ("Limit", true),
                ("Used", true),
                ("At this pace", true),
            ],
            rows: self.budgets.iter().map(row).collect(),
        }
    }

    fn group_table(&self, head: &'static str, groups: &[Group], unnamed: &str) -> Table {
        let spend = MoneyColumn::of(groups.iter().map(|group| group.sums.cost));
        let row = |name: &str, sums: &Cell, before: Picodollars| {
            let share_of = percent_whole(share(sums.cost.to_dollars_f64(), self.total.cost.to_dollars_f64()));
            let changed = change(before, sums.cost).map_or_else(|| NO_VALUE.to_owned(), |change| change.text);
            let name = if name.is_empty() { unnamed } else { name };
            let failed = if sums.failed == 0 {
                "0".to_owned()
            } else {
                percent(share(sums.failed as f64, sums.requests as f64))
            };
            [name.to_owned(), spend.text(sums.cost), share_of, changed, count_exact(sums.requests), failed]
                .map(Line::new)
                .to_vec()
        };
        let mut rows: Vec<_> =
            groups.iter().take(GROUPS_TOLD).map(|group| row(&group.name, &group.sums, group.before)).collect();
        if groups.len() > GROUPS_TOLD {
            let mut rest = Cell::default();
            let mut before = Picodollars::ZERO;
            for group in &groups[GROUPS_TOLD..] {
                rest.add(&group.sums);
                before += group.before;
            }
            rows.push(row(&format!("{} more", groups.len() - GROUPS_TOLD), &rest, before));
        }
        Table {
            heads: vec![
                (head, false),
                ("Spend", true),
                ("Share", true),
                ("Change", true),
                ("Requests", true),
                ("Failed", true),
            ],
            rows,
        }
    }

    fn calls(&self, heading: &'static str, calls: &[Entry]) -> Section {
        let spend = MoneyColumn::of(calls.iter().map(Entry::cost));
        let format = if self.period.kind == Kind::Daily { "%H:%M:%S" } else { "%-d %b, %H:%M" };
        let row = |entry: &Entry| {
            let at = self.period.zone.to_datetime(entry.time()).strftime(format).to_string();
            let model = entry.model().unwrap_or(&entry.facts.requested_model).to_string();
            let took = duration(Duration::from_millis(entry.latency_ms.into()));
            let told = [at, model, entry.facts.key_name.to_string(), took, spend.text(entry.cost())].map(Line::new);
            told.into_iter().chain([Line(vec![Span::Call(entry.facts.id)])]).collect()
        };
        let table = Table {
            heads: vec![
                ("Time", false),
                ("Model", false),
                ("Key", false),
                ("Took", true),
                ("Cost", true),
                ("Call", false),
            ],
            rows: calls.iter().map(row).collect(),
        };
        let mut section = Section::table(heading, table);
        if !self.extremes.is_whole {
            let told = format!("Of the last {}.", counted(self.extremes.looked_at, "call", "calls"));
            section.blocks.insert(0, Block::Paragraph(Line::new(told)));
        }
        section
    }

    /// Said of what comes from single calls, where not all of them were looked at.
    fn of_the_last(&self) -> String {
        if self.extremes.is_whole {
            String::new()
        } else {
            format!(", of the last {}", counted(self.extremes.looked_at, "call", "calls"))
        }
    }

    /// The dearest models in a sentence.
    pub(super) fn dearest_models(&self) -> Option<String> {
        let told = self.models.iter().filter(|model| !model.sums.cost.is_zero()).take(NAMES_TOLD);
        let told: Vec<String> = told.map(|model| format!("{} {}", model.shown(), money(model.sums.cost))).collect();
        (!told.is_empty()).then(|| format!("Most went to {}.", told.join(", ")))
    }
}

impl Group {
    fn shown(&self) -> &str {
        if self.name.is_empty() { "no provider asked" } else { &self.name }
    }
}

/// How much of a limit is used, in percent; a limit of nothing is used from the start.
pub(super) fn used(spent: Picodollars, limit: Picodollars) -> f64 {
    if limit.is_zero() { 100.0 } else { spent.percent_of(limit) }
}

/// What is said of a budget that is used up, or will be before its window ends.
fn budget_item(budget: &BudgetLine) -> Option<Line> {
    let (spent, limit) = (budget.spent?, budget.definition.limit);
    let name = format!("{}, {}", budget.name, window_words(budget.definition.window));
    let line = Line::default().strong(name);
    if spent >= limit {
        return Some(line.plain(format!(": its limit of {} is used up.", money_whole(limit))));
    }
    let forecast = budget.forecast.filter(|forecast| *forecast > limit)?;
    let over = money(forecast - limit);
    Some(line.plain(format!(": at this pace it comes to about {}, {over} over its limit.", money(forecast))))
}

/// How a cost moved, in a sentence.
fn change_words(before: Picodollars, now: Picodollars, compared: &str) -> String {
    if before.is_zero() {
        return if now.is_zero() { format!("nothing {compared} either") } else { format!("nothing {compared}") };
    }
    match now.percent_of(before) - 100.0 {
        change if change.abs() < CHANGE_PERCENT_MIN => format!("the same as {compared}"),
        change if change > 0.0 => format!("{} more than {compared}", percent_whole(change)),
        change => format!("{} less than {compared}", percent_whole(-change)),
    }
}

/// Names in a row, the first few of them.
fn named(names: &[&str]) -> String {
    let told: Vec<&str> = names.iter().take(NAMES_TOLD).copied().collect();
    match names.len().saturating_sub(NAMES_TOLD) {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}
