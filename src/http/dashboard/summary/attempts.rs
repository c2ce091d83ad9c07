//! What attempts show of their providers: the error rates and last failures of the overview and of `/providers` are counted here,
//! so that they agree.

use super::super::format::share;
use crate::ledger::Attempt;

/// Errors of attempts that are no failure of the provider: what a client asked for can't be had, it left or gave too little
/// time, another attempt was faster, or the server stopped, or died over it.
const OF_OTHERS: [&str; 8] = [
    "upstream_rejected",
    "client_left",
    "timeout_call",
    "cancelled",
    "stopping",
    "abandoned",
    "crashed",
    "ledger_unavailable",
];

/// The error by which a provider failed an attempt.
pub(in super::super) fn failure_of(attempt: &Attempt) -> Option<&str> {
    let is_of_others = |code: &str| OF_OTHERS.contains(&code) || (code == "timeout_total" && !had_its_time(attempt));
    attempt.error.as_deref().filter(|code| !is_of_others(code))
}

/// Whether a provider has answered an attempt, so that its times are those of an answer.
pub(in super::super) fn is_answered(attempt: &Attempt) -> bool {
    attempt.error.is_none() && !attempt.is_unsent()
}

/// Whether the limit of the whole call tells of the provider, as its circuit sees it: the attempt had half of that time to
/// itself, and no content came of it all the while.
fn had_its_time(attempt: &Attempt) -> bool {
    attempt.time_to_first_token_ms.is_none() && attempt.latency_ms >= attempt.started_ms
}

/// Attempts that were sent to a provider, and those that it failed.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Tally {
    pub(in super::super) made: u64,
    pub(in super::super) failed: u64,
}

impl Tally {
    pub(in super::super) fn add(&mut self, attempt: &Attempt) {
        self.made += u64::from(!attempt.is_unsent());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CostBasis, Picodollars, TokenUsage};

    #[test]
    fn the_limit_of_a_call_tells_of_a_provider_that_had_its_time_alone() {
        let check = |error: &str, started_ms: u32, time_to_first_token_ms: Option<u32>, is_failure: bool| {
            let attempt = Attempt {
                deployment: "p/m".parse().unwrap(),
                status: 0,
                error: Some(error.into()),
                usage: TokenUsage::default(),
                cost: Picodollars::ZERO,
                basis: CostBasis::Exact,
                started_ms,
                latency_ms: 500,
                time_to_first_token_ms,
                raw_usage: None,
                upstream_request_id: None,
                rating: None,
            };
            assert_eq!(failure_of(&attempt).is_some(), is_failure, "{attempt:?}");
        };
        check("timeout_total", 500, None, true);
        check("timeout_total", 501, None, false);
        check("timeout_total", 0, Some(20), false);
        check("timeout_call", 0, None, false);
        check("timeout_idle", 501, Some(20), true);
    }
}
