//! Routes: names that clients ask for as `model`, and which of them the operations use.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::choice::{Choice as _, choice_type};
use super::given::duration_in;
use super::names::Names;
use super::problem::{any_of, did_you_mean, quoted};
use super::reader::Section;
use super::{defaults, not_yet};
use crate::domain::{Deployment, ModelId, Picodollars, Strategy};

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteConfig {
    /// The name that clients ask for.
    pub name: String,
    /// How one of its deployments is chosen.
    pub strategy: Strategy,
    /// What stands behind it, in order; never empty, each once.
    pub deployments: Vec<Deployment>,
    /// The share of each deployment where the strategy is `weighted`, in their order; else all 1.
    pub weights: Vec<u32>,
    /// Attempts of one call over all deployments.
    pub attempts_max: u32,
    /// What failed attempts of one call may have cost before another is made; absent where the rule for all calls holds.
    pub retry_usd_max: Option<Picodollars>,
    /// Whether and when a second attempt starts beside a slow one.
    pub hedge: Option<HedgeConfig>,
}

/// When a second attempt starts beside a slow one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgeConfig {
    /// How long the first may be silent.
    pub after: HedgeAfter,
    /// Of a hundred calls of the route, so many may have a second attempt.
    pub percent_max: u32,
}

/// How long an attempt may be silent before another starts beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeAfter {
    /// As long as nineteen of twenty answers of its deployment took to begin.
    P95,
    /// A time that the settings give.
    Time(Duration),
}

/// The times after which a hedge may start: sooner it would double every call, later few clients still wait.
const HEDGE_AFTER: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(5);

choice_type!(
    /// A task with a prompt and a route of its own.
    Operation {
        /// Talk.
        Chat = "chat",
        /// Write code.
        GenerateCode = "generate-code",
        /// Find out what an issue is about.
        AnalyzeIssue = "analyze-issue",
        /// Review a change.
        ReviewCode = "review-code",
        /// Suggest a fix.
        SuggestFix = "suggest-fix",
        /// Explain code.
        ExplainCode = "explain-code",
    }
);

/// The routes, and the names of all that the file meant, the faulty ones included.
pub(super) fn read(root: &mut Section<'_>, providers: &[String]) -> (Vec<RouteConfig>, Vec<String>) {
    let mut names = Names::new("route");
    let routes = root.sections("routes", |route| read_route(route, providers, &mut names));
    (routes.into_iter().flatten().collect(), names.into_vec())
}

fn read_route(route: &mut Section<'_>, providers: &[String], names: &mut Names) -> Option<RouteConfig> {
    let name = route.parsed("name", |text| {
        ModelId::new(text).map(|name| name.as_str().to_owned()).map_err(|error| error.to_string())
    });
    match &name {
        None if !route.is_set("name") => {
            route.problem("name is missing; give the route the name that clients ask for as model");
        }
        Some(name) => names.take(route, name),
        None => {}
    }
    let strategy = route.choice_or("strategy", Strategy::Fallback);
    if not_yet::STRATEGIES.contains(&strategy) {
        route.warning_at(
            "strategy",
            format!("\"{strategy}\" is not used by this version yet; the route works as \"fallback\""),
        );
    }
    let deployments = route.parsed_list("deployments", |text| {
        let deployment: Deployment = text.parse().map_err(|error: crate::domain::IdError| error.to_string())?;
        let provider = deployment.provider.as_str();
        if providers.iter().any(|known| known == provider) {
            return Ok(deployment);
        }
        let hint = did_you_mean(provider, providers.iter().map(String::as_str));
        let known = match providers {
            [] => "; none is set up yet: add [[providers]], or set OPENAI_API_KEY or ANTHROPIC_API_KEY".to_owned(),
            _ if hint.is_empty() => format!("; there is {}", any_of(providers.iter().map(String::as_str))),
            _ => hint,
        };
        Err(format!("no provider {}{known}", quoted(provider)))
    });
    if !route.is_set("deployments") {
        route.problem("deployments is missing; list what stands behind the route, such as [\"openai/gpt-5\"]");
    } else if !route.has_items("deployments") {
        route.problem_at("deployments", "the list is empty; name at least one as provider/model");
    }
    let deployments = deployments.unwrap_or_default();
    for (index, deployment) in deployments.iter().enumerate() {
        if deployments[..index].contains(deployment) {
            let message = format!("{} is in the list already; take one out", quoted(&deployment.to_string()));
            route.problem_below("deployments", "", message);
        }
    }
    let weights = read_weights(route, strategy, deployments.len());
    let attempts_max = route.whole_or("attempts_max", defaults::ATTEMPTS_MAX, 1..=20);
    if deployments.len() > attempts_max as usize && strategy != Strategy::Primary {
        let message = format!(
            "a call asks at most {attempts_max} of the {}; raise attempts_max so that each may be asked where others fail",
            deployments.len()
        );
        route.warning_at("deployments", message);
    }
    let retry_usd_max = route.money("retry_usd_max");
    let hedge = read_hedge(route, strategy, deployments.len(), attempts_max);
    Some(RouteConfig { name: name?, strategy, deployments, weights, attempts_max, retry_usd_max, hedge })
}

