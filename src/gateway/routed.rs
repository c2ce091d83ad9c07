//! The way of a call: what the router is asked, what it is told of how the call went, and what it would do with a sample.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::domain::{
    Billed, Considered, Decision, Deployment, Endpoint, EndpointFamily, Reason, ServiceTier, Strategy, TokenUsage,
};
use crate::keys::VirtualKey;
use crate::routing::{Asking, Candidate, PROMPT_BYTES_MIN, Plan, Prefix, Router, Timing, Turn, Wait};

use super::Gateway;
use super::call::Call;
use super::envelope::Envelope;
use super::error::GatewayError;
use super::outlook::HedgeOutlook;
use super::prepare::Asked;

/// A longer body is not looked into after its call: what providers take is shorter, media apart.
const PROMPT_BYTES_MAX: usize = 4 << 20;

/// A call that is not made, to see what would become of it.
pub struct Sample<'a> {
    /// The path.
    pub endpoint: Endpoint,
    /// The body; `{}` for one of which nothing is known.
    pub body: &'a [u8],
    /// What it would be for.
    pub operation: &'a str,
    /// The strategy that it would ask for.
    pub strategy: Option<Strategy>,
    /// Who would make it.
    pub caller: Option<&'a VirtualKey>,
    /// Its conversation.
    pub session: Option<&'a str>,
    /// Whether it would be streamed, whatever its body says.
    pub stream: Option<bool>,
    /// A number for chance.
    pub dice: u64,
}

/// What would become of a call.
pub struct Explained {
    /// Where it would go.
    pub plan: Plan,
    /// Why.
    pub decision: Decision,
    /// When a second attempt would start beside the first; absent where the route has none.
    pub hedge: Option<HedgeOutlook>,
}

impl Call {
    /// Where the call may go under a name: the one that it asks for, or another that it is sent to. Refused where its key may
    /// not ask for that.
    pub(super) fn plan(&self, envelope: &Envelope<'_>, name: &str) -> Result<Plan, GatewayError> {
        let inbound = &self.inbound;
        let sample = Sample {
            endpoint: inbound.endpoint,
            body: &inbound.body,
            operation: &inbound.operation,
            strategy: inbound.strategy,
            caller: Some(&inbound.caller),
            session: inbound.session.as_deref(),
            stream: None,
            dice: dice(inbound.id.number()),
        };
        plan(self.router(), envelope, name, &sample, self.gateway.parts().clock.now())
    }

    /// Whether the key may ask for a model by this name.
    pub(super) fn may_ask_for(&self, model: &str) -> Result<(), GatewayError> {
        if self.inbound.caller.allows_model(model) { Ok(()) } else { Err(not_allowed(&self.inbound.caller, model)) }
    }

    /// Learns how long the answer to a route's call took to begin.
    pub(super) fn learn_wait(&self, asked: &Asked<'_>, candidate: &Candidate, began: Instant) {
        if asked.facts.decision.is_some() {
            let (router, now) = (self.router(), Instant::now());
            let wait = Wait::Came(now.saturating_duration_since(began));
            router.experience().note_wait(&candidate.deployment, asked.facts.stream, wait, now);
        }
    }

    /// Learns from an answer that came to its end how fast it came and how long it was, by the provider's count or by ours.
    pub(super) fn learn_speed(&self, asked: &Asked<'_>, candidate: &Candidate, timing: Timing) {
        let (facts, now) = (&asked.facts, Instant::now());
        if let Some(Decision { route, .. }) = facts.decision.as_deref() {
            let router = self.router();
            router.experience().note_timing(&candidate.deployment, timing, now);
            let each = timing.tokens / asked.envelope.choices.max(1);
            router.experience().note_length(route, &facts.operation, each, now);
        }
    }

    /// Learns from an answer with the provider's own usage what it says of the prompt cache, after the client has its answer.
    pub(super) fn learn_turn(&self, asked: &Asked<'_>, candidate: &Candidate, usage: &TokenUsage) {
        let (facts, now) = (&asked.facts, Instant::now());
        let router = self.router();
        let experience = router.experience();
        let decision = facts.decision.as_deref();
        let is_drawn = decision.is_some_and(|decision| decision.strategy == Strategy::Weighted);
        let body = &self.inbound.body;
        if body.len() > PROMPT_BYTES_MAX || (body.len() < PROMPT_BYTES_MIN && !is_drawn) {
            return;
        }
        let session = self.inbound.session.as_deref();
        let Some(prefix) = Prefix::of(self.inbound.endpoint, body, facts.key.as_str(), session) else { return };
        let was_elsewhere = |decision: &Decision| {
            decision.reason == Reason::Conversation || decision.considered.iter().any(|seen| seen.obstacle.is_some())
        };
        let turn = Turn {
            prefix: &prefix,
            request: facts.id,
            key: &facts.key,
            route: &Arc::from(facts.requested_model.as_str()),
            candidate,
            is_strayed: decision.is_some_and(|decision| self.attempts > 1 || was_elsewhere(decision)),
            usage,
            at: self.gateway.parts().clock.now(),
            may_quote: self.gateway.parts().content.keeps(self.config().log.bodies, false),
        };
        experience.learn(&turn, now);
    }
}

