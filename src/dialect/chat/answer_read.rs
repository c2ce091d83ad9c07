//! Reads answers of a provider that speaks chat completions: whole ones, and streams.
//!
//! A whole message is read as if it were the one delta of a stream, so both are lenient in the same way. Parts are told one at a time: what
//! comes for a call while another is still incomplete waits in line, and nothing is lost by it.

use std::collections::VecDeque;

use serde_json::value::RawValue;

use crate::dialect::sse::fields;
use crate::dialect::{AnswerReader, NotOfShape};
use crate::domain::chat::{ChatAnswer, ChatEvent, Ending, FinishReason};

use super::wire::{AnswerRead, CallRead, ChoiceRead, FunctionRead, PartRead, SaidRead, count, object, objects, text};

/// Reads a whole answer.
pub fn read_answer(body: &[u8]) -> Result<ChatAnswer, NotOfShape> {
    let answer: AnswerRead<'_> = serde_json::from_slice(body).map_err(|_| not("the answer is not a JSON object"))?;
    let choice = first_choice(&answer).ok_or_else(|| not("the answer has no choices"))?;
    let said = object(choice.message).ok_or_else(|| not("the answer's choice has no message"))?;
    let mut reader = Reader::new();
    let mut events = Vec::new();
    reader.start(&answer, &mut events);
    reader.said(&said, &mut events)?;
    // A whole answer has ended, whether it says why or not.
    reader.ends(&choice);
    reader.finish.get_or_insert_default();
    reader.end(&mut events)?;
    ChatAnswer::from_events(events).ok_or_else(|| not("the answer has no end"))
}

fn not(what: &str) -> NotOfShape {
    NotOfShape(what.to_owned())
}

/// The choice that counts: others are asked for by clients of this shape alone.
fn first_choice<'a>(answer: &AnswerRead<'a>) -> Option<ChoiceRead<'a>> {
    objects(answer.choices).into_iter().find(|choice: &ChoiceRead<'a>| count(choice.index).unwrap_or(0) == 0)
}

/// Reads a provider's stream.
#[derive(Debug, Default)]
pub struct Reader {
    has_begun: bool,
    /// Every call so far, to know what a delta belongs to.
    calls: Vec<CallKey>,
    /// The open part and those that wait behind it.
    line: VecDeque<Part>,
    has_refused: bool,
    finish: Option<String>,
    stop_sequence: Option<String>,
}

/// By what the deltas of a call name it.
#[derive(Debug)]
struct CallKey {
    index: Option<u64>,
    id: String,
    is_function_call: bool,
}

/// A part of which not everything has been told.
#[derive(Debug)]
struct Part {
    kind: Kind,
    /// What is to be told of it.
    waiting: Vec<ChatEvent>,
}

#[derive(Debug)]
enum Kind {
    Text,
    Refusal,
    Thinking {
        /// All of its text: a block with the signature repeats it.
        text: String,
        is_signed: bool,
    },
    Redacted,
    Call {
        /// Its place in [`Reader::calls`].
        number: usize,
        /// Before its name it can't be told.
        has_name: bool,
        arguments: ObjectEnd,
    },
}

/// Finds where a JSON object ends whose text comes in pieces.
#[derive(Debug, Default)]
struct ObjectEnd {
    depth: u32,
    is_text: bool,
    is_escaped: bool,
    is_complete: bool,
}

impl ObjectEnd {
    fn push(&mut self, more: &str) {
        for byte in more.bytes() {
            match (self.is_text, byte) {
                (true, _) if self.is_escaped => self.is_escaped = false,
                (true, b'\\') => self.is_escaped = true,
                (_, b'"') => self.is_text = !self.is_text,
                (false, b'{' | b'[') => self.depth = self.depth.saturating_add(1),
                (false, b'}' | b']') => {
                    self.depth = self.depth.saturating_sub(1);
                    self.is_complete |= self.depth == 0;
                }
                _ => {}
            }
        }
    }
}

