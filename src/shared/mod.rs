//! What several instances share: one Redis, asked within 50 ms or done without.
//!
//! Nothing depends on it. Whoever asks gets `None` when there is no answer in time, and goes on as one instance by itself would:
//! the cache misses, limits are this instance's own. After a few failures in a row nobody asks for a while ([`Breaker`]),
//! so that a Redis that is away costs calls nothing. What is kept there of answers is sealed ([`Shared::seal`]): who can
//! write into the Redis but doesn't have the secret can take answers away, but not put others in their place. Budgets are
//! never asked for here.

mod breaker;
mod seal;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{Client, Cmd, FromRedisValue, IntoConnectionInfo as _, RedisError, TlsCertificates};

use crate::domain::Secret;
use breaker::Breaker;
use seal::Seal;

/// The longest that anybody waits for an answer: a neighbour's Redis takes less than one.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(50);
/// The longest that somebody waits who is not a call: who takes entries out wants to know that it was done.
const LEISURE_TIME_MAX: Duration = Duration::from_secs(5);
/// The longest that making a connection may take, which nobody waits for.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a connection may take what is sent without a sign of life.
const SILENCE_TIME_MAX: Duration = Duration::from_secs(5);
/// What the names of everything that is kept there begin with; the number goes up with the form of what is kept.
const PREFIX: &str = "tollgate:1:";

/// Why the Redis of the settings can't be used at all; one that is only away is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// The address or the certificates are wrong.
    #[error("redis_url can't be used: {0}")]
    Address(String),
    /// The file of certificates can't be read.
    #[error("{path} can't be read")]
    Authorities {
        /// The file.
        path: std::path::PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

/// A Redis that instances share.
pub struct Shared {
    connection: ConnectionManager,
    breaker: Mutex<Breaker>,
    seal: Seal,
    asked: AtomicU64,
    failed: AtomicU64,
}

/// How a Redis has behaved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedStats {
    /// Whether it is asked at the moment.
    pub reachable: bool,
    /// How often it was asked since the process began.
    pub asked: u64,
    /// How often it gave no answer, or not in time.
    pub failed: u64,
}

