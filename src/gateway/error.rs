//! Why a call is not answered.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::budget::RateLimited;
use crate::dialect::Untranslatable;
use crate::domain::json::JsonError;
use crate::domain::wording::per_window;
use crate::domain::{Deployment, Dialect, EndpointFamily, Picodollars, Window};
use crate::provider::{Cause, ProviderError, Refusal, Unneeded};
use crate::routing::RouteError;

use super::idempotent::NotReplayed;
use super::no_answer::NoAnswer;

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
    /// The provider speaks another dialect, which has no word for something that was asked for.
    #[error("{deployment} is reached in another dialect: {untranslatable}")]
    Untranslatable {
        /// Where the call would go.
        deployment: Deployment,
        /// The field, and what to do.
        untranslatable: Untranslatable,
    },
    /// The key may not ask for this model.
    #[error("this key may not use {model:?}; its allowed models are {allowed}")]
    ModelNotAllowed {
        /// What was asked for.
        model: String,
        /// What may be.
        allowed: String,
    },
    /// The key was not let in to these endpoints.
    #[error(
        "this key may not call {family} endpoints, only {allowed}: ask an admin for another key, or to change allowedEndpoints of this one"
    )]
    EndpointNotAllowed {
        /// What was called.
        family: EndpointFamily,
        /// What may be.
        allowed: String,
    },
    /// An answer was asked for from the cache alone, and it has none.
    #[error(
        "the response cache has no answer to this request, and x-tollgate-cache says only: leave the header out to ask the provider"
    )]
    CacheMiss,
    /// There was such a call before, under the same idempotency key, and it can't be answered as that was.
    #[error(transparent)]
    NotReplayed(#[from] NotReplayed),
    /// A `block` budget would be exceeded.
    #[error("{0}")]
    OverBudget(Box<OverBudget>),
    /// The key has used up what it may do in a minute, or at once.
    #[error("{0}")]
    RateLimited(RateLimited),
    /// A `block` budget applies, and the model has no price.
    #[error(
        "{deployment} has no known price, so the budget over {scope} refuses it: add [prices.\"{deployment}\"] to tollgate.toml"
    )]
    Unpriced {
        /// Where the call would go.
        deployment: Deployment,
        /// Whom the budget binds, in words: a key by its name.
        scope: String,
    },
    /// A `block` budget applies, and nobody can say what the call costs at most.
    #[error(
        "a budget that blocks applies, and {what} has no upper bound of its cost: leave it out, or use a key without such a budget"
    )]
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
    /// Nobody waits for the answer any more, and nothing was sent upstream for it.
    #[error("the client left before its call was made")]
    ClientLeft,
    /// The server is stopping.
    #[error("the server is stopping; try again in a few seconds")]
    Stopping,
    /// No provider answered.
    #[error(transparent)]
    Upstream(#[from] NoAnswer),
    /// Something that can't happen did.
    #[error("Tollgate failed; the log has the reason under this request's id")]
    Internal,
}

/// How a budget stood when it refused a call.
#[derive(Clone, Debug)]
pub struct OverBudget {
    /// Whom the budget binds, in words: a key by its name.
    pub scope: String,
    /// Its window.
    pub window: Window,
    /// Its limit.
    pub limit: Picodollars,
    /// Booked in the present window.
    pub spent: Picodollars,
    /// Held for calls that run.
    pub held: Picodollars,
    /// What the call may cost, with the lowest cap that its output may have.
    pub asked: Picodollars,
    /// When the window ends.
    pub resets_at: Option<Timestamp>,
    /// When the call should fit; absent where no waiting helps.
    pub fits_in: Option<Duration>,
    /// Why the call doesn't go to the route that the budget names for this case.
    pub detour: Option<Detour>,
}

