//! Each thing that must be refused, with the sentence that the reader gets.

use super::{Variable, path, refuse_with, sources};
use crate::config::{Secrets, Sources, data_dir, defaults, load};

/// Checks all problems of a file.
#[track_caller]
pub(super) fn check(toml: &str, expected: &[&str]) {
    check_with(toml, &[], expected);
}

#[track_caller]
pub(super) fn check_with(toml: &str, environment: &[Variable], expected: &[&str]) {
    let problems = refuse_with(toml, environment);
    assert_eq!(problems.lines().collect::<Vec<_>>(), expected, "for:\n{toml}");
}

/// Checks the problem of one key of a provider that is otherwise right.
#[track_caller]
pub(super) fn check_provider(line: &str, expected: &[&str]) {
    check(&format!("[[providers]]\nname = \"p\"\nkind = \"sandbox\"\n{line}"), expected);
}

#[test]
fn every_problem_is_told_at_once_in_the_order_of_the_file() {
    check_with(
        r#"
listen = "8000"
color = "red"

[limits]
body_bytes_max = "much"

[[providers]]
name = "openai"
kind = "openai"
api_key = "env:NOT_SET"
timeouts = { connect = 800, total = "-1s" }

[[routes]]
name = "fast"
deployments = ["openai/gpt-5-mini", "opnai/gpt-5", "gpt-5"]
attempts_max = 0

[cache]
ttl = true
scope = "teem"
"#,
        &[("TOLLGATE_LOG_BODIES", "some"), ("TOLLGATE_CACHE_TLL", "1h")],
        &[
            "listen: \"8000\" is no address and port, such as \"127.0.0.1:8000\" or \"[::]:8000\"",
            "color: unknown key",
            "limits.body_bytes_max: \"much\" is no size; write a whole number and its unit, such as \"256MiB\"",
            "providers.openai.api_key: the variable NOT_SET is not set; set it in the environment or in .env",
            "providers.openai.timeouts.connect: a duration has a unit; write it in quotes, such as \"30s\" or \"800ms\"",
            "providers.openai.timeouts.total: \"-1s\" is no duration; write a number and its unit, such as \"30s\" or \"800ms\"",
            "routes.fast.deployments[1]: no provider \"opnai\"; did you mean \"openai\"?",
            "routes.fast.deployments[2]: \"gpt-5\" is not of the form provider/model",
            "routes.fast.attempts_max: 0 is out of range; from 1 to 20 is possible",
            "cache.ttl: expected a text in quotes, found true or false",
            "cache.scope: \"teem\" is not key, team or global; did you mean \"team\"?",
            "TOLLGATE_LOG_BODIES: \"some\" is not off, errors or full",
            "TOLLGATE_CACHE_TLL: no setting has this variable; did you mean TOLLGATE_CACHE_TTL?",
        ],
    );
}

