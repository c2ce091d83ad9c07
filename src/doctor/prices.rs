//! Whether what calls cost is known: of what routes can reach, and of what was called.

use jiff::civil::Date;

use super::report::Check;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::domain::Deployment;
use crate::domain::wording::{count, counted};

const COVERAGE: &str = "price coverage";
const TRAFFIC: &str = "unpriced traffic";
/// Prices change some times a year.
const LIST_DAYS_MAX: i64 = 180;
/// Models that are named one by one; their number tells the rest.
const TOLD_MAX: usize = 8;

/// What was called of a deployment in the last 30 days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Called {
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) requests: u64,
    /// Attempts that had no price.
    pub(super) unpriced: u64,
    pub(super) tokens: u64,
}

/// Where the price list is from, and how old.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListAge {
    pub(super) is_own: bool,
    pub(super) made: Option<Date>,
    pub(super) today: Date,
}

/// The deployments of routes, and those called, that the list has no price for, each once; and how many were looked up.
pub(super) fn unpriced(config: &Config, catalog: &Catalog, called: &[Called]) -> (Vec<Deployment>, usize) {
    let routed = config.routes.iter().flat_map(|route| route.deployments.iter().cloned());
    // What came from elsewhere, or from a provider that is gone, costs nothing any more.
    let called = called.iter().filter_map(|called| {
        Some(Deployment { provider: called.provider.parse().ok()?, model: called.model.parse().ok()? })
    });
    let mut all: Vec<Deployment> = routed.chain(called).collect();
    all.sort_by_cached_key(ToString::to_string);
    all.dedup();
    all.retain(|deployment| config.provider(&deployment.provider).is_some());
    let looked_up = all.len();
    all.retain(|deployment| {
        let provider = config.provider(&deployment.provider).expect("only configured ones were kept");
        catalog.find(&provider.name, &provider.catalog, deployment.model.as_str()).is_none()
    });
    (all, looked_up)
}

/// Whether everything that can be called, or was as far as that is known, has a price. Under a budget that blocks, what has none is
/// refused.
pub(super) fn coverage(
    unpriced: &[Deployment],
    looked_up: usize,
    is_known: bool,
    is_refused: bool,
    age: ListAge,
) -> Check {
    let whose = if age.is_own { "your price list" } else { "the built-in price list" };
    let days = age.made.map(|made| i64::from((age.today - made).get_days()));
    let list = days.map_or_else(|| whose.to_owned(), |days| format!("{whose} is {} old", counted_days(days)));
    let models = counted(looked_up as u64, "model", "models");
    let of = if is_known { "the routes and the last 30 days" } else { "the routes" };
    let check = if !unpriced.is_empty() {
        let names = named(unpriced.iter().map(ToString::to_string));
        let found = format!("{} of {models} of {of} without a price: {names}", unpriced.len());
        let lines = price_lines(unpriced.iter().map(ToString::to_string));
        if is_refused {
            Check::problem(COVERAGE, format!("{found}; budgets that block refuse them"), lines)
        } else {
            Check::warning(COVERAGE, format!("{found}; they count as $0.00"), lines)
        }
    } else if looked_up == 0 && !is_known {
        Check::skipped(COVERAGE, format!("there is no route, and what was called can't be told; {list}"))
    } else if looked_up == 0 {
        Check::ok(COVERAGE, format!("there is no route, and nothing was called in 30 days; {list}"))
    } else if days.is_some_and(|days| days > LIST_DAYS_MAX) {
        let mend = if age.is_own {
            "write today's prices into the file of [catalog] file"
        } else {
            "install a newer version, or name a list of your own:\n[catalog]\nfile = \"prices.json\""
        };
        Check::warning(COVERAGE, format!("{models} with a price, but {list}"), mend)
    } else {
        Check::ok(COVERAGE, format!("{models} of {of}, each with a price; {list}"))
    };
    let check = check.number("models", looked_up).number("unpriced", unpriced.len());
    days.map(|days| check.clone().number("listDays", days)).unwrap_or(check)
}

/// Whether calls were made that nobody knows the cost of; or why that can't be told.
pub(super) fn traffic(called: Result<&[Called], &String>) -> Check {
    let called = match called {
        Ok(called) => called,
        Err(why) => return Check::skipped(TRAFFIC, why.as_str()),
    };
    let unpriced: Vec<&Called> = called.iter().filter(|called| called.unpriced > 0).collect();
    let attempts: u64 = unpriced.iter().map(|called| called.unpriced).sum();
    let requests: u64 = called.iter().map(|called| called.requests).sum();
    // The rollup has no tokens of unpriced attempts alone: those of the models that had any are the most it can be.
    let tokens: u64 = unpriced.iter().map(|called| called.tokens).sum();
    let check = if unpriced.is_empty() {
        let calls = counted(requests, "call", "calls");
        Check::ok(TRAFFIC, format!("none: {calls} in 30 days, all with a price or answered by the cache"))
    } else {
        let name = |called: &&Called| format!("{}/{}", called.provider, called.model);
        let names = named(unpriced.iter().map(name));
        let found = format!(
            "{} in 30 days had no price and counted as $0.00: {names}, with {} tokens at most",
            counted(attempts, "attempt", "attempts"),
            count(tokens)
        );
        let lines = price_lines(unpriced.iter().map(name));
        let mend = format!("{lines}\nthen book what they cost: tollgate re-rate --help");
        Check::warning(TRAFFIC, found, mend)
    };
    check.number("attempts", attempts).number("requests", requests).number("tokens", tokens)
}

