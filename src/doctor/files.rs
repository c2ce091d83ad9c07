//! Whether the data folder is ours to use, and closed to others.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::report::Check;
use crate::domain::wording::counted;

const NAME: &str = "file permissions";
/// What opens or decides everything: nobody else may read it.
const SECRET_FILES: [&str; 2] = ["pepper", "local-token"];

/// What a file is, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its path, as it is shown.
    pub path: String,
    /// Its permission bits.
    pub mode: u32,
    /// Whose it is.
    pub owner: u32,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Whether a secret stands in it as it is.
    pub has_secrets: bool,
    /// Whether this user may do with it what has to be done: read it, and write what a database or a folder is.
    pub is_usable: bool,
}

impl Seen {
    /// Looks at a file; nothing where there is none.
    pub fn of(path: &Path, has_secrets: bool) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            path: path.display().to_string(),
            mode: metadata.permissions().mode() & 0o777,
            owner: metadata.uid(),
            is_folder: metadata.is_dir(),
            has_secrets,
            is_usable: is_usable(path, metadata.is_dir()),
        })
    }

    /// Whether others may do anything with it.
    pub fn is_open(&self) -> bool {
        self.mode & 0o077 != 0
    }

    /// A data folder and everything in it.
    pub fn of_folder(folder: &Path) -> std::io::Result<Vec<Self>> {
        let mut seen: Vec<Self> = Self::of(folder, true).into_iter().collect();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let has_secrets = SECRET_FILES.iter().any(|name| entry.file_name() == *name);
            seen.extend(Self::of(&entry.path(), has_secrets));
        }
        Ok(seen)
    }
}

/// Whether this user may read a file.
pub(super) fn may_read(path: &Path) -> bool {
    accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS).is_ok()
}

fn is_usable(path: &Path, is_folder: bool) -> bool {
    let is_written = path.extension().is_some_and(|extension| extension == "redb" || extension == "lock");
    let wanted = match (is_folder, is_written) {
        (true, _) => Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK,
        (false, true) => Access::READ_OK | Access::WRITE_OK,
        (false, false) => Access::READ_OK,
    };
    accessat(CWD, path, wanted, AtFlags::EACCESS).is_ok()
}

/// What opens a file of one's own to this user again; nothing that stands in it is touched.
pub(super) fn open_to_us(path: &str, is_folder: bool) -> String {
    let right = if is_folder { "700" } else { "600" };
    format!("sudo chown \"$(id -un)\" {path} && chmod {right} {path}   # nothing that stands in it is lost")
}