impl Shared {
    /// Gets ready to ask a Redis; the connection is made by the first who does. `secret` seals what is kept, and without one the
    /// address does, password included. To be called on the runtime that will last.
    pub fn new(
        url: &Secret<String>,
        secret: Option<&Secret<String>>,
        ca_file: Option<&Path>,
    ) -> Result<Self, SharedError> {
        // The library's errors may repeat the address, which holds a password.
        let refused = |error: RedisError| SharedError::Address(error.category().to_owned());
        let info = url.expose().as_str().into_connection_info().map_err(refused)?.set_tcp_settings(tcp());
        let client = match ca_file {
            Some(path) if url.expose().starts_with("rediss:") => {
                let read = std::fs::read(path);
                let pem = read.map_err(|source| SharedError::Authorities { path: path.to_owned(), source })?;
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
                Client::build_with_tls(info, certificates)
            }
            _ => Client::open(info),
        };
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIME_MAX))
            // Waited for here, so that what is late is counted.
            .set_response_timeout(None)
            .set_number_of_retries(0);
        let connection = ConnectionManager::new_lazy_with_config(client.map_err(refused)?, config).map_err(refused)?;
        Ok(Self {
            connection,
            breaker: Mutex::default(),
            seal: Seal::new(secret.unwrap_or(url)),
            asked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// How it has behaved.
    pub fn stats(&self) -> SharedStats {
        SharedStats {
            reachable: self.breaker().is_closed(),
            asked: self.asked.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// What is kept under some names; of a name without anything, nothing.
    pub async fn fetch(&self, names: &[String]) -> Option<Vec<Option<Vec<u8>>>> {
        self.ask(&mget(names)).await
    }

    /// The same for no call: it may take its time, and no call goes without the Redis because it did.
    pub async fn fetch_at_leisure(&self, names: &[String]) -> Option<Vec<Option<Vec<u8>>>> {
        self.ask_at_leisure(&mget(names)).await
    }

    /// Keeps something for a time, where as many lines of a list were ever announced as whoever keeps it has read.
    pub async fn keep_unless_announced(
        &self,
        name: &str,
        value: &[u8],
        time: Duration,
        list: &str,
        read: i64,
    ) -> Option<bool> {
        const SCRIPT: &str = "if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[3] then return 0 end redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1";
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(2).arg(full(name)).arg(full(&format!("{list}:count")));
        command.arg(value).arg(milliseconds).arg(read);
        self.ask(&command).await
    }

    /// Takes some names out, at leisure; returns how many there were.
    pub async fn forget(&self, names: &[String]) -> Option<u64> {
        if names.is_empty() {
            return Some(0);
        }
        let mut command = redis::cmd("UNLINK");
        for name in names {
            command.arg(full(name));
        }
        self.ask_at_leisure(&command).await
    }

    /// One page of the names that begin so, at leisure, and where the next one begins: 0 at the start, and at the end.
    pub async fn names(&self, beginning: &str, cursor: u64) -> Option<(u64, Vec<String>)> {
        /// Names looked at in one go: few enough to hold nobody else up.
        const PAGE_LEN: u32 = 500;
        let pattern = format!("{}*", full(beginning));
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(PAGE_LEN);
        let (cursor, names): (u64, Vec<String>) = self.ask_at_leisure(&scan).await?;
        let own = |name: String| name.strip_prefix(PREFIX).map(ToOwned::to_owned);
        Some((cursor, names.into_iter().filter_map(own).collect()))
    }

    /// Runs a script over some names with some numbers; its answer is a number.
    pub async fn run(&self, script: &'static str, names: &[String], numbers: &[i64]) -> Option<i64> {
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(names.len());
        for name in names {
            command.arg(full(name));
        }
        command.arg(numbers);
        self.ask(&command).await
    }

    /// Adds a line to a list that keeps its last `len_max`, and counts it, at leisure; returns the count of all lines ever.
    pub async fn announce(&self, list: &str, line: &str, len_max: i64) -> Option<i64> {
        /// The two belong together: a count without its line would be taken for a lost one.
        const SCRIPT: &str = "redis.call('RPUSH', KEYS[1], ARGV[1]) redis.call('LTRIM', KEYS[1], -ARGV[2], -1) return redis.call('INCR', KEYS[2])";
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(2).arg(full(list)).arg(full(&format!("{list}:count"))).arg(line).arg(len_max);
        self.ask_at_leisure(&command).await
    }

    /// How many lines a list has ever had, and those that it still has.
    pub async fn announced(&self, list: &str) -> Option<(i64, Vec<String>)> {
        const SCRIPT: &str = "return {redis.call('GET', KEYS[2]) or '0', redis.call('LRANGE', KEYS[1], 0, -1)}";
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(2).arg(full(list)).arg(full(&format!("{list}:count")));
        let (count, lines): (String, Vec<String>) = self.ask(&command).await?;
        Some((count.parse().unwrap_or(0), lines))
    }

    /// Closes something up so that nobody without the secret can make its like, or pass it off under another name.
    pub fn seal(&self, name: &str, value: &[u8]) -> Vec<u8> {
        self.seal.close(name, value)
    }

    /// What a seal holds; nothing where it isn't ours, or isn't for this name.
    pub fn unseal<'a>(&self, name: &str, sealed: &'a [u8]) -> Option<&'a [u8]> {
        self.seal.open(name, sealed)
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Option<T> {
        let begun = Instant::now();
        if !self.breaker().may_ask(begun) {
            return None;
        }
        match self.answer(command, ANSWER_TIME_MAX).await {
            Ok(answer) => {
                if self.breaker().worked(begun) {
                    tracing::info!("the Redis answers again: the cache and the limits are shared");
                }
                Some(answer)
            }
            Err(trouble) => {
                if self.breaker().failed(begun, Instant::now()) {
                    tracing::warn!(
                        "the Redis does not answer ({trouble}): this instance goes on with its own cache and limits"
                    );
                }
                None
            }
        }
    }

    async fn ask_at_leisure<T: FromRedisValue>(&self, command: &Cmd) -> Option<T> {
        let answer = self.answer(command, LEISURE_TIME_MAX).await;
        answer.inspect_err(|trouble| tracing::warn!("the Redis does not answer ({trouble})")).ok()
    }

    /// The answer to a command, or in a few words why there is none.
    async fn answer<T: FromRedisValue>(&self, command: &Cmd, time_max: Duration) -> Result<T, String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut connection = self.connection.clone();
        let answer = match tokio::time::timeout(time_max, command.query_async(&mut connection)).await {
            // The kind alone: the text may repeat what was asked, and so a prompt or a password.
            Ok(answer) => answer.map_err(|error| error.category().to_owned()),
            Err(_) => Err(format!("no answer within {} ms", time_max.as_millis())),
        };
        if answer.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().expect("no holder of this lock panics")
    }
}

/// How a connection is noticed to be dead of which the network says nothing: one that a firewall has forgotten takes what is sent
/// for a quarter of an hour otherwise, and the Redis is held to be away as long.
fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(SILENCE_TIME_MAX).with_interval(SILENCE_TIME_MAX);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(SILENCE_TIME_MAX);
    settings
}

fn mget(names: &[String]) -> Cmd {
    let mut command = redis::cmd("MGET");
    for name in names {
        command.arg(full(name));
    }
    command
}

fn full(name: &str) -> String {
    format!("{PREFIX}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_is_silent_is_asked_whether_it_lives() {
        let settings = tcp();
        assert!(settings.nodelay() && settings.keepalive().is_some());
        #[cfg(target_os = "linux")]
        assert_eq!(settings.user_timeout(), Some(SILENCE_TIME_MAX));
    }
}
