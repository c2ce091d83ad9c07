//! The answer on its way out: booked, kept for others, handed to the client.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::cache::{Form, NotKept};
use crate::content::Excerpt;
use crate::dialect::{NotOfShape, embeddings};
use crate::domain::{CacheOutcome, CostBasis, Endpoint, EntryStatus, Picodollars, TokenUsage, estimate_tokens};
use crate::ledger::{CallFacts, Outcome as Booked, Reservation};
use crate::provider::ProviderError;
use crate::routing::{Candidate, Timing};

use super::answer::{Answer, AnswerBody, PIECES_LEN, Piece};
use super::attempt::{Begun, Flow, WholeBegun};
use super::booking::{AttemptEnd, Evidence};
use super::cached::{Given, Keep};
use super::call::Call;
use super::error::GatewayError;
use super::fallback::Committed;
use super::hedge::Flight;
use super::outlet::Outlet;
use super::passage::{Passage, Recorded, Way, garbage};
use super::prepare::Asked;
use super::relay::{Ended, Rules, relay};
use super::translation::Translation;
use super::verdict;

impl Call {
    /// Counts tokens for a client whose provider can't: it would ask again and again for real answers otherwise.
    pub(super) async fn count_here(&mut self, facts: CallFacts) {
        let tokens = std::str::from_utf8(&self.inbound.body).map_or(0, estimate_tokens);
        let outcome = self.booked(EntryStatus::Settled, None, 200, None, None);
        self.count(&facts, &outcome, Picodollars::ZERO);
        if let Err(unbooked) = self.gateway.parts().ledger.record(facts, outcome) {
            tracing::warn!("a count of tokens is not in the ledger: {unbooked}");
        }
        let bytes = format!("{{\"input_tokens\":{tokens}}}").into();
        let body = AnswerBody::Whole { bytes, content_type: None, cost: Some(Picodollars::ZERO) };
        self.answer(Answer {
            deployment: None,
            attempts: 0,
            budget_remaining: None,
            cache: CacheOutcome::Bypass,
            kept: None,
            replay_of: None,
            upstream_request_id: None,
            estimated: true,
            clipped: None,
            downgraded: None,
            dropped: Vec::new(),
            body,
        })
        .await;
    }

