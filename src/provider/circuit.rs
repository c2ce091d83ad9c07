//! The circuit breaker of one deployment: a pure state machine, time comes in as a value.
//!
//! An outcome counts from the moment at which its call was let through: what was on its way when the state changed says nothing
//! about the state since. So calls that fail late neither open a circuit again that a later one has closed, nor fail the probe of
//! another, and one that is answered late doesn't close what opened behind it.

use std::time::{Duration, Instant};

/// When a circuit opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct CircuitPolicy {
    /// Failures in a row that open it.
    pub failures_max: u32,
    /// How long it stays open the first time; doubles while probes keep failing.
    pub open_for: Duration,
    /// The longest that it stays open.
    pub open_for_max: Duration,
}

impl Default for CircuitPolicy {
    fn default() -> Self {
        // Five in a row are no accident; five seconds later a live call may find out whether it has passed.
        Self { failures_max: 5, open_for: Duration::from_secs(5), open_for_max: Duration::from_mins(1) }
    }
}

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// Traffic flows.
    Closed {
        /// Failures since the last success.
        failures: u32,
        /// When a call closed it; absent where it has never been open.
        since: Option<Instant>,
    },
    /// Traffic is refused.
    Open {
        /// When it opened.
        since: Instant,
        /// Until then.
        until: Instant,
        /// How long the next opening is.
        next: Duration,
    },
    /// One live call finds out.
    HalfOpen {
        /// When it opened.
        since: Instant,
        /// When the call went that finds out.
        begun: Instant,
        /// How long the next opening is.
        next: Duration,
        /// When the probe counts as lost, and another may go.
        lost: Instant,
    },
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It was answered to the end.
    Well,
    /// Its answer has begun: enough to let others try, while it may still break off.
    Begun,
    /// The deployment failed.
    Ill,
    /// It says nothing about the deployment: a request that was refused.
    Unclear,
}

/// A probe that has not come back after this long was lost.
const PROBE_TIME_MAX: Duration = Duration::from_secs(30);
/// When to ask again while a probe runs: most have shown by then how the deployment does.
const PROBE_TAKES: Duration = Duration::from_secs(1);

impl Default for Circuit {
    fn default() -> Self {
        Self::Closed { failures: 0, since: None }
    }
}

impl Circuit {
    /// Whether a call may go, and the state after it has gone; otherwise when to ask again.
    pub fn admit(self, now: Instant) -> Result<Self, Duration> {
        match self {
            Self::Closed { .. } => Ok(self),
            Self::Open { until, .. } if now < until => Err(until - now),
            Self::HalfOpen { lost, .. } if now < lost => Err((lost - now).min(PROBE_TAKES)),
            Self::Open { since, next, .. } | Self::HalfOpen { since, next, .. } => {
                Ok(Self::HalfOpen { since, begun: now, next, lost: now + PROBE_TIME_MAX })
            }
        }
    }

    /// The state as it is at a time: one whose open time is over waits for a call to find out.
    #[must_use]
    pub fn at(self, now: Instant) -> Self {
        match self {
            Self::Open { since, until, next } if now >= until => {
                Self::HalfOpen { since, begun: until, next, lost: until }
            }
            state => state,
        }
    }

    /// Since when a call could have found out and none has; none while traffic flows or can't.
    pub fn waiting_since(self) -> Option<Instant> {
        match self {
            Self::Closed { .. } => None,
            Self::Open { until, .. } => Some(until),
            Self::HalfOpen { lost, .. } => Some(lost),
        }
    }

    /// Whether a call that was let through at a time can say something of it.
    fn is_before(self, health: Health, admitted: Instant) -> bool {
        match self {
            Self::Closed { since, .. } => since.is_none_or(|since| since <= admitted),
            // One that was taken for lost may still be answered.
            Self::HalfOpen { since, .. } if health == Health::Well => since <= admitted,
            Self::HalfOpen { begun, .. } => begun <= admitted,
            Self::Open { since, .. } => since <= admitted,
        }
    }

