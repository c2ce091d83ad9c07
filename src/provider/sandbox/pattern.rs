//! Texts that a schema's `pattern` allows, for the regular expressions that schemas really have.
//!
//! Knows literals, escapes, classes, groups, alternatives and repetition. What it doesn't know (look-around, references
//! to groups, Unicode classes) it refuses to guess at.

use std::iter::Peekable;
use std::str::Chars;

use super::seed::Dice;

/// Groups may nest this deep.
const DEPTH_MAX: usize = 16;
/// Longer texts than this are given up.
const LENGTH_MAX: usize = 4096;
/// What `.` and negated classes choose from.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_ ";

/// A text for the pattern, `None` if the pattern is beyond this generator. Open repetitions run `extra` times more
/// than they must.
pub(super) fn generate(pattern: &str, dice: &mut Dice, extra: usize) -> Option<String> {
    let mut parser = Parser { rest: pattern.chars().peekable(), depth: 0 };
    let node = parser.alternatives()?;
    if parser.rest.next().is_some() {
        return None;
    }
    let mut text = String::new();
    write(&node, dice, extra, &mut text)?;
    Some(text)
}

enum Node {
    Nothing,
    OneOf(Vec<char>),
    Sequence(Vec<Node>),
    Alternatives(Vec<Node>),
    Repeat { node: Box<Node>, min: usize, max: usize },
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    depth: usize,
}

impl Parser<'_> {
    fn alternatives(&mut self) -> Option<Node> {
        let mut alternatives = vec![self.sequence()?];
        while self.rest.next_if_eq(&'|').is_some() {
            alternatives.push(self.sequence()?);
        }
        Some(Node::Alternatives(alternatives))
    }

    fn sequence(&mut self) -> Option<Node> {
        let mut nodes = Vec::new();
        while let Some(character) = self.rest.next_if(|next| !matches!(next, '|' | ')')) {
            let node = match character {
                '^' | '$' => Node::Nothing,
                '.' => Node::OneOf(LETTERS.chars().collect()),
                '(' => self.group()?,
                '[' => self.class()?,
                '\\' => self.escape()?,
                '*' | '+' | '?' | '{' => return None,
                literal => Node::OneOf(vec![literal]),
            };
            nodes.push(self.repeated(node)?);
        }
        Some(Node::Sequence(nodes))
    }

    fn group(&mut self) -> Option<Node> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        if self.rest.next_if_eq(&'?').is_some() {
            // Only a group that isn't kept; look-around and names are beyond this.
            self.rest.next_if_eq(&':')?;
        }
        let node = self.alternatives()?;
        self.rest.next_if_eq(&')')?;
        self.depth -= 1;
        Some(node)
    }

    fn escape(&mut self) -> Option<Node> {
        let character = self.rest.next()?;
        if matches!(character, 'b' | 'A' | 'z' | 'Z') {
            return Some(Node::Nothing);
        }
        escaped(character).map(Node::OneOf)
    }

    fn class(&mut self) -> Option<Node> {
        let is_negated = self.rest.next_if_eq(&'^').is_some();
        let mut members = Vec::new();
        loop {
            let first = match self.rest.next()? {
                ']' if !members.is_empty() => break,
                '\\' => {
                    let set = escaped(self.rest.next()?)?;
                    let [single] = set.as_slice() else {
                        members.extend(set);
                        continue;
                    };
                    *single
                }
                literal => literal,
            };
            members.extend(self.range(first)?);
        }
        let members =
            if is_negated { LETTERS.chars().filter(|letter| !members.contains(letter)).collect() } else { members };
        (!members.is_empty()).then_some(Node::OneOf(members))
    }

    /// The characters from `first` to the end of the range that may follow it.
    fn range(&mut self, first: char) -> Option<Vec<char>> {
        let mut ahead = self.rest.clone();
        let is_range = ahead.next() == Some('-') && ahead.peek().is_some_and(|next| *next != ']');
        if !is_range {
            return Some(vec![first]);
        }
        self.rest.next();
        let last = match self.rest.next()? {
            '\\' => *escaped(self.rest.next()?)?.first()?,
            literal => literal,
        };
        // A range over whole planes of Unicode needs no more than its beginning.
        (first <= last).then(|| (first..=last).take(256).collect())
    }

    fn repeated(&mut self, node: Node) -> Option<Node> {
        let (min, max) = match self.rest.peek() {
            Some('*') => (0, usize::MAX),
            Some('+') => (1, usize::MAX),
            Some('?') => (0, 1),
            Some('{') => {
                self.rest.next();
                let inside: String = std::iter::from_fn(|| self.rest.next_if(|next| *next != '}')).collect();
                let (min, max) = inside.split_once(',').unwrap_or((&inside, &inside));
                let max = if max.is_empty() { usize::MAX } else { max.parse().ok()? };
                (if min.is_empty() { 0 } else { min.parse().ok()? }, max)
            }
            _ => return Some(node),
        };
        self.rest.next()?;
        // Lazy or greedy makes no difference to what is allowed.
        self.rest.next_if(|next| matches!(next, '?' | '+'));
        (min <= max).then(|| Node::Repeat { node: Box::new(node), min, max })
    }
}

