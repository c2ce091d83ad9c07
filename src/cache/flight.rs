//! Calls that ask the same at the same time share one upstream call.
//!
//! The first to ask leads, the others follow. A leader that has an answer to keep hands it to all of them; one that fails,
//! dies or has nothing to keep is replaced by exactly one of those who wait. Leading is a value: dropping it, wherever
//! that happens, hands it on, so that nobody waits for somebody who is gone. No lock is held while anybody is told.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

use super::entry::Entry;
use super::fingerprint::Fingerprint;

/// Parts of the table with a lock each: calls that ask different things seldom meet.
const SHARDS: usize = 16;

/// Those who wait for a leader, in the order in which they came.
type Followers = Vec<oneshot::Sender<News>>;

/// What a follower hears.
#[derive(Debug)]
enum News {
    Answer(Arc<Entry>),
    Lead(Leader),
    GoAlone,
}

/// The calls that are under way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    shards: [Mutex<HashMap<Fingerprint, Followers>>; SHARDS],
}

/// A part in a call that is under way.
#[derive(Debug)]
pub enum Flight {
    /// Nobody asks the same: make the call, and say what came of it.
    Leader(Leader),
    /// Somebody asks the same: wait for what comes of it.
    Follower(Follower),
}

/// The right and the duty to make a call for all who ask the same.
///
/// Dropped without an answer, it goes to the one who has waited longest.
#[must_use = "dropped, it makes another one lead"]
pub struct Leader {
    flights: Arc<Flights>,
    fingerprint: Fingerprint,
    is_done: bool,
}

/// A place among those who wait for a leader.
#[derive(Debug)]
#[must_use = "a follower has to wait"]
pub struct Follower {
    news: oneshot::Receiver<News>,
}

/// What came of waiting.
#[derive(Debug)]
pub enum Joined {
    /// The leader's answer.
    Answer(Arc<Entry>),
    /// The leader came to nothing: lead now.
    Leader(Leader),
    /// There is nobody to wait for any longer: make the call by yourself, and tell nobody.
    Alone,
}

impl Flights {
    /// Joins those who ask the same, as the leader where there is none.
    pub(super) fn join(self: &Arc<Self>, fingerprint: Fingerprint) -> Flight {
        match self.shard(fingerprint).entry(fingerprint) {
            Place::Vacant(place) => {
                place.insert(Followers::new());
                Flight::Leader(Leader { flights: Arc::clone(self), fingerprint, is_done: false })
            }
            Place::Occupied(mut place) => {
                let followers = place.get_mut();
                // Those who have left are swept out when there is no room for another, so the list never grows by them alone.
                if followers.len() == followers.capacity() {
                    followers.retain(|follower| !follower.is_closed());
                }
                let (sender, news) = oneshot::channel();
                followers.push(sender);
                Flight::Follower(Follower { news })
            }
        }
    }

    /// How many calls are under way.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, fingerprint: Fingerprint) -> MutexGuard<'_, HashMap<Fingerprint, Followers>> {
        lock(&self.shards[usize::from(fingerprint.spread()) % SHARDS])
    }
}

fn lock(shard: &Mutex<HashMap<Fingerprint, Followers>>) -> MutexGuard<'_, HashMap<Fingerprint, Followers>> {
    shard.lock().expect("no holder of this lock panics")
}

impl Leader {
    /// Gives the answer to all who wait.
    pub fn publish(self, entry: &Arc<Entry>) {
        for follower in self.dissolve() {
            let _ = follower.send(News::Answer(Arc::clone(entry)));
        }
    }

    /// Sends all who wait on their own ways: for answers that can't be shared whoever leads, as those that are cut at
    /// the client's own limit. One after the other, each would wait for all before it and gain nothing.
    pub fn disperse(self) {
        for follower in self.dissolve() {
            let _ = follower.send(News::GoAlone);
        }
    }

    fn dissolve(mut self) -> Followers {
        self.is_done = true;
        self.flights.shard(self.fingerprint).remove(&self.fingerprint).unwrap_or_default()
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        loop {
            let longest_waiting = {
                let mut shard = self.flights.shard(self.fingerprint);
                let Place::Occupied(mut place) = shard.entry(self.fingerprint) else { return };
                if place.get().is_empty() {
                    place.remove();
                    return;
                }
                place.get_mut().remove(0)
            };
            let next = Self { flights: Arc::clone(&self.flights), fingerprint: self.fingerprint, is_done: false };
            match longest_waiting.send(News::Lead(next)) {
                // That one has left: what comes back leads nobody, and the next is asked.
                Err(News::Lead(mut refused)) => refused.is_done = true,
                _ => return,
            }
        }
    }
}

impl fmt::Debug for Leader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Leader({})", self.fingerprint)
    }
}

impl Follower {
    /// Waits for the leader, and for those who lead after it, at most so long. Can be dropped at any time: what was sent to it
    /// meanwhile goes to the next.
    pub async fn wait(self, limit: Duration) -> Joined {
        match tokio::time::timeout(limit, self.news).await {
            Ok(Ok(News::Answer(entry))) => Joined::Answer(entry),
            Ok(Ok(News::Lead(leader))) => Joined::Leader(leader),
            Ok(Ok(News::GoAlone) | Err(_)) | Err(_) => Joined::Alone,
        }
    }
}

#[cfg(test)]
mod tests;
