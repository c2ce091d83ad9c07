//! Opening a database file: never a new one where one was, and a sentence that helps where it can't be read.

use std::fs::{File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Builder, Database};

/// The first bytes of every redb file.
const MAGIC: &[u8; 4] = b"redb";
/// The largest file that is checked whole before it is used: a tenth of a second. Whoever opens larger ones has to look at
/// their rows later, beside the work.
const INTEGRITY_BYTES_MAX: u64 = 16 << 20;

/// How a file is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The file.
    pub path: PathBuf,
    /// What people call it, for messages: `ledger`.
    pub name: &'static str,
    /// Memory that redb may use to cache pages.
    pub cache_bytes: usize,
}

/// Why a file can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file that once was here is gone or empty.
    #[error(
        "the {name} file {path} is {what}, but its marker {marker} says that it held data: restore it from a backup, or move the marker away to begin anew"
    )]
    Lost {
        /// What people call the file.
        name: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// `missing` or `empty`.
        what: &'static str,
        /// The marker file beside it.
        marker: PathBuf,
    },
    /// The file is something else.
    #[error("{path} is not a {name} file: move it away or choose another data folder")]
    Foreign {
        /// What people call the file.
        name: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged, or of a version that this program can't read.
    #[error("the {name} file {path} can't be read ({detail}): restore it from a backup; nothing was changed")]
    Damaged {
        /// What people call the file.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// What the database says.
        detail: String,
    },
    /// Another process holds the file.
    #[error("the {name} file {path} is in use by another process")]
    InUse {
        /// What people call the file.
        name: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The file is of a later version of this program.
    #[error(
        "the {name} file {path} was written by a newer version of this program (its format is {found}, this version knows {known}): start that version, or restore a backup made by this one"
    )]
    Newer {
        /// What people call the file.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Its format.
        found: String,
        /// The newest format known here.
        known: u32,
    },
    /// The disk says no.
    #[error(
        "the {name} file {path} can't be opened: move it away if it is no file, or let this user read and write it and its folder"
    )]
    Io {
        /// What people call the file.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

/// Opens a file, and creates it only where there has never been one: a marker beside it remembers that there was.
pub fn open(options: &OpenOptions) -> Result<Database, OpenError> {
    let OpenOptions { path, name, cache_bytes } = options;
    let io = |source| OpenError::Io { name, path: path.clone(), source };
    let marker = path.with_extension("created");
    let length = match std::fs::metadata(path) {
        Ok(metadata) => Some(metadata.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(io(error)),
    };
    let mut builder = Builder::new();
    builder.set_cache_size(*cache_bytes);
    // Finds every damaged page, but takes seconds for a gigabyte. A file that was not closed well is checked whole all
    // the same, because its repair has to be.
    builder.set_check_integrity_on_open(length.unwrap_or(0) <= INTEGRITY_BYTES_MAX);
    match length {
        None | Some(0) if marker.exists() => {
            let what = if length.is_none() { "missing" } else { "empty" };
            Err(OpenError::Lost { name, path: path.clone(), what, marker })
        }
        Some(0) => Err(OpenError::Foreign { name, path: path.clone() }),
        None => {
            // Under another name until it is whole: a crash on the way leaves nothing that looks like a lost ledger.
            let begun = path.with_extension("begun");
            File::create(&begun).map_err(io)?.set_permissions(Permissions::from_mode(0o600)).map_err(io)?;
            drop(guarded(options, || builder.create(&begun))?);
            std::fs::rename(&begun, path).map_err(io)?;
            write_marker(&marker, name).map_err(io)?;
            guarded(options, || builder.open(path))
        }
        Some(_) => {
            let mut first = Vec::new();
            File::open(path).and_then(|file| file.take(4).read_to_end(&mut first)).map_err(io)?;
            if first != MAGIC {
                let damaged = marker.exists().then(|| OpenError::Damaged {
                    name,
                    path: path.clone(),
                    detail: "its header is gone".to_owned(),
                });
                return Err(damaged.unwrap_or(OpenError::Foreign { name, path: path.clone() }));
            }
            let database = guarded(options, || builder.open(path))?;
            if !marker.exists() {
                write_marker(&marker, name).map_err(io)?;
            }
            Ok(database)
        }
    }
}

fn write_marker(marker: &Path, name: &str) -> std::io::Result<()> {
    let mut file = File::create(marker)?;
    writeln!(file, "The {name} file beside this one holds data. While this marker is here, a new one is never begun.")?;
    file.sync_all()?;
    // The names of both files must survive a power cut as well as their contents.
    let folder = marker.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Does what must not panic over a damaged file, and tells what is wrong with the file if it does or fails.
pub(crate) fn guard<T>(options: &OpenOptions, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, OpenError> {
    let OpenOptions { path, name, .. } = options;
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(redb::Error::Io(source))) if !is_damage(&source) => {
            Err(OpenError::Io { name, path: path.clone(), source })
        }
        Ok(Err(error)) => Err(OpenError::Damaged { name, path: path.clone(), detail: error.to_string() }),
        Err(_) => Err(contradictory(options)),
    }
}

fn is_damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
}

fn contradictory(options: &OpenOptions) -> OpenError {
    let detail = "its pages contradict each other".to_owned();
    OpenError::Damaged { name: options.name, path: options.path.clone(), detail }
}

/// Runs an open that may panic on a damaged file, and turns both kinds of failure into one sentence.
fn guarded(
    options: &OpenOptions,
    open: impl FnOnce() -> Result<Database, redb::DatabaseError>,
) -> Result<Database, OpenError> {
    let OpenOptions { path, name, .. } = options;
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(redb::DatabaseError::DatabaseAlreadyOpen)) => Err(OpenError::InUse { name, path: path.clone() }),
        Ok(Err(redb::DatabaseError::Storage(redb::StorageError::Io(source)))) if !is_damage(&source) => {
            Err(OpenError::Io { name, path: path.clone(), source })
        }
        Ok(Err(error)) => Err(OpenError::Damaged { name, path: path.clone(), detail: error.to_string() }),
        Err(_) => Err(contradictory(options)),
    }
}
