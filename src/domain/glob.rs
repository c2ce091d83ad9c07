//! Patterns in which `*` stands for any text, also for none.

/// Whether a text is of a pattern, in linear space and without recursion.
pub fn fits_glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    // The earliest place for each part leaves the most room for the next.
    for part in parts {
        match rest.find(part) {
            Some(start) => rest = &rest[start + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(fits_glob(pattern, text), expected, "{pattern} on {text}");
    }

    #[test]
    fn a_star_stands_for_any_text_and_a_pattern_fits_the_whole_text() {
        check("gpt-*-mini", "gpt-5-mini", true);
        check("gpt-5*", "gpt-5", true);
        check("*a*b*", "xa/yb", true);
        check("**", "", true);
        check("a", "ab", false);
        check("a", "", false);
        check("gpt-*-mini", "gpt-5-mini-2025", false);
        check("A*", "ab", false);
    }

    #[test]
    fn no_character_counts_twice() {
        check("ab*ba", "aba", false);
        check("ab*ba", "abba", true);
    }

    proptest! {
        #[test]
        fn a_pattern_fits_what_it_was_made_from(parts in proptest::collection::vec("[ab*]{0,4}", 1..4), fill in "[abc]{0,3}") {
            let pattern = parts.join("*");
            prop_assert!(fits_glob(&pattern, &pattern.replace('*', &fill)), "{} {}", pattern, fill);
        }
    }
}
