//! `tollgate re-rate`: what history would have cost at other prices, and booking the difference.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::price_file;
use super::client::Client;
use super::reach::{Absent, Folder, Reach};
use super::{Shared, Usage, terminal};
use crate::domain::wording::counted;
use crate::domain::{Picodollars, RequestId};
use crate::http::api::{RerateJson, instant};
use crate::ledger::{Cause, Ledger};
use crate::provider::Upstream;
use crate::rerate::{self, Booked, Prices, Rerating};
use crate::runtime::Clock;

const EXAMPLES: &str = "\
Examples:
  tollgate re-rate --from 2026-11-01 --prices corrected.toml              what November would have cost
  tollgate re-rate --from 2026-11-01 --to 2026-12-01 --prices corrected.toml --book
  tollgate re-rate --from 2026-11-01 --json | jq .left                    by the prices in force now

The file has [prices.\"provider/model\"] sections as tollgate.toml has them, or is a list in the form of catalog.file; what it
doesn't have keeps the prices in force. Each call is priced again from the usage that was kept, with the service tier, the
place and the time of day that were billed. A section that fits nothing that was called is told of, since its name may be
mistyped, and keeps --book from booking unless --allow-unmatched says that it is right. What can't be priced again is told with the reason, and stays. Nothing is changed
without --book; with it, the difference of each call is booked as an entry of its own at the time of the call, and a second
time with the same prices changes nothing.";

/// Which calls, and which prices.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RerateArguments {
    /// The first moment: a date, or a time such as 2026-11-22T09:30:00Z
    #[arg(long, value_name = "TIME")]
    from: String,
    /// The first moment that is not wanted any more [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// The file of prices [default: the prices in force]
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// Book the difference of each call, after showing it
    #[arg(long)]
    book: bool,
    /// Book although a section of the file fits nothing that was called
    #[arg(long, requires = "book")]
    allow_unmatched: bool,
}

/// A file of prices, read.
struct Given {
    name: String,
    text: String,
}

/// What the pages come to.
#[derive(Default)]
struct Total {
    calls: u64,
    groups: BTreeMap<(String, String, String), Group>,
    left: BTreeMap<(String, String, String), Left>,
    /// Attempts that each section of the file fits.
    sections: BTreeMap<String, u64>,
    booked: u64,
    booked_usd: Picodollars,
}

#[derive(Default)]
struct Group {
    attempts: u64,
    changed: u64,
    was: Picodollars,
    would_be: Picodollars,
}

#[derive(Default)]
struct Left {
    why: String,
    attempts: u64,
    cost: Picodollars,
}

/// Shows the difference, and books it where that is asked for.
pub(super) async fn run(shared: &Shared, arguments: &RerateArguments) -> anyhow::Result<ExitCode> {
    let given = arguments.prices.as_deref().map(read).transpose()?;
    let mut source = match Reach::find(shared, Absent::Told)? {
        Reach::Server(client) => Source::Server(client),
        Reach::Folder(folder) => Source::Folder(Box::new(History::new(*folder, arguments, given.as_ref())?)),
    };
    let mut total = pages(&mut source, arguments, given.as_ref(), false).await?;
    if !shared.json {
        terminal::print(&total.text());
    }
    let unmatched = total.unmatched();
    if !unmatched.is_empty() {
        let sections = unmatched.iter().map(|name| format!("[prices.\"{name}\"]")).collect::<Vec<_>>().join(", ");
        let fits = if unmatched.len() == 1 { "fits" } else { "fit" };
        let told = format!("{sections} {fits} nothing that was called in that time: is the name right?");
        if arguments.book && !arguments.allow_unmatched {
            source.close();
            if shared.json {
                terminal::print(&total.json().to_string());
            }
            return Err(Usage(format!("nothing was booked: {told} If so, --allow-unmatched books the rest")).into());
        }
        terminal::tell(&format!("warning: {told}"));
    }
    if arguments.book && total.changed() > 0 {
        let booked = pages(&mut source, arguments, given.as_ref(), true).await?;
        (total.booked, total.booked_usd) = (booked.booked, booked.booked_usd);
    }
    source.close();
    if shared.json {
        terminal::print(&total.json().to_string());
    } else if arguments.book {
        let told = counted(total.booked, "adjustment was booked", "adjustments were booked");
        terminal::print(&format!("{told}, {} USD in all", total.booked_usd));
    } else if total.changed() > 0 {
        terminal::print("nothing is changed: --book books the difference");
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> anyhow::Result<Given> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| Usage(format!("--prices {shown}: {error}")))?;
    let name = path.file_name().map_or_else(|| shown.to_string(), |name| name.to_string_lossy().into_owned());
    Ok(Given { name: name.chars().filter(|letter| !letter.is_control()).take(100).collect(), text })
}

