//! What a client is told of a call that no provider answered: the failure that ended it, why the other deployments of its route
//! didn't answer either, and what kept it from another attempt that might have helped.

use std::fmt;
use std::time::{Duration, Instant};

use crate::domain::Deployment;
use crate::provider::{Away, Cause, ProviderError, Unneeded};
use crate::routing::{Candidate, UsedUp};

use super::call::Call;

/// Deployments that are told of beside the last.
const OTHERS_TOLD_MAX: usize = 5;

/// Why a call has no answer of a provider.
#[derive(Clone, Debug)]
pub struct NoAnswer {
    /// The failure of its last attempt, or why none could be made: it decides over status and code.
    pub error: ProviderError,
    more: Option<Box<More>>,
}

/// What there is to tell beside the one failure.
#[derive(Clone, Debug)]
struct More {
    used_up: Option<UsedUp>,
    /// The other deployments, each with its own reason.
    others: Vec<(Deployment, ProviderError)>,
}

impl From<ProviderError> for NoAnswer {
    fn from(error: ProviderError) -> Self {
        Self { error, more: None }
    }
}

impl NoAnswer {
    fn new(error: ProviderError, used_up: Option<UsedUp>, others: Vec<(Deployment, ProviderError)>) -> Self {
        let has_more = used_up.is_some() || !others.is_empty();
        Self { error, more: has_more.then(|| Box::new(More { used_up, others })) }
    }

    /// What kept the call from another attempt, where one might have helped.
    pub fn used_up(&self) -> Option<UsedUp> {
        self.more.as_ref()?.used_up
    }

    /// Whether it was given up because the server stops.
    pub fn is_stopping(&self) -> bool {
        matches!(self.error, ProviderError::GivenUp { why: Unneeded::Stopping, .. })
    }

    fn others(&self) -> impl Iterator<Item = &(Deployment, ProviderError)> {
        self.more.iter().flat_map(|more| &more.others)
    }

    /// When the first of the deployments may take the call, as far as any of them says.
    pub fn retry_after(&self) -> Option<Duration> {
        let errors = std::iter::once(&self.error).chain(self.others().map(|(_, error)| error));
        errors.filter_map(back_in).min()
    }

    /// Whether another deployment than the last says when it may take the call.
    pub fn has_hope_elsewhere(&self) -> bool {
        self.others().any(|(_, error)| back_in(error).is_some())
    }
}

/// When to come back after a failure, where that is known.
fn back_in(error: &ProviderError) -> Option<Duration> {
    match error {
        ProviderError::RateLimited { retry_after, .. }
        | ProviderError::Overloaded { retry_after, .. }
        | ProviderError::Broken { retry_after, .. } => *retry_after,
        ProviderError::CircuitOpen { retry_after, .. } => Some(*retry_after),
        ProviderError::NoCredential { away: Away { cause: Cause::Limited, back_in, .. }, .. } => Some(*back_in),
        ProviderError::Crowded { .. } => Some(Duration::from_secs(1)),
        _ => None,
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(formatter)?;
        let told = self.others().take(OTHERS_TOLD_MAX);
        let mut words: Vec<String> =
            told.map(|(deployment, error)| format!("{deployment} {}", error.in_short())).collect();
        let untold = self.others().skip(OTHERS_TOLD_MAX).count();
        if untold > 0 {
            words.push(format!("{untold} more failed too"));
        }
        words.extend(self.used_up().map(|used_up| format!("not tried again: {used_up}")));
        if words.is_empty() { Ok(()) } else { write!(formatter, " ({})", words.join("; ")) }
    }
}

impl std::error::Error for NoAnswer {}

/// Why each deployment that a call came to didn't answer it: the last reason of each.
#[derive(Default)]
pub(super) struct Reasons {
    failed: Vec<(Candidate, ProviderError)>,
    /// What keeps the call from another attempt.
    pub(super) used_up: Option<UsedUp>,
}

impl Reasons {
    pub(super) fn note(&mut self, candidate: &Candidate, error: &ProviderError) {
        self.failed.retain(|(known, _)| known.deployment != candidate.deployment);
        self.failed.push((candidate.clone(), error.clone()));
    }
}

impl Call {
    /// What the client is told of a call that this failure ended.
    pub(super) fn no_answer(&self, error: ProviderError) -> NoAnswer {
        // Every deployment would say the same, or nobody hears it.
        if matches!(error, ProviderError::Rejected { .. } | ProviderError::GivenUp { .. }) {
            return error.into();
        }
        let (last, others): (Vec<_>, Vec<_>) = self.reasons.failed.iter().partition(|(_, known)| *known == error);
        let error = last.first().map_or(error, |(candidate, known)| self.with_pause(candidate, known));
        let others = others
            .into_iter()
            .map(|(candidate, known)| (candidate.deployment.clone(), self.with_pause(candidate, known)))
            .collect();
        NoAnswer::new(error, self.reasons.used_up, others)
    }

    /// A limit of the rate says when it is over: not before its keys have rested, whether or not the provider says how long.
    fn with_pause(&self, candidate: &Candidate, error: &ProviderError) -> ProviderError {
        let mut error = error.clone();
        if let ProviderError::RateLimited { is_of_request: false, retry_after, .. } = &mut error {
            let errand = candidate.errand(self.inbound.endpoint);
            let away = candidate.upstream.credentials().look(&errand, Instant::now()).err();
            let rest = away.filter(|away| away.cause == Cause::Limited).map(|away| away.back_in);
            *retry_after = rest.max(*retry_after);
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(provider: &str, seconds: Option<u64>) -> ProviderError {
        ProviderError::RateLimited {
            provider: provider.to_owned(),
            message: "slower".to_owned(),
            is_of_request: false,
            retry_after: seconds.map(Duration::from_secs),
        }
    }

    fn open(provider: &str, seconds: u64) -> ProviderError {
        ProviderError::CircuitOpen { provider: provider.to_owned(), retry_after: Duration::from_secs(seconds) }
    }

    fn beside(errors: &[(&str, ProviderError)]) -> Vec<(Deployment, ProviderError)> {
        errors.iter().map(|(name, error)| (format!("{name}/m").parse().unwrap(), error.clone())).collect()
    }

    #[test]
    fn each_deployment_is_told_with_its_reason_and_the_first_that_comes_back_says_when() {
        let others = beside(&[("a", limited("a", Some(20))), ("b", open("b", 4))]);
        let told = NoAnswer::new(open("c", 5), None, others);
        insta::assert_snapshot!(told, @"c is not called for the moment because it kept failing (a/m limits the rate; b/m is not called for the moment because it kept failing)");
        assert_eq!(told.retry_after(), Some(Duration::from_secs(4)));
        let alone = NoAnswer::from(limited("a", None));
        assert_eq!((alone.to_string().as_str(), alone.retry_after()), ("a limits the rate: slower", None));
    }

    #[test]
    fn what_is_used_up_is_told_and_of_many_deployments_some() {
        let told = NoAnswer::new(limited("a", None), Some(UsedUp::Attempts), Vec::new());
        insta::assert_snapshot!(told, @"a limits the rate: slower (not tried again: its attempts_max are used up)");
        let names = ["b", "c", "d", "e", "f", "g", "h"].map(|name| (name, open(name, 1)));
        let told = NoAnswer::new(limited("a", None), None, beside(&names)).to_string();
        assert!(told.contains("f/m") && !told.contains("g/m") && told.ends_with("; 2 more failed too)"), "{told}");
    }
}
