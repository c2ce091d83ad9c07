//! One call after the other: held, booked, given up, found again.

use super::*;

fn everything() -> Scope {
    Scope::everything()
}

async fn reserve(ledger: &Ledger, number: u64, ceiling: i128, limit: i128) -> Result<Reservation, LedgerError> {
    ledger.reserve(facts(number), planned(ceiling, vec![charge(&everything(), Window::Day, limit)])).await
}

fn entry(ledger: &Ledger, number: u64) -> Entry {
    ledger.entry(facts(number).id).unwrap().expect("the call is in the ledger")
}

/// Status and cost of a call, and the balance of the day.
#[track_caller]
fn check(ledger: &Ledger, number: u64, status: EntryStatus, cost: i128, day: (i128, i128, i128)) {
    let entry = entry(ledger, number);
    assert_eq!((entry.status, entry.cost().get()), (status, cost));
    assert_eq!(balance(ledger, &everything(), Window::Day), day, "spent, unknown, held");
    check_clean(ledger);
}

#[tokio::test]
async fn a_settled_call_is_booked_exactly_once_and_survives_reopening() {
    let disk = Disk::default();
    let ledger = open(&disk);
    let reservation = reserve(&ledger, 1, 100, 100).await.unwrap();
    check(&ledger, 1, EntryStatus::Pending, 100, (0, 0, 100));
    assert_eq!(entry(&ledger, 1).reserved.get(), 100);
    reservation.settle(settled(40)).await.unwrap();
    check(&ledger, 1, EntryStatus::Settled, 40, (40, 0, 0));
    let before = entry(&ledger, 1);
    ledger.stop();
    let ledger = open(&disk);
    check(&ledger, 1, EntryStatus::Settled, 40, (40, 0, 0));
    assert_eq!(entry(&ledger, 1), before);
    assert_eq!(ledger.running().unwrap(), []);
}

#[tokio::test]
async fn a_call_that_cost_more_than_was_held_is_booked_as_it_was() {
    let ledger = open(&Disk::default());
    reserve(&ledger, 1, 10, 100).await.unwrap().settle(settled(150)).await.unwrap();
    check(&ledger, 1, EntryStatus::Settled, 150, (150, 0, 0));
    assert!(matches!(reserve(&ledger, 2, 1, 100).await, Err(LedgerError::OverBudget { .. })));
}

#[tokio::test]
async fn a_negative_cost_moves_no_money_back() {
    let ledger = open(&Disk::default());
    reserve(&ledger, 1, 10, 100).await.unwrap().settle(settled(-150)).await.unwrap();
    check(&ledger, 1, EntryStatus::Settled, 0, (0, 0, 0));
}

#[tokio::test]
async fn a_refusal_leaves_nothing_held_and_no_entry() {
    let ledger = open(&Disk::default());
    let first = reserve(&ledger, 1, 60, 100).await.unwrap();
    let error = reserve(&ledger, 2, 50, 100).await.unwrap_err();
    let LedgerError::OverBudget { balance, limit, asked, .. } = error else { panic!("{error}") };
    assert_eq!((balance.held.get(), limit.get(), asked.get()), (60, 100, 50));
    assert_eq!(ledger.entry(facts(2).id).unwrap(), None);
    check(&ledger, 1, EntryStatus::Pending, 60, (0, 0, 60));
    drop(reserve(&ledger, 3, 40, 100).await.unwrap());
    first.settle(settled(60)).await.unwrap();
}

#[tokio::test]
async fn of_several_budgets_all_are_taken_or_none() {
    let ledger = open(&Disk::default());
    let charges = |key: i128| {
        vec![charge(&everything(), Window::Month, 1_000), charge(&Scope::of("key", "key_1"), Window::Day, key)]
    };
    assert!(ledger.reserve(facts(1), planned(50, charges(49))).await.is_err());
    assert_eq!(balance(&ledger, &everything(), Window::Month), (0, 0, 0));
    let reservation = ledger.reserve(facts(2), planned(50, charges(50))).await.unwrap();
    assert_eq!(balance(&ledger, &everything(), Window::Month), (0, 0, 50));
    assert_eq!(balance(&ledger, &Scope::of("key", "key_1"), Window::Day), (0, 0, 50));
    reservation.settle(settled(50)).await.unwrap();
    check_clean(&ledger);
}

