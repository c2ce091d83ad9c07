//! What happens around a call: the response cache, the ledger, streams, and what is kept of it.

use std::time::Duration;

use super::choice::choice_type;
use super::defaults;
use super::given::duration_in;
use super::quantities::show_duration;
use super::reader::Section;
use crate::domain::Picodollars;

/// The response cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// Whether there is one.
    pub enabled: bool,
    /// How long an answer is good.
    pub ttl: Duration,
    /// How much memory it may take.
    pub bytes_max: u64,
    /// Who shares answers.
    pub scope: CacheScope,
    /// Whether only calls at temperature 0 are cached.
    pub deterministic_only: bool,
    /// Answers by meaning.
    pub semantic: SemanticConfig,
}

/// Answers by meaning, not only by equal text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SemanticConfig {
    /// Whether they are given.
    pub enabled: bool,
    /// How near a question must be.
    pub matching: SemanticMatch,
}

choice_type!(
    /// Who shares cached answers.
    CacheScope {
        /// Calls of the same virtual key.
        Key = "key",
        /// Calls of the same team.
        Team = "team",
        /// All calls.
        Global = "global",
    }
);

choice_type!(
    /// How near the meaning of a question must be to that of a stored one.
    SemanticMatch {
        /// Nearly the same words.
        Strict = "strict",
        /// The same question in other words.
        Balanced = "balanced",
        /// A like question.
        Loose = "loose",
    }
);

/// The ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerConfig {
    /// When an entry counts as written.
    pub durability: Durability,
}

choice_type!(
    /// When an entry of the ledger counts as written.
    Durability {
        /// Once it is on the disk: a power cut loses nothing.
        Strict = "strict",
        /// Before the disk has it: a crash may lose the last moments.
        Relaxed = "relaxed",
    }
);

/// Streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamsConfig {
    /// What happens when the client hangs up.
    pub on_disconnect: OnDisconnect,
    /// How much may be spent on reading on for the usage.
    pub drain_usd_max: Picodollars,
}

choice_type!(
    /// What happens to a stream whose client hung up.
    OnDisconnect {
        /// It is read on to the usage, within limits.
        Drain = "drain",
        /// It is cancelled at once.
        Cancel = "cancel",
    }
);

/// What is kept of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Whose contents are kept.
    pub bodies: Bodies,
    /// How long contents are kept; nothing means for ever.
    pub retention: Option<Duration>,
    /// How long entries of the ledger are kept; nothing means for ever.
    pub entries_retention: Option<Duration>,
}

choice_type!(
    /// Whose contents are kept.
    Bodies {
        /// Nobody's.
        Off = "off",
        /// Those of calls that failed.
        Errors = "errors",
        /// Those of all calls.
        Full = "full",
    }
);

/// Reads `[cache]`.
pub(super) fn read_cache(root: &mut Section<'_>) -> CacheConfig {
    root.section("cache", |cache| CacheConfig {
        enabled: cache.boolean_or("enabled", true),
        ttl: cache.duration_or("ttl", defaults::CACHE_TTL, defaults::SHORTEST..=defaults::TEN_YEARS),
        // One long answer takes tens of KiB, so less than a MiB would hold nothing.
        bytes_max: cache.size_or("bytes_max", defaults::CACHE_BYTES_MAX, 1 << 20..=1 << 40),
        scope: cache.choice_or("scope", CacheScope::Key),
        deterministic_only: cache.boolean_or("deterministic_only", false),
        semantic: cache.section("semantic", |semantic| SemanticConfig {
            enabled: semantic.boolean_or("enabled", false),
            matching: semantic.choice_or("match", SemanticMatch::Strict),
        }),
    })
}

/// Reads `[ledger]`.
pub(super) fn read_ledger(root: &mut Section<'_>) -> LedgerConfig {
    root.section("ledger", |ledger| LedgerConfig { durability: ledger.choice_or("durability", Durability::Strict) })
}

/// Reads `[streams]`.
pub(super) fn read_streams(root: &mut Section<'_>) -> StreamsConfig {
    root.section("streams", |streams| StreamsConfig {
        on_disconnect: streams.choice_or("on_disconnect", OnDisconnect::Drain),
        drain_usd_max: streams.money_or("drain_usd_max", defaults::DRAIN_USD_MAX),
    })
}

/// Reads `[log]`.
pub(super) fn read_log(root: &mut Section<'_>) -> LogConfig {
    root.section("log", |log| LogConfig {
        bodies: log.choice_or("bodies", Bodies::Off),
        retention: read_retention(log, "retention", Some(defaults::LOG_RETENTION)),
        entries_retention: read_retention(log, "entries_retention", None),
    })
}

/// A time to keep something, or `"forever"`.
fn read_retention(log: &mut Section<'_>, key: &'static str, default: Option<Duration>) -> Option<Duration> {
    const FOREVER: &str = "forever";
    // Shorter than an hour would delete what somebody is looking at.
    let range = Duration::from_hours(1)..=defaults::TEN_YEARS;
    let retention = log.value(key, |given| match given.text() {
        Ok(FOREVER) => Ok((None, FOREVER.into())),
        _ => duration_in(given, &range).map(|(duration, shown)| (Some(duration), shown)),
    });
    retention.unwrap_or_else(|| {
        log.show(key, default.map_or_else(|| FOREVER.to_owned(), show_duration));
        default
    })
}
