//! The dashboard over HTTP, as browsers see it, on real stores in a temporary folder.

mod access;
mod alerts;
mod cache;
mod forms;
mod live;
mod providers;
mod reconciliation;
mod roles;
mod settings;
mod views;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::cookie::Cookie;
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode, header};
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use crate::alerts::Alerts;
use crate::budget::Budgets;
use crate::cache::Cache;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::content::{Content, ContentOptions};
use crate::domain::{CostBasis, Endpoint, EntryStatus, Picodollars, RequestId, RequestIds, Secret, TokenUsage};
use crate::gateway::{Gateway, InForce, Parts};
use crate::http::State;
use crate::idempotency::Idempotency;
use crate::keys::{Keys, LoginThrottle, NewKey, SetupToken, VirtualKey};
use crate::ledger::{Acknowledge, Attempt, CallFacts, Ledger, LedgerOptions, Outcome, Planned, WorstCase};
use crate::provider::Upstream;
use crate::reconciliation::Reconciler;
use crate::revisions::{Ask, Effective, Reloads, Revisions, Trigger};
use crate::routing::{Directory, Experience, Router};
use crate::runtime::{Clock, Tasks};
use crate::store::{OpenOptions, Settings};
use crate::telemetry::Metrics;

const HOSTILE: &str = "<img src=x onerror=alert(1)>";
const PASSWORD: &str = "correct horse battery";
const SETTINGS: &str = "[[providers]]\nname = \"sandbox\"\nkind = \"sandbox\"\n\n\
     [[routes]]\nname = \"cheap\"\ndeployments = [\"sandbox/sandbox-small\"]\n";
const LOOPBACK: &str = "127.0.0.1:40000";

fn run(test: impl Future<Output = ()>) {
    actix_web::rt::System::new().block_on(test);
}

/// A server's parts.
struct Fixture {
    _folder: tempfile::TempDir,
    state: web::Data<State>,
    /// Where asks for reloads arrive.
    asks: RefCell<mpsc::Receiver<Ask>>,
    ids: RequestIds,
    setup_token: Secret<String>,
}

/// An answer that has arrived.
struct Answered {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answered {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    fn location(&self) -> &str {
        self.header("location")
    }

    fn set_cookies(&self) -> Vec<String> {
        self.headers.get_all(header::SET_COOKIE).map(|cookie| cookie.to_str().unwrap().to_owned()).collect()
    }

    /// The value of the form's own token.
    fn csrf_token(&self) -> String {
        let marker = "name=\"csrf_token\" value=\"";
        let start = self.body.find(marker).unwrap_or_else(|| panic!("no form: {}", self.body)) + marker.len();
        self.body[start..].split('"').next().unwrap().to_owned()
    }
}

/// Thursday afternoon.
fn noon() -> Timestamp {
    "2026-11-19T14:32:10Z".parse().unwrap()
}

impl Fixture {
    fn new(settings: &str) -> Self {
        let fixture = Self::listening(settings);
        // Nobody reads the settings again here: who asks is told so at once.
        fixture.asks.borrow_mut().close();
        fixture
    }

