//! A call whose client and provider speak different shapes: its request and its answer, through the neutral form.

use bytes::{Bytes, BytesMut};

use crate::dialect::{
    AnswerReader, AnswerWriter, Frame, NotOfShape, Target, Untranslatable, Written, chat, messages, responses,
};
use crate::domain::chat::{ChatAnswer, ChatEvent, ChatRequest, Json};
use crate::domain::{Endpoint, ProviderKind, TokenUsage};
use crate::routing::Candidate;

/// Reads a client's request.
pub(super) fn read(
    endpoint: Endpoint,
    body: &[u8],
    anthropic_version: Option<&str>,
) -> Result<ChatRequest, Untranslatable> {
    match endpoint {
        Endpoint::Messages => messages::read_request(body, anthropic_version),
        Endpoint::Responses => responses::read_request(body),
        _ => chat::read_request(body),
    }
}

/// Writes it for a candidate, with the cap on output that a budget depends on.
pub(super) fn write(
    request: &ChatRequest,
    candidate: &Candidate,
    asked_at: Endpoint,
    output_cap: Option<u64>,
) -> Result<Written, Untranslatable> {
    let facts = candidate.facts.as_deref();
    let target = Target {
        model: candidate.deployment.model.as_str(),
        max_output: facts.and_then(|facts| facts.max_output),
        capabilities: facts.map(|facts| facts.capabilities).unwrap_or_default(),
    };
    let capped;
    let request = match output_cap {
        Some(_) => {
            capped = ChatRequest { output_tokens_max: output_cap, ..request.clone() };
            &capped
        }
        None => request,
    };
    match asked_at {
        Endpoint::Messages => messages::write_request(request, &target),
        _ => chat::write_request(request, &target, server(candidate)),
    }
}

fn server(candidate: &Candidate) -> &'static chat::Server {
    let upstream = &candidate.upstream;
    match upstream.kind() {
        ProviderKind::OpenAi => &chat::Server::OPENAI,
        _ => chat::Server::of(upstream.host(), upstream.port(), upstream.name().as_str()),
    }
}

/// How an answer gets from the provider's shape to the client's.
#[derive(Clone, Debug)]
pub(super) struct Translation {
    /// The shape that the provider answers in.
    pub(super) from: Endpoint,
    /// The shape that the client asked in.
    pub(super) to: Endpoint,
    /// The tool whose arguments are the answer.
    pub(super) answer_tool: Option<&'static str>,
    /// What the writer needs to know.
    pub(super) frame: Frame,
}

impl Translation {
    /// A whole answer.
    pub(super) fn whole(&self, body: &[u8], usage: &TokenUsage) -> Result<Bytes, NotOfShape> {
        let answer = read_answer(self.from, body, self.answer_tool)?;
        Ok(write_answer(self.to, &answer, usage, &self.frame).into())
    }

    /// A stream that has not begun.
    pub(super) fn stream(&self) -> Interpreter {
        let reader: Box<dyn AnswerReader> = match self.from {
            Endpoint::Messages => Box::new(messages::Reader::new(self.answer_tool)),
            _ => Box::new(chat::Reader::new()),
        };
        Interpreter { reader, writer: writer(self.to, self.frame.clone()), events: Vec::new() }
    }
}

/// Reads a whole answer of a shape.
pub(super) fn read_answer(shape: Endpoint, body: &[u8], answer_tool: Option<&str>) -> Result<ChatAnswer, NotOfShape> {
    match shape {
        Endpoint::Messages => messages::read_answer(body, answer_tool),
        Endpoint::Responses => responses::read_answer(body),
        _ => chat::read_answer(body),
    }
}

/// Writes a whole answer in a shape.
pub(super) fn write_answer(shape: Endpoint, answer: &ChatAnswer, usage: &TokenUsage, frame: &Frame) -> Vec<u8> {
    match shape {
        Endpoint::Messages => messages::write_answer(answer, usage, frame),
        Endpoint::Responses => responses::write_answer(answer, usage, frame),
        _ => chat::write_answer(answer, usage, frame),
    }
}

/// Writes a stream in a shape.
pub(super) fn writer(shape: Endpoint, frame: Frame) -> Box<dyn AnswerWriter> {
    match shape {
        Endpoint::Messages => Box::new(messages::Writer::new(frame)),
        Endpoint::Responses => Box::new(responses::Writer::new(frame)),
        _ => Box::new(chat::Writer::new(frame)),
    }
}

/// The fields of a request that its answer repeats.
pub(super) fn echo(endpoint: Endpoint, body: &[u8]) -> Vec<(&'static str, Json)> {
    if endpoint == Endpoint::Responses { responses::echo(body) } else { Vec::new() }
}

/// A stream on its way from one shape to the other.
pub(super) struct Interpreter {
    reader: Box<dyn AnswerReader>,
    writer: Box<dyn AnswerWriter>,
    events: Vec<ChatEvent>,
}

impl Interpreter {
    /// Takes a record and appends what it becomes.
    pub(super) fn record(&mut self, record: &[u8], out: &mut BytesMut) -> Result<(), NotOfShape> {
        self.reader.record(record, &mut self.events)?;
        self.tell(out);
        Ok(())
    }

    /// The stream has ended as it should: what it becomes at its end.
    pub(super) fn end(&mut self, usage: &TokenUsage) -> Result<Bytes, NotOfShape> {
        let mut out = BytesMut::new();
        self.reader.end(&mut self.events)?;
        self.tell(&mut out);
        self.writer.end(usage, &mut out);
        Ok(out.freeze())
    }

    /// Appends a sign of life, where one may stand now.
    pub(super) fn ping(&mut self, out: &mut BytesMut) {
        self.writer.ping(out);
    }

    fn tell(&mut self, out: &mut BytesMut) {
        for event in self.events.drain(..) {
            self.writer.event(&event, out);
        }
    }
}