/// Lines for `tollgate.toml`, to be filled in: left as they are, they are refused, so that nothing becomes free by mistake.
fn price_lines(deployments: impl Iterator<Item = String>) -> String {
    let section = |deployment: String| {
        let key = deployment.replace('\\', "\\\\").replace('"', "\\\"");
        format!("[prices.\"{key}\"]\ninput = \"?\"    # USD per million tokens; \"0\" if it is free\noutput = \"?\"")
    };
    deployments.take(TOLD_MAX).map(section).collect::<Vec<_>>().join("\n")
}

fn named(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(TOLD_MAX);
    let names = all.take(TOLD_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{names} and {more} more") } else { names }
}

fn counted_days(days: i64) -> String {
    counted(u64::try_from(days).unwrap_or(0), "day", "days")
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    const SETTINGS: &str = "
        [[providers]]\nname = \"openai\"\nkind = \"openai\"\napi_key = \"sk-1\"
        [[providers]]\nname = \"local\"\nkind = \"openai-compatible\"\nbase_url = \"http://127.0.0.1:1/v1\"
        [[routes]]\nname = \"smart\"\ndeployments = [\"openai/gpt-4o-mini\", \"local/qwen3\"]\n";

    fn called(provider: &str, model: &str, unpriced: u64) -> Called {
        Called { provider: provider.to_owned(), model: model.to_owned(), requests: 10, unpriced, tokens: 12_400 }
    }

    fn age(made: Option<&str>) -> ListAge {
        ListAge { is_own: false, made: made.map(|made| made.parse().unwrap()), today: "2026-11-26".parse().unwrap() }
    }

    fn check(found: &Check, verdict: Verdict, expected: &str) {
        assert!(found.verdict == verdict && found.found.contains(expected), "{found:?}");
        assert_eq!(found.mend.is_some(), verdict >= Verdict::Warning, "{found:?}");
    }

    #[test]
    fn what_routes_reach_and_what_was_called_needs_a_price_and_what_is_gone_does_not() {
        let config = Config::from_toml(SETTINGS).unwrap();
        let calls =
            [called("local", "llama", 3), called("gone", "old", 0), called("", "", 0), called("openai", "gpt-4o", 0)];
        let (found, looked_up) = unpriced(&config, &Catalog::builtin(), &calls);
        let names: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!((names, looked_up), (vec!["local/llama".to_owned(), "local/qwen3".to_owned()], 4));
        let coverage = coverage(&found, looked_up, true, true, age(None));
        check(&coverage, Verdict::Problem, "2 of 4 models");
        check(&super::coverage(&found, looked_up, true, false, age(None)), Verdict::Warning, "count as $0.00");
        assert!(coverage.mend.unwrap().contains("[prices.\"local/qwen3\"]\ninput = \"?\""));
    }

    #[test]
    fn the_lines_to_paste_are_refused_until_somebody_has_filled_them_in() {
        let lines = price_lines(std::iter::once("local/a\"b".to_owned()));
        let refused = Config::from_toml(&lines).unwrap_err().to_string();
        assert!(refused.contains("input") && refused.contains("output"), "{refused}");
        assert!(Config::from_toml(&lines.replace('?', "0")).is_ok());
    }

    #[test]
    fn a_list_grows_old() {
        check(&coverage(&[], 3, true, true, age(Some("2026-11-22"))), Verdict::Ok, "3 models of the routes");
        check(
            &coverage(&[], 3, true, true, age(Some("2026-11-22"))),
            Verdict::Ok,
            "the built-in price list is 4 days old",
        );
        check(&coverage(&[], 3, true, true, age(Some("2026-01-01"))), Verdict::Warning, "329 days old");
        check(&coverage(&[], 0, true, true, age(None)), Verdict::Ok, "the built-in price list");
    }

    #[test]
    fn what_a_ledger_that_is_not_open_would_say_is_not_claimed() {
        let why = "the ledger can't be opened".to_owned();
        check(&traffic(Err(&why)), Verdict::Skipped, "can't be opened");
        let found = coverage(&[], 3, false, true, age(None));
        check(&found, Verdict::Ok, "3 models of the routes, each with a price");
        check(&coverage(&[], 0, false, true, age(None)), Verdict::Skipped, "what was called can't be told");
    }

    #[test]
    fn calls_without_a_price_are_counted_with_their_models() {
        check(&traffic(Ok(&[called("openai", "gpt-4o", 0)])), Verdict::Ok, "none: 10 calls");
        let found = traffic(Ok(&[called("openai", "gpt-4o", 0), called("local", "llama", 3)]));
        check(
            &found,
            Verdict::Warning,
            "3 attempts in 30 days had no price and counted as $0.00: local/llama, with 12.4k tokens",
        );
        assert!(found.mend.unwrap().contains("re-rate"));
    }
}
