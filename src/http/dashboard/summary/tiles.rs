//! The six tiles of the overview.

use std::time::Duration;

use jiff::{Timestamp, ToSpan as _};

use super::super::charts::{Meter, MeterSize, Slot, Spark};
use super::super::format::{count, count_exact, counted, duration, money, money_whole, percent, percent_whole, share};
use super::super::view::{Kpi, Phrase, Tone};
use super::Facts;
use super::budgets::time_left;
use crate::budget::outlook;
use crate::domain::{Picodollars, Window};
use crate::ledger::{Cell, Costs, GroupBy, LedgerError, TimeRange};
use crate::telemetry::Percentiles;

pub(super) fn tiles(facts: &Facts<'_>) -> Vec<Kpi> {
    vec![spend(facts), month(facts), requests(facts), errors(facts), cache(facts), latency(facts)]
}

fn unread(id: &str, label: &str) -> Kpi {
    Kpi::new(id, label, None, "could not be read")
}

/// The sums of each hour of today so far, the present one included.
fn hours(facts: &Facts<'_>, today: &Costs) -> Vec<Cell> {
    let hour = facts.zone().to_datetime(facts.now).hour();
    let date = facts.zone().to_datetime(facts.now).date();
    let of = |hour: i8| today.groups.iter().find(|group| group.name == format!("{date}T{hour:02}"));
    (0..=hour).map(|hour| of(hour).map(|group| group.sums).unwrap_or_default()).collect()
}

fn spark(facts: &Facts<'_>, today: &Costs, label: String, slot: usize, value: impl Fn(&Cell) -> f64) -> Option<Spark> {
    Spark::new(label, Slot::of_rank(slot), &hours(facts, today).iter().map(value).collect::<Vec<f64>>())
}

/// What was spent a week ago until the same time of day; the hour in which that falls counts by the share that is over.
fn last_week(facts: &Facts<'_>) -> Result<Picodollars, LedgerError> {
    let zone = facts.zone();
    let then: Timestamp = match facts.now.to_zoned(zone.clone()).checked_sub(7.days()) {
        Ok(then) => then.timestamp(),
        Err(_) => return Ok(Picodollars::ZERO),
    };
    let day = Window::Day.at(then, zone);
    let range = TimeRange { from: day.start(zone).unwrap_or(then), until: day.end(zone).unwrap_or(then) };
    let costs = facts.state.ledger.costs(range, &[GroupBy::Hour])?;
    let local = zone.to_datetime(then);
    let present = format!("{}T{:02}", local.date(), local.hour());
    let sum = costs.groups.iter().filter(|group| group.name <= present).map(|group| {
        if group.name < present {
            return group.sums.cost;
        }
        Picodollars::new(group.sums.cost.get() * i128::from(local.minute()) / 60)
    });
    Ok(sum.sum())
}

fn spend(facts: &Facts<'_>) -> Kpi {
    let (id, label) = ("kpi-spend", "Spend today");
    let Ok(today) = &facts.today else { return unread(id, label) };
    let spent = today.total.cost;
    let at = facts.zone().to_datetime(facts.now);
    let then = format!("last {}, {}", at.strftime("%A"), at.strftime("%H:%M"));
    let detail = match last_week(facts) {
        Err(_) => String::new(),
        Ok(before) if before.is_zero() => format!("nothing by {then}"),
        Ok(before) => {
            let change = spent.percent_of(before) - 100.0;
            if change.abs() < 0.5 {
                format!("the same as {then}")
            } else {
                format!("{} {} {then}", percent_whole(change.abs()), if change > 0.0 { "above" } else { "below" })
            }
        }
    };
    let mut kpi = Kpi::new(id, label, (today.total.requests > 0).then(|| money(spent)), detail);
    kpi.exact = Some(format!("${spent}"));
    let mut sum = Picodollars::ZERO;
    let rising: Vec<f64> = hours(facts, today)
        .iter()
        .map(|hour| {
            sum += hour.cost;
            sum.to_dollars_f64()
        })
        .collect();
    kpi.spark = Spark::new(format!("Spend today by hour, rising to {}", money(spent)), Slot::of_rank(0), &rising);
    kpi
}

