//! `/api/admin`: tokens for scripts, and links for forgotten passwords.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::input::{Json, Params};
use super::{Items, blocking};
use crate::http::guard::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::state::State;
use crate::keys::AdminToken;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTokenJson {
    name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenJson {
    name: String,
    created_at: String,
    last4: String,
    /// In the answer that makes it, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl TokenJson {
    fn of(token: &AdminToken, secret: Option<String>) -> Self {
        Self {
            name: token.name.clone(),
            created_at: token.created.to_string(),
            last4: token.last4.clone(),
            token: secret,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetJson {
    #[serde(default)]
    username: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResetLinkJson {
    username: String,
    token: String,
    expires_at: String,
}

/// `GET /api/admin/tokens`.
pub(super) async fn tokens(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let items = state.keys.admin_tokens().iter().map(|token| TokenJson::of(token, None)).collect();
    Ok(HttpResponse::Ok().json(Items { items, next_cursor: None }))
}

/// `POST /api/admin/tokens`: the token itself is in this answer only.
pub(super) async fn create_token(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    body: Json<NewTokenJson>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let (keys, now) = (Arc::clone(&state.keys), state.clock.now());
    let (token, secret) = blocking(move || keys.create_admin_token(&body.0.name, now)).await?;
    tracing::info!("{caller} made the admin token {:?}", token.name);
    let answer = TokenJson::of(&token, Some(secret.expose().clone()));
    Ok(HttpResponse::Created().insert_header((header::LOCATION, "/api/admin/tokens")).json(answer))
}

/// `DELETE /api/admin/tokens/{id}`, by the token's name.
pub(super) async fn revoke_token(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let (keys, name) = (Arc::clone(&state.keys), name.into_inner());
    let revoked = name.clone();
    blocking(move || keys.revoke_admin_token(&name)).await?;
    tracing::info!("{caller} revoked the admin token {revoked:?}");
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /api/admin/password-resets`: a one-time token for `/reset?token=…`.
pub(super) async fn reset_password(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    body: Json<ResetJson>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let username = match body.0.username {
        Some(username) => username,
        // With one user there is no doubt whose password is meant.
        None => match state.keys.users().as_slice() {
            [user] => user.name.clone(),
            [] => {
                let detail = "there is no user yet: open the link that the server printed at its start";
                return Err(Problem::new(Code::NotFound, detail));
            }
            several => {
                let names: Vec<&str> = several.iter().map(|user| user.name.as_str()).collect();
                let detail = format!("there are several users: say which one of {}", names.join(", "));
                return Err(Problem::field("username", detail));
            }
        },
    };
    let (keys, now) = (Arc::clone(&state.keys), state.clock.now());
    let user = username.clone();
    let (token, expires_at) = blocking(move || keys.reset_password(&user, now)).await?;
    tracing::info!("{caller} made a link for the forgotten password of {username:?}");
    let answer = ResetLinkJson { username, token: token.expose().clone(), expires_at: expires_at.to_string() };
    Ok(HttpResponse::Created().json(answer))
}
