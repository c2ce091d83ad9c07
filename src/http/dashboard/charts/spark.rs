//! Sparklines: the shape of a number's day, without scale.

use std::fmt::Write as _;

use askama::Template;
use askama::filters::HtmlSafe;

use super::{Px, Slot};

const HEIGHT: f64 = 26.0;
const MARGIN: f64 = 2.0;

/// A small line with its area.
#[derive(Clone, Debug, Template)]
#[template(path = "charts/spark.html")]
pub struct Spark {
    /// What it shows, in words.
    pub label: String,
    /// Its colour.
    pub slot: Slot,
    /// The line.
    pub line: String,
    /// The area under it.
    pub area: String,
}

/// Its template escapes every value.
impl HtmlSafe for Spark {}

impl Spark {
    /// Draws the values, or nothing for fewer than two; what is no number is left out.
    pub fn new(label: impl Into<String>, slot: Slot, values: &[f64]) -> Option<Self> {
        let values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        if values.len() < 2 {
            return None;
        }
        let highest = values.iter().copied().fold(0.0, f64::max);
        let last = (values.len() - 1) as f64;
        let mut line = String::new();
        for (index, value) in values.iter().enumerate() {
            let share = if highest > 0.0 { (value / highest).clamp(0.0, 1.0) } else { 0.0 };
            let x = Px::new(index as f64 / last * 100.0);
            let y = Px::new(HEIGHT - MARGIN - share * (HEIGHT - 2.0 * MARGIN));
            let verb = if index == 0 { 'M' } else { 'L' };
            write!(line, "{verb}{x} {y}").expect("writing to a string can't fail");
        }
        let area = format!("{line}L100 {HEIGHT}L0 {HEIGHT}Z");
        Some(Self { label: label.into(), slot, line, area })
    }
}
