//! Counters of the process: the Prometheus page, and the figures of the overview.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Calls whose times are kept for the percentiles: enough for a steady p95, small enough to sort on demand.
const RECENT_LEN: usize = 2_048;

/// Models of one provider that are counted by name though nothing lists them: each costs some thirty lines of the page for ever.
const MODELS_MAX: usize = 200;
/// What all others are called.
const OTHER: &str = "other";

/// How far a model's name can be trusted as a label: labels stay for ever, and clients make names up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// A route or the price list names it by itself: it has a label of its own.
    Listed,
    /// Only a price for many names fits it: so many of these have labels.
    Covered,
    /// Nobody has heard of it.
    Unknown,
}

/// One ended call, as the metrics see it.
#[derive(Clone, Debug)]
pub struct CallRecord<'a> {
    /// The configured provider; empty where none was reached.
    pub provider: &'a str,
    /// The model's name at the provider; empty where none was reached.
    pub model: &'a str,
    /// Who names that model.
    pub naming: Naming,
    /// `settled`, `failed` or `unknown`.
    pub status: &'static str,
    /// Whether it failed.
    pub failed: bool,
    /// `hit`, `semantic`, `miss` or `bypass`.
    pub cache: &'static str,
    /// From arrival to end.
    pub latency_ms: u32,
    /// From arrival to the first content.
    pub time_to_first_token_ms: Option<u32>,
    /// Tokens in and out.
    pub tokens: (u64, u64),
    /// Dollars, for the counter.
    pub cost_usd: f64,
}

/// A limit on calls at once or in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Of the server.
    Server,
    /// Of a virtual key.
    Key,
    /// Of a provider, after waiting for a place.
    Provider,
}

impl Limit {
    /// Its word in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Key => "key",
            Self::Provider => "provider",
        }
    }
}

/// What became of second attempts beside slow ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hedging {
    /// One was started.
    Started,
    /// It answered, and the first was given up or failed.
    Won,
}

impl Hedging {
    /// Its word in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Won => "won",
        }
    }
}

/// What was counted since the process began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Calls that ended.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// Tokens that went in.
    pub input_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
    /// Calls that run.
    pub in_flight: i64,
}