/// Why a call can't go where a budget sends it at its limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Detour {
    /// The settings don't have the route any more.
    #[error("which tollgate.toml no longer has: add it, or change the budget")]
    Gone {
        /// The route.
        route: String,
    },
    /// The key may not ask for the route.
    #[error("which this key may not use: add it to the key's allowed models, or wait")]
    NotAllowed {
        /// The route.
        route: String,
    },
    /// The route doesn't lead to anything that serves the path.
    #[error("which can't serve it: {reason}")]
    NotServed {
        /// The route.
        route: String,
        /// What the router says.
        reason: String,
    },
}

impl Detour {
    fn route(&self) -> &str {
        match self {
            Self::Gone { route } | Self::NotAllowed { route } | Self::NotServed { route, .. } => route,
        }
    }
}

impl OverBudget {
    /// Whether the call would fit if nothing else ran.
    pub fn only_held(&self) -> bool {
        self.fits_in.is_some()
    }
}

impl fmt::Display for OverBudget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, window, limit, spent, held, asked, resets_at, fits_in, detour } = self;
        let left = limit.saturating_sub(*spent).saturating_sub(*held);
        let window = per_window(*window);
        write!(
            formatter,
            "the budget of {limit} USD over {scope} {window} has {left} USD left ({spent} spent, {held} held), and this call may cost {asked}"
        )?;
        // Where nothing is left no answer is short enough.
        if *asked > left && left > Picodollars::ZERO && fits_in.is_none() {
            formatter.write_str("; with a smaller max_tokens it may fit")?;
        }
        if let Some(detour) = detour {
            write!(formatter, "; it sends calls to the route {:?} then, {detour}", detour.route())?;
        }
        if fits_in.is_some() {
            formatter.write_str("; it fits once calls that run have ended, try again then")?;
        }
        match resets_at {
            Some(at) => write!(formatter, "; it resets at {at}"),
            None => formatter.write_str("; it does not reset"),
        }
    }
}

/// How a failure is told: the one table of error, status and code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The HTTP status.
    pub status: u16,
    /// `error.type` in the dialect.
    pub kind: &'static str,
    /// The stable code.
    pub code: &'static str,
    /// When to come back.
    pub retry_after: Option<Duration>,
    /// What to tell the SDK about trying again; absent leaves it to the status.
    pub should_retry: Option<bool>,
}

/// How long a server that stops, or a disk that is full, is waited for before anybody asks again.
const STOPPING_TAKES: Duration = Duration::from_secs(5);

