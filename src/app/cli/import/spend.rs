//! `tollgate import spend`: what was spent at another gateway, from a CSV, booked at its own time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::super::super::spend::{self, Adjustments, Checked, CsvError, KnownKey, Mapping, Reader, UnknownKeys};
use super::super::reach::{Absent, Reach};
use super::super::{Shared, Usage, WRONG_USAGE, terminal};
use crate::domain::wording::counted;
use crate::http::api::{PAST_LINES_MAX, PastCallJson, TakenInJson, book_past};
use crate::ledger::Ledger;
use crate::runtime::Clock;

const EXAMPLES: &str = "\
Examples:
  tollgate import spend spend_logs.csv --dry-run                what it comes to, and which keys are unknown; books nothing
  tollgate import spend spend_logs.csv --key-map 'old ci=ci'    a key that is called otherwise here
  tollgate import spend spend_logs.csv --unknown-keys keep      calls of keys that are gone, under their own names
  tollgate import spend november.csv                            from another Tollgate: its export of costs

Takes LiteLLM's spend logs and Tollgate's own export of costs. From LiteLLM's database:
  psql \"$DATABASE_URL\" -c '\\copy (SELECT s.*, k.key_alias, t.team_alias FROM \"LiteLLM_SpendLogs\" s
    LEFT JOIN \"LiteLLM_VerificationToken\" k ON k.token = s.api_key
    LEFT JOIN \"LiteLLM_TeamTable\" t ON t.team_id = s.team_id) TO spend_logs.csv CSV HEADER'
(on one line). Keys and teams are found by their names. Every row is checked before the first is booked, and a row that was
booked before is left as it is, so that the same file can be imported again. Costs are marked as estimated, entries carry the
tag import, and those of LiteLLM the operation import.";

/// Rows that make it worth while to show how far it is.
const LONG_ROWS: u64 = 5_000;
/// Lines of sums that are told to people.
const SUMS_SHOWN_MAX: usize = 40;

/// Arguments of `import spend`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::app::cli) struct SpendArguments {
    /// The rows
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
    /// Check the file and tell what it comes to; nothing is booked
    #[arg(long)]
    dry_run: bool,
    /// The virtual key that stands for a key of the file; may be given several times
    #[arg(long, value_name = "OLD=NEW", value_parser = pair)]
    key_map: Vec<(String, String)>,
    /// The team that stands for a team of the file; may be given several times
    #[arg(long, value_name = "OLD=NEW", value_parser = pair)]
    team_map: Vec<(String, String)>,
    /// What becomes of calls whose key nobody has here
    #[arg(long, value_enum, default_value = "refuse")]
    unknown_keys: UnknownKeys,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (old, new) = text.rsplit_once('=').ok_or_else(|| "write it as OLD=NEW".to_owned())?;
    let (old, new) = (old.trim(), new.trim());
    if old.is_empty() || new.is_empty() {
        return Err("write it as OLD=NEW, both with a name".to_owned());
    }
    Ok((old.to_owned(), new.to_owned()))
}

/// Runs the command.
pub(super) async fn run(shared: &Shared, arguments: &SpendArguments) -> anyhow::Result<ExitCode> {
    let now = Clock::system().now();
    // Opened first: a wrong name is told before anything is made.
    let before = Seen::of(&arguments.file)?;
    let reach = Reach::find(shared, if arguments.dry_run { Absent::Told } else { Absent::Made })?;
    let (keys, zone) = known_keys(&reach).await?;
    let mapping = Mapping::new(keys, arguments.key_map.clone(), arguments.team_map.clone(), arguments.unknown_keys);
    if let Some(name) = mapping.misnamed().first() {
        return Err(
            Usage(format!("--key-map: there is no virtual key {name:?}: `tollgate key create` makes one")).into()
        );
    }
    let told = |error: CsvError| in_file(arguments, &error);
    let adjustments = Adjustments::read(open(&arguments.file)?).map_err(told)?;
    let checked = spend::check(open(&arguments.file)?, &mapping, &adjustments, now, &zone).map_err(told)?;
    if checked.bad_len > 0 {
        bail!("{}", bad_rows(arguments, &checked));
    }
    let is_refused = mapping.refuses_unknown() && !checked.unknown_keys.is_empty();
    if is_refused && !arguments.dry_run {
        return Err(Usage(unknown_keys(&checked)).into());
    }
    if arguments.dry_run {
        tell(shared, &checked, None);
        // As the real run would end.
        return Ok(if is_refused { ExitCode::from(WRONG_USAGE) } else { ExitCode::SUCCESS });
    }
    if Seen::of(&arguments.file)? != before {
        bail!("{} was changed while it was read: nothing was booked; run this again", arguments.file.display());
    }
    let rows = Rows { arguments, mapping: &mapping, adjustments: &adjustments, checked: &checked };
    let taken = book(&reach, &rows, now)
        .await
        .context("some rows may be booked already; run this again, what is booked is not booked twice")?;
    tell(shared, &checked, Some(taken));
    Ok(ExitCode::SUCCESS)
}

fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("{} can't be read", path.display()))?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

/// What shows that a file is still the same.
#[derive(PartialEq, Eq)]
struct Seen {
    len: u64,
    changed: Option<std::time::SystemTime>,
}

impl Seen {
    fn of(path: &Path) -> anyhow::Result<Self> {
        let about = std::fs::metadata(path).with_context(|| format!("{} can't be read", path.display()))?;
        if !about.is_file() {
            return Err(
                Usage(format!("{} is no file: it is read twice, so it can't be a stream", path.display())).into()
            );
        }
        Ok(Self { len: about.len(), changed: about.modified().ok() })
    }
}

/// The virtual keys, and the zone that months are told in.
async fn known_keys(reach: &Reach) -> anyhow::Result<(Vec<KnownKey>, TimeZone)> {
    match reach {
        Reach::Server(client) => {
            let keys = client.list("/api/keys").await?;
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let known = keys.iter().filter_map(|key| {
                Some(KnownKey { id: text(&key["id"])?, name: text(&key["name"])?, team: text(&key["team"]) })
            });
            // The server's own zone isn't told; its sums are right whatever is shown here.
            Ok((known.collect(), TimeZone::UTC))
        }
        Reach::Folder(folder) => {
            let known = folder.keys.list().into_iter().map(|key| KnownKey {
                id: key.id.to_string(),
                name: key.name.clone(),
                team: key.team.as_ref().map(ToString::to_string),
            });
            Ok((known.collect(), folder.config.time_zone.clone()))
        }
    }
}

/// Rows that were checked, to be booked.
struct Rows<'r> {
    arguments: &'r SpendArguments,
    mapping: &'r Mapping,
    adjustments: &'r Adjustments,
    checked: &'r Checked,
}

/// Books every row, in batches.
async fn book(reach: &Reach, rows: &Rows<'_>, now: Timestamp) -> anyhow::Result<TakenInJson> {
    let ledger = match reach {
        Reach::Folder(folder) => Some(folder.made_ledger()?),
        Reach::Server(_) => None,
    };
    let booked = book_rows(reach, ledger.as_ref(), rows, now).await;
    if let Some(ledger) = ledger {
        ledger.stop();
    }
    booked
}

async fn book_rows(
    reach: &Reach,
    ledger: Option<&Ledger>,
    rows: &Rows<'_>,
    now: Timestamp,
) -> anyhow::Result<TakenInJson> {
    let Rows { arguments, mapping, adjustments, checked } = rows;
    let all = usize::try_from(checked.rows).unwrap_or(usize::MAX);
    let mut progress = (checked.rows >= LONG_ROWS).then(|| terminal::Progress::new("calls", all));
    let told = |error: CsvError| in_file(arguments, &error);
    let mut reader = Reader::new(open(&arguments.file)?, mapping, adjustments, now).map_err(told)?;
    let mut sum = TakenInJson::default();
    let mut batch: Vec<PastCallJson> = Vec::with_capacity(PAST_LINES_MAX);
    loop {
        let next = reader.next().map_err(told)?;
        let is_end = next.is_none();
        match next {
            Some(Ok(taken)) => batch.push(taken.call),
            Some(Err(bad)) => {
                bail!("line {} can't be booked any more: {}; was the file changed?", bad.line, bad.reason)
            }
            None => {}
        }
        if batch.len() == PAST_LINES_MAX || (is_end && !batch.is_empty()) {
            let taken = match (reach, ledger) {
                (Reach::Server(client), _) => {
                    let lines: Vec<String> = batch.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
                    serde_json::from_value(
                        client.post_text("/api/imports/spend", "application/x-ndjson", lines.join("\n")).await?,
                    )
                    .context("the server answers something else than expected")?
                }
                (Reach::Folder(folder), Some(ledger)) => book_past(ledger, &folder.keys, &batch, now).await?,
                (Reach::Folder(_), None) => unreachable!("a folder comes with its ledger"),
            };
            sum.booked += taken.booked;
            sum.known += taken.known;
            sum.differing += taken.differing;
            if let Some(progress) = &mut progress {
                progress.advance(batch.len());
            }
            batch.clear();
        }
        if is_end {
            return Ok(sum);
        }
    }
}

fn in_file(arguments: &SpendArguments, error: &CsvError) -> anyhow::Error {
    anyhow!("{}:{}: {}", arguments.file.display(), error.line, error.reason)
}

