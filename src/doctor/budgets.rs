//! Whether budgets do what somebody meant by them: what they are about is there, and somebody hears of them.

use jiff::Timestamp;

use super::limits;
use super::report::Check;
use crate::budget::{Standing, missing_provider, window_words};
use crate::catalog::Catalog;
use crate::config::{AlertsConfig, Config, RouteConfig};
use crate::domain::wording::{counted, money, money_whole};
use crate::domain::{
    Billed, BudgetAction, BudgetDefinition, BudgetScope, CostBasis, Deployment, ModelPattern, Picodollars, TokenUsage,
};
use crate::keys::{KeyStatus, Keys};

const NAME: &str = "budget sanity";
/// A call by which routes are compared: about what a chat is.
const TYPICAL: TokenUsage = TokenUsage { uncached_input: 2_000, output: 500, ..TokenUsage::NONE };
/// Budgets that are told of one by one.
const TOLD_MAX: usize = 20;

/// What budgets are held against.
pub(super) struct Around<'a> {
    pub(super) config: &'a Config,
    pub(super) catalog: &'a Catalog,
    pub(super) keys: &'a Keys,
    pub(super) now: Timestamp,
}

/// A check for each thing that is wrong with a budget, or one that says that nothing is.
pub(super) fn judge(standings: &[Standing], around: &Around<'_>) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    if standings.is_empty() {
        let found = "there is no budget at all: nothing holds spending back";
        return vec![Check::warning(NAME, found, "tollgate budget set everything month 500")];
    }
    if !standings.iter().any(|standing| standing.definition.scope == BudgetScope::Everything) {
        let found = "no budget is over everything: what no other budget binds is not held back";
        checks.push(Check::warning(NAME, found, "tollgate budget set everything month 500"));
    }
    if !has_receiver(&around.config.alerts) && standings.iter().any(|standing| tells(&standing.definition)) {
        let found = "budgets have thresholds, and alerts have no receiver: nobody hears of them outside the dashboard";
        let mend = "[alerts]\nslack_webhook_url = \"env:SLACK_WEBHOOK_URL\"   # or discord_webhook_url, webhook_url";
        checks.push(Check::warning(NAME, found, mend));
    }
    let all: Vec<&BudgetDefinition> = standings.iter().map(|standing| &*standing.definition).collect();
    let of_budgets: Vec<Check> = standings.iter().flat_map(|standing| of(standing, &all, around)).collect();
    let more = of_budgets.len().saturating_sub(TOLD_MAX);
    checks.extend(of_budgets.into_iter().take(TOLD_MAX));
    if more > 0 {
        checks.push(Check::warning(NAME, format!("{more} more things are wrong with budgets"), "tollgate budget list"));
    }
    if checks.is_empty() {
        let budgets = counted(standings.len() as u64, "budget", "budgets");
        checks.push(Check::ok(NAME, format!("{budgets}, each about something that is there and with room left")));
    }
    checks
}

fn has_receiver(alerts: &AlertsConfig) -> bool {
    [&alerts.slack_webhook_url, &alerts.discord_webhook_url, &alerts.webhook_url].iter().any(|url| url.is_some())
}

fn tells(budget: &BudgetDefinition) -> bool {
    !budget.thresholds.is_empty()
}

/// What is wrong with one budget.
fn of(standing: &Standing, all: &[&BudgetDefinition], around: &Around<'_>) -> Vec<Check> {
    let budget = &standing.definition;
    let id = budget.id;
    let set = format!("tollgate budget set {} {}", typed(&budget.scope, around.keys), budget.window.as_str());
    let mut checks = Vec::new();
    if let Some(gone) = gone(&budget.scope, around) {
        checks.push(Check::warning(
            NAME,
            format!("{gone}, so it binds no call"),
            format!("tollgate budget remove {id}"),
        ));
    }
    let spent = standing.balance.spent;
    if spent > budget.limit || (spent == budget.limit && budget.action == BudgetAction::Block) {
        checks.push(spent_up(standing, &format!("{set} {}", raised(spent))));
    } else {
        checks.extend(limits::too_low(budget, around, &set));
    }
    checks.extend(limits::never_reached(budget, all, &set));
    if let Some(route) = budget.action.downgrade_to() {
        checks.extend(downgrade(route, budget, around, &set));
    }
    if !tells(budget) {
        let action = action_flags(&budget.action);
        let mend = format!("{set} {}{action} --thresholds 50,80,100", budget.limit);
        checks.push(Check::warning(NAME, "it has no thresholds: nobody is told as it fills up", mend));
    } else if budget.action == BudgetAction::Alert && budget.thresholds.last().is_some_and(|last| *last < 100) {
        let mend = format!("{set} {} --action alert --thresholds 50,80,100", budget.limit);
        checks.push(Check::warning(
            NAME,
            "it only tells, and not when its limit is reached: the last threshold is below 100",
            mend,
        ));
    }
    let about = format!("{id}: {}, {}", typed(&budget.scope, around.keys), window_words(budget.window));
    checks.into_iter().map(|check| check.about(about.as_str())).collect()
}

