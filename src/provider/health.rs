//! What calls have shown of a provider's health and of each of its deployments: nobody is probed for it.
//!
//! It belongs to the provider as it is configured: one that has another address begins anew, and calls that are still under way at
//! the old one tell the old one. [`HealthBook::admit`] lets a call through as an [`Admission`], which is told what came of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::domain::{Deployment, ModelId, ProviderHealth, ProviderName};

use super::Errand;
use super::by_model::ByModel;
use super::circuit::{Circuit, CircuitPolicy, Health};

/// How long after it could have been tried again a circuit is remembered: nobody uses that deployment any more. As long are
/// failures told that were too few to open one.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
/// How long failures count that were too few to open a circuit.
const FAILURES_FORGOTTEN_AFTER: Duration = Duration::from_hours(1);

/// What calls have shown of one provider.
#[derive(Debug)]
pub struct HealthBook {
    provider: ProviderName,
    policy: CircuitPolicy,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Of models whose last call failed, or one lately.
    failing: ByModel<Failing>,
    /// When it last answered.
    answered: Option<Instant>,
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

/// A call that was let through to a deployment. What came of it is told to it; dropped untold, it has shown nothing, and leaves the
/// way to the next where it was the one that finds out.
#[derive(Debug)]
pub struct Admission {
    of: Arc<HealthBook>,
    errand: Errand,
    at: Instant,
    is_told: AtomicBool,
}

impl Admission {
    /// Tells what came of the call.
    pub fn tell(&self, health: Health, now: Instant) {
        self.is_told.store(true, Ordering::Relaxed);
        self.of.note(&self.errand, health, self.at, now);
    }

    /// Lets another call find out where this one was to, since nobody waits for it any more. What comes of it counts all the same.
    pub fn give_way(&self, now: Instant) {
        self.of.note(&self.errand, Health::Unclear, self.at, now);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.is_told.load(Ordering::Relaxed) {
            self.tell(Health::Unclear, self.at);
        }
    }
}

impl HealthBook {
    /// That of a provider of which nothing has been seen yet.
    pub fn new(provider: ProviderName) -> Arc<Self> {
        Arc::new(Self { provider, policy: CircuitPolicy::default(), seen: Mutex::default() })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no holder of this lock panics")
    }

    /// Lets a call through now; otherwise says when the next one may go.
    pub fn admit(self: &Arc<Self>, errand: Errand, now: Instant) -> Result<Admission, Duration> {
        let mut seen = self.seen();
        if let Some(failing) = seen.failing.get(&errand.model).copied() {
            let circuit = failing.circuit.admit(now)?;
            if circuit != failing.circuit {
                seen.failing.set(&errand, Failing { circuit, ..failing });
            }
        }
        drop(seen);
        Ok(Admission { of: Arc::clone(self), errand, at: now, is_told: AtomicBool::new(false) })
    }

    fn note(&self, errand: &Errand, health: Health, admitted: Instant, now: Instant) {
        let mut seen = self.seen();
        if health == Health::Well {
            seen.answered = Some(now);
        }
        let before = seen.failing.get(&errand.model).copied();
        if before.is_none() && health != Health::Ill {
            return;
        }
        let Failing { circuit, since, last } =
            before.unwrap_or(Failing { circuit: Circuit::default(), since: now, last: now });
        let after = circuit.after(health, admitted, now, &self.policy);
        if after == circuit {
            return;
        }
        let fails_anew = matches!(circuit, Circuit::Closed { failures: 0, .. });
        let since = if fails_anew { now } else { since };
        if circuit.as_str() != after.as_str() {
            tracing::warn!("circuit of {}/{} is {}", self.provider, errand.model, after.as_str());
        }
        if after == Circuit::default() {
            seen.failing.remove(&errand.model);
        } else {
            let last = if health == Health::Ill { now } else { last };
            seen.failing.set(errand, Failing { circuit: after, since, last });
        }
    }

    /// Whether calls to a model are refused at the moment.
    pub fn is_open(&self, model: &ModelId, now: Instant) -> bool {
        self.seen().failing.get(model).is_some_and(|failing| failing.circuit.admit(now).is_err())
    }

    /// The circuit of a model.
    pub fn of_model(&self, model: &ModelId) -> Circuit {
        self.seen().failing.get(model).map(|failing| failing.circuit).unwrap_or_default()
    }

    /// The circuits that are not closed, by model, whatever else of the provider answers.
    pub fn not_closed(&self, now: Instant) -> Vec<(ModelId, Circuit)> {
        let seen = self.seen();
        let circuits = seen.failing.iter().map(|(model, failing)| (model.clone(), failing.circuit.at(now)));
        let mut not_closed: Vec<_> =
            circuits.filter(|(_, circuit)| !matches!(circuit, Circuit::Closed { .. })).collect();
        not_closed.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        not_closed
    }

