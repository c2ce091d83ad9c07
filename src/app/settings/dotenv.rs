//! Variables that stand in a `.env`.

use std::collections::BTreeSet;
use std::path::Path;

use super::Gathered;
use super::since::Since;
use crate::config::defaults::FILE_BYTES_MAX;
use crate::config::{FileRead, Problem};
use crate::runtime::read_text;

/// Adds the variables of a `.env`. A line that is none is told of by its number alone, as it may hold a secret.
pub(super) fn read(folder: &Path, shown: &Path, since: Since<'_>, gathered: &mut Gathered) {
    let path = folder.join(shown);
    let text = match read_text(&path, FILE_BYTES_MAX) {
        Ok((text, _)) => text,
        Err(error) => {
            gathered.problems.extend(since.unreadable(shown, &path, &error, false));
            return;
        }
    };
    let read = FileRead::new(shown.to_owned(), &text);
    gathered.problems.extend(since.emptied(&read));
    gathered.files.push(read);
    let (mut variables, mut twice, mut wrong) = (Vec::new(), BTreeSet::new(), Vec::new());
    for variable in dotenvy::from_read_iter(text.as_bytes()) {
        match variable {
            Ok((name, _)) if variables.iter().any(|(known, _)| *known == name) => drop(twice.insert(name)),
            Ok(variable) => variables.push(variable),
            Err(error) => wrong.push(error),
        }
    }
    gathered.dotenv.extend(variables);
    let told = |message: String| Problem::new(shown.display().to_string(), message);
    if !wrong.is_empty() {
        let lines = lines_of(&text, &wrong);
        gathered.problems.push(told(format!("{lines} not of the form NAME=value; put values with spaces into quotes")));
    }
    for name in twice {
        gathered.warnings.push(told(format!("{name} stands twice, and the first counts; take the other out")));
    }
}

/// `line 2 is` or `lines 2 and 5 are`: where those stand that are no variables.
fn lines_of(text: &str, wrong: &[dotenvy::Error]) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut looked_at = 0;
    // An error has the line, or what stands behind its equals sign; of several lines in quotes the first is found.
    let mut number_of = |wrong: &str| {
        let first = wrong.lines().next()?.trim();
        looked_at += 1 + lines[looked_at..].iter().position(|line| !first.is_empty() && line.contains(first))?;
        Some(looked_at)
    };
    let numbers: Vec<String> = wrong
        .iter()
        .filter_map(|error| match error {
            dotenvy::Error::LineParse(wrong, _) => number_of(wrong).map(|number| number.to_string()),
            _ => None,
        })
        .collect();
    match numbers.as_slice() {
        [] => "a line is".to_owned(),
        [one] => format!("line {one} is"),
        [first @ .., last] => format!("lines {} and {last} are", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_no_variables_are_told_of_by_their_numbers() {
        let check = |text: &str, expected: &str| {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(".env"), text).unwrap();
            let mut gathered = Gathered::default();
            read(folder.path(), Path::new(".env"), Since::default(), &mut gathered);
            let told: Vec<String> =
                gathered.problems.iter().chain(&gathered.warnings).map(ToString::to_string).collect();
            assert_eq!(told.join("|"), expected, "{text:?}");
            gathered.dotenv.len()
        };
        let form = "not of the form NAME=value; put values with spaces into quotes";
        check("# keys\n\nsk canary\nA=1\n", &format!(".env: line 3 is {form}"));
        check("sk canary\nA=1\n\nB=1 2\nC=\"1\n2\"\nno\n", &format!(".env: lines 1, 4 and 7 are {form}"));
        check("A=1\nC=\"never ends\n\n", &format!(".env: line 2 is {form}"));
        let count = check("A=1\nB=2\nA=3\n", ".env: A stands twice, and the first counts; take the other out");
        assert_eq!(count, 2);
    }
}
