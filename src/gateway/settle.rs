//! Booking: what a call's end is, in the ledger, the counters and the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::domain::{BudgetScope, EntryStatus, Picodollars};
use crate::ledger::{Attempt, CallFacts, LedgerError, Outcome as Booked, Reservation};
use crate::provider::ProviderError;
use crate::routing::Candidate;
use crate::telemetry::{CallRecord, Limit, Naming, names};

use super::booking::{Bill, Evidence, bill, millis};
use super::call::Call;
use super::error::{GatewayError, OverBudget};
use super::no_answer::NoAnswer;

/// Who is told to come back is not told to come back at once.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

impl Call {
    pub(super) fn bill(&self, candidate: &Candidate, evidence: &Evidence<'_>) -> Bill {
        let at = self.gateway.parts().clock.now();
        bill(self.router().catalog(), candidate, evidence, at)
    }

    /// Books a call that ends without an attempt.
    pub(super) fn refuse(&self, facts: &CallFacts, error: GatewayError) -> GatewayError {
        let error = match error {
            GatewayError::Upstream(no_answer) => self.no_answer(no_answer.error).into(),
            error => error,
        };
        self.remember_failure(&error);
        match &error {
            GatewayError::RateLimited(_) => self.gateway.parts().metrics.refused(Limit::Key),
            GatewayError::Upstream(NoAnswer { error: ProviderError::Crowded { .. }, .. }) => {
                self.gateway.parts().metrics.refused(Limit::Provider);
            }
            _ => {}
        }
        let fault = error.fault(self.inbound.endpoint.dialect());
        let outcome = self.booked(EntryStatus::Failed, Some(fault.code), fault.status, None, None);
        self.count(facts, &outcome, Picodollars::ZERO);
        if let Err(unbooked) = self.gateway.parts().ledger.record(facts.clone(), outcome) {
            tracing::warn!({ names::REQUEST_ID } = %facts.id, "a refusal is not in the ledger: {unbooked}");
        }
        error
    }

    /// Books a call whose last attempt failed.
    pub(super) async fn give_up(
        &self,
        facts: &CallFacts,
        reservation: Reservation,
        error: ProviderError,
    ) -> GatewayError {
        let code = error.code();
        let error = GatewayError::from(self.no_answer(error));
        self.remember_failure(&error);
        let status_told = error.fault(self.inbound.endpoint.dialect()).status;
        let http_status = if self.audience.waits() { status_told } else { 0 };
        let (status, last) = (reservation.tally().unanswered(), reservation.attempt());
        let outcome = self.booked(status, Some(code), http_status, last, None);
        match Box::pin(self.settle(facts, reservation, outcome)).await {
            Ok(()) => error,
            Err(unbooked) => unbooked,
        }
    }

    pub(super) fn booked(
        &self,
        status: EntryStatus,
        error: Option<&str>,
        http_status: u16,
        last: Option<Attempt>,
        first_content: Option<Instant>,
    ) -> Booked {
        Booked {
            status,
            error: error.map(Arc::from),
            http_status,
            last,
            latency_ms: millis(self.inbound.arrived.elapsed()),
            time_to_first_token_ms: first_content.map(|first| millis(first - self.inbound.arrived)),
            saved: Picodollars::ZERO,
        }
    }

