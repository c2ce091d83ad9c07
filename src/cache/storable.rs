//! What may be kept.

use crate::config::CacheConfig;

/// Part of the cache that one answer may fill: a single one shall not drive everything else out.
const SHARE_MAX: u64 = 8;

/// What decides whether a call may be answered from the cache at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// How many answers are asked for.
    pub choices: u64,
    /// Whether it asks for the likeliest answer, as [`super::Taken::is_deterministic`] tells.
    pub is_deterministic: bool,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerEnd {
    /// The provider has said that it is done, and everything up to there has come.
    Complete,
    /// It was cut at a limit of tokens or time.
    Cut,
    /// The model, or a filter before it, refused.
    Refused,
    /// Its end hasn't come.
    Unfinished,
    /// It is an error.
    Failed,
}

/// Why something isn't kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// There is no cache.
    #[error("the cache is off")]
    Off,
    /// Several answers were asked for, which shall differ.
    #[error("more than one answer was asked for")]
    Choices,
    /// The answer would be another one the next time, and the settings say that it shall be.
    #[error("the call is not at temperature 0, and [cache] deterministic_only is set")]
    NotDeterministic,
    /// It is an error.
    #[error("the answer is an error")]
    Failed,
    /// Its end hasn't come.
    #[error("the answer is not complete")]
    Unfinished,
    /// It stops where a limit was.
    #[error("the answer was cut")]
    Cut,
    /// It is a refusal; asked again, the model may think otherwise.
    #[error("the model refused")]
    Refused,
    /// Entries were taken out while its call ran.
    #[error("the cache was cleared meanwhile")]
    TakenOut,
    /// It is larger than one answer may be.
    #[error("the answer is too large")]
    TooLarge,
}

/// Whether a call may be looked up, joined with others, and kept.
pub fn may_use(config: &CacheConfig, asked: Asked) -> Result<(), NotKept> {
    if !config.enabled {
        return Err(NotKept::Off);
    }
    if asked.choices > 1 {
        return Err(NotKept::Choices);
    }
    if config.deterministic_only && !asked.is_deterministic {
        return Err(NotKept::NotDeterministic);
    }
    Ok(())
}

/// Whether an answer of so many bytes may be kept, to a call of which [`may_use`] says yes.
pub fn may_store(config: &CacheConfig, end: AnswerEnd, bytes: u64) -> Result<(), NotKept> {
    match end {
        _ if !config.enabled => Err(NotKept::Off),
        AnswerEnd::Failed => Err(NotKept::Failed),
        AnswerEnd::Unfinished => Err(NotKept::Unfinished),
        AnswerEnd::Cut => Err(NotKept::Cut),
        AnswerEnd::Refused => Err(NotKept::Refused),
        AnswerEnd::Complete if bytes > config.bytes_max / SHARE_MAX => Err(NotKept::TooLarge),
        AnswerEnd::Complete => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::config;

    const PLAIN: Asked = Asked { choices: 1, is_deterministic: false };

    #[test]
    fn any_call_is_cached_at_any_temperature_but_not_several_answers_at_once() {
        assert_eq!(may_use(&config(), PLAIN), Ok(()));
        assert_eq!(may_use(&config(), Asked { choices: 2, ..PLAIN }), Err(NotKept::Choices));
        let strict = CacheConfig { deterministic_only: true, ..config() };
        assert_eq!(may_use(&strict, PLAIN), Err(NotKept::NotDeterministic));
        assert_eq!(may_use(&strict, Asked { is_deterministic: true, ..PLAIN }), Ok(()));
        let off = CacheConfig { enabled: false, ..config() };
        assert_eq!(may_use(&off, PLAIN), Err(NotKept::Off));
        assert_eq!(may_store(&off, AnswerEnd::Complete, 1), Err(NotKept::Off));
    }

    #[test]
    fn an_answer_that_is_cut_refused_unfinished_or_wrong_is_not_kept() {
        assert_eq!(may_store(&config(), AnswerEnd::Complete, config().bytes_max / 8), Ok(()));
        for (end, bytes, reason) in [
            (AnswerEnd::Failed, 1, NotKept::Failed),
            (AnswerEnd::Unfinished, 1, NotKept::Unfinished),
            (AnswerEnd::Cut, 1, NotKept::Cut),
            (AnswerEnd::Refused, 1, NotKept::Refused),
            (AnswerEnd::Complete, config().bytes_max / 8 + 1, NotKept::TooLarge),
        ] {
            assert_eq!(may_store(&config(), end, bytes), Err(reason));
        }
    }
}
