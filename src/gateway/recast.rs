//! A kept answer in the form that is asked for: a stream of what came whole, and whole what came as a stream.

use bytes::{Bytes, BytesMut};

use crate::cache::{Entry, Form};
use crate::dialect::sse::RecordSplitter;
use crate::dialect::{AnswerReader, Frame, chat, messages, responses};
use crate::domain::Endpoint;
use crate::domain::chat::{ChatAnswer, ChatEvent};

use super::translation::{echo, read, read_answer, write_answer, writer};

/// The form that a client asks for.
pub(super) struct Wanted<'a> {
    /// A stream.
    pub(super) stream: bool,
    /// With its usage at the end, where that has to be asked for.
    pub(super) usage: bool,
    /// The request.
    pub(super) request: &'a [u8],
    /// Its `anthropic-version`.
    pub(super) version: Option<&'a str>,
}

/// The answer as asked for: the very bytes that were kept where the form is the same. Nothing where it can't be told in the other
/// form without losing something.
pub(super) fn recast(entry: &Entry, wanted: &Wanted<'_>) -> Option<Bytes> {
    let facts = &entry.facts;
    match facts.form {
        Form::Whole if !wanted.stream => return Some(facts.body.clone()),
        Form::Stream { usage } if wanted.stream && usage == wanted.usage => return Some(facts.body.clone()),
        Form::Stream { .. } if facts.endpoint == Endpoint::Responses && !wanted.stream => {
            return responses::answer_of_stream(&facts.body).map(Bytes::from);
        }
        _ => {}
    }
    if !facts.endpoint.is_conversation() {
        return None;
    }
    // What the neutral form has no word for could be in the answer too: such a request is asked anew.
    read(facts.endpoint, wanted.request, wanted.version).ok()?;
    let answer = match facts.form {
        Form::Whole => read_answer(facts.endpoint, &facts.body, None).ok()?,
        Form::Stream { .. } => read_stream(facts.endpoint, &facts.body)?,
    };
    let frame = Frame {
        created: entry.stored_at.as_second(),
        include_usage: wanted.usage,
        echo: echo(facts.endpoint, wanted.request),
    };
    if !wanted.stream {
        return Some(write_answer(facts.endpoint, &answer, &facts.usage, &frame).into());
    }
    let mut writer = writer(facts.endpoint, frame);
    let mut out = BytesMut::with_capacity(facts.body.len() * 2);
    for event in answer.into_events() {
        writer.event(&event, &mut out);
    }
    writer.end(&facts.usage, &mut out);
    Some(out.freeze())
}

fn read_stream(endpoint: Endpoint, records: &Bytes) -> Option<ChatAnswer> {
    let mut reader: Box<dyn AnswerReader> = match endpoint {
        Endpoint::Messages => Box::new(messages::Reader::new(None)),
        Endpoint::ChatCompletions => Box::new(chat::Reader::new()),
        _ => return None,
    };
    let mut splitter = RecordSplitter::default();
    let mut events: Vec<ChatEvent> = Vec::new();
    splitter.push(records);
    while let Some(record) = splitter.next_record().ok()? {
        reader.record(&record, &mut events).ok()?;
    }
    reader.end(&mut events).ok()?;
    ChatAnswer::from_events(events)
}
