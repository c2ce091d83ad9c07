//! Reports and lists against the plain entries; sums that were tampered with.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Some calls around an instant: minutes from it, and what they are like.
fn calls() -> impl Strategy<Value = Vec<Entry>> {
    let call = (-4_000..4_000_i64, 0..60_000_i64, 0..4_u8, 0..3_u8, 0..3_u8, 0..3_u8, 0..1_000_i128);
    let entry = |(number, (minutes, millis, status, key, operation, deployment, cost)): (usize, _)| {
        let (minutes, millis): (i64, i64) = (minutes, millis);
        let (status, key, operation, deployment): (u8, u8, u8, u8) = (status, key, operation, deployment);
        let mut facts = facts_at(number as u64, CHANGE_MS + minutes * 60_000 + millis);
        facts.key = KeyId::new(&format!("key_{key}")).unwrap();
        facts.team = (key > 0).then(|| format!("team {key}").into());
        facts.operation = format!("operation {operation}").into();
        facts.tags = if operation > 0 { vec![("env".into(), format!("e{operation}").into())] } else { vec![] };
        facts.cache = if deployment == 2 { CacheOutcome::Hit } else { CacheOutcome::Miss };
        let mut entry = tables::tests::entry(0, 0);
        entry.facts = facts;
        entry.attempts = (0..deployment).map(|at| attempt(["a/m", "b/m"][usize::from((at + key) % 2)], cost)).collect();
        entry.status = [EntryStatus::Settled, EntryStatus::Settled, EntryStatus::Failed, EntryStatus::Unknown]
            [usize::from(status)];
        entry.saved = Picodollars::new(cost / 2);
        entry
    };
    proptest::collection::vec(call, 0..40).prop_map(move |calls| calls.into_iter().enumerate().map(entry).collect())
}

/// Clocks go back in Berlin and Lord Howe is half an hour from its own: 2026-10-25T01:00:00Z.
const CHANGE_MS: i64 = 1_792_890_000_000;

async fn book(ledger: &Ledger, entries: &[Entry]) {
    for entry in entries {
        let mut last = entry.attempts.clone();
        let outcome = Outcome { saved: entry.saved, ..outcome(entry.status, last.pop()) };
        if last.is_empty() {
            ledger.record(entry.facts.clone(), outcome).unwrap();
            continue;
        }
        let next = |attempt: &Attempt| planned_for(&attempt.deployment.to_string(), 0, vec![]);
        let mut reservation = ledger.reserve(entry.facts.clone(), next(&last[0])).await.unwrap();
        for (at, ended) in last.iter().enumerate() {
            reservation = ledger.renew(after(reservation, ended.clone()), next(&entry.attempts[at + 1])).await.unwrap();
        }
        reservation.settle(outcome).await.unwrap();
    }
    flushed(ledger).await;
}

/// What a filter should take.
type Takes<'a> = &'a dyn Fn(&Entry) -> bool;

/// What an entry adds to which group, attempt by attempt.
fn add(groups: &mut BTreeMap<String, Cell>, entry: &Entry, name: impl Fn(Option<&Attempt>) -> String) {
    for attempt in &entry.attempts {
        let cell = groups.entry(name(Some(attempt))).or_default();
        cell.cost += attempt.cost;
        cell.usage = cell.usage + attempt.usage;
        if entry.status == EntryStatus::Unknown {
            cell.unknown_cost += attempt.cost;
        }
    }
    let cell = groups.entry(name(entry.attempts.last())).or_default();
    cell.requests += 1;
    cell.failed += u64::from(entry.status == EntryStatus::Failed);
    cell.unknown += u64::from(entry.status == EntryStatus::Unknown);
    cell.cache_hits += u64::from(entry.facts.cache == CacheOutcome::Hit);
    cell.saved += entry.saved;
}

