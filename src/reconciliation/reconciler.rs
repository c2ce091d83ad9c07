//! Brings the providers' own numbers in, holds them against the ledger, and tells once of a day that doesn't agree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;

use super::alarm;
use super::comparison::Comparison;
use crate::alerts::Alerts;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::domain::{ProviderKind, ProviderName};
use crate::ledger::{Ledger, LedgerError};
use crate::runtime::Clock;
use crate::statements::{Account, Attempt, Days, DaysError, FetchError, File, FileError, Reporter, Source, Statements};
use crate::store::{Settings, SettingsError};

/// Why nothing was brought in or compared.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// No admin key.
    #[error(
        "no provider has an admin key, so nothing can be fetched: put admin_api_key = \"env:OPENAI_ADMIN_KEY\" (an admin key, not one for calls) under [[providers]] in tollgate.toml, or import a file of the provider's console with `tollgate reconcile --csv FILE`"
    )]
    NoAdminKey,
    /// That provider has none.
    #[error("provider {0} has no admin_api_key in tollgate.toml: add one, or import a file of its console with --csv")]
    NoAdminKeyOf(String),
    /// There is no such provider.
    #[error("there is no provider {name:?} in the settings; there is {}", known.join(", "))]
    UnknownProvider {
        /// What was asked for.
        name: String,
        /// All that are configured.
        known: Vec<String>,
    },
    /// The provider that a file is meant for can't be told.
    #[error("the file is {what}, and {}: name one with --provider (provider= of the API)", whose(candidates))]
    WhichProvider {
        /// What the file is.
        what: &'static str,
        /// Whose it may be.
        candidates: Vec<String>,
    },
    /// Somebody does it already.
    #[error("reports are being fetched already: try again when that is done")]
    Busy,
    /// The file can't be taken.
    #[error(transparent)]
    File(#[from] FileError),
    /// The range can't be.
    #[error(transparent)]
    Days(#[from] DaysError),
    /// What was told can't be kept or read.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// What was booked can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

fn whose(candidates: &[String]) -> String {
    match candidates {
        [] => "no provider of that kind is configured".to_owned(),
        several => format!("it may be of {}", several.join(" or ")),
    }
}

/// How the fetch from one provider went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The provider.
    pub provider: ProviderName,
    /// Why it failed, if it did: then nothing of it was kept.
    pub error: Option<FetchError>,
}

/// A file that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The provider.
    pub provider: ProviderName,
    /// What the file is: `costs of OpenAI`.
    pub what: &'static str,
    /// How many rows it has.
    pub rows: usize,
    /// The days that it tells of.
    pub days: Days,
}

/// A provider as it is configured.
#[derive(Debug)]
struct Known {
    name: ProviderName,
    kind: ProviderKind,
    list: String,
}

/// The providers of the settings.
#[derive(Debug)]
struct Configured {
    known: Vec<Known>,
    accounts: Vec<Account>,
}

impl Configured {
    fn of(config: &Config) -> Arc<Self> {
        let known = |provider: &crate::config::ProviderConfig| Known {
            name: provider.name.clone(),
            kind: provider.kind,
            list: provider.catalog.clone(),
        };
        Arc::new(Self {
            known: config.providers.iter().map(known).collect(),
            accounts: config.providers.iter().filter_map(Account::of).collect(),
        })
    }

    /// The provider of that name.
    fn find(&self, name: &str) -> Result<&Known, ReconcileError> {
        self.known.iter().find(|known| known.name.as_str() == name).ok_or_else(|| ReconcileError::UnknownProvider {
            name: name.to_owned(),
            known: self.known.iter().map(|known| known.name.to_string()).collect(),
        })
    }

    /// The provider that a file is taken for: the one that is named, or the only one that can have made it.
    fn whose(&self, file: &File, only: Option<&str>) -> Result<&Known, ReconcileError> {
        if let Some(name) = only {
            let known = self.find(name)?;
            file.check(name, known.kind)?;
            return Ok(known);
        }
        let candidates: Vec<&Known> = self.known.iter().filter(|known| file.is_from(known.kind)).collect();
        if let [known] = candidates[..] {
            return Ok(known);
        }
        let candidates = candidates.into_iter().map(|known| known.name.to_string()).collect();
        Err(ReconcileError::WhichProvider { what: file.what(), candidates })
    }
}

/// Holds the providers' numbers against ours.
#[derive(Debug)]
pub struct Reconciler {
    statements: Statements,
    reporter: Reporter,
    /// Replaced when the settings are; a fetch that runs ends with what it began with.
    configured: RwLock<Arc<Configured>>,
    /// Held while reports are fetched: they are limited, and one fetch brings all.
    turn: tokio::sync::Mutex<()>,
}

