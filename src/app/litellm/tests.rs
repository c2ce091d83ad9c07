use std::path::PathBuf;

use super::*;
use crate::config::Config;

/// A takeover of a text, with two variables set.
fn taken(text: &str) -> Takeover {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let set = |name: &str| match name {
        "VLLM_BASE" => Some("http://vllm.lan:8000/v1".to_owned()),
        "OPENAI_API_KEY" => Some("sk-from-the-environment".to_owned()),
        _ => None,
    };
    of_file(&path, &set).unwrap()
}

/// What is written, which can always be loaded.
fn written(takeover: &Takeover) -> String {
    let text = text_of(takeover);
    let variables =
        takeover.variables().iter().map(|name| ((*name).to_owned(), "https://stand.in/1".to_owned())).collect();
    let sources = crate::config::Sources {
        file: Some((PathBuf::from("tollgate.toml"), text.clone())),
        environment: variables,
        ..crate::config::Sources::none()
    };
    let loaded: Result<Config, _> = crate::config::load(&sources);
    assert!(loaded.is_ok(), "{}\n{text}", loaded.unwrap_err());
    text
}

/// The written file without its head and its cache, which is the same in most tests.
fn check(text: &str, expected: &str) {
    let written = written(&taken(text));
    let body = written.split_once("\n\n").map_or("", |(_, body)| body);
    let body = body.replace("\n[cache]\nenabled = false # as in the settings that this was taken from\n", "");
    assert_eq!(body.trim(), expected.trim());
}

/// Whether some note of a fate is about a path and says something.
fn notes(text: &str, fate: Fate, path: &str, says: &str) {
    let takeover = taken(text);
    let found = takeover.notes.iter().any(|note| {
        note.fate == fate && note.path == path && (note.reason.contains(says) || note.way_out.contains(says))
    });
    assert!(found, "{path} {says}: {:#?}", takeover.notes);
}

fn model(name: &str, params: &str) -> String {
    format!("model_list:\n- model_name: {name}\n  litellm_params: {{{params}}}\n")
}

#[test]
fn a_group_of_deployments_becomes_a_route_by_weight() {
    check(
        "\
model_list:
  - model_name: smart
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/KEY_A, weight: 9}
  - model_name: smart
    litellm_params: {model: gpt-4o, api_key: os.environ/KEY_B, weight: 1}
",
        r#"
[[providers]]
name = "openai"
kind = "openai"
api_key = "env:KEY_A"

[[providers]]
name = "openai-2"
kind = "openai"
api_key = "env:KEY_B"

[[routes]]
name = "smart"
strategy = "weighted"
deployments = ["openai/gpt-4o", "openai-2/gpt-4o"]
weights = [9, 1]
attempts_max = 3
"#,
    );
}

#[test]
fn fallbacks_follow_in_order_and_get_no_weight() {
    check(
        "\
model_list:
  - model_name: a
    litellm_params: {model: openai/gpt-4o, rpm: 100}
  - model_name: a
    litellm_params: {model: openai/gpt-4o-mini, rpm: 300}
  - model_name: b
    litellm_params: {model: anthropic/claude-sonnet-4-5}
  - model_name: c
    litellm_params: {model: anthropic/claude-haiku-4-5}
router_settings:
  num_retries: 1
  fallbacks: [{a: [b]}]
  model_group_alias: {alias: b}
litellm_settings:
  fallbacks: [{a: [c]}, {c: [alias]}]
  default_fallbacks: [c]
",
        r#"
[[providers]]
name = "openai"
kind = "openai"
api_key = "env:OPENAI_API_KEY"

[[providers]]
name = "anthropic"
kind = "anthropic"
api_key = "env:ANTHROPIC_API_KEY"

[[routes]]
name = "a"
strategy = "weighted"
deployments = ["openai/gpt-4o", "openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5", "anthropic/claude-haiku-4-5"]
weights = [1, 3, 0, 0] # 0: only when the others fail
attempts_max = 4

[[routes]]
name = "b"
strategy = "fallback"
deployments = ["anthropic/claude-sonnet-4-5", "anthropic/claude-haiku-4-5"]
attempts_max = 2

[[routes]]
name = "c"
strategy = "fallback"
deployments = ["anthropic/claude-haiku-4-5", "anthropic/claude-sonnet-4-5"]
attempts_max = 2

[[routes]]
name = "alias"
strategy = "fallback"
deployments = ["anthropic/claude-sonnet-4-5", "anthropic/claude-haiku-4-5"]
attempts_max = 2
"#,
    );
}

