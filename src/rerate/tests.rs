use jiff::tz::TimeZone;

use super::*;
use crate::catalog::Catalog;
use crate::config::{self, Sources};
use crate::domain::{KeyId, TokenUsage};
use crate::ledger::{Acknowledge, CallFacts, LedgerOptions, Outcome, Planned, Rating, WorstCase};

/// A Sunday, 2026-11-22T12:00:00Z.
const START_MS: i64 = 1_795_348_800_000;

/// The prices in force: a call of the tests costs 0.0014 plainly and 0.0028 with priority.
const IN_FORCE: &str = r#"{"models": [
    {"id": "m", "provider": "acme", "price": {"input": "1", "output": "2"}, "priority": {"input": "2", "output": "4"}},
    {"id": "night", "provider": "acme", "price": {"input": "1", "output": "2"}},
    {"id": "m", "provider": "anthropic", "price": {"input": "1", "output": "2"}, "priority": {"input": "1", "output": "2"}}
]}"#;

/// The corrected ones: 0.004 plainly and 0.008 with priority.
const CORRECTED: &str = r#"{"models": [
    {"id": "m", "provider": "acme", "price": {"input": "3", "output": "5"}, "priority": {"input": "6", "output": "10"}},
    {"id": "m-2", "provider": "acme", "price": {"input": "10", "output": "10"}},
    {"id": "new", "provider": "acme", "price": {"input": "3", "output": "5"}},
    {"id": "night", "provider": "acme", "price": {"input": "3", "output": "5"},
     "off_peak": {"price": {"input": "1", "output": "1"}, "windows": [{"hours_utc": "00:00-06:00"}]}},
    {"id": "m", "provider": "anthropic", "price": {"input": "3", "output": "5"}, "priority": {"input": "6", "output": "10"}}
]}"#;

struct Fixture {
    _folder: tempfile::TempDir,
    ledger: Arc<Ledger>,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = LedgerOptions {
            path: folder.path().join("ledger.redb"),
            zone: TimeZone::UTC,
            acknowledge: Acknowledge::Durable,
        };
        Self { ledger: Arc::new(Ledger::open(options).unwrap()), _folder: folder }
    }

    async fn book(&self, unix_ms: i64, status: EntryStatus, last: Attempt) -> RequestId {
        let number = self.ledger.counts().unwrap().entries;
        let facts = CallFacts::plain(
            RequestId::from_number(RequestId::first_of(unix_ms).number() + u128::from(number)),
            KeyId::new("key_1").unwrap(),
            "ci".into(),
            "m".parse().unwrap(),
        );
        let id = facts.id;
        let planned = Planned {
            deployment: last.deployment.clone(),
            worst_case: WorstCase::fixed(last.cost),
            turning: Vec::new(),
            charges: Vec::new(),
            watched: Vec::new(),
            started_ms: 0,
        };
        let outcome = Outcome {
            status,
            error: None,
            http_status: 200,
            last: Some(last),
            latency_ms: 3,
            time_to_first_token_ms: None,
            saved: Picodollars::ZERO,
        };
        self.ledger.reserve(facts, planned).await.unwrap().settle(outcome).await.unwrap();
        id
    }

    fn rerating(&self, text: &str) -> Rerating {
        let in_force = Arc::new(Catalog::parse(IN_FORCE).unwrap());
        let settings = "[[providers]]\nname = \"anthropic\"\nkind = \"anthropic\"\napi_key = \"sk-ant-test\"\n";
        let sources = Sources { file: Some(("t.toml".into(), settings.to_owned())), ..Sources::none() };
        let config = config::load(&sources).unwrap();
        let upstreams = config.providers.iter().map(|provider| Arc::new(Upstream::new(provider, None)));
        let prices = Prices::read(in_force, "corrected", text).unwrap();
        Rerating::new(Arc::clone(&self.ledger), prices, upstreams.collect())
    }
}

fn all() -> (RequestId, RequestId) {
    (RequestId::from_number(0), RequestId::from_number(u128::MAX))
}

