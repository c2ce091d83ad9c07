//! Who may call what: the credential of a request, and whether it opens the route.
//!
//! [`authorize`] stands in front of every route of the management API and knows from the table of routes whom each is for;
//! what the table doesn't have is for admins, so nothing is open by mistake. Who is let in may still see only what is their
//! team's: handlers ask [`Caller::view`] and [`Caller::team`], and find nothing of others. An admin shows a token as
//! `Authorization: Bearer`, everybody shows the session cookie; with the cookie an unsafe method also needs the session's
//! token in `x-csrf-token` and must not come from another site. A token in a header needs no such proof:
//! no other site can make a browser send it.

use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, HttpResponse, web};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::problem::{Code, Problem};
use super::state::State;
use crate::domain::TeamId;
use crate::keys::{Role, Session, VirtualKey};
use crate::ledger::View;

/// The session cookie where the request came over HTTPS.
pub const SESSION_COOKIE_SECURE: &str = "__Host-tollgate";
/// The session cookie on plain HTTP.
pub const SESSION_COOKIE_PLAIN: &str = "tollgate";
/// The header by which pages prove that a request is theirs.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// Whom a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, without a credential.
    Open,
    /// Virtual keys for their own calls; people for what they may see.
    Own,
    /// People, for what is their team's; admins and viewers of everything for all.
    Team,
    /// Admins, and members for the keys of their team.
    TeamKeys,
    /// Admins, and viewers of everything, who read and change nothing: what can't be told apart by teams.
    Everything,
    /// Whoever sees everything, and who has the token for metrics.
    Metrics,
    /// Admins: whatever changes something, calls a provider or replays the ledger; people, tokens and contents of calls.
    Admin,
}

impl Access {
    /// Whether someone with a role is let in.
    pub const fn admits_role(self, role: &Role) -> bool {
        match (self, role) {
            (_, Role::Admin) | (Self::Open | Self::Own | Self::Team, _) => true,
            (Self::TeamKeys, role) => matches!(role, Role::Member(_)),
            (Self::Everything | Self::Metrics, role) => matches!(role, Role::Viewer(None)),
            (Self::Admin, _) => false,
        }
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody said.
    Anyone,
    /// The holder of an admin token, by its name.
    Token(String),
    /// Someone who is logged in.
    Session(Session),
    /// The holder of a virtual key.
    Key(Arc<VirtualKey>),
    /// The holder of the token for metrics.
    Scraper,
}

impl Caller {
    /// The virtual key whose own things alone may be shown; `None` shows everything.
    pub fn restricted_to(&self) -> Option<&Arc<VirtualKey>> {
        match self {
            Self::Key(key) => Some(key),
            Self::Anyone | Self::Token(_) | Self::Session(_) | Self::Scraper => None,
        }
    }

    /// The team whose things alone may be shown; `None` for who sees all, and for virtual keys, which have less.
    pub fn team(&self) -> Option<&TeamId> {
        match self {
            Self::Session(session) => session.user.role.team(),
            Self::Anyone | Self::Token(_) | Self::Key(_) | Self::Scraper => None,
        }
    }

    /// Whether what is of a team may be shown.
    pub fn sees_team(&self, team: Option<&TeamId>) -> bool {
        self.team().is_none_or(|own| team == Some(own))
    }

    /// The ledger, as far as the caller may see it; a virtual key's own calls have to be picked from it.
    pub fn view(&self, state: &State) -> View {
        View::new(&state.ledger, self.team())
    }

    /// Whether the caller may do everything.
    pub fn is_admin(&self) -> bool {
        match self {
            Self::Token(_) => true,
            Self::Session(session) => session.user.role == Role::Admin,
            Self::Anyone | Self::Key(_) | Self::Scraper => false,
        }
    }

