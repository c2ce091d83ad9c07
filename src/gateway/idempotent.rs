//! Calls with an `Idempotency-Key`: answered again, refused, or made once.
//!
//! A replay comes before everything that a call costs or is limited by: before the rate limits, the response cache and the
//! budgets, whatever `x-tollgate-cache` says, because it is not another call but the answer of one that was made. It is
//! booked all the same, at 0 and with `bypass` for the cache, which wasn't asked: every request that was answered has its
//! entry. What a client said of tags, session or time limit may differ; what changes the answer may not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::config::Durability;
use crate::content::Excerpt;
use crate::domain::{CacheOutcome, CostBasis, EntryStatus, Owner, Picodollars, RequestId};
use crate::idempotency::{Answered, Begun, Fate, Idempotency, IdempotencyError, IdempotencyKey, Kept, Question};
use crate::ledger::{CallFacts, Entry, Ledger};
use crate::routing::Candidate;
use crate::telemetry::names;

use super::answer::{Answer, AnswerBody, Inbound};
use super::attempt::Flow;
use super::cached::EVENT_STREAM;
use super::call::Call;
use super::error::GatewayError;
use super::record::users;

/// The shortest wait that a client is told whose call runs.
const RUNNING_WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest: SDKs take no longer one.
const RUNNING_WAIT_MAX: Duration = Duration::from_mins(1);

/// Why a call with a key is neither made nor answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotReplayed {
    /// The first one has not ended yet.
    #[error("the call with this Idempotency-Key still runs, as {call}: ask again in {} s for its answer", retry_after.as_secs_f64().ceil())]
    Running {
        /// The call.
        call: RequestId,
        /// When to ask again.
        retry_after: Duration,
    },
    /// The key stands for something else.
    #[error("this Idempotency-Key was used for another request, {call}: send a new key with each new request")]
    OtherBody {
        /// The call.
        call: RequestId,
    },
    /// The call was answered at such length that the answer is gone.
    #[error(
        "the call with this Idempotency-Key was made as {call}{}, but its answer was longer than the 256 KiB that are kept: send a new key to make it again",
        costing(*cost)
    )]
    TooLarge {
        /// The call.
        call: RequestId,
        /// What it cost.
        cost: Option<Picodollars>,
    },
    /// The answer was deleted.
    #[error(
        "the call with this Idempotency-Key was made as {call}, and its answer has been deleted since: send a new key to make it again"
    )]
    Deleted {
        /// The call.
        call: RequestId,
    },
    /// The call was made, and there is no whole answer of it.
    #[error(
        "the call with this Idempotency-Key was made as {call}{}, and ended without a whole answer: send a new key to make it again",
        costing(*cost)
    )]
    Unanswered {
        /// The call.
        call: RequestId,
        /// What is booked for it.
        cost: Option<Picodollars>,
    },
    /// Nobody can say now whether there was such a call.
    #[error(
        "it can't be told whether the call with this Idempotency-Key was made before, so it is not made: {0}; GET /api/status has the reason, and calls without the header go on"
    )]
    Unavailable(IdempotencyError),
}

fn costing(cost: Option<Picodollars>) -> String {
    cost.map_or_else(String::new, |cost| format!(" and {cost} USD booked for it"))
}

/// How long to wait for a call that has run for so long: half of those that have come this far need as long again.
fn wait_for(since: Duration) -> Duration {
    since.clamp(RUNNING_WAIT_MIN, RUNNING_WAIT_MAX)
}

