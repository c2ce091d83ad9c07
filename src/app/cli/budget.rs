//! `tollgate budget`: what may be spent, by whom, in which window.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, Refused};
use super::reach::{Absent, Folder, Reach};
use super::{Shared, Usage, key, terminal};
use crate::domain::wording::per_window;
use crate::domain::{
    BudgetAction, BudgetDefinition, BudgetId, BudgetScope, BudgetTerms, Picodollars, Window, url_encoded,
};
use crate::keys::VirtualKey;
use crate::runtime::Clock;

const SET_EXAMPLES: &str = "\
Examples:
  tollgate budget set everything month 500
  tollgate budget set key:ci day 1.00
  tollgate budget set team:research week 50 --action alert
  tollgate budget set model:gpt-5 day 10 --action downgrade --downgrade-to cheap
  tollgate budget set 'model:openai/*' month 200
  tollgate budget set tag:env=prod total 1000 --thresholds 50,80,95

Scopes: everything, team:NAME, key:NAME, provider:NAME, model:NAME, operation:NAME, tag:NAME=VALUE.
A model is meant with its dated versions, model:PROVIDER/NAME is that of one provider, and * stands for any text.
Windows: hour, day, week (from Monday), month, total; days and months are those of the configured time zone.
A scope and window that have a budget get the new terms.

At the limit (counting what is spent, what running calls hold, and the most that the call may cost):
  block      refuses the call. Never exceeded: as it fills up, calls are first clipped to shorter answers
             (x-tollgate-budget-clipped), then wait up to 2 s for others to settle, then are refused.
  alert      lets the call go and tells someone.
  downgrade  sends the call to the route named by --downgrade-to, at that route's prices; it still counts here.";

const LIST_EXAMPLES: &str = "\
Examples:
  tollgate budget list
  tollgate budget list --json";

const REMOVE_EXAMPLES: &str = "\
Examples:
  tollgate budget remove budget_3";

/// Limit what may be spent.
#[derive(Debug, Subcommand)]
pub(super) enum BudgetCommand {
    /// Set the budget of a scope and window
    Set(SetArguments),
    /// List the budgets; of a running server also what is spent and held
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// Take a budget away: its scope has no such limit from now on
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove {
        /// Its id, as the list shows it
        #[arg(value_parser = id_of)]
        id: BudgetId,
    },
}

/// Arguments of `budget set`.
#[derive(Debug, Args)]
#[command(after_help = SET_EXAMPLES)]
pub(super) struct SetArguments {
    /// Whom it binds: everything, or KIND:NAME
    scope: String,
    /// How long before it begins again: hour, day, week, month, total
    #[arg(value_parser = window_of)]
    window: Window,
    /// How much, in US dollars
    #[arg(value_name = "USD", value_parser = limit_of)]
    limit: Picodollars,
    /// What happens at the limit: block, alert, downgrade; left out, a new budget blocks and one that is there goes on as it is
    #[arg(long)]
    action: Option<String>,
    /// The route that calls go to at the limit, where the action is to downgrade
    #[arg(long, value_name = "ROUTE")]
    downgrade_to: Option<String>,
    /// The percentages at which someone is told, in order; left out, a new budget has those of `[alerts]` and one that is there
    /// keeps its own
    #[arg(long, value_name = "PERCENT", value_delimiter = ',')]
    thresholds: Option<Vec<u8>>,
}

/// A window from its word.
pub(super) fn window_of(word: &str) -> Result<Window, String> {
    let windows = Window::ALL.map(Window::as_str).join(", ");
    Window::from_word(word).ok_or_else(|| format!("{word:?} is no window: choose one of {windows}"))
}

fn limit_of(text: &str) -> Result<Picodollars, String> {
    text.parse().map_err(|error| format!("{error}; write dollars as 1.50"))
}

fn id_of(text: &str) -> Result<BudgetId, String> {
    text.parse().map_err(|_| "a budget's id looks like budget_3: `tollgate budget list` shows all".to_owned())
}

