//! Where the time comes from, and a guard against clocks that are set wrong.
//!
//! Money is summed by windows of time, so a wall clock that jumps would begin a budget anew. The guarded clock never goes back,
//! and believes a leap forward only when it has seen it twice, a minute apart; until then time goes on as the machine's steady
//! clock has it. What it does is a pure function of two readings, so tests hand it any.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;

/// A step forward beyond this is not believed at once: no correction of a clock that was right before is as large.
const LEAP_MIN_MS: i64 = 3_600_000;
/// How long a leap has to last before it is believed.
const BELIEVED_AFTER_MS: i64 = 60_000;
/// A step back below this is how clocks are corrected every day, and worth no word.
const BACK_TOLD_MS: i64 = 1_000;

/// Where the time comes from.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Guarded(Arc<Guard>),
    Manual(Arc<AtomicI64>),
}

/// A wall clock that can't be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leap {
    /// It was set back by so many milliseconds; the time stands still until it has caught up.
    Back(i64),
    /// It was set forward by so many milliseconds; the time goes on as before until it is believed.
    Forward(i64),
}

impl Clock {
    /// The machine's clock as it is.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// The machine's clock, guarded against being set wrong.
    pub fn guarded() -> Self {
        let steady = Instant::now();
        Self(Source::Guarded(Arc::new(Guard::new(steady, wall_ms()))))
    }

    /// A clock that stands still until it is moved.
    pub fn manual(now: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(now.as_millisecond()))))
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        let now_ms = match &self.0 {
            Source::System => wall_ms(),
            Source::Guarded(guard) => guard.now_ms(),
            Source::Manual(now) => now.load(Ordering::Relaxed),
        };
        Timestamp::from_millisecond(now_ms).unwrap_or_default()
    }

    /// How the wall clock is wrong at the moment, as far as is known.
    pub fn leap(&self) -> Option<Leap> {
        match &self.0 {
            Source::Guarded(guard) => guard.steady().leap,
            Source::System | Source::Manual(_) => None,
        }
    }

    /// Moves a manual clock; the machine's own stays as it is.
    pub fn set(&self, now: Timestamp) {
        if let Source::Manual(source) = &self.0 {
            source.store(now.as_millisecond(), Ordering::Relaxed);
        }
    }
}

fn wall_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    Timestamp::now().as_millisecond()
}

/// The guard's state, and a way past its lock for the usual case.
#[derive(Debug)]
struct Guard {
    origin: Instant,
    steady: Mutex<Steady>,
    /// The latest time that was told, for a look without the lock.
    told_ms: AtomicI64,
    /// What the wall clock was ahead of the steady one when all was well.
    ahead_ms: AtomicI64,
}

impl Guard {
    fn new(origin: Instant, wall_ms: i64) -> Self {
        Self {
            origin,
            steady: Mutex::new(Steady::new(wall_ms, 0)),
            told_ms: AtomicI64::new(wall_ms),
            ahead_ms: AtomicI64::new(wall_ms),
        }
    }

    fn steady(&self) -> std::sync::MutexGuard<'_, Steady> {
        self.steady.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> i64 {
        let running_ms = i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.at(wall_ms(), running_ms)
    }

    /// Calls ask several times each, so the usual case takes no lock: the wall clock goes on as the steady one does.
    fn at(&self, wall_ms: i64, running_ms: i64) -> i64 {
        let drift = wall_ms - running_ms - self.ahead_ms.load(Ordering::Relaxed);
        if drift.abs() <= 1 && wall_ms >= self.told_ms.fetch_max(wall_ms, Ordering::Relaxed) {
            return wall_ms;
        }
        let mut steady = self.steady();
        steady.told_ms = steady.told_ms.max(self.told_ms.load(Ordering::Relaxed));
        let now_ms = steady.read(wall_ms, running_ms);
        self.told_ms.fetch_max(now_ms, Ordering::Relaxed);
        self.ahead_ms.store(if steady.leap.is_none() { steady.ahead_ms } else { i64::MIN / 4 }, Ordering::Relaxed);
        now_ms
    }
}

/// What is made of two clocks: one that people set, and one that only runs.
#[derive(Clone, Copy, Debug)]
struct Steady {
    told_ms: i64,
    /// What the wall clock is ahead of the steady one, when it is believed.
    ahead_ms: i64,
    /// When a leap forward was first seen, by the steady clock.
    leapt_at_ms: Option<i64>,
    leap: Option<Leap>,
}

impl Steady {
    fn new(wall_ms: i64, running_ms: i64) -> Self {
        Self { told_ms: wall_ms, ahead_ms: wall_ms - running_ms, leapt_at_ms: None, leap: None }
    }

    /// The time, from what both clocks show.
    fn read(&mut self, wall_ms: i64, running_ms: i64) -> i64 {
        let expected_ms = running_ms.saturating_add(self.ahead_ms);
        let forward_ms = wall_ms.saturating_sub(expected_ms);
        if forward_ms > LEAP_MIN_MS {
            let since = *self.leapt_at_ms.get_or_insert(running_ms);
            if running_ms - since < BELIEVED_AFTER_MS {
                self.change(Some(Leap::Forward(forward_ms)));
                self.told_ms = self.told_ms.max(expected_ms);
                return self.told_ms;
            }
            tracing::warn!("the clock still shows what it showed a minute ago: it is believed from now on");
        }
        self.leapt_at_ms = None;
        self.ahead_ms = wall_ms - running_ms;
        let back_ms = self.told_ms - wall_ms;
        self.change((back_ms > BACK_TOLD_MS).then_some(Leap::Back(back_ms)));
        self.told_ms = self.told_ms.max(wall_ms);
        self.told_ms
    }

