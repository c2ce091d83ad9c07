//! Reads of providers' prompt caches: expected against actual by key and route, and what went wrong where they differ.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use jiff::Timestamp;

use crate::domain::{Deployment, KeyId, Picodollars, RequestId};

use super::conversations::Change;
use super::decayed::{Decayed, Memory};

/// Pairs of key and route that are counted; later ones count under none.
const PAIRS_MAX: usize = 4_096;
/// Findings that are kept; the oldest go first.
const FINDINGS_MAX: usize = 500;
/// Deployments whose caches are judged: clients can name models as they like.
const DEPLOYMENTS_MAX: usize = 1_024;
/// Fewer tokens than a provider caches at all are no loss.
const LOST_TOKENS_MIN: u64 = 256;
/// What a deployment's cache is worth: half a day of calls decides.
const MEMORY: Memory = Memory { half_life: std::time::Duration::from_hours(12), samples_max: 50.0 };
/// How many calls the belief is worth that a provider keeps what it says it keeps.
const PRIOR_SAMPLES: f64 = 3.0;

/// The reads of one key at one route since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Calls.
    pub calls: u64,
    /// Input tokens of all of them.
    pub input_tokens: u64,
    /// Tokens that were expected to be read from the provider's cache.
    pub expected_tokens: u64,
    /// Tokens that were.
    pub actual_tokens: u64,
    /// What was lost where they were not.
    pub lost: Picodollars,
}

/// Why the cache did not serve what it should have had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The turn does not begin like the one before.
    Changed(Change),
    /// The turn before went elsewhere.
    Moved {
        /// Where that was.
        from: Deployment,
    },
    /// The turn came too late.
    Expired,
    /// Nothing that can be seen from here.
    Provider,
}

impl Cause {
    /// The word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Changed(_) => "changed",
            Self::Moved { .. } => "moved",
            Self::Expired => "expired",
            Self::Provider => "provider",
        }
    }

    /// What happened and what to do, in a sentence.
    pub fn words(&self) -> String {
        match self {
            Self::Changed(change) => format!(
                "{} differs from the turn before at its byte {}: everything from there on was read anew; keep what changes from turn to turn (times, ids, counts) behind what stays",
                change.place, change.piece_offset
            ),
            Self::Moved { from } => {
                format!("the turn before went to {from}, whose cache this deployment doesn't share")
            }
            Self::Expired => {
                "the turn before was longer ago than the provider keeps its cache: ask for a longer retention, or turn sooner"
                    .to_owned()
            }
            Self::Provider => "nothing changed, and the provider did not serve its cache all the same".to_owned(),
        }
    }
}

/// A turn whose beginning had to be read anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// When.
    pub at: Timestamp,
    /// The call.
    pub request: RequestId,
    /// Its key.
    pub key: KeyId,
    /// The route or model that was asked for.
    pub route: Arc<str>,
    /// Where it went.
    pub deployment: Deployment,
    /// Why.
    pub cause: Cause,
    /// Tokens that the cache could have served.
    pub lost_tokens: u64,
    /// What reading them anew cost more; absent where no price is known.
    pub lost: Option<Picodollars>,
}

impl Finding {
    /// Whether so many tokens are worth telling.
    pub(super) fn is_worth_telling(lost: u64, of: u64) -> bool {
        lost >= LOST_TOKENS_MIN && lost * 10 >= of
    }
}

#[derive(Debug, Default)]
struct Book {
    pairs: HashMap<(KeyId, Arc<str>), Reads>,
    findings: VecDeque<Finding>,
    worth: HashMap<Deployment, (Decayed, bool)>,
}

/// What is known of all reads.
#[derive(Debug, Default)]
pub(super) struct ReadBook(Mutex<Book>);

