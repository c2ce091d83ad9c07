//! Telling others: alerts to chats and webhooks, traces and metrics to collectors.

use url::Url;

use super::defaults;
use super::quantities::{base_url, http_url};
use super::reader::Section;
use super::secrets::Form;
use crate::domain::Secret;

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
    /// Percents of a budget at which somebody is told, rising.
    pub thresholds: Vec<u32>,
}

/// Traces and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// The collector that traces and metrics are sent to.
    pub otlp_endpoint: Option<Url>,
    /// The credential that reads `/metrics`, besides an admin's.
    pub metrics_token: Option<Secret<String>>,
}

/// Reads `[alerts]`.
pub(super) fn read_alerts(root: &mut Section<'_>) -> AlertsConfig {
    root.section("alerts", |alerts| {
        let slack_webhook_url = alerts.parsed_secret("slack_webhook_url", Form::Word, http_url);
        let discord_webhook_url = alerts.parsed_secret("discord_webhook_url", Form::Word, http_url);
        let webhook_url = alerts.parsed_secret("webhook_url", Form::Word, http_url);
        let webhook_secret = alerts.secret("webhook_secret", Form::Word);
        let thresholds = alerts.list(
            "thresholds",
            |percent| i64::from(*percent).into(),
            |given| {
                let number = given.integer()?;
                let percent = u32::try_from(number).ok().filter(|percent| (1..=1000).contains(percent));
                percent.ok_or_else(|| format!("{number} is out of range; a threshold is from 1 to 1000 percent"))
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
        AlertsConfig { slack_webhook_url, discord_webhook_url, webhook_url, webhook_secret, thresholds }
    })
}

/// Reads `[telemetry]`.
pub(super) fn read_telemetry(root: &mut Section<'_>) -> TelemetryConfig {
    root.section("telemetry", |telemetry| TelemetryConfig {
        otlp_endpoint: telemetry.parsed("otlp_endpoint", base_url),
        metrics_token: telemetry.secret("metrics_token", Form::Word),
    })
}
