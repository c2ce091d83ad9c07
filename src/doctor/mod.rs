//! What is wrong with an installation, and what mends it.
//!
//! [`examine`] looks at everything at once, each look within its own time: at which installation it is, the clock, the disk, the providers' names and keys,
//! prices, the cache, budgets, files, the ledger. What was seen is judged by pure functions, one module for each idea, and
//! comes back as a flat list of [`Check`]s; a warning and a problem always have a mend to copy. It costs nothing: providers
//! are asked for their lists of models, and nothing else. Whoever has the ledger open calls it: the running server, or a
//! command on a folder that nobody uses.

mod books;
mod budgets;
mod cache;
mod clock;
mod credentials;
mod disk;
mod files;
mod installation;
mod limits;
mod patient;
mod prices;
mod providers;
mod report;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all, join3};
use jiff::{SignedDuration, Timestamp};

use crate::budget::{Budgets, Standing};
use crate::catalog::BUILTIN_TAKEN;
use crate::config::{Config, ProviderConfig};
use crate::domain::{BudgetAction, ProviderKind, RequestId};
use crate::ledger::{EntryFilter, GroupBy, Inspection, Ledger, TimeRange};
use crate::provider::{Probe, probe};

pub use files::{Seen, judge as judge_files, us};
pub use patient::{Kept, Patient, Served, Trouble};
pub use report::{Check, Report, Verdict};
pub use settings::problems;

/// The longest that a look at the folder takes before it is given up: the whole shall be done within 15 s.
const LOOK_TIME_MAX: Duration = Duration::from_secs(10);
/// The longest that is waited for the sums of budgets before the look at the folder begins.
const SUMS_TIME_MAX: Duration = Duration::from_secs(2);
/// How long the rows of a ledger are read that no server reads.
const INSPECTION_TIME_MAX: Duration = Duration::from_secs(6);
/// What is looked back at.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Checks that say something only by settings that can be used.
const OF_SETTINGS: [&str; 6] =
    ["DNS", "provider keys", "price coverage", "unpriced traffic", "cache health", "budget sanity"];
/// How often a Redis is asked before it counts as away: the first question makes the connection.
const REDIS_TRIES: u32 = 5;
const REDIS_PAUSE: Duration = Duration::from_millis(200);

/// Looks at everything, and says what was found.
pub async fn examine(patient: Patient) -> Report {
    let patient = Arc::new(patient);
    let remote = join3(probe_all(&patient), check_redis(&patient), installation::is_answered(&patient));
    let ((probes, redis, is_answered), local) = join(remote, look_at_folder(&patient)).await;
    let mut checks = vec![installation::judge(&patient, is_answered)];
    checks.extend(settings::judge(&patient));
    let offsets =
        probes.iter().flat_map(|(_, probe)| &probe.asked).filter_map(|asked| asked.as_ref().ok()?.clock_ahead);
    checks.push(clock::judge(&clock::Times {
        now: patient.clock.now(),
        zone: zone_name(&patient.config),
        leap: patient.clock.leap(),
        offsets: &offsets.collect::<Vec<_>>(),
        newest: local.newest,
    }));
    checks.push(local.disk);
    checks.extend(local.files);
    checks.push(local.ledger);
    checks.extend(patient.troubles.iter().map(|trouble| books::other(trouble, patient.files())));
    if patient.unusable.is_empty() {
        checks.extend(of_network(&patient, &probes));
        checks.extend(local.prices);
        checks.push(cache::memory(&patient.config.cache, patient.served.as_ref().map(|served| &served.cache)));
        checks.extend(redis);
        checks.extend(local.budgets);
    } else {
        checks.extend(OF_SETTINGS.map(|name| Check::skipped(name, "the settings can't be used")));
    }
    Report::new(checks, patient.served.is_some())
}

fn zone_name(config: &Config) -> String {
    config.time_zone.iana_name().unwrap_or("a zone without a name").to_owned()
}

fn is_remote(provider: &ProviderConfig) -> bool {
    provider.kind != ProviderKind::Sandbox
}

/// Every provider that there is a network to, all at once.
async fn probe_all(patient: &Patient) -> Vec<(&ProviderConfig, Probe)> {
    if patient.is_offline {
        return Vec::new();
    }
    let clients = patient.clients.clone();
    // Reads the system's certificates, which takes a while.
    let _ = tokio::task::spawn_blocking(move || clients.prepare()).await;
    let probed = |provider| async move { (provider, probe(provider, &patient.clients, &patient.clock).await) };
    join_all(patient.config.providers.iter().filter(|provider| is_remote(provider)).map(probed)).await
}

