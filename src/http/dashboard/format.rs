//! What is written for people, as cells of pages: with the exact value in the title.
//!
//! The words themselves are those of [`crate::domain::wording`], and are at hand here too.

use askama::Template;
use askama::filters::HtmlSafe;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use crate::domain::Picodollars;
pub use crate::domain::wording::*;

/// An amount of money ready for a cell: the text, the exact amount for its title, and whether it is dimmed.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(path = "parts/money.html")]
pub struct Money {
    /// What is shown.
    pub text: String,
    /// The exact amount, for the `title`.
    pub exact: String,
    /// True for nothing at all, which is shown paler.
    pub is_zero: bool,
}

/// Its template escapes every value.
impl HtmlSafe for Money {}

impl MoneyColumn {
    /// One row as a cell.
    pub fn cell(self, amount: Picodollars) -> Money {
        Money { text: self.text(amount), exact: format!("${amount}"), is_zero: amount.is_zero() }
    }
}

/// An amount that stands alone, as a cell.
pub fn money_cell(amount: Picodollars) -> Money {
    MoneyColumn::of([amount]).cell(amount)
}

/// A short count with the exact number in its title.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(path = "parts/count.html")]
pub struct Count {
    /// What is shown.
    pub text: String,
    /// Every digit.
    pub exact: String,
}

/// Its template escapes every value.
impl HtmlSafe for Count {}

/// A count as a cell.
pub fn count_cell(number: u64) -> Count {
    Count { text: count(number), exact: count_exact(number) }
}

/// An instant ready for a `<time>` element.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(path = "parts/moment.html")]
pub struct Moment {
    /// What is shown.
    pub text: String,
    /// The `datetime` attribute.
    pub datetime: String,
    /// The `title` attribute.
    pub title: String,
}

/// Its template escapes every value.
impl HtmlSafe for Moment {}

/// Writes instants as seen from one moment in one time zone.
#[derive(Clone, Debug)]
pub struct Clock {
    now: Timestamp,
    zone: TimeZone,
}

impl Clock {
    /// A clock that stands still while a page is made.
    pub fn new(now: Timestamp, zone: TimeZone) -> Self {
        Self { now, zone }
    }

    /// How long ago it was, up to a day; then the day.
    pub fn ago(&self, instant: Timestamp) -> Moment {
        let seconds = self.now.duration_since(instant).as_secs();
        let text = match seconds {
            ..1 => "just now".to_owned(),
            1..60 => format!("{seconds} s ago"),
            60..3_600 => format!("{} min ago", seconds / 60),
            3_600..86_400 => format!("{} h ago", seconds / 3_600),
            _ => {
                let date = self.zone.to_datetime(instant).date();
                let today = self.zone.to_datetime(self.now).date();
                if date == today.saturating_sub(1.day()) { "yesterday".to_owned() } else { self.day(date) }
            }
        };
        Moment { text, ..Self::marked(instant) }
    }

    /// The clock time, as logs show it.
    pub fn clock_time(&self, instant: Timestamp) -> Moment {
        let text = self.zone.to_datetime(instant).strftime("%H:%M:%S").to_string();
        Moment { text, ..Self::marked(instant) }
    }

    /// The clock time of an instant of today, or its day.
    pub fn time_or_day(&self, instant: Timestamp) -> Moment {
        let (there, here) = (self.zone.to_datetime(instant), self.zone.to_datetime(self.now));
        if there.date() == here.date() {
            return self.clock_time(instant);
        }
        let text = format!("{}, {}", self.day(there.date()), there.strftime("%H:%M"));
        Moment { text, ..Self::marked(instant) }
    }

    /// `18 Nov`, with the year where it is another one.
    pub fn day(&self, date: Date) -> String {
        let this_year = self.zone.to_datetime(self.now).year();
        if date.year() == this_year {
            date.strftime("%-d %b").to_string()
        } else {
            date.strftime("%-d %b %Y").to_string()
        }
    }

    fn marked(instant: Timestamp) -> Moment {
        Moment {
            text: String::new(),
            datetime: instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            title: instant.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