impl ReadBook {
    pub(super) fn count(&self, key: &KeyId, route: &Arc<str>, deployment: &Deployment, reads: Reads, now: Instant) {
        let mut book = self.0.lock().expect("no holder of this lock panics");
        let pair = (key.clone(), Arc::clone(route));
        if book.pairs.len() < PAIRS_MAX || book.pairs.contains_key(&pair) {
            let sum = book.pairs.entry(pair).or_default();
            sum.calls += reads.calls;
            sum.input_tokens += reads.input_tokens;
            sum.expected_tokens += reads.expected_tokens;
            sum.actual_tokens += reads.actual_tokens;
            sum.lost += reads.lost;
        }
        if reads.expected_tokens == 0 && reads.actual_tokens == 0 {
            return;
        }
        if book.worth.len() < DEPLOYMENTS_MAX || book.worth.contains_key(deployment) {
            let (worth, was_read) = book.worth.entry(deployment.clone()).or_default();
            *was_read |= reads.actual_tokens > 0;
            if reads.expected_tokens > 0 {
                let share = reads.actual_tokens as f64 / reads.expected_tokens as f64;
                worth.add(share.min(1.0), now, MEMORY);
            }
        }
    }

    pub(super) fn tell(&self, finding: Finding) {
        let mut book = self.0.lock().expect("no holder of this lock panics");
        if book.findings.len() >= FINDINGS_MAX {
            book.findings.pop_front();
        }
        book.findings.push_back(finding);
    }

    /// What share of the expected reads of a deployment come true.
    pub(super) fn worth(&self, deployment: &Deployment, now: Instant) -> f64 {
        let book = self.0.lock().expect("no holder of this lock panics");
        let Some((worth, _)) = book.worth.get(deployment) else { return 1.0 };
        let weight = worth.weight(now, MEMORY);
        (PRIOR_SAMPLES + worth.mean().unwrap_or_default() * weight) / (PRIOR_SAMPLES + weight)
    }

    /// Whether a deployment ever told of a read.
    pub(super) fn was_read(&self, deployment: &Deployment) -> bool {
        let book = self.0.lock().expect("no holder of this lock panics");
        book.worth.get(deployment).is_some_and(|(_, was_read)| *was_read)
    }

    /// The counts of a route by key, or of all routes.
    pub(super) fn pairs(&self, route: Option<&str>) -> Vec<(KeyId, Arc<str>, Reads)> {
        let book = self.0.lock().expect("no holder of this lock panics");
        let its = book.pairs.iter().filter(|((_, name), _)| route.is_none_or(|route| route == &**name));
        let mut pairs: Vec<_> = its.map(|((key, name), reads)| (key.clone(), Arc::clone(name), *reads)).collect();
        pairs.sort_by(|(a_key, a_name, a), (b_key, b_name, b)| {
            b.lost.cmp(&a.lost).then_with(|| a_name.cmp(b_name)).then_with(|| a_key.cmp(b_key))
        });
        pairs
    }

    /// The findings of a route, newest first.
    pub(super) fn findings(&self, route: Option<&str>) -> Vec<Finding> {
        let book = self.0.lock().expect("no holder of this lock panics");
        let its = book.findings.iter().rev().filter(|finding| route.is_none_or(|route| route == &*finding.route));
        its.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_does_not_keep_its_word_loses_its_worth() {
        let (book, now) = (ReadBook::default(), Instant::now());
        let (key, deployment) = (KeyId::new("key_1").unwrap(), "a/m".parse().unwrap());
        let expected = Reads { calls: 1, expected_tokens: 1_000, ..Reads::default() };
        assert!((book.worth(&deployment, now) - 1.0).abs() < 1e-9 && !book.was_read(&deployment));
        for _ in 0..30 {
            book.count(&key, &"smart".into(), &deployment, expected, now);
        }
        assert!(book.worth(&deployment, now) < 0.15);
        book.count(&key, &"smart".into(), &deployment, Reads { actual_tokens: 900, ..expected }, now);
        assert!(book.was_read(&deployment));
        let pairs = book.pairs(Some("smart"));
        assert_eq!(
            (pairs.len(), pairs[0].2.calls, pairs[0].2.expected_tokens, pairs[0].2.actual_tokens),
            (1, 31, 31_000, 900)
        );
        assert!(book.pairs(Some("other")).is_empty());
    }

    #[test]
    fn small_losses_are_not_worth_telling() {
        for (lost, of, expected) in [(255, 300, false), (256, 300, true), (300, 10_000, false), (2_000, 10_000, true)] {
            assert_eq!(Finding::is_worth_telling(lost, of), expected, "{lost} of {of}");
        }
    }
}