fn action_flags(action: &BudgetAction) -> String {
    match action {
        BudgetAction::Block => String::new(),
        BudgetAction::Alert => " --action alert".to_owned(),
        BudgetAction::Downgrade { .. } => {
            format!(" --action downgrade --downgrade-to {}", action.downgrade_to().unwrap_or_default())
        }
    }
}

fn spent_up(standing: &Standing, mend: &str) -> Check {
    let budget = &standing.definition;
    let amounts = format!("{} of {} are spent", money(standing.balance.spent), money_whole(budget.limit));
    let until = standing.resets_at.map_or_else(|| "for good".to_owned(), |at| format!("until {at:.0}"));
    match &budget.action {
        BudgetAction::Block => Check::problem(NAME, format!("{amounts}: its calls are refused {until}"), mend),
        BudgetAction::Alert => Check::warning(NAME, format!("{amounts}, and it only tells"), mend),
        BudgetAction::Downgrade { .. } => {
            Check::warning(NAME, format!("{amounts}: its calls go to another route {until}"), mend)
        }
    }
}

/// What a downgrade leads to has to be there, and to be cheaper than where calls come from.
fn downgrade(route: &str, budget: &BudgetDefinition, around: &Around<'_>, set: &str) -> Option<Check> {
    let Some(found) = around.config.route(route) else {
        let mend = format!(
            "{set} {} --action downgrade --downgrade-to ROUTE   # or write [[routes]] name = \"{route}\"",
            budget.limit
        );
        return Some(Check::problem(
            NAME,
            format!("it sends calls to the route {route}, which is gone: at the limit they are refused"),
            mend,
        ));
    };
    let price = dearest(found, around)?;
    let others = around.config.routes.iter().filter(|other| other.name != route);
    let dearest_other = match &budget.scope {
        BudgetScope::Model(models) => meant(models, around).iter().filter_map(|one| cost(one, around)).max(),
        _ => others.filter_map(|other| dearest(other, around)).max(),
    }?;
    (price >= dearest_other && !price.is_zero()).then(|| {
        let found = format!(
            "it sends calls to the route {route}, which is no cheaper: a typical call costs {} there and {} at most elsewhere",
            money(price),
            money(dearest_other)
        );
        Check::warning(NAME, found, format!("{set} {} --action downgrade --downgrade-to ROUTE", budget.limit))
    })
}

/// The deployments that a budget of models is about, as far as routes or its own words name them.
fn meant(models: &ModelPattern, around: &Around<'_>) -> Vec<Deployment> {
    let routed = around.config.routes.iter().flat_map(|route| route.deployments.iter().cloned());
    let named = around.config.providers.iter().filter_map(|provider| {
        let own = models.as_str().strip_prefix(provider.name.as_str()).and_then(|rest| rest.strip_prefix('/'));
        let model = own.unwrap_or(models.as_str()).parse().ok()?;
        Some(Deployment { provider: provider.name.clone(), model })
    });
    routed.chain(named).filter(|deployment| models.fits(deployment)).collect()
}

/// What a typical call costs at the dearest deployment of a route.
fn dearest(route: &RouteConfig, around: &Around<'_>) -> Option<Picodollars> {
    route.deployments.iter().filter_map(|deployment| cost(deployment, around)).max()
}