fn name_of(by: &GroupBy, entry: &Entry, attempt: Option<&Attempt>, zone: &TimeZone) -> String {
    let local = zone.to_datetime(entry.time());
    match by {
        GroupBy::Provider => attempt.map(|attempt| attempt.deployment.provider.to_string()).unwrap_or_default(),
        GroupBy::Model => attempt.map(|attempt| attempt.deployment.model.to_string()).unwrap_or_default(),
        GroupBy::Operation => entry.facts.operation.to_string(),
        GroupBy::Key => entry.facts.key.to_string(),
        GroupBy::Team => entry.facts.team.as_deref().unwrap_or_default().to_owned(),
        GroupBy::Tag(_) => entry.facts.tags.first().map(|(_, value)| value.to_string()).unwrap_or_default(),
        GroupBy::Day => local.date().to_string(),
        GroupBy::Hour => format!("{}T{:02}", local.date(), local.hour()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn costs_by_every_grouping_are_what_the_entries_come_to(
        entries in calls(),
        from in -5_000_000..5_000_000_i64,
        seconds in 0..9_000_000_i64,
        ragged in 0..2_000_000_i32,
        zone in prop_oneof![
            Just("UTC"), Just("Europe/Berlin"), Just("Asia/Kolkata"), Just("Australia/Lord_Howe"), Just("America/New_York")
        ],
    ) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let zone = TimeZone::get(zone).unwrap();
            let ledger = open_with(&Disk::default(), zone.clone(), Acknowledge::Durable);
            book(&ledger, &entries).await;
            let from = jiff::Timestamp::new(CHANGE_MS / 1_000 + from / 10, ragged).unwrap();
            let until = jiff::Timestamp::new(from.as_second() + seconds / 10, ragged / 2).unwrap();
            let whole = |instant, window: Window| window.at(instant, &zone).start(&zone).unwrap();
            let ranges = [
                (from, until),
                (whole(from, Window::Day), whole(until, Window::Day)),
                (whole(from, Window::Hour), until),
                (whole(from, Window::Month), Window::Month.at(until, &zone).end(&zone).unwrap()),
            ];
            let tag = GroupBy::Tag("env".to_owned());
            let groupings = [
                vec![], vec![GroupBy::Provider], vec![GroupBy::Model], vec![GroupBy::Operation], vec![GroupBy::Key],
                vec![GroupBy::Team], vec![tag.clone()], vec![GroupBy::Day], vec![GroupBy::Hour],
                vec![GroupBy::Day, GroupBy::Provider], vec![GroupBy::Hour, tag], vec![GroupBy::Day, GroupBy::Hour],
            ];
            for (from, until) in ranges {
                for by in &groupings {
                    let costs = ledger.costs(TimeRange { from, until }, by).unwrap();
                    let mut total = BTreeMap::new();
                    let mut groups = BTreeMap::new();
                    for entry in entries.iter().filter(|entry| from <= entry.time() && entry.time() < until) {
                        add(&mut total, entry, |_| String::new());
                        add(&mut groups, entry, |attempt| {
                            by.iter().map(|by| name_of(by, entry, attempt, &zone)).collect::<Vec<_>>().join("|")
                        });
                    }
                    assert_eq!(costs.total, total.remove("").unwrap_or_default(), "{from} {until}");
                    let found: BTreeMap<String, Cell> = costs
                        .groups
                        .iter()
                        .map(|group| {
                            let series = if by.len() > 1 { format!("|{}", group.series) } else { String::new() };
                            (format!("{}{series}", group.name), group.sums)
                        })
                        .collect();
                    let expected = if by.is_empty() { BTreeMap::new() } else { groups };
                    assert_eq!(found, expected, "{by:?} from {from} until {until}");
                }
            }
            let since = RequestId::first_of(from.as_millisecond());
            assert_eq!(ledger.verify_since(since).unwrap().differences, []);
            check_clean(&ledger);
        });
    }

    #[test]
    fn pages_of_any_length_show_every_entry_that_a_filter_takes_once_and_newest_first(
        mut entries in calls(),
        limit in 0..12_usize,
    ) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let ledger = open(&Disk::default());
            book(&ledger, &entries).await;
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.facts.id));
            let middle = RequestId::first_of(CHANGE_MS);
            let all = EntryFilter::default;
            let has_tag = |entry: &Entry| entry.facts.tags.iter().any(|(_, value)| &**value == "e1");
            let filters: [(EntryFilter, Takes<'_>); 12] = [
                (all(), &|_| true),
                (EntryFilter { key: Some("key_1".into()), ..all() }, &|entry| entry.facts.key.as_str() == "key_1"),
                (EntryFilter { key: Some("ci".into()), ..all() }, &|_| true),
                (EntryFilter { key: Some("key_9".into()), ..all() }, &|_| false),
                (EntryFilter { team: Some("team 2".into()), ..all() }, &|entry| {
                    entry.facts.team.as_deref() == Some("team 2")
                }),
                (EntryFilter { provider: Some("a".into()), ..all() }, &|entry| {
                    entry.attempts.iter().any(|attempt| attempt.deployment.provider.as_str() == "a")
                }),
                (EntryFilter { status: Some(EntryStatus::Unknown), ..all() }, &|entry| {
                    entry.status == EntryStatus::Unknown
                }),
                (EntryFilter { operation: Some("operation 1".into()), cache: Some("hit".into()), ..all() }, &|entry| {
                    &*entry.facts.operation == "operation 1" && entry.facts.cache == CacheOutcome::Hit
                }),
                (EntryFilter { tag: Some(("env".into(), "e1".into())), ..all() }, &has_tag),
                (EntryFilter { from: Some(middle), ..all() }, &|entry| entry.facts.id >= middle),
                (EntryFilter { until: Some(middle), key: Some("key_0".into()), ..all() }, &|entry| {
                    entry.facts.id < middle && entry.facts.key.as_str() == "key_0"
                }),
                (EntryFilter { text: Some("gpt".into()), model: Some("m".into()), ..all() }, &|entry| {
                    !entry.attempts.is_empty()
                }),
            ];
            for (filter, takes) in filters {
                let expected: Vec<RequestId> =
                    entries.iter().filter(|entry| takes(entry)).map(|entry| entry.facts.id).collect();
                let mut found = Vec::new();
                let mut cursor = None;
                loop {
                    let page = ledger.entries(&filter, cursor, limit).unwrap();
                    assert!(page.items.len() <= limit.max(1));
                    found.extend(page.items.iter().map(|entry| entry.facts.id));
                    cursor = page.next;
                    if cursor.is_none() {
                        break;
                    }
                    assert!(found.len() <= expected.len() && !page.items.is_empty(), "{filter:?} goes on for ever");
                }
                assert_eq!(found, expected, "{filter:?}");
            }
        });
    }
}

