//! `tollgate verify`: replays the ledger and proves its sums.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::super::folder::DataFolder;
use super::super::parts;
use super::client::Client;
use super::reach::{Absent, Claimed, claim, given_token, named_server};
use super::{Shared, block_on, terminal};
use crate::config::Config;
use crate::domain::wording::counted;
use crate::http::api::VerifyJson;

pub(super) const EXAMPLES: &str = "\
Examples:
  tollgate verify
  tollgate verify --data-dir /var/lib/tollgate --json

Replays every entry and compares every sum that is kept. A server that runs on the folder does it
itself and goes on serving. Exit codes: 0 every sum is right,
1 some are not.";

/// Differences that are told one by one; their number tells the rest.
const DIFFERENCES_TOLD_MAX: usize = 20;

/// Verifies the ledger of the server that was named, of the one that runs on the data folder, or of the folder itself.
pub(super) fn run(shared: &Shared) -> anyhow::Result<ExitCode> {
    let report = if let Some(server) = named_server(shared)? {
        by_server(&server)?
    } else {
        let config = shared.settings([]).load()?;
        match claim(&config, given_token(shared), Absent::Told)? {
            Claimed::Server(server) => by_server(&server)?,
            Claimed::Folder(folder) => by_ourselves(folder, &config)?,
        }
    };
    if shared.json {
        terminal::print(&report.to_string());
    } else {
        terminal::print(&as_text(&report));
    }
    Ok(if report["ok"] == true { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The report of a server, which goes on serving meanwhile.
fn by_server(server: &Client) -> anyhow::Result<Value> {
    terminal::tell_progress("the server replays the ledger…");
    block_on(server.get("/api/verify"))
}

/// The report on the ledger of a folder that nobody uses.
fn by_ourselves(folder: DataFolder, config: &Config) -> anyhow::Result<Value> {
    let path = parts::ledger_path(&config.data_dir);
    if !path.exists() && !path.with_extension("created").exists() {
        bail!("there is no ledger in {}: name the data folder with --data-dir", config.data_dir.display());
    }
    terminal::tell_progress("replaying the ledger…");
    let ledger = parts::open_ledger(&folder, config)?;
    let report = ledger.verify().context("the ledger can't be read to its end")?;
    ledger.stop();
    drop(folder);
    serde_json::to_value(VerifyJson::from(report)).context("the report can't be written as JSON")
}

fn as_text(report: &Value) -> String {
    let count = |name: &str| report[name].as_u64().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = vec![
        format!(
            "{}, {} unknown, {} {} USD",
            counted(count("entries"), "entry", "entries"),
            if count("entries") == 1 { count("unknown").to_string() } else { format!("{} of them", count("unknown")) },
            if count("entries") == 1 { "comes to" } else { "come to" },
            text(&report["totalUsd"])
        ),
        format!(
            "{} and {} compared",
            counted(count("rollups"), "rollup", "rollups"),
            counted(count("balances"), "balance", "balances")
        ),
    ];
    if count("running") > 0 {
        lines.push(format!("{} running and in no sum", counted(count("running"), "call was", "calls were")));
    }
    let differences = report["differences"].as_array().map(Vec::as_slice).unwrap_or_default();
    lines.extend(differences.iter().take(DIFFERENCES_TOLD_MAX).map(|one| {
        let (what, stored, computed) = (text(&one["what"]), text(&one["storedUsd"]), text(&one["computedUsd"]));
        format!("different: {what} is stored as {stored} USD and comes to {computed} USD")
    }));
    if differences.len() > DIFFERENCES_TOLD_MAX {
        lines.push(format!("and {} more", differences.len() - DIFFERENCES_TOLD_MAX));
    }
    lines.push(match differences.len() {
        0 => "every sum is what the entries come to".to_owned(),
        count => {
            format!("{count} sums are not what the entries come to: keep the folder as it is and restore a backup")
        }
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Picodollars;
    use crate::ledger::{Difference, VerifyReport};

    #[test]
    fn a_difference_is_told_with_both_amounts() {
        let one = Difference {
            what: "balance of x".to_owned(),
            stored: Picodollars::from_dollars(1),
            computed: Picodollars::ZERO,
        };
        let report = VerifyReport { differences: vec![one; 21], ..VerifyReport::default() };
        let as_json = |report| serde_json::to_value(VerifyJson::from(report)).unwrap();
        let report = as_json(report);
        let text = as_text(&report);
        assert!(text.contains("balance of x is stored as 1 USD and comes to 0 USD"), "{text}");
        assert!(text.contains("and 1 more") && text.contains("21 sums are not"), "{text}");
        assert_eq!(report["ok"], false);
        assert_eq!(as_json(VerifyReport::default())["ok"], true);
    }
}
