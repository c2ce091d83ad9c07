//! Model groups, their aliases and fallbacks: the routes of the written file.

use super::deployments::{Deployment, Deployments};
use super::notes::Notes;
use super::table::Table;
use super::yaml::Node;
use crate::config::defaults;
use crate::domain::{Decimal, ModelId};

/// The most attempts that a route may make.
const ATTEMPTS_MOST: usize = 20;
/// The largest weight that a route may give.
const WEIGHT_MAX: i128 = 1_000_000;

/// One route of the written file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) strategy: &'static str,
    pub(super) deployments: Vec<String>,
    /// The share of each, where they are chosen by weight; 0 for those that are there for failures alone.
    pub(super) weights: Option<Vec<u32>>,
    pub(super) attempts_max: usize,
}

/// What holds for all groups.
struct Rules {
    strategy: &'static str,
    retries: Option<usize>,
    /// Of each group, the groups that follow when it fails.
    fallbacks: Vec<(String, Vec<String>, (String, usize))>,
    default: Vec<String>,
    default_at: (String, usize),
}

/// The routes: one for each group and each alias, in the order of the file.
pub(super) fn read(
    router: &Table<'_>,
    litellm: &Table<'_>,
    deployments: &Deployments,
    notes: &mut Notes,
) -> Vec<Route> {
    let rules = read_rules(router, litellm, notes);
    let aliases = read_aliases(router, notes);
    let mut names: Vec<&str> = Vec::new();
    for deployment in deployments.all.iter().filter(|deployment| !deployment.is_wildcard) {
        if !names.contains(&deployment.group.as_str()) {
            names.push(&deployment.group);
        }
    }
    let is_known = |name: &str| {
        name == "*"
            || names.contains(&name)
            || aliases.iter().any(|(alias, ..)| alias == name)
            || deployments.by_wildcard(name).is_some()
    };
    for (_, _, at) in rules.fallbacks.iter().filter(|(name, ..)| !is_known(name)) {
        notes.left_out(at.clone(), "fallbacks of a group that was not taken over", "see what became of its models");
    }
    let mut routes: Vec<Route> = Vec::new();
    for name in &names {
        routes.extend(route(name, name, &rules, &aliases, deployments, notes));
    }
    // A name behind a wildcard needs a route of its own only where it has fallbacks.
    for (name, ..) in rules.fallbacks.iter().filter(|(name, ..)| !names.contains(&name.as_str())) {
        if deployments.by_wildcard(name).is_some() {
            routes.extend(route(name, name, &rules, &aliases, deployments, notes));
        }
    }
    for (alias, group, at) in &aliases {
        if routes.iter().any(|route| route.name == *alias) {
            notes.left_out(at.clone(), "an alias of the name of a group", "the group counts here; rename one");
            continue;
        }
        let made = route(alias, group, &rules, &aliases, deployments, notes);
        if made.is_none() {
            notes.left_out(at.clone(), "an alias of a group that was not taken over", "see what became of its models");
        }
        routes.extend(made);
    }
    routes
}

fn read_rules(router: &Table<'_>, litellm: &Table<'_>, notes: &mut Notes) -> Rules {
    let mut fallbacks = read_fallbacks(router, notes);
    for more in read_fallbacks(litellm, notes) {
        // The router's own count before the library's.
        if fallbacks.iter().all(|(name, ..)| *name != more.0) {
            fallbacks.push(more);
        }
    }
    let from = if router.get("default_fallbacks").is_some() { router } else { litellm };
    let default = from.get("default_fallbacks").map(Node::items).unwrap_or_default();
    let default = default.iter().filter_map(Node::text).map(str::to_owned).collect();
    let retries = router.whole("num_retries", notes).or(litellm.whole("num_retries", notes));
    Rules {
        strategy: read_strategy(router, notes),
        retries: retries.map(|retries| retries.min(100) as usize),
        default_at: from.at("default_fallbacks"),
        fallbacks,
        default,
    }
}

