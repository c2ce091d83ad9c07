//! Hours of the week in which a provider is cheaper.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

/// Minutes in a day.
const DAY: u16 = 24 * 60;

/// Off-peak windows, in UTC: each has its start inside and its end outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OffPeak(Vec<Hours>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Hours {
    weekdays: Vec<Weekday>,
    /// Minutes since midnight.
    start: u16,
    end: u16,
}

impl OffPeak {
    /// Adds a window such as `04:00-06:00` on some days of the week (1 = Monday; none named: every day). An end of
    /// `00:00` is the end of the day.
    pub(super) fn add(&mut self, hours: &str, weekdays: &[i8]) -> Result<(), String> {
        let parsed = hours.split_once('-').and_then(|(start, end)| Some((minutes(start)?, minutes(end)?)));
        let (start, end) = parsed.ok_or_else(|| format!("{hours:?} is not a window such as \"04:00-06:00\""))?;
        let end = if end == 0 { DAY } else { end };
        if start >= end {
            return Err(format!("{hours:?} ends before it starts; write a window over midnight as two"));
        }
        let weekdays = weekdays
            .iter()
            .map(|day| Weekday::from_monday_one_offset(*day).map_err(|_| format!("{day} is no weekday: 1 is Monday")))
            .collect::<Result<_, _>>()?;
        self.0.push(Hours { weekdays, start, end });
        Ok(())
    }

    /// True inside a window.
    pub(super) fn contains(&self, at: Timestamp) -> bool {
        let at = TimeZone::UTC.to_datetime(at);
        let minute = u16::from(at.hour().unsigned_abs()) * 60 + u16::from(at.minute().unsigned_abs());
        self.0.iter().any(|hours| {
            (hours.weekdays.is_empty() || hours.weekdays.contains(&at.weekday()))
                && (hours.start..hours.end).contains(&minute)
        })
    }
}

fn minutes(clock: &str) -> Option<u16> {
    let (hour, minute) = clock.split_once(':')?;
    let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !two_digits(hour) || !two_digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hours: &str, weekdays: &[i8], at: &str, expected: bool) {
        let mut windows = OffPeak::default();
        windows.add(hours, weekdays).unwrap();
        assert_eq!(windows.contains(at.parse().unwrap()), expected, "{at} in {hours} on {weekdays:?}");
    }

    #[test]
    fn a_window_holds_its_start_and_not_its_end() {
        check("04:00-06:00", &[], "2026-11-18T03:59:59Z", false);
        check("04:00-06:00", &[], "2026-11-18T04:00:00Z", true);
        check("04:00-06:00", &[], "2026-11-18T05:59:59Z", true);
        check("04:00-06:00", &[], "2026-11-18T06:00:00Z", false);
    }

    #[test]
    fn an_end_at_midnight_is_the_end_of_the_day() {
        check("10:00-00:00", &[3], "2026-11-18T23:59:59Z", true);
        check("00:00-00:00", &[3], "2026-11-18T00:00:00Z", true);
        check("10:00-00:00", &[3], "2026-11-19T00:00:00Z", false);
    }

    #[test]
    fn weekdays_are_those_of_utc() {
        check("00:00-00:00", &[6, 7], "2026-11-20T23:59:59Z", false);
        check("00:00-00:00", &[6, 7], "2026-11-21T00:00:00Z", true);
        check("00:00-00:00", &[6, 7], "2026-11-23T08:59:00+09:00", true);
        check("00:00-00:00", &[6, 7], "2026-11-23T00:00:00Z", false);
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for hours in
            ["", "04:00", "4:00-06:00", "04:00-24:00", "04:00-06:60", "22:00-04:00", "06:00-06:00", "+4:00-06:00"]
        {
            assert!(OffPeak::default().add(hours, &[]).is_err(), "{hours:?}");
        }
        for day in [0, 8, -1] {
            assert!(OffPeak::default().add("04:00-06:00", &[day]).is_err(), "{day}");
        }
    }
}
