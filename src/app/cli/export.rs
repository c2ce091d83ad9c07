//! `tollgate export`: rows for other programs, from the running server or from the folder, the same either way.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand, ValueEnum};

use super::client::Client;
use super::reach::{Absent, Folder, Reach};
use super::{Shared, Usage, terminal};
use crate::domain::url_encoded;
use crate::domain::wording::counted;
use crate::http::api::{Export, Shape};
use crate::ledger::View;
use crate::runtime::Clock;

const COSTS_EXAMPLES: &str = "\
Examples:
  tollgate export costs > november.csv                      this month, a row for each request
  tollgate export costs --from 2026-11-01 --to 2026-12-01 --group-by team --out november.csv
  tollgate export costs --group-by day --format jsonl | jq -r '[.key, .costUsd] | @tsv'
  tollgate export costs --from 2026-01-01 --to 2027-01-01 --format focus --out focus.csv

--to is the first moment that is not part of the export any more. Groups: provider, model, operation, key, team, day, hour,
tag:NAME. FOCUS is the FinOps cost and usage specification, version 1.2: sums by day. Texts that a spreadsheet would take
for formulas get an apostrophe before them.";

const REQUESTS_EXAMPLES: &str = "\
Examples:
  tollgate export requests --from 2026-11-22 --out requests.csv
  tollgate export requests --from 2026-11-22T09:00:00Z --to 2026-11-22T10:00:00Z --format jsonl

CSV has a row for each request; JSON lines have its attempts too, with the usage that each provider reported.";

/// How costs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CostsFormat {
    /// Rows with a header
    Csv,
    /// A line of JSON each
    Jsonl,
    /// The FinOps cost and usage specification
    Focus,
}

/// How requests are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum RequestsFormat {
    /// Rows with a header
    Csv,
    /// A line of JSON each
    Jsonl,
}

/// What is common to all exports.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// The first moment: a date, or a time such as 2026-11-22T09:30:00Z [default: the beginning of this month]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// The first moment that is not wanted any more
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// The file to write; it is there only once it is whole [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Rows for other programs.
#[derive(Debug, Subcommand)]
pub(super) enum ExportCommand {
    /// Write what was spent: a row for each request, for each group, or for each day in FOCUS
    #[command(after_help = COSTS_EXAMPLES)]
    Costs {
        #[command(flatten)]
        selection: Selection,
        /// Sum by this instead of listing requests
        #[arg(long, value_name = "GROUP")]
        group_by: Option<String>,
        /// How to write it [default: csv]
        #[arg(long)]
        format: Option<CostsFormat>,
    },
    /// Write each request
    #[command(after_help = REQUESTS_EXAMPLES)]
    Requests {
        #[command(flatten)]
        selection: Selection,
        /// How to write it [default: csv]
        #[arg(long)]
        format: Option<RequestsFormat>,
    },
}

