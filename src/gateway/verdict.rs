//! What an attempt shows of its deployment's health: what the provider did or failed to do, never what a client asked or did.

use std::time::Duration;

use crate::provider::{Health, ProviderError, TimeLimit};

use super::attempt::Begun;
use super::relay::Ended;

/// What an attempt shows that failed after so long, before its answer had begun.
///
/// The limit of the whole call is the only one that a whole answer runs into which never comes. But the call may have spent that
/// time elsewhere, waiting for others or for an attempt before: only one that had half of it to itself has shown anything.
pub(super) fn of_failure(error: &ProviderError, took: Duration) -> Health {
    match error {
        ProviderError::Timeout { limit: TimeLimit::Total, after, .. } if took < *after / 2 => Health::Unclear,
        error if error.is_ill_health() => Health::Ill,
        _ => Health::Unclear,
    }
}

/// What an answer shows that has begun: a stream is not well before its end.
pub(super) fn of_begun(begun: &Begun) -> Health {
    match begun {
        Begun::Whole(_) => Health::Well,
        Begun::Stream(_) => Health::Begun,
    }
}

/// What a stream shows by its end, where that shows more than its beginning did.
pub(super) fn of_ended(ended: &Ended) -> Option<Health> {
    match &ended.error {
        None => ended.is_whole.then_some(Health::Well),
        Some(error) => breaks(error).then_some(Health::Ill),
    }
}

/// Whether a stream that ended with an error after its first content was broken by its provider. One that came all the while and
/// was longer than the call might take was not: one that had stopped would have run into the idle limit.
fn breaks(error: &ProviderError) -> bool {
    !matches!(error, ProviderError::Timeout { limit: TimeLimit::Total, .. }) && error.is_ill_health()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Unneeded;

    const TOTAL: Duration = Duration::from_mins(1);

    fn timeout(limit: TimeLimit) -> ProviderError {
        ProviderError::Timeout { provider: "p".to_owned(), limit, after: TOTAL }
    }

    #[test]
    fn the_time_that_a_client_gives_says_nothing_of_a_provider() {
        for limit in [TimeLimit::Call, TimeLimit::Unsent] {
            assert_eq!(of_failure(&timeout(limit), TOTAL), Health::Unclear);
            assert!(!breaks(&timeout(limit)));
        }
        for why in [Unneeded::Overtaken, Unneeded::ClientLeft] {
            let given_up = ProviderError::GivenUp { provider: "p".to_owned(), why, sent: true };
            assert_eq!(of_failure(&given_up, TOTAL), Health::Unclear);
        }
    }

    #[test]
    fn the_limits_of_the_settings_are_the_providers_to_keep() {
        for limit in [TimeLimit::Connect, TimeLimit::FirstToken, TimeLimit::Idle] {
            assert_eq!(of_failure(&timeout(limit), Duration::ZERO), Health::Ill);
            assert!(breaks(&timeout(limit)));
        }
    }

    #[test]
    fn the_limit_of_the_call_counts_for_an_attempt_that_had_half_of_it() {
        let total = timeout(TimeLimit::Total);
        assert_eq!(of_failure(&total, TOTAL / 2), Health::Ill);
        assert_eq!(of_failure(&total, TOTAL / 3), Health::Unclear);
        assert!(!breaks(&total), "it came to the last moment");
    }
}