    /// The state after a call came back that had been let through at a time.
    #[must_use]
    pub fn after(self, health: Health, admitted: Instant, now: Instant, policy: &CircuitPolicy) -> Self {
        if !self.is_before(health, admitted) {
            return self;
        }
        match (self, health) {
            (Self::Closed { since, .. }, Health::Well) => Self::Closed { failures: 0, since },
            (Self::Open { .. } | Self::HalfOpen { .. }, Health::Well) => Self::Closed { failures: 0, since: Some(now) },
            // Nobody waits for the end of a long stream, but where each breaks off the next failure opens it again: that of this
            // call, too, which was let through before it closed.
            (Self::HalfOpen { begun, .. }, Health::Begun) => {
                Self::Closed { failures: policy.failures_max - 1, since: Some(begun) }
            }
            (_, Health::Begun) => self,
            (Self::HalfOpen { since, next, .. }, Health::Unclear) => Self::Open { since, until: now, next },
            (_, Health::Unclear) => self,
            (Self::Closed { failures, since }, Health::Ill) if failures + 1 < policy.failures_max => {
                Self::Closed { failures: failures + 1, since }
            }
            (Self::Closed { .. }, Health::Ill) => Self::Open {
                since: now,
                until: now + policy.open_for,
                next: (policy.open_for * 2).min(policy.open_for_max),
            },
            (Self::HalfOpen { next, .. }, Health::Ill) => {
                Self::Open { since: now, until: now + next, next: (next * 2).min(policy.open_for_max) }
            }
            // A probe that gave way: it has found out before another.
            (Self::Open { until, next, .. }, Health::Ill) if until <= now => {
                Self::Open { since: now, until: now + next, next: (next * 2).min(policy.open_for_max) }
            }
            (Self::Open { .. }, Health::Ill) => self,
        }
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half-open",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn five_failures_open_it_and_a_good_probe_closes_it() {
        let (policy, start) = (CircuitPolicy::default(), Instant::now());
        let mut circuit = Circuit::default();
        for _ in 0..4 {
            circuit = circuit.admit(start).unwrap().after(Health::Ill, start, start, &policy);
        }
        assert!(circuit.admit(start).is_ok());
        circuit = circuit.after(Health::Ill, start, start, &policy);
        assert_eq!(circuit.admit(start), Err(Duration::from_secs(5)));
        let later = start + Duration::from_secs(5);
        circuit = circuit.admit(later).unwrap();
        assert_eq!(circuit.admit(later), Err(PROBE_TAKES), "one probe at a time");
        let well = circuit.after(Health::Well, later, later, &policy);
        assert_eq!(well, Circuit::Closed { failures: 0, since: Some(later) });
        let failed = circuit.after(Health::Ill, later, later, &policy);
        assert_eq!(failed.admit(later), Err(Duration::from_secs(10)));
    }

    #[test]
    fn a_success_in_between_starts_the_count_anew() {
        let (policy, start) = (CircuitPolicy::default(), Instant::now());
        let mut circuit = Circuit::default();
        for health in [Health::Ill, Health::Ill, Health::Ill, Health::Ill, Health::Well, Health::Ill, Health::Unclear] {
            circuit = circuit.after(health, start, start, &policy);
        }
        assert_eq!(circuit, Circuit::Closed { failures: 1, since: None });
    }

    #[test]
    fn answers_that_begin_and_break_off_open_it() {
        let (policy, start) = (CircuitPolicy::default(), Instant::now());
        let breaks_off = |circuit: Circuit, now| {
            let admitted = circuit.admit(now).unwrap();
            admitted.after(Health::Begun, now, now, &policy).after(Health::Ill, now, now, &policy)
        };
        let mut circuit = Circuit::default();
        for _ in 0..5 {
            circuit = breaks_off(circuit, start);
        }
        assert_eq!(circuit.admit(start), Err(Duration::from_secs(5)));
        let later = start + Duration::from_secs(5);
        let begun = circuit.admit(later).unwrap().after(Health::Begun, later, later, &policy);
        assert!(begun.admit(later).is_ok(), "others need not wait for the end of the probe");
        let well = begun.after(Health::Well, later, later, &policy);
        assert_eq!(well, Circuit::Closed { failures: 0, since: Some(later) });
        assert!(breaks_off(circuit, later).admit(later).is_err());
    }

