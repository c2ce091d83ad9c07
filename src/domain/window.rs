//! Calendar windows of budgets and sums: hours, days, weeks, months in the team's time zone.

use std::fmt;

use jiff::civil::{Date, DateTime, Weekday, date};
use jiff::tz::{AmbiguousOffset, TimeZone};
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

    /// The window that an instant lies in: the last one that has begun.
    pub fn at(self, instant: Timestamp, zone: &TimeZone) -> WindowId {
        let local = zone.to_datetime(instant);
        let mut id = self.at_local(local);
        // Where the clock is set back over the end of a window, it shows that window once more although the next has begun.
        if matches!(zone.to_ambiguous_timestamp(local).offset(), AmbiguousOffset::Fold { .. }) {
            while let Some(next) = id.end(zone).filter(|end| *end <= instant) {
                let later = self.at_local(zone.to_datetime(next));
                // Set back over several windows, the clock shows an earlier one there too.
                id = if later > id { later } else { id.next() };
            }
        }
        id
    }

    fn at_local(self, local: DateTime) -> WindowId {
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
        instant_of(self.first_date()?.at(hour, 0, 0, 0), zone)
    }

    /// The one that follows; it may be empty, where the clock is set forward over it.
    fn next(self) -> Self {
        let first = self.first_date().unwrap_or(EPOCH);
        let following = match self.window {
            Window::Hour => return Self { number: self.number + 1, ..self },
            Window::Day => first.tomorrow(),
            Window::Week => first.checked_add(7.days()),
            Window::Month => first.checked_add(1.month()),
            Window::Total => return self,
        };
        self.window.at_local(following.unwrap_or(first).at(0, 0, 0, 0))
    }

    /// The instant at which the next window of the kind begins; `None` where there is none.
    pub fn end(self, zone: &TimeZone) -> Option<Timestamp> {
        let first = self.first_date()?;
        let hours = |date: Date, hour: i8| instant_of(date.at(hour, 0, 0, 0), zone);
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

/// The instant at which the clock first shows a time or a later one: of two equal times the first, and of a time that is left
/// out the instant at which the clock is set forward.
fn instant_of(local: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    match ambiguous.offset() {
        AmbiguousOffset::Gap { .. } => {
            let before = ambiguous.earlier().ok()?;
            zone.following(before).next().map(|transition| transition.timestamp())
        }
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
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

    /// Walks through a year in steps of a quarter of an hour: every instant lies in one window of each kind, windows follow each
    /// other without gap or overlap, and none comes twice.
    fn check_year(name: &str, year: i16) {
        let zone = zone(name);
        for window in Window::ALL {
            let mut instant = date(year, 1, 1).at(0, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp();
            let end = instant + 366 * 24.hours();
            let mut id = window.at(instant, &zone);
            while instant < end {
                let now = window.at(instant, &zone);
                if window == Window::Total {
                    assert_eq!((now.number, now.start(&zone), now.end(&zone)), (0, None, None));
                } else {
                    let (from, until) = (now.start(&zone).unwrap(), now.end(&zone).unwrap());
                    assert!(from <= instant && instant < until, "{name} {instant}: {now:?} is {from} to {until}");
                    // Its first and last instants are its own as well, and what comes then is the next.
                    assert_eq!(window.at(from, &zone), now, "{name} {instant}");
                    assert_eq!(window.at(until - 1.nanosecond(), &zone), now, "{name} {instant}");
                    assert!(window.at(until, &zone) > now, "{name} {instant}");
                    assert_eq!(window.at(until, &zone).start(&zone), Some(until), "{name} {instant}");
                }
                assert!(now >= id, "{name} {instant}: windows never go back");
                id = now;
                instant += 15.minutes();
            }
        }
    }

    #[test]
    fn every_instant_of_a_year_lies_in_exactly_one_window_of_each_kind() {
        for (name, year) in [
            ("Europe/Berlin", 2026),
            // With a leap day.
            ("Europe/Berlin", 2028),
            // Clocks change at midnight.
            ("America/Sao_Paulo", 2018),
            ("Asia/Kolkata", 2026),
            // Half an hour.
            ("Australia/Lord_Howe", 2026),
            ("Asia/Kathmandu", 2026),
            // 30 December was left out.
            ("Pacific/Apia", 2011),
            // Clocks changed at one minute past midnight, so that the clock showed the day before once more.
            ("America/St_Johns", 2010),
            ("UTC", 2026),
        ] {
            check_year(name, year);
        }
    }

    #[test]
    fn a_day_that_the_clock_shows_twice_does_not_come_back() {
        let zone = zone("America/St_Johns");
        // At 00:01 the clock went back to 23:01 of the day before.
        let day = |instant: &str| Window::Day.at(instant.parse().unwrap(), &zone).first_date().unwrap().to_string();
        assert_eq!(day("2010-11-07T02:29:59Z"), "2010-11-06");
        assert_eq!(day("2010-11-07T02:30:30Z"), "2010-11-07");
        assert_eq!(day("2010-11-07T03:00:00Z"), "2010-11-07");
    }

    #[test]
    fn months_end_when_the_local_month_does() {
        check(Window::Month, "2028-02-29T22:59:59Z", "Europe/Berlin", "2028-01-31T23:00:00Z", "2028-02-29T23:00:00Z");
        check(Window::Month, "2026-03-31T21:59:59Z", "Europe/Berlin", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z");
        check(Window::Month, "2011-12-31T09:59:59Z", "Pacific/Apia", "2011-12-01T10:00:00Z", "2011-12-31T10:00:00Z");
        check(Window::Day, "2011-12-30T09:59:59Z", "Pacific/Apia", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z");
    }
}
