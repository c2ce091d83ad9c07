//! Logs: one line per event on standard error, JSON of a server that nobody watches.
//!
//! Where somebody watches, lines are written one by one as they come. Otherwise they gather for a moment, so that calls
//! don't pay for a write each ([`lines`]); [`flush`] writes them at once, and whoever ends the process calls it.

mod json;
mod lines;

use std::io::{IsTerminal as _, Stderr};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use json::JsonLine;
use lines::Lines;

static LINES: OnceLock<Lines<Stderr>> = OnceLock::new();

/// Starts logging. `filter` is a list such as `info` or `tollgate=debug`; an unreadable one counts as `info`.
pub fn start(filter: Option<&str>, json: bool) {
    let filter = filter
        .and_then(|filter| EnvFilter::try_new(filter).ok())
        .unwrap_or_else(|| EnvFilter::new("info,actix_server=warn"));
    // A log that can't be written must not take calls with it: telling of that would write to the same place.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    // A second start, as in tests, leaves the first in place.
    let _ = if json {
        let lines = LINES.get_or_init(|| Lines::new(std::io::stderr()));
        // Without its thread a line would wait for the next one that is urgent.
        if lines.write_behind().is_ok() {
            flush_before_panics_are_told();
        }
        builder.event_format(JsonLine).with_writer(lines).try_init()
    } else {
        // Codes for colours are for people alone.
        let builder = if std::io::stderr().is_terminal() { builder } else { builder.with_ansi(false) };
        builder.with_target(false).with_writer(std::io::stderr).try_init()
    };
}

/// Writes what has gathered.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

/// What led to a panic stands before it, also where it ends the process.
fn flush_before_panics_are_told() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        flush();
        told(panic);
    }));
}
