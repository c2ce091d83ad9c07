//! Every part of the program, built from the settings in the order of who needs whom.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use super::attachments::Attachments;
use super::folder::DataFolder;
use super::price_file;
use crate::alerts::Alerts;
use crate::budget::Budgets;
use crate::cache::Cache;
use crate::config::{Config, Durability, ProviderConfig};
use crate::content::{Content, ContentOptions};
use crate::domain::{ProviderKind, ProviderName, RequestIds};
use crate::gateway::{self, Gateway, InForce};
use crate::idempotency::Idempotency;
use crate::keys::Keys;
use crate::ledger::{Acknowledge, Ledger, LedgerOptions};
use crate::provider::sandbox::{SandboxSettings, ScriptLine, parse_script};
use crate::provider::{ClientSettings, Upstream};
use crate::reconciliation::Reconciler;
use crate::revisions::{Mark, Revisions};
use crate::routing::{Directory, Experience, Router};
use crate::runtime::{Clock, Tasks};
use crate::shared::Shared;
use crate::store::{OpenOptions, Settings};
use crate::telemetry::Metrics;

/// Memory for cached pages of the settings, which are read whole at the start and seldom after.
const SETTINGS_CACHE_BYTES: usize = 4 << 20;
/// How long the ledger is waited for by whoever still has it at the stop.
const LAST_HOLDERS_WAIT_MAX: Duration = Duration::from_secs(2);

/// What a server is made of, ready to serve.
pub(crate) struct Parts {
    /// The settings that the process was started with; those that hold now are the gateway's.
    pub(crate) started: Arc<Config>,
    /// By what the files that they name are known again.
    pub(crate) attached: BTreeMap<String, Mark>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) content: Arc<Content>,
    pub(crate) idempotency: Arc<Idempotency>,
    pub(crate) alerts: Arc<Alerts>,
    pub(crate) reconciler: Arc<Reconciler>,
    pub(crate) revisions: Arc<Revisions>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
}

impl Parts {
    /// Opens what the folder keeps and builds the rest around it.
    pub(crate) async fn build(
        config: Config,
        file: Option<PathBuf>,
        folder: &DataFolder,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let config = Arc::new(config);
        let tasks = Tasks::default();
        let metrics = Arc::new(Metrics::default());
        let settings = open_settings(folder)?;
        let keys = Arc::new(keys_of(folder, settings.clone())?);
        if let Some(token) = &config.admin_token {
            keys.accept_admin_token("TOLLGATE_ADMIN_TOKEN", token)?;
        }
        let ledger = Arc::new(open_ledger(folder, &config)?);
        let content = Arc::new(open_content(folder, &config));
        let idempotency = Arc::new(Idempotency::open(folder.path().join("idempotency.redb")));
        let budgets = Arc::new(Budgets::new(Arc::clone(&keys), Arc::clone(&ledger)));
        budgets.track_all(clock.now()).await?;
        let ca_file = config.tls.ca_file.as_deref();
        let shared = shared(&config)?;
        let cache = Arc::new(Cache::new(&config.cache, shared.clone()));
        let reconciler = Arc::new(Reconciler::open(settings.clone(), &config)?);
        let revisions = Arc::new(Revisions::open(settings.clone(), file)?);
        let alerts = Alerts::open(settings, &config.alerts, ca_file, clock.clone(), config.time_zone.clone())?;
        let attachments = Attachments::read(&config);
        let attached = attachments.marks(&config, &keys);
        let catalog = price_file::catalog_with(&config, &attachments)?;
        let upstreams = upstreams_after(&config, None, &attachments)?;
        let experience = Arc::new(Experience::default());
        let router = Arc::new(Router::new(upstreams, Directory::of(&config), Arc::new(catalog), experience));
        let salt = getrandom::u64().map_err(|error| anyhow!("the system gives no random numbers: {error}"))?;
        let parts = gateway::Parts {
            ledger: Arc::clone(&ledger),
            budgets: Arc::clone(&budgets),
            cache: Arc::clone(&cache),
            shared,
            keys: Arc::clone(&keys),
            content: Arc::clone(&content),
            idempotency: Arc::clone(&idempotency),
            metrics: Arc::clone(&metrics),
            clock: clock.clone(),
            tasks: tasks.clone(),
            ids: RequestIds::new(salt),
        };
        let gateway = Gateway::new(parts, InForce { config: Arc::clone(&config), router });
        let (alerts, gateway) = (Arc::new(alerts), Arc::new(gateway));
        Ok(Self {
            started: config,
            attached,
            keys,
            ledger,
            budgets,
            cache,
            content,
            idempotency,
            alerts,
            reconciler,
            revisions,
            gateway,
            metrics,
            clock,
            tasks,
        })
    }

