//! An attempt that is planned, and the money that is held for it.

use crate::domain::{CostBasis, Deployment, Picodollars, TokenUsage};

use super::record::{Attempt, Charge, Scope};
use super::worst_case::WorstCase;

/// An attempt to reserve for.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Where the attempt goes.
    pub deployment: Deployment,
    /// What it can cost at most.
    pub worst_case: WorstCase,
    /// The budgets that it must fit under.
    pub charges: Vec<Charge>,
    /// Budgets that send it elsewhere where it has no room under them, in the order in which they are asked.
    pub turning: Vec<Charge>,
    /// All budgets that apply too but refuse nothing: what is left under them is told.
    pub watched: Vec<Charge>,
    /// Milliseconds since the call arrived.
    pub started_ms: u32,
}

impl Planned {
    pub(super) fn attempt(&self) -> Attempt {
        Attempt {
            deployment: self.deployment.clone(),
            status: 0,
            error: None,
            usage: TokenUsage::default(),
            cost: self.worst_case.cost(),
            basis: CostBasis::Reserved,
            started_ms: self.started_ms,
            latency_ms: 0,
            time_to_first_token_ms: None,
            raw_usage: None,
            upstream_request_id: None,
            rating: None,
        }
    }
}

/// What a reservation was given.
#[derive(Clone, Debug, Default)]
pub(super) struct Granted {
    /// What was left under each of the budgets that apply.
    pub(super) rooms: Vec<Room>,
    /// The cap on output that the money was held for.
    pub(super) output_cap: u64,
    /// Whether a budget that blocks depends on it.
    pub(super) is_bound: bool,
}

/// What is left under a budget, for all attempts of a call together.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) scope: Scope,
    pub(super) left: Picodollars,
}

/// Proof that an attempt is in the ledger, and money held back for it.
///
/// Only the ledger makes one, and the client of the providers takes no call without one.
#[must_use]
#[derive(Debug)]
pub struct Hold {
    attempt: Attempt,
    granted: Granted,
}

impl Hold {
    pub(super) fn new(mut attempt: Attempt, granted: Granted, worst_case: WorstCase) -> Self {
        attempt.cost = worst_case.at(granted.output_cap);
        Self { attempt, granted }
    }

    /// The cap on the attempt's output that the money was held for: what was asked for, or less.
    pub fn output_cap(&self) -> u64 {
        self.granted.output_cap
    }

    /// Whether a budget that blocks depends on what is held: only then is the attempt kept within it.
    pub fn is_bound(&self) -> bool {
        self.granted.is_bound
    }

    /// What is held for the attempt.
    pub fn held(&self) -> Picodollars {
        self.attempt.cost
    }

    /// Where the attempt goes.
    pub fn deployment(&self) -> &Deployment {
        &self.attempt.deployment
    }

    /// The attempt as it would be booked if nothing more were known: at what is held for it.
    pub fn worst_case(&self) -> Attempt {
        self.attempt.clone()
    }

    /// The attempt as it is booked where nothing was sent for it.
    pub fn nothing_sent(&self) -> Attempt {
        Attempt { cost: Picodollars::ZERO, basis: CostBasis::Exact, ..self.attempt.clone() }
    }

    /// The least that is left under the budgets that apply, beside the call's other attempts and were this one to cost this
    /// much. A budget counts only those attempts that belong to it: another provider's don't count for the one of this.
    pub(super) fn remaining<'a>(
        &self,
        others: &(impl Iterator<Item = &'a Attempt> + Clone),
        cost: Picodollars,
    ) -> Option<Picodollars> {
        let charged = |scope: &Scope| {
            let others = others.clone().filter(|other| scope.takes_in(other)).map(|other| other.cost);
            let own = scope.takes_in(&self.attempt).then_some(cost);
            others.chain(own).sum()
        };
        self.granted.rooms.iter().map(|room| room.left.saturating_sub(charged(&room.scope))).min()
    }
}
