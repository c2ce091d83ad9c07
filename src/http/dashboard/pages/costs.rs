//! `/costs`: where the money goes, and what has changed.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};

use super::super::answer::{PageError, blocking, ok};
use super::super::charts::Meter;
use super::super::form::{Fields, href};
use super::super::format::{self, MoneyColumn, NO_VALUE, change, count_cell, counted, money, percent_whole, share};
use super::super::session::Visitor;
use super::super::summary::{Shared, unpriced_models, unreadable};
use super::super::view::{Choice, CostRow, CostTable, CostsPage, Entry, Kpi, Layout, Notice, Phrase};
use super::spend::{Steps, days_back, draw, model_ranks, slot_of};
use super::{KeyNames, clock, layout};
use crate::domain::{Picodollars, Window};
use crate::http::State;
use crate::ledger::{Cell, CostGroup, Costs, GroupBy, LedgerError, TimeRange, View};

const RANGES: [(&str, &str); 4] = [("today", "Today"), ("7d", "7 d"), ("30d", "30 d"), ("month", "Month")];
const GROUPINGS: [(&str, &str, GroupBy); 5] = [
    ("model", "Model", GroupBy::Model),
    ("provider", "Provider", GroupBy::Provider),
    ("operation", "Operation", GroupBy::Operation),
    ("key", "Key", GroupBy::Key),
    ("team", "Team", GroupBy::Team),
];
/// Groups of the table; more are in the export.
const ROWS_MAX: usize = 200;
/// The longest range of days that a reader may choose.
const DAYS_MAX: i64 = 366;
/// A range up to this many days is drawn by hours.
const HOURLY_DAYS_MAX: i64 = 2;

/// A range as the query names it.
struct Range {
    /// Its word, or `custom`.
    word: &'static str,
    /// Its first day and its last.
    days: (Date, Date),
    whole: TimeRange,
    /// The same length before it, as far into it as it is now.
    before: TimeRange,
    /// Against what changes are measured.
    compared: String,
    /// In a tile: `30 days`.
    words: String,
}

impl Range {
    fn new(fields: &Fields, now: Timestamp, state: &State) -> Self {
        let zone = state.ledger.zone();
        let today = zone.to_datetime(now).date();
        let start = |date: Date| zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible().unwrap_or(now);
        let date = |name: &str| fields.given(name).and_then(|text| text.parse::<Date>().ok());
        let in_reach = |date: &Date| (2000..2100).contains(&date.year());
        let custom = date("from").filter(in_reach).map(|from| {
            let to = date("to").filter(in_reach).unwrap_or(today).max(from);
            (from, to.min(from.saturating_add((DAYS_MAX - 1).days())))
        });
        let back = |days: i64| (today.saturating_sub((days - 1).days()), today);
        let (word, days, words) = match (custom, fields.text("range")) {
            (Some(days), _) => {
                let count = days_between(days);
                ("custom", days, counted(count.unsigned_abs(), "day", "days"))
            }
            (None, "today") => ("today", (today, today), "today".to_owned()),
            (None, "7d") => ("7d", back(7), "7 days".to_owned()),
            (None, "month") => {
                ("month", (today.first_of_month(), today), zone.to_datetime(now).strftime("%B").to_string())
            }
            (None, _) => ("30d", back(30), "30 days".to_owned()),
        };
        let range = TimeRange { from: start(days.0), until: start(days.1.saturating_add(1.day())) };
        let until = range.until.min(now.max(range.from));
        // As far into the period before as this one is, so that a day that runs is not held against a whole one.
        let earlier = |at: Timestamp| {
            let at = at.to_zoned(zone.clone());
            let earlier = match word {
                "month" => at.checked_sub(1.month()),
                _ => at.checked_sub(days_between(days).days()),
            };
            earlier.map_or(now, |earlier| earlier.timestamp())
        };
        let before = TimeRange { from: earlier(range.from), until: earlier(until).max(earlier(range.from)) };
        let compared = match word {
            "today" => "yesterday by this time".to_owned(),
            "month" => "the month before by this day".to_owned(),
            _ => format!("the {} before", counted(days_between(days).unsigned_abs(), "day", "days")),
        };
        Self { word, days, whole: range, before, compared, words }
    }

    /// The query that names the range.
    fn query(&self) -> Vec<(&'static str, String)> {
        if self.word == "custom" {
            vec![("from", self.days.0.to_string()), ("to", self.days.1.to_string())]
        } else {
            vec![("range", self.word.to_owned())]
        }
    }
}

fn days_between((from, to): (Date, Date)) -> i64 {
    i64::from((to - from).get_days()) + 1
}

fn link(path: &str, query: &[(&str, String)]) -> String {
    href(path, &query.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>())
}

