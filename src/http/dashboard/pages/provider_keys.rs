//! The keys of providers that are not ready: shown on `/providers`, and put to use again by hand.

use std::time::Instant;

use actix_web::{HttpResponse, web};
use jiff::SignedDuration;

use super::super::answer::{PageError, done};
use super::super::form::href;
use super::super::session::Submission;
use super::super::view::{Badge, KeyLine, Phrase, Tone};
use super::clock;
use crate::http::State;
use crate::provider::{CredentialState, Upstream};

/// The keys that are refused or limited, at their provider or at a part of it; each with a button where `may_enable`.
pub(super) fn lines(state: &State, may_enable: bool) -> Vec<KeyLine> {
    let (router, now) = (state.gateway.router(), Instant::now());
    router.upstreams().iter().flat_map(|upstream| lines_of(state, upstream, may_enable, now)).collect()
}

fn lines_of(state: &State, upstream: &Upstream, may_enable: bool, now: Instant) -> Vec<KeyLine> {
    let clock = clock(state);
    let at = |until: Instant| {
        let left = SignedDuration::try_from(until.saturating_duration_since(now)).unwrap_or_default();
        clock.clock_time(state.clock.now() + left).text
    };
    let words = |key: CredentialState| match key {
        CredentialState::Ready => None,
        CredentialState::Cooling { until, .. } => {
            Some((Badge::new("Limited", Tone::Warn), format!("The provider limits its rate until {}", at(until))))
        }
        CredentialState::Disabled { refusal, until, .. } => {
            let again = format!("It {}; a call tries it again at {}", refusal.words(), at(until));
            Some((Badge::new("Refused", Tone::Bad), again))
        }
        CredentialState::HalfOpen { refusal, .. } => {
            let again = format!("It {}; the next call shows whether it still is so", refusal.words());
            Some((Badge::new("Tried again", Tone::Warn), again))
        }
    };
    let mut lines = Vec::new();
    for standing in upstream.credentials().standings(now) {
        let elsewhere = standing.elsewhere.iter().map(|(scope, key)| (format!(" at {scope}"), *key));
        let states = std::iter::once((String::new(), standing.state)).chain(elsewhere);
        let found = states.filter_map(|(scope, key)| words(key).map(|(badge, words)| (scope, badge, words)));
        let enable = format!("/providers/{}/keys/{}/enable", upstream.name(), standing.position);
        lines.extend(found.map(|(scope, state, words)| KeyLine {
            provider: upstream.name().to_string(),
            key: format!("{}{scope}", standing.name()),
            state,
            words,
            enable: may_enable.then(|| enable.clone()),
        }));
    }
    lines
}

/// `POST /providers/{name}/keys/{position}/enable`: the key is used at once, whatever was shown of it.
pub(in super::super) async fn enable(
    submission: Submission,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, PageError> {
    let Submission { visitor, .. } = submission;
    let (name, position) = path.into_inner();
    let router = visitor.state.gateway.router();
    let upstream = router.upstream(&name).ok_or(PageError::NotFound)?;
    if !upstream.credentials().enable(position.parse().unwrap_or_default(), Instant::now()) {
        return Err(PageError::NotFound);
    }
    tracing::info!("user {:?} enabled key {position} of the provider {name}", visitor.session.user.name);
    Ok(done(&href("/providers", &[("enabled", &format!("{name}/{position}"))]), visitor.is_htmx))
}

/// What is told of a key that was just put to use again.
pub(super) fn enabled(state: &State, given: &str) -> Option<Phrase> {
    let (name, position) = given.split_once('/')?;
    let router = state.gateway.router();
    let standings = router.upstream(name)?.credentials().standings(Instant::now());
    let key = standings.iter().find(|standing| standing.position.to_string() == position)?;
    Some(Phrase::new(format!("The next calls use {} of {name} again.", key.name())))
}
