//! Where a call goes: which deployments a name stands for, who of them can take it, in which order, and what follows a failure.
//!
//! [`Router::plan`] resolves a name, leaves out who can't take the call ([`Needs`]), and has the pure `planner` put the rest in
//! order by the numbers of [`Experience`]: what settled calls have shown of speed, length, and providers' prompt caches. The
//! way to the order is a [`Decision`], kept with the call. Health is what calls themselves have shown, and
//! stands with each provider.

mod asking;
mod auto;
mod cost;
mod error;
mod experience;
mod needs;
mod plan;
mod planner;
mod retry;
mod retry_budget;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::catalog::Catalog;
use crate::config::{Config, HedgeAfter, HedgeConfig, Operation, RouteConfig};
use crate::domain::{
    CONSIDERED_MAX, Considered, Decision, Deployment, Endpoint, Exclusion, ModelId, ProviderHealth, ProviderName,
    Reason, Strategy,
};
use crate::provider::{Circuit, Upstream};
use crate::telemetry::Naming;

pub use asking::Asking;
pub use auto::AUTO;
pub use error::RouteError;
pub use experience::{
    Cause, Change, Experience, Finding, PROMPT_BYTES_MIN, Pace, Place, Prefix, Reads, Shares, Timing, Turn, WAITS_MIN,
    Wait,
};
pub use needs::{Needs, likely_tokens};
pub use plan::{Candidate, Plan};
pub use retry::{Situation, Step, UsedUp, step};
pub use retry_budget::{Repeat, RetryBudgets};

use auto::OwnRoutes;
use cost::Expected;
use planner::{Contender, Odds, arrange};

/// Attempts of a call that no route speaks for.
const ATTEMPTS_MAX: u32 = 3;
/// Sooner no second attempt starts, however fast a deployment was measured to be: what is gained is less than what both cost.
const HEDGE_AFTER_MIN: Duration = Duration::from_millis(10);

/// The names that settings give: routes, and which of them the operations use.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// In the order of the file.
    pub routes: Vec<RouteConfig>,
    /// The route of each operation that has one of its own.
    pub operations: BTreeMap<Operation, String>,
}

impl Directory {
    /// Those of the settings.
    pub fn of(config: &Config) -> Self {
        Self { routes: config.routes.clone(), operations: config.operations.clone() }
    }
}

/// The deployments and routes of one configuration.
pub struct Router {
    upstreams: Vec<Arc<Upstream>>,
    directory: Directory,
    own: OwnRoutes,
    /// What the configured routes name.
    routed: HashSet<Deployment>,
    catalog: Arc<Catalog>,
    experience: Arc<Experience>,
    retries: Arc<RetryBudgets>,
}

impl Router {
    /// A router over configured providers and names.
    pub fn new(
        upstreams: Vec<Arc<Upstream>>,
        directory: Directory,
        catalog: Arc<Catalog>,
        experience: Arc<Experience>,
    ) -> Self {
        let own = OwnRoutes::new(&upstreams, &catalog);
        let routed = directory.routes.iter().flat_map(|route| route.deployments.iter().cloned()).collect();
        Self { upstreams, directory, own, routed, catalog, experience, retries: Arc::default() }
    }

