//! What the router is asked: the call as far as its way depends on it.

use std::cell::OnceCell;

use jiff::Timestamp;

use crate::domain::{Billed, Deployment, Endpoint, Strategy};

use super::experience::Prefix;
use super::needs::{Needs, likely_tokens};

/// A call as the router sees it. What takes long to find out is found out when it is asked for.
pub struct Asking<'a> {
    /// The path.
    pub endpoint: Endpoint,
    /// What the call is for.
    pub operation: &'a str,
    /// The strategy that the call asks for instead of its route's.
    pub strategy: Option<Strategy>,
    /// The body.
    pub body: &'a [u8],
    /// What is in it.
    pub needs: Needs,
    /// The client's own cap on output tokens of each answer.
    pub output_cap: Option<u64>,
    /// How many answers are asked for.
    pub choices: u64,
    /// How it will be billed.
    pub billed: Billed,
    /// Whose conversation it is.
    pub key: &'a str,
    /// What the client calls the conversation.
    pub session: Option<&'a str>,
    /// Which deployments the key may use, where it may not use the route as a whole.
    pub allows: Option<&'a dyn Fn(&Deployment) -> bool>,
    /// A number that differs from call to call.
    pub dice: u64,
    /// Counted when somebody asks.
    pub(super) tokens: OnceCell<u64>,
}

impl<'a> Asking<'a> {
    /// A call of which nothing is known but its path.
    pub fn plain(endpoint: Endpoint, at: Timestamp) -> Self {
        Self {
            endpoint,
            operation: "chat",
            strategy: None,
            body: &[],
            needs: Needs::default(),
            output_cap: None,
            choices: 1,
            billed: Billed::plainly(at),
            key: "",
            session: None,
            allows: None,
            dice: 0,
            tokens: OnceCell::new(),
        }
    }

    /// About how many tokens of input it has.
    pub fn tokens(&self) -> u64 {
        *self.tokens.get_or_init(|| likely_tokens(self.body, self.needs))
    }

    /// The same, where somebody has asked already.
    pub(super) fn counted_tokens(&self) -> Option<u64> {
        self.tokens.get().copied()
    }

    /// The body as prompt caches see it.
    pub fn prefix(&self) -> Option<Prefix<'a>> {
        Prefix::of(self.endpoint, self.body, self.key, self.session)
    }
}
