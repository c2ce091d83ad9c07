//! How much a virtual key may do in a minute and at once.
//!
//! Requests and tokens of a minute are kept by the generic cell rate algorithm: one instant a limit, at which all that
//! was taken would be paid off if it came evenly. A key may take a whole minute's worth at once, and goes on as the
//! minute passes; no counter is reset, so there is no edge of a window at which twice as much gets through.
//!
//! Tokens are taken at admission by an estimate and corrected when the call's usage is known. A call that is larger than
//! the limit itself goes when nothing is owed, and the minutes after pay for it: refused for ever, it would be a limit
//! on the size of calls, which this is not. Everything lies in memory: a restart forgives. Instances that share a Redis hold the
//! limits of a minute together (`shared`); calls at once are each instance's own. Time comes in as a value.

mod shared;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::config::LimitsConfig;
use crate::domain::KeyId;
use crate::keys::{KeyLimits, VirtualKey};
use crate::runtime::Tasks;
use crate::shared::Shared;
use shared::SharedRates;

/// What limits are counted over.
const MINUTE: Duration = Duration::from_mins(1);
/// How soon a place among the calls that run may be free: nobody can know.
const PLACE_WAIT: Duration = Duration::from_secs(1);
/// Keys that are remembered before those that owe nothing are forgotten; doubles as it must.
const KEYS_REMEMBERED: usize = 1_024;

/// What a key has used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// Its calls of a minute.
    Requests {
        /// How many those are.
        limit: u64,
    },
    /// Its tokens of a minute.
    Tokens {
        /// How many those are.
        limit: u64,
        /// How many the call was taken to need.
        asked: u64,
    },
    /// Its calls at once.
    Places {
        /// How many those are.
        limit: u64,
    },
}

/// Why a call may not go yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimited {
    /// What is used up.
    pub spent: Spent,
    /// When the same call may go, if nothing else does meanwhile.
    pub retry_after: Duration,
}

impl fmt::Display for RateLimited {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.retry_after.as_secs_f64().ceil();
        match self.spent {
            Spent::Requests { limit } => {
                write!(formatter, "this key may make {limit} calls a minute, and has: try again in {seconds} s")
            }
            Spent::Tokens { limit, asked } => write!(
                formatter,
                "this key may use {limit} tokens a minute, and this call of about {asked} is too many for now: try again in {seconds} s"
            ),
            Spent::Places { limit } => {
                write!(
                    formatter,
                    "this key may have {limit} calls running at once, and has: try again when one has ended"
                )
            }
        }
    }
}

/// The instant at which all that was taken would be paid off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PaidOff(Option<Instant>);