    pub(super) async fn answer_whole(
        &mut self,
        asked: &Asked<'_>,
        committed: Committed,
        keep: Option<Keep>,
    ) -> Result<(), GatewayError> {
        let Committed { flight, reservation, begun, place } = committed;
        let Flight { candidate, began, translation, dropped, .. } = flight;
        drop(place);
        let timing = |tokens| Timing { first: None, whole: began.elapsed(), tokens };
        let Begun::Whole(begun) = begun else { return Err(GatewayError::Internal) };
        let WholeBegun { bytes, content_type, whole, upstream_request_id } = *begun;
        let bill = if self.inbound.endpoint.is_opaque() && whole.usage.is_none() {
            self.bill_unread()
        } else {
            self.bill(&candidate, &Evidence::whole(&whole, &self.inbound.body))
        };
        let answer = self.in_clients_shape(bytes, translation.as_ref(), &bill.usage);
        let answer = answer.map_err(|error| garbage(&candidate, &error));
        let cost = (bill.basis != CostBasis::Unpriced).then_some(bill.cost);
        let usage = bill.usage;
        // Of what passes through unread nobody counts what came out.
        let timing =
            (whole.usage.is_some() || !self.inbound.endpoint.is_opaque()).then(|| timing(usage.total_output()));
        let end = AttemptEnd {
            reserved: reservation.worst_case(),
            arrived: self.inbound.arrived,
            began,
            first_content: None,
            upstream_request_id: upstream_request_id.clone(),
        };
        // It is paid for, whether or not it can be read.
        let attempt = end.billed(bill, 200, answer.as_ref().err());
        self.weigh(reservation.hold(), &attempt);
        let remaining = reservation.remaining_at(attempt.cost);
        // With what all others of its attempts cost: so much is booked.
        let cost_told = reservation.tally_with(Some(&attempt)).priced();
        if let Ok(bytes) = &answer {
            self.remember_answer(|| Excerpt::of(bytes));
        }
        let error = answer.as_ref().err().map(ProviderError::code);
        let left = !self.audience.waits();
        let told = match &answer {
            _ if left => 0,
            Ok(_) => 200,
            Err(error) => GatewayError::from(error.clone()).fault(self.inbound.endpoint.dialect()).status,
        };
        let error = error.or(left.then_some("client_left"));
        let outcome = self.booked(EntryStatus::Settled, error, told, Some(attempt), None);
        self.settle(&asked.facts, reservation, outcome).await?;
        let bytes = answer?;
        if let Some(keep) = keep {
            let given = Given {
                candidate: &candidate,
                form: Form::Whole,
                body: bytes.clone(),
                finish_reason: whole.finish_reason.as_deref(),
                has_refused: whole.has_refused,
                usage,
                cost: cost.unwrap_or_default(),
                upstream_request_id: upstream_request_id.clone(),
            };
            self.keep(asked, keep, given);
        }
        let content_type = content_type.filter(|_| self.inbound.endpoint.is_opaque());
        let body = AnswerBody::Whole { bytes, content_type, cost: cost_told };
        self.hand_over(asked, &candidate, upstream_request_id, remaining, dropped, body).await;
        if let Some(timing) = timing {
            self.learn_speed(asked, &candidate, timing);
        }
        if whole.usage.is_some() {
            self.learn_turn(asked, &candidate, &usage);
        }
        Ok(())
    }

    /// A whole answer as the client asked for it.
    fn in_clients_shape(
        &self,
        bytes: Bytes,
        translation: Option<&Translation>,
        usage: &TokenUsage,
    ) -> Result<Bytes, NotOfShape> {
        match translation {
            Some(translation) => translation.whole(&bytes, usage),
            None if self.inbound.endpoint == Endpoint::Embeddings => match embeddings::asked(&self.inbound.body) {
                Some(encoding) => embeddings::encoded(&bytes, encoding),
                None => Ok(bytes),
            },
            None => Ok(bytes),
        }
    }

    async fn hand_over(
        &mut self,
        asked: &Asked<'_>,
        candidate: &Candidate,
        upstream_request_id: Option<Arc<str>>,
        budget_remaining: Option<Picodollars>,
        dropped: Vec<&'static str>,
        body: AnswerBody,
    ) {
        self.answer(Answer {
            deployment: Some(candidate.deployment.clone()),
            attempts: self.attempts,
            budget_remaining,
            cache: asked.facts.cache,
            kept: None,
            replay_of: None,
            upstream_request_id,
            estimated: false,
            clipped: self.clipped,
            downgraded: self.turns.route().cloned(),
            dropped: dropped.into_iter().map(Into::into).collect(),
            body,
        })
        .await;
    }

    /// Hands the answer to whoever waits for it; one that is whole is kept for a retry before.
    pub(super) async fn answer(&mut self, answer: Answer) {
        self.keep_answer(&answer).await;
        if matches!(answer.body, AnswerBody::Whole { .. }) {
            self.make_room();
        }
        self.audience.answer(Ok(answer));
    }

