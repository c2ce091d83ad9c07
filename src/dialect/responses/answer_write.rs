//! Answers of this shape, whole or step by step, as they are written.
//!
//! Text and refusals that follow each other are parts of one message; every thought and every call is an item of its own. An item
//! is closed only when the next one begins or the answer ends, because only then it is known whether the cap cut it.

use bytes::{BufMut as _, BytesMut};
use serde::Serialize;

use super::wire::{
    Carried, Content, Event, Failure, FailureInside, Inner, Inside, Item, ItemStatus, Outer, Place, Response, Said,
    Summary, Usage, Whole,
};
use crate::dialect::{AnswerWriter, Frame};
use crate::domain::TokenUsage;
use crate::domain::chat::{ChatAnswer, ChatEvent, Ending, FinishReason};

/// Writes a whole answer: what its stream would end with.
pub fn write_answer(answer: &ChatAnswer, usage: &TokenUsage, frame: &Frame) -> Vec<u8> {
    let mut writer = Writer::new(frame.clone());
    let mut records = BytesMut::new();
    for event in answer.clone().into_events() {
        writer.event(&event, &mut records);
        records.clear();
    }
    let ended = writer.ended(usage).expect("the events of an answer end with its finish");
    serde_json::to_vec(&ended).expect("texts and numbers always have a JSON form")
}

/// The record that ends a stream that broke: the official form, and in it the object that makes SDKs raise.
///
/// An SDK only hands an event of the type `error` on, and the stream then seems to end as it should; a record with an `error`
/// inside it raises. Clients of either kind find what they look for.
pub fn error_record(code: &str, message: &str, sequence_number: u64) -> Vec<u8> {
    let error = FailureInside { kind: "server_error", code, message, param: () };
    let mut out = BytesMut::new();
    Records { sequence_number }.push(&mut out, "error", &Failure { code, message, param: (), error });
    out.to_vec()
}

/// Writes a stream for a client.
#[derive(Debug)]
pub struct Writer {
    frame: Frame,
    /// The response's id without its prefix: the ids of items are made of it.
    stem: String,
    id: String,
    model: String,
    items: Vec<Item>,
    is_item_open: bool,
    part: Option<OpenPart>,
    ending: Option<Ending>,
    records: Records,
}

/// What the next delta may go on with.
#[derive(Debug, PartialEq, Eq)]
enum OpenPart {
    Text,
    Refusal,
    Thinking { signature: Option<String> },
    Arguments,
}

impl Writer {
    /// A writer of a stream that has not begun.
    pub fn new(frame: Frame) -> Self {
        Self {
            frame,
            stem: String::new(),
            id: String::new(),
            model: String::new(),
            items: Vec::new(),
            is_item_open: false,
            part: None,
            ending: None,
            records: Records { sequence_number: 0 },
        }
    }

    /// The number that the next record has: what [`error_record`] needs where the stream breaks.
    pub fn sequence_number(&self) -> u64 {
        self.records.sequence_number
    }

    fn start(&mut self, id: &str, model: &str, out: &mut BytesMut) {
        let known = ["resp_", "chatcmpl-", "msg_"];
        let stem = known.iter().find_map(|prefix| id.strip_prefix(prefix)).unwrap_or(id);
        self.stem = if stem.is_empty() { self.frame.created.to_string() } else { stem.to_owned() };
        self.id = format!("resp_{}", self.stem);
        model.clone_into(&mut self.model);
        for kind in ["response.created", "response.in_progress"] {
            let response = response(&self.frame, &self.id, &self.model, &[]);
            self.records.push(out, kind, &Whole { response });
        }
    }

    /// The id of the next item.
    fn item_id(&self, prefix: &str) -> String {
        format!("{prefix}_{}_{}", self.stem, self.items.len())
    }