    /// Books a call durably, and counts it.
    pub(super) async fn settle(
        &self,
        facts: &CallFacts,
        reservation: Reservation,
        outcome: Booked,
    ) -> Result<(), GatewayError> {
        let tally = reservation.tally_with(outcome.last.as_ref());
        self.count(facts, &outcome, tally.cost);
        match reservation.settle(outcome).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.refusal(error)),
        }
    }

    pub(super) fn count(&self, facts: &CallFacts, outcome: &Booked, cost: Picodollars) {
        self.keep_contents(facts, outcome);
        self.correct_rate(outcome);
        let last = outcome.last.as_ref();
        let tokens = last.map_or((0, 0), |last| (last.usage.total_input(), last.usage.total_output()));
        let record = CallRecord {
            provider: last.map_or("", |last| last.deployment.provider.as_str()),
            model: last.map_or("", |last| last.deployment.model.as_str()),
            naming: last.map_or(Naming::Unknown, |last| self.router().naming(&last.deployment)),
            status: outcome.status.as_str(),
            failed: outcome.error.is_some(),
            cache: facts.cache.as_str(),
            latency_ms: outcome.latency_ms,
            time_to_first_token_ms: outcome.time_to_first_token_ms,
            tokens,
            cost_usd: cost.to_dollars_f64(),
        };
        self.gateway.parts().metrics.ended(&record);
        tracing::info!(
            { names::REQUEST_ID } = %facts.id,
            { names::REQUEST_MODEL } = %facts.requested_model,
            { names::DEPLOYMENT } = self.last.as_ref().map(tracing::field::display),
            { names::ATTEMPTS } = self.attempts,
            { names::INPUT_TOKENS } = tokens.0,
            { names::OUTPUT_TOKENS } = tokens.1,
            { names::ERROR_TYPE } = outcome.error.as_deref(),
            latency_ms = outcome.latency_ms,
            "call {} cost {cost} USD", outcome.status
        );
    }

    /// When a call that waits for others should fit: when enough of what they hold has come back, as the ledger reckons
    /// from how long calls have held money so far, or when the window ends, since what is held then counts for the one before.
    fn fits_in(&self, settles_in: Duration, resets_at: Option<Timestamp>) -> Duration {
        let until_reset = resets_at.map(|at| at.duration_since(self.gateway.parts().clock.now()));
        let until_reset = until_reset.and_then(|until| Duration::try_from(until).ok());
        until_reset.map_or(settles_in, |until| settles_in.min(until)).max(RETRY_AFTER_MIN)
    }

    /// Books a call that is given up although money was held for its next attempt, for which nothing was sent; those before may
    /// owe something.
    pub(super) async fn withdraw(
        &self,
        facts: &CallFacts,
        reservation: Reservation,
        error: GatewayError,
    ) -> GatewayError {
        self.remember_failure(&error);
        let fault = error.fault(self.inbound.endpoint.dialect());
        let last = reservation.nothing_sent();
        let status = reservation.tally_with(Some(&last)).unanswered();
        let outcome = self.booked(status, Some(fault.code), fault.status, Some(last), None);
        match Box::pin(self.settle(facts, reservation, outcome)).await {
            Ok(()) => error,
            Err(unbooked) => unbooked,
        }
    }

    /// Whom a budget binds, as people call it: a key by its name.
    pub(super) fn scope_in_words(&self, scope: &BudgetScope) -> String {
        match scope {
            BudgetScope::Key(id) if *id == self.inbound.caller.id => format!("key {}", self.inbound.caller.name),
            scope => scope.to_string(),
        }
    }

    /// What the client is told of the ledger's refusal.
    pub(super) fn refusal(&self, error: LedgerError) -> GatewayError {
        match error {
            LedgerError::OverBudget { budget, window, limit, balance, asked, settles_in } => {
                let definition = self.gateway.parts().budgets.definition(budget);
                let scope = definition.map_or(BudgetScope::Everything, |budget| budget.scope.clone());
                let resets_at = window.end(self.gateway.parts().ledger.zone());
                let scope = self.scope_in_words(&scope);
                let refused = OverBudget {
                    scope,
                    window: window.window,
                    limit,
                    spent: balance.spent,
                    held: balance.held,
                    asked,
                    resets_at,
                    fits_in: settles_in.map(|settles_in| self.fits_in(settles_in, resets_at)),
                    detour: None,
                };
                if !refused.only_held() {
                    self.gateway.parts().budgets.note_refusal(budget, window);
                }
                GatewayError::OverBudget(Box::new(refused))
            }
            LedgerError::Busy => GatewayError::Overloaded { retry_after: Duration::from_secs(1) },
            LedgerError::Unwritable { detail } | LedgerError::Unreadable { detail } => {
                GatewayError::LedgerUnavailable { detail: detail.to_string() }
            }
            // It couldn't be turned: that is a refusal like any other.
            LedgerError::Turned { budget, window, limit, balance, asked } => {
                self.refusal(LedgerError::OverBudget { budget, window, limit, balance, asked, settles_in: None })
            }
            LedgerError::NoSuchCall { .. } | LedgerError::TooManyAdjustments { .. } => GatewayError::Internal,
        }
    }
}
