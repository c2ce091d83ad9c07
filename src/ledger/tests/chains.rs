//! Chains of entries: what was tampered with is found and named, whatever the order in which calls end.

use proptest::prelude::*;
use redb::{ReadableTable as _, ReadableTableMetadata as _};

use super::super::chain::CHAINS;
use super::*;

const DAY_MS: i64 = 24 * HOUR_MS;

/// Books calls of some days, in the order given and one after the other; a call is its number, its day is the number's last digit.
async fn book(ledger: &Ledger, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        ledger.record(call(number), settled(i128::from(number))).unwrap();
        flushed(ledger).await;
    }
}

fn call(number: u64) -> CallFacts {
    facts_at(number, START_MS + DAY_MS * i64::try_from(number % 10).unwrap())
}

fn faults(ledger: &Ledger, expected: Option<&Heads>) -> Vec<String> {
    let report = ledger.verify(expected, |_| {}).unwrap();
    report.chain_faults.iter().map(ToString::to_string).collect()
}

fn heads(ledger: &Ledger) -> Heads {
    let report = ledger.verify(None, |_| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
    report.heads
}

/// Books twelve calls of three days, changes the file, and compares what is told.
async fn check(tamper: impl FnOnce(&redb::WriteTransaction), expected: &[&str]) {
    let disk = Disk::default();
    let ledger = open(&disk);
    book(&ledger, [0, 10, 20, 30, 1, 11, 21, 31, 2, 12, 22, 32]).await;
    check_clean(&ledger);
    ledger.stop();
    with_file(&disk, tamper);
    let ledger = open(&disk);
    let name = |number: u64| call(number).id.to_string();
    let expected: Vec<String> = expected
        .iter()
        .map(|line| {
            [0, 10, 20, 30, 1, 11, 21, 31, 2, 32]
                .iter()
                .fold((*line).to_owned(), |line, number| line.replace(&format!("<{number}>"), &name(*number)))
        })
        .collect();
    assert_eq!(faults(&ledger, None), expected);
    let since = ledger.verify_since(RequestId::first_of(START_MS)).unwrap();
    assert!(!since.is_sound(), "a start looks at these days too");
}

fn entries(transaction: &redb::WriteTransaction) -> redb::Table<'_, u128, &'static [u8]> {
    transaction.open_table(tables::ENTRIES).unwrap()
}

fn row(table: &redb::Table<'_, u128, &'static [u8]>, number: u64) -> Vec<u8> {
    table.get(call(number).id.number()).unwrap().unwrap().value().to_vec()
}

#[tokio::test]
async fn a_changed_row_is_named() {
    let tamper = |transaction: &redb::WriteTransaction| {
        let mut table = entries(transaction);
        let mut row = row(&table, 11);
        let at = row.len() - 20;
        row[at] ^= 1;
        table.insert(call(11).id.number(), row.as_slice()).unwrap();
    };
    check(tamper, &["<11> of 2026-11-23 was changed after it was booked"]).await;
}

#[tokio::test]
async fn a_row_that_cannot_be_read_any_more_is_named() {
    let tamper = |transaction: &redb::WriteTransaction| {
        entries(transaction).insert(call(11).id.number(), &[2_u8, 250][..]).unwrap();
    };
    let told = [
        "<11> of 2026-11-23 was changed after it was booked",
        "<11> of 2026-11-23 can't be read",
        "1 entry is missing from 2026-11-23, from number 1 on, booked after <1>",
    ];
    check(tamper, &told).await;
}

#[tokio::test]
async fn a_removed_row_is_missed_in_its_place() {
    let tamper = |transaction: &redb::WriteTransaction| {
        entries(transaction).remove(call(10).id.number()).unwrap().unwrap();
    };
    check(tamper, &["1 entry is missing from 2026-11-22, from number 1 on, booked after <0>"]).await;
}

#[tokio::test]
async fn rows_removed_from_the_end_are_missed() {
    let tamper = |transaction: &redb::WriteTransaction| {
        for number in [12, 22, 32] {
            entries(transaction).remove(call(number).id.number()).unwrap().unwrap();
        }
    };
    check(tamper, &["3 entries are missing from 2026-11-24, from number 1 on, booked after <2>"]).await;
}

#[tokio::test]
async fn swapped_rows_are_both_named() {
    let tamper = |transaction: &redb::WriteTransaction| {
        let mut table = entries(transaction);
        let (one, two) = (row(&table, 10), row(&table, 20));
        table.insert(call(10).id.number(), two.as_slice()).unwrap();
        table.insert(call(20).id.number(), one.as_slice()).unwrap();
    };
    let told =
        ["<10> of 2026-11-22 was changed after it was booked", "<20> of 2026-11-22 was changed after it was booked"];
    check(tamper, &told).await;
}

#[tokio::test]
async fn a_copied_row_is_named() {
    let tamper = |transaction: &redb::WriteTransaction| {
        let mut table = entries(transaction);
        let copy = row(&table, 31);
        table.insert(call(31).id.number() + 1, copy.as_slice()).unwrap();
    };
    let (copy, day) = (RequestId::from_number(call(31).id.number() + 1), "2026-11-23");
    check(tamper, &[&format!("{copy} of {day} was changed after it was booked")]).await;
}

#[tokio::test]
async fn a_row_that_agrees_with_itself_but_was_never_booked_is_named() {
    let tamper = |transaction: &redb::WriteTransaction| {
        let chains = transaction.open_table(CHAINS).unwrap();
        let mut table = entries(transaction);
        let mut forged = row(&table, 31);
        forged.truncate(forged.len() - 12);
        let id = RequestId::from_number(call(31).id.number() + 1);
        // Sealed by the ledger's own code, but its head is not moved on.
        super::super::chain::Chains::load(&chains).unwrap().seal(id, &mut forged, &chains).unwrap();
        table.insert(id.number(), forged.as_slice()).unwrap();
    };
    let forged = RequestId::from_number(call(31).id.number() + 1);
    check(tamper, &[&format!("{forged} of 2026-11-23 was added behind the ledger's back")]).await;
}

#[tokio::test]
async fn a_changed_row_whose_check_was_made_anew_shows_in_its_day() {
    let tamper = |transaction: &redb::WriteTransaction| {
        let chains = transaction.open_table(CHAINS).unwrap();
        let mut table = entries(transaction);
        // The first row of the day, sealed again as the first of a chain that only begins.
        let mut forged = row(&table, 1);
        forged.truncate(forged.len() - 12);
        let at = forged.len() - 8;
        forged[at] ^= 1;
        let fresh = transaction.open_table(redb::TableDefinition::<u32, &[u8]>::new("empty")).unwrap();
        drop(chains);
        super::super::chain::Chains::default().seal(call(1).id, &mut forged, &fresh).unwrap();
        table.insert(call(1).id.number(), forged.as_slice()).unwrap();
    };
    check(tamper, &["the entries of 2026-11-23 don't come to the head of its chain"]).await;
}

#[tokio::test]
async fn a_day_that_is_gone_is_named() {
    let tamper = |transaction: &redb::WriteTransaction| {
        let mut chains = transaction.open_table(CHAINS).unwrap();
        let day = u32::try_from((START_MS + DAY_MS) / DAY_MS).unwrap();
        chains.remove(day).unwrap().unwrap();
        for number in [1, 11, 21, 31] {
            entries(transaction).remove(call(number).id.number()).unwrap().unwrap();
        }
    };
    check(tamper, &["2026-11-23 is gone, with all its entries"]).await;
}

#[tokio::test]
async fn rows_that_are_gone_while_their_chain_stays_are_missed() {
    let tamper = |transaction: &redb::WriteTransaction| {
        for number in [1, 11, 21, 31] {
            entries(transaction).remove(call(number).id.number()).unwrap().unwrap();
        }
    };
    check(tamper, &["4 entries are missing from 2026-11-23, from number 0 on"]).await;
}

#[tokio::test]
async fn a_chain_that_is_gone_is_missed() {
    let tamper = |transaction: &redb::WriteTransaction| {
        let mut chains = transaction.open_table(CHAINS).unwrap();
        chains.remove(u32::try_from(START_MS / DAY_MS).unwrap()).unwrap().unwrap();
    };
    check(tamper, &["2026-11-22 has entries, but its chain is missing"]).await;
}

#[tokio::test]
async fn a_changed_name_is_seen() {
    let tamper = |transaction: &redb::WriteTransaction| {
        transaction.open_table(tables::NAMES).unwrap().insert(1, "somebody else").unwrap();
    };
    check(tamper, &["the list of names was changed: what entries call by number may have another name now"]).await;
}

#[tokio::test]
async fn heads_that_were_kept_prove_that_nothing_was_rewritten_since() {
    let disk = Disk::default();
    let ledger = open(&disk);
    assert_eq!(faults(&ledger, Some(&heads(&ledger))), Vec::<String>::new());
    book(&ledger, [0, 10, 1]).await;
    let kept = heads(&ledger);
    let kept: Heads = serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap();
    // The days go on, late calls of earlier days included.
    book(&ledger, [20, 11, 2, 30]).await;
    assert_eq!(faults(&ledger, Some(&kept)), Vec::<String>::new());
    ledger.stop();
    // Somebody makes a ledger of their own in its place, whole in itself.
    let forged = Disk::default();
    let ledger = open(&forged);
    book(&ledger, [10, 0, 20, 30]).await;
    check_clean(&ledger);
    let told = faults(&ledger, Some(&kept));
    assert_eq!(
        told,
        [
            "2026-11-22 was rewritten: its first 2 no longer come to the head that was kept",
            "2026-11-23 is gone, with all its entries",
        ]
    );
    let ledger = open(&Disk::default());
    book(&ledger, [0, 1]).await;
    assert_eq!(faults(&ledger, Some(&kept)), ["2026-11-22 had 2 when its head was kept, and has 1"]);
}

/// Makes the file what it was before there were chains.
fn unchain(disk: &Disk) {
    with_file(disk, |transaction| {
        transaction.delete_table(CHAINS).unwrap();
        transaction.open_table(tables::META).unwrap().insert("format", "1").unwrap();
        for definition in [tables::ENTRIES, tables::PENDING] {
            let mut table = transaction.open_table(definition).unwrap();
            let rows: Vec<(u128, Vec<u8>)> = table
                .iter()
                .unwrap()
                .map(|row| row.unwrap())
                .map(|(id, row)| (id.value(), tables::tests::as_version_1(row.value())))
                .collect();
            for (id, row) in rows {
                table.insert(id, row.as_slice()).unwrap();
            }
        }
    });
}

#[tokio::test]
async fn a_file_from_before_the_chains_is_taken_over_and_goes_on() {
    let disk = Disk::default();
    let ledger = open(&disk);
    book(&ledger, [10, 0, 1]).await;
    let running = ledger.reserve(call(40), planned(7, vec![])).await.unwrap();
    ledger.stop();
    drop(running);
    unchain(&disk);
    let ledger = open(&disk);
    check_clean(&ledger);
    let kept = heads(&ledger);
    let counts: Vec<u32> = kept.days.values().map(|head| head.entries).collect();
    assert_eq!(counts, [3, 1], "the call that ran is booked as unknown");
    book(&ledger, [5, 20, 11]).await;
    check_clean(&ledger);
    assert_eq!(faults(&ledger, Some(&kept)), Vec::<String>::new());
    ledger.stop();
    // An old row is watched over like a new one.
    with_file(&disk, |transaction| {
        let mut table = entries(transaction);
        let mut row = row(&table, 0);
        let last = row.len() - 1;
        row[last] ^= 1;
        table.insert(call(0).id.number(), row.as_slice()).unwrap();
    });
    let told = faults(&open(&disk), Some(&kept));
    assert_eq!(
        told,
        [
            "the entries of 2026-11-22 don't come to the head of its chain",
            "2026-11-22 was rewritten: its first 3 no longer come to the head that was kept",
        ]
    );
}

#[tokio::test]
async fn a_change_of_the_teams_zone_changes_no_chain() {
    let disk = Disk::default();
    let ledger = open(&disk);
    book(&ledger, [0, 10, 1]).await;
    let kept = heads(&ledger);
    ledger.stop();
    let ledger = open_with(&disk, TimeZone::get("Pacific/Apia").unwrap(), Acknowledge::Durable);
    check_clean(&ledger);
    assert_eq!(heads(&ledger), kept);
}

#[test]
fn a_digest_is_read_as_it_is_written() {
    let text = "00".repeat(31) + "ff";
    assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
    for wrong in ["", "ff", &"zz".repeat(32), &"é".repeat(32), &"+f".repeat(32)] {
        assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn calls_that_end_in_any_order_keep_the_chain_and_any_changed_byte_is_found(
        order in Just((0..24_u64).collect::<Vec<_>>()).prop_shuffle(),
        place in any::<proptest::sample::Index>(),
        byte in any::<proptest::sample::Index>(),
        table in 0..3_u8,
        flip in 1..=255_u8,
    ) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            let disk = Disk::default();
            let ledger = open(&disk);
            // All run at once, and end in another order than they began.
            let mut running = Vec::new();
            for number in 0..24 {
                running.push(Some(ledger.reserve(call(number), planned(50, vec![])).await.unwrap()));
            }
            for number in order {
                let reservation = running[usize::try_from(number).unwrap()].take().unwrap();
                reservation.settle(settled(i128::from(number))).await.unwrap();
            }
            check_clean(&ledger);
            let kept = heads(&ledger);
            ledger.stop();
            with_file(&disk, |transaction| tamper(transaction, table, place, byte, flip));
            let reopened = disk.open().unwrap();
            let started = Ledger::start(
                &Disk::options(), reopened, || unreachable!(), TimeZone::UTC, Acknowledge::Durable, SIZES,
            );
            // What a start refuses is found as well.
            if let Ok(ledger) = started {
                let report = ledger.verify(Some(&kept), |_| {});
                assert!(report.is_err() || report.is_ok_and(|report| !report.chain_faults.is_empty()));
            }
        });
    }
}

