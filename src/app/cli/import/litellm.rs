//! `tollgate import litellm`: settings of a LiteLLM proxy in, a `tollgate.toml` and a list of what is left to do out.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::super::super::litellm::{self, Budget, Fate, Note, SourceError, Takeover};
use super::super::super::settings::FILE_NAME;
use super::super::reach::{Absent, Reach};
use super::super::{Shared, Usage, budget, terminal};
use crate::config::{self, Config, Sources};
use crate::domain::wording::counted;
use crate::domain::{BudgetAction, BudgetTerms};

const EXAMPLES: &str = "\
Examples:
  tollgate import litellm config.yaml                  writes tollgate.toml, tells what is left to do
  tollgate import litellm config.yaml --out -          prints it instead
  tollgate import litellm config.yaml --apply          makes the budgets too, at the running server or in the data folder
  tollgate import litellm config.yaml --json | jq '.leftOut[] | {path, reason, wayOut}'

Models become providers and routes, fallbacks and weights stay, prices are taken where the file has some. Keys of providers
stay in their variables: os.environ/NAME becomes env:NAME, and a key that stands in the file is not copied. What was spent so
far is booked by tollgate import spend.";

/// Arguments of `import litellm`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::app::cli) struct LitellmArguments {
    /// The proxy's configuration
    #[arg(value_name = "CONFIG.yaml")]
    file: PathBuf,
    /// The file to write, which must not be there yet; - prints it
    #[arg(long, value_name = "FILE", default_value = FILE_NAME)]
    out: PathBuf,
    /// Make the budgets as well, instead of printing the commands that do
    #[arg(long)]
    apply: bool,
}

/// Runs the command.
pub(super) async fn run(shared: &Shared, arguments: &LitellmArguments) -> anyhow::Result<ExitCode> {
    let takeover = litellm::of_file(&arguments.file, &variable).map_err(|error| match error {
        SourceError::Unreadable { .. } => anyhow::Error::from(error),
        wrong => Usage(wrong.to_string()).into(),
    })?;
    let text = litellm::text_of(&takeover);
    let output = Output::of(&arguments.out, &text)?;
    let checked = check(&text, &takeover)?;
    if output == Output::New {
        write_new(&arguments.out, &text)?;
    }
    let is_printed = output == Output::Printed;
    let (made, failure) = if arguments.apply { apply(shared, &takeover.budgets).await } else { (0, None) };
    let done = Done { arguments, takeover: &takeover, text: &text, checked: &checked, is_printed, made };
    if shared.json {
        terminal::print(&done.json().to_string());
    } else {
        if is_printed {
            terminal::print(&text);
        }
        terminal::tell(&done.told());
    }
    // Told last, below the report: what is done stays, and the same command goes on from there.
    let Some(failure) = failure else { return Ok(ExitCode::SUCCESS) };
    let budgets = counted(takeover.budgets.len() as u64, "budget", "budgets");
    let written = if is_printed { String::new() } else { format!("{} is written; ", arguments.out.display()) };
    Err(failure.context(format!(
        "{written}of {budgets} {made} made: run the same command again to go on, once this is mended"
    )))
}

/// Where the settings go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// To standard output.
    Printed,
    /// Into a file that isn't there.
    New,
    /// Into a file that has them already: an earlier run got as far.
    Written,
}

impl Output {
    fn of(out: &Path, text: &str) -> Result<Self, Usage> {
        if out == Path::new("-") {
            return Ok(Self::Printed);
        }
        if !out.exists() {
            return Ok(Self::New);
        }
        if std::fs::read_to_string(out).is_ok_and(|there| there == text) {
            return Ok(Self::Written);
        }
        let shown = out.display();
        Err(Usage(format!(
            "{shown} is there already, with something else in it: name another file with --out, or print with --out -"
        )))
    }
}

/// The value of a variable of this process.
fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this layer reads the environment")]
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Checks the text as `check-config` does. What its variables hold is not asked for: they belong to the machine that serves.
fn check(text: &str, takeover: &Takeover) -> anyhow::Result<Config> {
    let stand_in = |name: &&str| {
        let value = if name.ends_with("_URL") { "https://hooks.example.com/stand-in" } else { "stand-in" };
        ((*name).to_owned(), value.to_owned())
    };
    let environment = takeover.variables().iter().map(stand_in).collect();
    let sources = Sources { file: Some((FILE_NAME.into(), text.to_owned())), environment, ..Sources::none() };
    config::load(&sources)
        .context("what was taken over can't be used as it is, so nothing was written; please report this")
}

/// Writes a file that only its owner can read, and that wasn't there.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.with_context(|| format!("{} can't be written", path.display()))
}

