//! Anthropic's messages.

use bytes::BytesMut;

use super::{AnswerReader, AnswerWriter, Frame, NotOfShape, Target, Untranslatable, Written};
use crate::domain::TokenUsage;
use crate::domain::chat::{ChatAnswer, ChatEvent, ChatRequest};

/// Reads a client's request.
pub fn read_request(body: &[u8], version: Option<&str>) -> Result<ChatRequest, Untranslatable> {
    let _ = (body, version);
    Err(Untranslatable::new("model", "translation of this shape is being built"))
}

/// Writes a request for a provider.
pub fn write_request(request: &ChatRequest, target: &Target<'_>) -> Result<Written, Untranslatable> {
    let _ = (request, target);
    Err(Untranslatable::new("model", "translation of this shape is being built"))
}

/// Reads a whole answer.
pub fn read_answer(body: &[u8], answer_tool: Option<&str>) -> Result<ChatAnswer, NotOfShape> {
    let _ = (body, answer_tool);
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
    pub fn new(answer_tool: Option<&'static str>) -> Self {
        let _ = answer_tool;
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
