//! Who outranks whom, and where providers come from.

use std::time::Duration;

use super::{accept, accept_with, load, pairs, path, refuse_with, sources, warnings};
use crate::config::{Bodies, Problem, Sources};
use crate::domain::{Picodollars, ProviderKind, Window};

#[test]
fn the_flag_outranks_the_environment_that_the_file_that_dotenv() {
    let listen = |with: &[&str]| {
        let has = |source| with.contains(&source);
        let mut sources = sources(if has("file") { "listen = \"127.0.0.1:3\"" } else { "" }, &[]);
        if has("flag") {
            sources.flags = vec![("listen", "127.0.0.1:1".to_owned())];
        }
        if has("environment") {
            sources.environment = pairs(&[("TOLLGATE_LISTEN", "127.0.0.1:2")]);
        }
        if has("dotenv") {
            sources.dotenv = pairs(&[("TOLLGATE_LISTEN", "127.0.0.1:4"), ("TOLLGATE_LISTEN", "127.0.0.1:5")]);
        }
        load(&sources).unwrap().listen.port()
    };
    assert_eq!(listen(&["flag", "environment", "file", "dotenv"]), 1);
    assert_eq!(listen(&["environment", "file", "dotenv"]), 2);
    assert_eq!(listen(&["file", "dotenv"]), 3);
    assert_eq!(listen(&["dotenv"]), 4);
    assert_eq!(listen(&[]), 8000);
}

#[test]
fn a_flag_is_told_by_its_name() {
    let mut sources = Sources::none();
    sources.flags = vec![("data_dir", String::new())];
    let problems = load(&sources).unwrap_err();
    assert_eq!(problems.to_string(), "--data-dir: this is empty; give it a value or take the key out");
}

#[test]
fn every_scalar_has_its_variable_underscores_or_not() {
    let config = accept_with(
        "",
        &[
            ("TOLLGATE_DATA_DIR", "/var/lib/tollgate"),
            ("TOLLGATE_TIME_ZONE", "Asia/Seoul"),
            ("TOLLGATE_CACHE_SEMANTIC_ENABLED", "true"),
            ("TOLLGATE_CACHE_TTL", "5m"),
            ("TOLLGATE_STREAMS_DRAIN_USD_MAX", "0.5"),
            ("TOLLGATE_LIMITS_BODY_BYTES_MAX", "1048576"),
            ("TOLLGATE_LIMITS_NEW_KEY_BUDGET_WINDOW", "month"),
            ("TOLLGATE_LIMITS_NEW_KEY_BUDGET_LIMIT_USD", "10"),
            ("TOLLGATE_LOG_BODIES", "errors"),
            ("TOLLGATE_TELEMETRY_METRICS_TOKEN", "env:TOLLGATE_METRICS"),
            ("TOLLGATE_METRICS", "secret-token"),
            ("TOLLGATE_TLS_PLAIN_HTTP_LOGIN", "true"),
            ("TOLLGATE_TLS_ACME_DOMAIN", "ai.example.test"),
            ("TOLLGATE_WORKERS_CONCURRENCY", "2"),
        ],
    );
    assert_eq!(config.data_dir, path("/var/lib/tollgate"));
    assert_eq!(config.time_zone.iana_name(), Some("Asia/Seoul"));
    assert!(config.cache.semantic.enabled);
    assert_eq!(config.cache.ttl, Duration::from_mins(5));
    assert_eq!(config.streams.drain_usd_max, "0.5".parse().unwrap());
    assert_eq!(config.limits.body_bytes_max, 1 << 20);
    let budget = config.limits.new_key_budget.unwrap();
    assert_eq!((budget.window, budget.limit), (Window::Month, Picodollars::from_dollars(10)));
    assert_eq!(config.log.bodies, Bodies::Errors);
    assert_eq!(config.telemetry.metrics_token.unwrap().expose(), "secret-token");
    assert!(config.tls.plain_http_login);
    assert_eq!(config.tls.acme.unwrap().domain, "ai.example.test");
    assert_eq!(config.workers.concurrency, 2);
}

#[test]
fn reserved_variables_and_those_of_kubernetes_are_left_alone() {
    let config = accept_with(
        "",
        &[
            ("TOLLGATE_SERVER", "http://127.0.0.1:1"),
            ("TOLLGATE_LOG", "debug"),
            ("TOLLGATE_BIN", "/usr/bin/tollgate"),
            ("TOLLGATE_ADMIN_TOKEN", "0123456789abcdef0123456789abcdef"),
            ("TOLLGATE_SERVICE_HOST", "10.0.0.1"),
            ("TOLLGATE_SERVICE_PORT_HTTP", "8000"),
            ("TOLLGATE_PORT", "tcp://10.0.0.1:8000"),
            ("TOLLGATE_PORT_8000_TCP_ADDR", "10.0.0.1"),
            ("HOME", "/root"),
        ],
    );
    assert_eq!(config.admin_token.unwrap().expose(), "0123456789abcdef0123456789abcdef");
    assert!(config.warnings.is_empty());
}

