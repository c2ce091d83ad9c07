//! What calls have shown of each deployment's health, and of each provider's: nobody is probed for it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::domain::{Deployment, ProviderHealth, ProviderName};

use super::circuit::{Circuit, CircuitPolicy, Health};

/// How long after it could have been tried again a circuit is remembered: nobody uses that deployment any more. As long are
/// failures told that were too few to open one.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
/// How long failures count that were too few to open a circuit.
const FAILURES_FORGOTTEN_AFTER: Duration = Duration::from_hours(1);
/// Deployments that fail at once: clients make up names of models, and each costs a little memory.
const FAILING_MAX: usize = 10_000;

/// What calls have shown of each deployment; outlives a change of the configuration.
#[derive(Debug, Default)]
pub struct HealthBook {
    policy: CircuitPolicy,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Of deployments whose last call failed.
    failing: HashMap<Deployment, Failing>,
    /// When each provider last answered.
    answered: HashMap<ProviderName, Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    circuit: Circuit,
    /// When its first failure came of those that no answer has followed.
    since: Instant,
    /// When its last failure came.
    last: Instant,
}

impl Failing {
    fn is_forgotten(&self, now: Instant) -> bool {
        match self.circuit.waiting_since() {
            Some(since) => now.saturating_duration_since(since) > FORGOTTEN_AFTER,
            None => now.saturating_duration_since(self.last) > FAILURES_FORGOTTEN_AFTER,
        }
    }
}

