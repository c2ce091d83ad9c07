//! The settings that come next: built whole beside those that are in force, and then put in their place.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::attachments::Attachments;
use super::super::parts::upstreams_after;
use super::super::{price_file, with_causes};
use super::{Ground, Read};
use crate::alerts::Receivers;
use crate::budget::{budget_name, missing_provider};
use crate::config::{Config, Problem, changed_keys};
use crate::domain::{BudgetAction, BudgetDefinition, BudgetScope};
use crate::gateway::InForce;
use crate::revisions::{Effective, Mark};
use crate::routing::{Directory, Router};

/// Everything that is to be put into force, ready.
pub(super) struct Next {
    pub(super) read: Read,
    /// The keys that differ from what was read before.
    pub(super) changed: Vec<String>,
    /// Absent where nothing has changed.
    pub(super) in_force: Option<InForce>,
    /// Absent where they stay.
    pub(super) receivers: Option<Receivers>,
}

impl Ground {
    /// Builds what settings come to, or tells of everything that is in the way.
    pub(super) fn next(&self, config: Config, before: &Read) -> Result<Next, Vec<Problem>> {
        let present = self.gateway.in_force();
        let (reached, waiting) = config.clone().within_reach_of(&self.started);
        let built = |what: &'static str| move |error: anyhow::Error| Problem::new(what, with_causes(&error));
        let attachments = Attachments::read(&config);
        let upstreams = upstreams_after(&reached, Some(&present), &attachments).map_err(built("providers"));
        let catalog = price_file::catalog_with(&reached, &attachments).map_err(built("catalog.file"));
        let receivers = (reached.alerts != present.config.alerts)
            .then(|| Receivers::new(&reached.alerts, reached.tls.ca_file.as_deref()))
            .transpose()
            .map_err(|error| Problem::new("alerts", error.to_string()));
        let (upstreams, catalog, receivers) = match (upstreams, catalog, receivers) {
            (Ok(upstreams), Ok(catalog), Ok(receivers)) => (upstreams, catalog, receivers),
            (upstreams, catalog, receivers) => {
                let problems = [upstreams.err(), catalog.err(), receivers.err()];
                return Err(problems.into_iter().flatten().collect());
            }
        };
        let attached = attachments.marks(&config, &self.keys);
        let effective = self.effective(&config, attached, waiting.into_iter().map(ToOwned::to_owned).collect());
        let changed = changed(before, &config, &effective);
        let in_force = (!changed.is_empty()).then(|| {
            let experience = Arc::clone(present.router.experience());
            let router = Router::new(upstreams, Directory::of(&reached), Arc::new(catalog), experience);
            InForce { config: Arc::new(reached), router: Arc::new(router) }
        });
        Ok(Next { read: Read { config, effective }, changed, in_force, receivers })
    }

    /// Puts them into force. Nothing here can fail.
    pub(super) fn put_in_force(&self, next: &InForce, receivers: Option<Receivers>) {
        let config = &next.config;
        // Before the first call that may be kept, or say a secret.
        self.content.learn(config.secrets.iter().map(|(_, secret)| secret.clone()));
        self.content.make_ready(config.log.bodies);
        let had_cache = self.gateway.in_force().config.cache.enabled;
        self.gateway.put_in_force(next.clone());
        self.reconciler.follow(config);
        if let Some(receivers) = receivers {
            self.alerts.follow(receivers);
        }
        if had_cache && !config.cache.enabled {
            let entries = self.cache.clear(self.clock.now());
            tracing::info!("the response cache is off: {entries} entries are gone");
        }
    }

    /// What settings come to, as it is kept, with the marks of the files that they name.
    pub(super) fn effective(
        &self,
        config: &Config,
        attached: BTreeMap<String, Mark>,
        waiting: Vec<String>,
    ) -> Effective {
        let mut marks = attached;
        for (path, secret) in &config.secrets {
            marks.insert(path.clone(), self.keys.mark(path, secret.expose().as_bytes()));
        }
        let mut warnings = config.warnings.clone();
        if config.providers.is_empty() {
            let message = "there is none, so no call can be made; set OPENAI_API_KEY or ANTHROPIC_API_KEY, or add [[providers]] to tollgate.toml";
            warnings.push(Problem::new("providers", message));
        }
        warnings.extend(self.orphaned_budgets(config));
        let parts = waiting.iter().flat_map(|keys| keys.split(", "));
        let still = parts.filter_map(|key| Some((key.to_owned(), self.started.shown(key)?))).collect();
        Effective { settings: config.masked(), marks, waiting, still, warnings }
    }

    /// Budgets that name what these settings don't have.
    fn orphaned_budgets(&self, config: &Config) -> Vec<Problem> {
        let told = |budget: &BudgetDefinition, message: String| {
            Problem::new(format!("budget \"{}\"", budget_name(budget, &self.keys)), message)
        };
        let mut problems = Vec::new();
        for budget in self.keys.budgets().iter() {
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
                && let Some(name) = missing_provider(models, config, self.gateway.router().catalog())
            {
                let message = format!("it is for {models}, and there is no provider {name:?} in the settings");
                problems.push(told(budget, message));
            }
        }
        problems
    }
}

/// The keys that differ from what was read before, those whose values aren't shown included.
fn changed(before: &Read, config: &Config, effective: &Effective) -> Vec<String> {
    let mut changed = changed_keys(&before.effective.settings, &effective.settings);
    let (old, new) = (&before.effective.marks, &effective.marks);
    let differing = old.keys().chain(new.keys()).filter(|path| old.get(*path) != new.get(*path));
    for path in differing {
        let is_told = changed.iter().any(|told| {
            path.strip_prefix(told.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        });
        if !is_told {
            changed.push(path.clone());
        }
    }
    if changed.is_empty() && config.prices != before.config.prices {
        // In another order: of two patterns that are as close the first counts.
        changed.push("prices".to_owned());
    }
    changed
}
