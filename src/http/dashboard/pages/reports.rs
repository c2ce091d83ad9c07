//! `/reports`: a day or a month in words and tables, and as a file.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;

use super::super::answer::{PageError, blocking, ok};
use super::super::form::Fields;
use super::super::format::money;
use super::super::session::Visitor;
use super::super::summary::{Shared, unreadable};
use super::super::view::{Choice, Entry, Layout, Link, Notice, ReportLink, ReportView, ReportsPage};
use super::layout;
use crate::domain::Picodollars;
use crate::http::State;
use crate::ledger::LedgerError;
use crate::reports::{Kind, Period, PeriodError, Report, markdown};

/// Days or months of the list: two weeks, a year.
const LISTED: [(Kind, usize); 2] = [(Kind::Daily, 14), (Kind::Monthly, 12)];
/// What a path of a report ends in that is to be saved.
const MARKDOWN_ENDING: &str = ".md";

/// Shows the last report of a kind, or the one that a form has chosen.
pub(in super::super) async fn list(
    visitor: Visitor,
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, PageError> {
    let query = Fields::of_query(request.query_string());
    let kind = if query.text("kind") == Kind::Monthly.as_str() { Kind::Monthly } else { Kind::Daily };
    let (now, zone) = (visitor.state.clock.now(), visitor.state.ledger.zone());
    let period = Period::new(kind, query.given("period"), now, zone);
    answer(&visitor, &shared, kind, period, now).await
}

/// Shows the report of a day or month, or gives it as a file.
pub(in super::super) async fn show(
    visitor: Visitor,
    name: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, PageError> {
    let (now, zone) = (visitor.state.clock.now(), visitor.state.ledger.zone());
    let (name, is_file) = name.strip_suffix(MARKDOWN_ENDING).map_or((name.as_str(), false), |name| (name, true));
    let period = Period::named(name, now, zone).map_err(|_| PageError::NotFound)?;
    if !is_file {
        return answer(&visitor, &shared, period.kind, Ok(period), now).await;
    }
    let file = format!("attachment; filename=\"tollgate-{}.md\"", period.name());
    let state = visitor.state.clone();
    let report = blocking(move || Report::of(period, &state.ledger, &state.keys, now)).await?;
    let report = report.map_err(|error| PageError::failed(&error))?;
    let mut response = HttpResponse::Ok();
    response.content_type("text/markdown; charset=utf-8").insert_header((header::CONTENT_DISPOSITION, file));
    Ok(response.body(markdown::write(&report.document())))
}

async fn answer(
    visitor: &Visitor,
    shared: &web::Data<Shared>,
    kind: Kind,
    period: Result<Period, PeriodError>,
    now: Timestamp,
) -> Result<HttpResponse, PageError> {
    let layout = layout(visitor, shared, "Reports", Entry::Reports).await?;
    let state = visitor.state.clone();
    let page = blocking(move || build(&state, kind, period, now, layout)).await?;
    Ok(ok(&page))
}

fn build(
    state: &State,
    kind: Kind,
    period: Result<Period, PeriodError>,
    now: Timestamp,
    layout: Layout,
) -> ReportsPage {
    let chosen = period.as_ref().map(Period::name).unwrap_or_default();
    let here = if chosen.is_empty() { link_of_kind(kind) } else { format!("/reports/{chosen}") };
    let listed = LISTED.iter().find(|(listed, _)| *listed == kind).map_or(0, |(_, count)| *count);
    let periods = Period::recent(kind, listed, now, state.ledger.zone());
    let latest = periods.first().map(Period::name).unwrap_or_default();
    let list = spends(state, &periods).map(|spends| {
        let link = |(period, spent): (&Period, Picodollars)| ReportLink {
            label: period.title(),
            spend: money(spent),
            exact: format!("${spent}"),
            is_running: period.is_running,
            href: format!("/reports/{}", period.name()),
            is_current: period.name() == chosen,
        };
        periods.iter().zip(spends).map(link).collect()
    });
    let report = match period {
        Err(error) => {
            let back = Link::new("Show the last one", link_of_kind(kind));
            Err(Notice::empty("There is no such report", format!("{error}."), Some(back)))
        }
        Ok(period) => match Report::of(period, &state.ledger, &state.keys, now) {
            Err(error) => unreadable("Report", &error, &here),
            Ok(report) => Ok(ReportView {
                markdown_href: format!("/reports/{chosen}{MARKDOWN_ENDING}"),
                document: report.document(),
            }),
        },
    };
    let choice =
        |label: &str, of: Kind| Choice { label: label.to_owned(), href: link_of_kind(of), is_current: kind == of };
    ReportsPage {
        layout,
        kinds: vec![choice("Daily", Kind::Daily), choice("Monthly", Kind::Monthly)],
        kind: kind.as_str(),
        unit: kind.window().as_str(),
        input: if kind == Kind::Daily { "date" } else { "month" },
        chosen,
        latest,
        list: match list {
            Ok(list) => Ok(list),
            Err(error) => unreadable("Reports", &error, &here),
        },
        report,
    }
}

fn link_of_kind(kind: Kind) -> String {
    match kind {
        Kind::Daily => "/reports".to_owned(),
        Kind::Monthly => "/reports?kind=monthly".to_owned(),
    }
}

/// What was spent in each period.
fn spends(state: &State, periods: &[Period]) -> Result<Vec<Picodollars>, LedgerError> {
    periods.iter().map(|period| Ok(state.ledger.costs(period.range, &[])?.total.cost)).collect()
}
