//! `/api/costs` and `/api/costs.csv`: what was spent, in groups, or row by row.

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;
use jiff::Timestamp;
use serde::Serialize;

use super::blocking;
use super::entry::{CSV_HEADER, csv_row};
use super::input::Params;
use super::requests::{self, FILTERS};
use crate::domain::{KeyId, Picodollars, RequestId};
use crate::http::problem::Problem;
use crate::http::state::State;
use crate::keys::Keys;
use crate::ledger::{CostGroup, Costs, EntryFilter, GroupBy, Ledger, LedgerError, TimeRange};
use crate::reports::csv::Rows;

/// The query parameters of sums.
pub(super) const PARAMETERS: &[&str] = &["from", "to", "groupBy"];
/// The query parameters of the export: those of a list of entries, or those of sums.
pub(super) const CSV_PARAMETERS: &[&str] =
    &["from", "to", "groupBy", "key", "team", "provider", "model", "operation", "status", "cache", "tag", "q"];
/// Entries of one read and one piece of the export: a few hundred kilobytes.
const CSV_PAGE_LEN: usize = 1_000;
/// Hours that one answer lists: a quarter.
const HOURS_MAX: i64 = 92 * 24;
/// Days that one answer lists: ten years.
const DAYS_MAX: i64 = 3_660;
/// What the export is saved as, whatever was asked for.
const ATTACHMENT: &str = "attachment; filename=\"tollgate-costs.csv\"";
const CSV: &str = "text/csv; charset=utf-8";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CostsJson {
    from: String,
    to: String,
    group_by: Option<String>,
    total_usd: Picodollars,
    held_usd: Picodollars,
    pending_count: u64,
    unknown_usd: Picodollars,
    unknown_count: u64,
    saved_usd: Picodollars,
    requests: u64,
    failed_requests: u64,
    unpriced_attempts: u64,
    input_tokens: u64,
    cached_input_tokens: u64,
    output_tokens: u64,
    groups: Vec<GroupJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupJson {
    /// The group's name; empty for what has none, such as calls without a team.
    key: String,
    /// The id behind the name, where groups are virtual keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    cost_usd: Picodollars,
    unknown_usd: Picodollars,
    requests: u64,
    failed_requests: u64,
    input_tokens: u64,
    cached_input_tokens: u64,
    output_tokens: u64,
    saved_usd: Picodollars,
}

/// `GET /api/costs`.
pub(super) async fn show(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, PARAMETERS)?;
    let group_by = group_by(&params)?;
    let range = params.range(state.clock.now(), state.ledger.zone())?;
    let costs = sums(&state, range, group_by.clone()).await?;
    let total = &costs.total;
    let answer = CostsJson {
        from: range.from.to_string(),
        to: range.until.to_string(),
        group_by: params.owned("groupBy"),
        total_usd: total.cost,
        held_usd: costs.held,
        pending_count: costs.pending,
        unknown_usd: total.unknown_cost,
        unknown_count: total.unknown,
        saved_usd: total.saved,
        requests: total.requests,
        failed_requests: total.failed,
        unpriced_attempts: total.unpriced,
        input_tokens: total.usage.total_input(),
        cached_input_tokens: total.usage.cache_read,
        output_tokens: total.usage.total_output(),
        groups: groups(&costs, group_by.as_ref(), &state.keys),
    };
    Ok(HttpResponse::Ok().json(answer))
}

/// `GET /api/costs.csv`: a row for each entry, or, with `groupBy`, for each group.
pub(super) async fn export(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, CSV_PARAMETERS)?;
    let range = params.range(state.clock.now(), state.ledger.zone())?;
    let mut response = HttpResponse::Ok();
    response.content_type(CSV).insert_header((header::CONTENT_DISPOSITION, ATTACHMENT));
    if let Some(by) = group_by(&params)? {
        if let Some(name) = FILTERS.iter().skip(2).find(|name| params.text(name).is_some()) {
            let detail = format!("{name} chooses entries, and groupBy sums all of them: leave one of the two out");
            return Err(Problem::parameter(name, detail));
        }
        let costs = sums(&state, range, Some(by.clone())).await?;
        return Ok(response.body(group_rows(&groups(&costs, Some(&by), &state.keys))));
    }
    let first_of = |at: Timestamp| Some(RequestId::first_of(at.as_millisecond()));
    let filter = requests::filter(&params, state.ledger.zone())?;
    let filter = EntryFilter { from: first_of(range.from), until: first_of(range.until), ..filter };
    // The first piece before the status goes out, so that a broken ledger is told as such.
    let mut export =
        Export { ledger: Arc::clone(&state.ledger), filter: Arc::new(filter), cursor: None, is_over: false };
    let first = export.piece(Rows::with_header(CSV_HEADER)).await?;
    let rest = stream::unfold(export, |mut export| async move {
        if export.is_over {
            return None;
        }
        let piece = export.piece(Rows::default()).await;
        // After an error the connection is cut, so that nobody takes half an export for a whole one.
        export.is_over |= piece.is_err();
        Some((piece, export))
    });
    Ok(response.streaming(stream::StreamExt::chain(stream::once(async move { Ok(first) }), rest)))
}

