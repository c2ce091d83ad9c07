//! Reading the settings again: on a change of a file, SIGHUP or a request, one after the other.
//!
//! Everything is read, checked and built first (`next`); only then is one thing put in the place of the other, and what is bound
//! to the start of the process is told. What can't be taken over as a whole changes nothing. `watch` notes changes of files,
//! wherever on the `way` to one.
//! Each reload runs on a thread that may block, and calls never wait for one.

mod next;
#[cfg(test)]
mod tests;
mod watch;
mod way;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attachments::named;
use super::parts::Parts;
use super::settings::{Settings, Since};
use crate::alerts::Alerts;
use crate::budget::orphans;
use crate::cache::Cache;
use crate::config::{Config, Problem, Problems};
use crate::content::Content;
use crate::gateway::Gateway;
use crate::keys::Keys;
use crate::reconciliation::Reconciler;
use crate::revisions::{Ask, Effective, Mark, NotReloaded, Refused, Reloaded, Reloads, Revisions, Trigger};
use crate::runtime::Clock;

use next::Next;
use watch::Watch;

/// Where settings come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A file, `.env` and the environment.
    Files(Settings),
    /// The program itself: they stay as they are.
    Fixed,
}

impl Source {
    /// The file that holds them, or would.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Files(settings) => Some(settings.file().to_owned()),
            Self::Fixed => None,
        }
    }

    fn load(&self, before: &Config, trigger: Trigger) -> Result<Config, Problems> {
        match self {
            Self::Files(settings) => settings.load_since(Since::read(before, trigger.is_meant())),
            Self::Fixed => Ok(before.clone()),
        }
    }

    /// The files whose changes count, with these settings.
    fn files(&self, config: &Config) -> Vec<PathBuf> {
        match self {
            Self::Files(settings) => {
                let attached = named(config).map(|(_, path)| path.to_owned());
                settings.files().into_iter().chain(attached).chain(config.secret_files.iter().cloned()).collect()
            }
            Self::Fixed => Vec::new(),
        }
    }
}

/// What of the running server goes by the settings.
struct Ground {
    source: Source,
    started: Arc<Config>,
    gateway: Arc<Gateway>,
    alerts: Arc<Alerts>,
    reconciler: Arc<Reconciler>,
    revisions: Arc<Revisions>,
    content: Arc<Content>,
    cache: Arc<Cache>,
    keys: Arc<Keys>,
    clock: Clock,
}

/// The settings as they were read last, what waits for the next start included.
struct Read {
    config: Config,
    effective: Effective,
    /// All that was told of as worth knowing, budgets without what they name included.
    warned: Vec<Problem>,
}

/// Notes what the process was started with, and reads the settings again whenever somebody asks, until the process stops.
pub(super) fn start(
    parts: &Parts,
    source: Source,
    (reloads, asks): (Reloads, mpsc::Receiver<Ask>),
    hangups: Option<Signal>,
) {
    let ground = Arc::new(ground(parts, source));
    let first = ground.first(parts.attached.clone());
    let stopping = parts.tasks.stopping().clone();
    let watch = matches!(ground.source, Source::Files(_)).then(|| {
        let (watch, changes) = Watch::new();
        parts.tasks.spawn(watch::ask_after_changes(changes, reloads.clone(), stopping.clone()));
        watch
    });
    if let Some(hangups) = hangups {
        parts.tasks.spawn(ask_after_hangups(hangups, reloads, stopping.clone()));
    }
    parts.tasks.spawn(answer(ground, first, asks, watch, stopping));
}

fn ground(parts: &Parts, source: Source) -> Ground {
    Ground {
        source,
        started: Arc::clone(&parts.started),
        gateway: Arc::clone(&parts.gateway),
        alerts: Arc::clone(&parts.alerts),
        reconciler: Arc::clone(&parts.reconciler),
        revisions: Arc::clone(&parts.revisions),
        content: Arc::clone(&parts.content),
        cache: Arc::clone(&parts.cache),
        keys: Arc::clone(&parts.keys),
        clock: parts.clock.clone(),
    }
}

async fn ask_after_hangups(mut hangups: Signal, reloads: Reloads, stopping: CancellationToken) {
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            // What came of it is in the log.
            Some(()) = hangups.recv() => drop(reloads.ask(Trigger::Sighup).await),
            else => return,
        }
    }
}

