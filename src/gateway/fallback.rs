//! Attempts in order: each is reserved for before it is made, and what follows a failure is decided by `routing`.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::BudgetId;
use crate::ledger::{CallFacts, Ledger, LedgerError, Reservation};
use crate::provider::{Circuit, Place, Progress, ProviderError, TimeLimit};
use crate::routing::{Candidate, Plan, Step, UsedUp, step};
use crate::telemetry::names;

use super::attempt::{Begun, Failed};
use super::booking::{AttemptEnd, Bill, Evidence};
use super::call::Call;
use super::error::GatewayError;
use super::hedge::{Flight, Landed, Takeoff};
use super::place::{Admitted, Placeless};
use super::prepare::{Asked, Outgoing, Prepared};
use super::verdict;

/// How long a call waits for others to settle, where only what they hold is in its way: most calls end sooner.
const SETTLEMENT_WAIT_MAX: Duration = Duration::from_secs(2);

/// An attempt that succeeded, with everything its booking needs.
pub(super) struct Committed {
    pub(super) flight: Flight,
    pub(super) reservation: Reservation,
    pub(super) begun: Begun,
    /// The call's place among those that may run at the provider; given back when the answer has ended.
    pub(super) place: Option<Place>,
}

/// What came of trying to hold money for an attempt.
enum Reserved {
    /// It is held, for this request.
    Held(Reservation, Outgoing),
    /// A budget sends the call elsewhere.
    Turned(Box<Turned>),
}

struct Turned {
    budget: BudgetId,
    refusal: LedgerError,
    fallen: Option<Fallen>,
}

impl Reserved {
    fn turned(budget: BudgetId, refusal: LedgerError, fallen: Option<Fallen>) -> Self {
        Self::Turned(Box::new(Turned { budget, refusal, fallen }))
    }
}

/// A call whose attempt failed, before it is known what follows.
struct Fallen {
    reservation: Reservation,
    error: ProviderError,
}

impl Call {
    /// Tries deployments until one answers.
    pub(super) async fn attempt_in_order(
        &mut self,
        asked: &mut Asked<'_>,
        mut plan: Plan,
    ) -> Result<Committed, GatewayError> {
        self.bind_key(&asked.facts).await?;
        let ledger = Arc::clone(&self.gateway.parts().ledger);
        let mut fallen: Option<Fallen> = None;
        let mut index = 0;
        let mut may_hedge = true;
        loop {
            let facts = &asked.facts;
            let candidate = &plan.candidates[index];
            let another = index + 1 < plan.candidates.len();
            let prepared = match self.prepare(asked, candidate) {
                Ok(prepared) => prepared,
                // Another candidate may speak the client's own dialect, or have a price.
                Err(GatewayError::Untranslatable { .. } | GatewayError::Unpriced { .. }) if another => {
                    index += 1;
                    continue;
                }
                Err(error) => return Err(self.not_tried(facts, fallen, error).await),
            };
            let worst_case = prepared.planned.worst_case.cost();
            if let Some(Fallen { reservation, error }) = &fallen
                && let Err(used_up) =
                    self.may_go_on(reservation.tally().cost, candidate, worst_case, plan.retry_usd_max)
            {
                if another {
                    index += 1;
                    continue;
                }
                self.reasons.used_up = Some(used_up);
                let error = error.clone().into();
                return Err(self.not_tried(facts, fallen, error).await);
            }
            let Admitted { admission, place, credential } =
                match waited(&ledger, fallen.as_ref(), self.place(asked, &plan, index)).await {
                    Ok(admitted) => admitted,
                    Err(placeless) => {
                        let Some(error) = self.passed_over(candidate, placeless) else {
                            index += 1;
                            continue;
                        };
                        return Err(self.not_tried(facts, fallen, error).await);
                    }
                };
            let (reservation, outgoing) = match self.reserve(asked, candidate, prepared, fallen.take()).await? {
                Reserved::Held(reservation, outgoing) => (reservation, outgoing),
                Reserved::Turned(turned) => {
                    let Turned { budget, refusal, fallen: before } = *turned;
                    match (self.downgrade(asked, budget, refusal), before) {
                        (Ok(None), before) => fallen = before,
                        (Ok(Some(elsewhere)), before) => (plan, index, fallen) = (elsewhere, 0, before),
                        (Err(error), None) => return Err(self.refuse(&asked.facts, error)),
                        (Err(_), Some(Fallen { reservation, error })) => {
                            self.reasons.used_up = Some(UsedUp::Budget);
                            return Err(self.give_up(&asked.facts, reservation, error).await);
                        }
                    }
                    continue;
                }
            };
            self.begin_attempt(candidate, worst_case);
            let Outgoing { asked_at, body, translation, dropped } = outgoing;
            let request = self.upstream_request(asked_at, body, translation.is_some(), credential);
            let (candidate, began) = (candidate.clone(), Instant::now());
            let flight = Flight { candidate, admission, began, translation, dropped };
            let takeoff = Takeoff { index, reservation, flight, place, request };
            let landed = self.fly(asked, &plan, takeoff, may_hedge).await;
            may_hedge &= !landed.hedged;
            index = landed.index;
            let Landed { reservation, flight, place, came, .. } = landed;
            self.last = Some(flight.candidate.deployment.clone());
            let failed = match came {
                Ok(begun) => {
                    flight.admission.tell(verdict::of_begun(&begun), Instant::now());
                    self.learn_wait(asked, &flight.candidate, flight.began);
                    return Ok(Committed { flight, reservation, begun, place });
                }
                Err(failed) => Failed { error: flight.candidate.upstream.redacted(failed.error), ..failed },
            };
            let Flight { candidate, admission, began, .. } = flight;
            drop(place);
            let facts = &asked.facts;
            admission.tell(verdict::of_failure(&failed.error, began.elapsed()), Instant::now());
            let failure = self.fell(asked, &candidate, reservation, began, failed);
            match self.next_step(facts, &plan, index, &candidate, &failure.error) {
                Step::GiveUp(_) => {
                    return Err(self.give_up(facts, failure.reservation, failure.error).await);
                }
                Step::FallBack => index += 1,
                Step::OtherKey => {}
                Step::Retry(pause) => {
                    if waited(&ledger, Some(&failure), self.audience.pause(pause)).await.is_err() {
                        return Err(self.give_up(facts, failure.reservation, failure.error).await);
                    }
                }
            }
            fallen = Some(failure);
        }
    }

