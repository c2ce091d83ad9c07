//! demo
use std::process::ExitCode;
use clap::Args;
/// Arguments of `demo`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "tollgate demo")]
pub(super) struct DemoArguments {
    /// End by itself
    #[arg(long)]
    once: bool,
}
pub(super) fn run(_: &DemoArguments) -> anyhow::Result<ExitCode> { Ok(ExitCode::SUCCESS) }
