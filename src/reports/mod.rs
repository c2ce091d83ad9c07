//! What people read of the ledger: a day or a month as a report, and rows for other programs.
//!
//! [`Report::of`] reads one [`Period`] from the rollups, with one bounded look at the entries for single calls that stand
//! out. The rest is pure: [`Report::document`] says it in words and tables, which [`markdown`] and the dashboard write out
//! alike; [`json`] is the same for programs; [`Report::summary`] is a few lines for a chat channel. [`focus`] and [`csv`]
//! write rows. [`due`] says which report is to be sent when. Outcomes of workflows have no place here yet: there are no workflows.

pub mod csv;
mod document;
pub mod focus;
mod gather;
pub mod json;
pub mod markdown;
mod period;
mod schedule;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::{BudgetDefinition, Picodollars, WindowId};
use crate::ledger::{Cell, Extremes};

pub use document::{Block, Document, Line, Section, Span, Table};
pub use period::{Kind, Period, PeriodError};
pub use schedule::due;

/// What is told of one period.
#[derive(Clone, Debug)]
pub struct Report {
    /// The period.
    pub period: Period,
    /// When the report was made.
    pub written: Timestamp,
    /// The sums of the period.
    pub total: Cell,
    /// The sums of the period before: up to the same point where this one still runs.
    pub before: Cell,
    /// Held for calls of the period that still run.
    pub held: Picodollars,
    /// What the period comes to at its pace, where it still runs and has run long enough to tell.
    pub forecast: Option<Picodollars>,
    /// The month that a day lies in, up to its end.
    pub month: Option<MonthSoFar>,
    /// The budgets that the period tells something about.
    pub budgets: Vec<BudgetLine>,
    /// By provider, dearest first.
    pub providers: Vec<Group>,
    /// By model.
    pub models: Vec<Group>,
    /// By what calls were for.
    pub operations: Vec<Group>,
    /// By team; the one without a name are the keys without a team.
    pub teams: Vec<Group>,
    /// By virtual key.
    pub keys: Vec<Group>,
    /// Single calls that stand out, and how calls failed.
    pub extremes: Extremes,
}

/// A month up to some day of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonthSoFar {
    /// The month.
    pub window: WindowId,
    /// What was spent in it.
    pub spent: Picodollars,
    /// What it comes to at this pace; absent where it is too early to tell, or the month is over.
    pub forecast: Option<Picodollars>,
}

/// How a budget stood at the end of the period, against the limit of today.
#[derive(Clone, Debug)]
pub struct BudgetLine {
    /// The budget.
    pub definition: Arc<BudgetDefinition>,
    /// How people call it.
    pub name: String,
    /// What was spent of it; absent where no sum was kept up to that moment.
    pub spent: Option<Picodollars>,
    /// What its window comes to at this pace; absent once the window is over.
    pub forecast: Option<Picodollars>,
}

/// The sums of one provider, model, operation, team or key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name; empty for calls that have none.
    pub name: String,
    /// The id behind the name, of a virtual key.
    pub id: Option<String>,
    /// Its sums.
    pub sums: Cell,
    /// What it cost in the period before.
    pub before: Picodollars,
}

impl MonthSoFar {
    /// The same, without a forecast where its day alone leads beyond it: two paces in one report would contradict each other.
    fn with_day(self, spent: Picodollars, forecast: Option<Picodollars>) -> Self {
        let at_least = forecast.map(|forecast| self.spent - spent + forecast);
        Self { forecast: self.forecast.filter(|month| at_least.is_none_or(|least| *month >= least)), ..self }
    }
}

impl Report {
    /// A few lines of plain text for a chat channel or a mail: what was spent, on what, and what needs a look.
    ///
    /// Names in it are what people have chosen: whoever sends it escapes it as its target needs.
    pub fn summary(&self) -> String {
        let document = self.document();
        let mut lines = vec![format!("Tollgate, {}", document.title)];
        lines.extend(document.lead.iter().map(Line::to_plain));
        lines.extend(self.dearest_models());
        let stood_out = document.sections.iter().filter(|section| section.heading == document::STOOD_OUT);
        for block in stood_out.flat_map(|section| &section.blocks) {
            if let Block::List(items) = block {
                lines.extend(items.iter().map(|item| format!("- {}", item.to_plain())));
            }
        }
        lines.join("\n")
    }
}