#[tokio::test]
async fn a_renewal_keeps_what_the_first_attempt_cost() {
    let ledger = open(&Disk::default());
    let reservation = reserve(&ledger, 1, 50, 100).await.unwrap();
    let next = planned_for("anthropic/opus", 70, vec![charge(&everything(), Window::Day, 100)]);
    let reservation = ledger.renew(after(reservation, attempt("openai/gpt-5", 30)), next).await.unwrap();
    assert_eq!((reservation.held().get(), reservation.deployment().to_string().as_str()), (70, "anthropic/opus"));
    check(&ledger, 1, EntryStatus::Pending, 100, (0, 0, 100));
    let last = attempt("anthropic/opus", 5);
    reservation.settle(outcome(EntryStatus::Settled, Some(last))).await.unwrap();
    check(&ledger, 1, EntryStatus::Settled, 35, (35, 0, 0));
    let costs: Vec<i128> = entry(&ledger, 1).attempts.iter().map(|attempt| attempt.cost.get()).collect();
    assert_eq!(costs, [30, 5]);
}

#[tokio::test]
async fn a_refused_renewal_gives_back_at_once_what_the_attempt_before_did_not_cost() {
    let ledger = open(&Disk::default());
    let reservation = reserve(&ledger, 1, 50, 100).await.unwrap();
    let next = planned_for("anthropic/opus", 71, vec![charge(&everything(), Window::Day, 100)]);
    let ended = attempt("openai/gpt-5", 30);
    let (reservation, error) = ledger.renew(after(reservation, ended.clone()), next).await.unwrap_err();
    assert!(matches!(error, LedgerError::OverBudget { .. }), "{error}");
    flushed(&ledger).await;
    check(&ledger, 1, EntryStatus::Pending, 30, (0, 0, 30));
    reservation.settle(outcome(EntryStatus::Failed, Some(ended))).await.unwrap();
    check(&ledger, 1, EntryStatus::Failed, 30, (30, 0, 0));
    assert_eq!(entry(&ledger, 1).attempts.len(), 1);
}

#[tokio::test]
async fn what_an_ended_attempt_did_not_cost_is_given_back_where_its_call_waits() {
    let disk = Disk::default();
    let ledger = open(&disk);
    let mut reservation = reserve(&ledger, 1, 50, 100).await.unwrap();
    reservation.end(attempt("openai/gpt-5", 30));
    ledger.give_back(&reservation);
    flushed(&ledger).await;
    check(&ledger, 1, EntryStatus::Pending, 30, (0, 0, 30));
    let crashed = open(&disk.after_power_cut(1));
    assert_eq!(entry(&crashed, 1).cost().get(), 30, "a crash finds it at what it cost");
    drop(reservation);
    flushed(&ledger).await;
    check(&ledger, 1, EntryStatus::Settled, 30, (30, 0, 0));
    assert_eq!(entry(&ledger, 1).attempts, [attempt("openai/gpt-5", 30)]);
}

#[tokio::test]
async fn a_call_given_up_after_an_attempt_whose_end_nobody_saw_is_unknown() {
    let ledger = open(&Disk::default());
    let mut reservation = reserve(&ledger, 1, 50, 100).await.unwrap();
    let lost = Attempt { error: Some("upstream_lost".into()), ..reservation.worst_case() };
    reservation.end(lost);
    let next = planned_for("anthropic/opus", 50, vec![]);
    let mut reservation = ledger.renew(reservation, next).await.unwrap();
    reservation.end(Attempt { error: Some("upstream_connect".into()), ..reservation.nothing_sent() });
    drop(reservation);
    flushed(&ledger).await;
    check(&ledger, 1, EntryStatus::Unknown, 50, (50, 50, 0));
}

#[tokio::test]
async fn an_attempt_that_was_never_made_costs_nothing() {
    let ledger = open(&Disk::default());
    let reservation = reserve(&ledger, 1, 50, 100).await.unwrap();
    let next = planned_for("anthropic/opus", 50, vec![]);
    let reservation = ledger.renew(after(reservation, attempt("openai/gpt-5", 30)), next).await.unwrap();
    reservation.settle(outcome(EntryStatus::Failed, None)).await.unwrap();
    check(&ledger, 1, EntryStatus::Failed, 30, (30, 0, 0));
}

