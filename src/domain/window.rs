//! Calendar windows of budgets and sums: hours, days, weeks, months in the team's time zone.

use std::fmt;

use jiff::civil::{Date, Weekday, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

/// How long a budget or a sum runs before it begins again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// One hour of the local clock.
    Hour,
    /// One local day: 23 or 25 hours long when clocks change.
    Day,
    /// Monday to Sunday.
    Week,
    /// One calendar month.
    Month,
    /// Since ever.
    Total,
}

/// One window of its kind: the days since 1970 of its first local date (hours: times 24, plus the hour).
///
/// A new window begins with sums at zero by itself, so nothing has to be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WindowId {
    /// The kind of window.
    pub window: Window,
    /// Its number among its kind.
    pub number: u32,
}

const EPOCH: Date = date(1970, 1, 1);

impl Window {
    /// Every kind, shortest first.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Total];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// The kind that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.as_str() == word)
    }

    /// The window that an instant lies in.
    pub fn at(self, instant: Timestamp, zone: &TimeZone) -> WindowId {
        let local = zone.to_datetime(instant);
        let days = |day: Date| u32::try_from((day - EPOCH).get_days()).unwrap_or(0);
        let number = match self {
            // An hour that the clock shows twice in autumn is one window of two hours.
            Self::Hour => days(local.date()) * 24 + u32::try_from(local.hour()).unwrap_or(0),
            Self::Day => days(local.date()),
            Self::Week => {
                let back = i64::from(local.date().weekday().since(Weekday::Monday));
                days(local.date().saturating_sub(back.days()))
            }
            Self::Month => days(local.date().first_of_month()),
            Self::Total => 0,
        };
        WindowId { window: self, number }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl WindowId {
    /// The first local date of the window; `None` for the one that never begins.
    pub fn first_date(self) -> Option<Date> {
        let days = match self.window {
            Window::Total => return None,
            Window::Hour => self.number / 24,
            Window::Day | Window::Week | Window::Month => self.number,
        };
        EPOCH.checked_add(i64::from(days).days()).ok()
    }

    /// The instant at which the window begins; `None` for the one that never does.
    pub fn start(self, zone: &TimeZone) -> Option<Timestamp> {
        let hour = if self.window == Window::Hour { i8::try_from(self.number % 24).ok()? } else { 0 };
        let first = self.first_date()?.at(hour, 0, 0, 0);
        // `compatible` takes the first of two equal clock times, and the instant after a gap.
        zone.to_ambiguous_timestamp(first).compatible().ok()
    }

    /// The instant at which the next window of the kind begins; `None` where there is none.
    pub fn end(self, zone: &TimeZone) -> Option<Timestamp> {
        let first = self.first_date()?;
        let hours = |date: Date, hour: i8| zone.to_ambiguous_timestamp(date.at(hour, 0, 0, 0)).compatible().ok();
        match self.window {
            Window::Total => None,
            Window::Hour => {
                let hour = i8::try_from(self.number % 24).ok()?;
                if hour == 23 { hours(first.tomorrow().ok()?, 0) } else { hours(first, hour + 1) }
            }
            Window::Day => hours(first.tomorrow().ok()?, 0),
            Window::Week => hours(first.checked_add(7.days()).ok()?, 0),
            Window::Month => hours(first.checked_add(1.month()).ok()?, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn check(window: Window, instant: &str, zone_name: &str, start: &str, end: &str) {
        let zone = zone(zone_name);
        let id = window.at(instant.parse().unwrap(), &zone);
        assert_eq!(id.start(&zone).unwrap().to_string(), start, "start");
        assert_eq!(id.end(&zone).unwrap().to_string(), end, "end");
    }

    #[test]
    fn days_follow_the_zone_across_both_clock_changes() {
        check(Window::Day, "2026-11-22T15:30:00Z", "Asia/Seoul", "2026-11-22T15:00:00Z", "2026-11-23T15:00:00Z");
        check(Window::Day, "2026-03-29T12:00:00Z", "Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
        check(Window::Day, "2026-10-25T12:00:00Z", "Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        check(Window::Day, "2026-11-22T18:29:59Z", "Asia/Kolkata", "2026-11-21T18:30:00Z", "2026-11-22T18:30:00Z");
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        check(Window::Week, "2026-11-22T12:00:00Z", "UTC", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z");
        check(Window::Week, "2026-11-23T00:00:00Z", "UTC", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z");
        check(Window::Month, "2028-02-29T12:00:00Z", "UTC", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z");
        check(Window::Hour, "2026-11-22T23:59:59Z", "UTC", "2026-11-22T23:00:00Z", "2026-11-23T00:00:00Z");
    }

    #[test]
    fn every_quarter_hour_of_a_year_lies_in_exactly_one_window() {
        for name in ["Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns"] {
            let zone = zone(name);
            for window in [Window::Day, Window::Week, Window::Month] {
                let mut instant: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
                let mut id = window.at(instant, &zone);
                for _ in 0..365 * 96 {
                    let now = window.at(instant, &zone);
                    assert!(now >= id, "{name}: windows never go back");
                    assert!(
                        now.start(&zone).unwrap() <= instant && instant < now.end(&zone).unwrap(),
                        "{name} {instant}"
                    );
                    id = now;
                    instant += 15.minutes();
                }
            }
        }
    }
}
