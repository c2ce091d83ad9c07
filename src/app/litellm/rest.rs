//! Everything beside models and routes: the cache, time limits, alerts, and all that has no counterpart here.

use super::Variables;
use super::budgets;
use super::deployments::milliseconds;
use super::notes::{Fate, Notes};
use super::table::Table;
use super::yaml::Node;
use crate::domain::{Picodollars, Window};

/// What is written of the rest.
#[derive(Default)]
pub(super) struct Rest {
    pub(super) cache: Cache,
    pub(super) concurrent_requests_max: Option<u32>,
    pub(super) body_mebibytes_max: Option<u32>,
    pub(super) requests_per_minute: Option<u32>,
    pub(super) tokens_per_minute: Option<u32>,
    pub(super) new_key_budget: Option<(Window, Picodollars)>,
    has_slack: bool,
}

/// What is written of the cache.
#[derive(Default)]
pub(super) struct Cache {
    pub(super) is_enabled: bool,
    pub(super) ttl_ms: Option<u64>,
}

/// The variable that LiteLLM looks for the address of Slack in.
const SLACK_VARIABLE: &str = "SLACK_WEBHOOK_URL";

impl Rest {
    /// The variable of Slack's address, where alerts go there.
    pub(super) fn slack_variable(&self) -> Option<&'static str> {
        self.has_slack.then_some(SLACK_VARIABLE)
    }
}

