//! Walks the file key by key, notes every problem, and remembers which keys were asked for.
//!
//! A [`Section`] is one table of the file together with the variables that reach its keys. Reading a key that is
//! wrong notes the problem and answers as if the key were absent, so that one walk finds all problems; the values of
//! such a walk are thrown away. What a section was not asked for is unknown. Each value that was read, and each
//! default that was taken, is also written down for [`super::Config::masked`].

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::Sources;
use super::environment::Variables;
use super::given::Given;
use super::problem::{Problem, did_you_mean, line_of, quoted};
use crate::domain::Secret;

/// The position of what doesn't stand in the file: after all that does.
const AFTER_FILE: usize = usize::MAX;
/// Keys of the file's top that people write below a section by mistake.
const TOP_KEYS: [&str; 6] = ["listen", "data_dir", "time_zone", "public_url", "redis_url", "redis_secret"];

/// What all sections of one walk share.
pub(super) struct Context<'c> {
    pub(super) sources: &'c Sources<'c>,
    pub(super) variables: Variables<'c>,
    problems: RefCell<Vec<(usize, Problem)>>,
    warnings: RefCell<Vec<(usize, Problem)>>,
    /// The path and position of each key that somebody set.
    set: RefCell<Vec<(String, usize)>>,
    /// The secrets that were read, each with the path of its key.
    secrets: RefCell<Vec<(String, Secret<String>)>>,
    /// The files that secrets refer to.
    secret_files: RefCell<BTreeSet<PathBuf>>,
}

impl<'c> Context<'c> {
    pub(super) fn new(sources: &'c Sources<'c>) -> Self {
        Self {
            sources,
            variables: Variables::new(sources),
            problems: RefCell::default(),
            warnings: RefCell::default(),
            set: RefCell::default(),
            secrets: RefCell::default(),
            secret_files: RefCell::default(),
        }
    }

    /// Notes a problem of something outside the file.
    pub(super) fn problem(&self, problem: Problem) {
        self.problems.borrow_mut().push((AFTER_FILE, problem));
    }

    /// Notes a warning about something outside the file.
    pub(super) fn warning(&self, path: &str, message: impl Into<String>) {
        self.warnings.borrow_mut().push((AFTER_FILE, Problem::new(path, message)));
    }

    /// The file and line of a position, such as `tollgate.toml:12`.
    fn place(&self, position: usize) -> String {
        let (path, text) = self.sources.path_and_text();
        format!("{}:{}", path.display(), line_of(text, position))
    }

    /// Where a path or anything below it was set first.
    pub(super) fn first_set(&self, path: &str) -> Option<usize> {
        let below =
            |set: &str| set.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        self.set.borrow().iter().filter(|(set, _)| below(set)).map(|(_, position)| *position).min()
    }

    /// Notes a warning at a position that [`Self::first_set`] gave.
    pub(super) fn warning_at(&self, position: usize, path: &str, message: impl Into<String>) {
        self.warnings.borrow_mut().push((position, Problem::new(path, message)));
    }

    /// Notes a secret that was read, and the path of its key.
    pub(super) fn secret(&self, path: String, secret: &str) {
        self.secrets.borrow_mut().push((path, Secret::new(secret.to_owned())));
    }

    /// Notes a file that a secret refers to.
    pub(super) fn secret_file(&self, path: &Path) {
        self.secret_files.borrow_mut().insert(path.to_owned());
    }

    /// The problems, the warnings and the secrets, each in the order of the file.
    pub(super) fn into_notes(self) -> Notes {
        let in_order = |notes: &RefCell<Vec<(usize, Problem)>>| {
            let mut notes = notes.take();
            notes.sort_by_key(|(position, _)| *position);
            let placed = |(position, problem): (usize, Problem)| Problem {
                place: (position != AFTER_FILE).then(|| self.place(position)),
                ..problem
            };
            notes.into_iter().map(placed).collect()
        };
        Notes {
            problems: in_order(&self.problems),
            warnings: in_order(&self.warnings),
            secrets: self.secrets.into_inner(),
            secret_files: self.secret_files.into_inner(),
        }
    }
}

/// What a walk has noted.
pub(super) struct Notes {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    pub(super) secrets: Vec<(String, Secret<String>)>,
    pub(super) secret_files: BTreeSet<PathBuf>,
}

/// A key that somebody set.
pub(super) struct Found<'c> {
    /// The path, or the variable's or flag's name.
    pub(super) path: String,
    position: usize,
    pub(super) given: Given<'c>,
}

/// One table of the settings, or its absence: a section that isn't in the file is read for its defaults.
pub(super) struct Section<'c> {
    pub(super) context: &'c Context<'c>,
    table: Option<&'c DeTable<'c>>,
    path: String,
    position: usize,
    /// Whether variables reach the keys: not below a list or a name that the file makes up.
    variables: bool,
    asked: Vec<&'static str>,
    found: Vec<&'static str>,
    effective: toml::Table,
}

