//! Two attempts of one call in flight at once: each with money of its own, both in one entry, booked once whatever happens.

use std::task::Poll;

use futures_util::poll;
use proptest::prelude::*;

use super::*;

const LIMIT: i128 = 1_000;

fn everything() -> Scope {
    Scope::everything()
}

fn under(limit: i128) -> Vec<Charge> {
    vec![charge(&everything(), Window::Day, limit)]
}

async fn first(ledger: &Ledger, number: u64, cost: i128, limit: i128) -> Reservation {
    ledger.reserve(facts(number), planned(cost, under(limit))).await.unwrap()
}

fn hedge(cost: i128, limit: i128) -> Planned {
    planned_for("anthropic/opus", cost, under(limit))
}

fn lost(deployment: &str, cost: i128) -> Attempt {
    Attempt { error: Some("cancelled".into()), basis: CostBasis::Estimated, ..attempt(deployment, cost) }
}

/// The entry's attempts: where, what it cost, on what basis, and why it failed.
fn attempts(ledger: &Ledger, number: u64) -> Vec<(String, i128, CostBasis, Option<String>)> {
    let entry = ledger.entry(facts(number).id).unwrap().unwrap();
    let told = |attempt: &Attempt| {
        let error = attempt.error.as_deref().map(ToOwned::to_owned);
        (attempt.deployment.to_string(), attempt.cost.get(), attempt.basis, error)
    };
    entry.attempts.iter().map(told).collect()
}

