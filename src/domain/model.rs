//! Names of providers and models, and the closed lists that the whole product shares.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{IdError, Name};

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(Name);

        impl $type {
            /// Checks and keeps a name.
            pub fn new(text: &str) -> Result<Self, IdError> {
                Name::new(text, $max).map(Self)
            }
            /// The name itself.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }
    };
}

name_type!(
    /// The name of a configured provider, as in `[[providers]] name`.
    ProviderName, 64
);
name_type!(
    /// The name of a model, as a provider knows it or as a client asks for it.
    ModelId, 128
);

/// One model at one configured provider: `provider/model`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Deployment {
    /// The configured provider.
    pub provider: ProviderName,
    /// The model, in the provider's words.
    pub model: ModelId,
}

impl fmt::Display for Deployment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.provider, self.model)
    }
}

impl FromStr for Deployment {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let (provider, model) = text.split_once('/').ok_or_else(|| IdError::NotADeployment(text.to_owned()))?;
        Ok(Self { provider: provider.parse()?, model: model.parse()? })
    }
}

macro_rules! closed_list {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $type { $($(#[$variant_doc])* #[serde(rename = $text)] $variant),+ }

        impl $type {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word that stands for it in files, answers and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value that a word stands for.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.as_str())
            }
        }
    };
}

pub(super) use closed_list;

closed_list!(
    /// The wire format that a client speaks, and its errors with it.
    Dialect {
        /// OpenAI's shapes.
        OpenAi = "openai",
        /// Anthropic's shapes.
        Anthropic = "anthropic",
    }
);

closed_list!(
    /// What stands behind a configured provider.
    ProviderKind {
        /// OpenAI's own API.
        OpenAi = "openai",
        /// Anthropic's own API.
        Anthropic = "anthropic",
        /// Any server that speaks OpenAI's chat completions.
        OpenAiCompatible = "openai-compatible",
        /// The built-in stand-in that needs no key and costs nothing.
        Sandbox = "sandbox",
    }
);

closed_list!(
    /// An inference path that a call came in by. New ones go to the end: stored rows keep the place in this list.
    Endpoint {
        /// `POST /v1/chat/completions`.
        ChatCompletions = "chat.completions",
        /// `POST /v1/messages`.
        Messages = "messages",
        /// `POST /v1/responses`.
        Responses = "responses",
        /// `POST /v1/completions`.
        Completions = "completions",
        /// `POST /v1/embeddings`.
        Embeddings = "embeddings",
        /// `POST /v1/messages/count_tokens`.
        CountTokens = "messages.count_tokens",
        /// Images, at `/v1/images/…`.
        Images = "images",
        /// Speech and transcriptions, at `/v1/audio/…`.
        Audio = "audio",
        /// `POST /v1/moderations`.
        Moderations = "moderations",
        /// OpenAI's files, at `/v1/files…`.
        Files = "files",
        /// OpenAI's batches, at `/v1/batches…`.
        Batches = "batches",
        /// Anthropic's batches, at `/v1/messages/batches…`.
        MessageBatches = "messages.batches",
    }
);

closed_list!(
    /// Endpoints that belong together, by the word with which a virtual key is let in to them.
    EndpointFamily {
        /// Chat completions.
        Chat = "chat",
        /// Responses.
        Responses = "responses",
        /// Plain completions.
        Completions = "completions",
        /// Embeddings.
        Embeddings = "embeddings",
        /// Messages, and the counting of their tokens.
        Messages = "messages",
        /// The list of models.
        Models = "models",
        /// Images.
        Images = "images",
        /// Speech and transcriptions.
        Audio = "audio",
        /// Moderations.
        Moderations = "moderations",
        /// Files.
        Files = "files",
        /// Batches, in both dialects.
        Batches = "batches",
    }
);

