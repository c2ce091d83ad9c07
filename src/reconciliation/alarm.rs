//! That a day doesn't agree, in a sentence for people who get it in a chat.

use jiff::tz::TimeZone;

use super::comparison::{DayLine, Line};
use super::drift::DRIFT_MAX_PERCENT;
use crate::alerts::{AlertKind, AlertScope, NewAlert};
use crate::domain::{Picodollars, Window};

/// Models that are named; the page has the others.
const MODELS_TOLD_MAX: usize = 3;

/// The alert of a day that drifts: once for each provider and day.
pub(super) fn alert(line: &DayLine) -> NewAlert {
    let total = &line.total;
    let theirs = total.theirs.as_ref().and_then(|theirs| theirs.cost);
    let mut text = format!(
        "What {} charged on {} (UTC) is not what was booked, by more than {DRIFT_MAX_PERCENT}%: booked {}, charged {}{}.",
        line.provider,
        line.day,
        dollars(total.ours),
        theirs.map_or_else(|| "unknown".to_owned(), dollars),
        total.drift.map(|drift| format!(" ({})", drift.words())).unwrap_or_default(),
    );
    let over: Vec<&Line> = line.models.iter().filter(|model| model.is_over()).collect();
    if !over.is_empty() {
        let named: Vec<String> = over.iter().take(MODELS_TOLD_MAX).map(|line| model(line)).collect();
        let more = over.len().saturating_sub(MODELS_TOLD_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        text.push_str(&format!(" Models: {}{more}.", named.join(", ")));
    }
    let doubts = &line.doubts;
    if doubts.unknown + doubts.estimated > 0 {
        text.push_str(&format!(
            " {} of its calls were estimated and {} ended unseen, which may explain it.",
            doubts.estimated, doubts.unknown
        ));
    }
    text.push_str(" The page Costs, Reconciliation has each model.");
    let start = line.day.at(0, 0, 0, 0).to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()).unwrap_or_default();
    let window = Window::Day.at(start, &TimeZone::UTC);
    let scope = AlertScope::new("provider", Some(line.provider.as_str()));
    NewAlert { spent: Some(total.ours), ..NewAlert::new(AlertKind::CostDrift, scope, Some(window), &text) }
}

fn model(line: &Line) -> String {
    let name: String = line.model.chars().take(60).collect();
    line.drift.map_or_else(|| name.clone(), |drift| format!("{name} {}", drift.words()))
}

fn dollars(amount: Picodollars) -> String {
    crate::domain::wording::money(amount)
}
