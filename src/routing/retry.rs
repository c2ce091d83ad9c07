//! What to do after an attempt that failed: the next deployment, the same again, or give up.

use std::time::Duration;

use crate::provider::{ProviderError, Recovery};

/// A wait that is short enough to stay where one is instead of moving on.
const STAY_WAIT_MAX: Duration = Duration::from_millis(250);
/// The longest wait for the last deployment; a client that is told to come back later is served better.
const LAST_WAIT_MAX: Duration = Duration::from_secs(10);
/// The first pause of the exponential backoff.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next deployment, at once.
    FallBack,
    /// The same deployment, after a pause.
    Retry(Duration),
    /// Nothing.
    GiveUp,
}

/// Decides, from how many attempts were made and are allowed, whether another deployment is left, and a `dice` in 0..1
/// for the jitter.
pub fn step(error: &ProviderError, attempts: u32, attempts_max: u32, another: bool, dice: f64) -> Step {
    let recovery = error.recovery();
    if attempts >= attempts_max || recovery == Recovery::GiveUp {
        return Step::GiveUp;
    }
    let wait = match recovery {
        Recovery::Retry(wait) => wait,
        Recovery::FallBack if another => return Step::FallBack,
        Recovery::FallBack | Recovery::GiveUp => return Step::GiveUp,
    };
    // Of the attempts that staying takes, one is left for another deployment.
    let may_stay = !another || attempts + 1 < attempts_max;
    match wait {
        Some(wait) if wait <= STAY_WAIT_MAX && may_stay && matches!(error, ProviderError::RateLimited { .. }) => {
            Step::Retry(wait)
        }
        _ if another => Step::FallBack,
        Some(wait) if wait > LAST_WAIT_MAX => Step::GiveUp,
        wait => {
            let backoff = BACKOFF_FIRST * 2_u32.pow(attempts.saturating_sub(1).min(6));
            let jittered = backoff.mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0);
            Step::Retry(wait.map_or(jittered, |wait| wait.max(jittered.min(STAY_WAIT_MAX))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(retry_after_ms: Option<u64>) -> ProviderError {
        let retry_after = retry_after_ms.map(Duration::from_millis);
        ProviderError::RateLimited { provider: "p".to_owned(), message: String::new(), retry_after }
    }

    fn broken() -> ProviderError {
        ProviderError::Broken { provider: "p".to_owned(), status: 500, message: String::new(), retry_after: None }
    }

    fn check(error: &ProviderError, attempts: u32, another: bool, expected: Step) {
        assert_eq!(step(error, attempts, 3, another, 1.0), expected);
    }

    #[test]
    fn while_another_deployment_is_left_it_is_tried_at_once() {
        check(&broken(), 1, true, Step::FallBack);
        check(&limited(None), 1, true, Step::FallBack);
        check(&limited(Some(251)), 1, true, Step::FallBack);
        check(&limited(Some(200)), 1, true, Step::Retry(Duration::from_millis(200)));
    }

    #[test]
    fn a_limit_that_never_lifts_leaves_the_last_attempt_to_another_deployment() {
        check(&limited(Some(200)), 2, true, Step::FallBack);
        check(&limited(Some(200)), 2, false, Step::Retry(Duration::from_millis(200)));
        assert_eq!(step(&limited(Some(200)), 1, 2, true, 1.0), Step::FallBack);
    }

    #[test]
    fn only_the_last_one_is_retried_with_growing_pauses() {
        check(&broken(), 1, false, Step::Retry(Duration::from_millis(250)));
        check(&broken(), 2, false, Step::Retry(Duration::from_millis(500)));
        check(&broken(), 3, false, Step::GiveUp);
        check(&limited(Some(2_000)), 1, false, Step::Retry(Duration::from_secs(2)));
        check(&limited(Some(60_000)), 1, false, Step::GiveUp);
    }

    #[test]
    fn what_another_attempt_cannot_mend_ends_the_call() {
        let rejected = ProviderError::Rejected {
            provider: "p".to_owned(),
            status: 400,
            message: String::new(),
            kind: None,
            param: None,
            code: None,
        };
        check(&rejected, 1, true, Step::GiveUp);
        let unauthorized = ProviderError::Unauthorized { provider: "p".to_owned(), status: 401 };
        check(&unauthorized, 1, true, Step::FallBack);
        check(&unauthorized, 1, false, Step::GiveUp);
    }

    #[test]
    fn jitter_takes_at_most_half_of_the_pause() {
        assert_eq!(step(&broken(), 1, 3, false, 0.0), Step::Retry(Duration::from_millis(125)));
    }
}
