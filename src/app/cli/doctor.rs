//! `tollgate doctor`: what is wrong with an installation, and what mends it.
//!
//! A running server examines itself; without one the folder is looked at from here. What only this side sees is added: a
//! file of settings that the next start would refuse, files of variables that others can read.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::super::folder::DataFolder;
use super::super::settings::Settings;
use super::super::{parts, price_file, with_causes};
use super::client::Client;
use super::reach::{Absent, Claimed, claim, given_token, named_server};
use super::{Shared, terminal};
use crate::catalog::Catalog;
use crate::config::{self, Config, Problem, Sources};
use crate::doctor::{self, Check, Kept, Patient, Report, Seen, Trouble, Verdict};
use crate::domain::wording::counted;
use crate::idempotency::Idempotency;
use crate::ledger::Ledger;
use crate::provider::ClientSettings;
use crate::runtime::Clock;
use crate::store::{OpenError, SettingsError};

const EXAMPLES: &str = "\
Examples:
  tollgate doctor                              the first thing to do when something is wrong
  tollgate doctor --offline                    without asking providers, name servers or Redis
  tollgate doctor --data-dir /var/lib/tollgate --config /etc/tollgate.toml
  tollgate doctor --json | jq '.checks[] | select(.verdict == \"problem\")'

Says which installation it looked at. Looks at settings, clock, disk, file permissions, ledger, each provider's name, certificate and keys, prices, calls without a
price, cache, Redis and budgets. Each finding has its mend: a command, or lines for tollgate.toml, to copy. It costs nothing:
providers are asked for their lists of models, never for an answer. Nothing of a key is shown but its last four characters.

A server that runs on the data folder examines itself; without one the folder is looked at. It takes 15 s at most.
Exit codes: 0 no problem (warnings may be), 1 a problem, 2 wrong usage.";

/// Arguments of `doctor`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorArguments {
    /// Leave out what goes over the network: providers, name servers, Redis
    #[arg(long)]
    offline: bool,
}

