//! Which of our models is which of theirs: reports use dated names and names for display.

/// What two names of one model have in common: `gpt-5-mini`, `gpt-5-mini-2025-08-07`; `claude-haiku-4-5-20251001`, `Claude Haiku 4.5`.
///
/// The words without a date at the end, in order of the alphabet: `Claude Sonnet 3.5` is `claude-3-5-sonnet`. Two versions of a model that
/// only their date tells apart are compared as one, which hides nothing of their sum.
pub(super) fn family(name: &str) -> String {
    let lower = name.trim().to_lowercase();
    let words: Vec<&str> = lower.split(['-', ' ', '.', '_']).filter(|word| !word.is_empty()).collect();
    let mut words = undated(&words).to_vec();
    words.sort_unstable();
    words.join("-")
}

/// Takes off `2025-08-07`, `20251001` or `latest` at the end.
fn undated<'a, 'b>(words: &'a [&'b str]) -> &'a [&'b str] {
    let is_number = |word: &str, len: usize| word.len() == len && word.bytes().all(|byte| byte.is_ascii_digit());
    match words {
        [rest @ .., year, month, day] if is_number(year, 4) && is_number(month, 2) && is_number(day, 2) => rest,
        [rest @ .., date] if is_number(date, 8) && date.starts_with("20") => rest,
        [rest @ .., "latest"] => rest,
        all => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str]) {
        for name in names {
            assert_eq!(family(name), family(names[0]), "{name}");
        }
    }

    #[test]
    fn the_names_of_one_model_are_one_family() {
        check(&["gpt-5-mini", "gpt-5-mini-2025-08-07"]);
        check(&["gpt-4o", "gpt-4o-2024-05-13", "gpt-4o-2024-11-20"]);
        check(&["claude-haiku-4-5", "claude-haiku-4-5-20251001", "Claude Haiku 4.5"]);
        check(&["claude-3-5-sonnet-20241022", "claude-3-5-sonnet-latest", "Claude Sonnet 3.5"]);
    }

    #[test]
    fn different_models_are_different_families() {
        let names = [
            "gpt-4",
            "gpt-4o",
            "gpt-4o-mini",
            "gpt-4.1",
            "gpt-4.1-mini",
            "gpt-4-0613",
            "gpt-4-1106-preview",
            "gpt-5",
            "o3",
            "o3-mini",
            "claude-haiku-4-5",
            "claude-sonnet-4-5",
            "claude-sonnet-4",
            "claude-opus-4-1",
            "web search tool calls",
        ];
        let families: std::collections::BTreeSet<String> = names.iter().map(|name| family(name)).collect();
        assert_eq!(families.len(), names.len(), "{families:?}");
    }
}