impl Gateway {
    /// What would become of a call to a route or model, and why; nobody is called.
    pub fn explain(&self, name: &str, sample: &Sample<'_>) -> Result<Explained, GatewayError> {
        let router = self.router();
        let envelope = Envelope::sample(sample.body, sample.endpoint)?;
        if let Some(caller) = sample.caller {
            may_call(caller, sample.endpoint.family())?;
        }
        let plan = plan(&router, &envelope, name, sample, self.parts().clock.now())?;
        let seen = |candidate: &Candidate| Considered {
            obstacle: candidate.obstacle(sample.endpoint, Instant::now()),
            ..Considered::new(candidate.deployment.clone())
        };
        let decision = plan.decision.as_deref().cloned().unwrap_or_else(|| Decision {
            route: name.into(),
            strategy: Strategy::Primary,
            reason: Reason::Named,
            input_tokens: None,
            output_tokens: None,
            considered: plan.candidates.iter().map(seen).collect(),
            more: 0,
        });
        let hedge = self.hedge_outlook(&plan, &envelope, sample);
        Ok(Explained { plan, decision, hedge })
    }
}

/// Refuses a key that was not let in to endpoints of a family.
pub fn may_call(caller: &VirtualKey, family: EndpointFamily) -> Result<(), GatewayError> {
    if caller.allows_endpoint(family) {
        return Ok(());
    }
    let allowed: Vec<&str> = caller.allowed_endpoints.iter().flatten().map(|family| family.as_str()).collect();
    let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
    Err(GatewayError::EndpointNotAllowed { family, allowed })
}

fn plan(
    router: &Router,
    envelope: &Envelope<'_>,
    name: &str,
    sample: &Sample<'_>,
    at: Timestamp,
) -> Result<Plan, GatewayError> {
    let allows = |deployment: &Deployment| sample.caller.is_none_or(|caller| allows(caller, deployment));
    let is_whole = sample.caller.is_none_or(|caller| caller.allows_model(name));
    if let Some(caller) = sample.caller.filter(|_| !is_whole) {
        // A key that may use some of what stands behind a route may ask for the route, and gets those.
        let route = router.route(name, sample.operation);
        if !route.is_some_and(|route| route.deployments.iter().any(allows)) {
            return Err(not_allowed(caller, name));
        }
    }
    let mut asking = Asking::plain(sample.endpoint, at);
    asking.operation = sample.operation;
    asking.strategy = sample.strategy;
    asking.body = sample.body;
    asking.needs = envelope.needs;
    asking.output_cap = envelope.output_cap;
    asking.choices = envelope.choices;
    asking.billed = Billed {
        tier: envelope.service_tier.as_deref().map(ServiceTier::from_word).unwrap_or_default(),
        fast: envelope.fast,
        ..Billed::plainly(at)
    };
    asking.key = sample.caller.map_or("", |caller| caller.id.as_str());
    asking.session = sample.session;
    asking.allows = if is_whole { None } else { Some(&allows) };
    asking.dice = sample.dice;
    Ok(router.plan(name, &asking, Instant::now())?)
}

fn allows(caller: &VirtualKey, deployment: &Deployment) -> bool {
    caller.allows_model(deployment.model.as_str()) || caller.allows_model(&deployment.to_string())
}

fn not_allowed(caller: &VirtualKey, model: &str) -> GatewayError {
    let allowed = match caller.allowed_models.as_deref() {
        None | Some([]) => "none".to_owned(),
        Some(patterns) => patterns.join(", "),
    };
    GatewayError::ModelNotAllowed { model: model.chars().take(128).collect(), allowed }
}

/// A number for chance from an id: what differs between ids is at their ends.
#[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
fn dice(id: u128) -> u64 {
    (id as u64) ^ ((id >> 64) as u64)
}
