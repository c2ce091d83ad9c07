//! Who looks at a page: how the request came, whose session its cookie is, and whether a form is really ours.
//!
//! The session cookie is `__Host-tollgate` with `Secure` where the request came over HTTPS, and `tollgate` on plain HTTP. A page
//! takes a [`Visitor`], a form of someone who is logged in a [`Submission`], a form before that an
//! [`OpenSubmission`]: there is no other way to a handler's arguments, so no check can be left out.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::cookie::time::Duration as CookieDuration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::LocalBoxFuture;
use std::future::{Ready, ready};
use url::Url;

use super::answer::PageError;
use super::form::Fields;
use super::page_access;
use super::view::{Bare, Theme};
use crate::config::Config;
use crate::domain::TeamId;
use crate::http::State;
use crate::http::guard::{Access, CSRF_HEADER, SESSION_COOKIE_PLAIN, SESSION_COOKIE_SECURE, check_same_site};
use crate::keys::{Role, Session};
use crate::ledger::View;

const NONCE_SECURE: &str = "__Host-tollgate-form";
const NONCE_PLAIN: &str = "tollgate-form";
/// The colours that a reader has chosen.
const THEME: &str = "tollgate-theme";
/// As long as a session can last however much it is used.
const SESSION_DAYS: i64 = 7;
const THEME_DAYS: i64 = 365;
/// A path to come back to that is longer than this is left out.
const NEXT_BYTES_MAX: usize = 2_000;

/// How a request came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transport {
    /// Whether the browser used HTTPS, as far as can be known.
    pub(super) is_https: bool,
    /// Where the browser is.
    pub(super) client: IpAddr,
}

impl Transport {
    /// From the connection, and the headers of proxies that are trusted.
    pub(super) fn of(config: &Config, request: &HttpRequest) -> Self {
        let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let is_trusted = |address: IpAddr| config.tls.trusted_proxies.iter().any(|network| network.contains(address));
        let by_proxy = is_trusted(peer);
        let forwarded = if by_proxy { last_value(request, "x-forwarded-proto") } else { None };
        let is_public = || {
            let public = config.public_url.as_ref().filter(|public| public.scheme() == "https");
            public.is_some_and(|public| by_proxy || peer.to_canonical().is_loopback() || is_at(public, request))
        };
        let is_https = match forwarded.as_deref() {
            Some(scheme) => scheme.eq_ignore_ascii_case("https"),
            None => request.app_config().secure() || is_public(),
        };
        let client = if by_proxy { forwarded_for(request, is_trusted).unwrap_or(peer) } else { peer };
        Self { is_https, client: client.to_canonical() }
    }

    /// Whether a password may travel this way.
    pub(super) fn takes_passwords(self, config: &Config) -> bool {
        self.is_https || self.client.is_loopback() || config.tls.plain_http_login
    }

    fn cookie(self, secure: &'static str, plain: &'static str, value: String) -> Cookie<'static> {
        Cookie::build(if self.is_https { secure } else { plain }, value)
            .path("/")
            .http_only(true)
            .secure(self.is_https)
            .same_site(SameSite::Lax)
            .finish()
    }

    /// The cookie of a session that has begun.
    pub(super) fn session_cookie(self, value: &str) -> Cookie<'static> {
        let mut cookie = self.cookie(SESSION_COOKIE_SECURE, SESSION_COOKIE_PLAIN, value.to_owned());
        cookie.set_max_age(CookieDuration::days(SESSION_DAYS));
        cookie
    }

    /// Takes the cookie of a session out of the browser.
    pub(super) fn session_end(self) -> Cookie<'static> {
        let mut cookie = self.cookie(SESSION_COOKIE_SECURE, SESSION_COOKIE_PLAIN, String::new());
        cookie.set_max_age(CookieDuration::ZERO);
        cookie
    }

    /// The text of the session cookie that the browser sent.
    pub(super) fn session_text(self, request: &HttpRequest) -> Option<String> {
        self.text(request, SESSION_COOKIE_SECURE, SESSION_COOKIE_PLAIN)
    }

    fn text(self, request: &HttpRequest, secure: &str, plain: &str) -> Option<String> {
        let cookie = request.cookie(if self.is_https { secure } else { plain })?;
        Some(cookie.value().to_owned()).filter(|value| !value.is_empty())
    }

    /// The nonce behind the token of a form before any session: that of the browser, or a new one with its cookie.
    pub(super) fn nonce(self, request: &HttpRequest) -> Result<(String, Option<Cookie<'static>>), PageError> {
        if let Some(nonce) = self.text(request, NONCE_SECURE, NONCE_PLAIN) {
            return Ok((nonce, None));
        }
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes).map_err(|error| PageError::failed(&error))?;
        let nonce = URL_SAFE_NO_PAD.encode(bytes);
        let cookie = self.cookie(NONCE_SECURE, NONCE_PLAIN, nonce.clone());
        Ok((nonce, Some(cookie)))
    }

    /// The cookie of a choice of colours.
    pub(super) fn theme_cookie(self, theme: Theme) -> Cookie<'static> {
        let mut cookie = self.cookie(THEME, THEME, theme.word().unwrap_or_default().to_owned());
        cookie.set_max_age(CookieDuration::days(if theme == Theme::System { 0 } else { THEME_DAYS }));
        cookie
    }
}

