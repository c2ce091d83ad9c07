//! Texts within a URL.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stays as it is, of what RFC 3986 leaves unreserved; not the point, since a segment of points leads elsewhere.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// A text as one segment of a path, or one value of a query.
pub fn url_encoded(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_within_its_segment() {
        assert_eq!(url_encoded("a/b c+d?é"), "a%2Fb%20c%2Bd%3F%C3%A9");
        assert_eq!(url_encoded(".."), "%2E%2E");
        assert_eq!(url_encoded("key_1-a~"), "key_1-a~");
    }
}
