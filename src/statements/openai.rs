//! OpenAI's organization reports: costs by line item, usage of completions and embeddings by model.
//!
//! `GET /organization/costs` has days only, at most 180 a page, and tells dollars as a JSON number; its line items are
//! `gpt-5-mini-2025-08-07, input`, so that what stands before the comma is the model, or else a name of its own, such as a
//! tool's. `GET /organization/usage/…` has at most 31 days a page; its input counts include cached and written tokens.

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
use crate::domain::{Picodollars, ServiceTier, TokenUsage, url_encoded};

/// Days on one page of costs.
const COST_DAYS_MAX: usize = 180;
/// Days on one page of usage.
const USAGE_DAYS_MAX: usize = 31;
/// Usage that is booked by tokens, and what each can be grouped by.
const USAGE: [(&str, &str); 2] = [
    ("/organization/usage/completions", "&group_by=model&group_by=batch&group_by=service_tier"),
    ("/organization/usage/embeddings", "&group_by=model"),
];

#[derive(Deserialize)]
struct Bucket<R> {
    start_time: i64,
    results: Vec<R>,
}

#[derive(Deserialize)]
struct Cost {
    amount: Option<Amount>,
    line_item: Option<String>,
}

#[derive(Deserialize)]
struct Amount {
    /// As it is written: a float would not be what was charged.
    value: Option<Box<RawValue>>,
    currency: Option<String>,
}

/// A row of usage, as the API and the files have it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Usage {
    pub(super) model: Option<String>,
    pub(super) batch: Option<bool>,
    pub(super) service_tier: Option<String>,
    #[serde(default)]
    pub(super) num_model_requests: u64,
    #[serde(default)]
    pub(super) input_tokens: u64,
    #[serde(default)]
    pub(super) output_tokens: u64,
    #[serde(default)]
    pub(super) input_cached_tokens: Option<u64>,
    #[serde(default)]
    pub(super) input_cache_write_tokens: Option<u64>,
    #[serde(default)]
    pub(super) input_audio_tokens: Option<u64>,
    #[serde(default)]
    pub(super) output_audio_tokens: Option<u64>,
}

pub(super) async fn read(reporter: &Reporter, account: &Account, days: Days) -> Result<Reading, FetchError> {
    let (mut charges, mut uses) = (ChargesByDay::default(), UsesByDay::default());
    let projects: Vec<String> = account.projects.iter().map(|project| url_encoded(project)).collect();
    let projects = projects.iter().fold(String::new(), |query, project| query + "&project_ids=" + project);
    let range = format!(
        "start_time={}&end_time={}&bucket_width=1d",
        start_of(days.from()).as_second(),
        start_of(days.until()).as_second()
    );
    let query = format!("{range}&limit={}&group_by=line_item{projects}", days.len().min(COST_DAYS_MAX));
    let buckets: Vec<Bucket<Cost>> = reporter.buckets(account, "/organization/costs", &query).await?;
    for bucket in buckets {
        let day = day(bucket.start_time, days)?;
        for Cost { amount, line_item } in bucket.results {
            let Some(amount) = amount else { continue };
            let Some(amount) = dollars(&amount)? else { continue };
            charges.add(day, line_item.as_deref().map(model_of), amount);
        }
    }
    for (path, groups) in USAGE {
        let query = format!("{range}&limit={}{groups}{projects}", days.len().min(USAGE_DAYS_MAX));
        let buckets: Vec<Bucket<Usage>> = reporter.buckets(account, path, &query).await?;
        for bucket in buckets {
            let day = day(bucket.start_time, days)?;
            for usage in bucket.results {
                let model = usage.model.clone().unwrap_or_default();
                uses.add(day, &model, usage.tier(), usage.used());
            }
        }
    }
    Ok(Reading { days, charges: Some(charges.0), uses: Some(uses.0) })
}

/// The day of a bucket, which has to be one that was asked for.
fn day(start: i64, days: Days) -> Result<Date, FetchError> {
    let start = Timestamp::from_second(start).map_err(|_| strange("a bucket begins at no time"))?;
    let day = day_of(start);
    if start_of(day) != start || !days.contains(day) {
        return Err(strange(format!("a bucket begins at {start}, which is no UTC day of those that were asked for")));
    }
    Ok(day)
}

/// An amount in dollars; none where nothing was charged.
fn dollars(amount_told: &Amount) -> Result<Option<Picodollars>, FetchError> {
    let Some(value) = &amount_told.value else { return Ok(None) };
    let currency = amount_told.currency.as_deref().unwrap_or("usd");
    if !currency.eq_ignore_ascii_case("usd") {
        return Err(strange("an amount is in another currency than US dollars"));
    }
    // Some versions of it are a text.
    let text = value.get().trim_matches('"');
    if text == "null" {
        return Ok(None);
    }
    amount(text, Unit::Dollars).map(Some).ok_or_else(|| strange("an amount is no decimal number"))
}

