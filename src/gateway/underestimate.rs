//! Attempts that cost more than was held for them. Nobody is stopped for it: it is the provider's doing or the price list's, what is
//! booked is the truth, and a budget that was passed by it refuses the next call by itself.

use crate::budget::Underestimate;
use crate::ledger::{Attempt, Hold};
use crate::telemetry::names;

use super::call::Call;

impl Call {
    /// Compares what an attempt is booked at with what was held for it, and tells where it is more.
    pub(super) fn weigh(&self, hold: &Hold, ended: &Attempt) {
        let (cost, held) = (ended.cost, hold.held());
        // What has no price holds nothing, so no cost can exceed it.
        if cost <= held || held.is_zero() {
            return;
        }
        let (call, deployment) = (self.inbound.id, hold.deployment());
        tracing::error!(
            { names::REQUEST_ID } = %call,
            "{deployment} cost {cost} USD, more than the {held} held for it"
        );
        let parts = self.gateway.parts();
        parts.metrics.underestimated();
        // Where no budget blocks, nothing keeps a call within what is held for it: a tool may search as often as it likes.
        if hold.is_bound() {
            let key_name = self.inbound.caller.name.as_str().into();
            parts.budgets.note_underestimate(Underestimate {
                call,
                key_name,
                deployment: deployment.clone(),
                cost,
                held,
            });
        }
    }
}
