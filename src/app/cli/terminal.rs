//! The only place that prints: results to standard output, everything else to standard error.

use std::io::{IsTerminal as _, Write as _};

/// Characters of a bar: with its words it fits the narrowest terminal.
const BAR_CHARS: usize = 30;

/// Prints a result. Where nobody reads any more, there is nobody to tell.
pub(super) fn print(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{}", text.trim_end_matches('\n'));
}

/// Writes a part of a result as it is.
pub(super) fn write(part: &[u8]) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(part)?;
    output.flush()
}

/// Tells how much there is so far, in one line that is written anew each time, where somebody watches.
pub(super) fn tell_growing(text: &str) {
    if is_watched() {
        let _ = write!(std::io::stderr().lock(), "\r{text}");
    }
}

/// Tells how much there is in the end, in the place of what was told before.
pub(super) fn tell_grown(text: &str) {
    tell_growing("");
    tell(text);
}

/// Whether results are read as they are printed.
pub(super) fn is_shown() -> bool {
    std::io::stdout().is_terminal()
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

/// How far long work has come: a bar where somebody watches, a line now and then elsewhere.
pub(super) struct Progress {
    what: &'static str,
    done: usize,
    all: usize,
    told_percent: usize,
}

impl Progress {
    /// Begins; `what` is done piece by piece, such as `requests`.
    pub(super) fn new(what: &'static str, all: usize) -> Self {
        Self { what, done: 0, all, told_percent: 0 }
    }

    /// So many more are done.
    pub(super) fn advance(&mut self, more: usize) {
        self.done = (self.done + more).min(self.all);
        let percent = (self.done * 100).checked_div(self.all).unwrap_or(100);
        if is_watched() {
            let end = if self.done == self.all { "\n" } else { "" };
            let _ = write!(std::io::stderr().lock(), "\r{}{end}", self.bar(percent));
        } else if percent >= self.told_percent + 10 || self.done == self.all {
            self.told_percent = percent;
            tell(&format!("{} of {} {}", self.done, self.all, self.what));
        }
    }

    fn bar(&self, percent: usize) -> String {
        let filled = percent * BAR_CHARS / 100;
        let (done, left) = ("█".repeat(filled), "░".repeat(BAR_CHARS - filled));
        format!("{done}{left} {} of {} {}", self.done, self.all, self.what)
    }
}

/// Whether somebody watches what is told.
pub(super) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Ends the process at once, with its log written.
pub(super) fn end(code: i32) -> ! {
    crate::telemetry::logs::flush();
    std::process::exit(code)
}

/// Prints rows under headings, each column as wide as its widest cell.
pub(super) fn print_table(headings: &[&str], rows: &[Vec<String>]) {
    print(&table(headings, rows));
}

/// Rows under headings, as they are printed.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
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
    fn a_bar_is_as_full_as_the_work_is_done() {
        let mut progress = Progress { what: "requests", done: 0, all: 4, told_percent: 0 };
        progress.advance(1);
        assert_eq!(progress.bar(25), format!("{}{} 1 of 4 requests", "█".repeat(7), "░".repeat(23)));
        progress.advance(9);
        assert_eq!(progress.bar(100), format!("{} 4 of 4 requests", "█".repeat(30)));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["longer".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "N"], &rows), "NAME    N\na       1\nlonger");
    }
}
