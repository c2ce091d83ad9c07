//! `/requests`: the log of calls, narrowed by a query that can be kept and shared.

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::{SignedDuration, Timestamp};

use super::super::answer::{PageError, blocking, ok};
use super::super::charts::Chart;
use super::super::form::{Fields, href};
use super::super::format::{count, count_exact, counted, money};
use super::super::session::Visitor;
use super::super::summary::{Shared, unreadable};
use super::super::view::{
    Card, Choice, Entry, Filters, Layout, Link, Notice, Pager, RequestRow, RequestsPage, Select, SelectOption,
};
use super::overview::no_calls;
use super::row::{List, cost, row};
use super::spend::{Steps, draw_requests};
use super::{KeyNames, clock, layout};
use crate::domain::{CacheOutcome, EntryStatus, Picodollars, RequestId, Window};
use crate::http::State;
use crate::ledger::{Cell, EntryFilter, GroupBy, LedgerError, TimeRange, View};

/// Calls of one page.
const PAGE_LEN: usize = 50;
/// Calls that are looked at to count those that a filter takes, and to draw them.
const COUNTED_MAX: usize = 2_000;
/// Pages back to which the pager finds its way.
const TRAIL_MAX: usize = 40;
/// Values that a select offers.
const OPTIONS_MAX: usize = 100;

const RANGES: [(&str, &str, SignedDuration); 5] = [
    ("15m", "15 min", SignedDuration::from_mins(15)),
    ("1h", "1 h", SignedDuration::from_hours(1)),
    ("24h", "24 h", SignedDuration::from_hours(24)),
    ("7d", "7 d", SignedDuration::from_hours(7 * 24)),
    ("30d", "30 d", SignedDuration::from_hours(30 * 24)),
];
const RANGE_USUAL: usize = 2;
/// What the list can be narrowed by, in the order of the query.
const NARROWING: [&str; 8] = ["q", "status", "model", "provider", "key", "team", "operation", "cache"];

/// What a query asks for.
struct Asked {
    range: usize,
    fields: Fields,
    cursor: Option<RequestId>,
    /// The cursors of the pages between the first one and this one.
    trail: Vec<String>,
    /// Calls on the pages before this one.
    seen: usize,
}

impl Asked {
    fn new(query: &str) -> Self {
        let fields = Fields::of_query(query);
        let range = RANGES.iter().position(|(word, ..)| *word == fields.text("range")).unwrap_or(RANGE_USUAL);
        let cursor: Option<RequestId> = fields.given("cursor").and_then(|cursor| cursor.parse().ok());
        let trail = fields.text("trail").split('.').filter(|cursor| cursor.parse::<RequestId>().is_ok());
        let trail = trail.map(ToOwned::to_owned).take(TRAIL_MAX).collect();
        let seen = if cursor.is_some() { fields.text("seen").parse().unwrap_or(0) } else { 0 };
        Self { range, fields, cursor, trail, seen }
    }

    /// A value of the query; a status or an outcome that doesn't exist narrows nothing.
    fn given(&self, name: &str) -> Option<&str> {
        let value = self.fields.given(name)?;
        let is_known = match name {
            "status" => EntryStatus::from_word(value).is_some(),
            "cache" => CacheOutcome::from_word(value).is_some(),
            _ => true,
        };
        is_known.then_some(value)
    }

    fn filter(&self, from: Timestamp) -> EntryFilter {
        let text = |name: &str| self.given(name).map(ToOwned::to_owned);
        EntryFilter {
            from: Some(RequestId::first_of(from.as_millisecond())),
            until: None,
            key: text("key"),
            team: text("team"),
            provider: text("provider"),
            model: text("model"),
            operation: text("operation"),
            status: self.given("status").and_then(EntryStatus::from_word),
            cache: text("cache"),
            tag: None,
            text: text("q"),
        }
    }

    fn is_narrowed(&self) -> bool {
        NARROWING.iter().any(|name| self.given(name).is_some())
    }

