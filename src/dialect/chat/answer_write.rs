//! Writes answers for a client that speaks chat completions, whole and as streams.
//!
//! Thinking goes into `reasoning_content`, as other servers have it. A signature has no place there, so signed thinking stands in
//! `thinking_blocks` as well: a client that sends those back can go on thinking with tools.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use crate::dialect::{AnswerWriter, Frame};
use crate::domain::TokenUsage;
use crate::domain::chat::{AssistantPart, ChatAnswer, ChatEvent, Ending, FinishReason};

use super::wire::{
    Answer, Call, ChunkChoice, CompletionDetails, Delta, Function, NumberedBlock, PromptDetails, ThinkingBlock, Usage,
    UsageField, WholeChoice, WholeMessage,
};

const ID_PREFIX: &str = "chatcmpl-";

/// Arguments of a call that gave none: clients parse them as JSON.
const NO_ARGUMENTS: &str = "{}";

/// Writes a whole answer.
pub fn write_answer(answer: &ChatAnswer, usage: &TokenUsage, frame: &Frame) -> Vec<u8> {
    let has_refusal = answer.parts.iter().any(|part| matches!(part, AssistantPart::Refusal(_)));
    let choice = WholeChoice {
        index: 0,
        message: message(answer),
        logprobs: (),
        finish_reason: finish_reason(&answer.ending, has_refusal),
    };
    let id = id(&answer.id, frame);
    let answer = Answer {
        id: &id,
        object: "chat.completion",
        created: frame.created,
        model: &answer.model,
        choices: vec![choice],
        usage: UsageField::Told(written_usage(usage)),
    };
    serde_json::to_vec(&answer).expect("an answer always serializes")
}

fn message(answer: &ChatAnswer) -> WholeMessage<'_> {
    let (mut content, mut refusal, mut thoughts) = (None::<String>, None::<String>, None::<String>);
    let (mut blocks, mut tool_calls) = (Vec::new(), Vec::new());
    let mut has_proof = false;
    let append = |field: &mut Option<String>, text: &str| field.get_or_insert_default().push_str(text);
    for part in &answer.parts {
        match part {
            AssistantPart::Text(text) => append(&mut content, text),
            AssistantPart::Refusal(text) => append(&mut refusal, text),
            AssistantPart::Thinking { text, signature } => {
                append(&mut thoughts, text);
                let signature = signature.as_deref().unwrap_or_default();
                has_proof |= !signature.is_empty();
                blocks.push(ThinkingBlock::Thinking { thinking: text, signature });
            }
            AssistantPart::RedactedThinking(data) => {
                has_proof = true;
                blocks.push(ThinkingBlock::RedactedThinking { data });
            }
            AssistantPart::ToolCall(call) => tool_calls.push(Call {
                index: None,
                id: Some(Cow::Borrowed(&call.id)),
                kind: Some("function"),
                function: Function { name: Some(&call.name), arguments: Cow::Borrowed(or_none(&call.arguments)) },
            }),
        }
    }
    let refusal = refusal.or_else(|| explanation(&answer.ending).map(str::to_owned));
    if content.is_none() && refusal.is_none() && tool_calls.is_empty() {
        content = Some(String::new());
    }
    if !has_proof {
        blocks.clear();
    }
    let reasoning_content = thoughts.filter(|text| !text.is_empty());
    WholeMessage { role: "assistant", content, refusal, reasoning_content, thinking_blocks: blocks, tool_calls }
}

fn or_none(arguments: &str) -> &str {
    if arguments.is_empty() { NO_ARGUMENTS } else { arguments }
}

/// Why the model refused, where it did.
fn explanation(ending: &Ending) -> Option<&str> {
    ending.explanation.as_deref().filter(|text| ending.reason == FinishReason::Refusal && !text.is_empty())
}

fn id<'a>(id: &'a str, frame: &Frame) -> Cow<'a, str> {
    match id {
        "" => Cow::Owned(format!("{ID_PREFIX}{}", frame.created)),
        id if id.starts_with(ID_PREFIX) => Cow::Borrowed(id),
        id => Cow::Owned(format!("{ID_PREFIX}{id}")),
    }
}

fn finish_reason(ending: &Ending, has_refusal: bool) -> &'static str {
    match ending.reason {
        // A model that refuses in its own words has stopped like any other.
        FinishReason::Refusal if has_refusal && ending.explanation.is_none() => "stop",
        FinishReason::Stop | FinishReason::StopSequence => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::Refusal => "content_filter",
    }
}

fn written_usage(usage: &TokenUsage) -> Usage {
    let (prompt_tokens, completion_tokens) = (usage.total_input(), usage.total_output());
    Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: prompt_tokens.saturating_add(completion_tokens),
        prompt_tokens_details: PromptDetails {
            cached_tokens: usage.cache_read,
            cache_write_tokens: usage.cache_write(),
            audio_tokens: usage.audio_input,
        },
        completion_tokens_details: CompletionDetails {
            reasoning_tokens: usage.reasoning,
            audio_tokens: usage.audio_output,
        },
    }
}

/// Writes a stream for a client.
#[derive(Debug)]
pub struct Writer {
    frame: Frame,
    id: String,
    model: String,
    /// How many calls have begun: clients tell them apart by their number.
    calls: usize,
    /// How many blocks of thinking have been sent, for the same reason.
    blocks: usize,
    open: Open,
    has_refused: bool,
}

/// The part that is open, and what its end needs.
#[derive(Debug)]
enum Open {
    Nothing,
    /// Text or a refusal, whose end is nothing.
    Said,
    Thinking {
        text: String,
        signature: Option<String>,
    },
    Call {
        has_arguments: bool,
    },
}

