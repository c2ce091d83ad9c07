//! `/costs`: where the money goes, and what has changed.

use askama::Template;

use super::super::charts::{Chart, Meter, Slot};
use super::super::format::{Change, Count, Money};
use super::layout::Layout;
use super::parts::{Card, Choice, Kpi, Phrase};

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "costs/page.html")]
pub struct CostsPage {
    /// The page around it.
    pub layout: Layout,
    /// The ranges.
    pub ranges: Vec<Choice>,
    /// The first day shown, as `2026-11-01`.
    pub from: String,
    /// The last day shown.
    pub to: String,
    /// The grouping in force, sent on with the days.
    pub by: String,
    /// What to group by.
    pub groupings: Vec<Choice>,
    /// The same view as a file.
    pub csv_href: String,
    /// Four tiles.
    pub kpis: Vec<Kpi>,
    /// `Spend per day by model`.
    pub chart_title: String,
    /// `21 Oct to 19 Nov · UTC days`.
    pub chart_range: String,
    /// The drawing.
    pub chart: Card<Chart>,
    /// `By model`.
    pub table_title: String,
    /// The groups.
    pub table: Card<CostTable>,
    /// Where the prices come from.
    pub price_note: Option<Phrase>,
    /// What has changed most, in a sentence.
    pub changed: Option<Phrase>,
}

/// The groups and their sum.
#[derive(Clone, Debug)]
pub struct CostTable {
    /// `Model`.
    pub head: String,
    /// Against what changes are measured: `against the 30 days before`.
    pub compared: String,
    /// The groups, dearest first.
    pub rows: Vec<CostRow>,
    /// Their sum.
    pub total: CostRow,
}

/// One group.
#[derive(Clone, Debug)]
pub struct CostRow {
    /// Its colour in the drawing.
    pub slot: Option<Slot>,
    /// Its name.
    pub name: String,
    /// Below the name: who provides it.
    pub sub: Option<String>,
    /// Its requests.
    pub href: Option<String>,
    /// What was spent.
    pub spend: Money,
    /// Its share as a bar.
    pub meter: Option<Meter>,
    /// Its share in percent.
    pub share: String,
    /// The change against the period before.
    pub change: Option<Change>,
    /// How many requests.
    pub requests: Count,
    /// How many tokens.
    pub tokens: Count,
    /// What a request costs.
    pub per_request: Money,
    /// What the cache has saved.
    pub saved: Money,
}
