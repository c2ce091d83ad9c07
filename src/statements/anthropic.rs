//! Anthropic's usage and cost reports.
//!
//! `GET /v1/organizations/cost_report` tells cents as decimal text, by description, with the model in a field of its own;
//! `GET /v1/organizations/usage_report/messages` tells tokens by model and service tier. Both have at most 31 days a page. Costs of
//! the priority tier are in no cost report. The default workspace has no id: `default` stands for it in the settings.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::account::Account;
use super::amount::{Unit, amount};
use super::days::{Days, day_of, start_of};
use super::error::FetchError;
use super::fetch::{Reporter, strange};
use super::reading::{ChargesByDay, Reading, Used, UsesByDay};
use crate::domain::{ServiceTier, TokenUsage, url_encoded};

/// Days on one page.
const DAYS_MAX: i64 = 31;
/// The word for the workspace that has no id.
const DEFAULT_WORKSPACE: &str = "default";

#[derive(Deserialize)]
struct Bucket<R> {
    starting_at: String,
    results: Vec<R>,
}

#[derive(Deserialize)]
struct Cost {
    amount: Box<RawValue>,
    currency: String,
    description: Option<String>,
    model: Option<String>,
    workspace_id: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    uncached_input_tokens: u64,
    #[serde(default)]
    cache_creation: CacheCreation,
    #[serde(default)]
    cache_read_input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    #[serde(default)]
    server_tool_use: ServerToolUse,
    model: Option<String>,
    service_tier: Option<String>,
    workspace_id: Option<String>,
}

#[derive(Default, Deserialize)]
struct CacheCreation {
    #[serde(default)]
    ephemeral_1h_input_tokens: u64,
    #[serde(default)]
    ephemeral_5m_input_tokens: u64,
}

#[derive(Default, Deserialize)]
struct ServerToolUse {
    #[serde(default)]
    web_search_requests: u64,
}

pub(super) async fn read(reporter: &Reporter, account: &Account, days: Days) -> Result<Reading, FetchError> {
    let (mut charges, mut uses) = (ChargesByDay::default(), UsesByDay::default());
    // Costs can't be filtered there, and the workspace without an id nowhere, so both are grouped and filtered here.
    let by_workspace = if account.projects.is_empty() { "" } else { "&group_by[]=workspace_id" };
    for piece in days.pieces(DAYS_MAX) {
        let at = |day: Date| url_encoded(&format!("{day}T00:00:00Z"));
        let range = format!(
            "starting_at={}&ending_at={}&bucket_width=1d&limit={}",
            at(piece.from()),
            at(piece.until()),
            piece.len()
        );
        let query = format!("{range}&group_by[]=description{by_workspace}");
        let buckets: Vec<Bucket<Cost>> = reporter.buckets(account, "/v1/organizations/cost_report", &query).await?;
        for bucket in buckets {
            let day = day(&bucket.starting_at, piece)?;
            for cost in bucket.results.iter().filter(|cost| is_meant(account, cost.workspace_id.as_deref())) {
                if !cost.currency.eq_ignore_ascii_case("usd") {
                    return Err(strange("an amount is in another currency than US dollars"));
                }
                let cents = amount(cost.amount.get().trim_matches('"'), Unit::Cents);
                let cents = cents.ok_or_else(|| strange("an amount is no decimal number"))?;
                charges.add(day, cost.model.as_deref().or(cost.description.as_deref()), cents);
            }
        }
        let query = format!("{range}&group_by[]=model&group_by[]=service_tier{by_workspace}");
        let path = "/v1/organizations/usage_report/messages";
        let buckets: Vec<Bucket<Usage>> = reporter.buckets(account, path, &query).await?;
        for bucket in buckets {
            let day = day(&bucket.starting_at, piece)?;
            for usage in bucket.results.iter().filter(|usage| is_meant(account, usage.workspace_id.as_deref())) {
                let tier = ServiceTier::from_word(usage.service_tier.as_deref().unwrap_or_default());
                uses.add(day, usage.model.as_deref().unwrap_or_default(), tier, usage.used());
            }
        }
    }
    Ok(Reading { days, charges: Some(charges.0), uses: Some(uses.0) })
}

/// Whether a row belongs to a workspace that is meant.
fn is_meant(account: &Account, workspace: Option<&str>) -> bool {
    let workspace = workspace.unwrap_or(DEFAULT_WORKSPACE);
    account.projects.is_empty() || account.projects.iter().any(|project| project == workspace)
}

/// The day of a bucket, which has to be one that was asked for.
fn day(start: &str, days: Days) -> Result<Date, FetchError> {
    let start: Timestamp = start.parse().map_err(|_| strange("a bucket begins at no time"))?;
    let day = day_of(start);
    if start_of(day) != start || !days.contains(day) {
        return Err(strange(format!("a bucket begins at {start}, which is no UTC day of those that were asked for")));
    }
    Ok(day)
}

impl Usage {
    fn used(&self) -> Used {
        let usage = TokenUsage {
            uncached_input: self.uncached_input_tokens,
            cache_read: self.cache_read_input_tokens,
            cache_write_5m: self.cache_creation.ephemeral_5m_input_tokens,
            cache_write_1h: self.cache_creation.ephemeral_1h_input_tokens,
            output: self.output_tokens,
            web_searches: self.server_tool_use.web_search_requests,
            ..TokenUsage::default()
        };
        Used { requests: None, usage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_as_it_is_documented() {
        let usage: Usage = serde_json::from_str(
            r#"{"uncached_input_tokens":1500,"cache_creation":{"ephemeral_1h_input_tokens":1000,"ephemeral_5m_input_tokens":500},
                "cache_read_input_tokens":200,"output_tokens":500,"server_tool_use":{"web_search_requests":10},"api_key_id":null,
                "workspace_id":null,"model":"claude-opus-4-20250514","service_tier":"standard","context_window":"0-200k"}"#,
        )
        .unwrap();
        let counts = usage.used().usage;
        assert_eq!((counts.total_input(), counts.output, counts.web_searches), (3_200, 500, 10));
        assert_eq!((counts.cache_write_5m, counts.cache_write_1h), (500, 1_000));
    }

    #[test]
    fn a_bucket_that_is_no_day_of_the_range_is_refused() {
        let days = Days::one("2026-11-20".parse().unwrap());
        assert!(day("2026-11-20T00:00:00Z", days).is_ok());
        for wrong in ["2026-11-20T01:00:00Z", "2026-11-21T00:00:00Z", "2026-11-20"] {
            assert!(day(wrong, days).is_err(), "{wrong}");
        }
    }
}