/// Milliseconds below which a share of the recent calls lies.
#[derive(Clone, Copy, Debug, Default)]
pub struct Percentiles {
    /// Half of them.
    pub p50: Option<u32>,
    /// Nineteen of twenty.
    pub p95: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    provider: String,
    model: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    provider: String,
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabels {
    provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CredentialLabels {
    provider: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BudgetLabels {
    scope: String,
    window: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HedgeLabels {
    outcome: &'static str,
}

type Seconds = Family<ModelLabels, Histogram, fn() -> Histogram>;

/// The metrics of one process.
pub struct Metrics {
    registry: Registry,
    requests: Family<CallLabels, Counter>,
    durations: Seconds,
    first_tokens: Seconds,
    cost: Family<ModelLabels, Counter<f64, AtomicU64>>,
    cache: Family<CacheLabels, Counter>,
    circuit: Family<ProviderLabels, Gauge>,
    budget_remaining: Family<BudgetLabels, Gauge<f64, AtomicU64>>,
    underestimates: Counter,
    queue_jobs: Gauge,
    refused: Family<LimitLabels, Counter>,
    hedges: Family<HedgeLabels, Counter>,
    provider_running: Family<ProviderLabels, Gauge>,
    provider_waiting: Family<ProviderLabels, Gauge>,
    provider_credentials: Family<CredentialLabels, Gauge>,
    config_refused: Gauge,
    config_waiting: Gauge,
    redis_reachable: Gauge,
    counts: Counts,
    recent: Mutex<Recent>,
    /// The models of each provider that are counted by name though nothing lists them.
    models: Mutex<HashMap<String, HashSet<String>>>,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    errors: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    in_flight: AtomicI64,
}

#[derive(Default)]
struct Recent {
    latency_ms: VecDeque<u32>,
    first_token_ms: VecDeque<u32>,
}

fn seconds() -> Histogram {
    Histogram::new([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0])
}

/// A number without labels.
fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("tollgate");
        let requests = Family::default();
        registry.register("requests", "Client calls that ended", requests.clone());
        let durations = Seconds::new_with_constructor(seconds);
        registry.register("request_duration_seconds", "From a call's arrival to its end", durations.clone());
        let first_tokens = Seconds::new_with_constructor(seconds);
        registry.register(
            "time_to_first_token_seconds",
            "From a call's arrival to the first content",
            first_tokens.clone(),
        );
        let cost = Family::default();
        registry.register("cost_usd", "What calls cost, in US dollars", cost.clone());
        let cache = Family::default();
        registry.register("cache_requests", "What the response cache did for calls", cache.clone());
        let circuit = Family::default();
        registry.register(
            "circuit_state",
            "0 closed, 1 half-open or some of its models fail, 2 open: nothing of the provider answers",
            circuit.clone(),
        );
        let budget_remaining = Family::default();
        registry.register(
            "budget_remaining_usd",
            "What may still be spent in the present window of each budget; a key stands there by its name",
            budget_remaining.clone(),
        );
        let underestimates = Counter::default();
        registry.register(
            "ledger_underestimate",
            "Attempts that cost more than was held for them",
            underestimates.clone(),
        );
        let queue_jobs = gauge(&mut registry, "queue_jobs", "Jobs that wait or run");
        let refused = Family::<LimitLabels, Counter>::default();
        registry.register(
            "refused_calls",
            "Calls that a limit on calls at once or in a minute refused",
            refused.clone(),
        );
        for limit in [Limit::Server, Limit::Key, Limit::Provider] {
            // From the start, so that the first refusal shows as an increase.
            drop(refused.get_or_create(&LimitLabels { limit: limit.as_str() }));
        }
        let hedges = Family::<HedgeLabels, Counter>::default();
        registry.register(
            "hedges",
            "Second attempts that were started beside slow ones, and those that answered",
            hedges.clone(),
        );
        for outcome in [Hedging::Started, Hedging::Won] {
            drop(hedges.get_or_create(&HedgeLabels { outcome: outcome.as_str() }));
        }
        let provider_running = Family::default();
        registry.register("provider_running_calls", "Calls that run at a provider", provider_running.clone());
        let provider_waiting = Family::default();
        registry.register(
            "provider_waiting_calls",
            "Calls that wait for a place at a provider",
            provider_waiting.clone(),
        );
        let provider_credentials = Family::default();
        registry.register(
            "provider_credentials",
            "Keys of a provider by state: disabled ones are refused by it or have no money, cooling ones are limited; the worst state at any model counts",
            provider_credentials.clone(),
        );
        let refused_words = "1 while files of settings were read that could not be taken over";
        let config_refused = gauge(&mut registry, "config_refused", refused_words);
        let waiting_words = "Settings that the next start takes over";
        let config_waiting = gauge(&mut registry, "config_waiting_for_restart", waiting_words);
        let redis_reachable = gauge(&mut registry, "redis_reachable", "1 while a Redis is shared and answers");
        Self {
            registry,
            requests,
            durations,
            first_tokens,
            cost,
            cache,
            circuit,
            budget_remaining,
            underestimates,
            queue_jobs,
            refused,
            hedges,
            provider_running,
            provider_waiting,
            provider_credentials,
            config_refused,
            config_waiting,
            redis_reachable,
            counts: Counts::default(),
            recent: Mutex::default(),
            models: Mutex::default(),
        }
    }
}

/// A call that runs: counted until it is dropped, whatever became of it.
#[must_use]
pub struct Running(Arc<Metrics>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.counts.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts a call that begins, until what is returned is dropped.
    pub fn began(self: &Arc<Self>) -> Running {
        self.counts.in_flight.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }

    /// The same where fewer than so many run; otherwise counts a refusal. However many come at once, no more begin.
    pub fn try_begin(self: &Arc<Self>, running_max: u32) -> Option<Running> {
        let before = self.counts.in_flight.fetch_add(1, Ordering::Relaxed);
        let running = Running(Arc::clone(self));
        if before < i64::from(running_max) {
            return Some(running);
        }
        self.refused(Limit::Server);
        None
    }

    /// Counts a call that a limit has refused.
    pub fn refused(&self, limit: Limit) {
        self.refused.get_or_create(&LimitLabels { limit: limit.as_str() }).inc();
    }

    /// Counts an attempt that cost more than was held for it.
    pub fn underestimated(&self) {
        self.underestimates.inc();
    }

    /// Counts what became of a second attempt.
    pub fn hedged(&self, outcome: Hedging) {
        self.hedges.get_or_create(&HedgeLabels { outcome: outcome.as_str() }).inc();
    }

    /// How many calls a limit has refused.
    pub fn refusals(&self, limit: Limit) -> u64 {
        self.refused.get_or_create(&LimitLabels { limit: limit.as_str() }).get()
    }

    /// Sets what the page shows of the calls at a provider.
    pub fn provider(&self, provider: &str, running: usize, waiting: usize) {
        let labels = ProviderLabels { provider: provider.to_owned() };
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.provider_running.get_or_create(&labels).set(number(running));
        self.provider_waiting.get_or_create(&labels).set(number(waiting));
    }

    /// Sets what the page shows of the settings: whether files were refused, and how many keys wait for a restart.
    pub fn settings(&self, is_refused: bool, waiting: usize) {
        self.config_refused.set(is_refused.into());
        self.config_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// Sets how many keys of a provider are in a state.
    pub fn credentials(&self, provider: &str, state: &'static str, count: usize) {
        let labels = CredentialLabels { provider: provider.to_owned(), state };
        self.provider_credentials.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts a call's end.
    pub fn ended(&self, call: &CallRecord<'_>) {
        let model = ModelLabels { provider: call.provider.to_owned(), model: self.model_label(call).to_owned() };
        let labels = CallLabels { provider: model.provider.clone(), model: model.model.clone(), status: call.status };
        self.requests.get_or_create(&labels).inc();
        self.durations.get_or_create(&model).observe(f64::from(call.latency_ms) / 1_000.0);
        if let Some(first) = call.time_to_first_token_ms {
            self.first_tokens.get_or_create(&model).observe(f64::from(first) / 1_000.0);
        }
        self.cost.get_or_create(&model).inc_by(call.cost_usd.max(0.0));
        self.cache.get_or_create(&CacheLabels { outcome: call.cache }).inc();
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        self.counts.errors.fetch_add(u64::from(call.failed), Ordering::Relaxed);
        self.counts.input_tokens.fetch_add(call.tokens.0, Ordering::Relaxed);
        self.counts.output_tokens.fetch_add(call.tokens.1, Ordering::Relaxed);
        let mut recent = self.recent.lock().expect("no holder of this lock panics");
        // Refusals take no time, and would make answers look as quick.
        if !call.failed {
            push(&mut recent.latency_ms, call.latency_ms);
        }
        if let Some(first) = call.time_to_first_token_ms {
            push(&mut recent.first_token_ms, first);
        }
    }

    /// The name that a call's model is counted under: clients make names up, and labels stay for ever.
    fn model_label<'a>(&self, call: &CallRecord<'a>) -> &'a str {
        match (call.model, call.naming) {
            ("", _) => return "",
            (listed, Naming::Listed) => return listed,
            (_, Naming::Unknown) => return OTHER,
            (_, Naming::Covered) => {}
        }
        let mut models = self.models.lock().expect("no holder of this lock panics");
        let Some(known) = models.get_mut(call.provider) else {
            models.insert(call.provider.to_owned(), HashSet::from([call.model.to_owned()]));
            return call.model;
        };
        if known.contains(call.model) {
            return call.model;
        }
        if known.len() >= MODELS_MAX {
            return OTHER;
        }
        known.insert(call.model.to_owned());
        call.model
    }

    /// Sets what the page shows of a provider's circuit: 0 closed, 1 half-open, 2 open.
    pub fn circuit(&self, provider: &str, state: i64) {
        self.circuit.get_or_create(&ProviderLabels { provider: provider.to_owned() }).set(state);
    }

    /// Sets what the page shows of a budget.
    pub fn budget(&self, scope: &str, window: &str, remaining_usd: f64) {
        let labels = BudgetLabels { scope: scope.to_owned(), window: window.to_owned() };
        self.budget_remaining.get_or_create(&labels).set(remaining_usd);
    }

    /// Sets whether a Redis is shared and answers.
    pub fn redis(&self, is_reachable: bool) {
        self.redis_reachable.set(i64::from(is_reachable));
    }

    /// Sets how many jobs wait or run.
    pub fn queue(&self, jobs: i64) {
        self.queue_jobs.set(jobs);
    }

    /// What was counted since the process began.
    pub fn totals(&self) -> Totals {
        Totals {
            requests: self.counts.requests.load(Ordering::Relaxed),
            errors: self.counts.errors.load(Ordering::Relaxed),
            input_tokens: self.counts.input_tokens.load(Ordering::Relaxed),
            output_tokens: self.counts.output_tokens.load(Ordering::Relaxed),
            in_flight: self.counts.in_flight.load(Ordering::Relaxed),
        }
    }

    /// How long recent calls took, and how long until their first content.
    pub fn recent(&self) -> (Percentiles, Percentiles) {
        let recent = self.recent.lock().expect("no holder of this lock panics");
        (percentiles(&recent.latency_ms), percentiles(&recent.first_token_ms))
    }

    /// The page in Prometheus's text format.
    pub fn page(&self) -> String {
        let mut page = String::new();
        encode(&mut page, &self.registry).expect("writing to a string can't fail");
        page
    }
}

fn push(recent: &mut VecDeque<u32>, value: u32) {
    if recent.len() == RECENT_LEN {
        recent.pop_front();
    }
    recent.push_back(value);
}

fn percentiles(values: &VecDeque<u32>) -> Percentiles {
    let mut sorted: Vec<u32> = values.iter().copied().collect();
    sorted.sort_unstable();
    let at = |percent: usize| sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied();
    Percentiles { p50: at(50), p95: at(95) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_come_at_once_no_more_begin_than_may() {
        let metrics = Arc::new(Metrics::default());
        let mut running: Vec<Running> = std::thread::scope(|scope| {
            let begin = || (0..500).filter_map(|_| metrics.try_begin(37)).collect::<Vec<_>>();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(begin)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!((running.len(), metrics.totals().in_flight), (37, 37));
        assert_eq!(metrics.refusals(Limit::Server), 8 * 500 - 37);
        running.pop();
        let another = metrics.try_begin(37);
        assert!(another.is_some() && metrics.try_begin(37).is_none());
        assert!(metrics.page().contains("tollgate_refused_calls_total{limit=\"key\"} 0"), "{}", metrics.page());
    }

    #[test]
    fn percentiles_are_of_the_most_recent_calls() {
        let metrics = Metrics::default();
        assert_eq!(metrics.recent().0.p50, None);
        for latency_ms in 0..5_000 {
            metrics.ended(&CallRecord {
                provider: "p",
                model: "m",
                naming: Naming::Listed,
                status: "settled",
                failed: false,
                cache: "bypass",
                latency_ms,
                time_to_first_token_ms: None,
                tokens: (1, 2),
                cost_usd: 0.5,
            });
        }
        let (latency, first_token) = metrics.recent();
        assert_eq!(latency.p50, Some(2_952 + 1_024));
        assert_eq!(first_token.p95, None);
        assert_eq!(metrics.totals().output_tokens, 10_000);
        let page = metrics.page();
        assert!(page.contains("tollgate_requests_total{provider=\"p\",model=\"m\",status=\"settled\"} 5000"), "{page}");
    }

    #[test]
    fn models_that_nobody_knows_or_that_are_too_many_are_counted_together() {
        let metrics = Metrics::default();
        let label = |model, naming| {
            let call = CallRecord {
                provider: "p",
                model,
                naming,
                status: "failed",
                failed: true,
                cache: "bypass",
                latency_ms: 1,
                time_to_first_token_ms: None,
                tokens: (0, 0),
                cost_usd: 0.0,
            };
            metrics.model_label(&call).to_owned()
        };
        let unknown = |model| label(model, Naming::Unknown);
        assert_eq!((unknown(""), unknown("made-up")), (String::new(), OTHER.to_owned()));
        let names: Vec<String> = (0..MODELS_MAX + 5).map(|number| format!("m{number}")).collect();
        let labels: Vec<String> = names.iter().map(|name| label(name, Naming::Covered)).collect();
        assert_eq!(labels[..MODELS_MAX], names[..MODELS_MAX]);
        assert!(labels[MODELS_MAX..].iter().all(|label| label == OTHER));
        assert_eq!(label("m0", Naming::Covered), "m0");
        assert_eq!(label("late", Naming::Listed), "late", "made-up names push out nothing that is listed");
    }
}
