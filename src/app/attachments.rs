//! The files that settings name beside themselves: the price list, and the scripts of sandboxes.
//!
//! Each is read once for everybody who looks at it, so that what is parsed is also what is marked: a file that changes in between
//! would otherwise be held for one that is in force already.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use crate::config::Config;
use crate::config::defaults::NAMED_FILE_BYTES_MAX;
use crate::keys::Keys;
use crate::revisions::Mark;
use crate::runtime::read_text;

/// What the files held when they were read.
#[derive(Debug, Default)]
pub(crate) struct Attachments(BTreeMap<PathBuf, io::Result<String>>);

impl Attachments {
    /// Reads those of some settings.
    pub(crate) fn read(config: &Config) -> Self {
        let read = |path| read_text(path, NAMED_FILE_BYTES_MAX).map(|(text, _)| text);
        Self(named(config).map(|(_, path)| (path.to_owned(), read(path))).collect())
    }

    /// What one of them holds.
    pub(crate) fn text(&self, path: &Path) -> anyhow::Result<&str> {
        match self.0.get(path) {
            Some(Ok(text)) => Ok(text),
            Some(Err(error)) => Err(anyhow!("{error}")),
            None => Err(anyhow!("the settings don't name it")),
        }
    }

    /// By what the files are known again, each under the key that names it.
    pub(crate) fn marks(&self, config: &Config, keys: &Keys) -> BTreeMap<String, Mark> {
        let held = |path: &Path| self.0.get(path).and_then(|read| read.as_deref().ok()).unwrap_or_default();
        named(config).map(|(key, path)| (key.clone(), keys.mark(&key, held(path).as_bytes()))).collect()
    }
}

/// The files that settings name, each with the key that does.
pub(crate) fn named(config: &Config) -> impl Iterator<Item = (String, &Path)> {
    let list = config.catalog_file.as_deref().map(|path| ("catalog.file".to_owned(), path));
    let scripts = config.providers.iter().filter_map(|provider| {
        let script = provider.sandbox.script.as_deref()?;
        Some((format!("providers.{}.script", provider.name), script))
    });
    list.into_iter().chain(scripts)
}