    /// The page's address with the same narrowing and other further parameters.
    fn href(&self, range: &str, further: &[(&str, &str)]) -> String {
        let mut query = vec![("range", range)];
        query.extend(NARROWING.iter().filter_map(|name| Some((*name, self.given(name)?))));
        query.extend(further);
        href("/requests", &query)
    }
}

/// Shows the log.
pub(in super::super) async fn show(
    visitor: Visitor,
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, PageError> {
    let layout = layout(&visitor, &shared, "Requests", Entry::Requests).await?;
    let asked = Asked::new(request.query_string());
    let (state, view) = (visitor.state.clone(), visitor.view.clone());
    let page = blocking(move || build(&state, &view, &asked, layout)).await?;
    Ok(ok(&page))
}

/// What was found, and what is known of all that match.
struct Found {
    rows: Vec<RequestRow>,
    next: Option<RequestId>,
    /// How many match in all.
    count: Count,
    cost: Picodollars,
    tokens: u64,
    chart: Option<Chart>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    Exactly(u64),
    AtLeast(u64),
}

fn build(state: &State, view: &View, asked: &Asked, layout: Layout) -> RequestsPage {
    let now = state.clock.now();
    let (range, _, length) = RANGES[asked.range];
    let from = now - length;
    let title = match range {
        "15m" | "1h" => "Requests per minute",
        "24h" => "Requests per hour",
        _ => "Requests per day",
    };
    let found = find(state, view, asked, from);
    let again = asked.href(range, &[]);
    let (heading, summary, chart, rows, pager) = match found {
        Err(error) => {
            ("Requests".to_owned(), String::new(), None, unreadable("The requests", &error, &again), Pager::default())
        }
        Ok(found) => {
            let heading = match found.count {
                Count::Exactly(count) => counted(count, "request", "requests"),
                Count::AtLeast(count) => format!("{} or more requests", count_exact(count)),
            };
            let summary = match found.count {
                Count::Exactly(_) => format!("{} · {} tokens", money(found.cost), count(found.tokens)),
                Count::AtLeast(_) => String::new(),
            };
            let pager = pager(asked, range, &found);
            let chart = found.chart.map(Ok);
            (heading, summary, chart, filled(asked, range, found.rows), pager)
        }
    };
    RequestsPage {
        layout,
        filters: filters(state, view, asked, range, from),
        chart_title: title.to_owned(),
        chart,
        heading,
        summary,
        rows,
        pager,
    }
}

fn filled(asked: &Asked, range: &str, rows: Vec<RequestRow>) -> Card<Vec<RequestRow>> {
    if !rows.is_empty() {
        return Ok(rows);
    }
    if asked.is_narrowed() || asked.cursor.is_some() {
        let clear = Link::new("Clear the filters", href("/requests", &[("range", range)]));
        return Err(Notice::empty("No request matches", "Widen the range, or take a filter out.", Some(clear)));
    }
    if range == "30d" {
        return Err(no_calls());
    }
    let wider = Link::new("Look at 30 days", href("/requests", &[("range", "30d")]));
    Err(Notice::empty("No requests in this time", "Nobody called in it.", Some(wider)))
}

fn find(state: &State, view: &View, asked: &Asked, from: Timestamp) -> Result<Found, LedgerError> {
    let clock = clock(state);
    let (now, zone) = (state.clock.now(), view.zone());
    let filter = asked.filter(from);
    let page = view.entries(&filter, asked.cursor, PAGE_LEN)?;
    // Calls that run are listed whenever they began; the range is the reader's all the same.
    let in_range = |entry: &&crate::ledger::Entry| entry.time() >= from;
    let rows = page.items.iter().filter(in_range).map(|entry| row(entry, &clock, List::Log)).collect();
    let is_long = !matches!(RANGES[asked.range].0, "15m" | "1h");
    let window = if RANGES[asked.range].0 == "24h" { Window::Hour } else { Window::Day };
    let whole = TimeRange { from, until: now + SignedDuration::from_millis(1) };
    let steps = || {
        let first = window.at(from, zone).start(zone).unwrap_or(from);
        let last = window.at(now, zone).end(zone).unwrap_or(now);
        Steps::new(TimeRange { from: first, until: last }, window, now, zone, &clock)
    };
    if !asked.is_narrowed() && is_long {
        let sums = view.costs(whole, &[])?.total;
        let steps = steps();
        let (columns, places) = steps.columns();
        let mut cells = vec![Cell::default(); columns.len()];
        for group in view.costs(steps.range, &[steps.group_by()])?.groups {
            if let Some(&place) = places.get(group.name.as_str()) {
                cells[place].add(&group.sums);
            }
        }
        let sentence = sentence(steps.step(), &steps.words);
        return Ok(Found {
            rows,
            next: page.next,
            count: Count::Exactly(sums.requests),
            cost: sums.cost,
            tokens: sums.usage.total_input() + sums.usage.total_output(),
            chart: draw_requests(steps.step(), sentence, columns, &cells),
        });
    }
    let all = view.entries(&filter, None, COUNTED_MAX)?;
    let all_items = || all.items.iter().filter(in_range);
    let count = all_items().count() as u64;
    let usage = all_items().fold(crate::domain::TokenUsage::default(), |sum, entry| sum + entry.usage());
    let mut found = Found {
        rows,
        next: page.next,
        count: if all.next.is_some() { Count::AtLeast(count) } else { Count::Exactly(count) },
        cost: all_items().map(cost).sum(),
        tokens: usage.total_input() + usage.total_output(),
        chart: None,
    };
    if all.next.is_none() {
        if is_long {
            let steps = steps();
            let (columns, places) = steps.columns();
            let place = |entry: &crate::ledger::Entry| {
                let id = steps.window.at(entry.time(), zone);
                let date = id.first_date()?;
                let name =
                    if window == Window::Hour { format!("{date}T{:02}", id.number % 24) } else { date.to_string() };
                places.get(name.as_str()).copied()
            };
            let cells = cells(all_items(), columns.len(), place);
            let sentence = sentence(steps.step(), &steps.words);
            found.chart = draw_requests(steps.step(), sentence, columns, &cells);
        } else {
            let (columns, first) = minutes(from, now, &clock);
            let place = |entry: &crate::ledger::Entry| {
                usize::try_from((entry.time().as_millisecond().div_euclid(60_000)) - first).ok()
            };
            let cells = cells(all_items(), columns.len(), place);
            found.chart = draw_requests("Minute", sentence("Minute", "until now"), columns, &cells);
        }
    }
    Ok(found)
}

fn sentence(step: &str, words: &str) -> String {
    format!("Requests per {}, {words}, split into answered, from cache and failed.", step.to_lowercase())
}

/// A column for each minute, and the number of the first.
fn minutes(
    from: Timestamp,
    now: Timestamp,
    clock: &super::super::format::Clock,
) -> (Vec<super::super::charts::Column>, i64) {
    let (first, last) = (from.as_millisecond().div_euclid(60_000), now.as_millisecond().div_euclid(60_000));
    let column = |minute: i64| {
        let at = Timestamp::from_millisecond(minute * 60_000).unwrap_or(now);
        let time = clock.clock_time(at).text.get(..5).unwrap_or_default().to_owned();
        let is_partial = minute == last;
        super::super::charts::Column { is_partial, ..super::super::charts::Column::new(time.clone(), time) }
    };
    ((first..=last).map(column).collect(), first)
}

fn cells<'a>(
    entries: impl Iterator<Item = &'a crate::ledger::Entry>,
    len: usize,
    place: impl Fn(&crate::ledger::Entry) -> Option<usize>,
) -> Vec<Cell> {
    let mut cells = vec![Cell::default(); len];
    for entry in entries {
        if let Some(cell) = place(entry).and_then(|place| cells.get_mut(place)) {
            cell.requests += 1;
            cell.failed += u64::from(entry.error.is_some() || entry.status == EntryStatus::Failed);
            cell.cache_hits += u64::from(entry.facts.cache == CacheOutcome::Hit);
        }
    }
    cells
}

