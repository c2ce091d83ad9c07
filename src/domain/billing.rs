//! How a call was billed: the facts beside the token counts that decide which price holds.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The service tier that a provider says it billed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// The plain price: no tier, or one of the words that mean it.
    #[default]
    Default,
    /// Slower and cheaper.
    Flex,
    /// Faster and dearer.
    Priority,
    /// Answered within a day, at about half the price.
    Batch,
    /// The fastest and dearest.
    Ultrafast,
    /// A tier that no price list names.
    Other,
}

impl ServiceTier {
    /// Every tier, in order.
    pub const ALL: &'static [Self] =
        &[Self::Default, Self::Flex, Self::Priority, Self::Batch, Self::Ultrafast, Self::Other];

    /// The tier that a provider's word stands for. `standard` is Anthropic's plain tier, `on_demand` is Groq's.
    pub fn from_word(word: &str) -> Self {
        match word {
            "" | "default" | "auto" | "standard" | "on_demand" => Self::Default,
            "flex" => Self::Flex,
            "priority" => Self::Priority,
            "batch" => Self::Batch,
            "ultrafast" => Self::Ultrafast,
            _ => Self::Other,
        }
    }

    /// The word that stands for it in answers and entries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Flex => "flex",
            Self::Priority => "priority",
            Self::Batch => "batch",
            Self::Ultrafast => "ultrafast",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for ServiceTier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// Where a provider promised to compute; some charge more for a promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Residency {
    /// Nothing was promised.
    #[default]
    Anywhere,
    /// In the United States only.
    Us,
    /// In the European Union only.
    Eu,
}

impl Residency {
    /// Every place, in order.
    pub const ALL: &'static [Self] = &[Self::Anywhere, Self::Us, Self::Eu];

    /// The word that stands for it in answers and entries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anywhere => "anywhere",
            Self::Us => "us",
            Self::Eu => "eu",
        }
    }
}

/// What decides over the price of one attempt, beside its token counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Billed {
    /// The service tier in the response, not the one asked for.
    pub tier: ServiceTier,
    /// Where it was computed.
    pub residency: Residency,
    /// True for Anthropic's `speed: fast`.
    pub fast: bool,
    /// When the call was made: some providers are cheaper off-peak.
    pub at: Timestamp,
}

impl Billed {
    /// The plain price at a time.
    pub const fn plainly(at: Timestamp) -> Self {
        Self { tier: ServiceTier::Default, residency: Residency::Anywhere, fast: false, at }
    }
}

/// A thing that price lists have a price per token for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceName {
    /// Text input that no cache served.
    Input,
    /// Input served from the provider's cache.
    CacheRead,
    /// Input written to a cache for five minutes.
    #[serde(rename = "cache_write_5m")]
    CacheWrite5m,
    /// Input written to a cache for an hour.
    #[serde(rename = "cache_write_1h")]
    CacheWrite1h,
    /// Audio input.
    AudioInput,
    /// Output.
    Output,
    /// The part of the output that was reasoning, where it has a price of its own.
    Reasoning,
    /// Audio output.
    AudioOutput,
}

impl PriceName {
    /// Every name, in the order of an invoice.
    pub const ALL: &'static [Self] = &[
        Self::Input,
        Self::CacheRead,
        Self::CacheWrite5m,
        Self::CacheWrite1h,
        Self::AudioInput,
        Self::Output,
        Self::Reasoning,
        Self::AudioOutput,
    ];

    /// The word that stands for it in price lists and settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CacheRead => "cache_read",
            Self::CacheWrite5m => "cache_write_5m",
            Self::CacheWrite1h => "cache_write_1h",
            Self::AudioInput => "audio_input",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::AudioOutput => "audio_output",
        }
    }

    /// The name that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|name| name.as_str() == word)
    }

    /// True for what comes out of a model.
    pub const fn is_output(self) -> bool {
        matches!(self, Self::Output | Self::Reasoning | Self::AudioOutput)
    }
}

impl fmt::Display for PriceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_tier_has_many_words() {
        for word in ["", "default", "auto", "standard", "on_demand"] {
            assert_eq!(ServiceTier::from_word(word), ServiceTier::Default, "{word:?}");
        }
    }

    #[test]
    fn a_tier_that_no_list_names_is_other_and_never_plain() {
        for word in ["scale", "fast", "Default", "standard_only"] {
            assert_eq!(ServiceTier::from_word(word), ServiceTier::Other, "{word:?}");
        }
    }

    #[test]
    fn every_priced_tier_and_price_name_is_found_by_its_word() {
        for tier in ServiceTier::ALL {
            assert_eq!(ServiceTier::from_word(tier.as_str()), *tier);
        }
        for name in PriceName::ALL {
            assert_eq!(PriceName::from_word(name.as_str()), Some(*name));
        }
        assert_eq!(PriceName::from_word("video_input"), None);
    }
}
