//! `/api/content`: deleting what is kept of calls; their entries in the ledger stay.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::input::Params;
use crate::config::Bodies;
use crate::content::{Content, ContentError, Excerpt, Exchange};
use crate::domain::Owner;
use crate::http::problem::{Code, Problem};
use crate::http::state::State;
use crate::idempotency::IdempotencyError;

/// Whose contents can be deleted.
pub(super) const PARAMETERS: &[&str] = &["key", "session", "user"];

/// What is kept of calls, for the page of the server's state.
#[derive(Debug, Serialize)]
pub(super) struct ContentStateJson {
    bodies: &'static str,
    /// Calls since the start whose contents found no room.
    dropped: u64,
    /// Why contents can't be kept; null where they can.
    trouble: Option<Arc<str>>,
}

impl ContentStateJson {
    pub(super) fn of(content: &Content, bodies: Bodies) -> Self {
        Self { bodies: bodies.as_str(), dropped: content.dropped(), trouble: content.trouble() }
    }
}

/// What is kept of a call.
#[derive(Debug, Serialize)]
pub(super) struct ContentJson {
    session: Option<Arc<str>>,
    users: Vec<String>,
    request: BodyJson,
    answer: BodyJson,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BodyJson {
    text: String,
    /// The length of the whole body.
    bytes: u64,
    is_truncated: bool,
}

impl From<Exchange> for ContentJson {
    fn from(exchange: Exchange) -> Self {
        let Exchange { session, users, request, answer, .. } = exchange;
        Self { session, users, request: request.into(), answer: answer.into() }
    }
}

impl From<Excerpt> for BodyJson {
    fn from(body: Excerpt) -> Self {
        Self { text: body.text(), bytes: body.whole_len(), is_truncated: body.is_truncated() }
    }
}

#[derive(Debug, Serialize)]
struct DeletedJson {
    deleted: u64,
}

/// `DELETE /api/content`.
pub(super) async fn delete(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, PARAMETERS)?;
    let owners = match (params.text("key"), params.owned("session"), params.owned("user")) {
        (Some(key), None, None) => of_key(&state, key)?,
        (None, Some(session), None) => vec![Owner::Session(session)],
        (None, None, Some(user)) => vec![Owner::User(user)],
        _ => {
            let detail = "say whose contents are to be deleted with one of key, session and user";
            return Err(Problem::new(Code::InvalidParameter, detail));
        }
    };
    let mut deleted = 0;
    for owner in owners {
        let parts = state.gateway.parts();
        deleted += parts.idempotency.delete(owner.clone()).await?;
        deleted += parts.content.delete(owner).await?;
    }
    Ok(HttpResponse::Ok().json(DeletedJson { deleted }))
}

/// The keys of an id or a name; a name may have belonged to several, one after the other.
fn of_key(state: &State, key: &str) -> Result<Vec<Owner>, Problem> {
    let keys = state.keys.list();
    let is_meant = keys.iter().filter(|known| known.id.as_str() == key || known.name == key);
    let owners: Vec<Owner> = is_meant.map(|known| Owner::Key(known.id.clone())).collect();
    if owners.is_empty() {
        return Err(Problem::new(Code::NotFound, "there is no such key: GET /api/keys lists those that there are"));
    }
    Ok(owners)
}

impl From<IdempotencyError> for Problem {
    fn from(error: IdempotencyError) -> Self {
        tracing::error!("a request of the management API failed: {error}");
        Self::new(
            Code::ContentUnavailable,
            "the answers that are kept for retries can't be read or written at the moment: GET /api/status and the log of the server have the reason",
        )
    }
}

impl From<ContentError> for Problem {
    fn from(error: ContentError) -> Self {
        tracing::error!("a request of the management API failed: {error}");
        Self::new(
            Code::ContentUnavailable,
            "the contents can't be read or written at the moment: GET /api/status and the log of the server have the reason",
        )
    }
}
