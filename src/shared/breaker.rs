//! Whether it is worth asking: after failures in a row nobody asks for a while, then one does, to see.
//!
//! What was asked before the last failure says nothing that isn't known by it: asks that fail together are one failure.

use std::time::{Duration, Instant};

/// Failures in a row after which nobody asks: one may be chance.
const FAILURES_MAX: u32 = 3;
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// How long it may take to be noticed that it works again.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// The state between calls.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// When the last of them came.
    failed: Option<Instant>,
    /// Set while nobody asks.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    pause: Duration,
}

impl Breaker {
    /// Whether to ask now. Who is told yes after a pause asks for all: the others go on waiting.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        match &mut self.open {
            None => true,
            Some(open) if now < open.until => false,
            Some(open) => {
                open.until = now + open.pause;
                true
            }
        }
    }

    fn is_old(&self, asked: Instant) -> bool {
        self.failed.is_some_and(|failed| asked < failed)
    }

    /// Notes an answer to what was asked at a time. True where it did not work before.
    pub(super) fn worked(&mut self, asked: Instant) -> bool {
        if self.is_old(asked) {
            return false;
        }
        self.failures = 0;
        self.open.take().is_some()
    }

    /// Notes a failure of what was asked at a time. True where nobody asks from now on.
    pub(super) fn failed(&mut self, asked: Instant, now: Instant) -> bool {
        if self.is_old(asked) {
            return false;
        }
        self.failed = Some(now);
        if let Some(open) = &mut self.open {
            open.pause = (open.pause * 2).min(PAUSE_MAX);
            open.until = now + open.pause;
            return false;
        }
        self.failures += 1;
        if self.failures < FAILURES_MAX {
            return false;
        }
        self.open = Some(Open { until: now + PAUSE_FIRST, pause: PAUSE_FIRST });
        true
    }

    pub(super) fn is_closed(&self) -> bool {
        self.open.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_open_it_and_one_success_between_starts_the_count_anew() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        assert!(!breaker.failed(now, now) && !breaker.failed(now, now) && !breaker.worked(now));
        assert!(!breaker.failed(now, now) && !breaker.failed(now, now) && breaker.may_ask(now));
        assert!(breaker.failed(now, now) && !breaker.may_ask(now) && !breaker.is_closed());
    }

    #[test]
    fn asks_that_fail_together_are_one_failure_and_lengthen_no_pause() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        let late = Duration::from_millis(50);
        for _ in 1..FAILURES_MAX {
            for _ in 0..20 {
                assert!(!breaker.failed(now, now + late));
            }
            now += late;
        }
        assert!(breaker.failed(now, now + late));
        for _ in 0..20 {
            assert!(!breaker.failed(now, now + late) && !breaker.worked(now));
        }
        assert!(!breaker.is_closed(), "an answer from before it opened says nothing");
        now += late + PAUSE_FIRST;
        assert!(breaker.may_ask(now), "the first pause is the shortest");
        assert!(breaker.worked(now) && breaker.is_closed());
    }

    #[test]
    fn after_a_pause_one_asks_for_all_and_a_failure_doubles_the_pause_up_to_a_limit() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES_MAX {
            breaker.failed(now, now);
        }
        let mut pause = PAUSE_FIRST;
        for _ in 0..8 {
            assert!(!breaker.may_ask(now + pause.mul_f64(0.99)));
            now += pause;
            assert!(breaker.may_ask(now) && !breaker.may_ask(now), "one alone");
            assert!(!breaker.failed(now, now), "told of once");
            pause = (pause * 2).min(PAUSE_MAX);
        }
        assert!(breaker.may_ask(now + PAUSE_MAX) && breaker.worked(now) && breaker.may_ask(now));
    }
}
