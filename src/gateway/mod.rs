//! The life of a call.

mod error;

use std::sync::{Arc, RwLock};

use crate::budget::Budgets;
use crate::config::Config;
use crate::domain::RequestIds;
use crate::keys::Keys;
use crate::ledger::Ledger;
use crate::routing::Router;
use crate::runtime::{Clock, Tasks};
use crate::telemetry::Metrics;

pub use error::GatewayError;

/// What a gateway is made of.
pub struct Parts {
    /// The settings.
    pub config: Arc<Config>,
    /// Where calls go.
    pub router: Arc<Router>,
    /// What they cost.
    pub ledger: Arc<Ledger>,
    /// What they may cost.
    pub budgets: Arc<Budgets>,
    /// Who makes them.
    pub keys: Arc<Keys>,
    /// What is counted of them.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
    /// Where they run.
    pub tasks: Tasks,
    /// Their ids.
    pub ids: RequestIds,
}

/// Takes calls from clients to providers and books them.
pub struct Gateway {
    parts: Parts,
    router: RwLock<Arc<Router>>,
}

impl Gateway {
    /// A gateway over its parts.
    pub fn new(parts: Parts) -> Self {
        let router = RwLock::new(Arc::clone(&parts.router));
        Self { parts, router }
    }

    /// Where calls go now.
    pub fn router(&self) -> Arc<Router> {
        Arc::clone(&self.router.read().expect("no holder of this lock panics"))
    }

    /// Sends calls elsewhere from now on, as after a change of prices; those that run end as they began.
    pub fn replace_router(&self, router: Arc<Router>) {
        *self.router.write().expect("no holder of this lock panics") = router;
    }

    /// The parts that it is made of.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }
}