impl Part {
    /// Whether another part may begin while this one is open: a call may not be left before its arguments are whole.
    fn may_end(&self) -> bool {
        match &self.kind {
            Kind::Call { arguments, .. } => arguments.is_complete,
            Kind::Text | Kind::Refusal | Kind::Thinking { .. } | Kind::Redacted => true,
        }
    }

    fn can_be_told(&self) -> bool {
        !matches!(self.kind, Kind::Call { has_name: false, .. })
    }
}

impl Reader {
    /// A reader of a stream that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    fn start(&mut self, answer: &AnswerRead<'_>, events: &mut Vec<ChatEvent>) {
        if !self.has_begun {
            self.has_begun = true;
            let (id, model) = (text(answer.id).unwrap_or_default(), text(answer.model).unwrap_or_default());
            events.push(ChatEvent::Start { id, model });
        }
    }

    /// Notes how the answer ended; the first word counts.
    fn ends(&mut self, choice: &ChoiceRead<'_>) {
        if self.finish.is_none() {
            self.finish = text(choice.finish_reason).filter(|word| !word.is_empty());
        }
        // vLLM has the number of a token here where no text ended it.
        self.stop_sequence = text(choice.stop_reason).or(self.stop_sequence.take());
    }

    fn said(&mut self, said: &SaidRead<'_>, events: &mut Vec<ChatEvent>) -> Result<(), NotOfShape> {
        let blocks: Vec<PartRead<'_>> = objects(said.thinking_blocks);
        if blocks.is_empty() {
            let named = |raw| text(raw).filter(|text| !text.is_empty());
            if let Some(thought) = named(said.reasoning_content).or_else(|| named(said.reasoning)) {
                self.think(thought);
            }
        }
        for block in &blocks {
            self.block(block);
        }
        self.content(said.content);
        if let Some(refusal) = text(said.refusal).filter(|text| !text.is_empty()) {
            self.refuse(refusal);
        }
        for call in objects::<CallRead<'_>>(said.tool_calls) {
            self.call(&call)?;
        }
        if let Some(function) = object::<FunctionRead<'_>>(said.function_call) {
            self.function_call(&function)?;
        }
        self.tell(events);
        Ok(())
    }

    /// Content is a text; Mistral's reasoning models send a list of parts.
    fn content(&mut self, content: Option<&RawValue>) {
        if let Some(said) = text(content) {
            self.say(said);
            return;
        }
        for part in objects::<PartRead<'_>>(content) {
            match text(part.kind).as_deref() {
                Some("thinking") => {
                    let inner = objects::<PartRead<'_>>(part.thinking).into_iter().filter_map(|part| text(part.text));
                    let thought = text(part.thinking).unwrap_or_else(|| inner.collect());
                    if !thought.is_empty() {
                        self.think(thought);
                    }
                }
                Some("refusal") => self.refuse(text(part.refusal).unwrap_or_default()),
                _ => self.say(text(part.text).unwrap_or_default()),
            }
        }
    }

    fn say(&mut self, more: String) {
        if more.is_empty() {
            return;
        }
        if !matches!(self.line.back(), Some(Part { kind: Kind::Text, .. })) {
            self.line.push_back(Part { kind: Kind::Text, waiting: Vec::new() });
        }
        self.wait(ChatEvent::Text(more));
    }

    fn refuse(&mut self, more: String) {
        self.has_refused = true;
        if !matches!(self.line.back(), Some(Part { kind: Kind::Refusal, .. })) {
            self.line.push_back(Part { kind: Kind::Refusal, waiting: Vec::new() });
        }
        self.wait(ChatEvent::Refusal(more));
    }

    fn think(&mut self, more: String) {
        self.thinking().push_str(&more);
        self.wait(ChatEvent::Thinking(more));
    }

    /// The text of the open thinking; signed thinking is whole, so that more begins anew.
    fn thinking(&mut self) -> &mut String {
        let is_open = matches!(self.line.back(), Some(Part { kind: Kind::Thinking { is_signed: false, .. }, .. }));
        if !is_open {
            let kind = Kind::Thinking { text: String::new(), is_signed: false };
            self.line.push_back(Part { kind, waiting: Vec::new() });
        }
        match self.line.back_mut().map(|part| &mut part.kind) {
            Some(Kind::Thinking { text, .. }) => text,
            _ => unreachable!("the last part in line is thinking: it was made so above"),
        }
    }

    /// A block of thinking: more of it, or a repetition of all of it with its signature.
    fn block(&mut self, block: &PartRead<'_>) {
        if text(block.kind).as_deref() == Some("redacted_thinking") {
            let data = text(block.data).unwrap_or_default();
            self.line.push_back(Part { kind: Kind::Redacted, waiting: vec![ChatEvent::RedactedThinking(data)] });
            return;
        }
        let thought = text(block.thinking).unwrap_or_default();
        let signature = text(block.signature).filter(|proof| !proof.is_empty());
        let is_repetition = signature.is_some() && *self.thinking() == thought;
        if !is_repetition && !thought.is_empty() {
            self.think(thought);
        }
        if let Some(proof) = signature {
            self.wait(ChatEvent::Signature(proof));
            if let Some(Part { kind: Kind::Thinking { is_signed, .. }, .. }) = self.line.back_mut() {
                *is_signed = true;
            }
        }
    }

    fn wait(&mut self, event: ChatEvent) {
        if let Some(part) = self.line.back_mut() {
            part.waiting.push(event);
        }
    }

    fn call(&mut self, call: &CallRead<'_>) -> Result<(), NotOfShape> {
        let (index, id) = (count(call.index), text(call.id).filter(|id| !id.is_empty()));
        let function = object::<FunctionRead<'_>>(call.function);
        let name = function.as_ref().and_then(|function| text(function.name)).filter(|name| !name.is_empty());
        let number = match self.known_call(index, id.as_deref(), name.is_some()) {
            Some(number) => number,
            None => self.new_call(index, id, false),
        };
        self.add(number, name, function.and_then(|function| function.arguments))
    }

    /// The call that a delta goes on with; none where it begins one.
    ///
    /// An id decides where it is there: servers that number all calls alike, or none, tell a new one by it. But older vLLM made up a new id
    /// for every delta; only the first of a call has its name.
    fn known_call(&self, index: Option<u64>, id: Option<&str>, has_name: bool) -> Option<usize> {
        let find = |is_it: &dyn Fn(&CallKey) -> bool| self.calls.iter().rposition(is_it);
        let at_index = || if index.is_some() { find(&|call| call.index == index) } else { None };
        let last = || self.calls.len().checked_sub(1);
        match id {
            Some(id) => {
                let same = find(&|call| call.id == id && (index.is_none() || call.index == index));
                same.or_else(|| if has_name { None } else { at_index() })
            }
            None if index.is_some() => at_index(),
            None if has_name => None,
            None => last(),
        }
    }

    fn new_call(&mut self, index: Option<u64>, id: Option<String>, is_function_call: bool) -> usize {
        let number = self.calls.len();
        let id = id.unwrap_or_else(|| format!("call_{number}"));
        self.calls.push(CallKey { index, id, is_function_call });
        let kind = Kind::Call { number, has_name: false, arguments: ObjectEnd::default() };
        self.line.push_back(Part { kind, waiting: Vec::new() });
        number
    }

    /// The older field has one call only, without an id.
    fn function_call(&mut self, function: &FunctionRead<'_>) -> Result<(), NotOfShape> {
        let known = self.calls.iter().position(|call| call.is_function_call);
        let number = known.unwrap_or_else(|| self.new_call(None, None, true));
        self.add(number, text(function.name).filter(|name| !name.is_empty()), function.arguments)
    }

    fn add(&mut self, number: usize, name: Option<String>, raw: Option<&RawValue>) -> Result<(), NotOfShape> {
        // Some servers send the object itself in place of its text.
        let object = || raw.map(RawValue::get).filter(|json| json.starts_with('{')).map(str::to_owned);
        let more = text(raw).or_else(object).filter(|more| !more.is_empty());
        let is_it = |part: &&mut Part| matches!(&part.kind, Kind::Call { number: its, .. } if *its == number);
        let Some(part) = self.line.iter_mut().find(is_it) else {
            // The call was told to its end, and its arguments were whole.
            return match more {
                Some(more) if !more.trim_ascii().is_empty() => {
                    Err(not("the stream goes on with a tool call that was complete"))
                }
                _ => Ok(()),
            };
        };
        let Kind::Call { has_name, arguments, .. } = &mut part.kind else { return Ok(()) };
        if let Some(name) = name.filter(|_| !*has_name) {
            *has_name = true;
            // Arguments may have come before the name.
            part.waiting.insert(0, ChatEvent::ToolCall { id: self.calls[number].id.clone(), name });
        }
        if let Some(more) = more {
            arguments.push(&more);
            part.waiting.push(ChatEvent::Arguments(more));
        }
        Ok(())
    }

    /// Tells what can be told: the first in line, and those behind it as soon as it may end.
    fn tell(&mut self, events: &mut Vec<ChatEvent>) {
        while let Some(part) = self.line.front_mut().filter(|part| part.can_be_told()) {
            events.append(&mut part.waiting);
            if self.line.len() == 1 || !self.line.front().is_some_and(Part::may_end) {
                return;
            }
            events.push(ChatEvent::PartEnd);
            self.line.pop_front();
        }
    }

    fn ending(&mut self, word: &str) -> Ending {
        let has_calls = !self.calls.is_empty();
        let stop_sequence = self.stop_sequence.take();
        let reason = match word {
            "length" => FinishReason::Length,
            "content_filter" => FinishReason::Refusal,
            _ if self.has_refused => FinishReason::Refusal,
            // Also where a server says "stop" after calls, or "tool_calls" without any.
            _ if has_calls => FinishReason::ToolCalls,
            _ if stop_sequence.is_some() => FinishReason::StopSequence,
            _ => FinishReason::Stop,
        };
        let stop_sequence = stop_sequence.filter(|_| reason == FinishReason::StopSequence);
        Ending { reason, stop_sequence, explanation: None }
    }
}

