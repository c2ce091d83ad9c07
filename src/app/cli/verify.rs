//! `tollgate verify`: replays the ledger and proves its entries and sums.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use super::super::folder::DataFolder;
use super::super::parts;
use super::client::Client;
use super::reach::{Absent, Claimed, find_claim, named_server};
use super::{Shared, Usage, block_on, terminal};
use crate::config::Config;
use crate::domain::wording::counted;
use crate::http::api::VerifyJson;
use crate::ledger::Heads;

const EXAMPLES: &str = "\
Examples:
  tollgate verify
  tollgate verify --data-dir /var/lib/tollgate --json
  tollgate verify --heads /mnt/elsewhere/heads.json       keep what today proves
  tollgate verify --expect /mnt/elsewhere/heads.json      prove that nothing was rewritten since

Replays every entry: each is the one that was booked (a chain of hashes for each UTC day finds what was changed, removed or
added, and where), and every sum that is kept is what they come to. A server that runs on the folder does it itself and goes
on serving. Whoever can write the ledger's file can make its chains whole again; heads that are kept where they can't write
show even that. A file of heads stays good: chains only grow. Exit codes: 0 all is right, 1 something is not.";

/// Faults and differences that are told one by one; their number tells the rest.
const TOLD_MAX: usize = 20;

/// What is proved beside the sums.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct VerifyArguments {
    /// Write the heads of all chains into this file once they are proved, to be kept elsewhere; - is standard output
    #[arg(long, value_name = "FILE")]
    heads: Option<PathBuf>,
    /// Prove that the entries under these heads, written by --heads before, are still what they were
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
}

/// Verifies the ledger of the server that was named, of the one that runs on the data folder, or of the folder itself.
pub(super) fn run(shared: &Shared, arguments: &VerifyArguments) -> anyhow::Result<ExitCode> {
    let expected = arguments.expect.as_deref().map(read_heads).transpose()?;
    let with_heads = arguments.heads.is_some();
    let mut report = if let Some(server) = named_server(shared)? {
        by_server(&server, expected.as_ref(), with_heads)?
    } else {
        match find_claim(shared, Absent::Told)? {
            Claimed::Server(server) => by_server(&server, expected.as_ref(), with_heads)?,
            Claimed::Folder(folder, config) => by_ourselves(folder, &config, expected.as_ref())?,
        }
    };
    let heads = report.as_object_mut().and_then(|report| report.remove("heads"));
    let is_sound = report["ok"] == true;
    let is_printed = arguments.heads.as_deref() == Some(Path::new("-"));
    if let (Some(path), Some(heads)) = (&arguments.heads, &heads)
        && is_sound
    {
        write_heads(path, heads)?;
    }
    match (shared.json, is_printed && is_sound) {
        // The heads are the result then.
        (_, true) => {}
        (true, false) => terminal::print(&report.to_string()),
        (false, false) => terminal::print(&as_text(&report, expected.is_some())),
    }
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read_heads(path: &Path) -> anyhow::Result<Heads> {
    let text = std::fs::read_to_string(path).map_err(|error| Usage(format!("--expect {}: {error}", path.display())))?;
    let heads = serde_json::from_str(&text).map_err(|error| {
        Usage(format!("--expect {}: it is no file that --heads has written: {error}", path.display()))
    })?;
    Ok(heads)
}

fn write_heads(path: &Path, heads: &Value) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(heads).context("the heads can't be written as JSON")?;
    if path == Path::new("-") {
        terminal::print(&text);
        return Ok(());
    }
    std::fs::write(path, text + "\n").with_context(|| format!("{} can't be written", path.display()))?;
    terminal::tell(&format!(
        "the heads of all chains are in {}: keep it where nobody who can write the ledger can write",
        path.display()
    ));
    Ok(())
}

/// The report of a server, which goes on serving meanwhile.
fn by_server(server: &Client, expected: Option<&Heads>, with_heads: bool) -> anyhow::Result<Value> {
    terminal::tell_progress("the server replays the ledger…");
    block_on(async {
        match expected {
            Some(heads) => server.post_work("/api/verify", &json!({ "expect": heads })).await,
            None => server.get_work(if with_heads { "/api/verify?heads=true" } else { "/api/verify" }).await,
        }
    })
}

/// The report on the ledger of a folder that nobody uses.
fn by_ourselves(folder: DataFolder, config: &Config, expected: Option<&Heads>) -> anyhow::Result<Value> {
    let path = parts::ledger_path(&config.data_dir);
    if !path.exists() && !path.with_extension("created").exists() {
        bail!("there is no ledger in {}: name the data folder with --data-dir", config.data_dir.display());
    }
    terminal::tell_progress("replaying the ledger…");
    let ledger = parts::open_ledger(&folder, config)?;
    let told = |entries| terminal::tell_growing(&counted(entries, "entry read", "entries read"));
    let report = ledger.verify(expected, told).context("the ledger can't be read to its end")?;
    terminal::tell_growing("\u{1b}[K");
    ledger.stop();
    drop(folder);
    serde_json::to_value(VerifyJson::new(report, true)).context("the report can't be written as JSON")
}

fn as_text(report: &Value, is_expected: bool) -> String {
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
        format!("{} folded", counted(count("chains"), "day's chain", "days' chains")),
    ];
    if count("running") > 0 {
        lines.push(format!("{} running and in no sum", counted(count("running"), "call was", "calls were")));
    }
    let list = |name: &str| report[name].as_array().cloned().unwrap_or_default();
    let (faults, differences) = (list("chainFaults"), list("differences"));
    let told = |lines: &mut Vec<String>, all: &[Value], line: &dyn Fn(&Value) -> String| {
        lines.extend(all.iter().take(TOLD_MAX).map(line));
        if all.len() > TOLD_MAX {
            lines.push(format!("and {} more", all.len() - TOLD_MAX));
        }
    };
    told(&mut lines, &faults, &|one| format!("wrong: {}", text(&one["what"])));
    told(&mut lines, &differences, &|one| {
        let (what, stored, computed) = (text(&one["what"]), text(&one["storedUsd"]), text(&one["computedUsd"]));
        format!("different: {what} is stored as {stored} USD and comes to {computed} USD")
    });
    let advice = "keep the folder as it is and restore a backup";
    match (faults.len(), differences.len()) {
        (0, 0) => {
            lines.push("every entry is what was booked, and every sum is what they come to".to_owned());
            if is_expected {
                lines.push("nothing was rewritten since the heads were kept".to_owned());
            }
        }
        (0, count) => lines.push(format!("{count} sums are not what the entries come to: {advice}")),
        (count, _) => lines.push(format!("the entries are not what was booked, in {count} places: {advice}")),
    }
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
        let as_json = |report| serde_json::to_value(VerifyJson::new(report, false)).unwrap();
        let report = as_json(report);
        let text = as_text(&report, false);
        assert!(text.contains("balance of x is stored as 1 USD and comes to 0 USD"), "{text}");
        assert!(text.contains("and 1 more") && text.contains("21 sums are not"), "{text}");
        assert_eq!(report["ok"], false);
        assert_eq!(as_json(VerifyReport::default())["ok"], true);
    }
}
