//! The client's end of a stream: what goes out there waits for a client that reads slowly, but not for ever.
//!
//! A call holds money, a place at its provider and a connection to it, so a client that takes nothing for a while counts as gone.
//! What was sent to it ends without an end then, so that it can't take a part for the whole.

use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::mpsc;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::provider::Unneeded;

use super::answer::Piece;
use super::audience::Audience;

/// Where the pieces of a stream go, while there is anybody to take them.
pub(super) struct Outlet {
    client: Option<mpsc::Sender<Piece>>,
    /// How long it may take nothing.
    stall_max: Duration,
    /// When the whole call has to be over.
    deadline: Instant,
    /// Listened to at every piece, so it is asked for once.
    ending: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Outlet {
    /// The way to a client that may take nothing for so long, until a deadline.
    pub(super) fn new(
        pieces: mpsc::Sender<Piece>,
        stall_max: Duration,
        deadline: Instant,
        audience: &Audience,
    ) -> Self {
        Self { client: Some(pieces), stall_max, deadline, ending: Box::pin(audience.ending()) }
    }

    /// Whether the client is still there.
    pub(super) fn is_open(&self) -> bool {
        self.client.is_some()
    }

    /// Sends what has gathered.
    pub(super) async fn send(&mut self, out: &mut BytesMut) {
        if !out.is_empty() {
            let bytes = out.split().freeze();
            self.hand(Piece::Bytes(bytes)).await;
        }
    }

    /// Sends the last piece. The call is booked, so its time is no matter any more.
    pub(super) async fn finish(mut self, last: Piece) {
        self.deadline = Instant::now() + self.stall_max;
        self.hand(last).await;
    }

    /// Hands a piece over; a client that doesn't take it any more is forgotten.
    async fn hand(&mut self, piece: Piece) {
        let Some(client) = &self.client else { return };
        let patience = self.stall_max.min(self.deadline.saturating_duration_since(Instant::now()));
        let is_taken = tokio::select! {
            // Where there is room the last words go out at the end of all too.
            biased;
            sent = client.send(piece) => sent.is_ok(),
            () = self.ending.as_mut() => false,
            () = tokio::time::sleep(patience) => false,
        };
        if !is_taken {
            self.client = None;
        }
    }

    /// Returns when the client leaves, or when what runs has to end.
    pub(super) async fn over(&mut self) -> Unneeded {
        let left = async {
            match &self.client {
                Some(client) => client.closed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = left => {}
            () = self.ending.as_mut() => return Unneeded::Stopping,
        }
        self.client = None;
        Unneeded::ClientLeft
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tokio_util::sync::CancellationToken;

    const SOON: Duration = Duration::from_millis(20);
    const LATER: Duration = Duration::from_hours(1);

    /// A way with room for one piece, and its other end.
    fn outlet(stall_max: Duration, left: Duration, ending: &CancellationToken) -> (Outlet, mpsc::Receiver<Piece>) {
        let (pieces, taken) = mpsc::channel(1);
        let (audience, _waiting) = Audience::new(ending, None);
        (Outlet::new(pieces, stall_max, Instant::now() + left, &audience), taken)
    }

    async fn send(outlet: &mut Outlet) -> bool {
        outlet.send(&mut BytesMut::from("piece")).await;
        outlet.is_open()
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_for_too_long_counts_as_gone() {
        let never = CancellationToken::new();
        for (stall_max, left) in [(SOON, LATER), (LATER, SOON)] {
            let (mut outlet, mut taken) = outlet(stall_max, left, &never);
            assert!(send(&mut outlet).await, "there is room");
            assert!(!send(&mut outlet).await);
            outlet.finish(Piece::End(Bytes::new())).await;
            assert!(matches!(taken.recv().await, Some(Piece::Bytes(_))));
            assert!(taken.recv().await.is_none(), "it ends without an end");
        }
    }

    #[tokio::test]
    async fn at_the_end_of_all_the_last_words_go_out_where_there_is_room_and_are_not_waited_for() {
        let ending = CancellationToken::new();
        ending.cancel();
        let (outlet, mut taken) = outlet(LATER, LATER, &ending);
        outlet.finish(Piece::End(Bytes::new())).await;
        assert!(matches!(taken.recv().await, Some(Piece::End(_))));
        let (mut full, _taken) = self::outlet(LATER, LATER, &ending);
        assert!(send(&mut full).await);
        assert!(!send(&mut full).await);
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_noticed_once() {
        let (mut outlet, taken) = outlet(LATER, LATER, &CancellationToken::new());
        drop(taken);
        assert_eq!(outlet.over().await, Unneeded::ClientLeft);
        assert!(!outlet.is_open());
        assert!(tokio::time::timeout(SOON, outlet.over()).await.is_err());
    }
}
