//! Who looks at calls and sums for what is worth an alert, beside the calls and never on their way.
//!
//! Every entry is noted as it is booked ([`Watch::note`], a few look-ups); what it touches is looked at a moment later, on a
//! thread that may wait for the disk. What nobody was there to note, such as calls booked while the process stopped, the look
//! at all budgets finds: once at the start and once a minute. Nothing is raised twice: [`crate::alerts`] remembers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::alarm::{dollars, forecast, passed_thresholds, scope_name, sudden};
use super::{Budgets, Standing};
use crate::alerts::{AlertKind, AlertScope, Alerts, NewAlert};
use crate::domain::{
    BudgetDefinition, BudgetId, BudgetScope, CostBasis, Deployment, KeyId, Picodollars, ProviderHealth, ProviderName,
    Window, WindowId,
};
use crate::keys::Keys;
use crate::ledger::{Entry, GroupBy, Ledger, LedgerError, TimeRange};
use crate::provider::{CredentialStanding, CredentialState, Scope};
use crate::runtime::Leap;

/// How far back a key's usual hour is looked for.
const USUAL_DAYS: i64 = 7;
/// Models that an alert names.
const MODELS_TOLD_MAX: usize = 5;
/// What the ledger's trouble is called while it lasts.
const LEDGER: &str = "ledger";

/// Raises alerts about budgets, keys, providers, prices and the ledger.
pub struct Watch {
    budgets: Arc<Budgets>,
    keys: Arc<Keys>,
    ledger: Arc<Ledger>,
    alerts: Arc<Alerts>,
    noted: Mutex<Noted>,
    /// What keys spent in the hours of the last days, read once an hour.
    usual: Mutex<Option<Usual>>,
}

/// What was booked since the last look.
#[derive(Debug, Default)]
struct Noted {
    touched: Touched,
    unpriced: HashSet<Deployment>,
    /// Keys that spent anything since the last look at all.
    spending: HashSet<KeyId>,
}

/// Scopes whose sums may have changed.
#[derive(Debug, Default)]
struct Touched {
    /// Entries were missed, so it may be any.
    all: bool,
    any: bool,
    keys: HashSet<KeyId>,
    teams: HashSet<Arc<str>>,
    operations: HashSet<Arc<str>>,
    tags: HashSet<(Arc<str>, Arc<str>)>,
    providers: HashSet<ProviderName>,
    deployments: HashSet<Deployment>,
}

/// The hours in which each key spent something, before the present one.
struct Usual {
    hour: WindowId,
    hours: HashMap<String, Vec<Picodollars>>,
}

impl Touched {
    fn note(&mut self, entry: &Entry) {
        let facts = &entry.facts;
        self.any = true;
        insert(&mut self.keys, &facts.key);
        insert(&mut self.operations, &facts.operation);
        if let Some(team) = &facts.team {
            insert(&mut self.teams, team);
        }
        for tag in &facts.tags {
            insert(&mut self.tags, tag);
        }
        for attempt in &entry.attempts {
            insert(&mut self.providers, &attempt.deployment.provider);
            insert(&mut self.deployments, &attempt.deployment);
        }
    }

    fn has(&self, scope: &BudgetScope) -> bool {
        let has = |set: &HashSet<Arc<str>>, name: &crate::domain::Name| set.contains(name.as_str());
        self.all
            || match scope {
                BudgetScope::Everything => self.any,
                BudgetScope::Team(team) => has(&self.teams, team),
                BudgetScope::Key(key) => self.keys.contains(key),
                BudgetScope::Provider(provider) => self.providers.contains(provider),
                BudgetScope::Model(models) => self.deployments.iter().any(|deployment| models.fits(deployment)),
                BudgetScope::Operation(operation) => has(&self.operations, operation),
                BudgetScope::Tag { name, value } => {
                    self.tags.iter().any(|(n, v)| **n == *name.as_str() && **v == *value.as_str())
                }
                BudgetScope::Run(_) => false,
            }
    }
}

/// Clones only what is new: the same few names come again and again.
fn insert<T: Clone + Eq + std::hash::Hash>(set: &mut HashSet<T>, value: &T) {
    if !set.contains(value) {
        set.insert(value.clone());
    }
}

