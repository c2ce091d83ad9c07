//! Answers for a client: whole, and as a stream with one block open at a time.

use std::borrow::Cow;

use bytes::{BufMut as _, BytesMut};
use serde_json::value::{RawValue, to_raw_value};

use crate::dialect::{AnswerWriter, Frame};
use crate::domain::TokenUsage;
use crate::domain::chat::{AssistantPart, ChatAnswer, ChatEvent, Ending, FinishReason};

use super::wire::{Answer, AnswerBlock, CacheCreation, Delta, End, Event, OutputDetails, StopDetails, Usage};

const WRITES: &str = "wire types have text keys only, and memory takes all writes";

/// Writes a whole answer.
pub(super) fn write(answer: &ChatAnswer, usage: &TokenUsage, frame: &Frame) -> Vec<u8> {
    let said = Said {
        calls: answer.parts.iter().any(|part| matches!(part, AssistantPart::ToolCall(_))),
        refusal: answer.parts.iter().any(|part| matches!(part, AssistantPart::Refusal(_))),
    };
    let message = Answer {
        id: &message_id(&answer.id, frame),
        r#type: "message",
        role: "assistant",
        model: &answer.model,
        content: answer.parts.iter().filter_map(block).collect(),
        end: end(&answer.ending, said),
        usage: told(usage),
    };
    serde_json::to_vec(&message).expect(WRITES)
}

/// A part as a block; none where it says nothing, because an empty block is one that no client may send back.
fn block(part: &AssistantPart) -> Option<AnswerBlock<'_>> {
    Some(match part {
        AssistantPart::Text(text) | AssistantPart::Refusal(text) if text.is_empty() => return None,
        AssistantPart::Thinking { text, signature: None } if text.is_empty() => return None,
        AssistantPart::Text(text) | AssistantPart::Refusal(text) => AnswerBlock::Text { text },
        AssistantPart::Thinking { text, signature } => {
            AnswerBlock::Thinking { thinking: text, signature: signature.as_deref().unwrap_or_default() }
        }
        AssistantPart::RedactedThinking(data) => AnswerBlock::RedactedThinking { data },
        AssistantPart::ToolCall(call) => {
            AnswerBlock::ToolUse { id: &call.id, name: &call.name, input: input(&call.arguments) }
        }
    })
}

/// Arguments as an input, which must be an object.
fn input(arguments: &str) -> Cow<'_, RawValue> {
    if arguments.trim().is_empty() {
        return Cow::Owned(raw(&serde_json::Map::new()));
    }
    match serde_json::from_str::<&RawValue>(arguments) {
        Ok(object) if object.get().starts_with('{') => Cow::Borrowed(object),
        // Cut by the cap, or the model's mistake. This is how Anthropic's documentation hands such arguments on.
        _ => Cow::Owned(raw(&std::collections::BTreeMap::from([("INVALID_JSON", arguments)]))),
    }
}

fn raw(value: &impl serde::Serialize) -> Box<RawValue> {
    to_raw_value(value).expect(WRITES)
}

/// The provider's id with the shape's prefix in place of its own.
fn message_id(id: &str, frame: &Frame) -> String {
    let bare = ["msg_", "chatcmpl-", "resp_"].iter().find_map(|prefix| id.strip_prefix(prefix)).unwrap_or(id);
    if bare.is_empty() { format!("msg_{}", frame.created) } else { format!("msg_{bare}") }
}

/// What an answer held, as far as its end depends on it.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    calls: bool,
    refusal: bool,
}

fn end(ending: &Ending, said: Said) -> End<'_> {
    let stop_reason = match ending.reason {
        // Servers may say "stop" although tools were called, and models that refuse end like those that don't.
        FinishReason::Stop if said.calls => "tool_use",
        FinishReason::Stop if said.refusal => "refusal",
        FinishReason::Stop => "end_turn",
        FinishReason::StopSequence => "stop_sequence",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::Refusal => "refusal",
    };
    let explanation = ending.explanation.as_deref().filter(|_| stop_reason == "refusal");
    End {
        stop_reason: Some(stop_reason),
        stop_sequence: ending.stop_sequence.as_deref().filter(|_| ending.reason == FinishReason::StopSequence),
        stop_details: explanation.map(|explanation| StopDetails { r#type: "refusal", category: None, explanation }),
    }
}

/// The full set: a client lets it take the place of what the stream's beginning said.
fn told(usage: &TokenUsage) -> Usage {
    let written = CacheCreation {
        ephemeral_5m_input_tokens: usage.cache_write_5m,
        ephemeral_1h_input_tokens: usage.cache_write_1h,
    };
    Usage {
        input_tokens: usage.uncached_input + usage.audio_input,
        cache_creation_input_tokens: Some(usage.cache_write()),
        cache_read_input_tokens: Some(usage.cache_read),
        cache_creation: (usage.cache_write() > 0).then_some(written),
        output_tokens: usage.total_output(),
        output_tokens_details: (usage.reasoning > 0).then_some(OutputDetails { thinking_tokens: usage.reasoning }),
    }
}

/// Writes a stream for a client.
#[derive(Debug)]
pub struct Writer {
    frame: Frame,
    has_begun: bool,
    open: Option<Open>,
    /// Blocks that are complete: the index of the open one.
    blocks: usize,
    said: Said,
    ending: Option<Ending>,
}

/// The kind of the open block. A refusal is text on the wire, but a part of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Refusal,
    Thinking,
    /// Its signature is out: more thinking is another block.
    SignedThinking,
    Call,
}

