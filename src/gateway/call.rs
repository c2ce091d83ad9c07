//! One call from its arrival to its booking: the phases, in order.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use crate::dialect::{Untranslatable, embeddings};
use crate::domain::chat::ChatRequest;
use crate::domain::{
    CacheOutcome, CostBasis, Deployment, Endpoint, EntryStatus, ModelId, Picodollars, estimate_tokens,
};
use crate::ledger::{CallFacts, Outcome as Booked, Reservation};
use crate::provider::ProviderError;
use crate::routing::{Candidate, Health, Plan, RouteError};

use super::Gateway;
use super::answer::{Answer, AnswerBody, Inbound, Outcome, PIECES_LEN, Piece, Refusal, UpstreamClient};
use super::attempt::{Begun, Flow};
use super::booking::{AttemptEnd, Evidence};
use super::envelope::Envelope;
use super::error::GatewayError;
use super::fallback::Committed;
use super::passage::{Passage, garbage};
use super::prepare::Asked;
use super::relay::{Ended, Rules, relay};
use super::translation;

/// A call on its way.
pub(super) struct Call {
    pub(super) gateway: Arc<Gateway>,
    pub(super) client: Arc<UpstreamClient>,
    pub(super) inbound: Inbound,
    /// Where the HTTP server waits; taken when the answer is handed over.
    pub(super) head: Option<oneshot::Sender<Outcome>>,
    pub(super) attempts: u32,
    pub(super) last: Option<Deployment>,
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
        if self.inbound.endpoint.is_opaque() {
            return self.serve_opaque().await;
        }
        let body = self.inbound.body.clone();
        let envelope = Envelope::parse(&body, self.inbound.endpoint)?;
        self.may_ask_for(&envelope.model)?;
        let facts = self.facts(&envelope)?;
        let plan = match self.gateway.router().plan(&envelope.model, self.inbound.endpoint, Instant::now()) {
            Err(RouteError::NotServed { .. }) if self.inbound.endpoint == Endpoint::CountTokens => {
                return self.count_here(facts);
            }
            plan => plan?,
        };
        let conversation = self.conversation(&body, &plan);
        let asked = Asked { envelope, facts, conversation };
        let committed = self.attempt_in_order(&asked, &plan).await?;
        match committed.begun {
            Begun::Whole { .. } => self.answer_whole(&asked, committed).await,
            Begun::Stream(_) => self.answer_stream(&asked, committed).await,
        }
    }

    /// The request without a dialect, where a candidate speaks another than the client.
    fn conversation(&self, body: &[u8], plan: &Plan) -> Option<Result<ChatRequest, Untranslatable>> {
        let endpoint = self.inbound.endpoint;
        let is_other = |candidate: &Candidate| candidate.upstream.provider().asked_at(endpoint) != Some(endpoint);
        let version = self.inbound.headers.anthropic_version.as_deref();
        plan.candidates.iter().any(is_other).then(|| translation::read(endpoint, body, version))
    }

    pub(super) fn may_ask_for(&self, model: &str) -> Result<(), GatewayError> {
        let caller = &self.inbound.caller;
        if caller.allows_model(model) {
            return Ok(());
        }
        let allowed = caller.allowed_models.as_deref().unwrap_or_default().join(", ");
        Err(GatewayError::ModelNotAllowed { model: model.chars().take(128).collect(), allowed })
    }

    pub(super) fn facts(&self, envelope: &Envelope<'_>) -> Result<CallFacts, GatewayError> {
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

    /// Counts tokens for a client whose provider can't: it would ask again and again for real answers otherwise.
    fn count_here(&mut self, facts: CallFacts) -> Result<(), GatewayError> {
        let tokens = std::str::from_utf8(&self.inbound.body).map_or(0, estimate_tokens);
        let outcome = self.booked(EntryStatus::Settled, None, 200, None, None);
        self.count(&facts, &outcome, Picodollars::ZERO, false);
        if let Err(unbooked) = self.gateway.parts().ledger.record(facts, outcome) {
            tracing::warn!("a count of tokens is not in the ledger: {unbooked}");
        }
        let bytes = format!("{{\"input_tokens\":{tokens}}}").into();
        let body = AnswerBody::Whole { bytes, content_type: None, cost: Some(Picodollars::ZERO) };
        self.answer(Answer {
            deployment: None,
            attempts: 0,
            cache: CacheOutcome::Bypass,
            upstream_request_id: None,
            estimated: true,
            dropped: Vec::new(),
            body,
        });
        Ok(())
    }

    /// Whether somebody still waits for the answer's head.
    pub(super) fn has_client(&self) -> bool {
        self.head.as_ref().is_some_and(|head| !head.is_closed())
    }

    pub(super) async fn answer_whole(&mut self, asked: &Asked<'_>, committed: Committed) -> Result<(), GatewayError> {
        let Committed { candidate, reservation, began, begun, translation, dropped, place } = committed;
        drop(place);
        let Begun::Whole { bytes, content_type, whole, upstream_request_id } = begun else {
            return Err(GatewayError::Internal);
        };
        let bill = if self.inbound.endpoint.is_opaque() && whole.usage.is_none() {
            self.bill_unread()
        } else {
            self.bill(&candidate, &Evidence::whole(&whole, &self.inbound.body))
        };
        let answer = match &translation {
            None if self.inbound.endpoint == Endpoint::Embeddings => {
                let encoding = embeddings::asked(&self.inbound.body);
                let encoded = encoding.map_or_else(|| Ok(bytes.clone()), |asked| embeddings::encoded(&bytes, asked));
                encoded.map_err(|error| garbage(&candidate, &error))
            }
            None => Ok(bytes),
            Some(translation) => translation.whole(&bytes, &bill.usage).map_err(|error| garbage(&candidate, &error)),
        };
        let cost = (bill.basis != CostBasis::Unpriced).then_some(bill.cost);
        let end = AttemptEnd {
            reserved: reservation.worst_case(),
            began,
            first_content: None,
            upstream_request_id: upstream_request_id.clone(),
        };
        // It is paid for, whether or not it can be read.
        let attempt = end.billed(bill, 200, answer.as_ref().err());
        let error = answer.as_ref().err().map(ProviderError::code);
        let left = !self.has_client();
        let told = match &answer {
            _ if left => 0,
            Ok(_) => 200,
            Err(error) => GatewayError::from(error.clone()).fault(self.inbound.endpoint.dialect()).status,
        };
        let error = error.or(left.then_some("client_left"));
        let outcome = self.booked(EntryStatus::Settled, error, told, Some(attempt), None);
        self.settle(&asked.facts, reservation, outcome).await?;
        let body = AnswerBody::Whole { bytes: answer?, content_type, cost };
        self.hand_over(&candidate, upstream_request_id, dropped, body);
        Ok(())
    }

    fn hand_over(
        &mut self,
        candidate: &Candidate,
        upstream_request_id: Option<Arc<str>>,
        dropped: Vec<&'static str>,
        body: AnswerBody,
    ) {
        self.answer(Answer {
            deployment: Some(candidate.deployment.clone()),
            attempts: self.attempts,
            cache: CacheOutcome::Bypass,
            upstream_request_id,
            estimated: false,
            dropped,
            body,
        });
    }

    fn answer(&mut self, answer: Answer) {
        if let Some(head) = self.head.take() {
            let _ = head.send(Ok(answer));
        }
    }

    async fn answer_stream(&mut self, asked: &Asked<'_>, committed: Committed) -> Result<(), GatewayError> {
        let Committed { candidate, reservation, began, begun, translation, dropped, place } = committed;
        let Begun::Stream(mut flow) = begun else { return Err(GatewayError::Internal) };
        let (pieces, receiver) = mpsc::channel(PIECES_LEN);
        self.hand_over(&candidate, flow.upstream_request_id.clone(), dropped, AnswerBody::Stream(receiver));
        let mut passage = match &translation {
            Some(translation) => Passage::Translated(translation.stream()),
            None => Passage::AsItCame { strip_usage: asked.envelope.usage_unasked() },
        };
        let rules = Rules {
            deadline: self.deadline(&candidate),
            on_disconnect: self.gateway.parts().config.streams.on_disconnect,
            drain_usd_max: self.gateway.parts().config.streams.drain_usd_max,
            drains: self.gateway.drains(),
        };
        let mut ended = relay(&mut flow, &mut passage, &candidate, &rules, &pieces).await;
        ended.error = ended.error.map(|error| candidate.upstream.redacted(error));
        drop(place);
        if ended.error.as_ref().is_some_and(ProviderError::is_ill_health) {
            self.gateway.router().health().note(&candidate.deployment, Health::Ill, Instant::now());
        }
        let outcome = self.stream_outcome(&candidate, &reservation, began, &flow, &ended);
        let settled = self.settle(&asked.facts, reservation, outcome).await;
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
