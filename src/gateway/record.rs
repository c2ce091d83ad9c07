//! What a call said and was told, handed over to be kept where somebody asked for that.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::content::{Excerpt, Exchange};
use crate::ledger::{CallFacts, Outcome as Booked};

use super::call::Call;
use super::error::GatewayError;

impl Call {
    /// Whether the answer may be kept, so that it has to be gathered while it passes.
    pub(super) fn may_keep_answer(&self) -> bool {
        self.gateway.parts().content.keeps(self.config().log.bodies, true)
    }

    /// Remembers what the client is told, in case it is to be kept; the first word counts.
    pub(super) fn remember_answer(&self, answer: impl FnOnce() -> Excerpt) {
        if self.may_keep_answer() {
            let _ = self.told.set(answer());
        }
    }

    /// The same for a call that isn't answered.
    pub(super) fn remember_failure(&self, error: &GatewayError) {
        self.remember_answer(|| Excerpt::of(error.to_string().as_bytes()));
    }

    /// Hands the contents of a call that has ended over, where they are to be kept.
    pub(super) fn keep_contents(&self, facts: &CallFacts, outcome: &Booked) {
        let content = &self.gateway.parts().content;
        if !content.keeps(self.config().log.bodies, outcome.error.is_some()) {
            return;
        }
        content.keep(Exchange {
            id: facts.id,
            key: facts.key.clone(),
            session: self.inbound.session.clone(),
            users: users(&self.inbound.body),
            request: Excerpt::of(&self.inbound.body),
            answer: self.told.get().cloned().unwrap_or_default(),
        });
    }
}

/// The fields in which clients name the person that a call is for.
#[derive(Default, Deserialize)]
struct People<'a> {
    #[serde(borrow, default)]
    user: Named<'a>,
    #[serde(borrow, default)]
    safety_identifier: Named<'a>,
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
}

/// A text; whatever else stands in its place names nobody.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Other(IgnoredAny),
}

impl Default for Named<'_> {
    fn default() -> Self {
        Self::Other(IgnoredAny)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Metadata<'a> {
    Object {
        #[serde(borrow, default)]
        user_id: Named<'a>,
    },
    Other(IgnoredAny),
}

impl Default for Metadata<'_> {
    fn default() -> Self {
        Self::Other(IgnoredAny)
    }
}

/// The people whom a body names, each once.
pub(super) fn users(body: &[u8]) -> Vec<String> {
    let People { user, safety_identifier, metadata } = serde_json::from_slice(body).unwrap_or_default();
    let user_id = match metadata {
        Metadata::Object { user_id } => user_id,
        Metadata::Other(_) => Named::default(),
    };
    let mut users = Vec::new();
    for named in [user, safety_identifier, user_id] {
        if let Named::Text(text) = named
            && !text.is_empty()
            && !users.iter().any(|known| *known == *text)
        {
            users.push(text.into_owned());
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: &[&str]) {
        assert_eq!(users(body.as_bytes()), expected, "{body}");
    }

    #[test]
    fn a_person_is_found_by_the_fields_of_every_dialect() {
        check(r#"{"model":"m","user":"ada","messages":[]}"#, &["ada"]);
        check(r#"{"safety_identifier":"a\u0064a"}"#, &["ada"]);
        check(r#"{"metadata":{"user_id":"ada","more":1}}"#, &["ada"]);
        check(r#"{"user":"ada","safety_identifier":"ada","metadata":{"user_id":"bob"}}"#, &["ada", "bob"]);
    }

    #[test]
    fn what_is_no_name_names_nobody() {
        for body in [
            "{}",
            "",
            "[1]",
            r#"{"user":null}"#,
            r#"{"user":""}"#,
            r#"{"user":7,"metadata":[]}"#,
            r#"{"metadata":{}}"#,
            r#"{"metadata":{"user_id":{"a":1}}}"#,
        ] {
            check(body, &[]);
        }
        check(r#"{"user":5,"safety_identifier":"bob","metadata":"x"}"#, &["bob"]);
    }
}
