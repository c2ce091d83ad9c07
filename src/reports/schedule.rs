//! When reports are due: a day's at its time on the day after, a month's at its time on the first day after.
//!
//! Pure: what was sent already is known to whoever sends. A time that a change of clocks leaves out comes as much later, one
//! that comes twice counts the first time.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::{Kind, Period};

/// A report that could not be sent for so long is news no more.
const LATE_MAX: SignedDuration = SignedDuration::from_hours(24);

/// The period whose report was due last, unless that is too long ago.
pub fn due(kind: Kind, at: Time, now: Timestamp, zone: &TimeZone) -> Option<Period> {
    let moment = |date: Date| zone.to_ambiguous_timestamp(date.to_datetime(at)).compatible().ok();
    let today = zone.to_datetime(now).date();
    let newest = match kind {
        Kind::Daily => today,
        Kind::Monthly => today.first_of_month(),
    };
    let earlier = match kind {
        Kind::Daily => newest.checked_sub(1.day()).ok()?,
        Kind::Monthly => newest.checked_sub(1.month()).ok()?,
    };
    let (date, moment) = [newest, earlier].into_iter().find_map(|date| {
        let moment = moment(date)?;
        (moment <= now).then_some((date, moment))
    })?;
    // A day of 25 hours is one day late, not more.
    let is_late = now.duration_since(moment) > LATE_MAX && kind == Kind::Monthly;
    if is_late {
        return None;
    }
    let last = date.checked_sub(1.day()).ok()?;
    let name = match kind {
        Kind::Daily => last.to_string(),
        Kind::Monthly => last.strftime("%Y-%m").to_string(),
    };
    Period::new(kind, Some(&name), now, zone).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, at: &str, now: &str, zone: &str, expected: Option<&str>) {
        let zone = TimeZone::get(zone).unwrap();
        let found = due(kind, at.parse().unwrap(), now.parse().unwrap(), &zone);
        assert_eq!(found.map(|period| period.name()).as_deref(), expected, "{at} {now}");
    }

    #[test]
    fn a_day_is_due_at_its_time_on_the_day_after() {
        let check = |now, expected| check(Kind::Daily, "09:00", now, "Asia/Seoul", Some(expected));
        check("2026-11-24T23:59:59Z", "2026-11-23");
        check("2026-11-25T00:00:00Z", "2026-11-24");
        check("2026-11-25T23:59:59Z", "2026-11-24");
    }

    #[test]
    fn a_month_is_due_on_the_first_and_not_a_day_later() {
        let check = |now, expected| check(Kind::Monthly, "09:00", now, "UTC", expected);
        check("2026-12-01T08:59:59Z", None);
        check("2026-12-01T09:00:00Z", Some("2026-11"));
        check("2026-12-02T09:00:00Z", Some("2026-11"));
        check("2026-12-02T09:00:01Z", None);
        check("2027-01-01T10:00:00Z", Some("2026-12"));
    }

    #[test]
    fn a_change_of_clocks_neither_skips_nor_doubles_a_day() {
        // On 29 March 2026 the hour from 2 to 3 is left out, on 25 October it comes twice.
        for (from, days) in [("2026-03-27T12:00:00Z", 4), ("2026-10-23T12:00:00Z", 4)] {
            let zone = TimeZone::get("Europe/Berlin").unwrap();
            let from: Timestamp = from.parse().unwrap();
            let mut names = Vec::new();
            for minute in 0..days * 24 * 60 {
                let now = from + SignedDuration::from_mins(minute);
                let name = due(Kind::Daily, "02:30".parse().unwrap(), now, &zone).unwrap().name();
                if names.last() != Some(&name) {
                    names.push(name);
                }
            }
            assert_eq!(names.len(), 5, "{names:?}");
            assert!(names.is_sorted(), "{names:?}");
        }
    }
}
