//! Where spending leads if it goes on as it did: a straight line through the window so far.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::domain::{Picodollars, WindowId};

/// A line through less than this share of a window says nothing: one in fifty.
const SHARE_MIN: i128 = 50;

/// Where a window's spending leads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outlook {
    /// How much of the window is over, in percent.
    pub elapsed_percent: f64,
    /// What the window comes to at this pace; `None` where it is too early to say, or the window never ends.
    pub forecast: Option<Picodollars>,
    /// When the limit is passed at this pace, if that is before the window ends.
    pub passes_at: Option<Timestamp>,
}

/// The outlook of a window in which so much was spent, against a limit if there is one.
pub fn outlook(
    window: WindowId,
    zone: &TimeZone,
    now: Timestamp,
    spent: Picodollars,
    limit: Option<Picodollars>,
) -> Outlook {
    let (Some(start), Some(end)) = (window.start(zone), window.end(zone)) else { return Outlook::default() };
    let whole = end.duration_since(start).as_millis().max(1);
    let elapsed = now.duration_since(start).as_millis().clamp(0, whole);
    let elapsed_percent = elapsed as f64 / whole as f64 * 100.0;
    if elapsed * SHARE_MIN < whole {
        return Outlook { elapsed_percent, ..Outlook::default() };
    }
    // Sums stay far below 10²⁶ picodollars and windows below 10¹⁰ ms, so the product fits.
    let forecast = spent.get().checked_mul(whole).map(|product| Picodollars::new(product / elapsed));
    let passes_at = limit.filter(|limit| !limit.is_zero() && spent < *limit).and_then(|limit| {
        let needed = limit.get().checked_mul(elapsed)?.checked_div(spent.get())?;
        let needed = i64::try_from(needed).ok().filter(|needed| i128::from(*needed) < whole)?;
        start.checked_add(SignedDuration::from_millis(needed)).ok()
    });
    Outlook { elapsed_percent, forecast, passes_at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Window;
    use proptest::prelude::*;

    fn dollars(dollars: i64) -> Picodollars {
        Picodollars::from_dollars(dollars)
    }

    fn november(at: &str, spent: i64, limit: Option<i64>) -> Outlook {
        let now: Timestamp = at.parse().unwrap();
        outlook(Window::Month.at(now, &TimeZone::UTC), &TimeZone::UTC, now, dollars(spent), limit.map(dollars))
    }

    #[test]
    fn half_a_month_leads_to_twice_the_spend_and_to_the_day_on_which_the_limit_is_passed() {
        let half = november("2026-11-16T00:00:00Z", 300, Some(500));
        assert_eq!(half.forecast, Some(dollars(600)));
        assert_eq!(half.passes_at, Some("2026-11-26T00:00:00Z".parse().unwrap()));
        assert!((half.elapsed_percent - 50.0).abs() < 1e-9);
    }

    #[test]
    fn a_pace_that_stays_below_the_limit_passes_nothing() {
        assert_eq!(november("2026-11-16T00:00:00Z", 200, Some(500)).passes_at, None);
        assert_eq!(november("2026-11-16T00:00:00Z", 0, Some(500)).passes_at, None);
        assert_eq!(november("2026-11-16T00:00:00Z", 500, Some(500)).passes_at, None, "it is passed already");
    }

    #[test]
    fn the_first_hours_of_a_window_and_a_window_without_end_lead_nowhere() {
        assert_eq!(november("2026-11-01T01:00:00Z", 300, Some(500)).forecast, None);
        let total = WindowId { window: Window::Total, number: 0 };
        assert_eq!(outlook(total, &TimeZone::UTC, Timestamp::UNIX_EPOCH, dollars(1), None), Outlook::default());
    }

    proptest! {
        #[test]
        fn the_forecast_is_never_below_what_was_spent(seconds in 0_i64..2_592_000, spent in 0_i64..1_000_000_000) {
            let start: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
            let now = start + SignedDuration::from_secs(seconds);
            let spent = Picodollars::new(i128::from(spent) * 1_000_003);
            let window = Window::Month.at(now, &TimeZone::UTC);
            let ahead = outlook(window, &TimeZone::UTC, now, spent, Some(dollars(100)));
            prop_assert!(ahead.forecast.is_none_or(|forecast| forecast >= spent));
            prop_assert!(ahead.passes_at.is_none_or(|at| at > now || spent.is_zero()));
        }
    }
}
