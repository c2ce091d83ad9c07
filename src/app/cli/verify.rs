//! `tollgate verify`: replays the ledger and proves its sums.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::super::folder::{DataFolder, FolderError};
use super::super::parts;
use super::{Shared, terminal};
use crate::ledger::VerifyReport;

pub(super) const EXAMPLES: &str = "\
Examples:
  tollgate verify
  tollgate verify --data-dir /var/lib/tollgate --json

Replays every entry and compares every sum that is kept. Works while no server runs. Exit codes: 0 every sum is right,
1 some are not.";

/// Differences that are told one by one; their number tells the rest.
const DIFFERENCES_TOLD_MAX: usize = 20;

/// Verifies the ledger of the data folder.
pub(super) fn run(shared: &Shared) -> anyhow::Result<ExitCode> {
    if shared.server.is_some() {
        bail!(
            "verify works on a data folder, not on a server: leave --server and TOLLGATE_SERVER out, and stop the server first"
        );
    }
    let config = shared.settings([]).load()?;
    let path = parts::ledger_path(&config.data_dir);
    if !path.exists() && !path.with_extension("created").exists() {
        bail!("there is no ledger in {}: name the data folder with --data-dir", config.data_dir.display());
    }
    let folder = DataFolder::claim(&config.data_dir).map_err(|error| match &error {
        FolderError::InUse { .. } => anyhow::Error::new(error).context(
            "the ledger can be proved only while nobody writes to it; stop the server, verify, start it again",
        ),
        FolderError::Unusable { .. } => error.into(),
    })?;
    terminal::tell_progress("replaying the ledger…");
    let ledger = parts::open_ledger(&folder, &config)?;
    let report = ledger.verify().context("the ledger can't be read to its end")?;
    ledger.stop();
    drop(folder);
    if shared.json {
        terminal::print(&as_json(&report).to_string());
    } else {
        terminal::print(&as_text(&report));
    }
    Ok(if report.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(report: &VerifyReport) -> serde_json::Value {
    let differences: Vec<_> = report
        .differences
        .iter()
        .map(|one| json!({ "what": one.what, "storedUsd": one.stored, "computedUsd": one.computed }))
        .collect();
    json!({
        "ok": report.differences.is_empty(),
        "entries": report.entries,
        "unknown": report.unknown,
        "running": report.running,
        "totalUsd": report.total,
        "rollups": report.cells,
        "balances": report.balances,
        "differences": differences,
    })
}

fn as_text(report: &VerifyReport) -> String {
    let VerifyReport { entries, running, unknown, total, cells, balances, differences } = report;
    let mut lines = vec![
        format!("{entries} entries, {unknown} of them unknown, come to {total} USD"),
        format!("{cells} rollups and {balances} balances compared"),
    ];
    if *running > 0 {
        lines.push(format!("{running} calls were running and are in no sum"));
    }
    lines.extend(differences.iter().take(DIFFERENCES_TOLD_MAX).map(|one| {
        format!("different: {} is stored as {} USD and comes to {} USD", one.what, one.stored, one.computed)
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
    use crate::ledger::Difference;

    #[test]
    fn a_difference_is_told_with_both_amounts() {
        let one = Difference {
            what: "balance of x".to_owned(),
            stored: Picodollars::from_dollars(1),
            computed: Picodollars::ZERO,
        };
        let report = VerifyReport { differences: vec![one; 21], ..VerifyReport::default() };
        let text = as_text(&report);
        assert!(text.contains("balance of x is stored as 1 USD and comes to 0 USD"), "{text}");
        assert!(text.contains("and 1 more") && text.contains("21 sums are not"), "{text}");
        assert_eq!(as_json(&report)["ok"], false);
        assert_eq!(as_json(&VerifyReport::default())["ok"], true);
    }
}
