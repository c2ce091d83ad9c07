//! What is wrong with the settings, told so that a person can mend it.

use std::fmt;

/// One thing that is wrong, where it stands, and a way out.
///
/// Prints as `routes.fast.deployments[1]: no provider "opnai"; did you mean "openai"?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key path in the file, the variable, the flag, or the place in the file.
    pub path: String,
    /// What is wrong, and what to do about it.
    pub message: String,
    /// The file and line where it stands, such as `tollgate.toml:12`; absent for what comes from elsewhere.
    pub place: Option<String>,
}

impl Problem {
    /// A problem at a place.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), place: None }
    }

    /// The problem with its place in front: `tollgate.toml:12: routes.fast: …`.
    pub fn with_place(&self) -> String {
        match &self.place {
            // Where the file is no TOML, the place is all that there is of a path.
            Some(place) if !self.path.starts_with(place.as_str()) => format!("{place}: {self}"),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.message)
    }
}

/// Everything that is wrong with the settings, in the order of the file; variables and flags come last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// A list of problems; empty lists are not made into errors.
    pub const fn new(problems: Vec<Problem>) -> Self {
        Self(problems)
    }

    /// The problems, in order.
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }

    /// The problems one by one, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(formatter, "{line_end}{}", problem.with_place())?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// The line of a position in a text, from 1 on.
pub(super) fn line_of(text: &str, position: usize) -> usize {
    text.get(..position).unwrap_or(text).matches('\n').count() + 1
}

/// Longest text that a message repeats: more would hide the rest of the message.
const QUOTED_CHARS_MAX: usize = 60;

/// A text in quotes, with control characters escaped, cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    if text.chars().count() <= QUOTED_CHARS_MAX {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    format!("{:?}", start + "…")
}

/// The candidate that a word was probably meant to be.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words are never typing errors, and comparing them with every candidate would take long.
    if word.len() > 100 {
        return None;
    }
    let lower = word.to_lowercase();
    let distance_max = (word.chars().count() / 3).max(1);
    let near = candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= distance_max && *candidate != word);
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// `; did you mean "x"?` with the nearest candidate, or nothing where none is near.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or_else(String::new, |candidate| format!("; did you mean {}?", quoted(candidate)))
}

/// `a, b or c`.
pub(super) fn any_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}
