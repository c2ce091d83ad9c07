//! Calls that give way, wait and take turns: clipped to what is left, in order behind others, and gone without a trace.

use std::future::{Future, pending, ready};
use std::pin::Pin;

use futures_util::poll;

use super::*;

type Reserving = Pin<Box<dyn Future<Output = Result<Reservation, LedgerError>>>>;

fn under(limit: i128) -> Vec<Charge> {
    vec![charge(&Scope::everything(), Window::Day, limit)]
}

/// A call that waits as long as it takes, and has come to where it waits.
async fn waiting(ledger: &Arc<Ledger>, number: u64, cost: i128, limit: i128) -> Reserving {
    waiting_until(ledger, number, planned(cost, under(limit)), pending()).await
}

async fn waiting_until(
    ledger: &Arc<Ledger>,
    number: u64,
    planned: Planned,
    over: impl Future<Output = ()> + 'static,
) -> Reserving {
    let ledger = Arc::clone(ledger);
    let flushing = Arc::clone(&ledger);
    let mut reserving: Reserving = Box::pin(async move { ledger.reserve_until(facts(number), planned, over).await });
    assert!(poll!(&mut reserving).is_pending());
    flushed(&flushing).await;
    reserving
}

async fn check_waits(ledger: &Ledger, reserving: &mut Reserving) {
    flushed(ledger).await;
    assert!(poll!(reserving).is_pending());
}

fn refused(result: Result<Reservation, LedgerError>) -> (i128, i128, Option<Duration>) {
    match result {
        Err(LedgerError::OverBudget { balance, asked, settles_in, .. }) => {
            (balance.held.get(), asked.get(), settles_in)
        }
        other => panic!("{other:?}"),
    }
}

fn clippable(ceiling: (i128, i128, u64, u64), charges: Vec<Charge>) -> Planned {
    let (fixed, per_token, asked, floor) = ceiling;
    let worst_case = WorstCase::line(Picodollars::new(fixed), Picodollars::new(per_token), asked, floor);
    Planned { worst_case, ..planned(0, charges) }
}

#[tokio::test]
async fn eight_calls_run_at_once_and_each_holds_what_its_cap_may_cost() {
    let ledger = open(&Disk::default());
    let mut held = Vec::new();
    for number in 0..8 {
        let planned = clippable((100, 10, 4_000, 256), under(32_000));
        let reservation = ledger.reserve(facts(number), planned).await.unwrap();
        assert_eq!(reservation.held().get(), 100 + 10 * i128::from(reservation.output_cap()));
        held.push(reservation);
    }
    let caps: Vec<u64> = held.iter().map(Reservation::output_cap).collect();
    // An eighth of 32,000 covers 390 tokens, and less from call to call, but never less than the floor.
    assert_eq!(caps, [390, 340, 296, 258, 256, 256, 256, 256]);
    let all: i128 = held.iter().map(|reservation| reservation.held().get()).sum();
    assert_eq!(balance(&ledger, &Scope::everything(), Window::Day), (0, 0, all));
    for reservation in held {
        reservation.settle(settled(1)).await.unwrap();
    }
    check_clean(&ledger);
}

#[tokio::test]
async fn the_tightest_budget_decides_how_far_a_call_is_clipped() {
    let ledger = open(&Disk::default());
    let charges = vec![
        charge(&Scope::everything(), Window::Day, 1_000_000),
        charge(&Scope::of("team", "red"), Window::Day, 8_000),
        charge(&Scope::of("tag", "env=test"), Window::Total, 90_000),
    ];
    let reservation = ledger.reserve(facts(1), clippable((0, 1, 5_000, 10), charges)).await.unwrap();
    assert_eq!((reservation.output_cap(), reservation.held().get()), (1_000, 1_000));
    assert_eq!(reservation.remaining_at(Picodollars::ZERO).unwrap().get(), 8_000);
}

#[tokio::test]
async fn a_fallback_is_clipped_anew_beside_what_the_attempt_before_may_have_cost() {
    let ledger = open(&Disk::default());
    let first = ledger.reserve(facts(1), clippable((0, 1, 2_000, 10), under(16_000))).await.unwrap();
    assert_eq!(first.output_cap(), 2_000);
    let dearer =
        Planned { deployment: "anthropic/opus".parse().unwrap(), ..clippable((0, 10, 2_000, 10), under(16_000)) };
    let renewed = ledger.renew(after(first, attempt("openai/gpt-5", 2_000)), dearer).await.unwrap();
    // An eighth of the 14,000 that are left.
    assert_eq!((renewed.output_cap(), renewed.held().get()), (175, 1_750));
    assert_eq!(balance(&ledger, &Scope::everything(), Window::Day), (0, 0, 3_750));
    renewed.settle(outcome(EntryStatus::Settled, Some(attempt("anthropic/opus", 5)))).await.unwrap();
    assert_eq!(balance(&ledger, &Scope::everything(), Window::Day), (2_005, 0, 0));
}

