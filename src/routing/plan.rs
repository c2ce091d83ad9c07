//! Where a call may go: deployments in order, with all that is known of each.

use std::sync::Arc;
use std::time::Instant;

use crate::catalog::ModelFacts;
use crate::config::HedgeConfig;
use crate::domain::{Decision, Deployment, Endpoint, Obstacle, Picodollars};
use crate::provider::{Errand, Upstream};

/// One deployment that may serve a call.
#[derive(Clone)]
pub struct Candidate {
    /// The provider and model.
    pub deployment: Deployment,
    /// How the provider is called.
    pub upstream: Arc<Upstream>,
    /// What is known of the model; absent where it has no price.
    pub facts: Option<Arc<ModelFacts>>,
    /// Whether a route or the price list names it: a client may have made it up.
    pub is_listed: bool,
}

impl Candidate {
    /// Whether calls there are refused at the moment.
    pub fn is_open(&self, now: Instant) -> bool {
        self.upstream.health().is_open(&self.deployment.model, now)
    }

    /// What keeps calls that came in by a path from it now.
    pub fn obstacle(&self, endpoint: Endpoint, now: Instant) -> Option<Obstacle> {
        if self.is_open(now) {
            Some(Obstacle::Circuit)
        } else if self.upstream.credentials().look(&self.errand(endpoint), now).is_err() {
            Some(Obstacle::Keys)
        } else if !self.upstream.places().has_room() {
            Some(Obstacle::Places)
        } else {
            None
        }
    }

    /// What a call that came in by a path wants of the provider; the path there is another one where its dialect is.
    pub fn errand(&self, endpoint: Endpoint) -> Errand {
        let path = self.upstream.provider().asked_at(endpoint).unwrap_or(endpoint);
        Errand { model: self.deployment.model.clone(), is_listed: self.is_listed, path }
    }
}

/// Where a call may go, best first.
#[derive(Clone)]
pub struct Plan {
    /// At least one.
    pub candidates: Vec<Candidate>,
    /// How many attempts may be made in all.
    pub attempts_max: u32,
    /// What failed attempts may have cost before another is made; absent where the rule for all calls holds.
    pub retry_usd_max: Option<Picodollars>,
    /// How they came into this order; absent where the call names its model itself.
    pub decision: Option<Arc<Decision>>,
    /// Whether a second attempt may start beside a slow one.
    pub hedge: Option<HedgeConfig>,
}

impl Plan {
    /// The candidates that a call asks at most, and those behind them that no attempt is left for. Who is passed over without an
    /// attempt stands behind all that nothing keeps from the call, and takes none from them.
    pub fn within_attempts(&self) -> (&[Candidate], &[Candidate]) {
        self.candidates.split_at(self.candidates.len().min(self.attempts_max as usize))
    }
}
