//! What the overview shows and the live stream keeps current: tiles, what needs a person, providers, budgets.
//!
//! [`Summary::load`] reads it all; a part that can't be read says so in its own place. Streams and the navigation of every page
//! share one summary for a few seconds ([`Shared`]), so open tabs cost nothing each.

pub(super) mod attempts;
pub(super) mod attention;
mod budgets;
mod providers;
mod tiles;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web;
use jiff::{SignedDuration, Timestamp};

use super::answer::{PageError, blocking};
use super::format::{Clock, counted};
use super::view::{Attention, BudgetsCard, Card, Entry, Kpi, LiveUpdate, Need, Notice, ProvidersCard, Tone};
use crate::budget::Standing;
use crate::domain::{RequestId, Window};
use crate::http::State;
use crate::ledger::{Costs, EntryFilter, GroupBy, LedgerError, Page, TimeRange};

pub(super) use attention::unpriced_models;
pub(super) use budgets::{is_used_up, used_percent};

/// How long a summary is shared: less than streams wait between two looks, so that each look sees something new.
const SHARED_FOR: Duration = Duration::from_secs(4);
/// From how much of a limit on a budget needs a look, in percent.
const NEAR_LIMIT_PERCENT: f64 = 80.0;

/// Calls of the last hour that are read one by one: beyond that the sums of the present hour have to do.
const LAST_HOUR_MAX: usize = 2_000;

/// Everything that the overview and the navigation say about now.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub(super) kpis: Vec<Kpi>,
    pub(super) attention: Attention,
    pub(super) providers: ProvidersCard,
    pub(super) budgets: BudgetsCard,
    pub(super) needs: Vec<Need>,
}

/// What the parts of a summary are made from, each read once.
struct Facts<'a> {
    state: &'a State,
    now: Timestamp,
    clock: Clock,
    /// Today by hour.
    today: Result<Costs, LedgerError>,
    /// This month by model.
    month: Result<Costs, LedgerError>,
    standings: Result<Vec<Standing>, LedgerError>,
    /// The calls of the last hour, newest first; as many as are read one by one.
    last_hour: Result<Page, LedgerError>,
}

impl Facts<'_> {
    fn zone(&self) -> &jiff::tz::TimeZone {
        self.state.ledger.zone()
    }
}

impl Summary {
    /// Reads everything. Blocking.
    pub(super) fn load(state: &State) -> Self {
        let now = state.clock.now();
        let zone = state.ledger.zone();
        let whole = |window: Window| {
            let id = window.at(now, zone);
            TimeRange { from: id.start(zone).unwrap_or(now), until: id.end(zone).unwrap_or(now) }
        };
        let facts = Facts {
            state,
            now,
            clock: Clock::new(now, zone.clone()),
            today: state.ledger.costs(whole(Window::Day), &[GroupBy::Hour]),
            month: state.ledger.costs(whole(Window::Month), &[GroupBy::Model]),
            standings: state.budgets.standings(now),
            last_hour: {
                let from = RequestId::first_of((now - SignedDuration::from_hours(1)).as_millisecond());
                let filter = EntryFilter { from: Some(from), ..EntryFilter::default() };
                state.ledger.entries(&filter, None, LAST_HOUR_MAX).map(|mut page| {
                    // Adjustments are no calls.
                    page.items.retain(|entry| entry.adjustment.is_none());
                    page
                })
            },
        };
        Self {
            kpis: tiles::tiles(&facts),
            attention: attention::attention(&facts),
            providers: providers::card(&facts),
            budgets: budgets::card(&facts),
            needs: needs(&facts),
        }
    }

    /// Every part as an update of an open page.
    pub(super) fn as_update(&self) -> LiveUpdate {
        LiveUpdate {
            kpis: self.kpis.clone(),
            attention: Some(self.attention.clone()),
            providers: Some(self.providers.clone()),
            budgets: Some(self.budgets.clone()),
        }
        .marked()
    }
}

/// What the navigation marks.
fn needs(facts: &Facts<'_>) -> Vec<Need> {
    let mut needs = Vec::new();
    if let Ok(standings) = &facts.standings {
        let used_up = standings.iter().filter(|standing| is_used_up(standing)).count() as u64;
        let near = standings.iter().filter(|standing| used_percent(standing) >= NEAR_LIMIT_PERCENT).count() as u64;
        let words = match (used_up, near - used_up) {
            (0, near) => format!(
                "{} near {} limit",
                counted(near, "budget is", "budgets are"),
                if near == 1 { "its" } else { "their" }
            ),
            (used_up, _) => format!("{} used up", counted(used_up, "budget is", "budgets are")),
        };
        needs.push(Need { entry: Entry::Budgets, count: near, words, is_alert: false });
    }
    if facts.state.revisions.last_refused().is_some() {
        let words = "The settings on the disk are not in force".to_owned();
        needs.push(Need { entry: Entry::Settings, count: 1, words, is_alert: true });
    }
    if facts.state.ledger.trouble().is_some() {
        let words = "The ledger can’t be written".to_owned();
        needs.push(Need { entry: Entry::Overview, count: 1, words, is_alert: true });
    }
    needs
}

/// What stands in a card whose part of the ledger can't be read.
pub(super) fn unreadable<T>(what: &str, error: &LedgerError, try_again: &str) -> Card<T> {
    tracing::warn!("{what} could not be read: {error}");
    let text = "The ledger did not answer. The rest of the page is current.";
    Err(Notice::failed(format!("{what} could not be loaded"), text, try_again))
}

/// The tone of a share of a limit.
pub(super) fn tone_of(standing: &Standing) -> Tone {
    match used_percent(standing) {
        _ if is_used_up(standing) => Tone::Bad,
        percent if percent >= NEAR_LIMIT_PERCENT => Tone::Warn,
        _ => Tone::Neutral,
    }
}

/// One summary for all who look within a few seconds.
#[derive(Default)]
pub(super) struct Shared(tokio::sync::Mutex<Option<(Instant, Arc<Summary>)>>);

impl Shared {
    /// A summary that is at most a few seconds old.
    pub(super) async fn recent(&self, state: &web::Data<State>) -> Result<Arc<Summary>, PageError> {
        let mut shared = self.0.lock().await;
        if let Some((read, summary)) = shared.as_ref()
            && read.elapsed() < SHARED_FOR
        {
            return Ok(Arc::clone(summary));
        }
        self.read(state, &mut shared).await
    }

    /// A summary of now.
    pub(super) async fn fresh(&self, state: &web::Data<State>) -> Result<Arc<Summary>, PageError> {
        let mut shared = self.0.lock().await;
        self.read(state, &mut shared).await
    }

    async fn read(
        &self,
        state: &web::Data<State>,
        shared: &mut Option<(Instant, Arc<Summary>)>,
    ) -> Result<Arc<Summary>, PageError> {
        let state = state.clone();
        let summary = Arc::new(blocking(move || Summary::load(&state)).await?);
        *shared = Some((Instant::now(), Arc::clone(&summary)));
        Ok(summary)
    }
}
