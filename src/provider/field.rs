//! A field looked for in a record without parsing it.
//!
//! A name in quotes can only stand inside a text with its quotes escaped, so a record without these bytes has no such
//! field. Where the bytes do stand, the value behind them is still only a hint: it may belong to an inner object.

use memchr::memchr2;
use memchr::memmem::Finder;

/// A field by its name. Kept in a static: building the searcher costs as much as a search.
pub(super) struct Field(Finder<'static>);

impl Field {
    /// The field of a name, which comes with its quotes: `"usage"`.
    pub(super) fn new(quoted: &'static str) -> Self {
        debug_assert!(quoted.starts_with('"') && quoted.ends_with('"'), "{quoted} has no quotes");
        Self(Finder::new(quoted))
    }

    /// What stands behind the name and its colon, from the value's first byte to the end of the data.
    fn values<'a>(&'a self, data: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let behind = |at: usize| data[at + self.0.needle().len()..].trim_ascii_start();
        self.0.find_iter(data).filter_map(move |at| Some(behind(at).strip_prefix(b":")?.trim_ascii_start()))
    }

    /// Whether the field may stand there with anything but `null`.
    pub(super) fn says_something(&self, data: &[u8]) -> bool {
        self.values(data).any(|value| !value.starts_with(b"null"))
    }

    /// Whether the field may stand there with a text.
    pub(super) fn says_text(&self, data: &[u8]) -> bool {
        self.values(data).any(|value| value.starts_with(b"\""))
    }

    /// The bytes of the field's first text, or 0 where it has none.
    ///
    /// Escapes count as they are written: this feeds an estimate.
    pub(super) fn text_length(&self, data: &[u8]) -> usize {
        let Some(text) = self.values(data).find_map(|value| value.strip_prefix(b"\"")) else { return 0 };
        let mut at = 0;
        while let Some(found) = memchr2(b'"', b'\\', &text[at..]) {
            let here = at + found;
            if text[here] == b'"' {
                return here;
            }
            at = (here + 2).min(text.len());
        }
        text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn null_says_nothing_and_anything_else_something() {
        let field = Field::new("\"usage\"");
        for data in ["{}", r#"{"usage":null}"#, r#"{"usage" : null }"#, r#"{"a":"usage"}"#, r#"{"a":"\"usage\":1"}"#] {
            assert!(!field.says_something(data.as_bytes()), "{data}");
        }
        for data in [r#"{"usage":{}}"#, r#"{"usage": 1}"#, r#"{"usage":null,"x":{"usage":{"a":1}}}"#, r#"{"usage":"#] {
            assert!(field.says_something(data.as_bytes()), "{data}");
        }
    }

    #[test]
    fn a_text_is_measured_to_its_closing_quote() {
        let check = |data: &str, expected: usize| {
            let field = Field::new("\"content\"");
            assert_eq!(field.text_length(data.as_bytes()), expected, "{data}");
            assert_eq!(
                field.says_text(data.as_bytes()),
                data.contains("t\":\"") || data.contains("t\" : \""),
                "{data}"
            );
        };
        check(r#"{"content":"a\"b"}"#, 4);
        check(r#"{"content" : "ab"}"#, 2);
        check(r#"{"content":null}"#, 0);
        check(r#"{"content":null,"x":{"content":"abc"}}"#, 3);
        check(r#"{"content":""}"#, 0);
        check(r#"{"content":"open"#, 4);
        check(r#"{"content":"open\"#, 5);
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_field_or_none(data in "(\"text\"|[\": nul\\\\]|[a-z])*") {
            let field = Field::new("\"text\"");
            prop_assert!(field.text_length(data.as_bytes()) <= data.len());
            prop_assert!(!field.says_text(data.as_bytes()) || field.says_something(data.as_bytes()));
        }
    }
}
