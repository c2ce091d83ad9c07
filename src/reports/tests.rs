//! Reports from a real ledger, and their wordings.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::*;
use crate::domain::{
    BudgetAction, BudgetScope, BudgetTerms, CacheOutcome, CostBasis, EntryStatus, RequestIds, TokenUsage, Window,
};
use crate::keys::{Keys, NewKey, VirtualKey};
use crate::ledger::{Acknowledge, Attempt, CallFacts, Entry, Ledger, LedgerOptions, Outcome, Planned, WorstCase};
use crate::store::{OpenOptions, Settings};

/// Thursday afternoon.
fn now() -> Timestamp {
    at("2026-11-19T14:30:00Z")
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

struct Fixture {
    _folder: tempfile::TempDir,
    ledger: Ledger,
    keys: Keys,
    ids: RequestIds,
}

/// What a booked call was.
#[derive(Clone, Copy)]
struct Call<'a> {
    at: &'a str,
    deployment: &'a str,
    cost: &'a str,
    status: EntryStatus,
    basis: CostBasis,
    error: Option<&'a str>,
    latency_ms: u32,
}

const USUAL: Call<'static> = Call {
    at: "2026-11-18T09:00:00Z",
    deployment: "openai/gpt-5",
    cost: "1.5",
    status: EntryStatus::Settled,
    basis: CostBasis::Exact,
    error: None,
    latency_ms: 900,
};

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions { path: folder.path().join("settings.redb"), name: "settings", cache_bytes: 1 << 20 };
        let keys = Keys::open(Settings::open(&options).unwrap(), &folder.path().join("pepper")).unwrap();
        let ledger = Ledger::open(LedgerOptions {
            path: folder.path().join("ledger.redb"),
            zone: TimeZone::UTC,
            acknowledge: Acknowledge::Durable,
        });
        Self { _folder: folder, ledger: ledger.unwrap(), keys, ids: RequestIds::new(7) }
    }

    fn key(&self, name: &str, team: Option<&str>) -> Arc<VirtualKey> {
        let new = NewKey { team: team.map(ToOwned::to_owned), ..NewKey::named(name) };
        self.keys.create(new, at("2026-10-01T00:00:00Z")).unwrap().0
    }

    fn budget(&self, scope: BudgetScope, window: Window, dollars: i64) {
        let terms = BudgetTerms::new(Picodollars::from_dollars(dollars), BudgetAction::Block);
        self.keys.create_budget(scope, window, terms, at("2026-10-01T00:00:00Z")).unwrap();
    }

    async fn book(&self, key: &VirtualKey, call: Call<'_>) {
        let facts = CallFacts {
            team: key.team.as_ref().map(|team| team.as_str().into()),
            cache: CacheOutcome::Miss,
            tags: vec![("env".into(), "prod".into())],
            ..CallFacts::plain(
                self.ids.next(at(call.at).as_millisecond()),
                key.id.clone(),
                key.name.as_str().into(),
                "smart".parse().unwrap(),
            )
        };
        let cost: Picodollars = call.cost.parse().unwrap();
        let planned = Planned {
            deployment: call.deployment.parse().unwrap(),
            worst_case: WorstCase::fixed(cost),
            turning: Vec::new(),
            charges: Vec::new(),
            watched: Vec::new(),
            started_ms: 2,
        };
        let reservation = self.ledger.reserve(facts, planned).await.unwrap();
        let last = Attempt {
            status: 200,
            usage: TokenUsage { uncached_input: 1_000, output: 200, ..TokenUsage::default() },
            cost,
            basis: call.basis,
            ..reservation.worst_case()
        };
        let outcome = Outcome {
            status: call.status,
            error: call.error.map(Into::into),
            http_status: 200,
            last: Some(last),
            latency_ms: call.latency_ms,
            time_to_first_token_ms: None,
            saved: Picodollars::ZERO,
        };
        reservation.settle(outcome).await.unwrap();
    }

    fn report(&self, kind: Kind, name: Option<&str>) -> Report {
        let period = Period::new(kind, name, now(), &TimeZone::UTC).unwrap();
        Report::of(period, &self.ledger, &self.keys, now()).unwrap()
    }
}

