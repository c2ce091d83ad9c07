//! Exports: rows of many entries or sums, piece by piece, for the API and for the command line alike.
//!
//! Each piece is read in transactions of its own, and none is open between two pieces, so that an export of years holds
//! nothing up and takes no more memory than one of a day.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::blocking;
use super::costs::{Names, check_length, group_by, group_rows, groups};
use super::entry::{CSV_HEADER, EntryJson, ExportedEntry, csv_row};
use super::input::Params;
use super::requests::{self, FILTERS};
use crate::domain::{RequestId, Window};
use crate::http::guard::Caller;
use crate::http::problem::Problem;
use crate::http::state::State;
use crate::keys::Keys;
use crate::ledger::{Entry, EntryFilter, GroupBy, LedgerError, TimeRange, View};
use crate::reports::csv::Rows;
use crate::reports::focus;

/// The query parameters of exports of entries or sums: those of a list of entries, or those of sums.
pub(super) const COSTS_PARAMETERS: &[&str] =
    &["from", "to", "groupBy", "key", "team", "provider", "model", "operation", "status", "cache", "tag", "q"];
/// The query parameters of the export of entries alone.
pub(super) const REQUESTS_PARAMETERS: &[&str] = &FILTERS;
/// The query parameters of the export by days.
pub(super) const FOCUS_PARAMETERS: &[&str] = &["from", "to"];
/// Entries of one read and one piece: a few hundred kilobytes.
const PAGE_LEN: usize = 1_000;
/// Seconds of the days of one piece: a week has as many rows as keys and models make of it, thousands at most.
const DAYS_PIECE_SECONDS: i64 = 7 * 86_400;

/// What is exported, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A row of CSV for each entry, or for each group.
    CostsCsv,
    /// The same as lines of JSON.
    CostsLines,
    /// Sums by day in the columns of FOCUS.
    CostsFocus,
    /// A line of JSON for each entry, with its attempts.
    RequestsLines,
}

impl Shape {
    /// Where it is served.
    pub const fn path(self) -> &'static str {
        match self {
            Self::CostsCsv => "/api/costs.csv",
            Self::CostsLines => "/api/costs.jsonl",
            Self::CostsFocus => "/api/costs.focus.csv",
            Self::RequestsLines => "/api/requests.jsonl",
        }
    }

    const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::CostsCsv | Self::CostsLines => COSTS_PARAMETERS,
            Self::CostsFocus => FOCUS_PARAMETERS,
            Self::RequestsLines => REQUESTS_PARAMETERS,
        }
    }

    /// What it is saved as, whatever was asked for.
    const fn attachment(self) -> &'static str {
        match self {
            Self::CostsCsv => "attachment; filename=\"tollgate-costs.csv\"",
            Self::CostsLines => "attachment; filename=\"tollgate-costs.jsonl\"",
            Self::CostsFocus => "attachment; filename=\"tollgate-focus.csv\"",
            Self::RequestsLines => "attachment; filename=\"tollgate-requests.jsonl\"",
        }
    }

    const fn media(self) -> &'static str {
        match self {
            Self::CostsCsv | Self::CostsFocus => "text/csv; charset=utf-8",
            Self::CostsLines | Self::RequestsLines => "application/jsonl; charset=utf-8",
        }
    }
}

/// An export under way.
pub struct Export {
    shape: Shape,
    view: View,
    names: Names,
    /// What is still to come; `None` when everything was given.
    rest: Option<Rest>,
    is_begun: bool,
}

/// What is still to come.
enum Rest {
    /// Entries, newest first, from a cursor on.
    Entries(Box<EntryFilter>, Option<RequestId>),
    /// All groups at once: they are few.
    Groups(TimeRange, GroupBy),
    /// The rollups of days.
    Days(TimeRange),
}

impl Export {
    /// The export that a query asks for. Blocking for a moment, as the names of keys are read.
    pub fn new(shape: Shape, query: &str, view: View, keys: &Keys, now: Timestamp) -> Result<Self, Problem> {
        let params = Params::of_query(query, shape.parameters())?;
        let range = params.range(now, view.zone())?;
        let rest = match (shape, group_by(&params)?) {
            (Shape::CostsFocus, _) => Rest::Days(whole_days(range, view.zone())?),
            (_, Some(by)) => {
                if let Some(name) = FILTERS.iter().skip(2).find(|name| params.text(name).is_some()) {
                    let detail =
                        format!("{name} chooses entries, and groupBy sums all of them: leave one of the two out");
                    return Err(Problem::parameter(name, detail));
                }
                check_length(range, Some(&by))?;
                Rest::Groups(range, by)
            }
            (_, None) => {
                let first_of = |at: Timestamp| Some(RequestId::first_of(at.as_millisecond()));
                let filter = requests::filter(keys, &params, view.zone())?;
                let filter = EntryFilter { from: first_of(range.from), until: first_of(range.until), ..filter };
                Rest::Entries(Box::new(filter), None)
            }
        };
        Ok(Self { shape, names: Names::of(keys, &view), view, rest: Some(rest), is_begun: false })
    }

