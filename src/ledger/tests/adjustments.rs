//! Adjustments: entries of their own that change every sum of the call, once, and prove like all others.

use proptest::prelude::*;

use super::*;

fn cause() -> Cause {
    Cause { kind: AdjustmentKind::ByHand, made: at(START_MS + HOUR_MS), by: "ada".into(), reason: "the invoice".into() }
}

async fn whole(ledger: &Ledger, number: u64, cost: i128) -> Result<Option<Entry>, LedgerError> {
    let calls = vec![(facts(number).id, Wanted::Whole(Picodollars::new(cost)))];
    ledger.adjust(cause(), calls).await.unwrap().remove(0)
}

/// A call of unknown end, charged at what was held for it.
async fn unknown(ledger: &Ledger, number: u64, held: i128) {
    drop(ledger.reserve(facts(number), planned(held, vec![])).await.unwrap());
    flushed(ledger).await;
}

fn cost_of(ledger: &Ledger, number: u64) -> i128 {
    ledger.call(facts(number).id).unwrap().unwrap().cost().get()
}

#[tokio::test]
async fn an_adjustment_is_an_entry_of_its_own_in_every_sum_of_the_call() {
    let disk = Disk::default();
    let ledger = open(&disk);
    let scopes =
        [Scope::everything(), Scope::of("key", "key_1"), Scope::of("provider", "openai"), Scope::of("tag", "env=test")];
    for scope in &scopes {
        ledger.track(scope.clone(), Window::Day.at(at(START_MS), &TimeZone::UTC)).await.unwrap();
    }
    unknown(&ledger, 1, 100).await;
    let booked = ledger.entry(facts(1).id).unwrap().unwrap();
    let adjustment = whole(&ledger, 1, 30).await.unwrap().unwrap();
    assert_eq!(
        (adjustment.cost().get(), adjustment.status, adjustment.basis()),
        (-70, EntryStatus::Unknown, CostBasis::Estimated)
    );
    assert_eq!(
        adjustment.adjustment.as_ref().map(|one| (one.of, &*one.by, &*one.reason)),
        Some((facts(1).id, "ada", "the invoice"))
    );
    assert_eq!(adjustment.time(), booked.time(), "it counts at the time of the call");
    assert_eq!(ledger.entry(facts(1).id).unwrap().unwrap(), booked, "the entry itself stays as it is");
    assert_eq!(ledger.entry(adjustment.facts.id).unwrap().unwrap(), adjustment);
    assert_eq!(cost_of(&ledger, 1), 30);
    for scope in &scopes {
        assert_eq!(balance(&ledger, scope, Window::Day), (30, 30, 0), "{scope:?}");
    }
    let range = TimeRange { from: at(START_MS), until: at(START_MS + 1) };
    let costs = ledger.costs(range, &[GroupBy::Model]).unwrap();
    assert_eq!((costs.total.cost.get(), costs.total.unknown_cost.get(), costs.total.requests), (30, 30, 1));
    check_clean(&ledger);
    ledger.stop();
    let ledger = open_with(&disk, TimeZone::get("Asia/Seoul").unwrap(), Acknowledge::Durable);
    check_clean(&ledger);
    assert_eq!(cost_of(&ledger, 1), 30);
}

#[tokio::test]
async fn the_same_twice_changes_nothing_and_another_amount_starts_from_the_last() {
    let ledger = open(&Disk::default());
    unknown(&ledger, 1, 100).await;
    assert!(whole(&ledger, 1, 30).await.unwrap().is_some());
    assert_eq!(whole(&ledger, 1, 30).await.unwrap(), None);
    assert_eq!(whole(&ledger, 1, 45).await.unwrap().unwrap().cost().get(), 15);
    assert_eq!(whole(&ledger, 1, 0).await.unwrap().unwrap().cost().get(), -45);
    assert_eq!(cost_of(&ledger, 1), 0);
    check_clean(&ledger);
    // Two in one transaction see each other.
    let both =
        vec![(facts(1).id, Wanted::Whole(Picodollars::new(9))), (facts(1).id, Wanted::Whole(Picodollars::new(9)))];
    let outcomes = ledger.adjust(cause(), both).await.unwrap();
    assert!(matches!(&outcomes[..], [Ok(Some(_)), Ok(None)]), "{outcomes:?}");
    assert_eq!(cost_of(&ledger, 1), 9);
}