impl<'c> Section<'c> {
    /// The whole file.
    pub(super) fn root(context: &'c Context<'c>, table: &'c DeTable<'c>) -> Self {
        Self {
            context,
            table: Some(table),
            path: String::new(),
            position: 0,
            variables: true,
            asked: Vec::new(),
            found: Vec::new(),
            effective: toml::Table::new(),
        }
    }

    /// The path of one of the section's keys.
    pub(super) fn path_of(&self, key: &str) -> String {
        let is_bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let key = if is_bare { key.to_owned() } else { quoted(key) };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    /// Notes a problem with the section as a whole.
    pub(super) fn problem(&self, message: impl Into<String>) {
        let problem = Problem::new(self.path.clone(), message);
        self.context.problems.borrow_mut().push((self.position, problem));
    }

    /// Notes a problem with one of its keys, where that key stands, or with its absence.
    pub(super) fn problem_at(&self, key: &str, message: impl Into<String>) {
        self.problem_below(key, "", message);
    }

    /// Notes a problem with a part of one of its keys, such as `[1]`.
    pub(super) fn problem_below(&self, key: &str, part: &str, message: impl Into<String>) {
        let problem = Problem::new(self.path_of(key) + part, message);
        self.context.problems.borrow_mut().push((self.position_of(key), problem));
    }

    /// Notes a warning about the section as a whole.
    pub(super) fn warning(&self, message: impl Into<String>) {
        self.context.warning_at(self.position, &self.path, message);
    }

    /// Notes a warning about one of its keys.
    pub(super) fn warning_at(&self, key: &str, message: impl Into<String>) {
        self.context.warning_at(self.position_of(key), &self.path_of(key), message);
    }

    /// The file and line where one of its keys stands.
    pub(super) fn place_of(&self, key: &str) -> String {
        self.context.place(self.position_of(key))
    }

    fn position_of(&self, key: &str) -> usize {
        let in_file = self.table.and_then(|table| table.get_key_value(key));
        in_file.map_or(self.position, |(key, _)| key.span().start)
    }

    /// Whether the file has the key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Whether the file has a table under the key.
    pub(super) fn has_table(&self, key: &str) -> bool {
        self.table.and_then(|table| table.get(key)).is_some_and(|value| value.get_ref().is_table())
    }

    /// Whether the file has a list that isn't empty under the key.
    pub(super) fn has_items(&self, key: &str) -> bool {
        let value = self.table.and_then(|table| table.get(key)).map(toml::Spanned::get_ref);
        value.is_some_and(|value| !value.as_array().is_some_and(|list| list.is_empty()))
    }

    /// Whether a key that was read before is set anywhere, rightly or wrongly.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.found.contains(&key)
    }