    /// With whoever asks for a reload waiting for an answer.
    fn listening(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(noon());
        let options = OpenOptions { path: folder.path().join("settings.redb"), name: "settings", cache_bytes: 1 << 20 };
        let store = Settings::open(&options).unwrap();
        let keys = Arc::new(Keys::open(store.clone(), &folder.path().join("pepper")).unwrap());
        let config = Arc::new(Config::from_toml(settings).unwrap());
        let ledger = Ledger::open(LedgerOptions {
            path: folder.path().join("ledger.redb"),
            zone: config.time_zone.clone(),
            acknowledge: Acknowledge::Durable,
        });
        let ledger = Arc::new(ledger.unwrap());
        let zone = config.time_zone.clone();
        let reconciler = Arc::new(Reconciler::open(store.clone(), &config).unwrap());
        let revisions = Revisions::open(store.clone(), Some("tollgate.toml".into())).unwrap();
        let effective = Effective { settings: config.masked(), ..Effective::default() };
        revisions.take(effective, Trigger::Start, noon()).1.unwrap();
        let (reloads, asks) = Reloads::channel();
        let alerts = Arc::new(Alerts::open(store, &config.alerts, None, clock.clone(), zone).unwrap());
        let budgets = Arc::new(Budgets::new(Arc::clone(&keys), Arc::clone(&ledger)));
        let upstreams = config.providers.iter().map(|provider| Arc::new(Upstream::new(provider, None))).collect();
        let experience = Arc::new(Experience::default());
        let router = Router::new(upstreams, Directory::of(&config), Arc::new(Catalog::builtin()), experience);
        let options = ContentOptions {
            commit_interval: Duration::ZERO,
            ..ContentOptions::new(folder.path().join("content.redb"), config.log.bodies, Vec::new())
        };
        let (metrics, tasks) = (Arc::new(Metrics::default()), Tasks::default());
        let parts = Parts {
            ledger: Arc::clone(&ledger),
            budgets: Arc::clone(&budgets),
            cache: Arc::new(Cache::new(&config.cache, None)),
            shared: None,
            keys: Arc::clone(&keys),
            content: Arc::new(Content::open(options)),
            idempotency: Arc::new(Idempotency::open(folder.path().join("idempotency.redb"))),
            metrics: Arc::clone(&metrics),
            clock: clock.clone(),
            tasks: tasks.clone(),
            ids: RequestIds::new(7),
        };
        let in_force = InForce { config: Arc::clone(&config), router: Arc::new(router) };
        let gateway = Gateway::new(parts, in_force);
        let cache = Arc::new(Cache::new(&config.cache, None));
        let (setup, setup_token) = SetupToken::new(noon());
        let state = State {
            keys,
            ledger,
            budgets,
            cache,
            alerts,
            reconciler,
            revisions: Arc::new(revisions),
            reloads,
            gateway: Arc::new(gateway),
            metrics,
            clock,
            tasks,
            started: Instant::now(),
            version: "0.0.0",
            setup: Mutex::new(Some(setup)),
            throttle: LoginThrottle::new(),
            draining: AtomicBool::new(false),
        };
        Self {
            _folder: folder,
            state: web::Data::new(state),
            asks: RefCell::new(asks),
            ids: RequestIds::new(9),
            setup_token,
        }
    }

    /// With its first admin, and a browser in which they are logged in.
    fn with_admin(settings: &str) -> (Self, Browser) {
        let fixture = Self::new(settings);
        fixture.make_admin();
        let browser = fixture.logged_in();
        (fixture, browser)
    }

    fn make_admin(&self) {
        let setup = self.state.setup.lock().unwrap();
        let token = self.setup_token.expose();
        self.state.keys.create_first_admin(setup.as_ref().unwrap(), token, "ada", PASSWORD, noon()).unwrap();
    }

    fn logged_in(&self) -> Browser {
        let (cookie, session) = self.state.keys.start_session("ada", None, noon()).unwrap();
        let browser = Browser { csrf_token: session.csrf_token.expose().clone(), ..Browser::new(&self.state) };
        browser.cookies.borrow_mut().insert("tollgate".to_owned(), cookie.expose().clone());
        browser
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.state)
    }

    fn key(&self, name: &str) -> Arc<VirtualKey> {
        self.state.keys.create(NewKey::named(name), self.state.clock.now()).unwrap().0
    }

    /// Books a call that was made so long ago.
    async fn call(&self, key: &VirtualKey, call: Call<'_>) -> RequestId {
        let id = self.ids.next((self.state.clock.now() - call.ago).as_millisecond());
        let facts = CallFacts {
            team: key.team.as_ref().map(|team| team.as_str().into()),
            stream: true,
            ..CallFacts::plain(id, key.id.clone(), key.name.as_str().into(), call.model.parse().unwrap())
        };
        let deployment: crate::domain::Deployment = format!("{}/{}", call.provider, call.model).parse().unwrap();
        let cost: Picodollars = call.cost.parse().unwrap();
        let planned = Planned {
            deployment: deployment.clone(),
            worst_case: WorstCase::fixed(cost),
            turning: Vec::new(),
            charges: Vec::new(),
            watched: Vec::new(),
            started_ms: 2,
        };
        let reservation = self.state.ledger.reserve(facts, planned).await.unwrap();
        let error: Option<Arc<str>> = call.error.map(Arc::from);
        let last = Attempt {
            deployment,
            status: if error.is_some() { 503 } else { 200 },
            error: error.clone(),
            usage: TokenUsage { uncached_input: 1_000, output: 200, ..TokenUsage::default() },
            cost,
            basis: call.basis,
            started_ms: 2,
            latency_ms: 900,
            time_to_first_token_ms: error.is_none().then_some(300),
            raw_usage: Some("{\"prompt_tokens\":1000}".into()),
            upstream_request_id: None,
            rating: None,
        };
        let outcome = Outcome {
            status: if error.is_some() && cost.is_zero() { EntryStatus::Failed } else { EntryStatus::Settled },
            http_status: if error.is_some() { 503 } else { 200 },
            error,
            last: Some(last),
            latency_ms: 905,
            time_to_first_token_ms: Some(302),
            saved: Picodollars::ZERO,
        };
        reservation.settle(outcome).await.unwrap();
        id
    }

