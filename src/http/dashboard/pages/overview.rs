//! `/`: what it costs, whether it is healthy, what needs the reader.

use actix_web::cookie::Cookie;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::SignedDuration;

use super::super::answer::{PageError, blocking, ok, see_other};
use super::super::form::{Fields, href};
use super::super::format::money;
use super::super::session::Visitor;
use super::super::summary::{Shared, unreadable};
use super::super::view::{Card, Choice, Entry, Layout, Link, Notice, OverviewPage, RequestRow, SpendCard};
use super::row::{List, row};
use super::spend::{Steps, days_back, draw, model_ranks};
use super::{clock, layout};
use crate::domain::Window;
use crate::http::State;
use crate::ledger::{EntryFilter, LedgerError, TimeRange, View};

/// Calls in the list.
const LATEST: usize = 8;
/// The browser has seen the guide: the overview doesn't lead there a second time.
pub(super) const GUIDE_SEEN: &str = "tollgate-guide";

const RANGES: [(&str, &str, &str); 4] = [
    ("24h", "24 h", "24 hours"),
    ("7d", "7 d", "7 days"),
    ("30d", "30 d", "30 days"),
    ("month", "Month", "this month"),
];

/// Shows the overview, or the guide to whoever has not seen it while no call was ever made.
pub(in super::super) async fn show(
    visitor: Visitor,
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, PageError> {
    // Its tiles are of everybody's calls: who sees one team begins with that.
    if let Some(team) = visitor.team() {
        return Ok(see_other(&super::teams::address(team)));
    }
    let query = Fields::of_query(request.query_string());
    if query.is_empty() && request.cookie(GUIDE_SEEN).as_ref().map(Cookie::value) != Some("seen") {
        let state = visitor.state.clone();
        let any = blocking(move || state.ledger.entries(&EntryFilter::default(), None, 1)).await?;
        if any.is_ok_and(|page| page.items.is_empty()) {
            return Ok(see_other("/welcome"));
        }
    }
    let summary = shared.fresh(&visitor.state).await?;
    let layout = Layout {
        events: Some("/events?topics=request,kpi"),
        ..layout(&visitor, &shared, "Overview", Entry::Overview).await?
    };
    let given = query.text("range");
    let range = RANGES.iter().find(|(word, ..)| *word == given).unwrap_or(&RANGES[2]);
    let state = visitor.state.clone();
    let (spend, requests) = blocking(move || (spend_card(&state, range), latest(&state))).await?;
    Ok(ok(&OverviewPage {
        layout,
        attention: summary.attention.clone(),
        kpis: summary.kpis.clone(),
        spend,
        requests,
        providers: summary.providers.clone(),
        budgets: summary.budgets.clone(),
    }))
}

fn latest(state: &State) -> Card<Vec<RequestRow>> {
    let clock = clock(state);
    match state.ledger.entries(&EntryFilter::default(), None, LATEST) {
        Err(error) => unreadable("The latest requests", &error, "/"),
        Ok(page) if page.items.is_empty() => Err(no_calls()),
        Ok(page) => Ok(page.items.iter().map(|entry| row(entry, &clock, List::Latest)).collect()),
    }
}

/// What is said where no call was ever made.
pub(super) fn no_calls() -> Notice {
    Notice::empty(
        "No requests yet",
        "Point a client at this server and its calls appear here within a second.",
        Some(Link::new("Show me how", "/welcome")),
    )
}

fn spend_card(state: &State, range: &(&'static str, &str, &str)) -> SpendCard {
    let (word, _, words) = range;
    let (summary, chart) = match spend(state, word) {
        Err(error) => (String::new(), unreadable("Spend", &error, "/")),
        Ok((total, Some(chart))) => (format!("{total} in {words}").replace("in this", "this"), Ok(chart)),
        Ok((_, None)) => {
            let text = "Calls that cost something show up here as soon as they end.";
            (String::new(), Err(Notice::empty("Nothing was spent in this time", text, None)))
        }
    };
    let choice = |(other, label, _): &(&str, &str, &str)| Choice {
        label: (*label).to_owned(),
        href: href("/", &[("range", other)]),
        is_current: other == word,
    };
    SpendCard { summary, ranges: RANGES.iter().map(choice).collect(), href: href("/", &[("range", word)]), chart }
}

fn spend(state: &State, range: &str) -> Result<(String, Option<super::super::charts::Chart>), LedgerError> {
    let (now, zone) = (state.clock.now(), state.ledger.zone());
    let (window, range) = match range {
        "24h" => {
            let hour = Window::Hour.at(now, zone);
            let until = hour.end(zone).unwrap_or(now);
            (Window::Hour, TimeRange { from: until - SignedDuration::from_hours(24), until })
        }
        "7d" => (Window::Day, days_back(now, zone, 7)),
        "month" => {
            let month = Window::Month.at(now, zone);
            let until = Window::Day.at(now, zone).end(zone).unwrap_or(now);
            (Window::Day, TimeRange { from: month.start(zone).unwrap_or(now), until })
        }
        _ => (Window::Day, days_back(now, zone, 30)),
    };
    let clock = clock(state);
    let steps = Steps::new(range, window, now, zone, &clock);
    let costs = state.ledger.costs(range, &[steps.group_by(), crate::ledger::GroupBy::Model])?;
    let ranks = model_ranks(&View::new(&state.ledger, None), now)?;
    let label = |name: &str| if name.is_empty() { super::UNROUTED.to_owned() } else { name.to_owned() };
    Ok((money(costs.total.cost), draw("spend", "Spend by model", &steps, &costs, &ranks, label, true)))
}
