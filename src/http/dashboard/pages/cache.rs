//! `/cache`: what kept answers save, and taking some of them out.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::{Timestamp, ToSpan as _};

use super::super::answer::{PageError, blocking, done, page};
use super::super::charts::{Bars, Chart, Meter, Rate, Series, Slot};
use super::super::form::{Fields, href};
use super::super::format::{
    MoneyColumn, count, count_cell, count_exact, counted, duration, money, percent, share, uptime,
};
use super::super::session::{Submission, Visitor};
use super::super::summary::{Shared, unreadable};
use super::super::view::{
    CachePage, CacheRow, Card, Choice, Entry, Field, Invalidation, InvalidationPreview, Kpi, Layout, Link, Notice,
    Phrase,
};
use super::spend::{Steps, days_back};
use super::{clock, layout};
use crate::cache::{Entry as KeptEntry, Fingerprint, Listed, Order, Page, Pattern, Stats};
use crate::config::{CacheConfig, CacheScope};
use crate::domain::Window;
use crate::http::State;
use crate::ledger::{Cell, Costs, LedgerError, TimeRange};

const RANGES: [(&str, &str); 3] = [("24h", "24 h"), ("7d", "7 d"), ("30d", "30 d")];
/// Entries of the page: more are behind a pattern, and all in the API.
const ROWS_LEN: usize = 20;
/// What stands in the place of a prompt that has no words, such as a picture alone.
const NO_WORDS: &str = "No text";

