//! What a provider's reports tell of a range of days, summed by day and by the names that they use.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::days::Days;
use crate::domain::{Picodollars, ServiceTier, TokenUsage};

/// What is charged, by the model that it is charged for; without one where the report doesn't say, or it is for no model.
pub type Charges = BTreeMap<Option<String>, Picodollars>;
/// What was used, by model and service tier.
pub type Uses = BTreeMap<(String, ServiceTier), Used>;

/// What was used of a model at a service tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// How many requests; some reports don't tell.
    pub requests: Option<u64>,
    /// Tokens and searches.
    pub usage: TokenUsage,
}

/// One or two reports of a range of days, each whole: a day that a report doesn't name had nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The days that it is about.
    pub days: Days,
    /// What was charged, where a report told it.
    pub charges: Option<BTreeMap<Date, Charges>>,
    /// What was used, where a report told it.
    pub uses: Option<BTreeMap<Date, Uses>>,
}

/// Charges as they are gathered.
#[derive(Debug, Default)]
pub(super) struct ChargesByDay(pub(super) BTreeMap<Date, Charges>);

impl ChargesByDay {
    pub(super) fn add(&mut self, day: Date, name: Option<&str>, amount: Picodollars) {
        let name = name.map(str::trim).filter(|name| !name.is_empty()).map(shortened);
        *self.0.entry(day).or_default().entry(name).or_default() += amount;
    }
}

/// Uses as they are gathered.
#[derive(Debug, Default)]
pub(super) struct UsesByDay(pub(super) BTreeMap<Date, Uses>);

impl UsesByDay {
    pub(super) fn add(&mut self, day: Date, model: &str, tier: ServiceTier, used: Used) {
        let sum = self.0.entry(day).or_default().entry((shortened(model.trim()), tier)).or_default();
        sum.usage = sum.usage + used.usage;
        sum.requests = match (sum.requests, used.requests) {
            (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
            (sum, more) => sum.or(more),
        };
    }
}

/// A name of theirs, one line of bounded length.
fn shortened(name: &str) -> String {
    const NAME_CHARS_MAX: usize = 128;
    let visible = name.chars().map(|character| if character.is_control() { ' ' } else { character });
    visible.take(NAME_CHARS_MAX).collect()
}
