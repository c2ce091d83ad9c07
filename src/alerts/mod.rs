//! Alerts: told once, delivered to each configured receiver, whatever happens in between.
//!
//! [`Alerts::raise`] takes an alert in durably; a task of its own per receiver delivers, tries again with growing pauses,
//! and writes down what came of it. Whoever raises one waits for the disk, never for a receiver, and nothing on the way of a
//! call raises any. What is worth an alert is not known here.
//! An alert can arrive twice where the process dies between the receiver's answer and its note; the id is the same then.

mod alert;
mod channel;
mod outbound;
mod outbox;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future;
use jiff::tz::TimeZone;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use alert::{Alert, AlertId, AlertKind, AlertScope, NewAlert};
pub use channel::ChannelKind;
pub use outbox::{Delivery, DeliveryState, LoggedAlert};

use channel::Channel;
use outbound::{Outbound, OutboundError, Reply};
use outbox::{Attempted, Outbox};

use crate::config::AlertsConfig;
use crate::runtime::{Clock, Tasks};
use crate::store::{Settings, SettingsError};

/// The pause after the first failure of a receiver; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_secs(2);
/// The longest pause that we choose.
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// The longest that a receiver may ask for.
const ASKED_PAUSE_MAX: Duration = Duration::from_hours(1);

/// Why there are no alerts.
#[derive(Debug, thiserror::Error)]
pub enum AlertsError {
    /// What was raised before can't be read.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No connections can be made.
    #[error("alerts can't be sent: {0}")]
    Client(String),
}

/// A configured receiver, without its address: that is a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelInfo {
    /// Which one.
    pub kind: ChannelKind,
    /// The host that it is at.
    pub host: String,
    /// Whether messages to it are signed.
    pub is_signed: bool,
    /// Its last delivery that was tried.
    pub last: Option<Delivery>,
}

/// What came of a test at one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// Which one.
    pub channel: ChannelKind,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Whom the settings name, ready to be sent to.
#[derive(Debug)]
pub struct Receivers {
    channels: Vec<Channel>,
    /// There is one where there is a receiver.
    outbound: Option<Outbound>,
}

impl Receivers {
    /// Those of the settings; `ca_file` holds further certificate authorities.
    pub fn new(config: &AlertsConfig, ca_file: Option<&Path>) -> Result<Self, AlertsError> {
        let channels = Channel::configured(config);
        let outbound = (!channels.is_empty()).then(|| Outbound::new(&config.private_hosts, ca_file)).transpose();
        Ok(Self { channels, outbound: outbound.map_err(AlertsError::Client)? })
    }

    fn kinds(&self) -> Vec<ChannelKind> {
        self.channels.iter().map(|channel| channel.kind).collect()
    }

    fn of(&self, kind: ChannelKind) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.kind == kind)
    }

    /// One attempt, and when the receiver wants to be asked again.
    async fn attempt(&self, channel: &Channel, alert: &Alert) -> (Attempted, Option<Duration>) {
        let outbound = self.outbound.as_ref().expect("there is one where there is a receiver");
        let reply = outbound.post(channel.url.expose(), channel.message(alert)).await;
        let asked = reply.as_ref().ok().and_then(|reply| reply.retry_after).map(|pause| pause.min(ASKED_PAUSE_MAX));
        (judged(reply), asked)
    }
}

/// The alerts of one data folder.
pub struct Alerts {
    settings: Settings,
    /// Whom alerts go to now. Replaced while the outbox is held, so that none is raised for one that is no more.
    receivers: watch::Sender<Arc<Receivers>>,
    clock: Clock,
    zone: TimeZone,
    /// Held for a look-up or a change in memory, never for a wait.
    outbox: Mutex<Outbox>,
    /// Held from taking changes to their commit, so that they reach the disk in order.
    writing: Mutex<()>,
    /// Told whenever there is something to deliver.
    arrived: watch::Sender<()>,
}