    fn change(&mut self, leap: Option<Leap>) {
        let kind = |leap: Option<Leap>| leap.map(|leap| matches!(leap, Leap::Back(_)));
        if kind(self.leap) != kind(leap) {
            match leap {
                Some(Leap::Back(by)) => tracing::error!(
                    "the clock was set back by {} s: time stands still for budgets until it has caught up; a restart takes the clock as it is",
                    by / 1_000
                ),
                Some(Leap::Forward(by)) => tracing::error!(
                    "the clock was set forward by {} s: budgets stay in their windows until it has shown that for a minute",
                    by / 1_000
                ),
                None => tracing::info!("the clock is believed again"),
            }
        }
        self.leap = leap;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_795_348_800_000;
    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;

    /// Shows a guard what the wall clock and the steady clock say, since the start, and what the time is said to be.
    fn check(guard: &Guard, wall: i64, running: i64, expected: i64, leap: Option<Leap>) {
        assert_eq!(guard.at(START + wall, running) - START, expected, "wall {wall}, running {running}");
        assert_eq!(guard.steady().leap, leap, "wall {wall}, running {running}");
    }

    fn guard() -> Guard {
        Guard::new(Instant::now(), START)
    }

    #[test]
    fn a_clock_that_runs_well_is_believed_even_after_days_without_a_call() {
        let guard = guard();
        check(&guard, 10, 10, 10, None);
        check(&guard, 9 * DAY, 9 * DAY, 9 * DAY, None);
        // Corrections by seconds and minutes are no leap, as after the machine has slept for half an hour.
        check(&guard, 9 * DAY + 5_000, 9 * DAY + 1_000, 9 * DAY + 5_000, None);
        check(&guard, 9 * DAY + HOUR / 2, 9 * DAY + 2_000, 9 * DAY + HOUR / 2, None);
        check(&guard, 9 * DAY + HOUR / 2 + 7, 9 * DAY + 2_007, 9 * DAY + HOUR / 2 + 7, None);
    }

    #[test]
    fn a_clock_that_is_set_back_stands_still_until_it_has_caught_up() {
        let guard = guard();
        check(&guard, DAY, DAY, DAY, None);
        check(&guard, 0, DAY + 1, DAY, Some(Leap::Back(DAY)));
        check(&guard, HOUR, DAY + HOUR, DAY, Some(Leap::Back(DAY - HOUR)));
        check(&guard, DAY + 1, 2 * DAY, DAY + 1, None);
        check(&guard, DAY + HOUR, 2 * DAY + HOUR, DAY + HOUR, None);
        // By less than a second nobody is told.
        check(&guard, DAY + HOUR - 900, 2 * DAY + HOUR + 1, DAY + HOUR, None);
    }

    #[test]
    fn a_leap_forward_is_believed_when_it_is_seen_again_a_minute_later() {
        let guard = guard();
        check(&guard, 1_000, 1_000, 1_000, None);
        check(&guard, DAY, 2_000, 2_000, Some(Leap::Forward(DAY - 2_000)));
        check(&guard, DAY + 1_000, 3_000, 3_000, Some(Leap::Forward(DAY - 2_000)));
        check(&guard, DAY + 59_999, 61_999, 61_999, Some(Leap::Forward(DAY - 2_000)));
        check(&guard, DAY + 60_000, 62_000, DAY + 60_000, None);
        check(&guard, DAY + 61_000, 63_000, DAY + 61_000, None);
    }

    #[test]
    fn a_leap_that_is_taken_back_has_changed_nothing() {
        let guard = guard();
        check(&guard, DAY, 1_000, 1_000, Some(Leap::Forward(DAY - 1_000)));
        check(&guard, 30_000, 30_000, 30_000, None);
        // The minute begins anew.
        check(&guard, DAY, 40_000, 40_000, Some(Leap::Forward(DAY - 40_000)));
        check(&guard, DAY + 59_000, 99_000, 99_000, Some(Leap::Forward(DAY - 40_000)));
        check(&guard, 100_000, 100_000, 100_000, None);
    }

    #[test]
    fn a_leap_that_is_taken_back_after_it_was_believed_keeps_the_later_window() {
        let guard = guard();
        check(&guard, DAY, 0, 0, Some(Leap::Forward(DAY)));
        check(&guard, DAY + 60_000, 60_000, DAY + 60_000, None);
        check(&guard, 70_000, 70_000, DAY + 60_000, Some(Leap::Back(DAY - 10_000)));
    }

    #[test]
    fn an_hour_is_the_most_that_is_believed_at_once() {
        let guard_of = |by: i64| guard().at(START + by, 0) - START;
        assert_eq!(guard_of(HOUR), HOUR);
        assert_eq!(guard_of(HOUR + 1), 0);
    }
}
