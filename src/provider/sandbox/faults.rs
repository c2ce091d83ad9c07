//! What goes wrong, and when: by the rates of the settings, or because one call asked for it.
//!
//! The header `x-tollgate-sandbox: latency=50ms,error=429,retry_after=2` holds for one call and wins over the
//! settings. Names: `latency`, `chunk_delay` (durations), `error` (a status of 400 to 599), `retry_after` (seconds),
//! `hang`, `cut` (breaks off half-way, whole bodies too), `stream_error` (a stream's error record half-way; nothing where the call
//! doesn't stream) as `true` or `false`, and `tokens` (the length of the text, at most 100000 for all choices together). A name given twice counts as the last says.
//!
//! Rates are rolled for `POST` only, by the content of the request: the same request meets the same fate, unless
//! an SDK says with `x-stainless-retry-count` that it tries again.

use std::time::Duration;

use http::HeaderMap;

use super::refusal::Refusal;
use super::reply::Reply;
use super::seed::Seed;
use super::{SandboxRequest, SandboxSettings};

const HEADER: &str = "x-tollgate-sandbox";
const KNOWN: &str = "latency, chunk_delay, error, retry_after, hang, cut, stream_error, tokens";
/// A stream of this length is some 20 MB: enough for any test, and not enough to hurt.
pub(super) const TOKENS_MAX: u64 = 100_000;
/// Longer waits than this are taken for a slip of the unit.
const DELAY_MAX: Duration = Duration::from_hours(1);

/// What one call asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Overrides {
    pub(super) latency: Option<Duration>,
    pub(super) chunk_delay: Option<Duration>,
    pub(super) error: Option<u16>,
    pub(super) retry_after: Option<u64>,
    pub(super) hang: bool,
    pub(super) cut: bool,
    pub(super) stream_error: bool,
    pub(super) tokens: Option<u64>,
}

impl Overrides {
    /// Reads the header, all of it where it came several times.
    pub(super) fn parse(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut overrides = Self::default();
        for value in headers.get_all(HEADER) {
            let text = value.to_str().map_err(|_| wrong("its value", "visible ASCII"))?;
            for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
                let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
                overrides.set(name.trim(), value.trim())?;
            }
        }
        Ok(overrides)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        match name {
            "latency" => self.latency = Some(duration(name, value)?),
            "chunk_delay" => self.chunk_delay = Some(duration(name, value)?),
            "error" => {
                let status = value.parse().ok().filter(|status| (400..=599).contains(status));
                self.error = Some(status.ok_or_else(|| wrong(name, "a status from 400 to 599"))?);
            }
            "retry_after" => {
                let seconds = value.parse().map_err(|_| wrong(name, "whole seconds, as in retry_after=2"))?;
                self.retry_after = Some(seconds);
            }
            "hang" => self.hang = flag(name, value)?,
            "cut" => self.cut = flag(name, value)?,
            "stream_error" => self.stream_error = flag(name, value)?,
            "tokens" => {
                let tokens = value.parse().ok().filter(|tokens| (1..=TOKENS_MAX).contains(tokens));
                self.tokens = Some(tokens.ok_or_else(|| wrong(name, "a number from 1 to 100000"))?);
            }
            _ => return Err(Refusal::invalid(format!("{HEADER} has no \"{name}\"; it knows {KNOWN}"))),
        }
        Ok(())
    }
}

fn wrong(name: &str, expected: &str) -> Refusal {
    Refusal::invalid(format!("{HEADER}: {name} has to be {expected}"))
}

fn duration(name: &str, value: &str) -> Result<Duration, Refusal> {
    humantime::parse_duration(value)
        .ok()
        .filter(|duration| *duration <= DELAY_MAX)
        .ok_or_else(|| wrong(name, "a duration of at most an hour, as in 50ms"))
}

fn flag(name: &str, value: &str) -> Result<bool, Refusal> {
    value.parse().map_err(|_| wrong(name, "true or false"))
}

