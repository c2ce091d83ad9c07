//! The comparison for programs.

use serde::Serialize;

use super::comparison::{Comparison, DayLine, Line, Tokens};
use super::drift::{DRIFT_MAX_PERCENT, Drift};
use super::reconciler::{Fetched, Imported};
use crate::domain::Picodollars;

/// A comparison, and what was brought in just before it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComparisonJson {
    /// The first day.
    pub from: String,
    /// The first day after the last.
    pub to: String,
    /// From above this on, a complete day is told of.
    pub drift_max_percent: u8,
    /// Complete days that drift by more.
    pub drifting_days: usize,
    days: Vec<DayJson>,
    fetches: Vec<FetchJson>,
    import: Option<ImportJson>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DayJson {
    provider: String,
    day: String,
    state: &'static str,
    told_at: Option<String>,
    source: Option<&'static str>,
    is_drifting: bool,
    #[serde(flatten)]
    total: LineJson,
    models: Vec<ModelJson>,
    estimated_count: u64,
    estimated_usd: Picodollars,
    unknown_count: u64,
    unknown_usd: Picodollars,
    pending_count: u64,
    held_usd: Picodollars,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ModelJson {
    model: String,
    their_models: Vec<String>,
    #[serde(flatten)]
    line: LineJson,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LineJson {
    our_usd: Picodollars,
    their_usd: Option<Picodollars>,
    basis: Option<&'static str>,
    drift_percent: Option<f64>,
    is_over: bool,
    our_requests: u64,
    their_requests: Option<u64>,
    our_tokens: TokensJson,
    their_tokens: Option<TokensJson>,
}

#[derive(Clone, Debug, Serialize)]
struct TokensJson {
    input: u64,
    cached: u64,
    output: u64,
}

#[derive(Clone, Debug, Serialize)]
struct FetchJson {
    provider: String,
    error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct ImportJson {
    provider: String,
    what: &'static str,
    rows: usize,
    from: String,
    to: String,
}

impl ComparisonJson {
    /// A comparison, after these fetches or this import.
    pub fn new(comparison: &Comparison, fetches: &[Fetched], import: Option<&Imported>) -> Self {
        let fetch = |fetched: &Fetched| FetchJson {
            provider: fetched.provider.to_string(),
            error: fetched.error.as_ref().map(ToString::to_string),
        };
        let import = import.map(|imported| ImportJson {
            provider: imported.provider.to_string(),
            what: imported.what,
            rows: imported.rows,
            from: imported.days.from().to_string(),
            to: imported.days.until().to_string(),
        });
        Self {
            from: comparison.days.from().to_string(),
            to: comparison.days.until().to_string(),
            drift_max_percent: u8::try_from(DRIFT_MAX_PERCENT).unwrap_or(u8::MAX),
            drifting_days: comparison.drifting().count(),
            days: comparison.lines.iter().map(DayJson::from).collect(),
            fetches: fetches.iter().map(fetch).collect(),
            import,
        }
    }
}

impl From<&DayLine> for DayJson {
    fn from(line: &DayLine) -> Self {
        let model = |line: &Line| ModelJson {
            model: line.model.clone(),
            their_models: line.their_models.clone(),
            line: LineJson::from(line),
        };
        Self {
            provider: line.provider.to_string(),
            day: line.day.to_string(),
            state: line.state.as_str(),
            told_at: line.told.map(|(at, _)| at.to_string()),
            source: line.told.map(|(_, source)| source.as_str()),
            is_drifting: line.is_drifting(),
            total: LineJson::from(&line.total),
            models: line.models.iter().map(model).collect(),
            estimated_count: line.doubts.estimated,
            estimated_usd: line.doubts.estimated_cost,
            unknown_count: line.doubts.unknown,
            unknown_usd: line.doubts.unknown_cost,
            pending_count: line.doubts.pending,
            held_usd: line.doubts.held,
        }
    }
}

impl From<&Line> for LineJson {
    fn from(line: &Line) -> Self {
        let theirs = line.theirs.as_ref();
        Self {
            our_usd: line.ours,
            their_usd: theirs.and_then(|theirs| theirs.cost),
            basis: theirs.map(|theirs| theirs.basis.as_str()),
            drift_percent: line.drift.map(|Drift { percent, .. }| percent),
            is_over: line.is_over(),
            our_requests: line.our_requests,
            their_requests: theirs.and_then(|theirs| theirs.requests),
            our_tokens: TokensJson::from(line.our_tokens),
            their_tokens: theirs.and_then(|theirs| theirs.tokens).map(TokensJson::from),
        }
    }
}

impl From<Tokens> for TokensJson {
    fn from(Tokens { input, cached, output }: Tokens) -> Self {
        Self { input, cached, output }
    }
}
