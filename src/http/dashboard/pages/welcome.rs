//! `/welcome`: three steps to the first answer.

use std::time::Duration;

use actix_web::cookie::{Cookie, SameSite};
use actix_web::{HttpResponse, web};

use super::super::answer::{PageError, blocking, ok};
use super::super::format::{counted, duration, money_cell};
use super::super::session::Visitor;
use super::super::summary::Shared;
use super::super::view::{Badge, Entry, FirstCall, FirstCallFacts, Layout, ProviderState, Tone, WelcomePage};
use super::overview::GUIDE_SEEN;
use super::{clock, layout};
use crate::domain::{Dialect, EntryStatus, ProviderKind};
use crate::http::State;
use crate::keys::KeyStatus;
use crate::ledger::EntryFilter;
use crate::routing::Router;

/// Small models that most accounts may call, for the snippets; the first that a provider has is taken.
const SMALL_MODELS: [(Dialect, &[&str]); 2] = [
    (Dialect::OpenAi, &["gpt-5-mini", "gpt-4.1-mini", "gpt-4o-mini"]),
    (Dialect::Anthropic, &["claude-haiku-4-5", "claude-3-5-haiku-latest", "claude-sonnet-4-5"]),
];
/// Names of keys that are told.
const KEYS_TOLD_MAX: usize = 3;

/// Shows the guide.
pub(in super::super) async fn show(visitor: Visitor, shared: web::Data<Shared>) -> Result<HttpResponse, PageError> {
    let state = visitor.state.clone();
    let first_call = blocking(move || first_call(&state)).await?;
    let router = visitor.state.gateway.router();
    let page = WelcomePage {
        layout: Layout {
            events: Some("/events?topics=request"),
            ..layout(&visitor, &shared, "Get started", Entry::Welcome).await?
        },
        address: visitor.address.clone(),
        providers: providers(&router),
        keys: keys(&visitor.state),
        openai_model: model(&router, Dialect::OpenAi),
        anthropic_model: model(&router, Dialect::Anthropic),
        first_call,
    };
    let mut response = ok(&page);
    let seen = Cookie::build(GUIDE_SEEN, "seen").path("/").http_only(true).same_site(SameSite::Lax);
    let seen = seen.secure(visitor.transport.is_https).finish();
    // A cookie that can't be set costs nothing but one more look at the guide.
    let _ = response.add_cookie(&seen);
    Ok(response)
}

fn first_call(state: &State) -> FirstCall {
    let filter = EntryFilter { status: Some(EntryStatus::Settled), ..EntryFilter::default() };
    let page = state.ledger.entries(&filter, None, 2).inspect_err(|error| {
        tracing::warn!("the first call could not be looked for: {error}");
    });
    let mut entries = page.map(|page| page.items).unwrap_or_default().into_iter();
    let (entry, is_first) = (entries.next(), entries.next().is_none());
    let call = entry.map(|entry| FirstCallFacts {
        heading: if is_first { "Your first call arrived." } else { "Calls arrive. The last one:" },
        href: format!("/requests/{}", entry.facts.id),
        model: entry.facts.requested_model.to_string(),
        provider: entry.provider().map_or_else(|| "the cache".to_owned(), ToString::to_string),
        length: duration(Duration::from_millis(entry.latency_ms.into())),
        cost: money_cell(entry.cost()),
        time: clock(state).ago(entry.time()),
    });
    FirstCall { call }
}

fn providers(router: &Router) -> Vec<ProviderState> {
    let state = |upstream: &std::sync::Arc<crate::provider::Upstream>| {
        let models = router.catalog().models(upstream.catalog()).count() as u64;
        let text = match (upstream.kind(), models) {
            (ProviderKind::Sandbox, _) => "Built in: answers any model name, and nobody is paid.".to_owned(),
            (_, 0) => format!("at {}; its models have no listed prices", upstream.host()),
            (_, models) => format!("at {}, {} with known prices", upstream.host(), counted(models, "model", "models")),
        };
        ProviderState { badge: Badge::new(upstream.name().to_string(), Tone::Ok), text, is_usable: true }
    };
    router.upstreams().iter().map(state).collect()
}

fn keys(state: &State) -> Option<String> {
    let now = state.clock.now();
    let keys = state.keys.list();
    let mut live: Vec<_> = keys.iter().filter(|key| key.status(now) == KeyStatus::Live).collect();
    live.sort_by_key(|key| key.created);
    if live.is_empty() {
        return None;
    }
    let mut names = live.iter().take(KEYS_TOLD_MAX).map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ");
    if live.len() > KEYS_TOLD_MAX {
        names.push_str(" and others");
    }
    Some(format!("{}: {names}", counted(live.len() as u64, "key", "keys")))
}

/// A model that calls of a dialect can ask for here.
fn model(router: &Router, dialect: Dialect) -> String {
    let speaks = |kind: ProviderKind| match kind {
        ProviderKind::OpenAi | ProviderKind::OpenAiCompatible => dialect == Dialect::OpenAi,
        ProviderKind::Anthropic => dialect == Dialect::Anthropic,
        ProviderKind::Sandbox => true,
    };
    let usual = SMALL_MODELS.iter().find(|(of, _)| *of == dialect).map_or(&[][..], |(_, models)| models);
    let upstreams = || router.upstreams().iter().filter(|upstream| speaks(upstream.kind()));
    let has = |model: &&&str| upstreams().any(|upstream| router.catalog().knows(upstream.catalog(), model));
    if let Some(model) = usual.iter().find(has) {
        return (*model).to_owned();
    }
    let first = upstreams().find_map(|upstream| Some((upstream, router.catalog().models(upstream.catalog()).next()?)));
    match first {
        Some((upstream, _)) if upstream.kind() == ProviderKind::Sandbox => "sandbox-small".to_owned(),
        Some((_, facts)) => facts.id.to_string(),
        None => usual.first().map_or_else(String::new, |model| (*model).to_owned()),
    }
}
