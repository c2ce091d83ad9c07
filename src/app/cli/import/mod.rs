//! `tollgate import`: coming from another gateway, with its settings and with what was spent there.

mod litellm;
mod spend;

use std::process::ExitCode;

use clap::Subcommand;

use super::Shared;

/// Coming from another gateway.
#[derive(Debug, Subcommand)]
pub(super) enum ImportCommand {
    /// Write a tollgate.toml from the settings of a LiteLLM proxy, and tell what can't be taken over
    Litellm(litellm::LitellmArguments),
    /// Book what was spent before, from a CSV, so that budgets and reports go on
    Spend(spend::SpendArguments),
}

/// Runs one of the commands.
pub(super) async fn run(shared: &Shared, command: ImportCommand) -> anyhow::Result<ExitCode> {
    match command {
        ImportCommand::Litellm(arguments) => litellm::run(shared, &arguments).await,
        ImportCommand::Spend(arguments) => spend::run(shared, &arguments).await,
    }
}
