//! What about a budget, or about a key's spending, is worth telling somebody: pure, from sums to sentences.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Standing, outlook};
use crate::alerts::{AlertKind, AlertScope, NewAlert};
use crate::domain::{BudgetAction, BudgetScope, Picodollars, Window};

/// From this much of its limit on, a budget whose rest covers no call counts as used up, in percent.
const NEARLY_ALL_PERCENT: i128 = 90;
/// A straight line through less than this part of a window is worth no alarm: one call at its beginning would raise one.
const FORECAST_ELAPSED_MIN_PERCENT: f64 = 10.0;
/// How many times the usual an hour has to be.
const SUDDEN_FACTOR: i128 = 10;
/// Hours with spending from which there is a usual.
const USUAL_HOURS_MIN: usize = 10;
/// What is a sudden ten times of next to nothing is next to nothing too.
const SUDDEN_MIN: Picodollars = Picodollars::from_dollars(1);
const PER_DOLLAR: u128 = 1_000_000_000_000;

/// The thresholds that a budget has passed. `is_refusing`: it has refused a call in its window that would not fit even alone.
///
/// A budget that blocks hardly ever comes to its very limit: it counts as used up when it refuses and nearly all is spent.
pub(super) fn passed_thresholds(standing: &Standing, is_refusing: bool, name: &str, zone: &TimeZone) -> Vec<NewAlert> {
    let definition = &standing.definition;
    let (spent, limit) = (standing.balance.spent, definition.limit);
    // Of a limit of nothing no part can be passed.
    if limit.is_zero() {
        return Vec::new();
    }
    let has_spent = |percent: i128| spent.get().saturating_mul(100) >= limit.get().saturating_mul(percent);
    let is_passed = |percent: &&u8| {
        has_spent(i128::from(**percent)) || (**percent == 100 && is_refusing && has_spent(NEARLY_ALL_PERCENT))
    };
    let alert = |percent: &u8| {
        let reached = if *percent == 100 { "is used up".to_owned() } else { format!("has passed {percent}%") };
        let text = format!(
            "The {} budget of {name} {reached}: {} of {} spent. {}",
            window_word(definition.window),
            dollars(spent),
            dollars(limit),
            what_follows(standing, *percent == 100, zone),
        );
        let text = text.trim_end();
        NewAlert { threshold_percent: Some(*percent), ..about(standing, AlertKind::BudgetThreshold, text) }
    };
    definition.thresholds.iter().filter(is_passed).map(alert).collect()
}

/// That a budget will be used up before its window ends, if its spending goes on as it did.
///
/// Only of days, weeks and months: of an hour it would come too late to act on, and a total has no end to come before.
pub(super) fn forecast(standing: &Standing, name: &str, now: Timestamp, zone: &TimeZone) -> Option<NewAlert> {
    let definition = &standing.definition;
    if !matches!(definition.window, Window::Day | Window::Week | Window::Month) {
        return None;
    }
    let (spent, limit) = (standing.balance.spent, definition.limit);
    let ahead = outlook(standing.window, zone, now, spent, Some(limit));
    let at = ahead.passes_at.filter(|_| ahead.elapsed_percent >= FORECAST_ELAPSED_MIN_PERCENT)?;
    let text = format!(
        "At this pace the {} budget of {name} is used up on {}: {} of {} is spent after {:.0}% of its time.",
        window_word(definition.window),
        moment(at, zone),
        dollars(spent),
        dollars(limit),
        ahead.elapsed_percent,
    );
    Some(about(standing, AlertKind::BudgetForecast, &text))
}

fn about(standing: &Standing, kind: AlertKind, text: &str) -> NewAlert {
    let definition = &standing.definition;
    let scope = AlertScope::new(definition.scope.kind(), definition.scope.id().as_deref());
    NewAlert {
        spent: Some(standing.balance.spent),
        limit: Some(definition.limit),
        ..NewAlert::new(kind, scope, Some(standing.window), text)
    }
}

/// What happens to calls from here on, and until when.
fn what_follows(standing: &Standing, is_used_up: bool, zone: &TimeZone) -> String {
    let end = standing.resets_at.map(|at| moment(at, zone));
    let anew = end.as_ref().map(|end| format!("It begins anew on {end}.")).unwrap_or_default();
    match (is_used_up, &standing.definition.action, end) {
        (false, ..) => anew,
        (true, BudgetAction::Block, Some(end)) => format!("Calls are refused until {end}."),
        (true, BudgetAction::Block, None) => "Calls are refused.".to_owned(),
        (true, BudgetAction::Alert, _) => format!("Calls go on. {anew}"),
        (true, BudgetAction::Downgrade { .. }, _) => format!("Calls go on by its cheaper route. {anew}"),
    }
}