    /// The configured providers, in order.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// The provider of a name.
    pub fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.upstreams.iter().find(|upstream| upstream.name().as_str() == name)
    }

    /// The configured routes, in order.
    pub fn routes(&self) -> &[RouteConfig] {
        &self.directory.routes
    }

    /// The price list in use.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// What calls have shown of the deployments.
    pub fn experience(&self) -> &Arc<Experience> {
        &self.experience
    }

    /// How a provider does.
    pub fn health_of(&self, provider: &ProviderName, now: Instant) -> ProviderHealth {
        self.upstream(provider.as_str()).map_or(ProviderHealth::Unknown, |upstream| upstream.health().of_provider(now))
    }

    /// The circuit of a deployment, as everyone is shown it: one whose open time is over is half-open.
    pub fn circuit(&self, deployment: &Deployment, now: Instant) -> Circuit {
        let upstream = self.upstream(deployment.provider.as_str());
        upstream.map(|upstream| upstream.health().of_model(&deployment.model)).unwrap_or_default().at(now)
    }

    /// How many repeated attempts each provider may get.
    pub fn retries(&self) -> &Arc<RetryBudgets> {
        &self.retries
    }

    /// The route that a name stands for: that of the name, or for [`AUTO`] that of the operation.
    pub fn route(&self, name: &str, operation: &str) -> Option<&RouteConfig> {
        let named = |name: &str| self.directory.routes.iter().find(|route| route.name == name);
        named(name).or_else(|| {
            if name != AUTO {
                return None;
            }
            // An operation that nobody here knows is talk.
            let known = auto::operation_of(operation).unwrap_or(Operation::Chat);
            let configured = self.directory.operations.get(&known).and_then(|route| named(route));
            configured.or_else(|| self.own.of(operation))
        })
    }

    /// The operations that [`AUTO`] leads to a route.
    pub fn operations_of<'a>(&'a self, route: &'a RouteConfig) -> impl Iterator<Item = Operation> + 'a {
        use crate::config::Choice as _;
        let leads_here = move |operation: &Operation| {
            self.route(AUTO, operation.as_str()).is_some_and(|found| std::ptr::eq(found, route))
        };
        Operation::all().iter().copied().filter(leads_here)
    }

    /// The routes that ship with the program, each once, where some operation uses them.
    pub fn own_routes(&self) -> Vec<&RouteConfig> {
        use crate::config::Choice as _;
        let mut routes: Vec<&RouteConfig> = Vec::new();
        for operation in Operation::all() {
            let Some(route) = self.route(AUTO, operation.as_str()) else { continue };
            let is_listed =
                self.directory.routes.iter().chain(routes.iter().copied()).any(|known| std::ptr::eq(known, route));
            if !is_listed {
                routes.push(route);
            }
        }
        routes
    }

    /// Resolves a name: a route first, then `provider/anything`, then a bare model at the first provider that has it. A route
    /// puts its deployments in order; a model that a call names itself is asked whatever its list says of it.
    pub fn plan(&self, name: &str, asking: &Asking<'_>, now: Instant) -> Result<Plan, RouteError> {
        if let Some(route) = self.route(name, asking.operation) {
            return self.plan_route(route, asking, now);
        }
        if name == AUTO {
            return Err(RouteError::NoAuto { operation: asking.operation.chars().take(64).collect() });
        }
        let candidate = self.named(name).or_else(|| self.bare(name, asking.endpoint));
        let candidate = candidate.ok_or_else(|| self.unknown(name))?;
        if candidate.upstream.provider().asked_at(asking.endpoint).is_none() {
            return Err(not_served(candidate.deployment, asking.endpoint));
        }
        Ok(Plan {
            candidates: vec![candidate],
            attempts_max: ATTEMPTS_MAX,
            retry_usd_max: None,
            decision: None,
            hedge: None,
        })
    }

    /// How long an attempt may be silent before another starts beside it; absent where too little is known of its deployment.
    pub fn hedge_after(
        &self,
        hedge: &HedgeConfig,
        deployment: &Deployment,
        stream: bool,
        now: Instant,
    ) -> Option<Duration> {
        match hedge.after {
            HedgeAfter::Time(after) => Some(after),
            HedgeAfter::P95 => self.experience.p95(deployment, stream, now).0.map(|p95| p95.max(HEDGE_AFTER_MIN)),
        }
    }

    fn plan_route(&self, route: &RouteConfig, asking: &Asking<'_>, now: Instant) -> Result<Plan, RouteError> {
        let strategy = asking.strategy.unwrap_or(route.strategy);
        let mut contenders: Vec<Contender> =
            route.deployments.iter().filter_map(|deployment| self.contender(deployment, asking)).collect();
        if contenders.is_empty() {
            return Err(self.unknown(&route.name));
        }
        if contenders.iter().all(|contender| contender.seen.exclusion.is_some()) {
            return Err(none_fits(route, strategy, contenders, asking));
        }
        let numbers = self.measure(route, strategy, &mut contenders, asking, now);
        let odds = Odds { dice: asking.dice, output: numbers.output, place: numbers.place.as_ref() };
        let reason = arrange(&mut contenders, strategy, odds);
        let more = more_than_kept(&contenders);
        let mut considered = Vec::with_capacity(contenders.len().min(CONSIDERED_MAX));
        let mut candidates = Vec::with_capacity(contenders.len());
        for Contender { candidate, seen, .. } in contenders {
            // Of the primary strategy the first alone.
            let is_wanted = strategy != Strategy::Primary || candidates.is_empty();
            if seen.exclusion.is_none() && is_wanted {
                candidates.push(candidate);
            }
            if considered.len() < CONSIDERED_MAX {
                considered.push(seen);
            }
        }
        let decision = Decision {
            route: route.name.as_str().into(),
            strategy,
            reason,
            input_tokens: asking.counted_tokens().map(clamped),
            output_tokens: numbers.is_output_known.then(|| whole(numbers.output)),
            considered,
            more,
        };
        Ok(Plan {
            candidates,
            attempts_max: route.attempts_max,
            retry_usd_max: route.retry_usd_max,
            decision: Some(Arc::new(decision)),
            hedge: route.hedge,
        })
    }

    fn contender(&self, deployment: &Deployment, asking: &Asking<'_>) -> Option<Contender> {
        let candidate = self.candidate(deployment)?;
        let mut seen = Considered::new(candidate.deployment.clone());
        seen.exclusion = exclusion(&candidate, asking);
        Some(Contender { candidate, seen, pace: None })
    }

    /// Asks for the numbers that a strategy compares; none of them where it compares nothing.
    fn measure(
        &self,
        route: &RouteConfig,
        strategy: Strategy,
        contenders: &mut [Contender],
        asking: &Asking<'_>,
        now: Instant,
    ) -> Numbers {
        let mut numbers = Numbers::default();
        for contender in contenders.iter_mut() {
            contender.seen.obstacle = contender.candidate.obstacle(asking.endpoint, now);
        }
        if strategy == Strategy::Primary || contenders.len() < 2 {
            return numbers;
        }
        let experience = &self.experience;
        let is_long = asking.body.len() >= PROMPT_BYTES_MIN;
        let looks = match strategy {
            Strategy::Weighted => true,
            Strategy::CostOptimized | Strategy::Performance => is_long,
            _ => is_long && experience.may_have_strayed(now),
        };
        let prefix = if looks { asking.prefix() } else { None };
        if matches!(strategy, Strategy::CostOptimized | Strategy::Performance) {
            let expected = experience.expected_output(&route.name, asking.operation, now);
            let cap = asking.output_cap.map_or(f64::MAX, |cap| cap as f64);
            numbers.output = expected.min(cap) * asking.choices as f64;
            numbers.is_output_known = true;
        }
        if strategy != Strategy::CostOptimized {
            let continued = prefix.as_ref().filter(|prefix| prefix.is_continued());
            numbers.place = continued.and_then(|prefix| experience.place(prefix, strategy != Strategy::Weighted, now));
        }
        match strategy {
            Strategy::CostOptimized => self.expect_costs(contenders, asking, prefix.as_ref(), numbers.output, now),
            Strategy::Performance => {
                for contender in contenders {
                    contender.pace = experience.pace(&contender.candidate.deployment, now);
                    if let Some(pace) = contender.pace {
                        contender.seen.first_token_ms = Some(whole(pace.first * 1_000.0));
                        contender.seen.tokens_per_10_s = Some(whole(10.0 / pace.per_token));
                    }
                }
            }
            Strategy::Weighted => {
                for contender in contenders {
                    let place = route.deployments.iter().position(|known| *known == contender.candidate.deployment);
                    contender.seen.weight = place.and_then(|place| route.weights.get(place).copied());
                }
            }
            _ => {}
        }
        numbers
    }

    fn expect_costs(
        &self,
        contenders: &mut [Contender],
        asking: &Asking<'_>,
        prefix: Option<&Prefix<'_>>,
        output: f64,
        now: Instant,
    ) {
        let expected = Expected {
            input: asking.tokens(),
            output: u64::from(whole(output)),
            billed: asking.billed,
            marked: prefix.and_then(Prefix::marked),
        };
        if let Some(prefix) = prefix {
            let candidates: Vec<&Candidate> = contenders.iter().map(|contender| &contender.candidate).collect();
            let reads = self.experience.expected_reads(prefix, &candidates, now);
            for (contender, tokens) in contenders.iter_mut().zip(reads) {
                contender.seen.cached_tokens = tokens;
            }
        }
        for Contender { candidate, seen, .. } in contenders {
            seen.cost = cost::expected(candidate, &expected, u64::from(seen.cached_tokens));
        }
    }

    /// Where a call goes that names no model: the first provider that has the path.
    pub fn plan_without_model(&self, endpoint: Endpoint) -> Result<Plan, RouteError> {
        let serves = |upstream: &&Arc<Upstream>| upstream.provider().asked_at(endpoint).is_some();
        let model: ModelId = endpoint.as_str().parse().expect("the words of endpoints are names");
        let candidate = self.upstreams.iter().find(serves).map(|upstream| {
            let deployment = Deployment { provider: upstream.name().clone(), model };
            Candidate { deployment, upstream: Arc::clone(upstream), facts: None, is_listed: true }
        });
        let candidates: Vec<Candidate> = candidate.into_iter().collect();
        if candidates.is_empty() {
            return Err(RouteError::NoProvider { path: endpoint.path() });
        }
        Ok(Plan { candidates, attempts_max: ATTEMPTS_MAX, retry_usd_max: None, decision: None, hedge: None })
    }

    fn candidate(&self, deployment: &Deployment) -> Option<Candidate> {
        let upstream = self.upstream(deployment.provider.as_str())?;
        let facts = self.catalog.find(upstream.name(), upstream.catalog(), deployment.model.as_str());
        let is_priced = || self.catalog.serves(upstream.name(), upstream.catalog(), deployment.model.as_str());
        let is_listed = self.routed.contains(deployment) || (facts.is_some() && is_priced());
        Some(Candidate { deployment: deployment.clone(), upstream: Arc::clone(upstream), facts, is_listed })
    }

    /// `provider/anything`.
    pub fn named(&self, name: &str) -> Option<Candidate> {
        self.candidate(&name.parse().ok()?)
    }

    /// A bare model, at the first provider that has it; one that serves the path before one that doesn't.
    fn bare(&self, name: &str, endpoint: Endpoint) -> Option<Candidate> {
        let model: ModelId = name.parse().ok()?;
        let serves = |upstream: &&Arc<Upstream>| {
            upstream.sandbox().is_some() || self.catalog.serves(upstream.name(), upstream.catalog(), name)
        };
        let mut serving: Vec<&Arc<Upstream>> = self.upstreams.iter().filter(serves).collect();
        serving
            .sort_by_key(|upstream| (upstream.sandbox().is_some(), upstream.provider().asked_at(endpoint).is_none()));
        let upstream = serving.first()?;
        self.candidate(&Deployment { provider: upstream.name().clone(), model })
    }

    /// Has calls to a deployment fail.
    #[cfg(test)]
    pub(crate) fn fail(&self, deployment: &str, times: usize, now: Instant) {
        let candidate = self.named(deployment).unwrap();
        for _ in 0..times {
            let admission = candidate.upstream.health().admit(candidate.errand(Endpoint::ChatCompletions), now);
            admission.unwrap().tell(crate::provider::Health::Ill, now);
        }
    }

    /// Whether the price list or a route has a deployment: a name that a client made up is in neither.
    pub fn knows(&self, deployment: &Deployment) -> bool {
        let is_priced = |upstream: &Arc<Upstream>| {
            self.catalog.find(upstream.name(), upstream.catalog(), deployment.model.as_str()).is_some()
        };
        self.upstream(deployment.provider.as_str()).is_some_and(is_priced) || self.routed.contains(deployment)
    }

    /// Who names a deployment.
    pub fn naming(&self, deployment: &Deployment) -> Naming {
        match self.candidate(deployment) {
            Some(candidate) if candidate.is_listed => Naming::Listed,
            Some(candidate) if candidate.facts.is_some() => Naming::Covered,
            _ => Naming::Unknown,
        }
    }

    /// Every name that a client can ask for: routes, then the models of each provider's price list.
    pub fn names(&self) -> Vec<(String, Option<Candidate>)> {
        let mut names: Vec<(String, Option<Candidate>)> =
            self.directory.routes.iter().map(|route| (route.name.clone(), None)).collect();
        if self.route(AUTO, "chat").is_some() && !names.iter().any(|(name, _)| name == AUTO) {
            names.push((AUTO.to_owned(), None));
        }
        for upstream in &self.upstreams {
            for facts in self.catalog.models(upstream.catalog()) {
                let Ok(model) = facts.id.parse::<ModelId>() else { continue };
                if names.iter().any(|(name, _)| *name == *facts.id) {
                    continue;
                }
                let deployment = Deployment { provider: upstream.name().clone(), model };
                let candidate = Candidate {
                    deployment,
                    upstream: Arc::clone(upstream),
                    facts: Some(Arc::clone(facts)),
                    is_listed: true,
                };
                names.push((facts.id.to_string(), Some(candidate)));
            }
        }
        names
    }

    fn suggestion(&self, name: &str) -> Option<String> {
        if name.chars().count() > 128 {
            return None;
        }
        let close = |known: String| {
            let similarity = strsim::jaro_winkler(&known, name);
            (similarity > 0.85).then_some((similarity, known))
        };
        let known = self.names().into_iter().map(|(name, _)| name);
        known.filter_map(close).max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, name)| name)
    }

    fn unknown(&self, name: &str) -> RouteError {
        let (model, configured) = (name.chars().take(128).collect(), !self.upstreams.is_empty());
        RouteError::UnknownModel { suggestion: self.suggestion(name), model, configured }
    }
}

