//! The only place that prints: results to standard output, everything else to standard error.

use std::io::{IsTerminal as _, Write as _};

/// Prints a result. Where nobody reads any more, there is nobody to tell.
pub(super) fn print(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{}", text.trim_end_matches('\n'));
}

/// Tells something that is no result, after what the log has said before.
pub(super) fn tell(text: &str) {
    crate::telemetry::logs::flush();
    let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end_matches('\n'));
}

/// Tells what is going on, where somebody watches.
pub(super) fn tell_progress(text: &str) {
    if is_watched() {
        tell(text);
    }
}

/// Whether somebody watches what is told.
pub(super) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Ends the process at once as failed, with its log written.
pub(super) fn end_failed() -> ! {
    crate::telemetry::logs::flush();
    std::process::exit(1)
}

/// Prints rows under headings, each column as wide as its widest cell.
pub(super) fn print_table(headings: &[&str], rows: &[Vec<String>]) {
    print(&table(headings, rows));
}

fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut headings.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["longer".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "N"], &rows), "NAME    N\na       1\nlonger");
    }
}
