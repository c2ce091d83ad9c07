//! Stand-in for the HTTP layer: the state that the application hands over, `/health` and `/ready`.

pub mod sandbox_server;

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use actix_web::{App, HttpResponse, HttpServer, web};

use crate::budget::Budgets;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::keys::{Keys, LoginThrottle, SetupToken};
use crate::ledger::Ledger;
use crate::provider::ClientSettings;
use crate::runtime::{Clock, Tasks};
use crate::telemetry::Metrics;

/// What handlers share.
#[allow(missing_docs)]
pub struct State {
    pub config: Arc<Config>,
    pub keys: Arc<Keys>,
    pub ledger: Arc<Ledger>,
    pub budgets: Arc<Budgets>,
    pub gateway: Arc<Gateway>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub tasks: Tasks,
    pub started: Instant,
    pub version: &'static str,
    pub setup: Mutex<Option<SetupToken>>,
    pub throttle: LoginThrottle,
    pub draining: AtomicBool,
}

/// Serves on a listener until the server's handle stops it.
pub fn serve(
    listener: TcpListener,
    state: Arc<State>,
    _client_settings: ClientSettings,
) -> std::io::Result<actix_web::dev::Server> {
    let state = web::Data::from(state);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .route("/health", web::get().to(|| async { HttpResponse::Ok().body("ok") }))
            .route(
                "/ready",
                web::get().to(|state: web::Data<State>| async move {
                    if state.draining.load(Ordering::Acquire) {
                        HttpResponse::ServiceUnavailable().body("draining")
                    } else {
                        HttpResponse::Ok().body("ready")
                    }
                }),
            )
    });
    Ok(server.disable_signals().shutdown_timeout(3).listen(listener)?.run())
}
