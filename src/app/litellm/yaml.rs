//! YAML, read into a small tree with the line of everything, and bounded in every direction.
//!
//! LiteLLM reads its settings with a parser of YAML 1.1, so `yes` and `on` are true here too, `<<` merges, and of a key that
//! stands twice the last one counts. No message repeats a text of the file: it may be a secret.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// Levels of lists and tables; real files have six.
const DEPTH_MAX: usize = 48;
/// Nodes with all aliases resolved: a few lines of them can stand for billions.
const NODES_MAX: usize = 100_000;

/// A value and the line that it begins on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
    /// This node and all below it.
    size: usize,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Text {
        text: String,
        /// Without quotes, so that it may be a number or a boolean.
        is_plain: bool,
    },
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
}

/// Why a text can't be read, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub(in crate::app) struct YamlError {
    pub(super) line: usize,
    pub(super) message: String,
}

impl Node {
    fn new(line: usize, value: Value) -> Self {
        let below: usize = match &value {
            Value::Null | Value::Text { .. } => 0,
            Value::List(items) => items.iter().map(|item| item.size).sum(),
            Value::Table(entries) => entries.iter().map(|(_, entry)| entry.size).sum(),
        };
        Self { line, value, size: 1 + below }
    }

    /// A table without entries.
    pub(super) fn empty_table(line: usize) -> Self {
        Self::new(line, Value::Table(Vec::new()))
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The boolean that it is, by the words of YAML 1.1.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.text()?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// Its entries; none where it is no table.
    pub(super) fn entries(&self) -> Option<&[(String, Node)]> {
        match &self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// Its items; one that is no list stands for a list of itself, nothing for an empty one.
    pub(super) fn items(&self) -> &[Node] {
        match &self.value {
            Value::Null => &[],
            Value::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// The entry of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries()?.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// Puts an entry in the place of one of the same key, or behind all.
    pub(super) fn set(&mut self, key: String, node: Node) {
        let Value::Table(entries) = &mut self.value else { return };
        match entries.iter_mut().find(|(name, _)| *name == key) {
            Some(entry) => entry.1 = node,
            None => entries.push((key, node)),
        }
    }

    /// The entry of a key, to change.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Table(entries) => entries.iter_mut().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// Adds the items of another list behind those of this one.
    pub(super) fn extend(&mut self, other: Node) {
        if let (Value::List(items), Value::List(more)) = (&mut self.value, other.value) {
            items.extend(more);
        }
    }
}

/// Reads a text of one document; nothing at all is an empty table.
pub(super) fn read(text: &str) -> Result<Node, YamlError> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text.trim_start_matches('\u{feff}')) {
        let (event, span) = event.map_err(|error| YamlError {
            line: error.marker().line(),
            message: error.info().chars().filter(|character| !character.is_control()).collect(),
        })?;
        builder.take(event, span)?;
    }
    Ok(builder.root.unwrap_or_else(|| Node::empty_table(1)))
}

/// A list or a table that is not closed yet.
struct Open {
    line: usize,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Table { entries: Vec<(String, Node)>, key: Option<String>, merged: Vec<Node> },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), YamlError> {
        let line = span.start.line();
        let fail = |message: &str| Err(YamlError { line, message: message.to_owned() });
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                fail("a second document begins; a file of settings has one")
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain && tag.is_none();
                check_tag(tag.as_deref(), line)?;
                let is_null = is_plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if is_null { Value::Null } else { Value::Text { text: text.into_owned(), is_plain } };
                self.finish(Node::new(line, value), anchor)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => {
                    let node = node.clone();
                    self.count(node.size, line)?;
                    self.finish(node, 0)
                }
                None => fail("an alias of something that is not complete yet"),
            },
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), line)?;
                self.begin(line, anchor, OpenKind::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), line)?;
                self.begin(line, anchor, OpenKind::Table { entries: Vec::new(), key: None, merged: Vec::new() })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                let value = match open.kind {
                    OpenKind::List(items) => Value::List(items),
                    OpenKind::Table { entries, merged, .. } => Value::Table(with_merged(entries, &merged)),
                };
                self.finish(Node::new(open.line, value), open.anchor)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, line: usize, anchor: usize, kind: OpenKind) -> Result<(), YamlError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(YamlError { line, message: format!("nested deeper than {DEPTH_MAX} levels") });
        }
        self.open.push(Open { line, anchor, kind });
        Ok(())
    }

    /// Counts nodes that are kept: read, remembered for aliases, or copied by one.
    fn count(&mut self, more: usize, line: usize) -> Result<(), YamlError> {
        self.nodes += more;
        if self.nodes > NODES_MAX {
            return Err(YamlError { line, message: format!("more than {NODES_MAX} values, aliases resolved") });
        }
        Ok(())
    }

    /// Puts a whole node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), YamlError> {
        let line = node.line;
        self.count(1, line)?;
        if anchor > 0 {
            self.count(node.size, line)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Table { entries, key, merged }) => match key.take() {
                None => match node.value {
                    Value::Text { text, .. } => *key = Some(text),
                    Value::Null => *key = Some("null".to_owned()),
                    _ => return Err(YamlError { line, message: "a key that is a list or a table".to_owned() }),
                },
                Some(name) if name == "<<" => merged.push(node),
                Some(name) => {
                    entries.retain(|(other, _)| *other != name);
                    entries.push((name, node));
                }
            },
        }
        Ok(())
    }
}

