//! The budget definitions, which lie here and not with the policy that applies them.
//!
//! They are settings like the keys that they bind: made by the same people, kept in the same file, and a key and
//! its budgets are made in one transaction, so that no key is live before its limits are. The layer above reads a snapshot
//! and keeps the sums; it needs no file for that.

use std::sync::Arc;

use jiff::Timestamp;

use super::Keys;
use super::error::KeysError;
use super::expected::Expected;
use super::tables::Draft;
use super::team::{find_or_make, team_scope};
use super::virtual_key::whole_ms;
use crate::domain::{BudgetDefinition, BudgetId, BudgetScope, BudgetTerms, Window};

/// One for each key that can be, and it keeps the snapshot small.
const BUDGETS_MAX: usize = 100_000;

impl Keys {
    /// Makes a budget; its scope and window must not have one yet. Blocks for the disk.
    pub fn create_budget(
        &self,
        scope: BudgetScope,
        window: Window,
        terms: BudgetTerms,
        now: Timestamp,
    ) -> Result<Arc<BudgetDefinition>, KeysError> {
        self.change(|draft| insert(draft, scope, window, terms, now))
    }

    /// Makes a budget, or puts the one of this scope and window on new terms. Blocks for the disk.
    pub fn set_budget(
        &self,
        scope: BudgetScope,
        window: Window,
        terms: BudgetTerms,
        now: Timestamp,
    ) -> Result<Arc<BudgetDefinition>, KeysError> {
        self.change(|draft| {
            let scope = of_team(draft, scope, now)?;
            match find(draft, &scope, window) {
                Some(present) => replace(draft, &present, terms),
                None => insert(draft, scope, window, terms, now),
            }
        })
    }

    /// Puts a budget on new terms, where it is as expected. Blocks for the disk.
    pub fn update_budget(
        &self,
        id: BudgetId,
        terms: BudgetTerms,
        expected: &Expected,
    ) -> Result<Arc<BudgetDefinition>, KeysError> {
        self.change(|draft| {
            let present = draft.state.budgets.get(&id).map(Arc::clone).ok_or_else(|| unknown(id))?;
            expected.check(present.revision, "budget")?;
            replace(draft, &present, terms)
        })
    }

    /// Takes a budget away and says what it was. Blocks for the disk.
    pub fn remove_budget(&self, id: BudgetId) -> Result<Arc<BudgetDefinition>, KeysError> {
        self.change(|draft| {
            let present = draft.state.budgets.get(&id).map(Arc::clone).ok_or_else(|| unknown(id))?;
            draft.remove_budget(id)?;
            Ok(present)
        })
    }

    /// Every budget, oldest first: the same snapshot until one of them changes, so comparing the pointers tells.
    pub fn budgets(&self) -> Arc<[Arc<BudgetDefinition>]> {
        Arc::clone(&self.budgets.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// A budget by its id.
    pub fn budget(&self, id: BudgetId) -> Option<Arc<BudgetDefinition>> {
        self.state().budgets.get(&id).map(Arc::clone)
    }
}

fn unknown(id: BudgetId) -> KeysError {
    KeysError::not_found("budget", &id.to_string())
}

fn find(draft: &Draft<'_>, scope: &BudgetScope, window: Window) -> Option<Arc<BudgetDefinition>> {
    draft.state.budgets.values().find(|budget| budget.window == window && budget.scope == *scope).map(Arc::clone)
}

/// The scope by the id of its team, which is made where there is none: a budget may be there before the first key.
fn of_team(draft: &mut Draft<'_>, scope: BudgetScope, now: Timestamp) -> Result<BudgetScope, KeysError> {
    match scope {
        BudgetScope::Team(name) => Ok(team_scope(&find_or_make(draft, name.as_str(), now)?)),
        scope => Ok(scope),
    }
}

/// Puts a new budget into a draft.
pub(super) fn insert(
    draft: &mut Draft<'_>,
    scope: BudgetScope,
    window: Window,
    terms: BudgetTerms,
    now: Timestamp,
) -> Result<Arc<BudgetDefinition>, KeysError> {
    let scope = of_team(draft, scope, now)?;
    if let Some(present) = find(draft, &scope, window) {
        return Err(KeysError::BudgetExists { scope, window, id: present.id });
    }
    if draft.state.budgets.len() >= BUDGETS_MAX {
        return Err(KeysError::TooMany { what: "budgets", max: BUDGETS_MAX });
    }
    let id = draft.next_budget_id()?;
    let budget = Arc::new(BudgetDefinition::new(id, scope, window, terms, whole_ms(now))?);
    draft.put_budget(Arc::clone(&budget))?;
    Ok(budget)
}

fn replace(
    draft: &mut Draft<'_>,
    present: &BudgetDefinition,
    terms: BudgetTerms,
) -> Result<Arc<BudgetDefinition>, KeysError> {
    let budget = Arc::new(present.with_terms(terms)?);
    draft.put_budget(Arc::clone(&budget))?;
    Ok(budget)
}
