//! The language in which people say which entries they mean.
//!
//! A pattern is one or several terms with spaces between them; an entry has to fit all of them. A term is `field:value`,
//! in whose value `*` stands for any run of characters:
//!
//! | term | fits entries |
//! | --- | --- |
//! | `provider:openai` | that this provider answered |
//! | `model:gpt-*` | of this model, by the name that was asked for or that answered |
//! | `operation:review-code` | of this operation |
//! | `key:ci` | of the virtual key of this name or id |
//! | `team:web` | of a key of this team |
//! | `tag:env=prod` | with this label |
//! | `text:*refund*` | whose prompt is so; with quotes, `text:"*two words*"`, spaces belong to it |
//! | `older:10m` | that are at least so old |
//! | `entry:4f2a…` | that is the one of this id |
//! | `gpt-*` | the same as `model:gpt-*` |
//! | `*` | all |
//!
//! Upper and lower case are the same in `text:` alone: names are exact.

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use super::entry::Entry;
use super::fingerprint::Fingerprint;
use crate::domain::fits_glob;

/// Characters of a pattern.
const CHARS_MAX: usize = 1_024;
/// The fields, for those who mistype one.
const FIELDS: [&str; 9] = ["provider", "model", "operation", "key", "team", "tag", "text", "older", "entry"];

/// Which entries are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    All,
    Provider(Glob),
    Model(Glob),
    Operation(Glob),
    Key(Glob),
    Team(Glob),
    Tag(Glob, Glob),
    Text(Glob),
    Older(Duration),
    Entry(String),
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing at all.
    #[error("the pattern is empty: write * for all entries, or a term such as model:gpt-*")]
    Empty,
    /// Longer than patterns may be.
    #[error("the pattern is longer than {CHARS_MAX} characters")]
    TooLong,
    /// A field that isn't there.
    #[error("there is no field {0:?} to look in: use {list}", list = FIELDS.join(", "))]
    Field(String),
    /// A field without a value.
    #[error("{0}: has no value: write for example {0}:*")]
    NoValue(&'static str),
    /// A label without its value.
    #[error("{0:?} is not of the form tag:name=value")]
    Tag(String),
    /// A duration that is none.
    #[error("{0:?} is no duration such as 30s, 10m or 2h")]
    Duration(String),
    /// A quote without its partner.
    #[error("a quotation mark is left open")]
    OpenQuote,
}

impl Pattern {
    /// Fits every entry.
    pub fn all() -> Self {
        Self(vec![Term::All])
    }

    /// Whether an entry fits.
    pub fn fits(&self, fingerprint: &Fingerprint, entry: &Entry, now: Timestamp) -> bool {
        let facts = &entry.facts;
        self.0.iter().all(|term| match term {
            Term::All => true,
            Term::Provider(glob) => glob.fits(facts.deployment.provider.as_str()),
            Term::Model(glob) => {
                glob.fits(facts.requested_model.as_str()) || glob.fits(facts.deployment.model.as_str())
            }
            Term::Operation(glob) => glob.fits(&facts.operation),
            Term::Key(glob) => glob.fits(&facts.key_name) || glob.fits(facts.key.as_str()),
            Term::Team(glob) => facts.team.as_deref().is_some_and(|team| glob.fits(team)),
            Term::Tag(name, value) => facts.tags.iter().any(|tag| name.fits(&tag.0) && value.fits(&tag.1)),
            Term::Text(glob) => glob.fits(&facts.prompt.text.to_lowercase()),
            Term::Older(age) => entry.age(now) >= *age,
            Term::Entry(id) => fingerprint.to_string() == *id,
        })
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.chars().count() > CHARS_MAX {
            return Err(PatternError::TooLong);
        }
        let terms: Vec<Term> = words(text)?.iter().map(|word| term(word)).collect::<Result<_, _>>()?;
        if terms.is_empty() { Err(PatternError::Empty) } else { Ok(Self(terms)) }
    }
}

