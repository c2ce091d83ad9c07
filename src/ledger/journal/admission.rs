//! Which calls may hold money: decided against sums in memory, under all budgets of a call at once.
//!
//! A call that fits once others have settled may wait, in the order of arrival: who comes later under a sum that somebody
//! waits for waits behind, so that small calls don't pass a large one for ever. Calls that hold money already go first, since
//! others may be waiting for just that. The writer has no clock: whoever waits says when the wait is over
//! ([`Command::EndWait`](super::Command)), and is then decided for good.

use std::collections::HashSet;
use std::time::Duration;

use crate::domain::{Picodollars, RequestId, WindowId};

use super::super::LedgerError;
use super::super::balances::Standing;
use super::super::hold::{Granted, Room};
use super::super::record::{Acknowledge, Balance, Charge, Entry, Scope};
use super::{LedgerJournal, Reply, Reserve, begin};

/// Calls that may wait for others to settle: beyond, one is refused at once. Each is looked at again after every batch that
/// gave something back, which has to stay cheap beside the batch itself.
const WAITING_MAX: usize = 1_024;
/// How long calls are taken to hold money before any has shown it.
const HOLDING_TIME_GUESSED: Duration = Duration::from_secs(2);
/// The weight of one more call in the mean of how long money is held.
const HOLDING_WEIGHT: u32 = 16;

/// Calls that wait for others to settle.
#[derive(Default)]
pub(super) struct Waiting {
    /// First those that hold something already, then the others, each in the order of arrival.
    queue: Vec<Reserve>,
    /// The sums that those in the queue are kept back by.
    awaited: HashSet<(Scope, WindowId)>,
    /// Something was given back, or somebody left the queue, since it was decided last.
    is_due: bool,
    /// How long calls hold money: a moving mean.
    holding: Option<Duration>,
}

impl Waiting {
    /// Notes that somebody may have room now.
    pub(super) fn note_room(&mut self) {
        self.is_due |= !self.queue.is_empty();
    }

    /// Notes how long a call held money.
    pub(super) fn note_held(&mut self, latency_ms: u32) {
        let latency = Duration::from_millis(latency_ms.into());
        let mean = self.holding.unwrap_or(latency);
        self.holding = Some((mean * (HOLDING_WEIGHT - 1) + latency) / HOLDING_WEIGHT);
    }

    /// Takes a call out of the queue, where it is there.
    fn take(&mut self, id: RequestId) -> Option<Reserve> {
        let at = self.queue.iter().position(|reserve| reserve.id == id)?;
        self.is_due = true;
        Some(self.queue.remove(at))
    }

    /// Forgets a call whose caller has gone.
    pub(super) fn forget(&mut self, id: RequestId) {
        drop(self.take(id));
    }

    /// Everybody who waits, where there is no use in waiting any more.
    pub(super) fn dissolve(&mut self) -> Vec<Reply> {
        self.awaited.clear();
        self.is_due = false;
        std::mem::take(&mut self.queue).into_iter().map(|reserve| reserve.reply).collect()
    }

    fn park(&mut self, reserve: Reserve, sums: impl Iterator<Item = (Scope, WindowId)>) {
        self.awaited.extend(sums);
        let holds_nothing = |other: &Reserve| other.facts.is_some();
        let at = if holds_nothing(&reserve) { None } else { self.queue.iter().position(holds_nothing) };
        self.queue.insert(at.unwrap_or(self.queue.len()), reserve);
    }

    /// When `needed` of what is held should have come back: money comes back at the rate of what is held in the time that
    /// calls hold it.
    fn settles_in(&self, needed: Picodollars, held: Picodollars) -> Duration {
        let holding = self.holding.unwrap_or(HOLDING_TIME_GUESSED);
        holding.mul_f64((needed.percent_of(held) / 100.0).clamp(0.0, 1.0))
    }
}

/// Whether an attempt may hold money.
enum Verdict {
    /// It may, with this cap on its output.
    Fits(u64),
    /// It may once others have settled: what it is told should it not wait, and the sums that it waits for.
    Later(LedgerError, Vec<(Scope, WindowId)>),
    /// It may not.
    Never(LedgerError),
}

impl LedgerJournal {
    /// Decides again over those who wait, where something was given back.
    pub(super) fn reserve_waiting(&mut self) {
        if std::mem::take(&mut self.waiting.is_due) {
            self.waiting.awaited.clear();
            for reserve in std::mem::take(&mut self.waiting.queue) {
                self.reserve(reserve);
            }
        }
    }