    /// What follows an attempt that failed: nothing, where nobody waits any more.
    fn next_step(
        &mut self,
        facts: &CallFacts,
        plan: &Plan,
        index: usize,
        failed: &Candidate,
        error: &ProviderError,
    ) -> Step {
        let next = match step(error, &self.situation(facts.id, plan, index)) {
            _ if !self.audience.waits() => Step::GiveUp(None),
            next => next,
        };
        if let Step::GiveUp(used_up) = next {
            self.reasons.used_up = used_up;
        }
        told(next, facts, failed, error);
        next
    }

    /// Ends a call that can't be tried any further: as its last attempt ended, where it had one.
    async fn not_tried(&self, facts: &CallFacts, fallen: Option<Fallen>, error: GatewayError) -> GatewayError {
        match fallen {
            Some(fallen) => self.give_up(facts, fallen.reservation, fallen.error).await,
            None => self.refuse(facts, error),
        }
    }

    /// Notes why a candidate can't take the call now. An error: there is no other that could.
    fn passed_over(&mut self, candidate: &Candidate, placeless: Placeless) -> Option<GatewayError> {
        let (reason, ends) = match placeless {
            Placeless::Elsewhere(reason) => (reason, None),
            Placeless::Refused(GatewayError::Upstream(end)) => (end.error.clone(), Some(end.into())),
            Placeless::Refused(error) => return Some(error),
        };
        self.reasons.note(candidate, &reason);
        ends
    }

    /// Ends an attempt that failed, with what is to be booked for it.
    fn fell(
        &mut self,
        asked: &Asked<'_>,
        candidate: &Candidate,
        mut reservation: Reservation,
        began: Instant,
        failed: Failed,
    ) -> Fallen {
        let Failed { error, progress, upstream_request_id } = failed;
        let (reserved, arrived) = (reservation.worst_case(), self.inbound.arrived);
        let end = AttemptEnd { reserved, arrived, began, first_content: None, upstream_request_id };
        let ended = end.failed(&error, self.bill_of_what_came(asked, candidate, &error, progress));
        self.weigh(reservation.hold(), &ended);
        reservation.end(ended);
        self.reasons.note(candidate, &error);
        Fallen { reservation, error }
    }

    /// The bill of what had come of a stream that failed, where anything shows it; of one that was given up, where what had come
    /// by then, even if it is nothing, is all that its model had written.
    pub(super) fn bill_of_what_came(
        &self,
        asked: &Asked<'_>,
        candidate: &Candidate,
        error: &ProviderError,
        progress: Option<Box<Progress>>,
    ) -> Option<Bill> {
        let progress = progress.unwrap_or_else(|| Box::new(Progress::new(self.inbound.endpoint.dialect())));
        let is_shown = match error {
            ProviderError::GivenUp { .. } => asked.shows_work_of(candidate),
            _ => progress.reported().is_some() || progress.counted_output() > 0,
        };
        is_shown.then(|| self.bill(candidate, &Evidence::stream(&progress, &self.inbound.body)))
    }