fn of_network(patient: &Patient, probes: &[(&ProviderConfig, Probe)]) -> Vec<Check> {
    let why = if patient.is_offline { "left out by --offline" } else { "no provider is reached over a network" };
    let mut checks: Vec<Check> =
        probes.iter().map(|(provider, probe)| providers::connection(provider, probe)).collect();
    if checks.is_empty() {
        checks.push(Check::skipped("DNS", why));
    }
    let now = Instant::now();
    let keys = patient.config.providers.iter().filter(|provider| is_remote(provider)).filter_map(|provider| {
        let probe = probes.iter().find(|(asked, _)| asked.name == provider.name).map(|(_, probe)| probe);
        let standings = patient.served.as_ref().and_then(|served| served.credentials.get(&provider.name));
        credentials::judge(&credentials::Seen { provider, probe, standings: standings.cloned() }, &patient.config, now)
    });
    let keys: Vec<Check> = keys.collect();
    if keys.is_empty() {
        checks.push(Check::skipped("provider keys", why));
    }
    checks.into_iter().chain(keys).collect()
}

/// Whether the Redis answers, where there is to be one.
async fn check_redis(patient: &Patient) -> Option<Check> {
    let redis = patient.redis.as_ref()?;
    if patient.is_offline {
        return Some(Check::skipped("cache health", "left out by --offline").about("redis"));
    }
    let before = redis.stats();
    let mut answers = false;
    for attempt in 0..REDIS_TRIES {
        if attempt > 0 {
            tokio::time::sleep(REDIS_PAUSE).await;
        }
        answers = redis.fetch(&["doctor".to_owned()]).await.is_some();
        if answers {
            break;
        }
    }
    // Its own questions are no part of what it has done for calls.
    let stats = crate::shared::SharedStats { reachable: redis.stats().reachable, ..before };
    Some(cache::redis(stats, answers))
}

/// What was found without a network.
struct Local {
    disk: Check,
    files: Vec<Check>,
    ledger: Check,
    prices: Vec<Check>,
    budgets: Vec<Check>,
    newest: Option<Timestamp>,
}

async fn look_at_folder(patient: &Arc<Patient>) -> Local {
    sum_up_budgets(patient).await;
    let (disk, books, rest) = join3(
        within("disk", patient, |patient| vec![check_disk(patient)]),
        within("ledger health", patient, |patient| vec![check_ledger(patient)]),
        futures_util::future::join3(
            within("price coverage", patient, check_prices),
            within("budget sanity", patient, check_budgets),
            blocking(patient, newest_entry),
        ),
    )
    .await;
    let (prices, budgets, newest) = rest;
    let files = match &patient.files {
        Ok(seen) => judge_files(seen, us()),
        Err(error) => vec![unreadable_folder(patient, error)],
    };
    let first = |mut checks: Vec<Check>| checks.swap_remove(0);
    Local { disk: first(disk), files, ledger: first(books), prices, budgets, newest: newest.flatten() }
}

/// Has the ledger keep the sums of all budgets, which it may not do yet for those of a window that has just begun.
async fn sum_up_budgets(patient: &Patient) {
    if let (Kept::Open(keys), Kept::Open(ledger)) = (&patient.keys, &patient.ledger) {
        let budgets = Budgets::new(Arc::clone(keys), Arc::clone(ledger));
        // What fails or hangs here is told by the look that needs it.
        let _ = tokio::time::timeout(SUMS_TIME_MAX, budgets.track_all(patient.clock.now())).await;
    }
}

/// Runs what blocks on a thread of its own; nothing where it takes too long.
async fn blocking<T: Send + 'static>(
    patient: &Arc<Patient>,
    look: impl FnOnce(&Patient) -> T + Send + 'static,
) -> Option<T> {
    let patient = Arc::clone(patient);
    let looking = tokio::task::spawn_blocking(move || look(&patient));
    tokio::time::timeout(LOOK_TIME_MAX, looking).await.ok()?.ok()
}

/// The same for checks; what takes too long is a problem by itself.
async fn within(
    name: &'static str,
    patient: &Arc<Patient>,
    look: impl FnOnce(&Patient) -> Vec<Check> + Send + 'static,
) -> Vec<Check> {
    blocking(patient, look).await.unwrap_or_else(|| {
        let found = format!("no answer within {} s: the disk hangs, or is very busy", LOOK_TIME_MAX.as_secs());
        vec![Check::problem(name, found, "dmesg | tail; iostat -x 1 3")]
    })
}

fn unreadable_folder(patient: &Patient, error: &std::io::Error) -> Check {
    let folder = patient.config.data_dir.display();
    let name = "file permissions";
    if error.kind() == std::io::ErrorKind::NotFound {
        return Check::ok(
            name,
            format!("there is no data folder {folder} yet: the first start makes it, for its user alone"),
        );
    }
    Check::problem(
        name,
        format!("the data folder {folder} can't be read: {error}"),
        format!("sudo chown -R \"$(id -un)\" {folder}"),
    )
}