/// The entries, and those of merged tables that they lack; of several merged ones the first counts.
fn with_merged(mut entries: Vec<(String, Node)>, merged: &[Node]) -> Vec<(String, Node)> {
    for table in merged.iter().flat_map(Node::items).filter_map(Node::entries) {
        for (name, node) in table {
            if !entries.iter().any(|(other, _)| other == name) {
                entries.push((name.clone(), node.clone()));
            }
        }
    }
    entries
}

/// Only tags that say what is so anyway: others ask for objects of a program.
fn check_tag(tag: Option<&Tag>, line: usize) -> Result<(), YamlError> {
    const PLAIN: [&str; 7] = ["str", "int", "float", "bool", "null", "seq", "map"];
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() || !PLAIN.contains(&tag.suffix.as_str()) => {
            Err(YamlError { line, message: "a tag that only a program could understand".to_owned() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as one line, to compare.
    fn shown(node: &Node) -> String {
        match &node.value {
            Value::Null => "~".to_owned(),
            Value::Text { text, is_plain: true } => text.clone(),
            Value::Text { text, is_plain: false } => format!("'{text}'"),
            Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
            Value::Table(entries) => {
                let entries: Vec<_> = entries.iter().map(|(key, node)| format!("{key}:{}", shown(node))).collect();
                format!("{{{}}}", entries.join(" "))
            }
        }
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(shown(&read(text).unwrap()), expected, "{text}");
    }

    fn refused(text: &str) -> YamlError {
        read(text).unwrap_err()
    }

    #[test]
    fn values_are_read_with_their_lines() {
        check("a: 1\nb: [x, 'y', ~]\nc: {d: e}", "{a:1 b:[x 'y' ~] c:{d:e}}");
        check("", "{}");
        check("# nothing but words", "{}");
        check("\u{feff}a: b", "{a:b}");
        check("a: |\n  two\n  lines\n", "{a:'two\nlines\n'}");
        let node = read("a:\n  - b\n  - c: d\n").unwrap();
        assert_eq!(node.get("a").unwrap().items()[1].get("c").unwrap().line, 3);
    }

    #[test]
    fn anchors_and_merges_are_resolved() {
        check("a: &x {k: 1, l: 2}\nb: *x\nc:\n  <<: *x\n  k: 9", "{a:{k:1 l:2} b:{k:1 l:2} c:{k:9 l:2}}");
        check("a: &x {k: 1}\nb: &y {k: 2, m: 3}\nc: {<<: [*x, *y]}", "{a:{k:1} b:{k:2 m:3} c:{k:1 m:3}}");
        check("a: 1\na: 2", "{a:2}");
    }

    #[test]
    fn booleans_are_those_of_the_older_yaml() {
        let is = |text: &str| read(&format!("a: {text}")).unwrap().get("a").unwrap().boolean();
        assert_eq!(
            [is("True"), is("yes"), is("on"), is("false"), is("No"), is("maybe")],
            [Some(true), Some(true), Some(true), Some(false), Some(false), None]
        );
    }

    #[test]
    fn bombs_end_at_their_bounds() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb += &format!("a{level}: &a{level} [{aliases}]\n");
        }
        assert!(refused(&bomb).message.contains("more than 100000"), "{bomb}");
        assert!(refused(&"- ".repeat(5_000)).message.contains("deeper"));
        assert!(read(&"[".repeat(5_000)).is_err());
        assert!(read(&"{a: ".repeat(5_000)).is_err());
        assert!(refused(&"- x\n".repeat(200_000)).message.contains("more than"));
    }

    #[test]
    fn what_is_no_yaml_is_told_by_line_and_never_repeated() {
        for text in
            ["a: b: sk-secret", "a: \"sk-secret", "a:\n\t- sk-secret", "{sk-secret", "a: *sk", "--- a\n--- sk-secret"]
        {
            let error = refused(text);
            assert!(error.line >= 1 && !error.to_string().contains("sk"), "{text}: {error}");
        }
        for text in ["a: !!python/object:os.system sk", "a: !include sk.yaml", "!x {a: b}", "a: !x [b]"] {
            assert!(refused(text).message.contains("tag"), "{text}");
        }
        assert!(refused("? [a, b]\n: c").message.contains("key"));
    }
}