/// Goes through all pages, telling how far it is.
async fn pages(
    source: &mut Source,
    arguments: &RerateArguments,
    given: Option<&Given>,
    book: bool,
) -> anyhow::Result<Total> {
    let mut total = Total::default();
    let mut cursor: Option<String> = None;
    loop {
        let page = match source {
            Source::Server(client) => {
                let body = json!({
                    "from": arguments.from,
                    "to": arguments.to,
                    "prices": given.map(|given| &given.text),
                    "name": given.map(|given| &given.name),
                    "book": book,
                    "cursor": cursor,
                });
                client.post_work("/api/re-rate", &body).await?
            }
            Source::Folder(history) => history.page(cursor.as_deref(), book).await?,
        };
        total.add(&page)?;
        cursor = page["nextCursor"].as_str().map(ToOwned::to_owned);
        let done = if book { "booked" } else { "looked at" };
        terminal::tell_growing(&format!("{} {done}", counted(total.calls, "call", "calls")));
        if cursor.is_none() {
            terminal::tell_growing("\u{1b}[K");
            return Ok(total);
        }
    }
}

enum Source {
    Server(Client),
    Folder(Box<History>),
}

impl Source {
    fn close(self) {
        if let Self::Folder(history) = self {
            history.ledger.stop();
            drop(history.folder);
        }
    }
}

/// The history in a folder that nobody uses.
struct History {
    ledger: Arc<Ledger>,
    rerating: Rerating,
    from: RequestId,
    until: RequestId,
    cause: Cause,
    folder: Folder,
}

impl History {
    fn new(folder: Folder, arguments: &RerateArguments, given: Option<&Given>) -> anyhow::Result<Self> {
        let now = Clock::system().now();
        let zone = folder.config.time_zone.clone();
        let time = |name: &str, text: &str| -> anyhow::Result<Timestamp> {
            let wrong = || {
                Usage(format!(
                    "--{name} {text}: write a date such as 2026-11-22, or a time such as 2026-11-22T09:30:00Z"
                ))
            };
            Ok(instant(text, &zone).ok_or_else(wrong)?)
        };
        let from = time("from", &arguments.from)?;
        let until = arguments.to.as_deref().map(|to| time("to", to)).transpose()?.unwrap_or(now);
        if from >= until {
            return Err(Usage("--from has to lie before --to, which is not part of the range itself".to_owned()).into());
        }
        let in_force = Arc::new(price_file::catalog(&folder.config)?);
        let prices = match given {
            None => Prices::in_force_only(in_force),
            Some(given) => Prices::read(in_force, &given.name, &given.text)
                .map_err(|error| Usage(format!("--prices {}: {error}", given.name)))?,
        };
        let upstreams = folder.config.providers.iter().map(|provider| Arc::new(Upstream::new(provider, None)));
        let ledger = Arc::new(folder.ledger()?);
        let rerating = Rerating::new(Arc::clone(&ledger), prices, upstreams.collect());
        let cause = rerate::cause("command line", given.map(|given| &*given.name), now);
        let id = |at: Timestamp| RequestId::first_of(at.as_millisecond());
        Ok(Self { ledger, rerating, from: id(from), until: id(until), cause, folder })
    }