    /// Holds money for the next attempt, under every budget that applies; waits a while where others hold it at the moment.
    async fn reserve(
        &mut self,
        asked: &Asked<'_>,
        candidate: &Candidate,
        prepared: Prepared,
        fallen: Option<Fallen>,
    ) -> Result<Reserved, GatewayError> {
        let facts = &asked.facts;
        let Prepared { planned, mut outgoing } = prepared;
        let (is_bound, wanted) = (!planned.charges.is_empty(), planned.worst_case.asked());
        let gateway = Arc::clone(&self.gateway);
        let ledger = &gateway.parts().ledger;
        let is_first = fallen.is_none();
        let circuit = candidate.upstream.health().of_model(&candidate.deployment.model);
        // The one call that finds out about a deployment keeps others away from it, so it doesn't wait.
        let may_wait = is_bound && !matches!(circuit, Circuit::HalfOpen { .. });
        let reservation = match fallen {
            None => {
                let reserved = if may_wait {
                    ledger.reserve_until(facts.clone(), planned, pin!(self.settlement_wait())).await
                } else {
                    ledger.reserve(facts.clone(), planned).await
                };
                match reserved {
                    Ok(reservation) => reservation,
                    Err(refusal @ LedgerError::Turned { budget, .. }) => {
                        return Ok(Reserved::turned(budget, refusal, None));
                    }
                    Err(error) => return Err(self.refuse(facts, self.refusal(error))),
                }
            }
            Some(Fallen { reservation, error: failure }) => {
                let renewed = if may_wait {
                    ledger.renew_until(reservation, planned, pin!(self.settlement_wait())).await
                } else {
                    ledger.renew(reservation, planned).await
                };
                match renewed {
                    Ok(reservation) => reservation,
                    Err((reservation, refusal @ LedgerError::Turned { budget, .. })) => {
                        let fallen = Fallen { reservation, error: failure };
                        return Ok(Reserved::turned(budget, refusal, Some(fallen)));
                    }
                    Err((reservation, error)) => {
                        tracing::warn!({ names::REQUEST_ID } = %facts.id, "no money can be held for another attempt: {error}");
                        self.reasons.used_up = Some(UsedUp::Budget);
                        return Err(self.give_up(facts, reservation, failure).await);
                    }
                }
            }
        };
        // It may have left while it waited.
        if is_bound && is_first && !self.audience.waits() {
            return Err(self.withdraw(facts, reservation, GatewayError::ClientLeft).await);
        }
        // The disk took its time too, and what can only fail is not begun.
        if self.deadline(candidate) <= Instant::now() {
            let error = self.no_answer(self.too_late(candidate)).into();
            return Err(self.withdraw(facts, reservation, error).await);
        }
        self.clipped = Some(reservation.output_cap()).filter(|cap| *cap < wanted);
        if self.clipped.is_some() {
            outgoing = match self.outgoing(asked, candidate, self.clipped) {
                Ok(clipped) => clipped,
                Err(error) => return Err(self.withdraw(facts, reservation, error).await),
            };
        }
        Ok(Reserved::Held(reservation, outgoing))
    }

    /// When waiting for others to settle ends: after a while, or when nobody needs the answer any more.
    async fn settlement_wait(&self) {
        let _ = self.audience.pause(SETTLEMENT_WAIT_MAX).await;
    }

    /// When the call has to be over at a deployment.
    pub(super) fn deadline(&self, candidate: &Candidate) -> Instant {
        self.inbound.arrived + self.total(candidate).1
    }

    /// That the time of the call was up before it was sent to a deployment.
    pub(super) fn too_late(&self, candidate: &Candidate) -> ProviderError {
        let (provider, (_, after)) = (candidate.upstream.name().to_string(), self.total(candidate));
        ProviderError::Timeout { provider, limit: TimeLimit::Unsent, after }
    }

    /// How long all of the call may take at a deployment: as the provider's settings say, or less where the client asks for less.
    pub(super) fn total(&self, candidate: &Candidate) -> (TimeLimit, Duration) {
        let total = candidate.upstream.timeouts().total;
        let own = self.inbound.timeout.filter(|own| *own < total);
        own.map_or((TimeLimit::Total, total), |own| (TimeLimit::Call, own))
    }
}

/// Waits for what a call needs for its next attempt. Where that isn't there at once, what the attempt that failed did not cost is
/// given back first, so that a call which waits keeps nobody from a budget; otherwise the next reservation says it.
async fn waited<T>(ledger: &Ledger, fallen: Option<&Fallen>, waiting: impl Future<Output = T>) -> T {
    let mut waiting = pin!(waiting);
    if let Some(Fallen { reservation, .. }) = fallen {
        tokio::select! {
            biased;
            done = waiting.as_mut() => return done,
            () = std::future::ready(()) => ledger.give_back(reservation),
        }
    }
    waiting.await
}

/// Tells the log of an attempt that failed and is followed by another.
fn told(next: Step, facts: &CallFacts, candidate: &Candidate, error: &ProviderError) {
    let then = match next {
        // Told with the call's end.
        Step::GiveUp(_) => return,
        Step::FallBack => "going on with the next deployment".to_owned(),
        Step::OtherKey => "trying again with another key".to_owned(),
        Step::Retry(pause) => format!("trying again in {pause:?}"),
    };
    tracing::warn!(
        { names::REQUEST_ID } = %facts.id, { names::ERROR_TYPE } = error.code(),
        "{} failed, {then}: {error}", candidate.deployment
    );
}
