//! `tollgate key`: virtual keys.

mod change;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::first_start::key_budget;
use super::client::Client;
use super::reach::{Absent, Folder, Reach};
use super::{Shared, Usage, budget, terminal};
use crate::domain::{BudgetAction, BudgetScope, BudgetTerms, EndpointFamily, KeyId, Picodollars, Secret, url_encoded};
use crate::keys::{KeyBudget, KeyLimits, KeyStatus, Keys, NewKey, PreviousSecret, VirtualKey};
use crate::runtime::Clock;

const CREATE_EXAMPLES: &str = "\
Examples:
  tollgate key create ci
  tollgate key create ci --budget day=1.00 --budget month=20 --allow-model 'gpt-4o*' --expires 90d
  tollgate key create batch --team research --owner ada --tag env=prod --budget day=5:alert --expires 2027-01-31
  tollgate key create search --allow-endpoint embeddings --requests-per-minute 600
  KEY=$(tollgate key create sdk --json | jq -r .key)

The key itself is printed once and not kept. A team that there isn't is made.";

const LIST_EXAMPLES: &str = "\
Examples:
  tollgate key list
  tollgate key list --json | jq '.items[].name'";

const ROTATE_EXAMPLES: &str = "\
Examples:
  tollgate key rotate ci
  tollgate key rotate ci --overlap 24h

The id, the budgets and what was spent stay.";

const REVOKE_EXAMPLES: &str = "\
Examples:
  tollgate key revoke ci
  tollgate key revoke key_4f1c9a";

/// Make, list and take back virtual keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a virtual key and print it, once
    Create(CreateArguments),
    /// Change what a key may do, whose it is, and when it ends
    Change(change::ChangeArguments),
    /// List the keys, without their secrets
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// Give a key a new secret and print it, once; without --overlap the old one opens nothing any more
    #[command(after_help = ROTATE_EXAMPLES)]
    Rotate {
        /// Its name, or its id
        #[arg(value_name = "NAME|ID")]
        key: String,
        /// How long the old secret goes on, such as 24h, while programs change over; 30 days at most
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        overlap: Option<Duration>,
    },
    /// Take a key back: it opens nothing from now on
    #[command(after_help = REVOKE_EXAMPLES)]
    Revoke {
        /// Its name, or its id
        #[arg(value_name = "NAME|ID")]
        key: String,
    },
}

/// Arguments of `key create`.
#[derive(Debug, Args)]
#[command(after_help = CREATE_EXAMPLES)]
pub(super) struct CreateArguments {
    /// Its name, such as the program or person that uses it
    name: String,
    /// What it may spend in a window, such as day=1.00; add :alert to be told instead of blocked (can be repeated)
    #[arg(long = "budget", value_name = "WINDOW=USD", value_parser = key_budget_of)]
    budgets: Vec<KeyBudget>,
    /// A model that it may ask for, with * for any text; without this every model (can be repeated)
    #[arg(long = "allow-model", value_name = "GLOB")]
    allowed_models: Vec<String>,
    /// Endpoints that it may call, such as chat or embeddings; without this all of them (can be repeated)
    #[arg(long = "allow-endpoint", value_name = "FAMILY", value_parser = endpoint_of)]
    allowed_endpoints: Vec<EndpointFamily>,
    /// When it ends: after a time such as 90d, or at the beginning of a day such as 2027-01-31
    #[arg(long, value_name = "DURATION|DATE")]
    expires: Option<String>,
    /// The team that its calls count for, by name or id; it is made where there is none
    #[arg(long)]
    team: Option<String>,
    /// The person to ask about it
    #[arg(long)]
    owner: Option<String>,
    /// A tag that every call of it carries (can be repeated)
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = tag_of)]
    tags: Vec<(String, String)>,
    /// Calls in a minute, before the settings' own limit
    #[arg(long, value_name = "NUMBER")]
    requests_per_minute: Option<u64>,
    /// Tokens in a minute, estimated on arrival and set right by usage
    #[arg(long, value_name = "NUMBER")]
    tokens_per_minute: Option<u64>,
    /// Calls that may run at once
    #[arg(long, value_name = "NUMBER")]
    concurrent_requests: Option<u64>,
}

