//! Tracked tasks and the clock: what the rest takes in as values, so that a stop can wait and a test can move time; and reading
//! files without waiting for them.

mod clock;
mod files;

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use clock::{Clock, Leap};
pub use files::read_text;

/// Spawns tasks on the runtime of the thread that asks, and knows which of them still run.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
    ending: CancellationToken,
}

impl Tasks {
    /// Runs a task beside everything else; a stop waits for it.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(task)
    }

    /// Cancelled as soon as the process begins to stop: for tasks that would go on for ever.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Cancelled when whatever still runs has to come to its end: for tasks that a stop waits for.
    pub fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    /// How many tasks run.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// True when nothing runs.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Begins the stop, and returns when no task runs any more. The caller limits the time.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
