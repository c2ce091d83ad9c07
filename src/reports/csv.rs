//! Rows that a spreadsheet can open without being made to compute: numbers bare, everything else quoted and harmless.

use std::fmt::{Display, Write as _};

/// The first characters by which a spreadsheet takes a cell for a formula.
const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Rows of one export, as they are written.
#[derive(Default)]
pub struct Rows {
    text: String,
    is_in_row: bool,
}

impl Rows {
    /// Rows below a header.
    pub fn with_header(header: &str) -> Self {
        Self { text: format!("{header}\n"), is_in_row: false }
    }

    /// Adds a cell of text; one that would begin a formula gets an apostrophe before it.
    pub fn text(&mut self, cell: &str) -> &mut Self {
        self.comma();
        self.text.push('"');
        if cell.starts_with(FORMULA_STARTS) {
            self.text.push('\'');
        }
        self.text.push_str(&cell.replace('"', "\"\""));
        self.text.push('"');
        self
    }

    /// Adds a cell of text; nothing, which is not an empty text, where there is none.
    pub fn optional(&mut self, cell: Option<&str>) -> &mut Self {
        match cell {
            Some(cell) => self.text(cell),
            None => self.number(None::<u8>),
        }
    }

    /// Adds a number; nothing where there is none.
    pub fn number(&mut self, cell: Option<impl Display>) -> &mut Self {
        self.comma();
        if let Some(number) = cell {
            write!(self.text, "{number}").expect("writing to a text never fails");
        }
        self
    }

    /// Ends the row.
    pub fn end(&mut self) {
        self.text.push('\n');
        self.is_in_row = false;
    }

    /// What was written.
    pub fn into_text(self) -> String {
        self.text
    }

    fn comma(&mut self) {
        if self.is_in_row {
            self.text.push(',');
        }
        self.is_in_row = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(cell: &str, expected: &str) {
        let mut rows = Rows::default();
        rows.text(cell);
        assert_eq!(rows.into_text(), expected, "{cell:?}");
    }

    #[test]
    fn a_cell_that_would_be_a_formula_becomes_text() {
        check("=HYPERLINK(\"http://evil.example\")", "\"'=HYPERLINK(\"\"http://evil.example\"\")\"");
        check("+1", "\"'+1\"");
        check("-1", "\"'-1\"");
        check("@SUM(A1)", "\"'@SUM(A1)\"");
        check("\t=1", "\"'\t=1\"");
        check("\r=1", "\"'\r=1\"");
        check("gpt-5", "\"gpt-5\"");
        check("a,b", "\"a,b\"");
        check("", "\"\"");
    }

    #[test]
    fn numbers_stay_numbers_and_missing_ones_stay_empty() {
        let mut rows = Rows::with_header("a,b,c");
        rows.number(Some(-1)).number(None::<u32>).text("x").end();
        rows.number(Some(2)).end();
        assert_eq!(rows.into_text(), "a,b,c\n-1,,\"x\"\n2\n");
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_cell_or_begins_a_formula(cell in ".{0,40}|[=+@\t\r\",\n-]{1,6}") {
            let mut rows = Rows::default();
            rows.text(&cell);
            let written = rows.into_text();
            let inner = written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
            prop_assert!(!inner.starts_with(FORMULA_STARTS));
            prop_assert!(!inner.replace("\"\"", "").contains('"'), "every quote is doubled");
            let read = inner.replace("\"\"", "\"");
            prop_assert_eq!(read.strip_prefix('\'').filter(|_| cell.starts_with(FORMULA_STARTS)).unwrap_or(&read), cell);
        }
    }
}
