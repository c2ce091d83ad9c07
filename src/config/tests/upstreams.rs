//! Providers and routes that must be refused, with the sentence that the reader gets.

use super::refusals::{check, check_provider, check_with};

fn check_hedge(lines: &str, expected: &[&str]) {
    let route =
        "[[providers]]\nname = \"x\"\nkind = \"sandbox\"\n[[routes]]\nname = \"r\"\ndeployments = [\"x/a\", \"x/b\"]\n";
    check(&format!("{route}{lines}"), expected);
}

#[test]
fn a_hedge_starts_after_a_time_that_makes_sense() {
    let way_out = "; true starts a second attempt after the measured 95th percentile, \"800ms\" after that time";
    let range = "is out of range; from 10ms to 5m is possible";
    check_hedge("hedge = \"0s\"", &[&format!("routes.r.hedge: 0s {range}{way_out}")]);
    check_hedge("hedge = \"9ms\"", &[&format!("routes.r.hedge: 9ms {range}{way_out}")]);
    check_hedge("hedge = \"2h\"", &[&format!("routes.r.hedge: 2h {range}{way_out}")]);
    let no_duration = "is no duration; write a number and its unit, such as \"30s\" or \"800ms\"";
    check_hedge("hedge = \"-1s\"", &[&format!("routes.r.hedge: \"-1s\" {no_duration}{way_out}")]);
    check_hedge("hedge = \"p95\"", &[&format!("routes.r.hedge: \"p95\" {no_duration}{way_out}")]);
    let unit = "a duration has a unit; write it in quotes, such as \"30s\" or \"800ms\"";
    check_hedge("hedge = 800", &[&format!("routes.r.hedge: {unit}{way_out}")]);
    check_hedge("hedge = -1", &[&format!("routes.r.hedge: {unit}{way_out}")]);
    for percent in ["0", "101", "-1"] {
        let told = format!("routes.r.hedge_percent_max: {percent} is out of range; from 1 to 100 is possible");
        check_hedge(&format!("hedge = true\nhedge_percent_max = {percent}"), &[&told]);
    }
    check_hedge(
        "hedge_percent_max = 5",
        &["routes.r.hedge_percent_max: the route does not hedge; set hedge = true, or take this out"],
    );
}

#[test]
fn only_companies_with_reports_have_admin_keys() {
    let told = "only a provider of kind \"openai\" or \"anthropic\" has reports of what it charged; take it out";
    check_provider("admin_api_key = \"x\"", &[&format!("providers.p.admin_api_key: {told}")]);
    check_provider("admin_projects = [\"proj_1\"]", &[&format!("providers.p.admin_projects: {told}")]);
    check_with(
        "[[providers]]\nname = \"p\"\nkind = \"openai\"\napi_key = \"env:K\"\nadmin_projects = [\"proj_1\", \"a b\"]",
        &[("K", "sk-1")],
        &["providers.p.admin_projects[1]: \"a b\" is no id of a project or workspace, such as \"proj_abc\""],
    );
}

#[test]
fn urls_with_credentials_or_other_schemes_are_refused_without_repeating_them() {
    check(
        "public_url = \"ai.example.test\"",
        &["public_url: this is no URL (relative URL without a base); write it as https://host/path"],
    );
    check(
        "public_url = \"ftp://ai.example.test\"",
        &["public_url: this URL is of another scheme; write http:// or https://"],
    );
    check(
        "redis_url = \"http://:canary@127.0.0.1\"",
        &["redis_url: this URL is of another scheme; write redis:// or rediss://"],
    );
    let local =
        |url: &str| format!("[[providers]]\nname = \"local\"\nkind = \"openai-compatible\"\nbase_url = \"{url}\"");
    check(
        &local("https://user:canary@example.test/v1"),
        &[
            "providers.local.base_url: a URL here can't hold a user name or password; take them out, and give a key by its own setting",
        ],
    );
    check(
        &local("file:///etc/passwd"),
        &["providers.local.base_url: this URL is of another scheme; write http:// or https://"],
    );
    check(
        &local("https://"),
        &["providers.local.base_url: this is no URL (empty host); write it as https://host/path"],
    );
    check(
        &local("https://example.test/v1?key=canary"),
        &[
            "providers.local.base_url: paths are added to this URL, so it can't have a query; take out the ? and what follows it",
        ],
    );
    check(
        &local("https://example.test/v1#a"),
        &["providers.local.base_url: a URL here can't have a fragment; take out the # and what follows it"],
    );
    check(
        "[alerts]\nslack_webhook_url = \"hooks/canary\"",
        &["alerts.slack_webhook_url: this is no URL (relative URL without a base); write it as https://host/path"],
    );
    for inside in ["127.0.0.1", "10.0.0.1:8080", "2130706433", "[::1]", "[::ffff:8.8.8.8]", "169.254.169.254"] {
        check(
            &format!(
                "[alerts]\nwebhook_url = \"http://{inside}/canary\"\nwebhook_secret = \"s\"\nprivate_hosts = [\"10.0.0.2\"]"
            ),
            &[
                "alerts.webhook_url: this address lies in a private network; if it is a receiver of yours, name its host in alerts.private_hosts",
            ],
        );
    }
    check(
        "[alerts]\nprivate_hosts = [\"http://hooks.lan/\"]",
        &[
            "alerts.private_hosts[0]: \"http://hooks.lan/\" is no host; write a name or an address without scheme and port, such as \"hooks.lan\"",
        ],
    );
}

