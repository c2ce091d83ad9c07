//! What a provider shows when it is asked for its list of models: an address, a certificate, a key that it knows, the time.
//!
//! The list is free, and nothing is generated, so this takes no reservation. It isn't on the way of calls: each probe looks the
//! name up anew and makes its own connection, with the same authorities and proxies as calls. Nothing that is told holds a key.

use std::error::Error as StdError;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, DATE};
use hyper_util::client::proxy::matcher::Matcher;
use jiff::{SignedDuration, Timestamp};
use rustls::CertificateError;
use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;

use super::anthropic::Anthropic;
use super::client::with_both_versions;
use super::openai::OpenAi;
use super::resolver::Names;
use super::tls::{ClientSettings, trusting_nobody};
use super::upstream::{ForwardedHeaders, Provider};
use crate::config::ProviderConfig;
use crate::domain::wording::first_cause;
use crate::domain::{Endpoint, ProviderKind, Secret};
use crate::runtime::Clock;

/// The longest that a name takes to be looked up.
const LOOKUP_TIME_MAX: Duration = Duration::from_secs(4);
/// The longest that a provider takes to connect and answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(6);
/// The longest lists have some hundred models at a few kilobytes each.
const LIST_BYTES_MAX: usize = 8 << 20;
/// Keys of one provider that are tried: each is a request.
const KEYS_MAX: usize = 20;

/// What a provider showed.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Its name's addresses; absent where there is nothing to look up.
    pub lookup: Option<Result<Lookup, String>>,
    /// What it answered with each key, in their order; once without a key where it has none.
    pub asked: Vec<Result<Asked, Unanswered>>,
}

/// The addresses of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// How many there are.
    pub addresses: usize,
    /// How long it took to find them.
    pub took: Duration,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its status.
    pub status: u16,
    /// Whether it is a list, as that of models is.
    pub is_list: bool,
    /// How long it took, the connection included.
    pub took: Duration,
    /// How far our clock is ahead of the provider's, to a second or two.
    pub clock_ahead: Option<SignedDuration>,
}

/// Why there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Its certificate is not taken.
    Certificate(CertificateTrouble),
    /// The connection stands, and TLS doesn't come about.
    Tls(String),
    /// Nothing within the time.
    Late(Duration),
    /// No connection, or one that broke off.
    Lost(String),
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateTrouble {
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYet,
    /// Nobody who made it is trusted here.
    UnknownIssuer,
    /// It is for another name.
    OtherName,
    /// It was taken back.
    Revoked,
    /// Something else.
    Other,
}

/// Asks a provider for its list of models, once with each key.
pub async fn probe(config: &ProviderConfig, settings: &ClientSettings, clock: &Clock) -> Probe {
    let is_proxied = config.base_url.as_str().parse().is_ok_and(|uri| Matcher::from_system().intercept(&uri).is_some());
    let host = config.base_url.host_str().unwrap_or_default();
    let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let lookup = async { if is_proxied || is_address { None } else { Some(look_up(host).await) } };
    let asking = async {
        let client = match client(config, settings) {
            Ok(client) => client,
            Err(detail) => return vec![Err(Unanswered::Tls(detail))],
        };
        if config.api_keys.is_empty() {
            return vec![ask(&client, config, None, clock).await];
        }
        let keys = config.api_keys.iter().take(KEYS_MAX);
        join_all(keys.map(|key| ask(&client, config, Some(key), clock))).await
    };
    let (lookup, asked) = futures_util::future::join(lookup, asking).await;
    Probe { lookup, asked }
}

async fn look_up(host: &str) -> Result<Lookup, String> {
    let started = Instant::now();
    let names = Names::default();
    match tokio::time::timeout(LOOKUP_TIME_MAX, names.addresses(host)).await {
        Ok(Ok(addresses)) => Ok(Lookup { addresses, took: started.elapsed() }),
        Ok(Err(error)) => {
            let cause = first_cause(&*error);
            // What follows is how it was asked.
            Err(if cause.starts_with("no records found") { "there is no such name".to_owned() } else { cause })
        }
        Err(_) => Err(format!("no answer within {} s", LOOKUP_TIME_MAX.as_secs())),
    }
}

fn client(config: &ProviderConfig, settings: &ClientSettings) -> Result<reqwest::Client, String> {
    let is_encrypted = config.base_url.scheme() == "https";
    let tls = if is_encrypted { settings.tls()?.clone() } else { trusting_nobody() };
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(with_both_versions(tls))
        .timeout(ANSWER_TIME_MAX)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .hickory_dns(true);
    builder.build().map_err(|error| error.to_string())
}

async fn ask(
    client: &reqwest::Client,
    config: &ProviderConfig,
    key: Option<&Secret<String>>,
    clock: &Clock,
) -> Result<Asked, Unanswered> {
    let (url, headers) = question(config, key);
    let started = Instant::now();
    let answered = client.get(url).headers(headers).send().await;
    let took = started.elapsed();
    let response = answered.map_err(|error| unanswered(&error.without_url()))?;
    let status = response.status();
    // The answer was made about now; the header leaves the fraction of its second out.
    let date = response.headers().get(DATE).and_then(|value| read_date(value.to_str().ok()?));
    let clock_ahead = date.map(|date| clock.now().duration_since(date + SignedDuration::from_millis(500)));
    let is_list = status.is_success() && is_list(response).await;
    Ok(Asked { status: status.as_u16(), is_list, took, clock_ahead })
}

/// The forms in which models are listed.
#[derive(Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "which of them it is doesn't matter")]
enum Models {
    OpenAi { data: Vec<IgnoredAny> },
    Named { models: Vec<IgnoredAny> },
    Bare(Vec<IgnoredAny>),
}

