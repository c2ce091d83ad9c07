//! One file per page: reads what it shows on a blocking thread, fills the page's struct, sends it.

pub(super) mod access;
pub(super) mod alerts;
pub(super) mod budgets;
pub(super) mod cache;
pub(super) mod costs;
mod decision;
mod explain;
pub(super) mod key_change;
pub(super) mod keys;
pub(super) mod overview;
pub(super) mod people;
pub(super) mod provider_keys;
pub(super) mod providers;
pub(super) mod reconciliation;
pub(super) mod reports;
pub(super) mod request;
pub(super) mod requests;
mod routing;
pub(super) mod row;
pub(super) mod settings;
mod spend;
pub(super) mod teams;
pub(super) mod welcome;

use std::collections::HashMap;

use actix_web::web;

use super::answer::PageError;
use super::format::{Clock, uptime};
use super::session::Visitor;
use super::summary::Shared;
use super::view::{Entry, Layout, Reader};
use crate::http::State;
use crate::keys::{Keys, Role};
use crate::ledger::View;

/// The name of the group of calls that never reached a provider: refused, or answered by the cache.
const UNROUTED: &str = "no provider asked";

/// The shell of a page for its visitor.
async fn layout(
    visitor: &Visitor,
    shared: &web::Data<Shared>,
    title: &str,
    current: Entry,
) -> Result<Layout, PageError> {
    // What needs a person is counted over all teams, and so not told to who sees one.
    let needs = match visitor.team() {
        None => shared.recent(&visitor.state).await?.needs.clone(),
        Some(_) => Vec::new(),
    };
    Ok(Layout {
        title: title.to_owned(),
        crumb: None,
        current: Some(current),
        theme: visitor.theme,
        user: visitor.session.user.name.clone(),
        csrf_token: visitor.session.csrf_token.expose().clone(),
        version: visitor.state.version.to_owned(),
        uptime: uptime(visitor.state.started.elapsed()),
        path: visitor.path.clone(),
        needs,
        events: None,
        reader: match &visitor.session.user.role {
            Role::Admin => Reader::Admin,
            Role::Viewer(None) => Reader::OfAll,
            Role::Member(_) | Role::Viewer(Some(_)) => Reader::OfTeam,
        },
    })
}

/// A clock that stands still while a page is made.
fn clock(state: &State) -> Clock {
    Clock::new(state.clock.now(), state.ledger.zone().clone())
}

/// The names of keys and teams by their ids: what is summed is known by id.
struct KeyNames {
    keys: HashMap<String, String>,
    teams: HashMap<String, String>,
}

impl KeyNames {
    /// The names of the keys that a reader may see.
    fn seen(keys: &Keys, view: &View) -> Self {
        let mut all = keys.list();
        all.retain(|key| view.team().is_none_or(|own| key.team.as_ref() == Some(own)));
        Self {
            keys: all.iter().map(|key| (key.id.to_string(), key.name.clone())).collect(),
            teams: keys.teams().iter().map(|team| (team.id.to_string(), team.name.clone())).collect(),
        }
    }

    fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.keys.get(id).map_or(id, String::as_str)
    }

    fn team<'a>(&'a self, id: &'a str) -> &'a str {
        self.teams.get(id).map_or(id, String::as_str)
    }
}
