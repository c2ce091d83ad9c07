//! Lines that gather for a moment before they are written.
//!
//! The order is kept, the memory is bounded, and nothing waits longer than [`GATHER_TIME`]; warnings and errors take what
//! is before them along and are written at once. A `kill -9` loses what has gathered, never more.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line waits for others: not noticed by who reads along, and many calls long under load.
const GATHER_TIME: Duration = Duration::from_millis(50);
/// What gathers at most: whoever brings more writes it out, and waits if nobody reads.
const GATHER_BYTES_MAX: usize = 64 << 10;

/// Where lines gather on their way to an output.
pub(super) struct Lines<W> {
    gathered: Mutex<Vec<u8>>,
    has_gathered: Condvar,
    output: Mutex<Output<W>>,
    /// Whether a thread writes what has gathered; without one every line is written at once.
    is_written_behind: AtomicBool,
}

struct Output<W> {
    to: W,
    /// What is being written; empty otherwise, to keep the allocation.
    writing: Vec<u8>,
}

impl<W: Write + Send + 'static> Lines<W> {
    pub(super) fn new(output: W) -> Self {
        Self {
            gathered: Mutex::default(),
            has_gathered: Condvar::new(),
            output: Mutex::new(Output { to: output, writing: Vec::new() }),
            is_written_behind: AtomicBool::new(false),
        }
    }

    /// Starts the thread that writes what has gathered.
    pub(super) fn write_behind(&'static self) -> io::Result<()> {
        if self.is_written_behind.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let thread = std::thread::Builder::new().name("log-writer".to_owned()).spawn(|| {
            loop {
                let mut gathered = self.gathered();
                while gathered.is_empty() {
                    gathered = self.has_gathered.wait(gathered).unwrap_or_else(PoisonError::into_inner);
                }
                drop(gathered);
                std::thread::sleep(GATHER_TIME);
                self.flush();
            }
        });
        if let Err(error) = thread {
            self.is_written_behind.store(false, Ordering::Relaxed);
            return Err(error);
        }
        Ok(())
    }

    /// Writes what has gathered.
    pub(super) fn flush(&self) {
        // The output first: who takes what has gathered has to be the next to write.
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let Output { to, writing } = &mut *output;
        std::mem::swap(&mut *self.gathered(), writing);
        // What can't be written is lost, as it would be without gathering.
        let _ = to.write_all(writing).and_then(|()| to.flush());
        writing.clear();
    }

    fn take(&self, line: &[u8], is_urgent: bool) {
        let mut gathered = self.gathered();
        let was_empty = gathered.is_empty();
        gathered.extend_from_slice(line);
        let is_full = gathered.len() > GATHER_BYTES_MAX;
        drop(gathered);
        if is_urgent || is_full || !self.is_written_behind.load(Ordering::Relaxed) {
            self.flush();
        } else if was_empty {
            self.has_gathered.notify_one();
        }
    }

    fn gathered(&self) -> MutexGuard<'_, Vec<u8>> {
        // A line is whole or not there: nothing that panics runs while the lock is held.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one event's line.
pub(super) struct Line<'a, W> {
    lines: &'a Lines<W>,
    is_urgent: bool,
}

impl<W: Write + Send + 'static> Write for Line<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.take(line, self.is_urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write + Send + 'static> MakeWriter<'_> for &'static Lines<W> {
    type Writer = Line<'static, W>;

    fn make_writer(&self) -> Line<'static, W> {
        Line { lines: self, is_urgent: false }
    }

    fn make_writer_for(&self, metadata: &Metadata<'_>) -> Line<'static, W> {
        Line { lines: self, is_urgent: *metadata.level() <= Level::WARN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// An output that says what each write brought.
    struct Told(mpsc::Sender<String>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(String::from_utf8(bytes.to_vec()).unwrap()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines() -> (&'static Lines<Told>, mpsc::Receiver<String>) {
        let (tell, told) = mpsc::channel();
        (Box::leak(Box::new(Lines::new(Told(tell)))), told)
    }

    #[test]
    fn lines_gather_and_come_in_one_write_without_being_asked_for() {
        let (lines, told) = lines();
        lines.write_behind().unwrap();
        for line in ["a\n", "b\n"] {
            lines.make_writer().write_all(line.as_bytes()).unwrap();
        }
        let limit = Duration::from_secs(10);
        assert_eq!(told.recv_timeout(limit).unwrap(), "a\nb\n");
        lines.make_writer().write_all(b"c\n").unwrap();
        assert_eq!(told.recv_timeout(limit).unwrap(), "c\n");
    }

    #[test]
    fn what_is_urgent_takes_along_what_came_before_it() {
        let (lines, told) = lines();
        lines.is_written_behind.store(true, Ordering::Relaxed);
        lines.take(b"a\n", false);
        assert!(told.try_recv().is_err());
        lines.take(b"b\n", true);
        assert_eq!(told.try_recv().unwrap(), "a\nb\n");
    }

    #[test]
    fn the_memory_is_bounded_and_nothing_waits_without_the_thread() {
        let (lines, told) = lines();
        lines.take(b"a\n", false);
        assert_eq!(told.try_recv().unwrap(), "a\n");
        lines.is_written_behind.store(true, Ordering::Relaxed);
        let line = "x".repeat(GATHER_BYTES_MAX);
        lines.take(line.as_bytes(), false);
        assert!(told.try_recv().is_err());
        lines.take(b"\n", false);
        assert_eq!(told.try_recv().unwrap(), line + "\n");
        assert!(lines.gathered().is_empty());
    }

    #[test]
    fn an_output_that_nobody_reads_loses_lines_and_nothing_else() {
        let (lines, told) = lines();
        drop(told);
        lines.take(b"a\n", true);
        lines.take(b"b\n", true);
        assert!(lines.gathered().is_empty());
    }
}
