//! Money held back for a call: what must be in hand before an upstream is called.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::{CostBasis, Deployment, EntryStatus, Picodollars, RequestId, TokenUsage};
use crate::store::Place;

use super::journal::{Command, Granted, Latest, Reserve, Settle};
use super::record::{Attempt, CallFacts, Charge, Outcome};
use super::worst_case::WorstCase;
use super::{Ledger, LedgerError};

/// The pause before the end of a wait is told again, where the writer's queue was full.
const TELL_PAUSE: Duration = Duration::from_millis(100);

/// An attempt to reserve for.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Where the attempt goes.
    pub deployment: Deployment,
    /// What it can cost at most.
    pub worst_case: WorstCase,
    /// The budgets that it must fit under.
    pub charges: Vec<Charge>,
    /// Budgets that send it elsewhere where it has no room under them, in the order in which they are asked.
    pub turning: Vec<Charge>,
    /// All budgets that apply too but refuse nothing: what is left under them is told.
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
            cost: self.worst_case.cost(),
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

/// Proof that an attempt is in the ledger, and money held back for it.
///
/// Only the ledger makes one, and the client of the providers takes no call without one.
#[must_use]
#[derive(Debug)]
pub struct Hold {
    attempt: Attempt,
    /// What was granted: the cap on output, and what is left under the budgets that apply.
    granted: Granted,
}

impl Hold {
    fn new(mut attempt: Attempt, granted: Granted, worst_case: WorstCase) -> Self {
        attempt.cost = worst_case.at(granted.output_cap);
        Self { attempt, granted }
    }

    /// The cap on the attempt's output that the money was held for: what was asked for, or less.
    pub fn output_cap(&self) -> u64 {
        self.granted.output_cap
    }

    /// What is held for the attempt.
    pub fn held(&self) -> Picodollars {
        self.attempt.cost
    }

    /// Where the attempt goes.
    pub fn deployment(&self) -> &Deployment {
        &self.attempt.deployment
    }

    /// The attempt as it would be booked if nothing more were known: at what is held for it.
    pub fn worst_case(&self) -> Attempt {
        self.attempt.clone()
    }

    /// The attempt as it is booked where nothing was sent for it.
    pub fn nothing_sent(&self) -> Attempt {
        Attempt { cost: Picodollars::ZERO, basis: CostBasis::Exact, ..self.attempt.clone() }
    }
}

/// A call that runs: the right to book it, with the hold of the attempt that is in flight. A second attempt may run beside that
/// one, with a [`Hold`] of its own ([`Ledger::reserve_beside`]); each ends as a part of the same entry.
///
/// Dropped without having been settled (its task died), it books the call as unknown at what was held for whatever was in
/// flight; where the ledger has been stopped meanwhile, the next start does. The place in the writer's queue is taken when the
/// call begins, because `drop` can neither wait nor fail.
#[must_use]
#[derive(Debug)]
pub struct Reservation {
    id: RequestId,
    hold: Hold,
    /// How many attempts ended before this one, and beside none.
    ended_len: usize,
    /// What came of the attempt, where the next one is being reserved for and the answer may never be seen.
    ended: Option<Attempt>,
    /// The attempt beside this one: in flight, or as it ended. It stands before this one in the entry.
    beside: Mutex<Option<Attempt>>,
    place: Option<Place<Command>>,
    /// False until the writer has said that it holds the money.
    confirmed: bool,
}

/// What came of trying to reserve for the next attempt.
pub type Renewal = Result<Reservation, (Reservation, LedgerError)>;

impl Ledger {
    /// Begins a call: holds money for its first attempt under every charge at once, durably, or refuses at once.
    pub async fn reserve(&self, facts: CallFacts, planned: Planned) -> Result<Reservation, LedgerError> {
        self.begin(facts, planned, Patience::<Never>::None).await
    }