fn key_budget_of(text: &str) -> Result<KeyBudget, String> {
    let wrong = || format!("{text:?} is not of the form WINDOW=USD, such as day=1.00 or month=20:alert");
    let (window, rest) = text.split_once('=').ok_or_else(wrong)?;
    let (limit, action) = rest.split_once(':').unwrap_or((rest, "block"));
    let window = budget::window_of(window)?;
    let limit: Picodollars = limit.parse().map_err(|error| format!("{error}"))?;
    let action = BudgetAction::new(action, None).map_err(|error| error.to_string())?;
    Ok(KeyBudget { window, terms: BudgetTerms::new(limit, action) })
}

fn tag_of(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    let (name, value) = pair.ok_or_else(|| format!("{text:?} is not of the form NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn endpoint_of(text: &str) -> Result<EndpointFamily, String> {
    EndpointFamily::from_word(text).ok_or_else(|| {
        let all: Vec<&str> = EndpointFamily::ALL.iter().map(|family| family.as_str()).collect();
        format!("{text:?} is no family of endpoints: choose from {}", all.join(", "))
    })
}

/// Runs one of the commands.
pub(super) async fn run(shared: &Shared, command: KeyCommand) -> anyhow::Result<ExitCode> {
    match command {
        KeyCommand::Create(arguments) => create(shared, arguments).await,
        KeyCommand::List => list(shared).await,
        KeyCommand::Change(arguments) => change::change(shared, arguments).await,
        KeyCommand::Rotate { key, overlap } => rotate(shared, &key, overlap.unwrap_or_default()).await,
        KeyCommand::Revoke { key } => revoke(shared, &key).await,
    }
}

impl CreateArguments {
    fn new_key(self, zone: &TimeZone, now: Timestamp) -> Result<NewKey, Usage> {
        let expires_at = self.expires.as_deref().map(|text| expires_at(text, zone, now)).transpose().map_err(Usage)?;
        let limits = KeyLimits {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            concurrent_requests: self.concurrent_requests,
        };
        let mut tags = BTreeMap::new();
        for (name, value) in self.tags {
            if let Some(before) = tags.insert(name.clone(), value) {
                return Err(Usage(format!(
                    "--tag {name} is given twice, once as {before:?}: a key has one value of a tag"
                )));
            }
        }
        Ok(NewKey {
            name: self.name,
            team: self.team,
            owner: self.owner,
            tags,
            allowed_models: (!self.allowed_models.is_empty()).then_some(self.allowed_models),
            allowed_endpoints: (!self.allowed_endpoints.is_empty()).then_some(self.allowed_endpoints),
            limits,
            expires_at,
            budgets: self.budgets,
        })
    }
}

/// `90d` from now, the beginning of `2027-01-31` here, or an instant in RFC 3339.
fn expires_at(text: &str, zone: &TimeZone, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        let midnight = date.to_zoned(zone.clone()).map_err(|error| error.to_string())?;
        return Ok(midnight.timestamp());
    }
    let too_far = || format!("--expires {text}: that is too far away");
    let duration = humantime::parse_duration(text).map_err(|_| {
        format!("--expires {text}: give a time from now such as 90d, a day such as 2027-01-31, or an instant such as 2027-01-31T12:00:00Z")
    })?;
    now.checked_add(SignedDuration::try_from(duration).map_err(|_| too_far())?).map_err(|_| too_far())
}

async fn create(shared: &Shared, arguments: CreateArguments) -> anyhow::Result<ExitCode> {
    let now = Clock::system().now();
    let made = match Reach::find(shared, Absent::Made)? {
        Reach::Server(client) => {
            let new = arguments.new_key(&TimeZone::system(), now)?;
            client.post("/api/keys", &as_request(&new)).await?
        }
        Reach::Folder(folder) => {
            let new = arguments.new_key(&folder.config.time_zone, now)?;
            create_in(&folder, new, now)?
        }
    };
    show_secret(shared, &made);
    Ok(ExitCode::SUCCESS)
}

/// Prints the key alone, so that a shell can take it; what is said about it goes elsewhere.
fn show_secret(shared: &Shared, made: &Value) {
    if shared.json {
        terminal::print(&made.to_string());
    } else {
        let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
        terminal::tell(&format!("virtual key {:?} ({}), shown only this once:", text("name"), text("id")));
        terminal::print(&text("key"));
    }
}

async fn rotate(shared: &Shared, named: &str, overlap: Duration) -> anyhow::Result<ExitCode> {
    let now = Clock::system().now();
    let renewed = match Reach::find(shared, Absent::Told)? {
        Reach::Server(client) => {
            let id = id_at(&client, named).await?;
            let body = json!({ "overlap": humantime::format_duration(overlap).to_string() });
            client.post(&format!("/api/keys/{}/rotate", url_encoded(&id)), &body).await?
        }
        Reach::Folder(folder) => {
            let (key, secret) = folder.keys.rotate(&id_in(&folder.keys, named, now)?, overlap, now)?;
            with_secret(as_json(&folder.keys, &key, now), &secret)
        }
    };
    show_secret(shared, &renewed);
    Ok(ExitCode::SUCCESS)
}

fn with_secret(mut key: Value, secret: &Secret<String>) -> Value {
    key["key"] = secret.expose().as_str().into();
    key
}

/// The body of `POST /api/keys`.
fn as_request(new: &NewKey) -> Value {
    let budgets: Vec<Value> = new.budgets.iter().map(budget_as_request).collect();
    let mut body = json!({
        "name": new.name,
        "team": new.team,
        "owner": new.owner,
        "allowedModels": new.allowed_models,
        "allowedEndpoints": new.allowed_endpoints,
        "limits": limits_as_json(&new.limits),
        "expiresAt": new.expires_at.map(|at| at.to_string()),
        "tags": new.tags,
    });
    // Left out, the server's own budget for new keys holds.
    if !budgets.is_empty() {
        body["budgets"] = budgets.into();
    }
    body
}

fn budget_as_request(budget: &KeyBudget) -> Value {
    json!({ "window": budget.window.as_str(), "limitUsd": budget.terms.limit, "action": budget.terms.action.word() })
}

fn limits_as_json(limits: &KeyLimits) -> Value {
    json!({
        "requestsPerMinute": limits.requests_per_minute,
        "tokensPerMinute": limits.tokens_per_minute,
        "concurrentRequests": limits.concurrent_requests,
    })
}

fn create_in(folder: &Folder, mut new: NewKey, now: Timestamp) -> anyhow::Result<Value> {
    let thresholds = &folder.config.alerts.thresholds;
    if new.budgets.is_empty() {
        let usual = folder.config.limits.new_key_budget.as_ref();
        new.budgets = usual.map(|usual| key_budget(usual, thresholds)).transpose()?.into_iter().collect();
    }
    for budget in &mut new.budgets {
        budget.terms.thresholds.clone_from(thresholds);
    }
    let (key, secret) = folder.keys.create(new, now)?;
    Ok(with_secret(as_json(&folder.keys, &key, now), &secret))
}

/// A key as the management API shows it.
fn as_json(keys: &Keys, key: &VirtualKey, now: Timestamp) -> Value {
    let previous =
        |secret: &PreviousSecret| json!({ "last4": secret.last4, "validUntil": secret.valid_until.to_string() });
    let its = BudgetScope::Key(key.id.clone());
    let budgets: Vec<Value> =
        keys.budgets().iter().filter(|budget| budget.scope == its).map(|budget| budget::as_json(budget)).collect();
    json!({
        "id": key.id,
        "name": key.name,
        "team": key.team,
        "teamName": key.team.as_ref().map(|team| keys.team_name(team.as_str())),
        "owner": key.owner,
        "status": key.status(now).as_str(),
        "last4": key.last4,
        "isWithoutBudget": budgets.is_empty(),
        "budgets": budgets,
        "allowedModels": key.allowed_models,
        "allowedEndpoints": key.allowed_endpoints,
        "limits": limits_as_json(&key.limits),
        "createdAt": key.created.to_string(),
        "expiresAt": key.expires_at.map(|at| at.to_string()),
        "revokedAt": key.revoked_at.map(|at| at.to_string()),
        "tags": key.tags,
        "previousSecrets": key.valid_previous(now).map(previous).collect::<Vec<_>>(),
        "revision": key.revision,
    })
}

async fn list(shared: &Shared) -> anyhow::Result<ExitCode> {
    let now = Clock::system().now();
    let items = match Reach::find(shared, Absent::Told)? {
        Reach::Server(client) => client.list("/api/keys").await?,
        Reach::Folder(folder) => folder.keys.list().iter().map(|key| as_json(&folder.keys, key, now)).collect(),
    };
    if shared.json {
        terminal::print(&json!({ "items": items, "nextCursor": null }).to_string());
    } else if items.is_empty() {
        terminal::tell("there is no virtual key yet: `tollgate key create NAME` makes one");
    } else {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let row = |key: &Value| {
            vec![
                text(&key["name"]),
                text(&key["id"]),
                text(&key["status"]),
                format!("…{}", text(&key["last4"])),
                text(if key["teamName"].is_null() { &key["team"] } else { &key["teamName"] }),
                text(&key["owner"]),
                key["budgets"].as_array().map_or_else(String::new, |budgets| budgets_in_words(budgets)),
                text(&key["expiresAt"]),
            ]
        };
        let rows: Vec<Vec<String>> = items.iter().map(row).collect();
        terminal::print_table(&["NAME", "ID", "STATUS", "KEY", "TEAM", "OWNER", "BUDGETS", "EXPIRES"], &rows);
    }
    Ok(ExitCode::SUCCESS)
}

fn budgets_in_words(budgets: &[Value]) -> String {
    if budgets.is_empty() {
        return "none".to_owned();
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let words = budgets.iter().map(|budget| format!("{}={}", text(&budget["window"]), text(&budget["limitUsd"])));
    words.collect::<Vec<_>>().join(" ")
}

async fn revoke(shared: &Shared, named: &str) -> anyhow::Result<ExitCode> {
    let now = Clock::system().now();
    let id = match Reach::find(shared, Absent::Told)? {
        Reach::Server(client) => {
            let id = id_at(&client, named).await?;
            client.delete(&format!("/api/keys/{}", url_encoded(&id))).await?;
            id
        }
        Reach::Folder(folder) => {
            let id = id_in(&folder.keys, named, now)?;
            folder.keys.revoke(&id, now)?;
            id.to_string()
        }
    };
    if shared.json {
        terminal::print(&json!({ "id": id, "status": "revoked" }).to_string());
    } else {
        terminal::print(&format!("the virtual key {named:?} ({id}) opens nothing any more"));
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown(named: &str) -> anyhow::Error {
    anyhow!("there is no live virtual key {named:?}: `tollgate key list` shows all")
}

fn ambiguous(named: &str) -> anyhow::Error {
    anyhow!("keys of several teams are named {named:?}: say which one by its id, which `tollgate key list` shows")
}

/// The id of the live key of a name or id, at a server.
pub(super) async fn id_at(client: &Client, named: &str) -> anyhow::Result<String> {
    let items = client.list("/api/keys").await?;
    let live = |key: &&Value| key["status"] != "revoked" && key["revokedAt"].is_null();
    let in_force = |key: &&Value| live(key) && key["status"] != "expired";
    let mut by_name = items.iter().filter(in_force).filter(|key| key["name"] == named);
    // A name is what people mean, even where another key has it for its id.
    let found = match (by_name.next(), by_name.count()) {
        (_, more) if more > 0 => return Err(ambiguous(named)),
        (Some(key), _) => Some(key),
        (None, _) => items.iter().filter(live).find(|key| key["id"] == named),
    };
    found.and_then(|key| key["id"].as_str()).map(str::to_owned).ok_or_else(|| unknown(named))
}

/// The same in a folder.
pub(super) fn id_in(keys: &Keys, named: &str, now: Timestamp) -> anyhow::Result<KeyId> {
    let by_name = keys.named(named, now).map(|key| key.id.clone());
    let live = keys.list().into_iter().filter(|key| key.status(now) == KeyStatus::Live);
    if live.filter(|key| key.name == named).count() > 1 {
        return Err(ambiguous(named));
    }
    let by_id = || KeyId::new(named).ok().filter(|id| keys.get(id).is_some_and(|key| key.revoked_at.is_none()));
    by_name.or_else(by_id).ok_or_else(|| unknown(named))
}

#[cfg(test)]
mod tests {
    use super::super::client::tests::{client, scripted};
    use super::*;
    use crate::domain::Window;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn budgets_are_read_with_their_action() {
        let budget = key_budget_of("day=1.00").unwrap();
        assert_eq!((budget.window, budget.terms.limit.to_string()), (Window::Day, "1".to_owned()));
        assert_eq!(budget.terms.action, BudgetAction::Block);
        assert_eq!(key_budget_of("month=20:alert").unwrap().terms.action, BudgetAction::Alert);
        for text in ["day", "day=", "fortnight=1", "day=1,00", "day=$1", "day=1:shout", "day=1:downgrade"] {
            assert!(key_budget_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_ends_after_a_time_at_a_day_or_at_an_instant() {
        let check = |text: &str, expected: &str| {
            let zone = TimeZone::get("Asia/Seoul").unwrap();
            assert_eq!(expires_at(text, &zone, NOW).unwrap().to_string(), expected, "{text}");
        };
        check("90d", "1970-04-01T00:00:00Z");
        check("1h 30m", "1970-01-01T01:30:00Z");
        check("2027-01-31", "2027-01-30T15:00:00Z");
        check("2027-01-31T12:00:00Z", "2027-01-31T12:00:00Z");
        for text in ["soon", "2027-02-30", "90", "999999999y"] {
            assert!(expires_at(text, &TimeZone::UTC, NOW).is_err(), "{text}");
        }
    }

    #[test]
    fn the_request_names_only_fields_that_the_api_knows() {
        let new = NewKey { budgets: vec![key_budget_of("day=1.00").unwrap()], ..NewKey::named("ci") };
        let body = as_request(&new);
        let fields: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            fields,
            ["allowedEndpoints", "allowedModels", "budgets", "expiresAt", "limits", "name", "owner", "tags", "team"]
        );
        assert_eq!(body["budgets"], json!([{ "window": "day", "limitUsd": "1", "action": "block" }]));
        assert!(as_request(&NewKey::named("ci")).get("budgets").is_none());
    }

    #[tokio::test]
    async fn a_key_is_found_by_its_name_among_the_live_ones() {
        let keys = json!({ "items": [
            { "id": "key_1", "name": "ci", "status": "revoked", "revokedAt": "2026-01-01T00:00:00Z" },
            { "id": "key_2", "name": "ci", "status": "live", "revokedAt": null },
        ], "nextCursor": null });
        let (address, server) = scripted(vec![(200, keys.clone()), (200, keys.clone()), (200, keys)]);
        let client = client(&address);
        assert_eq!(id_at(&client, "ci").await.unwrap(), "key_2");
        assert_eq!(id_at(&client, "key_2").await.unwrap(), "key_2");
        assert!(id_at(&client, "key_1").await.unwrap_err().to_string().contains("no live virtual key"));
        server.join().unwrap();
    }
}
