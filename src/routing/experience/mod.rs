//! What calls have shown: how fast deployments are, how long answers get, and what providers hold in their prompt caches.
//!
//! Learned from settled calls alone, in memory alone, and bounded; outlives a change of prices. Nothing here decides: the
//! planner asks for numbers. [`Prefix`] is a request as prompt caches see it; what they should have served and did not is a
//! [`Finding`].

mod conversations;
mod decayed;
mod holders;
mod kept;
mod lengths;
mod prefix;
mod reads;
mod shares;
mod speed;
#[cfg(test)]
mod tests;
mod waits;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::domain::{Billed, Deployment, KeyId, Picodollars, ProviderKind, RequestId, TokenUsage};

use super::Candidate;
use conversations::{Conversations, LastTurn, STICKY_FOR};
use holders::Holders;
use kept::{cached_tokens_min, kept, readable};
use lengths::Lengths;
use reads::ReadBook;
use speed::Speeds;

pub use conversations::Change;
pub use prefix::{PROMPT_BYTES_MIN, Place, Prefix};
pub use reads::{Cause, Finding, Reads};
pub use shares::Shares;
pub use speed::{Pace, Timing, Wait};
pub use waits::WAITS_MIN;

/// All that calls have shown.
#[derive(Debug, Default)]
pub struct Experience {
    speeds: Speeds,
    lengths: Lengths,
    holders: Holders,
    conversations: Conversations,
    reads: ReadBook,
    strayed: Strayed,
    hedges: Shares,
}

/// A turn of a conversation that has been answered.
pub struct Turn<'a> {
    /// What it said.
    pub prefix: &'a Prefix<'a>,
    /// The call.
    pub request: RequestId,
    /// Its key.
    pub key: &'a KeyId,
    /// The route or model that was asked for.
    pub route: &'a Arc<str>,
    /// Who answered.
    pub candidate: &'a Candidate,
    /// Whether that was not the first of its route.
    pub is_strayed: bool,
    /// What it used.
    pub usage: &'a TokenUsage,
    /// When it was.
    pub at: Timestamp,
    /// Whether what was said may be quoted: only where bodies are kept anyway.
    pub may_quote: bool,
}

/// Until when some conversation may be at another deployment than the first of its route: while none is, nobody has to look.
#[derive(Debug, Default)]
struct Strayed {
    begun: Mutex<Option<Instant>>,
    /// Seconds after `begun`.
    until: AtomicU64,
}

impl Strayed {
    fn note(&self, until: Instant) {
        let begun = *self.begun.lock().expect("no holder of this lock panics").get_or_insert_with(Instant::now);
        self.until.fetch_max(until.saturating_duration_since(begun).as_secs() + 1, Ordering::Relaxed);
    }

    fn may_be(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        if until == 0 {
            return false;
        }
        let begun = *self.begun.lock().expect("no holder of this lock panics");
        begun.is_some_and(|begun| now < begun + Duration::from_secs(until))
    }
}

impl Experience {
    /// How many conversations each deployment served the last turn of, and still has in its provider's prompt cache.
    pub fn conversations(&self, now: Instant) -> std::collections::HashMap<Deployment, usize> {
        self.conversations.held(now)
    }

    /// How fast a deployment is.
    pub fn pace(&self, deployment: &Deployment, now: Instant) -> Option<Pace> {
        self.speeds.pace(deployment, now)
    }

    /// Notes how fast an answer came.
    pub fn note_timing(&self, deployment: &Deployment, timing: Timing, now: Instant) {
        self.speeds.note(deployment, timing, now);
    }

    /// Notes how long an answer, streamed or whole, took to begin.
    pub fn note_wait(&self, deployment: &Deployment, stream: bool, wait: Wait, now: Instant) {
        self.speeds.note_wait(deployment, stream, wait, now);
    }

    /// The time within which 95 of 100 answers of a deployment begin, absent where fewer than [`WAITS_MIN`] are known, and how
    /// many are.
    pub fn p95(&self, deployment: &Deployment, stream: bool, now: Instant) -> (Option<Duration>, f64) {
        self.speeds.p95(deployment, stream, now)
    }

    /// How many of each route's calls had a second attempt.
    pub fn hedges(&self) -> &Shares {
        &self.hedges
    }

    /// Tokens that an answer of a route is expected to have.
    pub fn expected_output(&self, route: &str, operation: &str, now: Instant) -> f64 {
        self.lengths.expected(route, operation, now)
    }

    /// Notes how long an answer was.
    pub fn note_length(&self, route: &Arc<str>, operation: &Arc<str>, tokens: u64, now: Instant) {
        self.lengths.note(route, operation, tokens, now);
    }

    /// Whether some conversation may be elsewhere than its route begins.
    pub(super) fn may_have_strayed(&self, now: Instant) -> bool {
        self.strayed.may_be(now)
    }

    /// Where a conversation is; with `cached`, only while its provider keeps it.
    pub(super) fn place(&self, prefix: &Prefix<'_>, cached: bool, now: Instant) -> Option<Deployment> {
        let last = self.conversations.last(prefix)?;
        let stays = if cached {
            last.cached_until.is_some_and(|until| until > now)
        } else {
            now.saturating_duration_since(last.seen) < STICKY_FOR
        };
        stays.then(|| last.deployment.clone())
    }

