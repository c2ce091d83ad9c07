//! `/api/alerts`: what was raised, what came of it where, and whether alerts arrive at all.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::input::{MaybeJson, PAGE_LEN_MAX, Params};
use crate::alerts::{AlertId, AlertScope, ChannelInfo, ChannelKind, Delivery, LoggedAlert, Tested};
use crate::domain::Picodollars;
use crate::http::guard::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::state::State;

/// The query parameters of the list.
pub(super) const PARAMETERS: &[&str] = &["limit", "cursor"];
/// Alerts of a page unless told otherwise.
const PAGE_LEN: usize = 50;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertsJson {
    items: Vec<AlertJson>,
    next_cursor: Option<String>,
    /// The receivers that the settings name.
    channels: Vec<ChannelJson>,
}

/// An alert with the fields of the webhook, and what came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertJson {
    id: String,
    r#type: &'static str,
    scope: AlertScope,
    window: Option<&'static str>,
    threshold_percent: Option<u8>,
    spent_usd: Option<Picodollars>,
    limit_usd: Option<Picodollars>,
    time: String,
    text: String,
    deliveries: Vec<DeliveryJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryJson {
    channel: ChannelKind,
    state: &'static str,
    attempts: u32,
    last_attempt_at: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ChannelJson {
    channel: ChannelKind,
    /// The rest of the address is a secret.
    host: String,
    is_signed: bool,
    last_attempt_at: Option<String>,
    /// Why that failed, if it did.
    error: Option<String>,
}

impl From<LoggedAlert> for AlertJson {
    fn from(logged: LoggedAlert) -> Self {
        let LoggedAlert { alert, deliveries } = logged;
        let what = alert.what;
        Self {
            id: alert.id.to_string(),
            r#type: what.kind.as_str(),
            scope: what.scope,
            window: what.window.map(|id| id.window.as_str()),
            threshold_percent: what.threshold_percent,
            spent_usd: what.spent,
            limit_usd: what.limit,
            time: alert.time.to_string(),
            text: what.text,
            deliveries: deliveries.into_iter().map(DeliveryJson::from).collect(),
        }
    }
}

impl From<Delivery> for DeliveryJson {
    fn from(delivery: Delivery) -> Self {
        Self {
            channel: delivery.channel,
            state: delivery.state.as_str(),
            attempts: delivery.attempts,
            last_attempt_at: delivery.tried().map(|at| at.to_string()),
            error: delivery.error,
        }
    }
}

impl From<ChannelInfo> for ChannelJson {
    fn from(info: ChannelInfo) -> Self {
        let last_attempt_at = info.last.as_ref().and_then(Delivery::tried).map(|at| at.to_string());
        let error = info.last.and_then(|last| last.error);
        Self { channel: info.kind, host: info.host, is_signed: info.is_signed, last_attempt_at, error }
    }
}

/// `GET /api/alerts`: newest first.
pub(super) async fn list(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, PARAMETERS)?;
    let limit = params.whole("limit", 1..=PAGE_LEN_MAX, PAGE_LEN)?;
    let before = params.text("cursor").map(|cursor| {
        cursor
            .parse::<AlertId>()
            .map_err(|_| Problem::parameter("cursor", "cursor has to be the nextCursor of an earlier page, as it came"))
    });
    let (items, next) = state.alerts.page(before.transpose()?, limit);
    Ok(HttpResponse::Ok().json(AlertsJson {
        items: items.into_iter().map(AlertJson::from).collect(),
        next_cursor: next.map(|id| id.to_string()),
        channels: state.alerts.channels().into_iter().map(ChannelJson::from).collect(),
    }))
}

/// Which receiver a test is for; all where none is named.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TestJson {
    #[serde(default)]
    channel: Option<String>,
}

#[derive(Debug, Serialize)]
struct TestedJson {
    channel: ChannelKind,
    ok: bool,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct TestResultJson {
    items: Vec<TestedJson>,
}

/// `POST /api/alerts/test`: waits for the receivers, ten seconds at most.
pub(super) async fn test(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    body: MaybeJson<TestJson>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let only = body.0.channel.as_deref().map(|word| {
        ChannelKind::from_word(word).ok_or_else(|| {
            Problem::field("channel", "channel: has to be one of slack, discord, webhook, or left out for all")
        })
    });
    let only = only.transpose()?;
    let tested = state.alerts.test(only).await;
    if tested.is_empty() {
        let which = only.map_or("slack_webhook_url, discord_webhook_url or webhook_url", |kind| match kind {
            ChannelKind::Slack => "slack_webhook_url",
            ChannelKind::Discord => "discord_webhook_url",
            ChannelKind::Webhook => "webhook_url",
        });
        let detail = format!("there is nobody to send it to: set {which} under [alerts] in tollgate.toml");
        return Err(Problem::new(Code::NoAlertChannel, detail));
    }
    tracing::info!("{caller} sent a test to {} receivers of alerts", tested.len());
    let item = |Tested { channel, error }: Tested| TestedJson { channel, ok: error.is_none(), error };
    Ok(HttpResponse::Ok().json(TestResultJson { items: tested.into_iter().map(item).collect() }))
}