impl Writer {
    /// A writer of a stream that has not begun.
    pub fn new(frame: Frame) -> Self {
        Self { frame, has_begun: false, open: None, blocks: 0, said: Said::default(), ending: None }
    }

    fn begin(&mut self, id: &str, model: &str, out: &mut BytesMut) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        let message = Answer {
            id: &message_id(id, &self.frame),
            r#type: "message",
            role: "assistant",
            model,
            content: Vec::new(),
            end: End::default(),
            // What the input was is known at the end only.
            usage: Usage::default(),
        };
        push(&Event::MessageStart { message }, out);
    }

    fn open(&mut self, kind: Open, content_block: AnswerBlock<'_>, out: &mut BytesMut) {
        self.close(out);
        self.open = Some(kind);
        push(&Event::ContentBlockStart { index: self.blocks, content_block }, out);
    }

    fn close(&mut self, out: &mut BytesMut) {
        if self.open.take().is_some() {
            push(&Event::ContentBlockStop { index: self.blocks }, out);
            self.blocks += 1;
        }
    }

    fn delta(&self, delta: Delta<'_>, out: &mut BytesMut) {
        push(&Event::ContentBlockDelta { index: self.blocks, delta }, out);
    }

    fn text(&mut self, kind: Open, text: &str, out: &mut BytesMut) {
        if text.is_empty() {
            return;
        }
        if self.open != Some(kind) {
            self.open(kind, AnswerBlock::Text { text: "" }, out);
        }
        self.delta(Delta::TextDelta { text }, out);
    }

    fn open_thinking(&mut self, out: &mut BytesMut) {
        if self.open != Some(Open::Thinking) {
            self.open(Open::Thinking, AnswerBlock::Thinking { thinking: "", signature: "" }, out);
        }
    }
}

impl AnswerWriter for Writer {
    fn event(&mut self, event: &ChatEvent, out: &mut BytesMut) {
        match event {
            ChatEvent::Start { id, model } => self.begin(id, model, out),
            ChatEvent::Text(text) => self.text(Open::Text, text, out),
            ChatEvent::Refusal(text) => {
                self.said.refusal = true;
                self.text(Open::Refusal, text, out);
            }
            ChatEvent::Thinking(thinking) if !thinking.is_empty() => {
                self.open_thinking(out);
                self.delta(Delta::ThinkingDelta { thinking }, out);
            }
            ChatEvent::Signature(signature) if !signature.is_empty() => {
                self.open_thinking(out);
                self.delta(Delta::SignatureDelta { signature }, out);
                self.open = Some(Open::SignedThinking);
            }
            ChatEvent::RedactedThinking(data) => {
                // It comes whole in its beginning, so it is over at once.
                self.open(Open::SignedThinking, AnswerBlock::RedactedThinking { data }, out);
                self.close(out);
            }
            ChatEvent::ToolCall { id, name } => {
                self.said.calls = true;
                self.open(Open::Call, AnswerBlock::ToolUse { id, name, input: input("") }, out);
            }
            ChatEvent::Arguments(more) if self.open == Some(Open::Call) && !more.is_empty() => {
                self.delta(Delta::InputJsonDelta { partial_json: more }, out);
            }
            ChatEvent::Thinking(_) | ChatEvent::Signature(_) | ChatEvent::Arguments(_) => {}
            ChatEvent::PartEnd => self.close(out),
            ChatEvent::Finish(ending) => {
                self.close(out);
                self.ending = Some(ending.clone());
            }
        }
    }

    fn end(&mut self, usage: &TokenUsage, out: &mut BytesMut) {
        // Without its finish an answer has no end that could be told: nothing is invented.
        let Some(ending) = self.ending.take() else { return };
        push(&Event::MessageDelta { delta: end(&ending, self.said), usage: told(usage) }, out);
        push(&Event::MessageStop, out);
        self.has_begun = false;
    }

    fn ping(&mut self, out: &mut BytesMut) {
        // Anthropic's clients fail on anything that comes before the beginning.
        if self.has_begun {
            push(&Event::Ping, out);
        }
    }
}

fn push(event: &Event<'_>, out: &mut BytesMut) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(event.name().as_bytes());
    out.extend_from_slice(b"\ndata: ");
    serde_json::to_writer((&mut *out).writer(), event).expect(WRITES);
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests;
