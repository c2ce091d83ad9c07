//! `/settings`: what is in force, what was refused, and the revisions before.

use askama::Template;

use super::super::format::Moment;
use super::layout::Layout;
use super::parts::{Phrase, Select, Tone};

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "settings/page.html")]
pub struct SettingsPage {
    /// The page around it.
    pub layout: Layout,
    /// What has become of a reload that was just asked for.
    pub done: Option<(Tone, Phrase)>,
    /// Files that were read and not taken over.
    pub refused: Option<RefusedNote>,
    /// The keys that wait for a restart, each with what stays in force until then, where that is shown.
    pub waiting: Vec<(String, Option<String>)>,
    /// What is worth knowing.
    pub warnings: Vec<ProblemLine>,
    /// `Revision 4`.
    pub heading: String,
    /// Since when it holds.
    pub since: Moment,
    /// What made it: `by a change of a file`.
    pub trigger: String,
    /// The file that the settings are read from; absent where the program itself has them.
    pub file: Option<String>,
    /// The effective settings as TOML, secrets masked.
    pub settings: String,
    /// The revisions that are kept, newest first.
    pub rows: Vec<RevisionRow>,
    /// Which two are compared, to choose others.
    pub choices: Vec<Select>,
    /// Two of them compared.
    pub comparison: Option<Comparison>,
}

/// Files that were read and not taken over.
#[derive(Clone, Debug)]
pub struct RefusedNote {
    /// When they were read.
    pub at: Moment,
    /// What had them read.
    pub trigger: String,
    /// `2 problems were found`.
    pub found: String,
    /// Each of them.
    pub problems: Vec<ProblemLine>,
}

/// Something that is wrong or worth knowing.
#[derive(Clone, Debug)]
pub struct ProblemLine {
    /// `tollgate.toml:12`, where it stands in a file.
    pub place: Option<String>,
    /// The path of the key.
    pub path: String,
    /// What it says.
    pub message: String,
}

/// A revision in the list.
#[derive(Clone, Debug)]
pub struct RevisionRow {
    /// Its number.
    pub number: u64,
    /// Since when it held.
    pub time: Moment,
    /// What made it.
    pub trigger: &'static str,
    /// Whether it is the one in force.
    pub is_in_force: bool,
    /// What waited for a restart then.
    pub note: Option<String>,
    /// Where its changes from the one before are shown, where that is kept.
    pub changes: Option<String>,
}

/// Two revisions, line by line.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// `From revision 3 to 4`.
    pub heading: String,
    /// The lines that differ, with some around them; none where they say the same.
    pub lines: Vec<DiffLine>,
}

/// A line of a comparison.
#[derive(Clone, Debug)]
pub struct DiffLine {
    /// Its class: added, removed, left out, or none.
    pub class: &'static str,
    /// Its sign, and what it means in words.
    pub sign: (&'static str, &'static str),
    /// Its text.
    pub text: String,
}
