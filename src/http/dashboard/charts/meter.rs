//! Meters: how much of a limit is used, or a share of a sum.

use askama::Template;
use askama::filters::HtmlSafe;

use super::{Px, Slot};

/// How high a meter is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MeterSize {
    /// In a table.
    #[default]
    Usual,
    /// In a list.
    Thin,
    /// In a tile.
    Tall,
}

/// A bar of a whole: the used part, a paler forecast, a tick.
#[derive(Clone, Debug, Template)]
#[template(path = "charts/meter.html")]
pub struct Meter {
    /// What it shows, in words; empty where the number stands beside it.
    pub label: String,
    /// Used part in percent, at most 100.
    pub used: Px,
    /// Forecast in percent, at most 100.
    pub forecast: Option<Px>,
    /// Where the tick is, in percent.
    pub mark: Option<Px>,
    /// `warn`, `bad`, or nothing.
    pub tone: &'static str,
    /// How high it is.
    pub size: MeterSize,
    /// The colour of a share.
    pub slot: Option<Slot>,
}

/// Its template escapes every value.
impl HtmlSafe for Meter {}

fn clamped(percent: f64) -> Px {
    Px::new(Px::new(percent).get().clamp(0.0, 100.0))
}

impl Meter {
    /// How much of a limit is used: bad at the limit, warning where the forecast passes it.
    pub fn budget(label: impl Into<String>, used_percent: f64, forecast_percent: Option<f64>) -> Self {
        let tone = if used_percent >= 100.0 {
            "bad"
        } else if forecast_percent.is_some_and(|forecast| forecast > 100.0) {
            "warn"
        } else {
            ""
        };
        let forecast = forecast_percent.filter(|forecast| *forecast > used_percent).map(clamped);
        Self {
            label: label.into(),
            used: clamped(used_percent),
            forecast,
            mark: None,
            tone,
            size: MeterSize::Usual,
            slot: None,
        }
    }

    /// A share of a sum in a series' colour; the number stands beside it, so it has no words.
    pub fn share(percent: f64, slot: Slot) -> Self {
        Self { slot: Some(slot), size: MeterSize::Thin, ..Self::budget("", percent.min(99.99), None) }
    }

    /// With a tick, such as today's share of the month.
    #[must_use]
    pub fn with_mark(mut self, percent: f64) -> Self {
        self.mark = Some(clamped(percent));
        self
    }

    /// In another height.
    #[must_use]
    pub fn sized(mut self, size: MeterSize) -> Self {
        self.size = size;
        self
    }

    /// The classes of the drawing.
    pub const fn size_class(&self) -> &'static str {
        match self.size {
            MeterSize::Usual => "",
            MeterSize::Thin => "thin",
            MeterSize::Tall => "tall",
        }
    }
}