/// A section, keys of it, what becomes of them and why, and the way out.
type KnownKeys = (&'static str, &'static [&'static str], Fate, &'static str, &'static str);

/// Keys that are not taken over; whatever stands below them goes the same way.
#[rustfmt::skip]
const KNOWN: &[KnownKeys] = &[
    ("router_settings", &["context_window_fallbacks"], Fate::LeftOut, "a prompt that is too long is the provider's 400, and goes back to the client", "put the model with the larger context into the route, or ask for it by name"),
    ("litellm_settings", &["context_window_fallbacks"], Fate::LeftOut, "a prompt that is too long is the provider's 400, and goes back to the client", "put the model with the larger context into the route, or ask for it by name"),
    ("router_settings", &["content_policy_fallbacks"], Fate::LeftOut, "what a provider refuses is not asked of another", "ask for the other model in the client"),
    ("litellm_settings", &["content_policy_fallbacks"], Fate::LeftOut, "what a provider refuses is not asked of another", "ask for the other model in the client"),
    ("router_settings", &["allowed_fails", "cooldown_time", "allowed_fails_policy", "disable_cooldowns"], Fate::LeftOut, "each deployment has a circuit breaker with limits of its own", "nothing needs to be done"),
    ("litellm_settings", &["allowed_fails", "cooldown_time"], Fate::LeftOut, "each deployment has a circuit breaker with limits of its own", "nothing needs to be done"),
    ("router_settings", &["retry_policy", "model_group_retry_policy", "retry_after", "max_fallbacks"], Fate::LeftOut, "what may be tried again is decided by the kind of failure, the same for all routes", "set a route's attempts_max"),
    ("router_settings", &["redis_host", "redis_port", "redis_password", "redis_url", "redis_db", "cache_responses", "cache_kwargs"], Fate::LeftOut, "one instance keeps limits and cached answers itself", "nothing needs to be done for one instance; several share them by redis_url = \"env:REDIS_URL\""),
    ("router_settings", &["enable_tag_filtering", "tag_filtering_match_any"], Fate::LeftOut, "routes are not chosen by tags", "write a route for each group of callers, and allow keys only theirs"),
    ("router_settings", &["routing_strategy_args", "default_litellm_params", "default_max_parallel_requests"], Fate::LeftOut, "no counterpart here", "see [[routes]] and [[providers]] in DEPLOYMENT.md"),
    ("router_settings", &["enable_pre_call_checks", "set_verbose", "debug_level", "polling_interval", "client_ttl", "optional_pre_call_checks", "ignore_invalid_deployments"], Fate::Needless, "", ""),
    ("litellm_settings", &["drop_params"], Fate::LeftOut, "a field without a word in the provider's dialect is a 400 that names it, never dropped in silence", "take the field out in the client"),
    ("litellm_settings", &["modify_params", "additional_drop_params"], Fate::LeftOut, "calls go on as they came", "change them in the client"),
    ("litellm_settings", &["default_team_settings", "default_internal_user_params", "max_internal_user_budget", "internal_user_budget_duration", "upperbound_key_generate_params", "key_generation_settings", "max_user_budget", "max_end_user_budget", "default_team_params"], Fate::LeftOut, "users and teams, and their defaults, are kept in the data folder", "make keys and budgets with tollgate key create and tollgate budget set"),
    ("litellm_settings", &["guardrails"], Fate::LeftOut, "there are no guardrails here", "keep them in the client or in a server before Tollgate"),
    ("litellm_settings", &["turn_off_message_logging", "redact_messages_in_exceptions", "redact_user_api_key_info"], Fate::Needless, "", ""),
    ("litellm_settings", &["mcp_aliases", "callback_settings", "langfuse_default_tags", "priority_reservation", "tag_budget_config", "public_model_groups"], Fate::LeftOut, "no counterpart here", "see tollgate --help for what there is"),
    ("litellm_settings", &["telemetry", "set_verbose", "json_logs", "request_timeout_s", "ssl_verify", "force_ipv4", "suppress_debug_info", "store_audit_logs", "cache_params", "enable_json_schema_validation"], Fate::Needless, "", ""),
    ("general_settings", &["master_key"], Fate::LeftOut, "the first admin is made by the link of the first start; the key was not copied", "clients that used it get a virtual key (tollgate key create); scripts an admin token (tollgate admin token create, or the variable TOLLGATE_ADMIN_TOKEN)"),
    ("general_settings", &["database_url", "store_model_in_db"], Fate::LeftOut, "keys, teams, users and spend are in LiteLLM's database; its keys are kept as hashes, which nobody can take over", "make the keys anew with tollgate key create; tollgate import spend books what was spent so far, so that budgets go on"),
    ("general_settings", &["pass_through_endpoints"], Fate::LeftOut, "paths of other services are not passed through", "let clients call them directly"),
    ("general_settings", &["enable_jwt_auth", "litellm_jwtauth", "custom_auth", "enable_oauth2_auth", "enable_oauth2_proxy_auth", "oauth2_config_mappings", "custom_sso", "ui_access_mode", "allowed_routes", "public_routes", "admin_only_routes", "allowed_ips"], Fate::LeftOut, "callers show virtual keys, admins log in with a password or a token", "put a proxy with single sign-on in front of the dashboard"),
    ("general_settings", &["key_management_system", "key_management_settings", "use_azure_key_vault", "use_google_kms", "use_aws_secret_manager"], Fate::LeftOut, "secrets come from variables and files", "let the vault's agent write them to files: api_key = \"file:/path\""),
    ("general_settings", &["alerting_threshold", "alert_types", "alerting_args", "alert_to_webhook_url", "spend_report_frequency"], Fate::LeftOut, "what is told of is fixed; see Alerts in DEPLOYMENT.md", "budgets have thresholds of their own"),
    ("general_settings", &["store_prompts_in_spend_logs"], Fate::LeftOut, "prompts are not kept unless the file says so", "set [log] bodies = \"full\""),
    ("general_settings", &["completion_model", "infer_model_from_keys", "enforce_user_param", "reject_clientside_metadata_tags", "max_parallel_requests", "maximum_spend_logs_retention_period", "maximum_spend_logs_retention_interval", "custom_key_generate", "role_permissions", "max_response_size_mb", "forward_client_headers_to_llm_api"], Fate::LeftOut, "no counterpart here", "see DEPLOYMENT.md for the limits that there are"),
    ("general_settings", &["database_connection_pool_limit", "database_connection_timeout", "proxy_budget_rescheduler_min_time", "proxy_budget_rescheduler_max_time", "proxy_batch_write_at", "allow_requests_on_db_unavailable", "disable_spend_logs", "disable_spend_updates", "disable_reset_budget", "disable_master_key_return", "disable_adding_master_key_hash_to_db", "disable_error_logs", "background_health_checks", "health_check_interval", "health_check_details", "use_redis_transaction_buffer", "database_type", "block_robots", "disable_prisma_schema_update", "always_include_stream_usage", "use_client_credentials_pass_through_routes", "disable_retry_on_max_parallel_request_limit_error", "user_header_name", "disable_responses_id_security"], Fate::Needless, "", ""),
    ("", &["guardrails"], Fate::LeftOut, "there are no guardrails here", "keep them in the client or in a server before Tollgate"),
    ("", &["mcp_servers", "mcp_tools", "vector_store_registry", "search_tools", "agent_list", "prompts", "policies", "policy_attachments"], Fate::LeftOut, "Tollgate passes calls of models on, and nothing else", "keep LiteLLM or another server for these"),
    ("", &["finetune_settings", "files_settings", "assistant_settings", "callback_settings", "default_vertex_config"], Fate::LeftOut, "such paths go to the provider that the call names", "see Dialects in DEPLOYMENT.md"),
    ("", &["worker_config", "proxy_config"], Fate::Needless, "", ""),
];

/// The variables that settings may refer to: those of the file, then the environment's. What the file sets is told of.
pub(super) fn variables_of<'v>(
    root: &Table<'v>,
    outside: Variables<'v>,
    notes: &mut Notes,
) -> impl Fn(&str) -> Option<String> + use<'v> {
    let own = root.get("environment_variables").and_then(Node::entries).unwrap_or_default();
    for (name, node) in own.iter().filter(|(_, node)| !node.is_null()) {
        notes.left_out(
            (format!("environment_variables.{name}"), node.line),
            "variables are not set in the file; the value was not copied",
            "put it into .env beside the written file, where it is needed",
        );
    }
    move |name: &str| {
        let text = own.iter().find(|(own, _)| own == name).and_then(|(_, node)| node.text());
        match text {
            Some(text) if !text.starts_with("os.environ/") => Some(text.to_owned()),
            _ => outside(name),
        }
    }
}

