//! Why a call went where it went, as JSON.

use serde::Serialize;

use crate::domain::{Considered, Decision, Exclusion, Obstacle, Picodollars};
use crate::ledger::Entry;

/// How the candidates of a call were put in order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DecisionJson {
    route: String,
    strategy: Option<&'static str>,
    /// Null where nobody can take the call.
    chosen: Option<String>,
    reason: Option<&'static str>,
    reason_text: Option<&'static str>,
    /// About; null where nobody had to count.
    input_tokens: Option<u32>,
    output_tokens: Option<u32>,
    candidates: Vec<CandidateJson>,
    /// How many more candidates there were.
    more: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CandidateJson {
    deployment: String,
    provider: String,
    model: String,
    /// Why it can't take the call.
    excluded: Option<&'static str>,
    excluded_text: Option<String>,
    /// What kept calls from it for the moment.
    obstacle: Option<&'static str>,
    circuit_open: bool,
    expected_cost_usd: Option<Picodollars>,
    cached_tokens: u32,
    first_token_ms: Option<u32>,
    tokens_per_second: Option<f64>,
    weight: Option<u32>,
}

/// How a call went where it went: the choice, and whether a second attempt was made beside the first.
#[derive(Debug, Serialize)]
pub(super) struct WayJson {
    #[serde(flatten)]
    decision: DecisionJson,
    /// Null where none was made.
    hedge: Option<HedgeJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HedgeJson {
    deployment: String,
    /// About how long the first attempt had been silent.
    after_ms: u32,
    won: bool,
}

impl WayJson {
    /// That of an entry; nothing where the call named its model itself.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        let decision = DecisionJson::from(entry.facts.decision.as_deref()?);
        let hedge = entry.hedge().map(|hedge| HedgeJson {
            deployment: entry.attempts[hedge.place].deployment.to_string(),
            after_ms: hedge.after_ms,
            won: hedge.won,
        });
        Some(Self { decision, hedge })
    }
}

impl From<&Decision> for DecisionJson {
    fn from(decision: &Decision) -> Self {
        Self {
            route: decision.route.to_string(),
            strategy: Some(decision.strategy.as_str()),
            chosen: decision.chosen().map(|first| first.deployment.to_string()),
            reason: Some(decision.reason.as_str()),
            reason_text: Some(decision.reason.words()),
            input_tokens: decision.input_tokens,
            output_tokens: decision.output_tokens,
            candidates: decision.considered.iter().map(CandidateJson::from).collect(),
            more: decision.more,
        }
    }
}

impl DecisionJson {
    /// That a call would be refused before anybody is considered.
    pub(super) fn none(route: &str) -> Self {
        Self {
            route: route.to_owned(),
            strategy: None,
            chosen: None,
            reason: None,
            reason_text: None,
            input_tokens: None,
            output_tokens: None,
            candidates: Vec::new(),
            more: 0,
        }
    }
}

impl From<&Considered> for CandidateJson {
    fn from(seen: &Considered) -> Self {
        Self {
            deployment: seen.deployment.to_string(),
            provider: seen.deployment.provider.to_string(),
            model: seen.deployment.model.to_string(),
            excluded: seen.exclusion.map(Exclusion::as_str),
            excluded_text: seen.exclusion.as_ref().map(ToString::to_string),
            obstacle: seen.obstacle.map(Obstacle::as_str),
            circuit_open: seen.obstacle == Some(Obstacle::Circuit),
            expected_cost_usd: seen.cost,
            cached_tokens: seen.cached_tokens,
            first_token_ms: seen.first_token_ms,
            tokens_per_second: seen.tokens_per_10_s.map(|tokens| f64::from(tokens) / 10.0),
            weight: seen.weight,
        }
    }
}