impl Alerts {
    /// Takes up what was raised before. Blocks for the disk.
    pub fn open(
        settings: Settings,
        config: &AlertsConfig,
        ca_file: Option<&Path>,
        clock: Clock,
        zone: TimeZone,
    ) -> Result<Self, AlertsError> {
        let receivers = Receivers::new(config, ca_file)?;
        let mut outbox = settings.write(Outbox::load)?;
        outbox.give_up_on_all_but(&receivers.kinds());
        let arrived = watch::Sender::new(());
        Ok(Self {
            settings,
            receivers: watch::Sender::new(Arc::new(receivers)),
            clock,
            zone,
            outbox: Mutex::new(outbox),
            writing: Mutex::default(),
            arrived,
        })
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receivers(&self) -> Arc<Receivers> {
        Arc::clone(&self.receivers.borrow())
    }

    /// Sends to others from now on; what still waits for one that is configured no more is given up. Blocks for the disk.
    pub fn follow(&self, receivers: Receivers) {
        let mut outbox = self.outbox();
        outbox.give_up_on_all_but(&receivers.kinds());
        self.receivers.send_replace(Arc::new(receivers));
        drop(outbox);
        self.flush();
    }

    /// Raises alerts; those that have been raised in their window are passed over. Blocks for the disk.
    ///
    /// They go out even where the disk takes nothing: that it is full may be what they say.
    pub fn raise(&self, alerts: impl IntoIterator<Item = NewAlert>) {
        let now = self.clock.now();
        let mut outbox = self.outbox();
        let kinds = self.receivers().kinds();
        for alert in alerts {
            let (kind, text) = (alert.kind.as_str(), alert.text.clone());
            let is_news = !matches!(alert.kind, AlertKind::DailyReport | AlertKind::MonthlyReport);
            if outbox.take(alert, &kinds, now).is_some() {
                if is_news {
                    tracing::warn!("alert {kind}: {text}");
                } else {
                    tracing::info!("{kind} raised");
                }
            }
        }
        outbox.forget_old(now, &self.zone);
        drop(outbox);
        self.flush();
        self.arrived.send_replace(());
    }

    /// Tells that something has begun, unless that was told and its end not yet. Blocks for the disk.
    pub fn begin(&self, what: &str, alert: NewAlert) {
        let mut outbox = self.outbox();
        if outbox.is_under_way(what) {
            return;
        }
        outbox.set_under_way(what, true);
        drop(outbox);
        // What was told to have ended is told each time when it begins anew: nobody shall take it for well.
        self.raise([NewAlert { window: None, ..alert }]);
    }

    /// Tells that something has ended, if its beginning was told: once within a window, so that what comes and goes is told to
    /// have begun at the last, and to have ended when a window finds it well. To be called while it is. Blocks for the disk.
    pub fn end(&self, what: &str, alert: NewAlert) {
        let mut outbox = self.outbox();
        if !outbox.is_under_way(what) || outbox.is_told(&alert) {
            return;
        }
        outbox.set_under_way(what, false);
        drop(outbox);
        self.raise([alert]);
    }

    /// Whether something was told to have begun and not yet to have ended.
    pub fn is_under_way(&self, what: &str) -> bool {
        self.outbox().is_under_way(what)
    }

    /// Whether the same alert was raised in its window before.
    pub fn is_told(&self, alert: &NewAlert) -> bool {
        self.outbox().is_told(alert)
    }

    /// Writes down what has changed. Blocks for the disk; what can't be written now is written with the next change.
    pub fn flush(&self) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(changes) = self.outbox().take_changes() else { return };
        let written: Result<(), SettingsError> = self.settings.write(|transaction| changes.write(transaction));
        if let Err(error) = written {
            tracing::warn!("alerts could not be written down, and may be told again after a restart: {error}");
            self.outbox().put_back(changes);
        }
    }

    /// The configured receivers.
    pub fn channels(&self) -> Vec<ChannelInfo> {
        let outbox = self.outbox();
        let info = |channel: &Channel| ChannelInfo {
            kind: channel.kind,
            host: channel.url.expose().host_str().unwrap_or_default().to_owned(),
            is_signed: channel.is_signed(),
            last: outbox.last_of(channel.kind),
        };
        self.receivers().channels.iter().map(info).collect()
    }

    /// A page of what was raised, newest first, and where the next one begins.
    pub fn page(&self, before: Option<AlertId>, limit: usize) -> (Vec<LoggedAlert>, Option<AlertId>) {
        self.outbox().page(before, limit)
    }

    /// How many alerts are in the log.
    pub fn len(&self) -> usize {
        self.outbox().len()
    }