/// Reads what is left, and tells of everything that nobody asked for.
pub(super) fn read(
    root: &Table<'_>,
    router: &Table<'_>,
    litellm: &Table<'_>,
    general: &Table<'_>,
    notes: &mut Notes,
) -> Rest {
    for answered in ["include", "credential_list"] {
        root.get(answered);
    }
    let mut rest = Rest {
        cache: read_cache(litellm, notes),
        concurrent_requests_max: within(general, "global_max_parallel_requests", 60_000, notes),
        body_mebibytes_max: within(general, "max_request_size_mb", 1024, notes),
        has_slack: reads_slack(general, notes),
        ..Rest::default()
    };
    read_key_defaults(litellm, &mut rest, notes);
    read_callbacks(litellm, notes);
    for (section, table) in
        [("", root), ("router_settings", router), ("litellm_settings", litellm), ("general_settings", general)]
    {
        for (key, at) in table.unasked() {
            let known = KNOWN.iter().find(|(of, keys, ..)| *of == section && keys.contains(&key));
            match known {
                Some((_, _, Fate::Needless, ..)) => notes.needless(at),
                Some((_, _, _, reason, way_out)) => notes.left_out(at, *reason, *way_out),
                None => notes.left_out(
                    at,
                    "not known here",
                    "look it up in LiteLLM's documentation, and in DEPLOYMENT.md for what there is",
                ),
            }
        }
    }
    rest
}