    /// How the provider does. What nobody has asked for some time is forgotten by the way.
    pub fn of_provider(&self, now: Instant) -> ProviderHealth {
        let mut seen = self.seen();
        seen.failing.retain(|failing| !failing.is_forgotten(now));
        let answered = seen.answered;
        // What answers since a deployment began to fail is another deployment of the same provider.
        let (mut alone, mut silent, mut waiting, mut recent) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (model, failing) in seen.failing.iter() {
            let deployment = Deployment { provider: self.provider.clone(), model: model.clone() };
            let has_answered = answered.is_some_and(|answered| answered > failing.since);
            match (failing.circuit.at(now), has_answered) {
                // It is remembered for those that fail late.
                (Circuit::Closed { failures: 0, .. }, _) => {}
                (Circuit::Closed { .. }, false) if now.saturating_duration_since(failing.last) <= FORGOTTEN_AFTER => {
                    recent.push(deployment);
                }
                (Circuit::Closed { .. }, _) => {}
                (Circuit::Open { .. }, true) => alone.push(deployment),
                (Circuit::Open { .. }, false) => silent.push(deployment),
                // One that nobody asks any more says nothing of a provider that answers.
                (Circuit::HalfOpen { lost, .. }, true) if lost <= now => {}
                (Circuit::HalfOpen { .. }, true) => alone.push(deployment),
                (Circuit::HalfOpen { .. }, false) => waiting.push(deployment),
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

    use super::super::by_model::MADE_UP_MAX;
    use crate::domain::Endpoint;

    /// The book of the provider `p`, with a clock in seconds.
    struct Fixture {
        book: Arc<HealthBook>,
        start: Instant,
    }

    fn errand(model: &str, is_listed: bool) -> Errand {
        Errand { model: model.parse().unwrap(), is_listed, path: Endpoint::ChatCompletions }
    }

    impl Fixture {
        fn new() -> Self {
            Self { book: HealthBook::new("p".parse().unwrap()), start: Instant::now() }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn note(&self, model: &str, health: Health, seconds: u64) {
            self.note_of(errand(model, true), health, seconds);
        }

        fn note_of(&self, errand: Errand, health: Health, seconds: u64) {
            if let Ok(admission) = self.book.admit(errand, self.at(seconds)) {
                admission.tell(health, self.at(seconds));
            }
        }

        fn fails(&self, model: &str, seconds: u64) {
            for _ in 0..5 {
                self.note(model, Health::Ill, seconds);
            }
        }

        fn check(&self, seconds: u64, expected: &ProviderHealth) {
            assert_eq!(self.book.of_provider(self.at(seconds)), *expected, "at {seconds} s");
        }
    }

    fn these(names: &[&str]) -> Vec<Deployment> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_provider_of_which_everything_fails_is_down_until_it_may_be_tried_again() {
        let fixture = Fixture::new();
        fixture.check(0, &ProviderHealth::Unknown);
        fixture.note("a", Health::Well, 1);
        fixture.check(1, &ProviderHealth::Well);
        fixture.fails("a", 2);
        fixture.check(3, &ProviderHealth::Down(these(&["p/a"])));
        fixture.fails("b", 4);
        fixture.check(5, &ProviderHealth::Down(these(&["p/a", "p/b"])));
        fixture.check(60, &ProviderHealth::TriedAgain(these(&["p/a", "p/b"])));
        fixture.note("b", Health::Well, 61);
        fixture.check(61, &ProviderHealth::Well);
    }

    #[test]
    fn a_provider_that_answers_elsewhere_is_degraded_and_one_model_that_nobody_asks_any_more_says_nothing() {
        let fixture = Fixture::new();
        fixture.fails("gone", 1);
        fixture.check(2, &ProviderHealth::Down(these(&["p/gone"])));
        fixture.note("a", Health::Well, 3);
        fixture.check(3, &ProviderHealth::Degraded(these(&["p/gone"])));
        fixture.check(7, &ProviderHealth::Well);
        // Somebody asks again, and it still fails.
        fixture.note("gone", Health::Ill, 8);
        fixture.check(9, &ProviderHealth::Degraded(these(&["p/gone"])));
        fixture.fails("a", 10);
        fixture.check(10, &ProviderHealth::Down(these(&["p/a"])));
    }

    #[test]
    fn circuits_that_are_not_closed_are_told_whatever_else_answers() {
        let fixture = Fixture::new();
        fixture.fails("one", 0);
        fixture.fails("two", 8);
        fixture.note("three", Health::Ill, 8);
        fixture.note("four", Health::Well, 9);
        let not_closed = fixture.book.not_closed(fixture.at(10));
        let shown: Vec<(&str, &str)> =
            not_closed.iter().map(|(model, circuit)| (model.as_str(), circuit.as_str())).collect();
        assert_eq!(shown, [("one", "half-open"), ("two", "open")]);
    }

    #[test]
    fn what_nobody_asks_is_forgotten() {
        let fixture = Fixture::new();
        fixture.fails("gone", 0);
        fixture.check(5 + 600, &ProviderHealth::TriedAgain(these(&["p/gone"])));
        fixture.check(5 + 601, &ProviderHealth::Unknown);
        fixture.note("a", Health::Ill, 700);
        fixture.check(700 + 600, &ProviderHealth::Failing(these(&["p/a"])));
        fixture.check(700 + 3_600, &ProviderHealth::Unknown);
        assert_eq!(
            fixture.book.seen().failing.iter().count(),
            1,
            "failures that may still be followed by others count"
        );
        fixture.check(700 + 3_601, &ProviderHealth::Unknown);
        assert_eq!(fixture.book.seen().failing.iter().count(), 0);
    }

    #[test]
    fn names_that_clients_make_up_take_no_circuit_from_what_the_settings_name() {
        let fixture = Fixture::new();
        fixture.fails("early", 0);
        for number in 0..3 * MADE_UP_MAX {
            fixture.note_of(errand(&format!("made-up-{number}"), false), Health::Ill, 0);
        }
        assert!(fixture.book.seen().failing.iter().count() <= 2 * MADE_UP_MAX + 1);
        fixture.fails("late", 0);
        let is_open = |model| fixture.book.is_open(&errand(model, true).model, fixture.at(1));
        assert!(is_open("early") && is_open("late") && !is_open("other"));
        // Nor is what is made up let through for ever.
        for _ in 0..5 {
            fixture.note_of(errand("made-up", false), Health::Ill, 1);
        }
        assert!(is_open("made-up"));
    }

    #[test]
    fn an_admission_that_is_dropped_leaves_the_way_to_the_next() {
        let fixture = Fixture::new();
        fixture.fails("a", 0);
        let admit = || fixture.book.admit(errand("a", true), fixture.at(5));
        let probe = admit().unwrap();
        assert!(admit().is_err(), "one at a time");
        drop(probe);
        assert!(admit().is_ok());
    }

    #[test]
    fn a_probe_that_gives_way_counts_by_what_comes_of_it() {
        let health_after = |came| {
            let fixture = Fixture::new();
            fixture.fails("a", 0);
            let admit = |seconds| fixture.book.admit(errand("a", true), fixture.at(seconds));
            let probe = admit(5).unwrap();
            probe.give_way(fixture.at(6));
            probe.tell(came, fixture.at(8));
            let next = admit(9).map(drop);
            // What came later than another probe went is that one's to say.
            fixture.note("a", Health::Unclear, 9);
            next
        };
        assert_eq!(health_after(Health::Well), Ok(()));
        assert_eq!(health_after(Health::Ill), Err(Duration::from_secs(9)));
        let fixture = Fixture::new();
        fixture.fails("a", 0);
        let admit = |seconds| fixture.book.admit(errand("a", true), fixture.at(seconds));
        let (first, second) = (admit(5).unwrap(), admit(5));
        assert!(second.is_err(), "one at a time");
        first.give_way(fixture.at(6));
        let second = admit(6).unwrap();
        drop(first);
        assert!(admit(7).is_err(), "the first has no way left to give");
        second.tell(Health::Well, fixture.at(7));
        assert!(admit(7).is_ok());
    }

    #[test]
    fn a_provider_of_which_a_few_calls_all_failed_is_failing_until_one_is_answered() {
        let fixture = Fixture::new();
        fixture.note("a", Health::Well, 1);
        fixture.note("a", Health::Ill, 2);
        fixture.note("b", Health::Ill, 3);
        fixture.check(3, &ProviderHealth::Failing(these(&["p/a", "p/b"])));
        // A request that was refused says nothing.
        fixture.note("a", Health::Unclear, 4);
        fixture.check(4, &ProviderHealth::Failing(these(&["p/a", "p/b"])));
        fixture.note("a", Health::Well, 5);
        fixture.check(5, &ProviderHealth::Well);
        fixture.note("a", Health::Ill, 6);
        fixture.fails("a", 7);
        fixture.check(7, &ProviderHealth::Down(these(&["p/a"])));
    }
}