    /// Whether a route for these is for the caller.
    fn is_admitted(&self, access: Access) -> bool {
        match self {
            Self::Anyone => access == Access::Open,
            Self::Token(_) => true,
            Self::Session(session) => access.admits_role(&session.user.role),
            Self::Key(_) => matches!(access, Access::Open | Access::Own),
            Self::Scraper => matches!(access, Access::Open | Access::Metrics),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => formatter.write_str("anyone"),
            Self::Token(name) => write!(formatter, "admin token {name:?}"),
            Self::Session(session) => write!(formatter, "user {:?}", session.user.name),
            Self::Key(key) => write!(formatter, "virtual key {}", key.id),
            Self::Scraper => formatter.write_str("metrics token"),
        }
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = request.extensions().get::<Self>().cloned();
        ready(caller.ok_or_else(|| Problem::internal(&"a route without its guard")))
    }
}

/// Lets a request through to its route, or answers it with a refusal. `access` is what the table says of the method.
pub async fn authorize<B: MessageBody + 'static>(
    access: impl Fn(&Method) -> Access,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let admitted = match request.app_data::<web::Data<State>>() {
        Some(state) => admit(state, access(request.method()), request.request()),
        None => Err(Problem::internal(&"the application has no state")),
    };
    let mut response = match admitted {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.call(request).await?.map_into_boxed_body()
        }
        Err(problem) => request.into_response(problem.response()),
    };
    guard_answer(response.headers_mut());
    Ok(response)
}

