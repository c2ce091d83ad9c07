//! A provider's answers: whole, and as a stream.
//!
//! What only Anthropic itself runs (server tools, citations) says nothing in the neutral form and is skipped: a request that
//! was translated can't have asked for it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::compact::compact;
use crate::dialect::sse::fields;
use crate::dialect::{AnswerReader, NotOfShape};
use crate::domain::chat::{AssistantPart, ChatAnswer, ChatEvent, Ending, FinishReason, ToolCall};

use super::wire::{ReadAnswer, ReadBlock, ReadEnd, ReadEvent, ReadStopDetails, Typed};

/// Reads a whole answer.
pub(super) fn read(body: &[u8], answer_tool: Option<&str>) -> Result<ChatAnswer, NotOfShape> {
    let wire: ReadAnswer<'_> = parse(body, "the answer")?;
    let blocks = wire.content.ok_or_else(|| NotOfShape("the answer has no content".to_owned()))?;
    let id = wire.id.unwrap_or_default();
    let mut parts = Vec::with_capacity(blocks.len());
    for (index, block) in blocks.into_iter().enumerate() {
        parts.extend(part(block, &id, index, answer_tool)?);
    }
    let end =
        ReadEnd { stop_reason: wire.stop_reason, stop_sequence: wire.stop_sequence, stop_details: wire.stop_details };
    let ending = ending(end, answer_tool.is_some())?;
    let ending = ending.ok_or_else(|| NotOfShape("the answer has no stop_reason".to_owned()))?;
    Ok(ChatAnswer { id, model: wire.model.unwrap_or_default(), parts, ending })
}

fn part(
    json: &RawValue,
    answer_id: &str,
    index: usize,
    answer_tool: Option<&str>,
) -> Result<Option<AssistantPart>, NotOfShape> {
    let Some(Block { kind, fields }) = block(json)? else { return Ok(None) };
    let part = match kind {
        Kind::Text => AssistantPart::Text(fields.text.unwrap_or_default()),
        Kind::Thinking => AssistantPart::Thinking {
            text: fields.thinking.unwrap_or_default(),
            signature: fields.signature.filter(|signature| !signature.is_empty()),
        },
        Kind::RedactedThinking => AssistantPart::RedactedThinking(fields.data.unwrap_or_default()),
        Kind::ToolUse => {
            let arguments = arguments(fields.input).unwrap_or_default();
            let name = fields.name.unwrap_or_default();
            if answer_tool == Some(name.as_str()) {
                AssistantPart::Text(answer_of(arguments))
            } else {
                AssistantPart::ToolCall(ToolCall { id: call_id(fields.id, answer_id, index), name, arguments })
            }
        }
    };
    let is_empty = matches!(&part, AssistantPart::Text(text) if text.is_empty());
    Ok(Some(part).filter(|_| !is_empty))
}

/// Kinds of blocks that say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    RedactedThinking,
    ToolUse,
}

struct Block<'a> {
    kind: Kind,
    fields: ReadBlock<'a>,
}

/// A block; none where its kind says nothing.
fn block(json: &RawValue) -> Result<Option<Block<'_>>, NotOfShape> {
    let typed: Typed<'_> = parse(json.get().as_bytes(), "a block of the answer")?;
    let kind = match &*typed.kind {
        "text" => Kind::Text,
        "thinking" => Kind::Thinking,
        "redacted_thinking" => Kind::RedactedThinking,
        "tool_use" => Kind::ToolUse,
        _ => return Ok(None),
    };
    Ok(Some(Block { kind, fields: parse(json.get().as_bytes(), "a block of the answer")? }))
}

/// A call's arguments; none where its input is the empty object, which also stands for "they follow".
fn arguments(input: Option<&RawValue>) -> Option<String> {
    let arguments = compact(input?.get());
    (arguments.starts_with('{') && arguments != "{}").then_some(arguments)
}

/// The text that the arguments of the answering tool are.
fn answer_of(arguments: String) -> String {
    if arguments.is_empty() { "{}".to_owned() } else { arguments }
}

