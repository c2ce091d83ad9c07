//! How the sandbox counts: one token is four characters, rounded up for each text.
//!
//! On top of that a message costs three tokens, the answer's opening three, and an image, file or sound a fixed
//! number, whatever its size. Tools and schemas count as their JSON text.

use serde_json::Value;

/// Characters in one token.
pub(super) const CHARACTERS_PER_TOKEN: usize = 4;
/// What a message costs beside its text, and the opening of the answer too.
pub(super) const MESSAGE_TOKENS: u64 = 3;
/// What an image, file or sound costs.
pub(super) const MEDIA_TOKENS: u64 = 85;

/// The tokens of a text.
pub(super) fn count(text: &str) -> u64 {
    u64::try_from(text.chars().count().div_ceil(CHARACTERS_PER_TOKEN)).unwrap_or(u64::MAX)
}

/// The tokens of a JSON value, as its shortest text.
pub(super) fn count_json(value: &Value) -> u64 {
    count(&value.to_string())
}

/// The beginning of a text that has at most that many tokens, and whether anything was cut off.
pub(super) fn cut(text: &str, tokens: u64) -> (&str, bool) {
    let characters = usize::try_from(tokens).unwrap_or(usize::MAX).saturating_mul(CHARACTERS_PER_TOKEN);
    match text.char_indices().nth(characters) {
        Some((end, _)) => (&text[..end], true),
        None => (text, false),
    }
}

/// Splits a text into what a stream sends at a time: a word with the space before it, at most twelve characters.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    const CHARACTERS_MAX: usize = 12;
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut letters_seen = false;
        let mut end = rest.len();
        for (count, (position, character)) in rest.char_indices().enumerate() {
            if count == CHARACTERS_MAX || (letters_seen && character.is_whitespace()) {
                end = position;
                break;
            }
            letters_seen |= !character.is_whitespace();
        }
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_characters_are_a_token_in_any_script() {
        assert_eq!(count(""), 0);
        assert_eq!(count("a"), 1);
        assert_eq!(count("abcd"), 1);
        assert_eq!(count("abcde"), 2);
        assert_eq!(count("안녕하세요"), 2);
    }

    #[test]
    fn a_cut_never_splits_a_character_and_counts_what_it_says() {
        assert_eq!(cut("안녕하세요", 1), ("안녕하세", true));
        assert_eq!(cut("abcd", 1), ("abcd", false));
        assert_eq!(cut("abcd", 0), ("", true));
        assert_eq!(cut("", 0), ("", false));
    }

    #[test]
    fn pieces_put_together_are_the_text() {
        for text in
            ["", "one", "two words", "  leading and trailing  ", "donaudampfschifffahrt", "안녕하세요 세계\n\n끝"]
        {
            assert_eq!(pieces(text).collect::<String>(), text);
            assert!(pieces(text).all(|piece| !piece.is_empty() && piece.chars().count() <= 12));
        }
        assert_eq!(pieces("two words").collect::<Vec<_>>(), ["two", " words"]);
    }
}
