//! `/people`: who can log in, as what, and how they come in. For admins.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpResponse, web};

use super::super::answer::{PageError, blocking, done, ok, unprocessable};
use super::super::form::Fields;
use super::super::format::{counted, duration};
use super::super::session::{Submission, Visitor};
use super::super::summary::Shared;
use super::super::view::{
    Badge, Entry, Field, InvitedPage, Layout, Link, PeoplePage, PersonForm, PersonPage, PersonRow, SelectOption, Tone,
};
use super::access::{failure_words, sentence};
use super::{clock, layout};
use crate::domain::url_encoded;
use crate::http::State;
use crate::keys::{Entrance, INVITE_LIFE_DEFAULT, KeysError, NewUser, User, UserPatch, UserState};

const ROLES: [(&str, &str); 3] = [("admin", "Admin"), ("member", "Member"), ("viewer", "Viewer")];
const LIVES: [(&str, &str, Duration); 3] = [
    ("30m", "In 30 minutes", Duration::from_mins(30)),
    ("24h", "In 24 hours", INVITE_LIFE_DEFAULT),
    ("7d", "In 7 days", Duration::from_hours(7 * 24)),
];

/// A person's state as it is shown.
pub(super) fn state_badge(state: UserState) -> Badge {
    match state {
        UserState::Active => Badge::new("Active", Tone::Ok),
        UserState::Invited => Badge::new("Invited", Tone::Neutral),
        UserState::Disabled => Badge::new("Kept out", Tone::Warn),
    }
}

fn address(name: &str) -> String {
    format!("/people/{}", url_encoded(name))
}

fn roles(current: &str) -> Vec<SelectOption> {
    ROLES.iter().map(|(value, label)| SelectOption::new(value, label, current)).collect()
}

/// The teams to choose from, and none.
fn teams(state: &State, current: &str) -> Vec<SelectOption> {
    let none = SelectOption::new("", "None", current);
    let teams = state.keys.teams();
    let teams = teams.iter().map(|team| SelectOption::new(team.id.as_str(), &team.name, current));
    std::iter::once(none).chain(teams).collect()
}

fn form(state: &State, fields: &Fields) -> PersonForm {
    let word = |name: &str, default: &str| fields.given(name).unwrap_or(default).to_owned();
    PersonForm {
        name: fields.field("name"),
        roles: roles(&word("role", "member")),
        team: fields.field("team"),
        teams: teams(state, fields.text("team")),
        lives: LIVES.iter().map(|(value, label, _)| SelectOption::new(value, label, &word("life", "24h"))).collect(),
        error: None,
    }
}

/// `GET /people`.
pub(in super::super) async fn list(visitor: Visitor, shared: web::Data<Shared>) -> Result<HttpResponse, PageError> {
    let form = form(&visitor.state, &Fields::default());
    Ok(ok(&page(&visitor, &shared, form).await?))
}

async fn page(visitor: &Visitor, shared: &web::Data<Shared>, form: PersonForm) -> Result<PeoplePage, PageError> {
    let layout = layout(visitor, shared, "People", Entry::People).await?;
    let (state, clock) = (&visitor.state, clock(&visitor.state));
    let users = state.keys.users();
    let row = |user: &Arc<User>| PersonRow {
        name: user.name.clone(),
        href: address(&user.name),
        role: user.role.as_str().to_owned(),
        sees: match user.role.team() {
            Some(team) => state.keys.team_name(team.as_str()),
            None => "everything".to_owned(),
        },
        state: state_badge(user.state),
        created: clock.ago(user.created),
    };
    let summary = counted(users.len() as u64, "person", "people");
    Ok(PeoplePage { layout, summary, rows: users.iter().map(row).collect(), form })
}

