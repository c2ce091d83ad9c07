//! Which day or month a report is about, and what it is held against.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use crate::domain::{Window, WindowId};
use crate::ledger::TimeRange;

/// How long a report looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A local day.
    Daily,
    /// A calendar month.
    Monthly,
}

impl Kind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Monthly => "monthly",
        }
    }

    /// The kind of window that it is about.
    pub const fn window(self) -> Window {
        match self {
            Self::Daily => Window::Day,
            Self::Monthly => Window::Month,
        }
    }
}

/// Why there is no such period.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// No day.
    #[error("{0:?} is no day: write it as 2026-11-22, between the years 2000 and 2100")]
    NoDay(String),
    /// No month.
    #[error("{0:?} is no month: write it as 2026-11, between the years 2000 and 2100")]
    NoMonth(String),
    /// It has not begun.
    #[error("{0} has not begun yet: there is nothing to report")]
    Ahead(String),
}

/// One day or month in the team's zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// Which kind.
    pub kind: Kind,
    /// Its window.
    pub window: WindowId,
    /// All of it.
    pub range: TimeRange,
    /// The period before: as far into it as this one is, where this one still runs.
    pub before: TimeRange,
    /// True while it is not over.
    pub is_running: bool,
    /// The zone whose days and months are meant.
    pub zone: TimeZone,
    first: Date,
}

impl Period {
    /// The period that a text names; without one the last that is over.
    pub fn new(kind: Kind, text: Option<&str>, now: Timestamp, zone: &TimeZone) -> Result<Self, PeriodError> {
        let today = zone.to_datetime(now).date();
        let first = match (kind, text) {
            (Kind::Daily, None) => today.saturating_sub(1.day()),
            (Kind::Monthly, None) => today.first_of_month().saturating_sub(1.month()),
            (kind, Some(text)) => date_of(kind, text)?,
        };
        if first > today {
            return Err(PeriodError::Ahead(text.unwrap_or_default().to_owned()));
        }
        Ok(Self::beginning(kind, first, now, zone))
    }

    /// The period that a path names: a day or a month by its form.
    pub fn named(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Self, PeriodError> {
        let kind = if text.len() == "2026-11".len() { Kind::Monthly } else { Kind::Daily };
        Self::new(kind, Some(text), now, zone)
    }

    /// The last periods of a kind, newest first, the one that runs among them.
    pub fn recent(kind: Kind, count: usize, now: Timestamp, zone: &TimeZone) -> Vec<Self> {
        let today = zone.to_datetime(now).date();
        let back = |index: usize| {
            let index = i64::try_from(index).unwrap_or(0);
            match kind {
                Kind::Daily => today.saturating_sub(index.days()),
                Kind::Monthly => today.first_of_month().saturating_sub(index.months()),
            }
        };
        (0..count).map(|index| Self::beginning(kind, back(index), now, zone)).collect()
    }

    fn beginning(kind: Kind, first: Date, now: Timestamp, zone: &TimeZone) -> Self {
        let start = |date: Date| zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible().unwrap_or(now);
        let (next, earlier) = match kind {
            Kind::Daily => (first.saturating_add(1.day()), first.saturating_sub(1.day())),
            Kind::Monthly => (first.saturating_add(1.month()), first.saturating_sub(1.month())),
        };
        let range = TimeRange { from: start(first), until: start(next) };
        let is_running = now < range.until;
        let so_far = if is_running {
            let there = now.to_zoned(zone.clone());
            let there = match kind {
                Kind::Daily => there.checked_sub(1.day()),
                Kind::Monthly => there.checked_sub(1.month()),
            };
            there.map_or(range.from, |there| there.timestamp())
        } else {
            range.from
        };
        let from = start(earlier);
        let before = TimeRange { from, until: so_far.clamp(from, range.from) };
        let window = kind.window().at(range.from, zone);
        Self { kind, window, range, before, is_running, zone: zone.clone(), first }
    }

    /// Its name as a parameter: `2026-11-18` or `2026-11`.
    pub fn name(&self) -> String {
        match self.kind {
            Kind::Daily => self.first.to_string(),
            Kind::Monthly => self.first.strftime("%Y-%m").to_string(),
        }
    }

    /// Its name for people: `Wed 18 Nov 2026` or `November 2026`.
    pub fn title(&self) -> String {
        match self.kind {
            Kind::Daily => self.first.strftime("%a %-d %b %Y").to_string(),
            Kind::Monthly => self.first.strftime("%B %Y").to_string(),
        }
    }

    /// The period before, in a sentence.
    pub(super) fn compared(&self) -> &'static str {
        match (self.kind, self.is_running) {
            (Kind::Daily, false) => "the day before",
            (Kind::Daily, true) => "the day before by this time",
            (Kind::Monthly, false) => "the month before",
            (Kind::Monthly, true) => "the month before by this day",
        }
    }

