//! Makes a ledger of so many entries, through the ledger's own door: what a start, a report or a verification is measured on.
//!
//! `filled_ledger FOLDER ENTRIES`: `ledger.redb` in a folder that becomes a data folder with it. Calls are spread over the last
//! thirty days, twenty keys and three models.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use jiff::tz::TimeZone;
use tollgate::domain::{CostBasis, EntryStatus, KeyId, Picodollars, RequestIds, TokenUsage};
use tollgate::ledger::{Acknowledge, Attempt, CallFacts, Ledger, LedgerError, LedgerOptions, Outcome};
use tollgate::runtime::Clock;

const KEYS: u64 = 20;
const MODELS: [&str; 3] = ["openai/gpt-5", "anthropic/claude-sonnet-4-5", "openai/gpt-4o-mini"];
const DAYS: i64 = 30;
const DAY_MS: i64 = 24 * 3_600_000;
/// How long to wait where the writer has as much as it takes.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

fn facts(number: u64, id: tollgate::domain::RequestId) -> CallFacts {
    CallFacts {
        team: Some(["platform", "research"][(number % 2) as usize].into()),
        stream: number.is_multiple_of(2),
        tags: vec![],
        ..CallFacts::plain(
            id,
            KeyId::new(&format!("key_{}", number % KEYS)).expect("it is a short text"),
            format!("key {}", number % KEYS).into(),
            "gpt-5".parse().expect("it is a name"),
        )
    }
}

fn outcome(number: u64) -> Outcome {
    let (input, output) = (500 + number % 3_000, 50 + number % 700);
    let attempt = Attempt {
        deployment: MODELS[(number % 3) as usize].parse().expect("it is a deployment"),
        status: 200,
        error: None,
        usage: TokenUsage { uncached_input: input, output, ..TokenUsage::default() },
        cost: Picodollars::new(i128::from(input * 150_000 + output * 600_000)),
        basis: CostBasis::Exact,
        started_ms: 1,
        latency_ms: 1_800,
        time_to_first_token_ms: Some(400),
        raw_usage: Some(
            format!(r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{}}}"#, input + output)
                .into(),
        ),
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

fn fill(path: PathBuf, entries: u64) -> Result<(), Box<dyn std::error::Error>> {
    let ledger = Ledger::open(LedgerOptions { path, zone: TimeZone::UTC, acknowledge: Acknowledge::Queued })?;
    let ids = RequestIds::new(1);
    let began = Clock::system().now().as_millisecond() - DAYS * DAY_MS;
    for number in 0..entries {
        let passed = i128::from(DAYS * DAY_MS) * i128::from(number) / i128::from(entries);
        let facts = facts(number, ids.next(began + i64::try_from(passed)?));
        loop {
            match ledger.record(facts.clone(), outcome(number)) {
                Err(LedgerError::Busy) => std::thread::sleep(BUSY_PAUSE),
                recorded => break recorded?,
            }
        }
    }
    ledger.stop();
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, entries] = arguments.as_slice() else { return ExitCode::from(2) };
    let Ok(entries) = entries.parse() else { return ExitCode::from(2) };
    match fill(PathBuf::from(folder).join("ledger.redb"), entries) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
