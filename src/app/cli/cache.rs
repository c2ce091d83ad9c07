//! `tollgate cache`: answers that are kept. They are in the memory of a running server, and nowhere else.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, Refused};
use super::reach::{Absent, Reach};
use super::{Shared, Usage, terminal};
use crate::domain::url_encoded;

const STATS_EXAMPLES: &str = "\
Examples:
  tollgate cache stats
  tollgate cache stats --json | jq .metrics.hitRate";

const CLEAR_EXAMPLES: &str = "\
Examples:
  tollgate cache clear
  tollgate cache clear 'model:gpt-*'
  tollgate cache clear 'key:ci tag:env=prod'
  tollgate cache clear 'text:\"*old price list*\"'
  tollgate cache clear older:30m

Terms: provider:, model:, operation:, key:, team:, tag:NAME=VALUE, text:, older:DURATION, entry:ID; a name alone is a
model's. An entry goes when all terms fit it; * stands for any run of characters.";

const WARM_EXAMPLES: &str = "\
Examples:
  tollgate cache warm requests.jsonl --key ci
  jq -c '.body' log.jsonl | tollgate cache warm - --key ci

Each line is a request: {\"endpoint\":\"/v1/chat/completions\",\"body\":{…}}, or the body of a chat completion alone. The calls
are real: the virtual key pays for them, and its own calls find the answers.";

/// Requests that are sent at once: few enough that progress is seen, enough to keep the server's own calls going.
const BATCH_LEN: usize = 16;

/// Answers that are kept.
#[derive(Debug, Subcommand)]
pub(super) enum CacheCommand {
    /// Show what the cache holds and what it has saved
    #[command(after_help = STATS_EXAMPLES)]
    Stats,
    /// Take entries out: those that fit a pattern, or all
    #[command(after_help = CLEAR_EXAMPLES)]
    Clear {
        /// Which entries; all where it is left out
        #[arg(default_value = "*")]
        pattern: String,
    },
    /// Make the calls of a file, so that their answers are there when somebody asks
    Warm(WarmArguments),
}

/// Arguments of `cache warm`.
#[derive(Debug, Args)]
#[command(after_help = WARM_EXAMPLES)]
pub(super) struct WarmArguments {
    /// A file of requests, one a line; - is standard input
    file: PathBuf,
    /// The virtual key that pays, by name or id; may be left out where there is one
    #[arg(long, value_name = "NAME|ID")]
    key: Option<String>,
}

/// Runs one of the commands.
pub(super) async fn run(shared: &Shared, command: CacheCommand) -> anyhow::Result<ExitCode> {
    let server = match Reach::find(shared, Absent::Told)? {
        Reach::Server(client) => Some(client),
        Reach::Folder(_) => None,
    };
    match command {
        CacheCommand::Stats => stats(shared, server.as_ref()).await,
        CacheCommand::Clear { pattern } => clear(shared, server.as_ref(), &pattern).await,
        CacheCommand::Warm(arguments) => warm(shared, server.as_ref(), &arguments).await,
    }
}

const NOBODY_RUNS: &str =
    "no server runs on this data folder, so nothing is kept: answers are in a server's memory only";

async fn stats(shared: &Shared, server: Option<&Client>) -> anyhow::Result<ExitCode> {
    let Some(client) = server else {
        if shared.json {
            terminal::print(&json!({ "running": false, "size": 0, "bytes": 0 }).to_string());
        } else {
            terminal::tell(NOBODY_RUNS);
        }
        return Ok(ExitCode::SUCCESS);
    };
    let mut stats = client.get("/api/cache?limit=1").await?;
    if let Some(stats) = stats.as_object_mut() {
        for of_the_list in ["items", "nextCursor", "fitting"] {
            stats.remove(of_the_list);
        }
        stats.insert("running".to_owned(), true.into());
    }
    terminal::print(&if shared.json { stats.to_string() } else { stats_in_words(&stats) });
    Ok(ExitCode::SUCCESS)
}

fn stats_in_words(stats: &Value) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let mebibytes = |value: &Value| number(value) as f64 / f64::from(1 << 20);
    let metrics = &stats["metrics"];
    if stats["enabled"] == false {
        return "the cache is off: set enabled = true in [cache] of tollgate.toml".to_owned();
    }
    let rate = match (&metrics["hits"], &metrics["misses"]) {
        (hits, misses) if hits == 0 && misses == 0 => "nothing was asked of it since the start".to_owned(),
        (hits, misses) => format!(
            "{} hits and {} misses since the start: {:.1}% hits, {} USD saved",
            number(hits),
            number(misses),
            metrics["hitRate"].as_f64().unwrap_or(0.0) * 100.0,
            metrics["savedUsd"].as_str().unwrap_or("0"),
        ),
    };
    format!(
        "{} entries, {:.1} of {:.0} MiB, {} gone for want of room\n{rate}\nanswers are good for {} s and shared by scope {}",
        number(&stats["size"]),
        mebibytes(&stats["bytes"]),
        mebibytes(&stats["bytesMax"]),
        number(&stats["evictions"]),
        stats["ttlSeconds"].as_f64().unwrap_or(0.0),
        stats["scope"].as_str().unwrap_or_default(),
    )
}

