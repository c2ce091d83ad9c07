//! `/api/cache`: what the response cache holds and has done, and what shall go.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::input::{PAGE_LEN_MAX, Params};
use super::{Items, blocking};
use crate::cache::{Cursor, Entry, Fingerprint, Form, Order, Page, Pattern, SharedTier, Stats};
use crate::config::{CacheConfig, Choice as _};
use crate::domain::Picodollars;
use crate::http::guard::Caller;
use crate::http::problem::Problem;
use crate::http::state::State;

/// The query parameters of the list.
pub(super) const PARAMETERS: &[&str] = &["pattern", "order", "limit", "cursor"];
/// Those of an invalidation.
pub(super) const PATTERN_ONLY: &[&str] = &["pattern"];
/// How long a page is unless told.
const PAGE_LEN: usize = 50;

/// The cache in a few figures, as the status shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CacheJson {
    enabled: bool,
    size: u64,
    bytes: u64,
    metrics: CacheMetricsJson,
    shared: Option<SharedTierJson>,
}

/// The Redis that instances share, where they do.
#[derive(Debug, Serialize)]
struct SharedTierJson {
    reachable: bool,
    hits: u64,
    misses: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CacheMetricsJson {
    hits: u64,
    misses: u64,
    hit_rate: f64,
    semantic_hits: u64,
    saved_usd: Picodollars,
}

impl CacheJson {
    /// The figures of now.
    pub(super) fn of(state: &State) -> Self {
        Self::from_stats(&state.config().cache, &state.cache.stats())
    }

    fn from_stats(config: &CacheConfig, stats: &Stats) -> Self {
        Self {
            enabled: config.enabled,
            size: stats.entries,
            bytes: stats.bytes,
            metrics: CacheMetricsJson {
                hits: stats.hits,
                misses: stats.misses,
                hit_rate: (stats.hit_rate() * 10_000.0).round() / 10_000.0,
                semantic_hits: stats.semantic_hits,
                saved_usd: stats.saved,
            },
            shared: stats.shared.map(|SharedTier { reachable, hits, misses }| SharedTierJson {
                reachable,
                hits,
                misses,
            }),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CacheListJson {
    #[serde(flatten)]
    cache: CacheJson,
    bytes_max: u64,
    ttl_seconds: f64,
    scope: &'static str,
    evictions: u64,
    fitting: u64,
    #[serde(flatten)]
    items: Items<EntryJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryJson {
    id: String,
    request_id: String,
    endpoint: &'static str,
    provider: String,
    model: String,
    requested_model: String,
    operation: String,
    key_id: String,
    key: String,
    team: Option<String>,
    tags: BTreeMap<String, String>,
    title: String,
    stream: bool,
    bytes: u64,
    hits: u64,
    input_tokens: u64,
    output_tokens: u64,
    cost_usd: Picodollars,
    saved_usd: Picodollars,
    created_at: String,
    expires_at: String,
}

impl EntryJson {
    fn of(fingerprint: &Fingerprint, entry: &Entry) -> Self {
        let facts = &entry.facts;
        Self {
            id: fingerprint.to_string(),
            request_id: facts.request.to_string(),
            endpoint: facts.endpoint.as_str(),
            provider: facts.deployment.provider.to_string(),
            model: facts.deployment.model.to_string(),
            requested_model: facts.requested_model.to_string(),
            operation: facts.operation.to_string(),
            key_id: facts.key.to_string(),
            key: facts.key_name.to_string(),
            team: facts.team.as_deref().map(ToOwned::to_owned),
            tags: facts.tags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            title: facts.prompt.title().into(),
            stream: facts.form != Form::Whole,
            bytes: entry.weight(),
            hits: entry.hits(),
            input_tokens: facts.usage.total_input(),
            output_tokens: facts.usage.total_output(),
            cost_usd: facts.cost,
            saved_usd: entry.saved(),
            created_at: entry.stored_at.to_string(),
            expires_at: entry.expires_at().to_string(),
        }
    }
}

/// `GET /api/cache`.
pub(super) async fn list(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, PARAMETERS)?;
    let after = params.text("cursor").map(|cursor| {
        cursor.parse::<Cursor>().map_err(|()| {
            Problem::parameter("cursor", "cursor has to be the nextCursor of an earlier page, as it came")
        })
    });
    let page = Page {
        pattern: pattern(&params)?.unwrap_or_else(Pattern::all),
        order: params.word("order", Order::ALL, Order::as_str)?.unwrap_or_default(),
        after: after.transpose()?,
        len_max: params.whole("limit", 1..=PAGE_LEN_MAX, PAGE_LEN)?,
    };
    let (cache, config, now) = (Arc::clone(&state.cache), state.config(), state.clock.now());
    let listed = blocking(move || {
        let (stats, listed) = (cache.stats(), cache.list(&page, now));
        let items = listed.entries.iter().map(|(fingerprint, entry)| EntryJson::of(fingerprint, entry)).collect();
        let config = &config.cache;
        Ok::<_, Problem>(CacheListJson {
            cache: CacheJson::from_stats(config, &stats),
            bytes_max: config.bytes_max,
            ttl_seconds: config.ttl.as_secs_f64(),
            scope: config.scope.word(),
            evictions: stats.evictions,
            fitting: listed.fitting,
            items: Items { items, next_cursor: listed.next.map(|next| next.to_string()) },
        })
    });
    Ok(HttpResponse::Ok().json(listed.await?))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RemovedJson {
    removed: u64,
    /// Where instances share a Redis that answered.
    removed_shared: Option<u64>,
}

/// `DELETE /api/cache?pattern=`.
pub(super) async fn invalidate(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, PATTERN_ONLY)?;
    let pattern = Arc::new(pattern(&params)?.ok_or_else(|| {
        Problem::parameter(
            "pattern",
            "pattern is missing: say which entries shall go, as in pattern=model:gpt-*; * is all",
        )
    })?);
    let (cache, now) = (Arc::clone(&state.cache), state.clock.now());
    // First: what is taken out of memory alone could come back from there.
    let written = params.text("pattern").unwrap_or_default();
    let removed_shared = cache.invalidate_elsewhere(&pattern, written, now).await;
    let removed = blocking(move || Ok::<_, Problem>(cache.invalidate(&pattern, now))).await?;
    // The pattern may have words of a prompt in it, so it isn't logged.
    tracing::info!("{caller} took {removed} entries out of the response cache");
    Ok(HttpResponse::Ok().json(RemovedJson { removed, removed_shared }))
}

fn pattern(params: &Params) -> Result<Option<Pattern>, Problem> {
    let parsed = params.text("pattern").map(str::parse::<Pattern>).transpose();
    parsed.map_err(|error| Problem::parameter("pattern", error.to_string()))
}
