//! Looking at every row after the start: what is sound, what is damaged, and what damage does to calls.

use super::*;
use crate::ledger::query::ROWS_A_TRANSACTION;

fn fill(ledger: &Ledger, calls: std::ops::Range<u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        for number in calls {
            // The queue of the tests is short.
            if number % 100 == 0 {
                flushed(ledger).await;
            }
            ledger.record(facts(number), settled(1)).unwrap();
        }
        flushed(ledger).await;
    });
}

fn today() -> RequestId {
    RequestId::first_of(START_MS)
}

#[test]
fn a_sound_ledger_is_read_to_its_end() {
    let ledger = open(&Disk::default());
    let calls = ROWS_A_TRANSACTION as u64 + 7;
    fill(&ledger, 0..calls);
    let Inspection::Sound { rows } = ledger.inspect(today(), || true) else { panic!("it is sound") };
    assert!(rows > calls, "entries and rollups");
    assert_eq!(ledger.inspect(today(), || false), Inspection::Unfinished);
    assert_eq!(ledger.trouble(), None);
}

#[test]
fn an_empty_ledger_is_sound() {
    assert_eq!(open(&Disk::default()).inspect(today(), || true), Inspection::Sound { rows: 0 });
}

#[test]
fn a_row_that_cannot_be_read_ends_the_taking_of_calls_and_loses_none_that_runs() {
    for is_entry in [true, false] {
        let disk = Disk::default();
        let ledger = open(&disk);
        fill(&ledger, 0..20);
        ledger.stop();
        drop(ledger);
        with_file(&disk, |transaction| {
            if is_entry {
                let mut entries = transaction.open_table(tables::ENTRIES).unwrap();
                entries.insert(facts(7).id.number(), &[250_u8, 1, 2][..]).unwrap();
            } else {
                let mut cells = transaction.open_table(tables::CELLS).unwrap();
                let key = cells.first().unwrap().unwrap().0.value();
                cells.insert(key, &[250_u8][..]).unwrap();
            }
        });
        let ledger = open(&disk);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            // In another month, whose rollups are sound.
            let (running, next) = (facts_at(100, START_MS + 960 * HOUR_MS), facts_at(101, START_MS + 960 * HOUR_MS));
            let id = running.id;
            let running = ledger.reserve(running, planned(1, vec![])).await.unwrap();
            let Inspection::Damaged { detail } = ledger.inspect(today(), || true) else { panic!("it is damaged") };
            assert!(detail.contains("ledger") && detail.contains("restore it from a backup"), "{detail}");
            assert_eq!(ledger.trouble().as_deref(), Some(&*detail));
            let refused = ledger.reserve(next, planned(1, vec![])).await;
            assert!(matches!(refused, Err(LedgerError::Unwritable { .. })), "{refused:?}");
            running.settle(settled(3)).await.unwrap();
            assert!(ledger.entry(id).unwrap().is_some());
        });
    }
}

#[test]
fn what_cannot_be_written_into_a_damaged_file_does_not_hold_up_the_stop() {
    let disk = Disk::default();
    let ledger = open(&disk);
    fill(&ledger, 0..1);
    ledger.stop();
    drop(ledger);
    with_file(&disk, |transaction| {
        let mut cells = transaction.open_table(tables::CELLS).unwrap();
        let keys: Vec<_> = cells.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
        for key in keys {
            cells.insert(key, &[250_u8][..]).unwrap();
        }
    });
    let ledger = open(&disk);
    ledger.record(facts(1), settled(1)).unwrap();
    ledger.stop();
}

#[test]
fn a_ledger_that_is_distrusted_stays_so_after_the_disk_has_failed_and_come_back() {
    let disk = Disk::default();
    let ledger = open(&disk);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let running = ledger.reserve(facts(1), planned(1, vec![])).await.unwrap();
        let mut trouble = ledger.watch_trouble();
        ledger.writer().distrust("it is damaged".into());
        disk.fail(1, 1);
        assert!(running.settle(settled(3)).await.is_err());
        let told = |trouble: &Option<Arc<str>>| trouble.as_deref() == Some("it is damaged");
        let healed = tokio::time::timeout(Duration::from_secs(20), trouble.wait_for(told)).await;
        healed.expect("the writer recovers by itself").unwrap();
        assert!(ledger.reserve(facts(2), planned(1, vec![])).await.is_err());
    });
}

#[test]
fn a_sum_that_is_not_what_the_entries_say_is_told_and_stops_nothing() {
    let disk = Disk::default();
    let ledger = open(&disk);
    fill(&ledger, 0..20);
    ledger.stop();
    drop(ledger);
    with_file(&disk, |transaction| {
        let mut entries = transaction.open_table(tables::ENTRIES).unwrap();
        entries.remove(facts(7).id.number()).unwrap();
    });
    let ledger = open(&disk);
    assert!(matches!(ledger.inspect(today(), || true), Inspection::Differs { .. }));
    assert_eq!(ledger.trouble(), None);
}
