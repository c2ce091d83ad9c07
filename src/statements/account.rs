//! Whose reports are asked for: an address, an admin key, and the part of the organization that is meant.

use std::fmt;

use url::Url;

use crate::config::ProviderConfig;
use crate::domain::{ProviderKind, ProviderName, Secret};

/// An organization at a provider, with the right to read its reports.
#[derive(Clone)]
pub struct Account {
    /// The configured provider.
    pub provider: ProviderName,
    /// The company: its reports have their own shape.
    pub(super) company: Company,
    /// Where its paths begin.
    pub(super) base_url: Url,
    pub(super) admin_key: Secret<String>,
    /// The projects or workspaces that are meant; all where there are none.
    pub(super) projects: Vec<String>,
}

/// Who makes reports that are understood here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    OpenAi,
    Anthropic,
}

impl Company {
    pub(super) fn of(kind: ProviderKind) -> Option<Self> {
        match kind {
            ProviderKind::OpenAi => Some(Self::OpenAi),
            ProviderKind::Anthropic => Some(Self::Anthropic),
            ProviderKind::OpenAiCompatible | ProviderKind::Sandbox => None,
        }
    }

    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "OpenAI",
            Self::Anthropic => "Anthropic",
        }
    }
}

impl Account {
    /// The account that the settings name for a provider, if they do.
    pub fn of(provider: &ProviderConfig) -> Option<Self> {
        Some(Self {
            provider: provider.name.clone(),
            company: Company::of(provider.kind)?,
            base_url: provider.base_url.clone(),
            admin_key: provider.admin_api_key.clone()?,
            projects: provider.admin_projects.clone(),
        })
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Account").field("provider", &self.provider).finish_non_exhaustive()
    }
}
