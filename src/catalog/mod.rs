//! Models: what they cost, what they can do, how much they take.
//!
//! A built-in list for each provider, which a file can replace in part or whole, and prices of the operator's own over
//! them. Immutable once built: a change of prices is a new catalogue. Nobody else knows a price; what a call was
//! billed as comes in as [`Billed`](crate::domain::Billed).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use crate::domain::{CostBasis, ProviderName};

mod facts;
mod file;
mod hours;
mod overrides;
mod sandbox;
mod sheet;
#[cfg(test)]
mod tests;

pub use facts::{Mode, ModelFacts};
pub use file::{BadRow, CatalogError};
pub use overrides::PriceOverride;
pub use sandbox::SANDBOX;
pub use sheet::{CostLine, Costing, PriceSheet, Reach};

/// The list that this binary was built with.
static BUILTIN: LazyLock<Catalog> = LazyLock::new(|| {
    let listed = Catalog::parse(include_str!("prices.json")).expect("the built-in list is checked by a test");
    listed.merged(sandbox::models().collect())
});

/// Where a sandbox looks for a model that is not its own, before all other lists.
const SANDBOX_LOOKS_FIRST: [&str; 2] = ["openai", "anthropic"];

/// All that is known of models, by provider.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    lists: BTreeMap<Box<str>, List>,
    /// The closest pattern first.
    overrides: Vec<PriceOverride>,
}

/// The models of one provider.
#[derive(Clone, Debug, Default)]
struct List {
    by_id: BTreeMap<Box<str>, Arc<ModelFacts>>,
    /// By id and alias.
    by_name: HashMap<Box<str>, Arc<ModelFacts>>,
}

impl Catalog {
    /// The built-in list.
    pub fn builtin() -> Self {
        BUILTIN.clone()
    }

    /// Reads a list in the shape of the built-in one. Every bad row is told, not the first alone.
    pub fn parse(json: &str) -> Result<Self, CatalogError> {
        file::parse(json).map(|models| models.into_iter().collect())
    }

    /// This catalogue with the models of another added; of two with the same id, the other's counts.
    #[must_use]
    pub fn merged(mut self, other: Self) -> Self {
        for (name, list) in other.lists {
            self.lists.entry(name).or_default().add(list);
        }
        self.overrides.extend(other.overrides);
        self
    }

    /// This catalogue with the operator's prices in place of those it had.
    #[must_use]
    pub fn with_overrides(mut self, mut overrides: Vec<PriceOverride>) -> Self {
        // A stable sort: of two patterns that are as close, the first of the file counts.
        overrides.sort_by_key(|prices| (!prices.is_exact(), std::cmp::Reverse(prices.pattern.len())));
        self.overrides = overrides;
        self
    }

    /// This catalogue with some prices before all others, however close those come.
    #[must_use]
    pub fn with_first_overrides(mut self, overrides: Vec<PriceOverride>) -> Self {
        let others = std::mem::take(&mut self.overrides);
        self = self.with_overrides(overrides);
        self.overrides.extend(others);
        self
    }

    /// What is known of a model at a configured provider that has the prices of a list.
    ///
    /// The operator's prices first, the closest pattern of them, then id or alias in the list. `None` is a model
    /// without a price.
    pub fn find(&self, provider: &ProviderName, catalog: &str, model: &str) -> Option<Arc<ModelFacts>> {
        self.overridden(provider, catalog, model).or_else(|| self.listed(catalog, model).cloned())
    }

    /// What is known of the model that a provider says has answered, where another name was asked for.
    ///
    /// A dated model can cost more than the name that was asked for. Where nothing is known of the one that answered,
    /// the prices of the one asked for stand in: an estimate, unless they are the operator's own.
    pub fn find_answered(
        &self,
        provider: &ProviderName,
        catalog: &str,
        asked: &str,
        answered: &str,
    ) -> Option<(Arc<ModelFacts>, CostBasis)> {
        let exact = |facts| (facts, CostBasis::Exact);
        self.overridden(provider, catalog, answered)
            .or_else(|| self.overridden(provider, catalog, asked))
            .or_else(|| self.listed(catalog, answered).cloned())
            .map(exact)
            .or_else(|| self.listed(catalog, asked).cloned().map(|facts| (facts, CostBasis::Estimated)))
    }

