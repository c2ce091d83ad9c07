//! The price list in use: the built-in one, the operator's file over it, the prices of the settings over both.
//!
//! The file is watched with the settings (`reload`), so that prices change without a restart.

use anyhow::Context as _;

use super::attachments::Attachments;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::rerate::named;

/// The catalogue that the settings ask for.
pub(crate) fn catalog(config: &Config) -> anyhow::Result<Catalog> {
    catalog_with(config, &Attachments::read(config))
}

/// The same, with the file as it was read.
pub(crate) fn catalog_with(config: &Config, attachments: &Attachments) -> anyhow::Result<Catalog> {
    let mut catalog = Catalog::builtin();
    if let Some(path) = &config.catalog_file {
        let shown = path.display();
        let text = attachments.text(path).with_context(|| format!("catalog.file: {shown} can't be read"))?;
        catalog = catalog.merged(Catalog::parse(text).with_context(|| format!("catalog.file: {shown}"))?);
    }
    Ok(catalog.with_overrides(named(&config.prices)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::domain::ProviderName;

    fn list(price: &str) -> String {
        format!(r#"{{"models":[{{"id":"own-1","provider":"own","price":{{"input":"{price}","output":"2"}}}}]}}"#)
    }

    fn config(path: &Path, more: &str) -> Config {
        Config::from_toml(&format!("[catalog]\nfile = \"{}\"\n{more}", path.display())).unwrap()
    }

    fn input(catalog: &Catalog) -> Option<String> {
        let own = ProviderName::new("own").unwrap();
        let facts = catalog.find(&own, "own", "own-1")?;
        Some(format!("{:?}", facts.prices))
    }

    #[test]
    fn the_file_comes_over_the_built_in_list_and_the_settings_over_both() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.json");
        std::fs::write(&path, list("1")).unwrap();
        let plain = catalog(&config(&path, "")).unwrap();
        assert!(plain.knows("openai", "gpt-4o-mini") && plain.knows("own", "own-1"));
        let corrected = catalog(&config(&path, "[prices.\"own/*\"]\ninput = \"7\"\noutput = \"7\"\n")).unwrap();
        assert_ne!(input(&plain), input(&corrected));
    }

    #[test]
    fn a_bad_file_is_refused_at_the_start_with_every_bad_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.json");
        std::fs::write(&path, list("one dollar")).unwrap();
        let refused = format!("{:#}", catalog(&config(&path, "")).unwrap_err());
        assert!(refused.contains("prices.json") && refused.contains("own-1"), "{refused}");
    }
}
