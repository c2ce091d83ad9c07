//! The command line: one file per command, and what they share.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage, wrong
//! settings included. Commands that manage a server work on the one that runs, or on the data folder when none does,
//! never on both ([`reach`]).

mod adjust;
mod admin;
mod budget;
mod cache;
mod check_config;
mod client;
mod completions;
mod demo;
mod doctor;
mod export;
mod import;
mod key;
mod people;
mod reach;
mod reconcile;
mod report;
mod rerate;
mod sandbox;
mod serve;
mod terminal;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use super::settings::Settings;
use super::with_causes;
use crate::config::Problems;
use crate::keys::KeysError;
use crate::telemetry::logs;

/// What the process tells about itself.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The variable that says what is logged.
const LOG_VARIABLE: &str = "TOLLGATE_LOG";
/// The exit code of wrong usage.
const WRONG_USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  tollgate                                    start on 127.0.0.1:8000, keys from the environment or .env
  tollgate demo                               try everything without any provider key
  tollgate check-config --print               what the settings come to, and what is wrong with them
  tollgate doctor                             what is wrong with the installation, and what mends it
  tollgate key create ci --budget day=1.00    a virtual key that can spend a dollar a day
  tollgate budget set everything month 500    no more than 500 dollars a month, whoever calls
  tollgate report daily                       what yesterday has cost, and what stood out

Commands work on the running server when there is one (found by its data folder, or given by --server and --token), and
on the data folder when there is none. Exit codes: 0 done, 1 failed, 2 wrong usage or wrong settings.";

/// One binary between a team and its AI providers: routing, exact costs, budgets, dashboard.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(flatten)]
    shared: Shared,
    #[command(flatten)]
    serve: serve::ServeArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What every command takes.
#[derive(Clone, Debug, Default, Args)]
struct Shared {
    /// The file of settings [default: tollgate.toml, where there is one]
    #[arg(long, global = true, value_name = "FILE", help_heading = "For all commands")]
    config: Option<PathBuf>,
    /// The folder of everything that is kept [default: tollgate-data]
    #[arg(long, global = true, value_name = "DIR", help_heading = "For all commands")]
    data_dir: Option<PathBuf>,
    /// The running server to work on, such as http://127.0.0.1:8000
    #[arg(long, global = true, value_name = "URL", env = "TOLLGATE_SERVER", help_heading = "For all commands")]
    server: Option<String>,
    /// The admin token to show to it
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "TOLLGATE_ADMIN_TOKEN",
        hide_env_values = true,
        help_heading = "For all commands"
    )]
    token: Option<String>,
    /// Print results as JSON
    #[arg(long, global = true, help_heading = "For all commands")]
    json: bool,
}

impl Shared {
    /// What is said here about settings; `more` are the keys that the command's own flags set.
    fn settings(&self, more: impl IntoIterator<Item = (&'static str, String)>) -> Settings {
        let data_dir = self.data_dir.as_ref().map(|folder| ("data_dir", folder.display().to_string()));
        Settings { file: self.config.clone(), flags: data_dir.into_iter().chain(more).collect() }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server (the same as no command at all)
    Serve(serve::ServeArguments),
    /// Start a server with a built-in provider and send it real calls: no key and no money needed
    Demo(demo::DemoArguments),
    /// Serve the built-in provider as a plain upstream, to test programs against
    Sandbox(sandbox::SandboxArguments),
    /// Tell everything that is wrong with the settings
    CheckConfig(check_config::CheckConfigArguments),
    /// Look at everything that may be wrong, and tell what mends it
    Doctor(doctor::DoctorArguments),
    /// Prove the ledger: every entry is what was booked, and every sum what they come to
    Verify(verify::VerifyArguments),
    /// Tell what history would have cost at other prices, and book the difference
    ReRate(rerate::RerateArguments),
    /// Tell what a call of unknown cost has cost in truth
    Adjust(adjust::AdjustArguments),
    /// Make, list and take back virtual keys
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Limit what may be spent
    #[command(subcommand)]
    Budget(budget::BudgetCommand),
    /// Tell what a day or a month has cost, and what stood out
    #[command(subcommand)]
    Report(report::ReportCommand),
    /// Hold what providers say they charged against what was booked
    Reconcile(reconcile::ReconcileArguments),
    /// Write costs or requests for other programs: CSV, JSON lines, FOCUS
    #[command(subcommand)]
    Export(export::ExportCommand),
    /// Come from another gateway, with its settings and with what was spent there
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Answers that are kept: figures, taking some out, calls that fill it
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Admins, people, teams, forgotten passwords, tokens for scripts
    #[command(subcommand)]
    Admin(admin::AdminCommand),
    /// Print a script that completes this program's commands
    Completions(completions::CompletionsArguments),
}

/// The command can't be as it was typed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Runs the command line and tells how it ended.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors, and go where results go.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(WRONG_USAGE));
        }
    };
    // Another provider was installed by whoever uses this as a library, and serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let code = match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            terminal::tell(&format!("tollgate: {}", told(&error)));
            if is_wrong_usage(&error) { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
        }
    };
    logs::flush();
    code
}

/// Whether a command can't be as it was typed, whoever says so: the command line, the settings, a running server, or the folder
/// where none runs.
fn is_wrong_usage(error: &anyhow::Error) -> bool {
    let by_server = error.downcast_ref::<client::Refused>().is_some_and(client::Refused::is_wrong_usage);
    let by_folder = matches!(
        error.downcast_ref::<KeysError>(),
        Some(KeysError::Invalid { .. } | KeysError::Budget(_) | KeysError::Password(_))
    );
    error.is::<Usage>() || error.is::<Problems>() || by_server || by_folder
}