fn check_disk(patient: &Patient) -> Check {
    let folder = &patient.config.data_dir;
    let ledger = folder.join("ledger.redb");
    if !folder.exists() {
        return Check::skipped(
            "disk",
            format!("there is no data folder {} yet: the first start makes it", folder.display()),
        );
    }
    match disk::look(folder, &ledger) {
        Ok(seen) => disk::judge(folder, &seen),
        Err(error) => {
            let shown = folder.display();
            Check::problem(
                "disk",
                format!("the filesystem of {shown} can't be looked at: {error}"),
                format!("df -h {shown}"),
            )
        }
    }
}

fn check_ledger(patient: &Patient) -> Check {
    let Some(ledger) = patient.ledger.open() else {
        return books::ledger(&patient.ledger.state(), None, None, patient.files());
    };
    if patient.served.is_none() {
        let started = Instant::now();
        let yesterday = patient.clock.now() - SignedDuration::from_hours(24);
        let since = RequestId::first_of(yesterday.as_millisecond());
        ledger.inspect(since, || started.elapsed() < INSPECTION_TIME_MAX);
    }
    let last = ledger.last_inspection().map(|(at, inspection)| books::Look { ago: at.elapsed(), inspection });
    // What an inspection found is said in its own words.
    let is_damaged = matches!(&last, Some(books::Look { inspection: Inspection::Damaged { .. }, .. }));
    let trouble = ledger.trouble().filter(|_| !is_damaged);
    books::ledger(&Kept::Open(()), trouble.as_deref(), last.as_ref(), patient.files())
}

fn check_prices(patient: &Patient) -> Vec<Check> {
    let Patient { config, catalog, clock, .. } = patient;
    let now = clock.now();
    let called = match &patient.ledger {
        Kept::Open(ledger) => called(ledger, now).map_err(|error| format!("the ledger can't be read: {error}")),
        Kept::Absent => Ok(Vec::new()),
        Kept::Broken(_) => Err("the ledger can't be opened".to_owned()),
        Kept::Unopened(why) => Err((*why).to_owned()),
    };
    let (unpriced, looked_up) = prices::unpriced(config, catalog, called.as_deref().unwrap_or_default());
    let is_refused = patient
        .keys
        .open()
        .is_some_and(|keys| keys.budgets().iter().any(|budget| budget.action == BudgetAction::Block));
    let made = match &config.catalog_file {
        None => Some(BUILTIN_TAKEN),
        Some(path) => std::fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|at| Some(Timestamp::try_from(at).ok()?.to_zoned(config.time_zone.clone()).date())),
    };
    let today = now.to_zoned(config.time_zone.clone()).date();
    let age = prices::ListAge { is_own: config.catalog_file.is_some(), made, today };
    vec![prices::coverage(&unpriced, looked_up, called.is_ok(), is_refused, age), prices::traffic(called.as_deref())]
}

/// What was called in the last 30 days, by provider and model.
fn called(ledger: &Ledger, now: Timestamp) -> Result<Vec<prices::Called>, crate::ledger::LedgerError> {
    let range = TimeRange { from: now - LOOK_BACK, until: now + SignedDuration::from_secs(1) };
    let costs = ledger.costs(range, &[GroupBy::Provider, GroupBy::Model])?;
    let mut called = BTreeMap::new();
    for group in costs.groups {
        // Calls that never reached a provider, answers of the cache among them.
        if !group.name.is_empty() {
            let sums = group.sums;
            let row = prices::Called {
                provider: group.name.clone(),
                model: group.series.clone(),
                requests: sums.requests,
                unpriced: sums.unpriced,
                tokens: sums.usage.total_input() + sums.usage.output,
            };
            called.insert((group.name, group.series), row);
        }
    }
    Ok(called.into_values().collect())
}

fn check_budgets(patient: &Patient) -> Vec<Check> {
    let name = "budget sanity";
    let keys = match &patient.keys {
        Kept::Open(keys) => keys,
        Kept::Absent => return vec![Check::skipped(name, "no budget can have been set yet")],
        Kept::Broken(_) => return vec![Check::skipped(name, "the file of keys and budgets can't be opened")],
        Kept::Unopened(why) => return vec![Check::skipped(name, *why)],
    };
    let Some(ledger) = patient.ledger.open() else {
        return vec![Check::skipped(name, "without a ledger nothing is spent")];
    };
    let now = patient.clock.now();
    let standings = Budgets::new(Arc::clone(keys), Arc::clone(ledger)).standings(now);
    match standings {
        Ok(standings) => {
            let around = budgets::Around { config: &patient.config, catalog: &patient.catalog, keys, now };
            budgets::judge(&standings as &[Standing], &around)
        }
        Err(error) => vec![Check::skipped(name, format!("the ledger can't be read: {error}"))],
    }
}

fn newest_entry(patient: &Patient) -> Option<Timestamp> {
    let page = patient.ledger.open()?.entries(&EntryFilter::default(), None, 1).ok()?;
    page.items.first().map(crate::ledger::Entry::time)
}
