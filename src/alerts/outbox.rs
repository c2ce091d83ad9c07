//! What has been raised and what came of it: in memory whole, and mirrored in the settings file.
//!
//! The memory is what deliveries are made from, so an alert that the disk is full still goes out. What changed is marked and
//! written in one transaction by `Alerts::flush`; what could not be written stays marked. The log has a bounded length, and
//! what was told once is remembered until its window is long over.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Tested;
use super::alert::{Alert, AlertId, AlertKind, NewAlert};
use super::channel::ChannelKind;
use crate::domain::WindowId;
use crate::store::{ReadableTable as _, SettingsError, TableDefinition, WriteTransaction};

const ALERTS: TableDefinition<u64, &[u8]> = TableDefinition::new("alerts");
/// What has been told, by what makes it the same, with its window.
const TOLD: TableDefinition<&str, &[u8]> = TableDefinition::new("alerts_told");
/// What was told to have begun and not to have ended.
const UNDER_WAY: TableDefinition<&str, ()> = TableDefinition::new("alerts_under_way");
/// The version of every row here.
const ROW_VERSION: u8 = 1;
/// Alerts that are kept: months of a quiet team, and a megabyte at most.
const LOG_LEN: usize = 1_000;
/// How long after its window an alert is remembered: clocks are set back by less.
const REMEMBERED_AFTER: SignedDuration = SignedDuration::from_hours(48);
/// How long a receiver may be away before an alert is news no more.
const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// It is still to be made.
    Waiting,
    /// The receiver has it.
    Delivered,
    /// The receiver refused it, or was away for too long.
    Failed,
}

impl DeliveryState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// What came of an alert at one receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Where it goes.
    pub channel: ChannelKind,
    /// How it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// Milliseconds since 1970 at the last try.
    pub(super) tried_ms: Option<i64>,
    /// What went wrong at the last try.
    pub error: Option<String>,
}

impl Delivery {
    /// One that is to be made.
    pub(super) const fn waiting(channel: ChannelKind) -> Self {
        Self { channel, state: DeliveryState::Waiting, attempts: 0, tried_ms: None, error: None }
    }

    /// When it was last tried.
    pub fn tried(&self) -> Option<Timestamp> {
        self.tried_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok())
    }
}

/// An alert with what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedAlert {
    /// The alert.
    pub alert: Alert,
    /// One for each receiver that was configured when it was raised.
    pub deliveries: Vec<Delivery>,
}

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attempted {
    /// The receiver has it.
    Delivered,
    /// The receiver will not take it: trying again changes nothing.
    Refused(String),
    /// The receiver is away or busy.
    Later(String),
}

/// Everything that is remembered.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    last: u64,
    log: BTreeMap<u64, LoggedAlert>,
    told: HashMap<String, WindowId>,
    under_way: BTreeSet<String>,
    changed: Changed,
}

/// What the disk has yet to learn.
#[derive(Debug, Default)]
struct Changed {
    alerts: BTreeSet<u64>,
    told: BTreeSet<String>,
    under_way: BTreeSet<String>,
}

/// Rows to write; without a value, to remove.
#[derive(Debug, Default)]
pub(super) struct Changes {
    alerts: Vec<(u64, Option<Vec<u8>>)>,
    told: Vec<(String, Option<Vec<u8>>)>,
    under_way: Vec<(String, bool)>,
}

#[derive(Serialize, Deserialize)]
struct AlertRow {
    time_ms: i64,
    what: NewAlert,
    deliveries: Vec<Delivery>,
}

fn encode(row: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![ROW_VERSION];
    serde_json::to_writer(&mut bytes, row).expect("rows have text keys and write to memory");
    bytes
}

/// A row of this version; others are left alone, for an alert is no reason to refuse to start.
fn decode<R: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<R> {
    let (&version, json) = bytes.split_first()?;
    (version == ROW_VERSION).then(|| serde_json::from_slice(json).ok()).flatten()
}

impl Outbox {
    /// What the file holds.
    pub(super) fn load(transaction: &WriteTransaction) -> Result<Self, SettingsError> {
        let mut outbox = Self::default();
        for row in transaction.open_table(ALERTS)?.iter()? {
            let (id, value) = row?;
            let id = id.value();
            outbox.last = outbox.last.max(id);
            let Some(row) = decode::<AlertRow>(value.value()) else { continue };
            let time = Timestamp::from_millisecond(row.time_ms).unwrap_or_default();
            let alert = Alert { id: AlertId(id), time, what: row.what };
            outbox.log.insert(id, LoggedAlert { alert, deliveries: row.deliveries });
        }
        for row in transaction.open_table(TOLD)?.iter()? {
            let (key, value) = row?;
            outbox.told.extend(decode(value.value()).map(|window| (key.value().to_owned(), window)));
        }
        for row in transaction.open_table(UNDER_WAY)?.iter()? {
            outbox.under_way.insert(row?.0.value().to_owned());
        }
        Ok(outbox)
    }

