//! The named events of a streamed response, in OpenAI's order.

use bytes::Bytes;
use serde_json::{Value, json};

use super::plan::CallSaid;
use super::reply::{Frames, Reply};
use super::responses::{Answered, Item, ItemContent, call_words, summary_part, text_part};
use super::tokens::pieces;

/// Streams an answer.
pub(super) fn stream(answered: &Answered) -> Reply {
    let mut events = Events::default();
    for name in ["response.created", "response.in_progress"] {
        events.push(name, &json!({"response": answered.response(false)}));
    }
    for (index, item) in answered.items.iter().enumerate() {
        events.push("response.output_item.added", &json!({"output_index": index, "item": item.value(false)}));
        events.content(index, item);
        events.push("response.output_item.done", &json!({"output_index": index, "item": item.value(true)}));
    }
    let error = events.record(
        "error",
        &json!({
            "code": "server_error",
            "message": "The server had an error while processing your request. Sorry about that!",
            "param": null,
        }),
    );
    let last = format!("response.{}", answered.status());
    events.push(&last, &json!({"response": answered.response(true)}));
    Reply::Stream(Frames { records: events.records, ending: 1, error })
}

#[derive(Default)]
struct Events {
    records: Vec<Bytes>,
}

impl Events {
    fn push(&mut self, name: &str, body: &Value) {
        let record = self.record(name, body);
        self.records.push(record);
    }

    /// The type and the number come first, as a reader's eye expects; the rest follows from `body`, which is never empty.
    fn record(&self, name: &str, body: &Value) -> Bytes {
        let body = body.to_string();
        let number = self.records.len();
        let rest = body.strip_prefix('{').unwrap_or(&body);
        format!("event: {name}\ndata: {{\"type\":\"{name}\",\"sequence_number\":{number},{rest}\n\n").into()
    }

    fn content(&mut self, index: usize, item: &Item) {
        match &item.content {
            ItemContent::Reasoning { summary: Some(text), .. } => self.summary(index, &item.id, text),
            ItemContent::Reasoning { summary: None, .. } => {}
            ItemContent::Message { text } => self.message(index, &item.id, text),
            ItemContent::Call { call } => self.call(index, &item.id, call),
        }
    }

    fn summary(&mut self, index: usize, id: &str, text: &str) {
        let at = |name: &str, value: Value| {
            let mut body = json!({"item_id": id, "output_index": index, "summary_index": 0});
            body[name] = value;
            body
        };
        self.push("response.reasoning_summary_part.added", &at("part", summary_part("")));
        for piece in pieces(text) {
            self.push("response.reasoning_summary_text.delta", &at("delta", json!(piece)));
        }
        self.push("response.reasoning_summary_text.done", &at("text", json!(text)));
        self.push("response.reasoning_summary_part.done", &at("part", summary_part(text)));
    }

    fn message(&mut self, index: usize, id: &str, text: &str) {
        let at = |name: &str, value: Value| {
            let mut body = json!({"item_id": id, "output_index": index, "content_index": 0});
            body[name] = value;
            if name != "part" {
                body["logprobs"] = json!([]);
            }
            body
        };
        self.push("response.content_part.added", &at("part", text_part("")));
        for piece in pieces(text) {
            self.push("response.output_text.delta", &at("delta", json!(piece)));
        }
        self.push("response.output_text.done", &at("text", json!(text)));
        self.push("response.content_part.done", &at("part", text_part(text)));
    }

    fn call(&mut self, index: usize, id: &str, call: &CallSaid) {
        let (_, field) = call_words(call);
        let event =
            if call.is_free_text { "response.custom_tool_call_input" } else { "response.function_call_arguments" };
        for piece in pieces(&call.arguments) {
            let body = json!({"item_id": id, "output_index": index, "delta": piece});
            self.push(&format!("{event}.delta"), &body);
        }
        let body = json!({"item_id": id, "output_index": index, "name": call.name, field: call.arguments});
        self.push(&format!("{event}.done"), &body);
    }
}