/// What a strategy compares, beside what stands at each contender.
#[derive(Default)]
struct Numbers {
    output: f64,
    is_output_known: bool,
    place: Option<Deployment>,
}

/// Why a candidate can't take a call.
fn exclusion(candidate: &Candidate, asking: &Asking<'_>) -> Option<Exclusion> {
    let Some(asked_at) = candidate.upstream.provider().asked_at(asking.endpoint) else {
        return Some(Exclusion::NotServed);
    };
    if asking.allows.is_some_and(|allows| !allows(&candidate.deployment)) {
        return Some(Exclusion::NotAllowed);
    }
    let facts = candidate.facts.as_deref().filter(|_| asking.endpoint.is_conversation())?;
    if let Some(missing) = asking.needs.missing(facts, asked_at != asking.endpoint) {
        return Some(missing);
    }
    let output = asking.output_cap.unwrap_or(0);
    if let Some(writes) = facts.max_output.filter(|writes| output > *writes) {
        return Some(Exclusion::Output { writes: clamped(writes), asked: clamped(output) });
    }
    let context = facts.context?;
    // A token has a byte at least: most calls need no counting to be seen to fit.
    if (asking.body.len() as u64).saturating_add(output) <= context {
        return None;
    }
    let needed = asking.tokens().saturating_add(output);
    (needed > context).then(|| Exclusion::Context { takes: clamped(context), needed: clamped(needed) })
}