#[tokio::test]
async fn what_is_known_least_gives_way_first_and_nothing_goes_below_zero() {
    let ledger = open(&Disk::default());
    let reservation = ledger.reserve(facts(1), planned(100, vec![])).await.unwrap();
    let ended = attempt("openai/gpt-5", 40);
    drop(ledger.renew(after(reservation, ended), planned_for("anthropic/opus", 60, vec![])).await.unwrap());
    flushed(&ledger).await;
    let costs = |ledger: &Ledger| {
        let call = ledger.call(facts(1).id).unwrap().unwrap();
        call.attempt_costs().iter().map(|cost| cost.get()).collect::<Vec<_>>()
    };
    assert_eq!(costs(&ledger), [40, 60]);
    for (cost, expected) in [(50, [40, 10]), (70, [40, 30]), (25, [25, 0]), (0, [0, 0]), (5, [0, 5])] {
        whole(&ledger, 1, cost).await.unwrap();
        assert_eq!(costs(&ledger), expected, "{cost}");
    }
    check_clean(&ledger);
}

#[tokio::test]
async fn only_what_is_not_known_exactly_is_adjusted_by_hand_and_with_a_reason() {
    let ledger = open(&Disk::default());
    unknown(&ledger, 1, 100).await;
    ledger.reserve(facts(2), planned(9, vec![])).await.unwrap().settle(settled(5)).await.unwrap();
    let call = ledger.call(facts(1).id).unwrap().unwrap();
    let check = |call: &Adjusted, cost: i128, reason: &str, expected: Option<NotAdjustable>| {
        assert_eq!(
            call.by_hand(Picodollars::new(cost), false, "ada", reason, at(START_MS)).err(),
            expected,
            "{reason:?}"
        );
    };
    check(&call, 0, "x", None);
    check(&call, 100, "x", None);
    let (cost, held) = (Picodollars::new(101), Picodollars::new(100));
    check(&call, 101, "x", Some(NotAdjustable::AboveHeld { cost, held }));
    assert!(call.by_hand(cost, true, "ada", "x", at(START_MS)).is_ok());
    check(&call, -1, "x", Some(NotAdjustable::Negative));
    for reason in ["", "  ", "a\nb", &"x".repeat(201)] {
        check(&call, 1, reason, Some(NotAdjustable::Reason));
    }
    check(&ledger.call(facts(2).id).unwrap().unwrap(), 1, "x", Some(NotAdjustable::Exact { id: facts(2).id }));
    let adjustment = whole(&ledger, 1, 30).await.unwrap().unwrap();
    let (id, of) = (adjustment.facts.id, facts(1).id);
    check(&ledger.call(id).unwrap().unwrap(), 1, "x", Some(NotAdjustable::IsAdjustment { id, of }));
    let none = ledger.adjust(cause(), vec![(id, Wanted::Whole(Picodollars::ZERO))]).await.unwrap().remove(0);
    assert!(matches!(none, Err(LedgerError::NoSuchCall { .. })), "{none:?}");
    assert!(matches!(whole(&ledger, 77, 1).await, Err(LedgerError::NoSuchCall { .. })));
    let _running = ledger.reserve(facts(300), planned(9, vec![])).await.unwrap();
    assert!(matches!(whole(&ledger, 300, 1).await, Err(LedgerError::NoSuchCall { .. })));
    check_clean(&ledger);
}

#[tokio::test]
async fn a_call_can_be_adjusted_so_often_and_no_more() {
    let ledger = open(&Disk::default());
    unknown(&ledger, 1, 100).await;
    for cost in 0..i128::from(ADJUSTMENTS_MAX) {
        whole(&ledger, 1, cost).await.unwrap().unwrap();
    }
    assert!(matches!(whole(&ledger, 1, 99).await, Err(LedgerError::TooManyAdjustments { .. })));
    assert_eq!(cost_of(&ledger, 1), i128::from(ADJUSTMENTS_MAX) - 1);
    check_clean(&ledger);
}

