//! Whether an attempt may be made at its deployment now: its circuit, and a place among the calls that may run there.
//!
//! A call that waits must not keep others from their budgets, so it waits first, and holds money then. While another deployment
//! that could take it has room it goes there at once; waiting is for calls that have nowhere else to go. A provider that is full
//! has shown nothing of its health, so the circuit stays as it was.

use std::sync::Arc;
use std::time::Instant;

use crate::provider::{Place, ProviderError};
use crate::routing::{Candidate, Health, Plan};

use super::call::Call;
use super::error::GatewayError;
use super::prepare::Asked;

/// Why an attempt may not be made.
pub(super) enum Placeless {
    /// Later candidates are to be tried.
    Elsewhere,
    /// There are none, or nobody waits for the answer any more.
    Refused(GatewayError),
}

impl Call {
    /// Takes a place at a candidate; waits for one where no later candidate has room.
    pub(super) async fn place(&mut self, asked: &Asked<'_>, plan: &Plan, index: usize) -> Result<Place, Placeless> {
        let health = Arc::clone(self.router().health());
        let candidate = &plan.candidates[index];
        if let Err(retry_after) = health.admit(&candidate.deployment, Instant::now()) {
            if index + 1 < plan.candidates.len() {
                return Err(Placeless::Elsewhere);
            }
            let provider = candidate.upstream.name().to_string();
            return Err(Placeless::Refused(ProviderError::CircuitOpen { provider, retry_after }.into()));
        }
        let taken = if !candidate.upstream.places().has_room() && self.has_room_behind(asked, plan, index) {
            Err(Placeless::Elsewhere)
        } else {
            self.wait_for_place(candidate, asked).await.map_err(|error| match error {
                GatewayError::Upstream(_) if self.has_room_behind(asked, plan, index) => Placeless::Elsewhere,
                error => Placeless::Refused(error),
            })
        };
        if taken.is_err() {
            // It was let through the circuit, perhaps as the one call that finds out.
            health.note(&candidate.deployment, Health::Unclear, Instant::now());
        }
        taken
    }

    async fn wait_for_place(&mut self, candidate: &Candidate, asked: &Asked<'_>) -> Result<Place, GatewayError> {
        let wait_max = self.deadline(candidate).saturating_duration_since(Instant::now());
        let place = candidate.upstream.place(&asked.facts.key, wait_max);
        let Some(head) = &mut self.head else { return Ok(place.await?) };
        tokio::select! {
            // Whoever has left is not worth a place.
            biased;
            () = head.closed() => Err(GatewayError::ClientLeft),
            place = place => Ok(place?),
        }
    }

    /// Whether a later candidate would take the call at once.
    fn has_room_behind(&self, asked: &Asked<'_>, plan: &Plan, index: usize) -> bool {
        let router = self.router();
        plan.candidates[index + 1..].iter().any(|other| {
            other.upstream.places().has_room()
                && !router.health().is_open(&other.deployment, Instant::now())
                && self.prepare(asked, other).is_ok()
        })
    }
}