    /// Decides for good over a call whose wait is over.
    pub(super) fn end_wait(&mut self, id: RequestId) {
        if let Some(mut reserve) = self.waiting.take(id) {
            reserve.may_wait = false;
            self.reserve(reserve);
        } else if let Some(reserve) = self.deferred.iter_mut().find(|reserve| reserve.id == id) {
            reserve.may_wait = false;
        }
    }

    pub(super) fn reserve(&mut self, reserve: Reserve) {
        // Who asked has gone: its place in the queue has told the ledger so, or will.
        if reserve.reply.is_closed() {
            return;
        }
        let running = self.pending.get(&reserve.id);
        let mut entry = match (&reserve.facts, running) {
            (Some(facts), None) => begin(facts.clone()),
            (None, Some(running)) => running.clone(),
            (Some(_), Some(_)) => {
                let detail = "a call with this id is running".into();
                let _ = reserve.reply.send(Err(LedgerError::Unwritable { detail }));
                return;
            }
            (None, None) => {
                let _ = reserve.reply.send(Err(LedgerError::NoSuchCall { id: reserve.id }));
                return;
            }
        };
        let windows = self.windows(&entry);
        if self.lacks_sums(&reserve, &windows) {
            self.deferred.push(reserve);
            return;
        }
        entry.attempts.clone_from(&reserve.before);
        entry.attempts.push(reserve.next.clone());
        self.tame(&mut entry);
        let before = self.pending.remove(&reserve.id);
        if let Some(before) = &before {
            self.balances.release(before, &windows);
        }
        let cap = match self.verdict(&mut entry, &windows, &reserve) {
            Verdict::Fits(cap) => cap,
            verdict => {
                entry.attempts.pop();
                if let Some(before) = before {
                    self.hold_anew(&before, entry, &windows);
                }
                return self.put_off(reserve, verdict);
            }
        };
        let Reserve { facts, id, worst_case, charges, watched, reply, .. } = reserve;
        entry.attempts.last_mut().expect("it was pushed above").cost = worst_case.at(cap);
        // Attempts that ended stay held until the call is booked as a whole.
        entry.reserved = entry.cost();
        let is_bound = !charges.is_empty();
        let rooms = charges.into_iter().chain(watched).map(|charge| self.room(charge, &windows)).collect();
        self.balances.hold(&entry, &windows);
        self.pending.insert(id, entry);
        self.work.touched.insert(id);
        if facts.is_some() {
            self.work.begun.push(id);
        }
        self.acknowledge(reply, Granted { rooms, output_cap: cap, is_bound });
    }

    /// Goes on with a running call whose next attempt gets no money now, as far as it has come: what its last one did not cost
    /// is free at once, also while the call waits.
    fn hold_anew(&mut self, before: &Entry, mut now: Entry, windows: &[WindowId; 5]) {
        now.reserved = now.cost();
        self.balances.hold(&now, windows);
        if now != *before {
            self.work.touched.insert(now.facts.id);
            self.waiting.note_room();
        }
        self.pending.insert(now.facts.id, now);
    }

    /// Lets a call that doesn't fit wait, or refuses it.
    fn put_off(&mut self, reserve: Reserve, verdict: Verdict) {
        match verdict {
            Verdict::Later(_, sums) if reserve.may_wait && self.waiting.queue.len() < WAITING_MAX => {
                self.waiting.park(reserve, sums.into_iter());
            }
            Verdict::Later(refusal, _) | Verdict::Never(refusal) => drop(reserve.reply.send(Err(refusal))),
            Verdict::Fits(_) => unreachable!("what fits is not put off"),
        }
    }

    /// Whether sums have to be read from the file first; if so they will be with the next write.
    fn lacks_sums(&mut self, reserve: &Reserve, windows: &[WindowId; 5]) -> bool {
        let missing = reserve.charges.iter().chain(&reserve.watched);
        let missing = missing.map(|charge| (&charge.scope, windows[charge.window.window as usize]));
        let missing =
            missing.filter(|(scope, window)| !matches!(self.balances.standing(scope, *window), Standing::Known(_)));
        let tracked_before = self.work.tracked.len();
        self.work.tracked.extend(missing.map(|(scope, window)| (scope.clone(), window)));
        self.work.tracked.len() > tracked_before
    }