fn check_attempts(ledger: &Ledger, number: u64, expected: &[(&str, i128, CostBasis, Option<&str>)]) {
    let found = attempts(ledger, number);
    let found: Vec<_> = found
        .iter()
        .map(|(deployment, cost, basis, error)| (deployment.as_str(), *cost, *basis, error.as_deref()))
        .collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn both_attempts_are_held_and_the_one_that_lost_stands_before_the_one_that_answered() {
    let ledger = open(&Disk::default());
    let first = first(&ledger, 1, 50, LIMIT).await;
    let second = ledger.reserve_beside(&first, hedge(70, LIMIT)).await.unwrap();
    assert_eq!((second.held().get(), second.deployment().to_string().as_str()), (70, "anthropic/opus"));
    assert_eq!(balance(&ledger, &everything(), Window::Day), (0, 0, 120));
    ledger.end_beside(&first, lost("anthropic/opus", 4));
    flushed(&ledger).await;
    assert_eq!(balance(&ledger, &everything(), Window::Day), (0, 0, 54), "what it did not cost is free at once");
    assert_eq!(first.remaining_at(Picodollars::new(30)).unwrap().get(), LIMIT - 34);
    first.settle(settled(30)).await.unwrap();
    assert_eq!(balance(&ledger, &everything(), Window::Day), (34, 0, 0));
    check_attempts(
        &ledger,
        1,
        &[("anthropic/opus", 4, CostBasis::Estimated, Some("cancelled")), ("openai/gpt-5", 30, CostBasis::Exact, None)],
    );
    check_clean(&ledger);
}

#[tokio::test]
async fn the_second_may_answer_and_the_call_is_its_own_from_then_on() {
    let ledger = open(&Disk::default());
    let mut call = first(&ledger, 1, 50, LIMIT).await;
    let second = ledger.reserve_beside(&call, hedge(70, LIMIT)).await.unwrap();
    go_on_beside(&ledger, &mut call, second, lost("openai/gpt-5", 3));
    assert_eq!((call.held().get(), call.deployment().to_string().as_str()), (70, "anthropic/opus"));
    assert_eq!(call.remaining_at(Picodollars::new(20)).unwrap().get(), LIMIT - 23);
    flushed(&ledger).await;
    assert_eq!(balance(&ledger, &everything(), Window::Day), (0, 0, 73));
    call.settle(outcome(EntryStatus::Settled, Some(attempt("anthropic/opus", 20)))).await.unwrap();
    check_attempts(
        &ledger,
        1,
        &[("openai/gpt-5", 3, CostBasis::Estimated, Some("cancelled")), ("anthropic/opus", 20, CostBasis::Exact, None)],
    );
    assert_eq!(balance(&ledger, &everything(), Window::Day), (23, 0, 0));
    check_clean(&ledger);
}

#[tokio::test]
async fn both_may_fail_and_a_third_goes_on_after_them() {
    let ledger = open(&Disk::default());
    let mut call = first(&ledger, 1, 50, LIMIT).await;
    let second = ledger.reserve_beside(&call, hedge(70, LIMIT)).await.unwrap();
    go_on_beside(&ledger, &mut call, second, lost("openai/gpt-5", 3));
    let third = planned_for("groq/llama", 10, under(LIMIT));
    let call = ledger.renew(after(call, attempt("anthropic/opus", 5)), third).await.unwrap();
    assert_eq!(balance(&ledger, &everything(), Window::Day), (0, 0, 18));
    // And may have one beside it again.
    let fourth = ledger.reserve_beside(&call, planned_for("mistral/large", 8, under(LIMIT))).await.unwrap();
    assert_eq!(balance(&ledger, &everything(), Window::Day), (0, 0, 26));
    drop(fourth);
    ledger.end_beside(&call, lost("mistral/large", 1));
    call.settle(outcome(EntryStatus::Settled, Some(attempt("groq/llama", 9)))).await.unwrap();
    let costs: Vec<i128> = attempts(&ledger, 1).iter().map(|attempt| attempt.1).collect();
    assert_eq!(costs, [3, 5, 1, 9]);
    check_clean(&ledger);
}

/// Whether an attempt beside one that holds `cost` gets money, of a budget that has `spent` before.
async fn check_room(spent: i128, cost: i128, beside: i128, expected: bool) {
    let ledger = open(&Disk::default());
    first(&ledger, 1, spent, LIMIT).await.settle(settled(spent)).await.unwrap();
    let call = first(&ledger, 2, cost, LIMIT).await;
    let second = ledger.reserve_beside(&call, hedge(beside, LIMIT)).await;
    assert_eq!(second.is_ok(), expected, "{beside} beside {cost} after {spent}: {second:?}");
    let held = if expected { cost + beside } else { cost };
    assert_eq!(balance(&ledger, &everything(), Window::Day), (spent, 0, held));
    if expected {
        ledger.end_beside(&call, lost("anthropic/opus", beside));
    }
    call.settle(settled(cost)).await.unwrap();
    check_clean(&ledger);
}

#[tokio::test]
async fn a_second_attempt_takes_no_more_than_an_eighth_of_what_is_free_beside_the_first() {
    check_room(0, 200, 100, true).await;
    check_room(0, 200, 101, false).await;
    check_room(700, 200, 12, true).await;
    check_room(700, 200, 13, false).await;
    check_room(1, 999, 1, false).await;
    check_room(1, 999, 0, true).await;
}

#[tokio::test]
async fn a_second_attempt_is_never_clipped_and_turns_nobody() {
    let ledger = open(&Disk::default());
    let call = first(&ledger, 1, 100, LIMIT).await;
    let line = WorstCase::line(Picodollars::new(0), Picodollars::new(1), 120, 10);
    let clippable = Planned { worst_case: line, ..hedge(0, LIMIT) };
    assert!(matches!(ledger.reserve_beside(&call, clippable).await, Err(LedgerError::OverBudget { .. })));
    let turning = Planned { turning: under(200), ..hedge(101, LIMIT) };
    assert!(matches!(ledger.reserve_beside(&call, turning).await, Err(LedgerError::Turned { .. })));
    assert_eq!(balance(&ledger, &everything(), Window::Day), (0, 0, 100));
    call.settle(settled(1)).await.unwrap();
    check_clean(&ledger);
}

#[tokio::test]
async fn a_second_attempt_is_held_under_the_budgets_of_its_own_deployment_too() {
    let ledger = open(&Disk::default());
    let (anthropic, openai) = (Scope::of("provider", "anthropic"), Scope::of("provider", "openai"));
    let charges = |scope: &Scope, limit| vec![charge(scope, Window::Day, limit)];
    let call = ledger.reserve(facts(1), planned(50, charges(&openai, 100))).await.unwrap();
    let wide = planned_for("anthropic/opus", 30, charges(&anthropic, 239));
    assert!(ledger.reserve_beside(&call, wide).await.is_err());
    let fits = planned_for("anthropic/opus", 30, charges(&anthropic, 240));
    let second = ledger.reserve_beside(&call, fits).await.unwrap();
    assert_eq!(balance(&ledger, &openai, Window::Day), (0, 0, 50));
    assert_eq!(balance(&ledger, &anthropic, Window::Day), (0, 0, 30));
    drop(second);
    ledger.end_beside(&call, lost("anthropic/opus", 2));
    call.settle(settled(5)).await.unwrap();
    assert_eq!(balance(&ledger, &openai, Window::Day), (5, 0, 0));
    assert_eq!(balance(&ledger, &anthropic, Window::Day), (2, 0, 0));
    check_clean(&ledger);
}

#[tokio::test]
async fn what_is_left_is_told_of_each_budget_beside_what_the_call_costs_under_it() {
    let ledger = open(&Disk::default());
    let (anthropic, openai) = (Scope::of("provider", "anthropic"), Scope::of("provider", "openai"));
    let charges = |scope: &Scope, limit| vec![charge(scope, Window::Day, limit), under(LIMIT).remove(0)];
    let mut call = ledger.reserve(facts(1), planned(50, charges(&openai, 100))).await.unwrap();
    let second = planned_for("anthropic/opus", 30, charges(&anthropic, 300));
    let second = ledger.reserve_beside(&call, second).await.unwrap();
    let left = |call: &Reservation, cost| call.remaining_at(Picodollars::new(cost)).unwrap().get();
    assert_eq!(left(&call, 50), 50, "the second is no call of openai's");
    go_on_beside(&ledger, &mut call, second, lost("openai/gpt-5", 45));
    assert_eq!(left(&call, 20), 280, "the first is none of anthropic's");
    call.end(attempt("anthropic/opus", 20));
    let third = planned_for("openai/gpt-5-mini", 10, charges(&openai, 100));
    let call = ledger.renew(call, third).await.unwrap();
    assert_eq!(left(&call, 10), 45, "with the first, which was");
    let all = under(130);
    let fourth = ledger.renew(after(call, attempt("openai/gpt-5-mini", 10)), planned(10, all)).await.unwrap();
    assert_eq!(left(&fourth, 10), 45, "every attempt counts under what is over all");
}

#[tokio::test]
async fn money_that_another_call_waits_for_is_not_taken() {
    let ledger = open(&Disk::default());
    let call = first(&ledger, 1, 600, LIMIT).await;
    let mut waiting =
        Box::pin(ledger.reserve_until(facts(2), planned(500, under(LIMIT)), std::future::pending::<()>()));
    assert!(poll!(&mut waiting).is_pending());
    flushed(&ledger).await;
    assert!(matches!(ledger.reserve_beside(&call, hedge(1, LIMIT)).await, Err(LedgerError::OverBudget { .. })));
    call.settle(settled(1)).await.unwrap();
    waiting.await.unwrap().settle(settled(1)).await.unwrap();
    check_clean(&ledger);
}

#[tokio::test]
async fn what_is_dropped_before_it_is_decided_leaves_nothing_held() {
    let ledger = open(&Disk::default());
    let call = first(&ledger, 1, 50, LIMIT).await;
    let mut attempts = Vec::new();
    for _ in 0..20 {
        let mut reserving = Box::pin(ledger.reserve_beside(&call, hedge(70, LIMIT)));
        let decided = poll!(&mut reserving);
        drop(reserving);
        match decided {
            Poll::Pending => ledger.forget_beside(&call),
            // Seldom as soon: then it is there, and has to be ended.
            Poll::Ready(hold) => {
                ledger.end_beside(&call, hold.unwrap().nothing_sent());
                attempts.push(("anthropic/opus", 0, CostBasis::Exact, None));
            }
        }
    }
    flushed(&ledger).await;
    assert_eq!(balance(&ledger, &everything(), Window::Day), (0, 0, 50));
    call.settle(settled(7)).await.unwrap();
    attempts.push(("openai/gpt-5", 7, CostBasis::Exact, None));
    check_attempts(&ledger, 1, &attempts);
    check_clean(&ledger);
}

#[tokio::test]
async fn a_task_that_dies_with_both_in_flight_leaves_both_charged_at_what_was_held() {
    let ledger = open(&Disk::default());
    let call = first(&ledger, 1, 50, LIMIT).await;
    let second = ledger.reserve_beside(&call, hedge(70, LIMIT)).await.unwrap();
    drop((second, call));
    flushed(&ledger).await;
    check_attempts(
        &ledger,
        1,
        &[
            ("anthropic/opus", 70, CostBasis::Reserved, Some("abandoned")),
            ("openai/gpt-5", 50, CostBasis::Reserved, Some("abandoned")),
        ],
    );
    assert_eq!(balance(&ledger, &everything(), Window::Day), (120, 120, 0));
    check_clean(&ledger);
}

#[tokio::test]
async fn a_power_cut_with_both_in_flight_books_both_at_what_was_held_and_what_had_ended_at_its_cost() {
    let disk = Disk::default();
    let ledger = open(&disk);
    let both = first(&ledger, 1, 50, LIMIT).await;
    let second = ledger.reserve_beside(&both, hedge(70, LIMIT)).await.unwrap();
    let one = first(&ledger, 2, 60, LIMIT).await;
    let lost_one = ledger.reserve_beside(&one, hedge(80, LIMIT)).await.unwrap();
    ledger.end_beside(&one, lost("anthropic/opus", 6));
    flushed(&ledger).await;
    let crashed = disk.after_power_cut(3);
    drop((both, second, one, lost_one));
    let ledger = open(&crashed);
    check_attempts(
        &ledger,
        1,
        &[
            ("openai/gpt-5", 50, CostBasis::Reserved, Some("crashed")),
            ("anthropic/opus", 70, CostBasis::Reserved, Some("crashed")),
        ],
    );
    check_attempts(
        &ledger,
        2,
        &[
            ("anthropic/opus", 6, CostBasis::Estimated, Some("cancelled")),
            ("openai/gpt-5", 60, CostBasis::Reserved, Some("crashed")),
        ],
    );
    assert_eq!(balance(&ledger, &everything(), Window::Day), (186, 186, 0));
    check_clean(&ledger);
}

/// Which attempt of a call is told to have been made beside another, after how long, and whether it answered.
fn check_hedge(attempts: &[(u32, u32, Option<&str>)], expected: Option<(usize, u32, bool)>) {
    let mut entry = crate::ledger::tables::tests::entry(1, 5);
    let one = |(started_ms, latency_ms, error): &(u32, u32, Option<&str>)| Attempt {
        started_ms: *started_ms,
        latency_ms: *latency_ms,
        error: error.map(Into::into),
        basis: if *error == Some("crashed") { CostBasis::Reserved } else { CostBasis::Exact },
        time_to_first_token_ms: None,
        ..attempt("openai/gpt-5", 5)
    };
    entry.attempts = attempts.iter().map(one).collect();
    let hedge = entry.hedge().map(|hedge| (hedge.place, hedge.after_ms, hedge.won));
    assert_eq!(hedge, expected, "{attempts:?}");
}

#[test]
fn attempts_that_ran_at_once_are_told_from_those_that_followed() {
    check_hedge(&[], None);
    check_hedge(&[(2, 900, None)], None);
    check_hedge(&[(2, 900, Some("upstream_error")), (902, 50, None)], None);
    check_hedge(&[(2, 0, Some("upstream_connect")), (2, 50, None)], None);
    check_hedge(&[(2, 900, Some("cancelled")), (800, 102, None)], Some((1, 798, true)));
    check_hedge(&[(800, 102, Some("cancelled")), (2, 900, None)], Some((0, 798, false)));
    check_hedge(&[(2, 900, Some("upstream_error")), (800, 400, Some("upstream_error"))], Some((1, 798, false)));
    check_hedge(&[(2, 10, Some("timeout_idle")), (20, 900, Some("cancelled")), (700, 300, None)], Some((2, 680, true)));
    // What took less than its time was measured to.
    check_hedge(&[(2, 700, Some("cancelled")), (702, 0, None)], Some((1, 700, true)));
    // Ends that nobody saw.
    check_hedge(&[(2, 0, Some("crashed"))], None);
    check_hedge(&[(2, 10, Some("upstream_error")), (12, 0, Some("crashed"))], None);
    check_hedge(&[(2, 0, Some("crashed")), (800, 0, Some("crashed"))], Some((1, 798, false)));
}

#[derive(Clone, Copy, Debug)]
enum Way {
    FirstWins,
    SecondWins,
    BothDie,
    Untold,
}

fn ways() -> impl Strategy<Value = (i128, i128, i128, i128, Way)> {
    let way = prop_oneof![Just(Way::FirstWins), Just(Way::SecondWins), Just(Way::BothDie), Just(Way::Untold)];
    (1..200_i128, 0..100_i128, 0..=100_i128, 0..=100_i128, way)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Calls come one after the other, each with another beside it where there is room: no sum is ever over its limit, and all
    /// that was told is what is booked.
    #[test]
    fn no_hedge_takes_a_budget_over_its_limit(calls in proptest::collection::vec(ways(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let ledger = open(&Disk::default());
            let mut booked = 0;
            let within = |ledger: &Ledger| {
                let (spent, _, held) = balance(ledger, &everything(), Window::Day);
                assert!(spent + held <= LIMIT, "{spent} spent, {held} held");
            };
            ledger.track(everything(), Window::Day.at(at(START_MS), ledger.zone())).await.unwrap();
            for (number, (cost, beside, cost_percent, beside_percent, way)) in calls.into_iter().enumerate() {
                let call = ledger.reserve(facts(number as u64), planned(cost, under(LIMIT))).await;
                within(&ledger);
                let Ok(mut call) = call else { continue };
                let second = ledger.reserve_beside(&call, hedge(beside, LIMIT)).await;
                within(&ledger);
                let (cost_told, beside_told) = (cost * cost_percent / 100, beside * beside_percent / 100);
                match (second, way) {
                    (Err(_), _) => {
                        booked += cost_told;
                        call.settle(settled(cost_told)).await.unwrap();
                    }
                    (Ok(_), Way::FirstWins) => {
                        ledger.end_beside(&call, lost("anthropic/opus", beside_told));
                        within(&ledger);
                        booked += cost_told + beside_told;
                        call.settle(settled(cost_told)).await.unwrap();
                    }
                    (Ok(second), Way::SecondWins) => {
                        go_on_beside(&ledger, &mut call, second, lost("openai/gpt-5", cost_told));
                        within(&ledger);
                        booked += cost_told + beside_told;
                        let last = attempt("anthropic/opus", beside_told);
                        call.settle(outcome(EntryStatus::Settled, Some(last))).await.unwrap();
                    }
                    (Ok(_), Way::BothDie) => {
                        booked += cost + beside;
                        drop(call);
                    }
                    (Ok(_), Way::Untold) => {
                        booked += cost_told + beside;
                        call.settle(settled(cost_told)).await.unwrap();
                    }
                }
                flushed(&ledger).await;
                within(&ledger);
                assert_eq!(balance(&ledger, &everything(), Window::Day).0, booked);
            }
            check_clean(&ledger);
            assert_eq!(balance(&ledger, &everything(), Window::Day).2, 0);
        });
    }
}