    /// Books a call that was given up after money was held for it, and before anything was sent.
    async fn unsent_call(&self, key: &VirtualKey) -> RequestId {
        let id = self.ids.next((self.state.clock.now() - SignedDuration::from_mins(5)).as_millisecond());
        let facts = CallFacts::plain(id, key.id.clone(), key.name.as_str().into(), "sandbox-small".parse().unwrap());
        let planned = Planned {
            deployment: "sandbox/sandbox-small".parse().unwrap(),
            worst_case: WorstCase::fixed("0.25".parse().unwrap()),
            turning: Vec::new(),
            charges: Vec::new(),
            watched: Vec::new(),
            started_ms: 2,
        };
        let reservation = self.state.ledger.reserve(facts, planned).await.unwrap();
        let outcome = Outcome {
            status: EntryStatus::Failed,
            http_status: 504,
            error: Some("timeout_total".into()),
            last: Some(reservation.nothing_sent()),
            latency_ms: 905,
            time_to_first_token_ms: None,
            saved: Picodollars::ZERO,
        };
        reservation.settle(outcome).await.unwrap();
        id
    }

    /// Books a call whose second attempt, 800 ms after the first, answered: each cost a cent.
    async fn hedged_call(&self, key: &VirtualKey, basis: CostBasis) -> RequestId {
        let id = self.ids.next((self.state.clock.now() - SignedDuration::from_mins(5)).as_millisecond());
        let decision = crate::domain::Decision {
            route: "smart".into(),
            strategy: crate::domain::Strategy::Fallback,
            reason: crate::domain::Reason::FirstHealthy,
            input_tokens: None,
            output_tokens: None,
            considered: Vec::new(),
            more: 0,
        };
        let facts = CallFacts {
            decision: Some(Arc::new(decision)),
            ..CallFacts::plain(id, key.id.clone(), key.name.as_str().into(), "smart".parse().unwrap())
        };
        let cent: Picodollars = "0.01".parse().unwrap();
        let planned = |deployment: &str, started_ms| Planned {
            deployment: deployment.parse().unwrap(),
            worst_case: WorstCase::fixed(cent),
            turning: Vec::new(),
            charges: Vec::new(),
            watched: Vec::new(),
            started_ms,
        };
        let ledger = &self.state.ledger;
        let mut call = ledger.reserve(facts, planned("slow/m", 2)).await.unwrap();
        let second = ledger.reserve_beside(&call, planned("sandbox/m", 802)).await.unwrap();
        let lost = Attempt { latency_ms: 1_100, basis, error: Some("cancelled".into()), ..call.worst_case() };
        ledger.end_first(&call, lost);
        call.stand_for(second);
        let last = Attempt { status: 200, latency_ms: 900, basis: CostBasis::Exact, ..call.worst_case() };
        let outcome = Outcome {
            status: EntryStatus::Settled,
            error: None,
            http_status: 200,
            last: Some(last),
            latency_ms: 1_702,
            time_to_first_token_ms: None,
            saved: Picodollars::ZERO,
        };
        call.settle(outcome).await.unwrap();
        id
    }
}

/// What a booked call was.
struct Call<'a> {
    model: &'a str,
    provider: &'a str,
    cost: &'a str,
    ago: SignedDuration,
    error: Option<&'a str>,
    basis: CostBasis,
}