impl Reconciler {
    /// A reconciler of the configured providers, over what is kept in a settings file. Blocks for the disk.
    pub fn open(settings: Settings, config: &Config) -> Result<Self, ReconcilerError> {
        Ok(Self {
            statements: Statements::open(settings)?,
            reporter: Reporter::new(config.tls.ca_file.as_deref()).map_err(ReconcilerError::Client)?,
            configured: RwLock::new(Configured::of(config)),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// Goes by the providers of other settings from now on.
    pub fn follow(&self, config: &Config) {
        *self.configured.write().unwrap_or_else(PoisonError::into_inner) = Configured::of(config);
    }

    fn configured(&self) -> Arc<Configured> {
        Arc::clone(&self.configured.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The providers whose reports can be fetched.
    pub fn accounts(&self) -> Vec<ProviderName> {
        self.configured().accounts.iter().map(|account| account.provider.clone()).collect()
    }

    /// How the last fetch of each provider went. Blocks for the disk.
    pub fn attempts(&self) -> Result<BTreeMap<String, Attempt>, SettingsError> {
        self.statements.attempts()
    }

    /// Fetches the reports of one provider or of all with an admin key, and keeps what each tells, whole or not at all.
    pub async fn fetch(&self, only: Option<&str>, days: Days, clock: &Clock) -> Result<Vec<Fetched>, ReconcileError> {
        let configured = self.configured();
        let accounts: Vec<&Account> = match only {
            None if configured.accounts.is_empty() => return Err(ReconcileError::NoAdminKey),
            None => configured.accounts.iter().collect(),
            Some(name) => {
                let known = configured.find(name)?;
                let account = configured.accounts.iter().find(|account| account.provider == known.name);
                vec![account.ok_or_else(|| ReconcileError::NoAdminKeyOf(name.to_owned()))?]
            }
        };
        let _turn = self.turn.try_lock().map_err(|_| ReconcileError::Busy)?;
        let mut fetched = Vec::new();
        for account in accounts {
            let provider = account.provider.clone();
            let read = self.reporter.read(account, days).await;
            let (statements, now) = (self.statements.clone(), clock.now());
            let error = read.as_ref().err().cloned();
            let name = provider.clone();
            let kept = tokio::task::spawn_blocking(move || {
                let error = read.as_ref().err().map(ToString::to_string);
                if let Ok(reading) = &read {
                    statements.keep(&name, reading, Source::Api, now)?;
                }
                statements.note_attempt(&name, &Attempt { at: now, error })
            });
            match kept.await {
                Ok(kept) => kept?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
            if let Some(error) = &error {
                tracing::warn!("the reports of provider {provider} could not be fetched: {error}");
            } else {
                tracing::info!("the reports of provider {provider} were fetched for {} days", days.len());
            }
            fetched.push(Fetched { provider, error });
        }
        Ok(fetched)
    }

    /// Takes a file of a provider's console, whole or not at all. Blocks for the disk.
    pub fn import(&self, only: Option<&str>, text: &str, now: Timestamp) -> Result<Imported, ReconcileError> {
        let file = File::read(text)?;
        let configured = self.configured();
        let known = configured.whose(&file, only)?;
        self.statements.keep(&known.name, &file.reading, Source::File, now)?;
        let (provider, days) = (known.name.clone(), file.reading.days);
        tracing::info!("{} of provider {provider} were imported from a file for {} days", file.what(), days.len());
        Ok(Imported { provider, what: file.what(), rows: file.rows, days })
    }

    /// Holds what is known of a range of days against the ledger. Blocking: looks at every entry of the days.
    pub fn compare(
        &self,
        only: Option<&str>,
        days: Days,
        ledger: &Ledger,
        catalog: &Catalog,
    ) -> Result<Comparison, ReconcileError> {
        let mut statements = self.statements.of(days)?;
        let configured = self.configured();
        let mut providers: BTreeSet<ProviderName> = self.accounts().into_iter().collect();
        if let Some(name) = only {
            // One that is configured no more may still have statements.
            if !statements.iter().any(|statement| statement.provider.as_str() == name) {
                configured.find(name)?;
            }
            statements.retain(|statement| statement.provider.as_str() == name);
            providers = name.parse().into_iter().collect();
        }
        let lists = configured.known.iter().map(|known| (known.name.clone(), known.list.clone())).collect();
        Ok(Comparison::of(days, statements, &providers, ledger, catalog, &lists)?)
    }

    /// Tells of the days that drift and were not told of before. Blocks for the disk.
    pub fn tell(&self, comparison: &Comparison, alerts: &Alerts) -> Result<(), SettingsError> {
        for line in comparison.drifting().filter(|line| !line.is_drift_told) {
            alerts.raise([alarm::alert(line)]);
            // After it: a crash in between tells twice rather than never.
            self.statements.note_drift_told(&line.provider, line.day)?;
        }
        Ok(())
    }
}

/// Why there is no reconciler.
#[derive(Debug, thiserror::Error)]
pub enum ReconcilerError {
    /// What was told before can't be read.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No connections can be made.
    #[error("reports can't be fetched: {0}")]
    Client(String),
}
