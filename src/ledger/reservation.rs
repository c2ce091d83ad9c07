//! Money held back for a call: what must be in hand before an upstream is called.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::{Deployment, EntryStatus, Picodollars, RequestId};
use crate::store::Place;

use super::hold::{Granted, Hold, Planned};
use super::journal::{Command, Reserve, Settle};
use super::record::{Attempt, CallFacts, Outcome};
use super::tally::Tally;
use super::{Ledger, LedgerError};

/// Why a call ended whose task died, and its attempts with it.
const ABANDONED: &str = "abandoned";
/// The pause before the end of a wait is told again, where the writer's queue was full.
const TELL_PAUSE: Duration = Duration::from_millis(100);

/// A call that runs: the right to book it, with the hold of the attempt that is in flight, and what came of those before. A second
/// attempt may run beside that one, with a [`Hold`] of its own ([`Ledger::reserve_beside`]); each ends as a part of the same entry.
///
/// Dropped without having been settled (its task died), it books the call as it stands, with whatever is in flight as unknown
/// at what was held for it; where the ledger has been stopped meanwhile, the next start does. The place in the writer's queue is
/// taken when the call begins, because `drop` can neither wait nor fail.
#[must_use]
#[derive(Debug)]
pub struct Reservation(Box<Reserved>);

/// What a reservation is: on the heap, for it goes by value through all phases of a call, whose states would be as large.
#[derive(Debug)]
struct Reserved {
    id: RequestId,
    hold: Hold,
    /// Changed where two attempts are looked at that run at once.
    attempts: Mutex<Attempts>,
    place: Option<Place<Command>>,
}

/// The attempts of a call, as its entry is to have them.
#[derive(Debug, Default)]
struct Attempts {
    /// Those that have ended, in that order.
    ended: Vec<Attempt>,
    /// The one in flight beside the reservation's own.
    beside: Option<Attempt>,
    /// Its own: in flight, at what is held for it, or as it ended. Absent until the writer has said that it holds the money:
    /// nothing can have been sent upstream before.
    own: Option<Attempt>,
}

impl Attempts {
    fn others(&self) -> impl Iterator<Item = &Attempt> + Clone {
        self.ended.iter().chain(&self.beside)
    }

    fn all(&self) -> Vec<Attempt> {
        self.others().chain(&self.own).cloned().collect()
    }
}

/// What came of trying to reserve for the next attempt.
pub type Renewal = Result<Reservation, (Reservation, LedgerError)>;

impl Ledger {
    /// Begins a call: holds money for its first attempt under every charge at once, durably, or refuses at once.
    pub fn reserve(
        &self,
        facts: CallFacts,
        planned: Planned,
    ) -> impl Future<Output = Result<Reservation, LedgerError>> {
        self.begin(facts, planned, Patience::<Never>::None)
    }

    /// The same for a caller who waits while only what others hold is in the way: until `over`, and never behind one who
    /// came later.
    pub fn reserve_until(
        &self,
        facts: CallFacts,
        planned: Planned,
        over: impl Future<Output = ()>,
    ) -> impl Future<Output = Result<Reservation, LedgerError>> {
        self.begin(facts, planned, Patience::Until(over))
    }

    async fn begin<F: Future<Output = ()>>(
        &self,
        facts: CallFacts,
        planned: Planned,
        patience: Patience<F>,
    ) -> Result<Reservation, LedgerError> {
        let (reply, answer) = oneshot::channel();
        let (id, next, worst_case) = (facts.id, planned.attempt(), planned.worst_case);
        let mut reservation = Reservation(Box::new(Reserved {
            id,
            hold: Hold::new(next, Granted::default(), worst_case),
            attempts: Mutex::default(),
            place: Some(self.writer().keep_place()?),
        }));
        let may_wait = matches!(patience, Patience::Until(_));
        let reserve = Reserve { facts: Some(facts), may_wait, ..Reserve::new(id, Vec::new(), planned, reply) };
        let asked = self.writer().submit(Command::Reserve(Box::new(reserve))).map_err(LedgerError::from);
        match self.decided(id, asked, answer, patience).await {
            Ok(granted) => {
                reservation.go_on(Hold::new(reservation.0.hold.worst_case(), granted, worst_case));
                Ok(reservation)
            }
            Err(error) => {
                reservation.0.place = None;
                Err(error)
            }
        }
    }

