//! The prices to see history by: those of a file before those in force.

use std::path::Path;
use std::sync::Arc;

use crate::catalog::{Catalog, CatalogError, ModelFacts, PriceOverride};
use crate::config::{self, Problems};
use crate::domain::{CostBasis, PriceName, ProviderName};

/// Why a file of prices can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PricesError {
    /// It is no list.
    #[error(transparent)]
    List(#[from] CatalogError),
    /// It has no prices as settings have them.
    #[error("{0}")]
    Settings(Problems),
    /// There is no price in it.
    #[error(
        "the file has no price: write [prices.\"provider/model\"] sections, or a list of the form {{\"models\": [...]}}"
    )]
    Empty,
}

/// Prices of a file, and those in force for everything that it doesn't have.
pub struct Prices {
    in_force: Arc<Catalog>,
    given: Given,
}

enum Given {
    /// No file: history is seen by the prices in force.
    Nothing,
    /// A list, alone and over the one in force; the operator's own prices don't hold for what it has.
    List { file: Catalog, merged: Catalog },
    /// Prices in the words of the settings, before those in force, and the names of their sections.
    Overrides { given: Catalog, sections: Vec<String> },
}

impl Prices {
    /// The prices in force.
    pub fn in_force_only(in_force: Arc<Catalog>) -> Self {
        Self { in_force, given: Given::Nothing }
    }

    /// Reads a file: a JSON list in the shape of `catalog.file`, or TOML with `[prices."provider/model"]` sections.
    pub fn read(in_force: Arc<Catalog>, name: &str, text: &str) -> Result<Self, PricesError> {
        if text.trim_start().starts_with('{') {
            let file = Catalog::parse(text)?;
            let merged = in_force.as_ref().clone().with_overrides(Vec::new()).merged(file.clone());
            return Ok(Self { in_force, given: Given::List { file, merged } });
        }
        let prices = config::read_prices(Path::new(name), text).map_err(PricesError::Settings)?;
        if prices.is_empty() {
            return Err(PricesError::Empty);
        }
        let sections = prices.iter().map(|prices| prices.pattern.clone()).collect();
        let given = in_force.as_ref().clone().with_first_overrides(named(&prices));
        Ok(Self { in_force, given: Given::Overrides { given, sections } })
    }

    /// The sections of the file, where it has such; a list of everything that a provider sells has none.
    pub(super) fn sections(&self) -> &[String] {
        match &self.given {
            Given::Overrides { sections, .. } => sections,
            Given::Nothing | Given::List { .. } => &[],
        }
    }

    /// Those of them that fit a model, whether or not a closer one does too.
    pub(super) fn sections_of<'p>(
        &'p self,
        provider: &'p ProviderName,
        list: &str,
        model: &'p str,
    ) -> impl Iterator<Item = &'p str> {
        let given = match &self.given {
            Given::Overrides { given, sections } => Some((given, sections)),
            Given::Nothing | Given::List { .. } => None,
        };
        given.into_iter().flat_map(move |(given, sections)| {
            let fitting = given.fitting(provider, list, model).map(|prices| prices.pattern.as_str());
            fitting.filter(move |pattern| sections.iter().any(|section| section == pattern))
        })
    }

    /// The prices of a model that was asked for and one that answered, and how surely they are its own.
    pub(super) fn find(
        &self,
        provider: &ProviderName,
        list: &str,
        asked: &str,
        answered: &str,
    ) -> Option<(Arc<ModelFacts>, CostBasis)> {
        match &self.given {
            Given::Nothing => self.in_force.find_answered(provider, list, asked, answered),
            Given::Overrides { given, .. } => given.find_answered(provider, list, asked, answered),
            Given::List { file, merged } => merged
                .find_answered(provider, list, asked, answered)
                .filter(|(facts, _)| file.knows(list, &facts.id))
                .or_else(|| self.in_force.find_answered(provider, list, asked, answered)),
        }
    }

    /// The prices of a model as they are in force.
    pub(super) fn in_force(&self, provider: &ProviderName, list: &str, model: &str) -> Option<Arc<ModelFacts>> {
        self.in_force.find(provider, list, model)
    }
}

/// Prices of the settings in the catalogue's words.
pub fn named(prices: &[config::PriceOverride]) -> Vec<PriceOverride> {
    let named = |prices: &config::PriceOverride| PriceOverride {
        pattern: prices.pattern.clone(),
        prices: prices
            .prices
            .iter()
            .map(|(word, price)| {
                (PriceName::from_word(word).expect("the settings know no other kinds of tokens"), *price)
            })
            .collect(),
    };
    prices.iter().map(named).collect()
}
