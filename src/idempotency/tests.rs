//! What must hold of a key, whatever happens to its call and to the file.

use std::path::Path;
use std::sync::Barrier;

use super::*;
use crate::domain::KeyId;

const NOON: i64 = 1_795_348_800_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(NOON + ms).unwrap()
}

fn open(folder: &Path) -> Arc<Idempotency> {
    Arc::new(Idempotency::open(folder.join("idempotency.redb")))
}

fn question(key: &str, body: &str) -> Question {
    let (key, caller) = (IdempotencyKey::parse(key.as_bytes()).unwrap(), KeyId::new("key_1").unwrap());
    Question::new(&key, &caller, "/v1/messages", &[], None, body.as_bytes())
}

fn call(number: u128) -> RequestId {
    RequestId::from_number(number)
}

fn kept(number: u128, body: &str) -> Answered {
    Answered::Kept(Box::new(Kept {
        call: call(number),
        deployment: Some("anthropic/claude-haiku-4-5".parse().unwrap()),
        upstream_request_id: Some("req_up".into()),
        dropped: vec!["seed".to_owned()],
        estimated: false,
        content_type: Some("text/event-stream".to_owned()),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }))
}

/// Asks, where the ledger has to say that it knows nothing.
fn begin(store: &Arc<Idempotency>, question: &Question, number: u128, now: Timestamp) -> Begun {
    store.begin(question, call(number), now, |_| panic!("the ledger is not to be asked")).unwrap()
}

fn go(begun: Begun) -> Claim {
    match begun {
        Begun::Go(claim) => claim,
        other => panic!("{other:?}"),
    }
}

fn shown(begun: &Begun) -> String {
    match begun {
        Begun::Go(_) => "go".to_owned(),
        Begun::Running { call, since } => format!("running {} {since:?}", call.number()),
        Begun::OtherBody { call } => format!("other {}", call.number()),
        Begun::Answered { call, answered: Answered::Kept(kept) } => {
            assert_eq!(kept.call, *call);
            format!("kept {} {}", call.number(), String::from_utf8_lossy(&kept.body))
        }
        Begun::Answered { call, answered } => format!("{answered:?} {}", call.number()),
        Begun::Unanswered { call, cost } => format!("unanswered {} {cost:?}", call.number()),
    }
}

/// A call with the key, made and answered.
async fn made(store: &Arc<Idempotency>, question: &Question, number: u128, now: Timestamp, answered: Answered) {
    let mut claim = go(begin(store, question, number, now));
    claim.bind(vec![Owner::Key(KeyId::new("key_1").unwrap())]).await.unwrap();
    claim.finish(answered).await.unwrap();
}

#[tokio::test]
async fn an_answer_is_given_again_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    made(&store, &question("k", "{}"), 1, at(0), kept(1, "hello")).await;
    for store in [store, open_again(folder.path())] {
        let begun = begin(&store, &question("k", "{}"), 2, at(1));
        assert!(matches!(&begun, Begun::Answered { answered, .. } if *answered == kept(1, "hello")), "{begun:?}");
        assert_eq!(shown(&begin(&store, &question("k", "{ }"), 3, at(1))), "other 1");
        assert_eq!(shown(&begin(&store, &question("l", "{}"), 4, at(1))), "go");
        store.stop();
    }
}

/// Once the one before is stopped; redb holds the file until then.
fn open_again(folder: &Path) -> Arc<Idempotency> {
    // A copy, so that both may be looked at in one test.
    let copy = folder.join("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(folder.join("idempotency.redb"), copy.join("idempotency.redb")).unwrap();
    open(&copy)
}

#[tokio::test]
async fn while_a_call_runs_nobody_else_makes_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut claim = go(begin(&store, &question("k", "{}"), 1, at(0)));
    for is_bound in [false, true] {
        if is_bound {
            claim.bind(Vec::new()).await.unwrap();
        }
        assert_eq!(shown(&begin(&store, &question("k", "{}"), 2, at(1_500))), "running 1 1.5s");
        assert_eq!(shown(&begin(&store, &question("k", "{ }"), 3, at(1_500))), "other 1");
    }
    claim.finish(kept(1, "a")).await.unwrap();
    assert_eq!(shown(&begin(&store, &question("k", "{}"), 4, at(2_000))), "kept 1 a");
    assert!(store.running().is_empty());
}

