//! Pages filled with made-up values whose sums add up, and with values that mean harm.

mod cache;
mod control;
mod people;
mod providers;
mod reconciliation;
mod reports;
mod request;
mod routing;
mod settings;

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::super::charts::{Bars, Chart, Column, Health, Meter, MeterSize, Phase, Series, Slot, Spark, Strip, TimeBar};
use super::super::format::{
    self, Clock, MoneyColumn, change, count, count_cell, counted, money, money_whole, percent, percent_whole, share,
    tokens,
};
use super::*;
use crate::domain::{Picodollars, Price};

pub(super) use cache::cache;
pub(super) use control::{
    alerts, budget_form, budgets, key_created, key_form, key_list, key_page, login, reset, setup, welcome,
};
pub(super) use people::{invited, people, person, team, teams};
pub(super) use providers::{providers_now, providers_page};
pub(super) use reconciliation::reconciliation;
pub(super) use reports::reports;
pub(super) use request::request;
pub(super) use settings::settings;

/// A name that runs script where it isn't escaped.
pub(super) const HOSTILE: &str = "<img src=x onerror=alert(1)>";

/// What the values are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A team in its ordinary week.
    Usual,
    /// A new install.
    Empty,
    /// Nothing could be read.
    Failed,
    /// Hostile names, huge and tiny numbers.
    Hostile,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Usual, Self::Empty, Self::Failed, Self::Hostile];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::Empty => "empty",
            Self::Failed => "failed",
            Self::Hostile => "hostile",
        }
    }

    fn name(self, usual: &str) -> String {
        if self == Self::Hostile { format!("{HOSTILE}\"'& {usual}") } else { usual.to_owned() }
    }

    /// A card that holds something only on an ordinary or a hostile day.
    fn card<T>(self, content: T, what: &str) -> Card<T> {
        match self {
            Self::Usual | Self::Hostile => Ok(content),
            Self::Empty => Err(Notice::empty(
                format!("No {what} yet"),
                "Point a client at this server and calls appear here within a second.",
                Some(Link::new("Show me how", "/welcome")),
            )),
            Self::Failed => Err(Notice::failed(
                format!("The {what} could not be loaded"),
                "The query took longer than 5 s. The rest of the page is current.",
                "/",
            )),
        }
    }
}

fn now() -> Timestamp {
    "2026-11-19T14:32:10Z".parse().unwrap()
}

fn clock() -> Clock {
    Clock::new(now(), TimeZone::UTC)
}

fn ago(seconds: i64) -> Timestamp {
    now() - seconds.seconds()
}

fn dollars(text: &str) -> Picodollars {
    text.parse().unwrap()
}

pub(super) fn layout(kind: Kind, title: &str, current: Entry) -> Layout {
    Layout {
        title: title.to_owned(),
        crumb: None,
        current: Some(current),
        theme: Theme::System,
        user: kind.name("maya"),
        csrf_token: "0123456789abcdef".to_owned(),
        version: "0.1.0".to_owned(),
        uptime: "12 d 4 h".to_owned(),
        path: "/".to_owned(),
        needs: vec![Need { entry: Entry::Budgets, count: 1, words: "1 budget is used up".to_owned(), is_alert: false }],
        events: Some("/events?topics=request,kpi"),
        reader: Reader::Admin,
    }
}

const MODELS: [(&str, &str, i64); 7] = [
    ("claude-sonnet-4-5", "anthropic", 820),
    ("gpt-4.1", "openai", 365),
    ("gpt-4.1-mini", "openai", 160),
    ("claude-haiku-4-5", "anthropic", 107),
    ("sandbox-large", "sandbox", 60),
    ("text-embedding-3-small", "openai", 22),
    ("qwen3-32b", "local-vllm", 11),
];

/// Cents-and-a-bit of a model on a day of the last thirty: less at weekends, half of today.
fn spent_on(day: i64, weight: i64, kind: Kind) -> Picodollars {
    let weekday = (day + 2).rem_euclid(7);
    let busy = if weekday >= 5 { 3 } else { 10 };
    let wave = 10 + (day * 7 + weight).rem_euclid(5);
    let today = if day == 29 { 6 } else { 10 };
    let scale: i128 = if kind == Kind::Hostile { 1_000_000_000_003 } else { 10_000_003 };
    Picodollars::new(i128::from(weight * busy * wave * today) * scale)
}

