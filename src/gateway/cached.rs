//! Calls and the response cache: answered from it, joined with others that ask the same, or kept in it afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::cache::{
    AnswerEnd, Asked as Question, Cache, Circle, Directives, Entry, Fingerprint, Flight, Form, Joined, Leader, Mode,
    NewEntry, NotKept, Prompt, Question as Fields, may_store, may_use,
};
use crate::content::Excerpt;
use crate::domain::{CacheOutcome, Endpoint, EntryStatus, Picodollars, TeamId, TokenUsage};
use crate::routing::{Candidate, Plan};

use super::answer::{Answer, AnswerBody, KeptAnswer};
use super::call::Call;
use super::envelope::{Effect, Envelope};
use super::error::GatewayError;
use super::prepare::Asked;
use super::recast::{Wanted, recast};

/// What a stream's type is called.
pub(super) const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";

/// What the cache has done for a call.
pub(super) enum Looked {
    /// It has answered.
    Answered,
    /// The call goes on, and its answer may be kept.
    Keep(Keep),
    /// The call goes on without the cache.
    Apart,
}

/// The right to keep an answer. Dropped without one, it lets another call that asks the same go ahead.
pub(super) struct Keep {
    fingerprint: Fingerprint,
    leader: Option<Leader>,
    ttl: Option<Duration>,
    /// Of the cache, before the call was made.
    generation: u64,
}

/// An answer that may be kept.
pub(super) struct Given<'a> {
    pub(super) candidate: &'a Candidate,
    pub(super) form: Form,
    /// What the client got.
    pub(super) body: Bytes,
    /// Why it ended, in the provider's word; absent where the path has no such thing.
    pub(super) finish_reason: Option<&'a str>,
    /// Whether the model refused in words; it may say that it has just stopped.
    pub(super) has_refused: bool,
    pub(super) usage: TokenUsage,
    pub(super) cost: Picodollars,
    pub(super) upstream_request_id: Option<Arc<str>>,
}

impl Call {
    /// Asks the cache before a provider.
    pub(super) async fn look_up(&mut self, asked: &mut Asked<'_>, plan: &Plan) -> Result<Looked, GatewayError> {
        let gateway = Arc::clone(&self.gateway);
        let cache = &*gateway.parts().cache;
        let Directives { mode, ttl } = self.inbound.cache;
        let fingerprint = match self.fingerprint(&asked.envelope) {
            Some(fingerprint) if mode != Mode::Bypass => fingerprint,
            _ if mode == Mode::Only => return Err(self.refuse(&asked.facts, GatewayError::CacheMiss)),
            _ => return Ok(Looked::Apart),
        };
        if mode.may_read() {
            if let Some((entry, body)) = self.kept(&asked.envelope, fingerprint, cache) {
                cache.count_hit(&entry);
                self.answer_from(asked, fingerprint, &entry, body).await;
                return Ok(Looked::Answered);
            }
            cache.count_miss();
        }
        asked.facts.cache = CacheOutcome::Miss;
        if mode == Mode::Only {
            return match self.kept_elsewhere(&asked.envelope, fingerprint, cache).await {
                Some((entry, body)) => {
                    cache.count_joined(&entry);
                    self.answer_from(asked, fingerprint, &entry, body).await;
                    Ok(Looked::Answered)
                }
                None => Err(self.refuse(&asked.facts, GatewayError::CacheMiss)),
            };
        }
        let mut keep = Keep { fingerprint, leader: None, ttl, generation: cache.generation() };
        // Who wants a fresh answer doesn't wait for one that is under way.
        if mode == Mode::Refresh {
            return Ok(Looked::Keep(keep));
        }
        keep.leader = match cache.join(fingerprint) {
            Flight::Leader(leader) => Some(leader),
            Flight::Follower(follower) => {
                let deadline = plan.candidates.first().map_or_else(Instant::now, |first| self.deadline(first));
                let patience = deadline.saturating_duration_since(Instant::now());
                let joined = tokio::select! {
                    biased;
                    joined = follower.wait(patience) => joined,
                    why = self.audience.gone() => return Err(self.refuse(&asked.facts, why.into())),
                };
                match joined {
                    Joined::Leader(leader) => Some(leader),
                    Joined::Alone => None,
                    Joined::Answer(entry) => match self.in_form(&asked.envelope, &entry) {
                        Some(body) => {
                            cache.count_joined(&entry);
                            self.answer_from(asked, fingerprint, &entry, body).await;
                            return Ok(Looked::Answered);
                        }
                        None => None,
                    },
                }
            }
        };
        if keep.leader.is_none() {
            return Ok(Looked::Keep(keep));
        }
        // The answer may have come between the look and the leading, or another instance has it.
        let found = match self.kept(&asked.envelope, fingerprint, cache) {
            Some(found) => Some(found),
            None => self.kept_elsewhere(&asked.envelope, fingerprint, cache).await,
        };
        if let Some((entry, body)) = found {
            cache.count_joined(&entry);
            if let Some(leader) = keep.leader.take() {
                leader.publish(&entry);
            }
            self.answer_from(asked, fingerprint, &entry, body).await;
            return Ok(Looked::Answered);
        }
        Ok(Looked::Keep(keep))
    }

