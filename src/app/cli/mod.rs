//! The command line.

use std::process::ExitCode;

/// Runs the command line and tells how it ended.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