/// Makes the budgets in their order: how many are made, and what kept the next one from it.
async fn apply(shared: &Shared, budgets: &[Budget]) -> (usize, Option<anyhow::Error>) {
    if budgets.is_empty() {
        return (0, None);
    }
    let reach = match Reach::find(shared, Absent::Made) {
        Ok(reach) => reach,
        Err(error) => return (0, Some(error)),
    };
    for (made, wanted) in budgets.iter().enumerate() {
        let terms = BudgetTerms::new(wanted.limit, BudgetAction::Block);
        let scope = (wanted.kind, wanted.name.as_deref());
        if let Err(error) = budget::set_on(&reach, scope, wanted.window, terms, None).await {
            return (made, Some(error.context(wanted.command())));
        }
    }
    (budgets.len(), None)
}

/// What was done, to be told.
struct Done<'d> {
    arguments: &'d LitellmArguments,
    takeover: &'d Takeover,
    text: &'d str,
    checked: &'d Config,
    is_printed: bool,
    /// How many of the budgets are made, in their order.
    made: usize,
}

impl Done<'_> {
    fn notes(&self, fate: Fate) -> impl Iterator<Item = &Note> {
        self.takeover.notes.iter().filter(move |note| note.fate == fate)
    }

    fn unset(&self) -> Vec<&str> {
        self.takeover.variables().into_iter().filter(|name| variable(name).is_none()).collect()
    }

    fn json(&self) -> Value {
        let note = |note: &Note| json!({ "path": note.path, "line": note.line, "reason": note.reason, "wayOut": note.way_out });
        let notes = |fate| self.notes(fate).map(note).collect::<Vec<_>>();
        let budget = |(place, budget): (usize, &Budget)| {
            json!({
                "scope": budget.scope(), "window": budget.window.as_str(), "limitUsd": budget.limit,
                "command": budget.command(), "made": place < self.made,
            })
        };
        let unset = self.unset();
        let variable = |name: &&str| json!({ "name": name, "isSet": !unset.contains(name) });
        json!({
            "out": (!self.is_printed).then(|| self.arguments.out.display().to_string()),
            "settings": self.is_printed.then_some(self.text),
            "providers": self.takeover.providers(),
            "routes": self.takeover.routes(),
            "prices": self.takeover.prices_len(),
            "budgets": self.takeover.budgets.iter().enumerate().map(budget).collect::<Vec<_>>(),
            "variables": self.takeover.variables().iter().map(variable).collect::<Vec<_>>(),
            "leftOut": notes(Fate::LeftOut),
            "changed": notes(Fate::Changed),
            "needless": self.notes(Fate::Needless).map(|note| note.path.as_str()).collect::<Vec<_>>(),
            "warnings": self.checked.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }

    fn told(&self) -> String {
        let mut lines = Vec::new();
        let (providers, routes) = (self.takeover.providers().len(), self.takeover.routes().len());
        let taken = format!(
            "{}, {}, {}",
            counted(providers as u64, "provider", "providers"),
            counted(routes as u64, "route", "routes"),
            counted(self.takeover.prices_len() as u64, "price", "prices"),
        );
        lines.push(if self.is_printed { taken } else { format!("{}: {taken}", self.arguments.out.display()) });
        let unset = self.unset();
        if !unset.is_empty() {
            lines.push(format!("\nto be set before the start, in the environment or in .env: {}", unset.join(", ")));
        }
        self.tell_budgets(&mut lines);
        for (fate, heading) in [(Fate::LeftOut, "could not be taken over"), (Fate::Changed, "not quite the same here")]
        {
            let notes: Vec<&Note> = self.notes(fate).collect();
            if notes.is_empty() {
                continue;
            }
            lines.push(format!("\n{heading}:"));
            for note in notes {
                let line = if note.line > 0 { format!(" (line {})", note.line) } else { String::new() };
                lines.push(format!("  {}{line}: {}\n    {}", plain(&note.path), note.reason, note.way_out));
            }
        }
        let needless: Vec<String> = self.notes(Fate::Needless).map(|note| plain(&note.path)).collect();
        if !needless.is_empty() {
            lines.push(format!("\nnot needed here: {}", needless.join(", ")));
        }
        for warning in &self.checked.warnings {
            lines.push(format!("\nwarning: {warning}"));
        }
        lines.join("\n")
    }

    fn tell_budgets(&self, lines: &mut Vec<String>) {
        let budgets = &self.takeover.budgets;
        if budgets.is_empty() {
            return;
        }
        if self.made > 0 {
            lines.push(format!("{} made", counted(self.made as u64, "budget", "budgets")));
        }
        let left = &budgets[self.made..];
        if !left.is_empty() {
            lines.push("\nbudgets are kept in the data folder; these commands, or --apply, make them:".to_owned());
            lines.extend(left.iter().map(|budget| format!("  {}", budget.command())));
        }
    }
}

/// A path for people: control characters of a hostile file stay out of the terminal.
fn plain(path: &str) -> String {
    path.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}
