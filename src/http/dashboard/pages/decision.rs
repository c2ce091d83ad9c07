//! Why a call went where it went, as a card of its page.

use super::super::format::{count_exact, duration, money};
use super::super::view::{DecisionCard, DecisionLine};
use crate::domain::{Considered, Decision, Deployment, Strategy};
use crate::ledger::Entry;

/// Of a call that was made: also whether two were tried at once. Nothing where it named its model itself.
pub(super) fn of_call(entry: &Entry) -> Option<DecisionCard> {
    let decision = entry.facts.decision.as_deref()?;
    // Of a call that was answered nobody expects that all were asked.
    let is_unasked = |deployment: &Deployment| {
        entry.error.is_some() && entry.attempts.iter().all(|attempt| attempt.deployment != *deployment)
    };
    let mut card = card(decision, is_unasked);
    if let Some(hedge) = entry.hedge() {
        let after = duration(std::time::Duration::from_millis(hedge.after_ms.into()));
        let outcome = if hedge.won { "and answered first" } else { "and was not needed" };
        let beside = &entry.attempts[hedge.place].deployment;
        let told = format!("After {after} of silence {beside} was asked beside, {outcome}.");
        card.note = Some(card.note.map_or_else(|| told.clone(), |note| format!("{note} {told}")));
    }
    Some(card)
}

/// The candidates of a call in the order in which they were tried, but for those that no attempt comes to.
pub(super) fn card(decision: &Decision, is_unasked: impl Fn(&Deployment) -> bool) -> DecisionCard {
    let chosen = decision.chosen().map(|first| first.deployment.to_string()).unwrap_or_default();
    let mut note: Vec<String> = Vec::new();
    if let Some(tokens) = decision.input_tokens {
        note.push(format!("About {} tokens of input.", count_exact(tokens.into())));
    }
    if let Some(tokens) = decision.output_tokens {
        note.push(format!("{} tokens of output were expected.", count_exact(tokens.into())));
    }
    if decision.more > 0 {
        note.push(format!("{} more candidates are not kept.", decision.more));
    }
    DecisionCard {
        route: decision.route.to_string(),
        strategy: decision.strategy.as_str(),
        chosen,
        reason: decision.reason.words(),
        lines: decision.considered.iter().map(|seen| line(seen, decision.strategy, &is_unasked)).collect(),
        note: (!note.is_empty()).then(|| note.join(" ")),
    }
}

fn line(seen: &Considered, strategy: Strategy, is_unasked: impl Fn(&Deployment) -> bool) -> DecisionLine {
    let mut notes: Vec<String> = Vec::new();
    if let Some(exclusion) = seen.exclusion {
        notes.push(exclusion.to_string());
    }
    if strategy == Strategy::CostOptimized && seen.cost.is_none() {
        notes.push("no price is known".to_owned());
    }
    notes.extend(seen.obstacle.map(|obstacle| obstacle.words().to_owned()));
    if seen.cached_tokens > 0 {
        notes.push(format!("{} tokens from the provider’s cache", count_exact(seen.cached_tokens.into())));
    }
    if let Some(first) = seen.first_token_ms {
        let speed = f64::from(seen.tokens_per_10_s.unwrap_or_default()) / 10.0;
        let first = duration(std::time::Duration::from_millis(first.into()));
        notes.push(format!("first token after {first}, then {speed:.0} per second"));
    }
    if let Some(weight) = seen.weight {
        notes.push(format!("weight {weight}"));
    }
    DecisionLine {
        deployment: seen.deployment.to_string(),
        out: match seen.exclusion {
            Some(_) => Some("left out"),
            None => is_unasked(&seen.deployment).then_some("not asked"),
        },
        note: notes.join("; "),
        cost: seen.cost.map(money),
    }
}
