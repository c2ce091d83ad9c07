//! What a provider keeps of a turn, and how it counts what it reads of that again.

use crate::domain::{ProviderKind, TokenUsage};

use super::Candidate;

/// The shortest prompt that a cache takes, where the list does not say.
const CACHED_TOKENS_MIN: u64 = 1_024;
/// OpenAI's caches keep prompts in steps of so many tokens, and count what they read likewise. Servers that speak as it does have
/// smaller steps, which can't be known: so much less is no loss.
const OPENAI_STEP: u64 = 128;

/// Tokens of a turn that its provider can read again for the next one. Anthropic's keeps what is marked, and tells of all of it; others
/// keep everything unless they tell what they wrote.
pub(super) fn kept(candidate: &Candidate, usage: &TokenUsage) -> u64 {
    let written = usage.cache_write_5m + usage.cache_write_1h;
    let is_told = written > 0 || candidate.upstream.kind() == ProviderKind::Anthropic;
    if is_told { usage.cache_read + written } else { usage.total_input() }
}

/// Tokens that a provider counts as read of so many: whole steps, and nothing of a prompt that is shorter than its cache takes.
pub(super) fn readable(candidate: &Candidate, tokens: u64) -> u64 {
    let step = match candidate.upstream.kind() {
        ProviderKind::OpenAi | ProviderKind::OpenAiCompatible => OPENAI_STEP,
        ProviderKind::Anthropic | ProviderKind::Sandbox => 1,
    };
    if tokens < cached_tokens_min(candidate) { 0 } else { tokens / step * step }
}

/// The shortest prompt that its cache takes.
pub(super) fn cached_tokens_min(candidate: &Candidate) -> u64 {
    candidate.facts.as_ref().and_then(|facts| facts.prompt_cache_min_tokens).unwrap_or(CACHED_TOKENS_MIN)
}