/// An error for people, with every problem of the settings on a line of its own.
fn told(error: &anyhow::Error) -> String {
    if error.is::<Problems>() { format!("the settings can't be used:\n{error}") } else { with_causes(error) }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { shared, serve: bare, command } = arguments;
    if command.is_some() && bare != serve::ServeArguments::default() {
        return Err(Usage("--listen belongs to the command that starts a server: write it behind it".to_owned()).into());
    }
    match command {
        None | Some(Command::Serve(_)) => start_log(None, !terminal::is_watched()),
        // Its providers fail on purpose, which would be warned of.
        Some(Command::Demo(_)) => start_log(Some("error"), false),
        Some(_) => start_log(Some("warn"), false),
    }
    match command {
        None => serve::run(&shared, &bare),
        Some(Command::Serve(arguments)) => serve::run(&shared, &arguments),
        Some(Command::Demo(arguments)) => demo::run(&shared, &arguments),
        Some(Command::Sandbox(arguments)) => sandbox::run(&arguments),
        Some(Command::CheckConfig(arguments)) => Ok(check_config::run(&shared, &arguments)),
        Some(Command::Doctor(arguments)) => block_on(doctor::run(&shared, &arguments)),
        Some(Command::Verify(arguments)) => verify::run(&shared, &arguments),
        Some(Command::ReRate(arguments)) => block_on(rerate::run(&shared, &arguments)),
        Some(Command::Adjust(arguments)) => block_on(adjust::run(&shared, &arguments)),
        Some(Command::Key(command)) => block_on(key::run(&shared, command)),
        Some(Command::Budget(command)) => block_on(budget::run(&shared, command)),
        Some(Command::Report(command)) => block_on(report::run(&shared, &command)),
        Some(Command::Reconcile(arguments)) => block_on(reconcile::run(&shared, &arguments)),
        Some(Command::Export(command)) => block_on(export::run(&shared, &command)),
        Some(Command::Import(command)) => block_on(import::run(&shared, command)),
        Some(Command::Cache(command)) => block_on(cache::run(&shared, command)),
        Some(Command::Admin(command)) => block_on(admin::run(&shared, command)),
        Some(Command::Completions(arguments)) => {
            terminal::print(&completions::script(&arguments, Arguments::command()));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Starts the log; what the variable asks for counts before the command's own wish.
fn start_log(filter: Option<&str>, json: bool) {
    #[expect(
        clippy::disallowed_methods,
        reason = "this layer reads the environment, and the log starts before the settings"
    )]
    let asked = std::env::var(LOG_VARIABLE).ok().filter(|filter| !filter.trim().is_empty());
    logs::start(asked.as_deref().or(filter), json);
}

/// Runs a command to its end on a runtime of its own.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    actix_web::rt::System::new().block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_command_is_serve() {
        let bare = parse("tollgate --listen 127.0.0.1:0").unwrap();
        assert!(bare.command.is_none());
        let Some(Command::Serve(serve)) = parse("tollgate serve --listen 127.0.0.1:0").unwrap().command else {
            panic!("serve is a command");
        };
        assert_eq!(bare.serve, serve);
    }

    #[test]
    fn what_all_commands_take_may_stand_before_or_behind_them() {
        for line in ["tollgate --config f.toml --json key list", "tollgate key list --json --config f.toml"] {
            let shared = parse(line).unwrap().shared;
            assert!(shared.json && shared.config.as_deref() == Some(std::path::Path::new("f.toml")), "{line}");
        }
    }

    #[test]
    fn wrong_usage_has_the_exit_code_2_and_help_has_0() {
        for line in
            ["tollgate frobnicate", "tollgate key create", "tollgate --lisen x", "tollgate budget set everything"]
        {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        for line in ["tollgate --help", "tollgate --version", "tollgate key create --help"] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 0, "{line}");
        }
    }

    #[test]
    fn what_the_folder_or_a_server_says_of_the_arguments_is_wrong_usage_too() {
        let invalid = KeysError::Invalid { field: "name", problem: "give one".to_owned() };
        assert!(is_wrong_usage(&invalid.into()));
        assert!(is_wrong_usage(&anyhow::Error::from(Usage("no".to_owned())).context("while doing something")));
        let taken = KeysError::NameTaken { what: "virtual key", name: "ci".to_owned() };
        assert!(!is_wrong_usage(&taken.into()));
    }

    #[test]
    fn help_is_a_command_too() {
        for line in ["tollgate help", "tollgate help key create"] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 0, "{line}");
        }
    }

    #[test]
    fn an_address_before_a_command_that_does_not_listen_is_refused() {
        let refused = run(parse("tollgate --listen 127.0.0.1:0 verify").unwrap()).unwrap_err();
        assert!(refused.is::<Usage>(), "{refused}");
    }

    #[test]
    fn every_command_teaches_by_examples() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            for child in command.get_subcommands() {
                check(child);
            }
            let teaches = command.get_after_help().is_some_and(|help| help.to_string().contains("tollgate"));
            assert!(command.has_subcommands() || teaches, "{name} has no example");
            assert!(command.get_about().is_some(), "{name} doesn't say what it is for");
        }
        check(&Arguments::command());
    }
}
