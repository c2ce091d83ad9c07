//! How a provider does, from what calls have shown of its deployments.

use super::Deployment;

/// How a provider does. Nobody is probed for it: what no call has shown is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProviderHealth {
    /// No call has shown it, or what one showed is too old to count.
    #[default]
    Unknown,
    /// It answers, and nothing of it fails.
    Well,
    /// Calls to these deployments have failed, too few to give them up, and nothing of it has answered since.
    Failing(Vec<Deployment>),
    /// It answers, but these deployments fail.
    Degraded(Vec<Deployment>),
    /// It has failed, and the next calls show whether it still does.
    TriedAgain(Vec<Deployment>),
    /// These deployments fail, and nothing of it has answered since they began to.
    Down(Vec<Deployment>),
}

impl ProviderHealth {
    /// The state of a circuit that says the most of it.
    pub const fn circuit(&self) -> &'static str {
        match self {
            Self::Unknown | Self::Well | Self::Failing(_) => "closed",
            Self::Degraded(_) | Self::TriedAgain(_) => "half-open",
            Self::Down(_) => "open",
        }
    }

    /// The word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Well => "well",
            Self::Failing(_) => "failing",
            Self::Degraded(_) => "degraded",
            Self::TriedAgain(_) => "tried-again",
            Self::Down(_) => "down",
        }
    }

    /// The deployments that it is told of.
    pub fn failing(&self) -> &[Deployment] {
        match self {
            Self::Unknown | Self::Well => &[],
            Self::Failing(failing) | Self::Degraded(failing) | Self::TriedAgain(failing) | Self::Down(failing) => {
                failing
            }
        }
    }

    /// The first of them by name, and how many more there are: `openai/gpt-5 and 2 more`.
    pub fn failing_named(&self) -> String {
        match self.failing() {
            [] => String::new(),
            [only] => only.to_string(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        }
    }
}