impl Watch {
    /// A watch that has seen nothing yet.
    pub fn new(budgets: Arc<Budgets>, keys: Arc<Keys>, ledger: Arc<Ledger>, alerts: Arc<Alerts>) -> Self {
        Self { budgets, keys, ledger, alerts, noted: Mutex::default(), usual: Mutex::default() }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an entry that was booked.
    pub fn note(&self, entry: &Entry) {
        let mut noted = self.noted();
        noted.touched.note(entry);
        if !entry.cost().is_zero() {
            insert(&mut noted.spending, &entry.facts.key);
        }
        for attempt in &entry.attempts {
            if attempt.basis == CostBasis::Unpriced {
                insert(&mut noted.unpriced, &attempt.deployment);
            }
        }
    }

    /// Notes that entries were booked which nobody saw.
    pub fn note_missed(&self) {
        self.noted().touched.all = true;
    }

    /// Looks at what the entries since the last look have touched. Blocks for the disk.
    pub fn look(&self, now: Timestamp) {
        let (touched, unpriced) = {
            let mut noted = self.noted();
            (std::mem::take(&mut noted.touched), std::mem::take(&mut noted.unpriced))
        };
        let mut raised: Vec<NewAlert> = self.unpriced(unpriced, now).collect();
        let refusing = self.budgets.take_refusals();
        let zone = self.ledger.zone();
        let hour = Window::Hour.at(now, zone);
        raised.extend(self.budgets.take_underestimates().map(|underestimate| underestimate.alert(hour)));
        for definition in self.keys.budgets().iter() {
            if !touched.has(&definition.scope) && !refusing.contains_key(&definition.id) {
                continue;
            }
            if let Some(standing) = self.standing(definition, now) {
                let is_refusing = refusing.get(&definition.id) == Some(&standing.window);
                raised.extend(passed_thresholds(&standing, is_refusing, &self.name(&definition.scope), zone));
            }
        }
        self.raise(raised);
    }

    /// Looks at every budget, its forecast too, and at keys that spend. Blocks for the disk.
    pub fn look_at_all(&self, now: Timestamp) {
        self.note_missed();
        self.look(now);
        let zone = self.ledger.zone();
        let mut raised = Vec::new();
        for definition in self.keys.budgets().iter() {
            // An hour has no forecast and a total neither: most of the work is spared where they are many.
            if matches!(definition.window, Window::Hour | Window::Total) {
                continue;
            }
            let standing = self.standing(definition, now);
            raised.extend(standing.and_then(|standing| forecast(&standing, &self.name(&definition.scope), now, zone)));
        }
        let spending = std::mem::take(&mut self.noted().spending);
        match self.sudden_spending(&spending, now) {
            Ok(sudden) => raised.extend(sudden),
            Err(error) => tracing::debug!("what keys usually spend can't be read: {error}"),
        }
        self.raise(raised);
    }

    /// Compares how providers do with what was told.
    pub fn look_at_providers(&self, providers: &[(ProviderName, ProviderHealth)], now: Timestamp) {
        for (provider, health) in providers {
            let what = format!("provider {provider}");
            let window = Some(Window::Hour.at(now, self.ledger.zone()));
            let failing = health.failing_named();
            let alert = |kind, text: &str| {
                NewAlert::new(kind, AlertScope::new("provider", Some(provider.as_str())), window, text)
            };
            match health {
                // Nobody knows how it is until it has answered, or failed often enough: after a restart, for one.
                ProviderHealth::Unknown | ProviderHealth::TriedAgain(_) | ProviderHealth::Failing(_) => {}
                ProviderHealth::Down(_) => {
                    let text = format!(
                        "{provider} fails: calls to {failing} fail one after the other, so no more are sent there for a while. Routes go on with their next deployment where they have one."
                    );
                    self.alerts.begin(&what, alert(AlertKind::ProviderDown, &text));
                }
                ProviderHealth::Well => {
                    let text = format!("{provider} answers again.");
                    self.alerts.end(&what, alert(AlertKind::ProviderRecovered, &text));
                }
                ProviderHealth::Degraded(_) => {
                    let text = format!("{provider} answers again, but calls to {failing} still fail.");
                    self.alerts.end(&what, alert(AlertKind::ProviderRecovered, &text));
                    let text = format!(
                        "{provider} is degraded: calls to {failing} fail one after the other, so no more are sent there for a while. Other models of it answer."
                    );
                    self.raise(vec![alert(AlertKind::ProviderDegraded, &text)]);
                }
            }
        }
    }

    /// Compares how providers take our keys with what was told.
    pub fn look_at_credentials(&self, credentials: &[(ProviderName, CredentialStanding)], now: Timestamp) {
        let window = Some(Window::Hour.at(now, self.ledger.zone()));
        for (provider, standing) in credentials {
            let is_usable = |(other, standing): &(ProviderName, CredentialStanding)| {
                other == provider && standing.state.refusal().is_none()
            };
            let others = match (
                credentials.iter().any(is_usable),
                credentials.iter().filter(|(other, _)| other == provider).count(),
            ) {
                (true, _) => "Its other keys go on.",
                (false, 1) => "It has no other: calls go to the next deployment of their route, or are refused.",
                (false, _) => "No key of it is left: calls go to the next deployment of their route, or are refused.",
            };
            let name = standing.name();
            let scope = || AlertScope::new("credential", Some(&format!("{provider}/{}", standing.position)));
            let alert = |kind, text: &str| NewAlert::new(kind, scope(), window, text);
            // By its end, so that a key that took its place is another.
            let what = format!("credential {provider} {name}");
            match (standing.state, standing.answered) {
                (CredentialState::Disabled { refusal, .. } | CredentialState::HalfOpen { refusal, .. }, _) => {
                    let text = format!(
                        "{name} of {provider} {}, so it is not used for a while. {others} Look at the key in the settings and at the provider.",
                        refusal.words()
                    );
                    self.alerts.begin(&what, alert(AlertKind::CredentialDisabled, &text));
                }
                (CredentialState::Ready, Some(_)) => {
                    let text = format!("{provider} takes {name} again.");
                    self.alerts.end(&what, alert(AlertKind::CredentialRecovered, &text));
                }
                // Nobody knows yet how it is: after a restart, for one.
                (CredentialState::Ready | CredentialState::Cooling { .. }, _) => {}
            }
            let refused = |(scope, state): &(Scope, CredentialState)| Some((scope.clone(), state.refusal()?));
            if let Some((scope, refusal)) = standing.elsewhere.iter().find_map(refused) {
                let text = format!(
                    "{name} of {provider} {} at {scope}, so it is not used there for a while: it may lack the right to it.",
                    refusal.words()
                );
                self.raise(vec![alert(AlertKind::CredentialDisabled, &text)]);
            }
        }
    }

    /// Compares how the ledger is with what was told.
    pub fn look_at_ledger(&self, trouble: Option<&str>, now: Timestamp) {
        let scope = AlertScope::new("ledger", None);
        let window = Some(Window::Hour.at(now, self.ledger.zone()));
        if let Some(trouble) = trouble {
            let text = format!(
                "The ledger can't be written, so no call with a price goes through: {trouble}. Look at the disk."
            );
            self.alerts.begin(LEDGER, NewAlert::new(AlertKind::LedgerTrouble, scope, window, &text));
        } else {
            let text = "The ledger can be written again; calls go through.";
            self.alerts.end(LEDGER, NewAlert::new(AlertKind::LedgerRecovered, scope, window, text));
        }
    }

    /// Tells of a clock that was set so far that windows don't follow it: once an hour while it is so.
    pub fn look_at_clock(&self, leap: Option<Leap>, now: Timestamp) {
        let text = match leap {
            None => return,
            Some(Leap::Forward(by)) => format!(
                "The machine's clock was set forward by {}. Budgets stay in their windows until it has shown that for a minute.",
                span(by)
            ),
            Some(Leap::Back(by)) => format!(
                "The machine's clock was set back by {}. Budgets stay in their windows and time stands still until it has caught up. If it is right now, restart Tollgate.",
                span(by)
            ),
        };
        let window = Some(Window::Hour.at(now, self.ledger.zone()));
        self.raise(vec![NewAlert::new(AlertKind::ClockWrong, AlertScope::new("clock", None), window, &text)]);
    }

    fn raise(&self, mut raised: Vec<NewAlert>) {
        raised.retain(|alert| !self.alerts.is_told(alert));
        if !raised.is_empty() {
            self.alerts.raise(raised);
        }
    }

    fn standing(&self, definition: &Arc<BudgetDefinition>, now: Timestamp) -> Option<Standing> {
        // A ledger that can't be read is told of by itself.
        self.budgets.standing(definition, now).ok()
    }

    fn name(&self, scope: &BudgetScope) -> String {
        let key = match scope {
            BudgetScope::Key(id) => self.keys.get(id),
            _ => None,
        };
        scope_name(scope, key.as_ref().map(|key| key.name.as_str()))
    }

    /// One alert for each provider: clients make up names of models, and each would be another alert.
    fn unpriced(&self, deployments: HashSet<Deployment>, now: Timestamp) -> impl Iterator<Item = NewAlert> {
        let day = Window::Day.at(now, self.ledger.zone());
        let mut by_provider: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for Deployment { provider, model } in deployments {
            by_provider.entry(provider.to_string()).or_default().push(model.to_string());
        }
        by_provider.into_iter().map(move |(provider, mut models)| {
            models.sort();
            let more = models.len().saturating_sub(MODELS_TOLD_MAX);
            models.truncate(MODELS_TOLD_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let text = format!(
                "{provider} was asked for models without a price: {}{more}. Calls to such models count as nothing: a budget that blocks refuses them, and no other one sees what they cost. Give them prices under [prices] in tollgate.toml; this is told once a day, and the costs by model name all of them.",
                models.join(", ")
            );
            let scope = AlertScope::new("provider", Some(&provider));
            NewAlert::new(AlertKind::UnpricedTraffic, scope, Some(day), &text)
        })
    }

    /// Keys that spend a multiple of their usual in this hour; told once a day.
    fn sudden_spending(&self, spending: &HashSet<KeyId>, now: Timestamp) -> Result<Vec<NewAlert>, LedgerError> {
        let zone = self.ledger.zone();
        let hour = Window::Hour.at(now, zone);
        let (Some(start), Some(end), false) = (hour.start(zone), hour.end(zone), spending.is_empty()) else {
            return Ok(Vec::new());
        };
        let mut usual = self.usual.lock().unwrap_or_else(PoisonError::into_inner);
        if usual.as_ref().is_none_or(|usual| usual.hour != hour) {
            *usual = Some(self.read_usual(hour, start)?);
        }
        let Some(Usual { hours, .. }) = usual.as_ref() else { return Ok(Vec::new()) };
        let present = self.ledger.costs(TimeRange { from: start, until: end }, &[GroupBy::Key])?;
        let mut raised = Vec::new();
        for group in present.groups {
            let Some(key) = spending.iter().find(|key| key.as_str() == group.name) else { continue };
            let before = hours.get(&group.name).map(Vec::as_slice).unwrap_or_default();
            let Some(usual) = sudden(group.sums.cost, before) else { continue };
            let name = self.keys.get(key).map_or_else(|| key.to_string(), |key| key.name.clone());
            let text = format!(
                "Key {name} has spent {} in this hour; an hour of its last {USUAL_DAYS} days came to {} on average.",
                dollars(group.sums.cost),
                dollars(usual),
            );
            let scope = AlertScope::new("key", Some(key.as_str()));
            let day = Some(Window::Day.at(now, zone));
            raised.push(NewAlert {
                spent: Some(group.sums.cost),
                ..NewAlert::new(AlertKind::SuddenSpend, scope, day, &text)
            });
        }
        Ok(raised)
    }

    fn read_usual(&self, hour: WindowId, start: Timestamp) -> Result<Usual, LedgerError> {
        let from = start - SignedDuration::from_hours(24 * USUAL_DAYS);
        let costs = self.ledger.costs(TimeRange { from, until: start }, &[GroupBy::Hour, GroupBy::Key])?;
        let mut hours: HashMap<String, Vec<Picodollars>> = HashMap::new();
        for group in costs.groups.into_iter().filter(|group| !group.sums.cost.is_zero()) {
            hours.entry(group.series).or_default().push(group.sums.cost);
        }
        Ok(Usual { hour, hours })
    }
}

/// Milliseconds as people say them.
fn span(milliseconds: i64) -> String {
    match milliseconds / 60_000 {
        0 => format!("{} s", milliseconds / 1_000),
        minutes @ 1..120 => format!("{minutes} min"),
        minutes => format!("{} h", minutes / 60),
    }
}

/// Budgets that refused a call, each with the window in which it did.
pub(super) type Refusals = HashMap<BudgetId, WindowId>;

#[cfg(test)]
mod tests;