    /// The next piece; `None` after the last one, which may be empty. Blocking.
    pub fn piece(&mut self) -> Result<Option<String>, LedgerError> {
        let Some(rest) = self.rest.take() else { return Ok(None) };
        let text = match rest {
            Rest::Entries(filter, cursor) => {
                let page = self.view.entries(&filter, cursor, PAGE_LEN)?;
                self.rest = page.next.map(|next| Rest::Entries(filter, Some(next)));
                self.entries(&page.items)
            }
            Rest::Groups(range, by) => {
                let costs = self.view.costs(range, std::slice::from_ref(&by))?;
                let groups = groups(&costs, Some(&by), &self.names);
                if self.shape == Shape::CostsCsv { group_rows(&groups) } else { lines(groups) }
            }
            Rest::Days(range) => {
                let end = Timestamp::from_second(range.from.as_second() + DAYS_PIECE_SECONDS).unwrap_or(range.until);
                let next = Window::Day.at(end, self.view.zone()).start(self.view.zone()).unwrap_or(range.until);
                let until = next.min(range.until);
                self.rest = (until < range.until).then_some(Rest::Days(TimeRange { from: until, ..range }));
                self.days(TimeRange { until, ..range })?
            }
        };
        self.is_begun = true;
        Ok(Some(text))
    }

    fn entries(&self, entries: &[Entry]) -> String {
        match self.shape {
            Shape::CostsCsv | Shape::CostsFocus => {
                let mut rows = self.rows(CSV_HEADER);
                for entry in entries {
                    csv_row(&mut rows, entry);
                }
                rows.into_text()
            }
            Shape::CostsLines => lines(entries.iter().map(EntryJson::new)),
            Shape::RequestsLines => lines(entries.iter().map(ExportedEntry::new)),
        }
    }

    fn days(&self, range: TimeRange) -> Result<String, LedgerError> {
        let mut rows = self.rows(focus::HEADER);
        for rollup in self.view.day_rollups(range)? {
            let key = rollup.key.as_deref().unwrap_or_default();
            focus::row(&mut rows, &rollup, self.names.key(key), self.view.zone());
        }
        Ok(rows.into_text())
    }

    /// Rows below their header, which only the first piece has.
    fn rows(&self, header: &str) -> Rows {
        if self.is_begun { Rows::default() } else { Rows::with_header(header) }
    }
}

/// A line of JSON for each item.
fn lines<T: Serialize>(items: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    for item in items {
        text += &serde_json::to_string(&item).expect("texts and numbers can always be written as JSON");
        text.push('\n');
    }
    text
}

/// The range, where it begins and ends with local days.
fn whole_days(range: TimeRange, zone: &TimeZone) -> Result<TimeRange, Problem> {
    for (name, at) in [("from", range.from), ("to", range.until)] {
        if Window::Day.at(at, zone).start(zone) != Some(at) {
            let detail = format!(
                "{name} has to be the beginning of a day here, for sums of days are exported: write it as 2026-11-22"
            );
            return Err(Problem::parameter(name, detail));
        }
    }
    Ok(range)
}

/// `GET` of any of the exports.
pub(super) async fn answer(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    shape: Shape,
) -> Result<HttpResponse, Problem> {
    let (view, now) = (caller.view(&state), state.clock.now());
    let export = Export::new(shape, request.query_string(), view, &state.keys, now)?;
    // The first piece before the status goes out, so that a broken ledger is told as such.
    let (first, export) = read(export).await?;
    let rest = stream::unfold(Some(export), |export| async move {
        match read(export?).await {
            Ok((Some(piece), export)) => Some((Ok(piece), Some(export))),
            Ok((None, _)) => None,
            // After an error the connection is cut, so that nobody takes half an export for a whole one.
            Err(problem) => Some((Err(problem), None)),
        }
    });
    let mut response = HttpResponse::Ok();
    response.content_type(shape.media()).insert_header((header::CONTENT_DISPOSITION, shape.attachment()));
    Ok(response.streaming(stream::iter(first.map(Ok)).chain(rest)))
}

async fn read(mut export: Export) -> Result<(Option<Bytes>, Export), Problem> {
    blocking(move || Ok::<_, LedgerError>((export.piece()?.map(Bytes::from), export))).await
}