    /// True where the list has the model, by id or alias.
    pub fn knows(&self, catalog: &str, model: &str) -> bool {
        self.listed(catalog, model).is_some()
    }

    /// True where the list has the model, or the operator gave this very deployment a price.
    pub fn serves(&self, provider: &ProviderName, catalog: &str, model: &str) -> bool {
        let named = |prices: &PriceOverride| prices.is_exact() && prices.matches(provider.as_str(), model);
        self.knows(catalog, model) || self.overrides.iter().any(named)
    }

    /// The models of a list, by id.
    pub fn models(&self, catalog: &str) -> impl Iterator<Item = &Arc<ModelFacts>> {
        self.lists.get(catalog).into_iter().flat_map(|list| list.by_id.values())
    }

    /// The names of all lists.
    pub fn lists(&self) -> impl Iterator<Item = &str> {
        self.lists.keys().map(AsRef::as_ref)
    }

    fn listed(&self, catalog: &str, model: &str) -> Option<&Arc<ModelFacts>> {
        let in_list = |name: &str| self.lists.get(name).and_then(|list| list.by_name.get(model));
        let found = in_list(catalog);
        if found.is_some() || catalog != SANDBOX {
            return found;
        }
        // The sandbox plays any model there is, at that model's price.
        SANDBOX_LOOKS_FIRST.into_iter().find_map(in_list).or_else(|| self.lists().find_map(in_list))
    }

    /// The operator's prices that fit a model, the closest first.
    pub fn fitting<'c>(
        &'c self,
        provider: &'c ProviderName,
        catalog: &str,
        model: &'c str,
    ) -> impl Iterator<Item = &'c PriceOverride> {
        let listed = self.listed(catalog, model);
        self.overrides.iter().filter(move |prices| {
            // An alias has the prices that were given to its model.
            prices.matches(provider.as_str(), model)
                || listed.is_some_and(|facts| *facts.id != *model && prices.matches(provider.as_str(), &facts.id))
        })
    }

    fn overridden(&self, provider: &ProviderName, catalog: &str, model: &str) -> Option<Arc<ModelFacts>> {
        if self.overrides.is_empty() {
            return None;
        }
        let listed = self.listed(catalog, model);
        let prices = self.fitting(provider, catalog, model).next()?;
        let sheet = prices.apply(listed.map(|facts| &facts.prices))?;
        let facts = listed.map_or_else(
            || ModelFacts { id: model.into(), catalog: catalog.into(), ..ModelFacts::default() },
            |facts| ModelFacts::clone(facts),
        );
        Some(Arc::new(ModelFacts { prices: sheet, ..facts }))
    }
}

impl FromIterator<ModelFacts> for Catalog {
    fn from_iter<I: IntoIterator<Item = ModelFacts>>(models: I) -> Self {
        let mut catalog = Self::default();
        for facts in models {
            let list = catalog.lists.entry(facts.catalog.clone()).or_default();
            list.by_id.insert(facts.id.clone(), Arc::new(facts));
        }
        for list in catalog.lists.values_mut() {
            let models = list.by_id.values();
            let aliases = models.clone().flat_map(|facts| facts.aliases.iter().map(move |alias| (alias, facts)));
            // Ids come last, since an id beats an alias of the same name.
            let names = aliases.chain(models.map(|facts| (&facts.id, facts)));
            list.by_name = names.map(|(name, facts)| (name.clone(), Arc::clone(facts))).collect();
        }
        catalog
    }
}

impl List {
    fn add(&mut self, other: Self) {
        self.by_name.retain(|_, facts| !other.by_id.contains_key(&facts.id));
        self.by_id.extend(other.by_id);
        self.by_name.extend(other.by_name);
    }
}
