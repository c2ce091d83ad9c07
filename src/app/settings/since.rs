//! What became of the files since they were read before: one that is gone, or in which nothing stands any more, changes nothing by
//! accident.

use std::io;
use std::path::Path;

use crate::config::{Config, FileRead, Problem};

/// What may have happened to the files since they were read before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Since<'a> {
    /// Those that were there: that one is gone is a problem.
    files: &'a [FileRead],
    /// Somebody has said that they shall be read now. Otherwise a file in which nothing stands any more may be one that is
    /// just being written.
    is_meant: bool,
}

impl<'a> Since<'a> {
    /// Since these settings were read; `is_meant` where a person has said that the files shall be read now.
    pub(crate) fn read(before: &'a Config, is_meant: bool) -> Self {
        Self { files: &before.files, is_meant }
    }

    fn before(&self, path: &Path) -> Option<&FileRead> {
        self.files.iter().find(|file| file.path == path)
    }

    /// What is wrong with what became of a file that can be read.
    pub(super) fn emptied(&self, now: &FileRead) -> Option<Problem> {
        let was_filled = self.before(&now.path).is_some_and(|before| !before.is_empty);
        (was_filled && now.is_empty && !self.is_meant).then(|| {
            let message =
                "empty, and it was not before; if that is meant, have it read by SIGHUP or POST /api/config/reload";
            Problem::new(now.path.display().to_string(), message)
        })
    }

    /// What is wrong with a file that can't be read.
    pub(super) fn unreadable(&self, shown: &Path, path: &Path, error: &io::Error, is_needed: bool) -> Option<Problem> {
        let told = |message: String| Some(Problem::new(shown.display().to_string(), message));
        match (is_absent(path, error), self.before(shown)) {
            (true, None) if !is_needed => None,
            (true, Some(_)) => {
                told("it is gone; put it back, or an empty one in its place if nothing shall stand in it".to_owned())
            }
            _ => told(unreadable(path, error)),
        }
    }
}

/// Whether nothing is there at all: a link that leads nowhere was meant to lead somewhere.
fn is_absent(path: &Path, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err()
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    match std::fs::read_link(path) {
        Ok(target) => format!("can't be read: {error}; it is a link to {}", target.display()),
        Err(_) => format!("can't be read: {error}"),
    }
}
