//! One object of a client's request: every field is taken out once, and what nobody took is refused by its path.
//!
//! That is how nothing is dropped in silence: a field that a company invents tomorrow is one that no reader takes. A null
//! counts as left out, as it does with the companies. Paths read like `messages[2].content[0].image_url`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Number;
use serde_json::value::RawValue;

use super::{Untranslatable, shown};
use crate::domain::chat::Json;
use crate::domain::json::{JsonError, Member, members};

/// An object, where it stands, and what has not been taken from it yet.
#[derive(Debug)]
pub(super) struct Object<'a> {
    path: String,
    /// In the order in which they were written.
    members: Vec<Member<'a>>,
}

/// A value that isn't null, and where it stands.
#[derive(Debug)]
pub(super) struct Field<'a> {
    /// Its path.
    pub(super) path: String,
    /// As it was written.
    pub(super) json: &'a str,
}

impl<'a> Object<'a> {
    /// The request itself.
    pub(super) fn of_body(body: &'a [u8]) -> Result<Self, Untranslatable> {
        Self::read(String::new(), body)
    }

    fn read(path: String, json: &'a [u8]) -> Result<Self, Untranslatable> {
        match members(json) {
            Ok(mut members) => {
                members.retain(|member| member.value != "null");
                Ok(Self { path, members })
            }
            Err(error) => Err(unreadable(path, &error)),
        }
    }

    /// Where the object stands; empty for the request itself.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Where a field of it stands, whether it is there or not.
    pub(super) fn path_of(&self, name: &str) -> String {
        path_of(&self.path, name)
    }

    /// A refusal that names a field.
    pub(super) fn refuse(&self, name: &str, reason: impl Into<String>) -> Untranslatable {
        Untranslatable::new(self.path_of(name), reason)
    }

    /// A refusal of a field that must be there.
    pub(super) fn missing(&self, name: &str) -> Untranslatable {
        self.refuse(name, format!("{} is missing", self.path_of(name)))
    }

    /// Whether a field is there, and not taken.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|member| member.name == name)
    }

    /// Takes a field as it was written.
    pub(super) fn take(&mut self, name: &str) -> Option<Field<'a>> {
        let index = self.members.iter().position(|member| member.name == name)?;
        let json = self.members.remove(index).value;
        Some(Field { path: self.path_of(name), json })
    }

    /// Takes a field that must be there.
    pub(super) fn required(&mut self, name: &str) -> Result<Field<'a>, Untranslatable> {
        self.take(name).ok_or_else(|| self.missing(name))
    }

    /// Takes fields that say nothing to anybody but the client or its company.
    pub(super) fn ignore(&mut self, names: &[&str]) {
        self.members.retain(|member| !names.contains(&&*member.name));
    }

    /// Takes fields that may be there as long as they say no.
    pub(super) fn ignore_false(&mut self, names: &[&str]) {
        self.members.retain(|member| member.value != "false" || !names.contains(&&*member.name));
    }

    /// Takes a text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Untranslatable> {
        self.take(name).map(|field| field.text()).transpose()
    }

    /// Takes a text that must be there, and not be empty.
    pub(super) fn required_text(&mut self, name: &str) -> Result<String, Untranslatable> {
        let field = self.required(name)?;
        match field.text()? {
            text if text.is_empty() => Err(field.refuse(format!("{} must not be empty", field.path))),
            text => Ok(text),
        }
    }

    /// Takes a text that must be one of a few words.
    pub(super) fn word(&mut self, name: &str, known: &[&'static str]) -> Result<Option<&'static str>, Untranslatable> {
        let Some(field) = self.take(name) else { return Ok(None) };
        let word = field.text()?;
        match known.iter().find(|known| **known == word) {
            Some(known) => Ok(Some(known)),
            None => Err(field.must_be(&format!("one of {}, not {word}", known.join(", ")))),
        }
    }

    /// Takes a yes or no.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Untranslatable> {
        self.parsed(name, "true or false")
    }

    /// Takes a whole number from nought on.
    pub(super) fn count(&mut self, name: &str) -> Result<Option<u64>, Untranslatable> {
        self.parsed(name, "a whole number")
    }

    /// Takes any number.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<Number>, Untranslatable> {
        self.parsed(name, "a number")
    }

    /// Takes an object.
    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, Untranslatable> {
        self.take(name).map(|field| field.object()).transpose()
    }

    /// Takes an object without a look into it.
    pub(super) fn json(&mut self, name: &str) -> Result<Option<Json>, Untranslatable> {
        self.take(name).map(|field| field.object_as_written()).transpose()
    }

    /// Takes a list; an absent one is empty.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Field<'a>>, Untranslatable> {
        self.take(name).map_or_else(|| Ok(Vec::new()), |field| field.list())
    }

    /// Takes a list of objects; an absent one is empty.
    pub(super) fn objects(&mut self, name: &str) -> Result<Vec<Self>, Untranslatable> {
        self.list(name)?.iter().map(Field::object).collect()
    }

    /// Refuses the first field that nobody took.
    pub(super) fn finish(self) -> Result<(), Untranslatable> {
        match self.members.first() {
            None => Ok(()),
            Some(member) => {
                let path = self.path_of(&member.name);
                let reason = format!("{} can't be translated for this provider; leave it out", shown(&path));
                Err(Untranslatable::new(path, reason))
            }
        }
    }

    fn parsed<T: Deserialize<'a>>(&mut self, name: &str, what: &str) -> Result<Option<T>, Untranslatable> {
        self.take(name).map(|field| field.parsed(what)).transpose()
    }
}

