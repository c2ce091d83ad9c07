//! `/api/users`: people, let in with a role, changed, kept out and taken away. For admins.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::input::{Json, MaybeJson, Params, length};
use super::{Items, blocking};
use crate::domain::Secret;
use crate::http::guard::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::state::State;
use crate::keys::{Edit, Entrance, INVITE_LIFE_DEFAULT, KeysError, NewUser, User, UserPatch};

/// Whom to let in, and how: by an invitation unless a password is there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewUserJson {
    name: String,
    role: String,
    #[serde(default)]
    team: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    invite_expires_in: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UserPatchJson {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    team: Edit<String>,
    #[serde(default)]
    disabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewInviteJson {
    #[serde(default)]
    expires_in: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UserJson {
    name: String,
    role: &'static str,
    /// The id of the team whose things alone they see.
    team: Option<String>,
    state: &'static str,
    created_at: String,
    /// In the answer that made it, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    invite: Option<InviteJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InviteJson {
    token: String,
    /// To be opened at this server.
    path: String,
    expires_at: String,
}

impl UserJson {
    fn new(user: &User, invite: Option<(Secret<String>, Timestamp)>) -> Self {
        let invite = invite.map(|(token, expires_at)| InviteJson {
            path: format!("/reset?token={}", token.expose()),
            token: token.expose().clone(),
            expires_at: expires_at.to_string(),
        });
        Self {
            name: user.name.clone(),
            role: user.role.as_str(),
            team: user.role.team().map(ToString::to_string),
            state: user.state.as_str(),
            created_at: user.created.to_string(),
            invite,
        }
    }
}

fn found(state: &State, name: &str) -> Result<Arc<User>, Problem> {
    let missing = || Problem::new(Code::NotFound, "there is no such user: GET /api/users lists those that there are");
    state.keys.user(name).ok_or_else(missing)
}

/// `GET /api/users`.
pub(super) async fn list(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let items = state.keys.users().iter().map(|user| UserJson::new(user, None)).collect();
    Ok(HttpResponse::Ok().json(Items { items, next_cursor: None }))
}

/// `GET /api/users/{name}`.
pub(super) async fn show(
    state: web::Data<State>,
    request: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    Ok(HttpResponse::Ok().json(UserJson::new(&*found(&state, &name)?, None)))
}

/// `POST /api/users`: the invitation is in this answer only.
pub(super) async fn create(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    body: Json<NewUserJson>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let NewUserJson { name, role, team, password, invite_expires_in } = body.0;
    let entrance = match (password, invite_expires_in) {
        (Some(_), Some(_)) => {
            let detail = "inviteExpiresIn: who has a password needs no invitation: leave one of the two out";
            return Err(Problem::field("inviteExpiresIn", detail));
        }
        (Some(password), None) => Entrance::Password(Secret::new(password)),
        (None, text) => Entrance::Invite(invite_life("inviteExpiresIn", text.as_deref())?),
    };
    let (keys, now) = (Arc::clone(&state.keys), state.clock.now());
    let new = NewUser { name, role, team };
    let made = blocking(move || {
        keys.create_user(&new, &entrance, now).map_err(|error| match error {
            // As the field is called here.
            KeysError::Invalid { field: "expiresIn", problem } => {
                KeysError::Invalid { field: "inviteExpiresIn", problem }
            }
            error => error,
        })
    });
    let (user, invite) = made.await?;
    tracing::info!("{caller} let in the user {:?} as {}", user.name, user.role.as_str());
    Ok(HttpResponse::Created().insert_header((header::LOCATION, "/api/users")).json(UserJson::new(&user, invite)))
}

fn invite_life(field: &str, text: Option<&str>) -> Result<std::time::Duration, Problem> {
    text.map_or(Ok(INVITE_LIFE_DEFAULT), |text| length(field, text))
}

/// `PATCH /api/users/{name}`.
pub(super) async fn change(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    name: web::Path<String>,
    body: Json<UserPatchJson>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let UserPatchJson { role, team, disabled } = body.0;
    let (keys, patch) = (Arc::clone(&state.keys), UserPatch { role, team, is_disabled: disabled });
    let user = blocking(move || keys.change_user(&name, &patch)).await?;
    tracing::info!("{caller} changed the user {:?}: {}, {}", user.name, user.role.as_str(), user.state.as_str());
    Ok(HttpResponse::Ok().json(UserJson::new(&user, None)))
}

/// `DELETE /api/users/{name}`.
pub(super) async fn remove(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let keys = Arc::clone(&state.keys);
    let user = blocking(move || keys.remove_user(&name)).await?;
    tracing::info!("{caller} removed the user {:?}", user.name);
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /api/users/{name}/invite`: also for a forgotten password.
pub(super) async fn invite(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    name: web::Path<String>,
    body: MaybeJson<NewInviteJson>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let user = found(&state, &name)?;
    let life = invite_life("expiresIn", body.0.expires_in.as_deref())?;
    let (keys, now, name) = (Arc::clone(&state.keys), state.clock.now(), user.name.clone());
    let invite = blocking(move || keys.invite(&name, life, now)).await?;
    tracing::info!("{caller} made a link for the password of {:?}", user.name);
    Ok(HttpResponse::Created().json(UserJson::new(&user, Some(invite))))
}
