//! `tollgate admin user` and `tollgate admin team`: who can log in as what, and the teams.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::reach::{Absent, Reach};
use super::{Shared, Usage, terminal};
use crate::domain::url_encoded;
use crate::keys::{Edit, Entrance, Expected, INVITE_LIFE_DEFAULT, NewUser, Team, User, UserPatch};
use crate::runtime::Clock;

const INVITE_EXAMPLES: &str = "\
Examples:
  tollgate admin user invite grace --role member --team research
  tollgate admin user invite tom --role viewer --expires-in 7d
  tollgate admin user invite grace

Prints a one-time link by which they choose a password. A member makes and revokes keys of one team and sees nothing of
others; a viewer only reads, of one team or, without one, everything. For someone who is there already it is a fresh link.";

const CHANGE_EXAMPLES: &str = "\
Examples:
  tollgate admin user change grace --role viewer
  tollgate admin user change grace --team sales
  tollgate admin user change grace --disable

A change signs them out everywhere.";

const LIST_EXAMPLES: &str = "\
Examples:
  tollgate admin user list
  tollgate admin user list --json | jq -r '.items[] | select(.state == \"disabled\").name'";

const REMOVE_EXAMPLES: &str = "\
Examples:
  tollgate admin user remove grace

They are signed out everywhere. Keys that they made stay: revoke those with `tollgate key revoke`.";

const TEAM_CREATE_EXAMPLES: &str = "\
Examples:
  tollgate admin team create research

The name becomes the team's id, which stays when the name is changed. `tollgate key create NAME --team TEAM` makes one too.";

const TEAM_LIST_EXAMPLES: &str = "\
Examples:
  tollgate admin team list";

const TEAM_RENAME_EXAMPLES: &str = "\
Examples:
  tollgate admin team rename research 'Research lab'";

const TEAM_REMOVE_EXAMPLES: &str = "\
Examples:
  tollgate admin team remove research

What it spent stays in the ledger, and its id is never given to another team.";

/// People who can log in.
#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Let someone in by a one-time link, or make a fresh link for who is there
    #[command(after_help = INVITE_EXAMPLES)]
    Invite {
        /// Their name
        name: String,
        /// admin, member or viewer; left out for who is there already
        #[arg(long, value_parser = ["admin", "member", "viewer"])]
        role: Option<String>,
        /// Their team, by name or id
        #[arg(long, requires = "role")]
        team: Option<String>,
        /// How long the link can be used: 30m to 7d, 24h unless told
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        expires_in: Option<Duration>,
    },
    /// List them
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// Change their role or team, keep them out, or let them in again
    #[command(after_help = CHANGE_EXAMPLES)]
    Change {
        /// Their name
        name: String,
        /// admin, member or viewer
        #[arg(long, value_parser = ["admin", "member", "viewer"])]
        role: Option<String>,
        /// Their team, by name or id, or none
        #[arg(long, value_name = "TEAM|none")]
        team: Option<String>,
        /// Keep them out
        #[arg(long, conflicts_with = "enable")]
        disable: bool,
        /// Let them in again
        #[arg(long)]
        enable: bool,
    },
    /// Take them away; the last admin stays
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove {
        /// Their name
        name: String,
    },
}

/// Teams.
#[derive(Debug, Subcommand)]
pub(super) enum TeamCommand {
    /// Make a team
    #[command(after_help = TEAM_CREATE_EXAMPLES)]
    Create {
        /// Its name, which becomes its id
        name: String,
    },
    /// List the teams
    #[command(after_help = TEAM_LIST_EXAMPLES)]
    List,
    /// Give a team another name; its id stays
    #[command(after_help = TEAM_RENAME_EXAMPLES)]
    Rename {
        /// Its name or id
        team: String,
        /// The new name
        name: String,
    },
    /// Remove a team without live keys, budgets and people
    #[command(after_help = TEAM_REMOVE_EXAMPLES)]
    Remove {
        /// Its name or id
        team: String,
    },
}