    pub(super) async fn answer_stream(
        &mut self,
        asked: &Asked<'_>,
        committed: Committed,
        keep: Option<Keep>,
    ) -> Result<(), GatewayError> {
        let Committed { flight, reservation, begun, place } = committed;
        let Flight { candidate, admission, began, translation, dropped } = flight;
        let Begun::Stream(mut flow) = begun else { return Err(GatewayError::Internal) };
        let (pieces, receiver) = mpsc::channel(PIECES_LEN);
        let body = AnswerBody::Stream(receiver);
        let remaining = reservation.remaining_at(reservation.held());
        let kept = self.claim.is_some().then(|| self.stream_to_keep(&candidate, &flow, &dropped));
        self.hand_over(asked, &candidate, flow.upstream_request_id.clone(), remaining, dropped, body).await;
        let way = match &translation {
            Some(translation) => Way::Translated(translation.stream()),
            None => Way::AsItCame { strip_usage: asked.envelope.usage_unasked() },
        };
        let wanted = Recorded { for_cache: keep.is_some(), for_retries: kept.is_some() };
        let mut passage = Passage::new(way, wanted, self.inbound.body.clone());
        let rules = Rules {
            deadline: self.deadline(&candidate),
            total: self.total(&candidate),
            drain_usd_max: self.config().streams.drain_usd_max,
            audience: &self.audience,
        };
        let stall_max = candidate.upstream.timeouts().idle;
        let mut outlet = Outlet::new(pieces, stall_max, rules.deadline, &self.audience);
        let mut ended = relay(&mut flow, &mut passage, &candidate, &rules, &mut outlet).await;
        ended.error = ended.error.map(|error| candidate.upstream.redacted(error));
        drop(place);
        let (first, whole) = (Some(flow.first_content - began), began.elapsed());
        let is_whole = ended.error.is_none() && !ended.client_left;
        self.remember_answer(|| flow.kept.take().unwrap_or_default());
        if let Some(health) = verdict::of_ended(&ended) {
            admission.tell(health, Instant::now());
        }
        let outcome = self.stream_outcome(&candidate, &reservation, began, &flow, &ended);
        let (usage, cost) = outcome.last.as_ref().map(|last| (last.usage, last.cost)).unwrap_or_default();
        let settled = self.settle(&asked.facts, reservation, outcome).await;
        let recorded = passage.recorded();
        // Also for a client that has left: it may have lost its connection, and ask again.
        if let Some(kept) = kept.filter(|_| settled.is_ok() && ended.is_whole) {
            self.finish_key(kept, recorded.clone()).await;
        }
        // Of a client that has left not all may have come.
        let keep = keep.filter(|_| settled.is_ok() && ended.error.is_none() && !ended.client_left);
        if keep.is_some() && recorded.is_none() {
            self.note_not_kept(NotKept::TooLarge);
        }
        if let (Some(keep), Some(body)) = (keep, recorded) {
            let given = Given {
                candidate: &candidate,
                form: Form::Stream { usage: asked.envelope.usage_asked() },
                body,
                finish_reason: flow.progress.finish_reason(),
                has_refused: flow.progress.has_refused,
                usage,
                cost,
                upstream_request_id: flow.upstream_request_id.clone(),
            };
            self.keep(asked, keep, given);
        }
        let last = match (settled, ended.error) {
            (Err(error), _) => Piece::Failed(error),
            (Ok(()), Some(error)) => Piece::Failed(error.into()),
            (Ok(()), None) => Piece::End(ended.last),
        };
        self.make_room();
        outlet.finish(last).await;
        if is_whole {
            self.learn_speed(asked, &candidate, Timing { first, whole, tokens: usage.total_output() });
        }
        if is_whole && flow.progress.usage_is_final() {
            self.learn_turn(asked, &candidate, &usage);
        }
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
            arrived: self.inbound.arrived,
            began,
            first_content: Some(flow.first_content),
            upstream_request_id: flow.upstream_request_id.clone(),
        };
        let attempt = end.billed(bill, 200, ended.error.as_ref());
        self.weigh(reservation.hold(), &attempt);
        let code = ended.error.as_ref().map(ProviderError::code).or(ended.client_left.then_some("client_left"));
        let http_status = if ended.client_left { 0 } else { 200 };
        self.booked(EntryStatus::Settled, code, http_status, Some(attempt), Some(flow.first_content))
    }
}
