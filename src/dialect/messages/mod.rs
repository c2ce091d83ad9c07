//! Anthropic's messages, to and from the neutral form.
//!
//! What is read of a client's request is read field by field, so that nothing is dropped that nobody knew (`object`). What is written
//! for Anthropic heeds what the model takes; where a model takes nothing of the kind that was asked for, the request is refused in the client's
//! own words (`client_field`). A body that is written here may hold sampling parameters: it is for `anthropic-version: 2023-06-01`.

mod answer_read;
mod answer_write;
mod client_field;
mod closed_schema;
mod reasoning;
mod request_read;
mod request_write;
mod tools_write;
mod turns_read;
mod turns_write;
mod wire;

pub use answer_read::Reader;
pub use answer_write::Writer;

use super::{Frame, NotOfShape, Target, Untranslatable, Written};
use crate::domain::TokenUsage;
use crate::domain::chat::{ChatAnswer, ChatRequest};

/// Reads a client's request; `version` is its `anthropic-version`.
pub fn read_request(body: &[u8], version: Option<&str>) -> Result<ChatRequest, Untranslatable> {
    request_read::read(body, version)
}

/// Writes a request for a provider.
pub fn write_request(request: &ChatRequest, target: &Target<'_>) -> Result<Written, Untranslatable> {
    request_write::write(request, target)
}

/// Reads a whole answer.
pub fn read_answer(body: &[u8], answer_tool: Option<&str>) -> Result<ChatAnswer, NotOfShape> {
    answer_read::read(body, answer_tool)
}

/// Writes a whole answer.
pub fn write_answer(answer: &ChatAnswer, usage: &TokenUsage, frame: &Frame) -> Vec<u8> {
    answer_write::write(answer, usage, frame)
}