/// Writes the export.
pub(super) async fn run(shared: &Shared, command: &ExportCommand) -> anyhow::Result<ExitCode> {
    let json_with = |format: &str| {
        Usage(format!("--json writes JSON lines, and --format {format} something else: leave one of the two out"))
    };
    let (selection, group_by, shape) = match command {
        ExportCommand::Costs { format: Some(CostsFormat::Focus), .. } if shared.json => {
            return Err(json_with("focus").into());
        }
        ExportCommand::Costs { format: Some(CostsFormat::Csv), .. }
        | ExportCommand::Requests { format: Some(RequestsFormat::Csv), .. }
            if shared.json =>
        {
            return Err(json_with("csv").into());
        }
        ExportCommand::Costs { selection, group_by, format } => {
            let plain = if shared.json { CostsFormat::Jsonl } else { CostsFormat::Csv };
            let shape = match format.unwrap_or(plain) {
                CostsFormat::Csv => Shape::CostsCsv,
                CostsFormat::Jsonl => Shape::CostsLines,
                CostsFormat::Focus if group_by.is_some() => {
                    return Err(Usage("FOCUS has groups of its own: leave --group-by out".to_owned()).into());
                }
                CostsFormat::Focus => Shape::CostsFocus,
            };
            (selection, group_by.as_deref(), shape)
        }
        ExportCommand::Requests { selection, format } => {
            let plain = if shared.json { RequestsFormat::Jsonl } else { RequestsFormat::Csv };
            let shape = match format.unwrap_or(plain) {
                RequestsFormat::Csv => Shape::CostsCsv,
                RequestsFormat::Jsonl => Shape::RequestsLines,
            };
            (selection, None, shape)
        }
    };
    let query = query(selection, group_by);
    let reach = Reach::find(shared, Absent::Told)?;
    let mut sink = Sink::new(selection.out.as_deref())?;
    let written = match reach {
        Reach::Server(client) => from_server(&client, shape, &query, &mut sink).await,
        Reach::Folder(folder) => from_folder(&folder, shape, &query, &mut sink),
    };
    match written {
        Ok(()) => sink.finish()?,
        // Whoever reads has enough, as head does.
        Err(error) if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) => {}
        Err(error) => {
            sink.discard();
            return Err(error);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn query(selection: &Selection, group_by: Option<&str>) -> String {
    let given = [("from", selection.from.as_deref()), ("to", selection.to.as_deref()), ("groupBy", group_by)];
    let given = given.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", url_encoded(value?))));
    given.collect::<Vec<_>>().join("&")
}

async fn from_server(client: &Client, shape: Shape, query: &str, sink: &mut Sink) -> anyhow::Result<()> {
    let mut pieces = client.pieces(&format!("{}?{query}", shape.path())).await?;
    while let Some(piece) = pieces.next().await? {
        sink.take(&piece)?;
    }
    Ok(())
}

fn from_folder(folder: &Folder, shape: Shape, query: &str, sink: &mut Sink) -> anyhow::Result<()> {
    let ledger = Arc::new(folder.ledger()?);
    let now = Clock::system().now();
    let export = Export::new(shape, query, View::new(&ledger, None), &folder.keys, now);
    let mut export = export.map_err(|problem| Usage(problem.detail().to_owned()))?;
    while let Some(piece) = export.piece().context("the ledger can't be read to the end of the export")? {
        sink.take(piece.as_bytes())?;
    }
    ledger.stop();
    Ok(())
}

/// Where rows go: standard output, or a file that gets its name when it is whole.
struct Sink {
    file: Option<(File, PathBuf, PathBuf)>,
    lines: u64,
}

impl Sink {
    fn new(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self { file: None, lines: 0 }) };
        let name = path.file_name().ok_or_else(|| Usage(format!("{} is no file", path.display())))?;
        let mut part = name.to_owned();
        part.push(".part");
        let part = path.with_file_name(part);
        let file = File::create(&part).with_context(|| format!("{} can't be written", part.display()))?;
        Ok(Self { file: Some((file, part, path.to_owned())), lines: 0 })
    }

    fn take(&mut self, piece: &[u8]) -> anyhow::Result<()> {
        match &mut self.file {
            None => terminal::write(piece)?,
            Some((file, part, _)) => {
                file.write_all(piece).with_context(|| format!("{} can't be written", part.display()))?;
            }
        }
        self.lines += memchr::memchr_iter(b'\n', piece).count() as u64;
        // Between rows that are read as they come it would be a nuisance.
        if self.file.is_some() || !terminal::is_shown() {
            terminal::tell_growing(&self.told());
        }
        Ok(())
    }

    fn told(&self) -> String {
        counted(self.lines, "line", "lines")
    }

    fn finish(self) -> anyhow::Result<()> {
        let told = self.told();
        let Some((file, part, path)) = self.file else {
            if !terminal::is_shown() {
                terminal::tell_grown(&told);
            }
            return Ok(());
        };
        let moved = file.sync_all().and_then(|()| std::fs::rename(&part, &path));
        moved.map_err(|error| anyhow!("{} can't be written: {error}", path.display()))?;
        terminal::tell_grown(&format!("{told} in {}", path.display()));
        Ok(())
    }

    /// Takes back half an export, so that nobody takes it for a whole one.
    fn discard(self) {
        if let Some((_, part, _)) = self.file {
            let _ = std::fs::remove_file(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(from: Option<&str>) -> Selection {
        Selection { from: from.map(ToOwned::to_owned), to: None, out: None }
    }

    #[test]
    fn what_is_typed_is_asked_for_as_it_is() {
        assert_eq!(query(&selection(None), None), "");
        let asked = query(&selection(Some("2026-11-22T09:00:00+09:00")), Some("tag:env & more"));
        assert_eq!(asked, "from=2026-11-22T09%3A00%3A00%2B09%3A00&groupBy=tag%3Aenv%20%26%20more");
    }

    #[test]
    fn a_file_has_its_name_only_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("costs.csv");
        let mut sink = Sink::new(Some(&path)).unwrap();
        sink.take(b"a,b\n").unwrap();
        assert!(!path.exists());
        sink.discard();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut sink = Sink::new(Some(&path)).unwrap();
        sink.take(b"a,b\n").unwrap();
        sink.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"a,b\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