    fn begin_item(&mut self, item: Item, out: &mut BytesMut) {
        self.end_item(ItemStatus::Completed, out);
        let body = Outer { output_index: self.items.len(), item: &item };
        self.records.push(out, "response.output_item.added", &body);
        self.items.push(item);
        self.is_item_open = true;
    }

    fn end_item(&mut self, ended: ItemStatus, out: &mut BytesMut) {
        if !std::mem::take(&mut self.is_item_open) {
            return;
        }
        let output_index = self.items.len() - 1;
        let item = &mut self.items[output_index];
        match item {
            Item::Message { status, .. } | Item::FunctionCall { status, .. } => *status = ended,
            Item::Reasoning { .. } => {}
        }
        self.records.push(out, "response.output_item.done", &Outer { output_index, item });
    }

    /// More of a message.
    fn content(&mut self, kind: OpenPart, more: &str, out: &mut BytesMut) {
        if self.part.as_ref() != Some(&kind) {
            self.end_part(out);
        }
        if more.is_empty() {
            return;
        }
        if self.part.is_none() {
            if !(self.is_item_open && matches!(self.items.last(), Some(Item::Message { .. }))) {
                let (id, status) = (self.item_id("msg"), ItemStatus::InProgress);
                self.begin_item(Item::Message { id, status, role: "assistant", content: Vec::new() }, out);
            }
            self.begin_content(&kind, out);
            self.part = Some(kind);
        }
        let output_index = self.items.len() - 1;
        let Some(Item::Message { id, content, .. }) = self.items.last_mut() else { return };
        let content_index = content.len() - 1;
        let (name, inside) = match content.last_mut() {
            Some(Content::OutputText { text, .. }) => {
                text.push_str(more);
                ("response.output_text.delta", Inside::Text { content_index, logprobs: [] })
            }
            Some(Content::Refusal { refusal }) => {
                refusal.push_str(more);
                ("response.refusal.delta", Inside::Content { content_index })
            }
            None => return,
        };
        let place = Place { item_id: id, output_index, inside };
        self.records.push(out, name, &Inner { place, said: Said::Delta(more) });
    }

    fn begin_content(&mut self, kind: &OpenPart, out: &mut BytesMut) {
        let output_index = self.items.len() - 1;
        let Some(Item::Message { id, content, .. }) = self.items.last_mut() else { return };
        let part = if *kind == OpenPart::Refusal { Content::refusal() } else { Content::text() };
        let place = Place { item_id: id, output_index, inside: Inside::Content { content_index: content.len() } };
        self.records.push(out, "response.content_part.added", &Inner { place, said: Said::Part(&part) });
        content.push(part);
    }

    fn thinking(&mut self, more: &str, out: &mut BytesMut) {
        if !matches!(self.part, Some(OpenPart::Thinking { signature: None })) {
            self.end_part(out);
        }
        if more.is_empty() {
            return;
        }
        if self.part.is_none() {
            self.begin_reasoning(None, out);
            self.part = Some(OpenPart::Thinking { signature: None });
        }
        let output_index = self.items.len() - 1;
        let Some(Item::Reasoning { id, summary, .. }) = self.items.last_mut() else { return };
        let inside = Inside::Summary { summary_index: 0 };
        if summary.is_empty() {
            let part = Summary::SummaryText { text: String::new() };
            let place = Place { item_id: id, output_index, inside };
            let body = Inner { place, said: Said::SummaryPart(&part) };
            self.records.push(out, "response.reasoning_summary_part.added", &body);
            summary.push(part);
        }
        if let Some(Summary::SummaryText { text }) = summary.last_mut() {
            text.push_str(more);
        }
        let place = Place { item_id: id, output_index, inside };
        self.records.push(out, "response.reasoning_summary_text.delta", &Inner { place, said: Said::Delta(more) });
    }

