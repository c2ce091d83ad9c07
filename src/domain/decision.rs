//! Why a call went where it went: the candidates, the numbers they were compared by, and the reason for the first of them.
//!
//! Made by `routing`, kept with the call's entry, shown to people. Numbers and closed words only: no text of the call.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::model::closed_list;
use super::{Deployment, Picodollars};

/// The most candidates that a decision tells of; of those beyond, their number alone.
pub const CONSIDERED_MAX: usize = 16;

closed_list!(
    /// How a route chooses among its deployments. New ones go to the end: stored rows keep the place in this list.
    Strategy {
        /// Always the first.
        Primary = "primary",
        /// The one that is expected to cost least.
        CostOptimized = "cost-optimized",
        /// The one that is measured to be fastest.
        Performance = "performance",
        /// The first that is healthy, in order.
        Fallback = "fallback",
        /// At random, by weight.
        Weighted = "weighted",
        /// The one that was learned to be best.
        Learned = "learned",
        /// The arm of a running experiment.
        Experiment = "experiment",
    }
);

closed_list!(
    /// Why the first candidate is the first. New ones go to the end.
    Reason {
        /// The strategy always takes the first.
        First = "first",
        /// It is the first in order that nothing keeps from taking calls.
        FirstHealthy = "first-healthy",
        /// It is the only one that can take the call.
        Only = "only",
        /// It is expected to cost least.
        Cheapest = "cheapest",
        /// It is measured to be fastest.
        Fastest = "fastest",
        /// Too little is known of its speed yet.
        Unmeasured = "unmeasured",
        /// One of the few calls that look whether another has become faster.
        Explored = "explored",
        /// It was drawn by weight.
        Drawn = "drawn",
        /// It served this conversation's last turn, and its provider has that in its prompt cache.
        Conversation = "conversation",
        /// The call names it, and no route is asked.
        Named = "named",
        /// There is no first: none can take the call.
        NoneFits = "none-fits",
    }
);

impl Reason {
    /// The reason in words, about the deployment that was chosen.
    pub const fn words(self) -> &'static str {
        match self {
            Self::First => "the first of the route that can take the call",
            Self::FirstHealthy => "the first of the route that can take the call and that nothing keeps from it",
            Self::Only => "the only one that can take the call",
            Self::Cheapest => "expected to cost least",
            Self::Fastest => "measured to be fastest",
            Self::Unmeasured => "its speed is not known well enough yet",
            Self::Explored => "one of the few calls that look whether another deployment has become faster",
            Self::Drawn => "drawn by weight",
            Self::Named => "the call names it itself",
            Self::NoneFits => "no deployment of the route can take the call",
            Self::Conversation => {
                "it served this conversation before, and its provider still has that in its prompt cache"
            }
        }
    }
}

/// Why a candidate can't take a call. New ones go to the end: stored rows keep the place in this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exclusion {
    /// Its provider has not the path that was asked.
    NotServed,
    /// The key may not use it.
    NotAllowed,
    /// Function tools are asked for.
    Tools,
    /// There are images.
    Images,
    /// There are documents.
    Documents,
    /// There is sound.
    Audio,
    /// An answer by a JSON schema is asked for.
    JsonSchema,
    /// The call is longer than its context.
    Context {
        /// Tokens that it takes.
        takes: u32,
        /// Tokens that the call has, about.
        needed: u32,
    },
    /// The call asks for a longer answer than it writes.
    Output {
        /// Tokens that it writes at most.
        writes: u32,
        /// Tokens that the call asks for.
        asked: u32,
    },
}

