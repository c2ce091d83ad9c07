//! The members of a request's objects, taken one by one: what nobody takes is refused by its path.
//!
//! A `null` counts as absent, as it does in the official API. Paths read like `input[2].content[0].image_url`.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::dialect::{Untranslatable, expected, shown};
use crate::domain::chat::Json;
use crate::domain::json::{JsonError, Member, members};

/// An object of the request, with what has not been taken from it yet.
pub(super) struct Object<'a> {
    path: String,
    members: Vec<Member<'a>>,
}

impl<'a> Object<'a> {
    /// The body itself.
    pub(super) fn of_body(body: &'a [u8]) -> Result<Self, Untranslatable> {
        let members = members(body).map_err(|error| Untranslatable::new("body", error.to_string()))?;
        Ok(Self::new(String::new(), members))
    }

    /// An object inside the body.
    pub(super) fn read(text: &'a str, path: String) -> Result<Self, Untranslatable> {
        match members(text.as_bytes()) {
            Ok(members) => Ok(Self::new(path, members)),
            Err(JsonError::Malformed(_)) => Err(must_be(path, "an object")),
            Err(error @ (JsonError::TooDeep | JsonError::Duplicate(_))) => {
                Err(Untranslatable::new(path, error.to_string()))
            }
        }
    }

    fn new(path: String, mut members: Vec<Member<'a>>) -> Self {
        members.retain(|member| member.value != "null");
        Self { path, members }
    }

    /// The path of a member.
    pub(super) fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A refusal that names a member.
    pub(super) fn refuse(&self, name: &str, reason: impl Into<String>) -> Untranslatable {
        Untranslatable::new(self.at(name), reason)
    }

    /// Whether a member is there, and not taken.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|member| member.name == name)
    }

    /// The byte that a member begins with, which tells its kind.
    pub(super) fn first_byte(&self, name: &str) -> Option<u8> {
        self.members.iter().find(|member| member.name == name)?.value.bytes().next()
    }

    /// Takes a member as it was written.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a str> {
        let index = self.members.iter().position(|member| member.name == name)?;
        Some(self.members.remove(index).value)
    }

    /// Takes members that say nothing to anybody but the client or OpenAI.
    pub(super) fn ignore(&mut self, names: &[&str]) {
        self.members.retain(|member| !names.contains(&&*member.name));
    }

    /// Takes members that may be there as long as they say no.
    pub(super) fn ignore_false(&mut self, names: &[&str]) {
        self.members.retain(|member| member.value != "false" || !names.contains(&&*member.name));
    }

    fn parsed<T: DeserializeOwned>(&mut self, name: &str, kind: &str) -> Result<Option<T>, Untranslatable> {
        let Some(value) = self.take(name) else { return Ok(None) };
        serde_json::from_str(value).map(Some).map_err(|_| must_be(self.at(name), expected(value, kind)))
    }

    /// Takes a text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Untranslatable> {
        self.parsed(name, "a text")
    }

    /// Takes a text that must be there, and not be empty.
    pub(super) fn required_text(&mut self, name: &str) -> Result<String, Untranslatable> {
        match self.text(name)? {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) => Err(self.refuse(name, format!("`{}` must not be empty", self.at(name)))),
            None => Err(self.missing(name)),
        }
    }

    /// Takes a text that must be one of a few words.
    pub(super) fn word(&mut self, name: &str, known: &[&'static str]) -> Result<Option<&'static str>, Untranslatable> {
        let Some(word) = self.text(name)? else { return Ok(None) };
        if let Some(known) = known.iter().find(|known| **known == word) {
            return Ok(Some(known));
        }
        let reason = format!("`{}` must be one of {}, not `{word}`", self.at(name), listed(known));
        Err(self.refuse(name, reason))
    }

    /// Takes a yes or no.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Untranslatable> {
        self.parsed(name, "true or false")
    }

    /// Takes a whole number.
    pub(super) fn count(&mut self, name: &str) -> Result<Option<u64>, Untranslatable> {
        self.parsed(name, "a whole number")
    }

    /// Takes any number.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<serde_json::Number>, Untranslatable> {
        self.parsed(name, "a number")
    }

    /// Takes an object.
    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, Untranslatable> {
        self.take(name).map(|value| Self::read(value, self.at(name))).transpose()
    }

    /// Takes an object without a look into it.
    pub(super) fn json(&mut self, name: &str) -> Result<Option<Json>, Untranslatable> {
        match self.take(name) {
            None => Ok(None),
            Some(value) if value.starts_with('{') => Ok(RawValue::from_string(value.to_owned()).ok()),
            Some(_) => Err(must_be(self.at(name), "an object")),
        }
    }

    /// Takes a list, each entry as it was written and with its path.
    pub(super) fn list(&mut self, name: &str) -> Result<Option<Vec<(String, &'a str)>>, Untranslatable> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let path = self.at(name);
        let entries: Vec<&'a RawValue> = serde_json::from_str(value).map_err(|_| must_be(path.clone(), "a list"))?;
        let with_path = entries.into_iter().enumerate().map(|(index, entry)| (format!("{path}[{index}]"), entry.get()));
        Ok(Some(with_path.collect()))
    }

    /// Takes a list of objects; none where it is absent.
    pub(super) fn objects(&mut self, name: &str) -> Result<Vec<Self>, Untranslatable> {
        let entries = self.list(name)?.unwrap_or_default();
        entries.into_iter().map(|(path, entry)| Self::read(entry, path)).collect()
    }

    /// A refusal of a member that must be there.
    pub(super) fn missing(&self, name: &str) -> Untranslatable {
        self.refuse(name, format!("`{}` is missing", self.at(name)))
    }

    /// Refuses what has not been taken.
    pub(super) fn finish(self) -> Result<(), Untranslatable> {
        match self.members.first() {
            None => Ok(()),
            Some(Member { name, .. }) => {
                let reason =
                    format!("`{}` can't be said in the provider's dialect; leave it out", shown(&self.at(name)));
                Err(self.refuse(name, reason))
            }
        }
    }
}

/// A refusal of a value that is of the wrong kind.
pub(super) fn must_be(path: impl Into<Cow<'static, str>>, kind: &str) -> Untranslatable {
    let path = path.into();
    let reason = format!("`{path}` must be {kind}");
    Untranslatable::new(path, reason)
}

/// Words as they stand in a sentence.
fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
