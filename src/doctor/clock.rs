//! Whether the time is right: against the providers' answers, against the ledger, and as the guard sees it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::report::Check;
use crate::domain::wording::duration;
use crate::runtime::Leap;

const NAME: &str = "clock";
/// A header of dates has whole seconds, and an answer takes a while: less says nothing.
const OFFSET_WARNED: SignedDuration = SignedDuration::from_secs(5);
/// Certificates and signed requests begin to be refused, and budget days end at the wrong time.
const OFFSET_WRONG: SignedDuration = SignedDuration::from_secs(60);
/// Entries get their time when a call begins; more than this ahead of the clock was booked by another clock.
const AHEAD_MAX: SignedDuration = SignedDuration::from_secs(2);
const MEND: &str = "sudo timedatectl set-ntp true";

/// What is known of the time.
pub(super) struct Times<'a> {
    pub(super) now: Timestamp,
    /// The zone of budget days.
    pub(super) zone: String,
    pub(super) leap: Option<Leap>,
    /// How far the clock is ahead of each provider's.
    pub(super) offsets: &'a [SignedDuration],
    /// When the newest entry of the ledger was made.
    pub(super) newest: Option<Timestamp>,
}

/// The middle of what providers' clocks say: one of them may be wrong itself.
pub(super) fn middle(offsets: &[SignedDuration]) -> Option<SignedDuration> {
    let mut sorted = offsets.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

/// One verdict on the time: the worst that is true.
pub(super) fn judge(times: &Times<'_>) -> Check {
    let offset = middle(times.offsets);
    let ahead = times.newest.map(|newest| newest.duration_since(times.now));
    let check = verdict(times, offset, ahead);
    let check = offset.map(|offset| check.clone().number("offsetMs", offset.as_millis())).unwrap_or(check);
    ahead.map(|ahead| check.clone().number("newestEntryAgeMs", -ahead.as_millis())).unwrap_or(check)
}

fn verdict(times: &Times<'_>, offset: Option<SignedDuration>, ahead: Option<SignedDuration>) -> Check {
    match times.leap {
        Some(Leap::Back(ms)) => {
            let found = format!(
                "the clock was set back by {}: time stands still for budgets until it has caught up",
                milliseconds(ms)
            );
            return Check::problem(NAME, found, format!("{MEND}, then restart the server"));
        }
        Some(Leap::Forward(ms)) => {
            let found = format!(
                "the clock was set forward by {}: budgets stay in their windows until it has shown that for a minute",
                milliseconds(ms)
            );
            return Check::problem(NAME, found, MEND);
        }
        None => {}
    }
    if let Some(ahead) = ahead.filter(|ahead| *ahead > AHEAD_MAX) {
        let found = format!(
            "the ledger's newest entry is {} ahead of the clock: time runs backwards, and budgets may begin anew",
            words(ahead)
        );
        return Check::problem(NAME, found, MEND);
    }
    let zone = &times.zone;
    let Some(offset) = offset else {
        let newest = if times.newest.is_some() { "the ledger's entries are not ahead of it" } else { "no entry yet" };
        return Check::ok(NAME, format!("{newest}; no provider told its time; budget days are those of {zone}"));
    };
    let side = if offset.is_negative() { "behind" } else { "ahead of" };
    let told = format!("{} {side} the providers' clocks", words(offset));
    if offset.abs() > OFFSET_WRONG {
        return Check::problem(
            NAME,
            format!("the clock is {told}: days and months of budgets end at the wrong time"),
            MEND,
        );
    }
    if offset.abs() > OFFSET_WARNED {
        return Check::warning(NAME, format!("the clock is {told}"), MEND);
    }
    Check::ok(NAME, format!("within a few seconds of the providers' clocks; budget days are those of {zone}"))
}

fn words(length: SignedDuration) -> String {
    duration(length.unsigned_abs())
}

fn milliseconds(ms: i64) -> String {
    duration(Duration::from_millis(ms.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    fn check(offsets: &[i64], newest_ahead: Option<i64>, leap: Option<Leap>, verdict: Verdict, expected: &str) {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let offsets: Vec<SignedDuration> = offsets.iter().map(|seconds| SignedDuration::from_secs(*seconds)).collect();
        let newest = newest_ahead.map(|seconds| now + SignedDuration::from_secs(seconds));
        let found = judge(&Times { now, zone: "Asia/Seoul".to_owned(), leap, offsets: &offsets, newest });
        assert!(found.verdict == verdict && found.found.contains(expected), "{found:?}");
        assert_eq!(found.mend.is_some(), verdict >= Verdict::Warning, "{found:?}");
    }

    #[test]
    fn a_clock_is_right_within_seconds_of_the_providers() {
        check(&[], None, None, Verdict::Ok, "no entry yet");
        check(&[], Some(-60), None, Verdict::Ok, "those of Asia/Seoul");
        check(&[1, -1, 0], Some(-1), None, Verdict::Ok, "within a few seconds");
        check(&[5], Some(1), None, Verdict::Ok, "within a few seconds");
    }

    #[test]
    fn a_clock_that_is_off_is_told_with_the_side() {
        check(&[6], None, None, Verdict::Warning, "6.0 s ahead of");
        check(&[-30], None, None, Verdict::Warning, "30.0 s behind");
        check(&[-3_600], None, None, Verdict::Problem, "1 h behind");
    }

    #[test]
    fn one_provider_with_a_wrong_clock_does_not_make_ours_wrong() {
        check(&[0, 0, 9_000], None, None, Verdict::Ok, "within");
        check(&[0, 9_000], None, None, Verdict::Ok, "within");
    }

    #[test]
    fn time_that_runs_backwards_is_a_problem_whoever_shows_it() {
        check(&[0], Some(600), None, Verdict::Problem, "10 min ahead of the clock");
        check(&[0], None, Some(Leap::Back(90_000)), Verdict::Problem, "set back by 1 min 30 s");
        check(&[0], None, Some(Leap::Forward(7_200_000)), Verdict::Problem, "set forward by 2 h");
    }
}
