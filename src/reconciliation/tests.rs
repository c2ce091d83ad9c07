//! Ours against theirs, on a real ledger in a temporary folder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::*;
use crate::alerts::{AlertKind, Alerts};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::domain::{CostBasis, Deployment, EntryStatus, KeyId, Picodollars, RequestIds, ServiceTier, TokenUsage};
use crate::ledger::{Acknowledge, Attempt, CallFacts, Ledger, LedgerOptions, Outcome, Planned, WorstCase};
use crate::runtime::Clock;
use crate::statements::{Charges, Days, Source, Statement, Told, Used, Uses};
use crate::store::{OpenOptions, Settings};

/// The day that is compared, and a time long after it.
const DAY: &str = "2026-11-20";
const LATER: &str = "2026-11-22T06:00:00Z";
const CONFIG: &str = "[[providers]]\nname = \"openai\"\nkind = \"openai\"\napi_key = \"sk-1\"\n\n\
     [[providers]]\nname = \"anthropic\"\nkind = \"anthropic\"\napi_key = \"sk-2\"\n";

fn day() -> Date {
    DAY.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn usd(text: &str) -> Picodollars {
    text.parse().unwrap()
}

/// A ledger, and what the provider says.
struct Fixture {
    folder: tempfile::TempDir,
    ledger: Ledger,
    ids: RequestIds,
}

/// A call that was booked.
struct Call<'a> {
    time: &'a str,
    deployment: &'a str,
    cost: &'a str,
    basis: CostBasis,
    status: EntryStatus,
}

const CALL: Call<'static> = Call {
    time: "2026-11-20T12:00:00Z",
    deployment: "openai/gpt-5-mini",
    cost: "1",
    basis: CostBasis::Exact,
    status: EntryStatus::Settled,
};

impl Fixture {
    fn new(zone: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(LedgerOptions {
            path: folder.path().join("ledger.redb"),
            zone: TimeZone::get(zone).unwrap(),
            acknowledge: Acknowledge::Durable,
        });
        Self { folder, ledger: ledger.unwrap(), ids: RequestIds::new(1) }
    }

    async fn book(&self, call: &Call<'_>) {
        let facts = CallFacts::plain(
            self.ids.next(at(call.time).as_millisecond()),
            KeyId::new("key_1").unwrap(),
            "ci".into(),
            "gpt-5-mini".parse().unwrap(),
        );
        let deployment: Deployment = call.deployment.parse().unwrap();
        let planned = Planned {
            deployment: deployment.clone(),
            worst_case: WorstCase::fixed(usd(call.cost)),
            turning: Vec::new(),
            charges: Vec::new(),
            watched: Vec::new(),
            started_ms: 0,
        };
        let reservation = self.ledger.reserve(facts, planned).await.unwrap();
        if call.status == EntryStatus::Pending {
            // It runs for as long as the test does.
            std::mem::forget(reservation);
            return;
        }
        let last = Attempt {
            usage: TokenUsage { uncached_input: 900, cache_read: 100, output: 50, ..TokenUsage::default() },
            cost: usd(call.cost),
            basis: call.basis,
            status: 200,
            ..reservation.worst_case()
        };
        let outcome = Outcome {
            status: call.status,
            error: None,
            http_status: 200,
            last: Some(last),
            latency_ms: 1,
            time_to_first_token_ms: None,
            saved: Picodollars::ZERO,
        };
        reservation.settle(outcome).await.unwrap();
    }

    /// The line of the day at `openai`, for what it says.
    fn line(&self, charges: Option<Charges>, uses: Option<Uses>) -> DayLine {
        let statement = statement(charges, uses, LATER);
        let mut lines = self.lines(vec![statement]);
        assert_eq!(lines.len(), 1);
        lines.remove(0)
    }

    fn lines(&self, statements: Vec<Statement>) -> Vec<DayLine> {
        let lists = BTreeMap::from([("openai".parse().unwrap(), "openai".to_owned())]);
        let (catalog, none) = (Catalog::builtin(), BTreeSet::new());
        Comparison::of(Days::one(day()), statements, &none, &self.ledger, &catalog, &lists).unwrap().lines
    }
}