/// Answers one ask after the other.
async fn answer(
    ground: Arc<Ground>,
    first: Read,
    mut asks: mpsc::Receiver<Ask>,
    mut watch: Option<Watch>,
    stopping: CancellationToken,
) {
    let mut present = Arc::new(first);
    loop {
        if let Some(watch) = &mut watch {
            watch.follow(&ground.source.files(&present.config));
        }
        let ask = tokio::select! {
            () = stopping.cancelled() => return,
            ask = asks.recv() => ask,
        };
        let Some(Ask { trigger, reply }) = ask else { return };
        let (ground, before) = (Arc::clone(&ground), Arc::clone(&present));
        let reloaded = match tokio::task::spawn_blocking(move || ground.reload(&before, trigger)).await {
            Ok(Ok((read, reloaded))) => {
                present = Arc::new(read);
                Ok(reloaded)
            }
            Ok(Err(problems)) => Err(NotReloaded::Refused(problems)),
            Err(error) => {
                tracing::error!("reading the settings again failed, and they stay as they were: {error}");
                Err(NotReloaded::Unavailable)
            }
        };
        // Whoever asked may have gone.
        let _ = reply.send(reloaded);
    }
}

impl Ground {
    /// Notes the settings that the process was started with.
    fn first(&self, attached: BTreeMap<String, Mark>) -> Read {
        let config = Config::clone(&self.started);
        let effective = self.effective(&config, attached, Vec::new());
        let warned = self.warnings(&effective);
        for warning in warned.iter().filter(|warning| !config.warnings.contains(warning)) {
            tracing::warn!("settings: {warning}");
        }
        self.keep(effective.clone(), Trigger::Start);
        Read { config, effective, warned }
    }

    /// What is worth knowing of the settings that are in force.
    fn warnings(&self, effective: &Effective) -> Vec<Problem> {
        let in_force = self.gateway.in_force();
        let orphans = orphans(&self.keys, &in_force.config, in_force.router.catalog());
        effective.warnings.iter().cloned().chain(orphans).collect()
    }

    /// Reads everything again, and takes it over as a whole or not at all. Blocks for the disk.
    fn reload(&self, before: &Read, trigger: Trigger) -> Result<(Read, Reloaded), Vec<Problem>> {
        let next = self.source.load(&before.config, trigger).map_err(|problems| problems.as_slice().to_vec());
        let next = next.and_then(|config| self.next(config, before)).inspect_err(|problems| {
            let count = problems.len();
            let noun = if count == 1 { "is a problem".to_owned() } else { format!("are {count} problems") };
            tracing::error!("the settings stay as they were: {trigger} had them read, and there {noun}");
            for problem in problems {
                tracing::error!("settings not taken over: {}", problem.with_place());
            }
            self.revisions.refuse(Refused { at: self.clock.now(), trigger, problems: problems.clone() });
        })?;
        let Next { mut read, changed, in_force, receivers } = next;
        let was_refused = self.revisions.last_refused().is_some();
        if let Some(in_force) = in_force {
            self.put_in_force(&in_force, receivers);
        }
        let number = self.keep(read.effective.clone(), trigger);
        let effective = &read.effective;
        if changed.is_empty() && was_refused {
            tracing::info!(
                "what was wrong with the settings is mended: {trigger} had them read, and nothing else has changed"
            );
        } else if changed.is_empty() {
            tracing::debug!("{trigger} had the settings read: nothing has changed");
        } else {
            tracing::info!("revision {number} of the settings is in force, by {trigger}: {}", changed.join(", "));
        }
        if !effective.waiting.is_empty() && effective.waiting != before.effective.waiting {
            tracing::warn!("settings that wait for a restart: {}", effective.waiting.join(", "));
        }
        let (waiting, warnings) = (effective.waiting.clone(), self.warnings(effective));
        for warning in warnings.iter().filter(|warning| !before.warned.contains(warning)) {
            tracing::warn!("settings: {}", warning.with_place());
        }
        read.warned.clone_from(&warnings);
        Ok((read, Reloaded { number, changed, waiting, warnings }))
    }

    fn keep(&self, effective: Effective, trigger: Trigger) -> u64 {
        let (kept, written) = self.revisions.take(effective, trigger, self.clock.now());
        if let Err(error) = written {
            tracing::warn!("revision {} of the settings is kept in memory alone: {error}", kept.number);
        }
        kept.number
    }
}
