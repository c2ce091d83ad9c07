//! One call from its arrival to its booking: the phases, in order.

use std::sync::{Arc, OnceLock};

use crate::budget::Pass;
use crate::config::Config;
use crate::content::Excerpt;
use crate::dialect::Untranslatable;
use crate::domain::chat::ChatRequest;
use crate::domain::{CacheOutcome, Deployment, Endpoint, ModelId};
use crate::idempotency::Claim;
use crate::ledger::CallFacts;
use crate::routing::{Candidate, Plan, RouteError, Router};
use crate::telemetry::Running;

use super::answer::{Inbound, Refusal, UpstreamClient};
use super::attempt::Begun;
use super::audience::Audience;
use super::cached::Looked;
use super::downgrade::Turns;
use super::envelope::Envelope;
use super::error::GatewayError;
use super::no_answer::Reasons;
use super::prepare::Asked;
use super::translation;
use super::tried::Tried;
use super::{Gateway, InForce};

/// A call on its way.
pub(super) struct Call {
    pub(super) gateway: Arc<Gateway>,
    /// The settings and the router that it goes by, to its end.
    pub(super) in_force: Arc<InForce>,
    pub(super) client: Arc<UpstreamClient>,
    pub(super) inbound: Inbound,
    /// Who it is made for.
    pub(super) audience: Audience,
    pub(super) attempts: u32,
    pub(super) last: Option<Deployment>,
    /// The budgets that have sent it elsewhere.
    pub(super) turns: Turns,
    /// What its attempts have used up.
    pub(super) tried: Tried,
    /// Why deployments have not answered it.
    pub(super) reasons: Reasons,
    /// The cap that its output was lowered to for the attempt that runs, where a budget made it so.
    pub(super) clipped: Option<u64>,
    /// What the client is told, where that may be kept.
    pub(super) told: OnceLock<Excerpt>,
    /// Its place among all calls that run, whether or not anybody waits for it, until it has ended.
    pub(super) running: Option<Running>,
    /// Its place under the limits of its key, until it has ended.
    pub(super) pass: Option<Pass>,
    /// Its right to its idempotency key, until its answer is kept.
    pub(super) claim: Option<Claim>,
}

impl Call {
    /// Runs the call to its end; whoever waits for it is told, and it is booked even when nobody waits any more.
    pub(super) async fn run(mut self: Box<Self>) {
        if let Err(error) = self.serve().await {
            let refusal = Refusal { error, attempts: self.attempts, deployment: self.last.clone() };
            self.make_room();
            self.audience.answer(Err(refusal));
        }
    }

    async fn serve(&mut self) -> Result<(), GatewayError> {
        if self.inbound.endpoint.is_opaque() {
            return Box::pin(self.serve_opaque()).await;
        }
        let body = self.inbound.body.clone();
        let envelope = Envelope::parse(&body, self.inbound.endpoint)?;
        let planned = self.plan(&envelope, &envelope.model);
        if let Err(error @ GatewayError::ModelNotAllowed { .. }) = planned {
            return Err(error);
        }
        let mut facts = self.facts(&envelope)?;
        // Before everything that may have changed since: routes, health, the cache.
        if self.replay(&facts).await? {
            return Ok(());
        }
        let plan = match planned {
            Err(GatewayError::Route(RouteError::NotServed { .. }))
                if self.inbound.endpoint == Endpoint::CountTokens =>
            {
                self.count_here(facts).await;
                return Ok(());
            }
            Err(GatewayError::Route(RouteError::NoneFits(decision))) => {
                facts.decision = Some(Arc::clone(&decision));
                return Err(self.refuse(&facts, RouteError::NoneFits(decision).into()));
            }
            plan => plan?,
        };
        self.admit(&facts, &envelope).await?;
        let mut asked = Asked { envelope, facts, conversation: None };
        let keep = match self.look_up(&mut asked, &plan).await? {
            Looked::Answered => return Ok(()),
            Looked::Keep(keep) => Some(keep),
            Looked::Apart => None,
        };
        asked.facts.decision.clone_from(&plan.decision);
        asked.conversation = self.conversation(&body, &plan);
        // On the heap by itself: what finding an answer takes is free again while the answer goes out, which takes far longer.
        let committed = Box::pin(self.attempt_in_order(&mut asked, plan)).await?;
        // The answer of another route is none to the question that was asked.
        let keep = keep.filter(|_| self.turns.route().is_none());
        match committed.begun {
            Begun::Whole(_) => self.answer_whole(&asked, committed, keep).await,
            Begun::Stream(_) => self.answer_stream(&asked, committed, keep).await,
        }
    }

    /// The request without a dialect, where a candidate speaks another than the client.
    pub(super) fn conversation(&self, body: &[u8], plan: &Plan) -> Option<Result<ChatRequest, Untranslatable>> {
        let endpoint = self.inbound.endpoint;
        let is_other = |candidate: &Candidate| candidate.upstream.provider().asked_at(endpoint) != Some(endpoint);
        let version = self.inbound.headers.anthropic_version.as_deref();
        plan.candidates.iter().any(is_other).then(|| translation::read(endpoint, body, version))
    }

    pub(super) fn facts(&self, envelope: &Envelope<'_>) -> Result<CallFacts, GatewayError> {
        let inbound = &self.inbound;
        let requested_model = ModelId::new(&envelope.model)
            .map_err(|error| GatewayError::Field { param: "model", message: error.to_string() })?;
        Ok(CallFacts {
            id: inbound.id,
            key: inbound.caller.id.clone(),
            key_name: inbound.caller.name.as_str().into(),
            team: inbound.caller.team.as_ref().map(|team| team.as_str().into()),
            operation: Arc::clone(&inbound.operation),
            endpoint: inbound.endpoint,
            requested_model,
            stream: envelope.stream,
            cache: CacheOutcome::Bypass,
            kept_from: None,
            decision: None,
            client_request_id: inbound.client_request_id.clone(),
            trace: inbound.trace,
            tags: inbound.tags.clone(),
        })
    }

    /// Counts no more among those that run: before its last word, so that whoever has heard that may call again.
    pub(super) fn make_room(&mut self) {
        drop((self.running.take(), self.pass.take()));
    }

    /// The settings that it goes by.
    pub(super) fn config(&self) -> &Config {
        &self.in_force.config
    }

    /// Where it may go.
    pub(super) fn router(&self) -> &Arc<Router> {
        &self.in_force.router
    }
}
