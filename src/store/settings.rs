//! The settings file: what people set at run time, such as keys, users and budgets.
//!
//! Writes are rare and each is durable when [`Settings::write`] returns, so there is no writer thread and no queue: the
//! calls block, and async callers hand them to a blocking task. What the tables mean belongs to those who use them; the
//! file itself has a format version, and a newer one is refused before anything is touched.

use std::fmt;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{
    CommitError, Database, ReadTransaction, ReadableDatabase as _, StorageError, TableDefinition, TableError,
    TransactionError, WriteTransaction,
};

use super::open::{OpenError, OpenOptions, open};

/// Facts about the file itself.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// The key of the format version.
const FORMAT_KEY: &str = "format";
/// The format that this program writes: raised when an older program could misread what it finds.
const FORMAT: u64 = 1;

/// Why the settings can't be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file is of a later version of this program.
    #[error(
        "the settings file {path} was written by a newer version of this program (its format is {found}, this version knows {known}): start that version, or restore a backup made by this one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format known here.
        known: u64,
    },
    /// Reading or writing failed before the commit, so nothing was changed.
    #[error("the settings file can't be read or written; nothing was changed: check the disk, then try again")]
    Storage(#[source] Box<redb::Error>),
    /// The commit failed, and only the reopened file can tell how it ended.
    #[error(
        "the settings file couldn't be written to the end: check the disk, look whether the change is there, and try again if not"
    )]
    Unsettled(#[source] Box<redb::Error>),
}

impl From<StorageError> for SettingsError {
    fn from(error: StorageError) -> Self {
        Self::Storage(Box::new(error.into()))
    }
}

impl From<TableError> for SettingsError {
    fn from(error: TableError) -> Self {
        Self::Storage(Box::new(error.into()))
    }
}

impl From<TransactionError> for SettingsError {
    fn from(error: TransactionError) -> Self {
        Self::Storage(Box::new(error.into()))
    }
}

/// The settings file. Clones share it.
#[derive(Clone)]
pub struct Settings(Arc<Shared>);

struct Shared {
    /// Opens the file, the first time and again.
    opener: Box<dyn Fn() -> Result<Database, OpenError> + Send + Sync>,
    path: PathBuf,
    /// Empty only after a reopening failed. Transactions hold the read side, so that a reopening waits for them.
    database: RwLock<Option<Database>>,
    /// Set after an I/O error: redb then refuses the handle, and the next transaction begins with a new one.
    is_suspect: AtomicBool,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Settings").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Settings {
    /// Opens the file, or creates it where there has never been one; only its owner can read it.
    pub fn open(options: &OpenOptions) -> Result<Self, SettingsError> {
        let opened = options.clone();
        let settings = Self::with_opener(options.path.clone(), Box::new(move || open(&opened)))?;
        // A file that came from a copy or a restore may have been left open to others.
        std::fs::set_permissions(&options.path, Permissions::from_mode(0o600)).map_err(|source| OpenError::Io {
            name: options.name,
            path: options.path.clone(),
            source,
        })?;
        Ok(settings)
    }

    fn with_opener(
        path: PathBuf,
        opener: Box<dyn Fn() -> Result<Database, OpenError> + Send + Sync>,
    ) -> Result<Self, SettingsError> {
        let database = RwLock::new(Some(opener()?));
        let settings = Self(Arc::new(Shared { opener, path, database, is_suspect: AtomicBool::new(false) }));
        settings.check_format()?;
        Ok(settings)
    }

    fn check_format(&self) -> Result<(), SettingsError> {
        let found = self.read(|transaction| match transaction.open_table(META) {
            Ok(table) => Ok(table.get(FORMAT_KEY)?.map(|format| format.value())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(SettingsError::from(error)),
        })?;
        match found {
            Some(found) if found > FORMAT => {
                Err(SettingsError::Newer { path: self.0.path.clone(), found, known: FORMAT })
            }
            Some(_) => Ok(()),
            None => self.write(|transaction| {
                transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
                Ok(())
            }),
        }
    }

    /// Reads one consistent state. Blocks; must not be called from within another transaction of this file.
    pub fn read<T, E: From<SettingsError>>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, E>) -> Result<T, E> {
        let (_database, transaction) = self.begin(Database::begin_read)?;
        read(&transaction)
    }

