//! CSV as spreadsheets and consoles write it (RFC 4180), with the number of each row's line.

use super::error::FileError;

/// Rows of one file: a year by day, key and model; more is no export of a console.
const ROWS_MAX: usize = 200_000;

/// A row, and the line that it begins on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) line: usize,
    pub(super) cells: Vec<String>,
}

/// Takes a text apart; empty lines are none of its rows.
pub(super) fn rows(text: &str) -> Result<Vec<Row>, FileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rows = Vec::new();
    let mut row = Row { line: 1, cells: Vec::new() };
    let (mut cell, mut line) = (String::new(), 1);
    let mut characters = text.chars().peekable();
    // Outside of quotes, within them, or behind the closing one.
    let (mut is_quoted, mut is_closed) = (false, false);
    while let Some(character) = characters.next() {
        if character == '\n' {
            line += 1;
        }
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cell.push('"');
            }
            '"' if is_quoted => (is_quoted, is_closed) = (false, true),
            character if is_quoted => cell.push(character),
            '"' if cell.is_empty() && !is_closed => is_quoted = true,
            ',' => {
                row.cells.push(std::mem::take(&mut cell));
                is_closed = false;
            }
            '\r' if characters.peek() == Some(&'\n') => {}
            '\n' => {
                row.cells.push(std::mem::take(&mut cell));
                is_closed = false;
                finish(&mut rows, row)?;
                row = Row { line, cells: Vec::new() };
            }
            '"' => return Err(problem(line, "a quote stands in the middle of a cell: this is no CSV")),
            _ if is_closed => return Err(problem(line, "something follows a closing quote: this is no CSV")),
            '\0' => return Err(problem(line, "this is no text")),
            character => cell.push(character),
        }
    }
    if is_quoted {
        return Err(problem(row.line, "a quote is never closed: the file is cut off, or no CSV"));
    }
    row.cells.push(cell);
    finish(&mut rows, row)?;
    Ok(rows)
}

fn finish(rows: &mut Vec<Row>, row: Row) -> Result<(), FileError> {
    if row.cells.iter().all(String::is_empty) && row.cells.len() == 1 {
        return Ok(());
    }
    if rows.len() > ROWS_MAX {
        return Err(problem(row.line, "the file has more than 200,000 rows: export fewer days"));
    }
    rows.push(row);
    Ok(())
}

fn problem(line: usize, problem: &str) -> FileError {
    FileError::Line { line, problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: &[(usize, &[&str])]) {
        let found = rows(text).unwrap();
        let found: Vec<(usize, Vec<&str>)> =
            found.iter().map(|row| (row.line, row.cells.iter().map(String::as_str).collect())).collect();
        let expected: Vec<(usize, Vec<&str>)> = expected.iter().map(|(line, cells)| (*line, cells.to_vec())).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn rows_are_read_in_every_way_of_writing_them() {
        check("a,b\n1,2\n", &[(1, &["a", "b"]), (2, &["1", "2"])]);
        check("\u{feff}a,b\r\n1,2", &[(1, &["a", "b"]), (2, &["1", "2"])]);
        check("\"a, x\",\"say \"\"hi\"\"\"\n\n,\n", &[(1, &["a, x", "say \"hi\""]), (3, &["", ""])]);
        check("\"two\nlines\",b\nc,d", &[(1, &["two\nlines", "b"]), (3, &["c", "d"])]);
        check("", &[]);
    }

    #[test]
    fn what_is_no_csv_is_refused_with_its_line() {
        for (text, line) in [("a,b\n\"open", 2), ("a\nb\"c\n", 2), ("\"a\"b\n", 1), ("a\n\0", 2)] {
            match rows(text) {
                Err(FileError::Line { line: found, .. }) => assert_eq!(found, line, "{text:?}"),
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_quoted_comes_back(cells in proptest::collection::vec("[a-z\",\n ]{0,8}", 1..6)) {
            let text: Vec<String> = cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
            let found = rows(&text.join(",")).unwrap();
            prop_assert!(found.first().map_or(cells == [""], |row| row.cells == cells));
        }
    }
}
