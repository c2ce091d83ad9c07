//! The cache as a whole, and the samples that the tests of its parts share.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::*;
use crate::config::{CacheScope, Config};
use crate::domain::{Endpoint, KeyId, ModelId, RequestIds, TokenUsage};

const HOUR: Duration = Duration::from_hours(1);

pub(super) fn config() -> CacheConfig {
    Config::from_toml("").unwrap().cache
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn noon() -> Timestamp {
    at("2026-11-22T12:00:00Z")
}

/// The fingerprint of the question of a number.
pub(super) fn fingerprint(number: u64) -> Fingerprint {
    let body = format!(r#"{{"model":"gpt-5","number":{number}}}"#);
    let question = question(&body);
    Fingerprint::of(&Circle::of(CacheScope::Global, &KeyId::new("key_1").unwrap(), None), &question)
        .unwrap()
        .fingerprint
}

pub(super) fn question(body: &str) -> Question<'_> {
    Question {
        endpoint: Endpoint::ChatCompletions,
        body: body.as_bytes(),
        version: None,
        betas: None,
        extras: [None, None],
    }
}

pub(super) fn new_entry() -> NewEntry {
    NewEntry {
        request: RequestIds::new(1).next(noon().as_millisecond()),
        endpoint: Endpoint::ChatCompletions,
        form: Form::Whole,
        body: Bytes::from_static(b"{\"choices\":[]}"),
        deployment: "openai/gpt-5".parse().unwrap(),
        requested_model: ModelId::new("smart").unwrap(),
        operation: "chat".into(),
        key: KeyId::new("key_1").unwrap(),
        key_name: "ci".into(),
        team: Some("web".into()),
        tags: vec![("env".into(), "prod".into())],
        prompt: Prompt::of(br#"{"messages":[{"role":"user","content":"Draft a Refund mail"}]}"#),
        usage: TokenUsage { uncached_input: 10, output: 5, ..TokenUsage::default() },
        cost: Picodollars::new(1_000),
        upstream_request_id: None,
        ttl: None,
    }
}

pub(super) fn entry() -> Entry {
    Entry::new(new_entry(), Duration::from_hours(1), noon())
}

fn page(pattern: &str, order: Order, len_max: usize) -> Page {
    Page { pattern: pattern.parse().unwrap(), order, after: None, len_max }
}

impl Cache {
    /// Looks for a kept answer and counts what came of it, as the gateway does.
    pub(crate) fn lookup(&self, fingerprint: &Fingerprint, now: Timestamp) -> Option<Arc<Entry>> {
        let found = self.peek(fingerprint, now);
        match &found {
            Some(entry) => self.count_hit(entry),
            None => self.count_miss(),
        }
        found
    }
}

#[test]
fn what_is_kept_answers_until_its_time_is_over() {
    let cache = Cache::new(&config(), None);
    assert!(cache.lookup(&fingerprint(1), noon()).is_none());
    let _ = cache.store(fingerprint(1), new_entry(), HOUR, cache.generation(), noon());
    let hit = cache.lookup(&fingerprint(1), at("2026-11-22T12:59:59Z")).unwrap();
    assert_eq!((hit.age(at("2026-11-22T12:59:59Z")), hit.hits()), (Duration::from_secs(3_599), 1));
    assert!(cache.lookup(&fingerprint(2), noon()).is_none());
    assert!(cache.lookup(&fingerprint(1), at("2026-11-22T13:00:00Z")).is_none());
    assert!(cache.peek(&fingerprint(1), noon()).is_none(), "it is gone for good");
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.saved), (1, 3, Picodollars::new(1_000)));
    assert_eq!((stats.entries, stats.bytes), (0, 0));
    assert!((stats.hit_rate() - 0.25).abs() < 1e-9);
}

#[test]
fn a_caller_may_say_how_long_and_a_new_answer_takes_the_place_of_the_old_with_its_time() {
    let cache = Cache::new(&config(), None);
    let _ = cache.store(
        fingerprint(1),
        NewEntry { ttl: Some(Duration::from_secs(5)), ..new_entry() },
        HOUR,
        cache.generation(),
        noon(),
    );
    assert!(cache.lookup(&fingerprint(1), at("2026-11-22T12:00:05Z")).is_none());
    let _ = cache.store(
        fingerprint(1),
        NewEntry { ttl: Some(Duration::from_secs(5)), ..new_entry() },
        HOUR,
        cache.generation(),
        noon(),
    );
    let _ = cache.store(fingerprint(1), new_entry(), HOUR, cache.generation(), noon());
    assert!(cache.lookup(&fingerprint(1), at("2026-11-22T12:30:00Z")).is_some());
}

