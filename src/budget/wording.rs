//! How people call a budget and its windows.

use crate::domain::{BudgetDefinition, BudgetScope, Window};
use crate::keys::Keys;

/// How people call a budget.
pub fn budget_name(definition: &BudgetDefinition, keys: &Keys) -> String {
    match &definition.scope {
        BudgetScope::Everything => "All of Tollgate".to_owned(),
        BudgetScope::Key(id) => keys.get(id).map_or_else(|| id.to_string(), |key| key.name.clone()),
        scope => scope.id().unwrap_or_default(),
    }
}

/// How often a budget begins anew.
pub fn window_words(window: Window) -> &'static str {
    match window {
        Window::Hour => "hourly",
        Window::Day => "daily",
        Window::Week => "weekly",
        Window::Month => "monthly",
        Window::Total => "in all",
    }
}
