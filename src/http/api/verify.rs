//! `/api/verify`: proves the entries and sums of the running server's ledger.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::blocking;
use super::input::{Json, Params};
use super::turn::Turn;
use crate::domain::Picodollars;
use crate::http::problem::{Code, Problem};
use crate::http::state::State;
use crate::ledger::{ChainFault, Difference, Heads, VerifyReport};

/// The query parameters of a verification.
pub(super) const PARAMETERS: &[&str] = &["heads"];

/// Set while somebody verifies: one at a time, for each holds a snapshot of the whole file.
static IS_RUNNING: AtomicBool = AtomicBool::new(false);

/// What a verification found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyJson {
    /// Whether every entry is what was booked, and every sum what they come to.
    ok: bool,
    entries: u64,
    unknown: u64,
    running: u64,
    total_usd: Picodollars,
    rollups: u64,
    balances: u64,
    /// UTC days whose chains were folded.
    chains: usize,
    differences: Vec<DifferenceJson>,
    chain_faults: Vec<ChainFaultJson>,
    /// Only where it was asked for: a day each.
    #[serde(skip_serializing_if = "Option::is_none")]
    heads: Option<Heads>,
}

/// What heads were kept before.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ExpectationJson {
    expect: Heads,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ChainFaultJson {
    /// The UTC day; null for the names.
    day: Option<String>,
    /// The entry, where it is known which.
    id: Option<String>,
    what: String,
}

impl From<ChainFault> for ChainFaultJson {
    fn from(fault: ChainFault) -> Self {
        Self {
            day: fault.day.map(|day| day.to_string()),
            id: fault.id.map(|id| id.to_string()),
            what: fault.to_string(),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DifferenceJson {
    what: String,
    stored_usd: Picodollars,
    computed_usd: Picodollars,
}

impl VerifyJson {
    /// The report as it is answered and printed; with the heads where they are wanted.
    pub fn new(report: VerifyReport, with_heads: bool) -> Self {
        let ok = report.is_sound();
        let VerifyReport { entries, running, unknown, total, cells, balances, differences, chain_faults, heads } =
            report;
        let told =
            |Difference { what, stored, computed }| DifferenceJson { what, stored_usd: stored, computed_usd: computed };
        Self {
            ok,
            entries,
            unknown,
            running,
            total_usd: total,
            rollups: cells,
            balances,
            chains: heads.days.len(),
            differences: differences.into_iter().map(told).collect(),
            chain_faults: chain_faults.into_iter().map(Into::into).collect(),
            heads: with_heads.then_some(heads),
        }
    }
}

/// `GET /api/verify`.
pub(super) async fn show(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, PARAMETERS)?;
    let with_heads = params.word("heads", &[true, false], |value| if value { "true" } else { "false" })?;
    prove(&state, None, with_heads.unwrap_or(false)).await
}

/// `POST /api/verify`.
pub(super) async fn prove_kept(
    state: web::Data<State>,
    request: HttpRequest,
    body: Json<ExpectationJson>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    prove(&state, Some(body.0.expect), true).await
}

async fn prove(state: &State, expected: Option<Heads>, with_heads: bool) -> Result<HttpResponse, Problem> {
    let turn = Turn::take(&IS_RUNNING)
        .ok_or_else(|| Problem::new(Code::Busy, "the ledger is being verified already: try again when that is done"))?;
    let ledger = Arc::clone(&state.ledger);
    let report = blocking(move || {
        // Given back when the work is done, not when the client has gone.
        let _turn = turn;
        ledger.verify(expected.as_ref(), |_| {})
    });
    Ok(HttpResponse::Ok().json(VerifyJson::new(report.await?, with_heads)))
}
