//! A report for programs: every group, exact amounts, rates as fractions.

use serde::Serialize;

use super::document::used;
use super::{BudgetLine, Group, MonthSoFar, Report};
use crate::domain::{BudgetScope, Picodollars};
use crate::ledger::{Cell, Entry};

/// A report as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportJson {
    kind: &'static str,
    /// The day, as 2026-11-18, or the month, as 2026-11.
    period: String,
    title: String,
    time_zone: String,
    from: String,
    to: String,
    is_running: bool,
    written_at: String,
    spent_usd: Picodollars,
    held_usd: Picodollars,
    unknown_usd: Picodollars,
    unknown_requests: u64,
    unpriced_attempts: u64,
    requests: u64,
    failed_requests: u64,
    error_rate: Option<f64>,
    input_tokens: u64,
    cached_input_tokens: u64,
    output_tokens: u64,
    cache: CacheJson,
    before: BeforeJson,
    /// Null where nothing was spent before.
    change_percent: Option<f64>,
    forecast_usd: Option<Picodollars>,
    month_so_far: Option<MonthJson>,
    budgets: Vec<BudgetJson>,
    providers: Vec<GroupJson>,
    models: Vec<GroupJson>,
    operations: Vec<GroupJson>,
    teams: Vec<GroupJson>,
    keys: Vec<GroupJson>,
    errors: Vec<ErrorJson>,
    dearest: Vec<CallJson>,
    slowest: Vec<CallJson>,
    /// From how many of the last calls the three before come.
    calls_looked_at: u64,
    calls_looked_at_all: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CacheJson {
    hits: u64,
    hit_rate: Option<f64>,
    saved_usd: Picodollars,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BeforeJson {
    from: String,
    to: String,
    spent_usd: Picodollars,
    requests: u64,
    failed_requests: u64,
    error_rate: Option<f64>,
    saved_usd: Picodollars,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MonthJson {
    month: String,
    spent_usd: Picodollars,
    forecast_usd: Option<Picodollars>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BudgetJson {
    id: String,
    name: String,
    scope: BudgetScope,
    window: &'static str,
    action: &'static str,
    /// The limit of today.
    limit_usd: Picodollars,
    spent_usd: Option<Picodollars>,
    percent_used: Option<f64>,
    forecast_usd: Option<Picodollars>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupJson {
    /// Empty for what has none, such as calls without a team.
    name: String,
    /// The id behind the name, where groups are virtual keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    spent_usd: Picodollars,
    before_usd: Picodollars,
    change_percent: Option<f64>,
    share: Option<f64>,
    requests: u64,
    failed_requests: u64,
    error_rate: Option<f64>,
    input_tokens: u64,
    cached_input_tokens: u64,
    output_tokens: u64,
    cache_hits: u64,
    saved_usd: Picodollars,
    unknown_usd: Picodollars,
    unpriced_attempts: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorJson {
    code: String,
    requests: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CallJson {
    id: String,
    time: String,
    status: &'static str,
    error: Option<String>,
    key: String,
    team: Option<String>,
    operation: String,
    provider: Option<String>,
    model: Option<String>,
    requested_model: String,
    cost_usd: Picodollars,
    latency_ms: u32,
    attempt_count: usize,
}

impl Report {
    /// The report for programs.
    pub fn json(&self) -> ReportJson {
        let (total, before, period) = (&self.total, &self.before, &self.period);
        let groups = |groups: &[Group]| groups.iter().map(|group| group_json(group, total)).collect();
        let calls = |calls: &[Entry]| calls.iter().map(CallJson::from).collect();
        let errors = self.extremes.errors.iter();
        ReportJson {
            kind: period.kind.as_str(),
            period: period.name(),
            title: period.title(),
            time_zone: period.zone_name().to_owned(),
            from: period.range.from.to_string(),
            to: period.range.until.to_string(),
            is_running: period.is_running,
            written_at: self.written.to_string(),
            spent_usd: total.cost,
            held_usd: self.held,
            unknown_usd: total.unknown_cost,
            unknown_requests: total.unknown,
            unpriced_attempts: total.unpriced,
            requests: total.requests,
            failed_requests: total.failed,
            error_rate: rate(total.failed, total.requests),
            input_tokens: total.usage.total_input(),
            cached_input_tokens: total.usage.cache_read,
            output_tokens: total.usage.total_output(),
            cache: CacheJson {
                hits: total.cache_hits,
                hit_rate: rate(total.cache_hits, total.answered()),
                saved_usd: total.saved,
            },
            before: BeforeJson {
                from: period.before.from.to_string(),
                to: period.before.until.to_string(),
                spent_usd: before.cost,
                requests: before.requests,
                failed_requests: before.failed,
                error_rate: rate(before.failed, before.requests),
                saved_usd: before.saved,
            },
            change_percent: change_percent(before.cost, total.cost),
            forecast_usd: self.forecast,
            month_so_far: self.month.as_ref().map(MonthJson::from),
            budgets: self.budgets.iter().map(BudgetJson::from).collect(),
            providers: groups(&self.providers),
            models: groups(&self.models),
            operations: groups(&self.operations),
            teams: groups(&self.teams),
            keys: groups(&self.keys),
            errors: errors.map(|(code, requests)| ErrorJson { code: code.to_string(), requests: *requests }).collect(),
            dearest: calls(&self.extremes.dearest),
            slowest: calls(&self.extremes.slowest),
            calls_looked_at: self.extremes.looked_at,
            calls_looked_at_all: self.extremes.is_whole,
        }
    }
}

/// A part of a whole as a fraction; of nothing there is none.
fn rate(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn change_percent(before: Picodollars, now: Picodollars) -> Option<f64> {
    (!before.is_zero()).then(|| now.percent_of(before) - 100.0)
}

fn group_json(group: &Group, total: &Cell) -> GroupJson {
    let Group { name, id, sums, before } = group;
    GroupJson {
        name: name.clone(),
        key_id: id.clone(),
        spent_usd: sums.cost,
        before_usd: *before,
        change_percent: change_percent(*before, sums.cost),
        share: (!total.cost.is_zero()).then(|| sums.cost.percent_of(total.cost) / 100.0),
        requests: sums.requests,
        failed_requests: sums.failed,
        error_rate: rate(sums.failed, sums.requests),
        input_tokens: sums.usage.total_input(),
        cached_input_tokens: sums.usage.cache_read,
        output_tokens: sums.usage.total_output(),
        cache_hits: sums.cache_hits,
        saved_usd: sums.saved,
        unknown_usd: sums.unknown_cost,
        unpriced_attempts: sums.unpriced,
    }
}

impl From<&MonthSoFar> for MonthJson {
    fn from(month: &MonthSoFar) -> Self {
        let first = month.window.first_date();
        Self {
            month: first.map(|first| first.strftime("%Y-%m").to_string()).unwrap_or_default(),
            spent_usd: month.spent,
            forecast_usd: month.forecast,
        }
    }
}

impl From<&BudgetLine> for BudgetJson {
    fn from(budget: &BudgetLine) -> Self {
        let definition = &budget.definition;
        Self {
            id: definition.id.to_string(),
            name: budget.name.clone(),
            scope: definition.scope.clone(),
            window: definition.window.as_str(),
            action: definition.action.word(),
            limit_usd: definition.limit,
            spent_usd: budget.spent,
            percent_used: budget.spent.map(|spent| used(spent, definition.limit)),
            forecast_usd: budget.forecast,
        }
    }
}

impl From<&Entry> for CallJson {
    fn from(entry: &Entry) -> Self {
        let facts = &entry.facts;
        Self {
            id: facts.id.to_string(),
            time: entry.time().to_string(),
            status: entry.status.as_str(),
            error: entry.error.as_deref().map(ToOwned::to_owned),
            key: facts.key_name.to_string(),
            team: facts.team.as_deref().map(ToOwned::to_owned),
            operation: facts.operation.to_string(),
            provider: entry.provider().map(ToString::to_string),
            model: entry.model().map(ToString::to_string),
            requested_model: facts.requested_model.to_string(),
            cost_usd: entry.cost(),
            latency_ms: entry.latency_ms,
            attempt_count: entry.attempts.len(),
        }
    }
}