/// Examines the server that was named, the one that runs on the data folder, or the folder.
pub(super) async fn run(shared: &Shared, arguments: &DoctorArguments) -> anyhow::Result<ExitCode> {
    terminal::tell_progress("looking…");
    let report = match named_server(shared)? {
        Some(server) => by_server(&server, arguments.offline).await?,
        None => here(shared, arguments.offline).await,
    };
    if shared.json {
        terminal::print(&serde_json::to_string(&report)?);
    } else {
        terminal::print(&as_text(&report));
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn by_server(server: &Client, offline: bool) -> anyhow::Result<Report> {
    let report = server.post(&format!("/api/doctor?offline={offline}"), &Value::Null).await?;
    serde_json::from_value(report).context("the server answers something else than a report: is it of another version?")
}

/// What can be found on this machine, with or without a server that runs here.
async fn here(shared: &Shared, is_offline: bool) -> Report {
    let settings = shared.settings([]);
    let mut own: Vec<Check> = settings.dotenvs().iter().filter_map(|path| open_to_others(path)).collect();
    let read = Read::of(&settings, is_offline);
    if let Some(problem) = &read.at_the_start {
        own.extend(doctor::problems([problem], Some(settings.file())));
    }
    if let Err(error) = &read.files
        && error.kind() == std::io::ErrorKind::NotFound
    {
        return with(own, doctor::examine(read.patient()).await);
    }
    match claim(read.config.clone(), given_token(shared), Absent::Told) {
        Ok(Claimed::Folder(folder, _)) => with(own, of_folder(&folder, read).await),
        Ok(Claimed::Server(server)) => match by_server(&server, is_offline).await {
            Ok(report) => {
                // The server may have secrets from elsewhere that this command hasn't.
                if settings.load_sparing_secrets().is_err() {
                    own.extend(for_the_next_start(&read.unusable, settings.file(), &report));
                }
                // Asking for the folder has closed it, so that the server finds nothing any more.
                let was_open = read.files.ok().and_then(|seen| seen.into_iter().next()).filter(Seen::is_open);
                own.extend(
                    was_open.iter().flat_map(|folder| doctor::judge_files(std::slice::from_ref(folder), folder.owner)),
                );
                with(own, report)
            }
            Err(error) => without_folder(own, &error, read).await,
        },
        Err(error) => without_folder(own, &error, read).await,
    }
}

/// What was read here before anything was opened.
struct Read {
    config: Config,
    is_named: bool,
    unusable: Vec<Problem>,
    /// What only a start would find out.
    at_the_start: Option<Problem>,
    file: PathBuf,
    files: std::io::Result<Vec<Seen>>,
    is_offline: bool,
}

impl Read {
    /// Of settings that can't be used the data folder alone counts, as far as it can be made out.
    fn of(settings: &Settings, is_offline: bool) -> Self {
        let folder = settings.data_dir();
        let is_named = folder.as_ref().is_some_and(|folder| folder.is_named);
        let (config, unusable, at_the_start) = match settings.load() {
            Ok(config) => {
                let problem = parts::upstreams(&config).err();
                (config, Vec::new(), problem.map(|error| Problem::new("providers", with_causes(&error))))
            }
            Err(problems) => (bare(folder.map(|folder| folder.path)), problems.iter().cloned().collect(), None),
        };
        let files = Seen::of_folder(&config.data_dir);
        Self { config, is_named, unusable, at_the_start, file: settings.file().to_owned(), files, is_offline }
    }

    /// Everything that can be known without opening anything.
    fn patient(self) -> Patient {
        let Self { config, is_named, unusable, file, files, is_offline, .. } = self;
        Patient {
            unusable,
            file: Some(file),
            is_named,
            clock: Clock::system(),
            catalog: Arc::new(price_file::catalog(&config).unwrap_or_else(|_| Catalog::builtin())),
            ledger: Kept::Absent,
            keys: Kept::Absent,
            files,
            served: None,
            redis: if is_offline { None } else { parts::shared(&config).ok().flatten() },
            troubles: Vec::new(),
            clients: ClientSettings::new(config.tls.ca_file.clone()),
            is_offline,
            config: Arc::new(config),
        }
    }
}

/// Settings that are nobody's, for a folder whose own can't be used.
fn bare(folder: Option<PathBuf>) -> Config {
    let mut config = config::load(&Sources::none()).expect("no settings at all are settings");
    if let Some(folder) = folder {
        config.data_dir = folder;
    }
    config
}

/// What can be found where the folder, or the server that has it, gives no answer.
async fn without_folder(mut own: Vec<Check>, error: &anyhow::Error, read: Read) -> Report {
    own.push(unasked(error));
    let why = "the data folder can't be taken";
    with(
        own,
        doctor::examine(Patient { ledger: Kept::Unopened(why), keys: Kept::Unopened(why), ..read.patient() }).await,
    )
}

/// Looks at a folder that nobody uses. Nothing is made in it that isn't there.
async fn of_folder(folder: &DataFolder, read: Read) -> Report {
    let mut troubles = Vec::new();
    let config = &read.config;
    let ledger = if read.unusable.is_empty() {
        opened(&parts::ledger_path(folder.path()), || parts::open_ledger(folder, config).map(Arc::new))
    } else {
        // Their time zone is not known, and in another one every sum would be taken anew.
        Kept::Unopened("the settings can't be used")
    };
    let keys = opened(&folder.path().join("settings.redb"), || {
        parts::keys_of(folder, parts::open_settings(folder)?).map(Arc::new)
    });
    if let Kept::Broken(error) = &keys {
        troubles.push(Trouble::Keys(error.clone()));
    }
    let idempotency_path = folder.path().join("idempotency.redb");
    if idempotency_path.exists() {
        let idempotency = Idempotency::open(idempotency_path);
        troubles.extend(idempotency.trouble().map(|trouble| Trouble::IdempotencyKeys(trouble.to_string())));
        idempotency.stop();
    }
    if folder.path().join("content.redb").exists() {
        let content = parts::open_content(folder, config);
        troubles.extend(content.trouble().map(|trouble| Trouble::Contents(trouble.to_string())));
        content.stop();
    }
    let kept: Option<Arc<Ledger>> = if let Kept::Open(ledger) = &ledger { Some(Arc::clone(ledger)) } else { None };
    let report = doctor::examine(Patient { ledger, keys, troubles, ..read.patient() }).await;
    if let Some(ledger) = kept {
        ledger.stop();
    }
    report
}

/// Opens a file of the folder, where it is there or was.
fn opened<T>(path: &Path, open: impl FnOnce() -> anyhow::Result<T>) -> Kept<T> {
    if !path.exists() && !path.with_extension("created").exists() {
        return Kept::Absent;
    }
    match open() {
        Ok(kept) => Kept::Open(kept),
        Err(error) if is_in_use(&error) => Kept::Unopened("another process has it open"),
        Err(error) => Kept::Broken(with_causes(&error)),
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    let of_settings = error.downcast_ref::<SettingsError>().and_then(|error| match error {
        SettingsError::Open(error) => Some(error),
        _ => None,
    });
    matches!(error.downcast_ref().or(of_settings), Some(OpenError::InUse { .. }))
}

/// A file of variables that others on the machine can read.
fn open_to_others(path: &Path) -> Option<Check> {
    let seen = Seen::of(path, true).filter(Seen::is_open)?;
    let found = format!("others on this machine may read its variables (mode {:04o})", seen.mode);
    Some(Check::warning("file permissions", found, format!("chmod 600 {}", seen.path)).about(seen.path))
}

/// The folder or its server can't be asked.
fn unasked(error: &anyhow::Error) -> Check {
    let mend = "tollgate doctor as the user whom the data folder belongs to, or with --server URL --token TOKEN";
    Check::problem("server", with_causes(error), mend)
}

/// What the file has that a start would fail of, and that the server itself doesn't tell of.
fn for_the_next_start(unusable: &[Problem], file: &Path, report: &Report) -> Vec<Check> {
    let is_new = |own: &Check| {
        !report
            .checks
            .iter()
            .any(|told| told.name == own.name && told.about == own.about && told.found.ends_with(&own.found))
    };
    let mut checks: Vec<Check> = doctor::problems(unusable, Some(file)).into_iter().filter(is_new).collect();
    for check in &mut checks {
        check.found = format!("the server runs on, and its next start would fail: {}", check.found);
    }
    checks
}

/// What was found here, before what was found by examining.
fn with(own: Vec<Check>, report: Report) -> Report {
    Report::new(own.into_iter().chain(report.checks).collect(), report.by_server)
}

fn as_text(report: &Report) -> String {
    let widths = |cell: fn(&Check) -> usize| report.checks.iter().map(cell).max().unwrap_or(0);
    let name_width = widths(|check| check.name.chars().count());
    let verdict_width = widths(|check| check.verdict.as_str().len());
    let margin = " ".repeat(name_width + verdict_width + 4);
    let mut lines = Vec::new();
    for check in &report.checks {
        let about = check.about.as_ref().map(|about| format!("{about}: ")).unwrap_or_default();
        let (verdict, name) = (check.verdict.as_str(), &check.name);
        lines.push(format!("{verdict:verdict_width$}  {name:name_width$}  {about}{}", check.found));
        let mut arrow = "→ ";
        for line in check.mend.iter().flat_map(|mend| mend.lines()) {
            lines.push(format!("{margin}{arrow}{line}"));
            arrow = "  ";
        }
    }
    let count = |verdict| report.checks.iter().filter(|check| check.verdict == verdict).count();
    lines.push(String::new());
    lines.push(format!(
        "{}, {}, {} ok, {} skipped",
        counted(report.problems as u64, "problem", "problems"),
        counted(report.warnings as u64, "warning", "warnings"),
        count(Verdict::Ok),
        count(Verdict::Skipped)
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_aligned_and_every_mend_stands_under_its_finding() {
        let checks = vec![
            Check::ok("disk", "50 GiB free"),
            Check::problem("provider keys", "1 key is refused", "make a new key").about("openai"),
            Check::warning("price coverage", "1 model without a price", "[prices.\"a/b\"]\ninput = \"?\""),
        ];
        insta::assert_snapshot!(as_text(&Report::new(checks, false)), @r#"
        ok       disk            50 GiB free
        problem  provider keys   openai: 1 key is refused
                                 → make a new key
        warning  price coverage  1 model without a price
                                 → [prices."a/b"]
                                   input = "?"

        1 problem, 1 warning, 1 ok, 0 skipped
        "#);
    }

    #[test]
    fn a_file_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.redb");
        assert_eq!(opened(&path, || Ok(1)), Kept::Absent);
        std::fs::write(path.with_extension("created"), "").unwrap();
        assert_eq!(opened(&path, || Ok(1)), Kept::Open(1));
        assert_eq!(opened::<i32>(&path, || anyhow::bail!("lost")), Kept::Broken("lost".to_owned()));
    }
}
