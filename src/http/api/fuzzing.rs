//! What must hold of any text in an export.

use crate::reports::csv::Rows;

/// See [`crate::fuzzing::csv_cell`].
pub(crate) fn csv_cell(text: &str) {
    let mut rows = Rows::with_header("a,b");
    rows.text(text).number(Some(1)).end();
    let written = rows.into_text();
    let cell =
        written.strip_prefix("a,b\n\"").and_then(|rest| rest.strip_suffix("\",1\n")).expect("one row of two cells");
    assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell:?} begins a formula");
    let read = cell.replace("\"\"", "\"");
    assert_eq!(cell.replace("\"\"", "").find('"'), None, "quotes come in pairs");
    assert!(read == text || read.strip_prefix('\'') == Some(text));
}