fn statement(charges: Option<Charges>, uses: Option<Uses>, told: &str) -> Statement {
    let at = at(told);
    Statement {
        provider: "openai".parse().unwrap(),
        day: day(),
        charges: charges.map(|what| Told { at, source: Source::Api, what }),
        uses: uses.map(|what| Told { at, source: Source::Api, what }),
        is_drift_told: false,
    }
}

fn charges(lines: &[(&str, &str)]) -> Charges {
    let name = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
    lines.iter().map(|(model, amount)| (name(model), usd(amount))).collect()
}

fn uses(lines: &[(&str, ServiceTier, TokenUsage)]) -> Uses {
    let used = |usage: &TokenUsage| Used { requests: Some(1), usage: *usage };
    lines.iter().map(|(model, tier, usage)| (((*model).to_owned(), *tier), used(usage))).collect()
}

/// Model, ours, theirs with what it rests on, drift; each line of a day, the total first.
fn shown(line: &DayLine) -> Vec<String> {
    let show = |line: &Line| {
        let theirs = line.theirs.as_ref().map(|theirs| {
            let cost = theirs.cost.map_or_else(|| "-".to_owned(), |cost| cost.to_string());
            format!("{} {cost}", theirs.basis.as_str())
        });
        let drift = line.drift.map_or_else(|| "-".to_owned(), Drift::words);
        format!("{} {} | {} | {drift}", line.model, line.ours, theirs.unwrap_or_else(|| "-".to_owned()))
    };
    std::iter::once(&line.total).chain(&line.models).map(|line| show(line).trim().to_owned()).collect()
}

#[tokio::test]
async fn money_is_compared_by_model_whatever_its_dated_name() {
    let fixture = Fixture::new("UTC");
    fixture.book(&CALL).await;
    fixture.book(&Call { deployment: "openai/gpt-4o", cost: "2", ..CALL }).await;
    fixture.book(&Call { deployment: "anthropic/claude-haiku-4-5", cost: "9", ..CALL }).await;
    let line = fixture.line(
        Some(charges(&[
            ("gpt-5-mini-2025-08-07", "1"),
            ("gpt-4o-2024-11-20", "2.1"),
            ("web search tool calls", "0.01"),
        ])),
        None,
    );
    assert_eq!(
        shown(&line),
        [
            "3 | money 3.11 | −3.5%",
            "gpt-4o 2 | money 2.1 | −4.8%",
            "web search tool calls 0 | money 0.01 | −100.0%",
            "gpt-5-mini 1 | money 1 | 0.0%",
        ]
    );
    assert_eq!(line.models[0].their_models, ["gpt-4o-2024-11-20"]);
    assert!(line.is_drifting());
}

#[tokio::test]
async fn a_day_that_agrees_within_two_percent_is_no_alarm() {
    let fixture = Fixture::new("UTC");
    fixture.book(&Call { cost: "1.02", ..CALL }).await;
    let line = fixture.line(Some(charges(&[("gpt-5-mini", "1")])), None);
    assert_eq!(shown(&line)[0], "1.02 | money 1 | +2.0%");
    assert!(line.state == State::Complete && !line.is_drifting());
}

#[tokio::test]
async fn usage_alone_is_compared_at_our_prices_and_says_so() {
    let fixture = Fixture::new("UTC");
    let usage = TokenUsage { uncached_input: 900, cache_read: 100, output: 50, ..TokenUsage::default() };
    let facts = Catalog::builtin().find(&"openai".parse().unwrap(), "openai", "gpt-5-mini").unwrap();
    let billed = crate::domain::Billed::plainly(at("2026-11-20T12:00:00Z"));
    let cost = facts.prices.cost(&usage, &billed).cost;
    fixture.book(&Call { cost: &cost.to_string(), ..CALL }).await;
    let line = fixture.line(None, Some(uses(&[("gpt-5-mini-2025-08-07", ServiceTier::Default, usage)])));
    assert_eq!(
        shown(&line),
        [format!("{cost} | usage {cost} | 0.0%"), format!("gpt-5-mini {cost} | usage {cost} | 0.0%")]
    );
    let theirs = line.total.theirs.unwrap();
    assert_eq!((theirs.requests, theirs.tokens), (Some(1), Some(Tokens { input: 1_000, cached: 100, output: 50 })));
    // A day of many short calls is not priced as one long one.
    let many = TokenUsage { uncached_input: 90_000_000, ..TokenUsage::default() };
    let long = fixture.line(None, Some(uses(&[("gpt-5.4", ServiceTier::Default, many)])));
    let gpt = Catalog::builtin().find(&"openai".parse().unwrap(), "openai", "gpt-5.4").unwrap();
    let plain = gpt.prices.plain(crate::domain::PriceName::Input).unwrap().of(90_000_000);
    assert_eq!(long.total.theirs.unwrap().cost, Some(plain));
}

