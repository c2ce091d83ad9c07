//! `tollgate reconcile`: what providers say they charged, beside what was booked.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::super::price_file;
use super::client::Client;
use super::reach::{Absent, Folder, Reach};
use super::{Shared, Usage, terminal};
use crate::domain::url_encoded;
use crate::reconciliation::json::ComparisonJson;
use crate::reconciliation::{DAYS_USUAL, Drift, ReconcileError, Reconciler};
use crate::runtime::Clock;
use crate::statements::Days;

const EXAMPLES: &str = "\
Examples:
  tollgate reconcile                                  fetch the last seven days by admin key, and compare
  tollgate reconcile --provider openai --from 2026-11-01 --to 2026-12-01
  tollgate reconcile --csv cost_2026-11.csv           take a file that a provider's console has exported
  tollgate reconcile --no-fetch --json | jq '.days[] | select(.isDrifting)'

Days are UTC days, as providers bill them; --to is the first day that is not wanted any more. Reports are fetched from each
provider that has an admin_api_key under [[providers]] in tollgate.toml: an organization's admin key, for keys that make calls
are refused there. Files are known by their columns: costs and usage as the consoles of OpenAI and Anthropic export them.

Money is compared where the provider tells money. Where it tells usage alone, theirs is its usage at our list prices, marked
with ~; without a price, tokens are compared, marked with #. A day is complete six hours after its end; until then it is
marked provisional, and no alarm.

Exit codes: 0 every complete day agrees within 2%, 1 a complete day drifts by more in its sum or in a model, or a report
could not be fetched, 2 wrong usage.";

/// Arguments of `reconcile`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReconcileArguments {
    /// One provider, by its name in the settings [default: all with an admin key]
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// The first UTC day [default: seven days before the last]
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with = "csv")]
    from: Option<String>,
    /// The first UTC day that is not wanted any more [default: today]
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with = "csv")]
    to: Option<String>,
    /// Import this file of a provider's console instead of fetching
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Compare with what was fetched or imported before, and ask no provider
    #[arg(long, conflicts_with = "csv")]
    no_fetch: bool,
}

