//! What a call used, in buckets that don't overlap.

use std::ops::Add;

use serde::{Deserialize, Serialize};

/// Tokens of one attempt in disjoint buckets, whatever the provider's own way of counting.
///
/// `output` includes `reasoning` (a part shown beside it); every other bucket stands alone, so each is multiplied by
/// its own price and nothing is charged twice. Each provider's decoder normalises; nobody else does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Text input that no cache served.
    pub uncached_input: u64,
    /// Input served from the provider's prompt cache.
    pub cache_read: u64,
    /// Input written to a cache that lasts five minutes (or the provider's only kind of cache).
    pub cache_write_5m: u64,
    /// Input written to a cache that lasts an hour.
    pub cache_write_1h: u64,
    /// Output, reasoning included.
    pub output: u64,
    /// The part of `output` that was reasoning.
    pub reasoning: u64,
    /// Audio input.
    pub audio_input: u64,
    /// Audio output.
    pub audio_output: u64,
    /// Web searches that the provider ran.
    pub web_searches: u64,
}

impl TokenUsage {
    /// Nothing at all: for constants, which can't be made by `default`.
    pub const NONE: Self = Self {
        uncached_input: 0,
        output: 0,
        cache_read: 0,
        cache_write_5m: 0,
        cache_write_1h: 0,
        reasoning: 0,
        audio_input: 0,
        audio_output: 0,
        web_searches: 0,
    };

    /// All input tokens: what decides over long-context prices.
    pub fn total_input(&self) -> u64 {
        self.uncached_input + self.cache_read + self.cache_write_5m + self.cache_write_1h + self.audio_input
    }

    /// Tokens written to caches.
    pub fn cache_write(&self) -> u64 {
        self.cache_write_5m + self.cache_write_1h
    }

    /// All output tokens.
    pub fn total_output(&self) -> u64 {
        self.output + self.audio_output
    }

    /// True where nothing was used.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Add for TokenUsage {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            uncached_input: self.uncached_input.saturating_add(other.uncached_input),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write_5m: self.cache_write_5m.saturating_add(other.cache_write_5m),
            cache_write_1h: self.cache_write_1h.saturating_add(other.cache_write_1h),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
            audio_input: self.audio_input.saturating_add(other.audio_input),
            audio_output: self.audio_output.saturating_add(other.audio_output),
            web_searches: self.web_searches.saturating_add(other.web_searches),
        }
    }
}