/// Shows the costs.
pub(in super::super) async fn show(
    visitor: Visitor,
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, PageError> {
    let layout = layout(&visitor, &shared, "Costs", Entry::Costs).await?;
    let query = Fields::of_query(request.query_string());
    let (state, view) = (visitor.state.clone(), visitor.view.clone());
    let page = blocking(move || build(&state, &view, &query, layout)).await?;
    Ok(ok(&page))
}

/// The sums of one range and of the one before.
struct Sums {
    costs: Costs,
    before: Costs,
    over_time: Costs,
    ranks: Vec<String>,
    /// Who provides each model.
    providers: BTreeMap<String, BTreeSet<String>>,
}

fn read(view: &View, now: Timestamp, range: &Range, steps: &Steps, by: &GroupBy) -> Result<Sums, LedgerError> {
    let by = std::slice::from_ref(by);
    let costs = view.costs(range.whole, by)?;
    let mut providers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    if by[0] == GroupBy::Model {
        for group in view.costs(range.whole, &[GroupBy::Model, GroupBy::Provider])?.groups {
            providers.entry(group.name).or_default().insert(group.series);
        }
    }
    let ranks = if by[0] == GroupBy::Model {
        model_ranks(view, now)?
    } else {
        costs.groups.iter().filter(|group| !group.sums.cost.is_zero()).map(|group| group.name.clone()).collect()
    };
    Ok(Sums {
        before: view.costs(range.before, by)?,
        over_time: view.costs(range.whole, &[steps.group_by(), by[0].clone()])?,
        costs,
        ranks,
        providers,
    })
}

fn build(state: &State, view: &View, query: &Fields, layout: Layout) -> CostsPage {
    let (now, zone) = (state.clock.now(), state.ledger.zone());
    let clock = clock(state);
    let range = Range::new(query, now, state);
    let (by_word, by_label, by) =
        GROUPINGS.iter().find(|(word, ..)| *word == query.text("by")).unwrap_or(&GROUPINGS[0]);
    let window = if days_between(range.days) <= HOURLY_DAYS_MAX { Window::Hour } else { Window::Day };
    let steps = Steps::new(range.whole, window, now, zone, &clock);
    let names = KeyNames::seen(&state.keys, view);
    let label = |name: &str| group_label(name, by, &names);
    let mut again = range.query();
    again.push(("by", (*by_word).to_owned()));
    let again = link("/costs", &again);
    let sums = read(view, now, &range, &steps, by);
    let nothing = || Notice::empty("Nothing was spent in this time", "Choose a longer range, or make a call.", None);
    let (kpis, chart, table, changed, unpriced) = match &sums {
        Err(error) => {
            (kpis(&range, None), unreadable("Spend", error, &again), unreadable("Spend", error, &again), None, None)
        }
        Ok(sums) => {
            let what = format!("Spend by {by_word}");
            let chart = draw("costs", &what, &steps, &sums.over_time, &sums.ranks, label, false).ok_or_else(nothing);
            let table = table(&range, sums, by, by_label, &names).ok_or_else(nothing);
            (kpis(&range, Some(sums)), chart, table, changed(&range, sums, label), unpriced(view, now))
        }
    };
    let ranges = RANGES.iter().map(|(word, label)| Choice {
        label: (*label).to_owned(),
        href: href("/costs", &[("range", word), ("by", by_word)]),
        is_current: *word == range.word,
    });
    let groupings = GROUPINGS.iter().map(|(word, label, _)| {
        let mut query = range.query();
        query.push(("by", (*word).to_owned()));
        Choice { label: (*label).to_owned(), href: link("/costs", &query), is_current: word == by_word }
    });
    let last = range.days.1.saturating_add(1.day());
    let csv = [("from", range.days.0.to_string()), ("to", last.to_string()), ("groupBy", (*by_word).to_owned())];
    CostsPage {
        layout,
        ranges: ranges.collect(),
        from: range.days.0.to_string(),
        to: range.days.1.to_string(),
        by: (*by_word).to_owned(),
        groupings: groupings.collect(),
        csv_href: link("/api/costs.csv", &csv),
        kpis,
        chart_title: format!("Spend per {} by {by_word}", steps.step().to_lowercase()),
        chart_range: format!("{} · {} days", steps.words, zone.iana_name().unwrap_or("local")),
        chart,
        table_title: format!("By {by_word}"),
        table,
        price_note: Some(price_note(state, unpriced)),
        changed,
    }
}

fn group_label(name: &str, by: &GroupBy, names: &KeyNames) -> String {
    match (by, name) {
        (GroupBy::Team, "") => "no team".to_owned(),
        (_, "") => super::UNROUTED.to_owned(),
        (GroupBy::Key, id) => names.name(id).to_owned(),
        (GroupBy::Team, id) => names.team(id).to_owned(),
        (_, name) => name.to_owned(),
    }
}

fn kpis(range: &Range, sums: Option<&Sums>) -> Vec<Kpi> {
    let tile = |id: &str, label: String, value: Option<String>, detail: String| Kpi::new(id, &label, value, detail);
    let spend_label = format!("Spend, {}", range.words);
    let Some(Sums { costs, before, .. }) = sums else {
        let unread = |id: &str, label: &str| tile(id, label.to_owned(), None, "could not be read".to_owned());
        return vec![
            unread("cost-total", &spend_label),
            unread("cost-per-1k", "Cost per 1k requests"),
            unread("cost-cache", "Saved by the cache"),
            unread("cost-held", "Held for running calls"),
        ];
    };
    let (total, was) = (costs.total.cost, before.total.cost);
    let change = if was.is_zero() {
        format!("nothing {}", preposition(&range.compared))
    } else {
        match total.percent_of(was) - 100.0 {
            change if change.abs() < 0.5 => format!("the same as {}", range.compared),
            change if change > 0.0 => format!("{} above {}", percent_whole(change), range.compared),
            change => format!("{} below {}", percent_whole(-change), range.compared),
        }
    };
    let per_1k = |cell: &Cell| each(cell.cost, cell.requests, 1_000);
    let (dear, cheap) = (per_1k(&costs.total), per_1k(&before.total));
    let was_each = cheap.map_or_else(String::new, |was| format!("{} {}", money(was), preposition(&range.compared)));
    let saved = costs.total.saved;
    let saved_share = share(saved.to_dollars_f64(), (saved + total).to_dollars_f64());
    let saved_words = if saved.is_zero() {
        "nothing in this time".to_owned()
    } else {
        format!("{} of what you would have paid", percent_whole(saved_share))
    };
    let mut held = tile(
        "cost-held",
        "Held for running calls".to_owned(),
        Some(money(costs.held)),
        format!("{} running", counted(costs.pending, "call is", "calls are")),
    );
    held.exact = Some(format!("${}", costs.held));
    let mut spend = tile("cost-total", spend_label, (costs.total.requests > 0).then(|| money(total)), change);
    spend.exact = Some(format!("${total}"));
    if !costs.total.unknown_cost.is_zero() {
        spend.detail =
            Phrase::new(format!("{} of it for calls whose end was not seen", money(costs.total.unknown_cost)));
    }
    vec![
        spend,
        tile("cost-per-1k", "Cost per 1k requests".to_owned(), dear.map(money), was_each),
        tile(
            "cost-cache",
            "Saved by the cache".to_owned(),
            (costs.total.requests > 0).then(|| money(saved)),
            saved_words,
        ),
        held,
    ]
}

/// `yesterday by this time` stands alone; `the 30 days before` takes an `in`.
fn preposition(compared: &str) -> String {
    if compared.starts_with("the ") { format!("in {compared}") } else { compared.to_owned() }
}

fn each(cost: Picodollars, requests: u64, of: i128) -> Option<Picodollars> {
    let requests = i128::from(requests);
    (requests > 0).then(|| Picodollars::new(cost.get().saturating_mul(of) / requests))
}

fn table(range: &Range, sums: &Sums, by: &GroupBy, head: &str, names: &KeyNames) -> Option<CostTable> {
    let costs = &sums.costs;
    if costs.groups.is_empty() {
        return None;
    }
    let spend = MoneyColumn::of(costs.groups.iter().map(|group| group.sums.cost).chain([costs.total.cost]));
    let saved = MoneyColumn::of([costs.total.saved]);
    let one = |cell: &Cell| each(cell.cost, cell.requests, 1).unwrap_or_default();
    let per_request = MoneyColumn::of(costs.groups.iter().map(|group| one(&group.sums)));
    let cells = |cell: &Cell| {
        let tokens = cell.usage.total_input() + cell.usage.total_output();
        (
            spend.cell(cell.cost),
            count_cell(cell.requests),
            count_cell(tokens),
            per_request.cell(one(cell)),
            saved.cell(cell.saved),
        )
    };
    let was = |name: &str| sums.before.groups.iter().find(|group| group.name == name).map(|group| group.sums.cost);
    let row = |group: &CostGroup| {
        let rank = sums.ranks.iter().position(|name| *name == group.name);
        let percent = share(group.sums.cost.to_dollars_f64(), costs.total.cost.to_dollars_f64());
        let slot = slot_of(rank);
        let (spend, requests, tokens, per_request, saved) = cells(&group.sums);
        CostRow {
            slot: Some(slot),
            name: group_label(&group.name, by, names),
            sub: sub(sums, &group.name),
            href: requests_href(range, by, &group.name),
            spend,
            meter: Some(Meter::share(if percent.is_finite() { percent } else { 0.0 }, slot)),
            share: format::percent(percent),
            change: change(was(&group.name).unwrap_or_default(), group.sums.cost),
            requests,
            tokens,
            per_request,
            saved,
        }
    };
    let (total_spend, requests, tokens, each, total_saved) = cells(&costs.total);
    let total = CostRow {
        slot: None,
        name: "Total".to_owned(),
        sub: None,
        href: None,
        spend: total_spend,
        meter: None,
        share: if costs.total.cost.is_zero() { NO_VALUE.to_owned() } else { "100%".to_owned() },
        change: change(sums.before.total.cost, costs.total.cost),
        requests,
        tokens,
        per_request: each,
        saved: total_saved,
    };
    Some(CostTable {
        head: head.to_owned(),
        compared: format!("against {}", range.compared),
        rows: costs.groups.iter().take(ROWS_MAX).map(row).collect(),
        total,
    })
}

fn sub(sums: &Sums, model: &str) -> Option<String> {
    let providers = sums.providers.get(model)?;
    let providers: Vec<&str> = providers.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    (!providers.is_empty()).then(|| providers.join(", "))
}

/// The requests of a group, as far as the log can be narrowed to them.
fn requests_href(range: &Range, by: &GroupBy, name: &str) -> Option<String> {
    let parameter = match by {
        GroupBy::Model => "model",
        GroupBy::Provider => "provider",
        GroupBy::Operation => "operation",
        GroupBy::Key => "key",
        GroupBy::Team => "team",
        GroupBy::Tag(_) | GroupBy::Day | GroupBy::Hour => return None,
    };
    let range = match range.word {
        "today" => "24h",
        "7d" => "7d",
        _ => "30d",
    };
    (!name.is_empty()).then(|| href("/requests", &[("range", range), (parameter, name)]))
}

/// The group whose spend has moved most, in a sentence.
fn changed(range: &Range, sums: &Sums, label: impl Fn(&str) -> String) -> Option<Phrase> {
    if sums.before.total.cost.is_zero() {
        return None;
    }
    let mut names: BTreeSet<&str> = sums.costs.groups.iter().map(|group| group.name.as_str()).collect();
    names.extend(sums.before.groups.iter().map(|group| group.name.as_str()));
    let of = |costs: &Costs, name: &str| {
        costs.groups.iter().find(|group| group.name == name).map_or(Picodollars::ZERO, |group| group.sums.cost)
    };
    let moved = names.into_iter().map(|name| (name, of(&sums.before, name), of(&sums.costs, name)));
    let (name, was, is) = moved.max_by_key(|(_, was, is)| (*is - *was).get().abs())?;
    if was == is {
        return None;
    }
    let difference = Picodollars::new((is - was).get().abs());
    let compared = &range.compared;
    let text = match (was.is_zero(), is > was) {
        (true, _) => format!(" is new: {}, and nothing {}.", money(is), preposition(compared)),
        (false, true) => {
            let percent = percent_whole(is.percent_of(was) - 100.0);
            format!(" rose by {percent}: {} more than {}.", money(difference), preposition(compared))
        }
        (false, false) => {
            let percent = percent_whole(100.0 - is.percent_of(was));
            format!(" fell by {percent}: {} less than {}.", money(difference), preposition(compared))
        }
    };
    Some(Phrase::default().strong(label(name)).text(text))
}

fn unpriced(view: &View, now: Timestamp) -> Option<(u64, Vec<String>)> {
    let month = days_back(now, view.zone(), 30);
    let costs = view.costs(month, &[GroupBy::Model]).ok()?;
    let (count, models) = unpriced_models(&costs);
    (count > 0).then(|| (count, models.into_iter().take(3).map(ToOwned::to_owned).collect()))
}

fn price_note(state: &State, unpriced: Option<(u64, Vec<String>)>) -> Phrase {
    let config = &state.config;
    let list = if config.catalog_file.is_some() { "your list" } else { "the built-in list" };
    let mut note = match config.prices.len() as u64 {
        0 => Phrase::new(format!("Prices: {list}.")),
        own => {
            Phrase::new(format!("Prices: {list}, with {} in ", counted(own, "price of your own", "prices of your own")))
                .code("tollgate.toml")
                .text(".")
        }
    };
    if let Some((count, models)) = unpriced {
        let count_as = if count == 1 { "it counts" } else { "they count" };
        let calls = counted(count, "call", "calls");
        note = note.text(format!(" {calls} in 30 days had no price; unless priced again since, {count_as} as $0.00: "));
        for (index, model) in models.iter().enumerate() {
            note = if index > 0 { note.text(", ") } else { note }.code(model.clone());
        }
        note = note.text(".");
    }
    note
}
