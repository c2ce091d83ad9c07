//! OpenAI's Responses.

use bytes::BytesMut;

use super::{AnswerWriter, Frame, NotOfShape, Untranslatable};
use crate::domain::TokenUsage;
use crate::domain::chat::{ChatAnswer, ChatEvent, ChatRequest};

/// Reads a client's request.
pub fn read_request(body: &[u8]) -> Result<ChatRequest, Untranslatable> {
    let _ = body;
    Err(Untranslatable::new("model", "translation of this shape is being built"))
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

/// The fields of a request that its answer repeats.
pub fn echo(_: &[u8]) -> Vec<(&'static str, crate::domain::chat::Json)> {
    Vec::new()
}

/// The record that ends a broken stream.
pub fn error_record(_: &str, _: &str) -> Vec<u8> {
    Vec::new()
}

/// The whole answer of a stream.
pub fn answer_of_stream(_: &[u8]) -> Option<Vec<u8>> {
    None
}
