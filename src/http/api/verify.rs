//! `/api/verify`: proves the sums of the running server's ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::blocking;
use super::input::Params;
use crate::domain::Picodollars;
use crate::http::problem::{Code, Problem};
use crate::http::state::State;
use crate::ledger::{Difference, VerifyReport};

/// Set while somebody verifies: one at a time, for each holds a snapshot of the whole file.
static IS_RUNNING: AtomicBool = AtomicBool::new(false);

/// What a verification found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyJson {
    /// Whether every sum is what the entries come to.
    ok: bool,
    entries: u64,
    unknown: u64,
    running: u64,
    total_usd: Picodollars,
    rollups: u64,
    balances: u64,
    differences: Vec<DifferenceJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DifferenceJson {
    what: String,
    stored_usd: Picodollars,
    computed_usd: Picodollars,
}

impl From<VerifyReport> for VerifyJson {
    fn from(report: VerifyReport) -> Self {
        let VerifyReport { entries, running, unknown, total, cells, balances, differences } = report;
        let told =
            |Difference { what, stored, computed }| DifferenceJson { what, stored_usd: stored, computed_usd: computed };
        Self {
            ok: differences.is_empty(),
            entries,
            unknown,
            running,
            total_usd: total,
            rollups: cells,
            balances,
            differences: differences.into_iter().map(told).collect(),
        }
    }
}

struct Turn;

impl Turn {
    fn take() -> Option<Self> {
        (!IS_RUNNING.swap(true, Ordering::AcqRel)).then_some(Self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        IS_RUNNING.store(false, Ordering::Release);
    }
}

/// `GET /api/verify`.
pub(super) async fn show(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let turn = Turn::take()
        .ok_or_else(|| Problem::new(Code::Busy, "the ledger is being verified already: try again when that is done"))?;
    let ledger = Arc::clone(&state.ledger);
    let report = blocking(move || {
        // Given back when the work is done, not when the client has gone.
        let _turn = turn;
        ledger.verify()
    });
    Ok(HttpResponse::Ok().json(VerifyJson::from(report.await?)))
}
