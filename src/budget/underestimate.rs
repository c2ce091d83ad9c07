//! Attempts under a budget that blocks which cost more than was held for them: the one way in which such a budget can be passed.
//!
//! What is held is all that a provider may use within the cap that it was given, at the dearest price in the list. So either the
//! provider counted past its cap, or the list is wrong. The truth is booked, and somebody has to look.

use std::sync::Arc;

use crate::alerts::{AlertKind, AlertScope, NewAlert};
use crate::domain::{Deployment, Picodollars, RequestId, WindowId};

/// An attempt that cost more than was held for it.
#[derive(Clone, Debug)]
pub struct Underestimate {
    /// Its call.
    pub call: RequestId,
    /// The key that pays, as people call it.
    pub key_name: Arc<str>,
    /// Where it went.
    pub deployment: Deployment,
    /// What it cost.
    pub cost: Picodollars,
    /// What was held for it.
    pub held: Picodollars,
}

impl Underestimate {
    /// What is told of it.
    pub(super) fn alert(&self, window: WindowId) -> NewAlert {
        let Self { call, key_name, deployment, cost, held } = self;
        let text = format!(
            "{call} of key {key_name} cost {cost} USD at {deployment}, more than the {held} USD that were held for it: the provider counted more than it was allowed to write, or charges more than the price list says. It is booked at what it cost, so a budget that blocks may be passed by the difference, and refuses calls from then on. Compare the call's usage with the provider's own, and its price with the list."
        );
        let scope = AlertScope::new("provider", Some(deployment.provider.as_str()));
        NewAlert {
            spent: Some(*cost),
            limit: Some(*held),
            ..NewAlert::new(AlertKind::LedgerUnderestimate, scope, Some(window), &text)
        }
    }
}