#[test]
fn prices_limits_and_the_cache_are_taken() {
    check(
        "\
model_list:
  - model_name: local
    litellm_params: {model: hosted_vllm/qwen3, api_base: os.environ/VLLM_BASE, timeout: 300, stream_timeout: 1.5, max_parallel_requests: 8}
    model_info: {input_cost_per_token: 2.9999999999999997e-06, output_cost_per_token: 0.0000015}
litellm_settings:
  cache: True
  cache_params: {type: local, ttl: 600}
  default_key_generate_params: {max_budget: 1.5, budget_duration: 1d, rpm_limit: 60}
general_settings:
  global_max_parallel_requests: 200
  alerting: [slack]
",
        r#"
[[providers]]
name = "vllm"
kind = "openai-compatible"
base_url = "http://vllm.lan:8000/v1"
concurrent_requests_max = 8
timeouts = { first_token = "1s 500ms", total = "5m" }

[[routes]]
name = "local"
strategy = "fallback"
deployments = ["vllm/qwen3"]
attempts_max = 3

[prices."vllm/qwen3"]
input = "3"
output = "1.5"

[cache]
enabled = true
ttl = "10m"

[limits]
concurrent_requests_max = 200
requests_per_minute = 60
new_key_budget = { window = "day", limit_usd = "1.5", action = "block" }

[alerts]
slack_webhook_url = "env:SLACK_WEBHOOK_URL"
"#,
    );
}

#[test]
fn a_time_limit_of_one_model_does_not_cut_the_others_short() {
    let text = |more: &str| {
        format!(
            "model_list:\n- model_name: a\n  litellm_params: {{model: openai/gpt-4o, timeout: 30, stream_timeout: 5}}\n- model_name: b\n  litellm_params: {{model: openai/gpt-5}}\n{more}"
        )
    };
    assert!(!written(&taken(&text(""))).contains("timeouts"));
    let all = written(&taken(&text("litellm_settings: {request_timeout: 300}")));
    assert!(all.contains("timeouts = { total = \"5m\" }"), "{all}");
    let shorter = written(&taken(&text("router_settings: {timeout: 10, stream_timeout: 9}")));
    assert!(shorter.contains("timeouts = { first_token = \"9s\", total = \"30s\" }"), "{shorter}");
}

