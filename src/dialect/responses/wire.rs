//! The serde types of answers: items as they are written, items as they are read, events, and the response around them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::domain::TokenUsage;
use crate::domain::chat::Json;

/// The fields of a request that an answer repeats, each with what stands there when the request said nothing.
pub(super) const ECHOED: [(&str, &str); 16] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("prompt_cache_key", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("safety_identifier", "null"),
    ("store", "false"),
    ("temperature", "null"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "null"),
    ("truncation", "\"disabled\""),
    ("user", "null"),
];

/// An item of the output, as far as it has come.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item {
    Reasoning {
        id: String,
        summary: Vec<Summary>,
        #[serde(skip_serializing_if = "Option::is_none")]
        encrypted_content: Option<String>,
    },
    Message {
        id: String,
        status: ItemStatus,
        role: &'static str,
        content: Vec<Content>,
    },
    FunctionCall {
        id: String,
        status: ItemStatus,
        call_id: String,
        name: String,
        arguments: String,
    },
}

impl Item {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Reasoning { id, .. } | Self::Message { id, .. } | Self::FunctionCall { id, .. } => id,
        }
    }
}

/// Where an item stands.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ItemStatus {
    InProgress,
    Completed,
    Incomplete,
}

/// A part of a summary of reasoning.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Summary {
    SummaryText { text: String },
}

/// A part of a message.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Content {
    OutputText { text: String, annotations: Empty, logprobs: Empty },
    Refusal { refusal: String },
}

impl Content {
    pub(super) fn text() -> Self {
        Self::OutputText { text: String::new(), annotations: [], logprobs: [] }
    }

    pub(super) fn refusal() -> Self {
        Self::Refusal { refusal: String::new() }
    }
}

/// A list that is always empty here.
pub(super) type Empty = [(); 0];

/// What `encrypted_content` carries for a provider that signs its thinking, so that the client can hand it back.
///
/// It is base64 of a small JSON object; anything else in that field is another service's and can't be used.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Carried {
    /// Proof that the summary is the provider's own.
    Signature(String),
    /// Thinking that only the provider can read.
    Redacted(String),
}

impl Carried {
    pub(super) fn pack(&self) -> String {
        STANDARD.encode(serde_json::to_vec(self).expect("a text always has a JSON form"))
    }

    pub(super) fn unpack(encrypted_content: &str) -> Option<Self> {
        serde_json::from_slice(&STANDARD.decode(encrypted_content).ok()?).ok()
    }
}

/// Where in the output an event happens.
#[derive(Serialize)]
pub(super) struct Place<'a> {
    pub(super) item_id: &'a str,
    pub(super) output_index: usize,
    #[serde(flatten)]
    pub(super) inside: Inside<'a>,
}

/// Where in an item.
#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
pub(super) enum Inside<'a> {
    Text {
        content_index: usize,
        logprobs: Empty,
    },
    Content {
        content_index: usize,
    },
    Summary {
        summary_index: usize,
    },
    /// Older clients want the tool's name with the whole arguments.
    Arguments {
        name: &'a str,
    },
    Call {},
}

/// What an event says of its place.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said<'a> {
    Delta(&'a str),
    Text(&'a str),
    Refusal(&'a str),
    Arguments(&'a str),
    Part(&'a Content),
    #[serde(rename = "part")]
    SummaryPart(&'a Summary),
}

/// What happens inside an item.
#[derive(Serialize)]
pub(super) struct Inner<'a> {
    #[serde(flatten)]
    pub(super) place: Place<'a>,
    #[serde(flatten)]
    pub(super) said: Said<'a>,
}

/// What happens to an item.
#[derive(Serialize)]
pub(super) struct Outer<'a> {
    pub(super) output_index: usize,
    pub(super) item: &'a Item,
}

/// What happens to the response.
#[derive(Serialize)]
pub(super) struct Whole<'a> {
    pub(super) response: Response<'a>,
}

/// An event of a stream.
#[derive(Serialize)]
pub(super) struct Event<'a, T> {
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    pub(super) sequence_number: u64,
    #[serde(flatten)]
    pub(super) body: T,
}

/// The response around the items.
pub(super) struct Response<'a> {
    pub(super) id: &'a str,
    pub(super) model: &'a str,
    pub(super) created_at: i64,
    pub(super) status: &'static str,
    pub(super) incomplete_reason: Option<&'static str>,
    pub(super) output: &'a [Item],
    pub(super) usage: Option<Usage>,
    pub(super) echo: &'a [(&'static str, Json)],
}