impl Call {
    /// Answers a call that was made before with the same key, or takes the key for it. Returns whether it has answered.
    pub(super) async fn replay(&mut self, facts: &CallFacts) -> Result<bool, GatewayError> {
        let inbound = self.inbound.clone();
        let Some(key) = inbound.idempotency_key.clone() else { return Ok(false) };
        let gateway = Arc::clone(&self.gateway);
        let durability = self.config().ledger.durability;
        let begun = tokio::task::spawn_blocking(move || {
            let parts = gateway.parts();
            // Here, because hashing a large body takes a while too.
            let question = question(&key, &inbound);
            let now = parts.clock.now();
            parts.idempotency.begin(&question, inbound.id, now, |call| fate(&parts.ledger, durability, call))
        });
        let begun = begun.await.map_err(|_| GatewayError::Internal)?;
        let refused = match begun.map_err(NotReplayed::Unavailable) {
            Ok(Begun::Go(claim)) => {
                self.claim = Some(claim);
                return Ok(false);
            }
            Ok(Begun::Answered { answered: Answered::Kept(kept), .. }) => {
                self.answer_again(facts.clone(), *kept).await;
                return Ok(true);
            }
            Ok(Begun::Running { call, since }) => NotReplayed::Running { call, retry_after: wait_for(since) },
            Ok(Begun::OtherBody { call }) => NotReplayed::OtherBody { call },
            Ok(Begun::Answered { call, answered: Answered::Deleted }) => NotReplayed::Deleted { call },
            Ok(Begun::Answered { call, answered: Answered::TooLarge }) => {
                NotReplayed::TooLarge { call, cost: self.cost_of(call).await }
            }
            Ok(Begun::Unanswered { call, cost }) => NotReplayed::Unanswered { call, cost },
            Err(unavailable) => unavailable,
        };
        Err(self.refuse(facts, refused.into()))
    }

    async fn cost_of(&self, call: RequestId) -> Option<Picodollars> {
        let ledger = Arc::clone(&self.gateway.parts().ledger);
        let entry = tokio::task::spawn_blocking(move || ledger.entry(call)).await;
        entry.ok()?.ok()?.map(|entry| entry.cost())
    }

    /// Gives the answer of an earlier call.
    async fn answer_again(&mut self, mut facts: CallFacts, kept: Kept) {
        let Kept { call, deployment, upstream_request_id, dropped, estimated, content_type, body } = kept;
        facts.cache = CacheOutcome::Bypass;
        // It is what the answer is from, although this call asked nobody.
        facts.kept_from.clone_from(&deployment);
        let outcome = self.booked(EntryStatus::Settled, None, 200, None, None);
        self.remember_answer(|| Excerpt::of(&body));
        self.count(&facts, &outcome, Picodollars::ZERO);
        tracing::debug!({ names::REQUEST_ID } = %facts.id, "answered again as {call} was, by its idempotency key");
        if let Err(unbooked) = self.gateway.parts().ledger.record(facts, outcome) {
            tracing::warn!("an answer that was given again is not in the ledger: {unbooked}");
        }
        let content_type = content_type.and_then(|text| http::HeaderValue::from_str(&text).ok());
        self.answer(Answer {
            deployment,
            attempts: 0,
            budget_remaining: None,
            cache: CacheOutcome::Bypass,
            kept: None,
            replay_of: Some(call),
            upstream_request_id,
            estimated,
            clipped: None,
            downgraded: None,
            dropped: dropped.into_iter().map(Into::into).collect(),
            body: AnswerBody::Whole { bytes: body, content_type, cost: Some(Picodollars::ZERO) },
        })
        .await;
    }