#[test]
fn wildcards_become_providers_of_their_prefix() {
    let takeover = taken(
        "\
model_list:
  - model_name: fast
    litellm_params: {model: groq/llama-3.3-70b-versatile}
  - model_name: acme/*
    litellm_params: {model: openai/*}
  - model_name: '*'
    litellm_params: {model: openai/*}
router_settings:
  fallbacks: [{fast: [acme/gpt-4o]}, {acme/gpt-5: [fast]}]
",
    );
    assert_eq!(takeover.providers(), ["acme", "groq"]);
    let text = written(&takeover);
    assert!(text.contains("deployments = [\"groq/llama-3.3-70b-versatile\", \"acme/gpt-4o\"]"), "{text}");
    assert!(
        text.contains("name = \"acme/gpt-5\"\nstrategy = \"fallback\"\ndeployments = [\"acme/gpt-5\", \"groq/"),
        "{text}"
    );
}

#[test]
fn azure_is_reached_as_openai_and_priced_by_its_base_model() {
    let takeover = taken(
        "\
model_list:
  - model_name: four
    litellm_params: {model: azure/our-four, api_base: 'https://acme.openai.azure.com/', api_version: '2024-02-01', api_key: os.environ/AZ}
    model_info: {base_model: azure/gpt-4o}
",
    );
    let text = written(&takeover);
    assert!(text.contains("base_url = \"https://acme.openai.azure.com/openai/v1\""), "{text}");
    assert!(text.contains("[prices.\"azure/our-four\"] # those of azure/gpt-4o"), "{text}");
    assert!(text.contains("input = \"2.5\""), "{text}");
}

#[test]
fn budgets_are_told_with_the_commands_that_make_them() {
    let takeover = taken(
        "\
model_list:
  - model_name: a
    litellm_params: {model: openai/gpt-4o, max_budget: 0.1, budget_duration: 1d}
litellm_settings: {max_budget: 100, budget_duration: 30d}
router_settings:
  provider_budget_config:
    openai: {budget_limit: 5.25, time_period: 7d}
    anthropic: {budget_limit: 5, time_period: 12h}
",
    );
    let commands: Vec<String> = takeover.budgets.iter().map(Budget::command).collect();
    assert_eq!(
        commands,
        [
            "tollgate budget set everything month 100",
            "tollgate budget set model:gpt-4o day 0.1",
            "tollgate budget set provider:openai week 5.25",
        ]
    );
    assert!(takeover.notes.iter().any(|note| note.path.contains("anthropic") && note.reason.contains("calendar")));
}

#[test]
fn a_key_that_stands_in_the_file_is_neither_written_nor_said() {
    let takeover = taken(
        "\
model_list:
  - model_name: a
    litellm_params: {model: openai/gpt-4o, api_key: sk-very-secret, extra_headers: {authorization: sk-very-secret}}
  - model_name: b
    litellm_params: {model: openai/x, api_base: 'https://me:sk-very-secret@host/v1'}
general_settings: {master_key: sk-very-secret, database_url: 'postgres://u:sk-very-secret@h/d'}
environment_variables: {OPENAI_API_KEY: sk-very-secret}
litellm_settings: {cache: true, cache_params: {password: sk-very-secret, type: redis}}
unheard_of: sk-very-secret
",
    );
    let said = format!("{}{:?}", written(&takeover), takeover.notes);
    assert!(!said.contains("very-secret"), "{said}");
    assert!(said.contains("api_key = \"env:OPENAI_API_KEY\""), "{said}");
    for path in [
        "general_settings.master_key",
        "general_settings.database_url",
        "unheard_of",
        "environment_variables.OPENAI_API_KEY",
    ] {
        assert!(takeover.notes.iter().any(|note| note.path == path && note.fate == Fate::LeftOut), "{path}");
    }
}

#[test]
fn what_has_no_place_is_told_with_its_reason() {
    use Fate::{Changed, LeftOut};
    notes(
        &model("a", "model: bedrock/claude"),
        LeftOut,
        "model_list[0].litellm_params.model",
        "doesn't speak to \"bedrock\"",
    );
    notes(&model("a", "model: unheard-of"), LeftOut, "model_list[0].litellm_params.model", "isn't said");
    notes(&model("a", "api_key: x"), LeftOut, "model_list[0].litellm_params", "missing");
    notes("model_list:\n- litellm_params: {model: openai/x}", LeftOut, "model_list[0]", "model_name");
    notes(
        &model("a", "model: openai/x, api_base: os.environ/UNSET"),
        LeftOut,
        "model_list[0].litellm_params.api_base",
        "UNSET",
    );
    notes(&model("a", "model: openai/x, api_base: nowhere"), LeftOut, "model_list[0].litellm_params.api_base", "http");
    notes(&model("a", "model: azure/x"), LeftOut, "model_list[0].litellm_params", "api_base");
    notes(&model("a", "model: openai/x, rpm: 5"), LeftOut, "model_list[0].litellm_params.rpm", "429");
    notes(&model("a", "model: openai/x, rpm: -5"), LeftOut, "model_list[0].litellm_params.rpm", "number");
    notes(
        &model("a", "model: openai/x, temperature: 0.2"),
        LeftOut,
        "model_list[0].litellm_params.temperature",
        "client",
    );
    notes(
        &model("a", "model: openai/x, input_cost_per_second: 0.2"),
        LeftOut,
        "model_list[0].litellm_params.input_cost_per_second",
        "price",
    );
    notes(
        &model("a", "model: openai/x, litellm_credential_name: z"),
        LeftOut,
        "model_list[0].litellm_params.litellm_credential_name",
        "credential_list",
    );
    notes("model_list: []", LeftOut, "", "no models");
    notes("router_settings: {routing_strategy: dice}", LeftOut, "router_settings.routing_strategy", "not known");
    notes("router_settings: {routing_strategy: least-busy}", Changed, "router_settings.routing_strategy", "fastest");
    notes(
        "router_settings: {context_window_fallbacks: [{a: [b]}]}",
        LeftOut,
        "router_settings.context_window_fallbacks",
        "too long",
    );
    notes("router_settings: {fallbacks: [{a: [b]}]}", LeftOut, "router_settings.fallbacks[0]", "not taken over");
    notes("router_settings: {fallbacks: [a]}", LeftOut, "router_settings.fallbacks[0]", "no group");
    notes("router_settings: {model_group_alias: {x: y}}", LeftOut, "router_settings.model_group_alias", "alias");
    notes("router_settings: {allowed_fails: 3}", LeftOut, "router_settings.allowed_fails", "circuit");
    notes("router_settings: [a]", LeftOut, "router_settings", "table");
    notes("litellm_settings: {drop_params: true}", LeftOut, "litellm_settings.drop_params", "400");
    notes("litellm_settings: {callbacks: [langfuse]}", LeftOut, "litellm_settings.callbacks", "export");
    notes("litellm_settings: {callbacks: prometheus}", Changed, "litellm_settings.callbacks", "/metrics");
    notes(
        "litellm_settings: {max_budget: 5, budget_duration: 12h}",
        LeftOut,
        "litellm_settings.budget_duration",
        "calendar",
    );
    notes("litellm_settings: {new_thing: 5}", LeftOut, "litellm_settings.new_thing", "not known");
    notes("general_settings: {alerting: [email]}", LeftOut, "general_settings.alerting", "Slack");
    notes("general_settings: {}\nmcp_servers: {a: b}", LeftOut, "mcp_servers", "models");
}

#[test]
fn workings_of_the_other_program_are_not_made_a_fuss_of() {
    let takeover =
        taken("general_settings: {proxy_batch_write_at: 1}\nlitellm_settings: {set_verbose: true, json_logs: }");
    let fates: Vec<(&str, Fate)> = takeover.notes.iter().map(|note| (note.path.as_str(), note.fate)).collect();
    assert_eq!(
        fates[1..],
        [("general_settings.proxy_batch_write_at", Fate::Needless), ("litellm_settings.set_verbose", Fate::Needless)]
    );
}

#[test]
fn included_files_add_their_models() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    file(
        "config.yaml",
        "include: [models.yaml]\nmodel_list:\n- model_name: a\n  litellm_params: {model: openai/gpt-4o}\n",
    );
    file(
        "models.yaml",
        "model_list:\n- model_name: b\n  litellm_params: {model: openai/gpt-4o-mini}\nlitellm_settings: {num_retries: 0}\n",
    );
    let read = || of_file(&folder.path().join("config.yaml"), &|_| None);
    let takeover = read().unwrap();
    assert_eq!(takeover.routes(), ["a", "b"]);
    file("models.yaml", "include: [config.yaml]");
    let refused = read().err().unwrap();
    assert!(matches!(refused, SourceError::TooManyFiles { .. }), "{refused}");
    file("models.yaml", "include: [{a: b}]");
    assert!(matches!(read().err().unwrap(), SourceError::NotAPath { .. }));
    file("config.yaml", "include: nowhere.yaml");
    assert!(matches!(read().err().unwrap(), SourceError::Unreadable { .. }));
}

#[test]
fn files_that_are_something_else_are_refused() {
    let refused = |bytes: &[u8]| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, bytes).unwrap();
        of_file(&path, &|_| None).err().unwrap().to_string()
    };
    assert!(refused(b"services: {web: {image: x}}").contains("no configuration of a LiteLLM proxy"));
    assert!(refused(b"just a text").contains("no configuration"));
    assert!(refused(b"- a\n- b").contains("no configuration"));
    assert!(refused(b"").contains("no configuration"));
    assert!(refused(b"model_list: [").contains("not YAML"));
    assert!(refused(b"{\"model_list\"").contains("not YAML"));
    assert!(refused(b"\xff\xfe\x00").contains("UTF-8"));
    assert!(refused(&vec![b' '; (1 << 20) + 1]).contains("larger"));
}

#[test]
fn hostile_names_stay_inside_their_quotes() {
    let takeover = taken(
        "model_list:\n- model_name: \"a\\\"]\\u007f\\n[[providers]]\"\n  litellm_params: {model: openai/gpt-4o}\n- model_name: 'b\"c'\n  litellm_params: {model: 'openai/gpt-4o\"x'}\n",
    );
    let text = written(&takeover);
    assert_eq!(takeover.routes(), ["b\"c"], "{text}");
    assert_eq!(text.matches("\n[[providers]]\n").count(), 1);
}

#[test]
fn limits_that_are_not_written_as_they_stood_are_told() {
    let two = |first: &str, second: &str, more: &str| {
        format!(
            "model_list:\n- model_name: a\n  litellm_params: {{model: openai/gpt-4o{first}}}\n- model_name: b\n  litellm_params: {{model: openai/text-embedding-3-small{second}}}\n{more}"
        )
    };
    let second = |key: &str| format!("model_list[1].litellm_params.{key}");
    // Nothing that was unlimited becomes narrower.
    for (key, value) in [("timeout", "30"), ("stream_timeout", "5"), ("max_parallel_requests", "5")] {
        let text = two("", &format!(", {key}: {value}"), "");
        let file = written(&taken(&text));
        assert!(!file.contains("timeouts") && !file.contains("concurrent_requests_max"), "{file}");
        let fate = if key == "max_parallel_requests" { Fate::LeftOut } else { Fate::Changed };
        notes(&text, fate, &second(key), "have no limit");
    }
    let both = two(", max_parallel_requests: 5", ", max_parallel_requests: 3", "");
    assert!(written(&taken(&both)).contains("concurrent_requests_max = 8"));
    notes(&both, Fate::Changed, &second("max_parallel_requests"), "added up");
    notes(
        &two("", ", max_parallel_requests: 0", ""),
        Fate::LeftOut,
        &second("max_parallel_requests"),
        "no calls at all",
    );
    // The longest holds, and the others are told: the model's own or that of all calls.
    let longer = two(
        ", timeout: 60",
        ", timeout: 30",
        "router_settings: {timeout: 10, stream_timeout: 9}\nlitellm_settings: {request_timeout: 20}\n",
    );
    assert!(written(&taken(&longer)).contains("timeouts = { first_token = \"9s\", total = \"1m\" }"));
    notes(&longer, Fate::Changed, &second("timeout"), "the longest");
    notes(&longer, Fate::Changed, "router_settings.timeout", "at openai a limit of its models holds");
    notes(&longer, Fate::LeftOut, "litellm_settings.request_timeout", "counts before it");
    let none = "model_list: []\nlitellm_settings: {request_timeout: 20}\n";
    notes(none, Fate::LeftOut, "litellm_settings.request_timeout", "no provider was taken over");
    let absurd = two("", "", "general_settings: {global_max_parallel_requests: 0, max_request_size_mb: 9000}\n");
    notes(&absurd, Fate::LeftOut, "general_settings.global_max_parallel_requests", "from 1 to 60000");
    notes(&absurd, Fate::LeftOut, "general_settings.max_request_size_mb", "from 1 to 1024");
}

#[test]
fn weights_that_do_not_come_into_a_route_are_told() {
    let group = |first: &str, more: &str| {
        format!(
            "model_list:\n- model_name: a\n  litellm_params: {{model: openai/gpt-4o{first}}}\n- model_name: a\n  litellm_params: {{model: anthropic/claude-sonnet-4-5, weight: 2}}\n{more}"
        )
    };
    let at = "model_list[1].litellm_params.weight";
    notes(&group("", ""), Fate::LeftOut, at, "where the first model of the group has one");
    notes(
        &group(", weight: 1", "router_settings: {routing_strategy: latency-based-routing}"),
        Fate::LeftOut,
        at,
        "knows no weights",
    );
    notes(&model("one", "model: openai/gpt-4o, weight: 2"), Fate::Needless, "model_list[0].litellm_params.weight", "");
    notes(
        &model("groq/*", "model: groq/*, weight: 2"),
        Fate::LeftOut,
        "model_list[0].litellm_params.weight",
        "wildcard",
    );
    let counted = taken(&group(", weight: 1", ""));
    assert!(counted.notes.iter().all(|note| !note.path.ends_with(".weight")), "{:?}", counted.notes);
}