/// The model of a line item: `gpt-5-mini-2025-08-07, cached input`. What has no comma keeps its name.
pub(super) fn model_of(line_item: &str) -> &str {
    line_item.split_once(',').map_or(line_item, |(model, _)| model).trim()
}

impl Usage {
    pub(super) fn tier(&self) -> ServiceTier {
        if self.batch == Some(true) {
            return ServiceTier::Batch;
        }
        ServiceTier::from_word(self.service_tier.as_deref().unwrap_or_default())
    }

    /// The counts in buckets that don't overlap.
    pub(super) fn used(&self) -> Used {
        let cache_read = self.input_cached_tokens.unwrap_or(0);
        let cache_write_5m = self.input_cache_write_tokens.unwrap_or(0);
        let audio_input = self.input_audio_tokens.unwrap_or(0);
        let audio_output = self.output_audio_tokens.unwrap_or(0);
        let apart = cache_read.saturating_add(cache_write_5m).saturating_add(audio_input);
        let usage = TokenUsage {
            uncached_input: self.input_tokens.saturating_sub(apart),
            cache_read,
            cache_write_5m,
            audio_input,
            output: self.output_tokens.saturating_sub(audio_output),
            audio_output,
            ..TokenUsage::default()
        };
        Used { requests: Some(self.num_model_requests), usage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_of_a_line_item_stands_before_its_comma() {
        for (item, model) in [
            ("gpt-5-mini-2025-08-07, input", "gpt-5-mini-2025-08-07"),
            ("gpt-5-nano, cached input_tokens", "gpt-5-nano"),
            ("ft:gpt-4o-mini-2024-07-18:acme::x1, output", "ft:gpt-4o-mini-2024-07-18:acme::x1"),
            ("web search tool calls", "web search tool calls"),
            ("", ""),
        ] {
            assert_eq!(model_of(item), model);
        }
    }

    #[test]
    fn an_amount_is_read_as_it_is_written() {
        let told =
            |json: &str| dollars(&serde_json::from_str(json).unwrap()).map(|amount| amount.map(|a| a.to_string()));
        let some = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(told(r#"{"value":0.06,"currency":"usd"}"#), some("0.06"));
        assert_eq!(told(r#"{"value":0.06130000000000001,"currency":"usd"}"#), some("0.0613"));
        assert_eq!(told(r#"{"value":2.4e-05,"currency":"USD"}"#), some("0.000024"));
        assert_eq!(told(r#"{"value":"0.0038359800000000","currency":"usd"}"#), some("0.00383598"));
        assert_eq!(told(r#"{"value":null,"currency":"usd"}"#), Ok(None));
        assert!(told(r#"{"value":1,"currency":"eur"}"#).is_err());
        assert!(told(r#"{"value":true,"currency":"usd"}"#).is_err());
    }

    #[test]
    fn counts_that_overlap_are_taken_apart() {
        let usage: Usage = serde_json::from_str(
            r#"{"object":"organization.usage.completions.result","input_tokens":1000,"output_tokens":500,"input_cached_tokens":800,
                "input_cache_write_tokens":50,"input_audio_tokens":30,"output_audio_tokens":100,"num_model_requests":5,"model":"gpt-5",
                "batch":false,"service_tier":"flex","project_id":null}"#,
        )
        .unwrap();
        let Used { requests, usage: counts } = usage.used();
        assert_eq!((requests, usage.tier()), (Some(5), ServiceTier::Flex));
        assert_eq!((counts.uncached_input, counts.cache_read, counts.cache_write_5m), (120, 800, 50));
        assert_eq!((counts.total_input(), counts.total_output()), (1000, 500));
        let batch: Usage = serde_json::from_str(r#"{"input_tokens":1,"batch":true,"service_tier":"default"}"#).unwrap();
        assert_eq!(batch.tier(), ServiceTier::Batch);
    }

    #[test]
    fn a_bucket_that_is_no_day_of_the_range_is_refused() {
        let days = Days::one("2026-11-20".parse().unwrap());
        let start = start_of(days.from()).as_second();
        assert_eq!(day(start, days), Ok(days.from()));
        for wrong in [start + 3_600, start + 86_400, start - 86_400, i64::MAX] {
            assert!(day(wrong, days).is_err(), "{wrong}");
        }
    }
}