#[tokio::test]
async fn lists_have_adjustments_beside_their_calls_and_the_dearest_calls_have_not() {
    let ledger = open(&Disk::default());
    unknown(&ledger, 1, 100).await;
    unknown(&ledger, 5, 10).await;
    let adjustment = whole(&ledger, 1, 500).await.unwrap().unwrap();
    let listed = |filter: EntryFilter| {
        let page = ledger.entries(&filter, None, 10).unwrap();
        page.items.iter().map(|entry| entry.facts.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(EntryFilter::default()), [facts(5).id, adjustment.facts.id, facts(1).id]);
    let text = Some(facts(1).id.to_string());
    assert_eq!(listed(EntryFilter { text, ..EntryFilter::default() }), [adjustment.facts.id, facts(1).id]);
    let range = TimeRange { from: at(START_MS), until: at(START_MS + 1) };
    let dearest = ledger.extremes(range, 5).unwrap().dearest;
    assert_eq!(dearest.iter().map(|entry| entry.facts.id).collect::<Vec<_>>(), [facts(1).id, facts(5).id]);
    let (calls, next) = ledger.calls_between(facts(1).id, facts(5).id).unwrap();
    assert_eq!((calls.len(), calls[0].cost().get(), next), (1, 500, None));
}

#[tokio::test]
async fn a_failed_write_loses_no_call_and_a_repeated_adjustment_books_once() {
    for fail_at in 0..40 {
        let disk = Disk::default();
        let ledger = open(&disk);
        unknown(&ledger, 1, 100).await;
        disk.fail(fail_at, 1);
        let calls = || vec![(facts(1).id, Wanted::Whole(Picodollars::new(30)))];
        let mut is_booked = false;
        for _ in 0..50 {
            let mut trouble = ledger.watch_trouble();
            tokio::time::timeout(Duration::from_secs(20), trouble.wait_for(Option::is_none)).await.unwrap().unwrap();
            if let Ok(outcomes) = ledger.adjust(cause(), calls()).await {
                assert!(outcomes[0].is_ok());
                is_booked = true;
                break;
            }
        }
        assert!(is_booked);
        assert_eq!(cost_of(&ledger, 1), 30, "fails at {fail_at}");
        check_clean(&ledger);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_calls_and_adjustments_prove_and_come_to_what_was_wanted(
        steps in proptest::collection::vec((0..6_u64, 0..300_i128, any::<bool>(), 0..4_i64), 1..40),
    ) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            let disk = Disk::default();
            let mut ledger = open(&disk);
            let scope = Scope::everything();
            ledger.track(scope.clone(), Window::Total.at(at(START_MS), &TimeZone::UTC)).await.unwrap();
            let mut costs: std::collections::BTreeMap<u64, i128> = std::collections::BTreeMap::new();
            for (number, cost, reopens, day) in steps {
                // Ids of one call's day differ from those of another.
                let number = number * 100 + u64::try_from(day).unwrap();
                let mut facts = facts_at(number, START_MS + day * 24 * HOUR_MS);
                facts.tags = Vec::new();
                let id = facts.id;
                if let std::collections::btree_map::Entry::Vacant(place) = costs.entry(number) {
                    place.insert(cost);
                    drop(ledger.reserve(facts, planned(cost, vec![])).await.unwrap());
                    flushed(&ledger).await;
                } else {
                    let calls = vec![(id, Wanted::Whole(Picodollars::new(cost)))];
                    ledger.adjust(cause(), calls).await.unwrap().remove(0).unwrap();
                    costs.insert(number, cost);
                }
                if reopens {
                    ledger.stop();
                    ledger = open(&disk);
                }
            }
            check_clean(&ledger);
            let total: i128 = costs.values().sum();
            assert_eq!(ledger.counts().unwrap().total.cost.get(), total);
            assert_eq!(balance(&ledger, &scope, Window::Total).0, total);
        });
    }
}
