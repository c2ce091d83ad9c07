//! How long answers are, by route and operation: what a call is expected to put out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::decayed::{Decayed, Memory};

/// What is asked changes from day to day, not from minute to minute.
const MEMORY: Memory = Memory { half_life: Duration::from_hours(24), samples_max: 200.0 };
/// An answer's length before any was seen.
const PRIOR_TOKENS: f64 = 400.0;
/// How many answers that guess is worth.
const PRIOR_SAMPLES: f64 = 3.0;
/// Pairs that are told apart: clients name operations as they like.
const PAIRS_MAX: usize = 4_096;

/// What was seen of answers.
#[derive(Debug, Default)]
pub(super) struct Lengths(Mutex<ByRoute>);

/// By route, then by operation: asked for by names that nobody keeps.
type ByRoute = HashMap<Arc<str>, HashMap<Arc<str>, Decayed>>;

impl Lengths {
    pub(super) fn note(&self, route: &Arc<str>, operation: &Arc<str>, tokens: u64, now: Instant) {
        let mut lengths = self.0.lock().expect("no holder of this lock panics");
        if let Some(length) = lengths.get_mut(route).and_then(|operations| operations.get_mut(operation)) {
            return length.add(tokens as f64, now, MEMORY);
        }
        let known: usize = lengths.values().map(HashMap::len).sum();
        if known < PAIRS_MAX {
            let operations = lengths.entry(Arc::clone(route)).or_default();
            operations.entry(Arc::clone(operation)).or_default().add(tokens as f64, now, MEMORY);
        }
    }

    /// Tokens that an answer is expected to have: the guess at first, what was seen later.
    pub(super) fn expected(&self, route: &str, operation: &str, now: Instant) -> f64 {
        let lengths = self.0.lock().expect("no holder of this lock panics");
        let Some(length) = lengths.get(route).and_then(|operations| operations.get(operation)) else {
            return PRIOR_TOKENS;
        };
        let weight = length.weight(now, MEMORY);
        (PRIOR_TOKENS * PRIOR_SAMPLES + length.mean().unwrap_or_default() * weight) / (PRIOR_SAMPLES + weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guess_gives_way_to_what_was_seen_of_the_same_operation() {
        let (lengths, now) = (Lengths::default(), Instant::now());
        let (route, review): (Arc<str>, Arc<str>) = ("smart".into(), "review-code".into());
        assert!((lengths.expected(&route, &review, now) - PRIOR_TOKENS).abs() < 1e-9);
        lengths.note(&route, &review, 2_000, now);
        let after_one = lengths.expected(&route, &review, now);
        assert!((500.0..1_000.0).contains(&after_one), "{after_one}");
        for _ in 0..200 {
            lengths.note(&route, &review, 2_000, now);
        }
        assert!(lengths.expected(&route, &review, now) > 1_900.0);
        assert!((lengths.expected(&route, "chat", now) - PRIOR_TOKENS).abs() < 1e-9);
    }

    #[test]
    fn names_of_operations_without_end_take_no_memory_without_end() {
        let (lengths, now) = (Lengths::default(), Instant::now());
        for number in 0..PAIRS_MAX + 10 {
            lengths.note(&"smart".into(), &number.to_string().into(), 1, now);
        }
        assert_eq!(lengths.0.lock().unwrap()["smart"].len(), PAIRS_MAX);
    }
}
