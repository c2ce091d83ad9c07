//! What cells add to the words, and instants.

use super::*;

#[test]
fn a_cell_keeps_the_exact_amount_and_dims_nothing() {
    let cell = MoneyColumn::CALLS.cell("0.000000000001".parse().unwrap());
    assert_eq!((cell.text.as_str(), cell.exact.as_str(), cell.is_zero), ("<$0.0001", "$0.000000000001", false));
    assert!(money_cell(Picodollars::ZERO).is_zero);
}

#[test]
fn instants_are_relative_for_a_day_and_dates_after() {
    let clock = Clock::new("2026-11-19T14:32:10Z".parse().unwrap(), TimeZone::UTC);
    for (instant, shown) in [
        ("2026-11-19T14:32:10Z", "just now"),
        ("2026-11-19T14:40:00Z", "just now"),
        ("2026-11-19T14:31:45Z", "25 s ago"),
        ("2026-11-19T14:28:00Z", "4 min ago"),
        ("2026-11-18T15:00:00Z", "23 h ago"),
        ("2026-11-18T10:00:00Z", "yesterday"),
        ("2026-11-17T23:59:00Z", "17 Nov"),
        ("2025-11-18T00:00:00Z", "18 Nov 2025"),
    ] {
        assert_eq!(clock.ago(instant.parse().unwrap()).text, shown, "{instant}");
    }
    let moment = clock.clock_time("2026-11-19T14:32:07.9Z".parse().unwrap());
    assert_eq!(
        (moment.text.as_str(), moment.datetime.as_str(), moment.title.as_str()),
        ("14:32:07", "2026-11-19T14:32:07Z", "2026-11-19 14:32:07 UTC")
    );
    assert_eq!(clock.time_or_day("2026-11-18T09:05:00Z".parse().unwrap()).text, "18 Nov, 09:05");
}

#[test]
fn days_follow_the_teams_time_zone() {
    let clock = Clock::new("2026-11-19T14:32:10Z".parse().unwrap(), TimeZone::get("Asia/Seoul").unwrap());
    assert_eq!(clock.clock_time("2026-11-19T14:32:07Z".parse().unwrap()).text, "23:32:07");
    // 16:00 UTC of the 17th is the 18th in Seoul, where it is the 19th now.
    assert_eq!(clock.ago("2026-11-17T16:00:00Z".parse().unwrap()).text, "yesterday");
}
