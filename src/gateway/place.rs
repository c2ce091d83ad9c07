//! Whether an attempt may be made at its deployment now: its circuit, a credential that is ready, and a place among the calls that
//! may run there.
//!
//! A call that waits must not keep others from their budgets, so it waits first, and holds money then; one whose attempt has failed
//! gives back before what that did not cost. While another deployment that could take it has room it goes there at once; waiting is for calls that have nowhere else to go. A provider that is full
//! has shown nothing of its health, so the circuit stays as it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::provider::{Admission, Away, Cause, Credential, Place, ProviderError};
use crate::routing::{Candidate, Plan};

use super::call::Call;
use super::error::GatewayError;
use super::prepare::Asked;

/// The longest that a call waits for a credential whose rate is limited: whoever is told to come back later holds nothing here.
const COOLING_WAIT_MAX: Duration = Duration::from_secs(1);

/// What an attempt may be made with.
pub(super) struct Admitted {
    /// That its circuit lets it through; dropped on the way, it leaves the way to the next.
    pub(super) admission: Admission,
    pub(super) place: Place,
    /// Nothing where the provider has no keys.
    pub(super) credential: Option<Arc<Credential>>,
}

/// Why an attempt may not be made.
pub(super) enum Placeless {
    /// Later candidates are to be tried.
    Elsewhere(ProviderError),
    /// There are none, or nobody needs the answer any more.
    Refused(GatewayError),
}

impl Call {
    /// Takes a place and a credential at a candidate; waits for them where no later candidate has room.
    pub(super) async fn place(&self, asked: &Asked<'_>, plan: &Plan, index: usize) -> Result<Admitted, Placeless> {
        let candidate = &plan.candidates[index];
        let (upstream, errand) = (&candidate.upstream, candidate.errand(self.inbound.endpoint));
        let is_last = index + 1 == plan.candidates.len();
        let away =
            |away| placeless(is_last, ProviderError::NoCredential { provider: upstream.name().to_string(), away });
        // Whoever has no time left, after waiting for others, makes no attempt that can only fail.
        if self.deadline(candidate) <= Instant::now() {
            return Err(placeless(is_last, self.too_late(candidate)));
        }
        let is_open = |retry_after| {
            placeless(is_last, ProviderError::CircuitOpen { provider: upstream.name().to_string(), retry_after })
        };
        // Looked at before the waits and passed after them: who waits must not be the one call that finds out, which keeps others away.
        upstream.health().of_model(&errand.model).admit(Instant::now()).map_err(is_open)?;
        self.wait_for_credential(asked, plan, index).await?;
        let place = if !upstream.places().has_room() && self.has_room_behind(asked, plan, index) {
            return Err(Placeless::Elsewhere(ProviderError::Crowded { provider: upstream.name().to_string() }));
        } else {
            self.wait_for_place(candidate, asked).await.map_err(|error| match error {
                GatewayError::Upstream(full) if self.has_room_behind(asked, plan, index) => {
                    Placeless::Elsewhere(full.error)
                }
                error => Placeless::Refused(error),
            })?
        };
        let now = Instant::now();
        let admission = upstream.health().admit(errand.clone(), now).map_err(is_open)?;
        // Only a call that can afford to fail finds out about a credential that was refused.
        let may_try = plan.attempts_max.saturating_sub(self.attempts) > 1;
        let credential = upstream.credentials().choose(&errand, may_try, now).map_err(away)?;
        Ok(Admitted { admission, place, credential })
    }

    /// Waits a moment where every credential is in a pause that is over soon, and no later candidate would take the call.
    async fn wait_for_credential(&self, asked: &Asked<'_>, plan: &Plan, index: usize) -> Result<(), Placeless> {
        let (upstream, errand) =
            (&plan.candidates[index].upstream, plan.candidates[index].errand(self.inbound.endpoint));
        let until = self.deadline(&plan.candidates[index]).min(Instant::now() + COOLING_WAIT_MAX);
        loop {
            let now = Instant::now();
            let Err(away) = upstream.credentials().look(&errand, now) else { return Ok(()) };
            let Away { cause, back_in, .. } = away;
            let is_soon = cause == Cause::Limited && now + back_in < until;
            if !is_soon || self.has_room_behind(asked, plan, index) {
                let provider = upstream.name().to_string();
                let is_last = index + 1 == plan.candidates.len();
                return Err(placeless(is_last, ProviderError::NoCredential { provider, away }));
            }
            self.audience.pause(back_in).await.map_err(|why| Placeless::Refused(why.into()))?;
        }
    }

    async fn wait_for_place(&self, candidate: &Candidate, asked: &Asked<'_>) -> Result<Place, GatewayError> {
        let wait_max = self.deadline(candidate).saturating_duration_since(Instant::now());
        let place = candidate.upstream.place(&asked.facts.key, wait_max);
        tokio::select! {
            // Whoever has left is not worth a place.
            biased;
            why = self.audience.gone() => Err(why.into()),
            place = place => Ok(place?),
        }
    }

    /// Whether a later candidate would take the call at once.
    fn has_room_behind(&self, asked: &Asked<'_>, plan: &Plan, index: usize) -> bool {
        let now = Instant::now();
        plan.candidates[index + 1..].iter().any(|other| {
            other.upstream.places().has_room()
                && !other.is_open(now)
                && other.upstream.credentials().look(&other.errand(self.inbound.endpoint), now).is_ok()
                && self.prepare(asked, other).is_ok()
        })
    }
}

/// Why nothing goes to a candidate at which there is no way in: later ones are tried, where there are any.
fn placeless(is_last: bool, error: ProviderError) -> Placeless {
    if is_last { Placeless::Refused(error.into()) } else { Placeless::Elsewhere(error) }
}