impl Writer {
    /// A writer of a stream that has not begun.
    pub fn new(frame: Frame) -> Self {
        let (id, model) = (String::new(), String::new());
        Self { frame, id, model, calls: 0, blocks: 0, open: Open::Nothing, has_refused: false }
    }

    fn chunk(&self, delta: Delta<'_>, finish_reason: Option<&'static str>, out: &mut BytesMut) {
        let choices = vec![ChunkChoice { index: 0, delta, finish_reason }];
        let usage = if self.frame.include_usage { UsageField::Null } else { UsageField::Absent };
        self.record(choices, usage, out);
    }

    fn record(&self, choices: Vec<ChunkChoice<'_>>, usage: UsageField, out: &mut BytesMut) {
        let chunk = Answer {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.frame.created,
            model: &self.model,
            choices,
            usage,
        };
        out.extend_from_slice(b"data: ");
        serde_json::to_writer((&mut *out).writer(), &chunk).expect("a chunk always serializes, and memory takes it");
        out.extend_from_slice(b"\n\n");
    }

    fn arguments(&self, arguments: &str, out: &mut BytesMut) {
        let function = Function { name: None, arguments: Cow::Borrowed(arguments) };
        let call = Call { index: self.calls.checked_sub(1), id: None, kind: None, function };
        self.chunk(Delta { tool_calls: vec![call], ..Delta::default() }, None, out);
    }

    /// Ends the open part, and opens another.
    fn turn_to(&mut self, next: Open, out: &mut BytesMut) {
        match std::mem::replace(&mut self.open, next) {
            Open::Call { has_arguments: false } => self.arguments(NO_ARGUMENTS, out),
            Open::Thinking { text, signature: Some(signature) } => {
                self.block(ThinkingBlock::Thinking { thinking: &text, signature: &signature }, out);
            }
            Open::Nothing | Open::Said | Open::Thinking { .. } | Open::Call { .. } => {}
        }
    }

    fn block(&mut self, block: ThinkingBlock<'_>, out: &mut BytesMut) {
        let block = NumberedBlock { index: self.blocks, block };
        self.chunk(Delta { thinking_blocks: vec![block], ..Delta::default() }, None, out);
        self.blocks += 1;
    }

    fn think(&mut self, more: &str, out: &mut BytesMut) {
        if let Open::Thinking { text, signature: None } = &mut self.open {
            text.push_str(more);
        } else {
            self.turn_to(Open::Thinking { text: more.to_owned(), signature: None }, out);
        }
        if !more.is_empty() {
            self.chunk(Delta { reasoning_content: Some(more), ..Delta::default() }, None, out);
        }
    }

    fn call(&mut self, id: &str, name: &str, out: &mut BytesMut) {
        self.turn_to(Open::Call { has_arguments: false }, out);
        let function = Function { name: Some(name), arguments: Cow::Borrowed("") };
        let call = Call { index: Some(self.calls), id: Some(Cow::Borrowed(id)), kind: Some("function"), function };
        self.calls += 1;
        self.chunk(Delta { tool_calls: vec![call], ..Delta::default() }, None, out);
    }

    fn finish(&mut self, ending: &Ending, out: &mut BytesMut) {
        self.turn_to(Open::Nothing, out);
        if let Some(text) = explanation(ending).filter(|_| !self.has_refused) {
            self.chunk(Delta { refusal: Some(text), ..Delta::default() }, None, out);
        }
        self.chunk(Delta::default(), Some(finish_reason(ending, self.has_refused)), out);
    }
}

impl AnswerWriter for Writer {
    fn event(&mut self, event: &ChatEvent, out: &mut BytesMut) {
        match event {
            ChatEvent::Start { id: its_id, model } => {
                self.id = id(its_id, &self.frame).into_owned();
                self.model.clone_from(model);
                self.chunk(Delta { role: Some("assistant"), content: Some(""), ..Delta::default() }, None, out);
            }
            ChatEvent::Text(text) if !text.is_empty() => {
                self.turn_to(Open::Said, out);
                self.chunk(Delta { content: Some(text), ..Delta::default() }, None, out);
            }
            ChatEvent::Refusal(text) if !text.is_empty() => {
                self.turn_to(Open::Said, out);
                self.has_refused = true;
                self.chunk(Delta { refusal: Some(text), ..Delta::default() }, None, out);
            }
            ChatEvent::Text(_) | ChatEvent::Refusal(_) => {}
            ChatEvent::Thinking(more) => self.think(more, out),
            ChatEvent::Signature(proof) => {
                if let Open::Thinking { signature, .. } = &mut self.open {
                    *signature = Some(proof.clone());
                } else {
                    self.turn_to(Open::Thinking { text: String::new(), signature: Some(proof.clone()) }, out);
                }
            }
            ChatEvent::RedactedThinking(data) => {
                self.turn_to(Open::Nothing, out);
                self.block(ThinkingBlock::RedactedThinking { data }, out);
            }
            ChatEvent::ToolCall { id, name } => self.call(id, name, out),
            ChatEvent::Arguments(more) if !more.is_empty() => {
                if let Open::Call { has_arguments } = &mut self.open {
                    *has_arguments = true;
                }
                self.arguments(more, out);
            }
            ChatEvent::Arguments(_) => {}
            ChatEvent::PartEnd => self.turn_to(Open::Nothing, out),
            ChatEvent::Finish(ending) => self.finish(ending, out),
        }
    }

    fn end(&mut self, usage: &TokenUsage, out: &mut BytesMut) {
        if self.frame.include_usage {
            self.record(Vec::new(), UsageField::Told(written_usage(usage)), out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    /// A comment, which may stand anywhere between records.
    fn ping(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(b": ping\n\n");
    }
}
