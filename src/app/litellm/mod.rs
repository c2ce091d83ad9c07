//! Coming from LiteLLM: what the settings of its proxy come to here, and what of them can't be taken over, and why.
//!
//! [`source`] reads the file and those that it includes as one tree ([`yaml`]), [`of_file`] walks it key by key like the
//! reader of our own settings does, and [`written`] is the `tollgate.toml`. Nothing is left out in silence: whatever was
//! not asked for ends up in the notes. No secret of the file goes into what is written or said.

mod budgets;
mod deployments;
mod groups;
mod limits;
mod notes;
mod prices;
mod providers;
mod rest;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod written;
mod yaml;

pub(super) use budgets::Budget;
pub(super) use notes::{Fate, Note};
pub(super) use source::SourceError;
pub(super) use written::text_of;

use std::path::Path;

use deployments::Deployments;
use groups::Route;
use notes::Notes;
use prices::ModelPrices;
use providers::Providers;
use rest::Rest;
use table::Table;
use yaml::Node;

/// The value of a variable, where it is set: in the file's own `environment_variables`, else in the environment.
pub(super) type Variables<'v> = &'v dyn Fn(&str) -> Option<String>;

/// What settings of LiteLLM come to.
pub(super) struct Takeover {
    providers: Providers,
    routes: Vec<Route>,
    prices: Vec<ModelPrices>,
    rest: Rest,
    /// Limits of money: they are kept in the data folder, not in the file.
    pub(super) budgets: Vec<Budget>,
    /// What was left out, and what is not quite the same.
    pub(super) notes: Vec<Note>,
}

impl Takeover {
    /// The names of the providers, in order.
    pub(super) fn providers(&self) -> Vec<&str> {
        self.providers.iter().map(|provider| provider.name.as_str()).collect()
    }

    /// The names of the routes, in order.
    pub(super) fn routes(&self) -> Vec<&str> {
        self.routes.iter().map(|route| route.name.as_str()).collect()
    }

    /// How many models have a price of their own.
    pub(super) fn prices_len(&self) -> usize {
        self.prices.len()
    }

    /// The variables that the written file refers to, each once.
    pub(super) fn variables(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.providers.iter().filter_map(|provider| provider.key.as_deref()).collect();
        names.extend(self.rest.slack_variable());
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Whether this can be a LiteLLM proxy's file at all.
fn is_litellm(root: &Node) -> bool {
    const SECTIONS: [&str; 5] =
        ["model_list", "litellm_settings", "router_settings", "general_settings", "environment_variables"];
    root.entries().is_some_and(|entries| entries.iter().any(|(key, _)| SECTIONS.contains(&key.as_str())))
}

/// Takes over what can be of a file, and of those that it includes.
pub(super) fn of_file(path: &Path, variables: Variables<'_>) -> Result<Takeover, SourceError> {
    source::read(path).map(|root| take_over(&root, variables))
}

fn take_over(root: &Node, variables: Variables<'_>) -> Takeover {
    let mut notes = Notes::default();
    let root = Table::new(String::new(), root);
    let router = root.table("router_settings", &mut notes);
    let litellm = root.table("litellm_settings", &mut notes);
    let general = root.table("general_settings", &mut notes);
    let variables = rest::variables_of(&root, variables, &mut notes);

    let mut deployments = Deployments::read(&root, &variables, &mut notes);
    limits::settle(&router, &litellm, &mut deployments.providers, &mut notes);
    let routes = groups::read(&router, &litellm, &deployments, &mut notes);
    let mut budgets = std::mem::take(&mut deployments.budgets);
    budgets::read(&router, &litellm, &mut budgets, &mut notes);
    let rest = rest::read(&root, &router, &litellm, &general, &mut notes);
    Takeover {
        providers: deployments.providers,
        routes,
        prices: deployments.prices,
        rest,
        budgets,
        notes: notes.into_sorted(),
    }
}
