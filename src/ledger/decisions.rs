//! How decisions lie in the file: behind the rest of their entry's row, with names as numbers.
//!
//! A row that ends before has none, so rows from before there were decisions are read as they are.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::{Considered, Decision, Deployment, Exclusion, Picodollars, Reason, Strategy};

use super::names::Names;
use super::tables::DecodeError;

const WHAT: &str = "decision";

#[derive(Serialize, Deserialize)]
struct StoredDecision {
    route: u32,
    strategy: Strategy,
    reason: Reason,
    input_tokens: Option<u32>,
    output_tokens: Option<u32>,
    considered: Vec<StoredCandidate>,
    more: u32,
}

#[derive(Serialize, Deserialize)]
struct StoredCandidate {
    provider: u32,
    model: u32,
    exclusion: Option<Exclusion>,
    is_open: bool,
    cost: Option<Picodollars>,
    cached_tokens: u32,
    first_token_ms: Option<u32>,
    tokens_per_10_s: Option<u32>,
    weight: Option<u32>,
}

/// Appends a decision to its entry's row.
pub(super) fn append(decision: &Decision, names: &Names, row: Vec<u8>) -> Vec<u8> {
    let candidate = |seen: &Considered| StoredCandidate {
        provider: names.intern(seen.deployment.provider.as_str()),
        model: names.intern(seen.deployment.model.as_str()),
        exclusion: seen.exclusion,
        is_open: seen.is_open,
        cost: seen.cost,
        cached_tokens: seen.cached_tokens,
        first_token_ms: seen.first_token_ms,
        tokens_per_10_s: seen.tokens_per_10_s,
        weight: seen.weight,
    };
    let stored = StoredDecision {
        route: names.intern(&decision.route),
        strategy: decision.strategy,
        reason: decision.reason,
        input_tokens: decision.input_tokens,
        output_tokens: decision.output_tokens,
        considered: decision.considered.iter().map(candidate).collect(),
        more: decision.more,
    };
    postcard::to_extend(&stored, row).expect("these types always have a stored form")
}

/// Reads what stands behind an entry.
pub(super) fn read(rest: &[u8], names: &Names) -> Result<Option<Arc<Decision>>, DecodeError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let wrong = |detail: String| DecodeError::new(WHAT, detail);
    let stored: StoredDecision = postcard::from_bytes(rest).map_err(|error| wrong(error.to_string()))?;
    let name = |number| {
        names.name(number).ok_or_else(|| wrong("it names something that is not in the list of names".to_owned()))
    };
    let mut considered = Vec::with_capacity(stored.considered.len().min(crate::domain::CONSIDERED_MAX));
    for seen in stored.considered {
        considered.push(Considered {
            deployment: Deployment {
                provider: name(seen.provider)?
                    .parse()
                    .map_err(|error: crate::domain::IdError| wrong(error.to_string()))?,
                model: name(seen.model)?.parse().map_err(|error: crate::domain::IdError| wrong(error.to_string()))?,
            },
            exclusion: seen.exclusion,
            is_open: seen.is_open,
            cost: seen.cost,
            cached_tokens: seen.cached_tokens,
            first_token_ms: seen.first_token_ms,
            tokens_per_10_s: seen.tokens_per_10_s,
            weight: seen.weight,
        });
    }
    Ok(Some(Arc::new(Decision {
        route: name(stored.route)?,
        strategy: stored.strategy,
        reason: stored.reason,
        input_tokens: stored.input_tokens,
        output_tokens: stored.output_tokens,
        considered,
        more: stored.more,
    })))
}
