//! Money held back for a call: what must be in hand before an upstream is called.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::domain::{CostBasis, Deployment, EntryStatus, Picodollars, RequestId, TokenUsage};
use crate::store::Place;

use super::journal::{Command, Reserve, Settle};
use super::record::{Attempt, CallFacts, Charge, Outcome};
use super::{Ledger, LedgerError};

/// An attempt to reserve for.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Where the attempt goes.
    pub deployment: Deployment,
    /// What it can cost at most.
    pub ceiling: Picodollars,
    /// The budgets that it must fit under.
    pub charges: Vec<Charge>,
    /// Budgets that apply too but refuse nothing: what is left under them is told.
    pub watched: Vec<Charge>,
    /// Milliseconds since the call arrived.
    pub started_ms: u32,
}

impl Planned {
    fn attempt(&self) -> Attempt {
        Attempt {
            deployment: self.deployment.clone(),
            status: 0,
            error: None,
            usage: TokenUsage::default(),
            cost: self.ceiling,
            basis: CostBasis::Reserved,
            started_ms: self.started_ms,
            latency_ms: 0,
            time_to_first_token_ms: None,
            raw_usage: None,
            upstream_request_id: None,
            rating: None,
        }
    }
}

/// Proof that the current attempt of a call is in the ledger, and money held back for it.
///
/// Only the ledger makes one, and the client of the providers takes no call without one. Dropped without having been
/// settled (its task died), it books the call as unknown at what was held; where the ledger has been stopped meanwhile, the
/// next start does. The place in the writer's queue is taken when the
/// call begins, because `drop` can neither wait nor fail.
#[must_use]
#[derive(Debug)]
pub struct Reservation {
    id: RequestId,
    attempt: Attempt,
    /// How many attempts ended before this one.
    ended_len: usize,
    /// What came of the attempt, where the next one is being reserved for and the answer may never be seen.
    ended: Option<Attempt>,
    place: Option<Place<Command>>,
    /// The least that is left under the budgets that apply, for this attempt and others; absent without budgets.
    remaining: Option<Picodollars>,
    /// False until the writer has said that it holds the money.
    confirmed: bool,
}

/// What came of trying to reserve for the next attempt.
pub type Renewal = Result<Reservation, (Reservation, LedgerError)>;

impl Ledger {
    /// Begins a call: holds money for its first attempt under every charge at once, durably, or refuses.
    pub async fn reserve(&self, facts: CallFacts, planned: Planned) -> Result<Reservation, LedgerError> {
        let (reply, answer) = oneshot::channel();
        let (id, next) = (facts.id, planned.attempt());
        let place = Some(self.writer().keep_place()?);
        let attempt = next.clone();
        let mut reservation =
            Reservation { id, attempt, ended_len: 0, ended: None, place, remaining: None, confirmed: false };
        let Planned { charges, watched, .. } = planned;
        let reserve = Reserve { facts: Some(facts), id, ended: None, next, charges, watched, reply };
        let asked = self.writer().submit(Command::Reserve(Box::new(reserve))).map_err(LedgerError::from);
        match answered(asked, answer).await {
            Ok(remaining) => {
                reservation.remaining = remaining;
                reservation.confirmed = true;
                Ok(reservation)
            }
            Err(error) => {
                reservation.place = None;
                Err(error)
            }
        }
    }

    /// Ends the attempt that a reservation stands for and holds money for the next one instead, durably, or refuses and
    /// gives the reservation back.
    pub async fn renew(&self, mut reservation: Reservation, ended: Attempt, planned: Planned) -> Renewal {
        let (reply, answer) = oneshot::channel();
        let next = planned.attempt();
        let reserve = Reserve {
            facts: None,
            id: reservation.id,
            ended: Some((reservation.ended_len, ended.clone())),
            next: next.clone(),
            charges: planned.charges,
            watched: planned.watched,
            reply,
        };
        reservation.ended = Some(ended);
        let asked = self.writer().submit(Command::Reserve(Box::new(reserve))).map_err(LedgerError::from);
        let answer = answered(asked, answer).await;
        reservation.ended = None;
        match answer {
            Ok(remaining) => {
                reservation.remaining = remaining;
                reservation.attempt = next;
                reservation.ended_len += 1;
                Ok(reservation)
            }
            Err(error) => Err((reservation, error)),
        }
    }

    /// Books a call that never got as far as an attempt: a refusal, or an answer out of the cache.
    ///
    /// Not durable when it returns: nothing is owed for such a call.
    pub fn record(&self, facts: CallFacts, outcome: Outcome) -> Result<(), LedgerError> {
        let settle = Settle { id: facts.id, facts: Some(facts), place: 0, outcome, reply: None };
        self.writer().submit(Command::Settle(Box::new(settle))).map_err(LedgerError::from)
    }
}

async fn answered(
    asked: Result<(), LedgerError>,
    answer: oneshot::Receiver<Result<Option<Picodollars>, LedgerError>>,
) -> Result<Option<Picodollars>, LedgerError> {
    asked?;
    answer.await.unwrap_or_else(|_| Err(LedgerError::Unwritable { detail: "the writer has stopped".into() }))
}

impl Reservation {
    /// The call that it belongs to.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// What is held for the attempt.
    pub fn held(&self) -> Picodollars {
        self.attempt.cost
    }

    /// The least that is left under the budgets that applied when the money was held, were the attempt to cost this much.
    pub fn remaining_at(&self, cost: Picodollars) -> Option<Picodollars> {
        self.remaining.map(|remaining| remaining.saturating_sub(cost))
    }

    /// Where the attempt goes.
    pub fn deployment(&self) -> &Deployment {
        &self.attempt.deployment
    }

    /// The attempt as it would be booked if nothing more were known: at what is held for it.
    pub fn worst_case(&self) -> Attempt {
        self.attempt.clone()
    }

    /// Books the call and gives back what it didn't use; returns when the disk has it.
    ///
    /// Where the ledger can't be written, the settlement is kept and written as soon as it can be again, and the error says
    /// that the caller must not be told of success.
    pub async fn settle(mut self, outcome: Outcome) -> Result<(), LedgerError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.place.take().expect("only settle and drop take the place, and both end the reservation");
        let settle = Settle { facts: None, id: self.id, place: self.ended_len, outcome, reply: Some(reply) };
        let asked = queue.send(Command::Settle(Box::new(settle))).map_err(LedgerError::from);
        answered(asked, answer).await.map(drop)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(queue) = self.place.take() else { return };
        let error: Arc<str> = "abandoned".into();
        let mut last = self.attempt.clone();
        let mut status = EntryStatus::Unknown;
        last.error = Some(Arc::clone(&error));
        if !self.confirmed {
            // Nothing can have been sent upstream before the confirmation.
            last.cost = Picodollars::ZERO;
            last.basis = CostBasis::Exact;
            status = EntryStatus::Failed;
        } else if let Some(ended) = self.ended.take() {
            // Given up between two attempts: nothing was sent for the next, and the end of this one is known.
            last = ended;
            status = if last.cost.is_zero() { EntryStatus::Failed } else { EntryStatus::Settled };
        }
        let outcome = Outcome {
            status,
            error: Some(error),
            http_status: 0,
            last: Some(last),
            latency_ms: 0,
            time_to_first_token_ms: None,
            saved: Picodollars::ZERO,
        };
        let settle = Settle { facts: None, id: self.id, place: self.ended_len, outcome, reply: None };
        // Where the ledger has stopped, the next start finds the call running and books it.
        let _ = queue.send(Command::Settle(Box::new(settle)));
    }
}
