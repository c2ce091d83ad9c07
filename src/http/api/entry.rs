//! Ledger entries as JSON and as rows of CSV.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::content::ContentJson;
use super::decision::WayJson;
use crate::domain::{Billed, CostBasis, Deployment, EntryStatus, Picodollars, TokenUsage};
use crate::ledger::{Adjusted, Attempt, Entry};
use crate::reports::csv::Rows;
use crate::routing::Router;

/// The columns of the export of entries, in order: scripts rely on them.
pub(super) const CSV_HEADER: &str = "id,client_request_id,time,status,key,team,operation,provider,model,requested_model,stream,cache,input_tokens,cache_read_tokens,cache_write_tokens,output_tokens,reasoning_tokens,cost_usd,cost_basis,latency_ms,time_to_first_token_ms,attempts,error,tags";

/// Adds an entry's row.
pub(super) fn csv_row(rows: &mut Rows, entry: &Entry) {
    let (facts, usage) = (&entry.facts, entry.usage());
    rows.text(&facts.id.to_string())
        .text(facts.client_request_id.as_deref().unwrap_or_default())
        .text(&entry.time().to_string())
        .text(entry.status.as_str())
        .text(&facts.key_name)
        .text(facts.team.as_deref().unwrap_or_default())
        .text(&facts.operation)
        .text(entry.provider().map_or("", |provider| provider.as_str()))
        .text(entry.model().map_or("", |model| model.as_str()))
        .text(facts.requested_model.as_str())
        .text(if facts.stream { "true" } else { "false" })
        .text(facts.cache.as_str())
        // The buckets of a row are disjoint: what was read from caches or written to them stands beside it.
        .number(Some(usage.uncached_input + usage.audio_input))
        .number(Some(usage.cache_read))
        .number(Some(usage.cache_write()))
        .number(Some(usage.total_output()))
        .number(Some(usage.reasoning))
        .number(Some(booked(entry)))
        .text(entry.basis().as_str())
        .number(Some(entry.latency_ms))
        .number(entry.time_to_first_token_ms)
        .number(Some(attempt_count(entry)))
        .text(&csv_error(entry))
        .text(&csv_tags(entry))
        .end();
}

/// Why an entry failed; of an adjustment, which can't, the call that it adjusts: the columns are fixed, and it has the
/// client's id of that call in its own.
fn csv_error(entry: &Entry) -> String {
    match &entry.adjustment {
        Some(adjustment) => format!("adjusts {}", adjustment.of),
        None => entry.error.as_deref().unwrap_or_default().to_owned(),
    }
}

/// The tags as the header that brings them has them, `name=value,name=value`.
fn csv_tags(entry: &Entry) -> String {
    let tags: Vec<String> = entry.facts.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    tags.join(",")
}

/// How many attempts an entry stands for: an adjustment for none.
fn attempt_count(entry: &Entry) -> usize {
    if entry.adjustment.is_some() { 0 } else { entry.attempts.len() }
}

/// What an entry cost: nothing yet while it runs, for until then its attempts stand at what is held for them.
fn booked(entry: &Entry) -> Picodollars {
    if entry.status == EntryStatus::Pending { Picodollars::ZERO } else { entry.cost() }
}

/// An entry without its attempts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EntryJson {
    id: String,
    client_request_id: Option<String>,
    time: String,
    status: &'static str,
    error: Option<String>,
    /// 0 where the client had gone before it got an answer.
    http_status: u16,
    /// The key's name.
    key: String,
    key_id: String,
    team: Option<String>,
    operation: String,
    endpoint: &'static str,
    provider: Option<String>,
    model: Option<String>,
    requested_model: String,
    stream: bool,
    cache: &'static str,
    tags: BTreeMap<String, String>,
    /// Caches included.
    input_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
    /// Reasoning included.
    output_tokens: u64,
    reasoning_tokens: u64,
    cost_usd: Picodollars,
    cost_basis: &'static str,
    reserved_usd: Picodollars,
    saved_usd: Picodollars,
    latency_ms: u32,
    time_to_first_token_ms: Option<u32>,
    attempt_count: usize,
    /// The call that it adjusts, where it is no call itself: its cost is what that one costs more or less.
    adjusts: Option<String>,
}

