//! Ranges of UTC days: what providers bill by.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// The longest range that is fetched or compared at once: a quarter.
const DAYS_MAX: usize = 92;

/// Why there is no such range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DaysError {
    /// No day.
    #[error("{0:?} is no day: write it as 2026-11-22, between the years 2000 and 2100")]
    NoDay(String),
    /// Nothing in it.
    #[error(
        "the range ends on {until}, which is not after its first day, {from}: the last day is the one before its end"
    )]
    Empty {
        /// Its first day.
        from: Date,
        /// The first day after it.
        until: Date,
    },
    /// Too much in it.
    #[error("the range has more than {DAYS_MAX} days: ask for a shorter one")]
    TooLong,
    /// It has not begun.
    #[error("{0} has not begun yet in UTC: there is nothing to compare")]
    Ahead(Date),
}

/// A half-open range of UTC days; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    from: Date,
    until: Date,
}

impl Days {
    /// A range from a day to before another.
    pub fn new(from: Date, until: Date) -> Result<Self, DaysError> {
        let days = Self { from, until };
        match days.len() {
            0 => Err(DaysError::Empty { from, until }),
            1..=DAYS_MAX => Ok(days),
            _ => Err(DaysError::TooLong),
        }
    }

    /// The range that two texts name; what is left out are the last `usual` days before today, or up to `to`.
    pub fn named(from: Option<&str>, to: Option<&str>, usual: i64, now: Timestamp) -> Result<Self, DaysError> {
        let today = day_of(now);
        let (from, to) = (from.map(day).transpose()?, to.map(day).transpose()?);
        let until = to.unwrap_or_else(|| from.map_or(today, |from| today.max(from.saturating_add(1.day()))));
        let from = from.unwrap_or_else(|| until.saturating_sub(usual.days()));
        if from > today {
            return Err(DaysError::Ahead(from));
        }
        Self::new(from, until.min(today.saturating_add(1.day())))
    }

    /// The range of the last so many days, today among them.
    pub fn up_to_today(count: i64, now: Timestamp) -> Self {
        let until = day_of(now).saturating_add(1.day());
        Self { from: until.saturating_sub(count.max(1).days()), until }
    }

    /// One day.
    pub fn one(day: Date) -> Self {
        Self { from: day, until: day.saturating_add(1.day()) }
    }

    /// Its first day.
    pub const fn from(self) -> Date {
        self.from
    }

    /// The first day after it.
    pub const fn until(self) -> Date {
        self.until
    }

    /// How many days it has.
    pub fn len(self) -> usize {
        usize::try_from((self.until - self.from).get_days()).unwrap_or(0)
    }

    /// Never: there is no such range.
    pub const fn is_empty(self) -> bool {
        false
    }

    /// Whether a day lies in it.
    pub fn contains(self, day: Date) -> bool {
        (self.from..self.until).contains(&day)
    }

    /// Its days, in order.
    pub fn each(self) -> impl DoubleEndedIterator<Item = Date> {
        let from = self.from;
        (0..self.len()).map(move |index| from.saturating_add(i64::try_from(index).unwrap_or(0).days()))
    }

    /// The same in ranges of at most so many days.
    pub(super) fn pieces(self, days_max: i64) -> impl Iterator<Item = Self> {
        let mut at = self.from;
        std::iter::from_fn(move || {
            let from = at;
            at = from.saturating_add(days_max.days()).min(self.until);
            (from < self.until).then_some(Self { from, until: at })
        })
    }
}

/// The UTC day of an instant.
pub(super) fn day_of(instant: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(instant).date()
}

/// The instant at which a UTC day begins.
pub(super) fn start_of(day: Date) -> Timestamp {
    day.at(0, 0, 0, 0).to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()).unwrap_or_default()
}

/// A day as people write it.
fn day(text: &str) -> Result<Date, DaysError> {
    let day = Some(text).filter(|text| text.len() == "2026-11-22".len()).and_then(|text| text.parse().ok());
    day.filter(|day: &Date| (2000..2100).contains(&day.year())).ok_or_else(|| DaysError::NoDay(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: Option<&str>, to: Option<&str>, expected: &str) {
        // In Seoul it is the 23rd already; providers bill by UTC.
        let now = "2026-11-22T20:00:00Z".parse().unwrap();
        let found = Days::named(from, to, 7, now);
        let shown = found.map_or_else(|error| error.to_string(), |days| format!("{} {}", days.from, days.until));
        assert!(shown.contains(expected), "{from:?} {to:?}: {shown}");
    }

    #[test]
    fn what_is_left_out_of_a_range_is_the_last_week() {
        check(None, None, "2026-11-15 2026-11-22");
        check(Some("2026-11-01"), None, "2026-11-01 2026-11-22");
        check(None, Some("2026-11-10"), "2026-11-03 2026-11-10");
        check(Some("2026-11-01"), Some("2026-11-02"), "2026-11-01 2026-11-02");
        check(Some("2026-11-22"), None, "2026-11-22 2026-11-23");
        check(Some("2026-11-20"), Some("2026-12-24"), "2026-11-20 2026-11-23");
    }

    #[test]
    fn what_is_no_range_is_refused_with_a_way_out() {
        check(Some("yesterday"), None, "write it as 2026-11-22");
        check(Some("2026-02-30"), None, "is no day");
        check(Some("20261122"), None, "is no day");
        check(Some("1999-12-31"), None, "is no day");
        check(Some("2026-11-10"), Some("2026-11-10"), "which is not after its first day");
        check(Some("2026-11-10"), Some("2026-11-09"), "which is not after its first day");
        check(Some("2026-11-23"), None, "has not begun yet");
        check(Some("2026-08-01"), None, "more than 92 days");
    }

    #[test]
    fn pieces_cover_a_range_without_gaps() {
        let days = Days::new("2026-09-01".parse().unwrap(), "2026-11-20".parse().unwrap()).unwrap();
        let pieces: Vec<Days> = days.pieces(31).collect();
        assert_eq!(pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>(), [31, 31, 18]);
        let each: Vec<Date> = pieces.iter().flat_map(|piece| piece.each()).collect();
        assert_eq!(each, days.each().collect::<Vec<_>>());
        assert_eq!(days.each().count(), days.len());
    }
}
