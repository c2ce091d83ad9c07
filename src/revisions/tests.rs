//! What is kept of revisions, over a real file.

use std::path::Path;

use super::*;
use crate::store::OpenOptions;

fn open(folder: &Path) -> Revisions {
    let path = folder.join("settings.redb");
    let settings = Settings::open(&OpenOptions { path, name: "settings", cache_bytes: 1 << 20 }).unwrap();
    Revisions::open(settings, Some("tollgate.toml".into())).unwrap()
}

fn effective(settings: &str, secrets: &[(&str, u8)]) -> Effective {
    let marks = secrets.iter().map(|(path, mark)| ((*path).to_owned(), [*mark; 32])).collect();
    Effective { settings: settings.to_owned(), marks, ..Effective::default() }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn take(revisions: &Revisions, effective: Effective) -> (u64, bool) {
    let (kept, written) = revisions.take(effective, Trigger::File, at(1));
    written.unwrap();
    (kept.number, kept.is_new)
}

#[test]
fn what_has_not_changed_makes_no_revision_also_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    for (is_first, number) in [(true, 1), (false, 1)] {
        let revisions = open(folder.path());
        assert_eq!(take(&revisions, effective("a = 1", &[("key", 1)])), (number, is_first));
        assert_eq!(take(&revisions, effective("a = 1", &[("key", 1)])), (number, false));
    }
    let revisions = open(folder.path());
    assert_eq!(take(&revisions, effective("a = 2", &[("key", 1)])), (2, true));
    assert_eq!(take(&revisions, effective("a = 2", &[("key", 2)])), (3, true));
    assert_eq!(take(&revisions, effective("a = 2", &[])), (4, true));
}

#[test]
fn the_last_ten_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let revisions = open(folder.path());
    for number in 1..=12 {
        take(&revisions, effective(&format!("a = {number}"), &[]));
    }
    let expected: Vec<u64> = (3..=12).rev().collect();
    let numbers = |revisions: &Revisions| revisions.all().iter().map(|revision| revision.number).collect::<Vec<_>>();
    assert_eq!(numbers(&revisions), expected);
    drop(revisions);
    let reopened = open(folder.path());
    assert_eq!(numbers(&reopened), expected);
    assert_eq!(reopened.find(2), None);
    assert_eq!(reopened.find(12).unwrap().settings, "a = 12");
}

#[test]
fn a_secret_that_changed_shows_and_the_others_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let revisions = open(folder.path());
    take(&revisions, effective("a = 1\n", &[("x.api_key", 1), ("y.api_key", 7)]));
    take(&revisions, effective("a = 1\n", &[("x.api_key", 2), ("y.api_key", 7)]));
    let (first, second) = (revisions.find(1).unwrap(), revisions.find(2).unwrap());
    let changed: Vec<String> = diff(&first.text(), &second.text())
        .into_iter()
        .filter(|line| line.edit != Edit::Kept)
        .map(|line| line.text)
        .collect();
    assert_eq!(changed, ["# the value of revision 1: x.api_key", "# the value of revision 2: x.api_key"]);
    // Back to the old one is another change.
    take(&revisions, effective("a = 1\n", &[("x.api_key", 1), ("y.api_key", 7)]));
    assert_eq!(revisions.in_force().unwrap().unshown["x.api_key"], 3);
}

#[test]
fn a_refusal_is_told_until_something_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let revisions = open(folder.path());
    take(&revisions, effective("a = 1", &[]));
    let problems = vec![Problem::new("routes.x", "no provider")];
    let refused = Refused { at: at(2), trigger: Trigger::Sighup, problems };
    revisions.refuse(refused.clone());
    assert_eq!(revisions.last_refused(), Some(refused));
    assert_eq!(revisions.in_force().unwrap().number, 1);
    take(&revisions, effective("a = 1", &[]));
    assert_eq!(revisions.last_refused(), None);
}

#[test]
fn a_start_ends_what_waited_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let waiting = vec!["listen".to_owned()];
    {
        let revisions = open(folder.path());
        take(&revisions, Effective { waiting: waiting.clone(), ..effective("listen = 1", &[]) });
        assert_eq!(revisions.in_force().unwrap().waiting, waiting);
    }
    let revisions = open(folder.path());
    assert_eq!(take(&revisions, effective("listen = 1", &[])), (1, false));
    assert!(revisions.in_force().unwrap().waiting.is_empty());
}
