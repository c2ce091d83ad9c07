//! `tollgate key change`: what a key may do, whose it is, when it ends.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::reach::{Absent, Reach};
use super::super::{Shared, Usage, terminal};
use super::{as_json, endpoint_of, expires_at, id_at, id_in, tag_of};
use crate::domain::url_encoded;
use crate::keys::{Edit, Expected, KeyPatch};
use crate::runtime::Clock;

const CHANGE_EXAMPLES: &str = "\
Examples:
  tollgate key change ci --requests-per-minute 120 --expires never
  tollgate key change ci --allow-model 'gpt-5*' --allow-endpoint chat
  tollgate key change ci --team none --name ci-old

Only what is named changes; calls that begin afterwards find it changed.";

/// Arguments of `key change`.
#[derive(Debug, Args)]
#[command(after_help = CHANGE_EXAMPLES)]
pub(in super::super) struct ChangeArguments {
    /// Its name, or its id
    #[arg(value_name = "NAME|ID")]
    key: String,
    /// Another name
    #[arg(long)]
    name: Option<String>,
    /// Models that it may ask for from now on, with * for any text; all lets every model (can be repeated)
    #[arg(long = "allow-model", value_name = "GLOB|all")]
    allowed_models: Vec<String>,
    /// Endpoints that it may call from now on; all lets it call every one (can be repeated)
    #[arg(long = "allow-endpoint", value_name = "FAMILY|all")]
    allowed_endpoints: Vec<String>,
    /// When it ends: as for key create, or never
    #[arg(long, value_name = "DURATION|DATE|never")]
    expires: Option<String>,
    /// The team that its calls count for from now on, or none
    #[arg(long, value_name = "TEAM|none")]
    team: Option<String>,
    /// The person to ask about it, or none
    #[arg(long, value_name = "OWNER|none")]
    owner: Option<String>,
    /// All the tags that its calls carry from now on; none takes them away (can be repeated)
    #[arg(long = "tag", value_name = "NAME=VALUE|none")]
    tags: Vec<String>,
    /// Calls in a minute, or none for no limit of its own
    #[arg(long, value_name = "NUMBER|none", value_parser = limit_of)]
    requests_per_minute: Option<Edit<u64>>,
    /// Tokens in a minute, or none
    #[arg(long, value_name = "NUMBER|none", value_parser = limit_of)]
    tokens_per_minute: Option<Edit<u64>>,
    /// Calls that may run at once, or none
    #[arg(long, value_name = "NUMBER|none", value_parser = limit_of)]
    concurrent_requests: Option<Edit<u64>>,
}

/// A limit as it is typed: a number, or none.
fn limit_of(text: &str) -> Result<Edit<u64>, String> {
    if text == "none" {
        return Ok(Edit::Clear);
    }
    text.parse().map(Edit::Set).map_err(|_| format!("{text:?} is neither a whole number nor none"))
}

/// Several values, of which one word alone means that there is no such list.
fn listed<T>(texts: &[String], nothing: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Edit<Vec<T>>, Usage> {
    match texts {
        [] => Ok(Edit::Keep),
        [word] if word == nothing => Ok(Edit::Clear),
        texts => texts.iter().map(|text| read(text)).collect::<Result<_, _>>().map(Edit::Set).map_err(Usage),
    }
}

impl ChangeArguments {
    fn patch(&self, zone: &TimeZone, now: Timestamp) -> Result<KeyPatch, Usage> {
        let or_none = |text: &Option<String>| match text.as_deref() {
            None => Edit::Keep,
            Some("none") => Edit::Clear,
            Some(text) => Edit::Set(text.to_owned()),
        };
        let expires_at = match self.expires.as_deref() {
            None => Edit::Keep,
            Some("never") => Edit::Clear,
            Some(text) => Edit::Set(expires_at(text, zone, now).map_err(Usage)?),
        };
        let tags = match listed(&self.tags, "none", tag_of)? {
            Edit::Keep => None,
            Edit::Clear => Some(BTreeMap::new()),
            Edit::Set(tags) => Some(tags.into_iter().collect()),
        };
        let patch = KeyPatch {
            name: self.name.clone(),
            team: or_none(&self.team),
            owner: or_none(&self.owner),
            tags,
            allowed_models: listed(&self.allowed_models, "all", |text| Ok(text.to_owned()))?,
            allowed_endpoints: listed(&self.allowed_endpoints, "all", endpoint_of)?,
            requests_per_minute: self.requests_per_minute.unwrap_or_default(),
            tokens_per_minute: self.tokens_per_minute.unwrap_or_default(),
            concurrent_requests: self.concurrent_requests.unwrap_or_default(),
            expires_at,
        };
        if patch == KeyPatch::default() {
            return Err(Usage("say what is to change, such as --requests-per-minute 120".to_owned()));
        }
        Ok(patch)
    }
}

/// The body of `PATCH /api/keys/{id}`: what isn't named isn't sent.
fn patch_as_request(patch: &KeyPatch) -> Value {
    let mut body = Map::new();
    if let Some(name) = &patch.name {
        body.insert("name".to_owned(), json!(name));
    }
    if let Some(tags) = &patch.tags {
        body.insert("tags".to_owned(), json!(tags));
    }
    put(&mut body, "team", &patch.team);
    put(&mut body, "owner", &patch.owner);
    put(&mut body, "allowedModels", &patch.allowed_models);
    put(&mut body, "allowedEndpoints", &patch.allowed_endpoints);
    put(&mut body, "expiresAt", &patch.expires_at.map(|at| at.to_string()));
    let mut limits = Map::new();
    put(&mut limits, "requestsPerMinute", &patch.requests_per_minute);
    put(&mut limits, "tokensPerMinute", &patch.tokens_per_minute);
    put(&mut limits, "concurrentRequests", &patch.concurrent_requests);
    if !limits.is_empty() {
        body.insert("limits".to_owned(), limits.into());
    }
    body.into()
}

fn put<T: Serialize>(body: &mut Map<String, Value>, name: &str, edit: &Edit<T>) {
    if !edit.is_keep() {
        body.insert(name.to_owned(), json!(edit));
    }
}

pub(super) async fn change(shared: &Shared, arguments: ChangeArguments) -> anyhow::Result<ExitCode> {
    let now = Clock::system().now();
    let changed = match Reach::find(shared, Absent::Told)? {
        Reach::Server(client) => {
            let patch = arguments.patch(&TimeZone::system(), now)?;
            let id = id_at(&client, &arguments.key).await?;
            client.patch(&format!("/api/keys/{}", url_encoded(&id)), &patch_as_request(&patch)).await?
        }
        Reach::Folder(folder) => {
            let patch = arguments.patch(&folder.config.time_zone, now)?;
            let id = id_in(&folder.keys, &arguments.key, now)?;
            let key = folder.keys.change_key(&id, patch, &Expected::Any, now)?;
            as_json(&folder.keys, &key, now)
        }
    };
    if shared.json {
        terminal::print(&changed.to_string());
    } else {
        let text = |name: &str| changed[name].as_str().unwrap_or_default().to_owned();
        terminal::print(&format!("the virtual key {:?} ({}) is changed", text("name"), text("id")));
    }
    Ok(ExitCode::SUCCESS)
}
