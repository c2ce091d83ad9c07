//! Disks that fail, fill up and lose power: what was acknowledged is in exactly once, and nothing is booked twice.

use std::collections::BTreeMap;

use super::*;

const CALLS: u64 = 4;
const LIMIT: i128 = 1_000_000;

/// What the callers were told.
#[derive(Debug, Default)]
struct Told {
    /// Calls by number, with the costs of their attempts: those whose reservation was acknowledged.
    reserved: BTreeMap<u64, Vec<i128>>,
    /// Calls whose settlement was handed in, and whether it was acknowledged.
    settled: BTreeMap<u64, bool>,
    refused: Vec<u64>,
}

fn charges() -> Vec<Charge> {
    vec![
        charge(&Scope::everything(), Window::Day, LIMIT),
        charge(&Scope::of("provider", "openai"), Window::Hour, LIMIT),
    ]
}

/// Makes calls two at a time; a call in three falls back, one in four is hedged, one in five is given up.
async fn make_calls(ledger: &Ledger, calls: std::ops::Range<u64>, told: &mut Told) {
    for number in calls {
        let (one, two) = tokio::join!(
            ledger.reserve(facts(number * 2), planned(100, charges())),
            ledger.reserve(facts(number * 2 + 1), planned(100, charges())),
        );
        for (number, reservation) in [(number * 2, one), (number * 2 + 1, two)] {
            let mut reservation = match reservation {
                Ok(reservation) => reservation,
                Err(error) => {
                    assert!(matches!(error, LedgerError::Unwritable { .. }), "{error}");
                    told.refused.push(number);
                    continue;
                }
            };
            let cost = i128::from(number) + 1;
            let costs = told.reserved.entry(number).or_default();
            let mut last = attempt("openai/gpt-5", cost);
            let mut abandoned = 100;
            if number % 3 == 0 {
                let ended = attempt("openai/gpt-5", 50);
                let next = planned_for("anthropic/opus", 100, charges());
                match ledger.renew(after(reservation, ended.clone()), next).await {
                    Ok(renewed) => {
                        costs.push(50);
                        last = attempt("anthropic/opus", cost);
                        reservation = renewed;
                    }
                    Err((given_back, _)) => {
                        // The first attempt has failed, and there is no second.
                        last = ended;
                        abandoned = 50;
                        reservation = given_back;
                    }
                }
            }
            if number % 4 == 1 {
                // With a second attempt beside it, where the disk lets that be.
                let hedge = planned_for("groq/llama", 40, charges());
                if let Ok(hold) = ledger.reserve_beside(&reservation, hedge).await {
                    let mut lost = attempt("groq/llama", 7);
                    lost.error = Some("cancelled".into());
                    costs.push(7);
                    if number % 8 == 1 {
                        ledger.end_beside(&reservation, lost);
                    } else {
                        lost.deployment = reservation.deployment().clone();
                        go_on_beside(ledger, &mut reservation, hold, lost);
                        last = attempt("groq/llama", cost);
                        abandoned = 40;
                    }
                }
            }
            if number % 5 == 4 {
                costs.push(abandoned);
                told.settled.insert(number, false);
                drop(reservation);
            } else {
                costs.push(last.cost.get());
                let answer = reservation.settle(outcome(EntryStatus::Settled, Some(last))).await;
                told.settled.insert(number, answer.is_ok());
            }
        }
    }
}

/// Waits until the ledger takes calls again and has booked what was kept: bounded, because the disk comes back.
async fn recovered(ledger: &Ledger, told: &mut Told) {
    for number in 1_000..1_100 {
        let mut trouble = ledger.watch_trouble();
        let healed = tokio::time::timeout(Duration::from_secs(20), trouble.wait_for(Option::is_none)).await;
        healed.expect("the ledger recovers by itself").unwrap();
        let mut last = Told::default();
        make_calls(ledger, number..number + 1, &mut last).await;
        let is_through = last.settled.len() == 2 && last.settled.values().all(|is_acknowledged| *is_acknowledged);
        told.reserved.extend(last.reserved);
        told.settled.extend(last.settled);
        told.refused.extend(last.refused);
        if is_through {
            return;
        }
    }
    panic!("the ledger never came back");
}