fn days() -> Vec<Column> {
    (0..30)
        .map(|day| {
            let date = now().to_zoned(TimeZone::UTC).date() - (29 - day).days();
            let title = date.strftime("%a %-d %b %Y").to_string();
            Column { is_partial: day == 29, ..Column::new(clock().day(date), title) }
        })
        .collect()
}

fn spend_chart(kind: Kind, id: &str, has_sums: bool) -> (Chart, Picodollars) {
    let series: Vec<Series<Picodollars>> = MODELS
        .iter()
        .enumerate()
        .map(|(rank, (name, _, weight))| Series {
            name: kind.name(name),
            slot: Slot::of_rank(rank),
            values: (0..30).map(|day| spent_on(day, *weight, kind)).collect(),
        })
        .collect();
    let total: Picodollars = series.iter().flat_map(|part| part.values.iter().copied()).sum();
    let bars = Bars {
        id: id.to_owned(),
        sentence: format!("Spend per day by model, 21 Oct to 19 Nov 2026. Total {}.", money(total)),
        step: "Day".to_owned(),
        height: 208,
        columns: days(),
        series,
        has_sums,
    };
    (bars.draw().unwrap(), total)
}

fn ranges(path: &str, labels: &[(&str, &str)], current: &str) -> Vec<Choice> {
    labels
        .iter()
        .map(|(value, label)| Choice {
            label: (*label).to_owned(),
            href: format!("{path}?range={value}"),
            is_current: *value == current,
        })
        .collect()
}

fn spark(label: &str, slot: usize, values: &[f64]) -> Option<Spark> {
    Spark::new(label, Slot::of_rank(slot), values)
}

const RISING: [f64; 14] = [0.1, 0.2, 0.3, 0.4, 0.6, 1.0, 2.2, 4.0, 6.1, 8.3, 10.2, 12.0, 13.0, 13.91];

fn kpis(kind: Kind) -> Vec<Kpi> {
    if matches!(kind, Kind::Empty | Kind::Failed) {
        let tile = |id: &str, label: &str| Kpi::new(id, label, None, Phrase::default());
        let mut month = tile("kpi-month", "November");
        month.is_wide = true;
        month.detail = Phrase::new("No budget is set. ").link("Set one", "/budgets/new");
        return vec![
            tile("kpi-spend", "Spend today"),
            month,
            tile("kpi-requests", "Requests"),
            tile("kpi-errors", "Errors"),
            tile("kpi-cache", "Cache hit rate"),
            tile("kpi-latency", "Latency"),
        ];
    }
    let is_hostile = kind == Kind::Hostile;
    let spend = if is_hostile { Picodollars::MAX } else { dollars("13.91") };
    let calls = if is_hostile { u64::MAX } else { 12_431 };
    let mut today = Kpi::new("kpi-spend", "Spend today", Some(money(spend)), "12% above last Thursday, 14:32");
    today.exact = Some(format!("${spend}"));
    today.spark = spark("Spend today by hour, rising to $13.91", 0, &RISING);
    let mut month = Kpi::new(
        "kpi-month",
        "November",
        Some("$333.98".to_owned()),
        Phrase::new("Forecast ")
            .toned("$538", Tone::Warn)
            .text(", $38 over. The tick marks today’s share of the month."),
    );
    month.aside = Some("11 days left".to_owned());
    month.unit = Some("of $500".to_owned());
    month.meter = Some(
        Meter::budget("67% of the monthly budget used, forecast 108%", 66.8, Some(107.6))
            .with_mark(62.0)
            .sized(MeterSize::Tall),
    );
    month.is_wide = true;
    let mut requests = Kpi::new("kpi-requests", "Requests", Some(count(calls)), "1,104 in the last hour");
    requests.exact = Some(format::count_exact(calls));
    requests.spark =
        spark("Requests by hour today", 0, &[2.0, 1.8, 1.8, 1.6, 2.0, 3.0, 5.0, 8.0, 12.0, 14.0, 15.0, 11.0]);
    let rate = if is_hostile { f64::NAN } else { 0.42 };
    let mut errors = Kpi::new("kpi-errors", "Errors", Some(percent(rate)), "52 failed, 38 of them over budget");
    errors.spark =
        spark("Error rate by hour, peak 1.4% at 13:00", 1, &[0.1, 0.1, 0.0, 0.2, 0.1, 0.3, 0.1, 0.8, 1.4, 1.0]);
    let mut cache = Kpi::new("kpi-cache", "Cache hit rate", Some(percent(31.8)), "saved $5.93 today");
    cache.spark = spark("Cache hit rate by hour", 2, &[10.0, 14.0, 8.0, 18.0, 16.0, 22.0, 26.0, 31.0, 33.0, 31.8]);
    let mut latency = Kpi::new("kpi-latency", "Latency", Some("820 ms".to_owned()), "p95 4.1 s · Tollgate adds 1.9 ms");
    latency.unit = Some("p50".to_owned());
    latency.spark =
        spark("Median latency by hour", 5, &[400.0, 500.0, 430.0, 600.0, 800.0, 700.0, 960.0, 900.0, 820.0]);
    vec![today, month, requests, errors, cache, latency]
}