#[tokio::test]
async fn who_is_kept_back_by_others_alone_goes_when_they_have_settled() {
    let ledger = Arc::new(open(&Disk::default()));
    let running = ledger.reserve(facts(1), planned(80, under(100))).await.unwrap();
    let mut second = waiting(&ledger, 2, 50, 100).await;
    running.settle(settled(30)).await.unwrap();
    let second = (&mut second).await.unwrap();
    assert_eq!(balance(&ledger, &Scope::everything(), Window::Day), (30, 0, 50));
    drop(second);
}

#[tokio::test]
async fn who_would_not_fit_alone_is_told_at_once_and_who_waits_when_that_comes_out() {
    let ledger = Arc::new(open(&Disk::default()));
    let running = ledger.reserve(facts(1), planned(80, under(100))).await.unwrap();
    let never = ledger.reserve_until(facts(2), planned(101, under(100)), pending()).await;
    assert_eq!(refused(never), (80, 101, None));
    let third = waiting(&ledger, 3, 50, 100).await;
    running.settle(settled(60)).await.unwrap();
    assert_eq!(refused(third.await), (0, 50, None));
}

#[tokio::test]
async fn the_end_of_the_wait_is_a_refusal_that_says_when_enough_should_have_come_back() {
    let ledger = Arc::new(open(&Disk::default()));
    for number in 10..14 {
        let outcome = Outcome { latency_ms: 8_000, ..settled(0) };
        ledger.reserve(facts(number), planned(1, under(100))).await.unwrap().settle(outcome).await.unwrap();
    }
    let running = ledger.reserve(facts(1), planned(80, under(100))).await.unwrap();
    // 40 of the 80 that are held have to come back, and calls hold money for 8 s.
    let over = ledger.reserve_until(facts(2), planned(60, under(100)), ready(())).await;
    assert_eq!(refused(over), (80, 60, Some(Duration::from_secs(4))));
    drop(running);
}

#[tokio::test]
async fn small_calls_do_not_pass_a_large_one_that_waits() {
    let ledger = Arc::new(open(&Disk::default()));
    let one = ledger.reserve(facts(1), planned(40, under(100))).await.unwrap();
    let two = ledger.reserve(facts(2), planned(40, under(100))).await.unwrap();
    let mut large = waiting(&ledger, 3, 90, 100).await;
    let mut small = waiting(&ledger, 4, 10, 100).await;
    // Other sums are no matter of theirs.
    let elsewhere = vec![charge(&Scope::of("team", "red"), Window::Day, 100)];
    let other = ledger.reserve_until(facts(5), planned(5, elsewhere), pending()).await.unwrap();
    other.settle(settled(0)).await.unwrap();
    one.settle(settled(0)).await.unwrap();
    check_waits(&ledger, &mut large).await;
    check_waits(&ledger, &mut small).await;
    two.settle(settled(0)).await.unwrap();
    let large = large.await.unwrap();
    assert_eq!(large.held().get(), 90);
    large.settle(settled(0)).await.unwrap();
    assert_eq!(small.await.unwrap().held().get(), 10);
}

#[tokio::test]
async fn a_large_one_that_has_waited_enough_lets_those_behind_it_go() {
    let ledger = Arc::new(open(&Disk::default()));
    let running = ledger.reserve(facts(1), planned(50, under(100))).await.unwrap();
    let (over, is_over) = oneshot::channel::<()>();
    let large = waiting_until(&ledger, 2, planned(90, under(100)), async { drop(is_over.await) }).await;
    let small = waiting(&ledger, 3, 10, 100).await;
    over.send(()).unwrap();
    assert_eq!(refused(large.await).0, 50);
    assert_eq!(small.await.unwrap().held().get(), 10);
    drop(running);
}

#[tokio::test]
async fn a_caller_who_leaves_while_waiting_leaves_nothing_behind() {
    let ledger = Arc::new(open(&Disk::default()));
    let running = ledger.reserve(facts(1), planned(50, under(100))).await.unwrap();
    let left = waiting(&ledger, 2, 90, 100).await;
    let behind = waiting(&ledger, 3, 10, 100).await;
    drop(left);
    assert_eq!(behind.await.unwrap().held().get(), 10);
    assert!(ledger.entry(facts(2).id).unwrap().is_none());
    running.settle(settled(50)).await.unwrap();
    flushed(&ledger).await;
    assert_eq!(balance(&ledger, &Scope::everything(), Window::Day), (60, 10, 0));
    check_clean(&ledger);
}

