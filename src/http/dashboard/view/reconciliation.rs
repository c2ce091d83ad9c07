//! `/costs/reconciliation`: what providers charged beside what was booked.

use askama::Template;

use super::super::format::{Count, Moment, Money};
use super::layout::Layout;
use super::parts::{Badge, Card, Choice};

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "reconciliation/page.html")]
pub struct ReconciliationPage {
    /// The page around it.
    pub layout: Layout,
    /// The ranges.
    pub ranges: Vec<Choice>,
    /// The range in force, sent on with the button.
    pub range: &'static str,
    /// Whether any provider has an admin key.
    pub can_fetch: bool,
    /// The providers whose reports are fetched.
    pub sources: Vec<SourceRow>,
    /// A row for each provider and day.
    pub days: Card<Vec<DayRow>>,
    /// The models of the day that is chosen.
    pub chosen: Option<ChosenDay>,
}

/// A provider whose reports are fetched.
#[derive(Clone, Debug)]
pub struct SourceRow {
    /// Its name.
    pub name: String,
    /// How the last fetch went.
    pub state: Badge,
    /// When that was.
    pub tried: Option<Moment>,
    /// Why it failed.
    pub note: Option<String>,
}

/// One day of one provider.
#[derive(Clone, Debug)]
pub struct DayRow {
    /// `20 Nov`.
    pub day: String,
    /// The provider.
    pub provider: String,
    /// Shows its models.
    pub href: String,
    /// True for the day whose models are shown.
    pub is_current: bool,
    /// What was booked.
    pub ours: Money,
    /// What was charged.
    pub theirs: Option<Money>,
    /// Beside theirs, where it is no money that they told.
    pub basis: Option<&'static str>,
    /// How far apart.
    pub drift: String,
    /// What that means.
    pub state: Badge,
    /// Calls that are not certain.
    pub doubts: Option<String>,
}

/// The models of a day.
#[derive(Clone, Debug)]
pub struct ChosenDay {
    /// `openai on 20 Nov`.
    pub title: String,
    /// When the provider's word came.
    pub told: Option<Moment>,
    /// The models, the largest difference first.
    pub rows: Vec<ModelRow>,
}

/// One model of a day.
#[derive(Clone, Debug)]
pub struct ModelRow {
    /// As we call it.
    pub name: String,
    /// As they call it, where that differs.
    pub sub: Option<String>,
    /// What was booked.
    pub ours: Money,
    /// What was charged.
    pub theirs: Option<Money>,
    /// Beside theirs, where it is no money that they told.
    pub basis: Option<&'static str>,
    /// How far apart, with what that means where it means something.
    pub drift: Badge,
    /// Our tokens in and out.
    pub our_tokens: (Count, Count),
    /// Theirs.
    pub their_tokens: Option<(Count, Count)>,
}