    /// A circuit with a clock in seconds.
    struct Fixture {
        start: Instant,
        circuit: Circuit,
    }

    impl Fixture {
        /// One that five calls have opened which began and failed at two seconds.
        fn opened() -> Self {
            let mut fixture = Self { start: Instant::now(), circuit: Circuit::default() };
            for _ in 0..5 {
                fixture.comes(Health::Ill, 2, 2);
            }
            fixture
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn goes(&mut self, seconds: u64) {
            self.circuit = self.circuit.admit(self.at(seconds)).unwrap();
        }

        /// What came of a call that was let through at a time.
        fn comes(&mut self, health: Health, admitted: u64, now: u64) {
            let policy = CircuitPolicy::default();
            self.circuit = self.circuit.after(health, self.at(admitted), self.at(now), &policy);
        }

        #[track_caller]
        fn check(&self, expected: &str) {
            assert_eq!(self.circuit.as_str(), expected, "{:?}", self.circuit);
        }
    }

    #[test]
    fn what_was_on_its_way_when_it_opened_neither_closes_it_nor_ends_the_probe_of_another() {
        let mut fixture = Fixture::opened();
        fixture.comes(Health::Well, 1, 3);
        fixture.check("open");
        fixture.goes(7);
        for health in [Health::Well, Health::Ill, Health::Unclear] {
            fixture.comes(health, 1, 8);
            fixture.check("half-open");
        }
        fixture.comes(Health::Well, 7, 9);
        fixture.check("closed");
        // Whoever fails late says nothing of what has been answered since.
        for _ in 0..9 {
            fixture.comes(Health::Ill, 1, 60);
            fixture.comes(Health::Ill, 8, 60);
        }
        fixture.check("closed");
        for _ in 0..5 {
            fixture.comes(Health::Ill, 9, 60);
        }
        fixture.check("open");
    }

    #[test]
    fn a_probe_that_was_taken_for_lost_may_still_close_it_but_not_fail_the_next() {
        let mut fixture = Fixture::opened();
        fixture.goes(7);
        fixture.goes(37);
        fixture.comes(Health::Ill, 7, 40);
        fixture.check("half-open");
        fixture.comes(Health::Well, 7, 41);
        fixture.check("closed");
    }

    #[test]
    fn a_probe_that_gave_way_says_how_the_deployment_does_unless_another_is_to_say_it() {
        let mut fixture = Fixture::opened();
        fixture.goes(7);
        fixture.comes(Health::Unclear, 7, 8);
        fixture.comes(Health::Ill, 7, 9);
        assert_eq!(fixture.circuit.admit(fixture.at(9)), Err(Duration::from_secs(10)), "it failed before another went");
        fixture.goes(19);
        fixture.comes(Health::Unclear, 19, 20);
        fixture.goes(20);
        fixture.comes(Health::Ill, 19, 21);
        fixture.check("half-open");
        fixture.comes(Health::Well, 20, 22);
        fixture.check("closed");
    }

    proptest! {
        #[test]
        fn a_circuit_is_never_shut_for_ever(steps in proptest::collection::vec((0_u64..100, any::<bool>(), 0_u8..4), 0..100)) {
            let (policy, mut now) = (CircuitPolicy::default(), Instant::now());
            let (mut circuit, mut before) = (Circuit::default(), now);
            for (seconds, is_late, health) in steps {
                now += Duration::from_secs(seconds);
                let health = [Health::Well, Health::Begun, Health::Ill, Health::Unclear][usize::from(health)];
                if let Ok(admitted) = circuit.admit(now) {
                    // Of two calls on their way either may come back first, or again.
                    circuit = admitted.after(health, if is_late { before } else { now }, now, &policy);
                    before = now;
                }
                let wait = circuit.admit(now).err().unwrap_or_default();
                prop_assert!(wait <= policy.open_for_max);
            }
        }
    }
}
