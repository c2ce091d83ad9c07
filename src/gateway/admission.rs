//! Whether a call may go now, under the limits of its key.

use std::time::Instant;

use crate::domain::{EntryStatus, estimate_tokens};
use crate::ledger::{CallFacts, Outcome as Booked};

use super::call::Call;
use super::envelope::Envelope;
use super::error::GatewayError;

/// Output that a call is taken to have until its usage is known, where it names no limit: most answers are shorter.
const OUTPUT_TOKENS_GUESSED: u64 = 1_024;

impl Call {
    /// Takes the call's place under the limits of its key, or books its refusal.
    pub(super) async fn admit(&mut self, facts: &CallFacts, envelope: &Envelope<'_>) -> Result<(), GatewayError> {
        let tokens = || {
            let input = std::str::from_utf8(&self.inbound.body).map_or(0, estimate_tokens);
            let output = envelope.output_cap.unwrap_or(OUTPUT_TOKENS_GUESSED).saturating_mul(envelope.choices);
            input.saturating_add(output)
        };
        let rates = &self.gateway.rates;
        let admitted = match rates.admit(&self.inbound.caller, &self.config().limits, tokens, Instant::now()) {
            Ok(pass) => rates.confirm(pass, Instant::now()).await,
            Err(limited) => Err(limited),
        };
        self.pass = Some(admitted.map_err(|limited| self.refuse(facts, GatewayError::RateLimited(limited)))?);
        Ok(())
    }

    /// Sets right what the call was taken to need; what nobody knows stays as it was estimated.
    pub(super) fn correct_rate(&self, outcome: &Booked) {
        if let Some(pass) = &self.pass
            && outcome.status != EntryStatus::Unknown
        {
            let usage = outcome.last.as_ref().map(|last| &last.usage);
            pass.used(
                usage.map_or(0, |usage| usage.total_input().saturating_add(usage.total_output())),
                Instant::now(),
            );
        }
    }
}