impl Exclusion {
    /// The word that stands for it in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotServed => "not-served",
            Self::NotAllowed => "not-allowed",
            Self::Tools => "tools",
            Self::Images => "images",
            Self::Documents => "documents",
            Self::Audio => "audio",
            Self::JsonSchema => "json-schema",
            Self::Context { .. } => "context",
            Self::Output { .. } => "output",
        }
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotServed => "its provider does not serve this path",
            Self::NotAllowed => "the key may not use it",
            Self::Tools => "it takes no tools",
            Self::Images => "it takes no images",
            Self::Documents => "it takes no documents",
            Self::Audio => "it takes no audio",
            Self::JsonSchema => "it does not answer by a JSON schema",
            Self::Context { takes, needed } => {
                return write!(formatter, "it takes {takes} tokens and the call needs about {needed}");
            }
            Self::Output { writes, asked } => {
                return write!(formatter, "it writes at most {writes} tokens and the call asks for {asked}");
            }
        })
    }
}

/// What keeps calls from a candidate for the moment: those that nothing keeps from them are tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Its circuit is open.
    Circuit,
    /// No key of its provider is ready: they are limited or refused.
    Keys,
    /// No place is free at its provider.
    Places,
}

impl Obstacle {
    /// All there are. Stored rows keep the place in this list, counted from 1.
    pub const ALL: [Self; 3] = [Self::Circuit, Self::Keys, Self::Places];

    /// The word that stands for it in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Circuit => "circuit-open",
            Self::Keys => "no-key-ready",
            Self::Places => "no-place-free",
        }
    }

    /// What it is, in words that fit the present and the past.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Circuit => "circuit open",
            Self::Keys => "no key ready",
            Self::Places => "no place free",
        }
    }
}

/// One candidate, as it was seen. A number that nobody asked for is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// The candidate.
    pub deployment: Deployment,
    /// Why it can't take the call.
    pub exclusion: Option<Exclusion>,
    /// What kept calls from it.
    pub obstacle: Option<Obstacle>,
    /// What the call was expected to cost there; absent where it has no price.
    pub cost: Option<Picodollars>,
    /// Input that was expected to be read from its provider's prompt cache.
    pub cached_tokens: u32,
    /// Measured milliseconds to the first token.
    pub first_token_ms: Option<u32>,
    /// Measured tokens in ten seconds.
    pub tokens_per_10_s: Option<u32>,
    /// Its weight in the route.
    pub weight: Option<u32>,
}

impl Considered {
    /// A candidate of which nothing was asked.
    pub fn new(deployment: Deployment) -> Self {
        Self {
            deployment,
            exclusion: None,
            obstacle: None,
            cost: None,
            cached_tokens: 0,
            first_token_ms: None,
            tokens_per_10_s: None,
            weight: None,
        }
    }
}

/// How the candidates of a call were put in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The route that was taken.
    pub route: Arc<str>,
    /// How it was to choose.
    pub strategy: Strategy,
    /// Why the first is the first.
    pub reason: Reason,
    /// About how many tokens of input the call has, where that was counted.
    pub input_tokens: Option<u32>,
    /// How many tokens of output were expected, where that mattered.
    pub output_tokens: Option<u32>,
    /// The candidates in the order in which they are tried, then those that can't take the call; the first
    /// [`CONSIDERED_MAX`].
    pub considered: Vec<Considered>,
    /// How many more there were.
    pub more: u32,
}

impl Decision {
    /// The candidate that is tried first.
    pub fn chosen(&self) -> Option<&Considered> {
        self.considered.first().filter(|first| first.exclusion.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exclusion_reads_as_a_sentence_about_the_candidate() {
        for exclusion in [
            Exclusion::NotServed,
            Exclusion::NotAllowed,
            Exclusion::Tools,
            Exclusion::Images,
            Exclusion::Documents,
            Exclusion::Audio,
            Exclusion::JsonSchema,
            Exclusion::Context { takes: 8_192, needed: 9_000 },
            Exclusion::Output { writes: 4_096, asked: 9_000 },
        ] {
            let words = exclusion.to_string();
            assert!(words.starts_with("it") || words.starts_with("the key"), "{words}");
            assert!(!words.ends_with('.') && !exclusion.as_str().contains(' '));
        }
        let context = Exclusion::Context { takes: 8_192, needed: 9_000 };
        assert_eq!(context.to_string(), "it takes 8192 tokens and the call needs about 9000");
    }
}