fn bad_rows(arguments: &SpendArguments, checked: &Checked) -> String {
    let mut text = format!(
        "{} can't be imported, nothing was booked; {} wrong:",
        arguments.file.display(),
        counted(checked.bad_len, "row is", "rows are")
    );
    for bad in &checked.bad {
        let column = if bad.column.is_empty() { String::new() } else { format!(", {}", bad.column) };
        text.push_str(&format!("\n  line {}{column}: {}", bad.line, bad.reason));
    }
    let more = checked.bad_len - checked.bad.len() as u64;
    if more > 0 {
        text.push_str(&format!("\n  and {more} more"));
    }
    text
}

fn unknown_keys(checked: &Checked) -> String {
    let keys = checked.unknown_keys.iter().take(SUMS_SHOWN_MAX);
    let keys: Vec<String> =
        keys.map(|(key, calls)| format!("\n  {} ({})", plain(key), counted(*calls, "call", "calls"))).collect();
    format!(
        "nothing was booked: no virtual key stands for {} of the file:{}\nmake them with `tollgate key create`, say which is which with --key-map OLD=NEW, or book them under their own names with --unknown-keys keep",
        counted(checked.unknown_keys.len() as u64, "key", "keys"),
        keys.join("")
    )
}

fn tell(shared: &Shared, checked: &Checked, taken: Option<TakenInJson>) {
    if shared.json {
        terminal::print(&as_json(checked, taken).to_string());
        return;
    }
    let day =
        |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |time| time.strftime("%Y-%m-%d").to_string());
    terminal::print(&format!(
        "{} from {} to {}, {} USD, as {} wrote them",
        counted(checked.rows, "call", "calls"),
        day(checked.first),
        day(checked.last),
        checked.cost,
        if checked.source == "litellm" { "LiteLLM" } else { "Tollgate" },
    ));
    let sums = checked.sums.iter().take(SUMS_SHOWN_MAX);
    let rows: Vec<Vec<String>> = sums
        .map(|((key, model, month), sum)| {
            vec![plain(key), plain(model), month.clone(), sum.calls.to_string(), sum.cost.to_string()]
        })
        .collect();
    terminal::print_table(&["KEY", "MODEL", "MONTH", "CALLS", "USD"], &rows);
    if checked.sums.len() > SUMS_SHOWN_MAX {
        terminal::print(&format!("and {} more: --json has them all", checked.sums.len() - SUMS_SHOWN_MAX));
    }
    if checked.repeated > 0 {
        terminal::print(&format!(
            "{} more than once in the file",
            counted(checked.repeated, "row stands", "rows stand")
        ));
    }
    if checked.rounded > 0 {
        terminal::print(&format!(
            "{} more digits than a millionth of a millionth of a dollar, and {} rounded to the nearest",
            counted(checked.rounded, "amount has", "amounts have"),
            if checked.rounded == 1 { "was" } else { "were" }
        ));
    }
    if checked.adjustments > 0 {
        terminal::print(&format!(
            "{} in the amounts of {}",
            counted(checked.adjustments, "adjustment is", "adjustments are"),
            if checked.adjustments == 1 { "its call" } else { "their calls" }
        ));
    }
    if let Some(taken) = taken {
        terminal::print(&format!("{} booked, {} booked before", taken.booked, taken.known));
        if taken.differing > 0 {
            terminal::tell(&format!(
                "{} booked before with another amount or key, and {} left as it was: `tollgate adjust` corrects what a call has cost",
                counted(taken.differing, "row was", "rows were"),
                if taken.differing == 1 { "is" } else { "are each" }
            ));
        }
        return;
    }
    terminal::print("nothing was booked: this was a dry run");
    if !checked.unknown_keys.is_empty() {
        terminal::tell(&unknown_keys(checked));
    }
}

fn as_json(checked: &Checked, taken: Option<TakenInJson>) -> Value {
    let sum = |((key, model, month), sum): (&(String, String, String), &spend::Sum)| json!({ "key": key, "model": model, "month": month, "calls": sum.calls, "costUsd": sum.cost });
    let named = |counts: &BTreeMap<String, u64>| {
        counts.iter().map(|(name, calls)| json!({ "name": name, "calls": calls })).collect::<Vec<_>>()
    };
    json!({
        "source": checked.source,
        "calls": checked.rows,
        "costUsd": checked.cost,
        "from": checked.first.map(|time| time.to_string()),
        "to": checked.last.map(|time| time.to_string()),
        "repeated": checked.repeated,
        "rounded": checked.rounded,
        "adjustments": checked.adjustments,
        "sums": checked.sums.iter().map(sum).collect::<Vec<_>>(),
        "unknownKeys": named(&checked.unknown_keys),
        "teams": named(&checked.teams),
        "booked": taken.map(|taken| taken.booked),
        "known": taken.map(|taken| taken.known),
        "differing": taken.map(|taken| taken.differing),
    })
}

/// A name of the file for people: control characters stay out of the terminal.
fn plain(name: &str) -> String {
    name.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}
