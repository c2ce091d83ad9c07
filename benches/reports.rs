//! How long the report of a month of a million calls takes.
//!
//! `cargo run --release --example filled_ledger -- FOLDER 1000000`, then `TOLLGATE_LEDGER_FOLDER=FOLDER cargo bench --bench
//! reports`. Without the variable the ledger is empty, which shows only that it works.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement stops at the first surprise, prints, and is told where the ledger is"
)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::tz::TimeZone;
use tollgate::keys::Keys;
use tollgate::ledger::{Acknowledge, Ledger, LedgerOptions, TimeRange};
use tollgate::reports::{Kind, Period, Report, markdown};
use tollgate::runtime::Clock;
use tollgate::store::{OpenOptions, Settings};

const ROUNDS: usize = 5;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let given = std::env::var_os("TOLLGATE_LEDGER_FOLDER").map(PathBuf::from);
    let keys = keys(folder.path());
    let ledger = Ledger::open(LedgerOptions {
        path: given.as_deref().unwrap_or(folder.path()).join("ledger.redb"),
        zone: TimeZone::UTC,
        acknowledge: Acknowledge::Durable,
    });
    let ledger = ledger.unwrap();
    println!("{} entries", ledger.counts().unwrap().entries);
    let now = Clock::system().now();
    let recent = Period::recent(Kind::Monthly, 2, now, &TimeZone::UTC);
    let days = Period::recent(Kind::Daily, 2, now, &TimeZone::UTC);
    for period in recent.into_iter().chain(days) {
        measure(&ledger, &keys, &period);
    }
    // A month may hold all of them: the look at single calls is what grows with their number.
    let all = TimeRange { from: "2000-01-01T00:00:00Z".parse().unwrap(), until: now };
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let extremes = ledger.extremes(all, 10).unwrap();
        println!("look at {} calls: {:.0} ms", extremes.looked_at, started.elapsed().as_secs_f64() * 1e3);
    }
}

fn measure(ledger: &Ledger, keys: &Keys, period: &Period) {
    let now = Clock::system().now();
    let mut times: Vec<f64> = Vec::new();
    let mut requests = 0;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let report = Report::of(period.clone(), ledger, keys, now).unwrap();
        assert!(!markdown::write(&report.document()).is_empty());
        requests = report.total.requests;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{} of {requests} calls: median {:.0} ms, worst {:.0} ms",
        period.name(),
        times[ROUNDS / 2],
        times[ROUNDS - 1]
    );
}

fn keys(folder: &Path) -> Keys {
    let options = OpenOptions { path: folder.join("settings.redb"), name: "settings", cache_bytes: 1 << 20 };
    Keys::open(Settings::open(&options).unwrap(), &folder.join("pepper")).unwrap()
}
