//! Prices that the operator gives, over or in place of the list's.

use std::collections::BTreeMap;

use crate::domain::{Price, PriceName, fits_glob};

use super::sheet::{PriceSheet, Row, Rows};

/// Own or corrected prices of the deployments that a pattern matches.
///
/// Prices that include `input` are the deployment's whole price list: the list's service tiers, long-context prices,
/// off-peak hours and surcharges no longer hold for it. Without `input` they correct single prices of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceOverride {
    /// `provider/model`, where `*` stands for any text, also for none and across slashes.
    pub pattern: String,
    /// Prices by name.
    pub prices: BTreeMap<PriceName, Price>,
}

impl PriceOverride {
    /// True for patterns that match one deployment only.
    pub(super) fn is_exact(&self) -> bool {
        !self.pattern.contains('*')
    }

    /// True where the pattern fits `provider/model`.
    pub(super) fn matches(&self, provider: &str, model: &str) -> bool {
        // Joining the two costs an allocation, so a pattern for another provider is put aside first.
        let literal = self.pattern.split('*').next().unwrap_or_default();
        let shared = literal.len().min(provider.len());
        literal.as_bytes()[..shared] == provider.as_bytes()[..shared]
            && fits_glob(&self.pattern, &format!("{provider}/{model}"))
    }

    /// The prices that hold: the list's corrected, or these alone. Nothing where no price of input is known.
    pub(super) fn apply(&self, listed: Option<&PriceSheet>) -> Option<PriceSheet> {
        let own = Row::new(self.prices.iter().map(|(name, price)| (*name, *price)));
        if own.get(PriceName::Input).is_some() {
            let web_search = listed.and_then(PriceSheet::web_search);
            return Some(PriceSheet {
                rows: Rows { plain: own, services: Vec::new() },
                web_search,
                ..PriceSheet::default()
            });
        }
        let mut sheet = listed?.clone();
        sheet.rows.plain = sheet.rows.plain.corrected(&own);
        Some(sheet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, deployment: &str, expected: bool) {
        let (provider, model) = deployment.split_once('/').unwrap();
        let prices = PriceOverride { pattern: pattern.to_owned(), prices: BTreeMap::new() };
        assert_eq!(prices.matches(provider, model), expected, "{pattern} on {deployment}");
    }

    #[test]
    fn a_star_stands_for_any_text() {
        check("ollama/*", "ollama/qwen3:8b", true);
        check("ollama/*", "ollama/hf.co/some/model", true);
        check("*", "openai/gpt-5", true);
        check("*/gpt-5", "openai/gpt-5", true);
        check("openai/gpt-*-mini", "openai/gpt-5-mini", true);
        check("openai/gpt-5*", "openai/gpt-5", true);
        check("*a*b*", "xa/yb", true);
        check("open*/gpt-5", "openrouter/gpt-5", true);
    }

    #[test]
    fn a_pattern_fits_the_whole_name() {
        check("openai/gpt-5", "openai/gpt-5", true);
        check("openai/gpt-5", "openai/gpt-5-mini", false);
        check("openai/gpt-5", "my-openai/gpt-5", false);
        check("ollama/*", "ollama-2/qwen3", false);
        check("openai/gpt-*-mini", "openai/gpt-5-mini-2025", false);
        check("a/b*b", "a/b", false);
        check("gpt-5", "openai/gpt-5", false);
        check("OpenAI/*", "openai/gpt-5", false);
    }
}