    /// Gives up what waits for receivers that are configured no more.
    pub(super) fn give_up_on_all_but(&mut self, channels: &[ChannelKind]) {
        for (id, logged) in &mut self.log {
            for delivery in &mut logged.deliveries {
                if delivery.state == DeliveryState::Waiting && !channels.contains(&delivery.channel) {
                    delivery.state = DeliveryState::Failed;
                    delivery.error = Some("the receiver is configured no more".to_owned());
                    self.changed.alerts.insert(*id);
                }
            }
        }
    }

    /// Takes an alert in for these receivers; not where the same has been told in its window.
    pub(super) fn take(&mut self, what: NewAlert, channels: &[ChannelKind], now: Timestamp) -> Option<AlertId> {
        if let Some(key) = what.once_key() {
            if self.told.contains_key(&key) {
                return None;
            }
            let window = what.window.expect("only what has a window has a key");
            self.changed.told.insert(key.clone());
            self.told.insert(key, window);
        }
        Some(self.append(what, channels.iter().map(|channel| Delivery::waiting(*channel)).collect(), now).id)
    }

    /// Puts an alert at the end of the log.
    pub(super) fn append(&mut self, what: NewAlert, deliveries: Vec<Delivery>, now: Timestamp) -> Alert {
        self.last += 1;
        let alert = Alert { id: AlertId(self.last), time: now, what };
        self.log.insert(self.last, LoggedAlert { alert: alert.clone(), deliveries });
        self.changed.alerts.insert(self.last);
        while self.log.len() > LOG_LEN {
            let Some(oldest) = self.oldest_of_the_most_frequent() else { break };
            self.log.remove(&oldest);
            self.changed.alerts.insert(oldest);
        }
        alert
    }

    /// What goes where there is no room: of the kind that has the most, so that no kind drives out others.
    fn oldest_of_the_most_frequent(&self) -> Option<u64> {
        let mut kinds: HashMap<AlertKind, (usize, u64)> = HashMap::new();
        for (id, logged) in &self.log {
            kinds.entry(logged.alert.what.kind).or_insert((0, *id)).0 += 1;
        }
        kinds.into_values().max_by_key(|(count, oldest)| (*count, std::cmp::Reverse(*oldest))).map(|(_, oldest)| oldest)
    }

    /// Whether the same has been told in its window.
    pub(super) fn is_told(&self, what: &NewAlert) -> bool {
        what.once_key().is_some_and(|key| self.told.contains_key(&key))
    }

    /// Whether something was told to have begun and not to have ended.
    pub(super) fn is_under_way(&self, what: &str) -> bool {
        self.under_way.contains(what)
    }

    /// Notes that something was told to have begun, or to have ended.
    pub(super) fn set_under_way(&mut self, what: &str, is_under_way: bool) {
        let has_changed =
            if is_under_way { self.under_way.insert(what.to_owned()) } else { self.under_way.remove(what) };
        if has_changed {
            self.changed.under_way.insert(what.to_owned());
        }
    }

    /// The next alert for a receiver: the one tried least, so that one that always fails holds up no other, then the oldest.
    pub(super) fn next_for(&self, channel: ChannelKind) -> Option<Alert> {
        let waiting = self.log.values().filter_map(|logged| {
            let is_its = |delivery: &&Delivery| delivery.channel == channel && delivery.state == DeliveryState::Waiting;
            logged.deliveries.iter().find(is_its).map(|delivery| (delivery.attempts, &logged.alert))
        });
        waiting.min_by_key(|(attempts, alert)| (*attempts, alert.id)).map(|(_, alert)| alert.clone())
    }

    /// Notes what came of an attempt.
    pub(super) fn record(&mut self, id: AlertId, channel: ChannelKind, attempted: Attempted, now: Timestamp) {
        let Some(logged) = self.log.get_mut(&id.0) else { return };
        let is_old = now.duration_since(logged.alert.time) > GIVEN_UP_AFTER;
        let Some(delivery) = logged.deliveries.iter_mut().find(|delivery| delivery.channel == channel) else { return };
        delivery.attempts += 1;
        delivery.tried_ms = Some(now.as_millisecond());
        (delivery.state, delivery.error) = match attempted {
            Attempted::Delivered => (DeliveryState::Delivered, None),
            Attempted::Refused(error) => (DeliveryState::Failed, Some(error)),
            Attempted::Later(error) if is_old => (DeliveryState::Failed, Some(error)),
            Attempted::Later(error) => (DeliveryState::Waiting, Some(error)),
        };
        self.changed.alerts.insert(id.0);
    }