/// No answer is kept by a cache on the way, or taken for something else than it says.
fn guard_answer(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// Who calls, if they may.
fn admit(state: &State, access: Access, request: &HttpRequest) -> Result<Caller, Problem> {
    if access == Access::Open {
        return Ok(Caller::Anyone);
    }
    let caller = caller(state, access, request)?;
    if !caller.is_admitted(access) {
        return Err(refusal(&caller));
    }
    if let Caller::Session(session) = &caller
        && !request.method().is_safe()
    {
        check_same_site(state, request)?;
        let presented = request.headers().get(CSRF_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !session.has_csrf_token(presented) {
            return Err(Problem::new(
                Code::CsrfFailed,
                format!(
                    "with a session this needs the session's token in the header {CSRF_HEADER}: load the page again, or send an admin token as Authorization: Bearer"
                ),
            ));
        }
    }
    Ok(caller)
}

fn refusal(caller: &Caller) -> Problem {
    let reason = match caller {
        Caller::Key(_) => {
            "a virtual key may make calls and read its own requests (GET /api/requests); everything else needs an admin token: tollgate admin token create NAME"
        }
        Caller::Session(_) => "this is not for your role: ask an admin to do it, or for another role",
        Caller::Scraper => "the token for metrics opens /metrics only; this needs an admin token",
        Caller::Anyone | Caller::Token(_) => "this needs an admin's credential",
    };
    Problem::new(Code::Forbidden, reason)
}

/// The credential of a request; a header counts before a cookie.
fn caller(state: &State, access: Access, request: &HttpRequest) -> Result<Caller, Problem> {
    if let Some(value) = request.headers().get(header::AUTHORIZATION) {
        let token = bearer(value).ok_or_else(|| {
            Problem::new(Code::InvalidCredential, "the header Authorization has to be of the form: Bearer TOKEN")
        })?;
        return by_token(state, access, token);
    }
    let session = session_cookie(request).and_then(|cookie| state.keys.session(&cookie, state.clock.now()));
    session.map(Caller::Session).ok_or_else(|| {
        Problem::new(
            Code::Unauthenticated,
            "this needs a credential: send an admin token as Authorization: Bearer (tollgate admin token create NAME makes one), or log in at /login",
        )
    })
}

fn by_token(state: &State, access: Access, token: &str) -> Result<Caller, Problem> {
    let metrics_token = state.config.telemetry.metrics_token.as_ref();
    if access == Access::Metrics
        && metrics_token.is_some_and(|known| known.expose().as_bytes().ct_eq(token.as_bytes()).into())
    {
        return Ok(Caller::Scraper);
    }
    if let Ok(bearer) = state.keys.authenticate_admin_token(token) {
        return Ok(Caller::Token(bearer.name().to_owned()));
    }
    let key = state.keys.authenticate(token, state.clock.now()).inspect_err(|error| {
        tracing::debug!("a credential was refused: {}", error.reason());
    })?;
    Ok(Caller::Key(key))
}

/// The token of an `Authorization` header of the scheme `Bearer`.
pub fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The text of the session cookie.
pub fn session_cookie(request: &HttpRequest) -> Option<String> {
    let cookie = [SESSION_COOKIE_SECURE, SESSION_COOKIE_PLAIN].into_iter().find_map(|name| request.cookie(name))?;
    Some(cookie.value().to_owned())
}

/// Refuses what a browser says comes from another site.
///
/// A browser names the origin of every unsafe request; where neither header is there it is no browser, and the CSRF token
/// alone decides.
pub fn check_same_site(state: &State, request: &HttpRequest) -> Result<(), Problem> {
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
    let refused = |what: &str| {
        Problem::new(
            Code::CsrfFailed,
            format!("{what}: use the pages of this server, and set public_url where a proxy changes the address"),
        )
    };
    if header("sec-fetch-site").is_some_and(|site| site != "same-origin") {
        return Err(refused("this request comes from another site"));
    }
    let Some(origin) = header("origin") else { return Ok(()) };
    let origin = Url::parse(origin).map_err(|_| refused("the origin of this request is hidden"))?;
    let is_public = state.config.public_url.as_ref().is_some_and(|public| public.origin() == origin.origin());
    if is_public || header("host").is_some_and(|host| is_host(&origin, host)) {
        Ok(())
    } else {
        Err(refused("this request comes from another origin"))
    }
}

/// Whether an origin has the host and port of a `Host` header; which scheme the browser used is not known behind a proxy.
fn is_host(origin: &Url, host: &str) -> bool {
    let Ok(asked) = Url::parse(&format!("{}://{host}", origin.scheme())) else { return false };
    let named = |url: &Url| url.host().map(|host| (host.to_owned(), url.port_or_known_default()));
    asked.host().is_some() && named(&asked) == named(origin)
}

/// The answer for a path that is not there.
pub async fn not_found(request: HttpRequest) -> HttpResponse {
    let path: String = request.path().chars().take(200).collect();
    Problem::new(Code::NotFound, format!("there is no {path}: GET /api/openapi.json lists every path")).response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_host(origin: &str, host: &str, expected: bool) {
        assert_eq!(is_host(&Url::parse(origin).unwrap(), host), expected, "{origin} at {host}");
    }

    #[test]
    fn an_origin_is_its_host_and_port_with_the_default_port_left_out_or_not() {
        check_host("http://127.0.0.1:8000", "127.0.0.1:8000", true);
        check_host("https://gate.example", "gate.example", true);
        check_host("https://gate.example", "gate.example:443", true);
        check_host("http://[::1]:8000", "[::1]:8000", true);
        check_host("https://gate.example", "GATE.example", true);
        check_host("https://gate.example", "gate.example:80", false);
        check_host("https://gate.example.evil.example", "gate.example", false);
        check_host("http://127.0.0.1:8001", "127.0.0.1:8000", false);
        check_host("https://evil.example", "user@evil.example@gate.example", false);
        check_host("https://gate.example", "", false);
    }

    #[test]
    fn a_bearer_is_a_scheme_and_a_token() {
        let read = |text: &'static str| bearer(&HeaderValue::from_static(text)).map(ToOwned::to_owned);
        assert_eq!(read("Bearer tga-1"), Some("tga-1".to_owned()));
        assert_eq!(read("bearer  tga-1 "), Some("tga-1".to_owned()));
        for text in ["", "Bearer", "Bearer ", "Basic dGdhOg==", "tga-1"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
