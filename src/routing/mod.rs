//! Where a call goes: which deployments a name stands for, in which order, and what follows a failure.
//!
//! [`Router::plan`] resolves a name; a strategy puts the candidates in order. Health is what calls themselves have
//! shown: nobody is probed for it. Further strategies add an arm to `order`.

mod circuit;
mod health;
mod retry;

use std::sync::Arc;
use std::time::Instant;

use crate::catalog::{Catalog, ModelFacts};
use crate::config::{RouteConfig, Strategy};
use crate::domain::{Deployment, Endpoint, ModelId, ProviderName};
use crate::provider::Upstream;

pub use circuit::{Circuit, CircuitPolicy, Health};
pub use health::HealthBook;
pub use retry::{Step, step};

/// Attempts of a call that no route speaks for.
const ATTEMPTS_MAX: u32 = 3;

/// One deployment that may serve a call.
#[derive(Clone)]
pub struct Candidate {
    /// The provider and model.
    pub deployment: Deployment,
    /// How the provider is called.
    pub upstream: Arc<Upstream>,
    /// What is known of the model; absent where it has no price.
    pub facts: Option<Arc<ModelFacts>>,
}

/// Where a call may go, best first.
#[derive(Clone)]
pub struct Plan {
    /// At least one.
    pub candidates: Vec<Candidate>,
    /// How many attempts may be made in all.
    pub attempts_max: u32,
}

/// Why a name leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No route, provider or model of that name.
    #[error("{}", unknown_message(model, suggestion.as_deref(), *configured))]
    UnknownModel {
        /// What was asked for.
        model: String,
        /// A name that is close to it.
        suggestion: Option<String>,
        /// Whether any provider is configured at all.
        configured: bool,
    },
    /// No provider has the path.
    #[error("no configured provider has {path}: add one to tollgate.toml")]
    NoProvider {
        /// The path that was asked.
        path: &'static str,
    },
    /// The model is there, but not by this path.
    #[error("{deployment} has no {path}: use {other}")]
    NotServed {
        /// Where the name leads.
        deployment: Deployment,
        /// The path that was asked.
        path: &'static str,
        /// What to do instead.
        other: &'static str,
    },
}

fn unknown_message(model: &str, suggestion: Option<&str>, configured: bool) -> String {
    match (suggestion, configured) {
        (_, false) => format!(
            "no provider is configured, so {model:?} can't be reached: set OPENAI_API_KEY or ANTHROPIC_API_KEY, or add [[providers]] to tollgate.toml"
        ),
        (Some(suggestion), true) => {
            format!("the model {model:?} is not known; did you mean {suggestion:?}? GET /v1/models lists all")
        }
        (None, true) => {
            format!(
                "the model {model:?} is not known; ask for a route, for provider/model, or for a model of GET /v1/models"
            )
        }
    }
}

/// The deployments and routes of one configuration.
pub struct Router {
    upstreams: Vec<Arc<Upstream>>,
    routes: Vec<RouteConfig>,
    catalog: Arc<Catalog>,
    health: Arc<HealthBook>,
}

impl Router {
    /// A router over configured providers and routes.
    pub fn new(
        upstreams: Vec<Arc<Upstream>>,
        routes: Vec<RouteConfig>,
        catalog: Arc<Catalog>,
        health: Arc<HealthBook>,
    ) -> Self {
        Self { upstreams, routes, catalog, health }
    }

    /// The configured providers, in order.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// The configured routes, in order.
    pub fn routes(&self) -> &[RouteConfig] {
        &self.routes
    }

    /// The price list in use.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// What calls have shown of the deployments.
    pub fn health(&self) -> &Arc<HealthBook> {
        &self.health
    }

    /// Resolves a name: a route first, then `provider/anything`, then a bare model at the first provider that has it.
    pub fn plan(&self, name: &str, endpoint: Endpoint, now: Instant) -> Result<Plan, RouteError> {
        let (mut candidates, attempts_max, strategy) =
            if let Some(route) = self.routes.iter().find(|route| route.name == name) {
                let candidates: Vec<Candidate> =
                    route.deployments.iter().filter_map(|deployment| self.candidate(deployment)).collect();
                (candidates, route.attempts_max, route.strategy)
            } else {
                let candidate = self.named(name).or_else(|| self.bare(name, endpoint));
                (candidate.into_iter().collect(), ATTEMPTS_MAX, Strategy::Primary)
            };
        let Some(first) = candidates.first().map(|candidate: &Candidate| candidate.deployment.clone()) else {
            let (model, configured) = (name.chars().take(128).collect(), !self.upstreams.is_empty());
            return Err(RouteError::UnknownModel { suggestion: self.suggestion(name), model, configured });
        };
        candidates.retain(|candidate| candidate.upstream.provider().asked_at(endpoint).is_some());
        if candidates.is_empty() {
            let other = match endpoint {
                Endpoint::Completions => "/v1/chat/completions, which reaches every provider",
                Endpoint::Embeddings => "an embedding model of an OpenAI or OpenAI-compatible provider",
                _ => "a model of a provider that has it",
            };
            return Err(RouteError::NotServed { deployment: first, path: endpoint.path(), other });
        }
        self.order(&mut candidates, strategy, now);
        Ok(Plan { candidates, attempts_max })
    }

