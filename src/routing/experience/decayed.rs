//! A mean that forgets: what is older counts for less. Pure; time comes in as a value.

use std::time::{Duration, Instant};

/// How fast a mean forgets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// In this time, everything known counts for half.
    pub(super) half_life: Duration,
    /// The most samples that count: above, each new one pushes out an old one.
    pub(super) samples_max: f64,
}

/// A mean and how many samples it stands for, by now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Decayed {
    mean: f64,
    weight: f64,
    at: Option<Instant>,
}

impl Decayed {
    /// Takes a sample in.
    pub(super) fn add(&mut self, sample: f64, now: Instant, memory: Memory) {
        if !sample.is_finite() {
            return;
        }
        let before = self.weight(now, memory).min(memory.samples_max - 1.0);
        self.mean = (self.mean * before + sample) / (before + 1.0);
        self.weight = before + 1.0;
        self.at = Some(now);
    }

    /// How many samples it stands for.
    pub(super) fn weight(&self, now: Instant, memory: Memory) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        let age = now.saturating_duration_since(at).as_secs_f64();
        self.weight * 0.5_f64.powf(age / memory.half_life.as_secs_f64())
    }

    /// The mean; absent without a sample.
    pub(super) fn mean(&self) -> Option<f64> {
        self.at.map(|_| self.mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MEMORY: Memory = Memory { half_life: Duration::from_mins(1), samples_max: 10.0 };

    #[test]
    fn what_is_older_counts_for_less() {
        let (mut mean, start) = (Decayed::default(), Instant::now());
        assert_eq!(mean.mean(), None);
        mean.add(10.0, start, MEMORY);
        mean.add(10.0, start, MEMORY);
        assert!((mean.weight(start + Duration::from_mins(1), MEMORY) - 1.0).abs() < 1e-9);
        mean.add(20.0, start + Duration::from_mins(1), MEMORY);
        assert!((mean.mean().unwrap() - 15.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn a_mean_lies_among_its_samples(samples in proptest::collection::vec((0.0..1e6_f64, 0_u64..600), 1..50)) {
            let (mut mean, mut now) = (Decayed::default(), Instant::now());
            let (mut low, mut high) = (f64::MAX, f64::MIN);
            for (sample, seconds) in samples {
                now += Duration::from_secs(seconds);
                mean.add(sample, now, MEMORY);
                (low, high) = (low.min(sample), high.max(sample));
                prop_assert!(mean.weight(now, MEMORY) <= MEMORY.samples_max + 1e-9);
            }
            let mean = mean.mean().unwrap();
            prop_assert!(mean >= low - 1e-6 && mean <= high + 1e-6);
        }
    }
}
