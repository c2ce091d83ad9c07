//! Logs: one line per event on standard error, JSON where nobody watches.

use tracing_subscriber::EnvFilter;

/// Starts logging. `filter` is a list such as `info` or `tollgate=debug`; an unreadable one counts as `info`.
pub fn start(filter: Option<&str>, json: bool) {
    let filter = filter
        .and_then(|filter| EnvFilter::try_new(filter).ok())
        .unwrap_or_else(|| EnvFilter::new("info,actix_server=warn"));
    // A log that can't be written must not take calls with it: telling of that would write to the same place.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    // A second start, as in tests, leaves the first in place.
    let _ = if json { builder.json().try_init() } else { builder.with_target(false).try_init() };
}