/// The words between spaces; in quotation marks a space is a part of the word, and the marks are not.
fn words(text: &str) -> Result<Vec<String>, PatternError> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    for character in text.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            space if space.is_whitespace() && !is_quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            other => word.push(other),
        }
    }
    if is_quoted {
        return Err(PatternError::OpenQuote);
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

fn term(word: &str) -> Result<Term, PatternError> {
    if word == "*" {
        return Ok(Term::All);
    }
    let Some((name, value)) = word.split_once(':') else { return Ok(Term::Model(Glob::new(word))) };
    let field = FIELDS.iter().find(|field| **field == name);
    let field = *field.ok_or_else(|| PatternError::Field(name.chars().take(32).collect()))?;
    if value.is_empty() {
        return Err(PatternError::NoValue(field));
    }
    let glob = || Glob::new(value);
    Ok(match field {
        "provider" => Term::Provider(glob()),
        "operation" => Term::Operation(glob()),
        "key" => Term::Key(glob()),
        "team" => Term::Team(glob()),
        "tag" => {
            let parts = value.split_once('=').filter(|(name, _)| !name.is_empty());
            let (name, value) = parts.ok_or_else(|| PatternError::Tag(word.chars().take(64).collect()))?;
            Term::Tag(Glob::new(name), Glob::new(value))
        }
        "text" => Term::Text(Glob::new(&value.to_lowercase())),
        "older" => Term::Older(
            humantime::parse_duration(value).map_err(|_| PatternError::Duration(value.chars().take(32).collect()))?,
        ),
        "entry" => Term::Entry(value.to_owned()),
        _ => Term::Model(glob()),
    })
}

/// A text in which `*` stands for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Glob(String);

impl Glob {
    fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    fn fits(&self, text: &str) -> bool {
        fits_glob(&self.0, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::{entry, fingerprint};
    use proptest::prelude::*;

    fn fits(pattern: &str) -> bool {
        let now = "2026-11-22T12:10:00Z".parse().unwrap();
        pattern.parse::<Pattern>().unwrap().fits(&fingerprint(1), &entry(), now)
    }

    #[test]
    fn a_term_looks_in_its_field_and_all_terms_have_to_fit() {
        for pattern in [
            "*",
            "provider:openai",
            "model:gpt-*",
            "gpt-5",
            "model:smart",
            "operation:chat",
            "key:ci",
            "key:key_*",
            "team:web",
            "tag:env=prod",
            "tag:env=*",
            "text:*REFUND*",
            "text:\"*a refund*\"",
            "older:10m",
            "provider:open* model:*5 tag:env=prod",
        ] {
            assert!(fits(pattern), "{pattern}");
        }
        for pattern in [
            "provider:open",
            "model:gpt",
            "operation:review-code",
            "key:CI",
            "team:data",
            "tag:env=pro",
            "tag:team=prod",
            "text:refund",
            "older:11m",
            "provider:openai model:claude-*",
            "entry:00",
        ] {
            assert!(!fits(pattern), "{pattern}");
        }
        assert!(fits(&format!("entry:{}", fingerprint(1))));
    }

    #[test]
    fn what_is_no_pattern_says_what_would_be_one() {
        let refused = |pattern: &str| pattern.parse::<Pattern>().unwrap_err().to_string();
        insta::assert_snapshot!(
            ["", "  ", "modle:x", "model:", "tag:prod", "tag:=x", "older:soon", "text:\"a b"].map(refused).join("\n"),
            @r#"
        the pattern is empty: write * for all entries, or a term such as model:gpt-*
        the pattern is empty: write * for all entries, or a term such as model:gpt-*
        there is no field "modle" to look in: use provider, model, operation, key, team, tag, text, older, entry
        model: has no value: write for example model:*
        "tag:prod" is not of the form tag:name=value
        "tag:=x" is not of the form tag:name=value
        "soon" is no duration such as 30s, 10m or 2h
        a quotation mark is left open
        "#
        );
        assert_eq!("x".repeat(1_025).parse::<Pattern>(), Err(PatternError::TooLong));
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern_or_refused(text in ".{0,60}") {
            let _ = text.parse::<Pattern>();
        }
    }
}