struct Call(
    i64,
    u16,
    &'static str,
    &'static str,
    &'static str,
    u64,
    u64,
    u64,
    &'static str,
    Option<(&'static str, Tone)>,
);

const CALLS: [Call; 8] = [
    Call(
        3,
        200,
        "claude-sonnet-4-5",
        "openai",
        "web-app",
        4_812,
        642,
        4_310,
        "0.014389",
        Some(("Fallback", Tone::Warn)),
    ),
    Call(5, 200, "gpt-4.1", "openai", "support-bot", 1_904, 211, 1_840, "0.005496", None),
    Call(6, 200, "gpt-4.1-mini", "openai", "web-app", 2_210, 388, 6, "0", Some(("Cache hit", Tone::Accent))),
    Call(8, 200, "text-embedding-3-small", "openai", "indexer", 8_120, 0, 140, "0.0001624", None),
    Call(12, 200, "claude-sonnet-4-5", "anthropic", "ci-review", 18_430, 1_206, 11_200, "0.07338", None),
    Call(15, 429, "claude-haiku-4-5", "anthropic", "support-bot", 640, 0, 96, "0", Some(("Retried", Tone::Warn))),
    Call(19, 200, "gpt-4.1-mini", "openai", "ci-review", 3_120, 540, 1_310, "0.002112", None),
    Call(23, 504, "gpt-4.1", "openai", "ci-review", 2_204, 0, 30_000, "0", Some(("Timed out", Tone::Bad))),
];

fn rows(kind: Kind, is_log: bool) -> Vec<RequestRow> {
    CALLS
        .iter()
        .map(|Call(seconds, status, model, provider, key, input, output, ms, cost, note)| RequestRow {
            id: format!("req_0000000000000000000000{seconds:04}"),
            time: if is_log { clock().clock_time(ago(*seconds)) } else { clock().ago(ago(*seconds)) },
            status: Badge::status(*status),
            model: kind.name(model),
            provider: kind.name(provider),
            key: if kind == Kind::Hostile { "k".repeat(400) } else { (*key).to_owned() },
            team: kind.name("acme-web"),
            operation: "chat".to_owned(),
            tokens: if kind == Kind::Hostile { tokens(u64::MAX, u64::MAX) } else { tokens(*input, *output) },
            input: count_cell(*input),
            output: count_cell(*output),
            length: format::duration(Duration::from_millis(*ms)),
            cost: MoneyColumn::CALLS.cell(if kind == Kind::Hostile { Picodollars::new(40_000) } else { dollars(cost) }),
            note: note.map(|(text, tone)| match text {
                "Fallback" => Badge::new(text, tone).with_icon("undo"),
                _ => Badge::new(text, tone),
            }),
            is_fresh: false,
        })
        .collect()
}

fn strip(name: &str, failed_at: &[usize], down_from: usize) -> Strip {
    let steps = (0..32).map(|step| {
        let time = format!("{:02}:{:02}", (23 + step / 2) % 24, step % 2 * 30);
        let health = match step {
            step if step >= down_from => Health::Bad,
            step if failed_at.contains(&step) => Health::Some,
            _ => Health::Good,
        };
        let words = match health {
            Health::Bad => "all calls failed",
            Health::Some => "1 of 210 calls failed",
            Health::Good | Health::Quiet => "no failures",
        };
        (health, format!("{time}, {words}"))
    });
    Strip::new(format!("{name}: last 16 hours in half-hour steps"), steps)
}

fn providers(kind: Kind) -> ProvidersCard {
    let line = |name: &str, tone: Tone, badge: Option<&str>, summary: &str, failed: &[usize], down: usize| {
        let name = kind.name(name);
        ProviderLine {
            strip: strip(&name, failed, down),
            name,
            tone,
            badge: badge.map(|text| Badge::new(text, tone)),
            summary: summary.to_owned(),
        }
    };
    let lines = vec![
        line("anthropic", Tone::Warn, Some("Half-open"), "p95 4.6 s · 3.1% errors", &[29, 31], 99),
        line("openai", Tone::Ok, None, "p95 3.1 s · 0.4% errors", &[21, 29], 99),
        line("sandbox", Tone::Ok, None, "p95 1.6 s · 0.0% errors", &[6], 99),
        line("local-vllm", Tone::Bad, Some("Down"), "No answer for 6 min", &[], 31),
    ];
    ProvidersCard { range: "last 16 hours".to_owned(), lines: kind.card(lines, "provider"), is_update: false }
}

fn budget_lines(kind: Kind) -> BudgetsCard {
    let line = |name: &str, used: &str, limit: &str, note: &str, forecast: Option<f64>| {
        let (used, limit) = (dollars(used), dollars(limit));
        let percent = used.percent_of(limit);
        BudgetLine {
            name: kind.name(name),
            href: "/budgets/budget_1".to_owned(),
            summary: format!("{} of {}{note}", money(used), money_whole(limit)),
            meter: Meter::budget(format!("{name}: {} used", percent_whole(percent)), percent, forecast)
                .sized(MeterSize::Thin),
        }
    };
    let lines = vec![
        line("growth", "40", "40", " · refused", None),
        line("support-bot", "35.2", "40", " · 11 days left", Some(120.0)),
        line("payments-api", "73.1", "120", "", Some(95.0)),
    ];
    BudgetsCard { lines: kind.card(lines, "budget"), is_update: false }
}

pub(super) fn attention(kind: Kind) -> Attention {
    let item = |tone, text, label: &str, href: &str| AttentionItem { tone, text, action: Link::new(label, href) };
    let items = vec![
        item(
            Tone::Bad,
            Phrase::default()
                .strong(format!("{} is down.", kind.name("local-vllm")))
                .text(" No answer since 14:26. Its traffic goes to openai; nothing failed for callers."),
            "See calls",
            "/requests?provider=local-vllm",
        ),
        item(
            Tone::Warn,
            Phrase::default()
                .strong("The budget “growth” ran out at 14:12.")
                .text(" 38 calls were refused. It resets on 1 Dec."),
            "Raise or wait",
            "/budgets",
        ),
        item(
            Tone::Warn,
            Phrase::default()
                .strong("November will pass its $500 budget around 28 Nov")
                .text(" at this pace. $538 expected by month end."),
            "What changed",
            "/costs",
        ),
    ];
    Attention { items: if matches!(kind, Kind::Usual | Kind::Hostile) { items } else { vec![] }, is_update: false }
}

pub(super) fn overview(kind: Kind) -> OverviewPage {
    let (chart, total) = spend_chart(kind, "spend", true);
    OverviewPage {
        layout: layout(kind, "Overview", Entry::Overview),
        attention: attention(kind),
        kpis: kpis(kind),
        spend: SpendCard {
            summary: format!("{} in 30 days", money(total)),
            ranges: ranges("/", &[("24h", "24 h"), ("7d", "7 d"), ("30d", "30 d"), ("month", "Month")], "30d"),
            href: "/?range=30d".to_owned(),
            chart: kind.card(chart, "spend"),
        },
        requests: kind.card(rows(kind, false), "request"),
        providers: providers(kind),
        budgets: budget_lines(kind),
    }
}

pub(super) fn live_update(kind: Kind) -> LiveUpdate {
    LiveUpdate {
        kpis: kpis(kind),
        attention: Some(attention(kind)),
        providers: Some(providers(kind)),
        budgets: Some(budget_lines(kind)),
    }
    .marked()
}

pub(super) fn costs(kind: Kind) -> CostsPage {
    let (chart, total) = spend_chart(kind, "costs", false);
    let sums: Vec<Picodollars> =
        MODELS.iter().map(|(_, _, weight)| (0..30).map(|day| spent_on(day, *weight, kind)).sum()).collect();
    let column = MoneyColumn::of(sums.iter().copied());
    let each = |sum: Picodollars, calls: i64| Picodollars::new(sum.get() / i128::from(calls));
    let calls_of = |rank: usize| i64::try_from(rank + 1).unwrap() * 24_600;
    let calls: Vec<i64> = (0..MODELS.len()).map(calls_of).collect();
    let per_request = MoneyColumn::of(sums.iter().zip(&calls).map(|(sum, calls)| each(*sum, *calls)));
    let before = |rank: usize| Picodollars::new(sums[rank].get() * 100 / [109, 76, 103, 143, 98][rank % 5]);
    let row = |name: String, sub: Option<String>, rank: Option<usize>, sum: Picodollars, calls: i64| {
        let percent = share(sum.to_dollars_f64(), total.to_dollars_f64());
        let slot = rank.map(|rank| if rank < 5 { Slot::of_rank(rank) } else { Slot::OTHER });
        CostRow {
            slot,
            href: rank.map(|_| "/requests?range=30d".to_owned()),
            name,
            sub,
            spend: column.cell(sum),
            meter: slot.map(|slot| Meter::share(percent, slot)),
            share: if rank.is_some() { format::percent(percent) } else { "100%".to_owned() },
            change: change(rank.map_or_else(|| (0..MODELS.len()).map(before).sum(), before), sum),
            requests: count_cell(calls.unsigned_abs()),
            tokens: count_cell(calls.unsigned_abs() * 2_210),
            per_request: per_request.cell(each(sum, calls)),
            saved: column.cell(each(sum, 5)),
        }
    };
    let rows: Vec<CostRow> = MODELS
        .iter()
        .enumerate()
        .map(|(rank, (name, provider, _))| {
            row(kind.name(name), Some((*provider).to_owned()), Some(rank), sums[rank], calls[rank])
        })
        .collect();
    let tile = |id: &str, label: &str, value: &str, detail: &str| {
        let value = matches!(kind, Kind::Usual | Kind::Hostile).then(|| value.to_owned());
        Kpi::new(id, label, value, detail)
    };
    let table = CostTable {
        head: "Model".to_owned(),
        compared: "against the 30 days before".to_owned(),
        total: row("Total".to_owned(), None, None, total, calls.iter().sum()),
        rows,
    };
    CostsPage {
        layout: layout(kind, "Costs", Entry::Costs),
        ranges: ranges("/costs", &[("today", "Today"), ("7d", "7 d"), ("30d", "30 d"), ("month", "Month")], "30d"),
        from: "2026-10-21".to_owned(),
        to: "2026-11-19".to_owned(),
        by: "model".to_owned(),
        groupings: ["Model", "Provider", "Operation", "Key", "Team"]
            .map(|label| Choice {
                label: label.to_owned(),
                href: format!("/costs?range=30d&by={}", label.to_lowercase()),
                is_current: label == "Model",
            })
            .to_vec(),
        csv_href: "/costs.csv?range=30d&by=model".to_owned(),
        kpis: vec![
            tile("cost-total", "Spend, 30 days", &money(total), "2% below the 30 days before"),
            tile("cost-per-1k", "Cost per 1k requests", "$1.20", "down from $1.31"),
            tile("cost-cache", "Saved by the cache", "$181.20", "27% of what you would have paid"),
            tile("cost-held", "Held for running calls", &money(dollars("0.0313")), "2 calls are running"),
        ],
        chart_title: "Spend per day by model".to_owned(),
        chart_range: "21 Oct to 19 Nov · UTC days".to_owned(),
        chart: kind.card(chart, "spend"),
        table_title: "By model".to_owned(),
        table: kind.card(table, "spend"),
        price_note: Some(
            Phrase::new("Prices: built-in list of 12 Nov 2026 with 1 override in ").code("tollgate.toml").text("."),
        ),
        changed: matches!(kind, Kind::Usual | Kind::Hostile).then(|| {
            Phrase::new("gpt-4.1 fell by 24% because ")
                .strong(kind.name("support-bot"))
                .text(" moved to claude-haiku-4-5 on 2 Nov. The peak was on ")
                .link("11 Nov", "/requests?range=24h")
                .text(".")
        }),
    }
}

pub(super) fn requests(kind: Kind) -> RequestsPage {
    let minutes: Vec<Column> = (0..60)
        .map(|minute| {
            let time = format!("{:02}:{:02}", 13 + (33 + minute) / 60, (33 + minute) % 60);
            Column::new(time.clone(), time)
        })
        .collect();
    let series = |name: &str, rank: usize, step: u64, base: u64| Series {
        name: name.to_owned(),
        slot: Slot::of_rank(rank),
        values: (0..60).map(|minute| base + (minute * step) % 7 * base / 4).collect(),
    };
    let bars = Bars {
        id: "rate".to_owned(),
        sentence: "Requests per minute in the last hour, split into answered, from cache and failed.".to_owned(),
        step: "Minute".to_owned(),
        height: 84,
        columns: minutes,
        series: vec![series("OK", 0, 5, 9), series("From cache", 2, 3, 4), series("Failed", 1, 2, 1)],
        has_sums: false,
    };
    let select = |name: &'static str, label: &'static str, any: &str, values: &[&str]| Select {
        name,
        label,
        options: std::iter::once(SelectOption::new("", any, ""))
            .chain(values.iter().map(|value| SelectOption::new(value, &kind.name(value), "")))
            .collect(),
    };
    RequestsPage {
        layout: Layout { events: None, ..layout(kind, "Requests", Entry::Requests) },
        filters: Filters {
            query: if kind == Kind::Hostile { "\"><script>alert(1)</script>".to_owned() } else { String::new() },
            ranges: ranges("/requests", &[("15m", "15 min"), ("1h", "1 h"), ("24h", "24 h"), ("7d", "7 d")], "1h"),
            range: "1h".to_owned(),
            selects: vec![
                select("status", "Status", "Any status", &["settled", "failed", "pending", "unknown"]),
                select("model", "Model", "Any model", &["claude-sonnet-4-5", "gpt-4.1"]),
                select("key", "Key", "Any key", &["web-app", "support-bot"]),
                select("cache", "Cache", "Any cache", &["hit", "miss"]),
            ],
            is_narrowed: kind != Kind::Empty,
            clear_href: "/requests?range=1h".to_owned(),
            csv_href: "/costs.csv?range=1h".to_owned(),
        },
        chart_title: "Requests per minute".to_owned(),
        chart: (kind != Kind::Empty).then(|| kind.card(bars.draw().unwrap(), "chart")),
        heading: counted(if kind == Kind::Empty { 0 } else { 1_157 }, "request", "requests"),
        summary: "$4.18 · 2.1M tokens".to_owned(),
        rows: kind.card(rows(kind, true), "request"),
        pager: Pager {
            text: "1 to 8 of 1,157".to_owned(),
            newer: None,
            older: Some("/requests?range=1h&cursor=req_1".to_owned()),
        },
    }
}
