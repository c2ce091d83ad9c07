//! What must hold of the ledger: calls, budgets, sums, faults.

mod adjustments;
mod beside;
mod budgets;
mod calls;
mod chains;
mod faults;
mod inspection;
mod past;
mod sums;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::*;
use crate::domain::{CacheOutcome, CostBasis, Deployment, EntryStatus, KeyId, TokenUsage, Window};
use crate::store::tests::disk::Disk;

/// The instant at which the tests' calls begin: 2026-11-22T12:00:00Z.
const START_MS: i64 = 1_795_348_800_000;
const HOUR_MS: i64 = 3_600_000;

const SIZES: WriterOptions = WriterOptions {
    queue_len: 256,
    batch_max: 64,
    gather_time: Duration::ZERO,
    reopen_pause: Duration::from_millis(1),
    on_panic: OnPanic::Abort,
};

fn open_with(disk: &Disk, zone: TimeZone, acknowledge: Acknowledge) -> Ledger {
    open_sized(disk, zone, acknowledge, SIZES)
}

/// A ledger whose calls don't wait for the disk, and that lets what they do gather.
fn open_gathering(disk: &Disk, gather_time: Duration) -> Ledger {
    open_sized(disk, TimeZone::UTC, Acknowledge::Queued, WriterOptions { gather_time, ..SIZES })
}

fn open_sized(disk: &Disk, zone: TimeZone, acknowledge: Acknowledge, sizes: WriterOptions) -> Ledger {
    let reopened = disk.clone();
    Ledger::start(&Disk::options(), disk.open().unwrap(), move || reopened.open(), zone, acknowledge, sizes).unwrap()
}

/// A ledger over a disk that may fail.
pub(crate) fn open_on(disk: &Disk, zone: TimeZone) -> Ledger {
    open_with(disk, zone, Acknowledge::Durable)
}

fn open(disk: &Disk) -> Ledger {
    open_with(disk, TimeZone::UTC, Acknowledge::Durable)
}

fn facts_at(number: u64, unix_ms: i64) -> CallFacts {
    CallFacts {
        team: Some("red".into()),
        tags: vec![("env".into(), "test".into())],
        ..CallFacts::plain(
            RequestId::from_number(RequestId::first_of(unix_ms).number() + u128::from(number)),
            KeyId::new("key_1").unwrap(),
            "ci".into(),
            "gpt-5".parse().unwrap(),
        )
    }
}

fn facts(number: u64) -> CallFacts {
    facts_at(number, START_MS)
}

fn charge(scope: &Scope, window: Window, limit: i128) -> Charge {
    let window = window.at(at(START_MS), &TimeZone::UTC);
    Charge { budget: BudgetId(1), scope: scope.clone(), window, limit: Picodollars::new(limit) }
}

fn at(unix_ms: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(unix_ms).unwrap()
}

fn planned(ceiling: i128, charges: Vec<Charge>) -> Planned {
    planned_for("openai/gpt-5", ceiling, charges)
}

fn planned_for(deployment: &str, ceiling: i128, charges: Vec<Charge>) -> Planned {
    let deployment: Deployment = deployment.parse().unwrap();
    let worst_case = WorstCase::fixed(Picodollars::new(ceiling));
    Planned { deployment, worst_case, charges, turning: Vec::new(), watched: Vec::new(), started_ms: 0 }
}

pub(super) fn attempt(deployment: &str, cost: i128) -> Attempt {
    Attempt {
        deployment: deployment.parse().unwrap(),
        status: 200,
        error: None,
        usage: TokenUsage { uncached_input: 7, output: 3, ..TokenUsage::default() },
        cost: Picodollars::new(cost),
        basis: CostBasis::Exact,
        started_ms: 0,
        latency_ms: 12,
        time_to_first_token_ms: None,
        raw_usage: Some("{}".into()),
        upstream_request_id: None,
        rating: None,
    }
}

fn outcome(status: EntryStatus, last: Option<Attempt>) -> Outcome {
    Outcome {
        status,
        error: None,
        http_status: 200,
        last,
        latency_ms: 15,
        time_to_first_token_ms: None,
        saved: Picodollars::ZERO,
    }
}

fn settled(cost: i128) -> Outcome {
    outcome(EntryStatus::Settled, Some(attempt("openai/gpt-5", cost)))
}

/// A call whose attempt has ended.
fn after(mut reservation: Reservation, attempt: Attempt) -> Reservation {
    reservation.end(attempt);
    reservation
}

/// Ends the first of two attempts, and goes on with the other.
fn go_on_beside(ledger: &Ledger, reservation: &mut Reservation, beside: Hold, ended: Attempt) {
    ledger.end_first(reservation, ended);
    reservation.stand_for(beside);
}

fn balance(ledger: &Ledger, scope: &Scope, window: Window) -> (i128, i128, i128) {
    let balance = ledger.balance(scope, window.at(at(START_MS), ledger.zone())).unwrap();
    (balance.spent.get(), balance.unknown.get(), balance.held.get())
}

/// Writes into the file behind the ledger's back.
fn with_file(disk: &Disk, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = disk.open().unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

fn check_clean(ledger: &Ledger) {
    let report = ledger.verify(None, |_| {}).unwrap();
    assert_eq!((&*report.differences, &*report.chain_faults), (&[][..], &[][..]));
    assert_eq!(ledger.counts().unwrap().entries, report.entries);
    assert_eq!(ledger.counts().unwrap().total.cost, report.total);
}

/// Waits until the file has what was queued before: a sum that nobody has asked for is only there with its batch.
async fn flushed(ledger: &Ledger) {
    try_flush(ledger).await.unwrap();
}

async fn try_flush(ledger: &Ledger) -> Result<(), LedgerError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let scope = Scope::of("key", &format!("nobody {}", COUNT.fetch_add(1, Ordering::Relaxed)));
    ledger.track(scope, Window::Total.at(at(START_MS), ledger.zone())).await
}
