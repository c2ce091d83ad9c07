//! What must hold of kept contents, whatever happens to their file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;

fn options(folder: &Path, bodies: Bodies) -> ContentOptions {
    ContentOptions {
        commit_interval: Duration::ZERO,
        ..ContentOptions::new(
            folder.join("content.redb"),
            bodies,
            vec![Secret::new("sk-canary-of-the-provider".to_owned())],
        )
    }
}

fn open(folder: &Path) -> Content {
    Content::open(options(folder, Bodies::Full))
}

fn exchange(number: u128, key: &str, session: Option<&str>, users: &[&str]) -> Exchange {
    Exchange {
        id: RequestId::from_number(number),
        key: KeyId::new(key).unwrap(),
        session: session.map(Into::into),
        users: users.iter().map(|user| (*user).to_owned()).collect(),
        request: Excerpt::of(b"{\"model\":\"m\"}"),
        answer: Excerpt::of(b"{\"choices\":[]}"),
    }
}

/// Waits until everything before is written: an erasure of nothing is answered after it.
async fn written(content: &Content) {
    assert_eq!(content.sweep(RequestId::from_number(0)).await.unwrap(), 0);
}

fn is_kept(content: &Content, number: u128) -> bool {
    content.find(RequestId::from_number(number)).unwrap().is_some()
}

#[tokio::test]
async fn what_is_kept_is_found_and_survives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let content = open(folder.path());
    let kept = exchange(7, "key_1", Some("s"), &["u", "v"]);
    content.keep(kept.clone());
    content.stop();
    let content = open(folder.path());
    assert_eq!(content.find(RequestId::from_number(7)).unwrap(), Some(kept));
    assert!(!is_kept(&content, 8));
}

#[tokio::test]
async fn contents_go_by_key_session_or_user_and_no_others_go_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let content = open(folder.path());
    content.keep(exchange(1, "key_1", Some("s"), &["u"]));
    content.keep(exchange(2, "key_1", None, &["u", "w"]));
    content.keep(exchange(3, "key_2", Some("s"), &[]));
    content.keep(exchange(4, "s", Some("u"), &["key_1"]));
    content.keep(exchange(5, "key_12", Some("s2"), &["u2"]));
    assert_eq!(content.delete(Owner::Session("s".to_owned())).await.unwrap(), 2);
    assert_eq!([1, 2, 3, 4, 5].map(|number| is_kept(&content, number)), [false, true, false, true, true]);
    assert_eq!(content.delete(Owner::User("u".to_owned())).await.unwrap(), 1, "what is gone isn't counted again");
    assert_eq!(content.delete(Owner::Key(KeyId::new("key_1").unwrap())).await.unwrap(), 0);
    assert_eq!([4, 5].map(|number| is_kept(&content, number)), [true, true]);
    assert_eq!(content.delete(Owner::User("nobody".to_owned())).await.unwrap(), 0);
}

#[tokio::test]
async fn many_go_a_few_at_a_time_and_are_all_counted() {
    let folder = tempfile::tempdir().unwrap();
    let content = open(folder.path());
    for number in 0..450 {
        content.keep(exchange(number, "key_1", None, &[]));
        if number % 20 == 19 {
            written(&content).await;
        }
    }
    assert_eq!(content.dropped(), 0);
    assert_eq!(content.sweep(RequestId::from_number(425)).await.unwrap(), 425);
    assert!(!is_kept(&content, 424) && is_kept(&content, 425));
    assert_eq!(content.delete(Owner::Key(KeyId::new("key_1").unwrap())).await.unwrap(), 25);
}

#[tokio::test]
async fn nothing_is_begun_while_nothing_is_to_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let content = Content::open(options(folder.path(), Bodies::Off));
    content.keep(exchange(1, "key_1", None, &[]));
    assert!(!is_kept(&content, 1));
    assert_eq!(content.delete(Owner::User("u".to_owned())).await.unwrap(), 0);
    assert_eq!(content.trouble(), None);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_was_kept_before_can_be_read_and_deleted_when_nothing_more_is() {
    let folder = tempfile::tempdir().unwrap();
    let content = open(folder.path());
    content.keep(exchange(1, "key_1", None, &["u"]));
    content.stop();
    let content = Content::open(options(folder.path(), Bodies::Off));
    assert!(!content.keeps(Bodies::Off, true) && is_kept(&content, 1));
    assert_eq!(content.delete(Owner::User("u".to_owned())).await.unwrap(), 1);
}