/// Two keys over two days, a provider that failed, a call of unknown end and one without a price.
async fn filled() -> Fixture {
    let fixture = Fixture::new();
    let (web, batch) = (fixture.key("web", Some("research")), fixture.key("batch|*job*", None));
    fixture.budget(BudgetScope::Everything, Window::Month, 50);
    fixture.budget(BudgetScope::Key(web.id.clone()), Window::Day, 2);
    let tag = BudgetScope::new("tag", Some("env=prod")).unwrap();
    let day = Window::Day.at(at("2026-11-18T00:00:00Z"), &TimeZone::UTC);
    fixture.ledger.track(crate::budget::scope_of(&tag), day).await.unwrap();
    fixture.budget(tag, Window::Day, 100);
    for call in [
        Call { at: "2026-11-03T10:00:00Z", cost: "20", ..USUAL },
        Call { at: "2026-11-17T10:00:00Z", cost: "4", ..USUAL },
        USUAL,
        Call { at: "2026-11-18T12:30:00Z", cost: "0.75", latency_ms: 65_000, ..USUAL },
    ] {
        fixture.book(&web, call).await;
    }
    let failed = Call { status: EntryStatus::Failed, error: Some("upstream_error"), cost: "0", ..USUAL };
    let lost =
        Call { status: EntryStatus::Unknown, error: Some("crashed"), cost: "0.5", basis: CostBasis::Reserved, ..USUAL };
    let unpriced = Call { deployment: "local/mystery_9b", cost: "0", basis: CostBasis::Unpriced, ..USUAL };
    for call in [failed, lost, unpriced, Call { deployment: "anthropic/claude-haiku-4-5", cost: "0.25", ..USUAL }] {
        fixture.book(&batch, Call { at: "2026-11-18T23:59:59Z", ..call }).await;
    }
    // Today, which yesterday's report must not see.
    fixture.book(&web, Call { at: "2026-11-19T00:00:00Z", cost: "9", ..USUAL }).await;
    fixture
}

/// Ids go by time and count, but are long: they are shortened for reading.
fn readable(markdown: &str) -> String {
    let mut text = String::new();
    for (place, part) in markdown.split("`req_").enumerate() {
        if place == 0 {
            text.push_str(part);
        } else {
            text.push_str(&format!("`req_{place}`{}", &part[27..]));
        }
    }
    text
}

