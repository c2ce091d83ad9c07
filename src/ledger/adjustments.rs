//! What a call costs more or less than was booked: entries never change, so each adjustment is an entry of its own.
//!
//! An adjustment belongs to the time of the call that it adjusts, and to the same sums: what a day, a key or a model came
//! to is asked of the days of use, and a budget of today is neither charged nor refilled by what an older call turns out
//! to have cost. Its id follows that of the call, so that both are found together. The writer works out the difference
//! from what the file has, so adjusting to the same cost twice changes nothing.

use std::sync::Arc;

use jiff::Timestamp;
use redb::{ReadableTable, WriteTransaction};
use tokio::sync::oneshot;

use crate::domain::{CostBasis, Picodollars, RequestId, TokenUsage};

use super::journal::Command;
use super::names::Names;
use super::query::ROWS_A_TRANSACTION;
use super::record::{Adjustment, AdjustmentKind, Attempt, Entry};
use super::tables::{ENTRIES, PENDING, decode_entry};
use super::{Ledger, LedgerError};

/// Adjustments that one call can have.
pub const ADJUSTMENTS_MAX: u32 = 64;

/// The longest reason that is kept with an adjustment.
const REASON_CHARS_MAX: usize = 200;

/// Why a call can't be adjusted by hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdjustable {
    /// It is an adjustment itself.
    #[error("{id} adjusts {of}: adjust that one again")]
    IsAdjustment {
        /// The entry that was meant.
        id: RequestId,
        /// The call behind it.
        of: RequestId,
    },
    /// Its cost is known.
    #[error(
        "what {id} costs is exact, the provider's usage at a known price: where the price was wrong, correct it and run tollgate re-rate"
    )]
    Exact {
        /// The entry that was meant.
        id: RequestId,
    },
    /// The cost that it is to have can't be one.
    #[error("a cost can't be negative")]
    Negative,
    /// The cost that it is to have is more than the call could have.
    #[error("{cost} USD is more than the {held} USD that were held as the most that it could cost")]
    AboveHeld {
        /// What it is to cost.
        cost: Picodollars,
        /// What was held.
        held: Picodollars,
    },
    /// The reason is missing or can't be kept.
    #[error("say why, in at most {REASON_CHARS_MAX} characters without line breaks")]
    Reason,
}

/// Who adjusts, when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What brought it about.
    pub kind: AdjustmentKind,
    /// When.
    pub made: Timestamp,
    /// Who.
    pub by: Arc<str>,
    /// Why, in their words.
    pub reason: Arc<str>,
}

/// What a call is to cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it; what that changes is laid on the attempts whose cost is least known.
    Whole(Picodollars),
    /// Each attempt in its place, and what its cost rests on; those without stay as they are.
    Attempts(Vec<Option<(Picodollars, CostBasis)>>),
}

/// A call with everything that adjusts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjusted {
    /// As it was booked.
    pub entry: Entry,
    /// Its adjustments, oldest first.
    pub adjustments: Vec<Entry>,
}

impl Adjusted {
    /// What each attempt costs after all adjustments.
    pub fn attempt_costs(&self) -> Vec<Picodollars> {
        let place = |at: usize| {
            let more = self.adjustments.iter().filter_map(|one| one.attempts.get(at)).map(|attempt| attempt.cost);
            self.entry.attempts[at].cost + more.sum()
        };
        (0..self.entry.attempts.len()).map(place).collect()
    }

    /// What the call costs after all adjustments.
    pub fn cost(&self) -> Picodollars {
        self.attempt_costs().into_iter().sum()
    }

    /// Whether somebody has said what it costs.
    pub fn is_adjusted_by_hand(&self) -> bool {
        let kinds = self.adjustments.iter().filter_map(|entry| entry.adjustment.as_ref());
        kinds.map(|adjustment| adjustment.kind).any(|kind| kind == AdjustmentKind::ByHand)
    }