    /// Makes it durable that the call is made with its key; before this nothing may be sent.
    pub(super) async fn bind_key(&mut self, facts: &CallFacts) -> Result<(), GatewayError> {
        let Some(claim) = &mut self.claim else { return Ok(()) };
        let session = self.inbound.session.iter().map(|session| Owner::Session(session.to_string()));
        let owners = std::iter::once(Owner::Key(facts.key.clone()))
            .chain(session)
            .chain(users(&self.inbound.body).into_iter().map(Owner::User))
            .collect();
        match claim.bind(owners).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.refuse(facts, NotReplayed::Unavailable(error).into())),
        }
    }

    /// Keeps a whole answer for those who ask again.
    pub(super) async fn keep_answer(&mut self, answer: &Answer) {
        if self.claim.is_some()
            && let AnswerBody::Whole { bytes, content_type, .. } = &answer.body
        {
            let kept = Kept {
                call: self.inbound.id,
                deployment: answer.deployment.clone(),
                upstream_request_id: answer.upstream_request_id.clone(),
                dropped: answer.dropped.iter().map(ToString::to_string).collect(),
                estimated: answer.estimated,
                content_type: content_type.as_ref().and_then(|value| Some(value.to_str().ok()?.to_owned())),
                body: Bytes::new(),
            };
            self.finish_key(kept, Some(bytes.clone())).await;
        }
    }

    /// What is told beside a stream, before its records are known.
    pub(super) fn stream_to_keep(&self, candidate: &Candidate, flow: &Flow, dropped: &[&'static str]) -> Kept {
        Kept {
            call: self.inbound.id,
            deployment: Some(candidate.deployment.clone()),
            upstream_request_id: flow.upstream_request_id.clone(),
            dropped: dropped.iter().map(ToString::to_string).collect(),
            estimated: false,
            content_type: Some(EVENT_STREAM.to_owned()),
            body: Bytes::new(),
        }
    }

    /// Keeps an answer durably; without a body it was too long. A failure costs the replay alone: the key stays taken.
    pub(super) async fn finish_key(&mut self, kept: Kept, body: Option<Bytes>) {
        let Some(claim) = self.claim.take() else { return };
        let body = body.filter(|body| body.len() <= crate::idempotency::ANSWER_BYTES_MAX);
        let answered = body.map_or(Answered::TooLarge, |body| Answered::Kept(Box::new(Kept { body, ..kept })));
        if let Err(error) = claim.finish(answered).await {
            tracing::warn!({ names::REQUEST_ID } = %self.inbound.id, "the answer is not kept for a retry: {error}");
        }
    }
}

/// What is asked under a key.
fn question(key: &IdempotencyKey, inbound: &Inbound) -> Question {
    let opaque = inbound.opaque.as_ref();
    let path = format!("{}{}", inbound.endpoint.path(), opaque.map_or("", |opaque| opaque.below.as_str()));
    let headers = &inbound.headers;
    let said = [
        headers.anthropic_version.as_deref(),
        headers.anthropic_beta.as_deref(),
        headers.query.as_deref(),
        headers.sandbox.as_deref(),
        Some(&*inbound.operation),
    ];
    let content_type = opaque.and_then(|opaque| opaque.content_type.as_ref()?.to_str().ok());
    Question::new(key, &inbound.caller.id, &path, &said, content_type, &inbound.body)
}

/// Whether a call with the same key may be made, in the word of the ledger.
fn fate(ledger: &Ledger, durability: Durability, call: RequestId) -> Result<Fate, IdempotencyError> {
    let entry = ledger.entry(call).map_err(|error| Idempotency::unknown(&error))?;
    Ok(match entry {
        // Nothing is sent before the ledger has the call durably, unless it need not wait for the disk.
        None if durability == Durability::Strict => Fate::Free,
        None => Fate::Owed(None),
        Some(entry) => match entry.status {
            EntryStatus::Failed if owes_nothing(&entry) => Fate::Free,
            EntryStatus::Pending => Fate::Running,
            EntryStatus::Failed | EntryStatus::Settled | EntryStatus::Unknown => Fate::Owed(Some(entry.cost())),
        },
    })
}

/// Whether it is known of every attempt that it cost nothing: one whose end nobody saw may have been made, also where
/// no price says what it cost.
fn owes_nothing(entry: &Entry) -> bool {
    entry.attempts.iter().all(|attempt| attempt.cost.is_zero() && attempt.basis != CostBasis::Reserved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_waits_as_long_again_as_the_call_has_run() {
        for (since_ms, wait_ms) in [(0, 1_000), (999, 1_000), (5_000, 5_000), (60_000, 60_000), (600_000, 60_000)] {
            assert_eq!(wait_for(Duration::from_millis(since_ms)), Duration::from_millis(wait_ms));
        }
    }
}
