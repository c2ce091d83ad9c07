//! One call from its arrival to its booking: the phases, in order.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use crate::budget::Pass;
use crate::content::Excerpt;
use crate::domain::{CacheOutcome, CostBasis, Deployment, EntryStatus, ModelId, Picodollars};
use crate::ledger::{CallFacts, Outcome as Booked, Reservation};
use crate::provider::ProviderError;
use crate::routing::{Candidate, Health};

use super::Gateway;
use super::answer::{Answer, AnswerBody, Inbound, Outcome, PIECES_LEN, Piece, Refusal, UpstreamClient};
use super::attempt::{Begun, Flow};
use super::booking::{AttemptEnd, Evidence};
use super::envelope::Envelope;
use super::error::GatewayError;
use super::fallback::Committed;
use super::relay::{Ended, Rules, relay};

/// A call on its way.
pub(super) struct Call {
    pub(super) gateway: Arc<Gateway>,
    pub(super) client: Arc<UpstreamClient>,
    pub(super) inbound: Inbound,
    /// Where the HTTP server waits; taken when the answer is handed over.
    pub(super) head: Option<oneshot::Sender<Outcome>>,
    pub(super) attempts: u32,
    pub(super) last: Option<Deployment>,
    /// What the client is told, where that may be kept.
    pub(super) told: OnceLock<Excerpt>,
    /// Its place under the limits of its key, until it has ended.
    pub(super) pass: Option<Pass>,
}

impl Call {
    /// Runs the call to its end; whoever waits for it is told, and it is booked even when nobody waits any more.
    pub(super) async fn run(mut self) {
        if let Err(error) = self.serve().await
            && let Some(head) = self.head.take()
        {
            let _ = head.send(Err(Refusal { error, attempts: self.attempts, deployment: self.last.clone() }));
        }
    }

    async fn serve(&mut self) -> Result<(), GatewayError> {
        let body = self.inbound.body.clone();
        let envelope = Envelope::parse(&body, self.inbound.endpoint)?;
        self.may_ask_for(&envelope.model)?;
        let plan = self.gateway.router().plan(&envelope.model, self.inbound.endpoint, Instant::now())?;
        let facts = self.facts(&envelope)?;
        self.admit(&facts, &envelope)?;
        let committed = self.attempt_in_order(&envelope, &facts, &plan).await?;
        match committed.begun {
            Begun::Whole { .. } => self.answer_whole(&facts, committed).await,
            Begun::Stream(_) => self.answer_stream(&envelope, &facts, committed).await,
        }
    }

    fn may_ask_for(&self, model: &str) -> Result<(), GatewayError> {
        let caller = &self.inbound.caller;
        if caller.allows_model(model) {
            return Ok(());
        }
        let allowed = caller.allowed_models.as_deref().unwrap_or_default().join(", ");
        Err(GatewayError::ModelNotAllowed { model: model.chars().take(128).collect(), allowed })
    }

    fn facts(&self, envelope: &Envelope<'_>) -> Result<CallFacts, GatewayError> {
        let inbound = &self.inbound;
        let requested_model = ModelId::new(&envelope.model)
            .map_err(|error| GatewayError::Field { param: "model", message: error.to_string() })?;
        Ok(CallFacts {
            id: inbound.id,
            key: inbound.caller.id.clone(),
            key_name: inbound.caller.name.as_str().into(),
            team: inbound.caller.team.as_deref().map(Arc::from),
            operation: Arc::clone(&inbound.operation),
            endpoint: inbound.endpoint,
            requested_model,
            stream: envelope.stream,
            cache: CacheOutcome::Bypass,
            client_request_id: inbound.client_request_id.clone(),
            tags: inbound.tags.clone(),
        })
    }

    /// Whether somebody still waits for the answer's head.
    pub(super) fn has_client(&self) -> bool {
        self.head.as_ref().is_some_and(|head| !head.is_closed())
    }

