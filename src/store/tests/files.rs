//! Files that are missing, foreign, damaged or in use.

use std::path::{Path, PathBuf};

use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tempfile::TempDir;

use crate::store::{OpenError, OpenOptions, open};

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");
const ROWS: u64 = 200;

fn options(folder: &Path) -> OpenOptions {
    OpenOptions { path: folder.join("ledger.redb"), name: "ledger", cache_bytes: 1 << 20 }
}

fn row(number: u64) -> Vec<u8> {
    number.to_be_bytes().repeat(8)
}

/// A folder with a file that has rows and was closed.
fn folder_with_rows() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let database = open(&options).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(TABLE).unwrap();
        for number in 0..ROWS {
            table.insert(number, row(number).as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
    (folder, options.path)
}

fn check_damaged(damage: impl FnOnce(&mut Vec<u8>)) {
    let (folder, path) = folder_with_rows();
    let mut bytes = std::fs::read(&path).unwrap();
    damage(&mut bytes);
    std::fs::write(&path, &bytes).unwrap();
    let error = open(&options(folder.path())).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("restore it from a backup"), "{error}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes.len() as u64, "it was left as it was");
}

#[test]
fn a_new_file_is_readable_by_its_owner_alone_and_has_a_marker() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, path) = folder_with_rows();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(folder.path().join("ledger.created").exists());
    assert!(!folder.path().join("ledger.begun").exists());
}

#[test]
fn a_file_that_was_never_finished_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ledger.begun"), b"half of something").unwrap();
    assert!(open(&options(folder.path())).is_ok());
}

#[test]
fn a_file_that_is_gone_is_never_begun_anew() {
    let (folder, path) = folder_with_rows();
    std::fs::remove_file(&path).unwrap();
    let error = open(&options(folder.path())).unwrap_err();
    assert!(matches!(error, OpenError::Lost { what: "missing", .. }), "{error:?}");
    assert!(!path.exists());
}

#[test]
fn a_file_that_was_emptied_is_never_begun_anew() {
    let (folder, path) = folder_with_rows();
    std::fs::write(&path, b"").unwrap();
    let error = open(&options(folder.path())).unwrap_err();
    assert!(matches!(error, OpenError::Lost { what: "empty", .. }), "{error:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn an_empty_file_without_a_marker_is_refused_too() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    std::fs::write(&options.path, b"").unwrap();
    assert!(matches!(open(&options).unwrap_err(), OpenError::Foreign { .. }));
}

#[test]
fn a_foreign_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    for content in [&b"SQLite format 3\0 and more"[..], b"red"] {
        std::fs::write(&options.path, content).unwrap();
        let error = open(&options).unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
        assert_eq!(std::fs::read(&options.path).unwrap(), content);
    }
}

#[test]
fn a_file_whose_header_is_gone_is_damaged() {
    check_damaged(|bytes| bytes[..4096].fill(0));
}

#[test]
fn a_file_whose_pages_are_zero_is_damaged() {
    check_damaged(|bytes| bytes[4096..].fill(0));
}

#[test]
fn a_file_that_was_cut_short_is_damaged() {
    for share in [2, 3, 10] {
        check_damaged(|bytes| bytes.truncate(bytes.len() / share));
    }
    check_damaged(|bytes| bytes.truncate(100));
}

#[test]
fn a_second_opener_is_refused() {
    let (folder, _) = folder_with_rows();
    let first = open(&options(folder.path())).unwrap();
    assert!(matches!(open(&options(folder.path())).unwrap_err(), OpenError::InUse { .. }));
    drop(first);
    assert!(open(&options(folder.path())).is_ok());
}

#[test]
fn a_folder_that_is_not_there_is_an_error_of_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(open(&options(&folder.path().join("nowhere"))).unwrap_err(), OpenError::Io { .. }));
}

#[test]
fn a_flipped_bit_is_refused_or_changes_nothing() {
    let (folder, path) = folder_with_rows();
    let good = std::fs::read(&path).unwrap();
    let mut refused = 0;
    // Pages are 4 KiB: a prime stride visits all of them at ever other places.
    for at in (0..good.len()).step_by(997) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bytes).unwrap();
        let database = match open(&options(folder.path())) {
            Ok(database) => database,
            Err(error) => {
                assert!(matches!(error, OpenError::Damaged { .. }), "byte {at}: {error:?}");
                refused += 1;
                continue;
            }
        };
        let reading = database.begin_read().unwrap();
        let table = reading.open_table(TABLE).unwrap();
        let rows: Vec<(u64, Vec<u8>)> = table
            .iter()
            .unwrap()
            .map(|row| row.map(|(key, value)| (key.value(), value.value().to_vec())).unwrap())
            .collect();
        assert_eq!(rows.len() as u64, ROWS, "byte {at}");
        assert!(rows.iter().all(|(number, value)| *value == row(*number)), "byte {at}");
    }
    assert!(refused > 0, "some of the file is in use");
}
