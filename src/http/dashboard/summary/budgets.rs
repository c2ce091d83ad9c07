//! The budgets closest to their limit.

use super::super::charts::{Meter, MeterSize};
use super::super::format::{money, money_whole, percent_whole};
use super::super::view::{BudgetLine, BudgetsCard, Link, Notice};
use super::{Facts, unreadable};
use crate::budget::{Standing, budget_name, outlook, window_words};
use crate::domain::BudgetAction;

/// As many as a glance takes in.
const LINES_MAX: usize = 5;

/// How much of its limit a budget has spent, in percent; a limit of nothing is used from the start.
pub(in super::super) fn used_percent(standing: &Standing) -> f64 {
    let limit = standing.definition.limit;
    if limit.is_zero() { 100.0 } else { standing.balance.spent.percent_of(limit) }
}

/// Whether nothing is left.
pub(in super::super) fn is_used_up(standing: &Standing) -> bool {
    standing.balance.spent >= standing.definition.limit
}

/// How long until the window ends: `11 days left`.
pub(super) fn time_left(seconds: i64) -> String {
    let whole = |unit: i64, one: &str, many: &str| {
        let count = (seconds + unit - 1) / unit;
        format!("{count} {} left", if count == 1 { one } else { many })
    };
    match seconds {
        ..=3_600 => whole(60, "minute", "minutes"),
        3_601..=86_400 => whole(3_600, "hour", "hours"),
        _ => whole(86_400, "day", "days"),
    }
}

pub(super) fn card(facts: &Facts<'_>) -> BudgetsCard {
    let lines = match &facts.standings {
        Err(error) => unreadable("Budgets", error, "/"),
        Ok(standings) if standings.is_empty() => Err(Notice::empty(
            "No budget is set",
            "Calls are counted, and nothing holds them back.",
            Some(Link::new("Set a budget", "/budgets/new")),
        )),
        Ok(standings) => {
            let mut worst: Vec<&Standing> = standings.iter().collect();
            worst.sort_by(|a, b| used_percent(b).total_cmp(&used_percent(a)));
            Ok(worst.into_iter().take(LINES_MAX).map(|standing| line(facts, standing)).collect())
        }
    };
    BudgetsCard { lines, is_update: false }
}

fn line(facts: &Facts<'_>, standing: &Standing) -> BudgetLine {
    let definition = &standing.definition;
    let (spent, limit) = (standing.balance.spent, definition.limit);
    let percent = used_percent(standing);
    let ahead = outlook(standing.window, facts.zone(), facts.now, spent, Some(limit));
    let forecast = ahead.forecast.map(|forecast| forecast.percent_of(limit));
    let note = match (is_used_up(standing), &definition.action, standing.resets_at) {
        (true, BudgetAction::Block, _) => " · refused".to_owned(),
        (true, ..) => " · used up".to_owned(),
        (false, _, Some(end)) => format!(" · {}", time_left(end.duration_since(facts.now).as_secs())),
        (false, _, None) => String::new(),
    };
    let name = format!("{}, {}", budget_name(definition, &facts.state.keys), window_words(definition.window));
    BudgetLine {
        href: format!("/budgets/{}", definition.id),
        summary: format!("{} of {}{note}", money(spent), money_whole(limit)),
        meter: Meter::budget(format!("{name}: {} used", percent_whole(percent)), percent, forecast)
            .sized(MeterSize::Thin),
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_left_is_rounded_up() {
        for (seconds, expected) in [
            (1, "1 minute left"),
            (3_600, "60 minutes left"),
            (3_601, "2 hours left"),
            (86_400, "24 hours left"),
            (86_401, "2 days left"),
            (11 * 86_400, "11 days left"),
        ] {
            assert_eq!(time_left(seconds), expected);
        }
    }
}
