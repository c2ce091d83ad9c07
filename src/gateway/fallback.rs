//! Attempts in order: each is reserved for before it is made, and what follows a failure is decided by `routing`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::OnDisconnect;
use crate::domain::RequestId;
use crate::ledger::{Attempt, CallFacts, Planned, Reservation};
use crate::provider::{Place, ProviderError, TimeLimit, UpstreamRequest};
use crate::routing::{Candidate, Health, Plan, Step, step};
use crate::telemetry::names;

use super::attempt::{Begun, Failed, Try};
use super::booking::{AttemptEnd, Evidence};
use super::call::Call;
use super::error::GatewayError;
use super::place::Placeless;
use super::prepare::{Asked, Outgoing, Prepared};
use super::translation::Translation;

/// How long an answer that is not a stream is waited for after its client has gone.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(30);

/// An attempt that succeeded, with everything its booking needs.
pub(super) struct Committed {
    pub(super) candidate: Candidate,
    pub(super) reservation: Reservation,
    pub(super) began: Instant,
    pub(super) begun: Begun,
    /// How the answer gets into the client's shape, where that is another one.
    pub(super) translation: Option<Translation>,
    /// What of the request was left out.
    pub(super) dropped: Vec<&'static str>,
    /// The call's place among those that may run at the provider; given back when the answer has ended.
    pub(super) place: Place,
}

/// An attempt that failed, before it is known what follows.
struct Fallen {
    reservation: Reservation,
    ended: Attempt,
    error: ProviderError,
}

impl Call {
    /// Tries deployments until one answers.
    pub(super) async fn attempt_in_order(&mut self, asked: &Asked<'_>, plan: &Plan) -> Result<Committed, GatewayError> {
        let facts = &asked.facts;
        self.bind_key(facts).await?;
        let health = Arc::clone(self.gateway.router().health());
        let mut fallen: Option<Fallen> = None;
        let mut index = 0;
        loop {
            let candidate = &plan.candidates[index];
            let another = index + 1 < plan.candidates.len();
            let prepared = match self.prepare(asked, candidate) {
                Ok(prepared) => prepared,
                // Another candidate may speak the client's own dialect.
                Err(GatewayError::Untranslatable { .. }) if another => {
                    index += 1;
                    continue;
                }
                Err(error) => return Err(self.not_tried(facts, fallen, error).await),
            };
            let place = match self.place(asked, plan, index).await {
                Ok(place) => place,
                Err(Placeless::Elsewhere) => {
                    index += 1;
                    continue;
                }
                Err(Placeless::Refused(error)) => return Err(self.not_tried(facts, fallen, error).await),
            };
            let Prepared { planned, outgoing } = prepared;
            let reservation = self.reserve(facts, planned, fallen.take()).await?;
            self.attempts += 1;
            self.last = Some(candidate.deployment.clone());
            let began = Instant::now();
            let Outgoing { asked_at, body, translation, dropped } = outgoing;
            let request = self.upstream_request(asked_at, body, translation.is_some());
            let failed = match self.attempt(asked.envelope.stream, candidate, &reservation, request).await {
                Ok(begun) => {
                    health.note(&candidate.deployment, Health::Well, Instant::now());
                    let candidate = candidate.clone();
                    return Ok(Committed { candidate, reservation, began, begun, translation, dropped, place });
                }
                Err(failed) => failed,
            };
            drop(place);
            let verdict = if failed.error.is_ill_health() { Health::Ill } else { Health::Unclear };
            health.note(&candidate.deployment, verdict, Instant::now());
            let failure = self.fell(candidate, reservation, began, failed);
            let dice = dice(facts.id, self.attempts);
            let next = match step(&failure.error, self.attempts, plan.attempts_max, another, dice) {
                _ if !self.has_client() => Step::GiveUp,
                next => next,
            };
            let (deployment, error) = (&candidate.deployment, &failure.error);
            match next {
                Step::GiveUp => {
                    return Err(self.give_up(facts, failure.reservation, failure.ended, failure.error).await);
                }
                Step::FallBack => {
                    tracing::warn!(
                        { names::REQUEST_ID } = %facts.id, { names::ERROR_TYPE } = error.code(),
                        "{deployment} failed, going on with the next deployment: {error}"
                    );
                    index += 1;
                }
                Step::Retry(pause) => {
                    tracing::warn!(
                        { names::REQUEST_ID } = %facts.id, { names::ERROR_TYPE } = error.code(),
                        "{deployment} failed, trying again in {pause:?}: {error}"
                    );
                    tokio::time::sleep(pause).await;
                }
            }
            fallen = Some(failure);
        }
    }