/// The last of the values that a header has, which the nearest proxy has set.
fn last_value(request: &HttpRequest, name: &str) -> Option<String> {
    let value = request.headers().get_all(name).last()?.to_str().ok()?;
    Some(value.rsplit(',').next()?.trim().to_owned())
}

/// The nearest address in `X-Forwarded-For` that is no proxy of ours: what stands before it may be made up.
fn forwarded_for(request: &HttpRequest, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let values: Vec<&str> =
        request.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok()).collect();
    let addresses = values.iter().flat_map(|value| value.split(',')).map(str::trim);
    let addresses: Option<Vec<IpAddr>> = addresses.map(|address| address.parse().ok()).collect();
    let addresses = addresses?;
    addresses.iter().rev().find(|address| !is_trusted(**address)).or(addresses.first()).copied()
}

/// Whether the host that a request asks for is that of an address.
fn is_at(address: &Url, request: &HttpRequest) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let Ok(asked) = Url::parse(&format!("{}://{host}", address.scheme())) else { return false };
    asked.host().is_some()
        && asked.username().is_empty()
        && asked.host() == address.host()
        && asked.port_or_known_default() == address.port_or_known_default()
}

/// Whether a form comes from a page of this server, as far as the browser says.
///
/// Browsers hide the origin of a form whose page sends no referrer, and no page of ours does: then the other header has to
/// do, and where there is none (plain HTTP, old browsers), the form's token alone decides.
fn is_from_here(state: &State, request: &HttpRequest) -> bool {
    if request.headers().get(header::ORIGIN).is_some_and(|origin| origin == "null") {
        return request.headers().get("sec-fetch-site").is_none_or(|site| site == "same-origin");
    }
    check_same_site(state, request).is_ok()
}

/// The colours that a browser has chosen.
pub(super) fn theme(request: &HttpRequest) -> Theme {
    Theme::from_word(request.cookie(THEME).as_ref().map(Cookie::value))
}

/// The page without navigation in the reader's colours.
pub(super) fn bare(request: &HttpRequest) -> Bare {
    Bare { theme: theme(request) }
}

/// A path of this server to go to: anything else becomes the overview.
pub(super) fn local_path(next: &str) -> &str {
    let is_local = next.starts_with('/')
        && !next.starts_with("//")
        && next.len() <= NEXT_BYTES_MAX
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && !["/login", "/logout", "/setup", "/reset", "/prefs/", "/events"].iter().any(|path| next.starts_with(path));
    if is_local { next } else { "/" }
}

/// The host that the reader sees, as the browser names it.
pub(super) fn host(config: &Config, request: &HttpRequest) -> String {
    let address = address(config, request);
    address.split_once("://").map_or(address.as_str(), |(_, host)| host).to_owned()
}

/// Where programs reach this server: `http://127.0.0.1:8000`, without a slash at its end.
pub(in crate::http) fn address(config: &Config, request: &HttpRequest) -> String {
    if let Some(public) = &config.public_url {
        return public.as_str().trim_end_matches('/').to_owned();
    }
    let scheme = if Transport::of(config, request).is_https { "https" } else { "http" };
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let asked = host.and_then(|host| Url::parse(&format!("{scheme}://{host}")).ok());
    match asked.filter(|asked| asked.host().is_some() && asked.username().is_empty() && asked.path() == "/") {
        Some(asked) => asked.as_str().trim_end_matches('/').to_owned(),
        None => format!("{scheme}://{}", config.listen),
    }
}

/// Someone who is logged in and may see the dashboard.
pub(super) struct Visitor {
    /// The running server.
    pub(super) state: web::Data<State>,
    /// Their session.
    pub(super) session: Session,
    /// The text of its cookie.
    pub(super) cookie: String,
    /// How the request came.
    pub(super) transport: Transport,
    /// The colours chosen.
    pub(super) theme: Theme,
    /// The page's own path and query.
    pub(super) path: String,
    /// Where programs reach this server.
    pub(super) address: String,
    /// Whether a part of a page asks, not a browser for a whole one.
    pub(super) is_htmx: bool,
    /// The ledger, as far as they may see it.
    pub(super) view: View,
}

