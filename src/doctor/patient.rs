//! What is examined: what whoever has the folder open, or can't open it, hands in.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::files::Seen;
use crate::cache::Stats;
use crate::catalog::Catalog;
use crate::config::{Config, Problem};
use crate::domain::ProviderName;
use crate::keys::Keys;
use crate::ledger::Ledger;
use crate::provider::{ClientSettings, CredentialStanding};
use crate::revisions::Refused;
use crate::runtime::Clock;
use crate::shared::Shared;

/// Something that is kept in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept<T> {
    /// It is open.
    Open(T),
    /// Nothing has been kept yet.
    Absent,
    /// It can't be opened; why.
    Broken(String),
    /// It is left closed, and says nothing; why.
    Unopened(&'static str),
}

impl<T> Kept<T> {
    pub(super) fn open(&self) -> Option<&T> {
        match self {
            Self::Open(kept) => Some(kept),
            Self::Absent | Self::Broken(_) | Self::Unopened(_) => None,
        }
    }

    pub(super) fn state(&self) -> Kept<()> {
        match self {
            Self::Open(_) => Kept::Open(()),
            Self::Absent => Kept::Absent,
            Self::Broken(error) => Kept::Broken(error.clone()),
            Self::Unopened(why) => Kept::Unopened(why),
        }
    }
}

/// A smaller file that can't be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// That of keys and budgets, or the pepper that belongs to it.
    Keys(String),
    /// That of stored contents.
    Contents(String),
    /// That of idempotency keys.
    IdempotencyKeys(String),
}

impl Trouble {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Keys(_) => "keys and budgets",
            Self::Contents(_) => "stored contents",
            Self::IdempotencyKeys(_) => "idempotency keys",
        }
    }

    pub(super) fn why(&self) -> &str {
        match self {
            Self::Keys(why) | Self::Contents(why) | Self::IdempotencyKeys(why) => why,
        }
    }
}

/// What only a running server knows.
pub struct Served {
    /// The files that were read last and not taken over, while that is so.
    pub refused: Option<Refused>,
    /// Settings that wait for the next start.
    pub waiting: Vec<String>,
    /// What calls have shown of each provider's keys.
    pub credentials: HashMap<ProviderName, Vec<CredentialStanding>>,
    /// What the cache has done.
    pub cache: Stats,
}

/// What is examined, as whoever has it open hands it in.
pub struct Patient {
    /// The settings in use.
    pub config: Arc<Config>,
    /// What is wrong with settings that can't be used: of `config` the data folder alone is theirs then.
    pub unusable: Vec<Problem>,
    /// Where the settings are looked for; nowhere where the program itself has them.
    pub file: Option<PathBuf>,
    /// Whether somebody names the data folder, as far as the settings can be read.
    pub is_named: bool,
    /// The time.
    pub clock: Clock,
    /// The prices in use.
    pub catalog: Arc<Catalog>,
    /// What calls cost.
    pub ledger: Kept<Arc<Ledger>>,
    /// Who may call, and the budgets.
    pub keys: Kept<Arc<Keys>>,
    /// The files of the folder as they were before anything was opened, which closes some.
    pub files: std::io::Result<Vec<Seen>>,
    /// What a running server knows of itself; absent where none runs.
    pub served: Option<Served>,
    /// The Redis of the settings.
    pub redis: Option<Arc<Shared>>,
    /// Smaller files that can't be used.
    pub troubles: Vec<Trouble>,
    /// How providers are connected to.
    pub clients: ClientSettings,
    /// Whether what goes over the network is left out.
    pub is_offline: bool,
}

impl Patient {
    pub(super) fn files(&self) -> &[Seen] {
        self.files.as_deref().unwrap_or_default()
    }
}
