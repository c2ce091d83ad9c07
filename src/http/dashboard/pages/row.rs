//! One call as a row of a list.

use std::time::Duration;

use super::super::format::{Clock, MoneyColumn, count_cell, duration, tokens};
use super::super::view::{Badge, RequestRow, Tone};
use crate::domain::{CacheOutcome, CostBasis, EntryStatus, Picodollars};
use crate::ledger::{AdjustmentKind, Entry};

/// Which list the row is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum List {
    /// The latest calls of the overview.
    Latest,
    /// A call that has just come in.
    Live,
    /// The log.
    Log,
}

/// A call as a row.
pub(in super::super) fn row(entry: &Entry, clock: &Clock, list: List) -> RequestRow {
    let usage = entry.usage();
    let (input, output) = (usage.total_input(), usage.total_output());
    RequestRow {
        id: entry.facts.id.to_string(),
        time: if list == List::Log { clock.time_or_day(entry.time()) } else { clock.ago(entry.time()) },
        status: status(entry),
        model: entry.facts.requested_model.to_string(),
        provider: entry.provider().map(ToString::to_string).unwrap_or_default(),
        key: entry.facts.key_name.to_string(),
        team: entry.facts.team.as_deref().unwrap_or_default().to_owned(),
        operation: entry.facts.operation.to_string(),
        tokens: tokens(input, output),
        input: count_cell(input),
        output: count_cell(output),
        length: duration(Duration::from_millis(entry.latency_ms.into())),
        cost: MoneyColumn::CALLS.cell(cost(entry)),
        note: notes(entry).into_iter().next(),
        is_fresh: list == List::Live,
    }
}

/// What a call cost: nothing yet while it runs, for until then its attempts stand at what is held for them.
pub(super) fn cost(entry: &Entry) -> Picodollars {
    if entry.status == EntryStatus::Pending { Picodollars::ZERO } else { entry.cost() }
}

/// How a call ended.
pub(super) fn status(entry: &Entry) -> Badge {
    match (entry.status, entry.http_status) {
        _ if entry.adjustment.is_some() => Badge::new("Adjustment", Tone::Neutral),
        (EntryStatus::Pending, _) => Badge::new("Running", Tone::Accent),
        (EntryStatus::Unknown, 0) => Badge::new("Unknown", Tone::Warn),
        // The client had gone before there was anything to tell it.
        (_, 0) => Badge::new("Left", Tone::Neutral),
        (_, code) => Badge::status(code),
    }
}

/// What was special about a call, the most telling first.
pub(super) fn notes(entry: &Entry) -> Vec<Badge> {
    if let Some(adjustment) = &entry.adjustment {
        return vec![Badge::new(adjustment_words(adjustment.kind), Tone::Neutral)];
    }
    let mut notes = Vec::new();
    if let Some(error) = &entry.error {
        let tone = if entry.http_status >= 500 { Tone::Bad } else { Tone::Warn };
        notes.push(Badge { icon: None, ..Badge::new(error_words(error), tone) });
    }
    match entry.facts.cache {
        CacheOutcome::Hit => notes.push(Badge::new("Cache hit", Tone::Accent)),
        CacheOutcome::Semantic => notes.push(Badge::new("Similar hit", Tone::Accent)),
        CacheOutcome::Miss | CacheOutcome::Bypass => {}
    }
    if entry.hedge().is_some() {
        notes.push(Badge::new("Hedged", Tone::Neutral).with_icon("bolt"));
    } else if entry.attempts.len() > 1 {
        let first = entry.attempts.first().map(|attempt| &attempt.deployment);
        let is_same = entry.attempts.iter().all(|attempt| Some(&attempt.deployment) == first);
        let text = if is_same { "Retried" } else { "Fallback" };
        notes.push(Badge::new(text, Tone::Warn).with_icon("undo"));
    }
    if entry.status != EntryStatus::Pending {
        match entry.basis() {
            CostBasis::Unpriced => notes.push(Badge::new("No price", Tone::Warn)),
            CostBasis::Estimated => notes.push(Badge::new("Estimated", Tone::Neutral)),
            CostBasis::Reserved if entry.status == EntryStatus::Unknown => {
                notes.push(Badge::new("Cost not known", Tone::Warn));
            }
            CostBasis::Exact | CostBasis::Reserved => {}
        }
    }
    notes
}

/// A stable code as words: `budget_exceeded` is `Budget exceeded`.
pub(super) fn error_words(code: &str) -> String {
    let text = code.replace(['_', '-'], " ");
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// What brought an adjustment about, in words.
pub(super) const fn adjustment_words(kind: AdjustmentKind) -> &'static str {
    match kind {
        AdjustmentKind::ByHand => "By hand",
        AdjustmentKind::Rerated => "Re-rated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_as_words() {
        assert_eq!(error_words("budget_exceeded"), "Budget exceeded");
        assert_eq!(error_words("first-token-timeout"), "First token timeout");
        assert_eq!(error_words(""), "");
    }
}
