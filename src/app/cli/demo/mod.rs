//! `tollgate demo`: a server with the sandbox behind it, a varied stream of real calls, and a look at what came of them.
//!
//! Everything lies in a temporary folder that goes at the end. Each scene says what has to happen, and the sums of the
//! management API have to agree with the entries, so `--once` is a test of the whole program as well.

mod account;
mod scenes;
mod stage;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use clap::Args;
use futures_util::future;
use jiff::tz::TimeZone;
use serde_json::json;
use tokio::sync::Notify;

use super::super::first_start::setup_link;
use super::super::folder::DataFolder;
use super::super::local_token;
use super::super::reload::Source;
use super::super::serve::{Ended, Server};
use super::client::Client;
use super::serve::Signals;
use super::{Shared, VERSION, block_on, terminal};
use crate::config::{self, Config, Sources};
use account::Account;
use stage::{Played, Stage};

const EXAMPLES: &str = "\
Examples:
  tollgate demo           send the calls, then stay up for a look at the dashboard until Ctrl-C
  tollgate demo --once    end by itself: exit code 0 when everything came as it should, else 1

It needs no provider key, calls nobody and costs nothing; its data lies in a temporary folder that goes at the end.";

/// What the demonstration runs on: a sandbox that works, one that always fails, and a route over both.
const SETTINGS: &str = r#"
listen = "127.0.0.1:0"

[[providers]]
name = "sandbox"
kind = "sandbox"
catalog = "sandbox"
latency = "40ms"
chunk_delay = "5ms"

[[providers]]
name = "broken"
kind = "sandbox"
catalog = "sandbox"
error_rate = 1.0

[[routes]]
name = "smart"
strategy = "fallback"
deployments = ["broken/sandbox-large", "sandbox/sandbox-large"]
"#;

/// How long the last refusal may take to get into the books.
const BOOKING_TIME_MAX: Duration = Duration::from_secs(5);
const BOOKING_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Arguments of `demo`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DemoArguments {
    /// End by itself, with an exit code that tells whether everything came as it should
    #[arg(long)]
    once: bool,
}

/// Runs the demonstration.
pub(super) fn run(shared: &Shared, arguments: &DemoArguments) -> anyhow::Result<ExitCode> {
    let home =
        TemporaryFolder::make().context("no temporary folder can be made: set TMPDIR to one that can be written")?;
    let outcome = block_on(show(shared, arguments, &home.0));
    drop(home);
    match outcome? {
        (Ended::AtOnce, _) => terminal::end(1),
        (Ended::InOrder, true) => Ok(ExitCode::SUCCESS),
        (Ended::InOrder, false) => Ok(ExitCode::FAILURE),
    }
}

async fn show(shared: &Shared, arguments: &DemoArguments, home: &Path) -> anyhow::Result<(Ended, bool)> {
    let mut signals = Signals::listen()?;
    let server = Server::start(settings()?, Source::Fixed, DataFolder::claim(home)?, VERSION).await?;
    let address = server.address().to_owned();
    let token = server.setup_token().ok_or_else(|| anyhow!("a new folder has no admin"))?;
    let link = setup_link(&address, token);
    let admin = Client::new(&address, local_token::read(home)?, true)?;
    let over = Notify::new();
    let running = server.run(async || {
        tokio::select! {
            () = signals.next() => {}
            () = over.notified() => {}
        }
    });
    let playing = async {
        let is_good = play(shared, &address, admin).await;
        if arguments.once || is_good.is_err() {
            over.notify_one();
        } else {
            terminal::tell(&format!(
                "\nThe dashboard stays up until Ctrl-C. Choose a name and password here:\n\n  {link}"
            ));
        }
        is_good
    };
    let (ended, is_good) = future::join(running, playing).await;
    // Why the server ended tells more than why nobody answered the next call.
    let ended = ended?;
    Ok((ended, is_good?))
}

/// The settings of the demonstration; nothing of the environment gets in.
fn settings() -> anyhow::Result<Config> {
    let file = Some((PathBuf::from("the demonstration's settings"), SETTINGS.to_owned()));
    Ok(config::load(&Sources { file, system_zone: TimeZone::system(), ..Sources::none() })?)
}

