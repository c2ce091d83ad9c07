//! OpenAI's chat completions.

use bytes::BytesMut;

use super::{AnswerReader, AnswerWriter, Frame, NotOfShape, Target, Untranslatable, Written};
use crate::domain::TokenUsage;
use crate::domain::chat::{ChatAnswer, ChatEvent, ChatRequest};

/// Reads a client's request.
pub fn read_request(body: &[u8]) -> Result<ChatRequest, Untranslatable> {
    let _ = body;
    Err(Untranslatable::new("model", "translation of this shape is being built"))
}

/// Writes a request for a provider.
pub fn write_request(request: &ChatRequest, target: &Target<'_>, server: &Server) -> Result<Written, Untranslatable> {
    let _ = (request, target, server);
    Err(Untranslatable::new("model", "translation of this shape is being built"))
}

/// What differs between the servers that speak chat completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// OpenAI itself, which takes what only it has and refuses what it no longer knows.
    pub is_openai: bool,
}

/// Reads a whole answer.
pub fn read_answer(body: &[u8]) -> Result<ChatAnswer, NotOfShape> {
    let _ = body;
    Err(NotOfShape("translation of this shape is being built".to_owned()))
}

/// Writes a whole answer.
pub fn write_answer(answer: &ChatAnswer, usage: &TokenUsage, frame: &Frame) -> Vec<u8> {
    let _ = (answer, usage, frame);
    Vec::new()
}

/// Reads a provider's stream.
#[derive(Debug)]
pub struct Reader;

impl Reader {
    /// A reader of a stream that has not begun.
    pub fn new() -> Self {
        Self
    }
}

impl AnswerReader for Reader {
    fn record(&mut self, _: &[u8], _: &mut Vec<ChatEvent>) -> Result<(), NotOfShape> {
        Ok(())
    }
    fn end(&mut self, _: &mut Vec<ChatEvent>) -> Result<(), NotOfShape> {
        Ok(())
    }
}

/// Writes a stream for a client.
#[derive(Debug)]
pub struct Writer;

impl Writer {
    /// A writer of a stream that has not begun.
    pub fn new(frame: Frame) -> Self {
        let _ = frame;
        Self
    }
}

impl AnswerWriter for Writer {
    fn event(&mut self, _: &ChatEvent, _: &mut BytesMut) {}
    fn end(&mut self, _: &TokenUsage, _: &mut BytesMut) {}
    fn ping(&mut self, _: &mut BytesMut) {}
}

impl Server {
    /// OpenAI itself.
    pub const OPENAI: Self = Self { is_openai: true };

    /// The server at an address.
    pub fn of(_: &str, _: Option<u16>, _: &str) -> &'static Self {
        &Self::OPENAI
    }
}
