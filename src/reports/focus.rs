//! Costs in the FinOps Open Cost and Usage Specification (FOCUS 1.2), for tools that read invoices of many vendors.
//!
//! One row is a local day of one team, key, provider, model and operation: the sums that the ledger keeps, so that a year
//! is written in a moment and its total is the ledger's. What Tollgate doesn't know is null, an empty cell. Prices are list
//! prices, so `ListCost`, `ContractedCost`, `EffectiveCost` and `BilledCost` are one amount; unit prices are null, because
//! a day of a model has several (input, cached input, output). Columns with `x_` are Tollgate's own, as the
//! specification provides for.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::csv::Rows;
use crate::domain::Window;
use crate::ledger::Rollup;

/// The columns, in order.
pub const HEADER: &str = "BilledCost,BillingAccountId,BillingAccountName,BillingCurrency,BillingPeriodEnd,BillingPeriodStart,ChargeCategory,ChargeClass,ChargeDescription,ChargeFrequency,ChargePeriodEnd,ChargePeriodStart,ConsumedQuantity,ConsumedUnit,ContractedCost,ContractedUnitPrice,EffectiveCost,InvoiceIssuerName,ListCost,ListUnitPrice,PricingCategory,PricingQuantity,PricingUnit,ProviderName,PublisherName,RegionId,RegionName,ResourceId,ResourceName,ResourceType,ServiceCategory,ServiceName,ServiceSubcategory,SkuId,SkuPriceId,SubAccountId,SubAccountName,Tags,x_Operation,x_Requests,x_InputTokens,x_CachedInputTokens,x_OutputTokens,x_SavedCost,x_UnknownCost,x_UnpricedAttempts";

/// The billing account of everything: one data folder is one account.
const BILLING_ACCOUNT: &str = "tollgate";
/// A text that is null.
const NULL: Option<&str> = None;

/// Adds the row of a rollup; `key_name` is what people call its key.
pub fn row(rows: &mut Rows, rollup: &Rollup, key_name: &str, zone: &TimeZone) {
    let sums = &rollup.sums;
    let (provider, model) = (rollup.provider.as_deref(), rollup.model.as_deref());
    let operation = rollup.operation.as_deref().unwrap_or_default();
    let start = rollup.window.start(zone).unwrap_or_default();
    let month = Window::Month.at(start, zone);
    let time = |at: Option<Timestamp>| at.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let tokens = sums.usage.total_input() + sums.usage.total_output();
    let description = format!("{operation} with {}", model.unwrap_or("no model"));
    let sku = provider.zip(model).map(|(provider, model)| format!("{provider}/{model}"));
    let tags = tags(rollup, key_name);
    rows.number(Some(sums.cost))
        .text(BILLING_ACCOUNT)
        .text("Tollgate")
        .text("USD")
        .text(&time(month.end(zone)))
        .text(&time(month.start(zone)))
        .text("Usage")
        .optional(NULL)
        .text(&description)
        .text("Usage-Based")
        .text(&time(rollup.window.end(zone)))
        .text(&time(Some(start)))
        .number(Some(tokens))
        .text("Tokens")
        .number(Some(sums.cost))
        .optional(NULL)
        .number(Some(sums.cost))
        .optional(provider)
        .number(Some(sums.cost))
        .optional(NULL)
        .text("Standard")
        .number(Some(tokens))
        .text("Tokens")
        .optional(provider)
        .optional(provider)
        .optional(NULL)
        .optional(NULL)
        .optional(rollup.key.as_deref())
        .text(key_name)
        .text("Virtual key")
        .text("AI and Machine Learning")
        .text(model.unwrap_or("no model"))
        .text("Generative AI")
        .optional(sku.as_deref())
        .optional(NULL)
        .optional(rollup.team.as_deref())
        .optional(rollup.team.as_deref())
        .text(&tags)
        .text(operation)
        .number(Some(sums.requests))
        .number(Some(sums.usage.total_input()))
        .number(Some(sums.usage.cache_read))
        .number(Some(sums.usage.total_output()))
        .number(Some(sums.saved))
        .number(Some(sums.unknown_cost))
        .number(Some(sums.unpriced))
        .end();
}