/// Shows the page.
pub(in super::super) async fn show(
    visitor: Visitor,
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, PageError> {
    let query = Fields::of_query(request.query_string());
    answer(&visitor, &shared, query).await
}

async fn answer(visitor: &Visitor, shared: &web::Data<Shared>, query: Fields) -> Result<HttpResponse, PageError> {
    let layout = layout(visitor, shared, "Cache", Entry::Cache).await?;
    let state = visitor.state.clone();
    let built = blocking(move || build(&state, &query, layout)).await?;
    let is_wrong = built.invalidation.pattern.error.is_some();
    Ok(page(if is_wrong { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }, &built))
}

/// `POST /cache/clear`: takes out what a pattern fits.
pub(in super::super) async fn clear(
    submission: Submission,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, PageError> {
    let Submission { visitor, fields } = submission;
    let Some(written) = fields.given("pattern") else { return Ok(done("/cache", visitor.is_htmx)) };
    let Ok(pattern) = written.parse::<Pattern>() else {
        // The page says what is wrong with it.
        let query = href("", &[("pattern", written)]);
        return answer(&visitor, &shared, Fields::of_query(query.trim_start_matches('?'))).await;
    };
    let (cache, now) = (Arc::clone(&visitor.state.cache), visitor.state.clock.now());
    let elsewhere = cache.invalidate_elsewhere(&pattern, written, now).await;
    // Most entries of ours are there too.
    let removed = blocking(move || cache.invalidate(&pattern, now)).await?.max(elsewhere.unwrap_or(0));
    tracing::info!("user {:?} has taken {removed} entries out of the response cache", visitor.session.user.name);
    let (shown, order) = (fields.text("shown"), fields.text("order"));
    let back = href("/cache", &[("pattern", shown), ("order", order), ("removed", &removed.to_string())]);
    Ok(done(&back, visitor.is_htmx))
}

/// What the query asks for.
struct Asked<'a> {
    range: &'static str,
    order: Order,
    written: &'a str,
    /// Nothing where nothing was written.
    pattern: Result<Option<Pattern>, String>,
}

impl<'a> Asked<'a> {
    fn of(query: &'a Fields) -> Self {
        let range = RANGES.iter().find(|(word, _)| *word == query.text("range")).unwrap_or(&RANGES[0]).0;
        let order = Order::ALL.iter().copied().find(|order| order.as_str() == query.text("order"));
        let written = query.given("pattern").unwrap_or_default();
        let pattern = Some(written).filter(|written| !written.is_empty()).map(str::parse::<Pattern>).transpose();
        let pattern = pattern.map_err(|error| super::access::sentence(&error.to_string()));
        Self { range, order: order.unwrap_or(Order::Saved), written, pattern }
    }

    /// The same page with another range or order.
    fn href(&self, range: &str, order: Order) -> String {
        let order = if order == Order::Saved { "" } else { order.as_str() };
        href(
            "/cache",
            &[("pattern", self.written), ("range", if range == "24h" { "" } else { range }), ("order", order)],
        )
    }
}

fn build(state: &State, query: &Fields, layout: Layout) -> CachePage {
    let (cache, now) = (&state.cache, state.clock.now());
    let asked = Asked::of(query);
    let stats = cache.stats();
    let pattern = asked.pattern.as_ref().ok().and_then(Clone::clone);
    let is_narrowed = pattern.is_some();
    let wanted =
        Page { pattern: pattern.unwrap_or_else(Pattern::all), order: asked.order, after: None, len_max: ROWS_LEN };
    let listed = cache.list(&wanted, now);
    let ranges = RANGES.iter().map(|(word, label)| Choice {
        label: (*label).to_owned(),
        href: asked.href(word, asked.order),
        is_current: *word == asked.range,
    });
    let orders = [(Order::Saved, "Saved"), (Order::Hits, "Hits"), (Order::Newest, "Newest")];
    let orders = orders.map(|(order, label)| Choice {
        label: label.to_owned(),
        href: asked.href(asked.range, order),
        is_current: order == asked.order,
    });
    CachePage {
        layout,
        off: (!cache.config().enabled).then(|| {
            let text = Phrase::new("Every call asks a provider. To keep answers, set ")
                .code("enabled = true")
                .text(" in ")
                .code("[cache]")
                .text(" of ")
                .code("tollgate.toml")
                .text(" and start again.");
            Notice::empty("The cache is off", text, None)
        }),
        done: query.text("removed").parse().ok().map(|removed: u64| match removed {
            0 => "No entry was there to remove.".to_owned(),
            1 => "1 entry is gone. Its next call asks a provider.".to_owned(),
            removed => {
                format!("{} are gone. The next call for each asks a provider.", counted(removed, "entry", "entries"))
            }
        }),
        kpis: kpis(state, &stats, now),
        ranges: ranges.collect(),
        chart: chart(state, &asked, now),
        heading: match asked.order {
            Order::Newest => "Newest entries",
            Order::Saved => "Most useful entries",
            Order::Hits => "Most used entries",
        }
        .to_owned(),
        orders: orders.to_vec(),
        rows: rows(&listed, is_narrowed, now),
        count: format!(
            "{} of {}",
            count_exact(listed.entries.len() as u64),
            counted(listed.fitting, "entry", "entries")
        ),
        invalidation: invalidation(&asked, is_narrowed.then_some(&listed), &stats),
        rules: rules(cache.config()),
    }
}

/// The whole hours of a day, the one that runs included.
fn last_day(now: Timestamp, state: &State) -> TimeRange {
    let until = Window::Hour.at(now, state.ledger.zone()).end(state.ledger.zone()).unwrap_or(now);
    TimeRange { from: until.saturating_sub(24.hours()).unwrap_or(until), until }
}

fn kpis(state: &State, stats: &Stats, now: Timestamp) -> Vec<Kpi> {
    let zone = state.ledger.zone();
    let month = Window::Month.at(now, zone);
    let month_range = TimeRange { from: month.start(zone).unwrap_or(now), until: month.end(zone).unwrap_or(now) };
    let sums = |range| state.ledger.costs(range, &[]).map(|costs: Costs| costs.total);
    let day = sums(last_day(now, state)).and_then(|day| Ok((day, sums(month_range)?)));
    let (rate, saved) = match &day {
        Ok((day, of_month)) => {
            let rate = share(day.cache_hits as f64, day.answered() as f64);
            let name = zone.to_datetime(now).strftime("%B");
            let mut saved = Kpi::new(
                "cache-saved",
                "Saved, 24 h",
                (day.requests > 0).then(|| money(day.saved)),
                format!("{} in {name}", money(of_month.saved)),
            );
            saved.exact = Some(format!("${}", day.saved));
            let words = format!(
                "{} of {}",
                counted(day.cache_hits, "hit", "hits"),
                counted(day.answered(), "answer", "answers")
            );
            (Kpi::new("cache-rate", "Hit rate, 24 h", (day.answered() > 0).then(|| percent(rate)), words), saved)
        }
        Err(error) => {
            tracing::warn!("what the cache has saved could not be read: {error}");
            let unread = |id: &str, label: &str| Kpi::new(id, label, None, "could not be read");
            (unread("cache-rate", "Hit rate, 24 h"), unread("cache-saved", "Saved, 24 h"))
        }
    };
    let mut hits = Kpi::new(
        "cache-hits",
        "Hits since the start",
        Some(count(stats.hits)),
        format!("{}, {}", counted(stats.misses, "miss", "misses"), money(stats.saved) + " saved"),
    );
    hits.exact = Some(count_exact(stats.hits));
    let bytes_max = state.cache.config().bytes_max;
    let used = share(stats.bytes as f64, bytes_max as f64);
    let mut entries = Kpi::new(
        "cache-entries",
        "Entries",
        Some(count_exact(stats.entries)),
        format!("{} of {}, least used leave first", size(stats.bytes), size(bytes_max)),
    );
    // A full cache is no alarm: it makes room by itself.
    entries.meter = Some(Meter::share(if used.is_finite() { used } else { 0.0 }, Slot::of_rank(0)));
    vec![rate, saved, hits, entries]
}

/// Bytes of memory, in the units of the settings: `812 bytes`, `1.2 KiB`, `96 MiB`.
fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    if bytes < 1_024 {
        return counted(bytes, "byte", "bytes");
    }
    for unit in ["KiB", "MiB", "GiB"] {
        size /= 1_024.0;
        if size < 1_023.5 || unit == "GiB" {
            let decimals = usize::from(size < 9.95);
            return format!("{size:.decimals$} {unit}");
        }
    }
    String::new()
}

