//! The server itself: where it listens, whom it trusts, how much it takes at once.

use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use url::Url;

use super::NamedFile;
use super::choice::choice_type;
use super::defaults;
use super::network::IpNetwork;
use super::problem::{did_you_mean, quoted};
use super::quantities;
use super::reader::Section;
use super::secrets::Form;
use crate::domain::{Picodollars, Secret, Window};

/// How connections come in and go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate to serve with; without one, and without `acme`, plain HTTP is served.
    pub certificate: Option<CertificateFiles>,
    /// Certificates fetched by name.
    pub acme: Option<AcmeConfig>,
    /// Proxies whose `X-Forwarded-…` headers are believed.
    pub trusted_proxies: Vec<IpNetwork>,
    /// Whether a password may come in over plain HTTP from another machine.
    pub plain_http_login: bool,
    /// Certificate authorities to believe besides the built-in ones when calling providers.
    pub ca_file: Option<PathBuf>,
}

/// A certificate and its key, each a PEM file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate and those above it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Certificates from an ACME authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeConfig {
    /// The name that the certificate is for.
    pub domain: String,
    /// Whom the authority writes to.
    pub email: Option<String>,
}

/// Limits that hold for every key unless the key has its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Calls at once over all keys.
    pub concurrent_requests_max: u32,
    /// The largest body of a request.
    pub body_bytes_max: u64,
    /// Requests of one key in a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens of one key in a minute.
    pub tokens_per_minute: Option<u64>,
    /// The budget that a new key gets when it is made without one.
    pub new_key_budget: Option<NewKeyBudget>,
}

/// The budget of keys that are made without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKeyBudget {
    /// How long it runs.
    pub window: Window,
    /// How much.
    pub limit: Picodollars,
    /// What happens at the limit.
    pub action: BudgetAction,
    /// The route to downgrade to; there exactly where the action is to downgrade.
    pub downgrade_to: Option<String>,
}

choice_type!(
    /// What happens at the limit of a budget.
    BudgetAction {
        /// The call is refused.
        Block = "block",
        /// Somebody is told.
        Alert = "alert",
        /// The call goes to a cheaper route.
        Downgrade = "downgrade",
    }
);

/// What stands above all sections.
pub(super) struct Top {
    pub(super) listen: SocketAddr,
    pub(super) data_dir: PathBuf,
    pub(super) time_zone: TimeZone,
    pub(super) public_url: Option<Url>,
    pub(super) redis_url: Option<Secret<String>>,
    pub(super) redis_secret: Option<Secret<String>>,
}

/// Reads what stands above all sections.
pub(super) fn read_top(root: &mut Section<'_>) -> Top {
    Top {
        listen: root.parsed("listen", quantities::socket_address).unwrap_or_else(|| {
            root.show("listen", defaults::LISTEN.to_string());
            defaults::LISTEN
        }),
        data_dir: read_data_dir(root),
        time_zone: root.parsed("time_zone", quantities::time_zone).unwrap_or_else(|| {
            let zone = root.context.sources.system_zone.clone();
            if let Some(trouble) = &root.context.sources.zone_trouble {
                root.context.warning("TZ", trouble);
            }
            if let Some(name) = zone.iana_name() {
                root.show("time_zone", name);
            }
            zone
        }),
        public_url: root.parsed("public_url", quantities::base_url),
        redis_url: read_redis_url(root),
        redis_secret: root.secret("redis_secret", Form::Word),
    }
}

/// Reads where everything is kept.
pub(super) fn read_data_dir(root: &mut Section<'_>) -> PathBuf {
    root.file_path("data_dir").unwrap_or_else(|| {
        root.show("data_dir", defaults::DATA_DIR);
        defaults::DATA_DIR.into()
    })
}

/// The Redis that instances share; who can write into one without a password can write answers, unless they are sealed.
fn read_redis_url(root: &mut Section<'_>) -> Option<Secret<String>> {
    let url = root.parsed_secret("redis_url", Form::Word, redis_url)?;
    let has_password = Url::parse(url.expose()).is_ok_and(|url| url.password().is_some());
    if !has_password && !root.is_set("redis_secret") {
        root.warning_at(
            "redis_url",
            "there is no password in it, so whoever reaches the Redis could put answers into the cache; set redis_secret, the same for all instances",
        );
    }
    Some(url)
}

/// Checks the address of a Redis; it may hold a password, so the message doesn't repeat it.
fn redis_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| format!("this is no URL ({error}); write it as redis://host:6379"))?;
    match url.scheme() {
        "redis" | "rediss" if url.host_str().is_some_and(|host| !host.is_empty()) => Ok(text.to_owned()),
        "redis" | "rediss" => Err("this URL names no host; write it as redis://host:6379".to_owned()),
        _ => Err("this URL is of another scheme; write redis:// or rediss://".to_owned()),
    }
}

