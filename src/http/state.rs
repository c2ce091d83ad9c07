//! What every handler can reach.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::budget::Budgets;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::keys::{Keys, LoginThrottle, SetupToken};
use crate::ledger::Ledger;
use crate::runtime::{Clock, Tasks};
use crate::telemetry::Metrics;

/// The parts of a running server.
pub struct State {
    /// The settings.
    pub config: Arc<Config>,
    /// Virtual keys, users, sessions, admin tokens.
    pub keys: Arc<Keys>,
    /// What calls cost.
    pub ledger: Arc<Ledger>,
    /// What they may cost.
    pub budgets: Arc<Budgets>,
    /// Takes calls.
    pub gateway: Arc<Gateway>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
    /// What runs beside requests.
    pub tasks: Tasks,
    /// When the process began.
    pub started: Instant,
    /// The version of the binary.
    pub version: &'static str,
    /// The token that makes the first admin, while there is none.
    pub setup: Mutex<Option<SetupToken>>,
    /// Who tried to log in, how often.
    pub throttle: LoginThrottle,
    /// Set when the server stops taking calls.
    pub draining: AtomicBool,
}
