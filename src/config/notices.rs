//! Telling others: alerts to chats and webhooks, traces and metrics to collectors.

use std::net::IpAddr;

use http::HeaderName;
use url::{Host, Url};

use super::defaults;
use super::problem::quoted;
use super::quantities::{base_url, http_url};
use super::reader::Section;
use super::secrets::Form;
use crate::domain::{Secret, is_public};

/// Where alerts go, and when; the addresses are secrets, as chats put tokens into them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertsConfig {
    /// A Slack channel.
    pub slack_webhook_url: Option<Secret<Url>>,
    /// A Discord channel.
    pub discord_webhook_url: Option<Secret<Url>>,
    /// Any other receiver.
    pub webhook_url: Option<Secret<Url>>,
    /// The key of the signature that the other receiver checks.
    pub webhook_secret: Option<Secret<String>>,
    /// Hosts that may be called although they lie in a private network: receivers of one's own.
    pub private_hosts: Vec<Host>,
    /// Percents of a budget at which somebody is told, rising: of budgets that name none of their own.
    pub thresholds: Vec<u8>,
}

/// Traces and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// The collector that traces are sent to, without `/v1/traces`.
    pub otlp_endpoint: Option<Url>,
    /// Headers that it wants, such as one with a key.
    pub otlp_headers: Vec<(HeaderName, Secret<String>)>,
    /// The credential that reads `/metrics`, besides an admin's.
    pub metrics_token: Option<Secret<String>>,
}

/// Reads `[alerts]`.
pub(super) fn read_alerts(root: &mut Section<'_>) -> AlertsConfig {
    root.section("alerts", |alerts| {
        let private_hosts =
            alerts.list("private_hosts", |host: &Host| host.to_string().into(), |given| host(given.text()?));
        let private_hosts = private_hosts.unwrap_or_default();
        let slack_webhook_url = read_receiver(alerts, "slack_webhook_url", &private_hosts);
        let discord_webhook_url = read_receiver(alerts, "discord_webhook_url", &private_hosts);
        let webhook_url = read_receiver(alerts, "webhook_url", &private_hosts);
        let webhook_secret = alerts.secret("webhook_secret", Form::Word);
        if webhook_url.is_some() && !alerts.is_set("webhook_secret") {
            alerts.warning_at(
                "webhook_url",
                "alerts to it are not signed, so the receiver can't tell who sent them; set webhook_secret",
            );
        }
        let thresholds = read_thresholds(alerts);
        AlertsConfig { slack_webhook_url, discord_webhook_url, webhook_url, webhook_secret, private_hosts, thresholds }
    })
}

/// An address that alerts are sent to. What a name leads to is checked at each connection; what is an address already, here.
fn read_receiver(alerts: &mut Section<'_>, key: &'static str, private_hosts: &[Host]) -> Option<Secret<Url>> {
    let url = alerts.parsed_secret(key, Form::Word, http_url)?;
    let address: Option<IpAddr> = match url.expose().host() {
        Some(Host::Ipv4(address)) => Some(address.into()),
        Some(Host::Ipv6(address)) => Some(address.into()),
        _ => None,
    };
    let is_allowed =
        private_hosts.iter().any(|host| Some(host) == url.expose().host().map(|host| host.to_owned()).as_ref());
    if address.is_some_and(|address| !is_public(address)) && !is_allowed {
        alerts.problem_at(
            key,
            "this address lies in a private network; if it is a receiver of yours, name its host in alerts.private_hosts",
        );
    }
    Some(url)
}

fn host(text: &str) -> Result<Host, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(match address {
            IpAddr::V4(address) => Host::Ipv4(address),
            IpAddr::V6(address) => Host::Ipv6(address),
        });
    }
    Host::parse(text).map_err(|_| {
        format!(
            "{} is no host; write a name or an address without scheme and port, such as \"hooks.lan\"",
            quoted(text)
        )
    })
}

fn read_thresholds(alerts: &mut Section<'_>) -> Vec<u8> {
    let thresholds = alerts.list(
        "thresholds",
        |percent| i64::from(*percent).into(),
        |given| {
            let number = given.integer()?;
            let percent = u8::try_from(number).ok().filter(|percent| (1..=100).contains(percent));
            percent.ok_or_else(|| format!("{number} is out of range; a threshold is from 1 to 100 percent"))
        },
    );
    let mut thresholds = thresholds.unwrap_or_else(|| {
        alerts.show("thresholds", defaults::ALERT_THRESHOLDS.map(i64::from).to_vec());
        defaults::ALERT_THRESHOLDS.to_vec()
    });
    let count = thresholds.len();
    thresholds.sort_unstable();
    thresholds.dedup();
    if thresholds.len() != count {
        alerts.problem_at("thresholds", "a threshold is named twice; take one out");
    }
    thresholds
}

/// Reads `[telemetry]`.
pub(super) fn read_telemetry(root: &mut Section<'_>) -> TelemetryConfig {
    root.section("telemetry", |telemetry| TelemetryConfig {
        otlp_endpoint: telemetry.parsed("otlp_endpoint", base_url),
        otlp_headers: read_headers(telemetry),
        metrics_token: telemetry.secret("metrics_token", Form::Word),
    })
}

/// Headers, each as `name: value`; which part of one is wrong is told, what it says is not.
fn read_headers(telemetry: &mut Section<'_>) -> Vec<(HeaderName, Secret<String>)> {
    let mut headers = Vec::new();
    for (place, given) in telemetry.secrets("otlp_headers", Form::Text).unwrap_or_default().iter().enumerate() {
        let split = given.expose().split_once(':');
        let read = split.and_then(|(name, value)| {
            let name = name.trim().parse::<HeaderName>().ok()?;
            let is_value = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
            let value = value.trim();
            (!value.is_empty() && value.bytes().all(is_value)).then(|| (name, Secret::new(value.to_owned())))
        });
        match read {
            Some(header) => headers.push(header),
            None => telemetry.problem_below(
                "otlp_headers",
                &format!("[{place}]"),
                "not of the form \"name: value\", such as \"authorization: Bearer …\"",
            ),
        }
    }
    headers
}
