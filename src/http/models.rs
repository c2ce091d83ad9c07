//! `GET /v1/models` in both dialects: the routes and models that a key may ask for.

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use serde::{Deserialize, Serialize};

use crate::domain::{Dialect, EndpointFamily, RequestId};
use crate::routing::Candidate;

use super::State;
use super::dialect::{Told, ids};
use super::inference::{authenticate, check_endpoint, dialect_of};

/// What both dialects want as a date, and no price list has.
const CREATED: (i64, &str) = (1_700_000_000, "2023-11-14T22:13:20Z");

#[derive(Serialize)]
#[serde(untagged)]
enum Model {
    OpenAi {
        id: String,
        object: &'static str,
        created: i64,
        owned_by: String,
    },
    Anthropic {
        #[serde(rename = "type")]
        tag: &'static str,
        id: String,
        display_name: String,
        created_at: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_input_tokens: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_tokens: Option<u64>,
    },
}

#[derive(Serialize)]
struct OpenAiList {
    object: &'static str,
    data: Vec<Model>,
}

#[derive(Serialize)]
struct AnthropicList {
    data: Vec<Model>,
    has_more: bool,
    first_id: Option<String>,
    last_id: Option<String>,
}

/// Paging of Anthropic's dialect.
#[derive(Deserialize)]
pub(super) struct Paging {
    limit: Option<usize>,
    after_id: Option<String>,
    before_id: Option<String>,
}

/// Lists what the key may ask for.
pub(super) async fn list(request: HttpRequest, paging: web::Query<Paging>, state: web::Data<State>) -> HttpResponse {
    let (dialect, id) = (dialect_of(&request), state.gateway.next_id());
    let names = match names(&request, &state, dialect) {
        Ok(names) => names,
        Err(told) => return told.response(dialect, Some(id), false),
    };
    if dialect == Dialect::OpenAi {
        let data = names.into_iter().map(|(name, candidate)| model(dialect, name, candidate.as_ref())).collect();
        return found(id).json(OpenAiList { object: "list", data });
    }
    let limit = paging.limit.unwrap_or(20).clamp(1, 1_000);
    let position = |id: &Option<String>| id.as_ref().and_then(|id| names.iter().position(|(name, _)| name == id));
    let (from, until) = match (position(&paging.after_id), position(&paging.before_id)) {
        (Some(after), _) => (after + 1, (after + 1 + limit).min(names.len())),
        (None, Some(before)) => (before.saturating_sub(limit), before),
        (None, None) => (0, limit.min(names.len())),
    };
    let page = names.get(from..until).unwrap_or_default();
    let name = |entry: Option<&(String, Option<Candidate>)>| entry.map(|(name, _)| name.clone());
    found(id).json(AnthropicList {
        first_id: name(page.first()),
        last_id: name(page.last()),
        has_more: until < names.len(),
        data: page.iter().map(|(name, candidate)| model(dialect, name.clone(), candidate.as_ref())).collect(),
    })
}

/// One of them; its name may have slashes.
pub(super) async fn one(request: HttpRequest, asked: web::Path<String>, state: web::Data<State>) -> HttpResponse {
    let (dialect, id) = (dialect_of(&request), state.gateway.next_id());
    match find(&request, &state, dialect, &asked) {
        Err(told) => told.response(dialect, Some(id), false),
        Ok(found_model) => {
            let Some((name, candidate)) = found_model else {
                let kind = if dialect == Dialect::Anthropic { "not_found_error" } else { "invalid_request_error" };
                let shown: String = asked.chars().take(128).collect();
                let message = format!("the model {shown:?} is not known; GET /v1/models lists all");
                return Told::plain(404, kind, "model_not_found", message).response(dialect, Some(id), false);
            };
            found(id).json(model(dialect, name, candidate.as_ref()))
        }
    }
}

fn found(id: RequestId) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    ids(&mut response, id);
    response
}

/// What a client may ask for by a name: one of the list, or `provider/model` where its price is known.
fn find(
    request: &HttpRequest,
    state: &State,
    dialect: Dialect,
    asked: &str,
) -> Result<Option<(String, Option<Candidate>)>, Told> {
    let caller = authenticate(state, request.headers(), dialect)?;
    if !caller.allows_model(asked) {
        return Ok(None);
    }
    let router = state.gateway.router();
    let listed = router.names().into_iter().find(|(name, _)| name == asked);
    let named = || router.named(asked).filter(|candidate| router.knows(&candidate.deployment));
    Ok(listed.or_else(|| named().map(|candidate| (asked.to_owned(), Some(candidate)))))
}

fn names(request: &HttpRequest, state: &State, dialect: Dialect) -> Result<Vec<(String, Option<Candidate>)>, Told> {
    let caller = authenticate(state, request.headers(), dialect)?;
    check_endpoint(&caller, EndpointFamily::Models, dialect)?;
    let mut names = state.gateway.router().names();
    names.retain(|(name, _)| caller.allows_model(name));
    Ok(names)
}

fn model(dialect: Dialect, id: String, candidate: Option<&Candidate>) -> Model {
    let facts = candidate.and_then(|candidate| candidate.facts.as_ref());
    let owner = candidate.map_or("tollgate", |candidate| candidate.upstream.name().as_str());
    match dialect {
        Dialect::OpenAi => Model::OpenAi { id, object: "model", created: CREATED.0, owned_by: owner.to_owned() },
        Dialect::Anthropic => Model::Anthropic {
            tag: "model",
            display_name: id.clone(),
            id,
            created_at: CREATED.1,
            max_input_tokens: facts.and_then(|facts| facts.context),
            max_tokens: facts.and_then(|facts| facts.max_output),
        },
    }
}
