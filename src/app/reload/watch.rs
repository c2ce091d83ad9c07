//! Noting that a file has changed that the settings are read from.
//!
//! Folders are watched, since most editors put a new file in the place of the old one, and since a file that isn't there yet may
//! come. What a link leads to is watched too. The files were read before they are watched, so they are read once more then: what
//! changed in between would be seen by nobody.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::revisions::{Reloads, Trigger};

/// Editors write a file in several steps; it is read once they have been quiet for this long.
const QUIET: Duration = Duration::from_millis(250);
/// A file that is written all the time is read all the same.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(2);
/// Noted changes that wait to be looked at: one is enough, for everything is read anew.
const CHANGES_LEN: usize = 1;
/// The link that Kubernetes turns to another folder when a mounted file changes.
const MOUNTED_DATA: &str = "..data";

/// Watches files.
pub(super) struct Watch {
    changed: mpsc::Sender<()>,
    /// Those that are watched; none where not all could be, so that it is tried again.
    files: BTreeSet<PathBuf>,
    /// Absent before the first, and where nothing can be watched.
    watcher: Option<notify::RecommendedWatcher>,
}

impl Watch {
    /// Watches nothing yet; changes are noted in what is returned.
    pub(super) fn new() -> (Self, mpsc::Receiver<()>) {
        let (changed, changes) = mpsc::channel(CHANGES_LEN);
        (Self { changed, files: BTreeSet::new(), watcher: None }, changes)
    }

    /// Watches these files from now on.
    pub(super) fn follow(&mut self, files: &[PathBuf]) {
        let absolute = files.iter().filter_map(|file| std::path::absolute(file).ok());
        let files: BTreeSet<PathBuf> =
            absolute.flat_map(|file| [file.canonicalize().ok(), Some(file)]).flatten().collect();
        if files == self.files {
            return;
        }
        match watcher(&files, self.changed.clone()) {
            Ok((watcher, are_all)) => {
                self.watcher = Some(watcher);
                if are_all {
                    self.files = files;
                    let _ = self.changed.try_send(());
                }
            }
            Err(error) => {
                tracing::warn!("files of settings can't be watched, so a change of them takes SIGHUP: {error}");
            }
        }
    }
}

/// A watcher of files, and whether it watches all of their folders.
fn watcher(files: &BTreeSet<PathBuf>, changed: mpsc::Sender<()>) -> notify::Result<(notify::RecommendedWatcher, bool)> {
    let watched = files.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // A lost event may have been ours, so it counts as one.
        let is_ours = event.map_or(true, |event| {
            let is_watched = |path: &PathBuf| watched.contains(path) || path.ends_with(MOUNTED_DATA);
            event.need_rescan() || (!event.kind.is_access() && event.paths.iter().any(is_watched))
        });
        if is_ours {
            // A full queue means that everything will be read anyway.
            let _ = changed.try_send(());
        }
    })?;
    let folders: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
    let mut are_all = true;
    for folder in folders {
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            are_all = false;
            tracing::warn!("changes of files in {} take SIGHUP, for it can't be watched: {error}", folder.display());
        }
    }
    Ok((watcher, are_all))
}

/// Asks for a reload whenever files have changed and been quiet for a while.
pub(super) async fn ask_after_changes(mut changes: mpsc::Receiver<()>, reloads: Reloads, stopping: CancellationToken) {
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            changed = changes.recv() => if changed.is_none() { return },
        }
        let quiet = async { while let Ok(Some(())) = tokio::time::timeout(QUIET, changes.recv()).await {} };
        let _ = tokio::time::timeout(QUIET_WAIT_MAX, quiet).await;
        // What came of it is in the log.
        let _ = reloads.ask(Trigger::File).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn noted(changes: &mut mpsc::Receiver<()>) {
        tokio::time::timeout(Duration::from_secs(30), changes.recv()).await.unwrap().unwrap();
        while tokio::time::timeout(QUIET, changes.recv()).await.is_ok() {}
    }

    #[tokio::test]
    async fn a_file_is_noted_when_it_comes_changes_is_replaced_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tollgate.toml");
        let (mut watch, mut changes) = Watch::new();
        watch.follow(std::slice::from_ref(&path));
        noted(&mut changes).await;
        watch.follow(std::slice::from_ref(&path));
        assert!(tokio::time::timeout(QUIET, changes.recv()).await.is_err(), "the same are not read again");
        std::fs::write(&path, "a").unwrap();
        noted(&mut changes).await;
        std::fs::write(&path, "b").unwrap();
        noted(&mut changes).await;
        let unfinished = folder.path().join("tollgate.toml.new");
        std::fs::write(&unfinished, "c").unwrap();
        std::fs::rename(&unfinished, &path).unwrap();
        noted(&mut changes).await;
        std::fs::remove_file(&path).unwrap();
        noted(&mut changes).await;
        std::fs::write(folder.path().join("other"), "d").unwrap();
        assert!(tokio::time::timeout(QUIET, changes.recv()).await.is_err(), "another file is none of ours");
    }

    #[tokio::test]
    async fn what_a_link_leads_to_is_watched_and_other_files_can_be_followed_later() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = elsewhere.path().join("target.toml");
        std::fs::write(&target, "a").unwrap();
        let link = folder.path().join("tollgate.toml");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let (mut watch, mut changes) = Watch::new();
        watch.follow(std::slice::from_ref(&link));
        noted(&mut changes).await;
        std::fs::write(&target, "b").unwrap();
        noted(&mut changes).await;
        let prices = folder.path().join("prices.json");
        watch.follow(&[link, prices.clone()]);
        noted(&mut changes).await;
        std::fs::write(&prices, "{}").unwrap();
        noted(&mut changes).await;
    }

    #[tokio::test]
    async fn a_folder_that_could_not_be_watched_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let later = folder.path().join("later");
        let path = later.join("prices.json");
        let (mut watch, mut changes) = Watch::new();
        watch.follow(std::slice::from_ref(&path));
        assert!(tokio::time::timeout(QUIET, changes.recv()).await.is_err());
        std::fs::create_dir(&later).unwrap();
        watch.follow(std::slice::from_ref(&path));
        noted(&mut changes).await;
        std::fs::write(&path, "{}").unwrap();
        noted(&mut changes).await;
    }
}