/// Who runs this.
pub fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A check for each file that is another's or open to others, or one that says that none is. The first is the data folder, where
/// there is one. Of what lies in it only secrets are told by themselves: closing the folder closes all.
pub fn judge(all: &[Seen], us: u32) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    for (place, seen) in all.iter().enumerate() {
        let path = &seen.path;
        // Root may do everything: what it looks at is somebody else's, and has to be all the same user's.
        let expected = if us == 0 && place > 0 { all[0].owner } else { us };
        if seen.owner != expected {
            let owner = seen.owner;
            let other = if us == 0 && place > 0 { "its folder to" } else { "this runs as" };
            let found = format!("it belongs to the user {owner} and {other} {expected}");
            let mend = if us == 0 && place > 0 {
                format!("chown {expected} {path}   # a server that runs as that user can't use it")
            } else {
                format!("sudo chown -R \"$(id -un)\" {path}   # or run this as its user: sudo -u '#{owner}' tollgate …")
            };
            let check = if us == 0 { Check::warning(NAME, found, mend) } else { Check::problem(NAME, found, mend) };
            checks.push(check.about(path.as_str()));
        } else if !seen.is_usable {
            let found = format!("this user may not use it (mode {:04o})", seen.mode);
            checks.push(Check::problem(NAME, found, open_to_us(path, seen.is_folder)).about(path.as_str()));
        }
        if seen.has_secrets && seen.is_open() {
            let right = if seen.is_folder { "700" } else { "600" };
            let found = format!("others on this machine may use it (mode {:04o})", seen.mode);
            checks.push(Check::problem(NAME, found, format!("chmod {right} {path}")).about(path.as_str()));
        }
    }
    if checks.is_empty() {
        let found = if all.is_empty() {
            "there is nothing yet that could be open to others".to_owned()
        } else {
            let files = counted(all.len() as u64, "file", "files");
            format!(
                "{files} looked at: all of one user, who may use them, and the folder and its secrets are closed to others"
            )
        };
        checks.push(Check::ok(NAME, found).number("files", all.len()));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    fn seen(path: &str, mode: u32, owner: u32, has_secrets: bool) -> Seen {
        Seen { path: path.to_owned(), mode, owner, is_folder: path == "/data", has_secrets, is_usable: true }
    }

    fn check(all: &[Seen], us: u32, expected: &[(Verdict, &str)]) {
        let found = judge(all, us);
        let told: Vec<(Verdict, String)> =
            found.iter().map(|check| (check.verdict, check.mend.clone().unwrap_or_default())).collect();
        assert_eq!(told.len(), expected.len(), "{found:?}");
        for ((verdict, mend), (expected_verdict, expected_mend)) in told.iter().zip(expected) {
            assert!(verdict == expected_verdict && mend.contains(expected_mend), "{found:?}");
        }
    }

    #[test]
    fn a_closed_folder_of_ours_is_right() {
        let folder = seen("/data", 0o700, 1_000, true);
        check(&[folder.clone(), seen("/data/pepper", 0o600, 1_000, true)], 1_000, &[(Verdict::Ok, "")]);
        // What is no secret may have any mode in a closed folder.
        check(&[folder, seen("/data/ledger.redb", 0o644, 1_000, false)], 1_000, &[(Verdict::Ok, "")]);
        check(&[], 1_000, &[(Verdict::Ok, "")]);
    }

    #[test]
    fn what_is_open_to_others_is_told_with_the_command_that_closes_it() {
        let open = [
            seen("/data", 0o755, 1_000, true),
            seen("/data/pepper", 0o640, 1_000, true),
            seen("/data/ledger.redb", 0o644, 1_000, false),
        ];
        let expected = [(Verdict::Problem, "chmod 700 /data"), (Verdict::Problem, "chmod 600 /data/pepper")];
        check(&open, 1_000, &expected);
    }

    #[test]
    fn what_is_another_users_is_told_and_root_may_look_at_it() {
        let theirs = [seen("/data", 0o700, 998, true), seen("/data/pepper", 0o600, 998, true)];
        check(&theirs, 1_000, &[(Verdict::Problem, "chown -R"), (Verdict::Problem, "chown -R")]);
        check(&theirs, 0, &[(Verdict::Warning, "sudo -u '#998'")]);
        // What root has made or put back in the folder of a service, or the other way round.
        let mixed = [seen("/data", 0o700, 0, true), seen("/data/settings.redb", 0o600, 998, false)];
        check(&mixed, 0, &[(Verdict::Warning, "chown 0 /data/settings.redb")]);
    }

    #[test]
    fn what_is_ours_and_closed_to_ourselves_is_told() {
        let folder = Seen { is_usable: false, ..seen("/data", 0o500, 1_000, true) };
        check(&[folder], 1_000, &[(Verdict::Problem, "chmod 700 /data")]);
    }

    #[test]
    fn a_folder_is_looked_at_with_all_that_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["pepper", "ledger.redb"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let seen = Seen::of_folder(folder.path()).unwrap();
        assert_eq!(seen.len(), 3);
        assert!(seen[0].is_folder && seen[0].has_secrets && seen[0].owner == us());
        assert_eq!(seen.iter().filter(|seen| seen.has_secrets).count(), 2);
        assert!(Seen::of_folder(Path::new("/nowhere/at/all")).is_err());
        assert_eq!(Seen::of(Path::new("/nowhere/at/all"), true), None);
    }
}