fn none_fits(route: &RouteConfig, strategy: Strategy, contenders: Vec<Contender>, asking: &Asking<'_>) -> RouteError {
    let is_served = |contender: &Contender| contender.seen.exclusion != Some(Exclusion::NotServed);
    if !contenders.iter().any(is_served) {
        return not_served(contenders[0].candidate.deployment.clone(), asking.endpoint);
    }
    RouteError::NoneFits(Arc::new(Decision {
        route: route.name.as_str().into(),
        strategy,
        reason: Reason::NoneFits,
        input_tokens: asking.counted_tokens().map(clamped),
        output_tokens: None,
        more: more_than_kept(&contenders),
        considered: contenders.into_iter().take(CONSIDERED_MAX).map(|contender| contender.seen).collect(),
    }))
}

/// How many contenders a decision doesn't tell of.
fn more_than_kept(contenders: &[Contender]) -> u32 {
    u32::try_from(contenders.len().saturating_sub(CONSIDERED_MAX)).unwrap_or(u32::MAX)
}

fn not_served(deployment: Deployment, endpoint: Endpoint) -> RouteError {
    let other = match endpoint {
        Endpoint::Completions => "/v1/chat/completions, which reaches every provider",
        Endpoint::Embeddings => "an embedding model of an OpenAI or OpenAI-compatible provider",
        _ => "a model of a provider that has it",
    };
    RouteError::NotServed { deployment, path: endpoint.path(), other }
}

fn clamped(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A number without its fraction, as decisions keep them.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "such a cast saturates")]
fn whole(number: f64) -> u32 {
    number.round() as u32
}