/// The kind and the name of a scope as it is typed.
fn scope_of(text: &str) -> (&str, Option<&str>) {
    text.split_once(':').map_or((text, None), |(kind, name)| (kind, Some(name)))
}

/// Runs one of the commands.
pub(super) async fn run(shared: &Shared, command: BudgetCommand) -> anyhow::Result<ExitCode> {
    match command {
        BudgetCommand::Set(arguments) => set(shared, &arguments).await,
        BudgetCommand::List => list(shared).await,
        BudgetCommand::Remove { id } => remove(shared, id).await,
    }
}

async fn set(shared: &Shared, arguments: &SetArguments) -> anyhow::Result<ExitCode> {
    let (kind, name) = scope_of(&arguments.scope);
    // Checked before anything is asked for; a key's name stands in for its id.
    BudgetScope::new(kind, name).map_err(|error| Usage(error.to_string()))?;
    let wanted = action(arguments)?;
    let reach = Reach::find(shared, Absent::Made)?;
    let wanted = match wanted {
        Some(action) => action,
        None => present_action(&reach, (kind, name), arguments.window).await?.unwrap_or(BudgetAction::Block),
    };
    let terms = BudgetTerms::new(arguments.limit, wanted);
    let thresholds = arguments.thresholds.as_deref();
    let set = set_on(&reach, (kind, name), arguments.window, terms, thresholds).await?;
    if shared.json {
        terminal::print(&set.to_string());
    } else {
        let text = |name: &str| set[name].as_str().unwrap_or_default().to_owned();
        terminal::print(&format!(
            "{}: {} USD {} for {}, then {}",
            text("id"),
            text("limitUsd"),
            per_window(arguments.window),
            arguments.scope,
            text("action")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Sets the budget of a scope, given by its kind and name, where the command works. Without thresholds it keeps its own, and a
/// new one has those of the settings.
pub(super) async fn set_on(
    reach: &Reach,
    (kind, name): (&str, Option<&str>),
    window: Window,
    terms: BudgetTerms,
    thresholds: Option<&[u8]>,
) -> anyhow::Result<Value> {
    match reach {
        Reach::Server(client) => {
            let id = match (kind, name) {
                ("key", Some(name)) => Some(key::id_at(client, name).await?),
                (_, name) => name.map(str::to_owned),
            };
            set_at(client, &json!({ "kind": kind, "id": id }), window, &terms, thresholds).await
        }
        Reach::Folder(folder) => set_in(folder, kind, name, window, terms, thresholds),
    }
}

/// What is to happen at the limit, where that is said; a route alone says it too.
fn action(arguments: &SetArguments) -> Result<Option<BudgetAction>, Usage> {
    let word = match (&arguments.action, &arguments.downgrade_to) {
        (None, None) => return Ok(None),
        (None, Some(_)) => "downgrade",
        (Some(word), _) => word,
    };
    let action = BudgetAction::new(word, arguments.downgrade_to.as_deref());
    action.map(Some).map_err(|error| Usage(error.to_string().replace("downgradeTo", "--downgrade-to")))
}

/// What happens at the limit of the budget that is there.
async fn present_action(
    reach: &Reach,
    (kind, name): (&str, Option<&str>),
    window: Window,
) -> anyhow::Result<Option<BudgetAction>> {
    match reach {
        Reach::Server(client) => {
            let id = match (kind, name) {
                ("key", Some(name)) => Some(key::id_at(client, name).await?),
                (_, name) => name.map(str::to_owned),
            };
            let scope = json!({ "kind": kind, "id": id });
            let budgets = client.list("/api/budgets").await?;
            let present = budgets.iter().find(|budget| budget["scope"] == scope && budget["window"] == window.as_str());
            let action = |budget: &Value| {
                BudgetAction::new(budget["action"].as_str().unwrap_or_default(), budget["downgradeTo"].as_str()).ok()
            };
            Ok(present.and_then(action))
        }
        Reach::Folder(folder) => {
            let scope = scope_in(folder, kind, name)?;
            let budgets = folder.keys.budgets();
            let present = budgets.iter().find(|budget| budget.window == window && budget.scope == scope);
            Ok(present.map(|budget| budget.action.clone()))
        }
    }
}

fn scope_in(folder: &Folder, kind: &str, name: Option<&str>) -> anyhow::Result<BudgetScope> {
    Ok(match (kind, name) {
        ("key", Some(name)) => BudgetScope::Key(key::id_in(&folder.keys, name, Clock::system().now())?),
        _ => BudgetScope::new(kind, name)?,
    })
}

/// Makes the budget, or puts the one that is there on the new terms.
async fn set_at(
    client: &Client,
    scope: &Value,
    window: Window,
    terms: &BudgetTerms,
    thresholds: Option<&[u8]>,
) -> anyhow::Result<Value> {
    let terms = json!({
        "limitUsd": terms.limit,
        "action": terms.action.word(),
        "downgradeTo": terms.action.downgrade_to(),
        "thresholds": thresholds,
    });
    let mut whole = terms.clone();
    whole["scope"] = scope.clone();
    whole["window"] = window.as_str().into();
    match client.post("/api/budgets", &whole).await {
        Ok(made) => Ok(made),
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(refused) if refused.code() == "budget_exists" => {
                let id = refused.problem["budgetId"].as_str().unwrap_or_default();
                client.put(&format!("/api/budgets/{}", url_encoded(id)), &terms).await
            }
            _ => Err(error),
        },
    }
}

fn set_in(
    folder: &Folder,
    kind: &str,
    name: Option<&str>,
    window: Window,
    mut terms: BudgetTerms,
    thresholds: Option<&[u8]>,
) -> anyhow::Result<Value> {
    let now = Clock::system().now();
    let scope = scope_in(folder, kind, name)?;
    if let BudgetScope::Model(models) = &scope
        && folder.config.route(models.as_str()).is_some()
    {
        return Err(Usage(format!(
            "{models} is a route, and a budget of a model is over what calls reach: name a model"
        ))
        .into());
    }
    if let Some(route) = terms.action.downgrade_to()
        && folder.config.route(route).is_none()
    {
        return Err(Usage(format!("there is no route {route:?} in the settings that calls could go to")).into());
    }
    let budgets = folder.keys.budgets();
    let present = budgets.iter().find(|budget| budget.window == window && budget.scope == scope);
    let kept = present.map_or(&folder.config.alerts.thresholds, |present| &present.thresholds);
    terms.thresholds = thresholds.unwrap_or(kept).to_vec();
    Ok(as_json(&*folder.keys.set_budget(scope, window, terms, now)?))
}

/// A budget as the management API shows it, without its sums.
pub(super) fn as_json(budget: &BudgetDefinition) -> Value {
    json!({
        "id": budget.id.to_string(),
        "scope": budget.scope,
        "window": budget.window.as_str(),
        "limitUsd": budget.limit,
        "action": budget.action.word(),
        "downgradeTo": budget.action.downgrade_to(),
        "thresholds": budget.thresholds,
        "createdAt": budget.created.to_string(),
        "revision": budget.revision,
    })
}

async fn list(shared: &Shared) -> anyhow::Result<ExitCode> {
    let (mut items, keys) = match Reach::find(shared, Absent::Told)? {
        Reach::Server(client) => (client.list("/api/budgets").await?, client.list("/api/keys").await?),
        Reach::Folder(folder) => {
            let name = |key: &Arc<VirtualKey>| json!({ "id": key.id, "name": key.name });
            let budgets = folder.keys.budgets().iter().map(|budget| as_json(budget)).collect();
            (budgets, folder.keys.list().iter().map(name).collect())
        }
    };
    if shared.json {
        terminal::print(&json!({ "items": items, "nextCursor": null }).to_string());
    } else if items.is_empty() {
        terminal::tell("there is no budget yet: `tollgate budget set everything month 500` makes one");
    } else {
        name_keys(&mut items, &keys);
        let rows: Vec<Vec<String>> = items.iter().map(row).collect();
        terminal::print_table(&["ID", "SCOPE", "WINDOW", "LIMIT USD", "ACTION", "SPENT", "HELD"], &rows);
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts the name of a key where people read its id.
fn name_keys(budgets: &mut [Value], keys: &[Value]) {
    for scope in budgets.iter_mut().map(|budget| &mut budget["scope"]).filter(|scope| scope["kind"] == "key") {
        if let Some(key) = keys.iter().find(|key| key["id"] == scope["id"]) {
            scope["id"] = key["name"].clone();
        }
    }
}

fn row(budget: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let scope = match budget["scope"]["id"].as_str() {
        None => text(&budget["scope"]["kind"]),
        Some(id) => format!("{}:{id}", text(&budget["scope"]["kind"])),
    };
    vec![
        text(&budget["id"]),
        scope,
        text(&budget["window"]),
        text(&budget["limitUsd"]),
        text(&budget["action"]),
        text(&budget["spentUsd"]),
        text(&budget["heldUsd"]),
    ]
}

async fn remove(shared: &Shared, id: BudgetId) -> anyhow::Result<ExitCode> {
    match Reach::find(shared, Absent::Told)? {
        Reach::Server(client) => client.delete(&format!("/api/budgets/{id}")).await?,
        Reach::Folder(folder) => drop(folder.keys.remove_budget(id)?),
    }
    if shared.json {
        terminal::print(&json!({ "id": id.to_string(), "removed": true }).to_string());
    } else {
        terminal::print(&format!("{id} is gone"));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::super::client::tests::{client, scripted};
    use super::*;

    #[test]
    fn scopes_are_typed_as_kind_and_name() {
        assert_eq!(scope_of("everything"), ("everything", None));
        assert_eq!(scope_of("tag:env=prod:eu"), ("tag", Some("env=prod:eu")));
        assert!(window_of("fortnight").unwrap_err().contains("hour, day, week, month, total"));
        assert!(id_of("3").is_err() && id_of("budget_3") == Ok(BudgetId(3)));
    }

    #[test]
    fn a_list_for_people_has_the_names_of_keys() {
        let scope = |kind: &str, id: &str| json!({ "id": "budget_1", "scope": { "kind": kind, "id": id } });
        let mut budgets = [scope("key", "key_1"), scope("key", "key_gone"), scope("team", "key_1")];
        name_keys(&mut budgets, &[json!({ "id": "key_1", "name": "ci" })]);
        let shown: Vec<String> = budgets.iter().map(|budget| row(budget)[1].clone()).collect();
        assert_eq!(shown, ["key:ci", "key:key_gone", "team:key_1"]);
    }

    #[tokio::test]
    async fn a_budget_that_is_there_gets_the_new_terms() {
        let exists = json!({ "code": "budget_exists", "detail": "…", "budgetId": "budget_7" });
        let (address, server) = scripted(vec![(409, exists), (200, json!({ "id": "budget_7" }))]);
        let scope = json!({ "kind": "everything", "id": null });
        let terms = BudgetTerms::new(Picodollars::from_dollars(5), BudgetAction::Block);
        let set = set_at(&client(&address), &scope, Window::Day, &terms, None).await.unwrap();
        assert_eq!(set["id"], "budget_7");
        let asked = server.join().unwrap();
        assert_eq!(asked[0].0, "POST /api/budgets");
        assert_eq!(asked[0].1["window"], "day");
        assert_eq!(asked[1].0, "PUT /api/budgets/budget_7");
        assert_eq!(asked[1].1["limitUsd"], "5");
        assert!(asked[1].1.get("scope").is_none());
        // The server knows which thresholds there were.
        assert!(asked[1].1["thresholds"].is_null());
    }
}