fn cost(deployment: &Deployment, around: &Around<'_>) -> Option<Picodollars> {
    let provider = around.config.provider(&deployment.provider)?;
    let facts = around.catalog.find(&provider.name, &provider.catalog, deployment.model.as_str())?;
    let costing = facts.prices.cost(&TYPICAL, &Billed::plainly(around.now));
    (costing.basis != CostBasis::Unpriced).then_some(costing.cost)
}

/// What a budget is about, where that is not there any more.
fn gone(scope: &BudgetScope, around: &Around<'_>) -> Option<String> {
    match scope {
        BudgetScope::Team(team) => {
            around.keys.team(team.as_str()).is_none().then(|| format!("there is no team {}", team.as_str()))
        }
        BudgetScope::Key(id) => match around.keys.get(id) {
            None => Some(format!("there is no key {id}")),
            Some(key) if key.status(around.now) == KeyStatus::Revoked => {
                Some(format!("the key {} is revoked", key.name))
            }
            Some(_) => None,
        },
        BudgetScope::Provider(name) => {
            around.config.provider(name).is_none().then(|| format!("there is no provider {name}"))
        }
        BudgetScope::Model(models) => missing_provider(models, around.config, around.catalog)
            .map(|name| format!("there is no provider {name}, and no model of this name")),
        _ => None,
    }
}

/// A scope as the command takes it.
fn typed(scope: &BudgetScope, keys: &Keys) -> String {
    let word = match scope {
        BudgetScope::Everything => return "everything".to_owned(),
        BudgetScope::Key(id) => keys.get(id).map_or_else(|| id.to_string(), |key| key.name.clone()),
        scope => scope.id().unwrap_or_default(),
    };
    let scope = format!("{}:{word}", scope.kind());
    if word.contains(char::is_whitespace) { format!("'{scope}'") } else { scope }
}

/// A limit with room again: the next whole dollar above twice what is spent.
fn raised(spent: Picodollars) -> Picodollars {
    const DOLLAR: i128 = 1_000_000_000_000;
    Picodollars::new((spent.get().saturating_mul(2) / DOLLAR + 1) * DOLLAR)
}

#[cfg(test)]
mod tests {

    use super::super::report::Verdict;
    use super::*;
    use crate::domain::{BudgetTerms, Window};
    use crate::keys::NewKey;
    use crate::ledger::Balance;
    use crate::store::{OpenOptions, Settings};

    const SETTINGS: &str = "
        [[providers]]\nname = \"box\"\nkind = \"sandbox\"
        [[routes]]\nname = \"smart\"\ndeployments = [\"box/sandbox-small\"]
        [[routes]]\nname = \"dear\"\ndeployments = [\"box/sandbox-large\"]
        [[routes]]\nname = \"free\"\ndeployments = [\"box/sandbox-free\"]
        [alerts]\nslack_webhook_url = \"https://hooks.slack.com/x\"\n";

    /// A budget, and what is spent of it.
    struct Case {
        scope: BudgetScope,
        terms: BudgetTerms,
        spent: i64,
    }

    fn case(scope: BudgetScope, limit: i64, action: BudgetAction, spent: i64) -> Case {
        Case { scope, terms: BudgetTerms::new(Picodollars::from_dollars(limit), action), spent }
    }

    fn downgrade_to(route: &str) -> BudgetAction {
        BudgetAction::new("downgrade", Some(route)).unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-26T12:00:00Z".parse().unwrap()
    }

    struct Fixture {
        _folder: tempfile::TempDir,
        keys: Keys,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("settings.redb");
            let settings = Settings::open(&OpenOptions { path, name: "settings", cache_bytes: 1 << 20 }).unwrap();
            let keys = Keys::open(settings, &folder.path().join("pepper")).unwrap();
            Self { _folder: folder, keys }
        }

        fn judge(&self, settings: &str, cases: Vec<Case>) -> Vec<Check> {
            let config = Config::from_toml(settings).unwrap();
            let standing = |Case { scope, terms, spent }: Case| {
                let budget = self.keys.create_budget(scope, Window::Day, terms, now()).unwrap();
                self.keys.remove_budget(budget.id).unwrap();
                let spent = Picodollars::from_dollars(spent);
                let window = Window::Day.at(now(), &config.time_zone);
                let balance = Balance { spent, ..Balance::default() };
                let resets_at = window.end(&config.time_zone);
                Standing { definition: budget, window, balance, resets_at }
            };
            let standings: Vec<Standing> = cases.into_iter().map(standing).collect();
            let around = Around { config: &config, catalog: &Catalog::builtin(), keys: &self.keys, now: now() };
            judge(&standings, &around)
        }

