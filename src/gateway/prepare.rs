//! An attempt before it is made: what it can cost at most, the request that makes it so, and the way back of its answer.

use std::sync::Arc;

use bytes::Bytes;

use crate::budget::Applying;
use crate::dialect::{Frame, Untranslatable};
use crate::domain::chat::{ChatRequest, Reasoning};
use crate::domain::{BudgetScope, Endpoint};
use crate::ledger::{CallFacts, Charge, Planned};
use crate::provider::{Credential, ForwardedHeaders, UpstreamRequest};
use crate::routing::Candidate;

use super::booking::millis;
use super::call::Call;
use super::ceiling::{Ceiling, NoBound, ceiling};
use super::envelope::{Envelope, Splices};
use super::error::GatewayError;
use super::hedge::shows_its_work;
use super::translation::{self, Translation};

/// What the client asks for, read for all attempts.
pub(super) struct Asked<'a> {
    pub(super) envelope: Envelope<'a>,
    pub(super) facts: CallFacts,
    /// The request without a dialect, where a candidate needs it translated.
    pub(super) conversation: Option<Result<ChatRequest, Untranslatable>>,
}

/// An attempt before it is reserved for.
pub(super) struct Prepared {
    pub(super) planned: Planned,
    pub(super) outgoing: Outgoing,
}

/// Output tokens that a model has at least that is told how hard to think and not for how long, where that becomes a number:
/// half of them for thinking, which takes no fewer.
const THINKING_OUTPUT_MIN: u64 = 2_048;

/// A request for a candidate, and the way back of its answer.
pub(super) struct Outgoing {
    pub(super) asked_at: Endpoint,
    pub(super) body: Bytes,
    pub(super) translation: Option<Translation>,
    pub(super) dropped: Vec<&'static str>,
}

impl Asked<'_> {
    /// Whether what a deployment has written by now can be told from what has come of its answer.
    pub(super) fn shows_work_of(&self, candidate: &Candidate) -> bool {
        shows_its_work(self.facts.stream, self.thinks() || self.envelope.thinking.is_some(), candidate)
    }

    /// Whether the model is asked to think, as far as a translation says it.
    fn thinks(&self) -> bool {
        let Some(Ok(conversation)) = &self.conversation else { return false };
        conversation.reasoning.is_some_and(|reasoning| reasoning != Reasoning::Off)
    }
}

impl Call {
    /// Works out what an attempt can cost at most, and the request that makes it so.
    pub(super) fn prepare(&self, asked: &Asked<'_>, candidate: &Candidate) -> Result<Prepared, GatewayError> {
        let Asked { envelope, facts, .. } = asked;
        let parts = self.gateway.parts();
        let now = parts.clock.now();
        let Applying { charges, turning, watched } = parts.budgets.applying(facts, &candidate.deployment, now);
        let bound = |body_len| {
            ceiling(envelope, body_len, candidate.facts.as_deref(), !charges.is_empty())
                .map_err(|reason| self.no_bound(reason, candidate, &charges))
        };
        let Ceiling { mut worst_case, output_cap } = bound(envelope.body_len())?;
        let outgoing = self.outgoing(asked, candidate, output_cap)?;
        if outgoing.translation.is_some() {
            if outgoing.body.len() > envelope.body_len() {
                worst_case = bound(outgoing.body.len())?.worst_case;
            }
            if asked.thinks() {
                worst_case = worst_case.with_floor(THINKING_OUTPUT_MIN);
            }
        }
        let planned = Planned {
            deployment: candidate.deployment.clone(),
            worst_case,
            charges,
            turning: self.turning(turning),
            watched,
            started_ms: millis(self.inbound.arrived.elapsed()),
        };
        Ok(Prepared { planned, outgoing })
    }

    fn no_bound(&self, reason: NoBound, candidate: &Candidate, charges: &[Charge]) -> GatewayError {
        match reason {
            NoBound::Unpriced => {
                let budgets = &self.gateway.parts().budgets;
                let definition = charges.first().and_then(|charge| budgets.definition(charge.budget));
                let scope = definition.map_or(BudgetScope::Everything, |budget| budget.scope.clone());
                let scope = self.scope_in_words(&scope);
                GatewayError::Unpriced { deployment: candidate.deployment.clone(), scope }
            }
            // What isn't read, such as a call for images, has no cost by its tokens.
            NoBound::Tool if self.inbound.endpoint.is_opaque() => {
                let path = self.inbound.endpoint.path();
                GatewayError::Unbounded {
                    what: format!("a call of {path}, whose price nobody can tell before it is made,"),
                }
            }
            NoBound::Tool => GatewayError::Unbounded { what: "something that the provider runs by itself".to_owned() },
            NoBound::Media => {
                let what = format!("media at {}, whose context size is not known,", candidate.deployment);
                GatewayError::Unbounded { what }
            }
        }
    }

    /// The request for a candidate: the client's own bytes where both speak the same dialect, else a translation.
    pub(super) fn outgoing(
        &self,
        asked: &Asked<'_>,
        candidate: &Candidate,
        output_cap: Option<u64>,
    ) -> Result<Outgoing, GatewayError> {
        let endpoint = self.inbound.endpoint;
        let provider = candidate.upstream.provider();
        let asked_at = provider.asked_at(endpoint).expect("the router leaves out who doesn't serve the path");
        if asked_at == endpoint {
            let splices = Splices {
                model: Some(candidate.deployment.model.as_str()),
                output_cap: output_cap.map(|cap| (provider.output_cap_field(endpoint), cap)),
                usage: !endpoint.is_opaque(),
            };
            let body = asked.envelope.splice(&self.inbound.body, &splices);
            return Ok(Outgoing { asked_at, body, translation: None, dropped: Vec::new() });
        }
        let refuse = |untranslatable: Untranslatable| GatewayError::Untranslatable {
            deployment: candidate.deployment.clone(),
            untranslatable,
        };
        let conversation = asked.conversation.as_ref().ok_or(GatewayError::Internal)?;
        let request = conversation.as_ref().map_err(|error| refuse(error.clone()))?;
        let written = translation::write(request, candidate, asked_at, output_cap).map_err(refuse)?;
        let frame = Frame {
            created: self.gateway.parts().clock.now().as_second(),
            include_usage: asked.envelope.usage_asked(),
            echo: translation::echo(endpoint, &self.inbound.body),
        };
        let translation = Translation { from: asked_at, to: endpoint, answer_tool: written.answer_tool, frame };
        let body = written.body.into();
        Ok(Outgoing { asked_at, body, translation: Some(translation), dropped: written.dropped })
    }

    /// The request as it leaves; what of the client's headers belongs to its dialect stays with it.
    pub(super) fn upstream_request(
        &self,
        asked_at: Endpoint,
        body: Bytes,
        translated: bool,
        credential: Option<Arc<Credential>>,
    ) -> UpstreamRequest {
        let headers = if translated {
            ForwardedHeaders { sandbox: self.inbound.headers.sandbox.clone(), ..ForwardedHeaders::default() }
        } else {
            self.inbound.headers.clone()
        };
        UpstreamRequest { endpoint: asked_at, opaque: self.inbound.opaque.clone(), body, headers, credential }
    }
}
