//! The management API over HTTP, as callers see it, on real stores in a temporary folder.

mod access;
mod adjustments;
mod alerts;
mod budgets;
mod cache;
mod config;
mod costs;
mod document;
mod imports;
mod keys;
mod reconciliation;
mod reports;
mod requests;
mod roles;
mod routing;
mod schema;
mod server;
mod teams;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;

use super::configure;
use crate::alerts::Alerts;
use crate::budget::Budgets;
use crate::cache::Cache;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::content::{Content, ContentOptions};
use crate::domain::{
    CacheOutcome, CostBasis, Endpoint, EntryStatus, Picodollars, RequestId, RequestIds, Secret, TokenUsage,
};
use crate::gateway::{Gateway, InForce, Parts, UpstreamClient};
use crate::http::guard::{CSRF_HEADER, SESSION_COOKIE_PLAIN};
use crate::http::state::State;
use crate::idempotency::Idempotency;
use crate::keys::{Entrance, Keys, LoginThrottle, NewKey, NewUser, SetupToken, VirtualKey};
use crate::ledger::{Acknowledge, Attempt, CallFacts, Ledger, LedgerOptions, Outcome, Planned, WorstCase};
use crate::provider::{ClientSettings, Upstream};
use crate::reconciliation::Reconciler;
use crate::revisions::{Ask, Effective, Reloads, Revisions, Trigger};
use crate::routing::{Directory, Experience, Router};
use crate::runtime::{Clock, Tasks};
use crate::store::{OpenOptions, Settings};
use crate::telemetry::Metrics;

const SETTINGS: &str = r#"
time_zone = "Asia/Seoul"
public_url = "https://gate.example"

[[providers]]
name = "openai"
kind = "openai"
api_key = "sk-canary-of-the-provider"

[[providers]]
name = "sandbox"
kind = "sandbox"

[[routes]]
name = "cheap"
deployments = ["sandbox/sandbox-small"]

[telemetry]
metrics_token = "metrics-canary-0123456789"
"#;

/// A server's parts, its admin, and one virtual key.
struct Fixture {
    _folder: tempfile::TempDir,
    state: web::Data<State>,
    /// Where asks for reloads arrive.
    asks: Mutex<mpsc::Receiver<Ask>>,
    ids: RequestIds,
    admin_token: String,
    cookie: String,
    csrf_token: String,
    key: Arc<VirtualKey>,
    secret: String,
}

/// A credential as it goes along with a request.
#[derive(Clone, Copy, Debug)]
enum As {
    Nobody,
    Key,
    Admin,
    Session,
    SessionWithoutCsrf,
    Scraper,
}

/// An answer that has arrived.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Status and code, as in `400 invalid_field`; what isn't a problem has no code.
    fn verdict(&self) -> String {
        let code = serde_json::from_str::<Value>(&self.body).ok();
        let code = code.and_then(|json| json["code"].as_str().map(ToOwned::to_owned));
        format!("{} {}", self.status.as_u16(), code.unwrap_or_default()).trim_end().to_owned()
    }
}

