//! Why a call goes where it goes, on `/providers`: the form that asks, and what would become of the call.

use std::sync::Arc;

use super::super::form::Fields;
use super::super::format::{counted, duration};
use super::super::view::{DecisionCard, Explanation, Phrase, Select, SelectOption, WhyForm};
use super::decision;
use super::routing::{OPERATION_PLAIN, capitalized};
use crate::config::{Choice as _, Operation};
use crate::domain::{Decision, Deployment, Endpoint, Name, Reason, Strategy};
use crate::gateway::{Explained, GatewayError, HedgeOutlook, Sample};
use crate::http::State;
use crate::http::explain::{ENDPOINTS, live_key};
use crate::http::inference::{session_name, strategies};
use crate::keys::{KeyStatus, VirtualKey};
use crate::routing::{AUTO, Candidate, Plan, RouteError};

/// Words of a form for whether a call is streamed.
const STREAM: [(&str, &str); 3] = [("", "as the request says"), ("true", "a stream"), ("false", "whole")];

/// The form as it was sent, and what would become of the call, where a route was named.
pub(super) fn explain(state: &State, fields: &Fields) -> (WhyForm, Option<Explanation>) {
    let mut form = form(state, fields);
    let Some(name) = fields.given("route") else { return (form, None) };
    let session = fields.given("session").map(session_name).transpose();
    let session = session.unwrap_or_else(|error| {
        form.session.error = Some(format!("This can be no session: {error}."));
        None
    });
    let endpoint = ENDPOINTS.into_iter().find(|endpoint| endpoint.as_str() == fields.text("endpoint"));
    let endpoint = endpoint.unwrap_or(Endpoint::ChatCompletions);
    let key = match fields.given("key").map(|named| live_key(state, named)) {
        // Such a link was made while it was.
        Some(None) => return (form, Some(unknown_key(name))),
        key => key.flatten(),
    };
    let sample = Sample {
        endpoint,
        body: fields.given("body").unwrap_or("{}").as_bytes(),
        operation: fields.given("operation").unwrap_or(OPERATION_PLAIN),
        strategy: strategies().find(|strategy| strategy.as_str() == fields.text("strategy")),
        caller: key.as_deref(),
        session: session.as_ref().map(Name::as_str),
        stream: fields.text("stream").parse().ok(),
        dice: getrandom::u64().unwrap_or_default(),
    };
    match state.gateway.explain(name, &sample) {
        Err(error @ (GatewayError::Body(_) | GatewayError::Field { .. })) => {
            form.body.error = Some(format!("This is no request: {error}."));
            (form, None)
        }
        _ if form.session.error.is_some() => (form, None),
        Ok(explained) => (form, Some(explanation(&explained))),
        Err(error) => (form, Some(refusal(name, &error, endpoint))),
    }
}

fn form(state: &State, fields: &Fields) -> WhyForm {
    let router = state.gateway.router();
    let select = |name: &'static str, label: &'static str, options: Vec<(&str, &str)>| {
        let current = fields.text(name);
        let mut options: Vec<SelectOption> =
            options.into_iter().map(|(value, label)| SelectOption::new(value, label, current)).collect();
        // What came by a link, such as a model: it stays chosen.
        let is_free = matches!(name, "route" | "key");
        if is_free && !current.is_empty() && !options.iter().any(|option| option.is_selected) {
            options.push(SelectOption::new(current, current, current));
        }
        Select { name, label, options }
    };
    let mut names: Vec<(&str, &str)> = router.routes().iter().map(|route| (&*route.name, &*route.name)).collect();
    names.push((AUTO, AUTO));
    let strategies = strategies().map(|strategy: Strategy| (strategy.as_str(), strategy.as_str()));
    let operations = Operation::all().iter().map(|operation| (operation.as_str(), operation.as_str()));
    let keys = live_keys(state);
    let keys = keys.iter().map(|(key, label)| (key.id.as_str(), label.as_str()));
    WhyForm {
        selects: vec![
            select("route", "Route", names),
            select("strategy", "Strategy", std::iter::once(("", "the route’s own")).chain(strategies).collect()),
            select("operation", "Operation", operations.collect()),
            select("endpoint", "Path", ENDPOINTS.iter().map(|endpoint| (endpoint.as_str(), endpoint.path())).collect()),
            select("key", "Virtual key", std::iter::once(("", "one that may use everything")).chain(keys).collect()),
            select("stream", "Answer", STREAM.to_vec()),
        ],
        session: fields.field("session"),
        body: fields.field("body"),
    }
}

