//! Places for the calls that run at a provider at once, and a short queue for those that find none.
//!
//! Virtual keys take turns: each place that comes free goes to the next key's longest-waiting call, so that the burst of one
//! key makes another wait for one call at most. As many calls may wait as may run; where the queue is full, a newcomer takes the
//! last place of the key that has most of them, unless that is its own. Whoever leaves the queue, for whatever reason,
//! leaves it at once, and a place that was on its way to them goes on to the next. No lock is held while anybody is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::KeyId;

/// Calls that may wait at least: where few may run, they are often quick.
const QUEUE_LEN_MIN: usize = 16;

/// The places of a provider.
#[derive(Debug)]
pub struct Places {
    places_max: usize,
    queue_len_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    waiting: usize,
    /// Keys with calls that wait; the first one's turn is next.
    lines: VecDeque<Line>,
    next_ticket: u64,
}

/// The calls of a key that wait, in the order of their arrival.
#[derive(Debug)]
struct Line {
    key: KeyId,
    waiters: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    call: oneshot::Sender<Place>,
}

/// How many calls there are at a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// Calls that run.
    pub running: usize,
    /// Calls that wait for a place.
    pub waiting: usize,
    /// How many may run.
    pub places: usize,
}

/// There was no place, and there won't be one in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlace;

/// The right of a call to run, given on when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Place(Option<Arc<Places>>);

impl Places {
    /// As many as may run at once.
    pub fn new(places_max: usize) -> Arc<Self> {
        let queue_len_max = places_max.max(QUEUE_LEN_MIN);
        Arc::new(Self { places_max, queue_len_max, state: Mutex::default() })
    }

    /// How many calls there are.
    pub fn crowd(&self) -> Crowd {
        let State { running, waiting, .. } = *self.state();
        Crowd { running, waiting, places: self.places_max }
    }

    /// Whether a call would run at once.
    pub fn has_room(&self) -> bool {
        let state = self.state();
        state.running < self.places_max && state.waiting == 0
    }

    /// Takes a place where a call would run at once.
    pub fn try_take(self: &Arc<Self>) -> Option<Place> {
        self.state().try_run(self.places_max).then(|| Place(Some(Arc::clone(self))))
    }

    /// Takes a place, or waits for one in the turn of its key, at most so long. Can be dropped at any time.
    pub async fn take(self: &Arc<Self>, key: &KeyId, wait_max: Duration) -> Result<Place, NoPlace> {
        let (ticket, place) = {
            let mut state = self.state();
            if state.try_run(self.places_max) {
                return Ok(Place(Some(Arc::clone(self))));
            }
            let turned_away = if state.waiting < self.queue_len_max {
                None
            } else {
                Some(state.last_of_the_longest_line(key).ok_or(NoPlace)?)
            };
            let joined = state.join(key);
            drop(state);
            drop(turned_away);
            joined
        };
        let _waiting = Waiting { places: self, key, ticket };
        tokio::time::timeout(wait_max, place).await.map_err(|_| NoPlace)?.map_err(|_| NoPlace)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Gives a place that came free to whoever's turn it is.
    fn give_on(self: Arc<Self>) {
        let mut place = Place(Some(self));
        while let Some(places) = place.0.take() {
            let next = {
                let mut state = places.state();
                let next = state.next();
                if next.is_none() {
                    state.running -= 1;
                }
                next
            };
            let Some(next) = next else { return };
            place.0 = Some(places);
            match next.call.send(place) {
                Ok(()) => return,
                // That one has left in this moment: the next.
                Err(refused) => place = refused,
            }
        }
    }
}

impl State {
    /// Counts a call in, where it runs at once.
    fn try_run(&mut self, places_max: usize) -> bool {
        let runs = self.running < places_max && self.waiting == 0;
        self.running += usize::from(runs);
        runs
    }

    fn join(&mut self, key: &KeyId) -> (u64, oneshot::Receiver<Place>) {
        let (call, place) = oneshot::channel();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting += 1;
        let waiter = Waiter { ticket, call };
        match self.lines.iter_mut().find(|line| line.key == *key) {
            Some(line) => line.waiters.push_back(waiter),
            None => self.lines.push_back(Line { key: key.clone(), waiters: VecDeque::from([waiter]) }),
        }
        (ticket, place)
    }

    /// The first of the key whose turn it is; the key goes to the end.
    fn next(&mut self) -> Option<Waiter> {
        let mut line = self.lines.pop_front()?;
        let waiter = line.waiters.pop_front()?;
        self.waiting -= 1;
        if !line.waiters.is_empty() {
            self.lines.push_back(line);
        }
        Some(waiter)
    }

