//! The client's end of a stream: what goes out there waits for a client that reads slowly, but not beyond the end of all.

use std::pin::Pin;

use bytes::BytesMut;
use tokio::sync::mpsc;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::provider::Unneeded;

use super::answer::Piece;
use super::audience::Audience;

/// Where the pieces of a stream go, while there is anybody to take them.
pub(super) struct Outlet {
    client: Option<mpsc::Sender<Piece>>,
    /// Listened to at every piece, so it is asked for once.
    ending: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Outlet {
    /// The way to a client.
    pub(super) fn new(pieces: mpsc::Sender<Piece>, audience: &Audience) -> Self {
        Self { client: Some(pieces), ending: Box::pin(audience.ending()) }
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

    /// Sends the last piece.
    pub(super) async fn finish(mut self, last: Piece) {
        self.hand(last).await;
    }

    /// Hands a piece over; a client that doesn't take it any more is forgotten.
    async fn hand(&mut self, piece: Piece) {
        let Some(client) = &self.client else { return };
        let is_taken = tokio::select! {
            // Where there is room the last words go out at the end of all too.
            biased;
            sent = client.send(piece) => sent.is_ok(),
            () = self.ending.as_mut() => false,
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