#[tokio::test]
async fn a_call_without_an_end_is_the_ledgers_to_judge() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut claim = go(begin(&store, &question("k", "{}"), 1, at(0)));
    claim.bind(Vec::new()).await.unwrap();
    drop(claim);
    let cost = Some(Picodollars::new(5));
    let check = |body: &str, fate: Fate, expected: &str| {
        let begun = store.begin(&question("k", body), call(2), at(10), |asked| {
            assert_eq!(asked, call(1));
            Ok(fate)
        });
        assert_eq!(shown(&begun.unwrap()), expected, "{body} {fate:?}");
    };
    check("{}", Fate::Owed(cost), &format!("unanswered 1 {cost:?}"));
    check("{}", Fate::Owed(None), "unanswered 1 None");
    check("{}", Fate::Running, "running 1 10ms");
    check("{}", Fate::Free, "go");
    check("{ }", Fate::Owed(cost), "other 1");
    check("{ }", Fate::Running, "other 1");
    check("{ }", Fate::Free, "go");
    let unknown = store.begin(&question("k", "{}"), call(2), at(10), |_| Err(Idempotency::unknown(&"no ledger")));
    assert!(unknown.unwrap_err().to_string().contains("no ledger"));
    assert!(store.running().is_empty(), "whoever was refused holds nothing");
}

#[tokio::test]
async fn a_call_that_was_never_bound_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    drop(go(begin(&store, &question("k", "{}"), 1, at(0))));
    drop(go(begin(&store, &question("k", "other"), 2, at(0))));
}

#[tokio::test]
async fn a_freed_key_may_stand_for_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut claim = go(begin(&store, &question("k", "{}"), 1, at(0)));
    claim.bind(Vec::new()).await.unwrap();
    drop(claim);
    let mut claim = go(store.begin(&question("k", "other"), call(2), at(60_000), |_| Ok(Fate::Free)).unwrap());
    claim.bind(Vec::new()).await.unwrap();
    claim.finish(kept(2, "b")).await.unwrap();
    assert_eq!(shown(&begin(&store, &question("k", "other"), 3, at(60_001))), "kept 2 b");
    assert_eq!(shown(&begin(&store, &question("k", "{}"), 4, at(60_001))), "other 2");
    // The first one's time is over, the second one's is not.
    let day = i64::try_from(KEPT_FOR.as_millis()).unwrap();
    store.sweep(at(day)).await.unwrap();
    assert_eq!(shown(&begin(&store, &question("k", "other"), 5, at(day))), "kept 2 b");
}

#[tokio::test]
async fn after_a_day_a_key_is_forgotten_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let day = i64::try_from(KEPT_FOR.as_millis()).unwrap();
    made(&store, &question("k", "{}"), 1, at(0), kept(1, "a")).await;
    made(&store, &question("l", "{}"), 2, at(1), kept(2, "b")).await;
    assert_eq!(store.sweep(at(day - 1)).await.unwrap(), 0);
    assert_eq!(shown(&begin(&store, &question("k", "{}"), 3, at(day - 1))), "kept 1 a");
    assert_eq!(shown(&begin(&store, &question("k", "{ }"), 4, at(day))), "go", "over, although not swept yet");
    assert_eq!(store.sweep(at(day)).await.unwrap(), 1);
    assert_eq!(shown(&begin(&store, &question("l", "{}"), 5, at(day))), "kept 2 b");
    assert_eq!(store.sweep(at(day + 1)).await.unwrap(), 1);
    let rows = store.reading(|database| {
        let reading = database.begin_read()?;
        let count = |table: redb::ReadOnlyTable<Slot, &[u8]>| redb::ReadableTableMetadata::len(&table);
        let expiry = redb::ReadableTableMetadata::len(&reading.open_table(tables::EXPIRY)?)?;
        Ok((count(reading.open_table(CLAIMS)?)?, count(reading.open_table(ANSWERS)?)?, expiry))
    });
    assert_eq!(rows.unwrap(), (0, 0, 0));
}

