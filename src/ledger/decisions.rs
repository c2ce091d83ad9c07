//! How decisions lie in the file: as a part of their entry's row, with names as numbers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::{Considered, Decision, Deployment, Exclusion, Obstacle, Picodollars, Reason, Strategy};

use super::names::Names;
use super::tables::DecodeError;

const WHAT: &str = "decision";

/// A decision in its stored form.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredDecision {
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
    /// 0 where there is none; it was a flag of the circuit once, which is read as what it said.
    obstacle: u8,
    cost: Option<Picodollars>,
    cached_tokens: u32,
    first_token_ms: Option<u32>,
    tokens_per_10_s: Option<u32>,
    weight: Option<u32>,
}

/// A decision as it is stored.
pub(super) fn stored(decision: &Decision, names: &Names) -> StoredDecision {
    let candidate = |seen: &Considered| StoredCandidate {
        provider: names.intern(seen.deployment.provider.as_str()),
        model: names.intern(seen.deployment.model.as_str()),
        exclusion: seen.exclusion,
        obstacle: seen.obstacle.map_or(0, obstacle_number),
        cost: seen.cost,
        cached_tokens: seen.cached_tokens,
        first_token_ms: seen.first_token_ms,
        tokens_per_10_s: seen.tokens_per_10_s,
        weight: seen.weight,
    };
    StoredDecision {
        route: names.intern(&decision.route),
        strategy: decision.strategy,
        reason: decision.reason,
        input_tokens: decision.input_tokens,
        output_tokens: decision.output_tokens,
        considered: decision.considered.iter().map(candidate).collect(),
        more: decision.more,
    }
}

fn obstacle_number(obstacle: Obstacle) -> u8 {
    let place = Obstacle::ALL.iter().position(|known| *known == obstacle);
    place.and_then(|place| u8::try_from(place + 1).ok()).expect("all there are stand in a short list")
}

/// The obstacle of a number.
fn obstacle(number: u8) -> Result<Option<Obstacle>, DecodeError> {
    let Some(place) = number.checked_sub(1) else { return Ok(None) };
    let known = Obstacle::ALL.get(usize::from(place)).copied();
    known.map(Some).ok_or_else(|| DecodeError::new(WHAT, format!("obstacle {number} is none")))
}

/// A decision from its stored form.
pub(super) fn read(stored: StoredDecision, names: &Names) -> Result<Arc<Decision>, DecodeError> {
    let wrong = |detail: String| DecodeError::new(WHAT, detail);
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
            obstacle: obstacle(seen.obstacle)?,
            cost: seen.cost,
            cached_tokens: seen.cached_tokens,
            first_token_ms: seen.first_token_ms,
            tokens_per_10_s: seen.tokens_per_10_s,
            weight: seen.weight,
        });
    }
    Ok(Arc::new(Decision {
        route: name(stored.route)?,
        strategy: stored.strategy,
        reason: stored.reason,
        input_tokens: stored.input_tokens,
        output_tokens: stored.output_tokens,
        considered,
        more: stored.more,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::tables::tests::entry;
    use super::super::tables::{decode_entry, decode_gist, encode_entry};
    use super::*;
    use proptest::prelude::{any, proptest};

    fn decision() -> Decision {
        let seen = |name: &str| Considered::new(name.parse().unwrap());
        Decision {
            route: "smart".into(),
            strategy: Strategy::CostOptimized,
            reason: Reason::Conversation,
            input_tokens: Some(1_000),
            output_tokens: None,
            considered: vec![
                Considered { cost: Some(Picodollars::new(12)), cached_tokens: 7, weight: Some(3), ..seen("a/m") },
                Considered {
                    exclusion: Some(Exclusion::Context { takes: 1, needed: 2 }),
                    obstacle: Some(Obstacle::Keys),
                    first_token_ms: Some(20),
                    tokens_per_10_s: Some(300),
                    ..seen("b/m")
                },
            ],
            more: 2,
        }
    }

    #[test]
    fn an_entry_keeps_its_decision_and_a_call_that_named_its_model_has_none() {
        let names = Names::default();
        let (mut plain, mut decided) = (Vec::new(), Vec::new());
        let mut kept = entry(7, 12);
        encode_entry(&kept, &names, &mut plain);
        kept.facts.decision = Some(Arc::new(decision()));
        encode_entry(&kept, &names, &mut decided);
        assert_eq!(decode_entry(7, &decided, &names).unwrap(), kept);
        assert_eq!(decode_gist(&decided).unwrap().cost, kept.cost());
        assert_eq!(decode_entry(7, &plain, &names).unwrap().facts.decision, None);
        assert!(decided.len() - plain.len() < 50, "{} bytes", decided.len() - plain.len());
        assert!(decode_entry(7, &decided[..decided.len() - 1], &names).is_err(), "half a decision is damage");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_decision_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(stored) = postcard::from_bytes::<StoredDecision>(&bytes) {
                let _ = read(stored, &Names::default());
            }
        }
    }
}