    /// Holds money for a call's next attempt after the one that a reservation stands for has ended, durably, or refuses at once
    /// and gives the reservation back.
    pub fn renew(&self, reservation: Reservation, planned: Planned) -> impl Future<Output = Renewal> {
        self.renewed(reservation, planned, Patience::<Never>::None)
    }

    /// The same for a caller who waits as [`Self::reserve_until`] does; it goes before those who hold nothing yet, because
    /// they may be waiting for what it holds.
    pub fn renew_until(
        &self,
        reservation: Reservation,
        planned: Planned,
        over: impl Future<Output = ()>,
    ) -> impl Future<Output = Renewal> {
        self.renewed(reservation, planned, Patience::Until(over))
    }

    async fn renewed<F: Future<Output = ()>>(
        &self,
        mut reservation: Reservation,
        planned: Planned,
        patience: Patience<F>,
    ) -> Renewal {
        let (reply, answer) = oneshot::channel();
        let (id, next, worst_case) = (reservation.id(), planned.attempt(), planned.worst_case);
        let may_wait = matches!(patience, Patience::Until(_));
        let reserve = Reserve { may_wait, ..Reserve::new(id, reservation.attempts().all(), planned, reply) };
        let asked = self.writer().submit(Command::Reserve(Box::new(reserve))).map_err(LedgerError::from);
        match self.decided(id, asked, answer, patience).await {
            Ok(granted) => {
                reservation.go_on(Hold::new(next, granted, worst_case));
                Ok(reservation)
            }
            Err(error) => Err((reservation, error)),
        }
    }

    /// Holds money for a second attempt of a call, beside the one in flight, durably, or refuses at once.
    ///
    /// It is a luxury: it never waits, is never clipped, takes no more than a share of what is free, and nothing that another
    /// call waits for. Until one has ended ([`Self::end_beside`], [`Self::end_first`]) both may cost all that is
    /// held for them; dropped before it is decided, it leaves nothing that the next word about the call doesn't sweep away.
    pub async fn reserve_beside(&self, first: &Reservation, planned: Planned) -> Result<Hold, LedgerError> {
        assert!(first.attempts().beside.is_none(), "an attempt has one other beside it at most");
        let (reply, answer) = oneshot::channel();
        let (next, worst_case) = (planned.attempt(), planned.worst_case);
        let before = first.attempts().all();
        let reserve = Reserve { is_beside: true, ..Reserve::new(first.id(), before, planned, reply) };
        let asked = self.writer().submit(Command::Reserve(Box::new(reserve))).map_err(LedgerError::from);
        let granted = self.decided(first.id(), asked, answer, Patience::<Never>::None).await?;
        let hold = Hold::new(next, granted, worst_case);
        first.attempts().beside = Some(hold.worst_case());
        Ok(hold)
    }

    /// Tells the writer how a call stands, so that what its attempts did not cost is free at once: for a call that waits before it
    /// goes on, or doesn't know yet whether it does. Where the writer's queue is full, it stays held until the call is booked.
    pub fn give_back(&self, reservation: &Reservation) {
        let attempts = reservation.attempts().all();
        let _ = self.writer().submit(Command::Stand { id: reservation.id(), attempts });
    }

    /// Sweeps away what may be held for an attempt beside another whose reservation was dropped before it was decided.
    pub fn forget_beside(&self, reservation: &Reservation) {
        assert!(reservation.attempts().beside.is_none(), "an attempt in flight can't be forgotten");
        self.give_back(reservation);
    }

    /// Ends the attempt beside the one that a reservation stands for, which goes on alone.
    pub fn end_beside(&self, reservation: &Reservation, ended: Attempt) {
        {
            let mut attempts = reservation.attempts();
            attempts.beside = None;
            attempts.ended.push(ended);
        }
        self.give_back(reservation);
    }

    /// Ends the attempt that a reservation stands for while the one beside it goes on alone: it is to stand for that one from now
    /// on ([`Reservation::stand_for`]).
    pub fn end_first(&self, reservation: &Reservation, ended: Attempt) {
        {
            let mut attempts = reservation.attempts();
            attempts.own = attempts.beside.take();
            attempts.ended.push(ended);
        }
        self.give_back(reservation);
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
        let settle = Settle { id: facts.id, facts: Some(facts), before: Vec::new(), outcome, reply: None };
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
        self.0.id
    }

