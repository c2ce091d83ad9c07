//! The route of a call that names no model but [`AUTO`]: that of its operation, or one that ships with the program.

use std::sync::Arc;

use crate::catalog::Catalog;
use crate::config::{Operation, RouteConfig};
use crate::domain::{Deployment, ModelId, Strategy};
use crate::provider::Upstream;

/// The name to ask for where the operation shall choose the route.
pub const AUTO: &str = "auto";

/// What an operation asks of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Many calls, of which none is hard: the cheapest of the small models.
    Everyday,
    /// Few calls, whose mistakes are dear: the large models in the order of the file.
    Careful,
}

impl Class {
    fn of(operation: Operation) -> Self {
        match operation {
            Operation::Chat | Operation::AnalyzeIssue | Operation::ExplainCode => Self::Everyday,
            Operation::GenerateCode | Operation::ReviewCode | Operation::SuggestFix => Self::Careful,
        }
    }

    const fn models(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Everyday => {
                &[("openai", "gpt-5-mini"), ("anthropic", "claude-haiku-4-5"), ("sandbox", "sandbox-small")]
            }
            Self::Careful => &[("openai", "gpt-5"), ("anthropic", "claude-sonnet-5"), ("sandbox", "sandbox-large")],
        }
    }

    const fn strategy(self) -> Strategy {
        match self {
            Self::Everyday => Strategy::CostOptimized,
            Self::Careful => Strategy::Fallback,
        }
    }
}

/// The routes that ship with the program, over the providers that are configured.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnRoutes {
    everyday: Option<RouteConfig>,
    careful: Option<RouteConfig>,
}

impl OwnRoutes {
    pub(super) fn new(upstreams: &[Arc<Upstream>], catalog: &Catalog) -> Self {
        let route = |class| own_route(class, upstreams, catalog);
        Self { everyday: route(Class::Everyday), careful: route(Class::Careful) }
    }

    /// That of an operation; one that has no name here is everyday.
    pub(super) fn of(&self, operation: &str) -> Option<&RouteConfig> {
        match operation_of(operation).map(Class::of) {
            Some(Class::Careful) => self.careful.as_ref(),
            _ => self.everyday.as_ref(),
        }
    }
}

/// The operation that a header names.
pub(super) fn operation_of(name: &str) -> Option<Operation> {
    use crate::config::Choice as _;
    Operation::all().iter().copied().find(|operation| operation.as_str() == name)
}

/// The first of each model, and one to fall back to: who has many accounts writes a route.
fn few_of_each(all: impl Iterator<Item = Deployment>) -> Vec<Deployment> {
    let mut few: Vec<Deployment> = Vec::new();
    for deployment in all {
        if few.iter().filter(|known| known.model == deployment.model).count() < 2 {
            few.push(deployment);
        }
    }
    few
}

fn own_route(class: Class, upstreams: &[Arc<Upstream>], catalog: &Catalog) -> Option<RouteConfig> {
    let deployment = |upstream: &Arc<Upstream>| {
        let (_, model) = class.models().iter().find(|(list, _)| *list == upstream.catalog())?;
        let model: ModelId = model.parse().ok()?;
        catalog
            .find(upstream.name(), upstream.catalog(), model.as_str())
            .map(|_| Deployment { provider: upstream.name().clone(), model })
    };
    // A sandbox is asked only where nobody else is there.
    let (sandboxes, real): (Vec<_>, Vec<_>) = upstreams.iter().partition(|upstream| upstream.sandbox().is_some());
    let mut deployments = few_of_each(real.into_iter().filter_map(deployment));
    if deployments.is_empty() {
        deployments = few_of_each(sandboxes.into_iter().filter_map(deployment));
    }
    let weights = vec![1; deployments.len()];
    let name = AUTO.to_owned();
    let route = RouteConfig {
        name,
        strategy: class.strategy(),
        deployments,
        weights,
        attempts_max: super::ATTEMPTS_MAX,
        retry_usd_max: None,
        hedge: None,
    };
    (!route.deployments.is_empty()).then_some(route)
}