#[tokio::test]
async fn a_long_sweep_goes_on_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let writes = (0..1_200).map(|number| {
        let store = Arc::clone(&store);
        async move { made(&store, &question(&number.to_string(), "{}"), number, at(0), Answered::TooLarge).await }
    });
    // As many at once as the queue takes.
    let writes: Vec<_> = writes.collect();
    let mut writes = writes.into_iter();
    loop {
        let some: Vec<_> = writes.by_ref().take(100).collect();
        if some.is_empty() {
            break;
        }
        futures_util::future::join_all(some).await;
    }
    assert_eq!(store.sweep(at(i64::try_from(KEPT_FOR.as_millis()).unwrap())).await.unwrap(), 1_200);
}

#[tokio::test]
async fn answers_go_with_their_owners_and_that_the_calls_were_made_stays_known() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let key = |name: &str| Owner::Key(KeyId::new(name).unwrap());
    let owners = [
        ("a", vec![key("key_1"), Owner::Session("s".to_owned())]),
        ("b", vec![key("key_1"), Owner::User("u".to_owned()), Owner::User("v".to_owned())]),
        ("c", vec![key("key_2")]),
    ];
    for (number, (name, owners)) in owners.into_iter().enumerate() {
        let number = number as u128;
        let mut claim = go(begin(&store, &question(name, "{}"), number, at(0)));
        claim.bind(owners).await.unwrap();
        claim.finish(kept(number, name)).await.unwrap();
    }
    let look = |name: &str| shown(&begin(&store, &question(name, "{}"), 9, at(1)));
    assert_eq!(store.delete(Owner::User("nobody".to_owned())).await.unwrap(), 0);
    assert_eq!(store.delete(Owner::User("v".to_owned())).await.unwrap(), 1);
    assert_eq!((look("a"), look("b"), look("c")), ("kept 0 a".into(), "Deleted 1".into(), "kept 2 c".into()));
    assert_eq!(store.delete(Owner::Session("s".to_owned())).await.unwrap(), 1);
    assert_eq!(store.delete(key("key_1")).await.unwrap(), 0, "both are gone already");
    assert_eq!(store.delete(key("key_2")).await.unwrap(), 1);
    assert_eq!(look("c"), "Deleted 2");
}

#[test]
fn of_many_that_ask_at_once_one_makes_the_call() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let barrier = Barrier::new(16);
    let going: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|number| {
                let (store, barrier) = (&store, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let begun = begin(store, &question("k", "{}"), number, at(0));
                    let goes = matches!(begun, Begun::Go(_));
                    // Whoever goes holds on until all have asked.
                    barrier.wait();
                    usize::from(goes)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(going, 1);
}

#[tokio::test]
async fn a_file_that_cant_be_read_refuses_keys_and_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("idempotency.redb");
    std::fs::write(&path, "something else").unwrap();
    let store = open(folder.path());
    assert!(store.trouble().unwrap().contains("is not a retry store file"), "{:?}", store.trouble());
    let refused = store.begin(&question("k", "{}"), call(1), at(0), |_| Ok(Fate::Free));
    assert!(!refused.unwrap_err().is_busy());
    assert!(store.sweep(at(0)).await.is_err());
    assert!(store.delete(Owner::Session("s".to_owned())).await.is_err());
    store.stop();
    assert_eq!(std::fs::read(&path).unwrap(), b"something else");
}

#[tokio::test]
async fn once_stopped_no_key_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut claim = go(begin(&store, &question("k", "{}"), 1, at(0)));
    store.stop();
    assert!(claim.bind(Vec::new()).await.is_err());
    drop(claim);
    assert!(store.begin(&question("k", "{}"), call(2), at(0), |_| Ok(Fate::Free)).is_err());
}