/// A call's id; servers that imitate the shape may leave it out.
fn call_id(told: Option<String>, answer_id: &str, index: usize) -> String {
    told.filter(|id| !id.is_empty()).unwrap_or_else(|| {
        let answer = answer_id.strip_prefix("msg_").unwrap_or(answer_id);
        format!("toolu_{answer}_{index}")
    })
}

fn ending(end: ReadEnd, has_answer_tool: bool) -> Result<Option<Ending>, NotOfShape> {
    let Some(word) = end.stop_reason else { return Ok(None) };
    let reason = match word.as_str() {
        "end_turn" => FinishReason::Stop,
        "stop_sequence" => FinishReason::StopSequence,
        "max_tokens" | "model_context_window_exceeded" | "compaction" => FinishReason::Length,
        "tool_use" if has_answer_tool => FinishReason::Stop,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::Refusal,
        "pause_turn" => {
            return Err(NotOfShape(
                "the answer pauses for a server tool, which a translated call never has".to_owned(),
            ));
        }
        // Within a version of the API, reasons may be added.
        _ => FinishReason::Stop,
    };
    let stop_sequence = end.stop_sequence.filter(|_| reason == FinishReason::StopSequence);
    let explanation = end.stop_details.and_then(|ReadStopDetails { explanation }| explanation);
    Ok(Some(Ending { reason, stop_sequence, explanation: explanation.filter(|words| !words.is_empty()) }))
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8], what: &str) -> Result<T, NotOfShape> {
    serde_json::from_slice(json).map_err(|error| NotOfShape(format!("{what} is not of the messages shape: {error}")))
}

/// Reads a provider's stream.
#[derive(Debug, Default)]
pub struct Reader {
    answer_tool: Option<&'static str>,
    /// The answer's id, once it has begun.
    id: Option<String>,
    open: Option<Open>,
    /// Blocks that have begun.
    blocks: usize,
    end: Option<Ending>,
}

/// The block whose deltas come now.
#[derive(Debug)]
enum Open {
    /// Text or thinking.
    Words,
    /// A call; `held` are arguments that its beginning named, until others follow.
    Call { held: Option<String>, is_answer: bool, has_said: bool },
    /// Nothing that is told.
    Skipped,
}

impl Reader {
    /// A reader of a stream that has not begun.
    pub fn new(answer_tool: Option<&'static str>) -> Self {
        Self { answer_tool, ..Self::default() }
    }

