//! Noting that a file has changed that the settings are read from.
//!
//! Folders are watched, since most editors put a new file in the place of the old one, and since a file that isn't there yet may
//! come: those of all places on the way to a file (`way`). The files were read before they are watched, so they are read once more
//! then: what changed in between would be seen by nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::way::way_to;
use crate::revisions::{Reloads, Trigger};

/// Editors write a file in several steps; it is read once they have been quiet for this long.
const QUIET: Duration = Duration::from_millis(250);
/// A file that is written all the time is read all the same.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(2);
/// Noted changes that wait to be looked at: one is enough, for everything is read anew.
const CHANGES_LEN: usize = 1;

/// Watches files.
pub(super) struct Watch {
    changed: mpsc::Sender<()>,
    /// Those that are watched; none where not all could be, so that it is tried again.
    places: Places,
    /// Absent before the first, and where nothing can be watched.
    watcher: Option<notify::RecommendedWatcher>,
}

/// Places at which a change counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Places {
    paths: BTreeSet<PathBuf>,
    /// The folders that they lie in, each with the numbers of device and file by which it is told from one that was put in its place.
    folders: BTreeMap<PathBuf, Option<(u64, u64)>>,
}

impl Places {
    /// Those on the way to some files.
    fn of(files: &[PathBuf]) -> Self {
        let absolute = files.iter().filter_map(|file| std::path::absolute(file).ok());
        let paths: BTreeSet<PathBuf> = absolute.flat_map(|file| way_to(&file)).collect();
        let numbers = |folder: &Path| folder.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
        let folders = paths.iter().filter_map(|path| path.parent());
        let folders = folders.map(|folder| (folder.to_owned(), numbers(folder))).collect();
        Self { paths, folders }
    }

    /// Whether a change is one of them, or of a folder itself: it was put elsewhere, or is gone.
    fn have(&self, path: &Path) -> bool {
        self.paths.contains(path) || self.folders.contains_key(path)
    }
}

impl Watch {
    /// Watches nothing yet; changes are noted in what is returned.
    pub(super) fn new() -> (Self, mpsc::Receiver<()>) {
        let (changed, changes) = mpsc::channel(CHANGES_LEN);
        (Self { changed, places: Places::default(), watcher: None }, changes)
    }

    /// Watches these files from now on.
    pub(super) fn follow(&mut self, files: &[PathBuf]) {
        let places = Places::of(files);
        if places == self.places {
            return;
        }
        match watcher(&places, self.changed.clone()) {
            Ok((watcher, are_all)) => {
                self.watcher = Some(watcher);
                if are_all {
                    self.places = places;
                    let _ = self.changed.try_send(());
                }
            }
            Err(error) => {
                tracing::warn!("files of settings can't be watched, so a change of them takes SIGHUP: {error}");
            }
        }
    }
}

/// A watcher of places, and whether it watches all of their folders.
fn watcher(places: &Places, changed: mpsc::Sender<()>) -> notify::Result<(notify::RecommendedWatcher, bool)> {
    let watched = places.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // A lost event may have been ours, so it counts as one.
        let is_ours = event.map_or(true, |event| {
            let is_change = !event.kind.is_access() && event.paths.iter().any(|path| watched.have(path));
            event.need_rescan() || is_change
        });
        if is_ours {
            // A full queue means that everything will be read anyway.
            let _ = changed.try_send(());
        }
    })?;
    let mut are_all = true;
    for folder in places.folders.keys() {
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
    async fn a_folder_is_noted_when_it_comes_is_replaced_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let later = folder.path().join("later");
        let path = later.join("prices.json");
        let (mut watch, mut changes) = Watch::new();
        watch.follow(std::slice::from_ref(&path));
        noted(&mut changes).await;
        for change in ["{}", "{ }"] {
            std::fs::create_dir(&later).unwrap();
            // It comes; then its files are watched, which is noted too.
            noted(&mut changes).await;
            watch.follow(std::slice::from_ref(&path));
            noted(&mut changes).await;
            std::fs::write(&path, change).unwrap();
            noted(&mut changes).await;
            let replacing = folder.path().join("replacing");
            std::fs::create_dir(&replacing).unwrap();
            std::fs::rename(&later, folder.path().join(format!("away {change}"))).unwrap();
            std::fs::rename(&replacing, &later).unwrap();
            noted(&mut changes).await;
            watch.follow(std::slice::from_ref(&path));
            noted(&mut changes).await;
            std::fs::write(&path, change).unwrap();
            noted(&mut changes).await;
            std::fs::remove_dir_all(&later).unwrap();
            noted(&mut changes).await;
            watch.follow(std::slice::from_ref(&path));
            noted(&mut changes).await;
        }
    }

    #[tokio::test]
    async fn a_link_above_a_file_is_noted_when_it_is_turned() {
        let folder = tempfile::tempdir().unwrap();
        let (current, unfinished) = (folder.path().join("current"), folder.path().join("unfinished"));
        let path = current.join("tollgate.toml");
        let (mut watch, mut changes) = Watch::new();
        for release in ["1", "2", "3"] {
            std::fs::create_dir_all(folder.path().join("releases").join(release)).unwrap();
            std::fs::write(folder.path().join("releases").join(release).join("tollgate.toml"), "").unwrap();
            std::os::unix::fs::symlink(Path::new("releases").join(release), &unfinished).unwrap();
            std::fs::rename(&unfinished, &current).unwrap();
            // Turned, and then watched where it leads.
            if release != "1" {
                noted(&mut changes).await;
            }
            watch.follow(std::slice::from_ref(&path));
            noted(&mut changes).await;
        }
    }
}