/// Runs one of the commands about people.
pub(super) async fn run_user(shared: &Shared, command: UserCommand) -> anyhow::Result<ExitCode> {
    let now = Clock::system().now();
    let reach = Reach::find(shared, Absent::Told)?;
    let (made, text) = match command {
        UserCommand::Invite { name, role, team, expires_in } => {
            let life = expires_in.unwrap_or(INVITE_LIFE_DEFAULT);
            invite(&reach, name, role, team, life, now).await?
        }
        UserCommand::List => return list_users(shared, &reach).await,
        UserCommand::Change { name, role, team, disable, enable } => {
            let team = match team.as_deref() {
                None => Edit::Keep,
                Some("none") => Edit::Clear,
                Some(team) => Edit::Set(team.to_owned()),
            };
            let is_disabled = (disable || enable).then_some(disable);
            if role.is_none() && team.is_keep() && is_disabled.is_none() {
                return Err(Usage("say what is to change: --role, --team, --disable or --enable".to_owned()).into());
            }
            let changed = change(&reach, &name, UserPatch { role, team, is_disabled }).await?;
            (changed, format!("{name:?} is changed, and signed out everywhere"))
        }
        UserCommand::Remove { name } => {
            match &reach {
                Reach::Server(client) => client.delete(&format!("/api/users/{}", url_encoded(&name))).await?,
                Reach::Folder(folder) => drop(folder.keys.remove_user(&name)?),
            }
            (json!({ "name": name, "removed": true }), format!("{name:?} can't log in any more"))
        }
    };
    terminal::print(&if shared.json { made.to_string() } else { text });
    Ok(ExitCode::SUCCESS)
}

async fn invite(
    reach: &Reach,
    name: String,
    role: Option<String>,
    team: Option<String>,
    life: Duration,
    now: Timestamp,
) -> anyhow::Result<(Value, String)> {
    let length = humantime::format_duration(life).to_string();
    let (mut made, token, base) = match reach {
        Reach::Server(client) => {
            let made = if let Some(role) = role {
                let body = json!({ "name": name, "role": role, "team": team, "inviteExpiresIn": length });
                client.post("/api/users", &body).await?
            } else {
                let body = json!({ "expiresIn": length });
                client.post(&format!("/api/users/{}/invite", url_encoded(&name)), &body).await?
            };
            let token = made["invite"]["token"].as_str().unwrap_or_default().to_owned();
            (made, token, client.base().to_owned())
        }
        Reach::Folder(folder) => {
            let (user, link) = if let Some(role) = role {
                folder.keys.create_user(&NewUser { name, role, team }, &Entrance::Invite(life), now)?
            } else {
                let link = folder.keys.invite(&name, life, now)?;
                (folder.keys.user(&name).ok_or_else(|| anyhow!("there is no user {name:?}"))?, Some(link))
            };
            let (token, expires_at) = link.ok_or_else(|| anyhow!("an invitation without its token"))?;
            let token = token.expose().clone();
            let mut made = user_as_json(&user);
            made["invite"] =
                json!({ "token": token, "path": format!("/reset?token={token}"), "expiresAt": expires_at.to_string() });
            (made, token, super::admin::base_of(folder))
        }
    };
    let link = format!("{}/reset?token={token}", base.trim_end_matches('/'));
    made["invite"]["link"] = link.as_str().into();
    terminal::tell_progress(&format!("one-time link, good for {length}, shown only this once:"));
    Ok((made, link))
}

async fn change(reach: &Reach, name: &str, patch: UserPatch) -> anyhow::Result<Value> {
    match reach {
        Reach::Server(client) => {
            let mut body = json!({});
            if let Some(role) = patch.role {
                body["role"] = role.into();
            }
            if !patch.team.is_keep() {
                body["team"] = json!(patch.team);
            }
            if let Some(is_disabled) = patch.is_disabled {
                body["disabled"] = is_disabled.into();
            }
            client.patch(&format!("/api/users/{}", url_encoded(name)), &body).await
        }
        Reach::Folder(folder) => Ok(user_as_json(&*folder.keys.change_user(name, &patch)?)),
    }
}

/// A user as the management API shows one.
fn user_as_json(user: &User) -> Value {
    json!({
        "name": user.name,
        "role": user.role.as_str(),
        "team": user.role.team(),
        "state": user.state.as_str(),
        "createdAt": user.created.to_string(),
    })
}

async fn list_users(shared: &Shared, reach: &Reach) -> anyhow::Result<ExitCode> {
    let items = match reach {
        Reach::Server(client) => client.list("/api/users").await?,
        Reach::Folder(folder) => folder.keys.users().iter().map(|user| user_as_json(user)).collect(),
    };
    let heads = [("NAME", "name"), ("ROLE", "role"), ("TEAM", "team"), ("STATE", "state"), ("SINCE", "createdAt")];
    show(shared, &items, &heads, "there is no user yet: open the setup link that the server prints at its start");
    Ok(ExitCode::SUCCESS)
}