#[tokio::test]
async fn a_day_is_told_in_words_and_tables() {
    let fixture = filled().await;
    let report = fixture.report(Kind::Daily, None);
    insta::assert_snapshot!(readable(&markdown::write(&report.document())), @r"
    # Tollgate, Wed 18 Nov 2026

    **$3.00 spent** on 6 requests, 25% less than the day before. 2 requests failed (33.3%, 0.0% the day before).

    ## What stood out

    - **web, daily**: its limit of $2 is used up.
    - 1 attempt had no known price, and counts as $0.00 unless priced again since: mystery\_9b.
    - 1 request is of unknown end, booked at $0.5000: all that was held, unless adjusted since.
    - Most frequent errors: crashed (1), upstream\_error (1).
    - **gpt-5** fell by 31%: $1.25 less than the day before.
    - November so far: $27.00; at this pace it comes to about $45.00.

    ## Budgets

    | Budget          | Window  |  Spent | Limit | Used | At this pace |
    | --------------- | ------- | -----: | ----: | ---: | -----------: |
    | All of Tollgate | monthly | $27.00 |   $50 |  54% | about $45.00 |
    | web             | daily   |  $2.25 |    $2 | 112% |            – |
    | env=prod        | daily   |  $3.00 |  $100 |   3% |            – |

    ## By provider

    | Provider  | Spend | Share | Change | Requests | Failed |
    | --------- | ----: | ----: | -----: | -------: | -----: |
    | openai    | $2.75 |   92% |   −31% |        4 |  50.0% |
    | anthropic | $0.25 |    8% |    new |        1 |      0 |
    | local     | $0.00 |    0% |      – |        1 |      0 |

    ## By model

    | Model            | Spend | Share | Change | Requests | Failed |
    | ---------------- | ----: | ----: | -----: | -------: | -----: |
    | gpt-5            | $2.75 |   92% |   −31% |        4 |  50.0% |
    | claude-haiku-4-5 | $0.25 |    8% |    new |        1 |      0 |
    | mystery\_9b      | $0.00 |    0% |      – |        1 |      0 |

    ## By operation

    | Operation | Spend | Share | Change | Requests | Failed |
    | --------- | ----: | ----: | -----: | -------: | -----: |
    | chat      | $3.00 |  100% |   −25% |        6 |  33.3% |

    ## By team

    | Team     | Spend | Share | Change | Requests | Failed |
    | -------- | ----: | ----: | -----: | -------: | -----: |
    | research | $2.25 |   75% |   −44% |        2 |      0 |
    | no team  | $0.75 |   25% |    new |        4 |  50.0% |

    ## By key

    | Key            | Spend | Share | Change | Requests | Failed |
    | -------------- | ----: | ----: | -----: | -------: | -----: |
    | web            | $2.25 |   75% |   −44% |        2 |      0 |
    | batch\|\*job\* | $0.75 |   25% |    new |        4 |  50.0% |

    ## Dearest calls

    | Time     | Model            | Key            |      Took |  Cost | Call                             |
    | -------- | ---------------- | -------------- | --------: | ----: | -------------------------------- |
    | 09:00:00 | gpt-5            | web            |    900 ms | $1.50 | `req_1` |
    | 12:30:00 | gpt-5            | web            | 1 min 5 s | $0.75 | `req_2` |
    | 23:59:59 | gpt-5            | batch\|\*job\* |    900 ms | $0.50 | `req_3` |
    | 23:59:59 | claude-haiku-4-5 | batch\|\*job\* |    900 ms | $0.25 | `req_4` |

    ## Slowest calls

    | Time     | Model            | Key            |      Took |  Cost | Call                             |
    | -------- | ---------------- | -------------- | --------: | ----: | -------------------------------- |
    | 12:30:00 | gpt-5            | web            | 1 min 5 s | $0.75 | `req_5` |
    | 23:59:59 | claude-haiku-4-5 | batch\|\*job\* |    900 ms | $0.25 | `req_6` |
    | 23:59:59 | mystery\_9b      | batch\|\*job\* |    900 ms | $0.00 | `req_7` |
    | 23:59:59 | gpt-5            | batch\|\*job\* |    900 ms | $0.50 | `req_8` |
    | 23:59:59 | gpt-5            | batch\|\*job\* |    900 ms | $0.00 | `req_9` |
    | 09:00:00 | gpt-5            | web            |    900 ms | $1.50 | `req_10` |

    *written 19 Nov 2026, 14:30 UTC from 6 requests*
    ");
}

#[tokio::test]
async fn a_day_is_told_in_a_few_lines() {
    let fixture = filled().await;
    insta::assert_snapshot!(fixture.report(Kind::Daily, None).summary(), @r"
    Tollgate, Wed 18 Nov 2026
    $3.00 spent on 6 requests, 25% less than the day before. 2 requests failed (33.3%, 0.0% the day before).
    Most went to gpt-5 $2.75, claude-haiku-4-5 $0.2500.
    - web, daily: its limit of $2 is used up.
    - 1 attempt had no known price, and counts as $0.00 unless priced again since: mystery_9b.
    - 1 request is of unknown end, booked at $0.5000: all that was held, unless adjusted since.
    - Most frequent errors: crashed (1), upstream_error (1).
    - gpt-5 fell by 31%: $1.25 less than the day before.
    - November so far: $27.00; at this pace it comes to about $45.00.
    ");
}

#[tokio::test]
async fn a_month_that_runs_says_where_it_leads() {
    let fixture = filled().await;
    let report = fixture.report(Kind::Monthly, Some("2026-11"));
    assert_eq!(report.total.cost, "36".parse().unwrap());
    let document = report.document();
    let lead: Vec<String> = document.lead.iter().map(Line::to_plain).collect();
    insta::assert_snapshot!(lead.join("\n"), @r"
    $36.00 spent on 9 requests, nothing the month before by this day. 2 requests failed (22.2%).
    It is not over yet: at this pace it comes to about $58.05.
    ");
    let budgets: Vec<(&str, Option<Picodollars>)> =
        report.budgets.iter().map(|budget| (budget.name.as_str(), budget.spent)).collect();
    assert_eq!(budgets, [("All of Tollgate", Some("36".parse().unwrap()))], "budgets of days are told by days");
}

#[tokio::test]
async fn a_period_without_calls_says_so() {
    let fixture = filled().await;
    let report = fixture.report(Kind::Daily, Some("2026-11-10"));
    insta::assert_snapshot!(markdown::write(&report.document()), @r"
    # Tollgate, Tue 10 Nov 2026

    **Nothing was spent**: no request came in.

    ## What stood out

    - **All of Tollgate, monthly**: at this pace it comes to about $60.00, $10.00 over its limit.
    - November so far: $20.00; at this pace it comes to about $60.00.

    ## Budgets

    | Budget          | Window  |  Spent | Limit | Used | At this pace |
    | --------------- | ------- | -----: | ----: | ---: | -----------: |
    | All of Tollgate | monthly | $20.00 |   $50 |  40% | about $60.00 |
    | web             | daily   |  $0.00 |    $2 |   0% |            – |
    | env=prod        | daily   |  $0.00 |  $100 |   0% |            – |

    *written 19 Nov 2026, 14:30 UTC from 0 requests*
    ");
    assert!(fixture.report(Kind::Monthly, None).total.requests == 0);
    assert_eq!(fixture.report(Kind::Daily, Some("2026-11-18")).total.requests, 6);
}

#[tokio::test]
async fn every_grouping_comes_to_the_total() {
    let fixture = filled().await;
    for (kind, name) in [(Kind::Daily, "2026-11-18"), (Kind::Daily, "2026-11-19"), (Kind::Monthly, "2026-11")] {
        let report = fixture.report(kind, Some(name));
        let entries: Picodollars = fixture
            .ledger
            .entries(&crate::ledger::EntryFilter::default(), None, 100)
            .unwrap()
            .items
            .iter()
            .filter(|entry| (report.period.range.from..report.period.range.until).contains(&entry.time()))
            .map(Entry::cost)
            .sum();
        assert_eq!(report.total.cost, entries, "{name}");
        for groups in [&report.providers, &report.models, &report.operations, &report.teams, &report.keys] {
            assert_eq!(groups.iter().map(|group| group.sums.cost).sum::<Picodollars>(), entries, "{name}");
            assert_eq!(groups.iter().map(|group| group.before).sum::<Picodollars>(), report.before.cost, "{name}");
        }
    }
}

#[tokio::test]
async fn json_has_the_exact_amounts_of_the_same_report() {
    let fixture = filled().await;
    let json = serde_json::to_value(fixture.report(Kind::Daily, None).json()).unwrap();
    assert_eq!(json["spentUsd"], "3");
    assert_eq!(json["before"]["spentUsd"], "4");
    assert_eq!(json["changePercent"], -25.0);
    assert_eq!(json["monthSoFar"]["spentUsd"], "27");
    assert_eq!((json["unknownUsd"].as_str(), json["unpricedAttempts"].as_u64()), (Some("0.5"), Some(1)));
    assert_eq!(json["models"][0]["name"], "gpt-5");
    assert_eq!(json["models"][0]["spentUsd"], "2.75");
    assert_eq!(json["budgets"][1]["spentUsd"], "2.25");
    assert_eq!(json["budgets"][1]["percentUsed"], 112.5);
    assert_eq!(json["slowest"][0]["latencyMs"], 65_000);
    assert_eq!(json["dearest"][0]["costUsd"], "1.5");
    assert_eq!(
        json["errors"],
        serde_json::json!([{ "code": "crashed", "requests": 1 }, { "code": "upstream_error", "requests": 1 }])
    );
    assert_eq!(json["callsLookedAtAll"], true);
}

#[tokio::test]
async fn a_budget_that_was_set_later_or_runs_shorter_is_left_out() {
    let fixture = filled().await;
    let late = BudgetTerms::new(Picodollars::from_dollars(1), BudgetAction::Alert);
    fixture.keys.create_budget(BudgetScope::Everything, Window::Day, late, at("2026-11-19T00:00:00Z")).unwrap();
    fixture.budget(BudgetScope::Everything, Window::Hour, 1);
    fixture.budget(BudgetScope::Everything, Window::Total, 1_000);
    let windows = |report: Report| report.budgets.iter().map(|budget| budget.definition.window).collect::<Vec<_>>();
    assert_eq!(windows(fixture.report(Kind::Daily, None)), [Window::Month, Window::Day, Window::Day, Window::Total]);
    assert_eq!(windows(fixture.report(Kind::Monthly, Some("2026-11"))), [Window::Month, Window::Total]);
    let total = fixture.report(Kind::Daily, None).budgets.pop().unwrap();
    assert_eq!((total.spent, total.forecast), (Some("27".parse().unwrap()), None));
}

#[test]
fn a_month_has_no_pace_where_its_day_alone_leads_beyond_it() {
    let window = Window::Month.at("2026-11-26T12:00:00Z".parse().unwrap(), &TimeZone::UTC);
    let check = |forecast: Option<i64>, day_forecast: Option<i64>, expected: Option<i64>| {
        let dollars = Picodollars::from_dollars;
        let month = MonthSoFar { window, spent: dollars(8), forecast: forecast.map(dollars) };
        let told = month.with_day(dollars(6), day_forecast.map(dollars));
        assert_eq!(told.forecast, expected.map(dollars), "{forecast:?} {day_forecast:?}");
    };
    check(Some(9), Some(12), None);
    check(Some(20), Some(12), Some(20));
    check(Some(9), None, Some(9));
    check(None, Some(12), None);
}
