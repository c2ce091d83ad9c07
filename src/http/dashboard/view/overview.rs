//! `/`: what it costs, whether it is healthy, what needs the reader.

use askama::Template;
use askama::filters::HtmlSafe;

use super::super::charts::{Chart, Meter, Strip};
use super::layout::Layout;
use super::parts::{Badge, Card, Choice, Kpi, Link, Phrase, RequestRow, Tone};

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "overview/page.html")]
pub struct OverviewPage {
    /// The page around it.
    pub layout: Layout,
    /// What needs the reader.
    pub attention: Attention,
    /// The tiles; the second one is the wide one with the month's budget.
    pub kpis: Vec<Kpi>,
    /// Spend by model.
    pub spend: SpendCard,
    /// The latest calls, newest first.
    pub requests: Card<Vec<RequestRow>>,
    /// The providers.
    pub providers: ProvidersCard,
    /// The budgets closest to their limit.
    pub budgets: BudgetsCard,
}

/// Fills `#attention`.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "overview/attention.html")]
pub struct Attention {
    /// Most urgent first.
    pub items: Vec<AttentionItem>,
    /// True in a live update.
    pub is_update: bool,
}

/// Its template escapes every value.
impl HtmlSafe for Attention {}

/// One thing that needs the reader.
#[derive(Clone, Debug)]
pub struct AttentionItem {
    /// How urgent it is.
    pub tone: Tone,
    /// The fact strongly, then the consequence.
    pub text: Phrase,
    /// The way out.
    pub action: Link,
}

/// Fills `#spend-chart`.
#[derive(Clone, Debug, Template)]
#[template(path = "overview/spend-chart.html")]
pub struct SpendCard {
    /// `$488.78 in 30 days`.
    pub summary: String,
    /// 24 h, 7 d, 30 d, month.
    pub ranges: Vec<Choice>,
    /// The page's own address, to draw it again.
    pub href: String,
    /// The drawing.
    pub chart: Card<Chart>,
}

/// Its template escapes every value.
impl HtmlSafe for SpendCard {}

/// Fills `#providers`.
#[derive(Clone, Debug, Template)]
#[template(path = "overview/providers.html")]
pub struct ProvidersCard {
    /// `last 16 hours`.
    pub range: String,
    /// The configured providers.
    pub lines: Card<Vec<ProviderLine>>,
    /// True in a live update.
    pub is_update: bool,
}

/// Its template escapes every value.
impl HtmlSafe for ProvidersCard {}

/// One provider.
#[derive(Clone, Debug)]
pub struct ProviderLine {
    /// Its name.
    pub name: String,
    /// How it is.
    pub tone: Tone,
    /// In a word, where it is not well.
    pub badge: Option<Badge>,
    /// `p95 4.6 s · 3.1% errors`.
    pub summary: String,
    /// Its last hours.
    pub strip: Strip,
}

/// Fills `#budgets`.
#[derive(Clone, Debug, Template)]
#[template(path = "overview/budgets.html")]
pub struct BudgetsCard {
    /// The closest to their limit, worst first.
    pub lines: Card<Vec<BudgetLine>>,
    /// True in a live update.
    pub is_update: bool,
}

/// Its template escapes every value.
impl HtmlSafe for BudgetsCard {}

/// One budget.
#[derive(Clone, Debug)]
pub struct BudgetLine {
    /// Its name.
    pub name: String,
    /// Where it is set.
    pub href: String,
    /// `$35.20 of $40 · 4 days left`.
    pub summary: String,
    /// How much is used.
    pub meter: Meter,
}

/// The `kpi` event: parts that have changed, each of which replaces itself by its id.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "overview/update.html")]
pub struct LiveUpdate {
    /// Tiles that have changed.
    pub kpis: Vec<Kpi>,
    /// What needs the reader, where it has changed.
    pub attention: Option<Attention>,
    /// The providers, where they have changed.
    pub providers: Option<ProvidersCard>,
    /// The budgets, where they have changed.
    pub budgets: Option<BudgetsCard>,
}

impl LiveUpdate {
    /// Marks every part as an update, so that it replaces the one on the page.
    #[must_use]
    pub fn marked(mut self) -> Self {
        for kpi in &mut self.kpis {
            kpi.is_update = true;
        }
        if let Some(attention) = &mut self.attention {
            attention.is_update = true;
        }
        if let Some(providers) = &mut self.providers {
            providers.is_update = true;
        }
        if let Some(budgets) = &mut self.budgets {
            budgets.is_update = true;
        }
        self
    }
}
