//! Own and corrected prices, and the file that replaces the built-in list.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::NamedFile;
use super::given::money_text;
use super::problem::quoted;
use super::reader::Section;
use crate::domain::{Price, fits_glob};

/// Prices that hold instead of the catalogue's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceOverride {
    /// What it is for: `provider/model`; a `*` stands for any run of characters.
    pub pattern: String,
    /// The price of each kind of token that it names, by [`PRICE_NAMES`]; never empty.
    pub prices: BTreeMap<String, Price>,
}

/// The kinds of tokens that have prices.
pub const PRICE_NAMES: [&str; 8] =
    ["input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning", "audio_input", "audio_output"];

/// Reads `[prices."provider/model"]`, in the order of the file; one that none of the providers has is told of, where there are any.
pub(super) fn read(root: &mut Section<'_>, providers: &[String]) -> Vec<PriceOverride> {
    root.entries("prices", |pattern, section| {
        let is_pattern =
            pattern.split_once('/').is_some_and(|(provider, model)| !provider.is_empty() && !model.is_empty());
        if !is_pattern || pattern.trim() != pattern || pattern.contains(char::is_control) {
            section.problem(format!(
                "{} is not of the form provider/model; write [prices.\"openai/gpt-5\"] with the quotes",
                quoted(pattern)
            ));
        }
        let mut prices = BTreeMap::new();
        let mut is_named = false;
        for name in PRICE_NAMES {
            let price = section.value(name, |given| {
                let text = money_text(given)?;
                let price = Price::parse_usd_per_million(text).map_err(|error| error.to_string())?;
                Ok((price, text.into()))
            });
            is_named |= section.is_set(name);
            prices.extend(price.map(|price| (name.to_owned(), price)));
        }
        if !is_named {
            section.problem(
                "no price is named; set input and output, in dollars per million tokens, such as input = \"0.25\"",
            );
        }
        if prices.contains_key("input") && !section.is_set("output") {
            section.warning_at(
                "input",
                "prices that include it stand alone, so output would be counted at this price; set output too, to \"0\" where there is none",
            );
        }
        let provider = pattern.split('/').next().unwrap_or_default();
        if !providers.is_empty() && !providers.iter().any(|name| fits_glob(provider, name)) {
            section.warning("no provider of these settings has this name, so no call is priced by it; mend the name, or take it out");
        }
        PriceOverride { pattern: pattern.to_owned(), prices }
    })
}

/// Reads `[catalog]`.
pub(super) fn read_catalog(root: &mut Section<'_>) -> Option<PathBuf> {
    root.section("catalog", |catalog| catalog.checked_file("file", NamedFile::Prices))
}