/// Changes one byte of one row of the entries, the names or the chains.
fn tamper(
    transaction: &redb::WriteTransaction,
    table: u8,
    place: proptest::sample::Index,
    byte: proptest::sample::Index,
    flip: u8,
) {
    let changed = |row: &[u8]| {
        let mut row = row.to_vec();
        let at = byte.index(row.len());
        row[at] ^= flip;
        row
    };
    match table {
        0 => {
            let mut table = entries(transaction);
            let (id, row) = table
                .iter()
                .unwrap()
                .nth(place.index(24))
                .map(|row| row.unwrap())
                .map(|(id, row)| (id.value(), changed(row.value())))
                .unwrap();
            table.insert(id, row.as_slice()).unwrap();
        }
        1 => {
            let mut table = transaction.open_table(tables::NAMES).unwrap();
            let count = usize::try_from(table.len().unwrap()).unwrap();
            let (number, name) = table
                .iter()
                .unwrap()
                .nth(place.index(count))
                .map(|row| row.unwrap())
                .map(|(number, name)| (number.value(), format!("{}{}", name.value(), char::from(flip))))
                .unwrap();
            table.insert(number, name.as_str()).unwrap();
        }
        _ => {
            let mut table = transaction.open_table(CHAINS).unwrap();
            let count = usize::try_from(table.len().unwrap()).unwrap();
            let (day, chain) = table
                .iter()
                .unwrap()
                .nth(place.index(count))
                .map(|row| row.unwrap())
                .map(|(day, chain)| (day.value(), changed(chain.value())))
                .unwrap();
            table.insert(day, chain.as_slice()).unwrap();
        }
    }
}