#[tokio::test]
async fn a_dropped_reservation_is_booked_as_unknown_at_what_was_held() {
    let ledger = open(&Disk::default());
    drop(reserve(&ledger, 1, 50, 100).await.unwrap());
    flushed(&ledger).await;
    check(&ledger, 1, EntryStatus::Unknown, 50, (50, 50, 0));
    assert_eq!(entry(&ledger, 1).basis(), CostBasis::Reserved);
    assert_eq!(entry(&ledger, 1).error.as_deref(), Some("abandoned"));
}

/// Polls once and gives up: the command is in the queue, and nobody waits for the answer. False where the writer was quicker
/// than that.
async fn is_given_up<T>(asking: impl Future<Output = T>) -> bool {
    let mut asking = std::pin::pin!(asking);
    futures_util::poll!(asking.as_mut()).is_pending()
}

#[tokio::test]
async fn a_reservation_given_up_before_its_confirmation_costs_nothing() {
    let ledger = loop {
        let ledger = open(&Disk::default());
        if is_given_up(reserve(&ledger, 1, 50, 100)).await {
            break ledger;
        }
    };
    flushed(&ledger).await;
    assert_eq!(ledger.running().unwrap(), []);
    assert_eq!(balance(&ledger, &everything(), Window::Day), (0, 0, 0));
    assert!(ledger.entry(facts(1).id).unwrap().is_none_or(|entry| entry.cost().is_zero()));
    check_clean(&ledger);
}

#[tokio::test]
async fn a_call_given_up_during_a_renewal_costs_what_the_ended_attempt_did() {
    let ledger = loop {
        let ledger = open(&Disk::default());
        let reservation = reserve(&ledger, 1, 50, 100).await.unwrap();
        let next = planned_for("anthropic/opus", 20, vec![]);
        if is_given_up(ledger.renew(after(reservation, attempt("openai/gpt-5", 30)), next)).await {
            break ledger;
        }
    };
    flushed(&ledger).await;
    check(&ledger, 1, EntryStatus::Settled, 30, (30, 0, 0));
}

#[tokio::test]
async fn a_call_whose_process_died_is_charged_at_what_was_held() {
    let disk = Disk::default();
    let ledger = open(&disk);
    let first = reserve(&ledger, 1, 50, 200).await.unwrap();
    let second = reserve(&ledger, 2, 60, 200).await.unwrap();
    let next = planned_for("anthropic/opus", 70, vec![charge(&everything(), Window::Day, 200)]);
    let second = ledger.renew(after(second, attempt("openai/gpt-5", 10)), next).await.unwrap();
    let crashed = disk.after_power_cut(1);
    drop((first, second));
    let ledger = open(&crashed);
    check(&ledger, 1, EntryStatus::Unknown, 50, (130, 130, 0));
    check(&ledger, 2, EntryStatus::Unknown, 80, (130, 130, 0));
    assert_eq!(ledger.running().unwrap(), []);
    let entry = entry(&ledger, 2);
    assert_eq!(
        entry.attempts.iter().map(|attempt| attempt.basis).collect::<Vec<_>>(),
        [CostBasis::Exact, CostBasis::Reserved]
    );
    ledger.stop();
    check(&open(&crashed), 1, EntryStatus::Unknown, 50, (130, 130, 0));
}

#[tokio::test]
async fn a_call_without_an_attempt_is_recorded_at_nothing() {
    let ledger = open(&Disk::default());
    let hit = CallFacts { cache: CacheOutcome::Semantic, ..facts(1) };
    let saved = Picodollars::new(12);
    ledger.record(hit, Outcome { saved, ..outcome(EntryStatus::Settled, None) }).unwrap();
    flushed(&ledger).await;
    let total = ledger.counts().unwrap().total;
    assert_eq!((total.requests, total.cache_hits, total.saved, total.cost.get()), (1, 1, saved, 0));
    check_clean(&ledger);
}