/// What chance decided.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Hang,
    Status(u16),
}

/// Rolls for a request that is sound.
pub(super) fn roll(settings: &SandboxSettings, request: &SandboxRequest<'_>, seed: Seed) -> Option<Fault> {
    if request.method != "POST" {
        return None;
    }
    let tries = request.headers.get("x-stainless-retry-count").and_then(|count| count.to_str().ok()?.parse().ok());
    let mut dice = seed.part("faults", tries.unwrap_or(0)).dice();
    // All three are rolled whatever the rates are, so that changing one leaves the others as they were.
    let (hangs, is_limited, fails) =
        (dice.chance(settings.hang_rate), dice.chance(settings.rate_limit_rate), dice.chance(settings.error_rate));
    if hangs {
        Some(Fault::Hang)
    } else if is_limited {
        Some(Fault::Status(429))
    } else {
        fails.then_some(Fault::Status(500))
    }
}

/// The reply, broken as the call asked.
pub(super) fn broken(reply: Reply, overrides: &Overrides, status: u16) -> Reply {
    match reply {
        // An error answer is fault enough.
        reply if status != 200 => reply,
        Reply::Stream(_) if overrides.stream_error => reply.cut(true),
        reply if overrides.cut => reply.cut(false),
        reply => reply,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parse(text: &'static str) -> Result<Overrides, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_static(text));
        Overrides::parse(&headers)
    }

    #[test]
    fn every_name_is_read() {
        let overrides =
            parse("latency=50ms, chunk_delay=5ms,error=500,error=429,retry_after=2,hang=true,cut=true,tokens=50")
                .unwrap();
        let expected = Overrides {
            latency: Some(Duration::from_millis(50)),
            chunk_delay: Some(Duration::from_millis(5)),
            error: Some(429),
            retry_after: Some(2),
            hang: true,
            cut: true,
            stream_error: false,
            tokens: Some(50),
        };
        assert_eq!(overrides, expected);
        assert_eq!(parse("").unwrap(), Overrides::default());
    }

    #[test]
    fn what_is_wrong_is_named_with_a_way_out() {
        for (text, part) in [
            ("latncy=50ms", "knows latency, chunk_delay, error"),
            ("latency=50", "latency has to be a duration"),
            ("latency=2h", "at most an hour"),
            ("error=200", "400 to 599"),
            ("error=oops", "400 to 599"),
            ("retry_after=1.5", "whole seconds"),
            ("hang=1", "true or false"),
            ("cut", "true or false"),
            ("tokens=0", "1 to 100000"),
            ("tokens=100001", "1 to 100000"),
        ] {
            let refusal = parse(text).unwrap_err();
            assert_eq!(refusal.status, 400);
            assert!(refusal.message.contains(part), "{text}: {}", refusal.message);
        }
    }

    #[test]
    fn a_retry_of_an_sdk_rolls_again() {
        let settings = SandboxSettings { error_rate: 0.5, ..SandboxSettings::default() };
        let outcomes: Vec<_> = (0..20)
            .map(|count| {
                let mut headers = HeaderMap::new();
                headers.insert("x-stainless-retry-count", HeaderValue::from(count));
                let request = SandboxRequest { method: "POST", path: "/", headers: &headers, body: b"" };
                roll(&settings, &request, Seed::of_bytes("/", b""))
            })
            .collect();
        assert!(outcomes.contains(&None) && outcomes.contains(&Some(Fault::Status(500))));
    }

    #[test]
    fn looking_up_models_never_fails_by_chance() {
        let settings = SandboxSettings { error_rate: 1.0, ..SandboxSettings::default() };
        let headers = HeaderMap::new();
        let mut request = SandboxRequest { method: "GET", path: "/v1/models", headers: &headers, body: b"" };
        assert_eq!(roll(&settings, &request, Seed::of_bytes("/", b"")), None);
        request.method = "POST";
        assert_eq!(roll(&settings, &request, Seed::of_bytes("/", b"")), Some(Fault::Status(500)));
    }
}
