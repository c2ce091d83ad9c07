//! Calls whose cost is not certain: those counted by ourselves, those whose end nobody saw, those that still run.

use std::collections::BTreeMap;

use crate::domain::{CostBasis, Deployment, EntryStatus, Picodollars, RequestId};

use super::costs::{TimeRange, first_id_at};
use super::query::ROWS_A_TRANSACTION;
use super::record::Entry;
use super::sums::entries_between;
use super::tables::ENTRIES;
use super::{Ledger, LedgerError};

/// How many calls of a deployment are not certain, and what they come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    /// Attempts whose tokens or price are an estimate.
    pub estimated: u64,
    /// What they were booked at.
    pub estimated_cost: Picodollars,
    /// Attempts whose end was never seen.
    pub unknown: u64,
    /// What they were booked at: all that was held for them.
    pub unknown_cost: Picodollars,
    /// Calls that still run.
    pub pending: u64,
    /// What is held for them.
    pub held: Picodollars,
}

impl Doubts {
    /// Adds those of another deployment.
    pub fn add(&mut self, other: &Self) {
        self.estimated += other.estimated;
        self.estimated_cost += other.estimated_cost;
        self.unknown += other.unknown;
        self.unknown_cost += other.unknown_cost;
        self.pending += other.pending;
        self.held += other.held;
    }

    /// Whether every call is certain.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Ledger {
    /// The calls of a range of time whose cost is not certain, by deployment. Blocking: looks at every entry of the range, a
    /// million a second or so.
    pub fn doubts(&self, range: TimeRange) -> Result<BTreeMap<Deployment, Doubts>, LedgerError> {
        let mut doubts = BTreeMap::new();
        let (mut from, until) = (first_id_at(range.from), first_id_at(range.until));
        while from < until {
            match self.look_for_doubts(from, until, &mut doubts)? {
                Some(next) => from = next,
                None => break,
            }
        }
        for entry in self.running()? {
            if (range.from..range.until).contains(&entry.time())
                && let Some(attempt) = entry.attempts.last()
            {
                let sum = doubts.entry(attempt.deployment.clone()).or_default();
                sum.pending += 1;
                sum.held += entry.reserved;
            }
        }
        Ok(doubts)
    }

    /// Looks at entries in one short transaction, and tells where to go on.
    fn look_for_doubts(
        &self,
        from: RequestId,
        until: RequestId,
        doubts: &mut BTreeMap<Deployment, Doubts>,
    ) -> Result<Option<RequestId>, redb::Error> {
        let reading = self.read()?;
        let table = reading.open_table(ENTRIES)?;
        let (mut looked_at, mut last) = (0, None);
        for entry in entries_between(&table, &self.names, from, Some(until))?.take(ROWS_A_TRANSACTION) {
            let entry = entry?;
            looked_at += 1;
            last = Some(RequestId::from_number(entry.facts.id.number() + 1));
            note(&entry, doubts);
        }
        Ok(last.filter(|_| looked_at == ROWS_A_TRANSACTION))
    }
}

fn note(entry: &Entry, doubts: &mut BTreeMap<Deployment, Doubts>) {
    // An adjustment is no call: it changes what its call came to, and of one that is unknown first what nobody saw the end of.
    let calls = u64::from(entry.adjustment.is_none());
    let adjusts_unknown = entry.adjustment.is_some() && entry.status == EntryStatus::Unknown;
    for attempt in &entry.attempts {
        let is_unseen = attempt.basis == CostBasis::Reserved || adjusts_unknown;
        if is_unseen {
            let sum = doubts.entry(attempt.deployment.clone()).or_default();
            sum.unknown += calls;
            sum.unknown_cost += attempt.cost;
        } else if attempt.basis == CostBasis::Estimated {
            let sum = doubts.entry(attempt.deployment.clone()).or_default();
            sum.estimated += calls;
            sum.estimated_cost += attempt.cost;
        }
    }
}