#[test]
fn without_providers_in_the_file_the_well_known_keys_make_them() {
    let mut sources = sources("", &[("OPENAI_API_KEY", "sk-1"), ("ANTHROPIC_API_KEY", "")]);
    sources.dotenv = pairs(&[("OPENAI_API_KEY", "sk-2"), ("OPENAI_BASE_URL", "http://127.0.0.1:9/v1/")]);
    let config = load(&sources).unwrap();
    let [openai] = config.providers.as_slice() else { panic!("{:?}", config.providers) };
    assert_eq!(
        (openai.name.as_str(), openai.kind, openai.catalog.as_str()),
        ("openai", ProviderKind::OpenAi, "openai")
    );
    assert_eq!(openai.api_keys[0].expose(), "sk-1");
    assert_eq!(openai.base_url.as_str(), "http://127.0.0.1:9/v1");

    sources.environment = pairs(&[("ANTHROPIC_API_KEY", "sk-3")]);
    let config = load(&sources).unwrap();
    let names: Vec<&str> = config.providers.iter().map(|provider| provider.name.as_str()).collect();
    assert_eq!(names, ["openai", "anthropic"]);
    assert_eq!(config.providers[1].base_url.as_str(), "https://api.anthropic.com/");
}

#[test]
fn routes_may_name_the_providers_of_the_environment() {
    let routes = "[[routes]]\nname = \"fast\"\ndeployments = [\"openai/gpt-5-mini\"]";
    let config = accept_with(routes, &[("OPENAI_API_KEY", "sk-1")]);
    assert_eq!(config.route("fast").unwrap().deployments[0].to_string(), "openai/gpt-5-mini");
    assert!(
        refuse_with(routes, &[("ANTHROPIC_API_KEY", "sk-1")]).contains("no provider \"openai\"; there is anthropic")
    );
}

#[test]
fn the_file_owns_the_providers_and_an_unused_key_is_told_of() {
    let file = "[[providers]]\nname = \"a\"\nkind = \"openai\"\napi_key = \"env:OPENAI_API_KEY\"";
    let config = accept_with(file, &[("OPENAI_API_KEY", "sk-1"), ("ANTHROPIC_API_KEY", "sk-2")]);
    assert_eq!(config.providers.len(), 1);
    assert_eq!(
        warnings(&config),
        [
            "ANTHROPIC_API_KEY: not used, because the file names the providers; add one with api_key = \"env:ANTHROPIC_API_KEY\" or unset it"
        ]
    );
}

#[test]
fn an_address_without_its_key_is_told_of() {
    let config = accept_with("", &[("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")]);
    assert!(config.providers.is_empty());
    assert_eq!(
        warnings(&config),
        ["ANTHROPIC_BASE_URL: not used without a key; set ANTHROPIC_API_KEY too, or name the provider in the file"]
    );
}

#[test]
fn secrets_come_from_variables_files_and_the_text_itself() {
    let file = "[[providers]]\nname = \"a\"\nkind = \"openai\"\napi_keys = [\"env:A\", \"file:/run/secrets/key\", \"sk-literal\"]";
    let mut sources = sources(file, &[]);
    sources.dotenv = pairs(&[("A", "sk-from-dotenv")]);
    let keys = |sources: &Sources<'_>| -> Vec<String> {
        load(sources).unwrap().providers[0].api_keys.iter().map(|key| key.expose().clone()).collect()
    };
    assert_eq!(keys(&sources), ["sk-from-dotenv", "sk-from-file", "sk-literal"]);
    sources.environment = pairs(&[("A", "sk-from-environment")]);
    assert_eq!(keys(&sources)[0], "sk-from-environment");
}

#[test]
fn a_literal_secret_is_warned_of_unless_the_file_is_private() {
    let warned = |mode: Option<u32>, line: &str| {
        let mut sources = sources(&format!("[[providers]]\nname = \"a\"\nkind = \"openai\"\n{line}"), &[("A", "sk-1")]);
        sources.file_mode = mode;
        warnings(&load(&sources).unwrap())
    };
    let expected = "providers.a.api_key: the secret stands in the file itself, which others can read; write \"env:NAME\" or \"file:/path\" instead, or chmod 600 the file";
    assert_eq!(warned(Some(0o644), "api_key = \"sk-1\""), [expected]);
    assert_eq!(warned(Some(0o640), "api_key = \"sk-1\""), [expected]);
    assert_eq!(warned(None, "api_keys = [\"env:A\", \"sk-2\"]").len(), 1);
    assert!(warned(Some(0o100_600), "api_key = \"sk-1\"").is_empty());
    assert!(warned(Some(0o644), "api_key = \"env:A\"").is_empty());
    assert!(warned(Some(0o644), "api_key = \"file:/run/secrets/key\"").is_empty());
}

