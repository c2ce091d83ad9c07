//! `tollgate admin`: the first admin, forgotten passwords, tokens for scripts; people and teams are in [`people`].

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, anyhow, bail};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::reach::{Absent, Folder, Reach};
use super::{Shared, people, terminal};
use crate::domain::url_encoded;
use crate::keys::{AdminToken, Keys, SetupToken};
use crate::runtime::Clock;

const CREATE_EXAMPLES: &str = "\
Examples:
  tollgate admin create ada
  tollgate admin create ada < password.txt

For a server that has to listen on a public address from its first start on. Works while no server runs and there is no
admin yet; afterwards the dashboard does it.";

const RESET_EXAMPLES: &str = "\
Examples:
  tollgate admin reset-password
  tollgate admin reset-password ada

Prints a link that lets them choose a new password: once, within 30 minutes. Until then the old one stays.";

const TOKEN_CREATE_EXAMPLES: &str = "\
Examples:
  tollgate admin token create deploy
  export TOLLGATE_ADMIN_TOKEN=$(tollgate admin token create deploy)

The token is printed once and not kept. Scripts send it as `authorization: Bearer tga-...`.";

const TOKEN_LIST_EXAMPLES: &str = "\
Examples:
  tollgate admin token list";

const TOKEN_REVOKE_EXAMPLES: &str = "\
Examples:
  tollgate admin token revoke deploy";

/// The longest line that is taken for a password: it is refused, but not read for ever.
const PASSWORD_BYTES_MAX: u64 = 4_096;

/// Admins, and what they look after: people, teams, tokens for scripts.
#[derive(Debug, Subcommand)]
pub(super) enum AdminCommand {
    #[command(flatten)]
    Access(AccessCommand),
    /// People who can log in: admins, members of a team, viewers
    #[command(subcommand)]
    User(people::UserCommand),
    /// Teams
    #[command(subcommand)]
    Team(people::TeamCommand),
}

/// Admins, and what lets them in.
#[derive(Debug, Subcommand)]
pub(super) enum AccessCommand {
    /// Make the first admin; the password comes from the terminal or from standard input
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        /// The user name
        name: String,
    },
    /// Print a one-time link to choose a new password
    #[command(after_help = RESET_EXAMPLES)]
    ResetPassword {
        /// Whose password; may be left out where there is one user
        user: Option<String>,
    },
    /// Tokens for scripts
    #[command(subcommand)]
    Token(TokenCommand),
}

/// Tokens for scripts.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make an admin token and print it, once
    #[command(after_help = TOKEN_CREATE_EXAMPLES)]
    Create {
        /// Its name, such as the script that uses it
        name: String,
    },
    /// List the tokens, without their secrets
    #[command(after_help = TOKEN_LIST_EXAMPLES)]
    List,
    /// Take a token back: it opens nothing from now on
    #[command(after_help = TOKEN_REVOKE_EXAMPLES)]
    Revoke {
        /// Its name
        name: String,
    },
}

/// Runs one of the commands.
pub(super) async fn run(shared: &Shared, command: AdminCommand) -> anyhow::Result<ExitCode> {
    match command {
        AdminCommand::Access(command) => run_access(shared, command).await,
        AdminCommand::User(command) => people::run_user(shared, command).await,
        AdminCommand::Team(command) => people::run_team(shared, command).await,
    }
}

async fn run_access(shared: &Shared, command: AccessCommand) -> anyhow::Result<ExitCode> {
    let now = Clock::system().now();
    let absent = match &command {
        AccessCommand::Create { .. } | AccessCommand::Token(TokenCommand::Create { .. }) => Absent::Made,
        AccessCommand::ResetPassword { .. }
        | AccessCommand::Token(TokenCommand::List | TokenCommand::Revoke { .. }) => Absent::Told,
    };
    let reach = Reach::find(shared, absent)?;
    let (made, text) = match command {
        AccessCommand::Create { name } => create(&reach, &name, now)?,
        AccessCommand::ResetPassword { user } => reset_password(&reach, user.as_deref(), now).await?,
        AccessCommand::Token(TokenCommand::Create { name }) => create_token(&reach, &name, now).await?,
        AccessCommand::Token(TokenCommand::List) => return list_tokens(shared, &reach).await,
        AccessCommand::Token(TokenCommand::Revoke { name }) => {
            match &reach {
                Reach::Server(client) => client.delete(&format!("/api/admin/tokens/{}", url_encoded(&name))).await?,
                Reach::Folder(folder) => folder.keys.revoke_admin_token(&name)?,
            }
            (json!({ "name": name, "revoked": true }), format!("the admin token {name:?} opens nothing any more"))
        }
    };
    terminal::print(&if shared.json { made.to_string() } else { text });
    Ok(ExitCode::SUCCESS)
}

fn create(reach: &Reach, name: &str, now: Timestamp) -> anyhow::Result<(Value, String)> {
    let Reach::Folder(folder) = reach else {
        bail!("a server runs on this data folder: open the setup link that it printed at its start, or stop it first");
    };
    if !folder.keys.setup_needed() {
        return Err(crate::keys::KeysError::SetUpAlready.into());
    }
    let password = read_password()?;
    // The right to be first is ours: the folder is, and nobody serves it.
    let (setup, token) = SetupToken::new(now);
    let user = folder.keys.create_first_admin(&setup, token.expose(), name, &password, now)?;
    Ok((json!({ "username": user.name, "role": user.role.as_str() }), format!("{:?} is the first admin", user.name)))
}

