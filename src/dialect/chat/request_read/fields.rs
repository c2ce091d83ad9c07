//! JSON objects of a request, field by field: every field knows its path, and what nobody took is refused.

use serde_json::value::RawValue;

use crate::dialect::{Untranslatable, expected, shown};
use crate::domain::chat::Json;
use crate::domain::json::{self, JsonError, Member};

/// An object of which fields are taken one by one.
pub(super) struct Fields<'a> {
    path: String,
    members: Vec<Member<'a>>,
}

/// A field that is there and isn't null.
pub(super) struct Field<'a> {
    pub(super) path: String,
    pub(super) json: &'a str,
}

impl<'a> Fields<'a> {
    /// The request itself.
    pub(super) fn of_body(body: &'a [u8]) -> Result<Self, Untranslatable> {
        let refusal = |error: JsonError| match &error {
            JsonError::Duplicate(name) => Untranslatable::new(name.clone(), error.to_string()),
            JsonError::Malformed(_) | JsonError::TooDeep => Untranslatable::new("messages", error.to_string()),
        };
        let members = json::members(body).map_err(refusal)?;
        Ok(Self { path: String::new(), members })
    }

    /// The path of a field, whether it is there or not.
    pub(super) fn place(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Takes a field; null and absent mean the same.
    pub(super) fn take(&mut self, name: &str) -> Option<Field<'a>> {
        let at = self.members.iter().position(|member| member.name == name)?;
        let json = self.members.swap_remove(at).value;
        (json != "null").then(|| Field { path: self.place(name), json })
    }

    /// Takes a field that must be there.
    pub(super) fn required(&mut self, name: &str) -> Result<Field<'a>, Untranslatable> {
        self.take(name).ok_or_else(|| self.refusal(name, format!("{} is missing", self.place(name))))
    }

    /// Takes a text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Untranslatable> {
        self.take(name).map(|field| field.text()).transpose()
    }

    /// Takes a yes or no.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Untranslatable> {
        self.take(name).map(|field| field.parsed("true or false")).transpose()
    }

    /// Takes a whole number from nought on.
    pub(super) fn count(&mut self, name: &str) -> Result<Option<u64>, Untranslatable> {
        self.take(name).map(|field| field.parsed("a whole number")).transpose()
    }

    /// Takes a number.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<serde_json::Number>, Untranslatable> {
        self.take(name).map(|field| field.parsed("a number")).transpose()
    }

    /// Takes a list; absent is empty.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Field<'a>>, Untranslatable> {
        self.take(name).map_or_else(|| Ok(Vec::new()), |field| field.list())
    }

    /// A refusal of a field of this object.
    pub(super) fn refusal(&self, name: &str, reason: impl Into<String>) -> Untranslatable {
        Untranslatable::new(self.place(name), reason)
    }

    /// Refuses the first field that nobody took.
    pub(super) fn finish(self) -> Result<(), Untranslatable> {
        match self.members.iter().filter(|member| member.value != "null").min_by_key(|member| member.span.start) {
            None => Ok(()),
            Some(member) => {
                let place = self.place(&member.name);
                let reason = format!("{} is not known to the translation; leave it out", shown(&place));
                Err(Untranslatable::new(place, reason))
            }
        }
    }
}

impl<'a> Field<'a> {
    pub(super) fn refusal(&self, reason: impl Into<String>) -> Untranslatable {
        Untranslatable::new(self.path.clone(), reason)
    }

    pub(super) fn text(&self) -> Result<String, Untranslatable> {
        self.parsed("a string")
    }

    pub(super) fn is_text(&self) -> bool {
        self.json.starts_with('"')
    }

    pub(super) fn object(&self) -> Result<Fields<'a>, Untranslatable> {
        if !self.json.starts_with('{') {
            return Err(self.must_be("an object"));
        }
        let members = json::members(self.json.as_bytes()).map_err(|error| self.refusal(error.to_string()))?;
        Ok(Fields { path: self.path.clone(), members })
    }

    pub(super) fn list(&self) -> Result<Vec<Field<'a>>, Untranslatable> {
        let items: Vec<&'a RawValue> = self.parsed("a list")?;
        let field =
            |(index, item): (usize, &'a RawValue)| Field { path: format!("{}[{index}]", self.path), json: item.get() };
        Ok(items.into_iter().enumerate().map(field).collect())
    }

    /// A JSON object as it was written.
    pub(super) fn schema(&self) -> Result<Json, Untranslatable> {
        if self.json.starts_with('{') { self.parsed("an object") } else { Err(self.must_be("an object")) }
    }

    pub(super) fn parsed<T: serde::Deserialize<'a>>(&self, what: &str) -> Result<T, Untranslatable> {
        serde_json::from_str(self.json).map_err(|_| self.must_be(expected(self.json, what)))
    }

    fn must_be(&self, what: &str) -> Untranslatable {
        self.refusal(format!("{} must be {what}", self.path))
    }
}