    /// Whether nothing was ever raised.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends a test to one receiver or to all, at once, and tells what came of it.
    pub async fn test(self: &Arc<Self>, only: Option<ChannelKind>) -> Vec<Tested> {
        let receivers = self.receivers();
        let wanted: Vec<&Channel> =
            receivers.channels.iter().filter(|channel| only.is_none_or(|only| only == channel.kind)).collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let what = NewAlert::new(
            AlertKind::Test,
            AlertScope::new("everything", None),
            None,
            "This is a test. Alerts of this server arrive here.",
        );
        // It is in the log before it goes out, and no delivery task takes it up: nothing of it waits.
        let alert = self.outbox().append(what, Vec::new(), self.clock.now());
        let tests = wanted.iter().map(|channel| async {
            let (attempted, _) = receivers.attempt(channel, &alert).await;
            let error = match attempted {
                Attempted::Delivered => None,
                Attempted::Refused(error) | Attempted::Later(error) => Some(error),
            };
            Tested { channel: channel.kind, error }
        });
        let tested = future::join_all(tests).await;
        let now = self.clock.now();
        self.outbox().note_test(alert.id, &tested, now);
        self.flush_aside().await;
        tested
    }

    /// Starts a task for each kind of receiver, which delivers until the process stops.
    pub fn deliver(self: &Arc<Self>, tasks: &Tasks) {
        for kind in ChannelKind::ALL {
            let (alerts, stopping) = (Arc::clone(self), tasks.stopping().clone());
            tasks.spawn(async move { alerts.deliver_to(kind, &stopping).await });
        }
    }

    async fn deliver_to(self: Arc<Self>, kind: ChannelKind, stopping: &CancellationToken) {
        let mut arrived = self.arrived.subscribe();
        let mut changed = self.receivers.subscribe();
        let mut failures = 0;
        while !stopping.is_cancelled() {
            arrived.borrow_and_update();
            let receivers = Arc::clone(&changed.borrow_and_update());
            let next = self.outbox().next_for(kind);
            let (Some(channel), Some(alert)) = (receivers.of(kind), next) else {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    _ = arrived.changed() => continue,
                    _ = changed.changed() => continue,
                }
            };
            let (attempted, asked_pause) = receivers.attempt(channel, &alert).await;
            let pause = match &attempted {
                Attempted::Delivered | Attempted::Refused(_) => {
                    failures = 0;
                    None
                }
                Attempted::Later(_) => {
                    failures += 1;
                    Some(asked_pause.unwrap_or_else(|| pause_after(failures, jitter())))
                }
            };
            if let Attempted::Refused(error) | Attempted::Later(error) = &attempted {
                tracing::warn!("{} was not delivered to {}: {error}", alert.id, kind.as_str());
            }
            self.outbox().record(alert.id, kind, attempted, self.clock.now());
            self.flush_aside().await;
            if let Some(pause) = pause {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                    // Perhaps it has been set right.
                    _ = changed.changed() => failures = 0,
                }
            }
        }
    }

    async fn flush_aside(self: &Arc<Self>) {
        let alerts = Arc::clone(self);
        if let Err(error) = tokio::task::spawn_blocking(move || alerts.flush()).await {
            tracing::error!("writing alerts down failed: {error}");
        }
    }
}

/// What an answer means for the delivery.
fn judged(reply: Result<Reply, OutboundError>) -> Attempted {
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => return Attempted::Later(error.to_string()),
    };
    let Reply { status, text, .. } = reply;
    let said = if text.is_empty() { String::new() } else { format!(": {text}") };
    match status {
        200..=299 => Attempted::Delivered,
        300..=399 => Attempted::Refused(format!("it answered {status}, and redirects are not followed")),
        408 | 425 | 429 | 500.. => Attempted::Later(format!("it answered {status}{said}")),
        _ => Attempted::Refused(format!("it answered {status}{said}")),
    }
}

/// The pause after so many failures in a row: doubling, bounded, and spread by a quarter so that restarts don't fall in step.
fn pause_after(failures: u32, jitter: f64) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(1 << (failures.clamp(1, 16) - 1));
    doubled.min(PAUSE_MAX).mul_f64(1.0 - jitter / 4.0)
}

/// A number from 0 to below 1.
fn jitter() -> f64 {
    getrandom::u32().map_or(0.0, |random| f64::from(random) / (f64::from(u32::MAX) + 1.0))
}
