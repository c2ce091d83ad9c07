//! Whether the ledger can be read, and its sums are what its entries say; and the smaller files beside it.
//!
//! A file is to be replaced only where something is wrong with what stands in it: of one that this user may not use nothing is
//! known, and a backup in its place would lose what was kept since.

use std::path::Path;
use std::time::Duration;

use super::files::{Seen, open_to_us};
use super::report::Check;
use super::{Kept, Trouble};
use crate::domain::wording::{counted, uptime};
use crate::ledger::Inspection;

const NAME: &str = "ledger health";
const RESTORE: &str = "put ledger.redb of a backup in its place: DEPLOYMENT.md, \"Backup and restore\"";
const RESTORE_KEYS: &str =
    "put settings.redb and pepper of one backup in their place: DEPLOYMENT.md, \"Backup and restore\"";

/// The last look at the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// How long ago it ended.
    pub(super) ago: Duration,
    pub(super) inspection: Inspection,
}

/// How the ledger does: what stops it now, or what the last look came to.
pub(super) fn ledger(kept: &Kept<()>, trouble: Option<&str>, last: Option<&Look>, files: &[Seen]) -> Check {
    match kept {
        Kept::Absent => return Check::ok(NAME, "there is no ledger yet: the first start makes it"),
        Kept::Broken(error) => {
            let mend = opened_to_us(files, &["ledger.redb"]).unwrap_or_else(|| RESTORE.to_owned());
            return Check::problem(NAME, error.as_str(), mend);
        }
        Kept::Unopened(why) => return Check::skipped(NAME, *why),
        Kept::Open(()) => {}
    }
    if let Some(trouble) = trouble {
        let mend = "make room on the disk, or let this user write it: df -h; it goes on by itself then, and `tollgate verify` proves it";
        return Check::problem(NAME, format!("nothing can be booked, and no call is made: {trouble}"), mend);
    }
    let Some(Look { ago, inspection }) = last else {
        return Check::skipped(
            NAME,
            "its rows have not been read since the start: `tollgate verify` reads all of them",
        );
    };
    let when = if ago.as_secs() == 0 { "just now".to_owned() } else { format!("{} ago", uptime(*ago)) };
    match inspection {
        Inspection::Sound { rows } => {
            let found = format!(
                "{} read {when}, and the sums of the last day are what they come to",
                counted(*rows, "row was", "rows were")
            );
            Check::ok(NAME, found).number("rows", *rows)
        }
        Inspection::Unfinished => Check::skipped(
            NAME,
            format!(
                "it is too large to be read now, and what was read {when} is sound: `tollgate verify` reads all of it"
            ),
        ),
        Inspection::Differs { differences } => {
            let found = format!(
                "{} what its entries come to, as was found {when}",
                counted(*differences as u64, "sum is not", "sums are not")
            );
            Check::problem(NAME, found, format!("tollgate verify   # says which; then {RESTORE}"))
                .number("differences", *differences)
        }
        Inspection::Damaged { detail } => Check::problem(NAME, detail.as_str(), RESTORE),
    }
}

/// A smaller file of the folder that can't be used.
pub(super) fn other(trouble: &Trouble, files: &[Seen]) -> Check {
    let (needed, mend): (&[&str], &str) = match trouble {
        Trouble::Keys(_) => (&["settings.redb", "pepper"], RESTORE_KEYS),
        Trouble::Contents(_) => (&["content.redb"], "move the file away and restart: it holds no money"),
        Trouble::IdempotencyKeys(_) => (&["idempotency.redb"], "move the file away and restart: it holds no money"),
    };
    let mend = opened_to_us(files, needed).unwrap_or_else(|| mend.to_owned());
    Check::problem(NAME, trouble.why(), mend).about(trouble.name())
}

/// What opens the first of some files of the folder, or the folder, that this user may not use.
fn opened_to_us(files: &[Seen], names: &[&str]) -> Option<String> {
    let is_needed = |seen: &&Seen| seen.is_folder || names.iter().any(|name| Path::new(&seen.path).ends_with(name));
    let closed = files.iter().filter(is_needed).find(|seen| !seen.is_usable)?;
    Some(open_to_us(&closed.path, closed.is_folder))
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    fn check(kept: &Kept<()>, trouble: Option<&str>, inspection: Option<Inspection>, verdict: Verdict, expected: &str) {
        let look = inspection.map(|inspection| Look { ago: Duration::from_secs(250), inspection });
        let found = ledger(kept, trouble, look.as_ref(), &[]);
        assert!(found.verdict == verdict && found.found.contains(expected), "{found:?}");
        assert_eq!(found.mend.is_some(), verdict >= Verdict::Warning, "{found:?}");
    }

    #[test]
    fn a_ledger_is_as_well_as_the_last_look_at_it() {
        let open = &Kept::Open(());
        check(open, None, Some(Inspection::Sound { rows: 12 }), Verdict::Ok, "12 rows were read 4 min ago");
        check(open, None, Some(Inspection::Unfinished), Verdict::Skipped, "tollgate verify");
        check(open, None, Some(Inspection::Differs { differences: 2 }), Verdict::Problem, "2 sums are not");
        let damaged = Inspection::Damaged { detail: "the ledger file can't be read".to_owned() };
        check(open, None, Some(damaged), Verdict::Problem, "can't be read");
        check(open, None, None, Verdict::Skipped, "not been read");
    }

    #[test]
    fn a_ledger_that_cannot_book_or_be_opened_is_a_problem_and_one_that_is_not_there_is_not() {
        check(
            &Kept::Open(()),
            Some("no space left"),
            Some(Inspection::Sound { rows: 1 }),
            Verdict::Problem,
            "no space left",
        );
        check(&Kept::Broken("its header is gone".to_owned()), None, None, Verdict::Problem, "header is gone");
        check(&Kept::Absent, None, None, Verdict::Ok, "the first start makes it");
    }

    #[test]
    fn each_smaller_file_has_its_mend() {
        let mend = |trouble| other(&trouble, &[]).mend.unwrap();
        assert!(
            mend(Trouble::Keys("the pepper is missing".to_owned())).contains("settings.redb and pepper of one backup")
        );
        assert!(mend(Trouble::Contents("broken".to_owned())).contains("move the file away"));
    }

    #[test]
    fn no_file_that_this_user_may_not_use_is_to_be_replaced() {
        let seen = |path: &str, is_usable| Seen {
            path: path.to_owned(),
            mode: 0o600,
            owner: 0,
            is_folder: path == "data",
            has_secrets: false,
            is_usable,
        };
        let closed = |path| [seen("data", path != "data"), seen("data/other.redb", false), seen(path, false)];
        let broken = Kept::Broken("permission denied".to_owned());
        for path in ["data", "data/ledger.redb"] {
            let mend = ledger(&broken, None, None, &closed(path)).mend.unwrap();
            assert!(mend.contains(&format!("{path} && chmod")) && !mend.contains("backup"), "{mend}");
        }
        for path in ["data/settings.redb", "data/pepper"] {
            let mend = other(&Trouble::Keys("permission denied".to_owned()), &closed(path)).mend.unwrap();
            assert!(mend.contains(&format!("{path} && chmod")) && !mend.contains("backup"), "{mend}");
        }
        let mend =
            other(&Trouble::Contents("permission denied".to_owned()), &closed("data/content.redb")).mend.unwrap();
        assert!(!mend.contains("move"), "{mend}");
        let mend = ledger(&broken, None, None, &closed("data/settings.redb")).mend.unwrap();
        assert!(mend.contains("backup"), "{mend}");
    }
}
