//! `tollgate check-config`: the same checks as at the start, without a start.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::super::{parts, with_causes};
use super::{Shared, WRONG_USAGE, terminal};
use crate::config::{PATHS_NOT_YET, Problem};

const EXAMPLES: &str = "\
Examples:
  tollgate check-config
  tollgate check-config --config /etc/tollgate.toml
  tollgate check-config --print > effective.toml

Exit codes: 0 the settings can be used, 2 they can't.";

/// Arguments of `check-config`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckConfigArguments {
    /// Print the settings as they are in effect, defaults included and secrets masked: to read, not to start with
    #[arg(long)]
    print: bool,
}

/// Checks the settings, the files that they name included.
pub(super) fn run(shared: &Shared, arguments: &CheckConfigArguments) -> ExitCode {
    let (problems, warnings, masked) = match shared.settings([]).load() {
        Ok(config) => {
            // What only the start would find out.
            let problems = parts::upstreams(&config).err().iter().map(with_causes).collect();
            (problems, config.warnings.clone(), Some(config.masked()))
        }
        Err(problems) => (problems.iter().map(Problem::with_place).collect::<Vec<_>>(), Vec::new(), None),
    };
    if shared.json {
        let warnings: Vec<String> = warnings.iter().map(Problem::with_place).collect();
        let settings = masked.filter(|_| arguments.print);
        let told =
            json!({ "ok": problems.is_empty(), "problems": problems, "warnings": warnings, "settings": settings });
        terminal::print(&told.to_string());
    } else {
        tell(&problems, &warnings);
        match masked.filter(|_| arguments.print) {
            Some(masked) => terminal::print(&format!(
                "# Accepted, but not used by this version yet: {}.\n{masked}",
                PATHS_NOT_YET.join(", ")
            )),
            None if problems.is_empty() => terminal::print("the settings can be used"),
            None => {}
        }
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(WRONG_USAGE) }
}

fn tell(problems: &[String], warnings: &[Problem]) {
    for problem in problems {
        terminal::tell(&format!("problem: {problem}"));
    }
    for warning in warnings {
        terminal::tell(&format!("warning: {}", warning.with_place()));
    }
    if !problems.is_empty() {
        let noun = if problems.len() == 1 { "problem" } else { "problems" };
        terminal::tell(&format!("the settings can't be used: {} {noun}", problems.len()));
    }
}
