//! Drawings, computed here and printed by templates that do no arithmetic.
//!
//! `x` and widths are percent, so bars stretch with the page; `y` and heights are pixels, so text never scales. Lines
//! can't use percent and sit in a nested box of 100 units with a stroke that doesn't scale. Colours are classes only
//! (`f1` fills, `l1` strokes, `a1` areas), so a change of theme repaints without a request. Every value column carries a
//! tip, a title for readers without script, and a row of a table.

mod lines;
mod meter;
mod spark;
mod stacked;
mod strip;
mod timeline;

use std::fmt;

pub use lines::{Line, LineChart};
pub use meter::{Meter, MeterSize};
pub use spark::Spark;
pub use stacked::{Amount, Bars, Column, Rate, Series};
pub use strip::{Health, Strip, StripCell};
pub use timeline::{Phase, TimeBar};

use askama::Template;
use askama::filters::HtmlSafe;

/// Series that a stack shows by name; the rest is `other`.
pub const SERIES_MAX: usize = 5;

/// Pixels between the top of the drawing and its highest value.
const TOP: f64 = 8.0;
/// Pixels under the axis, for its labels.
const BASE: u32 = 22;

/// A position or a length, printed with at most two decimals. What is no number is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Px(f64);

impl Px {
    fn new(value: f64) -> Self {
        Self(if value.is_finite() { value } else { 0.0 })
    }

    /// The number itself.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Px {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.2}", self.0);
        let text = text.trim_end_matches('0').trim_end_matches('.');
        formatter.write_str(if text == "-0" { "0" } else { text })
    }
}

/// Digits, a point and a minus: nothing to escape.
impl HtmlSafe for Px {}

/// The place of a series in the palette: 1 to 6, or `other`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot(u8);

impl Slot {
    /// The grey of `other`.
    pub const OTHER: Self = Self(0);

    /// The colour of a rank, counted from 0; from the seventh on there is only `other`.
    pub fn of_rank(rank: usize) -> Self {
        Self(u8::try_from(rank + 1).ok().filter(|slot| *slot <= 6).unwrap_or(0))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// One digit: nothing to escape.
impl HtmlSafe for Slot {}

/// A line of the grid and its label.
#[derive(Clone, Debug)]
pub struct Tick {
    /// Where the line is.
    pub y: Px,
    /// Where its text stands.
    pub text_y: Px,
    /// What it says.
    pub text: String,
    /// True for the line at nothing.
    pub is_base: bool,
}

/// A label under the axis.
#[derive(Clone, Debug)]
pub struct AxisLabel {
    /// Where it stands, in percent.
    pub x: Px,
    /// `middle`, or `end` for the last one.
    pub anchor: &'static str,
    /// `major`, or `minor` where a phone leaves it out.
    pub class: &'static str,
    /// What it says.
    pub text: String,
}

/// One part of a stacked bar.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its colour.
    pub slot: Slot,
    /// Its upper edge.
    pub y: Px,
    /// Its height; a pixel less than its share, so that neighbours stay apart.
    pub height: Px,
}

/// One value of a line.
#[derive(Clone, Debug)]
pub struct Dot {
    /// Its colour.
    pub slot: Slot,
    /// Its height on the page.
    pub y: Px,
}

/// One column of values: what is drawn there, and what its tip says.
#[derive(Clone, Debug)]
pub struct Point {
    /// Lines of the tip: first its title, then slot, name and value, parted by tabs.
    pub tip: String,
    /// The same in words, for readers without script.
    pub words: String,
    /// Left edge of the area that answers to the pointer, in percent.
    pub hit_x: Px,
    /// Width of that area.
    pub hit_width: Px,
    /// Left edge of the bar.
    pub bar_x: Px,
    /// Width of the bar.
    pub bar_width: Px,
    /// Middle of the column.
    pub middle: Px,
    /// Parts of the bar, lowest first.
    pub segments: Vec<Segment>,
    /// True where the value is a forecast, drawn paler.
    pub is_forecast: bool,
    /// Values of lines.
    pub dots: Vec<Dot>,
}

/// A line or an area of the nested box.
#[derive(Clone, Debug)]
pub struct Path {
    /// `l1` and the like.
    pub class: String,
    /// The path itself.
    pub d: String,
}

/// One name of the legend.
#[derive(Clone, Debug)]
pub struct LegendEntry {
    /// Its colour.
    pub slot: Slot,
    /// The name of the series.
    pub name: String,
    /// Its sum, where that means something.
    pub value: Option<String>,
}

/// The same values as a table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Names of the columns.
    pub head: Vec<String>,
    /// The rows, first cell first.
    pub rows: Vec<Vec<String>>,
}