/// The keys that calls can be made with, and what tells them apart: names are unique within a team alone.
fn live_keys(state: &State) -> Vec<(Arc<VirtualKey>, String)> {
    let now = state.clock.now();
    let live = state.keys.list().into_iter().filter(|key| key.status(now) == KeyStatus::Live);
    let label = |key: &VirtualKey| match &key.team {
        Some(team) => format!("{} of {team}", key.name),
        None => key.name.clone(),
    };
    let mut keys: Vec<(Arc<VirtualKey>, String)> = live.map(|key| (Arc::clone(&key), label(&key))).collect();
    keys.sort_by(|(_, one), (_, other)| one.cmp(other));
    keys
}

fn explanation(Explained { plan, decision, hedge }: &Explained) -> Explanation {
    let (asked, unasked) = plan.within_attempts();
    let is_unasked = |deployment: &Deployment| unasked.iter().any(|candidate| candidate.deployment == *deployment);
    let card = decision::card(decision, is_unasked);
    Explanation {
        sentence: sentence(decision, &card),
        order: order(plan, asked),
        hedge: hedge.as_ref().map(in_words).unwrap_or_default(),
        decision: card,
        is_refusal: false,
    }
}

fn sentence(decision: &Decision, card: &DecisionCard) -> Phrase {
    let sentence = Phrase::new("It would go to ").strong(card.chosen.clone()).text(format!(": {}.", card.reason));
    if decision.reason == Reason::Named {
        return sentence;
    }
    sentence.text(" The route ").code(card.route.clone()).text(format!(" chooses by {}.", card.strategy))
}

fn order(plan: &Plan, asked: &[Candidate]) -> String {
    let asked: Vec<String> = asked.iter().map(|candidate| candidate.deployment.to_string()).collect();
    let attempts = counted(plan.attempts_max.into(), "attempt", "attempts");
    match asked.as_slice() {
        [] | [_] => format!("After a failure nobody else is asked; at most {attempts}."),
        [_, rest @ ..] => format!("After a failure: {}; at most {attempts} in all.", rest.join(", then ")),
    }
}

/// When a second attempt would start beside a slow first one, or why none would.
fn in_words(outlook: &HedgeOutlook) -> String {
    match (outlook.after, &outlook.deployment, &outlook.reason) {
        (Some(after), Some(deployment), None) => {
            format!("After {} of silence a second attempt would start at {deployment}.", duration(after))
        }
        (_, _, Some(reason)) => {
            format!("No second attempt would start beside a slow first one. {}.", capitalized(reason))
        }
        _ => String::new(),
    }
}

fn unknown_key(name: &str) -> Explanation {
    let sentence = "With status 401: this is no virtual key that works. Its time may be over, or it was revoked.";
    refused(name, sentence.to_owned(), None)
}

fn refusal(name: &str, error: &GatewayError, endpoint: Endpoint) -> Explanation {
    let decision = match error {
        GatewayError::Route(RouteError::NoneFits(decision)) => Some(decision::card(decision, |_| false)),
        _ => None,
    };
    let status = error.fault(endpoint.dialect()).status;
    refused(name, format!("With status {status}: {error}."), decision)
}

fn refused(name: &str, sentence: String, decision: Option<DecisionCard>) -> Explanation {
    let nobody = || DecisionCard {
        route: name.to_owned(),
        strategy: "",
        chosen: String::new(),
        reason: "",
        lines: Vec::new(),
        note: None,
    };
    Explanation {
        sentence: Phrase::new(sentence),
        order: String::new(),
        hedge: String::new(),
        decision: decision.unwrap_or_else(nobody),
        is_refusal: true,
    }
}
