//! The price list in use: the built-in one, the operator's file over it, the prices of the settings over both.
//!
//! The file is watched, so that prices change without a restart. A file that can't be used changes nothing: the last
//! good list stays, and the log says why.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::with_causes;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::rerate::named;
use crate::runtime::Tasks;

/// Editors write a file in several steps; it is read once they have been quiet for this long.
const QUIET: Duration = Duration::from_millis(250);
/// Noted changes that wait to be looked at: one is enough, for the file is read whole.
const CHANGES_LEN: usize = 1;

/// The catalogue that the settings ask for.
pub(crate) fn catalog(config: &Config) -> anyhow::Result<Catalog> {
    let mut catalog = Catalog::builtin();
    if let Some(path) = &config.catalog_file {
        catalog = catalog.merged(read(path)?);
    }
    Ok(catalog.with_overrides(named(&config.prices)))
}

fn read(path: &Path) -> anyhow::Result<Catalog> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("catalog.file: {shown} can't be read"))?;
    Catalog::parse(&text).with_context(|| format!("catalog.file: {shown}"))
}

/// Reads the file again whenever it changes, until the process stops. Without a file there is nothing to do.
pub(crate) fn watch(config: &Arc<Config>, gateway: &Arc<Gateway>, tasks: &Tasks) {
    let Some(path) = config.catalog_file.clone() else { return };
    let (changed, changes) = mpsc::channel(CHANGES_LEN);
    let watcher = match watcher(&path, changed) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!("changes of {} take a restart, for the file can't be watched: {error}", path.display());
            return;
        }
    };
    let task = follow(Arc::clone(config), Arc::clone(gateway), path, changes, tasks.stopping().clone());
    tasks.spawn(async move {
        task.await;
        drop(watcher);
    });
}

fn watcher(path: &Path, changed: mpsc::Sender<()>) -> notify::Result<notify::RecommendedWatcher> {
    let path = std::path::absolute(path)?;
    let file_name = path.file_name().map(ToOwned::to_owned);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // A lost event may have been ours, so it counts as one.
        let is_ours = event.map_or(true, |event| {
            !event.kind.is_access() && event.paths.iter().any(|path| path.file_name() == file_name.as_deref())
        });
        if is_ours {
            // A full queue means that the file will be read anyway.
            let _ = changed.try_send(());
        }
    })?;
    // The folder, since most editors put a new file in the place of the old one.
    watcher.watch(path.parent().unwrap_or(Path::new("/")), RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

async fn follow(
    config: Arc<Config>,
    gateway: Arc<Gateway>,
    path: PathBuf,
    mut changes: mpsc::Receiver<()>,
    stopping: tokio_util::sync::CancellationToken,
) {
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            changed = changes.recv() => if changed.is_none() { return },
        }
        while let Ok(Some(())) = tokio::time::timeout(QUIET, changes.recv()).await {}
        take_over(&config, &gateway, &path).await;
    }
}

/// Reads the file and puts its prices into use, where they can be used.
async fn take_over(config: &Arc<Config>, gateway: &Gateway, path: &Path) {
    let settings = Arc::clone(config);
    let read = tokio::task::spawn_blocking(move || catalog(&settings)).await;
    match read.map_err(anyhow::Error::from).and_then(|catalog| catalog) {
        Ok(catalog) => {
            replace(gateway, catalog);
            tracing::info!("the prices of {} are in use", path.display());
        }
        Err(error) => {
            let why = with_causes(&error);
            tracing::error!("the prices stay as they were, for the new ones can't be used: {why}");
        }
    }
}

/// Puts a new list into use; providers, places and health stay.
fn replace(gateway: &Gateway, catalog: Catalog) {
    let router = gateway.router().with_catalog(Arc::new(catalog));
    gateway.replace_router(Arc::new(router));
}

#[cfg(test)]
mod tests {
    use super::super::folder::DataFolder;
    use super::super::parts::Parts;
    use super::*;
    use crate::domain::ProviderName;
    use crate::runtime::Clock;

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

    #[tokio::test]
    async fn a_changed_file_is_taken_over_and_a_bad_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.json");
        std::fs::write(&path, list("1")).unwrap();
        let data = DataFolder::claim(&folder.path().join("data")).unwrap();
        let parts = Parts::build(config(&path, ""), &data, Clock::system()).await.unwrap();
        let first = parts.gateway.router();
        std::fs::write(&path, "{").unwrap();
        take_over(&parts.config, &parts.gateway, &path).await;
        assert!(Arc::ptr_eq(&first, &parts.gateway.router()));
        std::fs::write(&path, list("9")).unwrap();
        take_over(&parts.config, &parts.gateway, &path).await;
        assert_ne!(input(parts.gateway.router().catalog()), input(first.catalog()));
        assert!(Arc::ptr_eq(first.health(), parts.gateway.router().health()));
        drop(first);
        parts.close().await;
    }

    #[tokio::test]
    async fn the_watcher_notes_a_file_that_is_put_in_the_place_of_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.json");
        std::fs::write(&path, list("1")).unwrap();
        let (changed, mut changes) = mpsc::channel(CHANGES_LEN);
        let _watcher = watcher(&path, changed).unwrap();
        let unfinished = folder.path().join("prices.json.new");
        std::fs::write(&unfinished, list("2")).unwrap();
        std::fs::rename(&unfinished, &path).unwrap();
        tokio::time::timeout(Duration::from_secs(30), changes.recv()).await.unwrap().unwrap();
    }
}