#[tokio::test]
async fn running_calls_have_a_list_of_their_own_in_pages() {
    let ledger = open(&Disk::default());
    let mut held = Vec::new();
    for number in 0..5 {
        held.push(ledger.reserve(facts(number), planned(3, vec![])).await.unwrap());
    }
    assert_eq!(ledger.entries(&EntryFilter::default(), None, 10).unwrap().items, []);
    let filter = EntryFilter { status: Some(EntryStatus::Pending), ..EntryFilter::default() };
    let first = ledger.entries(&filter, None, 3).unwrap();
    let second = ledger.entries(&filter, first.next, 3).unwrap();
    let ids: Vec<RequestId> = first.items.iter().chain(&second.items).map(|entry| entry.facts.id).collect();
    assert_eq!(ids, (0..5).rev().map(|number| facts(number).id).collect::<Vec<_>>());
    assert_eq!(second.next, None);
    let range = TimeRange { from: at(START_MS), until: at(START_MS + 1) };
    let costs = ledger.costs(range, &[]).unwrap();
    assert_eq!((costs.pending, costs.held.get()), (5, 15));
    assert_eq!(ledger.costs(TimeRange { from: at(START_MS + 1), ..range }, &[]).unwrap().pending, 0);
}

#[tokio::test]
async fn a_key_that_is_called_like_an_id_is_found_by_its_name() {
    let ledger = open(&Disk::default());
    ledger.record(CallFacts { key_name: "key_of_ada".into(), ..facts(1) }, settled(1)).unwrap();
    flushed(&ledger).await;
    let filter = EntryFilter { key: Some("key_of_ada".into()), ..EntryFilter::default() };
    assert_eq!(ledger.entries(&filter, None, 10).unwrap().items.len(), 1);
}

/// Changes the file behind the ledger's back, and expects so many differences.
async fn check_tampering(expected: usize, tamper: impl FnOnce(&redb::WriteTransaction)) {
    let disk = Disk::default();
    let ledger = open(&disk);
    let charges = vec![charge(&Scope::everything(), Window::Day, 1_000)];
    for number in 0..3 {
        let planned = planned(9, charges.clone());
        ledger.reserve(facts(number), planned).await.unwrap().settle(settled(5)).await.unwrap();
    }
    check_clean(&ledger);
    ledger.stop();
    {
        let database = disk.open().unwrap();
        let transaction = database.begin_write().unwrap();
        tamper(&transaction);
        transaction.commit().unwrap();
    }
    let ledger = open(&disk);
    for report in [ledger.verify(None, |_| {}).unwrap(), ledger.verify_since(facts(0).id).unwrap()] {
        assert!(report.differences.len() >= expected, "{:?}", report.differences);
    }
}

