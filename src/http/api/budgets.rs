//! `/api/budgets`: what may be spent, and how it stands.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::input::{Json, PAGE_LEN_MAX, Params, etag, expected};
use super::{Items, blocking};
use crate::budget::Standing;
use crate::domain::{
    BudgetAction, BudgetDefinition, BudgetId, BudgetScope, BudgetTerms, Picodollars, Revision, Window,
};
use crate::http::guard::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::state::State;
use crate::keys::KeysError;
use crate::ledger::LedgerError;

/// The query parameters of the list.
pub(super) const PARAMETERS: &[&str] = &["limit", "cursor"];

/// A budget to make.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewBudgetJson {
    scope: BudgetScope,
    window: Window,
    limit_usd: Picodollars,
    action: String,
    #[serde(default)]
    downgrade_to: Option<String>,
    #[serde(default)]
    thresholds: Option<Vec<u8>>,
}

/// The part of a budget that can be changed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TermsJson {
    pub(super) limit_usd: Picodollars,
    pub(super) action: String,
    #[serde(default)]
    pub(super) downgrade_to: Option<String>,
    /// Left out, they stay; of a new budget they are the configured ones.
    #[serde(default)]
    pub(super) thresholds: Option<Vec<u8>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BudgetJson {
    id: String,
    scope: BudgetScope,
    window: &'static str,
    limit_usd: Picodollars,
    action: &'static str,
    downgrade_to: Option<String>,
    thresholds: Vec<u8>,
    created_at: String,
    revision: Revision,
    /// Booked in the present window, calls of unknown end included.
    spent_usd: Picodollars,
    unknown_usd: Picodollars,
    held_usd: Picodollars,
    remaining_usd: Picodollars,
    percent_used: f64,
    resets_at: Option<String>,
}

impl From<Standing> for BudgetJson {
    fn from(standing: Standing) -> Self {
        let budget = &standing.definition;
        Self {
            id: budget.id.to_string(),
            scope: budget.scope.clone(),
            window: budget.window.as_str(),
            limit_usd: budget.limit,
            action: budget.action.word(),
            downgrade_to: budget.action.downgrade_to().map(ToOwned::to_owned),
            thresholds: budget.thresholds.clone(),
            created_at: budget.created.to_string(),
            revision: budget.revision,
            spent_usd: standing.balance.spent,
            unknown_usd: standing.balance.unknown,
            held_usd: standing.balance.held,
            remaining_usd: standing.free(),
            percent_used: percent_used(&standing),
            resets_at: standing.resets_at.map(|at| at.to_string()),
        }
    }
}

/// The share of a limit that is spent, to a hundredth; a limit of nothing is used up.
pub(super) fn percent_used(standing: &Standing) -> f64 {
    if standing.definition.limit.is_zero() {
        return 100.0;
    }
    (standing.balance.spent.percent_of(standing.definition.limit) * 100.0).round() / 100.0
}

/// How budgets stand now.
///
/// The sum of a budget that doesn't block is not needed by any call, so it may not be kept in a window that has just begun;
/// it is from here on, what was spent in the window before included.
pub(super) async fn standings(state: &State, wanted: Vec<Arc<BudgetDefinition>>) -> Result<Vec<Standing>, Problem> {
    let now = state.clock.now();
    let read = |wanted: Vec<Arc<BudgetDefinition>>| {
        let budgets = Arc::clone(&state.budgets);
        blocking(move || {
            let standing = |definition: &Arc<BudgetDefinition>| budgets.standing(definition, now);
            wanted.iter().map(standing).collect::<Result<Vec<Standing>, LedgerError>>()
        })
    };
    let standings = read(wanted.clone()).await?;
    let may_lack_sum =
        |standing: &&Standing| standing.definition.action != BudgetAction::Block && standing.balance.spent.is_zero();
    let tracked = standings.iter().filter(may_lack_sum).map(|standing| state.budgets.track(&standing.definition, now));
    let tracked = futures_util::future::join_all(tracked).await;
    if tracked.iter().any(Result::is_ok) { read(wanted).await } else { Ok(standings) }
}

/// `GET /api/budgets`: oldest first.
pub(super) async fn list(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, PARAMETERS)?;
    let limit = params.whole("limit", 1..=PAGE_LEN_MAX, PAGE_LEN_MAX)?;
    let after = params.text("cursor").map(|cursor| {
        cursor
            .parse::<BudgetId>()
            .map_err(|_| Problem::parameter("cursor", "cursor has to be the nextCursor of an earlier page, as it came"))
    });
    let after = after.transpose()?;
    let all = state.keys.budgets();
    let rest = all.iter().filter(|budget| after.is_none_or(|after| budget.id > after));
    let rest = rest.filter(|budget| is_shown(&state, &caller, &budget.scope));
    let mut page: Vec<Arc<BudgetDefinition>> = rest.take(limit + 1).map(Arc::clone).collect();
    let is_last = page.len() <= limit;
    page.truncate(limit);
    let next_cursor = page.last().filter(|_| !is_last).map(|last| last.id.to_string());
    let items = standings(&state, page).await?.into_iter().map(BudgetJson::from).collect();
    Ok(HttpResponse::Ok().json(Items { items, next_cursor }))
}

/// `GET /api/budgets/{id}`.
pub(super) async fn show(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let budget = state.keys.budget(id.parse()?).filter(|budget| is_shown(&state, &caller, &budget.scope));
    let budget = budget.ok_or_else(missing)?;
    Ok(HttpResponse::Ok().insert_header(etag(budget.revision)).json(standing_of(&state, budget).await?))
}

