//! Attempts in order: each is reserved for before it is made, and what follows a failure is decided by `routing`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::config::OnDisconnect;
use crate::domain::{BudgetScope, RequestId};
use crate::ledger::{Attempt, CallFacts, Planned, Reservation};
use crate::provider::{ProviderError, TimeLimit, UpstreamRequest};
use crate::routing::{Candidate, Health, Plan, Step, step};
use crate::telemetry::names;

use super::attempt::{Begun, Failed, Try};
use super::booking::{AttemptEnd, Evidence, millis};
use super::call::Call;
use super::ceiling::{NoBound, ceiling};
use super::envelope::{Envelope, Splices};
use super::error::GatewayError;

/// How long an answer that is not a stream is waited for after its client has gone.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(30);

/// An attempt that succeeded, with everything its booking needs.
pub(super) struct Committed {
    pub(super) candidate: Candidate,
    pub(super) reservation: Reservation,
    pub(super) began: Instant,
    pub(super) begun: Begun,
    /// The call's place among those that may run at the provider; given back when the answer has ended.
    pub(super) place: OwnedSemaphorePermit,
}

/// An attempt that failed, before it is known what follows.
struct Fallen {
    reservation: Reservation,
    ended: Attempt,
    error: ProviderError,
}

/// An attempt before it is reserved for.
struct Prepared {
    planned: Planned,
    body: Bytes,
}

impl Call {
    /// Tries deployments until one answers.
    pub(super) async fn attempt_in_order(
        &mut self,
        envelope: &Envelope<'_>,
        facts: &CallFacts,
        plan: &Plan,
    ) -> Result<Committed, GatewayError> {
        let health = Arc::clone(self.gateway.router().health());
        let mut fallen: Option<Fallen> = None;
        let mut index = 0;
        loop {
            let candidate = &plan.candidates[index];
            let another = index + 1 < plan.candidates.len();
            if let Err(retry_after) = health.admit(&candidate.deployment, Instant::now()) {
                if another {
                    index += 1;
                    continue;
                }
                let provider = candidate.upstream.name().to_string();
                let error = ProviderError::CircuitOpen { provider, retry_after };
                return Err(match fallen {
                    Some(fallen) => self.give_up(facts, fallen.reservation, fallen.ended, fallen.error).await,
                    None => self.refuse(facts, error.into()),
                });
            }
            let (reservation, body) = self.reserve(envelope, facts, candidate, fallen.take()).await?;
            self.attempts += 1;
            self.last = Some(candidate.deployment.clone());
            let began = Instant::now();
            let failed = match self.attempt(envelope, candidate, &reservation, body).await {
                Ok((begun, place)) => {
                    health.note(&candidate.deployment, Health::Well, Instant::now());
                    return Ok(Committed { candidate: candidate.clone(), reservation, began, begun, place });
                }
                Err(failed) => failed,
            };
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
        envelope: &Envelope<'_>,
        facts: &CallFacts,
        candidate: &Candidate,
        fallen: Option<Fallen>,
    ) -> Result<(Reservation, Bytes), GatewayError> {
        let Prepared { planned, body } = match (self.prepare(envelope, facts, candidate), &fallen) {
            (Ok(prepared), _) => prepared,
            (Err(error), None) => return Err(self.refuse(facts, error)),
            (Err(_), Some(_)) => return Err(self.no_further(facts, fallen).await),
        };
        let ledger = &self.gateway.parts().ledger;
        let Some(Fallen { reservation, ended, error: failure }) = fallen else {
            return match ledger.reserve(facts.clone(), planned).await {
                Ok(reservation) => Ok((reservation, body)),
                Err(error) => Err(self.refuse(facts, self.refusal(error))),
            };
        };
        match ledger.renew(reservation, ended.clone(), planned).await {
            Ok(reservation) => Ok((reservation, body)),
            Err((reservation, error)) => {
                tracing::warn!({ names::REQUEST_ID } = %facts.id, "no money can be held for another attempt: {error}");
                Err(self.no_further(facts, Some(Fallen { reservation, ended, error: failure })).await)
            }
        }
    }

    /// Ends a call that has no room for another attempt with what the last one failed with.
    async fn no_further(&self, facts: &CallFacts, fallen: Option<Fallen>) -> GatewayError {
        match fallen {
            Some(Fallen { reservation, ended, error }) => self.give_up(facts, reservation, ended, error).await,
            None => GatewayError::Internal,
        }
    }

    /// Works out what an attempt can cost at most, and the body that makes it so.
    fn prepare(
        &self,
        envelope: &Envelope<'_>,
        facts: &CallFacts,
        candidate: &Candidate,
    ) -> Result<Prepared, GatewayError> {
        let parts = self.gateway.parts();
        let now = parts.clock.now();
        let charges = parts.budgets.charges(facts, &candidate.deployment, now);
        let watched = parts.budgets.watched(facts, &candidate.deployment, now);
        let bound =
            ceiling(envelope, candidate.facts.as_deref(), !charges.is_empty()).map_err(|reason| match reason {
                NoBound::Unpriced => {
                    let definition = charges.first().and_then(|charge| parts.budgets.definition(charge.budget));
                    let scope = definition.map_or(BudgetScope::Everything, |budget| budget.scope.clone());
                    GatewayError::Unpriced { deployment: candidate.deployment.clone(), scope }
                }
                NoBound::Tool => GatewayError::Unbounded { what: "a tool that the provider runs by itself".to_owned() },
                NoBound::Media => {
                    let what = format!("media at {}, whose context size is not known,", candidate.deployment);
                    GatewayError::Unbounded { what }
                }
            })?;
        let splices = Splices {
            model: Some(candidate.deployment.model.as_str()),
            output_cap: bound.output_cap.map(|cap| (candidate.upstream.provider().output_cap_field(), cap)),
            usage: true,
        };
        let planned = Planned {
            deployment: candidate.deployment.clone(),
            ceiling: bound.cost,
            charges,
            watched,
            started_ms: millis(self.inbound.arrived.elapsed()),
        };
        Ok(Prepared { planned, body: envelope.splice(&self.inbound.body, &splices) })
    }

    /// Makes one attempt; an answer that is awaited as a whole is waited for a while even when its client has gone.
    async fn attempt(
        &mut self,
        envelope: &Envelope<'_>,
        candidate: &Candidate,
        reservation: &Reservation,
        body: Bytes,
    ) -> Result<(Begun, OwnedSemaphorePermit), Failed> {
        let place = candidate.upstream.place().await?;
        let headers = self.inbound.headers.clone();
        let attempt = Try {
            client: &self.client,
            reservation,
            candidate,
            request: UpstreamRequest { endpoint: self.inbound.endpoint, body, headers },
            stream: envelope.stream,
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
        begun
            .map(|begun| (begun, place))
            .map_err(|failed| Failed { error: candidate.upstream.redacted(failed.error), ..failed })
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
