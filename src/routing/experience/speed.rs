//! How fast each deployment has been: the time to the first token, and the time of each token after it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::domain::Deployment;

use super::decayed::{Decayed, Memory};
use super::waits::Waits;

/// Speeds change within minutes, so ten-minute-old figures count for half.
const MEMORY: Memory = Memory { half_life: Duration::from_mins(10), samples_max: 20.0 };
/// Below so many samples a speed says little: one may be chance, and it is halved after a while.
const SAMPLES_MIN: f64 = 1.5;
/// Seconds of a token before any was measured.
const PER_TOKEN_GUESSED: f64 = 0.02;
/// The shortest times that are believed: below, the clock measures itself.
const SECONDS_MIN: f64 = 1e-5;

/// What one answer has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// To the first token; absent where the answer came whole.
    pub first: Option<Duration>,
    /// To the end.
    pub whole: Duration,
    /// Tokens that came out.
    pub tokens: u64,
}

/// How fast a deployment is at the moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Seconds to the first token.
    pub first: f64,
    /// Seconds of each token.
    pub per_token: f64,
    /// How many answers that rests on, by now.
    pub samples: f64,
}

impl Pace {
    /// Whether enough is known to compare it.
    pub fn is_known(&self) -> bool {
        self.samples >= SAMPLES_MIN
    }

    /// Seconds that an answer of so many tokens takes.
    pub fn seconds(&self, tokens: f64) -> f64 {
        self.first + self.per_token * tokens
    }
}

/// Logarithms of times: one slow answer of many shall not hide what is usual.
#[derive(Clone, Copy, Debug, Default)]
struct Speed {
    first: Decayed,
    per_token: Decayed,
}

impl Speed {
    fn add(&mut self, timing: Timing, now: Instant) {
        let tokens = timing.tokens.max(1) as f64;
        let whole = timing.whole.as_secs_f64();
        let (first, per_token) = if let Some(first) = timing.first {
            let first = first.as_secs_f64();
            (first, (timing.tokens > 1).then(|| (whole - first) / (tokens - 1.0)))
        } else {
            // A whole answer tells the sum alone: what is known of the parts is stretched to it.
            let per_token = self.per_token.mean().map_or(PER_TOKEN_GUESSED, f64::exp);
            let first = self.first.mean().map_or(per_token * tokens, f64::exp);
            let stretch = whole / (first + per_token * tokens);
            (first * stretch, Some(per_token * stretch))
        };
        self.first.add(first.max(SECONDS_MIN).ln(), now, MEMORY);
        if let Some(per_token) = per_token {
            self.per_token.add(per_token.max(SECONDS_MIN).ln(), now, MEMORY);
        }
    }

    fn pace(&self, now: Instant) -> Option<Pace> {
        let first = self.first.mean()?.exp();
        let per_token = self.per_token.mean().map_or(PER_TOKEN_GUESSED, f64::exp);
        Some(Pace { first, per_token, samples: self.first.weight(now, MEMORY) })
    }
}

/// How long a deployment was waited for until an answer went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The answer began: the first content of a stream, or all of a whole answer.
    Came(Duration),
    /// It had not begun by then, when it was given up.
    Longer(Duration),
}

/// What is known of a deployment: streams begin with their first content, whole answers come when all has been written.
#[derive(Debug, Default)]
struct Known {
    speed: Speed,
    streams: Waits,
    wholes: Waits,
}

impl Known {
    fn waits(&self, stream: bool) -> &Waits {
        if stream { &self.streams } else { &self.wholes }
    }
}

/// The speeds of all deployments that routes have.
#[derive(Debug, Default)]
pub(super) struct Speeds(Mutex<HashMap<Deployment, Known>>);

impl Speeds {
    fn with(&self, deployment: &Deployment, change: impl FnOnce(&mut Known)) {
        let mut speeds = self.0.lock().expect("no holder of this lock panics");
        match speeds.get_mut(deployment) {
            Some(known) => change(known),
            None => change(speeds.entry(deployment.clone()).or_default()),
        }
    }

    pub(super) fn note(&self, deployment: &Deployment, timing: Timing, now: Instant) {
        self.with(deployment, |known| known.speed.add(timing, now));
    }

    pub(super) fn pace(&self, deployment: &Deployment, now: Instant) -> Option<Pace> {
        self.0.lock().expect("no holder of this lock panics").get(deployment)?.speed.pace(now)
    }

    pub(super) fn note_wait(&self, deployment: &Deployment, stream: bool, wait: Wait, now: Instant) {
        self.with(deployment, |known| {
            let waits = if stream { &mut known.streams } else { &mut known.wholes };
            match wait {
                Wait::Came(wait) => waits.add(wait, now),
                Wait::Longer(wait) => waits.add_longer(wait, now),
            }
        });
    }

    /// The time within which 95 of 100 answers begin, and how many answers are known.
    pub(super) fn p95(&self, deployment: &Deployment, stream: bool, now: Instant) -> (Option<Duration>, f64) {
        let speeds = self.0.lock().expect("no holder of this lock panics");
        let waits = speeds.get(deployment).map(|known| known.waits(stream));
        waits.map_or((None, 0.0), |waits| (waits.p95(now), waits.weight(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(first_ms: Option<u64>, whole_ms: u64, tokens: u64) -> Timing {
        Timing { first: first_ms.map(Duration::from_millis), whole: Duration::from_millis(whole_ms), tokens }
    }

    fn near(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 0.01, "{value} is not about {expected}");
    }

    #[test]
    fn streams_tell_both_times_and_whole_answers_stretch_what_is_known() {
        let (mut speed, now) = (Speed::default(), Instant::now());
        assert_eq!(speed.pace(now), None);
        for _ in 0..3 {
            speed.add(timing(Some(200), 1_200, 101), now);
        }
        let pace = speed.pace(now).unwrap();
        near(pace.first, 0.2);
        near(pace.per_token, 0.01);
        near(pace.seconds(300.0), 3.2);
        // Everything takes twice as long from now on, told by whole answers alone.
        for _ in 0..200 {
            speed.add(timing(None, 2_400, 101), now);
        }
        near(speed.pace(now).unwrap().seconds(101.0), 2.4);
    }

    #[test]
    fn a_speed_is_known_after_two_answers_and_forgotten_after_an_hour() {
        let (mut speed, now) = (Speed::default(), Instant::now());
        speed.add(timing(None, 500, 20), now);
        assert!(!speed.pace(now).unwrap().is_known());
        near(speed.pace(now).unwrap().seconds(20.0), 0.5);
        speed.add(timing(None, 500, 20), now);
        assert!(speed.pace(now).unwrap().is_known());
        assert!(!speed.pace(now + Duration::from_hours(1)).unwrap().is_known());
    }

    #[test]
    fn a_change_shows_within_a_few_answers() {
        let (mut speed, now) = (Speed::default(), Instant::now());
        for _ in 0..100 {
            speed.add(timing(Some(100), 1_000, 90), now);
        }
        for _ in 0..20 {
            speed.add(timing(Some(2_000), 4_000, 90), now);
        }
        assert!(speed.pace(now).unwrap().first > 0.5);
    }
}
