//! `/api/teams`: teams, made, listed, renamed and removed, with their people, budgets and keys and what each spent.

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::budgets::{BudgetJson, standings};
use super::input::{Json, Params, etag, expected};
use super::{Items, blocking};
use crate::domain::{BudgetScope, Picodollars, Revision, TeamId, Window, url_encoded};
use crate::http::guard::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::state::State;
use crate::keys::{KeyStatus, Team, VirtualKey};
use crate::ledger::{GroupBy, LedgerError, TimeRange, View};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTeamJson {
    name: String,
}

/// A team in the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TeamJson {
    id: String,
    name: String,
    created_at: String,
    revision: Revision,
    live_key_count: usize,
    member_count: usize,
    spent_this_month_usd: Picodollars,
}

/// A team with all that it has.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TeamDetail {
    #[serde(flatten)]
    team: TeamJson,
    members: Vec<MemberJson>,
    budgets: Vec<BudgetJson>,
    keys: Vec<TeamKeyJson>,
}

#[derive(Debug, Serialize)]
struct MemberJson {
    name: String,
    role: &'static str,
    state: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TeamKeyJson {
    id: String,
    name: String,
    last4: String,
    status: &'static str,
    spent_this_month_usd: Picodollars,
}

/// What was spent this month, by key or by team.
async fn spent(view: View, now: Timestamp, by: GroupBy) -> Result<HashMap<String, Picodollars>, Problem> {
    blocking(move || {
        let month = Window::Month.at(now, view.zone());
        let (from, until) = (month.start(view.zone()).unwrap_or(now), month.end(view.zone()).unwrap_or(now));
        let groups = view.costs(TimeRange { from, until }, &[by])?.groups;
        Ok::<_, LedgerError>(groups.into_iter().map(|group| (group.name, group.sums.cost)).collect())
    })
    .await
}

fn row(state: &State, team: &Team, keys: &[Arc<VirtualKey>], spent: &HashMap<String, Picodollars>) -> TeamJson {
    let now = state.clock.now();
    let is_live = |key: &&Arc<VirtualKey>| key.team.as_ref() == Some(&team.id) && key.status(now) == KeyStatus::Live;
    TeamJson {
        id: team.id.to_string(),
        name: team.name.clone(),
        created_at: team.created.to_string(),
        revision: team.revision,
        live_key_count: keys.iter().filter(is_live).count(),
        member_count: state.keys.users().iter().filter(|user| user.role.team() == Some(&team.id)).count(),
        spent_this_month_usd: spent.get(team.id.as_str()).copied().unwrap_or_default(),
    }
}

/// `GET /api/teams`: by name.
pub(super) async fn list(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let spent = spent(caller.view(&state), state.clock.now(), GroupBy::Team).await?;
    let keys = state.keys.list();
    let mut teams = state.keys.teams();
    teams.retain(|team| caller.sees_team(Some(&team.id)));
    teams.sort_by_key(|team| team.name.to_lowercase());
    let items = teams.iter().map(|team| row(&state, team, &keys, &spent)).collect();
    Ok(HttpResponse::Ok().json(Items { items, next_cursor: None }))
}

/// The team of an id or name, where the caller may see it; another one is as good as none.
fn found(state: &State, caller: &Caller, text: &str) -> Result<Arc<Team>, Problem> {
    let team = state.keys.team(text).filter(|team| caller.sees_team(Some(&team.id)));
    team.ok_or_else(|| Problem::new(Code::NotFound, "there is no such team: GET /api/teams lists those that there are"))
}

/// `GET /api/teams/{id}`.
pub(super) async fn show(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let team = found(&state, &caller, &id)?;
    answer(&state, HttpResponse::Ok(), &team).await
}

async fn answer(
    state: &State,
    mut response: actix_web::HttpResponseBuilder,
    team: &Team,
) -> Result<HttpResponse, Problem> {
    let now = state.clock.now();
    let of_team = View::new(&state.ledger, Some(&team.id));
    let by_team = spent(of_team.clone(), now, GroupBy::Team).await?;
    let by_key = spent(of_team, now, GroupBy::Key).await?;
    let mut keys = state.keys.list();
    keys.retain(|key| key.team.as_ref() == Some(&team.id));
    keys.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    let all = state.keys.budgets();
    let is_its = |scope: &BudgetScope| matches!(scope, BudgetScope::Team(name) if name.as_str() == team.id.as_str());
    let budgets = all.iter().filter(|budget| is_its(&budget.scope)).map(Arc::clone).collect();
    let detail = TeamDetail {
        team: row(state, team, &keys, &by_team),
        members: members(state, &team.id),
        budgets: standings(state, budgets).await?.into_iter().map(BudgetJson::from).collect(),
        keys: keys
            .iter()
            .map(|key| TeamKeyJson {
                id: key.id.to_string(),
                name: key.name.clone(),
                last4: key.last4.clone(),
                status: key.status(now).as_str(),
                spent_this_month_usd: by_key.get(key.id.as_str()).copied().unwrap_or_default(),
            })
            .collect(),
    };
    Ok(response.insert_header(etag(team.revision)).json(detail))
}

fn members(state: &State, team: &TeamId) -> Vec<MemberJson> {
    let users = state.keys.users();
    let its = users.iter().filter(|user| user.role.team() == Some(team));
    its.map(|user| MemberJson { name: user.name.clone(), role: user.role.as_str(), state: user.state.as_str() })
        .collect()
}

/// `POST /api/teams`.
pub(super) async fn create(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    body: Json<NewTeamJson>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let (keys, now) = (Arc::clone(&state.keys), state.clock.now());
    let team = blocking(move || keys.create_team(&body.0.name, now)).await?;
    tracing::info!("{caller} made the team {:?}", team.id.as_str());
    let mut response = HttpResponse::Created();
    response.insert_header((header::LOCATION, format!("/api/teams/{}", url_encoded(team.id.as_str()))));
    answer(&state, response, &team).await
}

/// `PATCH /api/teams/{id}`.
pub(super) async fn change(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: web::Path<String>,
    body: Json<NewTeamJson>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let id = found(&state, &caller, &id)?.id.clone();
    let (keys, expected) = (Arc::clone(&state.keys), expected(&request));
    let team = blocking(move || keys.rename_team(&id, &body.0.name, &expected)).await?;
    tracing::info!("{caller} named the team {:?} {:?}", team.id.as_str(), team.name);
    answer(&state, HttpResponse::Ok(), &team).await
}

/// `DELETE /api/teams/{id}`.
pub(super) async fn remove(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let id = found(&state, &caller, &id)?.id.clone();
    let (keys, now, expected) = (Arc::clone(&state.keys), state.clock.now(), expected(&request));
    let team = blocking(move || keys.remove_team(&id, &expected, now)).await?;
    tracing::info!("{caller} removed the team {:?}", team.id.as_str());
    Ok(HttpResponse::NoContent().finish())
}
