//! The revisions of the settings: what was in force since when, what made it so, and what was refused.
//!
//! [`Revisions`] keeps the last ten, over restarts too, and the last refusal until something is taken over. Secrets are in none of
//! them: a revision says of each since which revision it is the same, known by a keyed mark that is kept beside. Whoever wants
//! the files read again asks through [`Reloads`]; who reads them stands above.

mod ask;
mod diff;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::Problem;
use crate::store::{Settings, SettingsError};

pub use ask::{Ask, NotReloaded, Reloaded, Reloads};
pub use diff::{Edit, Line, diff};

/// Revisions that are kept.
pub const KEPT_MAX: usize = 10;

/// What had the settings read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// The start of the process.
    Start,
    /// A file that has changed.
    File,
    /// The signal SIGHUP.
    Sighup,
    /// Somebody by the API or the dashboard.
    Api,
}

impl Trigger {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::File => "file",
            Self::Sighup => "sighup",
            Self::Api => "api",
        }
    }

    /// Whether a person has said so, and not a file by changing.
    pub const fn is_meant(self) -> bool {
        !matches!(self, Self::File)
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Start => "the start",
            Self::File => "a change of a file",
            Self::Sighup => "SIGHUP",
            Self::Api => "a request",
        })
    }
}

/// A mark by which a text is known again that is not to be shown.
pub type Mark = [u8; 32];

/// What a configuration comes to, ready to be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// The effective settings as TOML, secrets masked.
    pub settings: String,
    /// What they don't show, secrets and named files, by the path of its key.
    pub marks: BTreeMap<String, Mark>,
    /// Keys that wait for the next start.
    pub waiting: Vec<String>,
    /// What of them stays in force until then, as it is shown.
    pub still: BTreeMap<String, String>,
    /// What is worth knowing.
    pub warnings: Vec<Problem>,
}

/// One state of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Counted up from 1.
    pub number: u64,
    /// Since when it holds.
    pub at: Timestamp,
    /// What made it.
    pub trigger: Trigger,
    /// The effective settings as TOML, secrets masked.
    pub settings: String,
    /// What they don't show, secrets and named files: since which revision each is the same.
    pub unshown: BTreeMap<String, u64>,
    /// Keys that wait, or then waited, for the next start.
    pub waiting: Vec<String>,
    /// What of them stays, or then stayed, in force until then, as it is shown.
    pub still: BTreeMap<String, String>,
    /// What is worth knowing.
    pub warnings: Vec<Problem>,
}

impl Revision {
    /// The settings, and below them what they don't show: the text that revisions are compared by.
    pub fn text(&self) -> String {
        let mut text = self.settings.clone();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        for (path, since) in &self.unshown {
            text.push_str(&format!("# the value of revision {since}: {path}\n"));
        }
        text
    }
}

/// Files that were read and not taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When.
    pub at: Timestamp,
    /// What had them read.
    pub trigger: Trigger,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

/// What has become of new settings in the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The revision that is in force.
    pub number: u64,
    /// Whether it is a new one.
    pub is_new: bool,
}

/// The revisions of one data folder.
pub struct Revisions {
    settings: Settings,
    /// Where the settings are looked for; nowhere where the program itself has them.
    file: Option<PathBuf>,
    /// Held for a look or a change in memory, never for the disk.
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// Oldest first; the last one is in force.
    kept: VecDeque<Revision>,
    /// Of what the last one doesn't show.
    marks: BTreeMap<String, Mark>,
    refused: Option<Refused>,
}

impl Revisions {
    /// What was kept before. Blocks for the disk.
    pub fn open(settings: Settings, file: Option<PathBuf>) -> Result<Self, SettingsError> {
        let (kept, marks) = settings.write(rows::load)?;
        Ok(Self { settings, file, book: Mutex::new(Book { kept, marks, refused: None }) })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the settings are looked for.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Notes what is in force from now on; a new revision only where it differs from the last. Blocks for the disk.
    ///
    /// A revision that can't be written is kept in memory all the same: settings shall be mendable while the disk is full.
    pub fn take(&self, effective: Effective, trigger: Trigger, now: Timestamp) -> (Kept, Result<(), SettingsError>) {
        let Effective { settings, marks, waiting, still, warnings } = effective;
        let mut book = self.book();
        book.refused = None;
        let is_same_text = book.kept.back().is_some_and(|last| last.settings == settings);
        if is_same_text && book.marks == marks {
            let last = book.kept.back_mut().expect("it was compared");
            // Another start may have ended what waited.
            (last.waiting, last.still, last.warnings) = (waiting, still, warnings);
            return (Kept { number: last.number, is_new: false }, Ok(()));
        }
        let number = book.kept.back().map_or(1, |last| last.number + 1);
        let since = |(path, mark): (&String, &Mark)| {
            let before = book.kept.back().filter(|_| book.marks.get(path) == Some(mark));
            (path.clone(), before.and_then(|last| last.unshown.get(path).copied()).unwrap_or(number))
        };
        let unshown = marks.iter().map(since).collect();
        let revision = Revision { number, at: now, trigger, settings, unshown, waiting, still, warnings };
        let row = rows::encode(&revision);
        book.kept.push_back(revision);
        let mut gone = Vec::new();
        while book.kept.len() > KEPT_MAX {
            gone.extend(book.kept.pop_front().map(|oldest| oldest.number));
        }
        book.marks.clone_from(&marks);
        drop(book);
        let written = self.settings.write(|transaction| rows::write(transaction, number, &row, &gone, &marks));
        (Kept { number, is_new: true }, written)
    }

    /// Notes that files were not taken over.
    pub fn refuse(&self, refused: Refused) {
        self.book().refused = Some(refused);
    }

    /// The revision that is in force; there is one from the start on.
    pub fn in_force(&self) -> Option<Revision> {
        self.book().kept.back().cloned()
    }

    /// The last refusal, while nothing was taken over since.
    pub fn last_refused(&self) -> Option<Refused> {
        self.book().refused.clone()
    }

    /// Those that are kept, newest first.
    pub fn all(&self) -> Vec<Revision> {
        self.book().kept.iter().rev().cloned().collect()
    }

    /// One of them.
    pub fn find(&self, number: u64) -> Option<Revision> {
        self.book().kept.iter().find(|revision| revision.number == number).cloned()
    }
}
