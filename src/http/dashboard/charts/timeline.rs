//! Bars of a timeline: when a step of a call began, and how long it took.

use std::time::Duration;

use askama::Template;
use askama::filters::HtmlSafe;

use super::Px;

/// What a step did, which decides over its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Work inside of Tollgate.
    Inside,
    /// An attempt that failed.
    Failed,
    /// Waiting for the first token.
    Waiting,
    /// Receiving the answer.
    Streaming,
}

/// One bar.
#[derive(Clone, Debug, Template)]
#[template(path = "charts/timeline.html")]
pub struct TimeBar {
    /// Its left edge in percent.
    pub x: Px,
    /// Its width in percent; never too thin to be seen.
    pub width: Px,
    /// What the step did.
    pub phase: Phase,
}

/// Its template has nothing but numbers.
impl HtmlSafe for TimeBar {}

impl TimeBar {
    /// Narrower bars could not be seen.
    const WIDTH_MIN: f64 = 0.5;

    /// A step that began so long after the call did, of a call that took `whole`.
    pub fn new(start: Duration, length: Duration, whole: Duration, phase: Phase) -> Self {
        let percent =
            |part: Duration| Px::new(part.as_secs_f64() / whole.as_secs_f64() * 100.0).get().clamp(0.0, 100.0);
        let x = percent(start).min(100.0 - Self::WIDTH_MIN);
        Self { x: Px::new(x), width: Px::new(percent(length).clamp(Self::WIDTH_MIN, 100.0 - x)), phase }
    }

    /// The class of the bar.
    pub const fn class(&self) -> &'static str {
        match self.phase {
            Phase::Inside => "w",
            Phase::Failed => "bad",
            Phase::Waiting => "ttft",
            Phase::Streaming => "stream",
        }
    }
}
