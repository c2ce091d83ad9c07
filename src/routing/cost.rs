//! What a call is expected to cost at a candidate, with what its provider has in its prompt cache. For comparing: what is
//! reserved and booked is worked out elsewhere.

use std::time::Duration;

use crate::domain::{Billed, Picodollars, PriceName, ProviderKind, Residency, TokenUsage};
use crate::provider::openai::usage::residency_of_host;

use super::Candidate;

/// What is expected of a call, whoever takes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// Tokens of input.
    pub(super) input: u64,
    /// Tokens of output, of all answers.
    pub(super) output: u64,
    /// How it will be billed.
    pub(super) billed: Billed,
    /// For how long the client marks its input to be kept.
    pub(super) marked: Option<Duration>,
}

/// Input that no cache serves: plain, or written to a cache where that is marked.
pub(super) fn input(tokens: u64, marked: Option<Duration>) -> TokenUsage {
    match marked {
        None => TokenUsage { uncached_input: tokens, ..TokenUsage::default() },
        Some(kept_for) if kept_for < Duration::from_hours(1) => {
            TokenUsage { cache_write_5m: tokens, ..TokenUsage::default() }
        }
        Some(_) => TokenUsage { cache_write_1h: tokens, ..TokenUsage::default() },
    }
}

/// What the call is expected to cost; nothing where the candidate has no price.
pub(super) fn expected(candidate: &Candidate, expected: &Expected, cached: u64) -> Option<Picodollars> {
    let prices = &candidate.facts.as_ref()?.prices;
    let Expected { input: tokens, output, mut billed, marked } = *expected;
    let kind = candidate.upstream.kind();
    let cached = cached.min(tokens);
    // Anthropic bills writes where they are marked, OpenAI's newer models always.
    let marked = match kind {
        ProviderKind::Anthropic | ProviderKind::Sandbox => marked,
        _ => prices.plain(PriceName::CacheWrite5m).map(|_| Duration::from_mins(5)),
    };
    if kind == ProviderKind::OpenAi && billed.residency == Residency::Anywhere {
        billed.residency = residency_of_host(candidate.upstream.host());
    }
    let usage = TokenUsage { cache_read: cached, output, ..input(tokens - cached, marked) };
    Some(prices.cost(&usage, &billed).cost)
}
