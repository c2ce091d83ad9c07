//! How many repeated attempts a provider may get, so that an outage is not made worse by those who wait for its end.
//!
//! The first attempt of a call at a provider is a call there; each further one of the same call is a repeat, whether with another
//! credential, after a pause, or at another model. Repeats are a share of the calls of the last ten seconds, and a few more so
//! that a quiet provider gets any. Where a call moves on to another provider it is a call there: nothing is multiplied, and what a route is
//! for. The share and the time are Finagle's and Linkerd's defaults (20 % over 10 s; finagle.github.io/blog/2016/02/08/retry-budgets);
//! their floor of 10 a second is one a second here, for a team's calls of models are fewer than its calls of services.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::domain::ProviderName;

/// Seconds over which calls and repeats are counted.
const WINDOW_SECONDS: u64 = 10;
/// One for each of them.
const WINDOW_LEN: usize = 10;
/// Repeats in that time that are allowed in any case.
const REPEATS_FLOOR: u32 = 10;

/// What a provider got in the last seconds: a pure value, time comes in as seconds since some beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct RetryBudget {
    /// One for each second, in a ring.
    seconds: [Second; WINDOW_LEN],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Second {
    number: u64,
    calls: u32,
    repeats: u32,
}

impl RetryBudget {
    fn second(&mut self, now: u64) -> &mut Second {
        let second = &mut self.seconds[usize::try_from(now % WINDOW_SECONDS).expect("less than the ring is long")];
        if second.number != now {
            *second = Second { number: now, calls: 0, repeats: 0 };
        }
        second
    }

    /// Whether a repeat may go now.
    fn allows(&self, percent: u32, now: u64) -> bool {
        let is_recent = |second: &&Second| second.number <= now && now - second.number < WINDOW_SECONDS;
        let recent = self.seconds.iter().filter(is_recent);
        let (calls, repeats) = recent.fold((0_u64, 0_u64), |(calls, repeats), second| {
            (calls + u64::from(second.calls), repeats + u64::from(second.repeats))
        });
        // Nobody who wants none gets the floor.
        let floor = if percent == 0 { 0 } else { u64::from(REPEATS_FLOOR) };
        repeats < floor + calls * u64::from(percent) / 100
    }

    fn call(&mut self, now: u64) {
        let second = self.second(now);
        second.calls = second.calls.saturating_add(1);
    }

    /// Takes a repeat where one may go.
    fn repeat(&mut self, percent: u32, now: u64) -> bool {
        let is_allowed = self.allows(percent, now);
        if is_allowed {
            self.second(now).repeats += 1;
        }
        is_allowed
    }

    /// Takes back a repeat of that second.
    fn give_back(&mut self, taken: u64) {
        if let Some(second) = self.seconds.iter_mut().find(|second| second.number == taken) {
            second.repeats = second.repeats.saturating_sub(1);
        }
    }
}

/// A repeat that was taken for an attempt; dropped before that is made, it is given back.
#[derive(Debug)]
pub struct Repeat {
    budgets: Arc<RetryBudgets>,
    provider: ProviderName,
    taken: u64,
    is_made: bool,
}

impl Repeat {
    /// Notes that its attempt is made.
    pub fn is_made(mut self) {
        self.is_made = true;
    }
}

impl Drop for Repeat {
    fn drop(&mut self) {
        if !self.is_made
            && let Some(budget) = self.budgets.budgets().get_mut(&self.provider)
        {
            budget.give_back(self.taken);
        }
    }
}

/// The budgets of all providers.
#[derive(Debug)]
pub struct RetryBudgets {
    beginning: Instant,
    budgets: Mutex<HashMap<ProviderName, RetryBudget>>,
}

impl Default for RetryBudgets {
    fn default() -> Self {
        Self { beginning: Instant::now(), budgets: Mutex::default() }
    }
}