impl<'a> Field<'a> {
    /// A refusal of this value.
    pub(super) fn refuse(&self, reason: impl Into<String>) -> Untranslatable {
        Untranslatable::new(self.path.clone(), reason)
    }

    /// A refusal of a value that is of the wrong kind.
    pub(super) fn must_be(&self, what: &str) -> Untranslatable {
        must_be(self.path.clone(), what)
    }

    /// Reads it as a text.
    pub(super) fn text(&self) -> Result<String, Untranslatable> {
        self.parsed("a string")
    }

    /// Whether it is written as a text.
    pub(super) fn is_text(&self) -> bool {
        self.json.starts_with('"')
    }

    /// Reads it as an object.
    pub(super) fn object(&self) -> Result<Object<'a>, Untranslatable> {
        Object::read(self.path.clone(), self.json.as_bytes())
    }

    /// Takes it for an object without a look into it.
    pub(super) fn object_as_written(&self) -> Result<Json, Untranslatable> {
        if self.json.starts_with('{') { self.parsed("an object") } else { Err(self.must_be("an object")) }
    }

    /// Reads it as a list.
    pub(super) fn list(&self) -> Result<Vec<Self>, Untranslatable> {
        let items: Vec<&'a RawValue> = self.parsed("a list")?;
        let field =
            |(index, item): (usize, &'a RawValue)| Field { path: format!("{}[{index}]", self.path), json: item.get() };
        Ok(items.into_iter().enumerate().map(field).collect())
    }

    /// Reads it as what it should be.
    pub(super) fn parsed<T: Deserialize<'a>>(&self, what: &str) -> Result<T, Untranslatable> {
        serde_json::from_str(self.json).map_err(|_| self.must_be(expected(self.json, what)))
    }
}

fn path_of(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn unreadable(path: String, error: &JsonError) -> Untranslatable {
    match error {
        JsonError::Duplicate(name) => Untranslatable::new(path_of(&path, name), error.to_string()),
        _ if path.is_empty() => Untranslatable::new("body", error.to_string()),
        JsonError::Malformed(_) => must_be(path, "an object"),
        JsonError::TooDeep => Untranslatable::new(path, error.to_string()),
    }
}

/// A refusal of a value that is of the wrong kind.
pub(super) fn must_be(path: impl Into<Cow<'static, str>>, what: &str) -> Untranslatable {
    let path = path.into();
    let reason = format!("{path} must be {what}");
    Untranslatable::new(path, reason)
}

/// What a value should be that can't be read as it: one that is a text already has half of a character in it.
fn expected<'a>(json: &str, what: &'a str) -> &'a str {
    if json.starts_with('"') && what == "a string" {
        "made of whole characters; a lone surrogate such as \\ud83d is half of one"
    } else {
        what
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object<'a>(path: &str, json: &'a str) -> Object<'a> {
        Object::read(path.to_owned(), json.as_bytes()).unwrap()
    }

    #[test]
    fn what_nobody_took_is_refused_in_the_order_of_the_request_and_a_null_is_nothing() {
        let mut some = object("a[0]", r#"{"gone":null,"known":"x","new":{},"newer":1}"#);
        assert_eq!(some.text("known").unwrap().as_deref(), Some("x"));
        assert_eq!(some.finish().unwrap_err().param, "a[0].new");
        object("", r#"{"gone":null}"#).finish().unwrap();
        let reason = object("", r#"{"":1}"#).finish().unwrap_err().reason;
        assert!(reason.starts_with("\"\" can't be"), "{reason}");
    }

    #[test]
    fn a_wrong_kind_is_told_with_its_place() {
        let json = r#"{"text":1,"half":"\ud800","flag":"yes","count":-1,"object":[],"list":{},"json":"x","word":"c"}"#;
        let read = || object("o", json);
        assert_eq!(read().text("text").unwrap_err().reason, "o.text must be a string");
        assert!(read().text("half").unwrap_err().reason.contains("lone surrogate"));
        assert_eq!(read().flag("flag").unwrap_err().reason, "o.flag must be true or false");
        assert_eq!(read().count("count").unwrap_err().reason, "o.count must be a whole number");
        assert_eq!(read().object("object").unwrap_err().reason, "o.object must be an object");
        assert_eq!(read().list("list").unwrap_err().reason, "o.list must be a list");
        assert_eq!(read().json("json").unwrap_err().reason, "o.json must be an object");
        assert_eq!(read().word("word", &["a", "b"]).unwrap_err().reason, "o.word must be one of a, b, not c");
        assert_eq!(read().required("gone").unwrap_err().reason, "o.gone is missing");
    }

    #[test]
    fn a_key_that_stands_twice_and_a_body_that_is_no_object_are_refused() {
        let twice = r#"{"a":1,"a":2}"#;
        let refused = |path: &str, json: &str| Object::read(path.to_owned(), json.as_bytes()).unwrap_err();
        assert_eq!((refused("m", twice).param, refused("", twice).param), ("m.a".into(), "a".into()));
        assert_eq!(refused("", "[]").param, "body");
    }
}
