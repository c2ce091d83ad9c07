//! What calls can reach, as far as it is known, and budgets that are about something else.

use crate::catalog::Catalog;
use crate::config::Config;
use crate::domain::{Deployment, ModelPattern};

/// Everything that is known to be callable: what routes name, what the price list has of each provider, what has a price of its own.
pub fn reachable(config: &Config, catalog: &Catalog) -> Vec<Deployment> {
    let routed = config.routes.iter().flat_map(|route| route.deployments.iter().cloned());
    let listed = config.providers.iter().flat_map(|provider| {
        let deployment = |id: &str| Some(Deployment { provider: provider.name.clone(), model: id.parse().ok()? });
        catalog.models(&provider.catalog).filter_map(move |facts| deployment(&facts.id))
    });
    let own = config.prices.iter().filter_map(|prices| prices.pattern.parse().ok());
    routed.chain(listed).chain(own).collect()
}

/// The provider that a budget of models names and that isn't there. A word before a slash may also be a part of a model's name.
pub fn missing_provider<'p>(models: &'p ModelPattern, config: &Config, catalog: &Catalog) -> Option<&'p str> {
    let (name, _) = models.as_str().split_once('/')?;
    let is_there = |name: &str| config.providers.iter().any(|provider| provider.name.as_str() == name);
    if name.contains('*') || is_there(name) {
        return None;
    }
    let is_meant = |one: &Deployment| is_there(one.provider.as_str()) && models.fits(one);
    (!reachable(config, catalog).iter().any(is_meant)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_is_gone_is_told_apart_from_a_slash_in_a_models_name() {
        let settings = "
            [[providers]]\nname = \"openai\"\nkind = \"openai\"\napi_key = \"sk-1\"
            [[providers]]\nname = \"local\"\nkind = \"openai-compatible\"\nbase_url = \"http://127.0.0.1:1/v1\"
            [[routes]]\nname = \"smart\"\ndeployments = [\"local/qwen/qwen3\"]
            [prices.\"local/meta/llama\"]\ninput = \"1\"\noutput = \"1\"
            [prices.\"back/m2\"]\ninput = \"1\"\noutput = \"1\"\n";
        let config = Config::from_toml(settings).unwrap();
        let check = |pattern: &str, expected: Option<&str>| {
            let models = ModelPattern::new(pattern).unwrap();
            assert_eq!(missing_provider(&models, &config, &Catalog::builtin()), expected, "{pattern}");
        };
        for there in ["gpt-4o", "openai/gpt-4o", "openai/*", "local/anything", "qwen/qwen3", "meta/*", "*/m2"] {
            check(there, None);
        }
        check("back/m2", Some("back"));
        check("back/*", Some("back"));
    }
}
