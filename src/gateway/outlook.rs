//! Whether a call may have a second attempt beside its first, and when that would start.

use std::time::{Duration, Instant};

use crate::config::HedgeConfig;
use crate::domain::{Deployment, Endpoint};
use crate::ledger::Reservation;
use crate::routing::{Candidate, Plan, WAITS_MIN};

use super::Gateway;
use super::call::Call;
use super::envelope::{Effect, Envelope};
use super::hedge::shows_its_work;
use super::prepare::Asked;
use super::routed::Sample;

/// When a second attempt of a call would start, and where, or why none would.
pub struct HedgeOutlook {
    /// How long the first would have to be silent.
    pub after: Option<Duration>,
    /// Where the second would go.
    pub deployment: Option<Deployment>,
    /// Of a hundred calls of the route, so many may have one.
    pub percent_max: u32,
    /// Why there would be none at the moment.
    pub reason: Option<String>,
}

/// Whether a call means the same when it is asked twice: it changes nothing at the provider, which runs nothing for it either.
fn means_the_same_twice(endpoint: Endpoint, envelope: &Envelope<'_>) -> bool {
    endpoint.is_repeatable()
        && envelope.effect == Effect::None
        && !envelope.extras.unbounded_tool
        && envelope.extras.searches == 0
}

impl Call {
    /// Whether an attempt may have another beside it, and when that would start. Counts the call among those of its route.
    pub(super) fn hedge_after(
        &self,
        asked: &Asked<'_>,
        plan: &Plan,
        index: usize,
        candidate: &Candidate,
        reservation: &Reservation,
    ) -> Option<(HedgeConfig, Duration)> {
        let (hedge, decision) = (plan.hedge?, plan.decision.as_ref()?);
        // Whoever sends a key wants one call of it.
        if !means_the_same_twice(self.inbound.endpoint, &asked.envelope) || self.claim.is_some() {
            return None;
        }
        let (router, now) = (self.router(), Instant::now());
        if self.attempts == 1 {
            router.experience().hedges().count(&decision.route, now);
        }
        // There is no money for a luxury where a budget is so tight that it lowered the cap, nor where an attempt was paid for in
        // vain: this one makes it good, and with another beside it the call could cost three times what it is worth.
        let may_be = index + 1 < plan.candidates.len()
            && self.attempts < plan.attempts_max
            && self.clipped.is_none()
            && reservation.tally_with(None).cost.is_zero()
            && self.audience.waits();
        let after = router.hedge_after(&hedge, &candidate.deployment, asked.facts.stream, now);
        after.filter(|_| may_be).map(|after| (hedge, after))
    }
}

impl Gateway {
    /// When a second attempt of a call with this plan would start, and where, or why none would; nothing for a route that
    /// doesn't hedge.
    pub(super) fn hedge_outlook(
        &self,
        plan: &Plan,
        envelope: &Envelope<'_>,
        sample: &Sample<'_>,
    ) -> Option<HedgeOutlook> {
        let (hedge, decision) = (plan.hedge?, plan.decision.as_ref()?);
        let (router, now) = (self.router(), Instant::now());
        let stream = sample.stream.unwrap_or(envelope.stream);
        let first = &plan.candidates[0].deployment;
        let after = router.hedge_after(&hedge, first, stream, now);
        let behind = plan.candidates[1..].iter().find(|candidate| candidate.obstacle(sample.endpoint, now).is_none());
        let shows = |candidate: &Candidate| shows_its_work(stream, envelope.thinking.is_some(), candidate);
        let has_bound = envelope.output_cap.is_some() || !sample.endpoint.writes();
        let is_known = has_bound || (shows(&plan.candidates[0]) && behind.is_none_or(shows));
        let reason = if !means_the_same_twice(sample.endpoint, envelope) {
            Some("such a call may do something at its provider, and is made once".to_owned())
        } else if plan.candidates.len() < 2 || plan.attempts_max < 2 {
            Some("the call has no deployment or attempt left for it".to_owned())
        } else if behind.is_none() {
            let why = "each other deployment of the route has an open circuit, no key that is ready, or no place free";
            Some(why.to_owned())
        } else if !is_known {
            let why = "a call that sets no limit on its output, of which nobody could tell what it had come to when it is given up, is hedged only where a budget that blocks sets one";
            Some(why.to_owned())
        } else if after.is_none() {
            let (_, known) = router.experience().p95(first, stream, now);
            let kind = if stream { "streams" } else { "whole answers" };
            Some(format!("of {first} {known:.0} {kind} were measured lately, and {WAITS_MIN} have to be"))
        } else if !router.experience().hedges().next_has_room(&decision.route, hedge.percent_max, now) {
            Some(format!(
                "of the route's calls of the last minutes at most {} in 100 may be hedged (hedge_percent_max), and one more hedge would be over that",
                hedge.percent_max
            ))
        } else {
            None
        };
        let deployment = behind.map(|candidate| candidate.deployment.clone());
        Some(HedgeOutlook { after, deployment, percent_max: hedge.percent_max, reason })
    }
}