fn read_strategy(router: &Table<'_>, notes: &mut Notes) -> &'static str {
    let at = router.at("routing_strategy");
    match router.text("routing_strategy") {
        None | Some("simple-shuffle") => "weighted",
        Some("usage-based-routing" | "usage-based-routing-v2") => {
            notes.changed(at, "there is no routing by what is left of a deployment's limits; they are chosen by weight, and a 429 goes to the next", "set weights by hand");
            "weighted"
        }
        Some("latency-based-routing") => "performance",
        Some("least-busy") => {
            notes.changed(
                at,
                "there is no routing by running calls; the fastest is chosen",
                "set another strategy by hand",
            );
            "performance"
        }
        Some("cost-based-routing") => "cost-optimized",
        Some(_) => {
            notes.left_out(
                at,
                "a strategy that is not known here; deployments are tried in order",
                "choose one of the strategies that DEPLOYMENT.md names",
            );
            "fallback"
        }
    }
}

/// `fallbacks: [{"group": ["other", …]}, …]`.
fn read_fallbacks(table: &Table<'_>, notes: &mut Notes) -> Vec<(String, Vec<String>, (String, usize))> {
    let mut read = Vec::new();
    let items = table.get("fallbacks").map(Node::items).unwrap_or_default();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{}[{index}]", table.path_of("fallbacks"));
        let Some(entries) = item.entries() else {
            notes.left_out((path, item.line), "no group with a list of others", "correct the file and import it again");
            continue;
        };
        for (group, others) in entries {
            let at = (path.clone(), others.line);
            let mut names = Vec::new();
            for other in others.items() {
                let name = other.text().or_else(|| other.get("model").and_then(Node::text));
                if other.entries().is_some() {
                    notes.left_out(
                        (path.clone(), other.line),
                        "a fallback changes nothing of the call but its model",
                        "write a route of its own, and send such calls there",
                    );
                }
                names.extend(name.map(str::to_owned));
            }
            read.push((group.clone(), names, at));
        }
    }
    read
}

/// `model_group_alias: {"alias": "group"}`, or with a table that names the model.
fn read_aliases(router: &Table<'_>, notes: &mut Notes) -> Vec<(String, String, (String, usize))> {
    let entries = router.get("model_group_alias").and_then(Node::entries).unwrap_or_default();
    let mut aliases = Vec::new();
    for (alias, node) in entries {
        let at = (router.path_of("model_group_alias"), node.line);
        let Some(group) = node.text().or_else(|| node.get("model").and_then(Node::text)) else {
            notes.left_out(at, "an alias without the group that it is for", "correct the file and import it again");
            continue;
        };
        if node.get("hidden").and_then(Node::boolean) == Some(true) {
            notes.changed(
                at.clone(),
                "a hidden alias is listed in /v1/models like any route",
                "allow keys only the models that they should see",
            );
        }
        aliases.push((alias.clone(), group.to_owned(), at));
    }
    aliases
}

/// The route of a name that stands for a group.
fn route(
    name: &str,
    group: &str,
    rules: &Rules,
    aliases: &[(String, String, (String, usize))],
    deployments: &Deployments,
    notes: &mut Notes,
) -> Option<Route> {
    let mut own = deployments.of(group);
    let by_wildcard = if own.is_empty() { deployments.by_wildcard(group) } else { None };
    if own.is_empty() && by_wildcard.is_none() {
        return None;
    }
    if ModelId::new(name).is_err() {
        notes.left_out(
            ("model_list, a model_name".to_owned(), 0),
            "no name that a route can have",
            "a name has up to 128 characters",
        );
        return None;
    }
    let is_ordered = own.iter().any(|deployment| deployment.order.is_some());
    own.sort_by_key(|deployment| if is_ordered { deployment.order.unwrap_or(u32::MAX) } else { 0 });
    let mut list: Vec<String> = Vec::new();
    let mut shares: Vec<u32> = Vec::new();
    for (deployment, share) in own.iter().zip(weights(&own)) {
        // Two entries of the same model at the same provider are one here.
        if let Some(place) = list.iter().position(|other| *other == deployment.name) {
            shares[place] = (shares[place] + share).min(1_000_000);
        } else {
            list.push(deployment.name.clone());
            shares.push(share);
        }
    }
    list.extend(by_wildcard);
    let own_len = list.len();
    add_fallbacks(&mut list, group, rules, aliases, deployments, notes);
    let has_fallbacks = list.len() > own_len;
    let strategy = match rules.strategy {
        _ if own_len == 1 || is_ordered => "fallback",
        "weighted" => "weighted",
        other if has_fallbacks && other != "fallback" => {
            let at = (format!("model_list, group {name:?}"), 0);
            notes.changed(
                at,
                format!(
                    "\"{other}\" would choose among the fallbacks too, so the route tries its deployments in order"
                ),
                "leave the fallbacks out of the route to have the strategy",
            );
            "fallback"
        }
        other => other,
    };
    tell_of_weights(&own, strategy, own_len, notes);
    let weights = (strategy == "weighted").then(|| {
        shares.resize(list.len(), 0);
        shares
    });
    let least = match rules.retries {
        Some(retries) => retries + 1,
        None => defaults::ATTEMPTS_MAX as usize,
    };
    let attempts_max = list.len().max(least).min(ATTEMPTS_MOST);
    Some(Route { name: name.to_owned(), strategy, deployments: list, weights, attempts_max })
}

