//! What goes into the gateway and what comes out: values between it and the HTTP server.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::mpsc;

use crate::cache::{Directives, NotKept};
use crate::domain::{CacheOutcome, Deployment, Endpoint, Picodollars, RequestId, Strategy, TraceParent};
use crate::idempotency::IdempotencyKey;
use crate::keys::VirtualKey;
use crate::ledger::Hold;
use crate::provider::{Client, ForwardedHeaders, Opaque};

use super::error::GatewayError;

/// The way to the providers: it takes no call without a reservation of the ledger.
pub type UpstreamClient = Client<Hold>;

/// Pieces of a stream that may wait for a client that reads slowly.
pub(super) const PIECES_LEN: usize = 16;

/// A call as a client sent it.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// Its id, handed out on arrival.
    pub id: RequestId,
    /// The path.
    pub endpoint: Endpoint,
    /// Who calls.
    pub caller: Arc<VirtualKey>,
    /// The body.
    pub body: Bytes,
    /// How it was made, where the path doesn't say it all.
    pub opaque: Option<Opaque>,
    /// What goes on of its headers.
    pub headers: ForwardedHeaders,
    /// The client's own id of the call.
    pub client_request_id: Option<Arc<str>>,
    /// The client's trace that it belongs to.
    pub trace: Option<TraceParent>,
    /// What the call is for.
    pub operation: Arc<str>,
    /// How its route shall choose, where the client says so.
    pub strategy: Option<Strategy>,
    /// The conversation that the client says it belongs to.
    pub session: Option<Arc<str>>,
    /// The client's labels, those of its key included.
    pub tags: Vec<(Arc<str>, Arc<str>)>,
    /// When it arrived.
    pub arrived: Instant,
    /// What the client says about the cache.
    pub cache: Directives,
    /// What the client sends again if it has to ask for the same call again.
    pub idempotency_key: Option<IdempotencyKey>,
    /// A limit on the whole call that is shorter than the provider's.
    pub timeout: Option<Duration>,
    /// Where it is written down why the answer is not kept; for who asks only so that it will be.
    pub not_kept: Option<Arc<OnceLock<NotKept>>>,
}

/// What came of a call.
pub type Outcome = Result<Answer, Refusal>;

/// A call that is not answered.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why.
    pub error: GatewayError,
    /// How many attempts were made.
    pub attempts: u32,
    /// Where the last one went.
    pub deployment: Option<Deployment>,
}

impl From<GatewayError> for Refusal {
    fn from(error: GatewayError) -> Self {
        Self { error, attempts: 0, deployment: None }
    }
}

/// A call that is answered.
#[derive(Debug)]
pub struct Answer {
    /// Which deployment answers; absent where the gateway does.
    pub deployment: Option<Deployment>,
    /// How many attempts were made.
    pub attempts: u32,
    /// What is left under the tightest budget that applies: with what is held for a stream, with what a whole answer cost.
    pub budget_remaining: Option<Picodollars>,
    /// What the response cache did.
    pub cache: CacheOutcome,
    /// Which kept answer it is, where it is one.
    pub kept: Option<KeptAnswer>,
    /// The call whose answer it is, where that was asked for again with the same idempotency key.
    pub replay_of: Option<RequestId>,
    /// The provider's own id of the request.
    pub upstream_request_id: Option<Arc<str>>,
    /// Whether the answer is an estimate of the gateway's own.
    pub estimated: bool,
    /// The cap on output tokens that a budget lowered the call's to.
    pub clipped: Option<u64>,
    /// The route that a budget sent the call to at its limit.
    pub downgraded: Option<Arc<str>>,
    /// What of the request the provider's dialect could not use, and was left out.
    pub dropped: Vec<Cow<'static, str>>,
    /// The answer itself.
    pub body: AnswerBody,
}

/// An answer that the cache gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// How long ago it was kept.
    pub age: Duration,
    /// The name of its entry.
    pub entry: String,
}

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// All of it, booked already.
    Whole {
        /// The bytes, as they came where the dialect is the same.
        bytes: Bytes,
        /// Their type, where it isn't JSON.
        content_type: Option<HeaderValue>,
        /// What it cost; absent where no price is known.
        cost: Option<Picodollars>,
    },
    /// Piece by piece; the last one comes when the call is booked. Dropping it tells the call that the client has gone.
    Stream(mpsc::Receiver<Piece>),
}

/// A piece of a stream.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes as they came.
    Bytes(Bytes),
    /// The last of them. A stream without it was cut.
    End(Bytes),
    /// The stream ends with this failure.
    Failed(GatewayError),
}