/// Brings in, compares, prints.
pub(super) async fn run(shared: &Shared, arguments: &ReconcileArguments) -> anyhow::Result<ExitCode> {
    let csv = arguments.csv.as_deref().map(read).transpose()?;
    let compared = match Reach::find(shared, Absent::Told)? {
        Reach::Server(client) => of_server(&client, arguments, csv).await?,
        Reach::Folder(folder) => {
            if csv.is_none() && !arguments.no_fetch {
                check_admin_keys(shared, arguments.provider.as_deref())?;
            }
            of_folder(&folder, arguments, csv).await?
        }
    };
    if shared.json {
        terminal::print(&compared.to_string());
    } else {
        print(&compared);
    }
    let failed = failures(&compared);
    for failure in &failed {
        terminal::tell(failure);
    }
    let drifts = compared["driftingDays"].as_u64().unwrap_or_default() > 0;
    Ok(if drifts || !failed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The one command that uses secrets without a server: whose admin key can't be had is told, rather than taken for one that isn't set.
fn check_admin_keys(shared: &Shared, only: Option<&str>) -> anyhow::Result<()> {
    let Err(problems) = shared.settings([]).load() else { return Ok(()) };
    let is_meant = |path: &str| match only {
        Some(provider) => path == format!("providers.{provider}.admin_api_key"),
        None => path.ends_with(".admin_api_key"),
    };
    match problems.iter().find(|problem| is_meant(&problem.path)) {
        Some(problem) => Err(Usage(problem.to_string()).into()),
        None => Ok(()),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
    String::from_utf8(bytes).ok().with_context(|| format!("{} is no UTF-8 text; nothing was imported", path.display()))
}

async fn of_server(client: &Client, arguments: &ReconcileArguments, csv: Option<String>) -> anyhow::Result<Value> {
    let given = [("provider", &arguments.provider), ("from", &arguments.from), ("to", &arguments.to)];
    let given = given.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", url_encoded(value.as_ref()?))));
    let path = format!("/api/reconciliation?{}", given.collect::<Vec<_>>().join("&"));
    if arguments.no_fetch {
        return client.get(&path).await;
    }
    if csv.is_none() {
        terminal::tell_progress("the server fetches the reports…");
    }
    client.post_text(&path, "text/csv", csv.unwrap_or_default()).await
}

async fn of_folder(folder: &Folder, arguments: &ReconcileArguments, csv: Option<String>) -> anyhow::Result<Value> {
    let clock = Clock::system();
    let reconciler = Reconciler::open(folder.settings.clone(), &folder.config)?;
    let catalog = price_file::catalog(&folder.config)?;
    let ledger = folder.ledger()?;
    let only = arguments.provider.as_deref();
    let (from, to) = (arguments.from.as_deref(), arguments.to.as_deref());
    let compared = async {
        let mut days = Days::named(from, to, DAYS_USUAL, clock.now())?;
        let (mut fetched, mut imported) = (Vec::new(), None);
        match csv {
            Some(text) => {
                let taken = reconciler.import(only, &text, clock.now())?;
                days = taken.days;
                imported = Some(taken);
            }
            None if !arguments.no_fetch => {
                terminal::tell_progress("fetching the reports…");
                fetched = reconciler.fetch(only, days, &clock).await?;
            }
            None => {}
        }
        let only = imported.as_ref().map(|imported| imported.provider.as_str()).or(only);
        let comparison = reconciler.compare(only, days, &ledger, &catalog)?;
        Ok::<_, ReconcileError>(ComparisonJson::new(&comparison, &fetched, imported.as_ref()))
    };
    let compared = compared.await;
    ledger.stop();
    let compared = compared.map_err(|error| match error {
        ReconcileError::Days(_) | ReconcileError::UnknownProvider { .. } | ReconcileError::WhichProvider { .. } => {
            anyhow::Error::from(Usage(error.to_string()))
        }
        error => error.into(),
    })?;
    Ok(serde_json::to_value(compared)?)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What could not be fetched, and why.
fn failures(compared: &Value) -> Vec<String> {
    let failed = list(&compared["fetches"]).iter().filter(|fetch| !fetch["error"].is_null());
    failed.map(|fetch| format!("provider {}: {}", text(&fetch["provider"]), text(&fetch["error"]))).collect()
}

fn print(compared: &Value) {
    if let Some(import) = compared["import"].as_object() {
        terminal::tell(&format!(
            "{} rows of {} were imported for provider {}, days {} to before {}",
            import["rows"],
            text(&import["what"]),
            text(&import["provider"]),
            text(&import["from"]),
            text(&import["to"])
        ));
    }
    let days = list(&compared["days"]);
    if days.is_empty() {
        terminal::tell(
            "no provider has stated anything of these days: `tollgate reconcile --help` says how to fetch or import it",
        );
        return;
    }
    terminal::print_table(&["DAY", "PROVIDER", "MODEL", "OURS USD", "THEIRS USD", "DRIFT", ""], &rows(days));
    let doubts: Vec<String> = days.iter().filter_map(doubts).collect();
    if !doubts.is_empty() {
        terminal::print(&format!("\nNot certain, which may explain a drift:\n{}", doubts.join("\n")));
    }
}

fn rows(days: &[Value]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for day in days {
        let named = |line: &Value, model: &str| {
            let mut row = vec![text(&day["day"]).to_owned(), text(&day["provider"]).to_owned(), model.to_owned()];
            row.extend(cells(line));
            row.push(mark(day, line));
            row
        };
        rows.push(named(day, "all"));
        rows.extend(list(&day["models"]).iter().map(|model| named(model, &format!("  {}", text(&model["model"])))));
    }
    rows
}

/// Ours, theirs, and how far apart.
fn cells(line: &Value) -> [String; 3] {
    let tokens = |side: &Value| side["input"].as_u64().unwrap_or(0) + side["output"].as_u64().unwrap_or(0);
    let theirs = match text(&line["basis"]) {
        "money" => text(&line["theirUsd"]).to_owned(),
        "usage" => format!("~{}", text(&line["theirUsd"])),
        "tokens" => format!("#{} of our {} tokens", tokens(&line["theirTokens"]), tokens(&line["ourTokens"])),
        _ => "-".to_owned(),
    };
    let drift = line["driftPercent"].as_f64();
    let drift = drift.map_or_else(|| "-".to_owned(), |percent| Drift { percent, is_over: false }.words());
    [text(&line["ourUsd"]).to_owned(), theirs, drift]
}

fn mark(day: &Value, line: &Value) -> String {
    match text(&day["state"]) {
        "complete" if line["isOver"] == true => "drifts".to_owned(),
        "complete" => String::new(),
        "untold" => "not told".to_owned(),
        other => other.to_owned(),
    }
}

fn doubts(day: &Value) -> Option<String> {
    let count = |name: &str| day[name].as_u64().unwrap_or(0);
    let told: Vec<String> = [("estimated", "estimatedUsd"), ("unknown", "unknownUsd"), ("pending", "heldUsd")]
        .into_iter()
        .filter(|(what, _)| count(&format!("{what}Count")) > 0)
        .map(|(what, usd)| format!("{} {what} ({} USD)", count(&format!("{what}Count")), text(&day[usd])))
        .collect();
    let (on, of) = (text(&day["day"]), text(&day["provider"]));
    (!told.is_empty()).then(|| format!("{on}  {of}: {}", told.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(basis: &str, theirs: Option<&str>, percent: Option<f64>, is_over: bool) -> Value {
        json!({"model": "gpt-5", "ourUsd": "1.05", "theirUsd": theirs, "basis": basis, "driftPercent": percent, "isOver": is_over,
            "ourTokens": {"input": 100, "output": 5}, "theirTokens": {"input": 90, "output": 10}})
    }

    fn check(state: &str, line: &Value, expected: [&str; 4]) {
        let mut day = line.clone();
        day["day"] = "2026-11-20".into();
        day["provider"] = "openai".into();
        day["state"] = state.into();
        day["models"] = json!([line]);
        let rows = rows(&[day]);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0][..3], ["2026-11-20", "openai", "all"]);
        assert_eq!(rows[1][2], "  gpt-5");
        assert_eq!(rows[1][3..], expected);
    }

    #[test]
    fn a_row_says_what_was_compared_and_how_far_apart_it_is() {
        check("complete", &line("money", Some("1"), Some(5.0), true), ["1.05", "1", "+5.0%", "drifts"]);
        check("complete", &line("money", Some("1.05"), Some(0.0), false), ["1.05", "1.05", "0.0%", ""]);
        check("provisional", &line("usage", Some("1"), Some(5.0), true), ["1.05", "~1", "+5.0%", "provisional"]);
        check(
            "complete",
            &line("tokens", None, Some(5.0), true),
            ["1.05", "#100 of our 105 tokens", "+5.0%", "drifts"],
        );
        check("untold", &line("", None, None, false), ["1.05", "-", "-", "not told"]);
    }

    #[test]
    fn calls_that_are_not_certain_are_told_beside() {
        let day = json!({"day": "2026-11-20", "provider": "openai", "estimatedCount": 2, "estimatedUsd": "0.1",
            "unknownCount": 0, "unknownUsd": "0", "pendingCount": 1, "heldUsd": "0.3"});
        assert_eq!(doubts(&day).unwrap(), "2026-11-20  openai: 2 estimated (0.1 USD), 1 pending (0.3 USD)");
        assert_eq!(doubts(&json!({"day": "2026-11-20"})), None);
    }

    #[test]
    fn what_could_not_be_fetched_is_told_by_provider() {
        let compared = json!({"fetches": [{"provider": "a", "error": null}, {"provider": "b", "error": "no"}]});
        assert_eq!(failures(&compared), ["provider b: no"]);
    }
}
