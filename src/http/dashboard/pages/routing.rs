//! The routing half of `/providers`: where each route's calls go today, and what prompt caches served.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::super::format::{MoneyColumn, NO_VALUE, count_cell, count_exact, counted, duration, money, percent, share};
use super::super::view::{Card, FindingLine, Link, Notice, Phrase, PromptCaches, ReadLine, RouteCard, RouteLine};
use super::clock;
use crate::config::{Operation, RouteConfig};
use crate::domain::{Considered, Decision, Deployment, Endpoint, KeyId, Picodollars, Strategy};
use crate::gateway::{Explained, GatewayError, Sample};
use crate::http::State;
use crate::ledger::Entry;
use crate::routing::{AUTO, Plan, Router};

/// About a thousand tokens: what the costs of deployments are compared by.
const TYPICAL_CHARS: usize = 4_000;
pub(super) const OPERATION_PLAIN: &str = "chat";
/// Keys and findings that the page shows; the API has all.
const READS_MAX: usize = 10;
const FINDINGS_MAX: usize = 5;

/// Every route with its deployments, as the next plain call would try them.
pub(super) fn routes(state: &State, entries: &[Entry]) -> Card<Vec<RouteCard>> {
    let router = state.gateway.router();
    let own = router.own_routes();
    let all: Vec<&RouteConfig> = router.routes().iter().chain(own).collect();
    if all.is_empty() {
        let text = Phrase::new("A route is a name that clients ask for, with deployments behind it: write ")
            .code("[[routes]]")
            .text(" into ")
            .code("tollgate.toml")
            .text(". Until then calls name provider and model themselves.");
        return Err(Notice::empty("No route yet", text, Some(Link::new("Show me how", "/welcome"))));
    }
    let shares = shares(entries);
    let conversations = router.experience().conversations(Instant::now());
    Ok(all.into_iter().map(|route| route_card(state, &router, route, &shares, &conversations)).collect())
}

/// Calls of each route by the deployment that ended them.
fn shares(entries: &[Entry]) -> HashMap<(&str, &Deployment), u64> {
    let mut shares = HashMap::new();
    for entry in entries {
        if let (Some(decision), Some(last)) = (&entry.facts.decision, entry.attempts.last()) {
            *shares.entry((&*decision.route, &last.deployment)).or_default() += 1;
        }
    }
    shares
}

fn route_card(
    state: &State,
    router: &Router,
    route: &RouteConfig,
    shares: &HashMap<(&str, &Deployment), u64>,
    conversations: &HashMap<Deployment, usize>,
) -> RouteCard {
    let operations: Vec<&str> = router.operations_of(route).map(Operation::as_str).collect();
    // The program's own routes have no name that could be asked for.
    let is_named = router.routes().iter().any(|named| named.name == route.name);
    let name = if is_named { route.name.as_str() } else { AUTO };
    let operation = operations.first().copied().filter(|_| !is_named).unwrap_or(OPERATION_PLAIN);
    let today = ask(state, name, operation, None);
    let costs = ask(state, name, operation, Some(Strategy::CostOptimized));
    let cost = |deployment: &Deployment| {
        costs.as_ref().ok()?.decision.considered.iter().find(|seen| seen.deployment == *deployment)?.cost.map(money)
    };
    let calls: u64 = shares.iter().filter(|((of, _), _)| *of == route.name).map(|(_, calls)| calls).sum();
    let line = |seen: &Considered| {
        let deployment = &seen.deployment;
        let pace = router.experience().pace(deployment, Instant::now());
        let speed = pace.map(|pace| {
            let first = duration(Duration::try_from_secs_f64(pace.first).unwrap_or_default());
            format!("{first}, {:.0}/s", 1.0 / pace.per_token)
        });
        let calls_here = shares.get(&(route.name.as_str(), deployment)).copied().unwrap_or(0);
        RouteLine {
            deployment: deployment.to_string(),
            note: note(route, seen, today.as_ref().ok().map(|today| &today.plan)),
            cost: cost(deployment).unwrap_or_else(|| {
                // Where there is no choice nothing is compared.
                let is_priced = router.named(&deployment.to_string()).is_some_and(|named| named.facts.is_some());
                if is_priced { NO_VALUE } else { "no price" }.to_owned()
            }),
            speed: speed.unwrap_or_else(|| NO_VALUE.to_owned()),
            conversations: conversations
                .get(deployment)
                .map_or_else(|| "0".to_owned(), |count| count_exact(*count as u64)),
            share: percent(share(calls_here as f64, calls as f64)),
        }
    };
    let (reason, considered) = match &today {
        Ok(Explained { decision, .. }) => (reason(decision), decision.considered.clone()),
        Err(error) => {
            let all = route.deployments.iter().cloned().map(Considered::new).collect();
            (Phrase::new(format!("A plain call would be refused: {error}.")), all)
        }
    };
    RouteCard {
        name: if is_named { route.name.clone() } else { AUTO.to_owned() },
        sub: format!("{}, at most {}.", route.strategy.as_str(), attempts_of(route)),
        operations: operations.join(", "),
        reason,
        deployments: considered.iter().map(line).collect(),
    }
}

