//! Comma-separated rows, read one by one with the line that each begins on.

use std::io::{BufRead, Read as _};

/// A row with stored prompts in it can be long; beyond this a quote was never closed.
const ROW_BYTES_MAX: u64 = 16 << 20;

/// One row.
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) cells: Vec<String>,
}

/// Why a row can't be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {reason}")]
pub(in crate::app) struct CsvError {
    pub(in crate::app) line: u64,
    pub(in crate::app) reason: String,
}

/// The rows of a text.
pub(super) struct Rows<R> {
    input: R,
    next_line: u64,
}

impl<R: BufRead> Rows<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, next_line: 1 }
    }

    /// The next row that isn't empty.
    pub(super) fn next(&mut self) -> Result<Option<Row>, CsvError> {
        loop {
            let line = self.next_line;
            let fail = |reason: String| CsvError { line, reason };
            let Some(raw) = self.raw().map_err(fail)? else { return Ok(None) };
            let text = String::from_utf8(raw).map_err(|_| fail("not UTF-8".to_owned()))?;
            let text = if line == 1 { text.strip_prefix('\u{feff}').unwrap_or(&text) } else { &text };
            let text = text.strip_suffix('\n').unwrap_or(text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            if !text.is_empty() {
                return Ok(Some(Row { line, cells: cells(text).map_err(|reason| fail(reason.to_owned()))? }));
            }
        }
    }

    /// The bytes up to the first end of a line outside of quotes.
    fn raw(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut raw = Vec::new();
        let mut quotes = 0;
        loop {
            let before = raw.len();
            let left = ROW_BYTES_MAX - raw.len() as u64;
            let mut limited = (&mut self.input).take(left);
            limited.read_until(b'\n', &mut raw).map_err(|error| format!("can't be read: {error}"))?;
            let more = &raw[before..];
            if more.is_empty() {
                return if raw.is_empty() { Ok(None) } else { Err("a quote is never closed".to_owned()) };
            }
            quotes += memchr::memchr_iter(b'"', more).count();
            self.next_line += u64::from(more.ends_with(b"\n"));
            if quotes % 2 == 0 {
                return if more.ends_with(b"\n") || (raw.len() as u64) < ROW_BYTES_MAX {
                    Ok(Some(raw))
                } else {
                    Err("longer than a row can be".to_owned())
                };
            }
            if raw.len() as u64 >= ROW_BYTES_MAX {
                return Err("longer than a row can be; is a quote never closed?".to_owned());
            }
        }
    }
}

/// The cells of a row. Quotes stand around a whole cell, doubled inside it.
fn cells(text: &str) -> Result<Vec<String>, &'static str> {
    let mut cells = Vec::new();
    let mut rest = text;
    loop {
        let (cell, after) = match rest.strip_prefix('"') {
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (cell, after) = rest.split_at(end);
                if cell.contains('"') {
                    return Err("a quote inside a cell that doesn't begin with one");
                }
                (cell.to_owned(), after)
            }
            Some(quoted) => {
                let mut cell = String::new();
                let mut quoted = quoted;
                loop {
                    let end = quoted.find('"').ok_or("a quote is never closed")?;
                    cell.push_str(&quoted[..end]);
                    quoted = &quoted[end + 1..];
                    match quoted.strip_prefix('"') {
                        Some(more) => {
                            cell.push('"');
                            quoted = more;
                        }
                        None => break,
                    }
                }
                (cell, quoted)
            }
        };
        cells.push(cell);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(cells),
            None => return Err("something stands behind the closing quote of a cell"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<(u64, Vec<String>)>, String> {
        let mut rows = Rows::new(text);
        let mut read = Vec::new();
        while let Some(row) = rows.next().map_err(|error| error.to_string())? {
            read.push((row.line, row.cells));
        }
        Ok(read)
    }

    fn check(text: &str, expected: &[(u64, &[&str])]) {
        let read = read(text.as_bytes()).unwrap();
        let read: Vec<(u64, Vec<&str>)> =
            read.iter().map(|(line, cells)| (*line, cells.iter().map(String::as_str).collect())).collect();
        let expected: Vec<(u64, Vec<&str>)> = expected.iter().map(|(line, cells)| (*line, cells.to_vec())).collect();
        assert_eq!(read, expected, "{text:?}");
    }

    #[test]
    fn rows_are_read_as_spreadsheets_write_them() {
        check("a,b\n1,2\n", &[(1, &["a", "b"]), (2, &["1", "2"])]);
        check("\u{feff}a,b\r\n\r\n1,\"x,\"\"y\"\"\"\r\n", &[(1, &["a", "b"]), (3, &["1", "x,\"y\""])]);
        check("a,\"two\nlines\"\nb,", &[(1, &["a", "two\nlines"]), (3, &["b", ""])]);
        check("\"\",\"\"", &[(1, &["", ""])]);
        check("", &[]);
    }

    #[test]
    fn what_is_no_row_is_told_by_its_line() {
        for (text, says) in [
            ("a\n\"b\nc\n", "line 2: a quote is never closed"),
            ("a\nb\"c\"\n", "line 2: a quote inside"),
            ("a\n\"b\"c\n", "line 2: something stands behind"),
        ] {
            assert!(read(text.as_bytes()).unwrap_err().starts_with(says), "{text:?}: {:?}", read(text.as_bytes()));
        }
        assert_eq!(read(b"a\n\xff\n").unwrap_err(), "line 2: not UTF-8");
        assert!(read(&[b'"'; 1]).unwrap_err().contains("never closed"));
    }
}
