//! Settings that are checked but not acted on yet; whoever makes one work deletes its line.

use super::reader::Context;
use crate::domain::Strategy;

/// Paths that this version accepts and does nothing with.
pub const PATHS: [&str; 6] = ["cache.semantic", "workers", "workflows", "schedules", "github", "tls.acme"];

/// Strategies that work as [`Strategy::Fallback`].
pub const STRATEGIES: [Strategy; 2] = [Strategy::Learned, Strategy::Experiment];

/// Warns of each that somebody set.
pub(super) fn warn(context: &Context<'_>) {
    for path in PATHS {
        if let Some(position) = context.first_set(path) {
            context.warning_at(position, path, "not used by this version yet");
        }
    }
}