fn pager(asked: &Asked, range: &str, found: &Found) -> Pager {
    let shown = found.rows.len();
    let (first, last) = (asked.seen + 1, asked.seen + shown);
    let text = match found.count {
        _ if shown == 0 => String::new(),
        Count::Exactly(count) => format!("{first} to {last} of {}", count_exact(count.max(last as u64))),
        Count::AtLeast(_) => format!("{first} to {last}"),
    };
    let newer = asked.cursor.map(|_| match asked.trail.split_last() {
        None => asked.href(range, &[]),
        Some((cursor, before)) => {
            let seen = asked.seen.saturating_sub(PAGE_LEN).to_string();
            asked.href(range, &[("cursor", cursor), ("trail", &before.join(".")), ("seen", &seen)])
        }
    });
    let older = found.next.map(|next| {
        let mut trail = asked.trail.clone();
        trail.extend(asked.cursor.map(|cursor| cursor.to_string()));
        let trail = trail[trail.len().saturating_sub(TRAIL_MAX)..].join(".");
        asked.href(range, &[("cursor", &next.to_string()), ("trail", &trail), ("seen", &last.to_string())])
    });
    Pager { text, newer, older }
}

fn filters(state: &State, view: &View, asked: &Asked, range: &str, from: Timestamp) -> Filters {
    let current = |name: &str| asked.given(name).unwrap_or_default().to_owned();
    let mut selects = vec![words(
        &current("status"),
        "status",
        "Status",
        "Any status",
        &EntryStatus::ALL.iter().map(|status| status.as_str()).collect::<Vec<_>>(),
    )];
    let names = KeyNames::seen(&state.keys, view);
    for (name, label, any, by) in [
        ("model", "Model", "Any model", GroupBy::Model),
        ("provider", "Provider", "Any provider", GroupBy::Provider),
        ("key", "Key", "Any key", GroupBy::Key),
        ("operation", "Operation", "Any operation", GroupBy::Operation),
    ] {
        let whole = super::spend::days_back(state.clock.now(), view.zone(), 31);
        // Without them the list can still be read; it says itself what is wrong with the ledger.
        let groups = view.costs(whole, std::slice::from_ref(&by)).map(|costs| costs.groups).unwrap_or_default();
        let mut options: Vec<(String, String)> = groups
            .into_iter()
            .filter(|group| !group.name.is_empty())
            .take(OPTIONS_MAX)
            .map(|group| {
                let shown = if by == GroupBy::Key { names.name(&group.name).to_owned() } else { group.name.clone() };
                (group.name, shown)
            })
            .collect();
        options.sort_by_key(|(_, shown)| shown.to_lowercase());
        let current = current(name);
        if !current.is_empty() && !options.iter().any(|(value, _)| *value == current) {
            options.insert(0, (current.clone(), names.name(&current).to_owned()));
        }
        // One value only is no choice.
        if options.len() > 1 || !current.is_empty() {
            selects.push(select(&current, name, label, any, &options));
        }
    }
    let outcomes: Vec<&str> = CacheOutcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
    selects.push(words(&current("cache"), "cache", "Cache", "Any cache", &outcomes));
    let mut csv = vec![("from", from.to_string())];
    csv.extend(NARROWING.iter().map(|name| (*name, current(name))));
    let csv: Vec<(&str, &str)> = csv.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Filters {
        query: current("q"),
        ranges: RANGES
            .iter()
            .map(|(word, label, _)| Choice {
                label: (*label).to_owned(),
                href: asked.href(word, &[]),
                is_current: *word == range,
            })
            .collect(),
        range: range.to_owned(),
        selects,
        is_narrowed: asked.is_narrowed(),
        clear_href: href("/requests", &[("range", range)]),
        csv_href: href("/api/costs.csv", &csv),
    }
}

fn words(current: &str, name: &'static str, label: &'static str, any: &str, values: &[&str]) -> Select {
    let options: Vec<(String, String)> =
        values.iter().map(|value| ((*value).to_owned(), super::row::error_words(value))).collect();
    select(current, name, label, any, &options)
}

fn select(current: &str, name: &'static str, label: &'static str, any: &str, options: &[(String, String)]) -> Select {
    let options = options.iter().map(|(value, shown)| SelectOption::new(value, shown, current));
    Select { name, label, options: std::iter::once(SelectOption::new("", any, current)).chain(options).collect() }
}
