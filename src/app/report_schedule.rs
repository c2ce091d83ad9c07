//! Reports on a schedule: made when they are due, and handed to the alerts, which send each once.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Time;

use super::parts::Parts;
use crate::alerts::{AlertKind, Alerts, NewAlert};
use crate::keys::Keys;
use crate::ledger::Ledger;
use crate::reports::{Kind, Report, due};

/// How often is looked whether one is due: nobody waits for a report to the second.
const LOOK_INTERVAL: Duration = Duration::from_secs(20);

/// Starts looking, until the process stops; where no report is wanted or nobody gets it there is nothing to see.
pub(super) fn start(parts: &Parts) {
    let gateway = Arc::clone(&parts.gateway);
    let (clock, stopping) = (parts.clock.clone(), parts.tasks.stopping().clone());
    let (ledger, keys, alerts) = (Arc::clone(&parts.ledger), Arc::clone(&parts.keys), Arc::clone(&parts.alerts));
    parts.tasks.spawn(async move {
        loop {
            let (ledger, keys, alerts) = (Arc::clone(&ledger), Arc::clone(&keys), Arc::clone(&alerts));
            let (config, now) = (Arc::clone(&gateway.in_force().config), clock.now());
            let looked = tokio::task::spawn_blocking(move || {
                let wanted = [(Kind::Daily, config.alerts.daily_report), (Kind::Monthly, config.alerts.monthly_report)];
                let wanted = wanted.into_iter().filter_map(|(kind, at)| Some((kind, at?)));
                for (kind, at) in wanted.filter(|_| !alerts.channels().is_empty()) {
                    send_if_due(kind, at, now, &ledger, &keys, &alerts);
                }
            });
            if let Err(error) = looked.await {
                tracing::error!("making a report failed: {error}");
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    });
}

/// Makes the report that is due and not sent yet; one that can't be made now is tried again.
fn send_if_due(kind: Kind, at: Time, now: Timestamp, ledger: &Ledger, keys: &Keys, alerts: &Alerts) {
    let Some(period) = due(kind, at, now, ledger.zone()) else { return };
    let alert_kind = match kind {
        Kind::Daily => AlertKind::DailyReport,
        Kind::Monthly => AlertKind::MonthlyReport,
    };
    // Its window is the period that it is about, so that it is told once, also over restarts.
    let window = period.window;
    if alerts.is_told(&NewAlert::report(alert_kind, window, "")) {
        return;
    }
    match Report::of(period, ledger, keys, now) {
        Ok(report) => {
            // Each channel says itself whose message it is.
            let summary = report.summary();
            let text = summary.strip_prefix("Tollgate, ").unwrap_or(&summary);
            let spent = Some(report.total.cost);
            alerts.raise([NewAlert { spent, ..NewAlert::report(alert_kind, window, text) }]);
        }
        Err(error) => tracing::warn!("the {} report can't be made now: {error}", kind.as_str()),
    }
}