#[test]
fn what_is_no_toml_is_told_by_line_and_column_without_the_line() {
    let problems = refuse_with("listen = \"127.0.0.1:1\"\n[[providers]]\napi_key = sk-canary\n", &[]);
    assert!(problems.starts_with("tollgate.toml:3:11: not TOML: "), "{problems}");
    assert!(!problems.contains("canary"), "{problems}");
    let problems = refuse_with("listen = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"\n", &[]);
    assert!(problems.starts_with("tollgate.toml:2:1: not TOML: duplicate key"), "{problems}");
}

#[test]
fn a_file_of_more_than_a_mebibyte_is_refused() {
    check(&"#".repeat((1 << 20) + 1), &["tollgate.toml: larger than 1048576 bytes; is this the right file?"]);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    check("lisen = \"127.0.0.1:1\"", &["lisen: unknown key; did you mean \"listen\"?"]);
    check("[cach]\nttl = \"1h\"", &["cach: unknown key; did you mean \"cache\"?"]);
    check("[ledger]\nfsync = true", &["ledger.fsync: unknown key; known here: durability"]);
    check("[cache.semantic]\nenable = true", &["cache.semantic.enable: unknown key; did you mean \"enabled\"?"]);
    check(
        "[cache]\nlisten = \"127.0.0.1:1\"",
        &["cache.listen: unknown key; it belongs at the top of the file, above the first [section]"],
    );
    check("\"a b\" = 1", &["\"a b\": unknown key"]);
    check(
        "[operations.review]\nroute = \"x\"",
        &[
            "operations.review: unknown key; known here: chat, generate-code, analyze-issue, review-code, suggest-fix, explain-code",
        ],
    );
}

#[test]
fn values_of_another_type_are_refused() {
    check("data_dir = 5", &["data_dir: expected a text in quotes, found a number"]);
    check("data_dir = [\"a\"]", &["data_dir: expected a text in quotes, found a list"]);
    check("data_dir = 1979-05-27", &["data_dir: expected a text in quotes, found a date"]);
    check(
        "cache = true",
        &["cache: expected a table, found true or false; write [cache] on a line of its own, its keys below it"],
    );
    check("[cache]\nenabled = \"yes\"", &["cache.enabled: expected true or false without quotes, found a text"]);
    check(
        "[workers]\nconcurrency = \"5\"",
        &["workers.concurrency: expected a whole number without quotes, found a text"],
    );
    check("[workers]\nconcurrency = 2.5", &["workers.concurrency: expected a whole number, found 2.5"]);
    check("providers = 1", &["providers: expected a list of tables; begin each with [[providers]]"]);
    check("[providers]\nname = \"x\"", &["providers: expected a list of tables; begin each with [[providers]]"]);
    check("providers = [1]", &["providers[0]: expected a table; begin it with [[providers]]"]);
    check("[prices]\n\"a/b\" = \"1\"", &["prices.\"a/b\": expected a table, found a text; write [prices.\"a/b\"]"]);
    check("[alerts]\nthresholds = 50", &["alerts.thresholds: expected a list such as [\"…\", \"…\"], found a number"]);
    check(
        "[alerts]\nthresholds = [\"50\"]",
        &["alerts.thresholds[0]: expected a whole number without quotes, found a text"],
    );
}

#[test]
fn empty_texts_are_refused() {
    check("data_dir = \"\"", &["data_dir: this is empty; give it a value or take the key out"]);
    check("data_dir = \"  \"", &["data_dir: this is empty; give it a value or take the key out"]);
}

#[test]
fn numbers_that_are_negative_or_huge_are_refused() {
    check(
        "[limits]\nconcurrent_requests_max = -1",
        &["limits.concurrent_requests_max: -1 is out of range; from 1 to 60000 is possible"],
    );
    check(
        "[limits]\nconcurrent_requests_max = 99999999999999999999",
        &["limits.concurrent_requests_max: 99999999999999999999 is out of range; from 1 to 60000 is possible"],
    );
    check(
        "[limits]\nrequests_per_minute = 0",
        &["limits.requests_per_minute: 0 is out of range; from 1 to 1000000000000 is possible"],
    );
    check("[limits]\nbody_bytes_max = -5", &["limits.body_bytes_max: a size can't be negative"]);
    check(
        "[limits]\nbody_bytes_max = \"900TiB\"",
        &["limits.body_bytes_max: 900TiB is out of range; from 1KiB to 1GiB is possible"],
    );
    check("[cache]\nttl = \"900y\"", &["cache.ttl: 900years is out of range; from 1ms to 10years is possible"]);
    check(
        "[alerts]\nthresholds = [0, 50, 50]",
        &[
            "alerts.thresholds: a threshold is named twice; take one out",
            "alerts.thresholds[0]: 0 is out of range; a threshold is from 1 to 100 percent",
        ],
    );
}

#[test]
fn a_time_of_the_day_needs_its_form() {
    for wrong in ["9:00", "24:00", "09:60", "09:00:00", "9am", "0900", "+9:00"] {
        check(
            &format!("[alerts]\nwebhook_url = \"https://a.example/\"\ndaily_report = \"{wrong}\""),
            &[&format!(
                "alerts.daily_report: \"{wrong}\" is no time of the day; write it as \"09:00\", from 00:00 to 23:59"
            )],
        );
    }
}

#[test]
fn durations_sizes_and_money_need_their_form() {
    check(
        "[cache]\nttl = \"0\"",
        &["cache.ttl: \"0\" is no duration; write a number and its unit, such as \"30s\" or \"800ms\""],
    );
    check(
        "[cache]\nttl = \"5 apples\"",
        &["cache.ttl: \"5 apples\" is no duration; write a number and its unit, such as \"30s\" or \"800ms\""],
    );
    check(
        "[cache]\nbytes_max = \"1.5GiB\"",
        &["cache.bytes_max: \"1.5GiB\" is no size; write a whole number and its unit, such as \"256MiB\""],
    );
    check(
        "[streams]\ndrain_usd_max = 0.01",
        &["streams.drain_usd_max: an amount is written in quotes, such as \"0.01\": a bare number would be rounded"],
    );
    check(
        "[streams]\ndrain_usd_max = 1",
        &["streams.drain_usd_max: an amount is written in quotes, such as \"0.01\": a bare number would be rounded"],
    );
    check(
        "[streams]\ndrain_usd_max = \"-1\"",
        &["streams.drain_usd_max: \"-1\" is negative; an amount here is 0 or more"],
    );
    check(
        "[streams]\ndrain_usd_max = \"1e3\"",
        &["streams.drain_usd_max: \"1e3\" is not a decimal number of dollars such as \"12.50\""],
    );
    check("[log]\nretention = \"5m\"", &["log.retention: 5m is out of range; from 1h to 10years is possible"]);
}

#[test]
fn unknown_zones_and_addresses_are_refused() {
    check(
        "time_zone = \"Asia/Seul\"",
        &[
            "time_zone: no time zone \"Asia/Seul\"; did you mean \"Asia/Seoul\"?; use an IANA name such as \"Europe/Berlin\" or \"UTC\"",
        ],
    );
    check(
        "listen = \"127.0.0.1\"",
        &["listen: \"127.0.0.1\" is no address and port, such as \"127.0.0.1:8000\" or \"[::]:8000\""],
    );
    check(
        "listen = \"127.0.0.1:99999\"",
        &["listen: \"127.0.0.1:99999\" is no address and port, such as \"127.0.0.1:8000\" or \"[::]:8000\""],
    );
    check(
        "[tls]\ntrusted_proxies = [\"10.0.0.0/8\", \"10.0.0.0/40\"]",
        &["tls.trusted_proxies[1]: \"10.0.0.0/40\" is no address or range, such as \"10.0.0.0/8\" or \"::1\""],
    );
}

#[test]
fn secrets_must_be_there_and_are_never_repeated() {
    let openai = |line: &str| format!("[[providers]]\nname = \"x\"\nkind = \"openai\"\n{line}");
    check(&openai("api_key = \"\""), &["providers.x.api_key: this is empty; give it a value or take the key out"]);
    check_with(
        &openai("api_key = \"env:KEY\""),
        &[("KEY", " ")],
        &["providers.x.api_key: the variable KEY is empty; give it a value or take the key out"],
    );
    check(
        &openai("api_key = \"env:\""),
        &["providers.x.api_key: what follows env: is no variable's name; write \"env:NAME\""],
    );
    check(
        &openai("api_key = \"env:sk-canary\""),
        &["providers.x.api_key: what follows env: is no variable's name; write \"env:NAME\""],
    );
    check(
        &openai("api_key = \"file:/run/secrets/blank\""),
        &["providers.x.api_key: the file \"/run/secrets/blank\" is empty; give it a value or take the key out"],
    );
    check(
        &openai("api_key = \"file:/nowhere\""),
        &["providers.x.api_key: the file \"/nowhere\" can't be read: entity not found"],
    );
    check(
        &openai("api_key = \"file:\""),
        &["providers.x.api_key: what follows file: is no path; write \"file:/path\""],
    );
    check(
        &openai("api_key = \"sk canary\""),
        &["providers.x.api_key: the secret has spaces or characters that no header can carry; copy it again"],
    );
    check(
        &openai("api_keys = []"),
        &["providers.x.api_keys: the list is empty; name at least one key, or take it out"],
    );
    check(
        &openai("api_keys = [\"a\", \"\"]"),
        &["providers.x.api_keys[1]: this is empty; give it a value or take the key out"],
    );
    check(&openai("api_keys = \"a\""), &["providers.x.api_keys: expected a list such as [\"…\", \"…\"], found a text"]);
    check(
        &openai("api_key = \"a\"\napi_keys = [\"b\"]"),
        &["providers.x.api_keys: there is an api_key too; put all keys into api_keys, or take it out"],
    );
    check(
        "[github]\nwebhook_secret = \"\"",
        &["github.webhook_secret: this is empty; give it a value or take the key out"],
    );
    check_with(
        "[alerts]\nwebhook_secret = \"env:S\"",
        &[("S", "")],
        &["alerts.webhook_secret: the variable S is empty; give it a value or take the key out"],
    );
    check(
        "[telemetry]\nmetrics_token = \" \"",
        &["telemetry.metrics_token: this is empty; give it a value or take the key out"],
    );
    let wrong = "not of the form \"name: value\", such as \"authorization: Bearer …\"";
    check(
        "[telemetry]\notlp_headers = [\"canary\", \"a: b\", \"a b: canary\", \"a:\"]",
        &[0, 2, 3].map(|place| format!("telemetry.otlp_headers[{place}]: {wrong}")).each_ref().map(String::as_str),
    );
}

#[test]
fn prices_are_texts_with_at_most_six_decimals() {
    check(
        "[prices.\"a/b\"]\ninput = 1.25",
        &["prices.\"a/b\".input: an amount is written in quotes, such as \"0.01\": a bare number would be rounded"],
    );
    check("[prices.\"a/b\"]\ninput = \"-1\"", &["prices.\"a/b\".input: \"-1\" is negative"]);
    check(
        "[prices.\"a/b\"]\ninput = \"0.0000001\"",
        &["prices.\"a/b\".input: \"0.0000001\" has more decimals than the 6 that can be kept"],
    );
    check(
        "[prices.\"a/b\"]\ninputs = \"1\"",
        &[
            "prices.\"a/b\": no price is named; set input and output, in dollars per million tokens, such as input = \"0.25\"",
            "prices.\"a/b\".inputs: unknown key; did you mean \"input\"?",
        ],
    );
    check(
        "[prices.gpt-5]\ninput = \"1\"",
        &["prices.gpt-5: \"gpt-5\" is not of the form provider/model; write [prices.\"openai/gpt-5\"] with the quotes"],
    );
}

#[test]
fn new_keys_get_a_whole_budget_or_none() {
    check(
        "[limits]\nnew_key_budget = \"5\"",
        &[
            "limits.new_key_budget: expected a table, found a text; write [limits.new_key_budget] on a line of its own, its keys below it",
        ],
    );
    check(
        "[limits]\nnew_key_budget = { window = \"daily\", limit_usd = 1 }",
        &[
            "limits.new_key_budget.window: \"daily\" is not hour, day, week, month or total",
            "limits.new_key_budget.limit_usd: an amount is written in quotes, such as \"0.01\": a bare number would be rounded",
        ],
    );
    let budget = |rest: &str| format!("[limits]\nnew_key_budget = {{ window = \"day\", limit_usd = \"1\", {rest} }}");
    check(
        &budget("action = \"downgrade\""),
        &["limits.new_key_budget: downgrade_to is missing; name the route to downgrade to"],
    );
    check(
        &budget("action = \"downgrade\", downgrade_to = \"cheap\""),
        &["limits.new_key_budget.downgrade_to: no route \"cheap\""],
    );
    check(
        &budget("downgrade_to = \"cheap\""),
        &[
            "limits.new_key_budget.downgrade_to: only the action \"downgrade\" has a route to go to; take one of the two out",
        ],
    );
}

#[test]
fn certificates_need_their_keys_and_only_one_origin() {
    check("[tls]\ncert = \"a.pem\"", &["tls.cert: a certificate needs its key; set tls.key too"]);
    check("[tls]\nkey = \"a.pem\"", &["tls.key: a key needs its certificate; set tls.cert too"]);
    check(
        "[tls]\ncert = \"a.pem\"\nkey = \"k.pem\"\nacme = { domain = \"a.test\" }",
        &["tls.acme: there is a certificate already; take out cert and key, or acme"],
    );
    check(
        "[tls.acme]\nemail = \"me@example.test\"",
        &["tls.acme: domain is missing; name the server that the certificate is for"],
    );
    check(
        "[tls.acme]\ndomain = \"10.0.0.1\"\nemail = \"me\"",
        &[
            "tls.acme.domain: \"10.0.0.1\" is no name of a server, such as \"ai.example.test\"",
            "tls.acme.email: \"me\" is no e-mail address",
        ],
    );
}

#[test]
fn work_in_the_background_is_checked() {
    check(
        "[workflows]\nrepositories = [\"repos/*\", \"/srv/../etc\"]",
        &[
            "workflows.repositories[0]: \"repos/*\" is no absolute path without \"..\", such as \"/srv/repos/*\"",
            "workflows.repositories[1]: \"/srv/../etc\" is no absolute path without \"..\", such as \"/srv/repos/*\"",
        ],
    );
    check(
        "[workflows]\nmax_usd = 1",
        &["workflows.max_usd: an amount is written in quotes, such as \"0.01\": a bare number would be rounded"],
    );
    check(
        "[[schedules]]\nworkflow = \"security\"",
        &[
            "schedules[0]: repository is missing; a schedule has a workflow, a repository and a cron",
            "schedules[0]: cron is missing; a schedule has a workflow, a repository and a cron",
        ],
    );
    check(
        "[[schedules]]\nworkflow = \"secure\"\nrepository = \"/srv/a\"\ncron = \"61 * * * *\"\ntime_zone = \"Mars\"",
        &[
            "schedules[0].workflow: \"secure\" is not security, performance, documentation, migration or dependency-update",
            "schedules[0].repository: no repository may be worked on yet; list it in [workflows] repositories",
            "schedules[0].cron: \"61\" can't be the minute; write *, */n, or numbers from 0 to 59",
            "schedules[0].time_zone: no time zone \"Mars\"; use an IANA name such as \"Europe/Berlin\" or \"UTC\"",
        ],
    );
    check(
        "[github]\ntoken = \"t\"\napp_id = 5",
        &["github.token: there are an app's credentials too; take one of the two out"],
    );
    check("[github]\napp_id = 5", &["github.app_id: an app needs its key; set private_key = \"file:/path\" too"]);
    check(
        "[github]\napp_id = 5\nprivate_key = \"canary\"",
        &["github.private_key: this is no private key in PEM; write \"file:/path\" of the one that GitHub gave"],
    );
    check(
        "[github]\nrepositories = [\"a\", \"a/../b\", \"a/*\"]",
        &[
            "github.repositories[0]: \"a\" is not of the form owner/name or owner/*",
            "github.repositories[1]: \"a/../b\" is not of the form owner/name or owner/*",
        ],
    );
}

#[test]
fn variables_are_checked_like_keys_and_told_by_their_names() {
    check_with(
        "",
        &[("TOLLGATE_LISTEN", "here")],
        &["TOLLGATE_LISTEN: \"here\" is no address and port, such as \"127.0.0.1:8000\" or \"[::]:8000\""],
    );
    check_with(
        "",
        &[("TOLLGATE_WORKERS_CONCURRENCY", "many")],
        &["TOLLGATE_WORKERS_CONCURRENCY: \"many\" is no whole number"],
    );
    check_with(
        "",
        &[("TOLLGATE_CACHE_ENABLED", "yes")],
        &["TOLLGATE_CACHE_ENABLED: \"yes\" is neither true nor false"],
    );
    check_with(
        "",
        &[("TOLLGATE_ALERTS_THRESHOLDS", "50,80")],
        &["TOLLGATE_ALERTS_THRESHOLDS: a list can't be set here; write it into the file"],
    );
    check_with(
        "",
        &[("TOLLGATE_PROVIDERS", "openai")],
        &["TOLLGATE_PROVIDERS: a list can't be set here; write it into the file"],
    );
    check_with(
        "",
        &[("TOLLGATE_ADMIN_TOKEN", "canary")],
        &["TOLLGATE_ADMIN_TOKEN: shorter than 32 characters; make one with: openssl rand -hex 32"],
    );
    check_with(
        "",
        &[("TOLLGATE_ADMIN_TOKEN", "")],
        &["TOLLGATE_ADMIN_TOKEN: shorter than 32 characters; make one with: openssl rand -hex 32"],
    );
    check_with(
        "",
        &[("TOLLGATE_SERVR", "x")],
        &["TOLLGATE_SERVR: no setting has this variable; did you mean TOLLGATE_SERVER?"],
    );
    check_with("", &[("TOLLGATE_PORT", "8000")], &["TOLLGATE_PORT: no setting has this variable; unset it"]);
    check_with(
        "",
        &[("OPENAI_API_KEY", "sk-1"), ("OPENAI_BASE_URL", "https://u:canary@example.test")],
        &[
            "OPENAI_BASE_URL: a URL here can't hold a user name or password; take them out, and give a key by its own setting",
        ],
    );
    check_with(
        "",
        &[("OPENAI_API_KEY", "sk canary")],
        &["OPENAI_API_KEY: the key has spaces or characters that no header can carry; copy it again"],
    );
}

#[test]
fn a_command_without_need_of_secrets_spares_those_that_are_not_here_and_nothing_else() {
    let toml = "[[providers]]\nname = \"a\"\nkind = \"openai\"\napi_keys = [\"env:NOT_SET\", \"env:SET\"]\n\
        [[providers]]\nname = \"b\"\nkind = \"anthropic\"\napi_key = \"file:/nowhere\"\n\
        [alerts]\nwebhook_url = \"env:NOT_SET\"\nwebhook_secret = \"env:NOT_SET\"\n";
    let spared = |more: &str| {
        let sources = sources(&format!("{more}{toml}"), &[("SET", "sk-1")]);
        load(&Sources { secrets: Secrets::Spared, ..sources })
    };
    let config = spared("").unwrap();
    assert_eq!((config.providers[0].api_keys.len(), config.providers[1].api_keys.len()), (1, 0));
    assert!(config.alerts.webhook_url.is_none() && config.alerts.webhook_secret.is_none());
    assert_eq!(refuse_with(toml, &[("SET", "sk-1")]).lines().count(), 4);
    let problems = spared("color = 1\nredis_url = \"env:SET\"\n").unwrap_err().to_string();
    let lines: Vec<&str> = problems.lines().collect();
    assert!(
        lines.len() == 2
            && lines[0] == "tollgate.toml:1: color: unknown key"
            && lines[1].starts_with("tollgate.toml:2: redis_url: "),
        "{problems}"
    );
}

#[test]
fn the_mask_of_the_printed_settings_is_no_secret() {
    let mask = "is the mask *** that check-config --print shows in place of secrets; write \"env:NAME\" or \"file:/path\" instead";
    check("[telemetry]\nmetrics_token = \"***\"", &[&format!("telemetry.metrics_token: the secret {mask}")]);
    check_with(
        "[[providers]]\nname = \"p\"\nkind = \"openai\"\napi_keys = [\"***\", \"env:A\"]",
        &[("A", "***")],
        &[
            &format!("providers.p.api_keys[0]: the secret {mask}"),
            &format!("providers.p.api_keys[1]: the variable A {mask}"),
        ],
    );
}

#[test]
fn the_data_folder_is_found_in_settings_that_are_wrong_elsewhere() {
    let check = |toml: &str, variables: &[Variable], expected: Option<(&str, bool)>| {
        let found = data_dir(&sources(toml, variables)).map(|found| (found.path, found.is_named));
        assert_eq!(found, expected.map(|(folder, is_named)| (path(folder), is_named)), "{toml}");
    };
    check("data_dir = \"here\"\ncolor = 1", &[], Some(("here", true)));
    check("color = 1", &[("TOLLGATE_DATA_DIR", "there")], Some(("there", true)));
    check("color = 1", &[], Some((defaults::DATA_DIR, false)));
    check("data_dir = 1", &[], None);
    check("data_dir = 1", &[("TOLLGATE_DATA_DIR", "there")], Some(("there", true)));
    // In a file that is no TOML it is found as far as it can be made out.
    check("data_dir = \"here\"\nx=[", &[], Some(("here", true)));
    check("]]\ndata_dir = \"here\"\n[[routes", &[], Some(("here", true)));
    check("<<<<<<< HEAD", &[("TOLLGATE_DATA_DIR", "there")], Some(("there", true)));
    check("<<<<<<< HEAD", &[], Some((defaults::DATA_DIR, false)));
}
