//! Stacked bars: the parts of a sum over time.

use std::fmt::Write as _;
use std::iter::Sum;

use super::{
    BASE, Chart, LegendEntry, Point, Px, SERIES_MAX, Scale, Segment, Slot, TOP, Table, axis_labels, column, tip_text,
};
use crate::domain::Picodollars;
use crate::http::dashboard::format::{MoneyColumn, count, count_exact, money_whole, percent, percent_whole};

/// What bars can show: money, counts and rates.
pub trait Amount: Copy + Default + Ord + Sum {
    /// The smallest step of an axis.
    const FINEST: f64;
    /// Its height, in any unit.
    fn weight(self) -> f64;
    /// The texts of all values of a drawing, which share their decimals.
    fn texts(largest: Self) -> impl Fn(Self) -> String;
    /// A label of the axis.
    fn tick(value: f64) -> String;
}

impl Amount for Picodollars {
    const FINEST: f64 = 0.0001;

    fn weight(self) -> f64 {
        self.to_dollars_f64()
    }

    fn texts(largest: Self) -> impl Fn(Self) -> String {
        let column = MoneyColumn::of([largest]);
        move |amount| column.text(amount)
    }

    #[expect(clippy::cast_possible_truncation, reason = "a tick is a round number, far inside the range")]
    fn tick(value: f64) -> String {
        money_whole(Self::new((value * 1e6).round() as i128 * 1_000_000))
    }
}

impl Amount for u64 {
    const FINEST: f64 = 1.0;

    fn weight(self) -> f64 {
        self as f64
    }

    fn texts(_largest: Self) -> impl Fn(Self) -> String {
        count_exact
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a tick is a round number from 0 on")]
    fn tick(value: f64) -> String {
        count(value.round() as Self)
    }
}

/// A part of a whole, in hundredths of a percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

impl Rate {
    /// So many of so many; nothing of nothing is nothing.
    pub fn of(part: u64, whole: u64) -> Self {
        Self(part.saturating_mul(10_000).checked_div(whole).unwrap_or(0))
    }
}

impl Sum for Rate {
    fn sum<I: Iterator<Item = Self>>(rates: I) -> Self {
        Self(rates.map(|rate| rate.0).sum())
    }
}

impl Amount for Rate {
    const FINEST: f64 = 1.0;

    fn weight(self) -> f64 {
        self.0 as f64 / 100.0
    }

    fn texts(_largest: Self) -> impl Fn(Self) -> String {
        |rate| percent(rate.weight())
    }

    fn tick(value: f64) -> String {
        percent_whole(value)
    }
}

/// One step of time.
#[derive(Clone, Debug)]
pub struct Column {
    /// Under the axis: `19 Nov`.
    pub label: String,
    /// In the tip and the table: `Thu 19 Nov 2026`.
    pub title: String,
    /// True for the step that is still running.
    pub is_partial: bool,
    /// True for a step that has not begun.
    pub is_forecast: bool,
}

impl Column {
    /// A step that is over.
    pub fn new(label: impl Into<String>, title: impl Into<String>) -> Self {
        Self { label: label.into(), title: title.into(), is_partial: false, is_forecast: false }
    }
}

/// One part of the sum, with a value per column.
#[derive(Clone, Debug)]
pub struct Series<A> {
    /// Its name, which may come from a user.
    pub name: String,
    /// Its colour, the same on every page.
    pub slot: Slot,
    /// Its values; missing ones are nothing.
    pub values: Vec<A>,
}

/// Stacked bars before they are drawn.
#[derive(Clone, Debug)]
pub struct Bars<A> {
    /// Id of the drawing, unique on its page.
    pub id: String,
    /// The drawing in a sentence.
    pub sentence: String,
    /// What a column is: `Day`.
    pub step: String,
    /// Height of the plot in pixels.
    pub height: u32,
    /// The steps of time.
    pub columns: Vec<Column>,
    /// The parts, largest first; beyond the fifth they are summed as `other`.
    pub series: Vec<Series<A>>,
    /// True where the legend shows each part's sum.
    pub has_sums: bool,
}

impl<A: Amount> Bars<A> {
    /// Computes the drawing; `None` where there is no column or no series.
    pub fn draw(self) -> Option<Chart> {
        let count = self.columns.len();
        if count == 0 || self.series.is_empty() {
            return None;
        }
        let series = with_other(self.series, count);
        let totals: Vec<A> = (0..count).map(|index| series.iter().map(|part| part.values[index]).sum()).collect();
        let texts = A::texts(totals.iter().copied().max().unwrap_or_default());
        // Parts below nothing (a credit) take no height, so the scale is that of the parts above it.
        let drawn = |index: usize| series.iter().map(|part| part.values[index].weight().max(0.0)).sum::<f64>();
        let highest = (0..count).map(drawn).fold(0.0, f64::max);
        let scale = Scale::new(highest, self.height, 4, A::FINEST);
        let ticks = scale.ticks(A::tick);
        let points = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, step)| point(index, step, &series, totals[index], scale, count, &texts))
            .collect();
        let legend = series
            .iter()
            .map(|part| {
                let sum: A = part.values.iter().copied().sum();
                let value = self.has_sums.then(|| A::texts(sum)(sum));
                LegendEntry { slot: part.slot, name: part.name.clone(), value }
            })
            .collect();
        let mut head = vec![self.step];
        head.extend(series.iter().map(|part| part.name.clone()));
        head.push("Total".to_owned());
        let rows = (0..count).map(|index| {
            let mut row = vec![self.columns[index].title.clone()];
            row.extend(series.iter().map(|part| texts(part.values[index])));
            row.push(texts(totals[index]));
            row
        });
        Some(Chart {
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
            points,
            paths: Vec::new(),
            legend,
            is_lines: false,
            table: Table { rows: rows.collect(), head },
        })
    }
}