impl HealthBook {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no holder of this lock panics")
    }

    /// Whether a call may go to a deployment now; otherwise when the next one may.
    pub fn admit(&self, deployment: &Deployment, now: Instant) -> Result<(), Duration> {
        let mut seen = self.seen();
        let Some(failing) = seen.failing.get_mut(deployment) else { return Ok(()) };
        failing.circuit = failing.circuit.admit(now)?;
        Ok(())
    }

    /// Forgets what was seen of a provider: it isn't the one any more that it was.
    pub fn forget(&self, provider: &ProviderName) {
        let mut seen = self.seen();
        seen.failing.retain(|deployment, _| deployment.provider != *provider);
        seen.answered.remove(provider);
    }

    /// Notes what came of a call.
    pub fn note(&self, deployment: &Deployment, health: Health, now: Instant) {
        let mut seen = self.seen();
        if health == Health::Well {
            match seen.answered.get_mut(&deployment.provider) {
                Some(answered) => *answered = now,
                None => drop(seen.answered.insert(deployment.provider.clone(), now)),
            }
        }
        let before = seen.failing.get(deployment).copied();
        if before.is_none() && (health != Health::Ill || seen.failing.len() >= FAILING_MAX) {
            return;
        }
        let Failing { circuit, since, last } =
            before.unwrap_or(Failing { circuit: Circuit::default(), since: now, last: now });
        let after = circuit.after(health, now, &self.policy);
        if circuit.as_str() != after.as_str() {
            tracing::warn!("circuit of {deployment} is {}", after.as_str());
        }
        if after == Circuit::default() {
            seen.failing.remove(deployment);
        } else {
            let last = if health == Health::Ill { now } else { last };
            seen.failing.insert(deployment.clone(), Failing { circuit: after, since, last });
        }
    }

    /// Whether calls to a deployment are refused at the moment.
    pub fn is_open(&self, deployment: &Deployment, now: Instant) -> bool {
        self.seen().failing.get(deployment).is_some_and(|failing| failing.circuit.admit(now).is_err())
    }

    /// The circuit of a deployment.
    pub fn of_deployment(&self, deployment: &Deployment) -> Circuit {
        self.seen().failing.get(deployment).map(|failing| failing.circuit).unwrap_or_default()
    }

    /// How a provider does. What nobody has asked for some time is forgotten by the way.
    pub fn of_provider(&self, provider: &ProviderName, now: Instant) -> ProviderHealth {
        let mut seen = self.seen();
        seen.failing.retain(|_, failing| !failing.is_forgotten(now));
        let answered = seen.answered.get(provider).copied();
        // What answers since a deployment began to fail is another deployment of the same provider.
        let (mut alone, mut silent, mut waiting, mut recent) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (deployment, failing) in seen.failing.iter().filter(|(deployment, _)| deployment.provider == *provider) {
            let has_answered = answered.is_some_and(|answered| answered > failing.since);
            match (failing.circuit.at(now), has_answered) {
                (Circuit::Closed { .. }, false) if now.saturating_duration_since(failing.last) <= FORGOTTEN_AFTER => {
                    recent.push(deployment.clone());
                }
                (Circuit::Closed { .. }, _) => {}
                (Circuit::Open { .. }, true) => alone.push(deployment.clone()),
                (Circuit::Open { .. }, false) => silent.push(deployment.clone()),
                // One that nobody asks any more says nothing of a provider that answers.
                (Circuit::HalfOpen { lost, .. }, true) if lost <= now => {}
                (Circuit::HalfOpen { .. }, true) => alone.push(deployment.clone()),
                (Circuit::HalfOpen { .. }, false) => waiting.push(deployment.clone()),
            }
        }
        drop(seen);
        let sorted = |mut deployments: Vec<Deployment>| {
            deployments.sort_by_cached_key(ToString::to_string);
            deployments
        };
        if !silent.is_empty() {
            ProviderHealth::Down(sorted(silent))
        } else if !waiting.is_empty() {
            ProviderHealth::TriedAgain(sorted(waiting))
        } else if !alone.is_empty() {
            ProviderHealth::Degraded(sorted(alone))
        } else if !recent.is_empty() {
            ProviderHealth::Failing(sorted(recent))
        } else if answered.is_some() {
            ProviderHealth::Well
        } else {
            ProviderHealth::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A book with a clock in seconds.
    struct Fixture {
        book: HealthBook,
        start: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            Self { book: HealthBook::default(), start: Instant::now() }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn note(&self, deployment: &str, health: Health, seconds: u64) {
            let deployment = deployment.parse().unwrap();
            let _ = self.book.admit(&deployment, self.at(seconds));
            self.book.note(&deployment, health, self.at(seconds));
        }

        fn fails(&self, deployment: &str, seconds: u64) {
            for _ in 0..5 {
                self.note(deployment, Health::Ill, seconds);
            }
        }

        fn check(&self, seconds: u64, expected: &ProviderHealth) {
            assert_eq!(self.book.of_provider(&"p".parse().unwrap(), self.at(seconds)), *expected, "at {seconds} s");
        }
    }

    fn these(names: &[&str]) -> Vec<Deployment> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_provider_of_which_everything_fails_is_down_until_it_may_be_tried_again() {
        let fixture = Fixture::new();
        fixture.check(0, &ProviderHealth::Unknown);
        fixture.note("p/a", Health::Well, 1);
        fixture.check(1, &ProviderHealth::Well);
        fixture.fails("p/a", 2);
        fixture.check(3, &ProviderHealth::Down(these(&["p/a"])));
        fixture.fails("p/b", 4);
        fixture.check(5, &ProviderHealth::Down(these(&["p/a", "p/b"])));
        fixture.check(60, &ProviderHealth::TriedAgain(these(&["p/a", "p/b"])));
        fixture.note("p/b", Health::Well, 61);
        fixture.check(61, &ProviderHealth::Well);
    }

    #[test]
    fn a_provider_that_answers_elsewhere_is_degraded_and_one_model_that_nobody_asks_any_more_says_nothing() {
        let fixture = Fixture::new();
        fixture.fails("p/gone", 1);
        fixture.check(2, &ProviderHealth::Down(these(&["p/gone"])));
        fixture.note("p/a", Health::Well, 3);
        fixture.check(3, &ProviderHealth::Degraded(these(&["p/gone"])));
        fixture.check(7, &ProviderHealth::Well);
        // Somebody asks again, and it still fails.
        fixture.note("p/gone", Health::Ill, 8);
        fixture.check(9, &ProviderHealth::Degraded(these(&["p/gone"])));
        fixture.fails("p/a", 10);
        fixture.check(10, &ProviderHealth::Down(these(&["p/a"])));
    }

    #[test]
    fn what_nobody_asks_is_forgotten() {
        let fixture = Fixture::new();
        fixture.fails("p/gone", 0);
        fixture.check(5 + 600, &ProviderHealth::TriedAgain(these(&["p/gone"])));
        fixture.check(5 + 601, &ProviderHealth::Unknown);
        fixture.note("p/a", Health::Ill, 700);
        fixture.check(700 + 600, &ProviderHealth::Failing(these(&["p/a"])));
        fixture.check(700 + 3_600, &ProviderHealth::Unknown);
        assert_eq!(fixture.book.seen().failing.len(), 1, "failures that may still be followed by others count");
        fixture.check(700 + 3_601, &ProviderHealth::Unknown);
        assert!(fixture.book.seen().failing.is_empty());
    }

    #[test]
    fn names_that_clients_make_up_take_a_bounded_amount_of_memory() {
        let fixture = Fixture::new();
        for number in 0..FAILING_MAX + 10 {
            fixture.note(&format!("p/made-up-{number}"), Health::Ill, 0);
        }
        assert_eq!(fixture.book.seen().failing.len(), FAILING_MAX);
    }

    #[test]
    fn a_provider_of_which_a_few_calls_all_failed_is_failing_until_one_is_answered() {
        let fixture = Fixture::new();
        fixture.note("p/a", Health::Well, 1);
        fixture.note("p/a", Health::Ill, 2);
        fixture.note("p/b", Health::Ill, 3);
        fixture.check(3, &ProviderHealth::Failing(these(&["p/a", "p/b"])));
        // A request that was refused says nothing.
        fixture.note("p/a", Health::Unclear, 4);
        fixture.check(4, &ProviderHealth::Failing(these(&["p/a", "p/b"])));
        fixture.note("p/a", Health::Well, 5);
        fixture.check(5, &ProviderHealth::Well);
        fixture.note("p/a", Health::Ill, 6);
        fixture.fails("p/a", 7);
        fixture.check(7, &ProviderHealth::Down(these(&["p/a"])));
    }

    #[test]
    fn another_provider_is_another_matter() {
        let fixture = Fixture::new();
        fixture.fails("q/a", 0);
        fixture.check(1, &ProviderHealth::Unknown);
    }
}
