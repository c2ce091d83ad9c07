//! Routes: names that clients ask for as `model`, and which of them the operations use.

use std::collections::BTreeMap;

use super::choice::{Choice as _, choice_type};
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
}

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
    let mut names: Vec<String> = Vec::new();
    let routes = root.sections("routes", |route| read_route(route, providers, &mut names));
    (routes.into_iter().flatten().collect(), names)
}

fn read_route(route: &mut Section<'_>, providers: &[String], names: &mut Vec<String>) -> Option<RouteConfig> {
    let name = route.parsed("name", |text| {
        ModelId::new(text).map(|name| name.as_str().to_owned()).map_err(|error| error.to_string())
    });
    match &name {
        None if !route.is_set("name") => {
            route.problem("name is missing; give the route the name that clients ask for as model");
        }
        Some(name) if names.contains(name) => {
            route.problem_at(
                "name",
                format!("another route is called {} already; give each its own name", quoted(name)),
            );
        }
        _ => {}
    }
    names.extend(name.clone());
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
    let retry_usd_max = route.money("retry_usd_max");
    Some(RouteConfig { name: name?, strategy, deployments, weights, attempts_max, retry_usd_max })
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
