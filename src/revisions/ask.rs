//! Asking for the files to be read again, one asker after the other.

use tokio::sync::{mpsc, oneshot};

use super::Trigger;
use crate::config::Problem;

/// Asks that wait for those before them: more of them wait to be let in.
const ASKS_LEN: usize = 16;

/// What a reload has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// The revision that is in force.
    pub number: u64,
    /// The keys that differ from what was in force before; none where nothing has changed.
    pub changed: Vec<String>,
    /// Keys that wait for the next start.
    pub waiting: Vec<String>,
    /// What is worth knowing.
    pub warnings: Vec<Problem>,
}

/// Why nothing was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReloaded {
    /// Something is wrong with the files, and nothing was changed.
    Refused(Vec<Problem>),
    /// The process stops, or was not started from files.
    Unavailable,
}

/// An ask on its way.
pub struct Ask {
    /// Whose it is.
    pub trigger: Trigger,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Reloaded, NotReloaded>>,
}

/// Asks for reloads. Clones ask the same reader.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<Ask>);

impl Reloads {
    /// A way to ask, and where its asks arrive.
    pub fn channel() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, arriving) = mpsc::channel(ASKS_LEN);
        (Self(asks), arriving)
    }

    /// Has the files read, checked and taken over, or refused as a whole. Waits for the reloads before it.
    pub async fn ask(&self, trigger: Trigger) -> Result<Reloaded, NotReloaded> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask { trigger, reply }).await.map_err(|_| NotReloaded::Unavailable)?;
        answer.await.map_err(|_| NotReloaded::Unavailable)?
    }
}