        /// One budget beside a sound one over everything.
        fn check(&self, one: Case, verdict: Verdict, expected: &str, mend: &str) {
            let sound = case(BudgetScope::Everything, 100, BudgetAction::Block, 1);
            let found = self.judge(SETTINGS, vec![sound, one]);
            assert_eq!(found.len(), 1, "{found:?}");
            let check = &found[0];
            assert!(check.verdict == verdict && check.found.contains(expected), "{check:?}");
            assert!(check.mend.as_deref().unwrap_or_default().contains(mend), "{check:?}");
        }
    }

    fn scope(kind: &str, id: &str) -> BudgetScope {
        BudgetScope::new(kind, Some(id)).unwrap()
    }

    #[test]
    fn budgets_with_room_about_things_that_are_there_are_right() {
        let fixture = Fixture::new();
        fixture.check(case(scope("provider", "box"), 10, BudgetAction::Block, 9), Verdict::Ok, "2 budgets", "");
        fixture.check(case(scope("model", "sandbox-large"), 10, downgrade_to("smart"), 1), Verdict::Ok, "", "");
    }

    #[test]
    fn a_limit_that_is_spent_up_says_what_happens_to_calls_and_how_to_go_on() {
        let fixture = Fixture::new();
        let provider = || scope("provider", "box");
        let mend = "tollgate budget set provider:box day 25";
        fixture.check(
            case(provider(), 10, BudgetAction::Block, 12),
            Verdict::Problem,
            "$12.00 of $10 are spent: its calls are refused until 2026-11-27T00:00:00Z",
            mend,
        );
        fixture.check(case(provider(), 12, BudgetAction::Block, 12), Verdict::Problem, "refused", mend);
        fixture.check(case(provider(), 10, BudgetAction::Alert, 12), Verdict::Warning, "only tells", mend);
        fixture.check(case(provider(), 10, downgrade_to("free"), 12), Verdict::Warning, "another route", mend);
    }

    #[test]
    fn a_budget_about_nothing_is_told_with_the_command_that_removes_it() {
        let fixture = Fixture::new();
        let (key, _) = fixture.keys.create(NewKey::named("ci"), now()).unwrap();
        let of_key = || BudgetScope::Key(key.id.clone());
        fixture.check(case(of_key(), 10, BudgetAction::Block, 0), Verdict::Ok, "", "");
        fixture.check(
            case(scope("provider", "gone"), 10, BudgetAction::Block, 0),
            Verdict::Warning,
            "no provider gone",
            "tollgate budget remove budget_",
        );
        // Made while they were there.
        let config = Config::from_toml(SETTINGS).unwrap();
        let around = Around { config: &config, catalog: &Catalog::builtin(), keys: &fixture.keys, now: now() };
        fixture.keys.revoke(&key.id, now()).unwrap();
        assert_eq!(gone(&of_key(), &around), Some("the key ci is revoked".to_owned()));
        assert_eq!(gone(&scope("team", "none"), &around), Some("there is no team none".to_owned()));
        assert_eq!(gone(&scope("key", "key_0"), &around), Some("there is no key key_0".to_owned()));
        let no_provider = "there is no provider back, and no model of this name";
        assert_eq!(gone(&scope("model", "back/m2"), &around), Some(no_provider.to_owned()));
    }

    #[test]
    fn a_limit_that_no_call_fits_into_is_a_problem() {
        let fixture = Fixture::new();
        let tiny = |scope: BudgetScope, action: BudgetAction| {
            let mut one = case(scope, 0, action, 0);
            one.terms.limit = Picodollars::new(100_000);
            one
        };
        let large = || scope("model", "sandbox-large");
        let found = "no call fits into 0.0000001 USD: the cheapest, of box/sandbox-large, holds";
        fixture.check(
            tiny(large(), BudgetAction::Block),
            Verdict::Problem,
            found,
            "tollgate budget set model:sandbox-large day LIMIT",
        );
        fixture.check(tiny(large(), downgrade_to("free")), Verdict::Ok, "", "");
        // A free model passes, whatever the limit.
        fixture.check(tiny(scope("provider", "box"), BudgetAction::Block), Verdict::Ok, "", "");
        fixture.check(case(large(), 1, BudgetAction::Block, 0), Verdict::Ok, "", "");
    }

    #[test]
    fn a_limit_behind_one_over_a_longer_time_is_never_reached() {
        let fixture = Fixture::new();
        let check = |shorter: (Window, i64), longer: (Window, i64), action: BudgetAction, expected: bool| {
            let budget = |(window, limit): (Window, i64), action: &BudgetAction| {
                let terms = BudgetTerms::new(Picodollars::from_dollars(limit), action.clone());
                let made = fixture.keys.create_budget(BudgetScope::Everything, window, terms, now()).unwrap();
                fixture.keys.remove_budget(made.id).unwrap();
                made
            };
            let (shorter, longer) = (budget(shorter, &action), budget(longer, &BudgetAction::Block));
            let found = limits::never_reached(&shorter, &[&shorter, &longer], "tollgate budget set everything hour");
            assert_eq!(found.is_some(), expected, "{found:?}");
            assert_eq!(limits::never_reached(&longer, &[&shorter, &longer], ""), None);
        };
        check((Window::Hour, 100_000), (Window::Month, 5), BudgetAction::Block, true);
        check((Window::Hour, 4), (Window::Month, 5), BudgetAction::Block, false);
        check((Window::Day, 5), (Window::Total, 5), downgrade_to("free"), true);
        check((Window::Day, 50), (Window::Total, 5), BudgetAction::Alert, false);
        // A week can lie in two months.
        check((Window::Week, 9), (Window::Month, 5), BudgetAction::Block, false);
        check((Window::Week, 10), (Window::Month, 5), BudgetAction::Block, true);
    }

    #[test]
    fn a_downgrade_leads_somewhere_cheaper() {
        let fixture = Fixture::new();
        let of = |route: &str| case(scope("operation", "chat"), 10, downgrade_to(route), 0);
        fixture.check(
            of("gone"),
            Verdict::Problem,
            "the route gone, which is gone",
            "--action downgrade --downgrade-to ROUTE",
        );
        fixture.check(of("dear"), Verdict::Warning, "no cheaper", "--downgrade-to ROUTE");
        fixture.check(of("smart"), Verdict::Ok, "", "");
        fixture.check(of("free"), Verdict::Ok, "", "");
        let of_model = case(scope("model", "sandbox-small"), 10, downgrade_to("dear"), 0);
        fixture.check(of_model, Verdict::Warning, "no cheaper", "");
    }

    #[test]
    fn thresholds_have_to_tell_somebody() {
        let fixture = Fixture::new();
        let with = |action: BudgetAction, thresholds: &[u8]| {
            let mut one = case(scope("provider", "box"), 10, action, 0);
            one.terms.thresholds = thresholds.to_vec();
            one
        };
        fixture.check(
            with(BudgetAction::Block, &[]),
            Verdict::Warning,
            "no thresholds",
            "provider:box day 10 --thresholds",
        );
        fixture.check(
            with(BudgetAction::Alert, &[50]),
            Verdict::Warning,
            "below 100",
            "--action alert --thresholds 50,80,100",
        );
        fixture.check(with(BudgetAction::Block, &[50]), Verdict::Ok, "", "");
        let without_receiver = SETTINGS.split("[alerts]").next().unwrap();
        let everything = case(BudgetScope::Everything, 10, BudgetAction::Block, 0);
        let found = fixture.judge(without_receiver, vec![everything]);
        assert!(found.len() == 1 && found[0].found.contains("no receiver"), "{found:?}");
    }

    #[test]
    fn nothing_that_holds_everything_back_is_warned_of() {
        let fixture = Fixture::new();
        let none = fixture.judge(SETTINGS, Vec::new());
        assert!(none.len() == 1 && none[0].found.contains("no budget at all"), "{none:?}");
        let some = fixture.judge(SETTINGS, vec![case(scope("provider", "box"), 10, BudgetAction::Block, 0)]);
        assert!(some.len() == 1 && some[0].found.contains("over everything"), "{some:?}");
    }
}
