//! The names that the tables of a list give themselves: each is given once.

use super::problem::quoted;
use super::reader::Section;

/// The names of one list, in the order of the file.
pub(super) struct Names {
    /// What has them, such as `route`.
    of: &'static str,
    /// Each with the place where it was given first.
    given: Vec<(String, String)>,
}

impl Names {
    pub(super) const fn new(of: &'static str) -> Self {
        Self { of, given: Vec::new() }
    }

    /// Takes the name of a table, or notes where another has it.
    pub(super) fn take(&mut self, section: &Section<'_>, name: &str) {
        if let Some((_, place)) = self.given.iter().find(|(given, _)| given == name) {
            let (of, name) = (self.of, quoted(name));
            section.problem_at(
                "name",
                format!("another {of} is called {name} already, at {place}; give each its own name"),
            );
        } else {
            self.given.push((name.to_owned(), section.place_of("name")));
        }
    }

    pub(super) fn into_vec(self) -> Vec<String> {
        self.given.into_iter().map(|(name, _)| name).collect()
    }
}
