//! `/api/keys`: virtual keys, made, listed, changed, renewed and taken back.
//!
//! A member has to do with the keys of their team alone: others are not there for them, and what would widen what a key
//! may do beyond its making is for admins.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::budgets::{TermsJson, checked_terms};
use super::input::{INSTANT_EXPECTED, Json, MaybeJson, PAGE_LEN_MAX, Params, etag, expected, instant, length};
use super::{Items, blocking};
use crate::config::NewKeyBudget;
use crate::domain::{
    BudgetDefinition, BudgetScope, BudgetTerms, EndpointFamily, KeyId, Picodollars, Revision, Secret, Window,
};
use crate::http::guard::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::state::State;
use crate::keys::{Edit, KeyBudget, KeyLimits, KeyPatch, Keys, NewKey, PreviousSecret, VirtualKey};

/// The query parameters of the list.
pub(super) const PARAMETERS: &[&str] = &["limit", "cursor"];

/// What a key is to be; everything but its name may be left out, or null.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewKeyJson {
    name: String,
    #[serde(default)]
    team: Option<String>,
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    budgets: Option<Vec<NewKeyBudgetJson>>,
    #[serde(default)]
    allowed_models: Option<Vec<String>>,
    #[serde(default)]
    allowed_endpoints: Option<Vec<EndpointFamily>>,
    #[serde(default)]
    limits: Option<LimitsJson>,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    tags: Option<BTreeMap<String, String>>,
}

/// What is to be changed about a key: what is left out stays, null takes away.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KeyPatchJson {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    team: Edit<String>,
    #[serde(default)]
    owner: Edit<String>,
    #[serde(default)]
    allowed_models: Edit<Vec<String>>,
    #[serde(default)]
    allowed_endpoints: Edit<Vec<EndpointFamily>>,
    #[serde(default)]
    limits: Edit<LimitsPatchJson>,
    #[serde(default)]
    expires_at: Edit<String>,
    #[serde(default)]
    tags: Edit<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LimitsPatchJson {
    #[serde(default)]
    requests_per_minute: Edit<u64>,
    #[serde(default)]
    tokens_per_minute: Edit<u64>,
    #[serde(default)]
    concurrent_requests: Edit<u64>,
}

/// How long the secret before goes on; left out, not at all.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RotationJson {
    #[serde(default)]
    overlap: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewKeyBudgetJson {
    window: Window,
    limit_usd: Picodollars,
    action: String,
    #[serde(default)]
    downgrade_to: Option<String>,
    #[serde(default)]
    thresholds: Option<Vec<u8>>,
}

