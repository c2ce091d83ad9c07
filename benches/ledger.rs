//! What a reservation and its settlement cost: processor time in batches, and throughput in a closed loop.
//!
//! Every call is held under three budgets and booked durably, on the file system of the temporary folder. Processor time
//! is that of all threads, so it doesn't depend on how fast the disk syncs; calls a second do.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement stops at the first surprise and prints")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use tollgate::domain::{
    BudgetId, CacheOutcome, CostBasis, EntryStatus, KeyId, Picodollars, RequestId, RequestIds, TokenUsage, Window,
};
use tollgate::ledger::{
    Acknowledge, Attempt, CallFacts, Charge, Ledger, LedgerOptions, Outcome, Planned, Scope, WorstCase,
};

const KEYS: usize = 20;
const MODELS: [&str; 3] = ["openai/gpt-5", "anthropic/claude-sonnet-4-5", "local/qwen"];
/// 2026-11-22T12:00:00Z; calls are a millisecond apart.
const START_MS: i64 = 1_795_348_800_000;

fn main() {
    println!("callers  calls/s  processor time a call");
    for callers in [1, 8, 64, 512] {
        let folder = tempfile::tempdir().unwrap();
        let options = LedgerOptions {
            path: folder.path().join("ledger.redb"),
            zone: TimeZone::get("Europe/Berlin").unwrap(),
            acknowledge: Acknowledge::Durable,
        };
        let ledger = Arc::new(Ledger::open(options).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // A second to fill caches, then three that count.
        runtime.block_on(run(&ledger, callers, Duration::from_secs(1)));
        let (started, busy) = (Instant::now(), processor_time());
        let calls = runtime.block_on(run(&ledger, callers, Duration::from_secs(3)));
        let (busy, elapsed) = (processor_time().saturating_sub(busy), started.elapsed());
        let micros = busy.as_secs_f64() * 1e6 / f64::from(calls);
        println!("{callers:7}  {:7.0}  {micros:.1} µs", f64::from(calls) / elapsed.as_secs_f64());
        let started = Instant::now();
        let report = ledger.verify(None, |_| {}).unwrap();
        assert!(report.is_sound());
        println!("         verified: {} entries in {:.2} s", report.entries, started.elapsed().as_secs_f64());
    }
}

/// Lets so many callers make one call after the other, and counts them.
async fn run(ledger: &Arc<Ledger>, callers: usize, time: Duration) -> u32 {
    static IDS: RequestIds = RequestIds::new(7);
    let until = Instant::now() + time;
    // What a call is like is made beforehand: the gateway's work is not the ledger's.
    let kinds: Vec<_> = (0..KEYS * MODELS.len()).map(|at| (facts(at), planned(at), outcome(at))).collect();
    let kinds = &kinds;
    let caller = |caller: usize| async move {
        let mut calls = 0;
        while Instant::now() < until {
            let (facts, planned, outcome) = kinds[(caller + calls as usize) % kinds.len()].clone();
            let facts = CallFacts { id: IDS.next(START_MS + i64::from(calls)), ..facts };
            let reservation = ledger.reserve(facts, planned).await.unwrap();
            reservation.settle(outcome).await.unwrap();
            calls += 1;
        }
        calls
    };
    futures_util::future::join_all((0..callers).map(caller)).await.into_iter().sum()
}

fn facts(at: usize) -> CallFacts {
    CallFacts {
        team: Some("platform".into()),
        stream: true,
        cache: CacheOutcome::Miss,
        tags: vec![("env".into(), "production".into())],
        ..CallFacts::plain(
            RequestId::from_number(0),
            KeyId::new(&format!("key_{}", at % KEYS)).unwrap(),
            "continuous integration".into(),
            "gpt-5".parse().unwrap(),
        )
    }
}

fn planned(at: usize) -> Planned {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let now = jiff::Timestamp::from_millisecond(START_MS).unwrap();
    let charge = |number, scope, window: Window| Charge {
        budget: BudgetId(number),
        scope,
        window: window.at(now, &zone),
        limit: Picodollars::from_dollars(1_000_000),
    };
    let key = Scope::of("key", &format!("key_{}", at % KEYS));
    Planned {
        deployment: MODELS[at % MODELS.len()].parse().unwrap(),
        worst_case: WorstCase::fixed(Picodollars::new(50_000_000_000)),
        turning: Vec::new(),
        charges: vec![
            charge(1, Scope::everything(), Window::Month),
            charge(2, Scope::of("team", "platform"), Window::Week),
            charge(3, key, Window::Day),
        ],
        watched: Vec::new(),
        started_ms: 0,
    }
}

fn outcome(at: usize) -> Outcome {
    let usage = TokenUsage { uncached_input: 1_234, cache_read: 4_096, output: 321, ..TokenUsage::default() };
    let raw = r#"{"prompt_tokens":5330,"completion_tokens":321,"total_tokens":5651}"#;
    let attempt = Attempt {
        deployment: MODELS[at % MODELS.len()].parse().unwrap(),
        status: 200,
        error: None,
        usage,
        cost: Picodollars::new(4_752_500_000),
        basis: CostBasis::Exact,
        started_ms: 0,
        latency_ms: 1_800,
        time_to_first_token_ms: Some(400),
        raw_usage: Some(raw.into()),
        upstream_request_id: Some("req_011CSHoEeqs5C35K2UUqR7Fy".into()),
        rating: None,
    };
    Outcome {
        status: EntryStatus::Settled,
        error: None,
        http_status: 200,
        last: Some(attempt),
        latency_ms: 1_801,
        time_to_first_token_ms: Some(401),
        saved: Picodollars::ZERO,
    }
}

/// What all threads of this process have run for: the first number of each one's `schedstat`, in nanoseconds.
fn processor_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanos = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}
