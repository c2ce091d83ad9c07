//! A document as Markdown (CommonMark with GitHub's tables), to be read raw in a terminal too.
//!
//! Names come from anybody: whatever would be markup is escaped, and control characters, which could drive a terminal,
//! become blanks.

use super::document::{Block, Document, Line, Span, Table};

/// What begins or ends markup inside of a line.
const MARKUP: [char; 11] = ['\\', '`', '*', '_', '[', ']', '<', '>', '|', '~', '&'];

/// The document as Markdown.
pub fn write(document: &Document) -> String {
    let mut parts = vec![format!("# Tollgate, {}", escaped(&document.title))];
    parts.extend(document.lead.iter().map(line));
    for section in &document.sections {
        parts.push(format!("## {}", section.heading));
        parts.extend(section.blocks.iter().map(|block| match block {
            Block::Paragraph(paragraph) => line(paragraph),
            Block::List(items) => items.iter().map(|item| format!("- {}", line(item))).collect::<Vec<_>>().join("\n"),
            Block::Table(rows) => table(rows),
        }));
    }
    parts.push(format!("*{}*", escaped(&document.written)));
    parts.join("\n\n") + "\n"
}

fn line(line: &Line) -> String {
    let span = |span: &Span| match span {
        Span::Plain(text) => escaped(text),
        Span::Strong(text) => format!("**{}**", escaped(text)),
        Span::Call(id) => format!("`{id}`"),
    };
    line.0.iter().map(span).collect()
}

/// Columns as wide as their widest cell.
fn table(table: &Table) -> String {
    let rows: Vec<Vec<String>> = table.rows.iter().map(|row| row.iter().map(line).collect()).collect();
    let width = |(column, (head, _)): (usize, &(&str, bool))| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head.len(), "---".len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = table.heads.iter().enumerate().map(width).collect();
    let pad = |cells: Vec<String>| {
        let padded = cells.into_iter().zip(&widths).zip(&table.heads).map(|((cell, width), (_, is_number))| {
            if *is_number { format!("{cell:>width$}") } else { format!("{cell:width$}") }
        });
        format!("| {} |", padded.collect::<Vec<_>>().join(" | "))
    };
    let mut lines = vec![pad(table.heads.iter().map(|(head, _)| (*head).to_owned()).collect())];
    let rule = |((_, is_number), width): (&(&str, bool), &usize)| {
        if *is_number { format!("{}:", "-".repeat(width - 1)) } else { "-".repeat(*width) }
    };
    lines.push(format!("| {} |", table.heads.iter().zip(&widths).map(rule).collect::<Vec<_>>().join(" | ")));
    lines.extend(rows.into_iter().map(pad));
    lines.join("\n")
}

/// A text that stays what it is.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            character if character.is_control() => escaped.push(' '),
            character if MARKUP.contains(&character) => escaped.extend(['\\', character]),
            character => escaped.push(character),
        }
    }
    // An address would become a link by itself.
    escaped.replace("://", ":\\/\\/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(escaped(text), expected, "{text:?}");
    }

    #[test]
    fn a_name_that_would_be_markup_stays_a_name() {
        check("gpt-4.1-mini", "gpt-4.1-mini");
        check("<img src=x>", "\\<img src=x\\>");
        check("[click](https://evil.example)", "\\[click\\](https:\\/\\/evil.example)");
        check("a|b_c*d`e~f\\g&lt;", "a\\|b\\_c\\*d\\`e\\~f\\\\g\\&lt;");
        check("a\nb\x1b[31m\u{9b}c", "a b \\[31m c");
    }

    #[test]
    fn a_table_is_aligned_for_who_reads_it_raw() {
        let cell = |text: &str| Line(vec![Span::Plain(text.to_owned())]);
        let rows = vec![vec![cell("a|b"), cell("$1.00")], vec![cell("longer name"), cell("$10.00")]];
        let rows = Table { heads: vec![("Name", false), ("Spend", true)], rows };
        insta::assert_snapshot!(table(&rows), @r"
        | Name        |  Spend |
        | ----------- | -----: |
        | a\|b        |  $1.00 |
        | longer name | $10.00 |
        ");
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_cell(text in "\\PC{0,40}|[|\\\\\n`*_]{1,8}") {
            let text = escaped(&text);
            prop_assert!(!text.contains('\n'));
            // Every bar has a backslash of its own before it: an odd number of them.
            for (at, _) in text.match_indices('|') {
                let before = text[..at].chars().rev().take_while(|character| *character == '\\').count();
                prop_assert_eq!(before % 2, 1);
            }
        }
    }
}
