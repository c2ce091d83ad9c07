//! Why a call is not answered.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::json::JsonError;
use crate::domain::{BudgetScope, Deployment, Picodollars, Window};
use crate::provider::ProviderError;
use crate::routing::RouteError;

/// A refusal or failure, before it has a status or a dialect.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GatewayError {
    /// The body is no sound JSON object.
    #[error(transparent)]
    Body(#[from] JsonError),
    /// A field is missing, or has a value that can't be.
    #[error("{message}")]
    Field {
        /// The field.
        param: &'static str,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// The name leads nowhere, or not by this path.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The key may not ask for this model.
    #[error("this key may not use {model:?}; its allowed models are {allowed}")]
    ModelNotAllowed {
        /// What was asked for.
        model: String,
        /// What may be.
        allowed: String,
    },
    /// A `block` budget would be exceeded.
    #[error("{}", over_budget_message(scope, *window, *limit, *spent, *held, *asked, *resets_at))]
    OverBudget {
        /// Whom the budget binds.
        scope: BudgetScope,
        /// Its window.
        window: Window,
        /// Its limit.
        limit: Picodollars,
        /// Booked in the present window.
        spent: Picodollars,
        /// Held for calls that run.
        held: Picodollars,
        /// What the call may cost.
        asked: Picodollars,
        /// When the window ends.
        resets_at: Option<Timestamp>,
        /// True where the call would fit if nothing else ran.
        only_held: bool,
    },
    /// A `block` budget applies, and the model has no price.
    #[error(
        "{deployment} has no known price, so the budget over {scope} refuses it: add [prices.\"{deployment}\"] to tollgate.toml"
    )]
    Unpriced {
        /// Where the call would go.
        deployment: Deployment,
        /// Whom the budget binds.
        scope: BudgetScope,
    },
    /// A `block` budget applies, and nobody can say what the call costs at most.
    #[error("a budget that blocks applies, and {what} has no upper bound of its cost: leave it out, or use a key without such a budget")]
    Unbounded {
        /// What of the call has no bound.
        what: String,
    },
    /// The ledger can't be written, and a call that can't be booked is not made.
    #[error("the ledger can't be written, so no call can be booked: {detail}. GET /health tells when it can again")]
    LedgerUnavailable {
        /// What the disk says.
        detail: String,
    },
    /// As many calls run as the server takes.
    #[error("the server has as many calls running as it takes; try again in {} s", retry_after.as_secs().max(1))]
    Overloaded {
        /// When to come back.
        retry_after: Duration,
    },
    /// The server is stopping.
    #[error("the server is stopping; try again in a few seconds")]
    Stopping,
    /// The last attempt failed.
    #[error(transparent)]
    Upstream(#[from] ProviderError),
    /// Something that can't happen did.
    #[error("Tollgate failed; the log has the reason under this request's id")]
    Internal,
}

fn over_budget_message(
    scope: &BudgetScope,
    window: Window,
    limit: Picodollars,
    spent: Picodollars,
    held: Picodollars,
    asked: Picodollars,
    resets_at: Option<Timestamp>,
) -> String {
    let left = limit.saturating_sub(spent).saturating_sub(held);
    let resets = resets_at.map_or_else(|| "it does not reset".to_owned(), |at| format!("it resets at {at}"));
    format!(
        "the budget of {limit} USD over {scope} per {window} has {left} USD left ({spent} spent, {held} held), and this call may cost {asked}; {resets}"
    )
}
