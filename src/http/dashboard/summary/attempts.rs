//! What attempts show of their providers: the error rates and last failures of the overview and of `/providers` are counted here,
//! so that they agree.

use super::super::format::share;
use crate::ledger::Attempt;

/// Errors of attempts that are no failure of the provider: what a client asked for can't be had, it left, another attempt was
/// faster, or the server stopped.
const OF_OTHERS: [&str; 4] = ["upstream_rejected", "client_left", "cancelled", "stopping"];

/// The error by which a provider failed an attempt.
pub(in super::super) fn failure_of(attempt: &Attempt) -> Option<&str> {
    attempt.error.as_deref().filter(|code| !OF_OTHERS.contains(code))
}

/// Attempts at a provider, and those that it failed.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Tally {
    pub(in super::super) made: u64,
    pub(in super::super) failed: u64,
}

impl Tally {
    pub(in super::super) fn add(&mut self, attempt: &Attempt) {
        self.made += 1;
        self.failed += u64::from(failure_of(attempt).is_some());
    }

    pub(in super::super) fn failed_percent(self) -> f64 {
        share(self.failed as f64, self.made as f64)
    }

    /// Whether each of them failed.
    pub(in super::super) fn is_all_failed(self) -> bool {
        self.made > 0 && self.failed == self.made
    }
}
