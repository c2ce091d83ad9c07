//! OpenAI's Responses, as far as no state is kept: text, pictures, documents, functions, thinking, streams.
//!
//! A client's request is read, an answer is written and read; no request is ever written, because a provider that speaks this shape
//! gets the client's own bytes. An absent `store` counts as false, though the official API takes it for true: nothing is
//! stored here, and every framework leaves it out. Stored answers, background work and hosted tools are refused by name.

mod answer_read;
mod answer_write;
mod input;
mod request;
mod wire;

pub use answer_read::{answer_of_stream, read_answer, sequence_number_after};
pub use answer_write::{Writer, error_record, write_answer};
pub use request::{echo, read_request};

use crate::domain::chat::AssistantPart;
use wire::Carried;

/// The thinking that a reasoning item stands for; none where all it has is another service's ciphertext.
fn thinking<'a>(
    summary: impl Iterator<Item = &'a str>,
    content: impl Iterator<Item = &'a str>,
    encrypted_content: Option<&str>,
) -> Option<AssistantPart> {
    let signature = match encrypted_content.and_then(Carried::unpack) {
        Some(Carried::Redacted(data)) => return Some(AssistantPart::RedactedThinking(data)),
        Some(Carried::Signature(signature)) => Some(signature),
        None => None,
    };
    // The thoughts themselves, where a server gives them, say more than their summary.
    let mut text = content.collect::<Vec<_>>().join("\n\n");
    if text.is_empty() {
        text = summary.collect::<Vec<_>>().join("\n\n");
    }
    let is_empty = text.is_empty() && signature.is_none();
    (!is_empty).then_some(AssistantPart::Thinking { text, signature })
}
