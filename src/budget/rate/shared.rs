//! The limits of a minute, held by all instances together through their Redis.
//!
//! The same algorithm as in memory: an instant for each key and limit, by the Redis's own clock, changed by a script, so
//! that no two instances take the same room. Each instance keeps its own account beside it, and goes by that alone where
//! the Redis doesn't answer: then a key has as many times its limit as there are instances, and never less than it.

use std::sync::Arc;
use std::time::Duration;

use super::{MINUTE, RateLimited, Spent, worth};
use crate::domain::KeyId;
use crate::runtime::Tasks;
use crate::shared::Shared;

/// Takes from every limit or from none. Numbers: what has to fit into the minute, and what is taken, in microseconds, for each
/// name. Answers 0, or twice the longest wait, odd where it is the second's.
const TAKE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local longest, whose = 0, 1
local owed = {}
for i, name in ipairs(KEYS) do
  owed[i] = math.max(0, (tonumber(redis.call('GET', name) or '0') or 0) - now)
  local wait = owed[i] + ARGV[2 * i - 1] - 60000000
  if wait > longest then longest, whose = wait, i end
end
if longest > 0 then return math.ceil(longest) * 2 + whose - 1 end
for i, name in ipairs(KEYS) do
  local owes = owed[i] + ARGV[2 * i]
  redis.call('SET', name, string.format('%.0f', now + owes), 'PX', math.ceil(owes / 1000) + 1)
end
return 0
";

/// Changes what is owed by so many microseconds, never below nothing.
const CORRECT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local owes = math.max(0, (tonumber(redis.call('GET', KEYS[1]) or '0') or 0) - now) + ARGV[1]
if owes <= 0 then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], string.format('%.0f', now + owes), 'PX', math.ceil(owes / 1000) + 1)
return 0
";

const _: () = assert!(MINUTE.as_micros() == 60_000_000, "the script says it in digits");

/// The limits in a Redis.
pub(super) struct SharedRates {
    shared: Arc<Shared>,
    tasks: Tasks,
}

impl SharedRates {
    pub(super) fn new(shared: Arc<Shared>, tasks: Tasks) -> Self {
        Self { shared, tasks }
    }

    /// Takes a call and its tokens, each given as what is taken of which limit; lets it go where nobody answers.
    pub(super) async fn take(
        &self,
        key: &KeyId,
        requests: Option<u64>,
        tokens: Option<(u64, u64)>,
    ) -> Result<(), RateLimited> {
        let (mut names, mut numbers, mut limits) = (Vec::new(), Vec::new(), Vec::new());
        let mut add = |name, units: u64, limit: u64, spent| {
            names.push(name);
            numbers.extend([micros(worth(units.min(limit), limit)), micros(worth(units, limit))]);
            limits.push(spent);
        };
        if let Some(limit) = requests {
            add(format!("limit:requests:{key}"), 1, limit, Spent::Requests { limit });
        }
        if let Some((asked, limit)) = tokens {
            add(tokens_of(key), asked, limit, Spent::Tokens { limit, asked });
        }
        let Some(answer) = self.shared.run(TAKE, &names, &numbers).await.filter(|&answer| answer > 0) else {
            return Ok(());
        };
        let wait = Duration::from_micros(u64::try_from(answer / 2).unwrap_or(0));
        let spent = limits.get(usize::from(answer % 2 == 1)).or(limits.first());
        let Some(&spent) = spent else { return Ok(()) };
        // Who comes back after so many milliseconds must not be early.
        let retry_after = Duration::from_millis(u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX));
        Err(RateLimited { spent, retry_after })
    }

    /// Sets right what was taken as an estimate; nobody waits for it.
    pub(super) fn correct(&self, key: &KeyId, estimated: u64, used: u64, limit: u64) {
        let change = match used.checked_sub(estimated) {
            Some(0) => return,
            Some(more) => micros(worth(more, limit)),
            None => -micros(worth(estimated - used, limit)),
        };
        let (shared, name) = (Arc::clone(&self.shared), tokens_of(key));
        self.tasks.spawn(async move { shared.run(CORRECT, &[name], &[change]).await });
    }
}

fn tokens_of(key: &KeyId) -> String {
    format!("limit:tokens:{key}")
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