/// A number from 1 up to what is possible here; another one is told of.
fn within(table: &Table<'_>, key: &str, most: u32, notes: &mut Notes) -> Option<u32> {
    let number = table.whole(key, notes)?;
    let is_possible = (1..=most).contains(&number);
    if !is_possible {
        notes.left_out(table.at(key), format!("from 1 to {most} is possible here"), "set it under [limits] by hand");
    }
    is_possible.then_some(number)
}

fn read_cache(litellm: &Table<'_>, notes: &mut Notes) -> Cache {
    let is_enabled = litellm.get("cache").and_then(Node::boolean) == Some(true);
    let params = litellm.table("cache_params", notes);
    let ttl_ms = milliseconds(&params, "ttl", notes);
    if !is_enabled {
        return Cache::default();
    }
    notes.changed(
        litellm.at("cache"),
        "answers are kept in memory and shared by the calls of one key",
        "set [cache] scope = \"team\" or \"global\" to share them more widely",
    );
    if let Some(kind) = params.text("type").filter(|kind| *kind != "local") {
        let reason = if kind.ends_with("-semantic") {
            "only the same question is answered from the cache"
        } else {
            "the cache is in the memory of the process, and in a Redis where redis_url names one"
        };
        notes.left_out(
            params.at("type"),
            reason,
            "nothing needs to be done for one instance; several share it by redis_url = \"env:REDIS_URL\"",
        );
    }
    if params.text("mode") == Some("default_off") {
        notes.left_out(
            params.at("mode"),
            "the cache is asked by every call",
            "send x-tollgate-cache: bypass, or set [cache] enabled = false",
        );
    }
    for key in ["namespace", "host", "port", "password", "url", "db", "ssl"] {
        params.get(key);
    }
    for (_, at) in params.unasked() {
        notes.left_out(at, "a setting of caches that are not here", "see The response cache in DEPLOYMENT.md");
    }
    Cache { is_enabled, ttl_ms }
}

fn reads_slack(general: &Table<'_>, notes: &mut Notes) -> bool {
    let channels = general.get("alerting").map(Node::items).unwrap_or_default();
    for channel in channels.iter().filter(|channel| channel.text() != Some("slack")) {
        notes.left_out(
            (general.path_of("alerting"), channel.line),
            "alerts go to Slack, Discord and webhooks",
            "set [alerts] webhook_url to something that passes them on",
        );
    }
    channels.iter().any(|channel| channel.text() == Some("slack"))
}

/// What keys get that are made without limits of their own.
fn read_key_defaults(litellm: &Table<'_>, rest: &mut Rest, notes: &mut Notes) {
    let defaults = litellm.table("default_key_generate_params", notes);
    rest.new_key_budget = budgets::read_limit(&defaults, "max_budget", "budget_duration", notes);
    rest.requests_per_minute = defaults.whole("rpm_limit", notes).filter(|limit| *limit > 0);
    rest.tokens_per_minute = defaults.whole("tpm_limit", notes).filter(|limit| *limit > 0);
    for (_, at) in defaults.unasked() {
        notes.left_out(at, "new keys have no such default", "give it to each key: tollgate key create --help");
    }
}

fn read_callbacks(litellm: &Table<'_>, notes: &mut Notes) {
    for key in [
        "callbacks",
        "success_callback",
        "failure_callback",
        "service_callback",
        "service_callbacks",
        "audit_log_callbacks",
    ] {
        for callback in litellm.get(key).map(Node::items).unwrap_or_default() {
            let at = (litellm.path_of(key), callback.line);
            match callback.text() {
                Some("prometheus") => notes.changed(
                    at,
                    "GET /metrics is there for Prometheus, under names of its own",
                    "set [telemetry] metrics_token, and change the queries",
                ),
                Some("otel" | "opentelemetry") => notes.changed(
                    at,
                    "traces go to an OpenTelemetry collector that the settings name",
                    "set [telemetry] otlp_endpoint and otlp_headers",
                ),
                _ => notes.left_out(
                    at,
                    "calls are not sent to other services",
                    "read them from the API: tollgate export requests, GET /api/requests",
                ),
            }
        }
    }
}