    /// The same for a caller who waits while only what others hold is in the way: until `over`, and never behind one who
    /// came later.
    pub async fn reserve_until(
        &self,
        facts: CallFacts,
        planned: Planned,
        over: impl Future<Output = ()>,
    ) -> Result<Reservation, LedgerError> {
        self.begin(facts, planned, Patience::Until(over)).await
    }

    async fn begin<F: Future<Output = ()>>(
        &self,
        facts: CallFacts,
        planned: Planned,
        patience: Patience<F>,
    ) -> Result<Reservation, LedgerError> {
        let (reply, answer) = oneshot::channel();
        let (id, next, worst_case) = (facts.id, planned.attempt(), planned.worst_case);
        let mut reservation = Reservation {
            id,
            hold: Hold { attempt: next.clone(), granted: Granted::default() },
            ended_len: 0,
            ended: None,
            beside: Mutex::default(),
            place: Some(self.writer().keep_place()?),
            confirmed: false,
        };
        let Planned { charges, turning, watched, .. } = planned;
        let may_wait = matches!(patience, Patience::Until(_));
        let reserve = Reserve {
            facts: Some(facts),
            id,
            latest: Latest::default(),
            is_beside: false,
            next,
            worst_case,
            charges,
            turning,
            watched,
            may_wait,
            reply,
        };
        let asked = self.writer().submit(Command::Reserve(Box::new(reserve))).map_err(LedgerError::from);
        match self.decided(id, asked, answer, patience).await {
            Ok(granted) => {
                reservation.hold = Hold::new(reservation.hold.attempt.clone(), granted, worst_case);
                reservation.confirmed = true;
                Ok(reservation)
            }
            Err(error) => {
                reservation.place = None;
                Err(error)
            }
        }
    }

    /// Ends the attempt that a reservation stands for and holds money for the next one instead, durably, or refuses at once
    /// and gives the reservation back.
    pub async fn renew(&self, reservation: Reservation, ended: Attempt, planned: Planned) -> Renewal {
        self.go_on(reservation, ended, planned, Patience::<Never>::None).await
    }

    /// The same for a caller who waits as [`Self::reserve_until`] does; it goes before those who hold nothing yet, because
    /// they may be waiting for what it holds.
    pub async fn renew_until(
        &self,
        reservation: Reservation,
        ended: Attempt,
        planned: Planned,
        over: impl Future<Output = ()>,
    ) -> Renewal {
        self.go_on(reservation, ended, planned, Patience::Until(over)).await
    }

    async fn go_on<F: Future<Output = ()>>(
        &self,
        mut reservation: Reservation,
        ended: Attempt,
        planned: Planned,
        patience: Patience<F>,
    ) -> Renewal {
        let (reply, answer) = oneshot::channel();
        let next = planned.attempt();
        let (id, worst_case) = (reservation.id, planned.worst_case);
        let latest = reservation.latest(Some(ended.clone()));
        let ended_len = latest.place + latest.attempts.len();
        let reserve = Reserve {
            facts: None,
            id,
            latest,
            is_beside: false,
            next: next.clone(),
            worst_case,
            charges: planned.charges,
            turning: planned.turning,
            watched: planned.watched,
            may_wait: matches!(patience, Patience::Until(_)),
            reply,
        };
        reservation.ended = Some(ended);
        let asked = self.writer().submit(Command::Reserve(Box::new(reserve))).map_err(LedgerError::from);
        let decided = self.decided(id, asked, answer, patience).await;
        reservation.ended = None;
        match decided {
            Ok(granted) => {
                reservation.hold = Hold::new(next, granted, worst_case);
                *reservation.beside() = None;
                reservation.ended_len = ended_len;
                Ok(reservation)
            }
            Err(error) => Err((reservation, error)),
        }
    }