    /// What the call's answer is kept under; nothing where it can't be kept.
    fn fingerprint(&self, envelope: &Envelope<'_>) -> Option<Fingerprint> {
        let (inbound, settings) = (&self.inbound, &self.config().cache);
        // Without a look at the body: most settings that switch the cache off do it for every call.
        if !inbound.endpoint.is_repeatable() || envelope.effect != Effect::None || !settings.enabled {
            return None;
        }
        let headers = &inbound.headers;
        let fields = Fields {
            endpoint: inbound.endpoint,
            body: &inbound.body,
            version: headers.anthropic_version.as_deref(),
            betas: headers.anthropic_beta.as_deref(),
            extras: [headers.query.as_deref(), headers.sandbox.as_deref()],
        };
        let team = inbound.caller.team.as_ref().map(TeamId::as_str);
        let taken = Fingerprint::of(&Circle::of(settings.scope, &inbound.caller.id, team), &fields).ok()?;
        let question = Question { choices: envelope.choices, is_deterministic: taken.is_deterministic };
        may_use(settings, question).ok().map(|()| taken.fingerprint)
    }

    /// A kept answer in the form that is asked for.
    fn kept(&self, envelope: &Envelope<'_>, fingerprint: Fingerprint, cache: &Cache) -> Option<(Arc<Entry>, Bytes)> {
        let now = self.gateway.parts().clock.now();
        let entry = cache.peek(&fingerprint, now)?;
        // What was kept under settings that let answers live longer is too old under these.
        if entry.facts.ttl.is_none() && entry.age(now) >= self.config().cache.ttl {
            return None;
        }
        let body = self.in_form(envelope, &entry)?;
        Some((entry, body))
    }

    /// The same, kept by another instance.
    async fn kept_elsewhere(
        &self,
        envelope: &Envelope<'_>,
        fingerprint: Fingerprint,
        cache: &Cache,
    ) -> Option<(Arc<Entry>, Bytes)> {
        let entry = cache.fetch(fingerprint, self.gateway.parts().clock.now()).await?;
        let body = self.in_form(envelope, &entry)?;
        Some((entry, body))
    }

    fn in_form(&self, envelope: &Envelope<'_>, entry: &Entry) -> Option<Bytes> {
        let wanted = Wanted {
            stream: envelope.stream,
            usage: envelope.usage_asked(),
            request: &self.inbound.body,
            version: self.inbound.headers.anthropic_version.as_deref(),
        };
        recast(entry, &wanted)
    }

    /// Answers a call with what the cache has; its entry costs nothing and isn't waited for.
    async fn answer_from(&mut self, asked: &mut Asked<'_>, fingerprint: Fingerprint, entry: &Entry, body: Bytes) {
        asked.facts.cache = CacheOutcome::Hit;
        asked.facts.kept_from = Some(entry.facts.deployment.clone());
        let mut outcome = self.booked(EntryStatus::Settled, None, 200, None, None);
        outcome.saved = entry.facts.cost;
        self.remember_answer(|| Excerpt::of(&body));
        self.count(&asked.facts, &outcome, Picodollars::ZERO);
        if let Err(unbooked) = self.gateway.parts().ledger.record(asked.facts.clone(), outcome) {
            tracing::warn!("an answer from the cache is not in the ledger: {unbooked}");
        }
        let content_type = asked.envelope.stream.then(|| http::HeaderValue::from_static(EVENT_STREAM));
        let kept = KeptAnswer { age: entry.age(self.gateway.parts().clock.now()), entry: fingerprint.to_string() };
        self.answer(Answer {
            deployment: Some(entry.facts.deployment.clone()),
            attempts: 0,
            budget_remaining: None,
            cache: CacheOutcome::Hit,
            kept: Some(kept),
            replay_of: None,
            upstream_request_id: None,
            estimated: false,
            clipped: None,
            downgraded: None,
            dropped: Vec::new(),
            body: AnswerBody::Whole { bytes: body, content_type, cost: Some(Picodollars::ZERO) },
        })
        .await;
    }

