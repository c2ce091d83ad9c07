//! `/api/requests/{id}/adjust`: an admin says what a call cost whose cost nobody knew.
//!
//! The entry stays as it is; what changes is booked as an entry of its own, at the time of the call.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::blocking;
use super::entry::EntryDetail;
use super::input::{Json, Params};
use crate::domain::{EntryStatus, Picodollars, RequestId};
use crate::http::guard::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::state::State;
use crate::ledger::{Adjusted, NotAdjustable};

/// What a call cost in truth, and how somebody knows.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AdjustJson {
    cost_usd: Picodollars,
    reason: String,
    #[serde(default)]
    above_held: bool,
}

/// `POST /api/requests/{id}/adjust`.
pub(super) async fn adjust(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: web::Path<String>,
    body: Json<AdjustJson>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let AdjustJson { cost_usd, reason, above_held } = body.0;
    let id: RequestId = id.parse().map_err(|_| missing())?;
    let call = adjust_call(&state, id, (cost_usd, above_held), &caller.to_string(), &reason).await?;
    Ok(HttpResponse::Ok().json(EntryDetail::new(&call, &state.gateway.router(), None, true)))
}

/// Makes a call cost what somebody knows that it cost; where it does already, nothing changes. Beside the cost stands whether it
/// may be more than was held for the call.
pub(in crate::http) async fn adjust_call(
    state: &State,
    id: RequestId,
    (cost, may_be_above_held): (Picodollars, bool),
    by: &str,
    reason: &str,
) -> Result<Adjusted, Problem> {
    let read = || {
        let ledger = Arc::clone(&state.ledger);
        blocking(move || ledger.call(id))
    };
    let call = read().await?.ok_or_else(missing)?;
    if call.entry.status == EntryStatus::Pending {
        return Err(Problem::new(Code::NotAdjustable, format!("{id} is still running: it has no cost yet")));
    }
    let (cause, wanted) =
        call.by_hand(cost, may_be_above_held, by, reason, state.clock.now()).map_err(|reason| refused(&reason))?;
    for outcome in state.ledger.adjust(cause, vec![(id, wanted)]).await? {
        if let Some(entry) = outcome? {
            tracing::info!("{by} adjusted {id} by {} USD: {reason:?}", entry.cost());
        }
    }
    read().await?.ok_or_else(missing)
}

fn refused(reason: &NotAdjustable) -> Problem {
    let detail = reason.to_string();
    match reason {
        NotAdjustable::IsAdjustment { .. } | NotAdjustable::Exact { .. } => Problem::new(Code::NotAdjustable, detail),
        NotAdjustable::AboveHeld { .. } => Problem::field(
            "aboveHeld",
            format!("aboveHeld: {detail}; where it is true all the same, send aboveHeld: true"),
        ),
        NotAdjustable::Negative => Problem::field("costUsd", format!("costUsd: {detail}")),
        NotAdjustable::Reason => Problem::field("reason", format!("reason: {detail}")),
    }
}

fn missing() -> Problem {
    Problem::new(Code::NotFound, "there is no such request: GET /api/requests lists those that there are")
}