    /// Finds a key where it was set with the highest rank.
    pub(super) fn find(&mut self, key: &'static str) -> Option<Found<'c>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let path = self.path_of(key);
        let above = if self.variables { self.context.variables.above_file(&path) } else { None };
        let in_file = || {
            let (name, value) = self.table?.get_key_value(key)?;
            Some(Found { path: path.clone(), position: name.span().start, given: Given::Value(value.get_ref()) })
        };
        let outside = |found: super::environment::Override<'c>| Found {
            path: found.name,
            position: AFTER_FILE,
            given: Given::Text(found.text),
        };
        let found = above.map(outside).or_else(in_file).or_else(|| {
            let below = if self.variables { self.context.variables.below_file(&path) } else { None };
            below.map(outside)
        })?;
        self.context.set.borrow_mut().push((path, found.position));
        self.found.push(key);
        Some(found)
    }

    /// Notes a problem with a value that was found.
    pub(super) fn problem_with(&self, found: &Found<'_>, message: String) {
        self.context.problems.borrow_mut().push((found.position, Problem::new(found.path.clone(), message)));
    }

    /// Notes a warning about a value that was found.
    pub(super) fn warning_about(&self, found: &Found<'_>, message: &str) {
        self.context.warning_at(found.position, &found.path, message);
    }

    /// Writes a value down for [`super::Config::masked`].
    pub(super) fn show(&mut self, key: &str, value: impl Into<Value>) {
        self.effective.insert(key.to_owned(), value.into());
    }

    /// Reads a list; each of its values that is wrong is told by its index.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        shown: impl Fn(&T) -> Value,
        parse: impl Fn(Given<'c>) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let found = self.find(key)?;
        let Given::Value(DeValue::Array(items)) = found.given else {
            let message = match found.given {
                Given::Text(_) => "a list can't be set here; write it into the file".to_owned(),
                Given::Value(_) => format!("expected a list such as [\"…\", \"…\"], found {}", found.given.kind()),
            };
            self.problem_with(&found, message);
            return None;
        };
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match parse(Given::Value(item.get_ref())) {
                Ok(value) => values.push(value),
                Err(message) => {
                    let problem = Problem::new(format!("{}[{index}]", found.path), message);
                    self.context.problems.borrow_mut().push((item.span().start, problem));
                }
            }
        }
        self.show(key, values.iter().map(shown).collect::<Vec<_>>());
        Some(values)
    }

    fn child(&self, table: Option<&'c DeTable<'c>>, path: String, position: usize, variables: bool) -> Self {
        Section {
            context: self.context,
            table,
            path,
            position,
            variables,
            asked: Vec::new(),
            found: Vec::new(),
            effective: toml::Table::new(),
        }
    }

    /// Reads a table below this one; an absent one is read for its defaults and its variables.
    pub(super) fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'c>) -> T) -> T {
        self.asked.push(key);
        let path = self.path_of(key);
        let in_file = self.table.and_then(|table| table.get_key_value(key));
        let position = in_file.map_or(self.position, |(name, _)| name.span().start);
        let table = in_file.and_then(|(_, value)| {
            self.context.set.borrow_mut().push((path.clone(), position));
            let table = value.get_ref().as_table();
            if table.is_none() {
                let kind = Given::Value(value.get_ref()).kind();
                self.problem_at(
                    key,
                    format!("expected a table, found {kind}; write [{path}] on a line of its own, its keys below it"),
                );
            }
            table
        });
        let mut section = self.child(table, path, position, self.variables);
        let value = read(&mut section);
        let effective = section.finish();
        if !effective.is_empty() {
            self.show(key, effective);
        }
        value
    }

    /// Reads a list of tables; each is known by its `name` once it has one of its own, else by its index.
    pub(super) fn sections<T>(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'c>) -> T) -> Vec<T> {
        let Some(found) = self.find(key) else { return Vec::new() };
        let Given::Value(DeValue::Array(items)) = found.given else {
            let message = match found.given {
                Given::Text(_) => "a list can't be set here; write it into the file".to_owned(),
                Given::Value(_) => format!("expected a list of tables; begin each with [[{}]]", found.path),
            };
            self.problem_with(&found, message);
            return Vec::new();
        };
        let mut values = Vec::with_capacity(items.len());
        let mut shown = Vec::with_capacity(items.len());
        let mut names = std::collections::BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let by_index = format!("{}[{index}]", found.path);
            let position = item.span().start;
            let Some(table) = item.get_ref().as_table() else {
                let problem = Problem::new(by_index, format!("expected a table; begin it with [[{}]]", found.path));
                self.context.problems.borrow_mut().push((position, problem));
                continue;
            };
            let name = table.get("name").and_then(|name| name.get_ref().as_str()).filter(|name| !name.is_empty());
            let path = name
                .filter(|name| names.insert(*name))
                .map(|name| self.child(None, found.path.clone(), 0, false).path_of(name));
            let mut section = self.child(Some(table), path.unwrap_or(by_index), position, false);
            values.push(read(&mut section));
            shown.push(Value::Table(section.finish()));
        }
        self.show(key, shown);
        values
    }

    /// Reads a table of tables with names that the file makes up, in the order of the file.
    pub(super) fn entries<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&str, &mut Section<'c>) -> T,
    ) -> Vec<T> {
        self.section(key, |entries| {
            entries.variables = false;
            let mut values = Vec::new();
            let mut in_order: Vec<_> = entries.table.into_iter().flatten().collect();
            in_order.sort_by_key(|(name, _)| name.span().start);
            for (name, value) in in_order {
                let (position, name) = (name.span().start, name.get_ref().as_ref());
                let path = entries.path_of(name);
                let Some(table) = value.get_ref().as_table() else {
                    let message =
                        format!("expected a table, found {}; write [{path}]", Given::Value(value.get_ref()).kind());
                    entries.context.problems.borrow_mut().push((position, Problem::new(path, message)));
                    continue;
                };
                let mut section = entries.child(Some(table), path, position, false);
                values.push(read(name, &mut section));
                let shown = section.finish();
                entries.show(name, shown);
            }
            // Their names are the file's own, so none of them is unknown.
            entries.table = None;
            values
        })
    }

    /// Notes every key that nobody asked for, and gives what is to be shown.
    pub(super) fn finish(self) -> toml::Table {
        for (name, _) in self.table.into_iter().flatten() {
            let (key, position) = (name.get_ref().as_ref(), name.span().start);
            if self.asked.contains(&key) {
                continue;
            }
            let hint = if !self.path.is_empty() && TOP_KEYS.contains(&key) {
                "; it belongs at the top of the file, above the first [section]".to_owned()
            } else {
                did_you_mean(key, self.asked.iter().copied())
            };
            let known = if hint.is_empty() && self.asked.len() <= 12 {
                format!("; known here: {}", self.asked.join(", "))
            } else {
                hint
            };
            let problem = Problem::new(self.path_of(key), format!("unknown key{known}"));
            self.context.problems.borrow_mut().push((position, problem));
        }
        self.effective
    }
}
