//! What to do after an attempt that failed: another credential, the next deployment, the same again, or give up.

use std::time::Duration;

use crate::provider::{ProviderError, Recovery, Shown};

/// A wait that is short enough to stay where one is instead of moving on.
const STAY_WAIT_MAX: Duration = Duration::from_millis(250);
/// The longest wait for the last deployment: a client that is told to come back later is served better, and holds nothing.
const LAST_WAIT_MAX: Duration = Duration::from_secs(10);
/// The first pause of the exponential backoff.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The same deployment with another credential, at once.
    OtherKey,
    /// The next deployment, at once.
    FallBack,
    /// The same deployment, after a pause.
    Retry(Duration),
    /// Nothing: it wouldn't help, or what it would take is used up.
    GiveUp(Option<UsedUp>),
}

/// What keeps a call from another attempt that might help. Whoever asks again instead does what is avoided here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsedUp {
    /// As many attempts were made as may be.
    #[error("its attempts_max are used up")]
    Attempts,
    /// The provider has had its share of repeated attempts.
    #[error("the retries of all calls there are used up, see retry_percent_max")]
    RetryPercent,
    /// Failed attempts have cost more than the route allows.
    #[error("its failed attempts have cost all that retry_usd_max allows")]
    RetryUsd,
    /// It would cost more than twice its dearest attempt.
    #[error("it would cost more than twice its dearest attempt")]
    TwiceTheDearest,
    /// A budget has no room for it.
    #[error("a budget has no room for another attempt")]
    Budget,
    /// It doesn't fit into the time that the call has.
    #[error("too little of its time is left")]
    Time,
}

/// How a call stands after an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// How many attempts were made.
    pub attempts: u32,
    /// How many may be.
    pub attempts_max: u32,
    /// Whether another deployment is left.
    pub another: bool,
    /// Whether another credential of this deployment is ready.
    pub key_ready: bool,
    /// Whether the provider may get one more attempt of this call: its retry budget.
    pub may_repeat: bool,
    /// The time that the call has left.
    pub left: Duration,
    /// What an attempt takes at least, as far as that is known.
    pub attempt_takes: Duration,
    /// A number in 0..1 for the jitter.
    pub dice: f64,
}

