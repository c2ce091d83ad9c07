//! How often someone may try to log in: a bucket of tries per account and one per address.
//!
//! Five tries at once, then one every half minute. A try is taken from both buckets or from neither, and given back
//! when the password was right. Time comes in as a value; the maps are bounded, and where one is full the bucket that
//! was used least makes room, so that a flood of names can't wash away the memory of a real attack.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// Tries that a fresh bucket holds.
const TRIES_MAX: i64 = 5;
/// Time until one more try is there.
const REFILL_MS: i64 = 30_000;
/// Buckets per map: a megabyte, and more addresses than a team has.
const BUCKETS_MAX: usize = 10_000;
/// Longer names belong to no account, so their ends need not be told apart.
const ACCOUNT_CHARS_MAX: usize = 64;

/// A try may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Tries that are left at once, after this one.
    pub tries_left: u32,
}

/// No try may be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many log-in tries: the next one is possible at {retry_at}")]
pub struct Throttled {
    /// When the next try is possible.
    pub retry_at: Timestamp,
}

/// Counts log-in tries. Calls take microseconds and never wait for anything but each other.
#[derive(Default)]
pub struct LoginThrottle(Mutex<Buckets>);

#[derive(Default)]
struct Buckets {
    /// When each bucket will be full again, in milliseconds since 1970: all that need be known of it.
    accounts: HashMap<String, i64>,
    addresses: HashMap<IpAddr, i64>,
}

impl fmt::Debug for LoginThrottle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A mistyped login may have a password in the place of the name.
        formatter.debug_struct("LoginThrottle").finish_non_exhaustive()
    }
}

impl LoginThrottle {
    /// No tries made yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one try for an account name, known or not, and the address that it comes from.
    pub fn admit(&self, account: &str, address: IpAddr, now: Timestamp) -> Result<Admitted, Throttled> {
        let (account, address, now) = (account_key(account), address_key(address), now.as_millisecond());
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let by_account = taken(buckets.accounts.get(&account), now);
        let by_address = taken(buckets.addresses.get(&address), now);
        match (by_account, by_address) {
            (Ok(full_at), Ok(address_full_at)) => {
                put(&mut buckets.accounts, account, full_at, now);
                put(&mut buckets.addresses, address, address_full_at, now);
                let left = tries_left(full_at, now).min(tries_left(address_full_at, now));
                Ok(Admitted { tries_left: left })
            }
            (refused, also) => {
                let retry_ms = [refused, also].into_iter().filter_map(Result::err).max().unwrap_or(now);
                Err(Throttled { retry_at: Timestamp::from_millisecond(retry_ms).unwrap_or(Timestamp::MAX) })
            }
        }
    }

    /// Gives a try back: the password was right.
    pub fn succeeded(&self, account: &str, address: IpAddr) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_at) = buckets.accounts.get_mut(&account_key(account)) {
            *full_at = full_at.saturating_sub(REFILL_MS);
        }
        if let Some(full_at) = buckets.addresses.get_mut(&address_key(address)) {
            *full_at = full_at.saturating_sub(REFILL_MS);
        }
    }
}

/// When the bucket will be full after one more try, or when that try is possible.
fn taken(full_at: Option<&i64>, now: i64) -> Result<i64, i64> {
    // A clock that was set back must not lock anybody out for longer than an empty bucket does.
    let full_at = full_at.copied().unwrap_or(now).clamp(now, now.saturating_add(TRIES_MAX * REFILL_MS));
    let after = full_at.saturating_add(REFILL_MS);
    let possible_at = after.saturating_sub(TRIES_MAX * REFILL_MS);
    if possible_at <= now { Ok(after) } else { Err(possible_at) }
}

fn tries_left(full_at: i64, now: i64) -> u32 {
    let present_ms = now.saturating_add(TRIES_MAX * REFILL_MS).saturating_sub(full_at);
    u32::try_from(present_ms / REFILL_MS).unwrap_or(0)
}

fn put<K: Clone + Eq + Hash>(buckets: &mut HashMap<K, i64>, key: K, full_at: i64, now: i64) {
    if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&key) {
        buckets.retain(|_, full_at| *full_at > now);
        if buckets.len() >= BUCKETS_MAX {
            let least = buckets.iter().min_by_key(|(_, full_at)| **full_at).map(|(key, _)| key.clone());
            if let Some(least) = least {
                buckets.remove(&least);
            }
        }
    }
    buckets.insert(key, full_at);
}

fn account_key(account: &str) -> String {
    account.trim().chars().take(ACCOUNT_CHARS_MAX).collect::<String>().to_lowercase()
}

