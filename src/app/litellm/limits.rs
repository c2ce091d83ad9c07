//! Time limits and calls at once: of a model or of all calls there, of a provider here.
//!
//! Nothing that was unlimited becomes narrower: of several limits the longest holds, and where a model has none, none is
//! written. Whatever isn't written as it stood is told.

use super::deployments::milliseconds;
use super::notes::Notes;
use super::providers::{Provider, Providers};
use super::table::Table;

/// Where something stands in the file.
type At = (String, usize);

/// A limit of one model, and where it stands.
type Own = Option<(u64, At)>;

/// The limits of one entry of `model_list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelLimits {
    timeout: Own,
    stream_timeout: Own,
    calls: Own,
}

/// A limit that holds for all calls.
struct Global<'k> {
    limit: Option<u64>,
    at: At,
    key: &'k str,
}

impl ModelLimits {
    pub(super) fn read(params: &Table<'_>, notes: &mut Notes) -> Self {
        let timeout = milliseconds(params, "timeout", notes).map(|ms| (ms, params.at("timeout")));
        let stream_timeout = milliseconds(params, "stream_timeout", notes).map(|ms| (ms, params.at("stream_timeout")));
        let key = "max_parallel_requests";
        let calls = params.whole(key, notes).filter(|calls| {
            if *calls == 0 {
                notes.left_out(params.at(key), "no calls at all", "take the model out of its route");
            }
            *calls > 0
        });
        Self { timeout, stream_timeout, calls: calls.map(|calls| (calls.into(), params.at(key))) }
    }
}

/// Makes the limits of each provider out of those of its models and of those of all calls.
pub(super) fn settle(router: &Table<'_>, litellm: &Table<'_>, providers: &mut Providers, notes: &mut Notes) {
    let library = milliseconds(litellm, "request_timeout", notes);
    let own = milliseconds(router, "timeout", notes);
    if own.is_some() && library.is_some() {
        notes.left_out(
            litellm.at("request_timeout"),
            "router_settings.timeout counts before it",
            "nothing needs to be done",
        );
    }
    let (of_all, from, key) =
        if own.is_some() { (own, router, "timeout") } else { (library, litellm, "request_timeout") };
    let timeout = Global { limit: of_all, at: from.at(key), key: "total" };
    let stream_timeout = Global {
        limit: milliseconds(router, "stream_timeout", notes),
        at: router.at("stream_timeout"),
        key: "first_token",
    };
    for provider in providers.iter_mut() {
        let models = std::mem::take(&mut provider.models);
        provider.timeout_ms = longest(provider, &models, |model| &model.timeout, &timeout, notes);
        provider.stream_timeout_ms = longest(provider, &models, |model| &model.stream_timeout, &stream_timeout, notes);
        provider.concurrent_requests = calls_at_once(&models, notes);
        provider.models = models;
    }
    if providers.iter().next().is_none() {
        for global in [timeout, stream_timeout].into_iter().filter(|global| global.limit.is_some()) {
            notes.left_out(
                global.at,
                "no provider was taken over that it could hold for",
                "see what became of the models",
            );
        }
    }
}

/// The longest of a provider's limits of one kind; none where some model has none, not even the one of all calls.
fn longest(
    provider: &Provider,
    models: &[ModelLimits],
    own: fn(&ModelLimits) -> &Own,
    global: &Global<'_>,
    notes: &mut Notes,
) -> Option<u64> {
    let limits = models.iter().map(|model| own(model).as_ref().map(|(ms, _)| *ms).or(global.limit));
    let written = limits.collect::<Option<Vec<u64>>>().and_then(|limits| limits.into_iter().max());
    let reason = match written {
        Some(_) => "time limits belong to providers here; the longest of its models holds",
        None => "time limits belong to providers here, and other models of this one have no limit; it was not written",
    };
    let way_out = || format!("set timeouts = {{ {} = … }} at [[providers]] {} by hand", global.key, provider.name);
    for (_, at) in models.iter().filter_map(|model| own(model).as_ref()).filter(|(ms, _)| Some(*ms) != written) {
        notes.changed(at.clone(), reason, way_out());
    }
    if global.limit.is_some() && written != global.limit {
        let reason =
            format!("at {} a limit of its models holds, since time limits belong to providers here", provider.name);
        notes.changed(global.at.clone(), reason, way_out());
    }
    written
}

/// The sum of the calls at once of a provider's models; none where some model has no limit.
fn calls_at_once(models: &[ModelLimits], notes: &mut Notes) -> Option<u32> {
    let limits: Option<Vec<u64>> = models.iter().map(|model| model.calls.as_ref().map(|(calls, _)| *calls)).collect();
    for (_, at) in models.iter().filter_map(|model| model.calls.as_ref()) {
        let way_out = "set [[providers]] concurrent_requests_max by hand";
        if limits.is_some() {
            let reason = "calls at once are limited for each provider here; its models' limits were added up";
            notes.changed(at.clone(), reason, way_out);
        } else {
            let reason = "calls at once are limited for each provider here, and other models of this one have no limit";
            notes.left_out(at.clone(), reason, way_out);
        }
    }
    limits
        .filter(|limits| !limits.is_empty())
        .map(|limits| u32::try_from(limits.into_iter().sum::<u64>()).unwrap_or(u32::MAX))
}
