//! `tollgate report`: a day or a month in words, tables or JSON.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use jiff::tz::TimeZone;

use super::reach::{Absent, Folder, Reach};
use super::{Shared, Usage, terminal};
use crate::domain::url_encoded;
use crate::reports::{Kind, Period, Report, markdown};
use crate::runtime::Clock;

const DAILY_EXAMPLES: &str = "\
Examples:
  tollgate report daily                       yesterday
  tollgate report daily 2026-11-18
  tollgate report daily --json | jq -r .spentUsd

Days are those of the configured time zone. A day that is not over is told up to now.";

const MONTHLY_EXAMPLES: &str = "\
Examples:
  tollgate report monthly                     the last month
  tollgate report monthly 2026-11 > november.md
  tollgate report monthly --json | jq '.keys[] | {name, spentUsd}'

Months are those of the configured time zone. A month that is not over is told up to now.";

/// What a day or a month has cost.
#[derive(Debug, Subcommand)]
pub(super) enum ReportCommand {
    /// Report a day
    #[command(after_help = DAILY_EXAMPLES)]
    Daily {
        /// The day [default: yesterday]
        #[arg(value_name = "YYYY-MM-DD")]
        date: Option<String>,
    },
    /// Report a month
    #[command(after_help = MONTHLY_EXAMPLES)]
    Monthly {
        /// The month [default: the last one]
        #[arg(value_name = "YYYY-MM")]
        month: Option<String>,
    },
}

/// Prints the report.
pub(super) async fn run(shared: &Shared, command: &ReportCommand) -> anyhow::Result<ExitCode> {
    let (kind, parameter, name) = match command {
        ReportCommand::Daily { date } => (Kind::Daily, "date", date.as_deref()),
        ReportCommand::Monthly { month } => (Kind::Monthly, "month", month.as_deref()),
    };
    // Checked before anything is asked for; which moment the days begin at doesn't matter to it.
    Period::new(kind, name, Clock::system().now(), &TimeZone::UTC).map_err(|error| Usage(error.to_string()))?;
    let text = match Reach::find(shared, Absent::Told)? {
        Reach::Server(client) => {
            let query = name.map(|name| format!("?{parameter}={}", url_encoded(name))).unwrap_or_default();
            let media = if shared.json { "application/json" } else { "text/markdown" };
            client.text_as(&format!("/api/reports/{}{query}", kind.as_str()), media).await?
        }
        Reach::Folder(folder) => of_folder(&folder, kind, name, shared.json)?,
    };
    terminal::print(&text);
    Ok(ExitCode::SUCCESS)
}

fn of_folder(folder: &Folder, kind: Kind, name: Option<&str>, json: bool) -> anyhow::Result<String> {
    let now = Clock::system().now();
    let period = Period::new(kind, name, now, &folder.config.time_zone).map_err(|error| Usage(error.to_string()))?;
    let ledger = folder.ledger()?;
    let report = Report::of(period, &ledger, &folder.keys, now);
    ledger.stop();
    let report = report.context("the ledger can't be read")?;
    Ok(if json { serde_json::to_string(&report.json())? } else { markdown::write(&report.document()) })
}
