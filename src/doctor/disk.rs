//! Whether what is booked can be kept: room, and a disk that writes and takes its time for it.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::files::open_to_us;
use super::report::Check;
use crate::domain::wording::{duration, size};

const NAME: &str = "disk";
/// A ledger that grows by a page at a time stops soon.
const FREE_BYTES_MIN: u64 = 64 << 20;
/// Room for some weeks.
const FREE_BYTES_WARNED: u64 = 1 << 30;
/// Each call waits for two of these unless the ledger is relaxed.
const FSYNC_WARNED: Duration = Duration::from_millis(50);
/// How often it is tried: one may be slow by chance.
const TRIES: usize = 5;
/// As much as a small commit writes.
const PROBE_BYTES: usize = 4 << 10;
const PROBE_FILE: &str = "doctor.probe";

/// What a disk showed.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) free_bytes: u64,
    /// Files that can still be made; none where the filesystem doesn't count them.
    pub(super) free_files: Option<u64>,
    pub(super) ledger_bytes: u64,
    /// How long it takes until a write is safe, the middle of a few; or why nothing can be written.
    pub(super) fsync: std::io::Result<Duration>,
}

/// Looks at the filesystem of a folder, and writes a small file into it.
pub(super) fn look(folder: &Path, ledger: &Path) -> Result<Seen, String> {
    let room = rustix::fs::statvfs(folder).map_err(|error| std::io::Error::from(error).to_string())?;
    Ok(Seen {
        free_bytes: room.f_bavail.saturating_mul(room.f_frsize),
        free_files: (room.f_files > 0).then_some(room.f_favail),
        ledger_bytes: std::fs::metadata(ledger).map_or(0, |metadata| metadata.len()),
        fsync: write_some(folder),
    })
}

fn write_some(folder: &Path) -> std::io::Result<Duration> {
    let path = folder.join(PROBE_FILE);
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    let written = (0..TRIES).map(|_| {
        let started = Instant::now();
        file.write_all(&[0; PROBE_BYTES])?;
        file.sync_data()?;
        Ok(started.elapsed())
    });
    let written: std::io::Result<Vec<Duration>> = written.collect();
    let removed = std::fs::remove_file(&path);
    let mut times = written?;
    removed?;
    times.sort_unstable();
    Ok(times[TRIES / 2])
}

/// One verdict on the disk of a folder: the worst that is true.
pub(super) fn judge(folder: &Path, seen: &Seen) -> Check {
    let check = verdict(folder, seen).number("freeBytes", seen.free_bytes).number("ledgerBytes", seen.ledger_bytes);
    match &seen.fsync {
        Ok(fsync) => check.number("fsyncMicroseconds", fsync.as_micros()),
        Err(_) => check,
    }
}

fn verdict(folder: &Path, seen: &Seen) -> Check {
    let shown = folder.display();
    let fsync = match &seen.fsync {
        Ok(fsync) => *fsync,
        Err(error) => {
            let found = format!("nothing can be written into {shown}: {error}");
            let mend = if error.kind() == ErrorKind::PermissionDenied {
                open_to_us(&shown.to_string(), true)
            } else {
                format!("ls -ld {shown}; df -h {shown}; mount | grep ro,")
            };
            return Check::problem(NAME, found, mend);
        }
    };
    let free = format!("{} free for a ledger of {}", size(seen.free_bytes), size(seen.ledger_bytes));
    if seen.free_bytes < FREE_BYTES_MIN || seen.free_files == Some(0) {
        let files = if seen.free_files == Some(0) { ", and no more files can be made" } else { "" };
        let found = format!("{free}{files}: soon no call can be booked, and then none is made");
        return Check::problem(NAME, found, format!("df -h {shown}"));
    }
    if seen.free_bytes < FREE_BYTES_WARNED.max(seen.ledger_bytes) {
        let found = format!("{free}: a copy of it has no room, or it will soon have none to grow");
        return Check::warning(NAME, found, format!("df -h {shown}"));
    }
    if fsync > FSYNC_WARNED {
        let found = format!("{free}; a write is safe after {}, for which every call waits", duration(fsync));
        let mend = "a disk nearer by for data_dir; or, if the last 20 ms before a crash may be lost:\n[ledger]\ndurability = \"relaxed\"";
        return Check::warning(NAME, found, mend);
    }
    Check::ok(NAME, format!("{free}; a write is safe after {}", duration(fsync)))
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    const GIB: u64 = 1 << 30;

    fn check(free_bytes: u64, ledger_bytes: u64, fsync: Result<u64, ErrorKind>, verdict: Verdict, expected: &str) {
        let fsync = fsync.map(Duration::from_millis).map_err(Into::into);
        let seen = Seen { free_bytes, free_files: Some(1_000), ledger_bytes, fsync };
        let found = judge(Path::new("/data"), &seen);
        assert!(found.verdict == verdict && found.found.contains(expected), "{found:?}");
        assert_eq!(found.mend.is_some(), verdict >= Verdict::Warning);
    }

    #[test]
    fn room_is_judged_against_the_ledger() {
        check(50 * GIB, GIB, Ok(2), Verdict::Ok, "50 GiB free for a ledger of 1.0 GiB");
        check(50 * GIB, 60 * GIB, Ok(2), Verdict::Warning, "a copy of it has no room");
        check(GIB / 2, 0, Ok(2), Verdict::Warning, "512 MiB free");
        check(1 << 20, 0, Ok(2), Verdict::Problem, "no call can be booked");
        let seen = Seen { free_bytes: 50 * GIB, free_files: Some(0), ledger_bytes: 0, fsync: Ok(Duration::ZERO) };
        assert_eq!(judge(Path::new("/data"), &seen).verdict, Verdict::Problem);
    }

    #[test]
    fn a_slow_disk_is_warned_of_with_the_setting_that_waits_less() {
        check(50 * GIB, 0, Ok(80), Verdict::Warning, "80 ms");
        check(50 * GIB, 0, Ok(50), Verdict::Ok, "50 ms");
    }

    #[test]
    fn a_disk_that_nothing_can_be_written_to_is_a_problem_whatever_room_it_has() {
        check(50 * GIB, 0, Err(ErrorKind::ReadOnlyFilesystem), Verdict::Problem, "read-only");
    }

    #[test]
    fn a_look_leaves_nothing_behind_and_a_folder_that_is_not_there_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let seen = look(folder.path(), &folder.path().join("ledger.redb")).unwrap();
        assert!(seen.free_bytes > 0 && seen.ledger_bytes == 0 && seen.fsync.is_ok(), "{seen:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(look(Path::new("/nowhere/at/all"), Path::new("/nowhere")).is_err());
    }
}