/// How much a key may do; null is as much as the server allows.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LimitsJson {
    #[serde(default)]
    requests_per_minute: Option<u64>,
    #[serde(default)]
    tokens_per_minute: Option<u64>,
    #[serde(default)]
    concurrent_requests: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyJson {
    id: String,
    name: String,
    /// In the answer that made it only.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    last4: String,
    status: &'static str,
    /// The team's id.
    team: Option<String>,
    team_name: Option<String>,
    owner: Option<String>,
    tags: BTreeMap<String, String>,
    allowed_models: Option<Vec<String>>,
    allowed_endpoints: Option<Vec<EndpointFamily>>,
    limits: LimitsJson,
    budgets: Vec<KeyBudgetJson>,
    /// A key without any budget of its own spends without end, unless a wider budget stops it.
    is_without_budget: bool,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    /// Earlier secrets that still open it.
    previous_secrets: Vec<PreviousJson>,
    /// What `If-Match` names, as in the header `ETag`.
    revision: Revision,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PreviousJson {
    last4: String,
    valid_until: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyBudgetJson {
    id: String,
    window: &'static str,
    limit_usd: Picodollars,
    action: &'static str,
    downgrade_to: Option<String>,
    thresholds: Vec<u8>,
}

impl KeyJson {
    fn new(
        keys: &Keys,
        key: &VirtualKey,
        budgets: &[Arc<BudgetDefinition>],
        secret: Option<Secret<String>>,
        now: Timestamp,
    ) -> Self {
        let previous = |secret: &PreviousSecret| PreviousJson {
            last4: secret.last4.clone(),
            valid_until: secret.valid_until.to_string(),
        };
        let KeyLimits { requests_per_minute, tokens_per_minute, concurrent_requests } = key.limits;
        let budgets: Vec<KeyBudgetJson> = budgets.iter().map(|budget| KeyBudgetJson::new(budget)).collect();
        Self {
            id: key.id.to_string(),
            name: key.name.clone(),
            key: secret.map(|secret| secret.expose().clone()),
            last4: key.last4.clone(),
            status: key.status(now).as_str(),
            team: key.team.as_ref().map(ToString::to_string),
            team_name: key.team.as_ref().map(|team| keys.team_name(team.as_str())),
            owner: key.owner.clone(),
            tags: key.tags.clone(),
            allowed_models: key.allowed_models.clone(),
            allowed_endpoints: key.allowed_endpoints.clone(),
            limits: LimitsJson { requests_per_minute, tokens_per_minute, concurrent_requests },
            is_without_budget: budgets.is_empty(),
            budgets,
            created_at: key.created.to_string(),
            expires_at: key.expires_at.map(|at| at.to_string()),
            revoked_at: key.revoked_at.map(|at| at.to_string()),
            previous_secrets: key.valid_previous(now).map(previous).collect(),
            revision: key.revision,
        }
    }

    fn of(state: &State, key: &VirtualKey, secret: Option<Secret<String>>) -> Self {
        let scope = BudgetScope::Key(key.id.clone());
        let budgets = state.keys.budgets();
        let own: Vec<_> = budgets.iter().filter(|budget| budget.scope == scope).map(Arc::clone).collect();
        Self::new(&state.keys, key, &own, secret, state.clock.now())
    }
}

impl KeyBudgetJson {
    fn new(budget: &BudgetDefinition) -> Self {
        Self {
            id: budget.id.to_string(),
            window: budget.window.as_str(),
            limit_usd: budget.limit,
            action: budget.action.word(),
            downgrade_to: budget.action.downgrade_to().map(ToOwned::to_owned),
            thresholds: budget.thresholds.clone(),
        }
    }
}

/// `GET /api/keys`: oldest first, the revoked ones too, for entries name them.
pub(super) async fn list(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, PARAMETERS)?;
    let limit = params.whole("limit", 1..=PAGE_LEN_MAX, PAGE_LEN_MAX)?;
    let mut keys = state.keys.list();
    keys.retain(|key| caller.sees_team(key.team.as_ref()));
    keys.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    // Keys are never forgotten, so the one that a cursor names is still there.
    let first = match params.text("cursor") {
        None => 0,
        Some(cursor) => {
            let last = keys.iter().position(|key| key.id.as_str() == cursor);
            1 + last.ok_or_else(|| {
                Problem::parameter("cursor", "cursor has to be the nextCursor of an earlier page, as it came")
            })?
        }
    };
    let page = &keys[first.min(keys.len())..];
    let next_cursor = page.get(limit).and_then(|_| page.get(limit - 1)).map(|last| last.id.to_string());
    let mut budgets: HashMap<&KeyId, Vec<Arc<BudgetDefinition>>> = HashMap::new();
    let all = state.keys.budgets();
    for budget in all.iter() {
        if let BudgetScope::Key(id) = &budget.scope {
            budgets.entry(id).or_default().push(Arc::clone(budget));
        }
    }
    let now = state.clock.now();
    let own = |key: &VirtualKey| budgets.get(&key.id).map(Vec::as_slice).unwrap_or_default();
    let items = page.iter().take(limit).map(|key| KeyJson::new(&state.keys, key, own(key), None, now)).collect();
    Ok(HttpResponse::Ok().json(Items { items, next_cursor }))
}

/// `GET /api/keys/{id}`.
pub(super) async fn show(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let key = found(&state, &caller, &id)?;
    Ok(HttpResponse::Ok().insert_header(etag(key.revision)).json(KeyJson::of(&state, &key, None)))
}

/// The key of an id, where the caller may see it; another team's is as good as none.
fn found(state: &State, caller: &Caller, id: &str) -> Result<Arc<VirtualKey>, Problem> {
    let key = state.keys.get(&KeyId::new(id)?).filter(|key| caller.sees_team(key.team.as_ref()));
    key.ok_or_else(missing)
}

/// `POST /api/keys`.
pub(super) async fn create(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    body: Json<NewKeyJson>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let mut new = checked(&state, body.0)?;
    new.team = team_for(&state, &caller, new.team)?;
    let (keys, now) = (Arc::clone(&state.keys), state.clock.now());
    let (key, secret) = blocking(move || keys.create(new, now)).await?;
    tracing::info!("{caller} made the virtual key {} ({:?})", key.id, key.name);
    let budgets = state.keys.budgets();
    let scope = BudgetScope::Key(key.id.clone());
    for budget in budgets.iter().filter(|budget| budget.scope == scope) {
        // Nothing was spent with a key that is new, so a sum that is not kept yet begins right all the same.
        if let Err(error) = state.budgets.track(budget, now).await {
            tracing::warn!("the sum of {} is not kept yet: {error}", budget.id);
        }
    }
    let location = format!("/api/keys/{}", key.id);
    let answer = KeyJson::of(&state, &key, Some(secret));
    let mut created = HttpResponse::Created();
    created.insert_header((header::LOCATION, location)).insert_header(etag(key.revision));
    Ok(created.json(answer))
}

/// The team of a key that someone makes: any for admins, their own for members.
fn team_for(state: &State, caller: &Caller, asked: Option<String>) -> Result<Option<String>, Problem> {
    let Some(own) = caller.team() else { return Ok(asked) };
    let is_own = |asked: &String| state.keys.team(asked).is_some_and(|team| team.id == *own);
    if asked.as_ref().is_none_or(is_own) {
        return Ok(Some(own.to_string()));
    }
    Err(Problem::new(Code::Forbidden, "you make keys for your own team: leave team out").with("field", "team"))
}

/// `PATCH /api/keys/{id}`.
pub(super) async fn change(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: web::Path<String>,
    body: Json<KeyPatchJson>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let id = found(&state, &caller, &id)?.id.clone();
    if !caller.is_admin() {
        body.0.check_for_member()?;
    }
    let patch = body.0.into_patch(&state)?;
    let (keys, now, expected) = (Arc::clone(&state.keys), state.clock.now(), expected(&request));
    let key = blocking(move || keys.change_key(&id, patch, &expected, now)).await?;
    tracing::info!("{caller} changed the virtual key {} ({:?})", key.id, key.name);
    Ok(HttpResponse::Ok().insert_header(etag(key.revision)).json(KeyJson::of(&state, &key, None)))
}

impl KeyPatchJson {
    /// What an admin has set about a key is not a member's to lift.
    fn check_for_member(&self) -> Result<(), Problem> {
        let for_admins = [
            ("team", !self.team.is_keep()),
            ("allowedModels", !self.allowed_models.is_keep()),
            ("allowedEndpoints", !self.allowed_endpoints.is_keep()),
            ("limits", !self.limits.is_keep()),
            ("expiresAt", !self.expires_at.is_keep()),
        ];
        match for_admins.iter().find(|(_, is_sent)| *is_sent) {
            None => Ok(()),
            Some((field, _)) => {
                let detail = format!("{field} is for admins to change: ask one, or make another key for your team");
                Err(Problem::new(Code::Forbidden, detail).with("field", *field))
            }
        }
    }

    fn into_patch(self, state: &State) -> Result<KeyPatch, Problem> {
        let limits = match self.limits {
            Edit::Keep => LimitsPatchJson::default(),
            Edit::Set(limits) => limits,
            // Null for all the limits takes each of them away.
            Edit::Clear => LimitsPatchJson {
                requests_per_minute: Edit::Clear,
                tokens_per_minute: Edit::Clear,
                concurrent_requests: Edit::Clear,
            },
        };
        Ok(KeyPatch {
            name: self.name,
            team: self.team,
            owner: self.owner,
            tags: match self.tags {
                Edit::Keep => None,
                Edit::Clear => Some(BTreeMap::new()),
                Edit::Set(tags) => Some(tags),
            },
            allowed_models: self.allowed_models,
            allowed_endpoints: self.allowed_endpoints,
            requests_per_minute: limits.requests_per_minute,
            tokens_per_minute: limits.tokens_per_minute,
            concurrent_requests: limits.concurrent_requests,
            expires_at: self.expires_at.try_map(|text| expiry(state, &text))?,
        })
    }
}

/// `POST /api/keys/{id}/rotate`: a new secret for a live key; the old one goes on for the overlap.
pub(super) async fn rotate(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: web::Path<String>,
    body: MaybeJson<RotationJson>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let id = found(&state, &caller, &id)?.id.clone();
    let overlap = body.0.overlap.as_deref().map(|text| length("overlap", text)).transpose()?.unwrap_or_default();
    let (keys, now) = (Arc::clone(&state.keys), state.clock.now());
    let (key, secret) = blocking(move || keys.rotate(&id, overlap, now)).await?;
    tracing::info!("{caller} gave the virtual key {} a new secret, with {overlap:?} of overlap", key.id);
    Ok(HttpResponse::Ok().insert_header(etag(key.revision)).json(KeyJson::of(&state, &key, Some(secret))))
}

/// `DELETE /api/keys/{id}`: the key opens nothing any more, and stays in the list.
pub(super) async fn revoke(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let id = found(&state, &caller, &id)?.id.clone();
    let (keys, now) = (Arc::clone(&state.keys), state.clock.now());
    let key = blocking(move || keys.revoke(&id, now)).await?;
    tracing::info!("{caller} revoked the virtual key {}", key.id);
    Ok(HttpResponse::NoContent().finish())
}

fn missing() -> Problem {
    Problem::new(Code::NotFound, "there is no such virtual key: GET /api/keys lists those that there are")
}

/// What the body asks for, with the budget that keys without one get.
fn checked(state: &State, body: NewKeyJson) -> Result<NewKey, Problem> {
    let expires_at = body.expires_at.map(|text| expiry(state, &text));
    let mut budgets = Vec::new();
    for NewKeyBudgetJson { window, limit_usd, action, downgrade_to, thresholds } in body.budgets.unwrap_or_default() {
        if budgets.iter().any(|present: &KeyBudget| present.window == window) {
            return Err(Problem::field("budgets", format!("there are two budgets per {window}: leave one out")));
        }
        let terms = checked_terms(state, TermsJson { limit_usd, action, downgrade_to, thresholds })?;
        budgets.push(KeyBudget { window, terms });
    }
    if budgets.is_empty() {
        budgets
            .extend(state.config().limits.new_key_budget.as_ref().map(|usual| usual_budget(state, usual)).transpose()?);
    }
    let LimitsJson { requests_per_minute, tokens_per_minute, concurrent_requests } = body.limits.unwrap_or_default();
    Ok(NewKey {
        name: body.name,
        team: body.team,
        owner: body.owner,
        tags: body.tags.unwrap_or_default(),
        allowed_models: body.allowed_models,
        allowed_endpoints: body.allowed_endpoints,
        limits: KeyLimits { requests_per_minute, tokens_per_minute, concurrent_requests },
        expires_at: expires_at.transpose()?,
        budgets,
    })
}

fn expiry(state: &State, text: &str) -> Result<Timestamp, Problem> {
    let at = instant(text, state.ledger.zone());
    at.ok_or_else(|| Problem::field("expiresAt", format!("expiresAt {INSTANT_EXPECTED}")))
}

fn usual_budget(state: &State, usual: &NewKeyBudget) -> Result<KeyBudget, Problem> {
    let terms: BudgetTerms = checked_terms(
        state,
        TermsJson {
            limit_usd: usual.limit,
            action: usual.action.to_string(),
            downgrade_to: usual.downgrade_to.clone(),
            thresholds: None,
        },
    )?;
    Ok(KeyBudget { window: usual.window, terms })
}