    /// Holds money for a second attempt of a call, beside the one in flight, durably, or refuses at once.
    ///
    /// It is a luxury: it never waits, is never clipped, takes no more than a share of what is free, and nothing that another
    /// call waits for. Until it has ended ([`Self::end_beside`], [`Self::go_on_beside`]) both may cost all that is
    /// held for them; dropped before it is decided, it leaves nothing that the next word about the call doesn't sweep away.
    pub async fn reserve_beside(&self, first: &Reservation, planned: Planned) -> Result<Hold, LedgerError> {
        assert!(first.beside().is_none(), "an attempt has one other beside it at most");
        let (reply, answer) = oneshot::channel();
        let (next, worst_case) = (planned.attempt(), planned.worst_case);
        let reserve = Reserve {
            facts: None,
            id: first.id,
            latest: first.latest(Some(first.hold.worst_case())),
            is_beside: true,
            next: next.clone(),
            worst_case,
            charges: planned.charges,
            turning: planned.turning,
            watched: planned.watched,
            may_wait: false,
            reply,
        };
        let asked = self.writer().submit(Command::Reserve(Box::new(reserve))).map_err(LedgerError::from);
        let granted = self.decided(first.id, asked, answer, Patience::<Never>::None).await?;
        let hold = Hold::new(next, granted, worst_case);
        *first.beside() = Some(hold.worst_case());
        Ok(hold)
    }

    /// Tells the writer how a call stands after an attempt beside another has ended or was not made at all, so that what was
    /// held for it is free at once. Where the writer's queue is full, it stays held until the call is booked.
    fn tell_standing(&self, reservation: &Reservation) {
        let latest = reservation.latest(Some(reservation.hold.worst_case()));
        let _ = self.writer().submit(Command::Stand { id: reservation.id, latest });
    }

    /// Sweeps away what may be held for an attempt beside another whose reservation was dropped before it was decided.
    pub fn forget_beside(&self, reservation: &Reservation) {
        assert!(reservation.beside().is_none(), "an attempt in flight can't be forgotten");
        self.tell_standing(reservation);
    }

    /// Ends the attempt beside the one that a reservation stands for, which goes on alone.
    pub fn end_beside(&self, reservation: &Reservation, ended: Attempt) {
        *reservation.beside() = Some(ended);
        self.tell_standing(reservation);
    }

    /// Ends the attempt that a reservation stands for; it stands for the one beside it from now on, which goes on alone.
    pub fn go_on_beside(&self, reservation: &mut Reservation, beside: Hold, ended: Attempt) {
        let held_before = reservation.hold.held();
        reservation.hold = beside;
        // It was worked out with both held; what came of the other is taken off when it is told.
        let remaining = &mut reservation.hold.granted.remaining;
        *remaining = remaining.map(|remaining| remaining + held_before);
        *reservation.beside() = Some(ended);
        self.tell_standing(reservation);
    }

    /// What the writer has decided; once the patience is over, it is told to decide for good.
    async fn decided<F: Future<Output = ()>>(
        &self,
        id: RequestId,
        asked: Result<(), LedgerError>,
        answer: oneshot::Receiver<Result<Granted, LedgerError>>,
        patience: Patience<F>,
    ) -> Result<Granted, LedgerError> {
        asked?;
        let mut answer = std::pin::pin!(answer);
        if let Patience::Until(over) = patience {
            tokio::select! {
                biased;
                answer = &mut answer => return told(answer),
                () = over => {}
            }
            // Nobody else ends the wait, so the writer has to hear of it however much is queued.
            while self.writer().submit(Command::EndWait { id }).is_err() {
                tokio::select! {
                    biased;
                    answer = &mut answer => return told(answer),
                    () = tokio::time::sleep(TELL_PAUSE) => {}
                }
            }
        }
        told(answer.await)
    }

    /// Books a call that never got as far as an attempt: a refusal, or an answer out of the cache.
    ///
    /// Not durable when it returns: nothing is owed for such a call.
    pub fn record(&self, facts: CallFacts, outcome: Outcome) -> Result<(), LedgerError> {
        let settle = Settle { id: facts.id, facts: Some(facts), latest: Latest::default(), outcome, reply: None };
        self.writer().submit(Command::Settle(Box::new(settle))).map_err(LedgerError::from)
    }
}