/// A list as JSON, or as a table of some of its fields.
fn show(shared: &Shared, items: &[Value], columns: &[(&str, &str)], none: &str) {
    if shared.json {
        terminal::print(&json!({ "items": items, "nextCursor": null }).to_string());
    } else if items.is_empty() {
        terminal::tell(none);
    } else {
        let text = |value: &Value| {
            value
                .as_str()
                .map_or_else(|| if value.is_null() { "-".to_owned() } else { value.to_string() }, ToOwned::to_owned)
        };
        let row = |item: &Value| columns.iter().map(|(_, field)| text(&item[*field])).collect::<Vec<_>>();
        let rows: Vec<Vec<String>> = items.iter().map(row).collect();
        let heads: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
        terminal::print_table(&heads, &rows);
    }
}

/// Runs one of the commands about teams.
pub(super) async fn run_team(shared: &Shared, command: TeamCommand) -> anyhow::Result<ExitCode> {
    let now = Clock::system().now();
    let absent = if matches!(command, TeamCommand::Create { .. }) { Absent::Made } else { Absent::Told };
    let reach = Reach::find(shared, absent)?;
    let path = |team: &str| format!("/api/teams/{}", url_encoded(team));
    let (made, text) = match command {
        TeamCommand::Create { name } => {
            let made = match &reach {
                Reach::Server(client) => client.post("/api/teams", &json!({ "name": name })).await?,
                Reach::Folder(folder) => team_as_json(&*folder.keys.create_team(&name, now)?),
            };
            let text = format!("the team {name:?} is made; its id is {}", made["id"]);
            (made, text)
        }
        TeamCommand::List => {
            let items = match &reach {
                Reach::Server(client) => client.list("/api/teams").await?,
                Reach::Folder(folder) => folder.keys.teams().iter().map(|team| team_as_json(team)).collect(),
            };
            let heads = [("NAME", "name"), ("ID", "id"), ("LIVE KEYS", "liveKeyCount"), ("PEOPLE", "memberCount")];
            show(shared, &items, &heads, "there is no team yet: `tollgate admin team create NAME` makes one");
            return Ok(ExitCode::SUCCESS);
        }
        TeamCommand::Rename { team, name } => {
            let changed = match &reach {
                Reach::Server(client) => client.patch(&path(&team), &json!({ "name": name })).await?,
                Reach::Folder(folder) => {
                    team_as_json(&*folder.keys.rename_team(&known(folder, &team)?.id, &name, &Expected::Any)?)
                }
            };
            (changed, format!("the team {team:?} is named {name:?}"))
        }
        TeamCommand::Remove { team } => {
            match &reach {
                Reach::Server(client) => client.delete(&path(&team)).await?,
                Reach::Folder(folder) => {
                    drop(folder.keys.remove_team(&known(folder, &team)?.id, &Expected::Any, now)?);
                }
            }
            (json!({ "name": team, "removed": true }), format!("the team {team:?} is removed; its entries stay"))
        }
    };
    terminal::print(&if shared.json { made.to_string() } else { text });
    Ok(ExitCode::SUCCESS)
}

fn known(folder: &super::reach::Folder, team: &str) -> anyhow::Result<std::sync::Arc<Team>> {
    let found = folder.keys.team(team);
    found.ok_or_else(|| anyhow!("there is no team {team:?}: `tollgate admin team list` shows all"))
}

/// A team as far as the settings know it.
fn team_as_json(team: &Team) -> Value {
    json!({ "id": team.id, "name": team.name, "createdAt": team.created.to_string(), "revision": team.revision })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn someone_invited_on_the_folder_can_choose_a_password_and_is_changed_there() {
        let folder = tempfile::tempdir().unwrap();
        let reach = super::super::reach::tests::on(folder.path()).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let Reach::Folder(inner) = &reach else { panic!("nobody serves it") };
        inner.keys.create_team("research", now).unwrap();
        let team = Some("research".to_owned());
        let made = invite(&reach, "grace".to_owned(), Some("member".to_owned()), team, INVITE_LIFE_DEFAULT, now).await;
        let (made, link) = made.unwrap();
        let token = link.split_once("/reset?token=").unwrap().1;
        assert_eq!(inner.keys.reset_link_user(token, now).unwrap().name, "grace");
        assert_eq!(
            (&made["role"], &made["team"], &made["state"]),
            (&json!("member"), &json!("research"), &json!("invited"))
        );
        let (_, fresh) = invite(&reach, "grace".to_owned(), None, None, INVITE_LIFE_DEFAULT, now).await.unwrap();
        assert_ne!(fresh, link);
        assert!(inner.keys.reset_link_user(token, now).is_none());
        let patch = UserPatch { role: Some("viewer".to_owned()), team: Edit::Clear, is_disabled: Some(true) };
        let changed = change(&reach, "grace", patch).await.unwrap();
        assert_eq!(
            (&changed["role"], &changed["team"], &changed["state"]),
            (&json!("viewer"), &Value::Null, &json!("disabled"))
        );
    }
}
