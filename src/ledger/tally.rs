//! What a call comes to: all of its attempts, whichever of them is looked at last.

use crate::domain::{CostBasis, EntryStatus, Picodollars};

use super::record::Attempt;

/// The sum of a call's attempts, those in flight at what is held for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// What they cost together.
    pub cost: Picodollars,
    /// The weakest basis among them.
    pub basis: CostBasis,
    /// Whether one is charged at what was held for it, because its end was not seen.
    pub is_uncertain: bool,
}

impl Tally {
    pub(super) fn of<'a>(attempts: impl IntoIterator<Item = &'a Attempt>) -> Self {
        let nothing = Self { cost: Picodollars::ZERO, basis: CostBasis::Exact, is_uncertain: false };
        attempts.into_iter().fold(nothing, |sum, attempt| Self {
            cost: sum.cost + attempt.cost,
            basis: sum.basis.and(attempt.basis),
            is_uncertain: sum.is_uncertain || attempt.basis == CostBasis::Reserved,
        })
    }

    /// How a call is booked that ends like this without an answer: by what is owed for it, which any of its attempts may have
    /// brought about.
    pub fn unanswered(&self) -> EntryStatus {
        if self.cost.is_zero() {
            EntryStatus::Failed
        } else if self.is_uncertain {
            EntryStatus::Unknown
        } else {
            EntryStatus::Settled
        }
    }

    /// The cost, where every attempt has a price.
    pub fn priced(&self) -> Option<Picodollars> {
        (self.basis != CostBasis::Unpriced).then_some(self.cost)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::attempt;
    use super::*;

    /// Attempts with their bases, and how a call that they don't answer is booked.
    fn check(attempts: &[(i128, CostBasis)], expected: EntryStatus) {
        let attempts = attempts.iter().map(|(cost, basis)| Attempt { basis: *basis, ..attempt("openai/gpt-5", *cost) });
        assert_eq!(Tally::of(&attempts.clone().collect::<Vec<_>>()).unanswered(), expected);
        assert_eq!(Tally::of(&attempts.rev().collect::<Vec<_>>()).unanswered(), expected, "the order is of no matter");
    }

    #[test]
    fn a_call_that_is_not_answered_is_booked_by_what_any_of_its_attempts_owes() {
        use CostBasis::{Estimated, Exact, Reserved, Unpriced};
        check(&[], EntryStatus::Failed);
        check(&[(0, Exact), (0, Exact)], EntryStatus::Failed);
        check(&[(5, Reserved)], EntryStatus::Unknown);
        check(&[(5, Reserved), (0, Exact)], EntryStatus::Unknown);
        check(&[(5, Reserved), (3, Estimated), (2, Exact)], EntryStatus::Unknown);
        check(&[(3, Estimated), (0, Exact)], EntryStatus::Settled);
        check(&[(5, Reserved), (0, Unpriced)], EntryStatus::Unknown);
        // Of what has no price, or none but zero, nothing is held.
        check(&[(0, Reserved)], EntryStatus::Failed);
    }

    #[test]
    fn the_cost_is_told_where_all_of_it_has_a_price() {
        let both = [attempt("openai/gpt-5", 5), attempt("openai/gpt-5", 7)];
        assert_eq!(Tally::of(&both).priced().map(Picodollars::get), Some(12));
        let unpriced = Attempt { basis: CostBasis::Unpriced, ..attempt("local/llama", 0) };
        assert_eq!(Tally::of(both.iter().chain([&unpriced])).priced(), None);
    }
}