#[test]
fn addresses_that_are_probably_wrong_are_told_of() {
    let warned = |kind: &str, url: &str| {
        let file = format!("[[providers]]\nname = \"a\"\nkind = \"{kind}\"\napi_key = \"env:A\"\nbase_url = \"{url}\"");
        warnings(&accept_with(&file, &[("A", "sk-1")]))
    };
    assert_eq!(warned("openai", "https://api.openai.com").len(), 1);
    assert_eq!(warned("anthropic", "https://api.anthropic.com/v1").len(), 1);
    assert_eq!(warned("openai-compatible", "http://ai.example.test/v1").len(), 1);
    for (kind, url) in [
        ("openai", "https://api.openai.com/v1"),
        ("anthropic", "https://api.anthropic.com"),
        ("openai-compatible", "http://127.0.0.1:11434/v1"),
        ("openai-compatible", "http://ollama:11434/v1"),
        ("openai-compatible", "http://[fd00::1]/v1"),
    ] {
        assert!(warned(kind, url).is_empty(), "{kind} {url}");
    }
}

#[test]
fn what_does_nothing_yet_is_told_of_where_it_is_set_and_only_there() {
    assert!(accept("").warnings.is_empty());
    let config = accept_with(
        "[cache]\nttl = \"2h\"\n[cache.semantic]\nenabled = false\n[tls]\nplain_http_login = true",
        &[("TOLLGATE_WORKERS_CONCURRENCY", "3")],
    );
    assert_eq!(
        warnings(&config),
        ["cache.semantic: not used by this version yet", "workers: not used by this version yet"]
    );
    let config = accept(
        "[[providers]]\nname = \"b\"\nkind = \"sandbox\"\n[[routes]]\nname = \"r\"\nstrategy = \"learned\"\ndeployments = [\"b/m\"]",
    );
    assert_eq!(
        warnings(&config),
        ["routes.r.strategy: \"learned\" is not used by this version yet; the route works as \"fallback\""]
    );
}

#[test]
fn the_zone_is_the_machines_where_none_is_set() {
    let mut sources = Sources::none();
    sources.system_zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    assert_eq!(load(&sources).unwrap().time_zone.iana_name(), Some("Europe/Berlin"));
    sources.environment = pairs(&[("TOLLGATE_TIME_ZONE", "UTC")]);
    assert_eq!(load(&sources).unwrap().time_zone.iana_name(), Some("UTC"));
}

#[test]
fn what_went_wrong_while_gathering_comes_first() {
    let mut sources = sources("color = 1", &[]);
    sources.problems = vec![Problem::new(".env:3", "not of the form NAME=value")];
    let problems = load(&sources).unwrap_err();
    assert_eq!(problems.to_string(), ".env:3: not of the form NAME=value\ntollgate.toml:1: color: unknown key");
    sources.file = Some((path("tollgate.toml"), "[".to_owned()));
    assert!(load(&sources).unwrap_err().to_string().starts_with(".env:3: "));
}

#[test]
fn slips_that_stop_nothing_are_warned_of() {
    let warned = |toml: &str| warnings(&accept(toml));
    let twice = warned("[[providers]]\nname = \"a\"\nkind = \"openai\"\napi_keys = [\"sk-1\", \"sk-2\", \"sk-1\"]");
    assert_eq!(twice, ["providers.a.api_keys: key 3 is one of those before it, and counts as one more; take it out"]);
    let prices = |lines: &str| warned(&format!("[[providers]]\nname = \"a\"\nkind = \"sandbox\"\n{lines}"));
    assert_eq!(
        prices("[prices.\"a/*\"]\ninput = \"3\"\noutput = \"9\"\n[prices.\"*/b\"]\noutput = \"1\""),
        Vec::<String>::new()
    );
    let half = prices("[prices.\"a/*\"]\ninput = \"3\"");
    assert!(
        half.len() == 1 && half[0].starts_with("prices.\"a/*\".input: ") && half[0].contains("set output too"),
        "{half:?}"
    );
    let nobody = prices("[prices.\"q/*\"]\ninput = \"3\"\noutput = \"9\"");
    assert!(nobody.len() == 1 && nobody[0].starts_with("prices.\"q/*\": no provider"), "{nobody:?}");
    // Without providers there is nothing to compare with.
    assert_eq!(warned("[prices.\"q/*\"]\ninput = \"3\"\noutput = \"9\""), Vec::<String>::new());
}