/// `POST /people`: the link is in this answer only.
pub(in super::super) async fn create(
    submission: Submission,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, PageError> {
    let Submission { visitor, fields } = submission;
    let mut form = form(&visitor.state, &fields);
    let Some((.., life)) = LIVES.iter().find(|(word, ..)| *word == fields.text("life")) else {
        form.error = Some("Choose from the lists.".to_owned());
        return Ok(unprocessable(&page(&visitor, &shared, form).await?));
    };
    let new = NewUser {
        name: fields.text("name").to_owned(),
        role: fields.text("role").to_owned(),
        team: fields.given("team").map(ToOwned::to_owned),
    };
    let (keys, now, entrance) = (Arc::clone(&visitor.state.keys), visitor.state.clock.now(), Entrance::Invite(*life));
    match blocking(move || keys.create_user(&new, &entrance, now)).await? {
        Ok((user, invite)) => {
            tracing::info!("user {:?} has let in {:?} as {}", visitor.session.user.name, user.name, user.role.as_str());
            let (token, _) = invite.ok_or_else(|| PageError::failed(&"an invitation without its token"))?;
            return invited(&visitor, &shared, &user, token.expose(), *life).await;
        }
        Err(KeysError::NameTaken { .. }) => form.name.error = Some("Someone has this name already.".to_owned()),
        Err(KeysError::Invalid { field: "name", problem }) => form.name.error = Some(sentence(&problem)),
        Err(KeysError::Invalid { field: "team", problem }) => form.team.error = Some(sentence(&problem)),
        Err(error) => form.error = Some(failure_words(&error)),
    }
    Ok(unprocessable(&page(&visitor, &shared, form).await?))
}

async fn invited(
    visitor: &Visitor,
    shared: &web::Data<Shared>,
    user: &User,
    token: &str,
    life: Duration,
) -> Result<HttpResponse, PageError> {
    let layout = person_layout(visitor, shared, "Invitation").await?;
    let link = format!("{}/reset?token={token}", visitor.address);
    let expires = format!("in {}", duration(life));
    Ok(ok(&InvitedPage { layout, name: user.name.clone(), link, expires }))
}

async fn person_layout(visitor: &Visitor, shared: &web::Data<Shared>, title: &str) -> Result<Layout, PageError> {
    let crumb = Some(Link::new("People", "/people"));
    Ok(Layout { crumb, ..layout(visitor, shared, title, Entry::People).await? })
}

fn found(visitor: &Visitor, name: &str) -> Result<Arc<User>, PageError> {
    visitor.state.keys.user(name).ok_or(PageError::NotFound)
}

/// `GET /people/{name}`.
pub(in super::super) async fn show(
    visitor: Visitor,
    shared: web::Data<Shared>,
    name: web::Path<String>,
) -> Result<HttpResponse, PageError> {
    let user = found(&visitor, &name)?;
    Ok(ok(&person_page(&visitor, &shared, &user).await?))
}

async fn person_page(visitor: &Visitor, shared: &web::Data<Shared>, user: &User) -> Result<PersonPage, PageError> {
    let team = user.role.team().map(ToString::to_string).unwrap_or_default();
    Ok(PersonPage {
        layout: person_layout(visitor, shared, "Person").await?,
        name: user.name.clone(),
        href: address(&user.name),
        state: state_badge(user.state),
        is_disabled: user.state == UserState::Disabled,
        is_invited: user.state == UserState::Invited,
        roles: roles(user.role.as_str()),
        teams: teams(&visitor.state, &team),
        team: Field { value: team, error: None },
        error: None,
    })
}

/// `POST /people/{name}`.
pub(in super::super) async fn save(
    submission: Submission,
    shared: web::Data<Shared>,
    name: web::Path<String>,
) -> Result<HttpResponse, PageError> {
    let Submission { visitor, fields } = submission;
    let user = found(&visitor, &name)?;
    let patch = UserPatch {
        role: Some(fields.text("role").to_owned()),
        // Whoever becomes an admin leaves their team: nothing more has to be chosen for that.
        team: fields.given("team").filter(|_| fields.text("role") != "admin").map(ToOwned::to_owned).into(),
        is_disabled: Some(!fields.text("disabled").is_empty()),
    };
    let (keys, name) = (Arc::clone(&visitor.state.keys), user.name.clone());
    let error = match blocking(move || keys.change_user(&name, &patch)).await? {
        Ok(user) => {
            let (name, role) = (&user.name, user.role.as_str());
            tracing::info!("user {:?} has changed {name:?}: {role}", visitor.session.user.name);
            return Ok(done("/people", visitor.is_htmx));
        }
        Err(error) => error,
    };
    let mut page = person_page(&visitor, &shared, &user).await?;
    page.roles = roles(fields.text("role"));
    page.teams = teams(&visitor.state, fields.text("team"));
    page.is_disabled = !fields.text("disabled").is_empty();
    match &error {
        KeysError::Invalid { field: "team", problem } => page.team.error = Some(sentence(problem)),
        error => page.error = Some(failure_words(error)),
    }
    Ok(unprocessable(&page))
}

/// `POST /people/{name}/invite`: the link is in this answer only.
pub(in super::super) async fn invite(
    submission: Submission,
    shared: web::Data<Shared>,
    name: web::Path<String>,
) -> Result<HttpResponse, PageError> {
    let visitor = submission.visitor;
    let user = found(&visitor, &name)?;
    let (keys, now, name) = (Arc::clone(&visitor.state.keys), visitor.state.clock.now(), user.name.clone());
    match blocking(move || keys.invite(&name, INVITE_LIFE_DEFAULT, now)).await? {
        Ok((token, _)) => {
            tracing::info!("user {:?} has made a link for the password of {:?}", visitor.session.user.name, user.name);
            invited(&visitor, &shared, &user, token.expose(), INVITE_LIFE_DEFAULT).await
        }
        Err(error) => {
            let mut page = person_page(&visitor, &shared, &user).await?;
            page.error = Some(failure_words(&error));
            Ok(unprocessable(&page))
        }
    }
}

/// `POST /people/{name}/delete`.
pub(in super::super) async fn delete(
    submission: Submission,
    shared: web::Data<Shared>,
    name: web::Path<String>,
) -> Result<HttpResponse, PageError> {
    let visitor = submission.visitor;
    let user = found(&visitor, &name)?;
    let (keys, name) = (Arc::clone(&visitor.state.keys), user.name.clone());
    match blocking(move || keys.remove_user(&name)).await? {
        Ok(user) => {
            tracing::info!("user {:?} has removed the user {:?}", visitor.session.user.name, user.name);
            Ok(done("/people", visitor.is_htmx))
        }
        Err(error) => {
            let mut page = person_page(&visitor, &shared, &user).await?;
            page.error = Some(failure_words(&error));
            Ok(unprocessable(&page))
        }
    }
}