    /// How the workers make connections to providers.
    pub(crate) fn client_settings(&self) -> ClientSettings {
        ClientSettings::new(self.started.tls.ca_file.clone())
    }

    /// Writes what is only in memory, and closes the files. Nothing may run any more.
    pub(crate) async fn close(self) {
        let Self { keys, ledger, budgets, content, idempotency, alerts, gateway, clock, .. } = self;
        alerts.flush();
        if let Err(error) = keys.flush_sessions(clock.now()) {
            tracing::warn!("the last use of sessions couldn't be written: {error}");
        }
        content.stop();
        idempotency.stop();
        drop((gateway, budgets));
        let mut ledger = ledger;
        let until = tokio::time::Instant::now() + LAST_HOLDERS_WAIT_MAX;
        loop {
            match Arc::try_unwrap(ledger) {
                Ok(ledger) => {
                    ledger.stop();
                    return;
                }
                Err(_) if tokio::time::Instant::now() >= until => {
                    // What was promised is on the disk; what such a call would still book is taken up at the next start.
                    tracing::warn!("a call still runs at the stop; the next start books it");
                    return;
                }
                Err(held) => ledger = held,
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The Redis that the settings name, which doesn't have to be there.
pub(crate) fn shared(config: &Config) -> anyhow::Result<Option<Arc<Shared>>> {
    let Some(url) = &config.redis_url else { return Ok(None) };
    let shared = Shared::new(url, config.redis_secret.as_ref(), config.tls.ca_file.as_deref())?;
    Ok(Some(Arc::new(shared)))
}

/// Opens the settings of a folder.
pub(crate) fn open_settings(folder: &DataFolder) -> anyhow::Result<Settings> {
    Ok(Settings::open(&OpenOptions {
        path: folder.path().join("settings.redb"),
        name: "settings",
        cache_bytes: SETTINGS_CACHE_BYTES,
    })?)
}

/// Opens the settings of a folder with the secret that belongs to them, for their keys and people.
#[cfg(test)]
pub(crate) fn open_keys(folder: &DataFolder) -> anyhow::Result<Keys> {
    keys_of(folder, open_settings(folder)?)
}

/// Their keys and people, with the secret that belongs to the folder.
pub(crate) fn keys_of(folder: &DataFolder, settings: Settings) -> anyhow::Result<Keys> {
    Ok(Keys::open(settings, &folder.path().join("pepper"))?)
}

/// Opens the ledger of a folder.
pub(crate) fn open_ledger(folder: &DataFolder, config: &Config) -> anyhow::Result<Ledger> {
    let acknowledge = match config.ledger.durability {
        Durability::Strict => Acknowledge::Durable,
        Durability::Relaxed => Acknowledge::Queued,
    };
    Ok(Ledger::open(LedgerOptions { path: ledger_path(folder.path()), zone: config.time_zone.clone(), acknowledge })?)
}

/// Opens what is kept of calls; a file that can't be opened is told of and done without.
pub(crate) fn open_content(folder: &DataFolder, config: &Config) -> Content {
    let path = folder.path().join("content.redb");
    let secrets = config.secrets.iter().map(|(_, secret)| secret.clone());
    Content::open(ContentOptions::new(path, config.log.bodies, secrets.collect()))
}

/// Where the ledger of a folder is.
pub(crate) fn ledger_path(folder: &Path) -> std::path::PathBuf {
    folder.join("ledger.redb")
}

/// Makes the configured providers, in the order of the file.
pub(crate) fn upstreams(config: &Config) -> anyhow::Result<Vec<Arc<Upstream>>> {
    upstreams_after(config, None, &Attachments::read(config))
}

/// The same after others: a provider of which nothing has changed stays the one that it is, with the calls that run there.
pub(crate) fn upstreams_after(
    config: &Config,
    before: Option<&InForce>,
    attachments: &Attachments,
) -> anyhow::Result<Vec<Arc<Upstream>>> {
    let present = before.into_iter().flat_map(|before| before.config.providers.iter().zip(before.router.upstreams()));
    let present: HashMap<&ProviderName, _> = present.map(|one| (&one.0.name, one)).collect();
    let upstream = |provider: &ProviderConfig| {
        let sandbox =
            (provider.kind == ProviderKind::Sandbox).then(|| sandbox_settings(provider, attachments)).transpose()?;
        if let Some((as_it_was, upstream)) = present.get(&provider.name)
            && *as_it_was == provider
            && upstream.sandbox() == sandbox.as_ref()
        {
            return Ok(Arc::clone(upstream));
        }
        Ok(Arc::new(Upstream::new(provider, sandbox)))
    };
    config.providers.iter().map(upstream).collect()
}

/// How a configured sandbox behaves.
fn sandbox_settings(provider: &ProviderConfig, attachments: &Attachments) -> anyhow::Result<SandboxSettings> {
    let sandbox = &provider.sandbox;
    let script = match &sandbox.script {
        None => Arc::default(),
        Some(path) => {
            script(path, attachments.text(path)).with_context(|| format!("the script of provider {}", provider.name))?
        }
    };
    Ok(SandboxSettings {
        latency: sandbox.latency,
        chunk_delay: sandbox.chunk_delay,
        error_rate: sandbox.error_rate,
        rate_limit_rate: sandbox.rate_limit_rate,
        hang_rate: sandbox.hang_rate,
        script,
    })
}

/// Reads a sandbox's script.
pub(crate) fn read_script(path: &Path) -> anyhow::Result<Arc<[ScriptLine]>> {
    let read = std::fs::read_to_string(path);
    script(path, read.as_deref().map_err(|error| anyhow!("{error}")))
}

fn script(path: &Path, read: anyhow::Result<&str>) -> anyhow::Result<Arc<[ScriptLine]>> {
    let text = read.with_context(|| format!("{} can't be read", path.display()))?;
    parse_script(text).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn build(folder: &Path, settings: &str) -> anyhow::Result<Parts> {
        let config = Config::from_toml(settings).unwrap();
        let folder = DataFolder::claim_within(folder, Duration::ZERO).unwrap();
        Parts::build(config, None, &folder, Clock::manual("2026-11-22T12:00:00Z".parse().unwrap())).await
    }

    #[tokio::test]
    async fn a_fresh_folder_gets_all_its_files_and_opens_again() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let parts = build(folder.path(), "").await.unwrap();
            assert!(parts.keys.setup_needed());
            parts.close().await;
        }
        for file in ["settings.redb", "ledger.redb", "idempotency.redb", "pepper", "tollgate.lock"] {
            assert!(folder.path().join(file).is_file(), "{file}");
        }
    }

    #[tokio::test]
    async fn a_damaged_ledger_is_refused_with_what_to_do_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        build(folder.path(), "").await.unwrap().close().await;
        let path = ledger_path(folder.path());
        std::fs::write(&path, "no ledger at all").unwrap();
        let refused = format!("{:#}", build(folder.path(), "").await.err().unwrap());
        assert!(refused.contains("ledger") && refused.contains("restore it from a backup"), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"no ledger at all");
    }

    #[tokio::test]
    async fn a_script_that_is_not_there_is_told_with_its_provider() {
        let folder = tempfile::tempdir().unwrap();
        let settings = "[[providers]]\nname = \"box\"\nkind = \"sandbox\"\nscript = \"/nowhere/script.jsonl\"\n";
        let refused = format!("{:#}", build(folder.path(), settings).await.err().unwrap());
        assert!(refused.contains("provider box") && refused.contains("/nowhere/script.jsonl"), "{refused}");
    }
}
