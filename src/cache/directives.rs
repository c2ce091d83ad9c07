//! What a caller may say about the cache for one call.

use std::time::Duration;

/// Longer than anybody waits to ask again, and short enough to add to any time.
const TTL_MAX: Duration = Duration::from_hours(87_660);

/// How a call uses the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Answered from it where it can be, and kept in it.
    #[default]
    Default,
    /// Neither looked up nor kept.
    Bypass,
    /// Not looked up; its answer takes the place of the one that is kept.
    Refresh,
    /// Looked up, and refused where there is nothing.
    Only,
}

impl Mode {
    const WORDS: [(&'static str, Self); 4] =
        [("default", Self::Default), ("bypass", Self::Bypass), ("refresh", Self::Refresh), ("only", Self::Only)];

    /// Whether a kept answer may be given.
    pub const fn may_read(self) -> bool {
        matches!(self, Self::Default | Self::Only)
    }

    /// Whether the answer may be kept.
    pub const fn may_write(self) -> bool {
        matches!(self, Self::Default | Self::Refresh)
    }
}

/// What a caller says of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// How to use it.
    pub mode: Mode,
    /// How long the answer is good, if it is kept.
    pub ttl: Option<Duration>,
}

/// A header that can't be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectiveError {
    /// No such way of using the cache.
    #[error("{0:?} is not default, bypass, refresh or only")]
    Mode(String),
    /// No time.
    #[error("{0:?} is not a duration such as 10m or 30s")]
    Ttl(String),
    /// No time to speak of, or more than anybody lives.
    #[error("{0} is out of range; from 1ms to 10years is possible, and bypass keeps nothing")]
    TtlRange(String),
}

impl DirectiveError {
    /// The header that it is about.
    pub const fn header(&self) -> &'static str {
        match self {
            Self::Mode(_) => Directives::MODE_HEADER,
            Self::Ttl(_) | Self::TtlRange(_) => Directives::TTL_HEADER,
        }
    }
}

impl Directives {
    /// The header that says how to use the cache.
    pub const MODE_HEADER: &'static str = "x-tollgate-cache";
    /// The header that says how long an answer is good.
    pub const TTL_HEADER: &'static str = "x-tollgate-cache-ttl";

    /// Reads the values of the two headers.
    pub fn parse(mode: Option<&str>, ttl: Option<&str>) -> Result<Self, DirectiveError> {
        Ok(Self { mode: mode.map_or(Ok(Mode::Default), parse_mode)?, ttl: ttl.map(parse_ttl).transpose()? })
    }
}

fn parse_mode(given: &str) -> Result<Mode, DirectiveError> {
    let given = given.trim();
    let found = Mode::WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(given));
    found.map(|(_, mode)| *mode).ok_or_else(|| DirectiveError::Mode(shortened(given)))
}

fn parse_ttl(given: &str) -> Result<Duration, DirectiveError> {
    let ttl = humantime::parse_duration(given.trim()).map_err(|_| DirectiveError::Ttl(shortened(given)))?;
    if (Duration::from_millis(1)..=TTL_MAX).contains(&ttl) {
        Ok(ttl)
    } else {
        Err(DirectiveError::TtlRange(shortened(given)))
    }
}

fn shortened(given: &str) -> String {
    given.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_who_says_nothing_gets_the_default() {
        assert_eq!(Directives::parse(None, None), Ok(Directives::default()));
    }

    #[test]
    fn each_mode_reads_and_writes_what_it_says() {
        let of = |word| Directives::parse(Some(word), None).unwrap().mode;
        for (word, reads, writes) in
            [("default", true, true), ("bypass", false, false), ("refresh", false, true), (" Only ", true, false)]
        {
            assert_eq!((of(word).may_read(), of(word).may_write()), (reads, writes), "{word}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_what_would_be() {
        let refused = |mode, ttl| {
            let error = Directives::parse(mode, ttl).unwrap_err();
            format!("{}: {error}", error.header())
        };
        insta::assert_snapshot!(
            [
                refused(Some("off"), None),
                refused(Some(""), None),
                refused(None, Some("60")),
                refused(None, Some("0s")),
                refused(None, Some("100years")),
            ]
            .join("\n"),
            @r#"
        x-tollgate-cache: "off" is not default, bypass, refresh or only
        x-tollgate-cache: "" is not default, bypass, refresh or only
        x-tollgate-cache-ttl: "60" is not a duration such as 10m or 30s
        x-tollgate-cache-ttl: 0s is out of range; from 1ms to 10years is possible, and bypass keeps nothing
        x-tollgate-cache-ttl: 100years is out of range; from 1ms to 10years is possible, and bypass keeps nothing
        "#
        );
        assert_eq!(Directives::parse(None, Some("90s")).unwrap().ttl, Some(Duration::from_secs(90)));
    }
}
