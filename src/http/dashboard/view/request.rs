//! `/requests/{id}`: what happened to one call, and what each line of it cost.

use askama::Template;

use super::super::charts::TimeBar;
use super::super::format::{count_exact, money_lines, price_per_million};
use super::layout::Layout;
use super::parts::{Badge, Card, Field, Kpi, Notice, Phrase, Tone};
use crate::domain::{Picodollars, Price};

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "request/page.html")]
pub struct RequestPage {
    /// The page around it.
    pub layout: Layout,
    /// The call's id.
    pub id: String,
    /// How it ended, and what was special about it.
    pub badges: Vec<Badge>,
    /// What went wrong, where something did.
    pub error: Option<Notice>,
    /// Five tiles.
    pub kpis: Vec<Kpi>,
    /// `14:32:02.790 to 14:32:07.100 UTC`.
    pub timeline_range: String,
    /// The steps, in order.
    pub timeline: Card<Vec<TimelineStep>>,
    /// Why it went where it went, where a route was asked.
    pub decision: Option<DecisionCard>,
    /// What each line cost.
    pub cost: Card<CostLines>,
    /// Where the prices come from, and what was free.
    pub cost_note: Option<String>,
    /// What it costs more or less than was booked, oldest first.
    pub adjustments: Vec<AdjustmentLine>,
    /// The form of another, where nobody has seen the call's end.
    pub adjust_form: Option<AdjustForm>,
    /// The tokens in disjoint buckets; those with none are left out.
    pub usage: Vec<UsageLine>,
    /// The provider's own words about the usage, as JSON.
    pub raw_usage: Option<String>,
    /// What the call said and was told, where that is kept.
    pub contents: Vec<KeptText>,
    /// Names and ids.
    pub details: Vec<Detail>,
}

/// What a call costs more or less.
#[derive(Clone, Debug)]
pub struct AdjustmentLine {
    /// `By hand, user "ada"`.
    pub by: String,
    /// When it was made.
    pub time: String,
    /// Why.
    pub reason: String,
    /// How much.
    pub amount: String,
}

/// The form of what a call has cost in truth.
#[derive(Clone, Debug)]
pub struct AdjustForm {
    /// Where it goes.
    pub href: String,
    /// The amount in dollars.
    pub cost: Field,
    /// How it is known.
    pub reason: Field,
    /// Whether to ask if more is meant than was held.
    pub asks_above_held: bool,
    /// What went wrong beside the fields.
    pub error: Option<String>,
}

/// Why a call went where it went.
#[derive(Clone, Debug)]
pub struct DecisionCard {
    /// The route.
    pub route: String,
    /// How it chose.
    pub strategy: &'static str,
    /// The deployment that was tried first.
    pub chosen: String,
    /// Why that one.
    pub reason: &'static str,
    /// All candidates, in the order in which they were tried.
    pub lines: Vec<DecisionLine>,
    /// What was expected of the call.
    pub note: Option<String>,
}

impl DecisionCard {
    /// Whether costs were compared.
    pub fn has_costs(&self) -> bool {
        self.lines.iter().any(|line| line.cost.is_some())
    }
}

/// A candidate.
#[derive(Clone, Debug)]
pub struct DecisionLine {
    /// `openai/gpt-5`.
    pub deployment: String,
    /// Why it stands behind those that were asked: `left out` where it can't take the call, `not asked` where no attempt came to it.
    pub out: Option<&'static str>,
    /// What was known of it.
    pub note: String,
    /// What the call was expected to cost there.
    pub cost: Option<String>,
}

/// A body that is kept.
#[derive(Clone, Debug)]
pub struct KeptText {
    /// Whose words it is.
    pub title: &'static str,
    /// The words, which nobody here has chosen.
    pub text: String,
    /// How much of it is shown, where that isn't all.
    pub note: Option<String>,
}

/// A step of a call.
#[derive(Clone, Debug)]
pub struct TimelineStep {
    /// The id of its symbol.
    pub icon: &'static str,
    /// How it went.
    pub tone: Tone,
    /// `Attempt 1, anthropic`.
    pub name: String,
    /// When it was.
    pub bar: TimeBar,
    /// How long it took.
    pub length: String,
    /// What happened.
    pub detail: Phrase,
}

/// The lines of a cost. Printed lines sum to the printed total.
#[derive(Clone, Debug)]
pub struct CostLines {
    /// The lines.
    pub lines: Vec<CostLine>,
    /// All tokens.
    pub tokens: String,
    /// The total.
    pub total: String,
}

/// One line.
#[derive(Clone, Debug)]
pub struct CostLine {
    /// `Input, read from provider cache`.
    pub label: String,
    /// How many tokens, or times.
    pub tokens: String,
    /// `$0.30 per 1M`, where there is a price per token.
    pub price: Option<String>,
    /// What it cost.
    pub cost: String,
}

impl CostLines {
    /// Lines from label, tokens, price per token and cost; their costs must sum to the entry's.
    pub fn new(lines: &[(String, u64, Option<Price>, Picodollars)]) -> Self {
        let costs: Vec<Picodollars> = lines.iter().map(|line| line.3).collect();
        let (costs, total) = money_lines(&costs);
        let tokens = lines.iter().map(|line| line.1).fold(0, u64::saturating_add);
        let lines = lines
            .iter()
            .zip(costs)
            .map(|((label, tokens, price, _), cost)| CostLine {
                label: label.clone(),
                tokens: count_exact(*tokens),
                price: price.map(|price| format!("{} per 1M", price_per_million(price.get()))),
                cost,
            })
            .collect();
        Self { lines, tokens: count_exact(tokens), total }
    }
}

/// One bucket of usage.
#[derive(Clone, Debug)]
pub struct UsageLine {
    /// What it is.
    pub label: String,
    /// The exact number of tokens.
    pub tokens: String,
    /// True for a part of the line above it.
    pub is_part: bool,
}

/// A name or an id.
#[derive(Clone, Debug)]
pub struct Detail {
    /// What it is.
    pub label: String,
    /// What it says.
    pub value: Phrase,
    /// True for what is copied into a terminal.
    pub is_code: bool,
}