fn escaped(character: char) -> Option<Vec<char>> {
    Some(match character {
        'd' => ('0'..='9').collect(),
        'w' => ('a'..='z').chain('0'..='9').collect(),
        's' => vec![' '],
        'D' | 'S' | 'W' => match character {
            'D' => ('a'..='z').collect(),
            'S' => ('a'..='z').chain('0'..='9').collect(),
            _ => vec!['-'],
        },
        'n' => vec!['\n'],
        't' => vec!['\t'],
        'r' => vec!['\r'],
        other if other.is_ascii_alphanumeric() => return None,
        other => vec![other],
    })
}

fn write(node: &Node, dice: &mut Dice, extra: usize, text: &mut String) -> Option<()> {
    if text.len() > LENGTH_MAX {
        return None;
    }
    match node {
        Node::Nothing => {}
        Node::OneOf(characters) => text.push(*dice.pick(characters)?),
        Node::Sequence(nodes) => {
            for node in nodes {
                write(node, dice, extra, text)?;
            }
        }
        Node::Alternatives(alternatives) => write(dice.pick(alternatives)?, dice, extra, text)?,
        Node::Repeat { node, min, max } => {
            for _ in 0..min.saturating_add(extra).min(*max).min(LENGTH_MAX) {
                write(node, dice, extra, text)?;
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::seed::Seed;
    use super::*;

    fn texts(pattern: &str) -> Vec<String> {
        let mut dice = Seed::of_bytes("", pattern.as_bytes()).dice();
        (0..3).map(|extra| generate(pattern, &mut dice, extra).unwrap()).collect()
    }

    #[test]
    fn common_patterns_are_followed() {
        for text in texts(r"^\d{3}-\d{4}$") {
            assert_eq!(text.len(), 8);
            assert!(text.bytes().enumerate().all(|(at, byte)| if at == 3 {
                byte == b'-'
            } else {
                byte.is_ascii_digit()
            }));
        }
        for text in texts("^[a-z][a-z0-9_-]*$") {
            assert!(text.starts_with(|first: char| first.is_ascii_lowercase()), "{text}");
        }
        for text in texts("^(?:red|green)(-dark)?$") {
            assert!(["red", "green", "red-dark", "green-dark"].contains(&text.as_str()), "{text}");
        }
        assert_eq!(texts(r"^v1\.0$")[0], "v1.0");
        assert!(texts("[^a-z]+").iter().all(|text| !text.contains(|letter: char| letter.is_ascii_lowercase())));
        assert_eq!(texts("^[A-F]{2,3}$").iter().map(String::len).collect::<Vec<_>>(), [2, 3, 3]);
        assert!(["]", "-"].contains(&texts("[]-]")[0].as_str()));
    }

    #[test]
    fn what_is_beyond_it_is_refused() {
        let mut dice = Seed::of_bytes("", b"").dice();
        for pattern in [
            r"(?=a)b",
            r"(a)\1",
            r"\p{L}",
            "(a",
            "a)",
            "[b-a]",
            "*a",
            "a{3,2}",
            "[",
            r"\",
            "(((((((((((((((((a",
            "(a{4000}){4000}",
        ] {
            assert_eq!(generate(pattern, &mut dice, 0), None, "{pattern}");
        }
    }
}