/// `POST /api/budgets`.
pub(super) async fn create(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    body: Json<NewBudgetJson>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let NewBudgetJson { scope, window, limit_usd, action, downgrade_to, thresholds } = body.0;
    let scope = state.keys.resolved(scope);
    check_scope(&state, &scope)?;
    let terms = checked_terms(&state, TermsJson { limit_usd, action, downgrade_to, thresholds })?;
    let now = state.clock.now();
    let planned = BudgetDefinition::new(BudgetId(0), scope.clone(), window, terms.clone(), now)?;
    if let Some(present) = existing(&state, &scope, window) {
        return Err(KeysError::BudgetExists { scope, window, id: present.id }.into());
    }
    // The sum is there before the budget is: a call in between would begin it at nothing, and what was spent before
    // would never count.
    state.budgets.track(&planned, now).await?;
    let keys = Arc::clone(&state.keys);
    let budget = blocking(move || keys.create_budget(scope, window, terms, now)).await?;
    tracing::info!("{caller} made {}: {} USD per {window} over {}", budget.id, budget.limit, budget.scope);
    let location = format!("/api/budgets/{}", budget.id);
    let mut created = HttpResponse::Created();
    created.insert_header((header::LOCATION, location)).insert_header(etag(budget.revision));
    Ok(created.json(standing_of(&state, budget).await?))
}

/// `PUT /api/budgets/{id}`: new terms for the same scope and window, unless somebody else was quicker.
///
/// A limit below what is spent is taken as it is: such a budget refuses at once, and its thresholds are told once.
pub(super) async fn change(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: web::Path<String>,
    body: Json<TermsJson>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let id: BudgetId = id.parse()?;
    let present = state.keys.budget(id).ok_or_else(missing)?;
    let thresholds = body.0.thresholds.or_else(|| Some(present.thresholds.clone()));
    let terms = checked_terms(&state, TermsJson { thresholds, ..body.0 })?;
    // One that begins to block has to know what was spent in its window.
    state.budgets.track(&present, state.clock.now()).await?;
    let (keys, expected) = (Arc::clone(&state.keys), expected(&request));
    let budget = blocking(move || keys.update_budget(id, terms, &expected)).await?;
    tracing::info!("{caller} changed {}: {} USD, {}", budget.id, budget.limit, budget.action.word());
    Ok(HttpResponse::Ok().insert_header(etag(budget.revision)).json(standing_of(&state, budget).await?))
}

/// `DELETE /api/budgets/{id}`.
pub(super) async fn remove(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let id: BudgetId = id.parse()?;
    let keys = Arc::clone(&state.keys);
    let removed = blocking(move || keys.remove_budget(id)).await?;
    tracing::info!("{caller} removed {id}: {} USD per {} over {}", removed.limit, removed.window, removed.scope);
    Ok(HttpResponse::NoContent().finish())
}

/// Terms that can be: the route of a downgrade is there, and thresholds that were left out are the configured ones.
pub(super) fn checked_terms(state: &State, terms: TermsJson) -> Result<BudgetTerms, Problem> {
    let TermsJson { limit_usd: limit, action, downgrade_to, thresholds } = terms;
    let action = BudgetAction::new(&action, downgrade_to.as_deref())?;
    if let Some(route) = action.downgrade_to()
        && !state.gateway.router().routes().iter().any(|known| known.name == route)
    {
        let detail = format!("downgradeTo: there is no route {route:?}: name one of [[routes]] in tollgate.toml");
        return Err(Problem::field("downgradeTo", detail));
    }
    let thresholds = thresholds.unwrap_or_else(|| state.config.alerts.thresholds.clone());
    let terms = BudgetTerms { limit, action, thresholds };
    // A definition is the check; whom it is over makes no difference to its terms.
    BudgetDefinition::new(BudgetId(0), BudgetScope::Everything, Window::Total, terms.clone(), Timestamp::UNIX_EPOCH)?;
    Ok(terms)
}

/// Whether a caller may see a budget: who is of a team sees those of the team and of its keys. Wider ones would tell what
/// others have spent.
fn is_shown(state: &State, caller: &Caller, scope: &BudgetScope) -> bool {
    let Some(own) = caller.team() else { return true };
    match scope {
        BudgetScope::Team(team) => team.as_str() == own.as_str(),
        BudgetScope::Key(id) => state.keys.get(id).is_some_and(|key| key.team.as_ref() == Some(own)),
        _ => false,
    }
}

/// A budget over something that isn't there would never bind anything.
fn check_scope(state: &State, scope: &BudgetScope) -> Result<(), Problem> {
    match scope {
        BudgetScope::Key(id) if state.keys.get(id).is_none() => Err(Problem::field(
            "scope",
            format!("scope: there is no virtual key {:?}: GET /api/keys lists the ids", id.as_str()),
        )),
        BudgetScope::Provider(name) if state.config.provider(name).is_none() => Err(Problem::field(
            "scope",
            format!("scope: there is no provider {:?}: GET /api/providers lists them", name.as_str()),
        )),
        BudgetScope::Model(models) if state.config.route(models.as_str()).is_some() => Err(Problem::field(
            "scope",
            format!("scope: {models} is a route, and a budget of a model is over what calls reach: name a model"),
        )),
        _ => Ok(()),
    }
}

fn existing(state: &State, scope: &BudgetScope, window: Window) -> Option<Arc<BudgetDefinition>> {
    state.keys.budgets().iter().find(|budget| budget.window == window && budget.scope == *scope).map(Arc::clone)
}

async fn standing_of(state: &State, budget: Arc<BudgetDefinition>) -> Result<BudgetJson, Problem> {
    let standing = standings(state, vec![budget]).await?.pop();
    standing.map(BudgetJson::from).ok_or_else(|| Problem::internal(&"a budget without a standing"))
}

fn missing() -> Problem {
    Problem::new(Code::NotFound, "there is no such budget: GET /api/budgets lists those that there are")
}