/// What is never waited for.
type Never = std::future::Pending<()>;

/// How long a caller waits for what others hold.
enum Patience<F> {
    /// Not at all.
    None,
    /// Until this is over.
    Until(F),
}

fn told<T>(answer: Result<Result<T, LedgerError>, oneshot::error::RecvError>) -> Result<T, LedgerError> {
    answer.unwrap_or_else(|_| Err(LedgerError::Unwritable { detail: "the writer has stopped".into() }))
}

impl Reservation {
    /// The call that it belongs to.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// The proof that its attempt may be made.
    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    /// The cap on the attempt's output that the money was held for: what was asked for, or less.
    pub fn output_cap(&self) -> u64 {
        self.hold.output_cap()
    }

    /// What is held for the attempt.
    pub fn held(&self) -> Picodollars {
        self.hold.held()
    }

    /// What the attempt beside this one cost, or may cost while it runs.
    pub fn cost_beside(&self) -> Picodollars {
        self.beside().as_ref().map_or(Picodollars::ZERO, |beside| beside.cost)
    }

    /// Whether the cost of the attempt beside this one is not known.
    pub fn is_unknown_beside(&self) -> bool {
        self.beside().as_ref().is_some_and(|beside| beside.basis == CostBasis::Reserved)
    }

    /// The least that is left under the budgets that applied when the money was held, were the attempt to cost this much.
    pub fn remaining_at(&self, cost: Picodollars) -> Option<Picodollars> {
        let cost = cost + self.cost_beside();
        self.hold.granted.remaining.map(|remaining| remaining.saturating_sub(cost))
    }

    /// Where the attempt goes.
    pub fn deployment(&self) -> &Deployment {
        self.hold.deployment()
    }

    /// The attempt as it would be booked if nothing more were known: at what is held for it.
    pub fn worst_case(&self) -> Attempt {
        self.hold.worst_case()
    }

    /// The attempt as it is booked where nothing was sent for it.
    pub fn nothing_sent(&self) -> Attempt {
        self.hold.nothing_sent()
    }

    fn beside(&self) -> MutexGuard<'_, Option<Attempt>> {
        self.beside.lock().expect("no holder of this lock panics")
    }

    /// The call's latest attempts: the one beside, then its own as it stands.
    fn latest(&self, own: Option<Attempt>) -> Latest {
        let attempts = self.beside().clone().into_iter().chain(own).collect();
        Latest { place: self.ended_len, attempts }
    }

    /// The same for a call that ends: nothing is in flight any more, whatever nobody has told.
    fn last_ones(&self) -> Latest {
        let mut latest = self.latest(None);
        for attempt in latest.attempts.iter_mut().filter(|attempt| attempt.is_in_flight()) {
            attempt.error = Some("abandoned".into());
        }
        latest
    }

    /// Books the call and gives back what it didn't use; returns when the disk has it.
    ///
    /// Where the ledger can't be written, the settlement is kept and written as soon as it can be again, and the error says
    /// that the caller must not be told of success.
    pub async fn settle(mut self, outcome: Outcome) -> Result<(), LedgerError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.place.take().expect("only settle and drop take the place, and both end the reservation");
        let settle = Settle { facts: None, id: self.id, latest: self.last_ones(), outcome, reply: Some(reply) };
        let asked = queue.send(Command::Settle(Box::new(settle))).map_err(LedgerError::from);
        asked?;
        told(answer.await).map(drop)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(queue) = self.place.take() else { return };
        let error: Arc<str> = "abandoned".into();
        let mut last = self.hold.worst_case();
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
            let owes = !(last.cost.is_zero() && self.cost_beside().is_zero());
            status = if owes { EntryStatus::Settled } else { EntryStatus::Failed };
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
        let settle = Settle { facts: None, id: self.id, latest: self.last_ones(), outcome, reply: None };
        // Where the ledger has stopped, the next start finds the call running and books it.
        let _ = queue.send(Command::Settle(Box::new(settle)));
    }
}
