//! Who needs a call's answer: its client, until it leaves or the server ends what still runs.
//!
//! Every wait of a call listens here, so that none outlasts whoever it is for. What is paid for may go on for the bill alone when the
//! client has left: for a while, and only so many calls at once, whether or not their answers have begun.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use crate::provider::{Admission, Unneeded};

use super::answer::{Outcome, Refusal};
use super::error::GatewayError;

/// The longest that a call goes on after its client has left.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(30);

/// Whoever a call is made for.
#[derive(Debug)]
pub(super) struct Audience {
    /// Where the client waits; taken when it is answered.
    head: Option<oneshot::Sender<Outcome>>,
    /// Cancelled when what runs has to end.
    ending: CancellationToken,
    /// Cancelled then too, and when the client leaves before it is answered.
    gone: CancellationToken,
    /// Places for calls that go on without their clients; none where they shall not.
    drains: Option<Arc<Semaphore>>,
    /// The call's own, from when it was needed.
    drain: OnceLock<Drain>,
}

/// The right to go on without a client.
#[derive(Debug)]
pub(super) struct Drain {
    _place: OwnedSemaphorePermit,
    began: Instant,
}

impl Drain {
    pub(super) fn time_left(&self) -> Duration {
        DRAIN_TIME_MAX.saturating_sub(self.began.elapsed())
    }
}

/// Where the client waits for what comes of its call. Dropped before that, it tells the call that the client has left.
#[derive(Debug)]
#[must_use]
pub struct Waiting {
    outcome: oneshot::Receiver<Outcome>,
    gone: DropGuard,
}

impl Waiting {
    /// What comes of the call; a task that has panicked is told as what it is.
    pub async fn outcome(self) -> Outcome {
        // Taken apart only when it is there: until then dropping this future drops both.
        let Self { mut outcome, gone } = self;
        let came = (&mut outcome).await;
        gone.disarm();
        came.unwrap_or_else(|_| Err(Refusal::from(GatewayError::Internal)))
    }
}

impl Audience {
    /// A client that waits, while `ending` is not cancelled. Where its call may go on without it, it does so at one of the places.
    pub(super) fn new(ending: &CancellationToken, drains: Option<Arc<Semaphore>>) -> (Self, Waiting) {
        let (head, outcome) = oneshot::channel();
        // One of its own: what every call waits on would be a lock that all of them share.
        let ending = ending.child_token();
        let gone = ending.child_token();
        let waiting = Waiting { outcome, gone: gone.clone().drop_guard() };
        (Self { head: Some(head), ending, gone, drains, drain: OnceLock::new() }, waiting)
    }

    /// Whether the client still waits for the answer's head.
    pub(super) fn waits(&self) -> bool {
        self.head.as_ref().is_some_and(|head| !head.is_closed())
    }

    /// Tells the client what has come of its call, where it has not been told.
    pub(super) fn answer(&mut self, outcome: Outcome) {
        if let Some(head) = self.head.take() {
            let _ = head.send(outcome);
        }
    }

    /// Returns when what runs has to end, whether or not the client is there.
    pub(super) fn ending(&self) -> WaitForCancellationFutureOwned {
        self.ending.clone().cancelled_owned()
    }

    /// Returns when nobody needs the answer any more, and why; of a client that is answered already, only when what runs has to end.
    pub(super) async fn gone(&self) -> Unneeded {
        self.gone.cancelled().await;
        if self.ending.is_cancelled() { Unneeded::Stopping } else { Unneeded::ClientLeft }
    }

    /// The same for attempts that run: what is paid for may go on without its client, which these are told of.
    pub(super) async fn unneeded(&self, running: &[&Admission]) -> Unneeded {
        let why = self.gone().await;
        if why == Unneeded::Stopping {
            return why;
        }
        let Some(drain) = self.drain() else { return why };
        for admission in running {
            admission.give_way(Instant::now());
        }
        tokio::select! {
            () = self.ending() => Unneeded::Stopping,
            () = tokio::time::sleep(drain.time_left()) => why,
        }
    }

    /// The right to go on without the client, where there is a place for that.
    pub(super) fn drain(&self) -> Option<&Drain> {
        if self.drain.get().is_none() {
            let place = Arc::clone(self.drains.as_ref()?).try_acquire_owned().ok()?;
            let _ = self.drain.set(Drain { _place: place, began: Instant::now() });
        }
        self.drain.get()
    }

    /// Waits, unless nobody needs the answer any more: then says why.
    pub(super) async fn pause(&self, pause: Duration) -> Result<(), Unneeded> {
        tokio::time::timeout(pause, self.gone()).await.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn a_client_that_leaves_and_a_server_that_ends_are_told_apart() {
        let ending = CancellationToken::new();
        let ((left, waiting), (ended, _waiting)) = (Audience::new(&ending, None), Audience::new(&ending, None));
        assert!(left.waits() && left.gone().now_or_never().is_none());
        drop(waiting);
        assert_eq!(left.gone().await, Unneeded::ClientLeft);
        assert!(!left.waits() && ended.waits());
        assert_eq!(ended.pause(Duration::ZERO).await, Ok(()));
        ending.cancel();
        assert_eq!(ended.gone().await, Unneeded::Stopping);
        assert_eq!(ended.pause(Duration::from_hours(1)).await, Err(Unneeded::Stopping));
    }

    #[tokio::test]
    async fn a_client_that_is_answered_has_not_left() {
        let (mut audience, waiting) = Audience::new(&CancellationToken::new(), None);
        audience.answer(Err(GatewayError::CacheMiss.into()));
        assert!(waiting.outcome().await.is_err());
        assert!(audience.gone().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_is_a_client_that_leaves() {
        let (audience, waiting) = Audience::new(&CancellationToken::new(), None);
        assert!(waiting.outcome().now_or_never().is_none());
        assert_eq!(audience.gone().await, Unneeded::ClientLeft);
    }

    #[tokio::test]
    async fn an_attempt_goes_on_without_its_client_where_there_is_a_place_and_not_beyond_the_end() {
        let (ending, drains) = (CancellationToken::new(), Arc::new(Semaphore::new(1)));
        let leaves = || Audience::new(&ending, Some(Arc::clone(&drains))).0;
        let first = leaves();
        assert!(first.unneeded(&[]).now_or_never().is_none());
        assert_eq!(leaves().unneeded(&[]).await, Unneeded::ClientLeft, "the place is taken");
        drop(first);
        let next = leaves();
        assert!(next.unneeded(&[]).now_or_never().is_none());
        assert!(next.drain().is_some(), "it keeps its place when its answer begins");
        ending.cancel();
        assert_eq!(next.unneeded(&[]).await, Unneeded::Stopping);
        let (cancelled, _) = Audience::new(&CancellationToken::new(), None);
        assert_eq!(cancelled.unneeded(&[]).await, Unneeded::ClientLeft, "nobody wants it to go on");
    }
}