/// One line of standard input, not shown where it is typed.
fn read_password() -> anyhow::Result<String> {
    let is_typed = std::io::stdin().is_terminal();
    if is_typed {
        terminal::tell("Password (not shown), then Enter:");
    }
    let _hidden = is_typed.then(HiddenInput::begin);
    let mut line = String::new();
    let mut input = std::io::stdin().lock().take(PASSWORD_BYTES_MAX);
    input.read_line(&mut line).context("the password can't be read from standard input")?;
    let password = line.trim_end_matches(['\n', '\r']).to_owned();
    if password.is_empty() {
        bail!("no password came on standard input: type one, or write `< FILE`");
    }
    Ok(password)
}

/// Keeps the terminal from showing what is typed, as far as it has `stty`.
struct HiddenInput;

impl HiddenInput {
    fn begin() -> Self {
        stty("-echo");
        Self
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        stty("echo");
    }
}

fn stty(setting: &str) {
    let _ = std::process::Command::new("stty").arg(setting).stdin(Stdio::inherit()).stderr(Stdio::null()).status();
}

async fn reset_password(reach: &Reach, user: Option<&str>, now: Timestamp) -> anyhow::Result<(Value, String)> {
    let (user, token, expires_at, base) = match reach {
        Reach::Server(client) => {
            let asked = json!({ "username": user });
            let made = client.post("/api/admin/password-resets", &asked).await?;
            let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
            (text("username"), text("token"), text("expiresAt"), client.base().to_owned())
        }
        Reach::Folder(folder) => {
            let user = match user {
                Some(user) => user.to_owned(),
                None => only_user(&folder.keys)?,
            };
            let (token, expires_at) = folder.keys.reset_password(&user, now)?;
            (user, token.expose().clone(), expires_at.to_string(), base_of(folder))
        }
    };
    let link = format!("{}/reset?token={token}", base.trim_end_matches('/'));
    let text = match reach {
        Reach::Server(_) => link.clone(),
        Reach::Folder(_) => format!("{link}\n\nStart the server, then open this link within 30 minutes."),
    };
    Ok((json!({ "username": user, "link": link, "expiresAt": expires_at }), text))
}

pub(super) fn base_of(folder: &Folder) -> String {
    let public = folder.config.public_url.as_ref();
    public.map_or_else(|| format!("http://{}", folder.config.listen), ToString::to_string)
}

fn only_user(keys: &Keys) -> anyhow::Result<String> {
    let users = keys.users();
    match users.as_slice() {
        [] => Err(anyhow!("there is no user yet: start the server and open the setup link that it prints")),
        [user] => Ok(user.name.clone()),
        users => {
            let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
            Err(anyhow!("say whose password: {}", names.join(", ")))
        }
    }
}

async fn create_token(reach: &Reach, name: &str, now: Timestamp) -> anyhow::Result<(Value, String)> {
    let made = match reach {
        Reach::Server(client) => client.post("/api/admin/tokens", &json!({ "name": name })).await?,
        Reach::Folder(folder) => {
            let (token, secret) = folder.keys.create_admin_token(name, now)?;
            let mut made = as_json(&token);
            made["token"] = secret.expose().as_str().into();
            made
        }
    };
    let text = made["token"].as_str().unwrap_or_default().to_owned();
    terminal::tell_progress("admin token, shown only this once:");
    Ok((made, text))
}

/// A token as the management API shows it.
fn as_json(token: &AdminToken) -> Value {
    json!({ "name": token.name, "createdAt": token.created.to_string(), "last4": token.last4 })
}

async fn list_tokens(shared: &Shared, reach: &Reach) -> anyhow::Result<ExitCode> {
    let items = match reach {
        Reach::Server(client) => client.list("/api/admin/tokens").await?,
        Reach::Folder(folder) => folder.keys.admin_tokens().iter().map(|token| as_json(token)).collect(),
    };
    if shared.json {
        terminal::print(&json!({ "items": items, "nextCursor": null }).to_string());
    } else if items.is_empty() {
        terminal::tell("there is no admin token yet: `tollgate admin token create NAME` makes one");
    } else {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let row = |token: &Value| {
            vec![text(&token["name"]), format!("…{}", text(&token["last4"])), text(&token["createdAt"])]
        };
        let rows: Vec<Vec<String>> = items.iter().map(row).collect();
        terminal::print_table(&["NAME", "TOKEN", "CREATED"], &rows);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(folder: &std::path::Path) -> Reach {
        super::super::reach::tests::on(folder).unwrap()
    }

    #[tokio::test]
    async fn a_token_made_on_the_folder_opens_what_it_should() {
        let folder = tempfile::tempdir().unwrap();
        let reach = reach(folder.path());
        let (made, text) = create_token(&reach, "deploy", Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(made["token"], text.as_str());
        let Reach::Folder(folder) = reach else { panic!("nobody serves it") };
        assert_eq!(folder.keys.authenticate_admin_token(&text).unwrap().name(), "deploy");
        assert!(as_json(&folder.keys.admin_tokens()[0]).get("token").is_none());
    }

    #[tokio::test]
    async fn a_reset_link_is_for_the_only_user_and_is_refused_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let reach = reach(folder.path());
        let now = Timestamp::UNIX_EPOCH;
        let refused = reset_password(&reach, None, now).await.unwrap_err().to_string();
        assert!(refused.contains("setup link"), "{refused}");
        let Reach::Folder(inner) = &reach else { panic!("nobody serves it") };
        let (setup, token) = SetupToken::new(now);
        inner.keys.create_first_admin(&setup, token.expose(), "ada", "correct horse battery", now).unwrap();
        let (made, text) = reset_password(&reach, None, now).await.unwrap();
        let token = text.lines().next().unwrap().split_once("/reset?token=").unwrap().1;
        assert_eq!(inner.keys.reset_link_user(token, now).unwrap().name, "ada");
        assert_eq!(made["username"], "ada");
    }
}