/// A whole drawing, ready to print.
#[derive(Clone, Debug, Template)]
#[template(path = "charts/chart.html")]
pub struct Chart {
    /// Id of the drawing's title; unique on its page.
    pub id: String,
    /// The drawing in a sentence: what, range, total, peak.
    pub sentence: String,
    /// Height of the whole drawing.
    pub height: u32,
    /// Height of the plot, down to the axis.
    pub plot_height: u32,
    /// Upper edge of the plot.
    pub top: Px,
    /// Height of the area that answers to the pointer.
    pub hit_height: Px,
    /// Where the labels of the axis stand.
    pub label_y: u32,
    /// True where the labels of the y axis need more room.
    pub has_wide_axis: bool,
    /// The grid.
    pub ticks: Vec<Tick>,
    /// The labels under the axis.
    pub labels: Vec<AxisLabel>,
    /// The columns.
    pub points: Vec<Point>,
    /// Lines and areas.
    pub paths: Vec<Path>,
    /// The names of the series.
    pub legend: Vec<LegendEntry>,
    /// True where the series are lines.
    pub is_lines: bool,
    /// The same values as a table.
    pub table: Table,
}

/// Its template escapes every value.
impl HtmlSafe for Chart {}

impl Chart {
    /// A single series needs no legend, unless that carries its sum.
    fn has_legend(&self) -> bool {
        self.legend.len() > 1 || self.legend.iter().any(|entry| entry.value.is_some())
    }
}

/// The vertical scale: from 0 to a round number at or above the highest value.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scale {
    step: f64,
    steps: u32,
    height: f64,
}

impl Scale {
    /// Steps of 1, 2, 2.5 or 5 times a power of ten; `finest` keeps counts from being halved.
    fn new(highest: f64, height: u32, steps_wanted: u32, finest: f64) -> Self {
        let highest = if highest.is_finite() && highest > 0.0 { highest } else { finest * f64::from(steps_wanted) };
        let raw = (highest / f64::from(steps_wanted)).max(finest);
        let power = 10_f64.powf(raw.log10().floor());
        let factor =
            [1.0, 2.0, 2.5, 5.0].into_iter().find(|factor| raw <= factor * power * (1.0 + 1e-9)).unwrap_or(10.0);
        let step = if finest >= 1.0 { (factor * power).ceil() } else { factor * power };
        let mut steps = 1_u32;
        while f64::from(steps) * step < highest * (1.0 - 1e-9) && steps < 12 {
            steps += 1;
        }
        Self { step, steps, height: f64::from(height) }
    }

    fn top_value(self) -> f64 {
        self.step * f64::from(self.steps)
    }

    /// Pixels that a value takes: never below 0, never above the plot.
    fn length(self, value: f64) -> f64 {
        let share = value / self.top_value();
        if share.is_finite() { share.clamp(0.0, 1.0) * (self.height - TOP) } else { 0.0 }
    }

    fn y(self, value: f64) -> f64 {
        self.height - self.length(value)
    }

    fn ticks(self, text: impl Fn(f64) -> String) -> Vec<Tick> {
        (0..=self.steps)
            .map(|number| {
                let value = self.step * f64::from(number);
                let y = self.y(value);
                Tick { y: Px::new(y), text_y: Px::new(y + 4.0), text: text(value), is_base: number == 0 }
            })
            .collect()
    }
}

/// Labels under the axis: the last column always has one, and about ten in all.
fn axis_labels<'a>(texts: impl ExactSizeIterator<Item = &'a str>) -> Vec<AxisLabel> {
    let count = texts.len();
    let every = count.div_ceil(10).max(1);
    texts
        .enumerate()
        .filter(|(index, text)| (count - 1 - index).is_multiple_of(every) && !text.is_empty())
        .map(|(index, text)| {
            let from_end = (count - 1 - index) / every;
            let is_last = from_end == 0 && count > 1;
            let middle = (index as f64 + 0.5) / count as f64 * 100.0;
            AxisLabel {
                x: Px::new(if is_last { 100.0 } else { middle }),
                anchor: if is_last { "end" } else { "middle" },
                class: if from_end.is_multiple_of(2) || count <= 4 { "major" } else { "minor" },
                text: text.to_owned(),
            }
        })
        .collect()
}

/// Left edge and width of a column, in percent.
fn column(index: usize, count: usize) -> (f64, f64) {
    let width = 100.0 / count as f64;
    (width * index as f64, width)
}

/// A text of a tip: its parts are parted by tabs and lines, so a name may have neither.
fn tip_text(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests;
