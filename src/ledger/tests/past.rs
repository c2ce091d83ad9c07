//! Calls of the past: booked once, at their own time, into every sum.

use super::*;
use crate::ledger::{GroupBy, PastCall, TakenIn, TimeRange};

const DAY_MS: i64 = 24 * HOUR_MS;

fn past(number: u64, unix_ms: i64, cost: i128) -> PastCall {
    let facts = facts_at(number, unix_ms);
    PastCall {
        id: facts.id,
        key: facts.key,
        key_name: facts.key_name,
        team: facts.team,
        operation: "import".into(),
        deployment: "openai/gpt-5".parse().unwrap(),
        status: EntryStatus::Settled,
        usage: TokenUsage { uncached_input: 7, ..TokenUsage::default() },
        cost: Picodollars::new(cost),
        basis: CostBasis::Estimated,
        latency_ms: 0,
        foreign_id: None,
        tags: vec![("import".into(), "litellm".into())],
    }
}

fn window(window: Window, unix_ms: i64) -> WindowId {
    window.at(at(unix_ms), &TimeZone::UTC)
}

fn spent(ledger: &Ledger, kind: Window, unix_ms: i64) -> i128 {
    ledger.balance(&Scope::everything(), window(kind, unix_ms)).unwrap().spent.get()
}

#[tokio::test]
async fn a_call_of_the_past_is_booked_once_into_the_windows_of_its_time() {
    let disk = Disk::default();
    let ledger = open(&disk);
    // Budgets were there before the history came: their sums are kept in memory.
    for kind in Window::ALL {
        ledger.track(Scope::everything(), window(kind, START_MS)).await.unwrap();
    }
    let mut live = ledger.subscribe();
    let calls = vec![past(1, START_MS - 2 * DAY_MS, 100), past(2, START_MS - 60_000, 10), past(3, START_MS, 1)];
    let taken = ledger.take_in(calls.clone()).await.unwrap();
    assert_eq!(taken, TakenIn { booked: 3, known: 0, differing: 0 });
    assert!(live.try_recv().is_err(), "the past is no news");
    let taken = ledger.take_in(calls.clone()).await.unwrap();
    assert_eq!(taken, TakenIn { booked: 0, known: 3, differing: 0 });
    // One call twice in one body is one call.
    let taken = ledger.take_in(vec![past(4, START_MS, 0), past(4, START_MS, 0)]).await.unwrap();
    assert_eq!(taken, TakenIn { booked: 1, known: 1, differing: 0 });
    let sums = [Window::Day, Window::Week, Window::Month, Window::Total].map(|kind| spent(&ledger, kind, START_MS));
    // The twenty-second is a Sunday: the whole of it lies in one week.
    assert_eq!(sums, [11, 111, 111, 111]);
    let range = TimeRange { from: at(START_MS - 3 * DAY_MS), until: at(START_MS + DAY_MS) };
    let costs = ledger.costs(range, &[GroupBy::Key]).unwrap();
    assert_eq!(costs.total.cost.get(), 111);
    assert_eq!(ledger.verify(None, |_| ()).unwrap().differences, []);
    ledger.stop();
    let ledger = open(&disk);
    assert_eq!(ledger.take_in(calls).await.unwrap(), TakenIn { booked: 0, known: 3, differing: 0 });
    assert_eq!(spent(&ledger, Window::Total, START_MS), 111);
}

#[tokio::test]
async fn what_is_booked_with_another_amount_or_key_is_counted_and_left() {
    let ledger = open(&Disk::default());
    let other_key = PastCall { key: KeyId::new("key_other").unwrap(), ..past(2, START_MS, 100) };
    ledger.take_in(vec![past(1, START_MS, 100), past(2, START_MS, 100), past(3, START_MS, 100)]).await.unwrap();
    let taken = ledger.take_in(vec![past(1, START_MS, 101), other_key, past(3, START_MS, 100)]).await.unwrap();
    assert_eq!(taken, TakenIn { booked: 0, known: 3, differing: 2 });
    // What it has come to cost since is no difference.
    let call = ledger.call(past(1, START_MS, 100).id).unwrap().unwrap();
    let (cause, wanted) = call.by_hand(Picodollars::new(101), true, "somebody", "an invoice", at(START_MS)).unwrap();
    ledger.adjust(cause, vec![(call.entry.facts.id, wanted)]).await.unwrap();
    for cost in [100, 101] {
        let taken = ledger.take_in(vec![past(1, START_MS, cost)]).await.unwrap();
        assert_eq!(taken, TakenIn { booked: 0, known: 1, differing: 0 });
    }
    assert_eq!(ledger.call(call.entry.facts.id).unwrap().unwrap().cost().get(), 101);
}

#[tokio::test]
async fn a_call_that_runs_is_not_booked_by_a_history_that_has_its_id() {
    let disk = Disk::default();
    let ledger = open(&disk);
    let reservation = ledger.reserve(facts(1), planned(50, Vec::new())).await.unwrap();
    let taken = ledger.take_in(vec![past(1, START_MS, 7)]).await.unwrap();
    assert_eq!(taken, TakenIn { booked: 0, known: 1, differing: 0 });
    reservation.settle(outcome(EntryStatus::Settled, Some(attempt("openai/gpt-5", 5)))).await.unwrap();
    assert_eq!(ledger.entry(facts(1).id).unwrap().unwrap().cost().get(), 5);
}