/// The same failure in both dialects: status and `error.type` of each.
struct Row {
    openai: (u16, &'static str),
    anthropic: (u16, &'static str),
}

const INVALID: Row = Row { openai: (400, "invalid_request_error"), anthropic: (400, "invalid_request_error") };
const NOT_FOUND: Row = Row { openai: (404, "invalid_request_error"), anthropic: (404, "not_found_error") };
const TOO_LARGE: Row = Row { openai: (413, "invalid_request_error"), anthropic: (413, "request_too_large") };
const FORBIDDEN: Row = Row { openai: (403, "invalid_request_error"), anthropic: (403, "permission_error") };
const CONFLICT: Row = Row { openai: (409, "invalid_request_error"), anthropic: (409, "invalid_request_error") };
const UNPROCESSABLE: Row = Row { openai: (422, "invalid_request_error"), anthropic: (422, "invalid_request_error") };
const NO_MONEY: Row = Row { openai: (429, "insufficient_quota"), anthropic: (402, "billing_error") };
const RATE_LIMIT: Row = Row { openai: (429, "rate_limit_error"), anthropic: (429, "rate_limit_error") };
const OVERLOADED: Row = Row { openai: (503, "server_error"), anthropic: (529, "overloaded_error") };
const UNAVAILABLE: Row = Row { openai: (503, "server_error"), anthropic: (503, "api_error") };
const BAD_GATEWAY: Row = Row { openai: (502, "server_error"), anthropic: (500, "api_error") };
const TIMEOUT: Row = Row { openai: (504, "server_error"), anthropic: (504, "timeout_error") };
/// Nobody sees it; the status is nginx's for the same.
const GONE: Row = Row { openai: (499, "invalid_request_error"), anthropic: (499, "invalid_request_error") };
const INTERNAL: Row = Row { openai: (500, "server_error"), anthropic: (500, "api_error") };

impl From<ProviderError> for GatewayError {
    fn from(error: ProviderError) -> Self {
        Self::Upstream(error.into())
    }
}

impl From<Unneeded> for GatewayError {
    /// Of a call for which nothing was in flight.
    fn from(why: Unneeded) -> Self {
        match why {
            Unneeded::Stopping => Self::Stopping,
            Unneeded::ClientLeft | Unneeded::Overtaken => Self::ClientLeft,
        }
    }
}

impl GatewayError {
    /// The status, type and code of the failure in a dialect.
    pub fn fault(&self, dialect: Dialect) -> Fault {
        let (row, code) = self.row();
        let (status, kind) = match dialect {
            Dialect::OpenAi => row.openai,
            Dialect::Anthropic => row.anthropic,
        };
        Fault { status, kind, code, retry_after: self.retry_after(), should_retry: self.should_retry() }
    }

    fn row(&self) -> (Row, &'static str) {
        match self {
            Self::Body(JsonError::Malformed(_)) => (INVALID, "invalid_json"),
            Self::Body(JsonError::TooDeep) => (INVALID, "json_too_deep"),
            Self::Body(JsonError::Duplicate(_)) => (INVALID, "duplicate_key"),
            Self::Field { .. } => (INVALID, "invalid_value"),
            Self::Route(RouteError::UnknownModel { .. }) => (NOT_FOUND, "model_not_found"),
            Self::Route(RouteError::NotServed { .. }) => (INVALID, "not_served"),
            Self::Route(RouteError::NoneFits(_)) => (INVALID, "no_deployment_fits"),
            Self::Route(RouteError::NoAuto { .. }) => (NOT_FOUND, "model_not_found"),
            Self::Route(RouteError::NoProvider { .. }) => (NOT_FOUND, "not_served"),
            Self::Untranslatable { .. } => (INVALID, "untranslatable"),
            Self::CacheMiss => (TIMEOUT, "cache_miss"),
            Self::NotReplayed(NotReplayed::Running { .. }) => (CONFLICT, "idempotency_key_in_use"),
            Self::NotReplayed(NotReplayed::OtherBody { .. }) => (UNPROCESSABLE, "idempotency_key_reused"),
            Self::NotReplayed(
                NotReplayed::TooLarge { .. } | NotReplayed::Deleted { .. } | NotReplayed::Unanswered { .. },
            ) => (CONFLICT, "idempotency_answer_lost"),
            Self::NotReplayed(NotReplayed::Unavailable(_)) => (UNAVAILABLE, "idempotency_unavailable"),
            Self::ModelNotAllowed { .. } => (FORBIDDEN, "model_not_allowed"),
            Self::EndpointNotAllowed { .. } => (FORBIDDEN, "endpoint_not_allowed"),
            Self::OverBudget(budget) if budget.only_held() => (RATE_LIMIT, "budget_held"),
            Self::OverBudget(_) => (NO_MONEY, "budget_exceeded"),
            Self::RateLimited(_) => (RATE_LIMIT, "rate_limit_exceeded"),
            Self::Unpriced { .. } => (INVALID, "unpriced_model"),
            Self::Unbounded { .. } => (INVALID, "unbounded_cost"),
            Self::LedgerUnavailable { .. } => (UNAVAILABLE, "ledger_unavailable"),
            Self::Overloaded { .. } => (OVERLOADED, "overloaded"),
            Self::ClientLeft => (GONE, "client_left"),
            Self::Stopping => (UNAVAILABLE, "stopping"),
            Self::Upstream(no_answer) => upstream_row(&no_answer.error),
            Self::Internal => (INTERNAL, "internal"),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::OverBudget(budget) => budget.fits_in,
            Self::RateLimited(limited) => Some(limited.retry_after),
            Self::NotReplayed(NotReplayed::Running { retry_after, .. }) => Some(*retry_after),
            Self::NotReplayed(NotReplayed::Unavailable(error)) => {
                Some(Duration::from_secs(if error.is_busy() { 1 } else { 5 }))
            }
            Self::Stopping | Self::LedgerUnavailable { .. } => Some(STOPPING_TAKES),
            Self::Upstream(no_answer) if no_answer.is_stopping() => Some(STOPPING_TAKES),
            Self::Upstream(no_answer) => no_answer.retry_after(),
            Self::Overloaded { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    fn should_retry(&self) -> Option<bool> {
        match self {
            Self::OverBudget(budget) => Some(budget.only_held()),
            Self::Stopping | Self::NotReplayed(NotReplayed::Running { .. } | NotReplayed::Unavailable(_)) => Some(true),
            // Asked again and again, the answer would be the same.
            Self::NotReplayed(_) => Some(false),
            Self::CacheMiss => Some(false),
            Self::Upstream(no_answer) if no_answer.is_stopping() => Some(true),
            // Who asks again does what the gateway has decided against.
            Self::Upstream(no_answer) if no_answer.used_up().is_some() => Some(false),
            Self::Upstream(no_answer) if no_answer.has_hope_elsewhere() => None,
            Self::Upstream(no_answer) => is_final(&no_answer.error).then_some(false),
            _ => None,
        }
    }
}

/// Whether the same call would fail again, however often it is made.
fn is_final(error: &ProviderError) -> bool {
    match error {
        // A key that is refused or out of money is not mended by trying again, nor is an address.
        ProviderError::OutOfFunds { .. } | ProviderError::Unauthorized { .. } | ProviderError::Redirected { .. } => {
            true
        }
        // Nor is a request that is too large made smaller.
        ProviderError::RateLimited { is_of_request, .. } => *is_of_request,
        ProviderError::NoCredential { away, .. } => away.cause != Cause::Limited,
        _ => false,
    }
}

fn upstream_row(error: &ProviderError) -> (Row, &'static str) {
    let row = match error {
        ProviderError::Rejected { status: 404, .. } => NOT_FOUND,
        ProviderError::Rejected { status: 413, .. } => TOO_LARGE,
        ProviderError::Rejected { .. } => INVALID,
        ProviderError::OutOfFunds { .. } => NO_MONEY,
        ProviderError::NoCredential { away, .. } => match away.cause {
            Cause::Limited => RATE_LIMIT,
            Cause::Refused(Refusal::OutOfFunds) => NO_MONEY,
            Cause::Refused(Refusal::Unknown | Refusal::Forbidden | Refusal::OutOfScope) => BAD_GATEWAY,
        },
        ProviderError::RateLimited { .. } | ProviderError::Crowded { .. } => RATE_LIMIT,
        ProviderError::Overloaded { .. }
        | ProviderError::CircuitOpen { .. }
        // Nobody is told of it: of two attempts one is never overtaken, and whoever has left is not there.
        | ProviderError::GivenUp { why: Unneeded::Overtaken | Unneeded::ClientLeft, .. }
        | ProviderError::StreamError { overloaded: true, .. } => OVERLOADED,
        ProviderError::GivenUp { why: Unneeded::Stopping, .. } => UNAVAILABLE,
        ProviderError::Timeout { .. } => TIMEOUT,
        ProviderError::Connect { .. }
        | ProviderError::Lost { .. }
        | ProviderError::Broken { .. }
        | ProviderError::Unauthorized { .. }
        | ProviderError::Redirected { .. }
        | ProviderError::Garbage { .. }
        | ProviderError::BrokeOff { .. }
        | ProviderError::StreamError { .. } => BAD_GATEWAY,
    };
    (row, error.code())
}
