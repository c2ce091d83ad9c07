//! Lines: latency and rates over time. A gap in the data is a gap in the line.

use std::fmt::Write as _;

use super::{
    BASE, Chart, Column, Dot, LegendEntry, Path, Point, Px, Scale, Slot, TOP, Table, axis_labels, column, tip_text,
};
use crate::http::dashboard::format::NO_VALUE;

/// One line, with a value or a gap per column.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its colour.
    pub slot: Slot,
    /// Its values; `None` and what is no number are gaps.
    pub values: Vec<Option<f64>>,
}

/// Lines before they are drawn.
pub struct LineChart<'a> {
    /// Id of the drawing, unique on its page.
    pub id: String,
    /// The drawing in a sentence; it says why there are gaps.
    pub sentence: String,
    /// What a column is: `Hour`.
    pub step: String,
    /// Height of the plot in pixels.
    pub height: u32,
    /// The steps of time.
    pub columns: Vec<Column>,
    /// The lines.
    pub lines: Vec<Line>,
    /// How a value is written, on the axis too.
    pub text: &'a dyn Fn(f64) -> String,
}

impl LineChart<'_> {
    /// Computes the drawing; `None` where there is no column or no line.
    pub fn draw(mut self) -> Option<Chart> {
        let count = self.columns.len();
        if count == 0 || self.lines.is_empty() {
            return None;
        }
        for line in &mut self.lines {
            line.values.resize(count, None);
            for value in &mut line.values {
                *value = value.filter(|value| value.is_finite());
            }
        }
        let highest = self.lines.iter().flat_map(|line| &line.values).flatten().copied().fold(0.0, f64::max);
        let scale = Scale::new(highest, self.height, 3, 1e-6);
        let ticks = scale.ticks(self.text);
        let text = |value: Option<f64>| value.map_or_else(|| NO_VALUE.to_owned(), self.text);
        let points = (0..count).map(|index| {
            let (hit_x, hit_width) = column(index, count);
            let title = tip_text(&self.columns[index].title);
            let (mut tip, mut words) = (title.clone(), format!("{title}:"));
            let mut dots = Vec::new();
            for (number, line) in self.lines.iter().enumerate() {
                let (name, value) = (tip_text(&line.name), text(line.values[index]));
                write!(tip, "\n{}\t{name}\t{value}", line.slot).expect("writing to a string can\'t fail");
                write!(words, "{} {name} {value}", if number == 0 { "" } else { "," })
                    .expect("writing to a string can\'t fail");
                if let Some(value) = line.values[index] {
                    dots.push(Dot { slot: line.slot, y: Px::new(scale.y(value)) });
                }
            }
            Point {
                tip,
                words,
                hit_x: Px::new(hit_x),
                hit_width: Px::new(hit_width),
                bar_x: Px::default(),
                bar_width: Px::default(),
                middle: Px::new(hit_x + hit_width / 2.0),
                segments: Vec::new(),
                is_forecast: false,
                dots,
            }
        });
        let mut head = vec![self.step.clone()];
        head.extend(self.lines.iter().map(|line| line.name.clone()));
        let rows = (0..count).map(|index| {
            let mut row = vec![self.columns[index].title.clone()];
            row.extend(self.lines.iter().map(|line| text(line.values[index])));
            row
        });
        Some(Chart {
            points: points.collect(),
            table: Table { rows: rows.collect(), head },
            id: self.id,
            sentence: self.sentence,
            height: self.height + BASE,
            plot_height: self.height,
            top: Px::new(TOP),
            hit_height: Px::new(f64::from(self.height) - TOP),
            label_y: self.height + 16,
            has_wide_axis: ticks.iter().any(|tick| tick.text.len() > 6),
            ticks,
            labels: axis_labels(self.columns.iter().map(|step| step.label.as_str())),
            paths: self.lines.iter().map(|line| path(line, scale, count)).collect(),
            legend: self
                .lines
                .iter()
                .map(|line| LegendEntry { slot: line.slot, name: line.name.clone(), value: None })
                .collect(),
            is_lines: true,
        })
    }
}

/// The line of a series: it is lifted over gaps, and a value between two gaps is a short dash.
fn path(line: &Line, scale: Scale, count: usize) -> Path {
    let mut d = String::new();
    let value_at = |index: usize| line.values.get(index).copied().flatten();
    for index in 0..count {
        let Some(value) = value_at(index) else { continue };
        let (x, width) = column(index, count);
        let (middle, y) = (x + width / 2.0, Px::new(scale.y(value)));
        let follows = index > 0 && value_at(index - 1).is_some();
        let verb = if follows { 'L' } else { 'M' };
        write!(d, "{verb}{} {y}", Px::new(middle)).expect("writing to a string can't fail");
        if !follows && value_at(index + 1).is_none() {
            write!(d, "L{} {y}", Px::new(middle + width / 4.0)).expect("writing to a string can't fail");
        }
    }
    Path { class: format!("l{}", line.slot), d }
}
