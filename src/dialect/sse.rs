//! Server-sent events as bytes: where records end, and what their data is, without touching what is passed on.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2};

/// The longest record that is taken: no dialect has longer ones, and an endless line must not fill the memory.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// A record grew past [`RECORD_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record of the stream is longer than 1 MiB")]
pub struct RecordTooLong;

/// Cuts a stream of bytes into whole records, whatever the chunks are: also inside `\r\n` and inside a character.
///
/// A record is everything up to and including the blank line that ends it, byte for byte.
#[derive(Debug, Default)]
pub struct RecordSplitter {
    buffer: BytesMut,
    /// Bytes at the buffer's start that are known to hold no end.
    searched: usize,
}

impl RecordSplitter {
    /// Takes the next chunk.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole record.
    pub fn next_record(&mut self) -> Result<Option<Bytes>, RecordTooLong> {
        match end_of_record(&self.buffer, self.searched) {
            Some(end) => {
                self.searched = 0;
                Ok(Some(self.buffer.split_to(end).freeze()))
            }
            None if self.buffer.len() > RECORD_BYTES_MAX => Err(RecordTooLong),
            None => {
                // The last three bytes may be the first part of an end.
                self.searched = self.buffer.len().saturating_sub(3);
                Ok(None)
            }
        }
    }

    /// What is left when the stream has ended: a record without its blank line, or nothing.
    pub fn rest(&mut self) -> Bytes {
        self.searched = 0;
        self.buffer.split().freeze()
    }
}

/// The index behind the first blank line. Lines end in `\n`, `\r\n` or `\r`; a lone `\r` at the end may be half of `\r\n`.
fn end_of_record(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = memchr2(b'\n', b'\r', &bytes[at..]) {
        let first = line_end(bytes, at + found)?;
        if matches!(bytes.get(first), Some(b'\n' | b'\r')) {
            return line_end(bytes, first);
        }
        at = first;
    }
    None
}

/// The index behind the line end that begins at `at`; `None` where a `\r` is the last byte there is.
fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    match (bytes[at], bytes.get(at + 1)) {
        (b'\n', _) => Some(at + 1),
        (_, Some(b'\n')) => Some(at + 2),
        (_, Some(_)) => Some(at + 1),
        // A stream that uses lone `\r` ends its record with the next one; `rest` gives out the last.
        (_, None) => None,
    }
}

/// What a record says, borrowed from it.
#[derive(Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The `event:` line.
    pub event: Option<&'a [u8]>,
    /// The `data:` lines, joined with `\n`.
    pub data: std::borrow::Cow<'a, [u8]>,
    /// Whether there was a `data:` line at all; comments and keep-alives have none.
    pub has_data: bool,
}

/// Reads a record's lines.
pub fn fields(record: &[u8]) -> Fields<'_> {
    let mut fields = Fields { event: None, data: std::borrow::Cow::Borrowed(&[]), has_data: false };
    let mut rest = record.strip_prefix(b"\xef\xbb\xbf").unwrap_or(record);
    while !rest.is_empty() {
        let (line, next) = match memchr2(b'\n', b'\r', rest) {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => (rest, &rest[rest.len()..]),
        };
        rest = next;
        let Some(colon) = memchr(b':', line) else { continue };
        let value = &line[colon + 1..];
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"event" => fields.event = Some(value),
            b"data" if fields.has_data => {
                let joined = fields.data.to_mut();
                joined.push(b'\n');
                joined.extend_from_slice(value);
            }
            b"data" => {
                fields.has_data = true;
                fields.data = std::borrow::Cow::Borrowed(value);
            }
            _ => {}
        }
    }
    fields
}

/// The bytes of text inside the string value that follows `key` (such as `"content":"`), or 0 where there is none.
///
/// Escapes count as they are written: this feeds an estimate.
pub fn string_length_after(data: &[u8], key: &[u8]) -> usize {
    let Some(start) = memchr::memmem::find(data, key).map(|at| at + key.len()) else { return 0 };
    let mut at = start;
    while let Some(found) = memchr2(b'"', b'\\', &data[at..]) {
        let here = at + found;
        if data[here] == b'"' {
            return here - start;
        }
        at = (here + 2).min(data.len());
    }
    data.len() - start
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]]) -> Vec<Bytes> {
        let mut splitter = RecordSplitter::default();
        let mut records = Vec::new();
        for chunk in chunks {
            splitter.push(chunk);
            while let Some(record) = splitter.next_record().unwrap() {
                records.push(record);
            }
        }
        let rest = splitter.rest();
        if !rest.is_empty() {
            records.push(rest);
        }
        records
    }

    #[test]
    fn every_kind_of_line_end_ends_a_record() {
        for end in ["\n\n", "\r\n\r\n", "\r\r"] {
            let stream = format!("data: 1{end}event: x{}data: 2{end}", &end[..end.len() / 2]);
            let records = split(&[stream.as_bytes()]);
            let data: Vec<_> = records.iter().map(|record| fields(record).data.into_owned()).collect();
            assert_eq!(data, [b"1".to_vec(), b"2".to_vec()], "{end:?}");
        }
    }

    #[test]
    fn data_lines_join_and_one_space_goes() {
        let record = b"\xef\xbb\xbf: comment\nevent:a\ndata:  x\ndata:y\nid: 7\n\n";
        let read = fields(record);
        assert_eq!(read.event, Some(b"a".as_slice()));
        assert_eq!(&*read.data, b" x\ny");
        assert!(!fields(b": keep-alive\n\n").has_data);
    }

    #[test]
    fn an_endless_record_is_refused() {
        let mut splitter = RecordSplitter::default();
        splitter.push(&vec![b'a'; RECORD_BYTES_MAX + 1]);
        assert_eq!(splitter.next_record(), Err(RecordTooLong));
    }

    #[test]
    fn text_is_measured_to_its_closing_quote() {
        assert_eq!(string_length_after(br#"{"content":"a\"b"}"#, br#""content":""#), 4);
        assert_eq!(string_length_after(br#"{"content":null}"#, br#""content":""#), 0);
        assert_eq!(string_length_after(br#"{"content":"open"#, br#""content":""#), 4);
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_records(
            stream in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), Just(b'd'), any::<u8>()], 0..200),
            cuts in proptest::collection::vec(0_usize..200, 0..20),
        ) {
            let whole = split(&[&stream]);
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= stream.len()).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            let joined: Vec<u8> = whole.iter().flat_map(|record| record.to_vec()).collect();
            prop_assert_eq!(joined, stream.clone(), "nothing is lost");
            prop_assert_eq!(split(&chunks), whole);
        }

        #[test]
        fn any_bytes_have_fields_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = fields(&bytes);
            let _ = string_length_after(&bytes, b"\"text\":\"");
        }
    }
}