fn month(facts: &Facts<'_>) -> Kpi {
    let zone = facts.zone();
    let name = zone.to_datetime(facts.now).strftime("%B").to_string();
    let Ok(month) = &facts.month else { return Kpi { is_wide: true, ..unread("kpi-month", &name) } };
    let spent = month.total.cost;
    let window = Window::Month.at(facts.now, zone);
    let budget = facts.state.budgets.over_everything(Window::Month);
    let limit = budget.as_ref().map(|budget| budget.limit);
    let ahead = outlook(window, zone, facts.now, spent, limit);
    let mut kpi = Kpi::new("kpi-month", &name, Some(money(spent)), Phrase::default());
    kpi.is_wide = true;
    kpi.exact = Some(format!("${spent}"));
    kpi.aside = window.end(zone).map(|end| time_left(end.duration_since(facts.now).as_secs()));
    kpi.detail = match (limit, ahead.forecast) {
        (None, forecast) => {
            let forecast = forecast.filter(|forecast| !forecast.is_zero());
            let text = forecast.map_or_else(String::new, |forecast| format!("About {} by its end. ", money(forecast)));
            Phrase::new(format!("{text}No budget is set. ")).link("Set one", "/budgets/new")
        }
        (Some(_), None) => "It is too early for a forecast. The tick marks today’s share of the month.".into(),
        (Some(limit), Some(forecast)) if forecast > limit => Phrase::new("Forecast ")
            .toned(money(forecast), Tone::Warn)
            .text(format!(", {} over. The tick marks today’s share of the month.", money(forecast - limit))),
        (Some(_), Some(forecast)) => {
            Phrase::new("Forecast ").strong(money(forecast)).text(". The tick marks today’s share of the month.")
        }
    };
    if let Some(limit) = limit {
        let used = if limit.is_zero() { 100.0 } else { spent.percent_of(limit) };
        let forecast = ahead.forecast.map(|forecast| forecast.percent_of(limit));
        let words = forecast.map_or_else(String::new, |forecast| format!(", forecast {}", percent_whole(forecast)));
        let label = format!("{} of the monthly budget used{words}", percent_whole(used));
        kpi.unit = Some(format!("of {}", money_whole(limit)));
        kpi.meter = Some(Meter::budget(label, used, forecast).with_mark(ahead.elapsed_percent).sized(MeterSize::Tall));
    }
    kpi
}

fn requests(facts: &Facts<'_>) -> Kpi {
    let (id, label) = ("kpi-requests", "Requests");
    let Ok(today) = &facts.today else { return unread(id, label) };
    let total = today.total.requests;
    let mut detail = match &facts.last_hour {
        Ok(page) if page.next.is_none() => format!("{} in the last hour", count(page.items.len() as u64)),
        _ => {
            let present = hours(facts, today).last().map_or(0, |hour| hour.requests);
            format!("{} since {}", count(present), facts.zone().to_datetime(facts.now).strftime("%H:00"))
        }
    };
    if today.pending > 0 {
        detail = format!("{detail}, {} running", count(today.pending));
    }
    let mut kpi = Kpi::new(id, label, (total > 0).then(|| count(total)), detail);
    kpi.exact = Some(count_exact(total));
    kpi.spark = spark(facts, today, "Requests by hour today".to_owned(), 0, |hour| hour.requests as f64);
    kpi
}

fn rate(part: u64, whole: u64) -> f64 {
    share(part as f64, whole as f64)
}

fn errors(facts: &Facts<'_>) -> Kpi {
    let (id, label) = ("kpi-errors", "Errors");
    let Ok(today) = &facts.today else { return unread(id, label) };
    let Cell { requests, failed, unknown, .. } = today.total;
    let mut detail =
        if failed == 0 { "none failed today".to_owned() } else { format!("{} failed today", count(failed)) };
    if unknown > 0 {
        detail = format!("{detail}, {} of unknown end", count(unknown));
    }
    let mut kpi = Kpi::new(id, label, (requests > 0).then(|| percent(rate(failed, requests))), detail);
    let by_hour = |hour: &Cell| if hour.requests == 0 { 0.0 } else { rate(hour.failed, hour.requests) };
    kpi.spark = spark(facts, today, "Error rate by hour today".to_owned(), 1, by_hour);
    kpi
}

fn cache(facts: &Facts<'_>) -> Kpi {
    let (id, label) = ("kpi-cache", "Cache hit rate");
    let Ok(today) = &facts.today else { return unread(id, label) };
    let Cell { cache_hits, saved, .. } = today.total;
    let answered = today.total.answered();
    let detail = if saved.is_zero() {
        format!("{} today", counted(cache_hits, "hit", "hits"))
    } else {
        format!("saved {} today", money(saved))
    };
    let mut kpi = Kpi::new(id, label, (answered > 0).then(|| percent(rate(cache_hits, answered))), detail);
    let by_hour = |hour: &Cell| if hour.answered() == 0 { 0.0 } else { rate(hour.cache_hits, hour.answered()) };
    kpi.spark = spark(facts, today, "Cache hit rate by hour today".to_owned(), 2, by_hour);
    kpi
}

fn percentiles(values: impl Iterator<Item = u32>) -> Percentiles {
    let mut sorted: Vec<u32> = values.collect();
    sorted.sort_unstable();
    let at = |percent: usize| sorted.get(sorted.len() * percent / 100).copied();
    Percentiles { p50: at(50), p95: at(95) }
}

fn latency(facts: &Facts<'_>) -> Kpi {
    let (mut whole, mut first) = facts.state.metrics.recent();
    if whole.p50.is_none()
        && let Ok(page) = &facts.last_hour
    {
        // The process has just begun: the ledger remembers.
        whole = percentiles(page.items.iter().filter(|entry| entry.error.is_none()).map(|entry| entry.latency_ms));
        first = percentiles(page.items.iter().filter_map(|entry| entry.time_to_first_token_ms));
    }
    let text = |ms: u32| duration(Duration::from_millis(ms.into()));
    let mut detail = whole.p95.map_or_else(String::new, |p95| format!("p95 {}", text(p95)));
    if let Some(first) = first.p50 {
        detail = format!("{detail} · first token p50 {}", text(first));
    }
    let mut kpi = Kpi::new("kpi-latency", "Latency", whole.p50.map(text), detail);
    kpi.unit = whole.p50.map(|_| "p50".to_owned());
    kpi
}