#[tokio::test]
async fn a_call_that_holds_money_goes_before_those_that_hold_none() {
    let ledger = Arc::new(open(&Disk::default()));
    let one = ledger.reserve(facts(1), planned(50, under(100))).await.unwrap();
    let two = ledger.reserve(facts(2), planned(50, under(100))).await.unwrap();
    let mut newcomer = waiting(&ledger, 3, 60, 100).await;
    let going_on = Arc::clone(&ledger);
    let mut renewing = Box::pin(async move {
        going_on.renew_until(after(one, attempt("openai/gpt-5", 0)), planned(70, under(100)), pending()).await
    });
    assert!(poll!(&mut renewing).is_pending());
    flushed(&ledger).await;
    two.settle(settled(0)).await.unwrap();
    let renewed = renewing.await.map_err(|(_, error)| error).unwrap();
    assert_eq!(renewed.held().get(), 70);
    check_waits(&ledger, &mut newcomer).await;
}

#[tokio::test]
async fn a_call_that_waits_for_its_next_attempt_does_not_hold_what_the_one_before_did_not_cost() {
    let ledger = Arc::new(open(&Disk::default()));
    let one = ledger.reserve(facts(1), planned(50, under(100))).await.unwrap();
    let two = ledger.reserve(facts(2), planned(50, under(100))).await.unwrap();
    let going_on = Arc::clone(&ledger);
    let mut renewing = Box::pin(async move {
        going_on.renew_until(after(one, attempt("openai/gpt-5", 5)), planned(70, under(100)), pending()).await
    });
    assert!(poll!(&mut renewing).is_pending());
    flushed(&ledger).await;
    assert_eq!(balance(&ledger, &Scope::everything(), Window::Day), (0, 0, 55));
    let three = ledger.reserve(facts(3), planned(45, under(100))).await.unwrap();
    two.settle(settled(10)).await.unwrap();
    flushed(&ledger).await;
    assert!(poll!(&mut renewing).is_pending());
    three.settle(settled(10)).await.unwrap();
    let renewed = renewing.await.map_err(|(_, error)| error).unwrap();
    assert_eq!(renewed.held().get(), 70);
    renewed.settle(settled(10)).await.unwrap();
    check_clean(&ledger);
}

#[tokio::test]
async fn of_several_budgets_the_wait_is_for_all_at_once() {
    let ledger = Arc::new(open(&Disk::default()));
    let team = Scope::of("team", "red");
    let running = ledger.reserve(facts(1), planned(80, vec![charge(&team, Window::Day, 100)])).await.unwrap();
    let both = vec![charge(&Scope::everything(), Window::Day, 200), charge(&team, Window::Day, 100)];
    let waiting = waiting_until(&ledger, 2, planned(50, both), pending()).await;
    assert_eq!(balance(&ledger, &team, Window::Day), (0, 0, 80));
    running.settle(settled(10)).await.unwrap();
    drop(waiting.await.unwrap());
    flushed(&ledger).await;
    assert_eq!(balance(&ledger, &team, Window::Day), (60, 50, 0));
}

#[tokio::test]
async fn a_disk_that_fails_ends_the_waiting() {
    let disk = Disk::default();
    let ledger = Arc::new(open(&disk));
    let running = ledger.reserve(facts(1), planned(80, under(100))).await.unwrap();
    let waiting = waiting(&ledger, 2, 50, 100).await;
    disk.fail(1, 1);
    assert!(running.settle(settled(0)).await.is_err());
    match waiting.await {
        Err(LedgerError::Unwritable { .. }) => {}
        other => panic!("{other:?}"),
    }
    let mut trouble = ledger.watch_trouble();
    trouble.wait_for(Option::is_none).await.unwrap();
    // What was settled is booked once the disk is back, and there is room again.
    flushed(&ledger).await;
    drop(ledger.reserve(facts(3), planned(100, under(100))).await.unwrap());
}

#[tokio::test]
async fn a_budget_that_turns_is_asked_before_those_that_refuse_and_counts_what_is_held() {
    let ledger = open(&Disk::default());
    let turning = || charge(&Scope::of("team", "red"), Window::Day, 100);
    let turned =
        |cost: i128| Planned { turning: vec![turning()], watched: vec![turning()], ..planned(cost, under(50)) };
    let running = ledger.reserve(facts(1), turned(40)).await.unwrap();
    // Under the budget that blocks it would not fit either.
    let error = ledger.reserve_until(facts(2), turned(61), pending()).await.unwrap_err();
    let LedgerError::Turned { balance, asked, limit, .. } = error else { panic!("{error}") };
    assert_eq!((balance.held.get(), asked.get(), limit.get()), (40, 61, 100));
    // Whoever was sent elsewhere is held against both sums all the same.
    let elsewhere = Planned { turning: Vec::new(), ..turned(10) };
    drop(ledger.reserve(facts(2), elsewhere).await.unwrap());
    flushed(&ledger).await;
    assert_eq!(balance_of(&ledger), (10, 10, 40));
    running.settle(settled(40)).await.unwrap();
    check_clean(&ledger);
}

fn balance_of(ledger: &Ledger) -> (i128, i128, i128) {
    balance(ledger, &Scope::of("team", "red"), Window::Day)
}
