//! `/api/costs`: what was spent, in groups.

use std::collections::HashMap;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::blocking;
use super::input::Params;
use crate::domain::Picodollars;
use crate::http::guard::Caller;
use crate::http::problem::Problem;
use crate::http::state::State;
use crate::keys::Keys;
use crate::ledger::{CostGroup, Costs, GroupBy, TimeRange, View};
use crate::reports::csv::Rows;

/// The query parameters of sums.
pub(super) const PARAMETERS: &[&str] = &["from", "to", "groupBy"];
/// Hours that one answer lists: a quarter.
const HOURS_MAX: i64 = 92 * 24;
/// Days that one answer lists: ten years.
const DAYS_MAX: i64 = 3_660;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CostsJson {
    from: String,
    to: String,
    group_by: Option<String>,
    total_usd: Picodollars,
    held_usd: Picodollars,
    pending_count: u64,
    unknown_usd: Picodollars,
    unknown_count: u64,
    saved_usd: Picodollars,
    requests: u64,
    failed_requests: u64,
    unpriced_attempts: u64,
    input_tokens: u64,
    cached_input_tokens: u64,
    output_tokens: u64,
    groups: Vec<GroupJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupJson {
    /// The group's name; empty for what has none, such as calls without a team.
    key: String,
    /// The id behind the name, where groups are virtual keys or teams.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    cost_usd: Picodollars,
    unknown_usd: Picodollars,
    requests: u64,
    failed_requests: u64,
    input_tokens: u64,
    cached_input_tokens: u64,
    output_tokens: u64,
    saved_usd: Picodollars,
}

/// `GET /api/costs`.
pub(super) async fn show(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, PARAMETERS)?;
    let group_by = group_by(&params)?;
    let range = params.range(state.clock.now(), state.ledger.zone())?;
    let view = caller.view(&state);
    let names = Names::of(&state.keys, &view);
    let costs = sums(view, range, group_by.clone()).await?;
    let total = &costs.total;
    let answer = CostsJson {
        from: range.from.to_string(),
        to: range.until.to_string(),
        group_by: params.owned("groupBy"),
        total_usd: total.cost,
        held_usd: costs.held,
        pending_count: costs.pending,
        unknown_usd: total.unknown_cost,
        unknown_count: total.unknown,
        saved_usd: total.saved,
        requests: total.requests,
        failed_requests: total.failed,
        unpriced_attempts: total.unpriced,
        input_tokens: total.usage.total_input(),
        cached_input_tokens: total.usage.cache_read,
        output_tokens: total.usage.total_output(),
        groups: groups(&costs, group_by.as_ref(), &names),
    };
    Ok(HttpResponse::Ok().json(answer))
}

pub(super) fn group_by(params: &Params) -> Result<Option<GroupBy>, Problem> {
    let Some(word) = params.text("groupBy") else { return Ok(None) };
    GroupBy::from_word(word).map(Some).ok_or_else(|| {
        let detail = "groupBy has to be one of provider, model, operation, key, team, tag:NAME, day, hour";
        Problem::parameter("groupBy", detail)
    })
}

async fn sums(view: View, range: TimeRange, by: Option<GroupBy>) -> Result<Costs, Problem> {
    check_length(range, by.as_ref())?;
    blocking(move || view.costs(range, by.as_slice())).await
}

/// Refuses more hours or days than one answer lists.
pub(super) fn check_length(range: TimeRange, by: Option<&GroupBy>) -> Result<(), Problem> {
    let seconds = range.until.as_second() - range.from.as_second();
    let too_long = |max: i64, what: &str| {
        Err(Problem::parameter(
            "groupBy",
            format!("this range has more than {max} {what}: choose a shorter one, or wider groups"),
        ))
    };
    match by {
        Some(GroupBy::Hour) if seconds > HOURS_MAX * 3_600 => too_long(HOURS_MAX, "hours"),
        Some(GroupBy::Day) if seconds > DAYS_MAX * 86_400 => too_long(DAYS_MAX, "days"),
        _ => Ok(()),
    }
}

/// The names of virtual keys and teams by their ids, as far as they may be seen.
pub(super) struct Names {
    keys: HashMap<String, String>,
    teams: HashMap<String, String>,
}

impl Names {
    pub(super) fn of(keys: &Keys, view: &View) -> Self {
        // A key that has gone to another team since has a name there that is not for everybody.
        let mut all = keys.list();
        all.retain(|key| view.team().is_none_or(|own| key.team.as_ref() == Some(own)));
        Self {
            keys: all.iter().map(|key| (key.id.to_string(), key.name.clone())).collect(),
            teams: keys.teams().iter().map(|team| (team.id.to_string(), team.name.clone())).collect(),
        }
    }

    /// The name of a virtual key; its id where it is not known.
    pub(super) fn key<'a>(&'a self, id: &'a str) -> &'a str {
        self.keys.get(id).map_or(id, String::as_str)
    }
}

/// Groups as they are answered.
pub(super) fn groups(costs: &Costs, by: Option<&GroupBy>, names: &Names) -> Vec<GroupJson> {
    let named = match by {
        Some(GroupBy::Key) => Some(&names.keys),
        Some(GroupBy::Team) => Some(&names.teams),
        _ => None,
    };
    let group = |CostGroup { name, sums, .. }: &CostGroup| GroupJson {
        key: named.and_then(|names| names.get(name)).unwrap_or(name).clone(),
        key_id: named.map(|_| name.clone()),
        cost_usd: sums.cost,
        unknown_usd: sums.unknown_cost,
        requests: sums.requests,
        failed_requests: sums.failed,
        input_tokens: sums.usage.total_input(),
        cached_input_tokens: sums.usage.cache_read,
        output_tokens: sums.usage.total_output(),
        saved_usd: sums.saved,
    };
    costs.groups.iter().map(group).collect()
}

/// Groups as rows below a header.
pub(super) fn group_rows(groups: &[GroupJson]) -> String {
    let mut rows =
        Rows::with_header("key,cost_usd,requests,input_tokens,cached_input_tokens,output_tokens,saved_usd,key_id");
    for group in groups {
        rows.text(&group.key)
            .number(Some(group.cost_usd))
            .number(Some(group.requests))
            .number(Some(group.input_tokens))
            .number(Some(group.cached_input_tokens))
            .number(Some(group.output_tokens))
            .number(Some(group.saved_usd))
            .text(group.key_id.as_deref().unwrap_or_default())
            .end();
    }
    rows.into_text()
}
