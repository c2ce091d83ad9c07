//! What needs a person, most urgent first.

use std::time::Instant;

use super::super::format::{count_exact, counted, duration, money, money_whole};
use super::super::view::{Attention, AttentionItem, Link, Phrase, Tone};
use super::budgets::{is_used_up, used_percent};
use super::{Facts, NEAR_LIMIT_PERCENT};
use crate::budget::{Standing, budget_name, outlook};
use crate::domain::wording::per_window;
use crate::domain::{BudgetAction, BudgetScope, ProviderHealth, Window};
use crate::keys::KeyStatus;
use crate::ledger::Costs;
use crate::provider::{CredentialStanding, Refusal, Upstream};

/// Budgets that are told by name; the rest are on their page.
const BUDGETS_TOLD_MAX: usize = 3;
/// Keys of a provider that are told one by one.
const KEYS_TOLD_MAX: usize = 3;
/// Models that are told by name.
const MODELS_TOLD_MAX: usize = 3;

pub(super) fn attention(facts: &Facts<'_>) -> Attention {
    let mut items = Vec::new();
    ledger(facts, &mut items);
    settings(facts, &mut items);
    providers(facts, &mut items);
    budgets(facts, &mut items);
    unpriced(facts, &mut items);
    keys(facts, &mut items);
    items.sort_by_key(|item| match item.tone {
        Tone::Bad => 0,
        Tone::Warn => 1,
        Tone::Accent | Tone::Neutral | Tone::Ok => 2,
    });
    Attention { items, is_update: false }
}

fn item(tone: Tone, fact: impl Into<String>, rest: impl Into<String>, label: &str, href: &str) -> AttentionItem {
    let text = Phrase::default().strong(fact).text(format!(" {}", rest.into()));
    AttentionItem { tone, text, action: Link::new(label, href) }
}

fn ledger(facts: &Facts<'_>, items: &mut Vec<AttentionItem>) {
    if let Some(trouble) = facts.state.ledger.trouble() {
        let rest =
            format!("Calls are refused until it can be; nothing that was booked is lost. The disk says: {trouble}.");
        items.push(item(Tone::Bad, "The ledger can’t be written.", rest, "Try again", "/"));
    }
    if facts.standings.is_err() || facts.month.is_err() {
        let rest = "Sums on this page are missing. Calls go on if they can be booked.";
        items.push(item(Tone::Bad, "The ledger can’t be read.", rest, "Try again", "/"));
    }
}

fn settings(facts: &Facts<'_>, items: &mut Vec<AttentionItem>) {
    if let Some(refused) = facts.state.revisions.last_refused() {
        let problems = counted(refused.problems.len() as u64, "problem was", "problems were");
        let read = facts.clock.ago(refused.at).text;
        let rest = format!("They were read {read}, and {problems} found. Nothing was changed.");
        items.push(item(Tone::Bad, "The settings on the disk are not in force.", rest, "See why", "/settings"));
    }
    let waiting = facts.state.revisions.in_force().map(|revision| revision.waiting).unwrap_or_default();
    if !waiting.is_empty() {
        let settings = counted(waiting.len() as u64, "setting waits", "settings wait");
        let rest = "What the process was started with stays in force until then.";
        items.push(item(Tone::Warn, format!("{settings} for a restart."), rest, "See which", "/settings"));
    }
}

fn providers(facts: &Facts<'_>, items: &mut Vec<AttentionItem>) {
    let router = facts.state.gateway.router();
    if router.upstreams().is_empty() {
        let rest = "Calls can’t be answered until one is.";
        items.push(item(Tone::Warn, "No provider is configured.", rest, "Show me how", "/welcome"));
    }
    for upstream in router.upstreams() {
        credentials(upstream, items);
        let name = upstream.name();
        let href = format!("/requests?provider={name}");
        let health = upstream.health().of_provider(Instant::now());
        let failing = health.failing_named();
        let (tone, fact, rest) = match health {
            ProviderHealth::Unknown | ProviderHealth::Well => continue,
            ProviderHealth::TriedAgain(_) => {
                let rest = format!("Calls to {failing} failed in a row; the next one shows whether it answers again.");
                (Tone::Warn, format!("{name} is being tried again."), rest)
            }
            ProviderHealth::Failing(_) => {
                let rest = format!("The last calls to {failing} failed, and nothing has been answered since.");
                (Tone::Warn, format!("{name} is failing."), rest)
            }
            ProviderHealth::Degraded(_) => {
                let rest = format!("Calls to {failing} fail in a row; other models of it answer.");
                (Tone::Warn, format!("{name} is degraded."), rest)
            }
            ProviderHealth::Down(_) => {
                let rest =
                    format!("Calls to {failing} failed in a row. Calls go on where a route names another provider.");
                (Tone::Bad, format!("{name} does not answer."), rest)
            }
        };
        items.push(item(tone, fact, rest, "See calls", &href));
    }
}