/// Plays all scenes, shows what came of them, and tells whether it is what should have.
async fn play(shared: &Shared, address: &str, admin: Client) -> anyhow::Result<bool> {
    let mut stage = Stage::set(address, admin, &scenes::KEYS).await?;
    let mut played = Vec::new();
    for scene in scenes::all() {
        terminal::tell_progress(&format!("… {}", scene.title));
        played.push(stage.play(&scene).await?);
    }
    let (account, complaints) = settled_account(stage.admin(), &played).await?;
    let is_good = complaints.is_empty() && played.iter().all(|scene| scene.complaint.is_none());
    if shared.json {
        terminal::print(&as_json(&played, &account, &complaints, is_good).to_string());
    } else {
        tell(&played, &account, &complaints);
    }
    Ok(is_good)
}

/// The books once they agree, or what is wrong with them after a while: a refusal is booked beside its answer, not before.
async fn settled_account(admin: &Client, played: &[Played]) -> anyhow::Result<(Account, Vec<String>)> {
    let until = Instant::now() + BOOKING_TIME_MAX;
    loop {
        let account = Account::take(admin).await?;
        let complaints = account.complaints(played);
        if complaints.is_empty() || Instant::now() >= until {
            return Ok((account, complaints));
        }
        tokio::time::sleep(BOOKING_POLL_INTERVAL).await;
    }
}

fn tell(played: &[Played], account: &Account, complaints: &[String]) {
    let row = |scene: &Played| {
        vec![
            scene.title.to_owned(),
            scene.statuses(),
            scene.deployment.clone(),
            format!("{} ms", scene.time.as_millis()),
            account.cost_of(scene).to_string(),
            scene
                .complaint
                .clone()
                .map_or_else(|| scene.note.clone(), |complaint| format!("NOT AS EXPECTED: {complaint}")),
        ]
    };
    let rows: Vec<Vec<String>> = played.iter().map(row).collect();
    terminal::print_table(&["WHAT", "STATUS", "ANSWERED BY", "TIME", "COST USD", "WHAT HAPPENED"], &rows);
    terminal::print(&format!(
        "\n{} entries in the ledger come to {} USD; GET /api/costs says {} USD for {} requests, {} USD held",
        account.entries.len(),
        account.sum(),
        account.total,
        account.requests,
        account.held,
    ));
    for complaint in complaints {
        terminal::print(&format!("NOT AS EXPECTED: {complaint}"));
    }
}

fn as_json(played: &[Played], account: &Account, complaints: &[String], is_good: bool) -> serde_json::Value {
    let scene = |scene: &Played| {
        let calls: Vec<_> = scene.calls.iter().map(|call| json!({ "id": call.id, "status": call.status })).collect();
        json!({
            "title": scene.title,
            "ok": scene.complaint.is_none(),
            "complaint": scene.complaint,
            "answeredBy": scene.deployment,
            "costUsd": account.cost_of(scene),
            "calls": calls,
        })
    };
    json!({
        "ok": is_good,
        "scenes": played.iter().map(scene).collect::<Vec<_>>(),
        "entries": account.entries.len(),
        "entriesUsd": account.sum(),
        "totalUsd": account.total,
        "complaints": complaints,
    })
}

/// A folder for its owner alone, which goes with the value.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn make() -> anyhow::Result<Self> {
        let number = getrandom::u64().map_err(|error| anyhow!("the system gives no random numbers: {error}"))?;
        let path = std::env::temp_dir().join(format!("tollgate-demo-{number:016x}"));
        DirBuilder::new().mode(0o700).create(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_the_demonstration_are_sound_and_warn_of_nothing() {
        let config = settings().unwrap();
        assert_eq!(config.warnings, []);
        assert_eq!(config.listen.port(), 0);
    }

    #[test]
    fn the_temporary_folder_goes_with_everything_in_it() {
        let folder = TemporaryFolder::make().unwrap();
        let path = folder.0.clone();
        std::fs::write(path.join("x"), "y").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