#[test]
fn providers_must_be_whole_and_have_names_of_their_own() {
    check(
        "[[providers]]\nkind = \"sandbox\"",
        &["providers[0]: name is missing; give the provider one, such as name = \"openai\""],
    );
    check(
        "[[providers]]\nname = \"x\"",
        &["providers.x: kind is missing; set it to openai, anthropic, openai-compatible or sandbox"],
    );
    check(
        "[[providers]]\nname = \"x\"\nkind = \"openai_compatible\"",
        &[
            "providers.x.kind: \"openai_compatible\" is not openai, anthropic, openai-compatible or sandbox; did you mean \"openai-compatible\"?",
        ],
    );
    check(
        "[[providers]]\nname = \"a/b\"\nkind = \"sandbox\"",
        &[
            "providers.\"a/b\".name: \"a/b\" can't be a provider's name; use letters, digits, dashes, dots and underscores",
        ],
    );
    check(
        "[[providers]]\nname = \"x\"\nkind = \"sandbox\"\n[[providers]]\nname = \"x\"\nkind = \"sandbox\"",
        &["providers[1].name: another provider is called \"x\" already, at tollgate.toml:2; give each its own name"],
    );
    check(
        "[[providers]]\nname = \"x\"\nkind = \"anthropic\"",
        &["providers.x: api_key is missing; set api_key = \"env:ANTHROPIC_API_KEY\""],
    );
    check(
        "[[providers]]\nname = \"x\"\nkind = \"openai-compatible\"",
        &["providers.x: base_url is missing; set it to the server's address, such as \"http://127.0.0.1:11434/v1\""],
    );
    check_provider(
        "concurrent_requests_max = 0",
        &["providers.p.concurrent_requests_max: 0 is out of range; from 1 to 60000 is possible"],
    );
    check_provider(
        "timeouts = { conect = \"1s\" }",
        &["providers.p.timeouts.conect: unknown key; did you mean \"connect\"?"],
    );
    check_provider(
        "timeouts = { idle = \"0s\" }",
        &["providers.p.timeouts.idle: 0s is out of range; from 1ms to 1day is possible"],
    );
    check_provider("error_rate = 1.5", &["providers.p.error_rate: \"1.5\" is no number from 0 to 1"]);
    check_provider("hang_rate = nan", &["providers.p.hang_rate: \"nan\" is no number from 0 to 1"]);
    check_provider(
        "latency = 50",
        &["providers.p.latency: a duration has a unit; write it in quotes, such as \"30s\" or \"800ms\""],
    );
    check_provider(
        "base_url = \"http://127.0.0.1\"",
        &[
            "providers.p.base_url: the sandbox is built in and has no address; take it out, or use kind = \"openai-compatible\" for a server",
        ],
    );
}

#[test]
fn settings_of_the_sandbox_are_refused_at_other_kinds() {
    check(
        "[[providers]]\nname = \"x\"\nkind = \"openai\"\napi_key = \"k\"\nerror_rate = 0.5\nlatency = \"1s\"",
        &[
            "providers.x.error_rate: only a provider of kind \"sandbox\" has this; take it out",
            "providers.x.latency: only a provider of kind \"sandbox\" has this; take it out",
        ],
    );
}