    /// Who has to go so that a call of the key may wait; nobody where no other key has more that wait than it would have.
    fn last_of_the_longest_line(&mut self, key: &KeyId) -> Option<Waiter> {
        let own = self.lines.iter().find(|line| line.key == *key).map_or(0, |line| line.waiters.len());
        let longest = self.lines.iter_mut().max_by_key(|line| line.waiters.len())?;
        if longest.key == *key || longest.waiters.len() <= own + 1 {
            return None;
        }
        self.waiting -= 1;
        longest.waiters.pop_back()
    }

    fn leave(&mut self, key: &KeyId, ticket: u64) {
        let Some(at) = self.lines.iter().position(|line| line.key == *key) else { return };
        let waiters = &mut self.lines[at].waiters;
        let Ok(place) = waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket) else { return };
        waiters.remove(place);
        self.waiting -= 1;
        // Who leaves the head of a line leaves its turn too: those behind it have not waited as long as other keys' first.
        if place == 0
            && let Some(line) = self.lines.remove(at)
            && !line.waiters.is_empty()
        {
            self.lines.push_back(line);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(places) = self.0.take() {
            places.give_on();
        }
    }
}

/// A call in the queue; dropped, it is there no more.
struct Waiting<'a> {
    places: &'a Places,
    key: &'a KeyId,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.places.state().leave(self.key, self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};

    use super::*;
    use futures_util::{FutureExt as _, poll};
    use proptest::prelude::*;

    const LONG: Duration = Duration::from_mins(1);

    fn key(number: u8) -> KeyId {
        KeyId::new(&format!("key_{number}")).unwrap()
    }

    type Taking<'a> = Pin<Box<dyn Future<Output = Result<Place, NoPlace>> + 'a>>;

    /// A call that waits; its turn comes by polling.
    fn waits<'a>(places: &'a Arc<Places>, key: &'a KeyId) -> Taking<'a> {
        let mut taking: Taking<'a> = Box::pin(places.take(key, LONG));
        assert!(taking.as_mut().now_or_never().is_none(), "there was a place");
        taking
    }

    fn has_come(taking: &mut Taking<'_>) -> Option<Result<Place, NoPlace>> {
        taking.as_mut().now_or_never()
    }

    fn takes(places: &Arc<Places>, key: &KeyId) -> Place {
        places.take(key, LONG).now_or_never().unwrap().unwrap()
    }

