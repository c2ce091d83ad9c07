//! `/alerts`: who is told what, and whether it arrives.

use actix_web::{HttpRequest, HttpResponse, web};

use super::super::answer::{PageError, done, ok};
use super::super::form::{Fields, href};
use super::super::format::{Clock, counted};
use super::super::session::{Submission, Visitor};
use super::super::summary::Shared;
use super::super::view::{AlertRow, AlertsPage, Badge, DeliveryLine, Entry, Notice, Pager, ReceiverRow, Tone};
use super::{clock, layout};
use crate::alerts::{AlertId, AlertKind, ChannelInfo, ChannelKind, Delivery, DeliveryState, LoggedAlert};

/// Alerts of one page.
const PAGE_LEN: usize = 50;

/// `GET /alerts`.
pub(in super::super) async fn show(
    visitor: Visitor,
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, PageError> {
    let layout = layout(&visitor, &shared, "Alerts", Entry::Alerts).await?;
    let asked = Fields::of_query(request.query_string());
    let before: Option<AlertId> = asked.given("before").and_then(|before| before.parse().ok());
    let (state, clock) = (&visitor.state, clock(&visitor.state));
    let channels = state.alerts.channels();
    let (items, next) = state.alerts.page(before, PAGE_LEN);
    let count = state.alerts.len() as u64;
    let pager = Pager {
        text: format!("{} of {count}", items.len()),
        newer: before.map(|_| "/alerts".to_owned()),
        older: next.map(|next| href("/alerts", &[("before", &next.to_string())])),
    };
    let rows = if items.is_empty() {
        Err(Notice::empty(
            "Nothing was told yet",
            "Something appears here when a budget nears its limit, a provider fails, or a call has no price.",
            None,
        ))
    } else {
        Ok(items.into_iter().map(|logged| row(logged, &clock)).collect())
    };
    Ok(ok(&AlertsPage {
        layout,
        is_anyone_told: !channels.is_empty(),
        receivers: ChannelKind::ALL.into_iter().map(|kind| receiver(kind, &channels, &clock)).collect(),
        rows,
        heading: if count == 0 { "What was told".to_owned() } else { counted(count, "alert", "alerts") },
        pager,
    }))
}

/// `POST /alerts/test`: waits for the receivers; what came of it stands on the page that follows.
pub(in super::super) async fn test(submission: Submission) -> Result<HttpResponse, PageError> {
    let Submission { visitor, fields } = submission;
    let only = match fields.given("channel") {
        None => None,
        Some(word) => Some(ChannelKind::from_word(word).ok_or(PageError::BadForm)?),
    };
    let tested = visitor.state.alerts.test(only).await;
    tracing::info!("user {:?} has sent a test to {} receivers of alerts", visitor.session.user.name, tested.len());
    Ok(done("/alerts", visitor.is_htmx))
}

fn receiver(kind: ChannelKind, channels: &[ChannelInfo], clock: &Clock) -> ReceiverRow {
    let setting = match kind {
        ChannelKind::Slack => "slack_webhook_url",
        ChannelKind::Discord => "discord_webhook_url",
        ChannelKind::Webhook => "webhook_url",
    };
    let Some(info) = channels.iter().find(|info| info.kind == kind) else {
        return ReceiverRow {
            name: kind.name(),
            word: kind.as_str(),
            place: setting.to_owned(),
            is_set: false,
            state: Badge::new("Not set", Tone::Neutral),
            tried: None,
            note: None,
        };
    };
    let last = info.last.as_ref();
    let state = match last.map(|last| last.state) {
        None => Badge::new("Not tried yet", Tone::Neutral),
        Some(DeliveryState::Delivered) => Badge::new("Working", Tone::Ok),
        Some(DeliveryState::Waiting) => Badge::new("Away", Tone::Warn),
        Some(DeliveryState::Failed) => Badge::new("Failing", Tone::Bad),
    };
    let unsigned = (kind == ChannelKind::Webhook && !info.is_signed)
        .then(|| "Not signed: set webhook_secret, so that it can tell who sends.".to_owned());
    ReceiverRow {
        name: kind.name(),
        word: kind.as_str(),
        place: info.host.clone(),
        is_set: true,
        state,
        tried: last.and_then(Delivery::tried).map(|at| clock.ago(at)),
        note: last.and_then(|last| last.error.clone()).or(unsigned),
    }
}

fn row(logged: LoggedAlert, clock: &Clock) -> AlertRow {
    let LoggedAlert { alert, deliveries } = logged;
    AlertRow {
        id: alert.id.to_string(),
        time: clock.time_or_day(alert.time),
        kind: kind_badge(alert.what.kind, alert.what.threshold_percent),
        text: alert.what.text,
        deliveries: deliveries.iter().map(line).collect(),
    }
}

fn line(delivery: &Delivery) -> DeliveryLine {
    let tone = match delivery.state {
        DeliveryState::Delivered => Tone::Ok,
        DeliveryState::Waiting if delivery.error.is_some() => Tone::Warn,
        DeliveryState::Waiting => Tone::Neutral,
        DeliveryState::Failed => Tone::Bad,
    };
    let detail = delivery.error.as_ref().map(|error| match delivery.attempts {
        0 | 1 => error.clone(),
        attempts => format!("{error}; tried {attempts} times"),
    });
    DeliveryLine { badge: Badge::new(delivery.channel.name(), tone), detail }
}

fn kind_badge(kind: AlertKind, threshold: Option<u8>) -> Badge {
    let (text, tone) = match kind {
        AlertKind::BudgetThreshold => match threshold {
            Some(percent) if percent < 100 => return Badge::new(format!("Budget at {percent}%"), Tone::Warn),
            _ => ("Budget used up", Tone::Bad),
        },
        AlertKind::BudgetForecast => ("Forecast", Tone::Warn),
        AlertKind::ProviderDown => ("Provider fails", Tone::Bad),
        AlertKind::ProviderDegraded => ("Model fails", Tone::Warn),
        AlertKind::ProviderRecovered => ("Provider back", Tone::Ok),
        AlertKind::CredentialDisabled => ("Key refused", Tone::Bad),
        AlertKind::CredentialRecovered => ("Key taken again", Tone::Ok),
        AlertKind::UnpricedTraffic => ("No price", Tone::Warn),
        AlertKind::LedgerTrouble => ("Ledger stuck", Tone::Bad),
        AlertKind::LedgerRecovered => ("Ledger back", Tone::Ok),
        AlertKind::LedgerUnderestimate => ("Dearer than held", Tone::Bad),
        AlertKind::ClockWrong => ("Clock wrong", Tone::Bad),
        AlertKind::SuddenSpend => ("Sudden spending", Tone::Warn),
        AlertKind::CostDrift => ("Costs drift", Tone::Warn),
        AlertKind::DailyReport => ("Daily report", Tone::Neutral),
        AlertKind::MonthlyReport => ("Monthly report", Tone::Neutral),
        AlertKind::Test => ("Test", Tone::Neutral),
    };
    Badge::new(text, tone)
}