    /// The proof that its attempt may be made.
    pub fn hold(&self) -> &Hold {
        &self.0.hold
    }

    /// The cap on the attempt's output that the money was held for: what was asked for, or less.
    pub fn output_cap(&self) -> u64 {
        self.0.hold.output_cap()
    }

    /// What is held for the attempt.
    pub fn held(&self) -> Picodollars {
        self.0.hold.held()
    }

    /// What the call comes to by now.
    pub fn tally(&self) -> Tally {
        let attempts = self.attempts();
        Tally::of(attempts.others().chain(&attempts.own))
    }

    /// What it comes to with its own attempt booked like this, or with none.
    pub fn tally_with(&self, own: Option<&Attempt>) -> Tally {
        Tally::of(self.attempts().others().chain(own))
    }

    /// The least that is left under the budgets that applied when the money was held, were the attempt to cost this much.
    pub fn remaining_at(&self, cost: Picodollars) -> Option<Picodollars> {
        self.0.hold.remaining(&self.attempts().others(), cost)
    }

    /// Where the attempt goes.
    pub fn deployment(&self) -> &Deployment {
        self.0.hold.deployment()
    }

    /// The attempt as it would be booked if nothing more were known: at what is held for it.
    pub fn worst_case(&self) -> Attempt {
        self.0.hold.worst_case()
    }

    /// The attempt as it is booked where nothing was sent for it.
    pub fn nothing_sent(&self) -> Attempt {
        self.0.hold.nothing_sent()
    }

    /// Its attempt: in flight, or as it ended.
    pub fn attempt(&self) -> Option<Attempt> {
        self.attempts().own.clone()
    }

    /// Notes how its attempt ended. The writer hears of it with the next reservation or the call's end; whoever lets the call
    /// wait before tells it ([`Ledger::give_back`]).
    pub fn end(&mut self, ended: Attempt) {
        self.attempts().own = Some(ended);
    }

    /// Stands for an attempt from now on that ran beside another, which has ended ([`Ledger::end_first`]).
    pub fn stand_for(&mut self, beside: Hold) {
        self.0.hold = beside;
    }

    /// Goes on with an attempt that money is held for.
    fn go_on(&mut self, hold: Hold) {
        let mut attempts = self.attempts();
        let ended = attempts.own.replace(hold.worst_case());
        attempts.ended.extend(ended);
        drop(attempts);
        self.0.hold = hold;
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.0.attempts.lock().expect("no holder of this lock panics")
    }

    /// The attempts beside its own, of a call that ends: nothing is in flight any more, whatever nobody has told.
    fn last_others(&self) -> Vec<Attempt> {
        self.attempts().others().cloned().map(abandoned).collect()
    }

    /// Books the call and gives back what it didn't use; returns when the disk has it.
    ///
    /// Where the ledger can't be written, the settlement is kept and written as soon as it can be again, and the error says
    /// that the caller must not be told of success.
    pub async fn settle(mut self, outcome: Outcome) -> Result<(), LedgerError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.0.place.take().expect("only settle and drop take the place, and both end the reservation");
        let settle = Settle { facts: None, id: self.0.id, before: self.last_others(), outcome, reply: Some(reply) };
        let asked = queue.send(Command::Settle(Box::new(settle))).map_err(LedgerError::from);
        asked?;
        told(answer.await).map(drop)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(queue) = self.0.place.take() else { return };
        let own = self.attempt();
        let is_in_flight = own.as_ref().is_some_and(Attempt::is_in_flight);
        let status = if is_in_flight { EntryStatus::Unknown } else { self.tally().unanswered() };
        let outcome = Outcome {
            status,
            error: Some(ABANDONED.into()),
            http_status: 0,
            last: own.map(abandoned),
            latency_ms: 0,
            time_to_first_token_ms: None,
            saved: Picodollars::ZERO,
        };
        let settle = Settle { facts: None, id: self.0.id, before: self.last_others(), outcome, reply: None };
        // Where the ledger has stopped, the next start finds the call running and books it.
        let _ = queue.send(Command::Settle(Box::new(settle)));
    }
}

/// An attempt as it is booked where its call ends: one that is in flight won't be seen to end.
fn abandoned(attempt: Attempt) -> Attempt {
    let error = if attempt.is_in_flight() { Some(ABANDONED.into()) } else { attempt.error };
    Attempt { error, ..attempt }
}