#[test]
fn a_hit_shares_the_bytes_and_keeps_nothing_else_of_what_they_came_in() {
    let cache = Cache::new(&config(), None);
    let buffer = Bytes::from(vec![b'x'; 100_000]);
    let _ = cache.store(
        fingerprint(1),
        NewEntry { body: buffer.slice(..10), ..new_entry() },
        HOUR,
        cache.generation(),
        noon(),
    );
    let one = cache.lookup(&fingerprint(1), noon()).unwrap();
    let other = cache.lookup(&fingerprint(1), noon()).unwrap();
    assert_eq!(one.facts.body.as_ptr(), other.facts.body.as_ptr());
    assert_ne!(one.facts.body.as_ptr(), buffer.as_ptr());
}

#[test]
fn entries_never_take_more_bytes_than_they_may() {
    let cache = Cache::new(&CacheConfig { bytes_max: 1 << 20, ..config() }, None);
    for number in 0..200 {
        let _ = cache.store(
            fingerprint(number),
            NewEntry { body: vec![0; 20_000].into(), ..new_entry() },
            HOUR,
            cache.generation(),
            noon(),
        );
    }
    let stats = cache.stats();
    assert!(stats.bytes <= 1 << 20 && stats.entries > 20, "{stats:?}");
    assert_eq!(stats.evictions, 200 - stats.entries);
}

#[test]
fn what_fits_a_pattern_is_taken_out_and_counted() {
    let cache = Cache::new(&config(), None);
    for number in 0..10 {
        let provider = if number < 3 { "anthropic/claude-haiku-4-5" } else { "openai/gpt-5" };
        let _ = cache.store(
            fingerprint(number),
            NewEntry { deployment: provider.parse().unwrap(), ..new_entry() },
            HOUR,
            cache.generation(),
            noon(),
        );
    }
    assert_eq!(cache.invalidate(&"claude-*".parse().unwrap(), noon()), 3);
    assert_eq!(cache.invalidate(&"claude-*".parse().unwrap(), noon()), 0);
    assert!(cache.lookup(&fingerprint(0), noon()).is_none() && cache.lookup(&fingerprint(5), noon()).is_some());
    assert_eq!(cache.clear(noon()), 7);
    assert_eq!(cache.stats().entries, 0);
}

#[test]
fn the_answer_of_a_call_that_ran_while_entries_were_taken_out_is_not_kept() {
    let cache = Cache::new(&config(), None);
    let before = cache.generation();
    cache.invalidate(&"claude-*".parse().unwrap(), noon());
    let (_, kept) = cache.store(fingerprint(1), new_entry(), HOUR, before, noon());
    assert_eq!(kept, Err(NotKept::TakenOut));
    assert!(cache.lookup(&fingerprint(1), noon()).is_none());
    let (_, kept) = cache.store(fingerprint(1), new_entry(), HOUR, cache.generation(), noon());
    assert_eq!(kept, Ok(()));
    assert!(cache.lookup(&fingerprint(1), noon()).is_some());
}

#[test]
fn pages_follow_one_another_without_gap_or_repetition() {
    let cache = Cache::new(&config(), None);
    for number in 0..10 {
        let cost = Picodollars::new(i128::from(number % 3));
        let _ = cache.store(fingerprint(number), NewEntry { cost, ..new_entry() }, HOUR, cache.generation(), noon());
        for _ in 0..number {
            cache.lookup(&fingerprint(number), noon());
        }
    }
    for &order in Order::ALL {
        let mut seen = Vec::new();
        let mut wanted = page("*", order, 3);
        loop {
            let listed = cache.list(&wanted, noon());
            assert_eq!(listed.fitting, 10);
            seen.extend(listed.entries);
            let Some(next) = listed.next else { break };
            wanted.after = Some(next.to_string().parse().unwrap());
        }
        assert_eq!(seen.len(), 10, "{order:?}");
        assert!(seen.is_sorted_by_key(|(_, entry)| match order {
            Order::Newest => -i128::from(entry.stored_at.as_millisecond()),
            Order::Saved => -entry.saved().get(),
            Order::Hits => -i128::from(entry.hits()),
        }));
        seen.sort_by_key(|(fingerprint, _)| *fingerprint);
        seen.dedup_by_key(|(fingerprint, _)| *fingerprint);
        assert_eq!(seen.len(), 10, "{order:?}");
    }
    let listed = cache.list(&page("provider:nobody", Order::Newest, 3), noon());
    assert_eq!((listed.entries.len(), listed.fitting, listed.next), (0, 0, None));
    for wrong in ["", "1.2", "a.0.000000000000000000000000", "1.2.3"] {
        assert!(wrong.parse::<Cursor>().is_err(), "{wrong}");
    }
}

#[test]
fn who_joined_another_call_counts_as_a_hit_and_no_longer_as_a_miss() {
    let cache = Cache::new(&config(), None);
    assert!(cache.lookup(&fingerprint(1), noon()).is_none() && cache.lookup(&fingerprint(1), noon()).is_none());
    let (entry, _) = cache.store(fingerprint(1), new_entry(), HOUR, cache.generation(), noon());
    cache.count_joined(&entry);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, entry.hits()), (1, 1, 1));
}