    fn signature(&mut self, proof: &str, out: &mut BytesMut) {
        if !matches!(self.part, Some(OpenPart::Thinking { .. })) {
            self.end_part(out);
            // Without a thought there is nothing that an empty signature could say.
            if proof.is_empty() {
                return;
            }
            self.begin_reasoning(None, out);
        }
        self.part = Some(OpenPart::Thinking { signature: Some(proof.to_owned()) });
    }

    fn begin_reasoning(&mut self, carried: Option<&Carried>, out: &mut BytesMut) {
        let encrypted_content = carried.map(Carried::pack);
        self.begin_item(Item::Reasoning { id: self.item_id("rs"), summary: Vec::new(), encrypted_content }, out);
    }

    fn call(&mut self, call_id: &str, name: &str, out: &mut BytesMut) {
        let call = Item::FunctionCall {
            id: self.item_id("fc"),
            status: ItemStatus::InProgress,
            call_id: call_id.to_owned(),
            name: name.to_owned(),
            arguments: String::new(),
        };
        self.begin_item(call, out);
        self.part = Some(OpenPart::Arguments);
    }

    fn arguments(&mut self, more: &str, out: &mut BytesMut) {
        if self.part != Some(OpenPart::Arguments) || more.is_empty() {
            return;
        }
        let output_index = self.items.len() - 1;
        let Some(Item::FunctionCall { id, arguments, .. }) = self.items.last_mut() else { return };
        arguments.push_str(more);
        let place = Place { item_id: id, output_index, inside: Inside::Call {} };
        self.records.push(out, "response.function_call_arguments.delta", &Inner { place, said: Said::Delta(more) });
    }

    fn end_part(&mut self, out: &mut BytesMut) {
        // Clients parse arguments without a look at whether there are any.
        if let (Some(OpenPart::Arguments), Some(Item::FunctionCall { arguments, .. })) = (&self.part, self.items.last())
            && arguments.is_empty()
        {
            self.arguments("{}", out);
        }
        let Some(part) = self.part.take() else { return };
        let output_index = self.items.len() - 1;
        let Some(item) = self.items.last_mut() else { return };
        if let (OpenPart::Thinking { signature: Some(proof) }, Item::Reasoning { encrypted_content, .. }) =
            (part, &mut *item)
            && !proof.is_empty()
        {
            *encrypted_content = Some(Carried::Signature(proof).pack());
        }
        let mut tell = |name: &str, inside: Inside<'_>, said: Said<'_>| {
            let place = Place { item_id: item.id(), output_index, inside };
            self.records.push(out, name, &Inner { place, said });
        };
        match &*item {
            Item::Message { content, .. } => {
                let content_index = content.len().saturating_sub(1);
                let Some(part) = content.last() else { return };
                let inside = Inside::Content { content_index };
                match part {
                    Content::OutputText { text, .. } => {
                        let inside = Inside::Text { content_index, logprobs: [] };
                        tell("response.output_text.done", inside, Said::Text(text));
                    }
                    Content::Refusal { refusal } => tell("response.refusal.done", inside, Said::Refusal(refusal)),
                }
                tell("response.content_part.done", inside, Said::Part(part));
            }
            Item::Reasoning { summary, .. } => {
                let Some(part @ Summary::SummaryText { text }) = summary.last() else { return };
                let inside = Inside::Summary { summary_index: 0 };
                tell("response.reasoning_summary_text.done", inside, Said::Text(text));
                tell("response.reasoning_summary_part.done", inside, Said::SummaryPart(part));
            }
            Item::FunctionCall { name, arguments, .. } => {
                let said = Said::Arguments(arguments);
                tell("response.function_call_arguments.done", Inside::Arguments { name }, said);
            }
        }
    }

    fn finish(&mut self, ending: &Ending, out: &mut BytesMut) {
        self.end_part(out);
        let explanation = ending.explanation.as_deref().filter(|_| ending.reason == FinishReason::Refusal);
        if let (Some(explanation), false) = (explanation, self.has_refusal()) {
            self.content(OpenPart::Refusal, explanation, out);
            self.end_part(out);
        }
        let is_cut = ending.reason == FinishReason::Length;
        self.end_item(if is_cut { ItemStatus::Incomplete } else { ItemStatus::Completed }, out);
        self.ending = Some(ending.clone());
    }

