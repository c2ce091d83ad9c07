//! Which budgets a call falls under, and how they stand; and how much a key may do in a minute ([`Rates`]).
//!
//! Definitions are kept by `keys`; the sums are the ledger's, which alone decides whether a call fits. Here the two meet:
//! a call's scopes become charges, and each budget's sum is kept up to date from the moment the budget is there.
//! [`Watch`] looks at the sums, and at what else calls show, for what is worth an alert.

mod alarm;
mod outlook;
mod rate;
mod reachable;
#[cfg(test)]
mod simulation;
mod underestimate;
mod watch;
mod wording;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::domain::{
    BudgetAction, BudgetDefinition, BudgetId, BudgetScope, Deployment, Picodollars, ProviderName, Window, WindowId,
};
use crate::keys::Keys;
use crate::ledger::{Balance, CallFacts, Charge, Ledger, LedgerError, Scope};

pub use outlook::{Outlook, outlook};
pub use rate::{Pass, RateLimited, Rates, Spent};
pub use reachable::{missing_provider, reachable};
pub use underestimate::Underestimate;
pub use watch::Watch;
pub use wording::{budget_name, window_words};

use watch::Refusals;

/// The budgets of one data folder.
pub struct Budgets {
    keys: Arc<Keys>,
    ledger: Arc<Ledger>,
    /// What has refused calls and was not looked at yet: one for each budget at most.
    refusals: Mutex<Refusals>,
    /// What cost more than was held and was not looked at yet: the last one of each provider.
    underestimates: Mutex<BTreeMap<ProviderName, Underestimate>>,
}

/// The budgets that a call counts for.
#[derive(Clone, Debug, Default)]
pub struct Applying {
    /// Those that may refuse it.
    pub charges: Vec<Charge>,
    /// Those that send it elsewhere at their limit, oldest first.
    pub turning: Vec<Charge>,
    /// All that don't refuse it: what is left under them is told.
    pub watched: Vec<Charge>,
}

/// How a budget stands in its present window.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The budget.
    pub definition: Arc<BudgetDefinition>,
    /// The window that its sum is over.
    pub window: WindowId,
    /// Spent and held.
    pub balance: Balance,
    /// When the next window begins; absent for a total.
    pub resets_at: Option<Timestamp>,
}

impl Standing {
    /// What may still be spent or held.
    pub fn free(&self) -> Picodollars {
        self.definition.limit.saturating_sub(self.balance.spent).saturating_sub(self.balance.held)
    }
}

impl Budgets {
    /// The budgets over a ledger and the definitions that `keys` keeps.
    pub fn new(keys: Arc<Keys>, ledger: Arc<Ledger>) -> Self {
        Self { keys, ledger, refusals: Mutex::default(), underestimates: Mutex::default() }
    }

    /// Makes the ledger keep the sums of all budgets in their present windows: once at the start.
    pub async fn track_all(&self, now: Timestamp) -> Result<(), LedgerError> {
        for definition in self.keys.budgets().iter() {
            self.track(definition, now).await?;
        }
        Ok(())
    }

    /// Makes the ledger keep a new budget's sum, what was spent before included.
    pub async fn track(&self, definition: &BudgetDefinition, now: Timestamp) -> Result<(), LedgerError> {
        let window = definition.window.at(now, self.zone());
        self.ledger.track(scope_of(&definition.scope), window).await
    }

    fn zone(&self) -> &TimeZone {
        self.ledger.zone()
    }

    /// The budgets that a call at a deployment counts for, by what they do to it.
    pub fn applying(&self, facts: &CallFacts, deployment: &Deployment, now: Timestamp) -> Applying {
        let mut applying = Applying::default();
        for budget in self.keys.budgets().iter().filter(|budget| binds(&budget.scope, facts, deployment)) {
            let charge = Charge {
                budget: budget.id,
                scope: scope_of(&budget.scope),
                window: budget.window.at(now, self.zone()),
                limit: budget.limit,
            };
            match budget.action {
                BudgetAction::Block => applying.charges.push(charge),
                BudgetAction::Alert => applying.watched.push(charge),
                BudgetAction::Downgrade { .. } => {
                    applying.turning.push(charge.clone());
                    applying.watched.push(charge);
                }
            }
        }
        applying
    }

    /// How a budget stands now. Blocking: reads the file.
    pub fn standing(&self, definition: &Arc<BudgetDefinition>, now: Timestamp) -> Result<Standing, LedgerError> {
        let window = definition.window.at(now, self.zone());
        let balance = self.ledger.balance(&scope_of(&definition.scope), window)?;
        Ok(Standing { definition: Arc::clone(definition), window, balance, resets_at: window.end(self.zone()) })
    }

    /// How all budgets stand now. Blocking.
    pub fn standings(&self, now: Timestamp) -> Result<Vec<Standing>, LedgerError> {
        self.keys.budgets().iter().map(|definition| self.standing(definition, now)).collect()
    }

    /// Notes that a budget has refused a call that would not fit even if nothing else ran.
    pub fn note_refusal(&self, budget: BudgetId, window: WindowId) {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).insert(budget, window);
    }

    /// What has refused calls since the last time.
    fn take_refusals(&self) -> Refusals {
        std::mem::take(&mut *self.refusals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes an attempt under a budget that blocks which cost more than was held for it.
    pub fn note_underestimate(&self, underestimate: Underestimate) {
        let mut noted = self.underestimates.lock().unwrap_or_else(PoisonError::into_inner);
        noted.insert(underestimate.deployment.provider.clone(), underestimate);
    }

    /// What has cost more than was held since the last time.
    fn take_underestimates(&self) -> impl Iterator<Item = Underestimate> {
        std::mem::take(&mut *self.underestimates.lock().unwrap_or_else(PoisonError::into_inner)).into_values()
    }

    /// The budget over everything in a window, if there is one.
    pub fn over_everything(&self, window: Window) -> Option<Arc<BudgetDefinition>> {
        let budgets = self.keys.budgets();
        budgets.iter().find(|budget| budget.scope == BudgetScope::Everything && budget.window == window).cloned()
    }

    /// The definition of a budget.
    pub fn definition(&self, id: BudgetId) -> Option<Arc<BudgetDefinition>> {
        self.keys.budget(id)
    }
}

/// What the ledger sums for a scope.
pub fn scope_of(scope: &BudgetScope) -> Scope {
    match scope.id() {
        None => Scope::everything(),
        Some(id) => Scope::of(scope.kind(), &id),
    }
}

fn binds(scope: &BudgetScope, facts: &CallFacts, deployment: &Deployment) -> bool {
    match scope {
        BudgetScope::Everything => true,
        BudgetScope::Team(team) => facts.team.as_deref() == Some(team.as_str()),
        BudgetScope::Key(key) => facts.key == *key,
        BudgetScope::Provider(provider) => deployment.provider == *provider,
        BudgetScope::Model(models) => models.fits(deployment),
        BudgetScope::Operation(operation) => *facts.operation == *operation.as_str(),
        BudgetScope::Tag { name, value } => {
            facts.tags.iter().any(|(tag, its)| **tag == *name.as_str() && **its == *value.as_str())
        }
        // Runs of workflows are calls with an operation of their own; none are made yet.
        BudgetScope::Run(_) => false,
    }
}