/// Reads `[limits]`; `routes` are those that a downgrade may name.
pub(super) fn read_limits(root: &mut Section<'_>, routes: &[String]) -> LimitsConfig {
    root.section("limits", |limits| LimitsConfig {
        concurrent_requests_max: limits.whole_or(
            "concurrent_requests_max",
            defaults::CONCURRENT_REQUESTS_MAX,
            1..=defaults::CONCURRENCY_MOST,
        ),
        // The least that an ordinary call needs, and the most that a request may hold in memory.
        body_bytes_max: limits.size_or("body_bytes_max", defaults::BODY_BYTES_MAX, 1024..=1 << 30),
        requests_per_minute: limits.whole("requests_per_minute", 1..=defaults::PER_MINUTE_MOST),
        tokens_per_minute: limits.whole("tokens_per_minute", 1..=defaults::PER_MINUTE_MOST),
        new_key_budget: read_new_key_budget(limits, routes),
    })
}

fn read_new_key_budget(limits: &mut Section<'_>, routes: &[String]) -> Option<NewKeyBudget> {
    let in_file = limits.has_table("new_key_budget");
    limits.section("new_key_budget", |budget| {
        let window = budget.choice("window");
        let limit = budget.money("limit_usd");
        let action: Option<BudgetAction> = budget.choice("action");
        let downgrade_to = budget.text("downgrade_to");
        if !in_file && window.is_none() && limit.is_none() && action.is_none() && downgrade_to.is_none() {
            return None;
        }
        for key in ["window", "limit_usd"] {
            if !budget.is_set(key) {
                budget.problem(format!(
                    "{key} is missing; write it as new_key_budget = {{ window = \"day\", limit_usd = \"1.00\", action = \"block\" }}"
                ));
            }
        }
        let action = action.unwrap_or(BudgetAction::Block);
        match (&downgrade_to, action) {
            (None, BudgetAction::Downgrade) => budget.problem("downgrade_to is missing; name the route to downgrade to"),
            (Some(_), BudgetAction::Block | BudgetAction::Alert) => {
                budget.problem_at("downgrade_to", "only the action \"downgrade\" has a route to go to; take one of the two out");
            }
            (Some(route), BudgetAction::Downgrade) if !routes.contains(route) => {
                let hint = did_you_mean(route, routes.iter().map(String::as_str));
                budget.problem_at("downgrade_to", format!("no route {}{hint}", quoted(route)));
            }
            _ => {}
        }
        Some(NewKeyBudget { window: window?, limit: limit?, action, downgrade_to })
    })
}

/// Reads `[tls]`.
pub(super) fn read_tls(root: &mut Section<'_>) -> TlsConfig {
    root.section("tls", |tls| {
        let cert = tls.file_path("cert");
        let key = tls.file_path("key");
        let certificate = match (cert, key) {
            (Some(cert), Some(key)) => Some(CertificateFiles { cert, key }),
            (Some(_), None) if !tls.is_set("key") => {
                tls.problem_at("cert", "a certificate needs its key; set tls.key too");
                None
            }
            (None, Some(_)) if !tls.is_set("cert") => {
                tls.problem_at("key", "a key needs its certificate; set tls.cert too");
                None
            }
            _ => None,
        };
        let acme = read_acme(tls);
        if certificate.is_some() && acme.is_some() {
            tls.problem_at("acme", "there is a certificate already; take out cert and key, or acme");
        }
        TlsConfig {
            certificate,
            acme,
            trusted_proxies: tls.parsed_list("trusted_proxies", str::parse).unwrap_or_default(),
            plain_http_login: tls.boolean_or("plain_http_login", false),
            ca_file: tls.checked_file("ca_file", NamedFile::Authorities),
        }
    })
}

fn read_acme(tls: &mut Section<'_>) -> Option<AcmeConfig> {
    let in_file = tls.has_table("acme");
    tls.section("acme", |acme| {
        let domain = acme.parsed("domain", |text| match url::Host::parse(text) {
            Ok(url::Host::Domain(domain)) if domain.contains('.') => Ok(domain),
            _ => Err(format!("{} is no name of a server, such as \"ai.example.test\"", quoted(text))),
        });
        let email = acme.parsed("email", |text| match text.split_once('@') {
            Some((user, host)) if !user.is_empty() && host.contains('.') && !text.contains(char::is_whitespace) => {
                Ok(text.to_owned())
            }
            _ => Err(format!("{} is no e-mail address", quoted(text))),
        });
        if (in_file || email.is_some()) && !acme.is_set("domain") {
            acme.problem("domain is missing; name the server that the certificate is for");
        }
        Some(AcmeConfig { domain: domain?, email })
    })
}
