//! Conversations as they stand on the wire: three shapes, each to and from the one neutral form of [`crate::domain::chat`].
//!
//! [`chat`] is OpenAI's chat completions, [`messages`] Anthropic's, [`responses`] OpenAI's Responses. Only a call whose client and provider speak
//! different shapes comes here; everything else passes through as bytes. [`embeddings`] only changes how
//! vectors are written. Each shape is a folder: `wire` has its serde types, `request`
//! reads and writes requests, `answer` whole answers and streams. Nothing here knows of calls, money or sockets. What
//! can't be said in the other shape is an [`Untranslatable`] that names the client's field; nothing is dropped in silence.

pub mod chat;
mod compact;
pub mod embeddings;
pub mod messages;
mod object;
pub mod responses;
pub mod sse;

use std::borrow::Cow;

use bytes::BytesMut;

use crate::domain::chat::{ChatEvent, Json};
use crate::domain::{Capabilities, TokenUsage};

/// What a client asked for that the provider's shape can't say, or that its model can't do: a 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.in_words())]
pub struct Untranslatable {
    /// The client's field, as a path such as `messages[2].content[0].input_audio`.
    pub param: Cow<'static, str>,
    /// Why not, and what to do; reads on from the field.
    pub reason: String,
}

impl Untranslatable {
    /// A field that can't be said, and why.
    pub fn new(param: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self { param: param.into(), reason: reason.into() }
    }

    /// The field once, and why not.
    fn in_words(&self) -> String {
        let names_it = |reason: &str| {
            let rest = reason.trim_start_matches('`').strip_prefix(&*self.param);
            !self.param.is_empty() && rest.is_some_and(|rest| rest.starts_with([' ', '`']))
        };
        if names_it(&self.reason) { self.reason.clone() } else { format!("{}: {}", shown(&self.param), self.reason) }
    }
}

/// A field's path as people can see it: a name may be empty.
fn shown(path: &str) -> Cow<'_, str> {
    if path.is_empty() || path.ends_with('.') { format!("{path}\"\"").into() } else { path.into() }
}

/// The model that a request is written for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Its name in the provider's words.
    pub model: &'a str,
    /// Its own cap on output, where it is known.
    pub max_output: Option<u64>,
    /// What it can do.
    pub capabilities: Capabilities,
}

/// A request as it goes to a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The body.
    pub body: Vec<u8>,
    /// The answer comes as the arguments of this tool: the trick for models that know tools but no JSON schema.
    pub answer_tool: Option<&'static str>,
    /// What was left out because the provider can't use it, such as thinking without a signature: told to the client in a header.
    pub dropped: Vec<&'static str>,
}

/// An answer that is not of its shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotOfShape(pub String);

/// Reads a provider's stream, record by record.
pub trait AnswerReader: Send {
    /// Reads one whole SSE record and appends what it tells. Records without meaning append nothing. Errors in a stream and its end
    /// marker are the provider's decoder's business; they don't come here.
    fn record(&mut self, record: &[u8], events: &mut Vec<ChatEvent>) -> Result<(), NotOfShape>;

    /// The stream has ended as it should: appends what was held back, and the finish.
    fn end(&mut self, events: &mut Vec<ChatEvent>) -> Result<(), NotOfShape>;
}

/// Writes a client's stream, event by event.
pub trait AnswerWriter: Send {
    /// Appends the records that tell an event; what must wait for the usage waits for [`Self::end`].
    fn event(&mut self, event: &ChatEvent, out: &mut BytesMut);

    /// Appends the records that end the stream: after the finish, once, when the usage is known.
    fn end(&mut self, usage: &TokenUsage, out: &mut BytesMut);

    /// Appends a record that says that the stream is still alive, where one may stand now.
    fn ping(&mut self, out: &mut BytesMut);
}

/// What the writer of an answer needs beside it.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// Seconds since the epoch, for shapes that tell when an answer was made.
    pub created: i64,
    /// Whether a stream of chat completions ends with a chunk of usage.
    pub include_usage: bool,
    /// Fields of the request that an answer of the Responses API repeats, by name.
    pub echo: Vec<(&'static str, Json)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_field_once_and_an_empty_name_can_be_seen() {
        let check = |param: &'static str, reason: &str, expected: &str| {
            assert_eq!(Untranslatable::new(param, reason).to_string(), expected);
        };
        check("n", "only one choice can be had", "n: only one choice can be had");
        check("n", "no more than one", "n: no more than one");
        check("max_tokens", "max_tokens must be a whole number", "max_tokens must be a whole number");
        check("input[0].role", "`input[0].role` is missing", "`input[0].role` is missing");
        check("", "this can't be translated", "\"\": this can't be translated");
        check("messages[0].", "leave it out", "messages[0].\"\": leave it out");
    }
}