/// An export under way: each piece is read in transactions of its own, and none is open between two pieces.
struct Export {
    ledger: Arc<Ledger>,
    filter: Arc<EntryFilter>,
    /// Where the next piece begins; `None` at the beginning.
    cursor: Option<RequestId>,
    /// Set when nothing comes after the last piece.
    is_over: bool,
}

impl Export {
    async fn piece(&mut self, mut rows: Rows) -> Result<Bytes, Problem> {
        let (ledger, filter) = (Arc::clone(&self.ledger), Arc::clone(&self.filter));
        let cursor = self.cursor;
        let (text, next) = blocking(move || {
            let page = ledger.entries(&filter, cursor, CSV_PAGE_LEN)?;
            for entry in &page.items {
                csv_row(&mut rows, entry);
            }
            Ok::<_, LedgerError>((rows.into_text(), page.next))
        })
        .await?;
        (self.cursor, self.is_over) = (next, next.is_none());
        Ok(Bytes::from(text))
    }
}

fn group_by(params: &Params) -> Result<Option<GroupBy>, Problem> {
    let Some(word) = params.text("groupBy") else { return Ok(None) };
    GroupBy::from_word(word).map(Some).ok_or_else(|| {
        let detail = "groupBy has to be one of provider, model, operation, key, team, tag:NAME, day, hour";
        Problem::parameter("groupBy", detail)
    })
}

async fn sums(state: &State, range: TimeRange, by: Option<GroupBy>) -> Result<Costs, Problem> {
    let seconds = range.until.as_second() - range.from.as_second();
    let too_long = |max: i64, what: &str| {
        Err(Problem::parameter(
            "groupBy",
            format!("this range has more than {max} {what}: choose a shorter one, or wider groups"),
        ))
    };
    match by {
        Some(GroupBy::Hour) if seconds > HOURS_MAX * 3_600 => return too_long(HOURS_MAX, "hours"),
        Some(GroupBy::Day) if seconds > DAYS_MAX * 86_400 => return too_long(DAYS_MAX, "days"),
        _ => {}
    }
    let ledger = Arc::clone(&state.ledger);
    blocking(move || ledger.costs(range, by.as_slice())).await
}

fn groups(costs: &Costs, by: Option<&GroupBy>, keys: &Keys) -> Vec<GroupJson> {
    let names: HashMap<String, String> = match by {
        Some(GroupBy::Key) => {
            let named =
                |group: &CostGroup| Some((group.name.clone(), keys.get(&KeyId::new(&group.name).ok()?)?.name.clone()));
            costs.groups.iter().filter_map(named).collect()
        }
        _ => HashMap::new(),
    };
    let group = |CostGroup { name, sums, .. }: &CostGroup| GroupJson {
        key: names.get(name).unwrap_or(name).clone(),
        key_id: (by == Some(&GroupBy::Key)).then(|| name.clone()),
        cost_usd: sums.cost,
        unknown_usd: sums.unknown_cost,
        requests: sums.requests,
        failed_requests: sums.failed,
        input_tokens: sums.usage.total_input(),
        cached_input_tokens: sums.usage.cache_read,
        output_tokens: sums.usage.total_output(),
        saved_usd: sums.saved,
    };
    costs.groups.iter().map(group).collect()
}

fn group_rows(groups: &[GroupJson]) -> String {
    let mut rows =
        Rows::with_header("key,cost_usd,requests,input_tokens,cached_input_tokens,output_tokens,saved_usd,key_id");
    for group in groups {
        rows.text(&group.key)
            .number(Some(group.cost_usd))
            .number(Some(group.requests))
            .number(Some(group.input_tokens))
            .number(Some(group.cached_input_tokens))
            .number(Some(group.output_tokens))
            .number(Some(group.saved_usd))
            .text(group.key_id.as_deref().unwrap_or_default())
            .end();
    }
    rows.into_text()
}