#[tokio::test]
async fn a_row_that_was_taken_out_is_seen() {
    check_tampering(3, |transaction| {
        transaction.open_table(tables::ENTRIES).unwrap().remove(facts(1).id.number()).unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_balance_that_was_taken_out_is_seen() {
    check_tampering(1, |transaction| {
        let mut table = transaction.open_table(tables::BALANCES).unwrap();
        let day = Window::Day.at(at(START_MS), &TimeZone::UTC);
        let earlier = WindowId { number: day.number - 1, ..day };
        let everything = Scope::everything();
        table.remove(tables::balance_key(&everything, day)).unwrap().unwrap();
        let nothing = tables::encode_balance(tables::StoredBalance::default());
        table.insert(tables::balance_key(&everything, earlier), nothing.as_slice()).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_rollup_that_was_changed_or_taken_out_is_seen() {
    check_tampering(2, |transaction| {
        let mut table = transaction.open_table(tables::CELLS).unwrap();
        let keys: Vec<_> = table.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
        table.remove(keys[0]).unwrap();
        table.insert(keys[1], tables::encode_cell(&Cell::default()).as_slice()).unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_stands_out_is_found_in_a_range_and_in_order() {
    let disk = Disk::default();
    let ledger = open(&disk);
    let scope = Scope::everything();
    for (number, cost, latency_ms, error) in
        [(1, 50, 10, None), (2, 0, 900, Some("rate_limited")), (3, 70, 30, Some("rate_limited")), (4, 60, 20, None)]
    {
        let facts = facts_at(number, START_MS + HOUR_MS * i64::try_from(number).unwrap());
        let reservation =
            ledger.reserve(facts, planned(100, vec![charge(&scope, Window::Total, 1_000)])).await.unwrap();
        reservation.settle(Outcome { latency_ms, error: error.map(Into::into), ..settled(cost) }).await.unwrap();
    }
    let range = |from: i64, until: i64| TimeRange {
        from: at(START_MS + HOUR_MS * from),
        until: at(START_MS + HOUR_MS * until),
    };
    let numbers =
        |entries: &[Entry]| entries.iter().map(|entry| (entry.facts.id.number() & 0xff) as u8).collect::<Vec<_>>();
    let all = ledger.extremes(range(0, 10), 3).unwrap();
    assert_eq!(numbers(&all.dearest), [3, 4, 1], "what cost nothing is not dear");
    assert_eq!(numbers(&all.slowest), [2, 3, 4]);
    assert_eq!(all.errors, [("rate_limited".into(), 2)]);
    assert_eq!((all.looked_at, all.is_whole), (4, true));
    let some = ledger.extremes(range(1, 3), 10).unwrap();
    assert_eq!((numbers(&some.dearest), numbers(&some.slowest), some.looked_at), (vec![1], vec![2, 1], 2));
    assert_eq!(ledger.extremes(range(3, 3), 10).unwrap().looked_at, 0);
}

#[tokio::test]
async fn sums_under_several_groupings_and_rollups_of_days_agree() {
    let disk = Disk::default();
    let ledger = open(&disk);
    // Noon of three days.
    for (number, deployment) in [(0, "openai/gpt-5"), (1, "anthropic/claude-haiku-4-5"), (2, "openai/gpt-5")] {
        let facts = facts_at(number, START_MS + 24 * HOUR_MS * i64::try_from(number).unwrap());
        let reservation = ledger.reserve(facts, planned_for(deployment, 100, Vec::new())).await.unwrap();
        reservation.settle(outcome(EntryStatus::Settled, Some(attempt(deployment, 10)))).await.unwrap();
    }
    let range =
        TimeRange { from: "2026-11-01T00:00:00Z".parse().unwrap(), until: "2026-11-24T00:00:00Z".parse().unwrap() };
    let by_each = ledger.costs_by_each(range, &[GroupBy::Provider, GroupBy::Team]).unwrap();
    for (costs, by) in by_each.iter().zip([GroupBy::Provider, GroupBy::Team]) {
        let alone = ledger.costs(range, &[by]).unwrap();
        assert_eq!((costs.total, &costs.groups), (alone.total, &alone.groups));
        assert_eq!(costs.total.cost, Picodollars::new(20));
    }
    let rollups = ledger.day_rollups(range).unwrap();
    let days: Vec<String> = rollups.iter().map(|one| one.window.first_date().unwrap().to_string()).collect();
    assert_eq!(days, ["2026-11-22", "2026-11-23"], "the third day lies behind the end");
    assert_eq!(rollups[1].provider.as_deref(), Some("anthropic"));
    // A range that begins within a day has that day not.
    let later = TimeRange { from: "2026-11-22T00:00:00.001Z".parse().unwrap(), ..range };
    assert_eq!(ledger.day_rollups(later).unwrap().len(), 1);
    assert_eq!(rollups.iter().map(|one| one.sums.cost).sum::<Picodollars>(), by_each[0].total.cost);
}
