//! The circuit breaker of one deployment: a pure state machine, time comes in as a value.

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
    },
    /// Traffic is refused.
    Open {
        /// Until then.
        until: Instant,
        /// How long the next opening is.
        next: Duration,
    },
    /// One live call finds out.
    HalfOpen {
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

impl Default for Circuit {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Circuit {
    /// Whether a call may go, and the state after it has gone; otherwise how long to wait.
    pub fn admit(self, now: Instant) -> Result<Self, Duration> {
        match self {
            Self::Closed { .. } => Ok(self),
            Self::Open { until, next } if now >= until => Ok(Self::HalfOpen { next, lost: now + PROBE_TIME_MAX }),
            Self::Open { until, .. } => Err(until - now),
            Self::HalfOpen { next, lost } if now >= lost => Ok(Self::HalfOpen { next, lost: now + PROBE_TIME_MAX }),
            Self::HalfOpen { lost, .. } => Err(lost - now),
        }
    }

    /// The state as it is at a time: one whose open time is over waits for a call to find out.
    #[must_use]
    pub fn at(self, now: Instant) -> Self {
        match self {
            Self::Open { until, next } if now >= until => Self::HalfOpen { next, lost: until },
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

    /// The state after a call came back.
    #[must_use]
    pub fn after(self, health: Health, now: Instant, policy: &CircuitPolicy) -> Self {
        match (self, health) {
            (_, Health::Well) => Self::Closed { failures: 0 },
            // Nobody waits for the end of a long stream, but where each breaks off the next failure opens it again.
            (Self::HalfOpen { .. }, Health::Begun) => Self::Closed { failures: policy.failures_max - 1 },
            (_, Health::Begun) => self,
            (Self::HalfOpen { next, .. }, Health::Unclear) => Self::Open { until: now, next },
            (_, Health::Unclear) => self,
            (Self::Closed { failures }, Health::Ill) if failures + 1 < policy.failures_max => {
                Self::Closed { failures: failures + 1 }
            }
            (Self::Closed { .. }, Health::Ill) => {
                Self::Open { until: now + policy.open_for, next: (policy.open_for * 2).min(policy.open_for_max) }
            }
            (Self::HalfOpen { next, .. }, Health::Ill) => {
                Self::Open { until: now + next, next: (next * 2).min(policy.open_for_max) }
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
            circuit = circuit.admit(start).unwrap().after(Health::Ill, start, &policy);
        }
        assert!(circuit.admit(start).is_ok());
        circuit = circuit.after(Health::Ill, start, &policy);
        assert_eq!(circuit.admit(start), Err(Duration::from_secs(5)));
        let later = start + Duration::from_secs(5);
        circuit = circuit.admit(later).unwrap();
        assert!(circuit.admit(later).is_err(), "one probe at a time");
        assert_eq!(circuit.after(Health::Well, later, &policy), Circuit::default());
        let failed = circuit.after(Health::Ill, later, &policy);
        assert_eq!(failed.admit(later), Err(Duration::from_secs(10)));
    }

    #[test]
    fn a_success_in_between_starts_the_count_anew() {
        let (policy, start) = (CircuitPolicy::default(), Instant::now());
        let mut circuit = Circuit::default();
        for health in [Health::Ill, Health::Ill, Health::Ill, Health::Ill, Health::Well, Health::Ill, Health::Unclear] {
            circuit = circuit.after(health, start, &policy);
        }
        assert_eq!(circuit, Circuit::Closed { failures: 1 });
    }

    #[test]
    fn answers_that_begin_and_break_off_open_it() {
        let (policy, start) = (CircuitPolicy::default(), Instant::now());
        let breaks_off = |circuit: Circuit, now| {
            let admitted = circuit.admit(now).unwrap();
            admitted.after(Health::Begun, now, &policy).after(Health::Ill, now, &policy)
        };
        let mut circuit = Circuit::default();
        for _ in 0..5 {
            circuit = breaks_off(circuit, start);
        }
        assert_eq!(circuit.admit(start), Err(Duration::from_secs(5)));
        let later = start + Duration::from_secs(5);
        let begun = circuit.admit(later).unwrap().after(Health::Begun, later, &policy);
        assert!(begun.admit(later).is_ok(), "others need not wait for the end of the probe");
        assert_eq!(begun.after(Health::Well, later, &policy), Circuit::default());
        assert!(breaks_off(circuit, later).admit(later).is_err());
    }

    proptest! {
        #[test]
        fn a_circuit_is_never_shut_for_ever(steps in proptest::collection::vec((0_u64..100, 0_u8..4), 0..100)) {
            let (policy, mut now) = (CircuitPolicy::default(), Instant::now());
            let mut circuit = Circuit::default();
            for (seconds, health) in steps {
                now += Duration::from_secs(seconds);
                if let Ok(admitted) = circuit.admit(now) {
                    let health = [Health::Well, Health::Begun, Health::Ill, Health::Unclear][usize::from(health)];
                    circuit = admitted.after(health, now, &policy);
                }
                let wait = circuit.admit(now).err().unwrap_or_default();
                prop_assert!(wait <= policy.open_for_max);
            }
        }
    }
}
