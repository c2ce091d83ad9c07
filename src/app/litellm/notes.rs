//! What has to be told of a takeover: each with its place in the file, the reason, and a way out.

/// What became of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::app) enum Fate {
    /// It has no place here: something that worked there doesn't yet work here.
    LeftOut,
    /// It was taken over, as something that is not quite the same.
    Changed,
    /// It is about the other program's own workings; nothing is lost.
    Needless,
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::app) struct Note {
    pub(in crate::app) fate: Fate,
    /// The key path in the file; never a value, which may be a secret.
    pub(in crate::app) path: String,
    pub(in crate::app) line: usize,
    pub(in crate::app) reason: String,
    pub(in crate::app) way_out: String,
}

/// Notes as they are made.
#[derive(Default)]
pub(super) struct Notes(Vec<Note>);

impl Notes {
    fn add(&mut self, fate: Fate, at: (String, usize), reason: String, way_out: String) {
        let (path, line) = at;
        self.0.push(Note { fate, path, line, reason, way_out });
    }

    /// Something has no place here.
    pub(super) fn left_out(&mut self, at: (String, usize), reason: impl Into<String>, way_out: impl Into<String>) {
        self.add(Fate::LeftOut, at, reason.into(), way_out.into());
    }

    /// Something is not quite the same here.
    pub(super) fn changed(&mut self, at: (String, usize), reason: impl Into<String>, way_out: impl Into<String>) {
        self.add(Fate::Changed, at, reason.into(), way_out.into());
    }

    /// Something is not needed here.
    pub(super) fn needless(&mut self, at: (String, usize)) {
        self.add(Fate::Needless, at, String::new(), String::new());
    }

    /// All of them: what was left out first, each kind in the order of the file.
    pub(super) fn into_sorted(self) -> Vec<Note> {
        let mut notes = self.0;
        notes.sort_by_key(|note| (note.fate, note.line));
        notes.dedup();
        notes
    }
}