impl AnswerReader for Reader {
    fn record(&mut self, record: &[u8], events: &mut Vec<ChatEvent>) -> Result<(), NotOfShape> {
        let fields = fields(record);
        let data = fields.data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        let answer: AnswerRead<'_> =
            serde_json::from_slice(data).map_err(|_| not("a record of the stream is not a JSON object"))?;
        // Azure begins with a record without choices, id or model; usage comes in one without choices too.
        let Some(choice) = first_choice(&answer) else { return Ok(()) };
        self.start(&answer, events);
        if let Some(said) = object::<SaidRead<'_>>(choice.delta).or_else(|| object(choice.message)) {
            self.said(&said, events)?;
        }
        self.ends(&choice);
        Ok(())
    }

    fn end(&mut self, events: &mut Vec<ChatEvent>) -> Result<(), NotOfShape> {
        let Some(word) = self.finish.take() else {
            return Err(not("the stream ended without a finish_reason"));
        };
        for part in std::mem::take(&mut self.line) {
            if !part.can_be_told() {
                return Err(not("a tool call has no name"));
            }
            events.extend(part.waiting);
            events.push(ChatEvent::PartEnd);
        }
        let ending = self.ending(&word);
        events.push(ChatEvent::Finish(ending));
        Ok(())
    }
}