/// How people call what a budget binds; a key by its name where there is one.
pub(super) fn scope_name(scope: &BudgetScope, key_name: Option<&str>) -> String {
    match (scope, key_name) {
        (BudgetScope::Everything, _) => "everything".to_owned(),
        (BudgetScope::Key(_), Some(name)) => format!("key {name}"),
        _ => scope.to_string(),
    }
}

/// What an hour of a key usually comes to, where this one comes to a multiple of it.
///
/// The usual is the mean of the hours of the last seven days in which the key spent anything, of ten at least: hours in
/// which nobody works would make every morning sudden.
pub(super) fn sudden(this_hour: Picodollars, hours: &[Picodollars]) -> Option<Picodollars> {
    if hours.len() < USUAL_HOURS_MIN || this_hour < SUDDEN_MIN {
        return None;
    }
    let sum: Picodollars = hours.iter().copied().sum();
    let usual = sum.get() / i128::try_from(hours.len()).ok()?;
    (usual > 0 && this_hour.get() >= usual.saturating_mul(SUDDEN_FACTOR)).then(|| Picodollars::new(usual))
}

const fn window_word(window: Window) -> &'static str {
    match window {
        Window::Hour => "hourly",
        Window::Day => "daily",
        Window::Week => "weekly",
        Window::Month => "monthly",
        Window::Total => "total",
    }
}

/// Dollars as people read them: two decimals from one dollar on, four below.
pub(super) fn dollars(amount: Picodollars) -> String {
    let size = amount.get().unsigned_abs();
    let decimals: u32 = if size < PER_DOLLAR { 4 } else { 2 };
    let unit = PER_DOLLAR / 10_u128.pow(decimals);
    let units = (size + unit / 2) / unit;
    let scale = 10_u128.pow(decimals);
    let sign = if amount.is_negative() { "-" } else { "" };
    format!("{sign}${}.{:0width$}", units / scale, units % scale, width = decimals as usize)
}

