//! What the manual shows is taken as it stands, and what is shown back is the same.

use std::time::Duration;

use super::{accept, accept_with, warnings};
use crate::config::{
    Bodies, BudgetAction, CacheScope, CommandSandbox, Config, Durability, HedgeAfter, HedgeConfig, OnDisconnect,
    Operation, Timeouts, WorkflowKind,
};
use crate::domain::{Picodollars, Price, ProviderKind, Strategy};

/// Every key that the manual names, with its value there.
const WHOLE: &str = r#"
listen = "127.0.0.1:8000"
data_dir = "tollgate-data"
time_zone = "Asia/Seoul"           # budget days and months; default: the system's zone
public_url = "https://ai.example.test"
redis_url = "redis://127.0.0.1:6379"   # optional: shared response cache and rate limits
redis_secret = "env:REDIS_SECRET"

[[providers]]
name = "anthropic"
kind = "anthropic"                 # openai | anthropic | openai-compatible | sandbox
api_key = "env:ANTHROPIC_API_KEY"
base_url = "https://api.anthropic.com"
catalog = "anthropic"              # whose prices it has; default: its name
concurrent_requests_max = 1000
retry_percent_max = 10
timeouts = { connect = "800ms", first_token = "60s", idle = "60s", total = "10m" }

[[providers]]
name = "openai"
kind = "openai"
api_keys = ["env:OPENAI_API_KEY", "env:OPENAI_API_KEY_2"]
admin_api_key = "env:OPENAI_ADMIN_KEY"   # opens the organization's usage and cost reports
admin_projects = ["proj_abc"]

[[providers]]
name = "local"
kind = "openai-compatible"
base_url = "http://127.0.0.1:11434/v1"

[[providers]]
name = "box"
kind = "sandbox"
latency = "50ms"
chunk_delay = "0s"
error_rate = 0.1
rate_limit_rate = 0
hang_rate = 1.0
script = "answers.jsonl"

[[routes]]                         # a name that clients can ask for as `model`
name = "smart"
strategy = "fallback"
deployments = ["anthropic/claude-sonnet-4-5", "openai/gpt-5"]
attempts_max = 3
retry_usd_max = "0.05"

[operations.review-code]           # task-based choice: which route an operation uses
route = "smart"

[prices."local/qwen3"]             # own or corrected prices, USD per million tokens, as strings; globs allowed
input = "0"
output = "0"

[prices."ollama/*"]
input = "0"

[catalog]
file = "prices.json"

[cache]
enabled = true
ttl = "1h"
bytes_max = "256MiB"
scope = "key"
deterministic_only = false
[cache.semantic]
enabled = false

[ledger]
durability = "strict"

[streams]
on_disconnect = "drain"
drain_usd_max = "0.01"

[limits]
concurrent_requests_max = 1000
body_bytes_max = "32MiB"
requests_per_minute = 600
tokens_per_minute = 1_000_000
new_key_budget = { window = "day", limit_usd = "1.00", action = "block" }

[workers]
concurrency = 5
queue_capacity = 1000

[workflows]
repositories = ["/srv/repos/*"]
sandbox = "strict"
max_usd = "1"

[[schedules]]
workflow = "security"
repository = "/srv/repos/shop"
cron = "0 6 * * mon"
time_zone = "Europe/Berlin"

[alerts]
slack_webhook_url = "https://hooks.slack.test/T0/B0/x"
discord_webhook_url = "https://discord.test/api/webhooks/1/x"
webhook_url = "https://hooks.example.test/tollgate"
webhook_secret = "env:WEBHOOK_SECRET"
private_hosts = ["hooks.lan", "10.0.0.7"]
thresholds = [50, 80, 100]

[log]
bodies = "off"
retention = "30d"

[github]
webhook_secret = "env:WEBHOOK_SECRET"
token = "env:GITHUB_TOKEN"
api_url = "https://api.github.com"
repositories = ["acme/shop", "acme/*"]

[telemetry]
otlp_endpoint = "http://127.0.0.1:4318"
otlp_headers = ["env:OTLP_HEADER", "x-team: a"]
metrics_token = "env:METRICS_TOKEN"

[tls]
cert = "cert.pem"
key = "key.pem"
trusted_proxies = ["10.0.0.0/8", "::1"]
plain_http_login = false
ca_file = "ca.pem"
"#;

fn whole() -> Config {
    accept_with(
        WHOLE,
        &[
            ("ANTHROPIC_API_KEY", "sk-canary-1"),
            ("OPENAI_API_KEY", "sk-canary-2"),
            ("OPENAI_API_KEY_2", "sk-canary-3"),
            ("OPENAI_ADMIN_KEY", "sk-admin-canary"),
            ("WEBHOOK_SECRET", "canary-4"),
            ("GITHUB_TOKEN", "canary-5"),
            ("METRICS_TOKEN", "canary-6"),
            ("REDIS_SECRET", "canary-8"),
            ("OTLP_HEADER", "authorization: Bearer canary-7"),
        ],
    )
}