impl Endpoint {
    /// The family that it belongs to.
    pub const fn family(self) -> EndpointFamily {
        match self {
            Self::ChatCompletions => EndpointFamily::Chat,
            Self::Responses => EndpointFamily::Responses,
            Self::Completions => EndpointFamily::Completions,
            Self::Embeddings => EndpointFamily::Embeddings,
            Self::Messages | Self::CountTokens => EndpointFamily::Messages,
            Self::Images => EndpointFamily::Images,
            Self::Audio => EndpointFamily::Audio,
            Self::Moderations => EndpointFamily::Moderations,
            Self::Files => EndpointFamily::Files,
            Self::Batches | Self::MessageBatches => EndpointFamily::Batches,
        }
    }

    /// The dialect that the path belongs to.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Messages | Self::CountTokens | Self::MessageBatches => Dialect::Anthropic,
            Self::ChatCompletions
            | Self::Responses
            | Self::Completions
            | Self::Embeddings
            | Self::Images
            | Self::Audio
            | Self::Moderations
            | Self::Files
            | Self::Batches => Dialect::OpenAi,
        }
    }

    /// The path, or the one that its paths begin with.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
            Self::Responses => "/v1/responses",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Images => "/v1/images",
            Self::Audio => "/v1/audio",
            Self::Moderations => "/v1/moderations",
            Self::Files => "/v1/files",
            Self::Batches => "/v1/batches",
            Self::MessageBatches => "/v1/messages/batches",
        }
    }

    /// Whether it carries a conversation, which can be translated between dialects.
    pub const fn is_conversation(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Messages | Self::Responses)
    }

    /// Whether its calls are answered the same when they are made again, so that answers can be kept.
    pub const fn is_repeatable(self) -> bool {
        self.is_conversation() || matches!(self, Self::Completions | Self::Embeddings)
    }

    /// Whether its answers are written, token by token, and may get as long as they like.
    pub const fn writes(self) -> bool {
        self.is_conversation() || matches!(self, Self::Completions)
    }

    /// Whether its calls pass through unread: bodies of any form, no tokens to count beforehand.
    pub const fn is_opaque(self) -> bool {
        matches!(
            self,
            Self::Images | Self::Audio | Self::Moderations | Self::Files | Self::Batches | Self::MessageBatches
        )
    }
}

closed_list!(
    /// How a ledger entry ended.
    EntryStatus {
        /// Answered or billed.
        Settled = "settled",
        /// Ended with nothing owed.
        Failed = "failed",
        /// Still running.
        Pending = "pending",
        /// Its end was never seen: charged at its reservation.
        Unknown = "unknown",
    }
);

closed_list!(
    /// What a cost rests on, strongest first: the weakest basis of its attempts stands for an entry.
    CostBasis {
        /// The provider's usage times a known price.
        Exact = "exact",
        /// A local token count, or a price taken for a missing one.
        Estimated = "estimated",
        /// The whole reservation, because the end was never seen.
        Reserved = "reserved",
        /// No price is known.
        Unpriced = "unpriced",
    }
);

impl CostBasis {
    /// The weaker of two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.max(other)
    }
}

closed_list!(
    /// What the response cache did for a call.
    CacheOutcome {
        /// Answered from the cache.
        Hit = "hit",
        /// Answered from the cache by meaning.
        Semantic = "semantic",
        /// Not in the cache.
        Miss = "miss",
        /// The cache was not asked.
        Bypass = "bypass",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_a_provider_and_everything_after_the_first_slash() {
        let deployment: Deployment = "openrouter/meta/llama-3".parse().unwrap();
        assert_eq!(deployment.provider.as_str(), "openrouter");
        assert_eq!(deployment.model.as_str(), "meta/llama-3");
        assert!("gpt-5".parse::<Deployment>().is_err());
        assert!("/gpt-5".parse::<Deployment>().is_err());
        assert!("openai/".parse::<Deployment>().is_err());
    }

    #[test]
    fn the_weakest_basis_stands() {
        assert_eq!(CostBasis::Exact.and(CostBasis::Reserved), CostBasis::Reserved);
        assert_eq!(CostBasis::Unpriced.and(CostBasis::Estimated), CostBasis::Unpriced);
    }
}