#[derive(Serialize)]
struct IncompleteDetails {
    reason: &'static str,
}

impl Serialize for Response<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", self.id)?;
        map.serialize_entry("object", "response")?;
        map.serialize_entry("created_at", &self.created_at)?;
        map.serialize_entry("status", self.status)?;
        map.serialize_entry("background", &false)?;
        map.serialize_entry("error", &())?;
        map.serialize_entry("incomplete_details", &self.incomplete_reason.map(|reason| IncompleteDetails { reason }))?;
        map.serialize_entry("model", self.model)?;
        map.serialize_entry("output", self.output)?;
        map.serialize_entry("previous_response_id", &())?;
        for (name, default) in ECHOED {
            if let Some((_, value)) = self.echo.iter().find(|(echoed, _)| *echoed == name) {
                map.serialize_entry(name, value)?;
            } else {
                let value: &RawValue = serde_json::from_str(default).expect("the defaults are JSON");
                map.serialize_entry(name, value)?;
            }
        }
        map.serialize_entry("usage", &self.usage)?;
        map.end()
    }
}

/// Usage in the words of this shape: the details are breakdowns of the totals.
#[derive(Serialize)]
pub(super) struct Usage {
    input_tokens: u64,
    input_tokens_details: InputDetails,
    output_tokens: u64,
    output_tokens_details: OutputDetails,
    total_tokens: u64,
}

#[derive(Serialize)]
struct InputDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Serialize)]
struct OutputDetails {
    reasoning_tokens: u64,
}

impl From<&TokenUsage> for Usage {
    fn from(usage: &TokenUsage) -> Self {
        Self {
            input_tokens: usage.total_input(),
            input_tokens_details: InputDetails {
                cached_tokens: usage.cache_read,
                cache_write_tokens: usage.cache_write(),
            },
            output_tokens: usage.total_output(),
            output_tokens_details: OutputDetails { reasoning_tokens: usage.reasoning },
            total_tokens: usage.total_input() + usage.total_output(),
        }
    }
}

/// The record that ends a broken stream.
#[derive(Serialize)]
pub(super) struct Failure<'a> {
    pub(super) code: &'a str,
    pub(super) message: &'a str,
    pub(super) param: (),
    pub(super) error: FailureInside<'a>,
}

/// The same once more, in the place where SDKs look for what they raise.
#[derive(Serialize)]
pub(super) struct FailureInside<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) code: &'a str,
    pub(super) message: &'a str,
    pub(super) param: (),
}

/// A response as it is read.
#[derive(Deserialize)]
pub(super) struct ResponseRead {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) status: String,
    pub(super) incomplete_details: Option<IncompleteRead>,
    pub(super) output: Vec<ItemRead>,
}

#[derive(Deserialize)]
pub(super) struct IncompleteRead {
    pub(super) reason: Option<String>,
}

/// An item as it is read; a kind that isn't here makes the response one that can't be held.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ItemRead {
    Reasoning {
        #[serde(default)]
        summary: Vec<TextRead>,
        content: Option<Vec<TextRead>>,
        encrypted_content: Option<String>,
    },
    Message {
        content: Vec<ContentRead>,
    },
    FunctionCall {
        call_id: String,
        name: String,
        arguments: String,
    },
}

#[derive(Deserialize)]
pub(super) struct TextRead {
    pub(super) text: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ContentRead {
    OutputText {
        text: String,
        #[serde(default)]
        annotations: Vec<serde::de::IgnoredAny>,
    },
    Refusal {
        refusal: String,
    },
}

/// The last event of a stream, as far as it is read.
#[derive(Deserialize)]
pub(super) struct EndRead<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    pub(super) response: &'a RawValue,
}