#[test]
fn every_documented_key_is_taken() {
    let config = whole();
    assert_eq!(config.time_zone.iana_name(), Some("Asia/Seoul"));
    assert_eq!(config.public_url.as_ref().unwrap().as_str(), "https://ai.example.test/");
    let kinds: Vec<ProviderKind> = config.providers.iter().map(|provider| provider.kind).collect();
    assert_eq!(
        kinds,
        [ProviderKind::Anthropic, ProviderKind::OpenAi, ProviderKind::OpenAiCompatible, ProviderKind::Sandbox]
    );
    assert_eq!(config.providers[1].api_keys.len(), 2);
    assert_eq!(config.providers[1].base_url.as_str(), "https://api.openai.com/v1");
    assert_eq!(config.providers[1].admin_api_key.as_ref().unwrap().expose(), "sk-admin-canary");
    assert_eq!(config.providers[1].admin_projects, ["proj_abc"]);
    assert_eq!(config.providers[0].timeouts, Timeouts::default());
    let percents: Vec<u32> = config.providers.iter().map(|provider| provider.retry_percent_max).collect();
    assert_eq!(percents, [10, 20, 20, 20]);
    assert_eq!(config.routes[0].retry_usd_max, Some("0.05".parse().unwrap()));
    let sandbox = &config.providers[3].sandbox;
    assert_eq!((sandbox.latency, sandbox.error_rate, sandbox.hang_rate), (Duration::from_millis(50), 0.1, 1.0));
    assert_eq!(config.routes[0].strategy, Strategy::Fallback);
    assert_eq!(config.routes[0].deployments[0].to_string(), "anthropic/claude-sonnet-4-5");
    assert_eq!(config.operations[&Operation::ReviewCode], "smart");
    assert_eq!(config.prices[0].pattern, "local/qwen3");
    assert_eq!(config.prices[1].prices["input"], Price::FREE);
    assert_eq!(config.limits.tokens_per_minute, Some(1_000_000));
    assert_eq!(config.limits.new_key_budget.as_ref().unwrap().action, BudgetAction::Block);
    assert_eq!(config.schedules[0].workflow, WorkflowKind::Security);
    assert_eq!(config.alerts.thresholds, [50, 80, 100]);
    assert!(config.tls.trusted_proxies[0].contains("10.1.2.3".parse().unwrap()));
    assert!(config.tls.certificate.is_some());
}

#[test]
fn an_empty_file_has_the_documented_defaults() {
    let config = accept("");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(config.data_dir.to_str(), Some("tollgate-data"));
    assert!(config.providers.is_empty() && config.routes.is_empty() && config.prices.is_empty());
    assert!(config.cache.enabled && !config.cache.deterministic_only && !config.cache.semantic.enabled);
    assert_eq!((config.cache.ttl, config.cache.bytes_max), (Duration::from_hours(1), 256 << 20));
    assert_eq!(config.cache.scope, CacheScope::Key);
    assert_eq!(config.ledger.durability, Durability::Strict);
    assert_eq!(config.streams.on_disconnect, OnDisconnect::Drain);
    assert_eq!(config.streams.drain_usd_max, "0.01".parse().unwrap());
    assert_eq!((config.limits.concurrent_requests_max, config.limits.body_bytes_max), (1000, 32 << 20));
    assert_eq!((config.workers.concurrency, config.workers.queue_capacity), (5, 1000));
    assert_eq!(config.workflows.sandbox, CommandSandbox::Strict);
    assert_eq!(config.workflows.usd_max, Picodollars::from_dollars(1));
    assert_eq!(config.alerts.thresholds, [50, 80, 100]);
    assert_eq!(config.log.bodies, Bodies::Off);
    assert_eq!(config.log.retention, Some(Duration::from_hours(30 * 24)));
    assert_eq!(config.log.entries_retention, None);
    assert_eq!(config.github.api_url.as_str(), "https://api.github.com/");
    assert!(!config.tls.plain_http_login);
}

#[test]
fn contents_can_be_kept_for_ever() {
    let config = accept("[log]\nretention = \"forever\"\nentries_retention = \"365d\"");
    assert_eq!(config.log.retention, None);
    assert_eq!(config.log.entries_retention, Some(Duration::from_hours(365 * 24)));
}

#[test]
fn a_route_without_a_strategy_falls_back_in_order() {
    let config = accept(
        "[[providers]]\nname = \"b\"\nkind = \"sandbox\"\n[[routes]]\nname = \"r\"\ndeployments = [\"b/x\", \"b/y/z\"]",
    );
    let route = config.route("r").unwrap();
    assert_eq!(
        (route.strategy, route.attempts_max, route.retry_usd_max, route.weights.as_slice()),
        (Strategy::Fallback, 3, None, [1, 1].as_slice())
    );
    assert_eq!(config.provider(&route.deployments[1].provider).unwrap().name.as_str(), "b");
}