impl EntryJson {
    pub(super) fn new(entry: &Entry) -> Self {
        let (facts, usage) = (&entry.facts, entry.usage());
        let owned = |text: &std::sync::Arc<str>| text.to_string();
        Self {
            id: facts.id.to_string(),
            client_request_id: facts.client_request_id.as_ref().map(owned),
            time: entry.time().to_string(),
            status: entry.status.as_str(),
            error: entry.error.as_ref().map(owned),
            http_status: entry.http_status,
            key: facts.key_name.to_string(),
            key_id: facts.key.to_string(),
            team: facts.team.as_ref().map(owned),
            operation: facts.operation.to_string(),
            endpoint: facts.endpoint.as_str(),
            provider: entry.provider().map(ToString::to_string),
            model: entry.model().map(ToString::to_string),
            requested_model: facts.requested_model.to_string(),
            stream: facts.stream,
            cache: facts.cache.as_str(),
            tags: facts.tags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            input_tokens: usage.total_input(),
            cache_read_tokens: usage.cache_read,
            cache_write_tokens: usage.cache_write(),
            output_tokens: usage.total_output(),
            reasoning_tokens: usage.reasoning,
            cost_usd: booked(entry),
            cost_basis: entry.basis().as_str(),
            reserved_usd: entry.reserved,
            saved_usd: entry.saved,
            latency_ms: entry.latency_ms,
            time_to_first_token_ms: entry.time_to_first_token_ms,
            attempt_count: attempt_count(entry),
            adjusts: entry.adjustment.as_ref().map(|adjustment| adjustment.of.to_string()),
        }
    }
}

impl AdjustmentJson {
    /// Of an entry that is an adjustment.
    fn new(entry: &Entry, is_for_admins: bool) -> Option<Self> {
        let adjustment = entry.adjustment.as_ref()?;
        Some(Self {
            id: entry.facts.id.to_string(),
            kind: adjustment.kind.as_str(),
            made_at: adjustment.made.to_string(),
            amount_usd: entry.cost(),
            cost_basis: entry.basis().as_str(),
            by: is_for_admins.then(|| adjustment.by.to_string()),
            reason: adjustment.reason.to_string(),
        })
    }
}

/// An entry with its attempts, as it is exported: prices of today have no place in it.
#[derive(Debug, Serialize)]
pub(super) struct ExportedEntry {
    #[serde(flatten)]
    entry: EntryJson,
    attempts: Vec<AttemptJson>,
    /// Why it adjusts another, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    adjustment: Option<AdjustmentJson>,
}

impl ExportedEntry {
    pub(super) fn new(entry: &Entry) -> Self {
        let attempts = (0..entry.attempts.len()).map(|place| AttemptJson::new(entry, place)).collect();
        Self { entry: EntryJson::new(entry), attempts, adjustment: AdjustmentJson::new(entry, true) }
    }
}

/// An entry with its attempts and what their lines cost.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EntryDetail {
    #[serde(flatten)]
    entry: EntryJson,
    attempts: Vec<PricedAttempt>,
    /// What it costs after all adjustments; null where there are none.
    adjusted_cost_usd: Option<Picodollars>,
    adjustments: Vec<AdjustmentJson>,
    /// Why it went where it went; null where the call named its model itself, or no provider was asked.
    decision: Option<WayJson>,
    /// What is kept of it; null for everybody but admins.
    content: Option<ContentJson>,
}