impl PaidOff {
    fn owed(self, now: Instant) -> Duration {
        self.0.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// How long `units` have to wait; more than the limit wait until nothing is owed.
    fn wait(self, now: Instant, units: u64, limit: u64) -> Duration {
        let wait = (self.owed(now) + worth(units.min(limit), limit)).saturating_sub(MINUTE);
        // Who comes back after so many milliseconds must not be early.
        Duration::from_millis(u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }

    fn take(&mut self, now: Instant, units: u64, limit: u64) {
        self.0 = now.checked_add(self.owed(now).saturating_add(worth(units, limit)));
    }

    /// Sets right what was taken as `estimated` units and turned out to be `used`.
    fn correct(&mut self, now: Instant, estimated: u64, used: u64, limit: u64) {
        let owed = self.owed(now);
        let owed = match used.checked_sub(estimated) {
            Some(more) => owed.saturating_add(worth(more, limit)),
            None => owed.saturating_sub(worth(estimated - used, limit)),
        };
        self.0 = now.checked_add(owed);
    }
}

/// The part of a minute that units take up; rounded down, so that exactly the limit fits into one. A day at most: one call
/// that went wrong must not close a key for good.
fn worth(units: u64, limit: u64) -> Duration {
    let nanos = MINUTE.as_nanos() * u128::from(units) / u128::from(limit.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(Duration::from_hours(24))
}

/// How a key stands.
#[derive(Clone, Copy, Debug, Default)]
struct KeyRate {
    requests: PaidOff,
    tokens: PaidOff,
    running: u64,
}

impl KeyRate {
    /// Takes a call in, or says what it has to wait for; a call that may not go takes nothing.
    fn admit(&mut self, limits: &KeyLimits, tokens: u64, now: Instant) -> Result<(), RateLimited> {
        if let Some(limit) = limits.concurrent_requests
            && self.running >= limit
        {
            return Err(RateLimited { spent: Spent::Places { limit }, retry_after: PLACE_WAIT });
        }
        let requests = limits.requests_per_minute.map(|limit| {
            let retry_after = self.requests.wait(now, 1, limit);
            RateLimited { spent: Spent::Requests { limit }, retry_after }
        });
        let tokens_wait = limits.tokens_per_minute.map(|limit| {
            let retry_after = self.tokens.wait(now, tokens, limit);
            RateLimited { spent: Spent::Tokens { limit, asked: tokens }, retry_after }
        });
        let longest = requests.into_iter().chain(tokens_wait).max_by_key(|limited| limited.retry_after);
        if let Some(limited) = longest
            && !limited.retry_after.is_zero()
        {
            return Err(limited);
        }
        if let Some(limit) = limits.requests_per_minute {
            self.requests.take(now, 1, limit);
        }
        if let Some(limit) = limits.tokens_per_minute {
            self.tokens.take(now, tokens, limit);
        }
        self.running += 1;
        Ok(())
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.running == 0 && self.requests.owed(now).is_zero() && self.tokens.owed(now).is_zero()
    }
}

/// What the keys have used of their limits.
pub struct Rates {
    book: Mutex<Book>,
    /// What all instances have used, where they share a Redis.
    shared: Option<SharedRates>,
}

struct Book {
    keys: HashMap<KeyId, KeyRate>,
    forget_at: usize,
}

impl Rates {
    /// Nothing is used yet. With a Redis, all who share it hold the limits of a minute together.
    pub fn new(shared: Option<Arc<Shared>>, tasks: Tasks) -> Self {
        let shared = shared.map(|shared| SharedRates::new(shared, tasks));
        Self { book: Mutex::new(Book { keys: HashMap::new(), forget_at: KEYS_REMEMBERED }), shared }
    }

    /// Lets a call of a key go, or says how long it has to wait. The settings hold for keys that have no limit of their own;
    /// `tokens` is asked only where they are limited.
    pub fn admit(
        self: &Arc<Self>,
        key: &VirtualKey,
        settings: &LimitsConfig,
        tokens: impl FnOnce() -> u64,
        now: Instant,
    ) -> Result<Pass, RateLimited> {
        let limits = limits_of(key, settings);
        if limits == KeyLimits::default() {
            return Ok(Pass(None));
        }
        let tokens = if limits.tokens_per_minute.is_some() { tokens() } else { 0 };
        let mut book = self.book();
        if book.keys.len() >= book.forget_at {
            book.keys.retain(|_, rate| !rate.is_idle(now));
            book.forget_at = (book.keys.len() * 2).max(KEYS_REMEMBERED);
        }
        book.keys.entry(key.id.clone()).or_default().admit(&limits, tokens, now)?;
        let tokens = limits.tokens_per_minute.map(|limit| (tokens, limit));
        let requests = limits.requests_per_minute;
        Ok(Pass(Some(Running { rates: Arc::clone(self), key: key.id.clone(), requests, tokens })))
    }

    /// Asks whether the other instances have left room for a call that was let go here; a pass that is refused is given
    /// back as if it had never been.
    pub async fn confirm(&self, pass: Pass, now: Instant) -> Result<Pass, RateLimited> {
        let (Some(shared), Some(running)) = (&self.shared, &pass.0) else { return Ok(pass) };
        if running.requests.is_none() && running.tokens.is_none() {
            return Ok(pass);
        }
        let taken = shared.take(&running.key, running.requests, running.tokens).await;
        if let Err(limited) = taken {
            if let Some(rate) = self.book().keys.get_mut(&running.key) {
                if let Some(limit) = running.requests {
                    rate.requests.correct(now, 1, 0, limit);
                }
                if let Some((estimated, limit)) = running.tokens {
                    rate.tokens.correct(now, estimated, 0, limit);
                }
            }
            return Err(limited);
        }
        Ok(pass)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no holder of this lock panics")
    }
}

fn limits_of(key: &VirtualKey, settings: &LimitsConfig) -> KeyLimits {
    let own = &key.limits;
    KeyLimits {
        requests_per_minute: own.requests_per_minute.or(settings.requests_per_minute),
        tokens_per_minute: own.tokens_per_minute.or(settings.tokens_per_minute),
        concurrent_requests: own.concurrent_requests,
    }
}

/// The right of a call to run, given back when it is dropped.
#[must_use]
pub struct Pass(Option<Running>);

struct Running {
    rates: Arc<Rates>,
    key: KeyId,
    /// The limit that the call itself was taken of.
    requests: Option<u64>,
    /// The tokens that were taken, of which limit.
    tokens: Option<(u64, u64)>,
}

impl Pass {
    /// Corrects the estimate: the call has used so many tokens. To be told once; untold, the estimate stands.
    pub fn used(&self, used: u64, now: Instant) {
        let Some(Running { rates, key, tokens: Some((estimated, limit)), .. }) = &self.0 else { return };
        if let Some(rate) = rates.book().keys.get_mut(key) {
            rate.tokens.correct(now, *estimated, used, *limit);
        }
        if let Some(shared) = &rates.shared {
            shared.correct(key, *estimated, used, *limit);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(rate) = self.rates.book().keys.get_mut(&self.key) {
            rate.running = rate.running.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests;