    async fn answer_whole(&mut self, facts: &CallFacts, committed: Committed) -> Result<(), GatewayError> {
        let Committed { candidate, reservation, began, begun, place } = committed;
        drop(place);
        let Begun::Whole { bytes, whole, upstream_request_id } = begun else { return Err(GatewayError::Internal) };
        let bill = self.bill(&candidate, &Evidence::whole(&whole, &self.inbound.body));
        let cost = (bill.basis != CostBasis::Unpriced).then_some(bill.cost);
        let end = AttemptEnd {
            reserved: reservation.worst_case(),
            began,
            first_content: None,
            upstream_request_id: upstream_request_id.clone(),
        };
        let attempt = end.billed(bill, 200, None);
        let remaining = reservation.remaining_at(attempt.cost);
        self.remember_answer(|| Excerpt::of(&bytes));
        let left = !self.has_client();
        let outcome = self.booked(
            EntryStatus::Settled,
            left.then_some("client_left"),
            if left { 0 } else { 200 },
            Some(attempt),
            None,
        );
        self.settle(facts, reservation, outcome).await?;
        self.hand_over(&candidate, upstream_request_id, remaining, AnswerBody::Whole { bytes, cost });
        Ok(())
    }

    fn hand_over(
        &mut self,
        candidate: &Candidate,
        upstream_request_id: Option<Arc<str>>,
        budget_remaining: Option<Picodollars>,
        body: AnswerBody,
    ) {
        if let Some(head) = self.head.take() {
            let answer = Answer {
                deployment: candidate.deployment.clone(),
                attempts: self.attempts,
                budget_remaining,
                cache: CacheOutcome::Bypass,
                upstream_request_id,
                body,
            };
            let _ = head.send(Ok(answer));
        }
    }

    async fn answer_stream(
        &mut self,
        envelope: &Envelope<'_>,
        facts: &CallFacts,
        committed: Committed,
    ) -> Result<(), GatewayError> {
        let Committed { candidate, reservation, began, begun, place } = committed;
        let Begun::Stream(mut flow) = begun else { return Err(GatewayError::Internal) };
        let (pieces, receiver) = mpsc::channel(PIECES_LEN);
        let remaining = reservation.remaining_at(reservation.held());
        self.hand_over(&candidate, flow.upstream_request_id.clone(), remaining, AnswerBody::Stream(receiver));
        let rules = Rules {
            strip_usage: envelope.usage_unasked(),
            deadline: self.deadline(&candidate),
            on_disconnect: self.gateway.parts().config.streams.on_disconnect,
            drain_usd_max: self.gateway.parts().config.streams.drain_usd_max,
            drains: self.gateway.drains(),
        };
        let mut ended = relay(&mut flow, &candidate, &rules, &pieces).await;
        ended.error = ended.error.map(|error| candidate.upstream.redacted(error));
        drop(place);
        self.remember_answer(|| flow.kept.take().unwrap_or_default());
        if ended.error.as_ref().is_some_and(ProviderError::is_ill_health) {
            self.gateway.router().health().note(&candidate.deployment, Health::Ill, Instant::now());
        }
        let outcome = self.stream_outcome(&candidate, &reservation, began, &flow, &ended);
        let settled = self.settle(facts, reservation, outcome).await;
        let last = match (settled, ended.error) {
            (Err(error), _) => Piece::Failed(error),
            (Ok(()), Some(error)) => Piece::Failed(error.into()),
            (Ok(()), None) => Piece::Bytes(ended.last),
        };
        let _ = pieces.send(last).await;
        Ok(())
    }

    fn stream_outcome(
        &self,
        candidate: &Candidate,
        reservation: &Reservation,
        began: Instant,
        flow: &Flow,
        ended: &Ended,
    ) -> Booked {
        let bill = self.bill(candidate, &Evidence::stream(&flow.progress, &self.inbound.body));
        let end = AttemptEnd {
            reserved: reservation.worst_case(),
            began,
            first_content: Some(flow.first_content),
            upstream_request_id: flow.upstream_request_id.clone(),
        };
        let attempt = end.billed(bill, 200, ended.error.as_ref());
        let code = ended.error.as_ref().map(ProviderError::code).or(ended.client_left.then_some("client_left"));
        let http_status = if ended.client_left { 0 } else { 200 };
        self.booked(EntryStatus::Settled, code, http_status, Some(attempt), Some(flow.first_content))
    }
}