fn moment(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%a %-d %b %Y, %H:%M %Z").to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{BudgetDefinition, BudgetId, BudgetTerms};
    use crate::ledger::Balance;
    use proptest::prelude::*;

    const NOON: &str = "2026-11-25T12:00:00Z";

    fn standing(spent: &str, window: Window, action: BudgetAction) -> Standing {
        let now: Timestamp = NOON.parse().unwrap();
        let terms = BudgetTerms::new(Picodollars::from_dollars(1), action);
        let definition = BudgetDefinition::new(BudgetId(1), BudgetScope::Everything, window, terms, now).unwrap();
        let window = window.at(now, &TimeZone::UTC);
        let balance = Balance { spent: spent.parse().unwrap(), ..Balance::default() };
        Standing { definition: Arc::new(definition), window, balance, resets_at: window.end(&TimeZone::UTC) }
    }

    fn check(spent: &str, is_refusing: bool, expected: &[u8]) {
        let standing = standing(spent, Window::Day, BudgetAction::Block);
        let alerts = passed_thresholds(&standing, is_refusing, "everything", &TimeZone::UTC);
        let passed: Vec<u8> = alerts.iter().filter_map(|alert| alert.threshold_percent).collect();
        assert_eq!(passed, expected, "{spent}");
    }

    #[test]
    fn a_threshold_is_passed_from_the_very_picodollar_on() {
        check("0.499999999999", false, &[]);
        check("0.5", false, &[50]);
        check("0.999999999999", false, &[50, 80]);
        check("1", false, &[50, 80, 100]);
        check("7", false, &[50, 80, 100]);
    }

    #[test]
    fn a_budget_that_refuses_is_used_up_when_nearly_all_is_spent() {
        check("0.9", true, &[50, 80, 100]);
        check("0.89", true, &[50, 80]);
        check("0.1", true, &[]);
    }

    #[test]
    fn the_sentence_says_what_is_spent_what_follows_and_until_when() {
        let text = |spent, action| {
            let alerts = passed_thresholds(&standing(spent, Window::Day, action), false, "key ci", &TimeZone::UTC);
            alerts.last().unwrap().text.clone()
        };
        insta::assert_snapshot!(text("0.8123", BudgetAction::Block), @"The daily budget of key ci has passed 80%: $0.8123 of $1.00 spent. It begins anew on Thu 26 Nov 2026, 00:00 UTC.");
        insta::assert_snapshot!(text("1", BudgetAction::Block), @"The daily budget of key ci is used up: $1.00 of $1.00 spent. Calls are refused until Thu 26 Nov 2026, 00:00 UTC.");
        insta::assert_snapshot!(text("1.5", BudgetAction::Alert), @"The daily budget of key ci is used up: $1.50 of $1.00 spent. Calls go on. It begins anew on Thu 26 Nov 2026, 00:00 UTC.");
    }

    #[test]
    fn a_limit_of_nothing_has_no_thresholds() {
        let mut nothing = standing("0", Window::Day, BudgetAction::Block);
        let terms = BudgetTerms { limit: Picodollars::ZERO, ..nothing.definition.terms() };
        nothing.definition = Arc::new(nothing.definition.with_terms(terms).unwrap());
        assert!(passed_thresholds(&nothing, true, "everything", &TimeZone::UTC).is_empty());
    }

    fn forecast_at(time: &str, spent: &str, window: Window) -> Option<String> {
        let now: Timestamp = time.parse().unwrap();
        let id = window.at(now, &TimeZone::UTC);
        let standing = Standing { window: id, ..standing(spent, window, BudgetAction::Alert) };
        forecast(&standing, "team research", now, &TimeZone::UTC).map(|alert| alert.text)
    }

    #[test]
    fn a_pace_that_uses_a_budget_up_is_told_with_its_date() {
        insta::assert_snapshot!(forecast_at("2026-11-16T00:00:00Z", "0.6", Window::Month).unwrap(), @"At this pace the monthly budget of team research is used up on Thu 26 Nov 2026, 00:00 UTC: $0.6000 of $1.00 is spent after 50% of its time.");
    }

    #[test]
    fn a_pace_that_does_not_or_that_is_no_pace_yet_is_not() {
        assert_eq!(forecast_at("2026-11-16T00:00:00Z", "0.4", Window::Month), None);
        assert_eq!(forecast_at("2026-11-02T00:00:00Z", "0.6", Window::Month), None, "the first tenth says nothing");
        assert_eq!(forecast_at("2026-11-16T00:00:00Z", "1", Window::Month), None, "it is used up already");
        assert_eq!(forecast_at("2026-11-16T00:30:00Z", "0.6", Window::Hour), None);
        assert_eq!(forecast_at("2026-11-16T00:30:00Z", "0.6", Window::Total), None);
    }

    fn is_sudden(this_hour: &str, usual: &str, count: usize) -> bool {
        sudden(this_hour.parse().unwrap(), &vec![usual.parse().unwrap(); count]).is_some()
    }

    #[test]
    fn ten_times_the_usual_is_sudden_where_there_is_a_usual_and_it_is_a_dollar_or_more() {
        assert!(is_sudden("2", "0.2", 10));
        assert!(!is_sudden("1.99", "0.2", 10));
        assert!(!is_sudden("2", "0.2", 9), "too few hours to know what is usual");
        assert!(!is_sudden("0.99", "0.000001", 100), "a dollar is not reached");
        assert!(!is_sudden("100", "0", 100));
    }

    #[test]
    fn dollars_are_rounded_for_people() {
        let shown = |text: &str| dollars(text.parse().unwrap());
        assert_eq!(
            ["0", "0.00005", "0.8123", "1", "1234.567"].map(shown),
            ["$0.0000", "$0.0001", "$0.8123", "$1.00", "$1234.57"]
        );
    }

    proptest! {
        #[test]
        fn thresholds_are_passed_in_order_and_stay_passed(spent in 0_i128..2_000_000_000_000, more in 0_i128..1_000_000_000_000) {
            let passed = |spent: i128| {
                let mut standing = standing("0", Window::Day, BudgetAction::Block);
                standing.balance.spent = Picodollars::new(spent);
                passed_thresholds(&standing, false, "everything", &TimeZone::UTC).len()
            };
            prop_assert!(passed(spent) <= passed(spent + more));
        }
    }
}
