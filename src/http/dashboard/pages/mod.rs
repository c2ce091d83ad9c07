//! One file per page: reads what it shows on a blocking thread, fills the page's struct, sends it.

pub(super) mod access;
pub(super) mod alerts;
pub(super) mod budgets;
pub(super) mod cache;
pub(super) mod costs;
mod decision;
pub(super) mod keys;
pub(super) mod overview;
pub(super) mod reports;
pub(super) mod request;
pub(super) mod requests;
pub(super) mod row;
mod spend;
pub(super) mod welcome;

use std::collections::HashMap;

use actix_web::web;

use super::answer::PageError;
use super::format::{Clock, uptime};
use super::session::Visitor;
use super::summary::Shared;
use super::view::{Entry, Layout};
use crate::http::State;
use crate::keys::Keys;

/// The name of the group of calls that never reached a provider: refused, or answered by the cache.
const UNROUTED: &str = "no provider asked";

/// The shell of a page for its visitor.
async fn layout(
    visitor: &Visitor,
    shared: &web::Data<Shared>,
    title: &str,
    current: Entry,
) -> Result<Layout, PageError> {
    let summary = shared.recent(&visitor.state).await?;
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
        needs: summary.needs.clone(),
        events: None,
    })
}

/// A clock that stands still while a page is made.
fn clock(state: &State) -> Clock {
    Clock::new(state.clock.now(), state.ledger.zone().clone())
}

/// The names of keys by their ids: what is summed is known by id.
struct KeyNames(HashMap<String, String>);

impl KeyNames {
    fn of(keys: &Keys) -> Self {
        Self(keys.list().iter().map(|key| (key.id.to_string(), key.name.clone())).collect())
    }

    fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.0.get(id).map_or(id, String::as_str)
    }
}