/// Tells of weights that don't come into the route.
fn tell_of_weights(own: &[&Deployment], strategy: &str, own_len: usize, notes: &mut Notes) {
    let counts = strategy == "weighted" && own.first().is_some_and(|first| first.weight.is_some());
    for deployment in own.iter().filter(|deployment| deployment.weight.is_some() && !counts) {
        let at = deployment.weight_at.clone();
        if own_len == 1 {
            notes.needless(at);
        } else if strategy == "weighted" {
            let reason = "weights count where the first model of the group has one, as in LiteLLM";
            notes.left_out(at, reason, "set [[routes]] weights by hand");
        } else {
            let reason = format!("the route's strategy is \"{strategy}\", which knows no weights");
            notes.left_out(at, reason, "set strategy = \"weighted\" and weights by hand");
        }
    }
}

fn add_fallbacks(
    list: &mut Vec<String>,
    group: &str,
    rules: &Rules,
    aliases: &[(String, String, (String, usize))],
    deployments: &Deployments,
    notes: &mut Notes,
) {
    let own = rules.fallbacks.iter().find(|(name, ..)| name == group);
    let all = rules.fallbacks.iter().find(|(name, ..)| name == "*");
    let (default, default_at) = all.map_or((&rules.default, &rules.default_at), |(_, names, at)| (names, at));
    let own = own.map(|(_, names, at)| names.iter().map(move |name| (name, at))).into_iter().flatten();
    for (name, at) in own.chain(default.iter().map(|name| (name, default_at))) {
        let group = aliases.iter().find(|(alias, ..)| alias == name).map_or(name, |(_, group, _)| group);
        let mut found: Vec<String> =
            deployments.of(group).into_iter().map(|deployment| deployment.name.clone()).collect();
        if found.is_empty() {
            found.extend(deployments.by_wildcard(group));
        }
        if found.is_empty() {
            notes.left_out(
                at.clone(),
                "a fallback to a group that was not taken over",
                "see what became of its models",
            );
        }
        for deployment in found {
            if !list.contains(&deployment) {
                list.push(deployment);
            }
        }
    }
}

/// Shares as LiteLLM takes them: by weight where the first has one, else by its limit of requests, else of tokens.
fn weights(own: &[&Deployment]) -> Vec<u32> {
    let by = |of: fn(&Deployment) -> Option<Decimal>| {
        own.first().and_then(|first| of(first))?;
        let units = |deployment: &&Deployment| {
            of(deployment).and_then(|number| number.in_units(6)).map_or(0, |rounded| rounded.units)
        };
        let shares: Vec<i128> = own.iter().map(units).collect();
        shares.iter().any(|share| *share > 0).then_some(shares)
    };
    let Some(shares) = by(|one| one.weight).or_else(|| by(|one| one.rpm)).or_else(|| by(|one| one.tpm)) else {
        return vec![1; own.len()];
    };
    let divisor = shares.iter().copied().fold(0, greatest_common_divisor).max(1);
    let most = shares.iter().map(|share| share / divisor).max().unwrap_or(1).max(1);
    let scaled = |share: i128| {
        let share = share / divisor;
        // Very uneven shares keep at least one of a million.
        if most > WEIGHT_MAX && share > 0 { (share / (most / WEIGHT_MAX + 1)).max(1) } else { share }
    };
    shares.into_iter().map(|share| u32::try_from(scaled(share)).unwrap_or(1)).collect()
}

const fn greatest_common_divisor(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