/// Whether what comes is a list; one that is longer than any is none.
async fn is_list(mut response: reqwest::Response) -> bool {
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        text.extend_from_slice(&chunk);
        if text.len() > LIST_BYTES_MAX {
            return false;
        }
    }
    serde_json::from_slice::<Models>(&text).is_ok()
}

/// Where the list is, and what shows who asks.
fn question(config: &ProviderConfig, key: Option<&Secret<String>>) -> (Url, HeaderMap) {
    let (path, mut headers) = match config.kind {
        ProviderKind::Anthropic => {
            ("/v1/models", Anthropic.headers(Endpoint::Messages, key, &ForwardedHeaders::default()))
        }
        _ => ("/models", OpenAi.headers(Endpoint::ChatCompletions, key, &ForwardedHeaders::default())),
    };
    headers.remove(CONTENT_TYPE);
    let mut url = config.base_url.clone();
    url.set_path(&format!("{}{path}", config.base_url.path().trim_end_matches('/')));
    url.set_query(None);
    (url, headers)
}

/// The date of a header, such as `Thu, 26 Nov 2026 12:00:00 GMT`.
fn read_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp())
}

fn unanswered(error: &reqwest::Error) -> Unanswered {
    if error.is_timeout() {
        return Unanswered::Late(ANSWER_TIME_MAX);
    }
    match tls_error(error) {
        Some(rustls::Error::InvalidCertificate(trouble)) => Unanswered::Certificate(trouble_of(trouble)),
        Some(error) => Unanswered::Tls(error.to_string()),
        None => Unanswered::Lost(first_cause(error)),
    }
}

/// What TLS says, wherever it stands among the causes: an error of the system hides what it was made from.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let inside = inside.map(|inside| inside as &(dyn StdError + 'static));
        if let Some(found) = error.downcast_ref().or_else(|| inside?.downcast_ref()) {
            return Some(found);
        }
        cause = inside.or_else(|| error.source());
    }
    None
}

fn trouble_of(error: &CertificateError) -> CertificateTrouble {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => CertificateTrouble::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => CertificateTrouble::NotYet,
        CertificateError::UnknownIssuer => CertificateTrouble::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateTrouble::OtherName
        }
        CertificateError::Revoked => CertificateTrouble::Revoked,
        _ => CertificateTrouble::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(settings: &str) -> ProviderConfig {
        let text = format!("[[providers]]\nname = \"p\"\n{settings}\n");
        Config::from_toml(&text).unwrap().providers.remove(0)
    }

    #[test]
    fn the_list_is_asked_for_at_the_path_of_the_kind_with_its_credential() {
        let check = |settings: &str, expected: &str, header: &str| {
            let config = config(settings);
            let (url, headers) = question(&config, config.api_keys.first());
            assert_eq!(url.as_str(), expected);
            assert_eq!(headers.contains_key(header), !config.api_keys.is_empty(), "{headers:?}");
            assert!(!format!("{headers:?}").contains("sk-secret"), "{headers:?}");
        };
        let openai = "kind = \"openai\"\napi_key = \"sk-secret\"";
        check(openai, "https://api.openai.com/v1/models", "authorization");
        let anthropic = "kind = \"anthropic\"\napi_key = \"sk-secret\"\nbase_url = \"https://gate.example/a/\"";
        check(anthropic, "https://gate.example/a/v1/models", "x-api-key");
        let local = "kind = \"openai-compatible\"\nbase_url = \"http://127.0.0.1:1/v1\"";
        check(local, "http://127.0.0.1:1/v1/models", "authorization");
    }

    #[test]
    fn a_list_of_models_is_known_by_its_form() {
        let check = |text: &str, expected: bool| {
            assert_eq!(serde_json::from_str::<Models>(text).is_ok(), expected, "{text}");
        };
        for list in [r#"{"object":"list","data":[{"id":"a"}]}"#, r#"{"data":[]}"#, r#"{"models":[{}]}"#, "[1]"] {
            check(list, true);
        }
        for other in [r#"{"status":"ok"}"#, r#"{"data":"x"}"#, "\"hello\"", "<html>", "{}", "", r#"{"data":[1"#] {
            check(other, false);
        }
    }

    #[test]
    fn a_date_is_read_as_servers_write_it() {
        assert_eq!(read_date("Thu, 26 Nov 2026 12:00:00 GMT"), "2026-11-26T12:00:00Z".parse().ok());
        assert_eq!(read_date("yesterday"), None);
    }

    #[test]
    fn a_certificate_is_told_apart_from_other_trouble_however_deep_it_stands() {
        let deep = |error: rustls::Error| {
            let inner = std::io::Error::other(error);
            let outer = std::io::Error::other(inner);
            tls_error(&outer).cloned()
        };
        let expired = rustls::Error::InvalidCertificate(CertificateError::Expired);
        assert_eq!(deep(expired.clone()), Some(expired));
        assert_eq!(tls_error(&std::io::Error::from(std::io::ErrorKind::ConnectionRefused)), None);
    }

    #[tokio::test]
    async fn a_provider_that_is_not_there_is_lost_without_a_lookup_of_its_address() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = config(&format!("kind = \"openai-compatible\"\nbase_url = \"http://{free}/v1\""));
        let clock = Clock::manual("2026-11-26T12:00:00Z".parse().unwrap());
        let probe = probe(&config, &ClientSettings::default(), &clock).await;
        assert!(probe.lookup.is_none());
        assert!(matches!(&probe.asked[..], [Err(Unanswered::Lost(detail))] if detail.contains("refused")), "{probe:?}");
    }
}