    /// Tokens of a request that each candidate's provider is expected to read from its cache.
    pub(super) fn expected_reads(&self, prefix: &Prefix<'_>, candidates: &[&Candidate], now: Instant) -> Vec<u32> {
        let deployments: Vec<&Deployment> = candidates.iter().map(|candidate| &candidate.deployment).collect();
        let held = self.holders.tokens(prefix, &deployments, now);
        let expected = held.into_iter().zip(candidates).map(|(held, candidate)| {
            let readable = kept_for(prefix, candidate).map_or(0, |_| readable(candidate, held.into()));
            share_of(u32::try_from(readable).unwrap_or(u32::MAX), self.reads.worth(&candidate.deployment, now))
        });
        expected.collect()
    }

    /// Learns from a turn: what was read as expected, what was not and why, and what its provider keeps now.
    pub fn learn(&self, turn: &Turn<'_>, now: Instant) {
        let Turn { prefix, candidate, usage, .. } = *turn;
        let (deployment, input) = (&candidate.deployment, usage.total_input());
        let asked_to_keep = kept_for(prefix, candidate);
        let kept = kept(candidate, usage);
        let kept_for = asked_to_keep.filter(|_| kept >= cached_tokens_min(candidate));
        if prefix.bytes() >= PROMPT_BYTES_MIN {
            let held = self.holders.tokens(prefix, &[deployment], now)[0];
            let expected = asked_to_keep.map_or(0, |_| readable(candidate, u64::from(held).min(input)));
            let lost = asked_to_keep.and_then(|_| self.examine(turn, now));
            let reads = Reads {
                calls: 1,
                input_tokens: input,
                expected_tokens: expected,
                actual_tokens: usage.cache_read,
                lost: lost.unwrap_or_default(),
            };
            self.reads.count(turn.key, turn.route, deployment, reads, now);
            if let Some(kept_for) = kept_for {
                self.holders.hold(prefix, deployment, (input, kept), now + kept_for, now);
            }
        }
        let cached_until = kept_for.map(|kept_for| now + kept_for);
        self.conversations.remember(prefix, LastTurn::new(prefix, deployment.clone(), kept, now, cached_until));
        if turn.is_strayed {
            self.strayed.note(cached_until.unwrap_or(now).max(now + STICKY_FOR));
        }
    }

    /// Finds out why a turn's beginning was not read from the cache, and what that cost.
    fn examine(&self, turn: &Turn<'_>, now: Instant) -> Option<Picodollars> {
        let Turn { prefix, candidate, usage, .. } = *turn;
        let last = self.conversations.last(prefix)?;
        let was_cached_until = last.cached_until?;
        let readable = readable(candidate, last.kept_tokens.min(usage.total_input()));
        let lost_tokens = readable.saturating_sub(usage.cache_read);
        let deployment = &candidate.deployment;
        // Some servers have a cache and don't tell of it.
        let tells = matches!(candidate.upstream.kind(), ProviderKind::OpenAi | ProviderKind::Anthropic)
            || usage.cache_read > 0
            || self.reads.was_read(deployment);
        if !tells || !Finding::is_worth_telling(lost_tokens, readable) {
            return None;
        }
        let cause = match last.change(prefix, turn.may_quote) {
            Some(change) => Cause::Changed(change),
            None if last.deployment != *deployment => Cause::Moved { from: last.deployment.clone() },
            None if was_cached_until <= now => Cause::Expired,
            None => Cause::Provider,
        };
        let lost = loss(candidate, lost_tokens, prefix.marked(), turn.at);
        self.reads.tell(Finding {
            at: turn.at,
            request: turn.request,
            key: turn.key.clone(),
            route: Arc::clone(turn.route),
            deployment: deployment.clone(),
            cause,
            lost_tokens,
            lost,
        });
        lost
    }

    /// Reads of prompt caches by key and route; the dearest losses first.
    pub fn reads(&self, route: Option<&str>) -> Vec<(KeyId, Arc<str>, Reads)> {
        self.reads.pairs(route)
    }

    /// Turns whose beginnings had to be read anew, newest first.
    pub fn findings(&self, route: Option<&str>) -> Vec<Finding> {
        self.reads.findings(route)
    }
}

/// How long a candidate's provider keeps a request; nothing where it is not asked to, and then it reads nothing that it kept either.
fn kept_for(prefix: &Prefix<'_>, candidate: &Candidate) -> Option<Duration> {
    prefix.kept_for(candidate.upstream.kind(), candidate.facts.as_deref())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a number of this type is one too"
)]
fn share_of(tokens: u32, share: f64) -> u32 {
    (f64::from(tokens) * share.clamp(0.0, 1.0)) as u32
}

/// What it cost more to read tokens anew than to read them from the cache.
fn loss(candidate: &Candidate, tokens: u64, marked: Option<Duration>, at: Timestamp) -> Option<Picodollars> {
    let prices = &candidate.facts.as_ref()?.prices;
    let read = TokenUsage { cache_read: tokens, ..TokenUsage::default() };
    let anew = super::cost::input(tokens, marked.filter(|_| candidate.upstream.kind() == ProviderKind::Anthropic));
    let cost = |usage| prices.cost(&usage, &Billed::plainly(at)).cost;
    Some(cost(anew).saturating_sub(cost(read)))
}
