//! Limits of money, as far as the file has them: the proxy's, its providers' and its deployments'.

use super::notes::Notes;
use super::table::Table;
use super::yaml::Node;
use crate::domain::{ModelId, Picodollars, ProviderName, Window};

/// A budget to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::app) struct Budget {
    /// The kind of what it binds.
    pub(in crate::app) kind: &'static str,
    /// Its name; none for everything.
    pub(in crate::app) name: Option<String>,
    pub(in crate::app) window: Window,
    pub(in crate::app) limit: Picodollars,
}

impl Budget {
    /// The scope as commands take it.
    pub(in crate::app) fn scope(&self) -> String {
        self.name.as_ref().map_or_else(|| self.kind.to_owned(), |name| format!("{}:{name}", self.kind))
    }

    /// The command that makes it.
    pub(in crate::app) fn command(&self) -> String {
        let scope = self.scope();
        let is_plain = scope.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_./".contains(&byte));
        let scope = if is_plain { scope } else { format!("'{}'", scope.replace('\'', r"'\''")) };
        format!("tollgate budget set {scope} {} {}", self.window.as_str(), self.limit)
    }
}

/// The calendar window of a LiteLLM duration; nothing where none is as long.
fn window_of(duration: &str) -> Option<Window> {
    match duration {
        "1h" | "60m" | "3600s" => Some(Window::Hour),
        "1d" | "24h" | "86400s" => Some(Window::Day),
        "7d" | "1w" => Some(Window::Week),
        "1mo" | "30d" | "31d" => Some(Window::Month),
        _ => None,
    }
}

/// The window and limit of a pair of keys; what is no window of ours is told of.
pub(super) fn read_limit(
    table: &Table<'_>,
    limit_key: &str,
    window_key: &str,
    notes: &mut Notes,
) -> Option<(Window, Picodollars)> {
    let limit = table.number(limit_key, notes);
    let duration = table.text(window_key);
    let limit = limit?;
    let Some(units) = limit
        .in_units(12)
        .map(|rounded| rounded.units)
        .filter(|units| *units <= Picodollars::from_dollars(1_000_000_000).get())
    else {
        notes.left_out(table.at(limit_key), "beyond any budget", "set it with tollgate budget set");
        return None;
    };
    let limit = Picodollars::new(units);
    let Some(duration) = duration else { return Some((Window::Total, limit)) };
    let Some(window) = window_of(duration) else {
        notes.left_out(
            table.at(window_key),
            "windows here are the calendar's hours, days, weeks and months",
            format!("choose one: tollgate budget set SCOPE WINDOW {limit}"),
        );
        return None;
    };
    notes.changed(
        table.at(window_key),
        format!("the window is the calendar's {window}, in the configured time zone"),
        "it begins anew at its start, not so long after the first call",
    );
    Some((window, limit))
}

/// The budget of one deployment: that of its model here.
pub(super) fn of_deployment(params: &Table<'_>, model: &str, notes: &mut Notes) -> Option<Budget> {
    let (window, limit) = read_limit(params, "max_budget", "budget_duration", notes)?;
    let name = ModelId::new(model).ok().filter(|_| !model.contains('*'))?;
    notes.changed(
        params.at("max_budget"),
        "the budget binds the model, at whatever provider it is called",
        "make one of the provider instead, if it should bind that",
    );
    Some(Budget { kind: "model", name: Some(name.to_string()), window, limit })
}

/// The proxy's budget, and those of its providers.
pub(super) fn read(router: &Table<'_>, litellm: &Table<'_>, budgets: &mut Vec<Budget>, notes: &mut Notes) {
    if let Some((window, limit)) = read_limit(litellm, "max_budget", "budget_duration", notes) {
        budgets.insert(0, Budget { kind: "everything", name: None, window, limit });
    }
    let providers = router.table("provider_budget_config", notes);
    let names: Vec<&str> = router
        .get("provider_budget_config")
        .and_then(Node::entries)
        .unwrap_or_default()
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    for name in names {
        let provider = providers.table(name, notes);
        let limit_key = if provider.get("budget_limit").is_some() { "budget_limit" } else { "max_budget" };
        let window_key = if provider.get("time_period").is_some() { "time_period" } else { "budget_duration" };
        let Some((window, limit)) = read_limit(&provider, limit_key, window_key, notes) else { continue };
        match ProviderName::new(name) {
            Ok(name) => budgets.push(Budget { kind: "provider", name: Some(name.to_string()), window, limit }),
            Err(_) => notes.left_out(
                provider.place(),
                "no name that a provider can have here",
                "set it with tollgate budget set",
            ),
        }
    }
    // Two deployments of one model with the same limit come to one budget.
    let mut seen: Vec<Budget> = Vec::new();
    for budget in std::mem::take(budgets) {
        match seen
            .iter()
            .find(|other| (other.kind, &other.name, other.window) == (budget.kind, &budget.name, budget.window))
        {
            None => seen.push(budget),
            Some(other) if other.limit == budget.limit => {}
            Some(_) => notes.left_out(
                router.place(),
                format!("{} has two budgets of one {}", budget.scope(), budget.window),
                "the first was taken; set another with tollgate budget set",
            ),
        }
    }
    *budgets = seen;
}