impl RetryBudgets {
    fn budgets(&self) -> MutexGuard<'_, HashMap<ProviderName, RetryBudget>> {
        self.budgets.lock().expect("no holder of this lock panics")
    }

    fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.beginning).as_secs()
    }

    /// Counts the first attempt of a call at a provider.
    pub fn call(&self, provider: &ProviderName, now: Instant) {
        let now = self.seconds(now);
        let mut budgets = self.budgets();
        match budgets.get_mut(provider) {
            Some(budget) => budget.call(now),
            None => budgets.entry(provider.clone()).or_default().call(now),
        }
    }

    /// Whether a provider may get another attempt of a call, at most so many percent of its calls.
    pub fn allows(&self, provider: &ProviderName, percent: u32, now: Instant) -> bool {
        let now = self.seconds(now);
        self.budgets().get(provider).is_none_or(|budget| budget.allows(percent, now))
    }

    /// The same, and takes it.
    pub fn repeat(self: &Arc<Self>, provider: &ProviderName, percent: u32, now: Instant) -> Option<Repeat> {
        let taken = self.seconds(now);
        let is_allowed = self.budgets().entry(provider.clone()).or_default().repeat(percent, taken);
        is_allowed.then(|| Repeat { budgets: Arc::clone(self), provider: provider.clone(), taken, is_made: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken(budget: &mut RetryBudget, percent: u32, now: u64, wanted: u32) -> u32 {
        (0..wanted).map(|_| u32::from(budget.repeat(percent, now))).sum()
    }

    #[test]
    fn a_repeat_that_is_not_made_is_given_back() {
        let (budgets, provider, now) = (Arc::<RetryBudgets>::default(), "p".parse().unwrap(), Instant::now());
        let repeat = || budgets.repeat(&provider, 20, now);
        for _ in 0..100 {
            drop(repeat().unwrap());
        }
        for _ in 0..REPEATS_FLOOR {
            repeat().unwrap().is_made();
        }
        assert!(repeat().is_none());
    }

    #[test]
    fn a_quiet_provider_gets_a_few_and_a_busy_one_a_fifth_of_its_calls_more() {
        let check = |calls: u32, percent: u32, expected: u32| {
            let mut budget = RetryBudget::default();
            (0..calls).for_each(|_| budget.call(100));
            assert_eq!(taken(&mut budget, percent, 100, 10_000), expected, "{calls} calls, {percent} %");
        };
        check(0, 20, 10);
        check(4, 20, 10);
        check(5, 20, 11);
        check(1_000, 20, 210);
        check(1_000, 100, 1_010);
        check(1_000, 0, 0);
    }

    #[test]
    fn what_is_ten_seconds_old_counts_no_more() {
        let mut budget = RetryBudget::default();
        (0..100).for_each(|_| budget.call(100));
        assert_eq!(taken(&mut budget, 20, 100, 100), 30);
        assert_eq!(taken(&mut budget, 20, 109, 100), 0);
        assert_eq!(taken(&mut budget, 20, 110, 100), 10);
        // After a long time too, whatever stands in the ring.
        assert_eq!(taken(&mut budget, 20, 10_000, 100), 10);
    }

    proptest! {
        #[test]
        fn repeats_stay_a_share_of_the_calls_and_the_floor_in_ten_seconds_and_in_all(
            steps in proptest::collection::vec((0_u64..4, 0_u32..30, 0_u32..30), 0..100), percent in 1_u32..=100
        ) {
            let (mut budget, mut now, mut history) = (RetryBudget::default(), 0, Vec::new());
            for (pause, calls, wanted) in steps {
                now += pause;
                (0..calls).for_each(|_| budget.call(now));
                let repeats = taken(&mut budget, percent, now, wanted);
                history.push((now, u64::from(calls), u64::from(repeats)));
                if repeats == 0 {
                    continue;
                }
                let recent = history.iter().filter(|(at, ..)| now - at < WINDOW_SECONDS);
                let (calls, repeats) = recent.fold((0, 0), |(c, r), (_, calls, repeats)| (c + calls, r + repeats));
                prop_assert!(repeats <= u64::from(REPEATS_FLOOR) + calls * u64::from(percent) / 100);
            }
            let (calls, repeats) = history.iter().fold((0, 0), |(c, r), (_, calls, repeats)| (c + calls, r + repeats));
            let floors = u64::from(REPEATS_FLOOR) * (now / WINDOW_SECONDS + 1);
            prop_assert!(repeats <= floors + calls * u64::from(percent) / 100, "{repeats} for {calls} calls in {now} s");
        }
    }
}
