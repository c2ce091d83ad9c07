//! How many of a route's recent calls had a second attempt beside their first.
//!
//! "The Tail at Scale" (Dean and Barroso, 2013) sends a second request once the first is slower than the 95th percentile, which costs
//! about 5 % more. That holds while the percentile is true: when a provider slows down, every call is slower than what was
//! measured. A share of the calls bounds what that may cost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// In this time, everything counted counts for half.
const HALF_LIFE: Duration = Duration::from_mins(5);

/// What may have faded of a call itself until it asks for its hedge.
const FADED_MAX: f64 = 0.5;

/// The calls of one route, and those that were hedged; older ones count for less.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    calls: f64,
    hedged: f64,
    at: Option<Instant>,
}

impl Share {
    fn fade(&mut self, now: Instant) {
        let age = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let fading = 0.5_f64.powf(age.as_secs_f64() / HALF_LIFE.as_secs_f64());
        self.calls *= fading;
        self.hedged *= fading;
        self.at = Some(now);
    }

    fn has_room(&self, percent_max: u32, calls: f64) -> bool {
        (self.hedged + 1.0) * 100.0 <= (calls + FADED_MAX) * f64::from(percent_max)
    }
}

/// The shares of all routes that hedge.
#[derive(Debug, Default)]
pub struct Shares(Mutex<HashMap<Arc<str>, Share>>);

impl Shares {
    fn with<T>(&self, route: &Arc<str>, now: Instant, ask: impl FnOnce(&mut Share) -> T) -> T {
        let mut shares = self.0.lock().expect("no holder of this lock panics");
        let share = match shares.get_mut(route) {
            Some(share) => share,
            None => shares.entry(Arc::clone(route)).or_default(),
        };
        share.fade(now);
        ask(share)
    }

    /// Counts a call that may be hedged.
    pub fn count(&self, route: &Arc<str>, now: Instant) {
        self.with(route, now, |share| share.calls += 1.0);
    }

    /// Counts a hedge, where it stays within so many of a hundred calls.
    pub fn take(&self, route: &Arc<str>, percent_max: u32, now: Instant) -> bool {
        self.with(route, now, |share| {
            let has_room = share.has_room(percent_max, share.calls);
            share.hedged += if has_room { 1.0 } else { 0.0 };
            has_room
        })
    }

    /// Takes a hedge back that was not made after all.
    pub fn give_back(&self, route: &Arc<str>, now: Instant) {
        self.with(route, now, |share| share.hedged = (share.hedged - 1.0).max(0.0));
    }

    /// Whether a hedge of the next call, which counts itself first, would stay within so many of a hundred calls.
    pub fn next_has_room(&self, route: &Arc<str>, percent_max: u32, now: Instant) -> bool {
        self.with(route, now, |share| share.has_room(percent_max, share.calls + 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_call_in_ten_is_hedged_and_none_of_the_first_nine() {
        let (shares, route, now) = (Shares::default(), Arc::from("smart"), Instant::now());
        let mut hedged = Vec::new();
        for number in 1..=40 {
            shares.count(&route, now);
            if shares.take(&route, 10, now) {
                hedged.push(number);
            }
        }
        assert_eq!(hedged, [10, 20, 30, 40]);
    }

    #[test]
    fn what_is_told_of_the_next_call_is_what_becomes_of_it() {
        for percent_max in [1, 10, 34, 100] {
            let (shares, route, now) = (Shares::default(), Arc::from("smart"), Instant::now());
            for number in 1..=120 {
                let told = shares.next_has_room(&route, percent_max, now);
                shares.count(&route, now);
                assert_eq!(shares.take(&route, percent_max, now), told, "call {number} at {percent_max} %");
            }
        }
    }

    #[test]
    fn a_hedge_that_was_not_made_leaves_its_share_to_the_next() {
        let (shares, route, now) = (Shares::default(), Arc::from("smart"), Instant::now());
        for _ in 0..10 {
            shares.count(&route, now);
        }
        assert!(shares.take(&route, 10, now) && !shares.take(&route, 10, now));
        shares.give_back(&route, now);
        assert!(shares.take(&route, 10, now));
    }

    #[test]
    fn every_call_may_be_hedged_where_that_is_wanted_although_each_waits_for_it() {
        let (shares, route, mut now) = (Shares::default(), Arc::from("smart"), Instant::now());
        for _ in 0..50 {
            shares.count(&route, now);
            now += Duration::from_secs(2);
            assert!(shares.take(&route, 100, now) && !shares.take(&route, 100, now));
        }
    }

    #[test]
    fn what_is_an_hour_old_counts_for_nothing() {
        let (shares, route, now) = (Shares::default(), Arc::from("smart"), Instant::now());
        for _ in 0..10_000 {
            shares.count(&route, now);
        }
        assert!(shares.next_has_room(&route, 10, now));
        assert!(!shares.next_has_room(&route, 10, now + Duration::from_hours(1)));
    }

    proptest! {
        #[test]
        fn no_traffic_takes_more_than_its_share(calls in proptest::collection::vec((0_u64..100, 0_u32..3), 1..400), percent in 1_u32..=100) {
            let (shares, route, mut now) = (Shares::default(), Arc::from("smart"), Instant::now());
            for (seconds, tries) in calls {
                now += Duration::from_secs(seconds);
                shares.count(&route, now);
                for _ in 0..tries {
                    let _ = shares.take(&route, percent, now);
                }
                let share = shares.0.lock().unwrap()[&route];
                prop_assert!(share.hedged * 100.0 <= (share.calls + 1.0) * f64::from(percent), "{share:?}");
            }
        }
    }
}