/// At most five named series, the rest summed as `other`, and each with a value for every column.
fn with_other<A: Amount>(mut series: Vec<Series<A>>, count: usize) -> Vec<Series<A>> {
    for part in &mut series {
        part.values.resize(count, A::default());
    }
    let is_other = |part: &Series<A>| part.slot == Slot::OTHER;
    let named = series.iter().filter(|part| !is_other(part)).count();
    if named <= SERIES_MAX && series.iter().filter(|part| is_other(part)).count() <= 1 {
        return series;
    }
    let mut kept = Vec::new();
    let mut rest = Vec::new();
    for part in series {
        if is_other(&part) || kept.len() == SERIES_MAX { rest.push(part) } else { kept.push(part) }
    }
    let values = (0..count).map(|index| rest.iter().map(|part| part.values[index]).sum()).collect();
    kept.push(Series { name: "other".to_owned(), slot: Slot::OTHER, values });
    kept
}

fn point<A: Amount>(
    index: usize,
    step: &Column,
    series: &[Series<A>],
    total: A,
    scale: Scale,
    count: usize,
    texts: &impl Fn(A) -> String,
) -> Point {
    let (hit_x, hit_width) = column(index, count);
    let mut below = 0.0;
    let mut segments = Vec::new();
    for part in series {
        let weight = part.values[index].weight();
        let share = if weight > 0.0 { scale.length(below + weight) - scale.length(below) } else { 0.0 };
        if share <= 0.0 {
            continue;
        }
        below += weight;
        // A pixel of the surface parts neighbours; a part too thin for that gives half of itself.
        let height = if share > 2.0 { share - 1.0 } else { share / 2.0 };
        segments.push(Segment { slot: part.slot, y: Px::new(scale.y(below)), height: Px::new(height) });
    }
    let note = if step.is_partial {
        ", so far"
    } else if step.is_forecast {
        ", forecast"
    } else {
        ""
    };
    let title = format!("{}{note}", tip_text(&step.title));
    let mut tip = title.clone();
    let mut words = format!("{title}: ");
    for part in series.iter().rev() {
        let (name, value) = (tip_text(&part.name), texts(part.values[index]));
        write!(tip, "\n{}\t{name}\t{value}", part.slot).expect("writing to a string can\'t fail");
        write!(words, "{name} {value}, ").expect("writing to a string can\'t fail");
    }
    write!(tip, "\n\tTotal\t{}", texts(total)).expect("writing to a string can\'t fail");
    write!(words, "total {}", texts(total)).expect("writing to a string can\'t fail");
    Point {
        tip,
        words,
        hit_x: Px::new(hit_x),
        hit_width: Px::new(hit_width),
        bar_x: Px::new(hit_x + hit_width * 0.14),
        bar_width: Px::new(hit_width * 0.72),
        middle: Px::new(hit_x + hit_width / 2.0),
        segments,
        is_forecast: step.is_forecast,
        dots: Vec::new(),
    }
}