/// The keys that a provider refuses.
fn credentials(upstream: &Upstream, items: &mut Vec<AttentionItem>) {
    for RefusedKey { name, words, again } in refused_keys(upstream, Instant::now()) {
        let fact = format!("{} of {} {words}.", capitalised(&name), upstream.name());
        let rest = format!("{again} Mend it in the settings or at the provider.");
        items.push(item(Tone::Bad, fact, rest, "See provider", "/providers"));
    }
}

/// A key that a provider refuses.
pub(in super::super) struct RefusedKey {
    /// `key 2 (…abcd)`.
    pub(in super::super) name: String,
    /// `is refused`, and at which model where it is one.
    pub(in super::super) words: String,
    /// When it is tried again, as a sentence.
    pub(in super::super) again: String,
}

/// The keys that a provider refuses, the first of them.
pub(in super::super) fn refused_keys(upstream: &Upstream, now: Instant) -> Vec<RefusedKey> {
    let refused = |standing: &CredentialStanding| {
        let state = standing.worst();
        let words = state.refusal().map(Refusal::words)?;
        let at = match (state == standing.state, standing.elsewhere.iter().find(|(_, other)| *other == state)) {
            (false, Some((scope, _))) => format!(" at {scope}"),
            _ => String::new(),
        };
        let again = match state.until() {
            Some(until) => format!("A call tries it again in {}.", duration(until.saturating_duration_since(now))),
            None => "The next call shows whether it is taken again.".to_owned(),
        };
        Some(RefusedKey { name: standing.name().to_string(), words: format!("{words}{at}"), again })
    };
    upstream.credentials().standings(now).iter().filter_map(refused).take(KEYS_TOLD_MAX).collect()
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

fn budgets(facts: &Facts<'_>, items: &mut Vec<AttentionItem>) {
    let Ok(standings) = &facts.standings else { return };
    let mut near: Vec<&Standing> =
        standings.iter().filter(|standing| used_percent(standing) >= NEAR_LIMIT_PERCENT).collect();
    near.sort_by(|a, b| used_percent(b).total_cmp(&used_percent(a)));
    for standing in near.iter().take(BUDGETS_TOLD_MAX) {
        let definition = &standing.definition;
        let name = budget_name(definition, &facts.state.keys);
        let limit = money_whole(definition.limit);
        let href = format!("/budgets/{}", definition.id);
        let resets = standing.resets_at.map_or_else(String::new, |at| {
            let moment = facts.clock.time_or_day(at).text;
            format!(
                " It begins anew {}.",
                if moment.contains(',') { format!("on {moment}") } else { format!("at {moment}") }
            )
        });
        let window = definition.window;
        if !is_used_up(standing) {
            let fact = format!("The budget “{name}” is nearly used up.");
            let rest = format!("{} of {limit} {} is spent.{resets}", money(standing.balance.spent), per_window(window));
            items.push(item(Tone::Warn, fact, rest, "Raise or wait", &href));
            continue;
        }
        let fact = format!("The budget “{name}” has run out.");
        let (tone, rest) = match &definition.action {
            BudgetAction::Block => (Tone::Bad, "Its calls are refused.".to_owned()),
            BudgetAction::Alert => (Tone::Warn, "Its calls go on.".to_owned()),
            BudgetAction::Downgrade { to } => (Tone::Warn, format!("Its calls go to {}.", to.as_str())),
        };
        items.push(item(tone, fact, format!("{rest}{resets}"), "Raise or wait", &href));
    }
    if near.len() > BUDGETS_TOLD_MAX {
        let more = counted((near.len() - BUDGETS_TOLD_MAX) as u64, "more budget is", "more budgets are");
        items.push(item(Tone::Warn, format!("{more} near the limit."), "", "See all", "/budgets"));
    }
    month(facts, standings, items);
}

/// The month's budget over everything, where the pace leads past it.
fn month(facts: &Facts<'_>, standings: &[Standing], items: &mut Vec<AttentionItem>) {
    let is_it = |standing: &&Standing| {
        standing.definition.scope == BudgetScope::Everything && standing.definition.window == Window::Month
    };
    let Some(standing) = standings.iter().find(is_it) else { return };
    if used_percent(standing) >= NEAR_LIMIT_PERCENT {
        return;
    }
    let limit = standing.definition.limit;
    let ahead = outlook(standing.window, facts.zone(), facts.now, standing.balance.spent, Some(limit));
    if let (Some(forecast), Some(at)) = (ahead.forecast, ahead.passes_at) {
        let day = facts.clock.day(facts.zone().to_datetime(at).date());
        let month = facts.zone().to_datetime(facts.now).strftime("%B").to_string();
        let fact = format!("{month} will pass its {} budget around {day}", money_whole(limit));
        let rest = format!("at this pace. About {} expected by the month’s end.", money(forecast));
        items.push(item(Tone::Warn, fact, rest, "Where it goes", "/costs?range=month"));
    }
}

/// The models of calls that had no price, dearest traffic first, and how many calls that were.
pub(in super::super) fn unpriced_models(costs: &Costs) -> (u64, Vec<&str>) {
    let unpriced = costs.groups.iter().filter(|group| group.sums.unpriced > 0);
    (costs.total.unpriced, unpriced.map(|group| group.name.as_str()).collect())
}

fn unpriced(facts: &Facts<'_>, items: &mut Vec<AttentionItem>) {
    let Ok(month) = &facts.month else { return };
    let (count, models) = unpriced_models(month);
    if count == 0 {
        return;
    }
    let fact = format!("{} had no known price this month.", counted(count, "call", "calls"));
    let mut text = Phrase::default().strong(fact).text(format!(
        " Unless priced again since, {} as $0.00: ",
        if count == 1 { "it counts" } else { "they count" }
    ));
    for (index, model) in models.iter().take(MODELS_TOLD_MAX).enumerate() {
        text = if index > 0 { text.text(", ") } else { text }.code(*model);
    }
    if models.len() > MODELS_TOLD_MAX {
        text = text.text(format!(" and {} more", count_exact((models.len() - MODELS_TOLD_MAX) as u64)));
    }
    let text = text.text(". Set a price in ").code("tollgate.toml").text(".");
    let href = match models.as_slice() {
        [model] => super::super::form::href("/requests", &[("range", "30d"), ("model", model)]),
        _ => "/costs?range=month&by=model".to_owned(),
    };
    items.push(AttentionItem { tone: Tone::Warn, text, action: Link::new("See calls", href) });
}

fn keys(facts: &Facts<'_>, items: &mut Vec<AttentionItem>) {
    let budgets = facts.state.keys.budgets();
    let bound: std::collections::HashSet<_> = budgets
        .iter()
        .filter_map(|budget| match &budget.scope {
            BudgetScope::Key(id) => Some(id.clone()),
            _ => None,
        })
        .collect();
    let live = facts.state.keys.list();
    let live = live.iter().filter(|key| key.status(facts.now) == KeyStatus::Live);
    let count = live.filter(|key| !bound.contains(&key.id)).count() as u64;
    if count > 0 {
        let fact = format!("{} no budget.", counted(count, "key has", "keys have"));
        let rest = if budgets.iter().any(|budget| budget.scope == BudgetScope::Everything) {
            if count == 1 {
                "Only the budget of everything holds it."
            } else {
                "Only the budget of everything holds them."
            }
        } else {
            "Nothing holds back what is spent."
        };
        items.push(item(Tone::Neutral, fact, rest, "Set limits", "/budgets"));
    }
}
