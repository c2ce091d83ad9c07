//! The data folder: made, closed to others, and owned by one process at a time.
//!
//! Ownership is an exclusive lock on `tollgate.lock`, which the system takes back when the process ends, however it ends.
//! What stands in the file only tells the second comer whom to ask: `{"pid":1,"address":"http://127.0.0.1:8000"}`, the address
//! once there is one. Left over from a process that was killed, it means nothing, for the lock is free then.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

const LOCK_FILE: &str = "tollgate.lock";
/// How long a folder without an address is waited for: a command at work on it ends by then.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Nothing longer is read from a lock file: it is ours, or it isn't one.
const LOCK_BYTES_MAX: u64 = 4_096;

/// Who owns a data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// The process.
    pub(crate) pid: u32,
    /// Where it answers, once it does.
    pub(crate) address: Option<String>,
}

/// Why a data folder can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// It can't be made, read or written.
    #[error(
        "the data folder {path} can't be used: {source}; make it writable for this user, or choose another one with --data-dir or data_dir in tollgate.toml"
    )]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is none, and none is to be made.
    #[error(
        "there is no data folder {path}: name it with --data-dir or data_dir in tollgate.toml, or start a server, which makes it"
    )]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// Another process owns it.
    #[error("the data folder {path} is in use by {}; stop it first, or choose another folder with --data-dir", told(holder.as_ref()))]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The owner, as far as it has said.
        holder: Option<Holder>,
    },
}

fn told(holder: Option<&Holder>) -> String {
    match holder {
        None => "another process".to_owned(),
        Some(Holder { pid, address: None }) => format!("process {pid}"),
        Some(Holder { pid, address: Some(address) }) => {
            format!("the server of process {pid}, which answers at {address}")
        }
    }
}

/// A data folder that this process owns until the value is dropped.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    lock: File,
}

impl DataFolder {
    /// Makes the folder where it is missing, and takes it; waits a little for a command that works on it.
    pub(crate) fn claim(path: &Path) -> Result<Self, FolderError> {
        Self::claim_within(path, PATIENCE)
    }

    /// Takes a folder that has to be there: for what only looks at it, a mistyped name must not make one.
    pub(crate) fn claim_existing(path: &Path) -> Result<Self, FolderError> {
        if path.is_dir() { Self::claim(path) } else { Err(FolderError::Missing { path: path.to_owned() }) }
    }

    /// The same with a patience of one's own.
    pub(crate) fn claim_within(path: &Path, patience: Duration) -> Result<Self, FolderError> {
        let unusable = |source| FolderError::Unusable { path: path.to_owned(), source };
        make_private(path).map_err(unusable)?;
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK_FILE))
            .map_err(unusable)?;
        let started = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(unusable(source)),
                Err(TryLockError::WouldBlock) => {}
            }
            let holder = read_holder(&mut lock);
            // A server stays; whoever has no address is a command, or a server that is starting.
            let is_server = holder.as_ref().is_some_and(|holder| holder.address.is_some());
            if is_server || started.elapsed() >= patience {
                return Err(FolderError::InUse { path: path.to_owned(), holder });
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        let mut folder = Self { path: path.to_owned(), lock };
        folder.tell(None).map_err(unusable)?;
        Ok(folder)
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells others where this process answers.
    pub(crate) fn announce(&mut self, address: &str) -> Result<(), FolderError> {
        let told = self.tell(Some(address.to_owned()));
        told.map_err(|source| FolderError::Unusable { path: self.path.clone(), source })
    }

    fn tell(&mut self, address: Option<String>) -> std::io::Result<()> {
        let holder = Holder { pid: std::process::id(), address };
        let text = serde_json::to_vec(&holder).map_err(std::io::Error::other)?;
        // Whoever reads in between finds nothing that parses, and asks again.
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        self.lock.write_all(&text)
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        // The lock goes with the file; an empty one says that nobody was killed.
        let _ = self.lock.set_len(0);
    }
}

fn read_holder(lock: &mut File) -> Option<Holder> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.take(LOCK_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Makes the folder for its owner alone. One that was there is closed to others only where it is ours or empty: a folder with
/// other people's files in it isn't ours to close.
fn make_private(path: &Path) -> std::io::Result<()> {
    if !path.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    let mut entries = std::fs::read_dir(path)?;
    let is_ours = path.join(LOCK_FILE).exists() || entries.next().is_none();
    let mode = std::fs::metadata(path)?.permissions().mode();
    if is_ours && mode & 0o077 != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(path: &Path) -> Result<DataFolder, FolderError> {
        DataFolder::claim_within(path, Duration::ZERO)
    }

    #[test]
    fn a_new_folder_is_for_its_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let folder = claim(&path).unwrap();
        assert_eq!(std::fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(path.join(LOCK_FILE)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_folder_with_other_peoples_files_keeps_its_permissions() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::set_permissions(parent.path(), Permissions::from_mode(0o755)).unwrap();
        std::fs::write(parent.path().join("theirs"), "x").unwrap();
        claim(parent.path()).unwrap();
        assert_eq!(std::fs::metadata(parent.path()).unwrap().permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn the_second_comer_is_told_who_has_the_folder_and_where_it_answers() {
        let parent = tempfile::tempdir().unwrap();
        let mut first = claim(parent.path()).unwrap();
        let refused = claim(parent.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("in use by process {}", std::process::id())), "{refused}");
        first.announce("http://127.0.0.1:1234").unwrap();
        // Even with patience: a server stays.
        let refused = DataFolder::claim_within(parent.path(), Duration::from_mins(10)).unwrap_err().to_string();
        assert!(refused.contains("which answers at http://127.0.0.1:1234"), "{refused}");
    }

    #[test]
    fn a_folder_is_free_again_when_its_owner_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        drop(claim(parent.path()).unwrap());
        claim(parent.path()).unwrap();
    }

    #[test]
    fn what_a_killed_process_left_in_the_lock_file_is_harmless() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::write(parent.path().join(LOCK_FILE), "{\"pid\":1,\"address\":\"http://192.0.2.1:1\"} and more")
            .unwrap();
        let folder = claim(parent.path()).unwrap();
        let told = std::fs::read_to_string(parent.path().join(LOCK_FILE)).unwrap();
        assert_eq!(told, format!("{{\"pid\":{},\"address\":null}}", std::process::id()));
        drop(folder);
    }

    #[test]
    fn a_folder_that_only_is_looked_at_is_never_made() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("mistyped");
        let refused = DataFolder::claim_existing(&path).unwrap_err().to_string();
        assert!(refused.contains("there is no data folder") && refused.contains("--data-dir"), "{refused}");
        assert!(!path.exists());
        assert!(DataFolder::claim_existing(parent.path()).is_ok());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_refused_with_a_way_out() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::write(parent.path().join("file"), "x").unwrap();
        let refused = claim(&parent.path().join("file/data")).unwrap_err().to_string();
        assert!(refused.contains("can't be used") && refused.contains("--data-dir"), "{refused}");
    }
}
