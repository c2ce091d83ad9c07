//! Budgets that name what the settings don't have.

use crate::catalog::Catalog;
use crate::config::{Config, Problem};
use crate::domain::{BudgetAction, BudgetDefinition, BudgetScope};
use crate::keys::Keys;

use super::{budget_name, missing_provider};

/// A warning for each budget that is for a provider, or turns calls to a route, which isn't in the settings.
pub fn orphans(keys: &Keys, config: &Config, catalog: &Catalog) -> Vec<Problem> {
    let told = |budget: &BudgetDefinition, message: String| {
        Problem::new(format!("budget \"{}\"", budget_name(budget, keys)), message)
    };
    let mut problems = Vec::new();
    for budget in keys.budgets().iter() {
        if let BudgetAction::Downgrade { to } = &budget.action
            && config.route(to.as_str()).is_none()
        {
            let message = format!(
                "it turns calls to the route {:?}, which isn't in the settings: they are refused when it runs out",
                to.as_str()
            );
            problems.push(told(budget, message));
        }
        if let BudgetScope::Provider(name) = &budget.scope
            && !config.providers.iter().any(|provider| provider.name.as_str() == name.as_str())
        {
            let message = format!("it is for the provider {:?}, which isn't in the settings", name.as_str());
            problems.push(told(budget, message));
        }
        if let BudgetScope::Model(models) = &budget.scope
            && let Some(name) = missing_provider(models, config, catalog)
        {
            let message = format!("it is for {models}, and there is no provider {name:?} in the settings");
            problems.push(told(budget, message));
        }
    }
    problems
}