    /// Whether the last attempt of an entry, which is not held yet, has room under every charge at once; one beside another has
    /// it only where there is plenty, and nobody waits for it.
    fn verdict(&self, entry: &mut Entry, windows: &[WindowId; 5], reserve: &Reserve) -> Verdict {
        if reserve.charges.is_empty() && reserve.turning.is_empty() {
            return Verdict::Fits(reserve.worst_case.asked());
        }
        // What is left over beside the attempts that have ended or run: those stay charged.
        entry.attempts.last_mut().expect("it was pushed by the caller").cost = Picodollars::ZERO;
        let ended = |scope: &Scope| entry.cost_in(scope).unwrap_or_default();
        let asked = reserve.worst_case.cost();
        for charge in &reserve.turning {
            let window = windows[charge.window.window as usize];
            let balance = self.known(&charge.scope, window);
            let own = if charge.scope.takes_in(&reserve.next) { asked } else { Picodollars::ZERO };
            let asked = own + ended(&charge.scope);
            if asked > charge.limit.saturating_sub(balance.spent).saturating_sub(balance.held) {
                let (budget, limit) = (charge.budget, charge.limit);
                return Verdict::Never(LedgerError::Turned { budget, window, limit, balance, asked });
            }
        }
        let mut room = Picodollars::MAX;
        let mut refusal = None;
        let mut sums = Vec::new();
        for charge in &reserve.charges {
            let window = windows[charge.window.window as usize];
            let balance = self.known(&charge.scope, window);
            let ended = ended(&charge.scope);
            let unspent = charge.limit.saturating_sub(balance.spent);
            let free = unspent.saturating_sub(balance.held);
            let mut least = ended;
            let mut is_ample = true;
            if charge.scope.takes_in(&reserve.next) {
                let its_room = free.saturating_sub(ended);
                least += reserve.worst_case.least();
                room = room.min(its_room);
                is_ample = !reserve.is_beside || reserve.worst_case.is_ample(its_room);
            }
            if least <= free && is_ample {
                continue;
            }
            let may_fit = least <= unspent;
            let settles_in = may_fit.then(|| self.waiting.settles_in(least.saturating_sub(free), balance.held));
            let (budget, limit) = (charge.budget, charge.limit);
            let error = LedgerError::OverBudget { budget, window, limit, balance, asked: least, settles_in };
            if !may_fit {
                return Verdict::Never(error);
            }
            refusal.get_or_insert(error);
            sums.push((charge.scope.clone(), window));
        }
        if let Some(refusal) = refusal {
            return Verdict::Later(refusal, sums);
        }
        if let Some(behind) = self.behind(reserve, windows) {
            return behind;
        }
        let cap = reserve.worst_case.cap_within(room);
        Verdict::Fits(cap.expect("the lowest cap fits under every charge"))
    }

    /// That a call would pass others who wait for the same sums, where it would.
    fn behind(&self, reserve: &Reserve, windows: &[WindowId; 5]) -> Option<Verdict> {
        let gives_way = reserve.is_beside || (reserve.may_wait && reserve.facts.is_some());
        if self.waiting.awaited.is_empty() || !gives_way {
            return None;
        }
        let mut sums = reserve.charges.iter().map(|charge| {
            let window = windows[charge.window.window as usize];
            (charge, (charge.scope.clone(), window))
        });
        let (charge, sum) = sums.find(|(_, sum)| self.waiting.awaited.contains(sum))?;
        let (balance, asked) = (self.known(&sum.0, sum.1), reserve.worst_case.least());
        let settles_in = Some(self.waiting.settles_in(asked, balance.held));
        let (budget, limit) = (charge.budget, charge.limit);
        let refusal = LedgerError::OverBudget { budget, window: sum.1, limit, balance, asked, settles_in };
        Some(Verdict::Later(refusal, vec![sum]))
    }

    fn known(&self, scope: &Scope, window: WindowId) -> Balance {
        match self.balances.standing(scope, window) {
            Standing::Known(balance) => balance,
            Standing::InFile | Standing::Untracked => unreachable!("reservations wait until their sums are known"),
        }
    }

    /// What is left under a budget for a call that holds nothing at the moment.
    fn room(&self, charge: Charge, windows: &[WindowId; 5]) -> Room {
        let balance = self.known(&charge.scope, windows[charge.window.window as usize]);
        let left = charge.limit.saturating_sub(balance.spent).saturating_sub(balance.held);
        Room { scope: charge.scope, left }
    }

    pub(super) fn acknowledge(&mut self, reply: Reply, granted: Granted) {
        match self.acknowledge {
            Acknowledge::Durable => self.work.replies.push((reply, granted)),
            Acknowledge::Queued => drop(reply.send(Ok(granted))),
        }
    }
}
