//! What every handler works on: the parts of the running server, put together by `app`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::alerts::Alerts;
use crate::budget::Budgets;
use crate::cache::Cache;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::keys::{Keys, LoginThrottle, SetupToken};
use crate::ledger::Ledger;
use crate::reconciliation::Reconciler;
use crate::revisions::{Reloads, Revisions};
use crate::runtime::{Clock, Tasks};
use crate::telemetry::Metrics;

/// The parts of the running server.
pub struct State {
    /// Who may come in.
    pub keys: Arc<Keys>,
    /// What calls cost.
    pub ledger: Arc<Ledger>,
    /// What they may cost.
    pub budgets: Arc<Budgets>,
    /// Answers that are kept.
    pub cache: Arc<Cache>,
    /// Who is told what.
    pub alerts: Arc<Alerts>,
    /// Whether providers charge what was booked.
    pub reconciler: Arc<Reconciler>,
    /// Which settings were in force since when.
    pub revisions: Arc<Revisions>,
    /// Asks for the settings to be read again.
    pub reloads: Reloads,
    /// The life of a call.
    pub gateway: Arc<Gateway>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
    /// What runs beside the requests.
    pub tasks: Tasks,
    /// When the process began to serve.
    pub started: Instant,
    /// The version of this program.
    pub version: &'static str,
    /// The right to become the first admin, while there is none.
    pub setup: Mutex<Option<SetupToken>>,
    /// How often someone may try to log in.
    pub throttle: LoginThrottle,
    /// Set when the stop begins: what runs ends in peace, and nothing new should be sent here.
    pub draining: AtomicBool,
}

impl State {
    /// The settings that are in force: to be asked once by whoever looks at more than one of them.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.gateway.in_force().config)
    }

    /// Whether the stop has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whole seconds since the process began to serve.
    pub fn uptime_seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}
