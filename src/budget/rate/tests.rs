//! What must hold of the limits of keys.

use proptest::prelude::*;

use super::*;
use crate::config::Config;

fn limits(requests: Option<u64>, tokens: Option<u64>, at_once: Option<u64>) -> KeyLimits {
    KeyLimits { requests_per_minute: requests, tokens_per_minute: tokens, concurrent_requests: at_once }
}

/// How long a call has to wait; none when it went.
fn wait(rate: &mut KeyRate, limits: &KeyLimits, tokens: u64, now: Instant) -> Option<Duration> {
    rate.admit(limits, tokens, now).err().map(|limited| limited.retry_after)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_minutes_worth_goes_at_once_and_then_as_the_minute_passes() {
    let (mut rate, start) = (KeyRate::default(), Instant::now());
    let limits = limits(Some(3), None, None);
    for _ in 0..3 {
        assert_eq!(wait(&mut rate, &limits, 0, start), None);
    }
    assert_eq!(wait(&mut rate, &limits, 0, start), Some(s(20)));
    assert_eq!(wait(&mut rate, &limits, 0, start + s(5)), Some(s(15)), "who is refused takes nothing");
    assert_eq!(wait(&mut rate, &limits, 0, start + s(20)), None);
    assert_eq!(wait(&mut rate, &limits, 0, start + s(20)), Some(s(20)));
    for _ in 0..3 {
        assert_eq!(wait(&mut rate, &limits, 0, start + s(600)), None, "what was not used is not saved up");
    }
    assert_eq!(wait(&mut rate, &limits, 0, start + s(600)), Some(s(20)));
}

#[test]
fn every_limit_lets_exactly_itself_through() {
    for limit in [1, 2, 3, 7, 59, 61, 999] {
        let (mut rate, start) = (KeyRate::default(), Instant::now());
        let limits = limits(Some(limit), None, None);
        let passed = (0..=limit).filter(|_| wait(&mut rate, &limits, 0, start).is_none()).count();
        assert_eq!(passed as u64, limit);
    }
}

#[test]
fn tokens_are_taken_by_estimate_and_corrected_by_usage() {
    let (mut rate, start) = (KeyRate::default(), Instant::now());
    let limits = limits(None, Some(600), None);
    assert_eq!(wait(&mut rate, &limits, 400, start), None);
    assert_eq!(wait(&mut rate, &limits, 300, start), Some(s(10)));
    rate.tokens.correct(start, 400, 100, 600);
    assert_eq!(wait(&mut rate, &limits, 300, start), None);
    rate.tokens.correct(start, 300, 900, 600);
    // 1,000 are owed: 40 s until 600 are, and 10 s more for another 100.
    assert_eq!(wait(&mut rate, &limits, 100, start), Some(s(50)));
}

#[test]
fn a_call_larger_than_the_limit_goes_when_nothing_is_owed_and_is_paid_for_afterwards() {
    let (mut rate, start) = (KeyRate::default(), Instant::now());
    let limits = limits(None, Some(100), None);
    assert_eq!(wait(&mut rate, &limits, 1, start), None);
    assert_eq!(wait(&mut rate, &limits, 250, start), Some(Duration::from_millis(600)));
    assert_eq!(wait(&mut rate, &limits, 250, start + Duration::from_millis(600)), None);
    assert_eq!(wait(&mut rate, &limits, 1, start + s(1)), Some(Duration::from_millis(90_200)));
}

#[test]
fn usage_beyond_reason_closes_a_key_for_a_day_at_most() {
    let (mut rate, start) = (KeyRate::default(), Instant::now());
    let limits = limits(None, Some(1), None);
    assert_eq!(wait(&mut rate, &limits, u64::MAX, start), None);
    rate.tokens.correct(start, 0, u64::MAX, 1);
    let waits = wait(&mut rate, &limits, 1, start).unwrap();
    assert!(waits <= Duration::from_hours(48), "{waits:?}");
}

#[test]
fn the_limit_that_holds_longest_is_told() {
    let (mut rate, start) = (KeyRate::default(), Instant::now());
    let limits = limits(Some(60), Some(60), None);
    assert_eq!(wait(&mut rate, &limits, 60, start), None);
    let told = rate.admit(&limits, 30, start).unwrap_err();
    assert_eq!(told.spent, Spent::Tokens { limit: 60, asked: 30 });
    assert_eq!(
        told.to_string(),
        "this key may use 60 tokens a minute, and this call of about 30 is too many for now: try again in 30 s"
    );
}

fn rates() -> Arc<Rates> {
    Arc::new(Rates::new(None, Tasks::default()))
}

fn settings(text: &str) -> LimitsConfig {
    Config::from_toml(text).unwrap().limits
}

fn key(id: &str, limits: KeyLimits) -> VirtualKey {
    VirtualKey {
        id: KeyId::new(id).unwrap(),
        name: id.to_owned(),
        team: None,
        owner: None,
        tags: std::collections::BTreeMap::new(),
        allowed_models: None,
        allowed_endpoints: None,
        limits,
        created: jiff::Timestamp::UNIX_EPOCH,
        expires_at: None,
        revoked_at: None,
        last4: "0000".to_owned(),
        previous: Vec::new(),
        revision: crate::domain::Revision::FIRST,
    }
}

#[test]
fn a_place_is_free_again_when_its_call_has_ended_however_it_did() {
    let (rates, settings, now) = (rates(), settings(""), Instant::now());
    let key = key("key_1", limits(None, None, Some(2)));
    let (first, second) =
        (rates.admit(&key, &settings, || 0, now).unwrap(), rates.admit(&key, &settings, || 0, now).unwrap());
    let refused = rates.admit(&key, &settings, || 0, now).err().unwrap();
    assert_eq!(refused.spent, Spent::Places { limit: 2 });
    drop(first);
    let third = rates.admit(&key, &settings, || 0, now).ok().unwrap();
    assert!(rates.admit(&key, &settings, || 0, now).is_err());
    drop((second, third));
    assert!(rates.admit(&key, &settings, || 0, now).is_ok());
}

#[test]
fn a_key_has_the_limits_of_the_settings_where_it_has_none_of_its_own() {
    let (rates, settings, now) = (rates(), settings("[limits]\nrequests_per_minute = 1\n"), Instant::now());
    let (plain, own) = (key("key_1", KeyLimits::default()), key("key_2", limits(Some(2), None, None)));
    assert!(rates.admit(&plain, &settings, || 0, now).is_ok());
    assert!(rates.admit(&plain, &settings, || 0, now).is_err());
    assert!(rates.admit(&own, &settings, || 0, now).is_ok(), "keys don't take from each other");
    assert!(rates.admit(&own, &settings, || 0, now).is_ok());
    assert!(rates.admit(&own, &settings, || 0, now).is_err());
    let more = LimitsConfig { requests_per_minute: Some(2), ..settings };
    assert!(rates.admit(&plain, &more, || 0, now + s(30)).is_ok(), "other settings hold for the next call");
}

#[test]
fn nothing_is_estimated_or_remembered_without_limits() {
    let (rates, settings, now) = (rates(), settings(""), Instant::now());
    let pass =
        rates.admit(&key("key_1", KeyLimits::default()), &settings, || unreachable!("tokens aren't limited"), now).ok();
    pass.unwrap().used(1_000, now);
    assert!(rates.book().keys.is_empty());
}

#[test]
fn keys_that_owe_nothing_are_forgotten() {
    let (rates, settings, now) = (rates(), settings("[limits]\nrequests_per_minute = 60\n"), Instant::now());
    let running = rates.admit(&key("running", KeyLimits::default()), &settings, || 0, now).ok();
    for number in 0..KEYS_REMEMBERED * 3 {
        let later = now + s(2) * u32::try_from(number).unwrap();
        drop(rates.admit(&key(&format!("key_{number}"), KeyLimits::default()), &settings, || 0, later));
        assert!(rates.book().keys.len() <= KEYS_REMEMBERED);
    }
    assert!(rates.book().keys.contains_key(&KeyId::new("running").unwrap()));
    drop(running);
}

proptest! {
    /// No order of calls gets more through in any stretch of time than a minute's worth and what the time itself is worth.
    #[test]
    fn no_stretch_of_time_lets_more_through_than_it_is_worth(
        limit in 1..50_u64,
        gaps in prop::collection::vec(0..5_000_u64, 1..200),
    ) {
        let (mut rate, start) = (KeyRate::default(), Instant::now());
        let limits = limits(Some(limit), None, None);
        let mut now = start;
        let mut passed: Vec<Instant> = Vec::new();
        for gap in gaps {
            now += Duration::from_millis(gap);
            if wait(&mut rate, &limits, 0, now).is_none() {
                passed.push(now);
            }
        }
        for (first, from) in passed.iter().enumerate() {
            for (last, until) in passed.iter().enumerate().skip(first) {
                let seconds = (*until - *from).as_secs_f64();
                let most = limit as f64 + seconds * limit as f64 / 60.0;
                prop_assert!((last - first + 1) as f64 <= most + 0.001, "{} in {seconds} s", last - first + 1);
            }
        }
    }

    /// Who waits as long as they are told goes, and nobody who comes earlier does.
    #[test]
    fn the_time_to_come_back_is_true(
        request_limit in 1..500_u64,
        token_limit in 1..100_000_u64,
        calls in prop::collection::vec((0..3_000_u64, 0..200_000_u64, 0..200_000_u64), 1..60),
    ) {
        let (mut rate, mut now) = (KeyRate::default(), Instant::now());
        let limits = limits(Some(request_limit), Some(token_limit), None);
        for (gap, estimated, used) in calls {
            now += Duration::from_millis(gap);
            if let Some(told) = wait(&mut rate, &limits, estimated, now) {
                let (mut early_rate, early) = (rate, told.saturating_sub(Duration::from_millis(2)));
                prop_assert!(early.is_zero() || wait(&mut early_rate, &limits, estimated, now + early).is_some());
                now += told;
                prop_assert_eq!(wait(&mut rate, &limits, estimated, now), None);
            }
            rate.tokens.correct(now, estimated, used, token_limit);
            prop_assert!(rate.tokens.owed(now) <= Duration::from_hours(48));
        }
    }
}