/// One household or server has a whole /64 of IPv6, so that counts as one address.
fn address_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan as _;
    use proptest::prelude::*;

    fn start() -> Timestamp {
        "2026-03-01T00:00:00Z".parse().unwrap()
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn five_tries_go_at_once_and_then_one_every_half_minute() {
        let throttle = LoginThrottle::new();
        for left in [4, 3, 2, 1, 0] {
            assert_eq!(throttle.admit("ada", address(1), start()), Ok(Admitted { tries_left: left }));
        }
        let retry_at = start() + 30.seconds();
        assert_eq!(throttle.admit("ada", address(1), start()), Err(Throttled { retry_at }));
        assert!(throttle.admit("ada", address(1), start() + 29.seconds()).is_err());
        assert_eq!(throttle.admit("ada", address(1), retry_at), Ok(Admitted { tries_left: 0 }));
        assert!(throttle.admit("ada", address(1), retry_at).is_err());
    }

    #[test]
    fn an_account_is_guarded_whatever_the_address_and_however_it_is_written() {
        let throttle = LoginThrottle::new();
        for last in 0..5 {
            throttle.admit(" ADA", address(last), start()).unwrap();
        }
        assert!(throttle.admit("ada", address(9), start()).is_err());
        assert!(throttle.admit("bob", address(9), start()).is_ok());
    }

    #[test]
    fn an_address_is_guarded_whatever_the_account() {
        let throttle = LoginThrottle::new();
        for account in ["a", "b", "c", "d", "e"] {
            throttle.admit(account, address(1), start()).unwrap();
        }
        assert!(throttle.admit("f", address(1), start()).is_err());
        assert!(throttle.admit("f", "::ffff:192.0.2.1".parse().unwrap(), start()).is_err(), "the same one, mapped");
        assert_eq!(throttle.admit("f", address(2), start()), Ok(Admitted { tries_left: 4 }), "a refusal costs no try");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let throttle = LoginThrottle::new();
        for host in 1..=5 {
            let address = format!("2001:db8:0:1::{host}").parse().unwrap();
            throttle.admit(&format!("user-{host}"), address, start()).unwrap();
        }
        assert!(throttle.admit("x", "2001:db8:0:1:ffff::1".parse().unwrap(), start()).is_err());
        assert!(throttle.admit("x", "2001:db8:0:2::1".parse().unwrap(), start()).is_ok());
    }

    #[test]
    fn who_logs_in_gets_the_try_back() {
        let throttle = LoginThrottle::new();
        for _ in 0..20 {
            throttle.admit("ada", address(1), start()).unwrap();
            throttle.succeeded("ada", address(1));
        }
        assert_eq!(throttle.admit("ada", address(1), start()), Ok(Admitted { tries_left: 4 }));
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out() {
        let throttle = LoginThrottle::new();
        for _ in 0..5 {
            throttle.admit("ada", address(1), start()).unwrap();
        }
        let earlier = start() - 24.hours();
        let refused = throttle.admit("ada", address(1), earlier).unwrap_err();
        assert!(refused.retry_at <= earlier + 30.seconds(), "{refused}");
    }

    #[test]
    fn a_flood_of_names_neither_grows_the_map_nor_frees_the_attacked_account() {
        let throttle = LoginThrottle::new();
        for _ in 0..5 {
            throttle.admit("ada", address(1), start()).unwrap();
        }
        for number in 0..BUCKETS_MAX + 50 {
            let from = IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
            throttle.admit(&format!("user-{number}"), from, start()).unwrap();
        }
        assert_eq!(throttle.0.lock().unwrap().accounts.len(), BUCKETS_MAX);
        assert_eq!(throttle.0.lock().unwrap().addresses.len(), BUCKETS_MAX);
        assert!(throttle.admit("ada", address(2), start()).is_err());
    }

    proptest! {
        #[test]
        fn in_any_span_no_more_tries_pass_than_five_and_one_per_half_minute(gaps in prop::collection::vec(0_i64..40_000, 1..60)) {
            let throttle = LoginThrottle::new();
            let (mut now, mut passed) = (0_i64, Vec::new());
            for gap in gaps {
                now += gap;
                if throttle.admit("ada", address(1), Timestamp::from_millisecond(now).unwrap()).is_ok() {
                    passed.push(now);
                }
            }
            for (first, from) in passed.iter().enumerate() {
                for (last, to) in passed.iter().enumerate().skip(first) {
                    let tries = i64::try_from(last - first + 1).unwrap();
                    prop_assert!(tries <= TRIES_MAX + (to - from) / REFILL_MS);
                }
            }
        }
    }
}
