//! Interned names: entries and cells hold numbers, one table says what they mean.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

/// Names kept before what clients invent is called [`OTHER`]: the table can't grow for ever by their doing. Names that
/// somebody configured are always kept.
const NAMES_INVENTED_MAX: usize = 100_000;
/// What invented names are called where there are too many.
pub(super) const OTHER: &str = "other";
/// The number of the absent name.
pub(super) const NONE: u32 = 0;

/// Both directions of the table, shared by the writer, which adds, and readers.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Arc<RwLock<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    by_name: HashMap<Arc<str>, u32>,
    /// The name numbered n stands at n - 1: 0 is no name.
    by_number: Vec<Arc<str>>,
    /// How many of them are in the file.
    stored: usize,
}

impl Names {
    /// The number of a name; a new one gets the next.
    pub(super) fn intern(&self, name: &str) -> u32 {
        if let Some(number) = self.find(name) {
            return number;
        }
        let mut inner = self.0.write().expect("no holder of this lock panics");
        if let Some(&number) = inner.by_name.get(name) {
            return number;
        }
        let name: Arc<str> = name.into();
        inner.by_number.push(Arc::clone(&name));
        let number = u32::try_from(inner.by_number.len()).expect("four thousand million names don't fit in memory");
        inner.by_name.insert(name, number);
        number
    }

    /// Whether so many names are known that a client's new one is not kept any more.
    pub(super) fn is_crowded(&self) -> bool {
        self.0.read().expect("no holder of this lock panics").by_number.len() >= NAMES_INVENTED_MAX
    }

    /// The number of a name that is known.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.0.read().expect("no holder of this lock panics").by_name.get(name).copied()
    }

    /// The name of a number; `None` for the absent one.
    pub(super) fn name(&self, number: u32) -> Option<Arc<str>> {
        let inner = self.0.read().expect("no holder of this lock panics");
        usize::try_from(number).ok()?.checked_sub(1).and_then(|index| inner.by_number.get(index).cloned())
    }

    /// Names that the file doesn't have yet, with their numbers.
    pub(super) fn unstored(&self) -> Vec<(u32, Arc<str>)> {
        let inner = self.0.read().expect("no holder of this lock panics");
        let numbered = inner.by_number.iter().enumerate().skip(inner.stored);
        numbered.filter_map(|(index, name)| Some((u32::try_from(index + 1).ok()?, Arc::clone(name)))).collect()
    }

    /// The file has everything up to this number now.
    pub(super) fn mark_stored(&self, number: u32) {
        let mut inner = self.0.write().expect("no holder of this lock panics");
        inner.stored = inner.stored.max(number as usize);
    }

    /// Starts anew from what the file has. Numbers that never got into it are given out again: no row has them.
    pub(super) fn load(&self, names: Vec<Arc<str>>) {
        let mut inner = self.0.write().expect("no holder of this lock panics");
        inner.by_name = names.iter().zip(1..).map(|(name, number)| (Arc::clone(name), number)).collect();
        inner.stored = names.len();
        inner.by_number = names;
    }
}
