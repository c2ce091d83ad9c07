//! When a provider says to come back.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// The longest wait that is believed, and so the longest that is passed on: beyond it a live call looks.
pub(super) const WAIT_MAX: Duration = Duration::from_hours(1);

/// Reads the waiting time that an answer asks for: `retry-after-ms` first, then `retry-after` in seconds or as a date.
///
/// A date is read by the clock of whoever wrote it, from the answer's own `Date`: those of two machines differ. `now` stands in
/// where the answer has none. What makes no sense asks for nothing.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str| text(name)?.parse().ok();
    let date = |name: &str| rfc2822::parse(text(name)?).ok().map(|date| date.timestamp());
    let until = || {
        let since = date(DATE.as_str()).unwrap_or(now);
        Some(date(RETRY_AFTER.as_str())?.duration_since(since).as_secs_f64().max(0.0))
    };
    let ms = number("retry-after-ms").and_then(|ms: f64| wait(ms / 1_000.0));
    ms.or_else(|| number(RETRY_AFTER.as_str()).and_then(wait)).or_else(|| until().and_then(wait))
}

/// So many seconds, where that is a wait.
fn wait(seconds: f64) -> Option<Duration> {
    (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(WAIT_MAX.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-26T12:00:00Z";

    #[track_caller]
    fn check(headers: &[(&'static str, &'static str)], expected_ms: Option<u64>) {
        let named = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
        let found = retry_after(&named.collect(), NOW.parse().unwrap());
        assert_eq!(found, expected_ms.map(Duration::from_millis), "{headers:?}");
    }

    #[test]
    fn a_wait_in_seconds_is_read_and_what_makes_no_sense_is_none() {
        const HOUR: u64 = 3_600_000;
        for (value, expected_ms) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("2", Some(2_000)),
            (" 2 ", Some(2_000)),
            ("0.5", Some(500)),
            ("1e2", Some(100_000)),
            ("3600", Some(HOUR)),
            ("3601", Some(HOUR)),
            ("99999999999999999999", Some(HOUR)),
            ("1e300", Some(HOUR)),
            ("inf", Some(HOUR)),
            ("-1", None),
            ("-1e300", None),
            ("-inf", None),
            ("NaN", None),
            ("", None),
            ("soon", None),
            ("2 s", None),
            ("1,5", None),
            ("0x10", None),
        ] {
            check(&[("retry-after", value)], expected_ms);
        }
        check(&[], None);
    }

    #[test]
    fn milliseconds_win_where_they_make_sense() {
        for (ms, seconds, expected_ms) in [
            ("1500", "2", Some(1_500)),
            ("1500.0", "soon", Some(1_500)),
            ("0", "2", Some(0)),
            ("-1", "2", Some(2_000)),
            ("soon", "2", Some(2_000)),
            ("soon", "soon", None),
        ] {
            check(&[("retry-after-ms", ms), ("retry-after", seconds)], expected_ms);
        }
    }

    #[test]
    fn a_date_is_read_by_the_clock_of_whoever_wrote_it() {
        const HOUR: u64 = 3_600_000;
        for (until, date, expected_ms) in [
            ("Thu, 26 Nov 2026 12:00:07 GMT", None, Some(7_000)),
            ("Thu, 26 Nov 2026 12:00:00 GMT", None, Some(0)),
            // It is over.
            ("Thu, 26 Nov 2026 11:00:00 GMT", None, Some(0)),
            // Its clock is three hours ahead of ours, or nine months behind.
            ("Thu, 26 Nov 2026 15:00:07 GMT", Some("Thu, 26 Nov 2026 15:00:00 GMT"), Some(7_000)),
            ("Sun, 01 Feb 2026 00:00:30 GMT", Some("Sun, 01 Feb 2026 00:00:00 GMT"), Some(30_000)),
            ("Thu, 26 Nov 2026 12:00:07 GMT", Some("yesterday"), Some(7_000)),
            ("Fri, 01 Jan 2100 00:00:00 GMT", None, Some(HOUR)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", None, Some(0)),
            // No such day, and a day that was another one of the week.
            ("Mon, 30 Feb 2026 00:00:00 GMT", None, None),
            ("Mon, 26 Nov 2026 12:00:07 GMT", None, None),
            ("2026-11-26T12:00:07Z", None, None),
        ] {
            let mut headers = vec![("retry-after", until)];
            headers.extend(date.map(|date| ("date", date)));
            check(&headers, expected_ms);
        }
    }
}
