//! Tracked tasks and the clock: what the rest takes in as values, so that a stop can wait and a test can move time.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks on the runtime of the thread that asks, and knows which of them still run.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
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

/// Where the time comes from.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until it is moved.
    pub fn manual(now: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(now.as_millisecond()))))
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
            Source::System => Timestamp::now(),
            Source::Manual(now) => Timestamp::from_millisecond(now.load(Ordering::Relaxed)).unwrap_or_default(),
        }
    }

    /// Moves a manual clock; the machine's own stays as it is.
    pub fn set(&self, now: Timestamp) {
        if let Source::Manual(source) = &self.0 {
            source.store(now.as_millisecond(), Ordering::Relaxed);
        }
    }
}
