//! Prices that the file gives to models: dollars per token there, dollars per million tokens here.

use super::notes::Notes;
use super::table::Table;
use crate::catalog::Catalog;
use crate::domain::PriceName;

/// Prices of one deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelPrices {
    /// `provider/model`.
    pub(super) deployment: String,
    /// Our names, and dollars per million tokens.
    pub(super) prices: Vec<(&'static str, String)>,
    /// The model of the price list that they were taken from.
    pub(super) base_model: Option<String>,
}

/// LiteLLM's names and ours.
const NAMES: [(&str, PriceName); 8] = [
    ("input_cost_per_token", PriceName::Input),
    ("output_cost_per_token", PriceName::Output),
    ("cache_read_input_token_cost", PriceName::CacheRead),
    ("cache_creation_input_token_cost", PriceName::CacheWrite5m),
    ("cache_creation_input_token_cost_above_1hr", PriceName::CacheWrite1h),
    ("output_cost_per_reasoning_token", PriceName::Reasoning),
    ("input_cost_per_audio_token", PriceName::AudioInput),
    ("output_cost_per_audio_token", PriceName::AudioOutput),
];

/// Whether a key names a price of some kind.
pub(super) fn is_price(key: &str) -> bool {
    key.contains("_cost")
}

/// The prices that a deployment's parameters or its facts give; `None` where they give none.
pub(super) fn read(deployment: &str, tables: [&Table<'_>; 2], notes: &mut Notes) -> Option<ModelPrices> {
    let mut prices = Vec::new();
    for (theirs, ours) in NAMES {
        // The parameters count before the facts.
        for table in tables {
            let Some(number) = table.number(theirs, notes) else { continue };
            if prices.iter().any(|(name, _)| *name == ours.as_str()) {
                continue;
            }
            let per_million = number.in_units(12);
            let Some(rounded) = per_million.filter(|rounded| rounded.units <= 1_000_000_000_000_000) else {
                notes.left_out(table.at(theirs), "beyond any price", "set it under [prices] by hand");
                continue;
            };
            prices.push((ours.as_str(), per_million_text(rounded.units)));
        }
    }
    for table in tables {
        for (key, at) in table.unasked() {
            if is_price(key) {
                notes.left_out(
                    at,
                    "a price of a kind that [prices] has no word for",
                    "the built-in price list knows such prices of many models; otherwise set the nearest price per token by hand",
                );
            }
        }
    }
    (!prices.is_empty()).then(|| ModelPrices { deployment: deployment.to_owned(), prices, base_model: None })
}

/// Dollars per million tokens: a picodollar per token is a millionth of that.
fn per_million_text(picodollars: i128) -> String {
    let (whole, rest) = (picodollars / 1_000_000, format!("{:06}", picodollars % 1_000_000));
    let rest = rest.trim_end_matches('0');
    if rest.is_empty() { whole.to_string() } else { format!("{whole}.{rest}") }
}

/// The list prices of a model that stands behind a name of its own, such as a deployment at Azure.
pub(super) fn of_base_model(deployment: &str, base_model: &str, catalog: &Catalog) -> Option<ModelPrices> {
    let (list, model) = match base_model.split_once('/') {
        Some(("azure", model)) => ("openai", model),
        Some((list, model)) => (list, model),
        None => ("openai", base_model),
    };
    let facts = catalog
        .models(list)
        .find(|facts| &*facts.id == model || facts.aliases.iter().any(|alias| &**alias == model))?;
    let plain =
        |(_, name): (&str, PriceName)| Some((name.as_str(), per_million_text(facts.prices.plain(name)?.get().into())));
    let prices: Vec<_> = NAMES.into_iter().filter_map(plain).collect();
    (!prices.is_empty()).then(|| ModelPrices {
        deployment: deployment.to_owned(),
        prices,
        base_model: Some(base_model.to_owned()),
    })
}
