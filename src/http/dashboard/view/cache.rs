//! `/cache`: what kept answers save, which they are, and taking some of them out.

use askama::Template;

use super::super::charts::Chart;
use super::super::format::{Count, Money};
use super::layout::Layout;
use super::parts::{Card, Choice, Field, Kpi, Notice, Phrase};

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "cache/page.html")]
pub struct CachePage {
    /// The page around it.
    pub layout: Layout,
    /// Why there is nothing to see: the cache is off.
    pub off: Option<Notice>,
    /// `2 entries are gone. …`, after a form.
    pub done: Option<String>,
    /// Hit rate, savings, hits, entries.
    pub kpis: Vec<Kpi>,
    /// How far back the chart goes.
    pub ranges: Vec<Choice>,
    /// The hit rate over time.
    pub chart: Card<Chart>,
    /// `Most useful entries`.
    pub heading: String,
    /// What stands first.
    pub orders: Vec<Choice>,
    /// The entries.
    pub rows: Card<Vec<CacheRow>>,
    /// `20 of 18,204 entries`.
    pub count: String,
    /// The form that takes entries out.
    pub invalidation: Invalidation,
    /// Who shares answers, and for how long.
    pub rules: Vec<Phrase>,
}

/// One entry.
#[derive(Clone, Debug)]
pub struct CacheRow {
    /// The beginning of what was asked.
    pub title: String,
    /// `gpt-5 · openai`.
    pub sub: String,
    /// The call that it came from.
    pub href: String,
    /// The key that called.
    pub key: String,
    /// How often it has answered.
    pub hits: Count,
    /// What that has saved.
    pub saved: Money,
    /// How much memory it takes.
    pub size: String,
    /// How long it is still good.
    pub expires_in: String,
    /// Fits this one alone.
    pub pattern: String,
}

/// Taking entries out by a pattern: first they are shown, then they go.
#[derive(Clone, Debug)]
pub struct Invalidation {
    /// What was typed.
    pub pattern: Field,
    /// The order of the list, to come back to.
    pub order: String,
    /// What would go.
    pub preview: Option<InvalidationPreview>,
}

/// What a pattern fits.
#[derive(Clone, Debug)]
pub struct InvalidationPreview {
    /// `Fits 2,310 of 18,204 entries`.
    pub title: String,
    /// What they have saved, and what follows.
    pub text: String,
    /// `Remove 2,310 entries`; nothing where none fits.
    pub button: Option<String>,
}