    async fn page(&self, cursor: Option<&str>, book: bool) -> anyhow::Result<Value> {
        let from = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(self.from);
        let rerated = self.rerating.look(from, self.until).context("the ledger can't be read to its end")?;
        let mut booked = Booked::default();
        if book {
            booked = self.rerating.book(&rerated, &self.cause).await?;
        }
        serde_json::to_value(RerateJson::new(&rerated, booked)).context("the page can't be written as JSON")
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn amount(value: &Value) -> anyhow::Result<Picodollars> {
    value.as_str().unwrap_or_default().parse().context("the server answers with something else than an amount")
}

impl Total {
    fn add(&mut self, page: &Value) -> anyhow::Result<()> {
        let count = |value: &Value| value.as_u64().unwrap_or_default();
        self.calls += count(&page["calls"]);
        self.booked += count(&page["booked"]);
        self.booked_usd += amount(&page["bookedUsd"])?;
        for one in page["groups"].as_array().into_iter().flatten() {
            let key = (text(&one["day"]), text(&one["provider"]), text(&one["model"]));
            let group = self.groups.entry(key).or_default();
            group.attempts += count(&one["attempts"]);
            group.changed += count(&one["changed"]);
            group.was += amount(&one["wasUsd"])?;
            group.would_be += amount(&one["wouldBeUsd"])?;
        }
        for one in page["sections"].as_array().into_iter().flatten() {
            *self.sections.entry(text(&one["name"])).or_default() += count(&one["attempts"]);
        }
        for one in page["left"].as_array().into_iter().flatten() {
            let key = (text(&one["reason"]), text(&one["provider"]), text(&one["model"]));
            let left = self.left.entry(key).or_default();
            left.why = text(&one["why"]);
            left.attempts += count(&one["attempts"]);
            left.cost += amount(&one["costUsd"])?;
        }
        Ok(())
    }

    /// The sections of the file that fit nothing.
    fn unmatched(&self) -> Vec<&str> {
        self.sections.iter().filter(|(_, attempts)| **attempts == 0).map(|(name, _)| name.as_str()).collect()
    }

    fn changed(&self) -> u64 {
        self.groups.values().map(|group| group.changed).sum()
    }

    fn sums(&self) -> (Picodollars, Picodollars) {
        (self.groups.values().map(|one| one.was).sum(), self.groups.values().map(|one| one.would_be).sum())
    }

    fn text(&self) -> String {
        let changed = self.groups.iter().filter(|(_, group)| group.changed > 0);
        let rows: Vec<Vec<String>> = changed
            .map(|((day, provider, model), group)| {
                vec![
                    day.clone(),
                    format!("{provider}/{model}"),
                    group.attempts.to_string(),
                    group.changed.to_string(),
                    group.was.to_string(),
                    group.would_be.to_string(),
                    signed(group.would_be - group.was),
                ]
            })
            .collect();
        let headings = ["DAY", "PROVIDER/MODEL", "ATTEMPTS", "CHANGED", "WAS USD", "WOULD BE USD", "DIFFERENCE"];
        let mut lines = if rows.is_empty() { Vec::new() } else { vec![terminal::table(&headings, &rows)] };
        let (was, would_be) = self.sums();
        let calls = counted(self.calls, "call", "calls");
        lines.push(if self.changed() == 0 {
            format!("{calls}: what could be priced again costs {was} USD, as it would by these prices")
        } else {
            format!("{calls}: {was} USD would be {would_be} USD, a difference of {} USD", signed(would_be - was))
        });
        lines.extend(self.left.iter().map(|((_, provider, model), left)| {
            let attempts = counted(left.attempts, "attempt", "attempts");
            format!("left: {attempts} at {provider}/{model}, {} USD: {}", left.cost, left.why)
        }));
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let groups = self.groups.iter().map(|((day, provider, model), group)| {
            json!({
                "day": day, "provider": provider, "model": model,
                "attempts": group.attempts, "changed": group.changed,
                "wasUsd": group.was, "wouldBeUsd": group.would_be, "differenceUsd": group.would_be - group.was,
            })
        });
        let left = self.left.iter().map(|((reason, provider, model), left)| {
            json!({
                "provider": provider, "model": model, "reason": reason, "why": left.why,
                "attempts": left.attempts, "costUsd": left.cost,
            })
        });
        let sections = self.sections.iter().map(|(name, attempts)| json!({ "name": name, "attempts": attempts }));
        let (was, would_be) = self.sums();
        json!({
            "calls": self.calls,
            "wasUsd": was, "wouldBeUsd": would_be, "differenceUsd": would_be - was,
            "groups": groups.collect::<Vec<_>>(),
            "left": left.collect::<Vec<_>>(),
            "sections": sections.collect::<Vec<_>>(),
            "booked": self.booked, "bookedUsd": self.booked_usd,
        })
    }
}

fn signed(amount: Picodollars) -> String {
    if amount.is_negative() || amount.is_zero() { amount.to_string() } else { format!("+{amount}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_add_up_and_are_told_by_day_and_model() {
        let page = |was: &str, would_be: &str| {
            json!({
                "calls": 2, "booked": 1, "bookedUsd": "-0.5", "nextCursor": null,
                "groups": [{"day": "2026-11-22", "provider": "openai", "model": "gpt-5", "attempts": 2, "changed": 1,
                    "wasUsd": was, "wouldBeUsd": would_be, "differenceUsd": "0"}],
                "sections": [{"name": "openai/gpt-5", "attempts": 2}, {"name": "openai/gpt5", "attempts": 0}],
                "left": [{"provider": "openai", "model": "gpt-5", "reason": "by_hand", "why": "it stands", "attempts": 1, "costUsd": "3"}],
            })
        };
        let mut total = Total::default();
        total.add(&page("1", "2")).unwrap();
        total.add(&page("1.5", "1")).unwrap();
        let json = total.json();
        assert_eq!(
            (&json["wasUsd"], &json["wouldBeUsd"], &json["differenceUsd"]),
            (&json!("2.5"), &json!("3"), &json!("0.5"))
        );
        assert_eq!((&json["calls"], &json["booked"], &json["bookedUsd"]), (&json!(4), &json!(2), &json!("-1")));
        let text = total.text();
        assert!(text.contains("2026-11-22") && text.contains("+0.5"), "{text}");
        assert!(text.contains("left: 2 attempts at openai/gpt-5, 6 USD: it stands"), "{text}");
        assert_eq!(total.unmatched(), ["openai/gpt5"]);
        assert_eq!(json["sections"][0], json!({"name": "openai/gpt-5", "attempts": 4}));
        assert!(total.add(&json!({"bookedUsd": 5})).is_err());
    }
}
