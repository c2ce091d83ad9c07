//! JSON without the whitespace between its parts.
//!
//! A provider's cache knows a prompt by its bytes, so arguments that a client prints prettily and those that a model wrote
//! must come out the same. Only whitespace goes: keys keep their order, numbers and texts their bytes.

/// The same JSON on one line. What isn't JSON comes out as something else that isn't.
pub(super) fn compact(json: &str) -> String {
    let mut compact = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(quote) = rest.find('"') {
        compact.extend(rest[..quote].split_ascii_whitespace());
        let text = &rest[quote..];
        let end = text_end(text);
        compact.push_str(&text[..end]);
        rest = &text[end..];
    }
    compact.extend(rest.split_ascii_whitespace());
    compact
}

/// The index behind the text that begins with the quote at the start.
fn text_end(text: &str) -> usize {
    let mut at = 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &text.as_bytes()[at..]) {
        at += found;
        if text.as_bytes()[at] == b'"' {
            return at + 1;
        }
        // What is escaped is one character, which may be longer than a byte where this isn't JSON.
        at += 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8);
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_whitespace_between_parts_goes() {
        let pretty = "{\n  \"b\" : [ 1.0, \"a \\\" b\\\\\" ],\t\"a\": { },\r\n \"é \": 1e2 }";
        assert_eq!(compact(pretty), r#"{"b":[1.0,"a \" b\\"],"a":{},"é ":1e2}"#);
        assert_eq!(compact(""), "");
    }

    proptest! {
        #[test]
        fn what_is_compact_stays_as_it_is(keys in proptest::collection::vec(any::<String>(), 0..8)) {
            let json = serde_json::to_string(&keys).unwrap();
            prop_assert_eq!(compact(&json), json);
        }

        #[test]
        fn any_text_is_taken(text in any::<String>()) {
            let _ = compact(&text);
        }

        #[test]
        fn any_text_with_quotes_and_escapes_is_taken(text in "[\"\\\\é a{}]{0,20}") {
            let _ = compact(&text);
        }
    }
}