    fn has_refusal(&self) -> bool {
        let is_refusal = |part: &Content| matches!(part, Content::Refusal { .. });
        self.items.iter().any(|item| matches!(item, Item::Message { content, .. } if content.iter().any(is_refusal)))
    }

    /// The response as it is in the end; none before the finish.
    fn ended(&self, usage: &TokenUsage) -> Option<Response<'_>> {
        let ending = self.ending.as_ref()?;
        let incomplete_reason = match ending.reason {
            FinishReason::Stop | FinishReason::StopSequence | FinishReason::ToolCalls => None,
            FinishReason::Length => Some("max_output_tokens"),
            // A refusal in the model's own words is an answer; an explanation beside the answer only says what stopped it.
            FinishReason::Refusal if ending.explanation.is_none() && self.has_refusal() => None,
            FinishReason::Refusal => Some("content_filter"),
        };
        Some(Response {
            status: if incomplete_reason.is_some() { "incomplete" } else { "completed" },
            incomplete_reason,
            usage: Some(Usage::from(usage)),
            ..response(&self.frame, &self.id, &self.model, &self.items)
        })
    }
}

/// The response while it is on its way.
fn response<'a>(frame: &'a Frame, id: &'a str, model: &'a str, output: &'a [Item]) -> Response<'a> {
    Response {
        id,
        model,
        created_at: frame.created,
        status: "in_progress",
        incomplete_reason: None,
        output,
        usage: None,
        echo: &frame.echo,
    }
}

impl AnswerWriter for Writer {
    fn event(&mut self, event: &ChatEvent, out: &mut BytesMut) {
        match event {
            ChatEvent::Start { id, model } => self.start(id, model, out),
            ChatEvent::Text(more) => self.content(OpenPart::Text, more, out),
            ChatEvent::Refusal(more) => self.content(OpenPart::Refusal, more, out),
            ChatEvent::Thinking(more) => self.thinking(more, out),
            ChatEvent::Signature(proof) => self.signature(proof, out),
            ChatEvent::RedactedThinking(data) => {
                self.end_part(out);
                self.begin_reasoning(Some(&Carried::Redacted(data.clone())), out);
            }
            ChatEvent::ToolCall { id, name } => {
                self.end_part(out);
                self.call(id, name, out);
            }
            ChatEvent::Arguments(more) => self.arguments(more, out),
            ChatEvent::PartEnd => self.end_part(out),
            ChatEvent::Finish(ending) => self.finish(ending, out),
        }
    }

    fn end(&mut self, usage: &TokenUsage, out: &mut BytesMut) {
        let mut records = std::mem::take(&mut self.records);
        if let Some(response) = self.ended(usage) {
            let kind = if response.incomplete_reason.is_some() { "response.incomplete" } else { "response.completed" };
            records.push(out, kind, &Whole { response });
        }
        self.records = records;
    }

    fn ping(&mut self, out: &mut BytesMut) {
        out.put_slice(b": ping\n\n");
    }
}

/// The records of a stream, numbered.
#[derive(Debug, Default)]
struct Records {
    sequence_number: u64,
}

impl Records {
    fn push(&mut self, out: &mut BytesMut, kind: &str, body: &impl Serialize) {
        let event = Event { kind, sequence_number: self.sequence_number, body };
        self.sequence_number += 1;
        out.put_slice(b"event: ");
        out.put_slice(kind.as_bytes());
        out.put_slice(b"\ndata: ");
        serde_json::to_writer(out.writer(), &event).expect("texts and numbers always have a JSON form");
        out.put_slice(b"\n\n");
    }
}

#[cfg(test)]
mod tests;