    /// Notes what came of a test.
    pub(super) fn note_test(&mut self, id: AlertId, tested: &[Tested], now: Timestamp) {
        let Some(logged) = self.log.get_mut(&id.0) else { return };
        let delivery = |tested: &Tested| Delivery {
            channel: tested.channel,
            state: if tested.error.is_none() { DeliveryState::Delivered } else { DeliveryState::Failed },
            attempts: 1,
            tried_ms: Some(now.as_millisecond()),
            error: tested.error.clone(),
        };
        logged.deliveries = tested.iter().map(delivery).collect();
        self.changed.alerts.insert(id.0);
    }

    /// The delivery to a receiver that was tried last.
    pub(super) fn last_of(&self, channel: ChannelKind) -> Option<Delivery> {
        let all = self.log.values().flat_map(|logged| &logged.deliveries);
        let tried = all.filter(|delivery| delivery.channel == channel && delivery.tried_ms.is_some());
        tried.max_by_key(|delivery| delivery.tried_ms).cloned()
    }

    /// A page of the log, newest first, and where the next one begins.
    pub(super) fn page(&self, before: Option<AlertId>, limit: usize) -> (Vec<LoggedAlert>, Option<AlertId>) {
        let until = before.map_or(u64::MAX, |id| id.0);
        let mut older = self.log.range(..until).rev().map(|(_, logged)| logged.clone());
        let items: Vec<LoggedAlert> = older.by_ref().take(limit).collect();
        let next = items.last().map(|logged| logged.alert.id).filter(|_| older.next().is_some());
        (items, next)
    }

    /// How many are in the log.
    pub(super) fn len(&self) -> usize {
        self.log.len()
    }

    /// Forgets what was told in windows that are long over.
    pub(super) fn forget_old(&mut self, now: Timestamp, zone: &TimeZone) {
        let is_over = |window: &WindowId| {
            window.end(zone).is_some_and(|end| end.checked_add(REMEMBERED_AFTER).is_ok_and(|end| end < now))
        };
        let changed = &mut self.changed.told;
        self.told.retain(|key, window| {
            let is_over = is_over(window);
            if is_over {
                changed.insert(key.clone());
            }
            !is_over
        });
    }

    /// What is to be written, which counts as written from now on.
    pub(super) fn take_changes(&mut self) -> Option<Changes> {
        let Changed { alerts, told, under_way } = std::mem::take(&mut self.changed);
        if alerts.is_empty() && told.is_empty() && under_way.is_empty() {
            return None;
        }
        let row = |logged: &LoggedAlert| {
            let LoggedAlert { alert, deliveries } = logged.clone();
            encode(&AlertRow { time_ms: alert.time.as_millisecond(), what: alert.what, deliveries })
        };
        Some(Changes {
            alerts: alerts.into_iter().map(|id| (id, self.log.get(&id).map(row))).collect(),
            told: told
                .into_iter()
                .map(|key| (self.told.get(&key).map(encode), key))
                .map(|(row, key)| (key, row))
                .collect(),
            under_way: under_way
                .into_iter()
                .map(|what| (self.under_way.contains(&what), what))
                .map(|(is, what)| (what, is))
                .collect(),
        })
    }

    /// Takes back that changes were written.
    pub(super) fn put_back(&mut self, changes: Changes) {
        self.changed.alerts.extend(changes.alerts.into_iter().map(|(id, _)| id));
        self.changed.told.extend(changes.told.into_iter().map(|(key, _)| key));
        self.changed.under_way.extend(changes.under_way.into_iter().map(|(what, _)| what));
    }
}

impl Changes {
    /// Writes them.
    pub(super) fn write(&self, transaction: &WriteTransaction) -> Result<(), SettingsError> {
        let mut alerts = transaction.open_table(ALERTS)?;
        for (id, row) in &self.alerts {
            match row {
                Some(row) => drop(alerts.insert(id, row.as_slice())?),
                None => drop(alerts.remove(id)?),
            }
        }
        let mut told = transaction.open_table(TOLD)?;
        for (key, row) in &self.told {
            match row {
                Some(row) => drop(told.insert(key.as_str(), row.as_slice())?),
                None => drop(told.remove(key.as_str())?),
            }
        }
        let mut under_way = transaction.open_table(UNDER_WAY)?;
        for (what, is_under_way) in &self.under_way {
            if *is_under_way {
                under_way.insert(what.as_str(), ())?;
            } else {
                under_way.remove(what.as_str())?;
            }
        }
        Ok(())
    }
}