#[tokio::test]
async fn without_a_price_tokens_are_compared() {
    let fixture = Fixture::new("UTC");
    fixture.book(&Call { deployment: "openai/in-house-7", cost: "0", ..CALL }).await;
    let usage = TokenUsage { uncached_input: 1_000, output: 50, ..TokenUsage::default() };
    let line = fixture.line(None, Some(uses(&[("in-house-7", ServiceTier::Default, usage)])));
    assert_eq!(shown(&line), ["0 | tokens - | 0.0%", "in-house-7 0 | tokens - | 0.0%"]);
}

#[tokio::test]
async fn a_sum_without_models_is_compared_as_a_sum() {
    let fixture = Fixture::new("UTC");
    fixture.book(&CALL).await;
    let line = fixture.line(Some(charges(&[("", "1")])), None);
    assert_eq!(shown(&line), ["1 | money 1 | 0.0%", "gpt-5-mini 1 | - | -"]);
    assert!(!line.is_drifting());
}

#[tokio::test]
async fn what_only_one_side_has_is_all_drift() {
    let fixture = Fixture::new("UTC");
    fixture.book(&CALL).await;
    let ours = fixture.line(Some(charges(&[])), None);
    assert_eq!(shown(&ours)[0], "1 | money 0 | +100.0%");
    assert!(ours.is_drifting());
    let theirs = Fixture::new("UTC").line(Some(charges(&[("gpt-5-mini", "1")])), None);
    assert_eq!(shown(&theirs), ["0 | money 1 | −100.0%", "gpt-5-mini 0 | money 1 | −100.0%"]);
}

#[tokio::test]
async fn days_are_those_of_utc_in_every_zone_of_the_team() {
    for zone in ["UTC", "Asia/Seoul", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns"] {
        let fixture = Fixture::new(zone);
        for (time, cost) in [
            ("2026-11-19T23:59:59.999Z", "1000"),
            ("2026-11-20T00:00:00Z", "1"),
            ("2026-11-20T00:29:59Z", "10"),
            ("2026-11-20T23:59:59.999Z", "100"),
            ("2026-11-21T00:00:00Z", "10000"),
        ] {
            fixture.book(&Call { time, cost, ..CALL }).await;
        }
        let line = fixture.line(Some(charges(&[("gpt-5-mini", "111")])), None);
        assert_eq!(shown(&line)[0], "111 | money 111 | 0.0%", "{zone}");
    }
}

#[tokio::test]
async fn calls_that_are_not_certain_are_beside_the_day() {
    let fixture = Fixture::new("UTC");
    fixture.book(&CALL).await;
    fixture.book(&Call { basis: CostBasis::Estimated, cost: "2", ..CALL }).await;
    fixture.book(&Call { basis: CostBasis::Reserved, status: EntryStatus::Unknown, cost: "4", ..CALL }).await;
    fixture.book(&Call { status: EntryStatus::Pending, cost: "8", ..CALL }).await;
    fixture.book(&Call { time: "2026-11-21T00:00:00Z", basis: CostBasis::Estimated, ..CALL }).await;
    fixture.book(&Call { deployment: "anthropic/claude-haiku-4-5", basis: CostBasis::Estimated, ..CALL }).await;
    let doubts = fixture.line(Some(charges(&[])), None).doubts;
    assert_eq!((doubts.estimated, doubts.unknown, doubts.pending), (1, 1, 1));
    assert_eq!((doubts.estimated_cost, doubts.unknown_cost, doubts.held), (usd("2"), usd("4"), usd("8")));
}