    /// Ends a call that can't be tried any further: as its last attempt ended, where it had one.
    async fn not_tried(&self, facts: &CallFacts, fallen: Option<Fallen>, error: GatewayError) -> GatewayError {
        match fallen {
            Some(fallen) => self.give_up(facts, fallen.reservation, fallen.ended, fallen.error).await,
            None => self.refuse(facts, error),
        }
    }

    /// What is to be booked for an attempt that failed.
    fn fell(&self, candidate: &Candidate, reservation: Reservation, began: Instant, failed: Failed) -> Fallen {
        let Failed { error, progress, upstream_request_id } = failed;
        let end = AttemptEnd { reserved: reservation.worst_case(), began, first_content: None, upstream_request_id };
        let came = progress.filter(|progress| progress.reported().is_some() || progress.counted_output() > 0);
        let bill = came.map(|progress| self.bill(candidate, &Evidence::stream(&progress, &self.inbound.body)));
        let ended = end.failed(&error, bill);
        Fallen { reservation, ended, error }
    }

    /// Holds money for the next attempt, under every budget that applies.
    async fn reserve(
        &mut self,
        facts: &CallFacts,
        planned: Planned,
        fallen: Option<Fallen>,
    ) -> Result<Reservation, GatewayError> {
        let ledger = &self.gateway.parts().ledger;
        let Some(Fallen { reservation, ended, error: failure }) = fallen else {
            return match ledger.reserve(facts.clone(), planned).await {
                Ok(reservation) => Ok(reservation),
                Err(error) => Err(self.refuse(facts, self.refusal(error))),
            };
        };
        match ledger.renew(reservation, ended.clone(), planned).await {
            Ok(reservation) => Ok(reservation),
            Err((reservation, error)) => {
                tracing::warn!({ names::REQUEST_ID } = %facts.id, "no money can be held for another attempt: {error}");
                Err(self.give_up(facts, reservation, ended, failure).await)
            }
        }
    }

    /// Makes one attempt; an answer that is awaited as a whole is waited for a while even when its client has gone.
    async fn attempt(
        &mut self,
        stream: bool,
        candidate: &Candidate,
        reservation: &Reservation,
        request: UpstreamRequest,
    ) -> Result<Begun, Failed> {
        let attempt = Try {
            client: &self.client,
            reservation,
            candidate,
            request,
            stream,
            keeps_answer: self.may_keep_answer(),
            deadline: self.deadline(candidate),
        };
        let patience = match self.gateway.parts().config.streams.on_disconnect {
            OnDisconnect::Drain => DRAIN_TIME_MAX,
            OnDisconnect::Cancel => Duration::ZERO,
        };
        let mut running = std::pin::pin!(attempt.run());
        let begun = match &mut self.head {
            None => running.await,
            Some(head) => tokio::select! {
                begun = &mut running => begun,
                () = head.closed() => tokio::time::timeout(patience, running).await.unwrap_or_else(|_| {
                    let provider = candidate.upstream.name().to_string();
                    Err(ProviderError::Timeout { provider, limit: TimeLimit::Total, after: patience }.into())
                }),
            },
        };
        begun.map_err(|failed| Failed { error: candidate.upstream.redacted(failed.error), ..failed })
    }

    /// When the call has to be over at a deployment.
    pub(super) fn deadline(&self, candidate: &Candidate) -> Instant {
        let total = candidate.upstream.timeouts().total;
        self.inbound.arrived + self.inbound.timeout.map_or(total, |timeout| timeout.min(total))
    }
}

/// A number from 0 to 1 that differs from call to call and attempt to attempt.
#[expect(clippy::cast_possible_truncation, reason = "the lower bits are the ones that differ")]
fn dice(id: RequestId, attempts: u32) -> f64 {
    let number = id.number();
    let mixed = ((number as u64) ^ ((number >> 48) as u64) ^ u64::from(attempts)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as f64 / f64::from(1_u32 << 24)
}
