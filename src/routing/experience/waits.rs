//! How long answers take to begin: a histogram of each deployment that forgets, from which a percentile is read.
//!
//! An answer that was given up before it began tells only that it would have taken longer: it is shared out over what is known
//! beyond that time. Pure; time comes in as a value.

use std::time::{Duration, Instant};

/// Classes in each doubling of time: neighbours differ by nine percent.
const CLASSES_PER_OCTAVE: f64 = 8.0;
/// Classes in all: from a millisecond to 17 minutes.
const CLASSES: usize = 161;
/// In this time, everything known counts for half: what is usual changes within minutes.
const HALF_LIFE: Duration = Duration::from_mins(10);
/// The most answers that count: above, each new one pushes out old ones.
const WEIGHT_MAX: f64 = 500.0;
/// Answers below which nothing is said: of twenty, one lies beyond the 95th percentile.
pub const WAITS_MIN: f64 = 20.0;
/// What rounding may take from a weight.
const ROUNDING: f64 = 1e-6;

/// The times that answers of one kind took to begin.
#[derive(Clone, Debug)]
pub(super) struct Waits {
    classes: Box<[f64]>,
    at: Option<Instant>,
}

impl Default for Waits {
    fn default() -> Self {
        Self { classes: vec![0.0; CLASSES].into(), at: None }
    }
}

impl Waits {
    /// Takes in how long an answer took to begin.
    pub(super) fn add(&mut self, wait: Duration, now: Instant) {
        self.make_room(now);
        self.classes[class(wait)] += 1.0;
    }

    /// Takes in how long an answer was waited for that had not begun by then.
    pub(super) fn add_longer(&mut self, wait: Duration, now: Instant) {
        self.make_room(now);
        let beyond = &mut self.classes[class(wait)..];
        let known: f64 = beyond.iter().sum();
        if known < ROUNDING {
            beyond[0] += 1.0;
        } else {
            for weight in beyond {
                *weight += *weight / known;
            }
        }
    }

    /// How many answers are known, by now.
    pub(super) fn weight(&self, now: Instant) -> f64 {
        self.classes.iter().sum::<f64>() * self.fading(now)
    }

    /// The time within which 95 of 100 answers begin; absent where too few are known.
    pub(super) fn p95(&self, now: Instant) -> Option<Duration> {
        if self.weight(now) < WAITS_MIN - ROUNDING {
            return None;
        }
        let mut below = self.classes.iter().sum::<f64>() * 0.95;
        let found = self.classes.iter().enumerate().find(|(_, weight)| {
            below -= **weight;
            below <= ROUNDING
        });
        // The upper edge of its class: rather a little later than one too many.
        found.map(|(class, _)| edge(class + 1))
    }

    fn fading(&self, now: Instant) -> f64 {
        let age = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        0.5_f64.powf(age.as_secs_f64() / HALF_LIFE.as_secs_f64())
    }

    fn make_room(&mut self, now: Instant) {
        let weight = self.weight(now);
        let shrinking = self.fading(now) * (1.0_f64).min((WEIGHT_MAX - 1.0) / weight.max(1.0));
        for weight in &mut self.classes {
            *weight *= shrinking;
        }
        self.at = Some(now);
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "such a cast saturates")]
fn class(wait: Duration) -> usize {
    let octaves = (wait.as_secs_f64() * 1_000.0).max(1.0).log2();
    ((octaves * CLASSES_PER_OCTAVE) as usize).min(CLASSES - 1)
}

fn edge(class: usize) -> Duration {
    Duration::from_secs_f64((class as f64 / CLASSES_PER_OCTAVE).exp2() / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn of(waits: &[u64], now: Instant) -> Waits {
        let mut known = Waits::default();
        for wait in waits {
            known.add(ms(*wait), now);
        }
        known
    }

    #[test]
    fn one_of_twenty_lies_beyond_the_percentile_and_fewer_than_twenty_say_nothing() {
        let now = Instant::now();
        let mut waits = vec![100; 19];
        assert_eq!(of(&waits, now).p95(now), None);
        waits.push(5_000);
        let p95 = of(&waits, now).p95(now).unwrap();
        assert!((ms(100)..ms(110)).contains(&p95), "{p95:?}");
        // Two of twenty-one are more than one of twenty.
        waits.push(5_000);
        let p95 = of(&waits, now).p95(now).unwrap();
        assert!((ms(5_000)..ms(5_500)).contains(&p95), "{p95:?}");
    }

    #[test]
    fn what_was_known_is_forgotten_and_a_change_shows() {
        let now = Instant::now();
        let known = of(&[100; 40], now);
        assert!(known.p95(now + HALF_LIFE).is_some());
        assert_eq!(known.p95(now + HALF_LIFE * 2), None, "ten answers are left of forty");
        let mut known = of(&[100; 2_000], now);
        assert!(known.weight(now) <= WEIGHT_MAX + 1e-6);
        for _ in 0..60 {
            known.add(ms(900), now);
        }
        assert!(known.p95(now).unwrap() >= ms(900), "sixty of five hundred");
    }

    #[test]
    fn an_answer_that_was_given_up_counts_for_those_that_took_longer() {
        let now = Instant::now();
        let mut known = of(&[vec![100; 90], vec![1_000; 10]].concat(), now);
        for _ in 0..20 {
            known.add_longer(ms(200), now);
        }
        assert!((known.weight(now) - 120.0).abs() < 1e-6);
        let beyond: f64 = known.classes[class(ms(1_000))];
        assert!((beyond - 30.0).abs() < 1e-6, "{beyond}");
        // Beyond everything that is known, its own time is all there is.
        known.add_longer(ms(60_000), now);
        assert!((known.classes[class(ms(60_000))] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_shortest_and_the_longest_times_have_a_class() {
        let now = Instant::now();
        let p95 = |wait: Duration| {
            let mut known = Waits::default();
            for _ in 0..20 {
                known.add(wait, now);
            }
            known.p95(now).unwrap()
        };
        assert!(p95(Duration::ZERO) <= ms(2));
        assert!(p95(Duration::from_hours(24)) >= Duration::from_mins(17));
    }

    proptest! {
        #[test]
        fn the_percentile_is_near_the_true_one(mut waits in proptest::collection::vec(1_u64..600_000, 20..400)) {
            let now = Instant::now();
            let p95 = of(&waits, now).p95(now).unwrap().as_secs_f64() * 1_000.0;
            waits.sort_unstable();
            let exact = waits[(waits.len() * 95).div_ceil(100) - 1] as f64;
            prop_assert!(p95 >= exact * 0.999 && p95 <= exact * 1.1, "{p95} for {exact}");
        }

        #[test]
        fn no_weight_is_lost_or_made(times in proptest::collection::vec((1_u64..100_000, any::<bool>()), 1..300)) {
            let (mut known, now) = (Waits::default(), Instant::now());
            for (wait, has_come) in &times {
                if *has_come { known.add(ms(*wait), now) } else { known.add_longer(ms(*wait), now) }
            }
            prop_assert!((known.weight(now) - times.len() as f64).abs() < 1e-6);
            prop_assert!(known.classes.iter().all(|weight| *weight >= 0.0));
        }
    }
}