    /// Changes the settings: durable when it returns, and not at all where `change` fails.
    ///
    /// Blocks for the disk and for other writers; must not be called from within another transaction of this file.
    pub fn write<T, E: From<SettingsError>>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let (_database, transaction) = self.begin(Database::begin_write)?;
        match change(&transaction) {
            Ok(value) => {
                transaction.commit().map_err(|error: CommitError| {
                    self.0.is_suspect.store(true, Ordering::Release);
                    SettingsError::Unsettled(Box::new(error.into()))
                })?;
                Ok(value)
            }
            Err(error) => {
                if transaction.abort().is_err() {
                    self.0.is_suspect.store(true, Ordering::Release);
                }
                Err(error)
            }
        }
    }

    /// Begins a transaction, on a new handle where the present one has met an I/O error.
    fn begin<T>(
        &self,
        begin: impl Fn(&Database) -> Result<T, TransactionError>,
    ) -> Result<(RwLockReadGuard<'_, Option<Database>>, T), SettingsError> {
        let guard = self.usable()?;
        match begin(opened(&guard)) {
            Ok(transaction) => Ok((guard, transaction)),
            Err(TransactionError::Storage(_)) => {
                drop(guard);
                self.0.is_suspect.store(true, Ordering::Release);
                let guard = self.usable()?;
                let transaction = begin(opened(&guard))?;
                Ok((guard, transaction))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn usable(&self) -> Result<RwLockReadGuard<'_, Option<Database>>, SettingsError> {
        let guard = self.0.database.read().unwrap_or_else(PoisonError::into_inner);
        if guard.is_some() && !self.0.is_suspect.load(Ordering::Acquire) {
            return Ok(guard);
        }
        drop(guard);
        let mut guard = self.0.database.write().unwrap_or_else(PoisonError::into_inner);
        if guard.is_none() || self.0.is_suspect.load(Ordering::Acquire) {
            // The old handle holds the lock of the file, so it has to go first.
            *guard = None;
            *guard = Some((self.0.opener)()?);
            self.0.is_suspect.store(false, Ordering::Release);
        }
        Ok(RwLockWriteGuard::downgrade(guard))
    }
}

fn opened<'a>(guard: &'a RwLockReadGuard<'_, Option<Database>>) -> &'a Database {
    guard.as_ref().expect("a usable guard holds a database")
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;
    use redb::{Builder, StorageBackend};

    const ROWS: TableDefinition<&str, u64> = TableDefinition::new("rows");

    fn options(folder: &tempfile::TempDir) -> OpenOptions {
        OpenOptions { path: folder.path().join("settings.redb"), name: "settings", cache_bytes: 1 << 20 }
    }

    fn put(settings: &Settings, value: u64) -> Result<(), SettingsError> {
        settings.write(|transaction| {
            transaction.open_table(ROWS)?.insert("row", value)?;
            Ok(())
        })
    }

    fn get(settings: &Settings) -> Result<Option<u64>, SettingsError> {
        settings.read(|transaction| match transaction.open_table(ROWS) {
            Ok(table) => Ok(table.get("row")?.map(|value| value.value())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        })
    }

    #[test]
    fn what_was_written_is_there_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::open(&options(&folder)).unwrap();
        put(&settings, 7).unwrap();
        drop(settings);
        assert_eq!(get(&Settings::open(&options(&folder)).unwrap()).unwrap(), Some(7));
    }

    #[test]
    fn a_failed_change_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::open(&options(&folder)).unwrap();
        put(&settings, 1).unwrap();
        let refused = settings.write(|transaction| {
            transaction.open_table(ROWS).map_err(SettingsError::from)?.insert("row", 2).map_err(SettingsError::from)?;
            Err::<(), anyhow::Error>(anyhow::anyhow!("no"))
        });
        assert_eq!(refused.unwrap_err().to_string(), "no");
        assert_eq!(get(&settings).unwrap(), Some(1));
    }

    #[test]
    fn only_the_owner_can_read_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = options(&folder).path;
        drop(Settings::open(&options(&folder)).unwrap());
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(Settings::open(&options(&folder)).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::open(&options(&folder)).unwrap();
        settings
            .write(|transaction| {
                transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT + 1)?;
                Ok::<_, SettingsError>(())
            })
            .unwrap();
        drop(settings);
        let refused = Settings::open(&options(&folder)).unwrap_err();
        assert!(matches!(refused, SettingsError::Newer { found: 2, known: 1, .. }));
        assert!(refused.to_string().contains("start that version"), "{refused}");
    }

    #[test]
    fn a_second_process_is_told_that_the_file_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Settings::open(&options(&folder)).unwrap();
        assert!(matches!(Settings::open(&options(&folder)), Err(SettingsError::Open(OpenError::InUse { .. }))));
    }

    /// A disk in memory whose writes, or whose opening, can be made to fail.
    #[derive(Clone, Debug)]
    struct Disk {
        bytes: Arc<InMemoryBackend>,
        is_broken: Arc<AtomicBool>,
    }

    impl Disk {
        fn answer<T>(&self, answer: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
            if self.is_broken.load(Ordering::SeqCst) { Err(std::io::Error::other("disk is broken")) } else { answer() }
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> std::io::Result<u64> {
            self.bytes.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
            self.bytes.read(offset, out)
        }
        fn set_len(&self, length: u64) -> std::io::Result<()> {
            self.answer(|| self.bytes.set_len(length))
        }
        fn sync_data(&self) -> std::io::Result<()> {
            self.answer(|| self.bytes.sync_data())
        }
        fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
            self.answer(|| self.bytes.write(offset, data))
        }
    }

    #[test]
    fn after_a_broken_disk_is_whole_again_the_next_write_succeeds() {
        let disk = Disk { bytes: Arc::new(InMemoryBackend::new()), is_broken: Arc::new(AtomicBool::new(false)) };
        let mounted = disk.clone();
        let path = PathBuf::from("settings.redb");
        let opener = move || {
            mounted
                .answer(|| Ok(()))
                .and_then(|()| Builder::new().create_with_backend(mounted.clone()).map_err(std::io::Error::other))
                .map_err(|source| OpenError::Io { name: "settings", path: "settings.redb".into(), source })
        };
        let settings = Settings::with_opener(path, Box::new(opener)).unwrap();
        put(&settings, 1).unwrap();

        disk.is_broken.store(true, Ordering::SeqCst);
        assert!(matches!(put(&settings, 2), Err(SettingsError::Unsettled(_))), "the commit meets the broken disk");
        assert!(matches!(put(&settings, 3), Err(SettingsError::Open(_))), "it can't be reopened yet");
        assert!(get(&settings).is_err());

        disk.is_broken.store(false, Ordering::SeqCst);
        assert_eq!(get(&settings).unwrap(), Some(1), "a read reopens the file too");
        put(&settings, 4).unwrap();
        assert_eq!(get(&settings).unwrap(), Some(4));
    }
}