    /// Where a call goes that names no model: the first provider that has the path.
    pub fn plan_without_model(&self, endpoint: Endpoint) -> Result<Plan, RouteError> {
        let serves = |upstream: &&Arc<Upstream>| upstream.provider().asked_at(endpoint).is_some();
        let model: ModelId = endpoint.as_str().parse().expect("the words of endpoints are names");
        let candidate = self.upstreams.iter().find(serves).map(|upstream| {
            let deployment = Deployment { provider: upstream.name().clone(), model };
            Candidate { deployment, upstream: Arc::clone(upstream), facts: None }
        });
        let candidates: Vec<Candidate> = candidate.into_iter().collect();
        if candidates.is_empty() {
            return Err(RouteError::NoProvider { path: endpoint.path() });
        }
        Ok(Plan { candidates, attempts_max: ATTEMPTS_MAX })
    }

    fn order(&self, candidates: &mut Vec<Candidate>, strategy: Strategy, now: Instant) {
        match strategy {
            Strategy::Primary => candidates.truncate(1),
            // In order, by health: an open circuit goes to the end, to be tried when nothing else is left.
            Strategy::Fallback
            | Strategy::CostOptimized
            | Strategy::Performance
            | Strategy::Weighted
            | Strategy::Learned
            | Strategy::Experiment => {
                candidates.sort_by_key(|candidate| self.health.is_open(&candidate.deployment, now));
            }
        }
    }

    fn candidate(&self, deployment: &Deployment) -> Option<Candidate> {
        let upstream = self.upstream(&deployment.provider)?;
        let facts = self.catalog.find(upstream.name(), upstream.catalog(), deployment.model.as_str());
        Some(Candidate { deployment: deployment.clone(), upstream: Arc::clone(upstream), facts })
    }

    fn upstream(&self, name: &ProviderName) -> Option<&Arc<Upstream>> {
        self.upstreams.iter().find(|upstream| upstream.name() == name)
    }

    /// `provider/anything`.
    pub fn named(&self, name: &str) -> Option<Candidate> {
        self.candidate(&name.parse().ok()?)
    }

    /// A bare model, at the first provider that has it; one that serves the path before one that doesn't.
    fn bare(&self, name: &str, endpoint: Endpoint) -> Option<Candidate> {
        let model: ModelId = name.parse().ok()?;
        let serves = |upstream: &&Arc<Upstream>| {
            upstream.sandbox().is_some() || self.catalog.serves(upstream.name(), upstream.catalog(), name)
        };
        let mut serving: Vec<&Arc<Upstream>> = self.upstreams.iter().filter(serves).collect();
        serving
            .sort_by_key(|upstream| (upstream.sandbox().is_some(), upstream.provider().asked_at(endpoint).is_none()));
        let upstream = serving.first()?;
        self.candidate(&Deployment { provider: upstream.name().clone(), model })
    }

    /// Whether the price list or a route has a deployment: a name that a client made up is in neither.
    pub fn knows(&self, deployment: &Deployment) -> bool {
        let is_priced = |upstream: &Arc<Upstream>| {
            self.catalog.find(upstream.name(), upstream.catalog(), deployment.model.as_str()).is_some()
        };
        self.upstream(&deployment.provider).is_some_and(is_priced)
            || self.routes.iter().any(|route| route.deployments.contains(deployment))
    }

    /// Every name that a client can ask for: routes, then the models of each provider's price list.
    pub fn names(&self) -> Vec<(String, Option<Candidate>)> {
        let mut names: Vec<(String, Option<Candidate>)> =
            self.routes.iter().map(|route| (route.name.clone(), None)).collect();
        for upstream in &self.upstreams {
            for facts in self.catalog.models(upstream.catalog()) {
                let Ok(model) = facts.id.parse::<ModelId>() else { continue };
                if names.iter().any(|(name, _)| *name == *facts.id) {
                    continue;
                }
                let deployment = Deployment { provider: upstream.name().clone(), model };
                let candidate =
                    Candidate { deployment, upstream: Arc::clone(upstream), facts: Some(Arc::clone(facts)) };
                names.push((facts.id.to_string(), Some(candidate)));
            }
        }
        names
    }

    fn suggestion(&self, name: &str) -> Option<String> {
        if name.chars().count() > 128 {
            return None;
        }
        let close = |known: String| {
            let similarity = strsim::jaro_winkler(&known, name);
            (similarity > 0.85).then_some((similarity, known))
        };
        let known = self.names().into_iter().map(|(name, _)| name);
        known.filter_map(close).max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, name)| name)
    }
}
