//! From what an attempt showed to what is booked for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::catalog::Catalog;
use crate::domain::{Billed, CostBasis, Picodollars, ProviderKind, Residency, TokenUsage, estimate_tokens};
use crate::ledger::{Attempt, Rating};
use crate::provider::openai::usage::residency_of_host;
use crate::provider::usage::ReportedUsage;
use crate::provider::{Owed, Progress, ProviderError, Whole};
use crate::routing::Candidate;

/// What a cost is worked out from.
pub(super) struct Evidence<'a> {
    /// The usage that the provider told.
    pub(super) reported: Option<ReportedUsage>,
    /// Whether it is the usage of the whole answer.
    pub(super) complete: bool,
    /// The model that answered.
    pub(super) model: Option<&'a str>,
    /// Output tokens counted here.
    pub(super) counted_output: u64,
    /// The request, from which the input is estimated where no usage came.
    pub(super) request: &'a [u8],
}

impl<'a> Evidence<'a> {
    /// Of a whole answer.
    pub(super) fn whole(whole: &'a Whole, request: &'a [u8]) -> Self {
        Self {
            reported: whole.usage.clone(),
            complete: whole.usage.is_some(),
            model: whole.model.as_deref(),
            counted_output: whole.counted_output,
            request,
        }
    }

    /// Of what has come of a stream.
    pub(super) fn stream(progress: &'a Progress, request: &'a [u8]) -> Self {
        Self {
            reported: progress.reported(),
            complete: progress.usage_is_final(),
            model: progress.model(),
            counted_output: progress.counted_output(),
            request,
        }
    }
}

impl Evidence<'_> {
    /// What was used: as told where that is complete, else the larger of what was told and counted.
    pub(super) fn used(&self) -> TokenUsage {
        let estimated = || TokenUsage {
            // Only here: it reads the whole request.
            uncached_input: std::str::from_utf8(self.request).map_or(0, estimate_tokens),
            ..TokenUsage::default()
        };
        let mut usage = self.reported.as_ref().map_or_else(estimated, |reported| reported.usage);
        if !self.complete {
            usage.output = usage.output.max(self.counted_output);
        }
        usage
    }
}

/// A usage with its cost.
pub(super) struct Bill {
    pub(super) usage: TokenUsage,
    pub(super) cost: Picodollars,
    pub(super) basis: CostBasis,
    pub(super) raw: Option<Arc<str>>,
    /// What decided over the price; absent where nothing was used.
    pub(super) rating: Option<Rating>,
}

/// Works out what an attempt cost: exactly from a complete usage, else from the larger of what was told and counted.
pub(super) fn bill(catalog: &Catalog, candidate: &Candidate, evidence: &Evidence<'_>, at: Timestamp) -> Bill {
    let usage = evidence.used();
    let mut billed = evidence.reported.as_ref().map_or_else(|| Billed::plainly(at), |reported| reported.billed(at));
    let basis = if evidence.complete { CostBasis::Exact } else { CostBasis::Estimated };
    if candidate.upstream.kind() == ProviderKind::OpenAi && billed.residency == Residency::Anywhere {
        billed.residency = residency_of_host(candidate.upstream.host());
    }
    let raw = evidence.reported.as_ref().map(|reported| Arc::from(&*reported.raw));
    let asked = candidate.deployment.model.as_str();
    let answered = evidence.model.unwrap_or(asked);
    let rating = Some(Rating {
        // A name that can't be one has no price either.
        model: (answered != asked).then(|| answered.parse().ok()).flatten(),
        tier: billed.tier,
        residency: billed.residency,
        fast: billed.fast,
    });
    let found = catalog.find_answered(candidate.upstream.name(), candidate.upstream.catalog(), asked, answered);
    match found {
        Some((facts, found_basis)) => {
            let costing = facts.prices.cost(&usage, &billed);
            Bill { usage, cost: costing.cost, basis: basis.and(costing.basis).and(found_basis), raw, rating }
        }
        None => Bill { usage, cost: Picodollars::ZERO, basis: CostBasis::Unpriced, raw, rating },
    }
}

/// Fills in an attempt that ended, from the worst case that was reserved for it.
pub(super) struct AttemptEnd {
    /// The attempt as reserved.
    pub(super) reserved: Attempt,
    /// When its call arrived.
    pub(super) arrived: Instant,
    /// When it began: a call may have waited for money before.
    pub(super) began: Instant,
    /// When its first content came.
    pub(super) first_content: Option<Instant>,
    /// The provider's own id of it.
    pub(super) upstream_request_id: Option<Arc<str>>,
}

impl AttemptEnd {
    /// An attempt that was answered, at least in part.
    pub(super) fn billed(self, bill: Bill, status: u16, error: Option<&ProviderError>) -> Attempt {
        let mut attempt = self.timed();
        attempt.status = status;
        attempt.error = error.map(|error| Arc::from(error.attempt_code()));
        attempt.usage = bill.usage;
        attempt.cost = bill.cost;
        attempt.basis = bill.basis;
        attempt.raw_usage = bill.raw;
        attempt.rating = bill.rating;
        attempt
    }

    /// An attempt that failed before content: nothing is owed, or perhaps everything that was reserved.
    pub(super) fn failed(self, error: &ProviderError, came: Option<Bill>) -> Attempt {
        let status = error.status();
        match (error.owed(), came) {
            (Owed::WhatCame, Some(bill)) => self.billed(bill, status, Some(error)),
            (Owed::Nothing, _) => {
                let nothing = Bill {
                    usage: TokenUsage::default(),
                    cost: Picodollars::ZERO,
                    basis: CostBasis::Exact,
                    raw: None,
                    rating: None,
                };
                self.billed(nothing, status, Some(error))
            }
            (Owed::Perhaps | Owed::WhatCame, _) => {
                let mut attempt = self.timed();
                attempt.status = status;
                attempt.error = Some(Arc::from(error.attempt_code()));
                attempt
            }
        }
    }

    fn timed(self) -> Attempt {
        let mut attempt = self.reserved;
        attempt.started_ms = millis(self.began.saturating_duration_since(self.arrived));
        attempt.latency_ms = millis(self.began.elapsed());
        attempt.time_to_first_token_ms = self.first_content.map(|first| millis(first - self.began));
        attempt.upstream_request_id = self.upstream_request_id;
        attempt
    }
}

/// Whole milliseconds, as entries keep them.
pub(super) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
