//! What an attempt can cost at most, as a line in its cap on output, and how far the cap gives way to what is left of budgets.
//!
//! Pure arithmetic: the gateway draws the line, the writer, who alone knows what is left at that instant, picks the point.

use crate::domain::Picodollars;

/// No call is clipped while this part of what is left covers it: so many can run at once before any money has come back.
const SHARES: i128 = 8;

/// What an attempt can cost at most, for each cap that may be set on its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorstCase {
    /// The part that no cap makes smaller.
    fixed: Picodollars,
    /// What each token of the cap adds, for all answers and readings together.
    per_token: Picodollars,
    /// The cap that is asked for.
    asked: u64,
    /// The cap below which the answer is of no use; at most what is asked.
    floor: u64,
}

impl WorstCase {
    /// A cost that doesn't depend on a cap: what has no output, and what nobody may clip.
    pub const fn fixed(cost: Picodollars) -> Self {
        Self { fixed: cost, per_token: Picodollars::ZERO, asked: 0, floor: 0 }
    }

    /// A line: what the input costs, what each token of the cap adds, the cap that is asked for, and the least that is of use.
    pub fn line(fixed: Picodollars, per_token: Picodollars, asked: u64, floor: u64) -> Self {
        Self { fixed, per_token, asked, floor: floor.min(asked) }
    }

    /// The same line, whose cap gives way no further than to this; where there is no line, nothing changes.
    #[must_use]
    pub fn with_floor(self, floor: u64) -> Self {
        Self { floor: self.floor.max(floor).min(self.asked), ..self }
    }

    /// The cost with the cap that is asked for.
    pub fn cost(&self) -> Picodollars {
        self.at(self.asked)
    }

    /// The cost with the lowest cap.
    pub fn least(&self) -> Picodollars {
        self.at(self.floor)
    }

    /// The cost with a cap; no more than any sum that is kept here.
    pub fn at(&self, cap: u64) -> Picodollars {
        let output = self.per_token.get().saturating_mul(i128::from(cap)).min(Picodollars::MAX.get());
        self.fixed + Picodollars::new(output)
    }

    /// The cap that is asked for.
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// Whether a share of what is left covers all that is asked for.
    pub fn is_ample(&self, free: Picodollars) -> bool {
        self.cost() <= Picodollars::new(free.get() / SHARES)
    }

    /// The cap for a call that `free` is left for: what is asked while a share of that covers it, else the largest that one
    /// does, but never less than the floor. Nothing where even that doesn't fit.
    pub fn cap_within(&self, free: Picodollars) -> Option<u64> {
        if self.least() > free {
            return None;
        }
        let share = Picodollars::new(free.get() / SHARES);
        if self.is_ample(free) || self.floor == self.asked || self.per_token.is_zero() {
            return (self.cost() <= free).then_some(self.asked);
        }
        let tokens = share.saturating_sub(self.fixed).get() / self.per_token.get();
        Some(u64::try_from(tokens).unwrap_or(u64::MAX).clamp(self.floor, self.asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(fixed: i128, per_token: i128, asked: u64, floor: u64) -> WorstCase {
        WorstCase::line(Picodollars::new(fixed), Picodollars::new(per_token), asked, floor)
    }

    fn check(worst_case: WorstCase, free: i128, expected: Option<u64>) {
        assert_eq!(worst_case.cap_within(Picodollars::new(free)), expected, "{worst_case:?} of {free}");
    }

    #[test]
    fn nothing_is_clipped_while_an_eighth_covers_it() {
        check(line(100, 10, 1_000, 256), 8 * 10_100, Some(1_000));
        // One picodollar less, and the last token goes.
        check(line(100, 10, 1_000, 256), 8 * 10_100 - 1, Some(999));
    }

    #[test]
    fn clipping_ends_at_the_floor_and_the_floor_may_take_all_that_is_free() {
        check(line(100, 10, 1_000, 256), 8 * (100 + 2_570), Some(257));
        check(line(100, 10, 1_000, 256), 8 * (100 + 2_000), Some(256));
        check(line(100, 10, 1_000, 256), 100 + 2_560, Some(256));
        check(line(100, 10, 1_000, 256), 100 + 2_559, None);
        check(line(100, 10, 1_000, 256), 0, None);
    }

    #[test]
    fn what_has_no_line_takes_all_or_nothing() {
        check(WorstCase::fixed(Picodollars::new(50)), 50, Some(0));
        check(WorstCase::fixed(Picodollars::new(50)), 49, None);
        check(WorstCase::fixed(Picodollars::ZERO), 0, Some(0));
        check(line(50, 0, 900, 256), 60, Some(900));
        check(line(0, 1, 200, 256), 200, Some(200));
    }

    proptest! {
        #[test]
        fn a_cap_fits_and_lies_between_floor_and_wish(
            fixed in 0..5_000_i128, per_token in 0..500_i128, asked in 0..5_000_u64, floor in 0..5_000_u64, free in 0..3_000_000_i128,
        ) {
            let worst_case = line(fixed, per_token, asked, floor);
            let free = Picodollars::new(free);
            match worst_case.cap_within(free) {
                None => prop_assert!(worst_case.least() > free),
                Some(cap) => {
                    prop_assert!(worst_case.at(cap) <= free);
                    prop_assert!(cap <= asked && cap >= floor.min(asked));
                    // As much as a share covers: one token more would be too much, or nobody asked for it.
                    let is_floor = cap == floor.min(asked);
                    prop_assert!(is_floor || worst_case.at(cap).get() * SHARES <= free.get() || per_token == 0);
                    prop_assert!(cap == asked || worst_case.at(cap + 1).get() * SHARES > free.get());
                }
            }
        }
    }
}