    /// What makes the call cost what somebody knows that it cost, where that isn't known already. More than was held for it is
    /// likelier a slip than the truth, so that has to be meant.
    pub fn by_hand(
        &self,
        cost: Picodollars,
        may_be_above_held: bool,
        by: &str,
        reason: &str,
        made: Timestamp,
    ) -> Result<(Cause, Wanted), NotAdjustable> {
        let id = self.entry.facts.id;
        if let Some(adjustment) = &self.entry.adjustment {
            return Err(NotAdjustable::IsAdjustment { id, of: adjustment.of });
        }
        if self.entry.basis() == CostBasis::Exact {
            return Err(NotAdjustable::Exact { id });
        }
        if cost.is_negative() {
            return Err(NotAdjustable::Negative);
        }
        let held = self.entry.cost().max(self.entry.reserved);
        if cost > held && !may_be_above_held {
            return Err(NotAdjustable::AboveHeld { cost, held });
        }
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().nth(REASON_CHARS_MAX).is_some() || reason.chars().any(char::is_control) {
            return Err(NotAdjustable::Reason);
        }
        let cause = Cause { kind: AdjustmentKind::ByHand, made, by: by.into(), reason: reason.into() };
        Ok((cause, Wanted::Whole(cost)))
    }

    /// What each attempt has to cost for the call to cost this: what is less known gives way first, and nothing goes
    /// below zero.
    fn laid_on_attempts(&self, whole: Picodollars) -> Vec<Option<(Picodollars, CostBasis)>> {
        let costs = self.attempt_costs();
        let mut more = whole - costs.iter().copied().sum();
        let mut order: Vec<usize> = (0..costs.len()).rev().collect();
        order.sort_by_key(|at| self.entry.attempts[*at].basis != CostBasis::Reserved);
        let mut wanted = vec![None; costs.len()];
        for at in order {
            let change = more.max(-costs[at]);
            if !change.is_zero() {
                // Somebody's word is neither the provider's usage nor a price list.
                wanted[at] = Some((costs[at] + change, CostBasis::Estimated));
                more = more - change;
            }
        }
        wanted
    }

    /// The entry that makes the call cost what is wanted; `None` where it does already.
    fn adjustment(&self, id: RequestId, cause: &Cause, wanted: &Wanted) -> Option<Entry> {
        let laid;
        let wanted = match wanted {
            Wanted::Attempts(wanted) => wanted,
            Wanted::Whole(whole) => {
                laid = self.laid_on_attempts(*whole);
                &laid
            }
        };
        let attempt = |(at, (booked, cost)): (usize, (&Attempt, Picodollars))| {
            let (wanted, basis) = wanted.get(at).copied().flatten().unwrap_or((cost, CostBasis::Exact));
            Attempt {
                deployment: booked.deployment.clone(),
                status: 0,
                error: None,
                usage: TokenUsage::default(),
                cost: wanted - cost,
                basis: if wanted == cost { CostBasis::Exact } else { basis },
                started_ms: 0,
                latency_ms: 0,
                time_to_first_token_ms: None,
                raw_usage: None,
                upstream_request_id: None,
                rating: None,
            }
        };
        let attempts: Vec<Attempt> =
            self.entry.attempts.iter().zip(self.attempt_costs()).enumerate().map(attempt).collect();
        if attempts.iter().all(|attempt| attempt.cost.is_zero()) {
            return None;
        }
        let mut facts = self.entry.facts.clone();
        let of = facts.id;
        facts.id = id;
        let Cause { kind, made, by, reason } = cause.clone();
        Some(Entry {
            facts,
            status: self.entry.status,
            error: None,
            http_status: 0,
            attempts,
            reserved: Picodollars::ZERO,
            latency_ms: 0,
            time_to_first_token_ms: None,
            saved: Picodollars::ZERO,
            adjustment: Some(Adjustment { of, kind, made, by, reason }),
        })
    }
}

/// One outcome for each call that was to be adjusted: the new entry, nothing where it costs that already, or why not.
pub type Outcomes = Vec<Result<Option<Entry>, LedgerError>>;

/// Calls to adjust, for the writer.
pub(super) struct Adjust {
    pub(super) cause: Cause,
    pub(super) calls: Vec<(RequestId, Wanted)>,
    pub(super) reply: oneshot::Sender<Result<Outcomes, LedgerError>>,
}

impl Ledger {
    /// A call with everything that adjusts it; one that runs has nothing.
    pub fn call(&self, id: RequestId) -> Result<Option<Adjusted>, LedgerError> {
        Ok(self.find_call(id)?)
    }

    fn find_call(&self, id: RequestId) -> Result<Option<Adjusted>, redb::Error> {
        let ended = find(&self.read()?.open_table(ENTRIES)?, &self.names, id)?;
        if ended.is_some() {
            return Ok(ended);
        }
        // It may have ended just now.
        let entry = self.find(id)?;
        Ok(entry.map(|entry| Adjusted { entry, adjustments: Vec::new() }))
    }

