//! Whether the response cache does its work, and the Redis behind it answers.

use super::report::Check;
use crate::cache::Stats;
use crate::config::CacheConfig;
use crate::domain::wording::{count_exact, percent, size};
use crate::shared::SharedStats;

const NAME: &str = "cache health";
/// Before so many calls a rate says nothing.
const CALLS_MIN: u64 = 100;
/// A cache whose answers go for want of room more often than they are asked for again is too small.
const FULL_PERCENT: u64 = 90;

/// Whether the cache in memory does its work; without figures no server runs.
pub(super) fn memory(config: &CacheConfig, stats: Option<&Stats>) -> Check {
    if !config.enabled {
        return Check::skipped(NAME, "the cache is switched off ([cache] enabled = false)");
    }
    let Some(stats) = stats else { return Check::skipped(NAME, "only a running server has a cache in memory") };
    let asked = stats.hits + stats.misses;
    let rate = format!("{} of {} calls were answered from it", percent(stats.hit_rate() * 100.0), count_exact(asked));
    let room = format!("{} of {} used", size(stats.bytes), size(config.bytes_max));
    let is_full = stats.bytes.saturating_mul(100) >= config.bytes_max.saturating_mul(FULL_PERCENT);
    let check = if is_full && stats.evictions > stats.hits && asked >= CALLS_MIN {
        let found = format!("{rate}, and {} answers had to go for want of room; {room}", count_exact(stats.evictions));
        let larger = (config.bytes_max >> 19).max(1);
        Check::warning(NAME, found, format!("[cache]\nbytes_max = \"{larger}MiB\""))
    } else if asked == 0 {
        Check::ok(NAME, "nothing was asked of it since the start")
    } else {
        Check::ok(NAME, format!("{rate}; {room}, {} had to go", count_exact(stats.evictions)))
    };
    check
        .number("hits", stats.hits)
        .number("misses", stats.misses)
        .number("evictions", stats.evictions)
        .number("bytes", stats.bytes)
}

/// Whether the Redis answers: what it has done so far, and whether it did just now.
pub(super) fn redis(stats: SharedStats, answers: bool) -> Check {
    let failed = format!("{} of {} questions failed", count_exact(stats.failed), count_exact(stats.asked));
    let check = match (answers, stats.reachable) {
        (true, true) => Check::ok(NAME, format!("the Redis answers; {failed}")),
        (true, false) => Check::warning(
            NAME,
            format!("the Redis answers again, and its breaker is open for some seconds more; {failed}"),
            "wait 15 s and look again",
        ),
        (false, _) => Check::problem(
            NAME,
            format!(
                "the Redis does not answer within 50 ms: this instance has a cache and limits of its own; {failed}"
            ),
            "redis-cli -u \"$REDIS_URL\" ping   # the address of redis_url; or take redis_url out of tollgate.toml",
        ),
    };
    check.about("redis").number("asked", stats.asked).number("failed", stats.failed)
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;
    use crate::config::Config;

    fn config(text: &str) -> CacheConfig {
        Config::from_toml(text).unwrap().cache
    }

    fn check(found: &Check, verdict: Verdict, expected: &str) {
        assert!(found.verdict == verdict && found.found.contains(expected), "{found:?}");
        assert_eq!(found.mend.is_some(), verdict >= Verdict::Warning, "{found:?}");
    }

    #[test]
    fn a_cache_is_too_small_when_answers_go_before_they_are_asked_for_again() {
        let small = config("[cache]\nbytes_max = \"1MiB\"");
        let stats = Stats { bytes: 1 << 20, hits: 40, misses: 60, evictions: 50, ..Stats::default() };
        let found = memory(&small, Some(&stats));
        check(&found, Verdict::Warning, "40.0% of 100 calls were answered from it, and 50 answers had to go");
        let mend = found.mend.unwrap();
        assert_eq!(mend, "[cache]\nbytes_max = \"2MiB\"");
        assert_eq!(config(&mend).bytes_max, 2 << 20, "the line can be pasted as it is");
        check(&memory(&small, Some(&Stats { evictions: 39, ..stats })), Verdict::Ok, "39 had to go");
        check(&memory(&small, Some(&Stats { bytes: 1_000, ..stats })), Verdict::Ok, "1,000 bytes of 1.0 MiB");
        check(&memory(&small, Some(&Stats { misses: 1, hits: 1, ..stats })), Verdict::Ok, "50.0% of 2 calls");
    }

    #[test]
    fn a_cache_that_is_not_there_is_passed_over() {
        check(&memory(&config("[cache]\nenabled = false"), Some(&Stats::default())), Verdict::Skipped, "switched off");
        check(&memory(&config(""), None), Verdict::Skipped, "only a running server");
        check(&memory(&config(""), Some(&Stats::default())), Verdict::Ok, "nothing was asked");
    }

    #[test]
    fn a_redis_answers_or_does_not() {
        let stats = SharedStats { reachable: true, asked: 10, failed: 3 };
        check(&redis(stats, true), Verdict::Ok, "3 of 10 questions failed");
        check(&redis(SharedStats { reachable: false, ..stats }, true), Verdict::Warning, "answers again");
        check(&redis(stats, false), Verdict::Problem, "does not answer");
    }
}