    /// The zone by its name.
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("local")
    }

    /// The last moment that the report knows of: the end of the period, or now.
    pub(super) fn known_until(&self, now: Timestamp) -> Timestamp {
        self.range.until.min(now)
    }
}

fn date_of(kind: Kind, text: &str) -> Result<Date, PeriodError> {
    let shown = || text.chars().take(40).collect::<String>();
    let refused = || if kind == Kind::Daily { PeriodError::NoDay(shown()) } else { PeriodError::NoMonth(shown()) };
    // Exactly this form: the parser would take times and zones behind a date too.
    let (length, day) = if kind == Kind::Daily { (10, text.to_owned()) } else { (7, format!("{text}-01")) };
    let date: Date = day.parse().map_err(|_| refused())?;
    let is_plain = text.len() == length && day == date.to_string();
    if is_plain && (2000..2100).contains(&date.year()) { Ok(date) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    /// Half past two on a Thursday afternoon in Berlin.
    fn now() -> Timestamp {
        "2026-11-19T13:30:00Z".parse().unwrap()
    }

    fn check(kind: Kind, text: Option<&str>, name: &str, range: [&str; 2], before: [&str; 2]) {
        let period = Period::new(kind, text, now(), &zone()).unwrap();
        let range_of = |range: TimeRange| [range.from.to_string(), range.until.to_string()];
        assert_eq!(period.name(), name);
        assert_eq!(range_of(period.range), range, "{name}");
        assert_eq!(range_of(period.before), before, "before {name}");
    }

    #[test]
    fn without_a_name_it_is_the_last_one_that_is_over() {
        check(
            Kind::Daily,
            None,
            "2026-11-18",
            ["2026-11-17T23:00:00Z", "2026-11-18T23:00:00Z"],
            ["2026-11-16T23:00:00Z", "2026-11-17T23:00:00Z"],
        );
        check(
            Kind::Monthly,
            None,
            "2026-10",
            ["2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"],
            ["2026-08-31T22:00:00Z", "2026-09-30T22:00:00Z"],
        );
    }

    #[test]
    fn one_that_runs_is_held_against_as_much_of_the_one_before() {
        check(
            Kind::Daily,
            Some("2026-11-19"),
            "2026-11-19",
            ["2026-11-18T23:00:00Z", "2026-11-19T23:00:00Z"],
            ["2026-11-17T23:00:00Z", "2026-11-18T13:30:00Z"],
        );
        check(
            Kind::Monthly,
            Some("2026-11"),
            "2026-11",
            ["2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z"],
            // The clocks went back in between: half past two is an hour earlier in UTC.
            ["2026-09-30T22:00:00Z", "2026-10-19T12:30:00Z"],
        );
    }

    #[test]
    fn a_day_of_a_clock_change_is_as_long_as_it_was() {
        check(
            Kind::Daily,
            Some("2026-10-25"),
            "2026-10-25",
            ["2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"],
            ["2026-10-23T22:00:00Z", "2026-10-24T22:00:00Z"],
        );
    }

    #[test]
    fn what_is_no_period_or_has_not_begun_is_refused() {
        for text in
            ["", "yesterday", "2026-11-31", "2026-1-1", "20261118", "2026-11-18T00:00", "1999-12-31", "2100-01-01"]
        {
            let refused = Period::new(Kind::Daily, Some(text), now(), &zone()).unwrap_err();
            assert_eq!(refused, PeriodError::NoDay(text.to_owned()));
        }
        for text in ["", "2026", "2026-13", "2026-11-18", "november", "2026-1", "-2026-1"] {
            let refused = Period::new(Kind::Monthly, Some(text), now(), &zone()).unwrap_err();
            assert_eq!(refused, PeriodError::NoMonth(text.to_owned()));
        }
        for (kind, text) in [(Kind::Daily, "2026-11-20"), (Kind::Monthly, "2026-12")] {
            let refused = Period::new(kind, Some(text), now(), &zone()).unwrap_err();
            assert_eq!(refused, PeriodError::Ahead(text.to_owned()));
        }
        // It is the 20th in Auckland already.
        let auckland = TimeZone::get("Pacific/Auckland").unwrap();
        assert!(Period::new(Kind::Daily, Some("2026-11-20"), now(), &auckland).unwrap().is_running);
    }

    #[test]
    fn the_last_ones_are_listed_from_the_one_that_runs_backwards() {
        let names = |kind| Period::recent(kind, 3, now(), &zone()).iter().map(Period::name).collect::<Vec<_>>();
        assert_eq!(names(Kind::Daily), ["2026-11-19", "2026-11-18", "2026-11-17"]);
        assert_eq!(names(Kind::Monthly), ["2026-11", "2026-10", "2026-09"]);
        let named = Period::named("2026-11", now(), &zone()).unwrap();
        assert_eq!((named.kind, named.title()), (Kind::Monthly, "November 2026".to_owned()));
        assert_eq!(Period::named("2026-11-18", now(), &zone()).unwrap().title(), "Wed 18 Nov 2026");
    }
}
