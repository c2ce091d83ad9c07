//! What the attempts of one call have used up, and whether another may be made: the retry budgets of the call and of the provider.
//!
//! A provider gets another attempt of the same call only within its share of repeats ([`crate::routing::RetryBudgets`]), and none
//! is made that doesn't fit into the time that the call has left. And the call stays affordable: a route can say in dollars what
//! failed attempts may cost; where none does, a call costs at most twice what its dearest attempt can, so that one attempt that is
//! paid for in vain is made good and a second one ends the call.

use std::time::{Duration, Instant};

use crate::domain::{Obstacle, Picodollars, ProviderName, RequestId};
use crate::routing::{Candidate, Plan, Repeat, Situation, UsedUp};

use super::call::Call;

/// What an attempt is taken to need at least, where nobody has seen how long its deployment takes.
const ATTEMPT_TAKES: Duration = Duration::from_millis(500);

/// The attempts of a call so far.
#[derive(Debug, Default)]
pub(super) struct Tried {
    providers: Vec<ProviderName>,
    /// What the dearest attempt could have cost.
    dearest: Picodollars,
    /// What was taken of a provider's budget for the attempt that comes next.
    repeat: Option<Repeat>,
}

impl Tried {
    /// Whether a provider got an attempt of the call.
    fn has(&self, provider: &ProviderName) -> bool {
        self.providers.contains(provider)
    }

    /// Notes an attempt that is made, with what it can cost at most.
    fn begin(&mut self, provider: &ProviderName, worst_case: Picodollars) {
        if !self.has(provider) {
            self.providers.push(provider.clone());
        }
        self.dearest = self.dearest.max(worst_case);
    }

    /// Whether another attempt may be made that can cost so much, after failed ones that have lost so much.
    fn affords(
        &self,
        lost: Picodollars,
        worst_case: Picodollars,
        retry_usd_max: Option<Picodollars>,
    ) -> Result<(), UsedUp> {
        if let Some(most) = retry_usd_max {
            return if lost <= most { Ok(()) } else { Err(UsedUp::RetryUsd) };
        }
        let dearest = self.dearest.max(worst_case);
        if lost.is_zero() || lost + worst_case <= dearest + dearest { Ok(()) } else { Err(UsedUp::TwiceTheDearest) }
    }
}

impl Call {
    /// Whether a call whose attempts have failed and lost so much may make another, at a candidate where it can cost so much. What is
    /// taken of the provider's budget for it goes back where none is made.
    pub(super) fn may_go_on(
        &mut self,
        lost: Picodollars,
        candidate: &Candidate,
        worst_case: Picodollars,
        retry_usd_max: Option<Picodollars>,
    ) -> Result<(), UsedUp> {
        self.tried.repeat = None;
        let (router, upstream) = (self.router(), &candidate.upstream);
        self.tried.affords(lost, worst_case, retry_usd_max)?;
        if self.tried.has(upstream.name()) {
            let repeat = router.retries().repeat(upstream.name(), upstream.retry_percent_max(), Instant::now());
            self.tried.repeat = Some(repeat.ok_or(UsedUp::RetryPercent)?);
        }
        Ok(())
    }

    /// Notes an attempt that is made, with what it can cost at most.
    pub(super) fn begin_attempt(&mut self, candidate: &Candidate, worst_case: Picodollars) {
        let provider = candidate.upstream.name();
        self.attempts += 1;
        if let Some(repeat) = self.tried.repeat.take() {
            repeat.is_made();
        }
        self.last = Some(candidate.deployment.clone());
        if !self.tried.has(provider) {
            self.router().retries().call(provider, Instant::now());
        }
        self.tried.begin(provider, worst_case);
    }