#[test]
fn routes_must_lead_somewhere() {
    let route =
        |line: &str| format!("[[providers]]\nname = \"box\"\nkind = \"sandbox\"\n[[routes]]\nname = \"r\"\n{line}");
    check(
        &route("strategy = \"primary\""),
        &["routes.r: deployments is missing; list what stands behind the route, such as [\"openai/gpt-5\"]"],
    );
    check(
        &route("deployments = []"),
        &["routes.r.deployments: the list is empty; name at least one as provider/model"],
    );
    check(
        &route("deployments = \"box/a\""),
        &["routes.r.deployments: expected a list such as [\"…\", \"…\"], found a text"],
    );
    check(
        &route("deployments = [\"openrouter/a\"]"),
        &["routes.r.deployments[0]: no provider \"openrouter\"; there is box"],
    );
    check(&route("deployments = [\"box/\"]"), &["routes.r.deployments[0]: a name can't be empty"]);
    check(
        &route("deployments = [\"box/a\", \"box/a\"]"),
        &["routes.r.deployments: \"box/a\" is in the list already; take one out"],
    );
    check(
        &route("deployments = [\"box/a\"]\nstrategy = \"fastest\""),
        &[
            "routes.r.strategy: \"fastest\" is not primary, cost-optimized, performance, fallback, weighted, learned or experiment",
        ],
    );
    check(
        &route("deployments = [\"box/a\"]\nweights = [1]"),
        &["routes.r.weights: only the strategy \"weighted\" has weights; set it, or take them out"],
    );
    check(
        &route("deployments = [\"box/a\"]\nstrategy = \"weighted\"\nweights = [1, 2]"),
        &["routes.r.weights: 2 weights for 1 deployments; give each its own"],
    );
    check(
        &route("deployments = [\"box/a\"]\nstrategy = \"weighted\"\nweights = [0]"),
        &["routes.r.weights: all weights are 0, so nothing could be chosen; raise one"],
    );
    check(
        &route("deployments = [\"box/a\"]\n[[routes]]\nname = \"r\"\ndeployments = [\"box/b\"]"),
        &["routes[1].name: another route is called \"r\" already, at tollgate.toml:5; give each its own name"],
    );
    check(
        "[[routes]]\nname = \"r\"\ndeployments = [\"openai/gpt-5\"]",
        &[
            "routes.r.deployments[0]: no provider \"openai\"; none is set up yet: add [[providers]], or set OPENAI_API_KEY or ANTHROPIC_API_KEY",
        ],
    );
    check(
        &route("deployments = [\"box/a\"]\n[operations.review-code]\nroute = \"rr\""),
        &["operations.review-code.route: no route \"rr\"; did you mean \"r\"?"],
    );
    check(
        &route("deployments = [\"box/a\"]\n[operations.review-code]"),
        &["operations.review-code: route is missing; name the route that the operation uses"],
    );
}

#[test]
fn a_faulty_provider_or_route_makes_no_further_problems_where_it_is_named() {
    check(
        "[[providers]]\nname = \"x\"\nkind = \"openai\"\n[[routes]]\nname = \"r\"\ndeployments = [\"x/a\"]\nattempts_max = 99\n[operations.chat]\nroute = \"r\"",
        &[
            "providers.x: api_key is missing; set api_key = \"env:OPENAI_API_KEY\", or use kind = \"openai-compatible\" for a server without keys",
            "routes.r.attempts_max: 99 is out of range; from 1 to 20 is possible",
        ],
    );
}

#[test]
fn what_retries_may_get_has_its_bounds() {
    let box_with = |text: &str| format!("[[providers]]\nname = \"box\"\nkind = \"sandbox\"\n{text}");
    check(
        &box_with("retry_percent_max = 101"),
        &["providers.box.retry_percent_max: 101 is out of range; from 0 to 100 is possible"],
    );
    check(
        &box_with("retry_percent_max = \"20%\""),
        &["providers.box.retry_percent_max: expected a whole number without quotes, found a text"],
    );
    let route = |text: &str| box_with(&format!("[[routes]]\nname = \"r\"\ndeployments = [\"box/a\"]\n{text}"));
    check(
        &route("retry_usd_max = 0.05"),
        &["routes.r.retry_usd_max: an amount is written in quotes, such as \"0.01\": a bare number would be rounded"],
    );
    check(
        &route("retry_usd_max = \"-1\""),
        &["routes.r.retry_usd_max: \"-1\" is negative; an amount here is 0 or more"],
    );
}