fn chart(state: &State, asked: &Asked<'_>, now: Timestamp) -> Card<Chart> {
    let (zone, clock) = (state.ledger.zone(), clock(state));
    let (range, window, words) = match asked.range {
        "7d" => (days_back(now, zone, 7), Window::Day, "in 7 days"),
        "30d" => (days_back(now, zone, 30), Window::Day, "in 30 days"),
        _ => (last_day(now, state), Window::Hour, "in the last 24 hours"),
    };
    let steps = Steps::new(range, window, now, zone, &clock);
    let by_step = match state.ledger.costs(range, &[steps.group_by()]) {
        Ok(costs) => costs,
        Err(error) => return unreadable_chart(&error, &asked.href(asked.range, asked.order)),
    };
    let nothing = || Notice::empty("No call was made in this time", "Choose a longer range, or make a call.", None);
    if by_step.total.answered() == 0 {
        return Err(nothing());
    }
    let (columns, places) = steps.columns();
    let mut cells = vec![Cell::default(); columns.len()];
    for group in &by_step.groups {
        if let Some(&place) = places.get(group.name.as_str()) {
            cells[place].add(&group.sums);
        }
    }
    let (answered, cache_hits) = (by_step.total.answered(), by_step.total.cache_hits);
    let bars = Bars {
        id: "hit-rate".to_owned(),
        sentence: format!(
            "Cache hit rate per {} {words}: {} of {} came from the cache.",
            steps.step().to_lowercase(),
            percent(share(cache_hits as f64, answered as f64)),
            counted(answered, "answer", "answers"),
        ),
        step: steps.step().to_owned(),
        height: 164,
        columns,
        series: vec![Series {
            name: "Exact".to_owned(),
            slot: Slot::of_rank(0),
            values: cells.iter().map(|cell| Rate::of(cell.cache_hits, cell.answered())).collect(),
        }],
        has_sums: false,
    };
    bars.draw().ok_or_else(nothing)
}

fn unreadable_chart(error: &LedgerError, again: &str) -> Card<Chart> {
    unreadable("The hit rate", error, again)
}

