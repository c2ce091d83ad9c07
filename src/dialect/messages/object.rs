//! One object of a client's request: every field is taken out once, and what nobody took is refused.
//!
//! That is how nothing is dropped in silence: a field that Anthropic invents tomorrow is one that no reader takes. A null
//! counts as left out, as it does with Anthropic.

use serde::de::DeserializeOwned;
use serde_json::Number;
use serde_json::value::RawValue;

use crate::dialect::{Untranslatable, expected, shown};
use crate::domain::json::{JsonError, Member, members};

/// An object, and where it stands.
#[derive(Debug)]
pub(super) struct Object<'a> {
    at: String,
    members: Vec<Member<'a>>,
}

/// A value, and where it stands.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    /// Its path, such as `messages[1].content[0]`.
    pub(super) at: String,
    /// Its JSON.
    pub(super) json: &'a str,
}

impl<'a> Placed<'a> {
    /// Reads it as an object.
    pub(super) fn object(self) -> Result<Object<'a>, Untranslatable> {
        Object::read(self.at, self.json)
    }

    /// Reads it as a text.
    pub(super) fn text(&self) -> Result<String, Untranslatable> {
        parse(&self.at, self.json, "a string")
    }

    /// Whether it is written as a text.
    pub(super) fn is_text(&self) -> bool {
        self.json.starts_with('"')
    }

    /// Reads it as a list.
    pub(super) fn list(&self) -> Result<Vec<Placed<'a>>, Untranslatable> {
        let list: Vec<&'a RawValue> = serde_json::from_str(self.json).map_err(|_| wrong_type(&self.at, "a list"))?;
        let placed =
            |(index, value): (usize, &'a RawValue)| Placed { at: format!("{}[{index}]", self.at), json: value.get() };
        Ok(list.into_iter().enumerate().map(placed).collect())
    }
}

impl<'a> Object<'a> {
    /// Reads an object's fields.
    pub(super) fn read(at: String, json: &'a str) -> Result<Self, Untranslatable> {
        match members(json.as_bytes()) {
            Ok(members) => Ok(Self { at, members }),
            Err(JsonError::Duplicate(name)) => {
                Err(Untranslatable::new(path(&at, &name), format!("the key {name:?} stands twice; say it once")))
            }
            Err(error) if at.is_empty() => Err(Untranslatable::new("body", error.to_string())),
            Err(_) => Err(wrong_type(&at, "an object")),
        }
    }

    /// Where the object stands.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// Where a field of it stands.
    pub(super) fn path(&self, name: &str) -> String {
        path(&self.at, name)
    }

    /// The field as it is written.
    pub(super) fn take(&mut self, name: &str) -> Option<Placed<'a>> {
        let index = self.members.iter().position(|member| member.name == name)?;
        let json = self.members.swap_remove(index).value;
        (json != "null").then(|| Placed { at: self.path(name), json })
    }

    /// The field, which must be there.
    pub(super) fn required(&mut self, name: &str) -> Result<Placed<'a>, Untranslatable> {
        let taken = self.take(name);
        taken.ok_or_else(|| Untranslatable::new(self.path(name), format!("the field {name} is required; say it")))
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Untranslatable> {
        self.take(name).map(|value| value.text()).transpose()
    }

    /// A text that must be there and say something.
    pub(super) fn required_text(&mut self, name: &str) -> Result<String, Untranslatable> {
        let value = self.required(name)?;
        let text = value.text()?;
        if text.is_empty() {
            return Err(Untranslatable::new(value.at, format!("the field {name} is empty; say what it shall be")));
        }
        Ok(text)
    }

    /// Yes or no.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Untranslatable> {
        self.typed(name, "true or false")
    }

    /// A whole number, not below 0.
    pub(super) fn count(&mut self, name: &str) -> Result<Option<u64>, Untranslatable> {
        self.typed(name, "a whole number")
    }

    /// A number from 0 to 1.
    pub(super) fn share(&mut self, name: &str) -> Result<Option<Number>, Untranslatable> {
        let number: Option<Number> = self.typed(name, "a number from 0 to 1")?;
        match number.as_ref().and_then(Number::as_f64) {
            Some(value) if !(0.0..=1.0).contains(&value) => Err(wrong_type(&self.path(name), "a number from 0 to 1")),
            _ => Ok(number),
        }
    }

    /// An object.
    pub(super) fn object(&mut self, name: &str) -> Result<Option<Object<'a>>, Untranslatable> {
        self.take(name).map(Placed::object).transpose()
    }

    /// A list; an absent one is empty.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Placed<'a>>, Untranslatable> {
        self.take(name).map_or_else(|| Ok(Vec::new()), |value| value.list())
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), Untranslatable> {
        match self.members.iter().find(|member| member.value != "null") {
            None => Ok(()),
            Some(member) => {
                let reason = format!("the field {} can't be translated; leave it out", shown(&member.name));
                Err(Untranslatable::new(self.path(&member.name), reason))
            }
        }
    }

    fn typed<T: DeserializeOwned>(&mut self, name: &str, what: &str) -> Result<Option<T>, Untranslatable> {
        self.take(name).map(|value| parse(&value.at, value.json, what)).transpose()
    }
}

fn path(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

fn parse<T: DeserializeOwned>(at: &str, json: &str, what: &str) -> Result<T, Untranslatable> {
    serde_json::from_str(json).map_err(|_| wrong_type(at, expected(json, what)))
}

/// A value that isn't what it must be.
pub(super) fn wrong_type(at: &str, expected: &str) -> Untranslatable {
    Untranslatable::new(at.to_owned(), format!("{at} must be {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_took_is_refused_and_a_null_is_nothing() {
        let mut object = Object::read("a[0]".to_owned(), r#"{"known":"x","gone":null,"new":{}}"#).unwrap();
        assert_eq!(object.text("known").unwrap().as_deref(), Some("x"));
        assert_eq!(object.finish().unwrap_err().param, "a[0].new");
        Object::read(String::new(), r#"{"gone":null}"#).unwrap().finish().unwrap();
    }

    #[test]
    fn a_wrong_type_is_told_with_its_place() {
        let json = r#"{"text":1,"flag":"yes","count":-1,"share":1.5,"object":[],"list":{}}"#;
        let read = || Object::read("o".to_owned(), json).unwrap();
        assert_eq!(read().text("text").unwrap_err().reason, "o.text must be a string");
        assert_eq!(read().flag("flag").unwrap_err().reason, "o.flag must be true or false");
        assert_eq!(read().count("count").unwrap_err().reason, "o.count must be a whole number");
        assert_eq!(read().share("share").unwrap_err().reason, "o.share must be a number from 0 to 1");
        assert_eq!(read().object("object").unwrap_err().reason, "o.object must be an object");
        assert_eq!(read().list("list").unwrap_err().reason, "o.list must be a list");
    }

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        let refusal = Object::read("m".to_owned(), r#"{"a":1,"a":2}"#).unwrap_err();
        assert_eq!(refusal.param, "m.a");
        assert_eq!(Object::read(String::new(), "[]").unwrap_err().param, "body");
    }
}