#[test]
fn only_what_was_asked_for_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    for (bodies, of_failed, of_others) in
        [(Bodies::Off, false, false), (Bodies::Errors, true, false), (Bodies::Full, true, true)]
    {
        let content = Content::open(options(folder.path(), bodies));
        assert_eq!((content.keeps(bodies, true), content.keeps(bodies, false)), (of_failed, of_others), "{bodies:?}");
    }
}

#[tokio::test]
async fn a_damaged_file_keeps_nothing_says_so_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).stop();
    let path = folder.path().join("content.redb");
    for damage in [&b"no contents at all"[..], b"", b"redb and then nothing that it should be"] {
        std::fs::write(&path, damage).unwrap();
        let content = open(folder.path());
        assert!(!content.keeps(Bodies::Full, true));
        content.keep(exchange(1, "key_1", None, &[]));
        assert!(content.find(RequestId::from_number(1)).is_err());
        assert!(content.delete(Owner::User("u".to_owned())).await.is_err());
        assert!(content.trouble().is_some_and(|why| why.contains("content")));
        drop(content);
        assert_eq!(std::fs::read(&path).unwrap(), damage);
    }
}

#[tokio::test]
async fn a_file_that_is_damaged_under_way_costs_contents_and_not_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let content = open(folder.path());
    for number in 0..300 {
        content.keep(exchange(number, "key_1", None, &["u"]));
        written(&content).await;
    }
    // Everything behind the header: what is cached may still be right, what is read from the disk can't be.
    let path = folder.path().join("content.redb");
    let length = std::fs::metadata(&path).unwrap().len();
    let garbage = vec![0xa5; usize::try_from(length).unwrap() - 4096];
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &garbage, 4096).unwrap();
    content.keep(exchange(1_000, "key_1", None, &[]));
    let _ = content.delete(Owner::User("u".to_owned())).await;
    let _ = content.find(RequestId::from_number(3));
    content.stop();
}

#[tokio::test]
async fn no_known_secret_comes_into_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let content = open(folder.path());
    let virtual_key = format!("tg-{}", "0123456789abcdefghjkmnpqrstvwxyz".repeat(2));
    let mut told = exchange(1, "key_1", None, &[]);
    told.request = Excerpt::of(format!("my key is {virtual_key}").as_bytes());
    told.answer = Excerpt::of(b"Incorrect API key: sk-canary-of-the-provider");
    content.keep(told);
    content.stop();
    let bytes = std::fs::read(folder.path().join("content.redb")).unwrap();
    for secret in ["sk-canary-of-the-provider", virtual_key.as_str()] {
        assert!(memchr::memmem::find(&bytes, secret.as_bytes()).is_none(), "{secret}");
    }
    assert!(memchr::memmem::find(&bytes, b"my key is ***").is_some());
}

#[tokio::test]
async fn contents_are_kept_from_the_moment_on_that_they_are_wanted_and_without_the_secrets_known_by_then() {
    let folder = tempfile::tempdir().unwrap();
    let content = Content::open(options(folder.path(), Bodies::Off));
    assert!(!content.keeps(Bodies::Full, true));
    content.make_ready(Bodies::Errors);
    content.make_ready(Bodies::Full);
    assert!(content.keeps(Bodies::Full, false) && !content.keeps(Bodies::Off, true));
    content.learn([Secret::new("sk-canary-that-came-later".to_owned())]);
    let mut told = exchange(1, "key_1", None, &[]);
    told.answer = Excerpt::of(b"first sk-canary-of-the-provider, then sk-canary-that-came-later");
    content.keep(told);
    content.stop();
    let bytes = std::fs::read(folder.path().join("content.redb")).unwrap();
    assert!(memchr::memmem::find(&bytes, b"sk-canary").is_none());
    assert!(memchr::memmem::find(&bytes, b"first ***, then ***").is_some());
}

#[tokio::test]
async fn what_waits_is_written_at_the_stop_and_nobody_waits_for_the_second() {
    let folder = tempfile::tempdir().unwrap();
    let content = Content::open(ContentOptions {
        commit_interval: Duration::from_hours(1),
        ..options(folder.path(), Bodies::Full)
    });
    content.keep(exchange(1, "key_1", None, &[]));
    assert!(!is_kept(&content, 1));
    content.stop();
    let content = Arc::new(open(folder.path()));
    assert!(is_kept(&content, 1));
}