fn read_hedge(
    route: &mut Section<'_>,
    strategy: Strategy,
    deployments: usize,
    attempts_max: u32,
) -> Option<HedgeConfig> {
    let after = route.value("hedge", |given| {
        if let Ok(wanted) = given.boolean() {
            return Ok((wanted.then_some(HedgeAfter::P95), wanted.into()));
        }
        let (after, shown) = duration_in(given, &HEDGE_AFTER).map_err(|error| {
            format!(
                "{error}; true starts a second attempt after the measured 95th percentile, \"800ms\" after that time"
            )
        })?;
        Ok((Some(HedgeAfter::Time(after)), shown))
    });
    if !route.is_set("hedge") {
        route.show("hedge", false);
    }
    let percent_max = route.whole_or("hedge_percent_max", defaults::HEDGE_PERCENT_MAX, 1..=100);
    let Some(after) = after.flatten() else {
        if route.is_set("hedge_percent_max") && !route.is_set("hedge") {
            route.problem_at("hedge_percent_max", "the route does not hedge; set hedge = true, or take this out");
        }
        return None;
    };
    let in_vain = match strategy {
        _ if deployments < 2 => Some("a route of one deployment has none for a second attempt; add another"),
        Strategy::Primary => Some("the strategy \"primary\" has one deployment for each call; choose another strategy"),
        _ if attempts_max < 2 => Some("a hedge counts as an attempt, and attempts_max allows one; raise it"),
        _ => None,
    };
    if let Some(why) = in_vain {
        route.warning_at("hedge", format!("no call is hedged: {why}"));
    }
    Some(HedgeConfig { after, percent_max })
}

fn read_weights(route: &mut Section<'_>, strategy: Strategy, count: usize) -> Vec<u32> {
    let weights = route.list(
        "weights",
        |weight| i64::from(*weight).into(),
        |given| {
            let number = given.integer()?;
            let weight = u32::try_from(number).ok().filter(|weight| *weight <= 1_000_000);
            weight.ok_or_else(|| format!("{number} is out of range; a weight is from 0 to 1000000"))
        },
    );
    let equal = vec![1; count];
    let Some(weights) = weights else { return equal };
    if strategy != Strategy::Weighted {
        route.problem_at("weights", "only the strategy \"weighted\" has weights; set it, or take them out");
    } else if weights.len() != count {
        route.problem_at("weights", format!("{} weights for {count} deployments; give each its own", weights.len()));
    } else if weights.iter().all(|weight| *weight == 0) {
        route.problem_at("weights", "all weights are 0, so nothing could be chosen; raise one");
    }
    weights
}

/// Reads `[operations.…]`: the route of each operation that has one of its own.
pub(super) fn read_operations(root: &mut Section<'_>, routes: &[String]) -> BTreeMap<Operation, String> {
    root.section("operations", |operations| {
        let mut chosen = BTreeMap::new();
        for operation in Operation::all() {
            let in_file = operations.has_table(operation.word());
            operations.section(operation.word(), |section| {
                let route = section.parsed("route", |text| {
                    if routes.iter().any(|route| route == text) {
                        return Ok(text.to_owned());
                    }
                    let hint = did_you_mean(text, routes.iter().map(String::as_str));
                    let way_out = if hint.is_empty() { "; add it to [[routes]]" } else { "" };
                    Err(format!("no route {}{hint}{way_out}", quoted(text)))
                });
                if in_file && !section.is_set("route") {
                    section.problem("route is missing; name the route that the operation uses");
                }
                chosen.extend(route.map(|route| (*operation, route)));
            });
        }
        chosen
    })
}