#[test]
fn a_route_hedges_when_it_is_told_and_says_when_that_is_in_vain() {
    let read = |deployments: &str, lines: &str| {
        let file = "[[providers]]\nname = \"x\"\nkind = \"sandbox\"\n[[routes]]\nname = \"r\"\n";
        let config = accept(&format!("{file}deployments = {deployments}\n{lines}"));
        (config.route("r").unwrap().hedge, warnings(&config).join("\n"))
    };
    let two = "[\"x/a\", \"x/b\"]";
    let hedge = |after, percent_max| Some(HedgeConfig { after, percent_max });
    assert_eq!(read(two, ""), (None, String::new()));
    assert_eq!(read(two, "hedge = false"), (None, String::new()));
    assert_eq!(read(two, "hedge = false\nhedge_percent_max = 5"), (None, String::new()));
    assert_eq!(read(two, "hedge = true"), (hedge(HedgeAfter::P95, 10), String::new()));
    let after = HedgeAfter::Time(Duration::from_millis(800));
    assert_eq!(read(two, "hedge = \"800ms\"\nhedge_percent_max = 100"), (hedge(after, 100), String::new()));
    for (deployments, lines, told) in [
        ("[\"x/a\"]", "", "a route of one deployment has none for a second attempt; add another"),
        (two, "strategy = \"primary\"", "the strategy \"primary\" has one deployment for each call"),
        (two, "attempts_max = 1", "a hedge counts as an attempt, and attempts_max allows one; raise it"),
    ] {
        let (read, warning) = read(deployments, &format!("hedge = true\n{lines}"));
        assert!(read.is_some() && warning.contains(told), "{warning}");
    }
}

#[test]
fn a_route_with_more_deployments_than_attempts_is_warned_of() {
    let told = |lines: &str| {
        let file = "[[providers]]\nname = \"x\"\nkind = \"sandbox\"\n[[routes]]\nname = \"r\"\n";
        let deployments = "deployments = [\"x/a\", \"x/b\", \"x/c\", \"x/d\"]";
        warnings(&accept(&format!("{file}{deployments}\n{lines}"))).join("\n")
    };
    let expected = "routes.r.deployments: a call asks at most 3 of the 4; raise attempts_max so that each may be asked where others fail";
    assert_eq!(told(""), expected);
    assert_eq!(told("attempts_max = 3"), expected);
    assert_eq!(told("attempts_max = 4"), "");
    // That strategy asks one deployment alone.
    assert_eq!(told("strategy = \"primary\""), "");
}

#[test]
fn an_admin_key_that_is_none_by_its_looks_is_warned_of() {
    let warned = |kind: &'static str, key: &'static str| {
        let text =
            format!("[[providers]]\nname = \"p\"\nkind = \"{kind}\"\napi_key = \"env:K\"\nadmin_api_key = \"env:A\"");
        warnings(&accept_with(&text, &[("K", "sk-1"), ("A", key)])).join("\n")
    };
    assert_eq!(warned("openai", "sk-admin-canary"), "");
    assert_eq!(warned("anthropic", "sk-ant-admin01-canary"), "");
    for (kind, key, beginning) in
        [("openai", "sk-proj-canary", "sk-admin-"), ("anthropic", "sk-ant-api03-canary", "sk-ant-admin")]
    {
        let warning = warned(kind, key);
        assert!(warning.contains(beginning) && !warning.contains("canary"), "{warning}");
    }
    let unused = "[[providers]]\nname = \"p\"\nkind = \"openai\"\napi_key = \"env:K\"\nadmin_projects = [\"proj_1\"]";
    let unused = warnings(&accept_with(unused, &[("K", "sk-1")])).join("\n");
    assert!(unused.contains("without an admin_api_key no reports are fetched"), "{unused}");
}

#[test]
fn no_secret_is_shown_anywhere() {
    let config = whole();
    for shown in [config.masked(), format!("{config:?}")] {
        assert!(!shown.contains("canary") && !shown.contains("hooks.slack.test"), "{shown}");
    }
    assert!(config.masked().contains("api_keys = [\"***\", \"***\"]"), "{}", config.masked());
}

#[test]
fn what_is_shown_is_toml_that_means_the_same() {
    let hand_made = "[[providers]]\nname = \"b\"\nkind = \"sandbox\"\nlatency = \"50ms\"\n[[routes]]\nname = \"r\"\ndeployments = [\"b/x\"]\n\
                     [prices.\"b/*\"]\ninput = \"0.25\"\n[limits]\nbody_bytes_max = 1048576\nrequests_per_minute = 5\n[operations.chat]\nroute = \"r\"";
    let config = accept(hand_made);
    let mut again = accept(&config.masked());
    assert_eq!(again.masked(), config.masked());
    // Defaults are shown as if they had been set, so only the warnings may differ.
    again.warnings.clone_from(&config.warnings);
    assert_eq!(again, config);
}

#[test]
fn providers_of_the_environment_are_shown() {
    let config = accept_with("", &[("OPENAI_API_KEY", "sk-canary")]);
    let shown = config.masked();
    assert!(
        shown.contains("name = \"openai\"") && shown.contains("api_key = \"***\"") && !shown.contains("canary"),
        "{shown}"
    );
}
