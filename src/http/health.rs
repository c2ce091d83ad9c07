//! Up or down, for load balancers and supervisors: nothing else is told to who has no credential.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::state::State;

/// Whether the server works.
#[derive(Serialize)]
struct Health {
    status: &'static str,
}

/// `GET /health`: whether calls can be booked, and so be made.
pub async fn health(state: web::Data<State>) -> HttpResponse {
    answer(state.ledger.trouble().is_none())
}

/// `GET /ready`: whether new calls should be sent here.
pub async fn ready(state: web::Data<State>) -> HttpResponse {
    answer(!state.is_draining() && state.ledger.trouble().is_none())
}

fn answer(is_up: bool) -> HttpResponse {
    if is_up {
        HttpResponse::Ok().json(Health { status: "ok" })
    } else {
        HttpResponse::ServiceUnavailable().json(Health { status: "unavailable" })
    }
}