    /// Some thousands of calls of a half-open range of ids, oldest first, with everything that adjusts them; and where to
    /// go on. Blocking.
    pub fn calls_between(
        &self,
        from: RequestId,
        until: RequestId,
    ) -> Result<(Vec<Adjusted>, Option<RequestId>), LedgerError> {
        Ok(self.read_calls(from, until)?)
    }

    fn read_calls(&self, from: RequestId, until: RequestId) -> Result<(Vec<Adjusted>, Option<RequestId>), redb::Error> {
        let mut calls: Vec<Adjusted> = Vec::new();
        if from >= until {
            return Ok((calls, None));
        }
        let reading = self.read()?;
        let entries = reading.open_table(ENTRIES)?;
        for row in entries.range(from.number()..)? {
            let (id, row) = row?;
            let (id, last) = (id.value(), calls.last().map_or(0, |call| call.entry.facts.id.number()));
            let is_full = calls.len() >= ROWS_A_TRANSACTION || id >= until.number();
            // The adjustments of the last calls may lie behind their end.
            if is_full && id > last.saturating_add(ADJUSTMENTS_MAX.into()) {
                break;
            }
            let entry = decode_entry(id, row.value(), &self.names)?;
            match &entry.adjustment {
                None if is_full => {}
                None => calls.push(Adjusted { entry, adjustments: Vec::new() }),
                Some(adjustment) => {
                    let of = calls.binary_search_by_key(&adjustment.of, |call| call.entry.facts.id);
                    if let Ok(at) = of {
                        calls[at].adjustments.push(entry);
                    }
                }
            }
        }
        let next = calls.last().filter(|_| calls.len() >= ROWS_A_TRANSACTION);
        let next = next.map(|call| RequestId::from_number(call.entry.facts.id.number() + 1));
        Ok((calls, next.filter(|next| *next < until)))
    }

    /// Makes calls cost what is wanted, durably, in one transaction: some hundreds at most at a time.
    pub async fn adjust(&self, cause: Cause, calls: Vec<(RequestId, Wanted)>) -> Result<Outcomes, LedgerError> {
        let (reply, answer) = oneshot::channel();
        self.writer().submit(Command::Adjust(Box::new(Adjust { cause, calls, reply })))?;
        answer.await.unwrap_or_else(|_| Err(LedgerError::Unwritable { detail: "the writer has stopped".into() }))
    }
}

/// Reads a call and its adjustments, whose ids follow its own.
pub(super) fn find(
    entries: &impl ReadableTable<u128, &'static [u8]>,
    names: &Names,
    id: RequestId,
) -> Result<Option<Adjusted>, redb::Error> {
    let Some(entry) = entries.get(id.number())? else { return Ok(None) };
    let entry = decode_entry(id.number(), entry.value(), names)?;
    let mut adjustments = Vec::new();
    let last = id.number().saturating_add(ADJUSTMENTS_MAX.into());
    for row in entries.range(id.number()..=last)?.skip(1) {
        let (number, row) = row?;
        let other = decode_entry(number.value(), row.value(), names)?;
        if other.adjustment.as_ref().is_some_and(|adjustment| adjustment.of == id) {
            adjustments.push(other);
        }
    }
    adjustments.sort_by_key(|entry| entry.adjustment.as_ref().map(|adjustment| adjustment.made));
    Ok(Some(Adjusted { entry, adjustments }))
}

/// Works out the entry that adjusts a call, inside the transaction that is to book it.
pub(super) fn work_out(
    transaction: &WriteTransaction,
    entries: &impl ReadableTable<u128, &'static [u8]>,
    names: &Names,
    cause: &Cause,
    (of, wanted): &(RequestId, Wanted),
) -> Result<Result<Option<Entry>, LedgerError>, redb::Error> {
    let found = find(entries, names, *of)?.filter(|call| call.entry.adjustment.is_none());
    let Some(call) = found else { return Ok(Err(LedgerError::NoSuchCall { id: *of })) };
    let pending = transaction.open_table(PENDING)?;
    for step in 1..=u128::from(ADJUSTMENTS_MAX) {
        let number = of.number().saturating_add(step);
        if entries.get(number)?.is_none() && pending.get(number)?.is_none() {
            return Ok(Ok(call.adjustment(RequestId::from_number(number), cause, wanted)));
        }
    }
    Ok(Err(LedgerError::TooManyAdjustments { id: *of }))
}