    /// Keeps an answer, where it may be, for those who wait for it and those who ask later.
    pub(super) fn keep(&self, asked: &Asked<'_>, keep: Keep, given: Given<'_>) {
        let Keep { fingerprint, leader, ttl, generation } = keep;
        let parts = self.gateway.parts();
        let end = end(self.inbound.endpoint, given.finish_reason, given.has_refused);
        if let Err(reason) = may_store(&self.config().cache, end, given.body.len() as u64) {
            self.note_not_kept(reason);
            // Whoever leads next would be cut or refused too.
            if let Some(leader) = leader {
                leader.disperse();
            }
            return;
        }
        let facts = &asked.facts;
        let entry = NewEntry {
            request: facts.id,
            endpoint: facts.endpoint,
            form: given.form,
            body: given.body,
            deployment: given.candidate.deployment.clone(),
            requested_model: facts.requested_model.clone(),
            operation: Arc::clone(&facts.operation),
            key: facts.key.clone(),
            key_name: Arc::clone(&facts.key_name),
            team: facts.team.clone(),
            tags: facts.tags.clone(),
            prompt: Prompt::of(&self.inbound.body),
            usage: given.usage,
            cost: given.cost,
            upstream_request_id: given.upstream_request_id,
            ttl,
        };
        let now = parts.clock.now();
        let (entry, kept) = parts.cache.store(fingerprint, entry, self.config().cache.ttl, generation, now);
        if let Err(reason) = kept {
            self.note_not_kept(reason);
        }
        if let Some(leader) = leader {
            leader.publish(&entry);
        }
        if kept.is_ok() && parts.cache.is_shared() {
            let cache = Arc::clone(&parts.cache);
            parts.tasks.spawn(async move { cache.share(fingerprint, &entry, generation, now).await });
        }
    }
}

impl Call {
    /// Tells who wants to know that the answer is not kept.
    pub(super) fn note_not_kept(&self, reason: NotKept) {
        if let Some(told) = &self.inbound.not_kept {
            let _ = told.set(reason);
        }
    }
}

/// How an answer ended, in the words of all dialects.
fn end(endpoint: Endpoint, finish_reason: Option<&str>, has_refused: bool) -> AnswerEnd {
    const COMPLETE: [&str; 7] =
        ["stop", "tool_calls", "function_call", "completed", "end_turn", "stop_sequence", "tool_use"];
    match finish_reason {
        None if endpoint == Endpoint::Embeddings => AnswerEnd::Complete,
        None => AnswerEnd::Unfinished,
        Some("refusal" | "content_filter") => AnswerEnd::Refused,
        Some(_) if has_refused => AnswerEnd::Refused,
        Some(reason) if COMPLETE.contains(&reason) => AnswerEnd::Complete,
        // A word that isn't known may mean anything.
        Some(_) => AnswerEnd::Cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_whatever_word_the_answer_ends_with() {
        let check = |reason: Option<&str>, has_refused, expected| {
            assert_eq!(end(Endpoint::ChatCompletions, reason, has_refused), expected, "{reason:?}");
        };
        check(Some("stop"), false, AnswerEnd::Complete);
        check(Some("stop"), true, AnswerEnd::Refused);
        check(Some("completed"), true, AnswerEnd::Refused);
        check(Some("content_filter"), false, AnswerEnd::Refused);
        check(Some("length"), false, AnswerEnd::Cut);
        check(Some("pause_turn"), false, AnswerEnd::Cut);
        check(None, false, AnswerEnd::Unfinished);
        assert_eq!(end(Endpoint::Embeddings, None, false), AnswerEnd::Complete);
    }
}