    #[tokio::test]
    async fn keys_take_turns_however_many_of_one_came_before() {
        let places = Places::new(1);
        let (a, b) = (key(1), key(2));
        let mut place = takes(&places, &a);
        let mut burst: Vec<Taking<'_>> = (0..10).map(|_| waits(&places, &a)).collect();
        let mut late = [waits(&places, &b), waits(&places, &b)];
        let mut order = String::new();
        for _ in 0..12 {
            drop(place);
            place = 'next: {
                for (name, line) in [('a', &mut burst[..]), ('b', &mut late[..])] {
                    for taking in line {
                        // One that is done is not polled again.
                        let done = std::mem::replace(taking, Box::pin(std::future::pending()));
                        let mut taken = done;
                        match has_come(&mut taken) {
                            Some(Ok(place)) => {
                                order.push(name);
                                break 'next place;
                            }
                            Some(Err(NoPlace)) => panic!("turned away"),
                            None => *taking = taken,
                        }
                    }
                }
                panic!("nobody got the place: {order}");
            };
        }
        assert_eq!(order, "ababaaaaaaaa");
        drop(place);
        assert_eq!(places.crowd(), Crowd { running: 0, waiting: 0, places: 1 });
    }

    #[tokio::test]
    async fn who_only_tries_passes_nobody_and_joins_no_queue() {
        let places = Places::new(1);
        let a = key(1);
        let place = places.try_take().unwrap();
        assert!(places.try_take().is_none());
        let mut waiting = waits(&places, &a);
        assert_eq!(places.crowd(), Crowd { running: 1, waiting: 1, places: 1 });
        drop(place);
        assert!(places.try_take().is_none(), "the place goes to whoever waited for it");
        drop(has_come(&mut waiting).unwrap().unwrap());
        assert!(places.try_take().is_some());
    }

    #[tokio::test]
    async fn who_leaves_the_queue_leaves_it_at_once_and_takes_no_place_along() {
        let places = Places::new(1);
        let (a, b) = (key(1), key(2));
        let place = takes(&places, &a);
        let (first, second, mut third) = (waits(&places, &a), waits(&places, &b), waits(&places, &a));
        drop(first);
        assert_eq!(places.crowd().waiting, 2);
        // Its place is on the way already.
        drop(place);
        assert_eq!(places.crowd(), Crowd { running: 1, waiting: 1, places: 1 });
        assert!(has_come(&mut third).is_none());
        drop(second);
        assert!(has_come(&mut third).unwrap().is_ok());
    }

    #[tokio::test]
    async fn who_has_waited_long_enough_is_told() {
        let places = Places::new(1);
        let place = takes(&places, &key(1));
        assert_eq!(places.take(&key(1), Duration::from_millis(1)).await.unwrap_err(), NoPlace);
        assert_eq!(places.crowd().waiting, 0);
        drop(place);
        assert!(places.has_room());
    }

    #[tokio::test]
    async fn a_full_queue_turns_away_those_who_have_most_in_it() {
        let places = Places::new(1);
        let (a, b) = (key(1), key(2));
        let _running = takes(&places, &a);
        let mut burst: Vec<Taking<'_>> = (0..QUEUE_LEN_MIN).map(|_| waits(&places, &a)).collect();
        assert_eq!(places.take(&a, LONG).now_or_never().unwrap().unwrap_err(), NoPlace, "it has most itself");
        let mut others: Vec<Taking<'_>> = (0..QUEUE_LEN_MIN / 2).map(|_| waits(&places, &b)).collect();
        assert_eq!(places.take(&b, LONG).now_or_never().unwrap().unwrap_err(), NoPlace, "each has its half");
        assert_eq!(places.crowd().waiting, QUEUE_LEN_MIN);
        let turned_away = burst.iter_mut().map(has_come).filter(|come| matches!(come, Some(Err(NoPlace)))).count();
        assert_eq!(turned_away, QUEUE_LEN_MIN / 2);
        assert!(others.iter_mut().all(|taking| has_come(taking).is_none()));
    }

    #[tokio::test]
    async fn a_place_is_never_lost_to_one_that_leaves_while_it_comes() {
        let places = Places::new(1);
        let a = key(1);
        let place = takes(&places, &a);
        // Left without the queue's knowing, as in the moment between being chosen and being told.
        let (_, gone) = places.state().join(&a);
        drop(gone);
        let mut waits = pin!(places.take(&a, LONG));
        assert!(poll!(waits.as_mut()).is_pending());
        drop(place);
        assert!(waits.await.is_ok());
    }

    #[derive(Clone, Debug)]
    enum Act {
        Ask(u8),
        Leave(usize),
        End(usize),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            3 => (0..4_u8).prop_map(Act::Ask),
            1 => any::<usize>().prop_map(Act::Leave),
            2 => any::<usize>().prop_map(Act::End),
        ];
        proptest::collection::vec(act, 0..200)
    }

    proptest! {
        /// Whatever calls do: never more run than may, none is forgotten, and a place stays free only where nobody waits.
        #[test]
        fn places_and_calls_always_add_up(acts in acts(), places_max in 1..4_usize) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let _entered = runtime.enter();
            let places = Places::new(places_max);
            let keys: Vec<KeyId> = (0..4).map(key).collect();
            let mut waiting: Vec<Taking<'_>> = Vec::new();
            let mut running: Vec<Place> = Vec::new();
            for act in acts {
                match act {
                    Act::Ask(number) => waiting.push(Box::pin(places.take(&keys[usize::from(number)], LONG))),
                    Act::Leave(at) if !waiting.is_empty() => drop(waiting.remove(at % waiting.len())),
                    Act::End(at) if !running.is_empty() => drop(running.remove(at % running.len())),
                    Act::Leave(_) | Act::End(_) => {}
                }
                // Twice: the newest may have turned away one that was asked before it.
                for _ in 0..2 {
                    waiting = waiting
                        .into_iter()
                        .filter_map(|mut taking| match has_come(&mut taking) {
                            Some(Ok(place)) => {
                                running.push(place);
                                None
                            }
                            Some(Err(NoPlace)) => None,
                            None => Some(taking),
                        })
                        .collect();
                }
                let crowd = places.crowd();
                prop_assert_eq!((crowd.running, crowd.waiting), (running.len(), waiting.len()));
                prop_assert!(running.len() <= places_max && waiting.len() <= places_max.max(QUEUE_LEN_MIN));
                prop_assert!(waiting.is_empty() || running.len() == places_max);
            }
        }
    }
}