fn rows(listed: &Listed, is_narrowed: bool, now: Timestamp) -> Card<Vec<CacheRow>> {
    if listed.entries.is_empty() {
        return Err(if is_narrowed {
            Notice::empty(
                "No entry fits",
                "The pattern fits nothing that is kept.",
                Some(Link::new("Show all", "/cache")),
            )
        } else {
            let text = "Ask the same twice: the second answer comes from here and costs nothing.";
            Notice::empty("Nothing is kept yet", text, Some(Link::new("Show me how", "/welcome")))
        });
    }
    let column = MoneyColumn::of(listed.entries.iter().map(|(_, entry)| entry.saved()));
    Ok(listed.entries.iter().map(|(fingerprint, entry)| row(fingerprint, entry, column, now)).collect())
}

fn row(fingerprint: &Fingerprint, entry: &KeptEntry, column: MoneyColumn, now: Timestamp) -> CacheRow {
    let facts = &entry.facts;
    CacheRow {
        title: Some(facts.prompt.title().into_string())
            .filter(|title| !title.is_empty())
            .unwrap_or_else(|| NO_WORDS.to_owned()),
        sub: format!("{} · {}", facts.deployment.model, facts.deployment.provider),
        href: format!("/requests/{}", facts.request),
        key: facts.key_name.to_string(),
        hits: count_cell(entry.hits()),
        saved: column.cell(entry.saved()),
        size: size(entry.weight()),
        expires_in: time_left(entry.time_left(now)),
        pattern: format!("entry:{fingerprint}"),
    }
}

fn time_left(left: Duration) -> String {
    if left < Duration::from_secs(1) { "a moment".to_owned() } else { uptime(left) }
}

fn invalidation(asked: &Asked<'_>, fitting: Option<&Listed>, stats: &Stats) -> Invalidation {
    let preview = fitting.map(|listed| {
        let fitting = listed.fitting;
        InvalidationPreview {
            title: format!("Fits {} of {}", count_exact(fitting), counted(stats.entries, "entry", "entries")),
            text: match fitting {
                0 => "Nothing would be removed.".to_owned(),
                _ if listed.saved.is_zero() => {
                    "They have saved nothing yet. The next call for each pays full price.".to_owned()
                }
                _ => format!("They have saved {}. The next call for each pays full price.", money(listed.saved)),
            },
            button: (fitting > 0).then(|| format!("Remove {}", counted(fitting, "entry", "entries"))),
        }
    });
    let order = if asked.order == Order::Saved { "" } else { asked.order.as_str() };
    let error = asked.pattern.as_ref().err().cloned();
    Invalidation { pattern: Field { value: asked.written.to_owned(), error }, order: order.to_owned(), preview }
}

fn rules(config: &CacheConfig) -> Vec<Phrase> {
    let who = match config.scope {
        CacheScope::Key => Phrase::new("A key finds ").strong("its own answers only"),
        CacheScope::Team => Phrase::new("The keys of a team find ").strong("each other’s answers"),
        CacheScope::Global => Phrase::new("All keys find ").strong("each other’s answers"),
    };
    let what = if config.deterministic_only {
        Phrase::new("Only calls at temperature 0 are kept.")
    } else {
        Phrase::new("Calls at any temperature are kept; refusals, errors and answers that were cut are not.")
    };
    vec![
        who.text(", for ").strong(duration(config.ttl)).text(" unless a call asks for another time."),
        what,
        Phrase::new("A call goes its own way with the header ").code("x-tollgate-cache: bypass").text("."),
        Phrase::new("Change these in ").code("[cache]").text(" of ").code("tollgate.toml").text("."),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, expected) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1_023, "1,023 bytes"),
            (1_234, "1.2 KiB"),
            (96 << 20, "96 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (5 << 40, "5120 GiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn a_query_that_means_nothing_is_the_default() {
        let query = Fields::of_query("range=9y&order=oldest&pattern=++");
        let asked = Asked::of(&query);
        assert_eq!((asked.range, asked.order, asked.pattern.clone()), ("24h", Order::Saved, Ok(None)));
        assert_eq!(asked.href("24h", Order::Saved), "/cache");
        assert_eq!(asked.href("7d", Order::Hits), "/cache?range=7d&order=hits");
    }
}