#[tokio::test]
async fn a_day_is_complete_once_the_word_came_after_the_lag() {
    let fixture = Fixture::new("UTC");
    fixture.book(&CALL).await;
    let state = |told: &str| {
        let line = fixture.lines(vec![statement(Some(charges(&[])), None, told)]).remove(0);
        (line.state, line.is_drifting())
    };
    assert_eq!(state("2026-11-20T12:00:00Z"), (State::Provisional, false));
    assert_eq!(state("2026-11-21T05:59:59Z"), (State::Provisional, false));
    assert_eq!(state("2026-11-21T06:00:00Z"), (State::Complete, true));
    // Of two halves the older counts.
    let mut halves = statement(Some(charges(&[])), Some(uses(&[])), LATER);
    halves.uses.as_mut().unwrap().at = at("2026-11-20T12:00:00Z");
    assert_eq!(fixture.lines(vec![halves]).remove(0).state, State::Provisional);
}

impl Fixture {
    fn reconciler(&self) -> (Reconciler, Arc<Alerts>, Settings) {
        let path = self.folder.path().join("settings.redb");
        let settings = Settings::open(&OpenOptions { path, name: "settings", cache_bytes: 1 << 20 }).unwrap();
        let config = Config::from_toml(CONFIG).unwrap();
        let clock = Clock::manual(at(LATER));
        let alerts = Alerts::open(settings.clone(), &config.alerts, None, clock, TimeZone::UTC).unwrap();
        (Reconciler::open(settings.clone(), &config).unwrap(), Arc::new(alerts), settings)
    }
}

const FILE: &str = "usage_date_utc,model,cost_usd\n2026-11-20,Claude Haiku 4.5,1.00\n";

#[tokio::test]
async fn a_drift_is_told_once_for_a_provider_and_day_also_after_it_was_brought_in_again() {
    let fixture = Fixture::new("UTC");
    fixture.book(&Call { deployment: "anthropic/claude-haiku-4-5", cost: "1.05", ..CALL }).await;
    let (reconciler, alerts, settings) = fixture.reconciler();
    let catalog = Catalog::builtin();
    // Days later than alerts remember what they told.
    for now in [LATER, "2026-11-25T06:00:00Z", "2026-12-20T06:00:00Z"] {
        let imported = reconciler.import(None, FILE, at(now)).unwrap();
        assert_eq!((imported.provider.as_str(), imported.rows), ("anthropic", 1));
        let comparison = reconciler.compare(None, imported.days, &fixture.ledger, &catalog).unwrap();
        assert_eq!(comparison.drifting().count(), 1);
        reconciler.tell(&comparison, &alerts).unwrap();
    }
    drop(reconciler);
    let reopened = Reconciler::open(settings, &Config::from_toml(CONFIG).unwrap()).unwrap();
    let comparison = reopened.compare(None, Days::one(day()), &fixture.ledger, &catalog).unwrap();
    reopened.tell(&comparison, &alerts).unwrap();
    let (told, _) = alerts.page(None, 10);
    assert_eq!(told.len(), 1);
    let what = &told[0].alert.what;
    assert_eq!((what.kind, what.scope.id.as_deref()), (AlertKind::CostDrift, Some("anthropic")));
    assert!(
        what.text.contains("booked $1.05, charged $1.00 (+5.0%)") && what.text.contains("claude-haiku-4-5 +5.0%"),
        "{}",
        what.text
    );
}

#[tokio::test]
async fn what_can_not_be_brought_in_says_what_to_do() {
    let fixture = Fixture::new("UTC");
    let (reconciler, _, _) = fixture.reconciler();
    let clock = Clock::manual(at(LATER));
    let days = Days::one(day());
    let fetch = async |only| reconciler.fetch(only, days, &clock).await.unwrap_err().to_string();
    assert!(fetch(None).await.contains("admin_api_key = \"env:OPENAI_ADMIN_KEY\""));
    assert!(fetch(Some("openai")).await.contains("provider openai has no admin_api_key"));
    assert!(fetch(Some("opnai")).await.contains("there is openai, anthropic"));
    let import = |only, text| reconciler.import(only, text, at(LATER)).unwrap_err().to_string();
    assert!(import(Some("openai"), FILE).contains("this is a file of Anthropic, and provider openai is not"));
    assert!(import(None, "a,b\n1,2\n").contains("the file's columns are a, b"));
    let nothing = reconciler.compare(None, days, &fixture.ledger, &Catalog::builtin()).unwrap();
    assert!(nothing.lines.is_empty(), "nothing of a refused file was kept");
}