/// What a call costs more or less than was booked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AdjustmentJson {
    /// The entry of its own that it is.
    id: String,
    /// `by_hand` or `re_rated`.
    kind: &'static str,
    /// When it was made: it counts at the time of the call.
    made_at: String,
    /// More, or less where it is negative.
    amount_usd: Picodollars,
    cost_basis: &'static str,
    /// Null for everybody but admins.
    by: Option<String>,
    reason: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PricedAttempt {
    #[serde(flatten)]
    attempt: AttemptJson,
    /// Null where today's prices don't come to what was booked.
    cost_lines: Option<Vec<LineJson>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AttemptJson {
    provider: String,
    model: String,
    /// 0 where the upstream gave no answer.
    status: u16,
    /// `cancelled` where another attempt of the call answered first.
    error: Option<String>,
    /// Whether it was made beside another that was slow.
    hedge: bool,
    usage: UsageJson,
    cost_usd: Picodollars,
    cost_basis: &'static str,
    started_ms: u32,
    latency_ms: u32,
    time_to_first_token_ms: Option<u32>,
    upstream_request_id: Option<String>,
    /// What decided over its price; null where nothing was priced, and in entries from before it was kept.
    billed: Option<BilledJson>,
    raw_usage: Option<Box<RawValue>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BilledJson {
    /// The model that answered.
    model: String,
    service_tier: &'static str,
    residency: &'static str,
    fast: bool,
}

/// The buckets, none of which is part of another but reasoning, which is part of the output.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UsageJson {
    uncached_input_tokens: u64,
    cache_read_tokens: u64,
    #[serde(rename = "cacheWrite5mTokens")]
    cache_write_5m_tokens: u64,
    #[serde(rename = "cacheWrite1hTokens")]
    cache_write_1h_tokens: u64,
    audio_input_tokens: u64,
    output_tokens: u64,
    reasoning_tokens: u64,
    audio_output_tokens: u64,
    web_searches: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LineJson {
    bucket: &'static str,
    /// Tokens or searches; 0 for a surcharge.
    count: u64,
    unit_price_usd: Picodollars,
    cost_usd: Picodollars,
    cost_basis: &'static str,
}

impl EntryDetail {
    /// The whole entry; `router` knows today's prices, and admins see more than keys.
    pub(super) fn new(call: &Adjusted, router: &Router, content: Option<ContentJson>, is_for_admins: bool) -> Self {
        let entry = &call.entry;
        let adjustments: Vec<AdjustmentJson> =
            call.adjustments.iter().filter_map(|one| AdjustmentJson::new(one, is_for_admins)).collect();
        let attempts = entry.attempts.iter().enumerate().map(|(place, attempt)| PricedAttempt {
            attempt: AttemptJson::new(entry, place),
            cost_lines: cost_lines(attempt, entry, router),
        });
        Self {
            entry: EntryJson::new(entry),
            attempts: attempts.collect(),
            adjusted_cost_usd: (!adjustments.is_empty()).then(|| call.cost()),
            adjustments,
            decision: WayJson::of(entry),
            content,
        }
    }
}

impl AttemptJson {
    fn new(entry: &Entry, place: usize) -> Self {
        let attempt = &entry.attempts[place];
        let Deployment { provider, model } = &attempt.deployment;
        Self {
            provider: provider.to_string(),
            model: model.to_string(),
            status: attempt.status,
            error: attempt.error.as_deref().map(ToOwned::to_owned),
            hedge: entry.hedge().is_some_and(|hedge| hedge.place == place),
            usage: UsageJson::from(attempt.usage),
            cost_usd: attempt.cost,
            cost_basis: attempt.basis.as_str(),
            started_ms: attempt.started_ms,
            latency_ms: attempt.latency_ms,
            time_to_first_token_ms: attempt.time_to_first_token_ms,
            upstream_request_id: attempt.upstream_request_id.as_deref().map(ToOwned::to_owned),
            billed: attempt.rating.as_ref().map(|rating| BilledJson {
                model: rating.model.as_ref().unwrap_or(model).to_string(),
                service_tier: rating.tier.as_str(),
                residency: rating.residency.as_str(),
                fast: rating.fast,
            }),
            // Kept as it came, which was JSON; what has been cut is left out.
            raw_usage: attempt.raw_usage.as_deref().and_then(|raw| RawValue::from_string(raw.to_owned()).ok()),
        }
    }
}

/// The bill of an attempt at the prices of today: only where it comes to what was booked, to the picodollar.
fn cost_lines(attempt: &Attempt, entry: &Entry, router: &Router) -> Option<Vec<LineJson>> {
    if !matches!(attempt.basis, CostBasis::Exact | CostBasis::Estimated) || attempt.usage.is_empty() {
        return None;
    }
    let Deployment { provider, model } = &attempt.deployment;
    let upstream = router.upstream(provider.as_str())?;
    let facts = router.catalog().find(provider, upstream.catalog(), model.as_str())?;
    let plainly = Billed::plainly(entry.time());
    let billed = attempt.rating.as_ref().map_or(plainly, |rating| rating.billed(entry.time()));
    let lines = facts.prices.lines(&attempt.usage, &billed);
    let sum: Picodollars = lines.iter().map(|line| line.cost).sum();
    let line = |line: crate::catalog::CostLine| LineJson {
        bucket: line.bucket,
        count: line.tokens,
        unit_price_usd: line.price.of(1),
        cost_usd: line.cost,
        cost_basis: line.basis.as_str(),
    };
    (sum == attempt.cost).then(|| lines.into_iter().map(line).collect())
}

impl From<TokenUsage> for UsageJson {
    fn from(usage: TokenUsage) -> Self {
        Self {
            uncached_input_tokens: usage.uncached_input,
            cache_read_tokens: usage.cache_read,
            cache_write_5m_tokens: usage.cache_write_5m,
            cache_write_1h_tokens: usage.cache_write_1h,
            audio_input_tokens: usage.audio_input,
            output_tokens: usage.output,
            reasoning_tokens: usage.reasoning,
            audio_output_tokens: usage.audio_output,
            web_searches: usage.web_searches,
        }
    }
}