impl Call<'_> {
    const USUAL: Call<'static> = Call {
        model: "sandbox-small",
        provider: "sandbox",
        cost: "0.0014",
        ago: SignedDuration::from_mins(5),
        error: None,
        basis: CostBasis::Exact,
    };
}

/// A browser that keeps cookies.
struct Browser {
    state: web::Data<State>,
    cookies: RefCell<BTreeMap<String, String>>,
    csrf_token: String,
    peer: &'static str,
}

impl Browser {
    fn new(state: &web::Data<State>) -> Self {
        Self { state: state.clone(), cookies: RefCell::default(), csrf_token: String::new(), peer: LOOPBACK }
    }

    async fn send(&self, request: TestRequest) -> Answered {
        let app = App::new().app_data(self.state.clone()).configure(crate::http::routes);
        let app = init_service(app).await;
        let mut request = request.peer_addr(self.peer.parse().unwrap()).insert_header(("host", "127.0.0.1:8000"));
        for (name, value) in self.cookies.borrow().iter() {
            request = request.cookie(Cookie::new(name.clone(), value.clone()));
        }
        let response = call_service(&app, request.to_request()).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        for cookie in headers.get_all(header::SET_COOKIE) {
            let cookie = Cookie::parse(cookie.to_str().unwrap().to_owned()).unwrap();
            if cookie.value().is_empty() {
                self.cookies.borrow_mut().remove(cookie.name());
            } else {
                self.cookies.borrow_mut().insert(cookie.name().to_owned(), cookie.value().to_owned());
            }
        }
        let body = String::from_utf8_lossy(&read_body(response).await).into_owned();
        Answered { status, headers, body }
    }

    async fn get(&self, path: &str) -> Answered {
        self.send(TestRequest::get().uri(path)).await
    }

    fn form(path: &str, fields: &[(&str, &str)]) -> TestRequest {
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        let body = text.extend_pairs(fields).finish();
        TestRequest::post().uri(path).insert_header(header::ContentType::form_url_encoded()).set_payload(body)
    }

    /// Sends a form with the token of the session.
    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answered {
        let fields = [&[("csrf_token", self.csrf_token.as_str())], fields].concat();
        self.send(Self::form(path, &fields)).await
    }

    /// The same, as htmx does it.
    async fn swap(&self, path: &str, fields: &[(&str, &str)]) -> Answered {
        let request = Self::form(path, fields).insert_header(("hx-request", "true"));
        self.send(request.insert_header(("x-csrf-token", self.csrf_token.as_str()))).await
    }

    /// Sends a form that is shown before there is a session, as it was shown.
    async fn open_form(&self, page: &str, path: &str, fields: &[(&str, &str)]) -> Answered {
        let token = self.get(page).await.csrf_token();
        let fields = [&[("csrf_token", token.as_str())], fields].concat();
        self.send(Self::form(path, &fields)).await
    }
}

/// Every page by GET; `{}` stands for an id.
const PAGES: [&str; 23] = [
    "/",
    "/welcome",
    "/requests",
    "/requests/{}",
    "/costs",
    "/costs/reconciliation",
    "/reports",
    "/reports/2026-11-18",
    "/reports/2026-10.md",
    "/cache",
    "/budgets",
    "/budgets/new",
    "/budgets/budget_1",
    "/providers",
    "/keys/new",
    "/keys/{key}",
    "/alerts",
    "/settings",
    "/teams",
    "/teams/{team}",
    "/people",
    "/people/ada",
    "/events?topics=request",
];

/// Every form of someone who is logged in.
const FORMS: [&str; 23] = [
    "/logout",
    "/prefs/theme",
    "/costs/reconciliation",
    "/cache/clear",
    "/requests/req_00000000000000000000000001/adjust",
    "/budgets",
    "/budgets/budget_1",
    "/budgets/budget_1/delete",
    "/providers",
    "/providers/local/keys/1/enable",
    "/keys",
    "/keys/key_1",
    "/keys/key_1/rotate",
    "/keys/key_1/revoke",
    "/teams",
    "/teams/research",
    "/teams/research/delete",
    "/people",
    "/people/ada",
    "/people/ada/invite",
    "/people/ada/delete",
    "/alerts/test",
    "/settings/reload",
];

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap()
}

fn method(word: &str) -> Method {
    word.parse().unwrap()
}