fn attempts_of(route: &RouteConfig) -> String {
    if route.attempts_max == 1 { "one attempt".to_owned() } else { format!("{} attempts", route.attempts_max) }
}

fn note(route: &RouteConfig, seen: &Considered, plan: Option<&Plan>) -> String {
    let mut notes: Vec<String> = Vec::new();
    notes.extend(seen.exclusion.as_ref().map(ToString::to_string));
    notes.extend(seen.obstacle.map(|obstacle| format!("{}: it is tried after all others", obstacle.words())));
    let unasked = plan.map_or(&[][..], |plan| plan.within_attempts().1);
    if unasked.iter().any(|candidate| candidate.deployment == seen.deployment) {
        notes.push(format!("not asked: {} at most", attempts_of(route)));
    }
    if route.strategy == Strategy::Weighted {
        let place = route.deployments.iter().position(|deployment| *deployment == seen.deployment);
        let weight = place.and_then(|place| route.weights.get(place)).copied().unwrap_or(1);
        notes.push(format!("weight {weight}"));
    }
    notes.join("; ")
}

fn reason(decision: &Decision) -> Phrase {
    match decision.chosen() {
        Some(first) => {
            Phrase::default().strong(first.deployment.to_string()).text(format!(": {}.", decision.reason.words()))
        }
        None => Phrase::new("Nobody can take a plain call."),
    }
}

/// What the router makes of a plain call with about a thousand tokens.
fn ask(state: &State, name: &str, operation: &str, strategy: Option<Strategy>) -> Result<Explained, GatewayError> {
    let text = "word ".repeat(TYPICAL_CHARS / 5);
    let body = serde_json::json!({ "messages": [{ "role": "user", "content": text }] }).to_string();
    let sample = Sample {
        endpoint: Endpoint::ChatCompletions,
        body: body.as_bytes(),
        operation,
        strategy,
        caller: None,
        session: None,
        stream: None,
        dice: 0,
    };
    state.gateway.explain(name, &sample)
}

/// What prompt caches served of what they could have.
pub(super) fn prompt_caches(state: &State) -> Card<PromptCaches> {
    let router = state.gateway.router();
    let (reads, findings) = (router.experience().reads(None), router.experience().findings(None));
    if reads.is_empty() && findings.is_empty() {
        let text = "Conversations whose turns are long enough for a prompt cache show up here.";
        return Err(Notice::empty("Nothing was read from a prompt cache yet", text, None));
    }
    let clock = clock(state);
    let key_name = |key: &KeyId| state.keys.get(key).map_or_else(|| key.to_string(), |key| key.name.clone());
    let column = MoneyColumn::of(reads.iter().map(|(_, _, reads)| reads.lost));
    let read = |(key, route, reads): &(KeyId, std::sync::Arc<str>, crate::routing::Reads)| ReadLine {
        key: key_name(key),
        route: route.to_string(),
        calls: counted(reads.calls, "call", "calls"),
        read: count_cell(reads.actual_tokens),
        expected: count_cell(reads.expected_tokens),
        lost: column.cell(reads.lost),
    };
    let finding = |finding: &crate::routing::Finding| FindingLine {
        time: clock.ago(finding.at),
        href: format!("/requests/{}", finding.request),
        title: format!("{} at {}", key_name(&finding.key), finding.deployment),
        text: capitalized(&finding.cause.words()),
        lost: loss(finding.lost_tokens, finding.lost),
    };
    Ok(PromptCaches {
        keys: reads.iter().take(READS_MAX).map(read).collect(),
        findings: findings.iter().take(FINDINGS_MAX).map(finding).collect(),
    })
}

/// What a turn lost that its prompt cache did not serve.
fn loss(tokens: u64, cost: Option<Picodollars>) -> String {
    let cost = cost.map_or_else(|| "at no known price".to_owned(), |cost| format!("{} more", money(cost)));
    format!("{} read anew, {cost}", counted(tokens, "token", "tokens"))
}

pub(super) fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_without_a_price_says_that_it_has_none() {
        assert_eq!(loss(1_920, "0.0061".parse().ok()), "1,920 tokens read anew, $0.0061 more");
        assert_eq!(loss(1_920, None), "1,920 tokens read anew, at no known price");
    }
}
