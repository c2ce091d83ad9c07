//! The life of a call: read, routed, reserved for, tried, relayed, booked.
//!
//! [`Gateway::begin`] starts a task that owns the call from then on: a client that hangs up takes nothing with it. The phases stand in
//! `call`; attempts and what follows their failure in `fallback`, what a client is told of it in `no_answer`, a second one beside a slow one in `hedge`; a stream on its way in `relay`; who all of it is for, in `audience`. Nothing goes upstream without
//! a [`crate::ledger::Reservation`], and the last piece of an answer leaves only when the call is booked. The HTTP server sees values
//! alone: [`Inbound`] in, [`Answer`] or [`Refusal`] out.

mod admission;
mod answer;
mod attempt;
mod audience;
mod booking;
mod cached;
mod call;
mod ceiling;
mod deliver;
mod downgrade;
mod envelope;
mod error;
mod fallback;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod hedge;
mod idempotent;
mod in_force;
mod no_answer;
mod opaque;
mod outlet;
mod outlook;
mod passage;
mod place;
mod prepare;
mod recast;
mod record;
mod relay;
mod routed;
mod settle;
mod translation;
mod tried;
mod underestimate;
mod verdict;

use std::sync::{Arc, OnceLock, RwLock};

use tokio::sync::Semaphore;

use crate::budget::{Budgets, Rates};
use crate::cache::Cache;
use crate::config::OnDisconnect;
use crate::content::Content;
use crate::domain::RequestIds;
use crate::idempotency::Idempotency;
use crate::keys::Keys;
use crate::ledger::Ledger;
use crate::routing::Router;
use crate::runtime::{Clock, Tasks};
use crate::shared::Shared;
use crate::telemetry::{Metrics, Running};

pub use answer::{Answer, AnswerBody, Inbound, Outcome, Piece, Refusal, UpstreamClient};
pub use audience::Waiting;
pub use error::{Fault, GatewayError};
pub use idempotent::NotReplayed;
pub use in_force::InForce;
pub use no_answer::NoAnswer;
pub use opaque::below;
pub use outlook::HedgeOutlook;
pub use routed::{Explained, Sample, may_call};

use audience::Audience;
use call::Call;
use downgrade::Turns;
use no_answer::Reasons;
use tried::Tried;

/// Calls that go on at once after their clients have gone.
const DRAINS_MAX: usize = 64;

/// What a gateway is made of.
pub struct Parts {
    /// What calls cost.
    pub ledger: Arc<Ledger>,
    /// What they may cost.
    pub budgets: Arc<Budgets>,
    /// The answers that are kept.
    pub cache: Arc<Cache>,
    /// The Redis whose limits count for all instances, where they share one.
    pub shared: Option<Arc<Shared>>,
    /// Who makes them.
    pub keys: Arc<Keys>,
    /// What of them is kept beside the ledger.
    pub content: Arc<Content>,
    /// Which of them were made before.
    pub idempotency: Arc<Idempotency>,
    /// What is counted of them.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
    /// Where they run.
    pub tasks: Tasks,
    /// Their ids.
    pub ids: RequestIds,
}

/// Takes calls from clients to providers and books them.
pub struct Gateway {
    parts: Parts,
    /// The one thing here that a reload of the settings changes.
    in_force: RwLock<Arc<InForce>>,
    drains: Arc<Semaphore>,
    rates: Arc<Rates>,
}

impl Gateway {
    /// A gateway over its parts.
    pub fn new(parts: Parts, in_force: InForce) -> Self {
        let rates = Arc::new(Rates::new(parts.shared.clone(), parts.tasks.clone()));
        let in_force = RwLock::new(Arc::new(in_force));
        Self { parts, in_force, drains: Arc::new(Semaphore::new(DRAINS_MAX)), rates }
    }

    /// What holds for whatever begins now: to be asked once, so that nothing mixes two states of the settings.
    pub fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.read().expect("no holder of this lock panics"))
    }

    /// Puts other settings into force for whatever begins from now on; what runs ends as it began.
    pub fn put_in_force(&self, in_force: InForce) {
        let in_force = Arc::new(in_force);
        let before = std::mem::replace(&mut *self.in_force.write().expect("no holder of this lock panics"), in_force);
        // Outside the lock: it may be the last holder of a whole price list.
        drop(before);
    }

    /// Where calls go now.
    pub fn router(&self) -> Arc<Router> {
        Arc::clone(&self.in_force().router)
    }

    /// The parts that it is made of.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Starts a call on the runtime of the thread that asks, with that thread's client, under the settings that its request
    /// was taken in with; it counts as running to its end. Dropping what is returned tells the call that its client has gone; it is booked all the same.
    pub fn begin(
        self: &Arc<Self>,
        in_force: Arc<InForce>,
        client: &Arc<UpstreamClient>,
        inbound: Inbound,
        running: Running,
    ) -> Waiting {
        let reads_on = in_force.config.streams.on_disconnect == OnDisconnect::Drain;
        let drains = reads_on.then(|| Arc::clone(&self.drains));
        let (audience, waiting) = Audience::new(self.parts.tasks.ending(), drains);
        let call = Box::new(Call {
            gateway: Arc::clone(self),
            in_force,
            client: Arc::clone(client),
            inbound,
            audience,
            running: Some(running),
            attempts: 0,
            last: None,
            told: OnceLock::new(),
            turns: Turns::default(),
            tried: Tried::default(),
            reasons: Reasons::default(),
            clipped: None,
            pass: None,
            claim: None,
        });
        // On the heap from the start: the runtime moves what it is given several times, and a call's state is some kilobytes.
        self.parts.tasks.spawn(Box::pin(call.run()));
        waiting
    }

    /// The id of the next call.
    pub fn next_id(&self) -> crate::domain::RequestId {
        self.parts.ids.next(self.parts.clock.now().as_millisecond())
    }
}