impl Visitor {
    /// The team whose things alone they may see; `None` sees everything.
    pub(super) fn team(&self) -> Option<&TeamId> {
        self.session.user.role.team()
    }

    /// Whether they may see what is of a team.
    pub(super) fn sees_team(&self, team: Option<&TeamId>) -> bool {
        self.team().is_none_or(|own| team == Some(own))
    }

    /// Whether they may do everything.
    pub(super) fn is_admin(&self) -> bool {
        self.session.user.role == Role::Admin
    }

    /// Whether they may make, renew and take back the keys that they see.
    pub(super) fn has_keys(&self) -> bool {
        Access::TeamKeys.admits_role(&self.session.user.role)
    }

    fn of(request: &HttpRequest) -> Result<Self, PageError> {
        let state = request.app_data::<web::Data<State>>().ok_or_else(|| PageError::failed(&"no state"))?.clone();
        let config = &state.config();
        let transport = Transport::of(config, request);
        let is_htmx = request.headers().contains_key("hx-request");
        let cookie = transport.session_text(request);
        let found = cookie.and_then(|cookie| Some((state.keys.session(&cookie, state.clock.now())?, cookie)));
        let Some((session, cookie)) = found else {
            if !state.keys.anybody_can_log_in() {
                return Err(PageError::SetupNeeded { is_htmx });
            }
            return Err(PageError::LoginNeeded { next: page_of(request, is_htmx), is_htmx });
        };
        let access = page_access(request.match_pattern().as_deref(), request.method());
        if !access.admits_role(&session.user.role) {
            return Err(PageError::NotYours);
        }
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            cookie,
            transport,
            theme: theme(request),
            path: local_path(path).to_owned(),
            address: address(config, request),
            is_htmx,
            view: View::new(&state.ledger, session.user.role.team()),
            session,
            state,
        })
    }
}

/// The page that asks, to come back to after the login.
fn page_of(request: &HttpRequest, is_htmx: bool) -> String {
    if is_htmx {
        let current = request.headers().get("hx-current-url").and_then(|url| Url::parse(url.to_str().ok()?).ok());
        let path = current.map(|url| url[url::Position::BeforePath..url::Position::AfterQuery].to_owned());
        return local_path(path.as_deref().unwrap_or("/")).to_owned();
    }
    if !request.method().is_safe() {
        return "/".to_owned();
    }
    local_path(request.uri().path_and_query().map_or("/", |path| path.as_str())).to_owned()
}

impl FromRequest for Visitor {
    type Error = PageError;
    type Future = Ready<Result<Self, PageError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}

/// A form of someone who is logged in: sent by a page of ours, with the session's token.
pub(super) struct Submission {
    /// Who sends it.
    pub(super) visitor: Visitor,
    /// What they sent.
    pub(super) fields: Fields,
}

impl FromRequest for Submission {
    type Error = PageError;
    type Future = LocalBoxFuture<'static, Result<Self, PageError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let visitor = Visitor::of(request);
        let fields = Fields::read(request, payload);
        let request = request.clone();
        Box::pin(async move {
            let visitor = visitor?;
            if !is_from_here(&visitor.state, &request) {
                return Err(PageError::Forbidden);
            }
            let fields = fields.await?;
            let sent = request.headers().get(CSRF_HEADER).and_then(|token| token.to_str().ok());
            let is_ours = |token: &str| visitor.session.has_csrf_token(token);
            if !is_ours(fields.text("csrf_token")) && !sent.is_some_and(is_ours) {
                return Err(PageError::Forbidden);
            }
            Ok(Self { visitor, fields })
        })
    }
}

/// A form that is sent before anybody is logged in: by a page of ours, with the token that goes with its nonce.
pub(super) struct OpenSubmission {
    /// How it came.
    pub(super) transport: Transport,
    /// What was sent.
    pub(super) fields: Fields,
}

