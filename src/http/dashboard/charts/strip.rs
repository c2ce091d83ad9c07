//! Health strips: one cell per step of time.

use askama::Template;
use askama::filters::HtmlSafe;

use super::Px;

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// No call was made.
    Quiet,
    /// Nothing failed.
    Good,
    /// Some calls failed.
    Some,
    /// Most calls failed.
    Bad,
}

impl Health {
    /// From calls and failures: bad from half of them on.
    pub fn of(calls: u64, failed: u64) -> Self {
        match (calls, failed) {
            (0, _) => Self::Quiet,
            (_, 0) => Self::Good,
            (calls, failed) if failed.saturating_mul(2) >= calls => Self::Bad,
            _ => Self::Some,
        }
    }

    /// The class of its cell.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Quiet => "n",
            Self::Good => "g",
            Self::Some => "w",
            Self::Bad => "b",
        }
    }
}

/// One step.
#[derive(Clone, Debug)]
pub struct StripCell {
    /// Left edge in percent.
    pub x: Px,
    /// How it went.
    pub health: Health,
    /// When, and how it went, in words.
    pub title: String,
}

/// A row of cells.
#[derive(Clone, Debug, Template)]
#[template(path = "charts/strip.html")]
pub struct Strip {
    /// What it shows, in words.
    pub label: String,
    /// Width of a cell in percent.
    pub width: Px,
    /// The cells, oldest first.
    pub cells: Vec<StripCell>,
}

/// Its template escapes every value.
impl HtmlSafe for Strip {}

impl Strip {
    /// A strip of steps, oldest first.
    pub fn new(label: impl Into<String>, steps: impl ExactSizeIterator<Item = (Health, String)>) -> Self {
        let step = 100.0 / steps.len().max(1) as f64;
        let cells = steps
            .enumerate()
            .map(|(index, (health, title))| StripCell { x: Px::new(step * index as f64), health, title })
            .collect();
        Self { label: label.into(), width: Px::new(step * 0.74), cells }
    }
}
