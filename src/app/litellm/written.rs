//! The `tollgate.toml` that a takeover comes to, with a word on what isn't plain.

use std::time::Duration;

use super::Takeover;
use super::groups::Route;
use super::prices::ModelPrices;
use super::providers::Provider;
use crate::domain::ProviderKind;

/// The text of the file.
pub(in crate::app) fn text_of(takeover: &Takeover) -> String {
    let mut text = String::from(
        "# Taken over from the settings of a LiteLLM proxy by `tollgate import litellm`.\n# `tollgate check-config` says what is wrong with it, DEPLOYMENT.md what else can be set.\n",
    );
    for provider in takeover.providers.iter() {
        write_provider(&mut text, provider);
    }
    for route in &takeover.routes {
        write_route(&mut text, route);
    }
    for prices in &takeover.prices {
        write_prices(&mut text, prices);
    }
    write_rest(&mut text, takeover);
    text
}

fn write_provider(text: &mut String, provider: &Provider) {
    text.push_str("\n[[providers]]\n");
    line(text, "name", &quoted(&provider.name));
    line(text, "kind", &quoted(provider.kind.as_str()));
    if let Some(url) = &provider.base_url {
        line(text, "base_url", &quoted(url));
    }
    if let Some(variable) = &provider.key {
        line(text, "api_key", &quoted(&format!("env:{variable}")));
    }
    if let Some(catalog) = &provider.catalog {
        line(text, "catalog", &quoted(catalog));
    }
    if let Some(calls) = provider.concurrent_requests {
        line(text, "concurrent_requests_max", &calls.min(60_000).to_string());
    }
    let limits: Vec<String> = [("first_token", provider.stream_timeout_ms), ("total", provider.timeout_ms)]
        .into_iter()
        .filter_map(|(name, limit)| Some(format!("{name} = {}", quoted(&duration(limit?)))))
        .collect();
    if !limits.is_empty() {
        line(text, "timeouts", &format!("{{ {} }}", limits.join(", ")));
    }
    debug_assert!(provider.kind != ProviderKind::OpenAiCompatible || provider.base_url.is_some());
}

fn write_route(text: &mut String, route: &Route) {
    text.push_str("\n[[routes]]\n");
    line(text, "name", &quoted(&route.name));
    line(text, "strategy", &quoted(route.strategy));
    let deployments: Vec<String> = route.deployments.iter().map(|name| quoted(name)).collect();
    line(text, "deployments", &format!("[{}]", deployments.join(", ")));
    if let Some(weights) = &route.weights {
        let weights: Vec<String> = weights.iter().map(ToString::to_string).collect();
        let has_zero = weights.iter().any(|weight| weight == "0");
        let comment = if has_zero { " # 0: only when the others fail" } else { "" };
        line(text, "weights", &format!("[{}]{comment}", weights.join(", ")));
    }
    line(text, "attempts_max", &route.attempts_max.to_string());
}

fn write_prices(text: &mut String, prices: &ModelPrices) {
    let from = prices
        .base_model
        .as_ref()
        .map(|model| format!(" # those of {}, from the price list of this version", commented(model)));
    text.push_str(&format!("\n[prices.{}]{}\n", quoted(&prices.deployment), from.unwrap_or_default()));
    for (name, price) in &prices.prices {
        line(text, name, &quoted(price));
    }
}

fn write_rest(text: &mut String, takeover: &Takeover) {
    let rest = &takeover.rest;
    text.push_str("\n[cache]\n");
    if rest.cache.is_enabled {
        line(text, "enabled", "true");
        if let Some(ttl) = rest.cache.ttl_ms {
            line(text, "ttl", &quoted(&duration(ttl)));
        }
    } else {
        line(text, "enabled", "false # as in the settings that this was taken from");
    }
    let limits = [
        ("concurrent_requests_max", rest.concurrent_requests_max.map(|calls| calls.to_string())),
        ("body_bytes_max", rest.body_mebibytes_max.map(|size| quoted(&format!("{size}MiB")))),
        ("requests_per_minute", rest.requests_per_minute.map(|limit| limit.to_string())),
        ("tokens_per_minute", rest.tokens_per_minute.map(|limit| limit.to_string())),
        (
            "new_key_budget",
            rest.new_key_budget.map(|(window, limit)| {
                let (window, limit) = (quoted(window.as_str()), quoted(&limit.to_string()));
                format!("{{ window = {window}, limit_usd = {limit}, action = \"block\" }}")
            }),
        ),
    ];
    if limits.iter().any(|(_, limit)| limit.is_some()) {
        text.push_str("\n[limits]\n");
        for (name, limit) in limits {
            if let Some(limit) = limit {
                line(text, name, &limit);
            }
        }
    }
    if let Some(variable) = rest.slack_variable() {
        text.push_str("\n[alerts]\n");
        line(text, "slack_webhook_url", &quoted(&format!("env:{variable}")));
    }
}

fn line(text: &mut String, key: &str, value: &str) {
    text.push_str(&format!("{key} = {value}\n"));
}

fn duration(milliseconds: u64) -> String {
    humantime::format_duration(Duration::from_millis(milliseconds)).to_string()
}

/// A text as TOML writes it: a basic string has the escapes of JSON, and one more character that must be escaped.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A text in a comment, which ends with its line.
fn commented(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
}
