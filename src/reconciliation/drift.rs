//! How far two amounts lie apart.

use crate::domain::Picodollars;

/// From above this share of theirs on, somebody is told.
pub const DRIFT_MAX_PERCENT: i128 = 2;

/// How far ours lies above theirs; below zero where it lies below.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// In percent of theirs, for showing; 100 where theirs is nothing and ours is not.
    pub percent: f64,
    /// Whether it is more than [`DRIFT_MAX_PERCENT`], decided in integers.
    pub is_over: bool,
}

impl Drift {
    /// The drift of two amounts.
    pub fn of_money(ours: Picodollars, theirs: Picodollars) -> Self {
        Self::of(ours.get(), theirs.get())
    }

    /// The drift of two counts.
    pub fn of_counts(ours: u64, theirs: u64) -> Self {
        Self::of(ours.into(), theirs.into())
    }

    fn of(ours: i128, theirs: i128) -> Self {
        let difference = ours - theirs;
        let is_over = difference.abs().saturating_mul(100) > theirs.abs().saturating_mul(DRIFT_MAX_PERCENT);
        #[expect(clippy::cast_precision_loss, reason = "a percentage is for showing")]
        let percent = match (difference, theirs) {
            (0, _) => 0.0,
            (difference, 0) => 100.0 * difference.signum() as f64,
            (difference, theirs) => difference as f64 / theirs.abs() as f64 * 100.0,
        };
        Self { percent, is_over }
    }

    /// As people read it: `+5.0%`.
    pub fn words(self) -> String {
        // What rounds to nothing has no sign.
        if self.percent.abs() < 0.05 { "0.0%".to_owned() } else { format!("{:+.1}%", self.percent).replace('-', "−") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ours: i128, theirs: i128, words: &str, is_over: bool) {
        let drift = Drift::of_money(Picodollars::new(ours), Picodollars::new(theirs));
        assert_eq!((drift.words().as_str(), drift.is_over), (words, is_over), "{ours} {theirs}");
    }

    #[test]
    fn two_percent_is_borne_and_a_picodollar_more_is_not() {
        check(0, 0, "0.0%", false);
        check(100, 100, "0.0%", false);
        check(102, 100, "+2.0%", false);
        check(98, 100, "−2.0%", false);
        check(1_020_000_000_001, 1_000_000_000_000, "+2.0%", true);
        check(979_999_999_999, 1_000_000_000_000, "−2.0%", true);
        check(95, 100, "−5.0%", true);
        check(105, 100, "+5.0%", true);
    }

    #[test]
    fn what_only_one_of_the_two_has_is_all_drift() {
        check(1, 0, "+100.0%", true);
        check(0, 1, "−100.0%", true);
        check(-1, 0, "−100.0%", true);
        check(10, -10, "+200.0%", true);
    }
}
