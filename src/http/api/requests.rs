//! `/api/requests`: the calls of the ledger: all of them, those of a team, or a virtual key's own, by who asks.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::entry::{EntryDetail, EntryJson};
use super::input::{PAGE_LEN_MAX, Params};
use super::{Items, blocking};
use crate::domain::{CacheOutcome, EntryStatus, RequestId};
use crate::http::guard::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::state::State;
use crate::keys::{Keys, VirtualKey};
use crate::ledger::{Adjusted, EntryFilter};

/// What entries can be chosen by.
pub(super) const FILTERS: [&str; 11] =
    ["from", "to", "key", "team", "provider", "model", "operation", "status", "cache", "tag", "q"];
/// The query parameters of a list of entries.
pub(super) const PARAMETERS: &[&str] =
    &["from", "to", "key", "team", "provider", "model", "operation", "status", "cache", "tag", "q", "limit", "cursor"];
const PAGE_LEN: usize = 50;

/// `GET /api/requests`.
pub(super) async fn list(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, PARAMETERS)?;
    let mut filter = filter(&state.keys, &params, state.ledger.zone())?;
    check_team(&caller, &filter)?;
    let own = caller.restricted_to();
    if let Some(key) = own {
        restrict(&mut filter, key)?;
    }
    let limit = params.whole("limit", 1..=PAGE_LEN_MAX, PAGE_LEN)?;
    let cursor = params.text("cursor").map(|text| {
        text.parse::<RequestId>()
            .map_err(|_| Problem::parameter("cursor", "cursor has to be the nextCursor of an earlier page, as it came"))
    });
    let cursor = cursor.transpose()?;
    let own = own.map(|key| key.id.clone());
    let view = caller.view(&state);
    let page = blocking(move || {
        let mut page = view.entries(&filter, cursor, limit)?;
        // A key's own is told by its id alone: the filter takes names too, and those can be given again.
        page.items.retain(|entry| own.as_ref().is_none_or(|own| entry.facts.key == *own));
        Ok::<_, crate::ledger::LedgerError>(page)
    })
    .await?;
    let items = page.items.iter().map(EntryJson::new).collect();
    Ok(HttpResponse::Ok().json(Items { items, next_cursor: page.next.map(|next| next.to_string()) }))
}

/// `GET /api/requests/{id}`.
pub(super) async fn show(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let missing =
        || Problem::new(Code::NotFound, "there is no such request: GET /api/requests lists those that there are");
    let id: RequestId = id.parse().map_err(|_| missing())?;
    let (view, content) = (caller.view(&state), Arc::clone(&state.gateway.parts().content));
    let is_admin = caller.is_admin();
    let (call, kept) = blocking(move || {
        let call = view.call(id)?;
        // A file of contents that can't be read hides no entry.
        let kept = if is_admin { content.find(id).inspect_err(|error| tracing::warn!("{error}")).ok() } else { None };
        Ok::<_, crate::ledger::LedgerError>((call, kept.flatten()))
    })
    .await?;
    // Another's is as good as none: its very being is not told.
    let is_shown = |call: &Adjusted| caller.restricted_to().is_none_or(|own| call.entry.facts.key == own.id);
    let call = call.filter(is_shown).ok_or_else(missing)?;
    let detail = EntryDetail::new(&call, &state.gateway.router(), kept.map(Into::into), is_admin);
    Ok(HttpResponse::Ok().json(detail))
}

/// Refuses to look for another team's calls, in the same words whether there is such a team or not.
pub(super) fn check_team(caller: &Caller, filter: &EntryFilter) -> Result<(), Problem> {
    match (caller.team(), filter.team.as_deref()) {
        (Some(own), Some(asked)) if asked != own.as_str() => {
            Err(Problem::new(Code::Forbidden, "you may see your own team's calls: leave the parameter team out"))
        }
        _ => Ok(()),
    }
}

/// The entries that a query chooses; a team may be named by its name too.
pub(super) fn filter(keys: &Keys, params: &Params, zone: &TimeZone) -> Result<EntryFilter, Problem> {
    let first_of = |at: Timestamp| RequestId::first_of(at.as_millisecond());
    let from = params.instant("from", zone)?;
    let until = params.instant("to", zone)?;
    if let (Some(from), Some(until)) = (from, until)
        && from >= until
    {
        return Err(Problem::parameter("from", "from has to lie before to, which is not part of the range itself"));
    }
    let tag = params.text("tag").map(|tag| {
        let parts = tag.split_once('=').filter(|(name, _)| !name.is_empty());
        let parts = parts.map(|(name, value)| (name.to_owned(), value.to_owned()));
        parts.ok_or_else(|| Problem::parameter("tag", "tag has to be of the form name=value, as in tag=env%3Dprod"))
    });
    let cache = params.word("cache", CacheOutcome::ALL, CacheOutcome::as_str)?;
    Ok(EntryFilter {
        from: from.map(first_of),
        until: until.map(first_of),
        key: params.owned("key"),
        team: params.owned("team").map(|text| keys.team(&text).map_or(text, |team| team.id.to_string())),
        provider: params.owned("provider"),
        model: params.owned("model"),
        operation: params.owned("operation"),
        status: params.word("status", EntryStatus::ALL, EntryStatus::as_str)?,
        cache: cache.map(|cache| cache.as_str().to_owned()),
        tag: tag.transpose()?,
        text: params.owned("q"),
    })
}

/// Narrows a filter to the calls of one key.
fn restrict(filter: &mut EntryFilter, key: &VirtualKey) -> Result<(), Problem> {
    if filter.key.as_deref().is_some_and(|asked| asked != key.id.as_str() && asked != key.name) {
        return Err(Problem::new(
            Code::Forbidden,
            "a virtual key may read its own requests only: leave the parameter key out",
        ));
    }
    filter.key = Some(key.id.to_string());
    Ok(())
}
