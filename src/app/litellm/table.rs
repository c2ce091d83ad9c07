//! One table of the file, which remembers what it was asked for.

use std::cell::RefCell;

use super::notes::Notes;
use super::yaml::Node;
use crate::domain::Decimal;

/// A table, or its absence.
pub(super) struct Table<'n> {
    path: String,
    node: Option<&'n Node>,
    asked: RefCell<Vec<String>>,
}

impl<'n> Table<'n> {
    pub(super) fn new(path: String, node: &'n Node) -> Self {
        Self { path, node: Some(node), asked: RefCell::default() }
    }

    /// The table below a key; what is no table is told of, and counts as absent.
    pub(super) fn table(&self, key: &str, notes: &mut Notes) -> Table<'n> {
        let node = self.get(key);
        if let Some(wrong) = node.filter(|node| node.entries().is_none()) {
            notes.left_out(
                (self.path_of(key), wrong.line),
                "not a table of settings",
                "correct the file and import it again",
            );
        }
        Table { path: self.path_of(key), node: node.filter(|node| node.entries().is_some()), asked: RefCell::default() }
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Where a key stands.
    pub(super) fn at(&self, key: &str) -> (String, usize) {
        let line = self.node.map_or(0, |node| node.get(key).map_or(node.line, |node| node.line));
        (self.path_of(key), line)
    }

    /// Where the table itself stands.
    pub(super) fn place(&self) -> (String, usize) {
        (self.path.clone(), self.node.map_or(0, |node| node.line))
    }

    /// What stands at a key, unless that is nothing.
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.asked.borrow_mut().push(key.to_owned());
        self.node?.get(key).filter(|node| !node.is_null())
    }

    /// A text that isn't empty.
    pub(super) fn text(&self, key: &str) -> Option<&'n str> {
        self.get(key)?.text().map(str::trim).filter(|text| !text.is_empty())
    }

    /// A number from nothing up; anything else is told of.
    pub(super) fn number(&self, key: &str, notes: &mut Notes) -> Option<Decimal> {
        let node = self.get(key)?;
        let number = node.text().and_then(|text| text.trim().replace('_', "").parse::<Decimal>().ok());
        let number = number.filter(|number| !number.is_negative());
        if number.is_none() {
            notes.left_out(self.at(key), "not a number from 0 up", "correct the file and import it again");
        }
        number
    }

    /// A whole number from nothing up.
    pub(super) fn whole(&self, key: &str, notes: &mut Notes) -> Option<u32> {
        u32::try_from(self.number(key, notes)?.in_units(0)?.units).ok()
    }

    /// The keys that nobody asked for, and where they stand; those that are empty say nothing.
    pub(super) fn unasked(&self) -> Vec<(&'n str, (String, usize))> {
        let asked = self.asked.borrow();
        let entries = self.node.and_then(Node::entries).unwrap_or_default();
        let left = entries.iter().filter(|(key, node)| !node.is_null() && !asked.contains(key));
        left.map(|(key, node)| (key.as_str(), (self.path_of(key), node.line))).collect()
    }
}
