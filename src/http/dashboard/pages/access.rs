//! Coming in and going out: the login, the first admin, a new password, the logout; and the choice of colours.

use std::sync::{Arc, PoisonError};

use actix_web::cookie::Cookie;
use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::SignedDuration;

use super::super::answer::{PageError, blocking, ok, page, see_other, unprocessable};
use super::super::form::Fields;
use super::super::format::duration;
use super::super::session::{OpenSubmission, Submission, Transport, bare, host, local_path};
use super::super::view::{Field, LoginPage, ResetPage, SetupPage, Theme};
use super::clock;
use crate::http::State;
use crate::keys::{KeysError, LoginError, PASSWORD_CHARS_MIN, PasswordProblem, User, UserState};

const PLAIN_HTTP: &str = "This page came over plain HTTP from another machine, so a password could be read on its way. Use \
     HTTPS: put a reverse proxy in front and name it in trusted_proxies, or set tls. Or set plain_http_login = true.";

/// `GET /login`.
pub(in super::super) async fn login(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, PageError> {
    if !state.keys.anybody_can_log_in() {
        return Ok(see_other("/setup"));
    }
    let config = state.config();
    let transport = Transport::of(&config, &request);
    let query = Fields::of_query(request.query_string());
    let next = local_path(query.text("next"));
    let session = transport.session_text(&request);
    if session.is_some_and(|cookie| state.keys.session(&cookie, state.clock.now()).is_some()) {
        return Ok(see_other(next));
    }
    let notice = match query.text("say") {
        _ if !transport.takes_passwords(&config) => Some(PLAIN_HTTP),
        "out" => Some("You are signed out."),
        "password" => Some("The new password is set. Sign in with it."),
        "setup" => Some("An admin exists already: sign in."),
        _ => None,
    };
    let (nonce, cookie) = transport.nonce(&request)?;
    let page = LoginPage {
        bare: bare(&request),
        csrf_token: state.keys.form_token(&nonce).expose().clone(),
        host: host(&config, &request),
        next: next.to_owned(),
        username: String::new(),
        error: None,
        notice: notice.map(ToOwned::to_owned),
    };
    Ok(with_cookie(ok(&page), cookie))
}

fn with_cookie(mut response: HttpResponse, cookie: Option<Cookie<'static>>) -> HttpResponse {
    if let Some(cookie) = cookie
        && let Err(error) = response.add_cookie(&cookie)
    {
        tracing::error!("a cookie could not be set: {error}");
    }
    response
}

/// `POST /login`.
pub(in super::super) async fn log_in(
    submission: OpenSubmission,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, PageError> {
    let OpenSubmission { transport, fields } = submission;
    let config = state.config();
    let (username, next) = (fields.text("username").trim().to_owned(), local_path(fields.text("next")).to_owned());
    let again = |status: StatusCode, error: String| {
        let form = LoginPage {
            bare: bare(&request),
            csrf_token: fields.text("csrf_token").to_owned(),
            host: host(&config, &request),
            next: next.clone(),
            username: username.chars().take(64).collect(),
            error: Some(error),
            notice: None,
        };
        page(status, &form)
    };
    if !transport.takes_passwords(&config) {
        return Ok(again(StatusCode::FORBIDDEN, PLAIN_HTTP.to_owned()));
    }
    let now = state.clock.now();
    let admitted = match state.throttle.admit(&username, transport.client, now) {
        Ok(admitted) => admitted,
        Err(throttled) => {
            let wait = throttled.retry_at.duration_since(now).max(SignedDuration::from_secs(1));
            let seconds = wait.as_secs() + i64::from(wait.subsec_nanos() > 0);
            let at = clock(&state).clock_time(throttled.retry_at).text;
            let length = duration(std::time::Duration::from_secs(seconds.unsigned_abs()));
            let text = format!("Too many tries. The next one is possible in {length}, at {at}.");
            let mut response = again(StatusCode::TOO_MANY_REQUESTS, text);
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
            return Ok(response);
        }
    };
    let (keys, name, password) = (Arc::clone(&state.keys), username.clone(), fields.text("password").to_owned());
    match blocking(move || keys.verify_password(&name, &password)).await? {
        Ok(user) => {
            state.throttle.succeeded(&username, transport.client);
            tracing::info!("user {:?} has logged in", user.name);
            start_session(&state, &request, transport, &user, &next).await
        }
        Err(LoginError::Wrong) => {
            tracing::info!("a login from {} was refused", transport.client);
            let tries = match admitted.tries_left {
                0 => "The next try is possible in 30 seconds.".to_owned(),
                1 => "1 try is left; then one every 30 seconds.".to_owned(),
                left => format!("{left} tries are left; then one every 30 seconds."),
            };
            Ok(again(StatusCode::UNAUTHORIZED, format!("That name and password do not match. {tries}")))
        }
        Err(LoginError::Busy) => {
            state.throttle.succeeded(&username, transport.client);
            let text = "Too many people are signing in at this moment. Try again in a few seconds.".to_owned();
            Ok(again(StatusCode::SERVICE_UNAVAILABLE, text))
        }
    }
}

async fn start_session(
    state: &web::Data<State>,
    request: &HttpRequest,
    transport: Transport,
    user: &Arc<User>,
    next: &str,
) -> Result<HttpResponse, PageError> {
    let (keys, name, now) = (Arc::clone(&state.keys), user.name.clone(), state.clock.now());
    let previous = transport.session_text(request);
    let started = blocking(move || keys.start_session(&name, previous.as_deref(), now)).await?;
    let (cookie, _) = started.map_err(|error| PageError::failed(&error))?;
    Ok(with_cookie(see_other(next), Some(transport.session_cookie(cookie.expose()))))
}

/// `POST /logout`.
pub(in super::super) async fn log_out(submission: Submission) -> Result<HttpResponse, PageError> {
    let visitor = submission.visitor;
    let (keys, cookie) = (Arc::clone(&visitor.state.keys), visitor.cookie);
    // The session has ended in memory even where the disk fails; a restart ends it by its age.
    if let Err(error) = blocking(move || keys.end_session(&cookie)).await? {
        tracing::warn!("the end of a session could not be written: {error}");
    }
    Ok(with_cookie(see_other("/login?say=out"), Some(visitor.transport.session_end())))
}

/// `POST /prefs/theme`.
pub(in super::super) async fn choose_theme(submission: Submission) -> HttpResponse {
    let theme = Theme::from_word(Some(submission.fields.text("theme")));
    let next = local_path(submission.fields.text("next")).to_owned();
    with_cookie(see_other(&next), Some(submission.visitor.transport.theme_cookie(theme)))
}

const SETUP_LINK: &str =
    "This link does not work: it is used, too old, or not whole. Start Tollgate again to print a fresh one.";
const RESET_LINK: &str = "This link does not work: it is used, too old, or not whole. Ask an admin for a fresh one.";

/// `GET /setup?token=`.
pub(in super::super) async fn setup(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, PageError> {
    if !state.keys.setup_needed() {
        return Ok(see_other("/login?say=setup"));
    }
    let config = state.config();
    let transport = Transport::of(&config, &request);
    let query = Fields::of_query(request.query_string());
    let token = query.text("token");
    let (holder, presented, now) = (state.clone(), token.to_owned(), state.clock.now());
    let is_valid = blocking(move || {
        let setup = holder.setup.lock().unwrap_or_else(PoisonError::into_inner);
        setup.as_ref().is_some_and(|setup| setup.is_valid(&presented, now))
    });
    let is_valid = is_valid.await?;
    let error = if !transport.takes_passwords(&config) {
        Some(PLAIN_HTTP)
    } else if token.is_empty() {
        Some("Open the link that Tollgate printed when it started. It lets the first admin in, once.")
    } else {
        (!is_valid).then_some(SETUP_LINK)
    };
    let status = if error.is_some() { StatusCode::FORBIDDEN } else { StatusCode::OK };
    let (nonce, cookie) = transport.nonce(&request)?;
    let form = SetupPage {
        bare: bare(&request),
        csrf_token: state.keys.form_token(&nonce).expose().clone(),
        token: token.to_owned(),
        username: Field::default(),
        password: Field::default(),
        error: error.map(ToOwned::to_owned),
        password_length_min: PASSWORD_CHARS_MIN,
    };
    Ok(with_cookie(page(status, &form), cookie))
}

/// `POST /setup`: makes the first admin and logs them in.
pub(in super::super) async fn set_up(
    submission: OpenSubmission,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, PageError> {
    let OpenSubmission { transport, fields } = submission;
    let config = state.config();
    let mut form = SetupPage {
        bare: bare(&request),
        csrf_token: fields.text("csrf_token").to_owned(),
        token: fields.text("token").to_owned(),
        username: fields.field("username"),
        password: Field::default(),
        error: None,
        password_length_min: PASSWORD_CHARS_MIN,
    };
    if !transport.takes_passwords(&config) {
        form.error = Some(PLAIN_HTTP.to_owned());
        return Ok(page(StatusCode::FORBIDDEN, &form));
    }
    let now = state.clock.now();
    let [token, name, password] = ["token", "username", "password"].map(|name| fields.text(name).to_owned());
    let holder = state.clone();
    // The lock is held while the password is hashed: of two who have the link, one comes after the other.
    let made = blocking(move || {
        let setup = holder.setup.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(setup) = setup.as_ref() else {
            return Err(if holder.keys.setup_needed() { KeysError::SetupToken } else { KeysError::SetUpAlready });
        };
        holder.keys.create_first_admin(setup, &token, &name, &password, now)
    });
    let made = made.await?;
    match made {
        Ok(user) => {
            tracing::info!("user {:?} is the first admin", user.name);
            start_session(&state, &request, transport, &user, "/").await
        }
        Err(KeysError::SetUpAlready) => Ok(see_other("/login?say=setup")),
        Err(KeysError::SetupToken) => {
            form.error = Some(SETUP_LINK.to_owned());
            Ok(page(StatusCode::FORBIDDEN, &form))
        }
        Err(KeysError::Password(problem)) => {
            form.password.error = Some(password_words(problem));
            Ok(unprocessable(&form))
        }
        Err(KeysError::Invalid { problem, .. }) => {
            form.username.error = Some(sentence(&problem));
            Ok(unprocessable(&form))
        }
        Err(error) => {
            form.error = Some(failure_words(&error));
            Ok(page(StatusCode::SERVICE_UNAVAILABLE, &form))
        }
    }
}

/// `GET /reset?token=`.
pub(in super::super) async fn reset(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, PageError> {
    let config = state.config();
    let transport = Transport::of(&config, &request);
    let query = Fields::of_query(request.query_string());
    let token = query.text("token");
    let user = state.keys.reset_link_user(token, state.clock.now());
    let error =
        if transport.takes_passwords(&config) { user.is_none().then_some(RESET_LINK) } else { Some(PLAIN_HTTP) };
    let status = if error.is_some() { StatusCode::FORBIDDEN } else { StatusCode::OK };
    let (nonce, cookie) = transport.nonce(&request)?;
    let form = ResetPage {
        bare: bare(&request),
        csrf_token: state.keys.form_token(&nonce).expose().clone(),
        token: token.to_owned(),
        is_invited: user.as_ref().is_some_and(|user| user.state == UserState::Invited),
        user: user.map(|user| user.name.clone()),
        password: Field::default(),
        error: error.map(ToOwned::to_owned),
        password_length_min: PASSWORD_CHARS_MIN,
    };
    Ok(with_cookie(page(status, &form), cookie))
}

/// `POST /reset`: sets the new password; every session of the user ends.
pub(in super::super) async fn redeem(
    submission: OpenSubmission,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, PageError> {
    let OpenSubmission { transport, fields } = submission;
    let config = state.config();
    let (keys, now) = (Arc::clone(&state.keys), state.clock.now());
    let token = fields.text("token").to_owned();
    let user = keys.reset_link_user(&token, now);
    let mut form = ResetPage {
        bare: bare(&request),
        csrf_token: fields.text("csrf_token").to_owned(),
        token: token.clone(),
        is_invited: user.as_ref().is_some_and(|user| user.state == UserState::Invited),
        user: user.map(|user| user.name.clone()),
        password: Field::default(),
        error: None,
        password_length_min: PASSWORD_CHARS_MIN,
    };
    if !transport.takes_passwords(&config) {
        form.error = Some(PLAIN_HTTP.to_owned());
        return Ok(page(StatusCode::FORBIDDEN, &form));
    }
    let password = fields.text("password").to_owned();
    match blocking(move || keys.redeem_reset(&token, &password, now)).await? {
        Ok(user) => {
            tracing::info!("user {:?} has a new password", user.name);
            Ok(see_other("/login?say=password"))
        }
        Err(KeysError::ResetLink | KeysError::NotFound { .. }) => {
            form.error = Some(RESET_LINK.to_owned());
            Ok(page(StatusCode::FORBIDDEN, &form))
        }
        Err(KeysError::Password(problem)) => {
            form.password.error = Some(password_words(problem));
            Ok(unprocessable(&form))
        }
        Err(error) => {
            form.error = Some(failure_words(&error));
            Ok(page(StatusCode::SERVICE_UNAVAILABLE, &form))
        }
    }
}

fn password_words(problem: PasswordProblem) -> String {
    match problem {
        PasswordProblem::TooShort(_) => {
            format!(
                "This password is too short. Use {PASSWORD_CHARS_MIN} characters or more, such as four random words."
            )
        }
        PasswordProblem::TooLong(_) => "This password is too long. Use a shorter one.".to_owned(),
        PasswordProblem::IsName => "The password is the user name. Choose another one.".to_owned(),
    }
}

/// What is said where it was not the reader's fault.
pub(super) fn failure_words(error: &KeysError) -> String {
    if error.is_callers_fault() || matches!(error, KeysError::Busy) {
        return sentence(&error.to_string());
    }
    tracing::error!("settings could not be changed: {error}");
    "The settings could not be written. The log of the server says why.".to_owned()
}

/// An error's text as a sentence: with a capital, and a full stop at its end.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let mut sentence: String = letters.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    sentence.push_str(letters.as_str());
    if !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}