async fn clear(shared: &Shared, server: Option<&Client>, pattern: &str) -> anyhow::Result<ExitCode> {
    pattern.parse::<crate::cache::Pattern>().map_err(|error| Usage(error.to_string()))?;
    let removed = match server {
        Some(client) => client.delete_answered(&format!("/api/cache?pattern={}", url_encoded(pattern))).await?,
        None => json!({ "removed": 0, "removedShared": null }),
    };
    if shared.json {
        terminal::print(&removed.to_string());
    } else if server.is_none() {
        terminal::tell(NOBODY_RUNS);
    } else {
        terminal::print(&match removed["removed"].as_u64() {
            Some(1) => "1 entry is gone".to_owned(),
            more => format!("{} entries are gone", more.unwrap_or(0)),
        });
    }
    Ok(ExitCode::SUCCESS)
}

/// The lines of a file that have something on them, each with its number.
type Lines = Vec<(usize, String)>;

fn read_lines(file: &Path) -> anyhow::Result<Lines> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text).context("standard input can't be read")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
    }
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    Ok(lines.map(|(number, line)| (number, line.to_owned())).collect())
}

async fn warm(shared: &Shared, server: Option<&Client>, arguments: &WarmArguments) -> anyhow::Result<ExitCode> {
    let lines = read_lines(&arguments.file)?;
    let Some(client) = server else {
        bail!("no server runs on this data folder; start one, because answers are kept in its memory only");
    };
    if lines.is_empty() {
        bail!("{} has no request: write one a line", arguments.file.display());
    }
    let warmed = warm_at(client, &arguments.file, &lines, arguments.key.as_deref()).await?;
    if shared.json {
        terminal::print(&warmed.to_string());
    } else {
        terminal::print(&warmed_in_words(&warmed, &arguments.file));
    }
    Ok(if warmed["failed"] == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends the lines in batches and adds up what came of them.
async fn warm_at(client: &Client, file: &Path, lines: &Lines, key: Option<&str>) -> anyhow::Result<Value> {
    let path =
        key.map_or_else(|| "/api/cache/warm".to_owned(), |key| format!("/api/cache/warm?key={}", url_encoded(key)));
    let mut progress = terminal::Progress::new("requests", lines.len());
    let mut sum = json!({ "requests": 0, "warmed": 0, "hits": 0, "notCached": 0, "failed": 0, "notCachedLines": [], "failures": [] });
    for batch in lines.chunks(BATCH_LEN) {
        let text: Vec<&str> = batch.iter().map(|(_, line)| line.as_str()).collect();
        // What the server counts from the batch's beginning stands elsewhere in the file.
        let number = |line: &Value| {
            let place = line.as_u64().and_then(|line| usize::try_from(line.checked_sub(1)?).ok());
            place.and_then(|place| batch.get(place)).map(|(number, _)| *number)
        };
        let warmed =
            client.post_text(&path, "application/x-ndjson", text.join("\n")).await.map_err(|error| {
                match error.downcast_ref::<Refused>().and_then(|refused| number(&refused.problem["line"])) {
                    Some(number) => anyhow!("{}:{number}: {}", file.display(), without_line(&error.to_string())),
                    None => error,
                }
            })?;
        for count in ["requests", "warmed", "hits", "notCached", "failed"] {
            sum[count] = (sum[count].as_u64().unwrap_or(0) + warmed[count].as_u64().unwrap_or(0)).into();
        }
        for (list, word) in [("failures", "error"), ("notCachedLines", "reason")] {
            for told in warmed[list].as_array().into_iter().flatten() {
                let told = json!({ "line": number(&told["line"]), word: told[word] });
                if let Some(all) = sum[list].as_array_mut() {
                    all.push(told);
                }
            }
        }
        progress.advance(batch.len());
    }
    Ok(sum)
}

/// What was said of a line, without the number that it has in its batch.
fn without_line(told: &str) -> &str {
    told.strip_prefix("line ").and_then(|rest| rest.split_once(": ")).map_or(told, |(_, reason)| reason)
}

fn warmed_in_words(warmed: &Value, file: &Path) -> String {
    let number = |name: &str| warmed[name].as_u64().unwrap_or(0);
    let mut text = format!("{} warmed, {} were there already", number("warmed"), number("hits"));
    if number("notCached") > 0 {
        text.push_str(&format!(", {} answered but not kept", number("notCached")));
    }
    if number("failed") > 0 {
        text.push_str(&format!(", {} failed", number("failed")));
    }
    for (list, word) in [("notCachedLines", "reason"), ("failures", "error")] {
        for told in warmed[list].as_array().into_iter().flatten() {
            let (line, reason) = (&told["line"], told[word].as_str().unwrap_or_default());
            text.push_str(&format!("\n{}:{line}: {reason}", file.display()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::client::tests::{client, scripted};
    use super::*;

    fn lines(count: usize) -> Lines {
        // Every other line of the file is empty.
        (0..count).map(|number| (2 * number + 1, "{\"model\":\"m\"}".to_owned())).collect()
    }

    #[tokio::test]
    async fn a_file_is_sent_in_batches_and_failures_have_their_lines_in_the_file() {
        let batch = |failures: Value| json!({ "requests": 16, "warmed": 15, "hits": 0, "notCached": 0, "failed": 1, "failures": failures });
        let failed = json!([{ "line": 3, "error": "no such model" }]);
        let mut second = batch(failed);
        second["notCached"] = json!(1);
        second["notCachedLines"] = json!([{ "line": 1, "reason": "the answer was cut" }]);
        let (address, server) = scripted(vec![(200, batch(json!([]))), (200, second)]);
        let sum = warm_at(&client(&address), Path::new("f.jsonl"), &lines(32), Some("ci")).await.unwrap();
        assert_eq!((&sum["requests"], &sum["warmed"], &sum["failed"]), (&json!(32), &json!(30), &json!(2)));
        let words = warmed_in_words(&sum, Path::new("f.jsonl"));
        assert_eq!(
            words,
            "30 warmed, 0 were there already, 1 answered but not kept, 2 failed\nf.jsonl:33: the answer was cut\nf.jsonl:37: no such model"
        );
        assert_eq!(server.join().unwrap()[0].0, "POST /api/cache/warm?key=ci");
    }

    #[tokio::test]
    async fn a_wrong_line_is_told_with_its_place_in_the_file() {
        let problem = json!({ "code": "invalid_field", "detail": "line 2: body has to be an object", "line": 2 });
        let (address, server) = scripted(vec![(400, problem)]);
        let refused = warm_at(&client(&address), Path::new("f.jsonl"), &lines(2), None).await.unwrap_err();
        assert_eq!(refused.to_string(), "f.jsonl:3: body has to be an object");
        server.join().unwrap();
    }

    #[tokio::test]
    async fn a_pattern_that_is_none_is_wrong_usage_before_anybody_is_asked() {
        let refused = clear(&Shared::default(), None, "modle:x").await.unwrap_err();
        assert!(refused.is::<Usage>() && refused.to_string().contains("no field \"modle\""), "{refused}");
        assert_eq!(clear(&Shared::default(), None, "*").await.unwrap(), ExitCode::SUCCESS);
    }

    #[tokio::test]
    async fn warming_needs_a_server_that_keeps_the_answers() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"model\":\"m\"}\n").unwrap();
        let arguments = WarmArguments { file: file.path().to_owned(), key: None };
        let refused = warm(&Shared::default(), None, &arguments).await.unwrap_err();
        assert!(refused.to_string().contains("no server runs"), "{refused}");
        let nowhere = WarmArguments { file: "/nowhere.jsonl".into(), key: None };
        let refused = warm(&Shared::default(), None, &nowhere).await.unwrap_err();
        assert!(refused.to_string().contains("/nowhere.jsonl"), "{refused}");
    }

    #[test]
    fn figures_are_told_in_words() {
        let stats = json!({
            "enabled": true, "size": 3, "bytes": 1_048_576, "bytesMax": 268_435_456, "evictions": 0, "ttlSeconds": 3600.0, "scope": "key",
            "metrics": { "hits": 5, "misses": 15, "hitRate": 0.25, "semanticHits": 0, "savedUsd": "1.25" },
        });
        insta::assert_snapshot!(stats_in_words(&stats), @r"
        3 entries, 1.0 of 256 MiB, 0 gone for want of room
        5 hits and 15 misses since the start: 25.0% hits, 1.25 USD saved
        answers are good for 3600 s and shared by scope key
        ");
        let unasked = json!({ "enabled": true, "metrics": { "hits": 0, "misses": 0, "hitRate": 0.0 } });
        assert!(stats_in_words(&unasked).contains("\nnothing was asked of it since the start\n"));
        assert!(stats_in_words(&json!({ "enabled": false })).starts_with("the cache is off"));
    }
}