/// Decides what follows a failed attempt.
pub fn step(error: &ProviderError, situation: &Situation) -> Step {
    let Situation { attempts, attempts_max, another, key_ready, may_repeat, left, attempt_takes, dice } = *situation;
    let recovery = error.recovery();
    if recovery == Recovery::GiveUp {
        return Step::GiveUp(None);
    }
    let is_of_key = !matches!(error.shown(), Shown::Unclear | Shown::Accepted);
    if attempts >= attempts_max {
        let might_help = match recovery {
            Recovery::Retry(wait) => another || wait.is_none_or(|wait| wait <= LAST_WAIT_MAX),
            Recovery::FallBack | Recovery::GiveUp => another || (is_of_key && key_ready),
        };
        return Step::GiveUp(might_help.then_some(UsedUp::Attempts));
    }
    // One that doesn't fit would only be paid for.
    let lacks = |pause: Duration| {
        if may_repeat { (pause + attempt_takes > left).then_some(UsedUp::Time) } else { Some(UsedUp::RetryPercent) }
    };
    let fits = |pause| lacks(pause).is_none();
    // Of the attempts that staying takes, one is left for another deployment.
    let may_stay = !another || attempts + 1 < attempts_max;
    let has_key = is_of_key && key_ready;
    if has_key && may_stay && fits(Duration::ZERO) {
        return Step::OtherKey;
    }
    let wait = match recovery {
        Recovery::Retry(wait) => wait,
        Recovery::FallBack if another => return Step::FallBack,
        Recovery::FallBack if has_key => return Step::GiveUp(lacks(Duration::ZERO)),
        Recovery::FallBack | Recovery::GiveUp => return Step::GiveUp(None),
    };
    match wait {
        Some(wait)
            if wait <= STAY_WAIT_MAX
                && may_stay
                && fits(wait)
                && matches!(error, ProviderError::RateLimited { .. }) =>
        {
            Step::Retry(wait)
        }
        _ if another => Step::FallBack,
        Some(wait) if wait > LAST_WAIT_MAX => Step::GiveUp(None),
        wait => {
            let backoff = BACKOFF_FIRST * 2_u32.pow(attempts.saturating_sub(1).min(6));
            let jittered = backoff.mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0);
            let pause = wait.map_or(jittered, |wait| wait.max(jittered.min(STAY_WAIT_MAX)));
            lacks(pause).map_or(Step::Retry(pause), |used_up| Step::GiveUp(Some(used_up)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Refusal;

    fn limited(retry_after_ms: Option<u64>) -> ProviderError {
        let retry_after = retry_after_ms.map(Duration::from_millis);
        limited_for(false, retry_after)
    }

    fn limited_for(is_of_request: bool, retry_after: Option<Duration>) -> ProviderError {
        ProviderError::RateLimited { provider: "p".to_owned(), message: String::new(), is_of_request, retry_after }
    }

    fn broken() -> ProviderError {
        ProviderError::Broken { provider: "p".to_owned(), status: 500, message: String::new(), retry_after: None }
    }

    const PLAIN: Situation = Situation {
        attempts: 1,
        attempts_max: 3,
        another: false,
        key_ready: false,
        may_repeat: true,
        left: Duration::from_mins(10),
        attempt_takes: Duration::from_millis(500),
        dice: 1.0,
    };

    #[track_caller]
    fn check(error: &ProviderError, attempts: u32, another: bool, expected: Step) {
        assert_eq!(step(error, &Situation { attempts, another, ..PLAIN }), expected);
    }

    fn unauthorized(status: u16, refusal: Option<Refusal>) -> ProviderError {
        ProviderError::Unauthorized { provider: "p".to_owned(), status, refusal }
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
        assert_eq!(step(&limited(Some(200)), &Situation { attempts_max: 2, another: true, ..PLAIN }), Step::FallBack);
    }

    #[test]
    fn only_the_last_one_is_retried_with_growing_pauses() {
        check(&broken(), 1, false, Step::Retry(Duration::from_millis(250)));
        check(&broken(), 2, false, Step::Retry(Duration::from_millis(500)));
        check(&broken(), 3, false, Step::GiveUp(Some(UsedUp::Attempts)));
        check(&limited(Some(2_000)), 1, false, Step::Retry(Duration::from_secs(2)));
        check(&limited(Some(60_000)), 1, false, Step::GiveUp(None));
        check(&limited(Some(60_000)), 3, false, Step::GiveUp(None));
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
        check(&rejected, 1, true, Step::GiveUp(None));
        check(&rejected, 3, true, Step::GiveUp(None));
        let too_large = limited_for(true, None);
        check(&too_large, 1, true, Step::FallBack);
        check(&too_large, 1, false, Step::GiveUp(None));
        let ready = Situation { key_ready: true, another: true, ..PLAIN };
        assert_eq!(step(&too_large, &ready), Step::FallBack, "another key has the same limit");
        check(&unauthorized(401, Some(Refusal::Unknown)), 1, true, Step::FallBack);
        check(&unauthorized(401, Some(Refusal::Unknown)), 1, false, Step::GiveUp(None));
        check(&unauthorized(401, Some(Refusal::Unknown)), 3, false, Step::GiveUp(None));
    }

    #[test]
    fn what_is_of_the_key_goes_to_another_key_at_once_where_one_is_ready() {
        let ready = Situation { key_ready: true, another: true, ..PLAIN };
        let check = |error: &ProviderError, situation: Situation, expected| {
            assert_eq!(step(error, &situation), expected, "{error}");
        };
        for error in [
            unauthorized(401, Some(Refusal::Unknown)),
            unauthorized(403, Some(Refusal::Forbidden)),
            limited(None),
            limited(Some(60_000)),
        ] {
            check(&error, ready, Step::OtherKey);
            check(&error, Situation { attempts: 2, ..ready }, Step::FallBack);
            check(&error, Situation { attempts: 2, another: false, ..ready }, Step::OtherKey);
            check(&error, Situation { attempts: 3, ..ready }, Step::GiveUp(Some(UsedUp::Attempts)));
            check(&error, Situation { may_repeat: false, ..ready }, Step::FallBack);
        }
        check(&unauthorized(403, None), ready, Step::FallBack);
        check(&broken(), ready, Step::FallBack);
    }

    #[test]
    fn where_the_provider_may_get_no_more_the_call_moves_on_or_ends() {
        let check = |error: &ProviderError, another: bool, expected| {
            assert_eq!(step(error, &Situation { may_repeat: false, another, ..PLAIN }), expected, "{error}");
        };
        check(&broken(), false, Step::GiveUp(Some(UsedUp::RetryPercent)));
        check(&broken(), true, Step::FallBack);
        check(&limited(Some(10)), false, Step::GiveUp(Some(UsedUp::RetryPercent)));
        check(&limited(Some(10)), true, Step::FallBack);
    }

    #[test]
    fn a_retry_that_does_not_fit_into_the_time_that_is_left_is_not_begun() {
        let check = |error: &ProviderError, left: u64, another: bool, expected| {
            assert_eq!(step(error, &Situation { left: Duration::from_millis(left), another, ..PLAIN }), expected);
        };
        check(&broken(), 750, false, Step::Retry(Duration::from_millis(250)));
        check(&broken(), 749, false, Step::GiveUp(Some(UsedUp::Time)));
        check(&limited(Some(2_000)), 2_499, false, Step::GiveUp(Some(UsedUp::Time)));
        check(&limited(Some(200)), 600, true, Step::FallBack);
    }

    #[test]
    fn jitter_takes_at_most_half_of_the_pause() {
        assert_eq!(step(&broken(), &Situation { dice: 0.0, ..PLAIN }), Step::Retry(Duration::from_millis(125)));
    }
}