/// Team, key and operation as the specification's JSON of tags.
fn tags(rollup: &Rollup, key_name: &str) -> String {
    let mut tags = serde_json::Map::new();
    let given = [("team", rollup.team.as_deref()), ("key", Some(key_name)), ("operation", rollup.operation.as_deref())];
    for (name, value) in given {
        tags.extend(value.map(|value| (name.to_owned(), value.into())));
    }
    serde_json::Value::Object(tags).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TokenUsage;
    use crate::ledger::Cell;

    fn rollup() -> Rollup {
        let zone = TimeZone::get("Asia/Seoul").unwrap();
        Rollup {
            window: Window::Day.at("2026-11-22T03:00:00Z".parse().unwrap(), &zone),
            team: Some("research".into()),
            key: Some("key_1".into()),
            provider: Some("openai".into()),
            model: Some("gpt-5".into()),
            operation: Some("chat".into()),
            sums: Cell {
                requests: 3,
                cost: "0.036".parse().unwrap(),
                usage: TokenUsage { uncached_input: 900, cache_read: 100, output: 50, ..TokenUsage::default() },
                ..Cell::default()
            },
        }
    }

    /// A row by its columns; no cell of these has a comma but the tags.
    fn cells(rollup: &Rollup) -> Vec<(String, String)> {
        let mut rows = Rows::default();
        row(&mut rows, rollup, "ci", &TimeZone::get("Asia/Seoul").unwrap());
        let text = rows.into_text();
        let mut cells = vec![String::new()];
        let mut is_quoted = false;
        for character in text.trim_end().chars() {
            match character {
                '"' => is_quoted = !is_quoted,
                ',' if !is_quoted => cells.push(String::new()),
                other => cells.last_mut().unwrap().push(other),
            }
        }
        let columns: Vec<&str> = HEADER.split(',').collect();
        assert_eq!(columns.len(), cells.len());
        columns.into_iter().map(ToOwned::to_owned).zip(cells).collect()
    }

    #[test]
    fn every_cell_stands_below_its_column() {
        let cells = cells(&rollup());
        let shown: Vec<String> = cells.iter().map(|(column, cell)| format!("{column}: {cell}")).collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        BilledCost: 0.036
        BillingAccountId: tollgate
        BillingAccountName: Tollgate
        BillingCurrency: USD
        BillingPeriodEnd: 2026-11-30T15:00:00Z
        BillingPeriodStart: 2026-10-31T15:00:00Z
        ChargeCategory: Usage
        ChargeClass: 
        ChargeDescription: chat with gpt-5
        ChargeFrequency: Usage-Based
        ChargePeriodEnd: 2026-11-22T15:00:00Z
        ChargePeriodStart: 2026-11-21T15:00:00Z
        ConsumedQuantity: 1050
        ConsumedUnit: Tokens
        ContractedCost: 0.036
        ContractedUnitPrice: 
        EffectiveCost: 0.036
        InvoiceIssuerName: openai
        ListCost: 0.036
        ListUnitPrice: 
        PricingCategory: Standard
        PricingQuantity: 1050
        PricingUnit: Tokens
        ProviderName: openai
        PublisherName: openai
        RegionId: 
        RegionName: 
        ResourceId: key_1
        ResourceName: ci
        ResourceType: Virtual key
        ServiceCategory: AI and Machine Learning
        ServiceName: gpt-5
        ServiceSubcategory: Generative AI
        SkuId: openai/gpt-5
        SkuPriceId: 
        SubAccountId: research
        SubAccountName: research
        Tags: {key:ci,operation:chat,team:research}
        x_Operation: chat
        x_Requests: 3
        x_InputTokens: 1000
        x_CachedInputTokens: 100
        x_OutputTokens: 50
        x_SavedCost: 0
        x_UnknownCost: 0
        x_UnpricedAttempts: 0
        ");
    }

    #[test]
    fn what_is_not_known_is_null_and_not_an_empty_text() {
        let mut rows = Rows::default();
        let unrouted = Rollup { team: None, provider: None, model: None, ..rollup() };
        row(&mut rows, &unrouted, "ci", &TimeZone::UTC);
        let text = rows.into_text();
        assert!(!text.contains(",\"\","), "{text}");
        assert!(text.contains(",\"no model\","), "{text}");
    }
}
