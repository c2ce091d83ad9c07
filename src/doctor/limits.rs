//! Limits that can't be what was meant: too low for any call, or out of reach behind another.

use super::budgets::Around;
use super::report::Check;
use crate::budget::{reachable, window_words};
use crate::domain::wording::money_whole;
use crate::domain::{
    Billed, BudgetAction, BudgetDefinition, BudgetScope, CostBasis, Deployment, Picodollars, TokenUsage, Window,
};

const NAME: &str = "budget sanity";
/// Less is held for no call: what providers add around every message, and a token of the answer.
const LEAST: TokenUsage = TokenUsage { uncached_input: 1_024, output: 1, ..TokenUsage::NONE };

/// A limit that blocks every call: the cheapest one that is conceivable doesn't fit into it.
pub(super) fn too_low(budget: &BudgetDefinition, around: &Around<'_>, set: &str) -> Option<Check> {
    if budget.action != BudgetAction::Block {
        return None;
    }
    let (least, cheapest) = cheapest(&budget.scope, around)?;
    (budget.limit < least).then(|| {
        let found = format!(
            "no call fits into {} USD: the cheapest, of {cheapest}, holds {least} USD at least until it is booked, so every call is refused",
            budget.limit
        );
        Check::problem(NAME, found, format!("{set} LIMIT"))
    })
}

/// The least that a call is held at that a budget is about, and where; nothing where no price is known.
fn cheapest(scope: &BudgetScope, around: &Around<'_>) -> Option<(Picodollars, Deployment)> {
    let mut reachable = reachable(around.config, around.catalog);
    reachable.retain(|deployment| match scope {
        BudgetScope::Provider(name) => deployment.provider.as_str() == name.as_str(),
        BudgetScope::Model(models) => models.fits(deployment),
        _ => true,
    });
    let priced = reachable.into_iter().filter_map(|deployment| {
        let provider = around.config.provider(&deployment.provider)?;
        let facts = around.catalog.find(&provider.name, &provider.catalog, deployment.model.as_str())?;
        let costing = facts.prices.cost(&LEAST, &Billed::plainly(around.now));
        (costing.basis != CostBasis::Unpriced).then_some((costing.cost, deployment))
    });
    priced.min_by_key(|(cost, _)| *cost)
}

/// A limit that stops nothing because one over a longer time stops it before.
pub(super) fn never_reached(budget: &BudgetDefinition, all: &[&BudgetDefinition], set: &str) -> Option<Check> {
    if matches!(budget.action, BudgetAction::Alert) {
        return None;
    }
    let is_before = |other: &&&BudgetDefinition| {
        other.scope == budget.scope
            && other.action == BudgetAction::Block
            && other.window > budget.window
            && budget.limit.get() >= other.limit.get().saturating_mul(windows_met(budget.window, other.window))
    };
    let other = all.iter().find(is_before)?;
    let found = format!(
        "its limit of {} is never reached: {} holds the same calls to {} ({})",
        money_whole(budget.limit),
        other.id,
        money_whole(other.limit),
        window_words(other.window)
    );
    let mend = format!("tollgate budget remove {}   # or a limit below the other: {set} LIMIT", budget.id);
    Some(Check::warning(NAME, found, mend))
}

/// How many of the longer windows a shorter one can reach into.
fn windows_met(shorter: Window, longer: Window) -> i128 {
    if (shorter, longer) == (Window::Week, Window::Month) { 2 } else { 1 }
}