/// An attempt of 1,000 tokens in and 200 out.
fn attempt(deployment: &str, cost: &str, basis: CostBasis) -> Attempt {
    Attempt {
        deployment: deployment.parse().unwrap(),
        status: 200,
        error: None,
        usage: TokenUsage { uncached_input: 1_000, output: 200, ..TokenUsage::default() },
        cost: cost.parse().unwrap(),
        basis,
        started_ms: 0,
        latency_ms: 2,
        time_to_first_token_ms: None,
        raw_usage: Some(r#"{"prompt_tokens":1000,"completion_tokens":200}"#.into()),
        upstream_request_id: None,
        rating: None,
    }
}

fn rated(tier: ServiceTier, model: Option<&str>) -> Rating {
    let model = model.map(|model| model.parse().unwrap());
    Rating { model, tier, residency: Residency::Anywhere, fast: false }
}

/// Books one attempt and compares what it would have cost: an amount with its basis, a reason, or nothing at all.
async fn check(unix_ms: i64, attempt: Attempt, text: &str, expected: Option<Result<(&str, CostBasis), Left>>) {
    let fixture = Fixture::new();
    let what = format!("{attempt:?}");
    let status = if attempt.basis == CostBasis::Reserved { EntryStatus::Unknown } else { EntryStatus::Settled };
    let (deployment, was) = (attempt.deployment.clone(), attempt.cost);
    let id = fixture.book(unix_ms, status, attempt).await;
    let (from, until) = all();
    let rerated = fixture.rerating(text).look(from, until).unwrap();
    assert_eq!((rerated.calls, rerated.next), (1, None));
    let left = expected.and_then(Result::err).map(|left| ((deployment.clone(), left), Rest { attempts: 1, cost: was }));
    assert_eq!(rerated.left, left.into_iter().collect(), "{what}");
    let Some(Ok((would_be, basis))) = expected else {
        assert!(rerated.groups.is_empty() && rerated.wanted.is_empty(), "{what}");
        return;
    };
    let would_be: Picodollars = would_be.parse().unwrap();
    let changed = u64::from(would_be != was);
    let sums: Vec<Sums> = rerated.groups.values().copied().collect();
    assert_eq!(sums, [Sums { attempts: 1, changed, was, would_be }], "{what}");
    let wanted = (changed > 0).then(|| (id, Wanted::Attempts(vec![Some((would_be, basis))])));
    assert_eq!(rerated.wanted, wanted.into_iter().collect::<Vec<_>>(), "{what}");
}

#[tokio::test]
async fn what_decided_over_the_price_then_decides_again() {
    use CostBasis::{Estimated, Exact};
    let with = |rating, cost| Attempt { rating: Some(rating), ..attempt("acme/m", cost, Exact) };
    check(START_MS, with(rated(ServiceTier::Default, None), "0.0014"), CORRECTED, Some(Ok(("0.004", Exact)))).await;
    check(START_MS, with(rated(ServiceTier::Priority, None), "0.0028"), CORRECTED, Some(Ok(("0.008", Exact)))).await;
    check(START_MS, with(rated(ServiceTier::Default, Some("m-2")), "0.0014"), CORRECTED, Some(Ok(("0.012", Exact))))
        .await;
    // A tier that no list has stands at the plain price, as it does for calls of today.
    check(START_MS, with(rated(ServiceTier::Flex, None), "0.0014"), CORRECTED, Some(Ok(("0.004", Estimated)))).await;
    // What was estimated then has no better usage now.
    let estimated = Attempt { basis: Estimated, ..with(rated(ServiceTier::Default, None), "0.0014") };
    check(START_MS, estimated, CORRECTED, Some(Ok(("0.004", Estimated)))).await;
    // Noon and night.
    let night =
        || Attempt { rating: Some(rated(ServiceTier::Default, None)), ..attempt("acme/night", "0.0014", Exact) };
    check(START_MS, night(), CORRECTED, Some(Ok(("0.004", Exact)))).await;
    check(START_MS + 14 * 3_600_000, night(), CORRECTED, Some(Ok(("0.0012", Exact)))).await;
}

#[tokio::test]
async fn entries_that_kept_less_are_told_by_their_cost_and_a_guess_lowers_none() {
    use CostBasis::{Estimated, Exact};
    let old = |cost| attempt("acme/m", cost, Exact);
    check(START_MS, old("0.0014"), CORRECTED, Some(Ok(("0.004", Exact)))).await;
    check(START_MS, old("0.0028"), CORRECTED, Some(Ok(("0.008", Exact)))).await;
    check(START_MS, old("0.005"), CORRECTED, Some(Err(Left::NotExact))).await;
    check(START_MS, old("0.001"), CORRECTED, Some(Ok(("0.004", Estimated)))).await;
    // Anthropic says it in the usage itself, although the cost would fit the plain price too.
    let raw = r#"{"input_tokens":1000,"output_tokens":200,"service_tier":"priority"}"#;
    let anthropic = Attempt { raw_usage: Some(raw.into()), ..attempt("anthropic/m", "0.0014", Exact) };
    check(START_MS, anthropic, CORRECTED, Some(Ok(("0.008", Exact)))).await;
}

#[tokio::test]
async fn what_had_no_price_gets_one_and_the_rest_is_told_with_its_reason() {
    use CostBasis::{Estimated, Exact, Reserved, Unpriced};
    let unpriced = |deployment| attempt(deployment, "0", Unpriced);
    check(START_MS, unpriced("acme/new"), CORRECTED, Some(Ok(("0.004", Estimated)))).await;
    let rated = Attempt { rating: Some(rated(ServiceTier::Default, None)), ..unpriced("acme/new") };
    check(START_MS, rated.clone(), CORRECTED, Some(Ok(("0.004", Exact)))).await;
    check(START_MS, Attempt { raw_usage: None, ..rated }, CORRECTED, Some(Ok(("0.004", Estimated)))).await;
    check(START_MS, unpriced("acme/nobody-knows"), CORRECTED, Some(Err(Left::NoPrice))).await;
    check(START_MS, unpriced("elsewhere/m"), CORRECTED, Some(Err(Left::NoPrice))).await;
    let unread = Attempt { usage: TokenUsage::default(), ..unpriced("acme/new") };
    check(START_MS, unread, CORRECTED, Some(Err(Left::NoUsage))).await;
    check(START_MS, attempt("acme/m", "0.5", Reserved), CORRECTED, Some(Err(Left::EndNotSeen))).await;
    let refused = Attempt { usage: TokenUsage::default(), ..attempt("acme/m", "0", Exact) };
    check(START_MS, refused, CORRECTED, None).await;
}

#[tokio::test]
async fn prices_in_the_words_of_the_settings_come_before_those_in_force() {
    use CostBasis::Exact;
    let toml = "[prices.\"acme/*\"]\ninput = \"3\"\noutput = \"5\"\n";
    check(START_MS, attempt("acme/m", "0.0014", Exact), toml, Some(Ok(("0.004", Exact)))).await;
    // Single prices correct the list's: the tiers stay.
    let input = "[prices.\"acme/m\"]\noutput = \"7\"\n";
    let priority = Attempt { rating: Some(rated(ServiceTier::Priority, None)), ..attempt("acme/m", "0.0028", Exact) };
    check(START_MS, attempt("acme/m", "0.0014", Exact), input, Some(Ok(("0.0024", Exact)))).await;
    check(START_MS, priority, input, Some(Ok(("0.0028", Exact)))).await;
    // What the file doesn't have costs what it costs.
    check(START_MS, attempt("acme/night", "0.0014", Exact), input, Some(Ok(("0.0014", Exact)))).await;
}

#[test]
fn a_file_without_prices_or_with_something_else_is_refused() {
    let read = |text: &str| {
        let in_force = Arc::new(Catalog::parse(IN_FORCE).unwrap());
        Prices::read(in_force, "p.toml", text).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(read("").contains("no price"));
    assert!(read("{\"models\": 3}").contains("price list"));
    assert!(read("{\"models\": [{\"id\": \"m\"}]}").contains("models[0]"));
    assert!(read("[prices.\"acme/m\"]\ninput = 3\n").contains("prices"));
    assert!(read("[prices.\"acme/m\"]\ninput = \"-3\"\n").contains("prices"));
    assert!(read("listen = \"127.0.0.1:1\"\n[prices.\"a/b\"]\ninput = \"1\"\n").contains("listen"));
    assert!(read("not toml").contains("p.toml:1"));
}

#[tokio::test]
async fn booking_twice_changes_nothing_and_going_back_gives_all_of_it_back() {
    let fixture = Fixture::new();
    for number in 0..3 {
        fixture
            .book(START_MS + number * 86_400_000, EntryStatus::Settled, attempt("acme/m", "0.0014", CostBasis::Exact))
            .await;
    }
    let by_hand = fixture.book(START_MS, EntryStatus::Settled, attempt("acme/m", "0.001", CostBasis::Estimated)).await;
    let call = fixture.ledger.call(by_hand).unwrap().unwrap();
    let made = Timestamp::from_millisecond(START_MS + 1).unwrap();
    let (cause_by_hand, wanted) = call.by_hand("0.0009".parse().unwrap(), false, "ada", "the invoice", made).unwrap();
    fixture.ledger.adjust(cause_by_hand, vec![(by_hand, wanted)]).await.unwrap();
    let (from, until) = all();
    let total = || fixture.ledger.counts().unwrap().total.cost.to_string();
    assert_eq!(total(), "0.0051");
    let cause = cause("ada", Some("corrected.json"), made);
    for (text, expected, booked) in [(CORRECTED, "0.0129", 3), (CORRECTED, "0.0129", 0), (IN_FORCE, "0.0051", 3)] {
        let rerating = fixture.rerating(text);
        let rerated = rerating.look(from, until).unwrap();
        assert_eq!(rerated.left.keys().map(|(_, left)| *left).collect::<Vec<_>>(), [Left::ByHand]);
        assert_eq!(rerating.book(&rerated, &cause).await.unwrap().adjustments, booked);
        assert_eq!(total(), expected);
        let report = fixture.ledger.verify(None, |_| {}).unwrap();
        assert!(report.is_sound() && report.total.to_string() == expected, "{report:?}");
    }
}

#[tokio::test]
async fn a_range_is_half_open() {
    let fixture = Fixture::new();
    for number in 0..3 {
        fixture.book(START_MS + number, EntryStatus::Settled, attempt("acme/m", "0.0014", CostBasis::Exact)).await;
    }
    let rerating = fixture.rerating(CORRECTED);
    let at = |more| RequestId::first_of(START_MS + more);
    for (from, until, expected) in [(0, 3, 3), (0, 2, 2), (1, 2, 1), (2, 2, 0), (3, 1, 0)] {
        assert_eq!(rerating.look(at(from), at(until)).unwrap().calls, expected);
    }
}

#[tokio::test]
async fn each_section_of_the_file_tells_how_much_it_fits() {
    let fixture = Fixture::new();
    for model in ["anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5", "anthropic/nobodys-model"] {
        fixture.book(1_795_000_000_000, EntryStatus::Settled, attempt(model, "1", CostBasis::Estimated)).await;
    }
    let text = "[prices.\"anthropic/*\"]\ninput = \"1\"\n[prices.\"anthropic/claude-sonnet-4-5\"]\ninput = \"1\"\n\
        [prices.\"anthropic/claude-sonet\"]\ninput = \"1\"\n";
    let (from, until) = all();
    let sections = fixture.rerating(text).look(from, until).unwrap().sections;
    let expected = [("anthropic/*", 3), ("anthropic/claude-sonet", 0), ("anthropic/claude-sonnet-4-5", 2)];
    assert_eq!(sections, expected.map(|(name, attempts)| (name.to_owned(), attempts)).into());
    let listed = fixture.rerating(IN_FORCE).look(from, until).unwrap();
    assert!(listed.sections.is_empty(), "a list has far more than anybody calls");
}