impl FromRequest for OpenSubmission {
    type Error = PageError;
    type Future = LocalBoxFuture<'static, Result<Self, PageError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let fields = Fields::read(request, payload);
        let request = request.clone();
        Box::pin(async move {
            let state = request.app_data::<web::Data<State>>().ok_or_else(|| PageError::failed(&"no state"))?;
            let transport = Transport::of(&state.config(), &request);
            if !is_from_here(state, &request) {
                return Err(PageError::Forbidden);
            }
            let fields = fields.await?;
            let nonce = transport.text(&request, NONCE_SECURE, NONCE_PLAIN).unwrap_or_default();
            if !state.keys.has_form_token(&nonce, fields.text("csrf_token")) {
                return Err(PageError::Forbidden);
            }
            Ok(Self { transport, fields })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn transport(settings: &str, peer: &str, headers: &[(&'static str, &str)]) -> Transport {
        let mut request = TestRequest::default().peer_addr(peer.parse().unwrap());
        for (name, value) in headers {
            request = request.append_header((*name, *value));
        }
        Transport::of(&Config::from_toml(settings).unwrap(), &request.to_http_request())
    }

    fn check_https(settings: &str, peer: &str, headers: &[(&'static str, &str)], expected: bool) {
        assert_eq!(transport(settings, peer, headers).is_https, expected, "{settings:?} {peer} {headers:?}");
    }

    const PROXY: &str = "[tls]\ntrusted_proxies = [\"10.0.0.0/8\"]\n";
    const PUBLIC: &str = "public_url = \"https://ai.example.test\"\n";

    #[test]
    fn https_is_known_by_the_public_address_or_a_trusted_proxy_and_by_nobody_else() {
        check_https("", "127.0.0.1:9", &[], false);
        check_https("", "127.0.0.1:9", &[("x-forwarded-proto", "https")], false);
        check_https(PROXY, "10.1.2.3:9", &[("x-forwarded-proto", "https")], true);
        check_https(PROXY, "10.1.2.3:9", &[("x-forwarded-proto", "https, http")], false);
        check_https(PROXY, "192.0.2.1:9", &[("x-forwarded-proto", "https")], false);
        check_https(PUBLIC, "127.0.0.1:9", &[("host", "127.0.0.1:8000")], true);
        check_https(PUBLIC, "192.0.2.1:9", &[("host", "ai.example.test")], true);
        check_https(PUBLIC, "192.0.2.1:9", &[("host", "192.0.2.7:8000")], false);
        check_https(PUBLIC, "192.0.2.1:9", &[("host", "ai.example.test:8000")], false);
    }

    #[test]
    fn the_client_behind_a_trusted_proxy_is_the_nearest_address_that_is_no_proxy() {
        let client =
            |peer, forwarded: &str| transport(PROXY, peer, &[("x-forwarded-for", forwarded)]).client.to_string();
        assert_eq!(client("10.1.1.1:9", "1.1.1.1, 192.0.2.5, 10.2.2.2"), "192.0.2.5");
        assert_eq!(client("10.1.1.1:9", "10.3.3.3"), "10.3.3.3");
        assert_eq!(client("10.1.1.1:9", "not an address"), "10.1.1.1");
        assert_eq!(client("198.51.100.1:9", "127.0.0.1"), "198.51.100.1");
    }

    #[test]
    fn a_password_travels_by_https_or_within_this_machine_unless_told_otherwise() {
        let takes = |settings: &str, peer| {
            transport(settings, peer, &[]).takes_passwords(&Config::from_toml(settings).unwrap())
        };
        assert!(takes("", "127.0.0.1:9"));
        assert!(takes("", "[::1]:9"));
        assert!(takes("", "[::ffff:127.0.0.1]:9"));
        assert!(!takes("", "192.0.2.1:9"));
        assert!(takes("[tls]\nplain_http_login = true\n", "192.0.2.1:9"));
    }

    #[test]
    fn the_cookie_is_bound_to_the_host_where_the_request_came_by_https() {
        let text =
            |is_https| Transport { is_https, client: IpAddr::V4(Ipv4Addr::LOCALHOST) }.session_cookie("x").to_string();
        let secure = text(true);
        assert!(secure.starts_with("__Host-tollgate=x;") && secure.contains("Secure"), "{secure}");
        assert!(!text(false).contains("Secure"));
        for cookie in [text(true), text(false)] {
            assert!(
                cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Path=/"),
                "{cookie}"
            );
            assert!(!cookie.contains("Domain"), "{cookie}");
        }
    }

    #[test]
    fn only_a_path_of_this_server_is_gone_to() {
        for path in ["/", "/costs?range=7d&by=key", "/requests/req_1"] {
            assert_eq!(local_path(path), path);
        }
        for path in [
            "",
            "costs",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\nb",
            "/a b",
            "/login?next=/",
            "/logout",
        ] {
            assert_eq!(local_path(path), "/", "{path:?}");
        }
        assert_eq!(local_path(&format!("/{}", "a".repeat(5_000))), "/");
    }

    #[test]
    fn a_forged_host_never_reaches_the_snippets() {
        let config = Config::from_toml("").unwrap();
        let address = |host: &str| {
            super::address(&config, &TestRequest::default().insert_header(("host", host)).to_http_request())
        };
        assert_eq!(address("gate.example:8000"), "http://gate.example:8000");
        for host in ["", "a b", "evil@gate.example", "gate.example/path", "\"><script>"] {
            assert_eq!(address(host), "http://127.0.0.1:8000", "{host:?}");
        }
    }
}