#[tokio::test]
async fn whoever_was_told_how_a_call_ended_finds_it_at_once() {
    // Nothing is written before somebody waits for it.
    let ledger = Arc::new(open_gathering(&Disk::default(), Duration::from_hours(1)));
    let view = View::new(&ledger, None);
    let status = |number| view.call(facts(number).id).unwrap().map(|call| call.entry.status);
    ledger.record(facts(1), outcome(EntryStatus::Failed, None)).unwrap();
    assert_eq!(status(1), Some(EntryStatus::Failed));
    let running = reserve(&ledger, 2, 50, 1_000).await.unwrap();
    assert_eq!(status(2), Some(EntryStatus::Pending));
    running.settle(settled(30)).await.unwrap();
    assert_eq!(status(2), Some(EntryStatus::Settled));
    ledger.record(facts(3), outcome(EntryStatus::Failed, None)).unwrap();
    let newest = view.entries(&EntryFilter::default(), None, 1).unwrap().items;
    assert_eq!(newest[0].facts.id, facts(3).id);
    assert_eq!(status(4), None, "nobody was told of it");
}

#[tokio::test]
async fn a_read_waits_for_no_disk_that_fails() {
    let disk = Disk::default();
    let ledger = Arc::new(open_gathering(&disk, Duration::from_hours(1)));
    let view = View::new(&ledger, None);
    disk.fail(1, u64::MAX);
    ledger.record(facts(1), outcome(EntryStatus::Failed, None)).unwrap();
    let begun = Instant::now();
    for _ in 0..3 {
        // Not there, or out of reach: what the file says is all that there is.
        assert!(view.call(facts(1).id).ok().flatten().is_none());
    }
    assert!(begun.elapsed() < FLUSH_TIME_MAX, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_label_that_is_repeated_counts_once() {
    let ledger = open(&Disk::default());
    let scope = Scope::of("tag", "env=test");
    let tag = facts(1).tags[0].clone();
    let twice = CallFacts { tags: vec![tag.clone(), tag], ..facts(1) };
    let planned = planned(50, vec![charge(&scope, Window::Day, 50)]);
    ledger.reserve(twice, planned).await.unwrap().settle(settled(40)).await.unwrap();
    assert_eq!(balance(&ledger, &scope, Window::Day), (40, 0, 0));
    check_clean(&ledger);
}

#[tokio::test]
async fn an_id_that_is_running_already_is_refused() {
    let ledger = open(&Disk::default());
    let first = reserve(&ledger, 1, 50, 1_000).await.unwrap();
    assert!(matches!(reserve(&ledger, 1, 60, 1_000).await, Err(LedgerError::Unwritable { .. })));
    first.settle(settled(5)).await.unwrap();
    check(&ledger, 1, EntryStatus::Settled, 5, (5, 0, 0));
}

#[tokio::test]
async fn a_call_is_never_booked_twice_even_if_it_is_handed_in_twice() {
    let ledger = open(&Disk::default());
    reserve(&ledger, 1, 50, 1_000).await.unwrap().settle(settled(5)).await.unwrap();
    ledger.record(facts(1), settled(5)).unwrap();
    // The batch fails as a whole, and is tried again without what is there already.
    let mut trouble = ledger.watch_trouble();
    trouble.wait_for(Option::is_some).await.unwrap();
    trouble.wait_for(Option::is_none).await.unwrap();
    flushed(&ledger).await;
    check(&ledger, 1, EntryStatus::Settled, 5, (5, 0, 0));
}

#[tokio::test]
async fn booked_entries_are_told_to_subscribers() {
    let ledger = open(&Disk::default());
    let mut live = ledger.subscribe();
    reserve(&ledger, 1, 50, 1_000).await.unwrap().settle(settled(5)).await.unwrap();
    assert_eq!(*live.recv().await.unwrap(), entry(&ledger, 1));
}

#[tokio::test]
async fn a_full_queue_answers_busy_and_takes_calls_again_later() {
    let ledger = open(&Disk::default());
    let mut held = Vec::new();
    let error = loop {
        match reserve(&ledger, held.len() as u64, 1, 10_000).await {
            Ok(reservation) => held.push(reservation),
            Err(error) => break error,
        }
        assert!(held.len() <= SIZES.queue_len, "each call that runs keeps a place");
    };
    assert!(matches!(error, LedgerError::Busy), "{error}");
    held.pop().unwrap().settle(settled(1)).await.unwrap();
    held.pop().unwrap().settle(settled(1)).await.unwrap();
    held.push(reserve(&ledger, 5_000, 1, 10_000).await.unwrap());
    for reservation in held {
        reservation.settle(settled(1)).await.unwrap();
    }
    check_clean(&ledger);
}

#[tokio::test]
async fn a_stop_writes_what_is_queued_and_leaves_running_calls_to_the_next_start() {
    let disk = Disk::default();
    let ledger = open_with(&disk, TimeZone::UTC, Acknowledge::Queued);
    let running = reserve(&ledger, 1, 50, 10_000).await.unwrap();
    for number in 2..100 {
        ledger.record(facts(number), settled(3)).unwrap();
    }
    ledger.stop();
    assert!(matches!(reserve(&ledger, 200, 1, 10).await, Err(LedgerError::Unwritable { .. })));
    let settling = running.settle(settled(1)).await;
    assert!(matches!(settling, Err(LedgerError::Unwritable { .. })), "nobody is told of success: {settling:?}");
    let ledger = open(&disk);
    assert_eq!(ledger.counts().unwrap().entries, 99);
    check(&ledger, 1, EntryStatus::Unknown, 50, (50 + 98 * 3, 50, 0));
}

#[tokio::test]
async fn a_client_that_invents_names_does_not_grow_the_list_for_ever() {
    let disk = Disk::default();
    let ledger = open(&disk);
    for number in 0..100_000 {
        ledger.names.intern(&format!("invented {number}"));
    }
    let new = facts(1).key;
    let invented = CallFacts { requested_model: "one-more".parse().unwrap(), operation: "another".into(), ..facts(1) };
    let operation = Scope::of("operation", "other");
    let planned = planned(9, vec![charge(&operation, Window::Day, 100)]);
    ledger.reserve(invented, planned).await.unwrap().settle(settled(5)).await.unwrap();
    assert_eq!(balance(&ledger, &operation, Window::Day), (5, 0, 0));
    ledger.stop();
    let ledger = open(&disk);
    let entry = entry(&ledger, 1);
    assert_eq!((entry.facts.requested_model.as_str(), &*entry.facts.operation), ("other", "other"));
    assert_eq!(entry.facts.key, new, "what somebody configured keeps its name");
    check_clean(&ledger);
}

#[tokio::test]
async fn a_file_of_a_newer_format_is_refused_and_left_as_it_is() {
    let disk = Disk::default();
    open(&disk).stop();
    {
        let database = disk.open().unwrap();
        let transaction = database.begin_write().unwrap();
        transaction
            .open_table(tables::META)
            .unwrap()
            .insert("format", (tables::FORMAT + 1).to_string().as_str())
            .unwrap();
        transaction.commit().unwrap();
    }
    let before = disk.after_power_cut(1);
    let opened = Ledger::start(
        &Disk::options(),
        disk.open().unwrap(),
        || unreachable!("it never gets that far"),
        TimeZone::get("Asia/Seoul").unwrap(),
        Acknowledge::Durable,
        SIZES,
    );
    assert!(matches!(opened.err().unwrap(), OpenError::Newer { known: tables::FORMAT, .. }));
    for disk in [disk, before] {
        let database = disk.open().unwrap();
        let reading = redb::ReadableDatabase::begin_read(&database).unwrap();
        let meta = reading.open_table(tables::META).unwrap();
        assert_eq!(meta.get("time_zone").unwrap().unwrap().value(), "UTC");
    }
}

#[tokio::test]
async fn a_ledger_on_disk_is_used_by_one_process_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = LedgerOptions {
        path: folder.path().join("ledger.redb"),
        zone: TimeZone::UTC,
        acknowledge: Acknowledge::Durable,
    };
    let ledger = Ledger::open(options.clone()).unwrap();
    assert!(matches!(Ledger::open(options.clone()).err().unwrap(), OpenError::InUse { .. }));
    reserve(&ledger, 1, 50, 100).await.unwrap().settle(settled(7)).await.unwrap();
    ledger.stop();
    check(&Ledger::open(options).unwrap(), 1, EntryStatus::Settled, 7, (7, 0, 0));
}