/// Every call is in as its caller was told, and nothing else is.
fn check_told(ledger: &Ledger, told: &Told, context: &str) {
    let report = ledger.verify(None, |_| {}).unwrap();
    assert_eq!(report.differences, [], "{context}");
    assert_eq!(report.running, 0, "{context}");
    for (&number, costs) in &told.reserved {
        let entry = ledger.entry(facts(number).id).unwrap();
        let entry = entry.unwrap_or_else(|| panic!("{context}: call {number} is missing"));
        let booked: Vec<i128> = entry.attempts.iter().map(|attempt| attempt.cost.get()).collect();
        assert_eq!(booked, *costs, "{context}: call {number}, {:?}", entry.status);
    }
    for &number in &told.refused {
        if let Some(entry) = ledger.entry(facts(number).id).unwrap() {
            assert_eq!((entry.status, entry.cost().get()), (EntryStatus::Failed, 0), "{context}: call {number}");
        }
    }
    let costs: i128 = told.reserved.values().flatten().sum();
    assert_eq!(report.total.get(), costs, "{context}");
    assert_eq!(balance(ledger, &Scope::everything(), Window::Day), (costs, report_unknown(ledger), 0), "{context}");
}

fn report_unknown(ledger: &Ledger) -> i128 {
    ledger.counts().unwrap().total.unknown_cost.get()
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// Counts what a disk is asked for while the calls are made and nothing fails.
fn calls_of_the_disk(open: &impl Fn(&Disk) -> Ledger) -> u64 {
    let disk = Disk::default();
    let ledger = open(&disk);
    let before = disk.calls();
    run(async {
        make_calls(&ledger, 0..CALLS, &mut Told::default()).await;
        flushed(&ledger).await;
    });
    disk.calls() - before
}

fn check_every_failure(what: &str, open: impl Fn(&Disk) -> Ledger) {
    let all = calls_of_the_disk(&open);
    assert!(all > 10, "the calls are written to the disk");
    for count in [1, 6] {
        for from in 1..=all {
            let context = format!("{what}, calls {from} to {} fail", from + count - 1);
            let disk = Disk::default();
            let ledger = open(&disk);
            disk.fail(from, count);
            let mut told = Told::default();
            run(async {
                make_calls(&ledger, 0..CALLS, &mut told).await;
                recovered(&ledger, &mut told).await;
                settled_down(&ledger).await;
            });
            // Where less was asked of the disk than was counted, its failure is still to come.
            disk.fail(0, 0);
            check_told(&ledger, &told, &context);
            ledger.stop();
            check_told(&open(&disk), &told, &format!("{context}, opened again"));
        }
    }
}

/// Waits until everything before is written, although the disk may fail once more on the way.
async fn settled_down(ledger: &Ledger) {
    for _ in 0..100 {
        if try_flush(ledger).await.is_ok() {
            return;
        }
        let mut trouble = ledger.watch_trouble();
        let healed = tokio::time::timeout(Duration::from_secs(20), trouble.wait_for(Option::is_none)).await;
        healed.expect("the ledger recovers by itself").unwrap();
    }
    panic!("the ledger never came back");
}

#[test]
fn whichever_write_fails_every_durable_call_is_booked_exactly_once() {
    check_every_failure("durable", open);
}

#[test]
fn whichever_write_fails_every_queued_call_is_booked_exactly_once() {
    check_every_failure("queued", |disk| open_with(disk, TimeZone::UTC, Acknowledge::Queued));
}

#[test]
fn whichever_write_fails_every_gathered_call_is_booked_exactly_once() {
    for micros in [100, 1_000, 1_000_000] {
        check_every_failure("gathered", |disk| open_gathering(disk, Duration::from_micros(micros)));
    }
}

#[test]
fn calls_that_do_not_wait_for_the_disk_go_on_while_it_is_not_written_to() {
    let disk = Disk::default();
    let ledger = open_gathering(&disk, Duration::from_hours(1));
    run(async {
        // The first reservation under a sum reads it, and waits for that.
        ledger.reserve(facts(1), planned(1, charges())).await.unwrap().settle(settled(1)).await.unwrap();
        settled_down(&ledger).await;
        let before = disk.calls();
        for number in 2..20 {
            let reservation = ledger.reserve(facts(number), planned(100, charges())).await.unwrap();
            reservation.settle(settled(1)).await.unwrap();
        }
        let refused = ledger.reserve(facts(20), planned(LIMIT, charges())).await;
        assert!(matches!(refused, Err(LedgerError::OverBudget { .. })), "sums count at once: {refused:?}");
        assert_eq!(disk.calls(), before);
        assert!(ledger.entry(facts(19).id).unwrap().is_none());
    });
    ledger.stop();
    let ledger = open(&disk);
    assert_eq!(balance(&ledger, &Scope::everything(), Window::Day), (19, 0, 0));
    check_clean(&ledger);
}

#[test]
fn what_gathers_is_written_when_its_time_is_over_or_there_is_much_of_it() {
    for (gather_time, calls) in [(Duration::from_millis(5), 1), (Duration::from_hours(1), 70)] {
        let disk = Disk::default();
        let ledger = open_gathering(&disk, gather_time);
        let mut booked = ledger.subscribe();
        run(async {
            for number in 1..=calls {
                let reservation = ledger.reserve(facts(number), planned(100, vec![])).await.unwrap();
                reservation.settle(settled(1)).await.unwrap();
            }
            let first = tokio::time::timeout(Duration::from_secs(20), booked.recv()).await;
            assert_eq!(first.expect("it is booked unasked").unwrap().facts.id, facts(1).id);
        });
    }
}

#[test]
fn a_power_cut_takes_gathered_calls_whole_or_not_at_all() {
    let open_gathering = |disk: &Disk| open_gathering(disk, Duration::from_micros(100));
    for from in 1..=calls_of_the_disk(&open_gathering) {
        let context = format!("power cut at call {from}");
        let disk = Disk::default();
        let ledger = open_gathering(&disk);
        disk.fail(from, u64::MAX);
        run(make_calls(&ledger, 0..CALLS, &mut Told::default()));
        let ledger = open(&disk.after_power_cut(from));
        let report = ledger.verify(None, |_| {}).unwrap();
        assert_eq!((report.differences, report.running), (vec![], 0), "{context}");
    }
}

#[test]
fn after_a_power_cut_everything_acknowledged_is_there_and_no_sum_is_wrong() {
    let all = calls_of_the_disk(&open);
    for from in 1..=all {
        for seed in 0..3 {
            let context = format!("power cut {seed} at call {from}");
            let disk = Disk::default();
            let ledger = open(&disk);
            disk.fail(from, u64::MAX);
            let mut told = Told::default();
            run(make_calls(&ledger, 0..CALLS, &mut told));
            let ledger = open(&disk.after_power_cut(from * 31 + seed));
            let report = ledger.verify(None, |_| {}).unwrap();
            assert_eq!(report.differences, [], "{context}");
            assert_eq!(report.running, 0, "{context}");
            for (number, costs) in &told.reserved {
                let entry = ledger.entry(facts(*number).id).unwrap();
                let entry = entry.unwrap_or_else(|| panic!("{context}: call {number} is missing"));
                if told.settled.get(number) == Some(&true) {
                    let booked: Vec<i128> = entry.attempts.iter().map(|attempt| attempt.cost.get()).collect();
                    assert_eq!(booked, *costs, "{context}: call {number}");
                } else {
                    assert!(entry.cost().get() >= costs.iter().sum(), "{context}: call {number} is charged too little");
                }
            }
        }
    }
}

#[test]
fn a_full_disk_loses_nothing_and_recovers_without_a_hand() {
    let gathering = |disk: &Disk| open_gathering(disk, Duration::from_millis(1));
    for open in [&open as &dyn Fn(&Disk) -> Ledger, &gathering] {
        let disk = Disk::default();
        let ledger = open(&disk);
        disk.set_room(Some(disk.length()));
        let mut told = Told::default();
        run(async {
            let mut rounds = 0..2_000;
            // As long as there is room, calls are taken; then they are refused.
            while ledger.trouble().is_none() {
                let number = rounds.next().expect("the disk fills up");
                make_calls(&ledger, number..number + 1, &mut told).await;
            }
            let refused = told.refused.len();
            make_calls(&ledger, 2_000..2_003, &mut told).await;
            assert!(told.refused.len() >= refused + 6 || ledger.trouble().is_none());
            disk.set_room(None);
            recovered(&ledger, &mut told).await;
            settled_down(&ledger).await;
        });
        check_told(&ledger, &told, "full disk");
        ledger.stop();
        check_told(&super::open(&disk), &told, "full disk, opened again");
    }
}

#[test]
fn what_was_settled_while_the_disk_was_broken_is_booked_by_the_stop() {
    let disk = Disk::default();
    let ledger = open(&disk);
    run(async {
        let reservation = ledger.reserve(facts(1), planned(100, charges())).await.unwrap();
        disk.fail(1, u64::MAX);
        assert!(reservation.settle(settled(7)).await.is_err());
    });
    disk.fail(0, 0);
    ledger.stop();
    let ledger = open(&disk);
    assert_eq!(balance(&ledger, &Scope::everything(), Window::Day), (7, 0, 0));
    check_clean(&ledger);
}

#[test]
fn a_disk_that_stays_broken_does_not_keep_the_ledger_from_stopping() {
    let disk = Disk::default();
    let ledger = open(&disk);
    run(async {
        let reservation = ledger.reserve(facts(1), planned(100, charges())).await.unwrap();
        disk.fail(1, u64::MAX);
        assert!(reservation.settle(settled(7)).await.is_err());
    });
    ledger.stop();
    disk.fail(0, 0);
    // The settlement was lost with the process, so the call is charged at what was held for it.
    let ledger = open(&disk);
    assert_eq!(balance(&ledger, &Scope::everything(), Window::Day), (100, 100, 0));
    check_clean(&ledger);
}

#[test]
fn a_reader_does_not_hold_up_the_recovery_and_reads_nothing_wrong() {
    let disk = Disk::default();
    let ledger = open(&disk);
    run(async {
        for number in 10..200 {
            ledger.record(facts(number), settled(1)).unwrap();
        }
        let reservation = ledger.reserve(facts(1), planned(100, charges())).await.unwrap();
        let reading = ledger.read().unwrap();
        let table = reading.open_table(tables::ENTRIES).unwrap();
        disk.fail(1, 1);
        assert!(reservation.settle(settled(7)).await.is_err());
        ledger.watch_trouble().wait_for(Option::is_none).await.unwrap();
        flushed(&ledger).await;
        match table.iter().unwrap().map(|row| row.map(drop)).collect::<Result<Vec<()>, _>>() {
            Ok(rows) => assert_eq!(rows.len(), 190, "what was there when it began"),
            Err(error) => assert!(matches!(error, redb::StorageError::DatabaseClosed), "{error:?}"),
        }
    });
    assert_eq!(balance(&ledger, &Scope::everything(), Window::Day), (190 + 7, 0, 0));
    check_clean(&ledger);
}

#[test]
fn a_ledger_that_cannot_be_written_can_still_be_read() {
    let disk = Disk::default();
    let ledger = open(&disk);
    run(async {
        let reservation = ledger.reserve(facts(1), planned(100, charges())).await.unwrap();
        disk.set_room(Some(disk.length()));
        let mut refused = 0;
        for number in 10..2_000 {
            refused += u32::from(ledger.reserve(facts(number), planned(1, vec![])).await.is_err());
            if refused > 5 {
                break;
            }
        }
        // Each attempt to write again opens the file anew: wait for one, then read.
        let mut trouble = ledger.watch_trouble();
        trouble.changed().await.unwrap();
        let entry = loop {
            match ledger.entry(facts(1).id) {
                Ok(entry) => break entry.unwrap(),
                Err(LedgerError::Unreadable { .. }) => trouble.changed().await.unwrap(),
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(entry.status, EntryStatus::Pending);
        assert!(matches!(reservation.settle(settled(3)).await, Err(LedgerError::Unwritable { .. })));
    });
}