/// Sunday noon, 21:00 in Seoul.
fn noon() -> Timestamp {
    at("2026-11-22T12:00:00Z")
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn run(test: impl Future<Output = ()>) {
    actix_web::rt::System::new().block_on(test);
}

impl Fixture {
    fn new() -> Self {
        Self::with(SETTINGS)
    }

    fn with(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bodies = Config::from_toml(settings).unwrap_or_else(|problems| panic!("{problems}")).log.bodies;
        let options = ContentOptions {
            commit_interval: Duration::ZERO,
            ..ContentOptions::new(folder.path().join("content.redb"), bodies, Vec::new())
        };
        let fixture = Self::over(folder, settings, Content::open(options));
        // Nobody reads the settings again here: who asks is told so at once.
        fixture.asks.lock().unwrap().close();
        fixture
    }

    /// The same with contents that are kept elsewhere.
    fn with_content(settings: &str, content: Content) -> Self {
        Self::over(tempfile::tempdir().unwrap(), settings, content)
    }

    fn over(folder: tempfile::TempDir, settings: &str, content: Content) -> Self {
        let config = Arc::new(Config::from_toml(settings).unwrap_or_else(|problems| panic!("{problems}")));
        let clock = Clock::manual(noon());
        let options = OpenOptions { path: folder.path().join("settings.redb"), name: "settings", cache_bytes: 1 << 20 };
        let store = Settings::open(&options).unwrap();
        let keys = Arc::new(Keys::open(store.clone(), &folder.path().join("pepper")).unwrap());
        let ledger = Arc::new(
            Ledger::open(LedgerOptions {
                path: folder.path().join("ledger.redb"),
                zone: config.time_zone.clone(),
                acknowledge: Acknowledge::Durable,
            })
            .unwrap(),
        );
        let zone = config.time_zone.clone();
        let reconciler = Arc::new(Reconciler::open(store.clone(), &config).unwrap());
        let revisions = Revisions::open(store.clone(), Some("tollgate.toml".into())).unwrap();
        let effective = Effective { settings: config.masked(), ..Effective::default() };
        revisions.take(effective, Trigger::Start, noon()).1.unwrap();
        let (reloads, asks) = Reloads::channel();
        let alerts = Arc::new(Alerts::open(store, &config.alerts, None, clock.clone(), zone).unwrap());
        let budgets = Arc::new(Budgets::new(Arc::clone(&keys), Arc::clone(&ledger)));
        let upstreams = config.providers.iter().map(|provider| Arc::new(Upstream::new(provider, None))).collect();
        let router = Arc::new(Router::new(
            upstreams,
            Directory::of(&config),
            Arc::new(Catalog::builtin()),
            Arc::new(Experience::default()),
        ));
        let (metrics, tasks) = (Arc::new(Metrics::default()), Tasks::default());
        let parts = Parts {
            ledger: Arc::clone(&ledger),
            budgets: Arc::clone(&budgets),
            cache: Arc::new(Cache::new(&config.cache, None)),
            shared: None,
            keys: Arc::clone(&keys),
            content: Arc::new(content),
            idempotency: Arc::new(Idempotency::open(folder.path().join("idempotency.redb"))),
            metrics: Arc::clone(&metrics),
            clock: clock.clone(),
            tasks: tasks.clone(),
            ids: RequestIds::new(1),
        };
        let gateway = Arc::new(Gateway::new(parts, InForce { config: Arc::clone(&config), router }));
        let (setup, text) = SetupToken::new(noon());
        keys.create_first_admin(&setup, text.expose(), "Ada", "correct horse battery", noon()).unwrap();
        let (cookie, session) = keys.start_session("Ada", None, noon()).unwrap();
        let (_, admin_token) = keys.create_admin_token("scripts", noon()).unwrap();
        let (key, secret) = keys.create(NewKey::named("ci"), noon()).unwrap();
        let cache = Arc::new(Cache::new(&config.cache, None));
        let state = web::Data::new(State {
            keys,
            ledger,
            budgets,
            cache,
            alerts,
            reconciler,
            revisions: Arc::new(revisions),
            reloads,
            gateway,
            metrics,
            clock,
            tasks,
            started: Instant::now(),
            version: "1.2.3",
            setup: Mutex::new(None),
            throttle: LoginThrottle::new(),
            draining: AtomicBool::new(false),
        });
        Self {
            _folder: folder,
            state,
            asks: Mutex::new(asks),
            ids: RequestIds::new(2),
            admin_token: admin_token.expose().clone(),
            cookie: cookie.expose().clone(),
            csrf_token: session.csrf_token.expose().clone(),
            key,
            secret: secret.expose().clone(),
        }
    }

    fn credential(&self, caller: As, request: TestRequest) -> TestRequest {
        let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
        match caller {
            As::Nobody => request,
            As::Key => request.insert_header(bearer(&self.secret)),
            As::Admin => request.insert_header(bearer(&self.admin_token)),
            As::Scraper => request.insert_header(bearer("metrics-canary-0123456789")),
            As::Session => self
                .credential(As::SessionWithoutCsrf, request)
                .insert_header((CSRF_HEADER, self.csrf_token.as_str()))
                .insert_header(("sec-fetch-site", "same-origin")),
            As::SessionWithoutCsrf => {
                request.insert_header(("cookie", format!("{SESSION_COOKIE_PLAIN}={}", self.cookie)))
            }
        }
    }

    /// A user with a password, and their session and its token.
    fn user(&self, name: &str, role: &str, team: Option<&str>) -> (String, String) {
        let new = NewUser { name: name.to_owned(), role: role.to_owned(), team: team.map(ToOwned::to_owned) };
        let entrance = Entrance::Password(Secret::new("correct horse battery".to_owned()));
        self.state.keys.create_user(&new, &entrance, noon()).unwrap();
        let (cookie, session) = self.state.keys.start_session(name, None, noon()).unwrap();
        (cookie.expose().clone(), session.csrf_token.expose().clone())
    }

    async fn send(&self, request: TestRequest) -> Answered {
        let client = web::Data::new(UpstreamClient::new(ClientSettings::default()));
        let app = init_service(App::new().app_data(self.state.clone()).app_data(client).configure(configure)).await;
        let response = call_service(&app, request.to_request()).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = String::from_utf8(read_body(response).await.to_vec()).unwrap();
        Answered { status, headers, body }
    }

    async fn call(&self, caller: As, request: TestRequest) -> Answered {
        self.send(self.credential(caller, request)).await
    }

    /// What an admin gets.
    async fn get(&self, uri: &str) -> Answered {
        self.call(As::Admin, TestRequest::get().uri(uri)).await
    }

    /// What an admin gets for a body.
    async fn post(&self, uri: &str, body: &Value) -> Answered {
        self.call(As::Admin, TestRequest::post().uri(uri).set_json(body)).await
    }

    /// Whether every one of these is refused with the same verdict.
    async fn refuses_all(&self, uris: &[&str], verdict: &str) {
        for uri in uris {
            let answer = self.get(uri).await;
            assert_eq!(answer.verdict(), verdict, "{uri}: {}", answer.body);
        }
    }

    fn facts(&self, time: Timestamp) -> CallFacts {
        CallFacts::plain(
            self.ids.next(time.as_millisecond()),
            self.key.id.clone(),
            self.key.name.as_str().into(),
            "sandbox-small".parse().unwrap(),
        )
    }

    /// Books a call of ten thousand tokens in and a thousand out at `sandbox-small`: 0.012 USD.
    async fn book(&self, facts: CallFacts) -> RequestId {
        self.book_as(facts, EntryStatus::Settled, None).await
    }

    async fn book_as(&self, facts: CallFacts, status: EntryStatus, error: Option<&str>) -> RequestId {
        let id = facts.id;
        let planned = Planned {
            deployment: "sandbox/sandbox-small".parse().unwrap(),
            worst_case: WorstCase::fixed(Picodollars::from_dollars(1)),
            turning: Vec::new(),
            charges: Vec::new(),
            watched: Vec::new(),
            started_ms: 2,
        };
        let reservation = self.state.ledger.reserve(facts, planned).await.unwrap();
        let last = match status {
            EntryStatus::Settled => Attempt {
                status: 200,
                usage: TokenUsage {
                    uncached_input: 9_000,
                    cache_read: 1_000,
                    output: 1_000,
                    reasoning: 10,
                    ..TokenUsage::default()
                },
                cost: "0.012".parse().unwrap(),
                basis: CostBasis::Exact,
                latency_ms: 40,
                time_to_first_token_ms: Some(7),
                raw_usage: Some(r#"{"prompt_tokens":10000}"#.into()),
                ..reservation.worst_case()
            },
            EntryStatus::Failed => Attempt {
                status: 500,
                error: Some("upstream_error".into()),
                cost: Picodollars::ZERO,
                basis: CostBasis::Exact,
                ..reservation.worst_case()
            },
            EntryStatus::Unknown | EntryStatus::Pending => reservation.worst_case(),
        };
        let outcome = Outcome {
            status,
            error: error.map(Into::into),
            http_status: 200,
            last: Some(last),
            latency_ms: 42,
            time_to_first_token_ms: Some(9),
            saved: Picodollars::ZERO,
        };
        reservation.settle(outcome).await.unwrap();
        id
    }
}