    /// How the call stands after an attempt at a candidate that failed.
    pub(super) fn situation(&self, id: RequestId, plan: &Plan, index: usize) -> Situation {
        let (candidate, now) = (&plan.candidates[index], Instant::now());
        let Candidate { deployment, upstream, .. } = candidate;
        let router = self.router();
        let pace = router.experience().pace(deployment, now);
        // Who is passed over anyway is no reason not to try the same again. One that is full can be waited for.
        let can_be_asked = |next: &Candidate| {
            !matches!(next.obstacle(self.inbound.endpoint, now), Some(Obstacle::Circuit | Obstacle::Keys))
        };
        Situation {
            attempts: self.attempts,
            attempts_max: plan.attempts_max,
            another: plan.candidates[index + 1..].iter().any(can_be_asked),
            key_ready: upstream.credentials().has_another(&candidate.errand(self.inbound.endpoint), now),
            may_repeat: router.retries().allows(upstream.name(), upstream.retry_percent_max(), now),
            left: self.deadline(candidate).saturating_duration_since(now),
            attempt_takes: pace.and_then(|pace| Duration::try_from_secs_f64(pace.first).ok()).unwrap_or(ATTEMPT_TAKES),
            dice: dice(id, self.attempts),
        }
    }
}

/// A number from 0 to 1 that differs from call to call and attempt to attempt.
#[expect(clippy::cast_possible_truncation, reason = "the lower bits are the ones that differ")]
fn dice(id: RequestId, attempts: u32) -> f64 {
    let number = id.number();
    let mixed = ((number as u64) ^ ((number >> 48) as u64) ^ u64::from(attempts)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as f64 / f64::from(1_u32 << 24)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usd(dollars: i64) -> Picodollars {
        Picodollars::from_dollars(dollars)
    }

    /// Attempts with what each could cost and was booked at; whether one more that can cost `next` may be made.
    fn check(attempts: &[(i64, i64)], next: i64, retry_usd_max: Option<i64>, expected: bool) {
        let mut tried = Tried::default();
        for (worst_case, _) in attempts {
            tried.begin(&"p".parse().unwrap(), usd(*worst_case));
        }
        let lost = attempts.iter().map(|(_, cost)| usd(*cost)).sum();
        let affords = tried.affords(lost, usd(next), retry_usd_max.map(usd));
        assert_eq!(affords.is_ok(), expected, "{attempts:?}, then {next}, at most {retry_usd_max:?}");
    }

    #[test]
    fn one_attempt_in_vain_is_made_good_and_a_second_one_ends_the_call() {
        check(&[(5, 0), (5, 0)], 5, None, true);
        check(&[(5, 5)], 5, None, true);
        check(&[(5, 5), (5, 5)], 5, None, false);
        check(&[(5, 1), (5, 1)], 5, None, true);
        // A dear one fails and cheap ones follow, and the other way round.
        check(&[(5, 5)], 1, None, true);
        check(&[(5, 5), (1, 1)], 1, None, true);
        check(&[(1, 1)], 5, None, true);
        check(&[(1, 1), (5, 5)], 5, None, false);
        // What has no price costs nothing that could be added up.
        check(&[(0, 0), (0, 0)], 0, None, true);
    }

    #[test]
    fn a_limit_in_dollars_holds_for_failed_attempts_alone() {
        check(&[], 100, Some(0), true);
        check(&[(5, 0)], 100, Some(0), true);
        check(&[(5, 1)], 100, Some(0), false);
        check(&[(5, 2), (5, 1)], 100, Some(3), true);
        check(&[(5, 2), (5, 2)], 100, Some(3), false);
    }

    proptest! {
        #[test]
        fn no_call_costs_more_than_twice_its_dearest_attempt(attempts in proptest::collection::vec((0_i64..100, 0_i64..100), 1..10)) {
            let (mut tried, mut spent, mut dearest) = (Tried::default(), 0, 0);
            for (worst_case, share) in attempts {
                if tried.affords(usd(spent), usd(worst_case), None).is_err() {
                    break;
                }
                dearest = dearest.max(worst_case);
                let cost = worst_case * share / 100;
                spent += cost;
                tried.begin(&"p".parse().unwrap(), usd(worst_case));
                prop_assert!(spent <= 2 * dearest, "{spent} of {dearest}");
            }
        }
    }
}
