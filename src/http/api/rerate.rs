//! `/api/re-rate`: what calls would have cost at other prices, page by page; and booking the difference.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::blocking;
use super::input::{INSTANT_EXPECTED, Json, Params, instant};
use crate::domain::{Picodollars, RequestId};
use crate::http::guard::Caller;
use crate::http::problem::Problem;
use crate::http::state::State;
use crate::ledger::LedgerError;
use crate::rerate::{Booked, Prices, Rerated, Rerating, cause};

/// The longest name of a file that is kept as a reason.
const NAME_CHARS_MAX: usize = 100;

/// Which calls to see by which prices.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RerateRequest {
    from: String,
    #[serde(default)]
    to: Option<String>,
    /// What is in the file; the prices in force where it is left out.
    #[serde(default)]
    prices: Option<String>,
    /// What the file is called, for messages and reasons.
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    book: bool,
    #[serde(default)]
    cursor: Option<String>,
}

/// What some calls would have cost.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RerateJson {
    /// Calls that were looked at.
    calls: u64,
    groups: Vec<GroupJson>,
    left: Vec<LeftJson>,
    /// The sections of the file of prices: one that fits nothing on any page was written for something else.
    sections: Vec<SectionJson>,
    /// Adjustments that were booked.
    booked: u64,
    booked_usd: Picodollars,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupJson {
    day: String,
    provider: String,
    model: String,
    attempts: u64,
    changed: u64,
    was_usd: Picodollars,
    would_be_usd: Picodollars,
    difference_usd: Picodollars,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LeftJson {
    provider: String,
    model: String,
    reason: &'static str,
    why: &'static str,
    attempts: u64,
    cost_usd: Picodollars,
}

#[derive(Debug, Serialize)]
struct SectionJson {
    name: String,
    attempts: u64,
}

impl RerateJson {
    /// A page as it is answered.
    pub fn new(rerated: &Rerated, booked: Booked) -> Self {
        let groups = rerated.groups.iter().map(|((day, deployment), sums)| GroupJson {
            day: day.to_string(),
            provider: deployment.provider.to_string(),
            model: deployment.model.to_string(),
            attempts: sums.attempts,
            changed: sums.changed,
            was_usd: sums.was,
            would_be_usd: sums.would_be,
            difference_usd: sums.would_be - sums.was,
        });
        let left = rerated.left.iter().map(|((deployment, left), rest)| LeftJson {
            provider: deployment.provider.to_string(),
            model: deployment.model.to_string(),
            reason: left.as_str(),
            why: left.why(),
            attempts: rest.attempts,
            cost_usd: rest.cost,
        });
        Self {
            calls: rerated.calls,
            groups: groups.collect(),
            left: left.collect(),
            sections: rerated
                .sections
                .iter()
                .map(|(name, attempts)| SectionJson { name: name.clone(), attempts: *attempts })
                .collect(),
            booked: booked.adjustments,
            booked_usd: booked.amount,
            next_cursor: rerated.next.map(|next| next.to_string()),
        }
    }
}

/// `POST /api/re-rate`.
pub(super) async fn rerate(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    body: Json<RerateRequest>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let asked = body.0;
    let now = state.clock.now();
    let zone = state.ledger.zone();
    let time = |field: &'static str, text: &str| {
        instant(text, zone).ok_or_else(|| Problem::field(field, format!("{field}: {field} {INSTANT_EXPECTED}")))
    };
    let from = time("from", &asked.from)?;
    let until = asked.to.as_deref().map(|to| time("to", to)).transpose()?.unwrap_or(now);
    if from >= until {
        return Err(Problem::field("from", "from: from has to lie before to, which is not part of the range itself"));
    }
    let first = match &asked.cursor {
        None => RequestId::first_of(from.as_millisecond()),
        Some(cursor) => cursor.parse().map_err(|_| {
            Problem::field("cursor", "cursor: it has to be the nextCursor of an earlier page, as it came")
        })?,
    };
    let name = asked.name.as_deref();
    if name.is_some_and(|name| name.chars().nth(NAME_CHARS_MAX).is_some() || name.chars().any(char::is_control)) {
        return Err(Problem::field("name", format!("name: at most {NAME_CHARS_MAX} characters without line breaks")));
    }
    let router = state.gateway.router();
    let in_force = Arc::clone(router.catalog());
    let prices = match &asked.prices {
        None => Prices::in_force_only(in_force),
        Some(text) => Prices::read(in_force, name.unwrap_or("prices"), text)
            .map_err(|error| Problem::field("prices", format!("prices: {error}")))?,
    };
    let rerating = Rerating::new(Arc::clone(&state.ledger), prices, router.upstreams().to_vec());
    let until = RequestId::first_of(until.as_millisecond());
    let (rerating, rerated) = blocking(move || {
        let rerated = rerating.look(first, until)?;
        Ok::<_, LedgerError>((rerating, rerated))
    })
    .await?;
    let mut booked = Booked::default();
    if asked.book {
        let cause = cause(&caller.to_string(), name.filter(|_| asked.prices.is_some()), now);
        booked = rerating.book(&rerated, &cause).await?;
        if booked.adjustments > 0 {
            let Booked { adjustments, amount } = booked;
            tracing::info!("{caller} booked {adjustments} adjustments of {amount} USD in all: {}", cause.reason);
        }
    }
    Ok(HttpResponse::Ok().json(RerateJson::new(&rerated, booked)))
}