    fn begin(&mut self, message: Option<&RawValue>, events: &mut Vec<ChatEvent>) -> Result<(), NotOfShape> {
        if self.id.is_some() {
            return Ok(());
        }
        let message: ReadAnswer<'_> = match message {
            Some(message) => parse(message.get().as_bytes(), "the beginning of the stream")?,
            None => ReadAnswer::default(),
        };
        let id = message.id.unwrap_or_default();
        self.id = Some(id.clone());
        events.push(ChatEvent::Start { id, model: message.model.unwrap_or_default() });
        Ok(())
    }

    fn block_start(&mut self, json: &RawValue, events: &mut Vec<ChatEvent>) -> Result<(), NotOfShape> {
        self.begin(None, events)?;
        self.block_stop(events);
        self.blocks += 1;
        let Some(Block { kind, fields }) = block(json)? else {
            self.open = Some(Open::Skipped);
            return Ok(());
        };
        self.open = Some(match kind {
            Kind::Text | Kind::Thinking => Open::Words,
            Kind::RedactedThinking => {
                events.push(ChatEvent::RedactedThinking(fields.data.unwrap_or_default()));
                events.push(ChatEvent::PartEnd);
                Open::Skipped
            }
            Kind::ToolUse => {
                let name = fields.name.unwrap_or_default();
                let is_answer = self.answer_tool == Some(name.as_str());
                if !is_answer {
                    let answer_id = self.id.as_deref().unwrap_or_default();
                    events.push(ChatEvent::ToolCall { id: call_id(fields.id, answer_id, self.blocks - 1), name });
                }
                Open::Call { held: arguments(fields.input), is_answer, has_said: false }
            }
        });
        words(fields.text, fields.thinking, fields.signature, events);
        Ok(())
    }

    fn block_delta(&mut self, json: &RawValue, events: &mut Vec<ChatEvent>) -> Result<(), NotOfShape> {
        self.begin(None, events)?;
        let typed: Typed<'_> = parse(json.get().as_bytes(), "a delta of the stream")?;
        let is_known = ["text_delta", "thinking_delta", "signature_delta", "input_json_delta"].contains(&&*typed.kind);
        if !is_known || matches!(self.open, Some(Open::Skipped)) {
            return Ok(());
        }
        let delta: ReadBlock<'_> = parse(json.get().as_bytes(), "a delta of the stream")?;
        let Some(more) = delta.partial_json.filter(|more| !more.is_empty()) else {
            words(delta.text, delta.thinking, delta.signature, events);
            return Ok(());
        };
        match &mut self.open {
            Some(Open::Call { is_answer, has_said, .. }) => {
                *has_said = true;
                events.push(if *is_answer { ChatEvent::Text(more) } else { ChatEvent::Arguments(more) });
                Ok(())
            }
            _ => Err(NotOfShape("arguments came in the stream without a call".to_owned())),
        }
    }

    fn block_stop(&mut self, events: &mut Vec<ChatEvent>) {
        match self.open.take() {
            None | Some(Open::Skipped) => return,
            Some(Open::Words) => {}
            Some(Open::Call { has_said: true, .. }) => {}
            Some(Open::Call { held, is_answer: true, .. }) => {
                events.push(ChatEvent::Text(answer_of(held.unwrap_or_default())));
            }
            Some(Open::Call { held, .. }) => events.extend(held.map(ChatEvent::Arguments)),
        }
        events.push(ChatEvent::PartEnd);
    }
}

/// Tells what a block or a delta says, if anything.
fn words(text: Option<String>, thinking: Option<String>, signature: Option<String>, events: &mut Vec<ChatEvent>) {
    let said = |words: Option<String>| words.filter(|words| !words.is_empty());
    events.extend(said(text).map(ChatEvent::Text));
    events.extend(said(thinking).map(ChatEvent::Thinking));
    events.extend(said(signature).map(ChatEvent::Signature));
}

impl AnswerReader for Reader {
    fn record(&mut self, record: &[u8], events: &mut Vec<ChatEvent>) -> Result<(), NotOfShape> {
        let fields = fields(record);
        if !fields.has_data {
            return Ok(());
        }
        let event: ReadEvent<'_> = parse(&fields.data, "a record of the stream")?;
        let named = fields.event.map(String::from_utf8_lossy);
        let kind = event.kind.or(named).unwrap_or(Cow::Borrowed(""));
        match (&*kind, event.content_block, event.delta) {
            ("message_start", ..) => self.begin(event.message, events),
            ("content_block_start", Some(block), _) => self.block_start(block, events),
            ("content_block_delta", _, Some(delta)) => self.block_delta(delta, events),
            ("content_block_stop", ..) => {
                self.block_stop(events);
                Ok(())
            }
            ("message_delta", _, Some(delta)) => {
                self.begin(None, events)?;
                let end = parse(delta.get().as_bytes(), "the end of the stream")?;
                self.end = ending(end, self.answer_tool.is_some())?.or(self.end.take());
                Ok(())
            }
            // Pings, and whatever is invented later.
            _ => Ok(()),
        }
    }

    fn end(&mut self, events: &mut Vec<ChatEvent>) -> Result<(), NotOfShape> {
        let Some(ending) = self.end.take() else {
            return Err(NotOfShape("the stream ended without a stop_reason".to_owned()));
        };
        self.block_stop(events);
        events.push(ChatEvent::Finish(ending));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
