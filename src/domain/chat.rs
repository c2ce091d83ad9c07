//! A conversation without a dialect: the form that translation goes through, and nothing else does.
//!
//! A request is read into [`ChatRequest`] from the client's dialect and written from it in the provider's; an answer goes the other
//! way as [`ChatAnswer`] or as a run of [`ChatEvent`]s, which say the same. What this form can't hold is refused by whoever reads
//! it: nothing is dropped in silence. Usage isn't here: it is read once, by the provider's decoder, and handed to the
//! writer of an answer's end.

use serde_json::value::RawValue;

use super::Endpoint;

/// JSON as it was written: schemas and arguments keep their bytes and the order of their keys.
pub type Json = Box<RawValue>;

/// What a client asks of a model.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// The path that it came in by: refusals name fields in its words.
    pub endpoint: Endpoint,
    /// Instructions before the first turn, in order.
    pub system: Vec<Marked<String>>,
    /// The conversation, oldest first. Neighbours of the same kind are possible; the writer joins them where it must.
    pub turns: Vec<Turn>,
    /// Functions that the model may call.
    pub tools: Vec<Marked<Tool>>,
    /// Which of them it shall call.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once.
    pub parallel_tool_calls: Option<bool>,
    /// The most tokens of output, thinking included.
    pub output_tokens_max: Option<u64>,
    /// As written by the client.
    pub temperature: Option<serde_json::Number>,
    /// As written by the client.
    pub top_p: Option<serde_json::Number>,
    /// As written by the client.
    pub top_k: Option<u64>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// The form of the answer.
    pub format: OutputFormat,
    /// How much to think.
    pub reasoning: Option<Reasoning>,
    /// How long-winded to be: `low`, `medium`, `high`.
    pub verbosity: Option<String>,
    /// The client's name of its end user.
    pub user: Option<String>,
    /// The service tier that was asked for.
    pub tier: Option<TierWish>,
    /// A hint for the provider's prompt cache.
    pub prompt_cache_key: Option<String>,
    /// Whether the answer shall be a stream.
    pub stream: bool,
}

/// Something with a mark that a prompt cache may end here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked<T> {
    /// The thing.
    pub part: T,
    /// The mark.
    pub cache: Option<CacheMark>,
}

impl<T> Marked<T> {
    /// Without a mark.
    pub fn plain(part: T) -> Self {
        Self { part, cache: None }
    }
}

/// How long a prompt cache shall keep what stands before the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMark {
    /// Five minutes, or the provider's default.
    FiveMinutes,
    /// One hour.
    OneHour,
}

/// One turn of a conversation.
#[derive(Clone, Debug)]
pub enum Turn {
    /// Instructions between other turns.
    System(Vec<Marked<String>>),
    /// What the user says, and what tools gave. Results of tools stand before everything else.
    User(Vec<Marked<UserPart>>),
    /// What the model said.
    Assistant(Vec<Marked<AssistantPart>>),
}

/// A part of a user's turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserPart {
    /// Text, never empty.
    Text(String),
    /// A picture.
    Image(Image),
    /// A document.
    Document(Document),
    /// What a tool gave.
    ToolResult(ToolResult),
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where it is.
    pub source: Media,
    /// OpenAI's hint of how closely to look: `low`, `high`, `auto`.
    pub detail: Option<String>,
}

/// A document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it holds.
    pub source: DocumentSource,
    /// Its title or file name.
    pub title: Option<String>,
}

/// Bytes, or where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// The bytes themselves.
    Base64 {
        /// Such as `image/png`.
        media_type: String,
        /// In base64.
        data: String,
    },
    /// An address that the provider fetches; never the gateway.
    Url(String),
}

/// What a document holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentSource {
    /// A file, such as a PDF.
    File(Media),
    /// Plain text.
    Text(String),
}

/// What a tool gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolResult {
    /// The call that it answers, by the client's id.
    pub call_id: String,
    /// The result.
    pub content: Vec<ResultPart>,
    /// Whether the tool failed.
    pub is_error: bool,
}

/// A part of a tool's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResultPart {
    /// Text.
    Text(String),
    /// A picture.
    Image(Image),
    /// A document.
    Document(Document),
}

/// A part of what the model said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssistantPart {
    /// Text.
    Text(String),
    /// A refusal in words.
    Refusal(String),
    /// Thinking, with the provider's signature where it has one.
    Thinking {
        /// The thought.
        text: String,
        /// Proof that it is the provider's own; empty and absent mean the same.
        signature: Option<String>,
    },
    /// Thinking that only the provider can read.
    RedactedThinking(String),
    /// A call of a tool.
    ToolCall(ToolCall),
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Its id.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments: the text of a JSON object, byte for byte; empty where the model gave none.
    pub arguments: String,
}

/// A function that the model may call.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON schema of its arguments; absent means none.
    pub parameters: Option<Json>,
    /// Whether arguments must follow the schema.
    pub strict: Option<bool>,
}

/// Which tools to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// None.
    None,
    /// As the model likes.
    Auto,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// The form of an answer.
#[derive(Clone, Debug, Default)]
pub enum OutputFormat {
    /// Text.
    #[default]
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON of a schema.
    JsonSchema {
        /// The schema's name.
        name: Option<String>,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: Json,
        /// Whether the answer must follow it.
        strict: Option<bool>,
    },
}

/// How much to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reasoning {
    /// Not at all.
    Off,
    /// As hard as this.
    Effort(Effort),
    /// As the model sees fit, perhaps as hard as this.
    Adaptive(Option<Effort>),
    /// With so many tokens at most, perhaps as hard as this.
    Budget {
        /// The most tokens of thinking.
        tokens: u64,
        /// How hard.
        effort: Option<Effort>,
    },
}

/// How hard to think. The words are the same in all dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// `minimal`
    Minimal,
    /// `low`
    Low,
    /// `medium`
    Medium,
    /// `high`
    High,
    /// `xhigh`
    XHigh,
    /// `max`
    Max,
}

impl Effort {
    const WORDS: [(Self, &'static str); 6] = [
        (Self::Minimal, "minimal"),
        (Self::Low, "low"),
        (Self::Medium, "medium"),
        (Self::High, "high"),
        (Self::XHigh, "xhigh"),
        (Self::Max, "max"),
    ];

    /// The word that stands for it on the wire.
    pub fn as_str(self) -> &'static str {
        Self::WORDS[self as usize].1
    }

    /// The effort that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known)| *known == word).map(|(effort, _)| *effort)
    }
}

/// The service tier that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TierWish {
    /// Whatever the account is set to.
    Auto,
    /// The plain one, never a better and dearer one.
    Standard,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatAnswer {
    /// The provider's id of it, as it came.
    pub id: String,
    /// The model that answered, in the provider's words.
    pub model: String,
    /// What it said, in order.
    pub parts: Vec<AssistantPart>,
    /// How it ended.
    pub ending: Ending,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub reason: FinishReason,
    /// The text that ended it, with [`FinishReason::StopSequence`].
    pub stop_sequence: Option<String>,
    /// Why the model refused, in words, where it says so apart from its answer.
    pub explanation: Option<String>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model had said everything.
    Stop,
    /// It came to one of the texts that end it.
    StopSequence,
    /// It came to the cap, or to the end of the model's context.
    Length,
    /// It wants tools to be called.
    ToolCalls,
    /// It refused, or a filter did.
    Refusal,
}

/// A step of an answer on its way.
///
/// [`Start`](Self::Start) comes first and once, [`Finish`](Self::Finish) last and once. Between them parts follow each other, one open
/// at a time: a delta of another kind, a new call or [`PartEnd`](Self::PartEnd) closes the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatEvent {
    /// The answer begins.
    Start {
        /// The provider's id of it, as it came; empty where it has none.
        id: String,
        /// The model that answers, in the provider's words.
        model: String,
    },
    /// More text.
    Text(String),
    /// More of a refusal in words.
    Refusal(String),
    /// More thinking.
    Thinking(String),
    /// The signature of the thinking before it.
    Signature(String),
    /// A whole part of thinking that only the provider can read.
    RedactedThinking(String),
    /// A call begins.
    ToolCall {
        /// Its id, never empty.
        id: String,
        /// The tool.
        name: String,
    },
    /// More of the open call's arguments.
    Arguments(String),
    /// The open part is complete.
    PartEnd,
    /// The answer is complete.
    Finish(Ending),
}

impl ChatAnswer {
    /// The same answer step by step.
    pub fn into_events(self) -> Vec<ChatEvent> {
        let mut events = vec![ChatEvent::Start { id: self.id, model: self.model }];
        for part in self.parts {
            match part {
                AssistantPart::Text(text) => events.push(ChatEvent::Text(text)),
                AssistantPart::Refusal(text) => events.push(ChatEvent::Refusal(text)),
                AssistantPart::Thinking { text, signature } => {
                    events.push(ChatEvent::Thinking(text));
                    events.extend(signature.map(ChatEvent::Signature));
                }
                AssistantPart::RedactedThinking(data) => events.push(ChatEvent::RedactedThinking(data)),
                AssistantPart::ToolCall(ToolCall { id, name, arguments }) => {
                    events.push(ChatEvent::ToolCall { id, name });
                    if !arguments.is_empty() {
                        events.push(ChatEvent::Arguments(arguments));
                    }
                }
            }
            events.push(ChatEvent::PartEnd);
        }
        events.push(ChatEvent::Finish(self.ending));
        events
    }

    /// The answer that events tell; none before its finish.
    pub fn from_events(events: impl IntoIterator<Item = ChatEvent>) -> Option<Self> {
        let (mut id, mut model, mut parts, mut open) = (String::new(), String::new(), Vec::new(), None);
        for event in events {
            match event {
                ChatEvent::Start { id: its_id, model: its_model } => (id, model) = (its_id, its_model),
                ChatEvent::Text(more) => match &mut open {
                    Some(AssistantPart::Text(text)) => text.push_str(&more),
                    _ => parts.extend(open.replace(AssistantPart::Text(more))),
                },
                ChatEvent::Refusal(more) => match &mut open {
                    Some(AssistantPart::Refusal(text)) => text.push_str(&more),
                    _ => parts.extend(open.replace(AssistantPart::Refusal(more))),
                },
                ChatEvent::Thinking(more) => match &mut open {
                    Some(AssistantPart::Thinking { text, signature: None }) => text.push_str(&more),
                    _ => parts.extend(open.replace(AssistantPart::Thinking { text: more, signature: None })),
                },
                ChatEvent::Signature(proof) => {
                    if let Some(AssistantPart::Thinking { signature, .. }) = &mut open {
                        *signature = Some(proof);
                    } else {
                        let part = AssistantPart::Thinking { text: String::new(), signature: Some(proof) };
                        parts.extend(open.replace(part));
                    }
                }
                ChatEvent::RedactedThinking(data) => {
                    parts.extend(open.replace(AssistantPart::RedactedThinking(data)));
                }
                ChatEvent::ToolCall { id, name } => {
                    let call = ToolCall { id, name, arguments: String::new() };
                    parts.extend(open.replace(AssistantPart::ToolCall(call)));
                }
                ChatEvent::Arguments(more) => {
                    if let Some(AssistantPart::ToolCall(call)) = &mut open {
                        call.arguments.push_str(&more);
                    }
                }
                ChatEvent::PartEnd => parts.extend(open.take()),
                ChatEvent::Finish(ending) => {
                    parts.extend(open.take());
                    return Some(Self { id, model, parts, ending });
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> ChatAnswer {
        ChatAnswer {
            id: "a".to_owned(),
            model: "m".to_owned(),
            parts: vec![
                AssistantPart::Thinking { text: "so".to_owned(), signature: Some("s".to_owned()) },
                AssistantPart::RedactedThinking("r".to_owned()),
                AssistantPart::Text("one".to_owned()),
                AssistantPart::Text("two".to_owned()),
                AssistantPart::ToolCall(ToolCall {
                    id: "c".to_owned(),
                    name: "f".to_owned(),
                    arguments: String::new(),
                }),
            ],
            ending: Ending { reason: FinishReason::ToolCalls, stop_sequence: None, explanation: None },
        }
    }

    #[test]
    fn an_answer_and_its_events_say_the_same() {
        let answer = answer();
        assert_eq!(ChatAnswer::from_events(answer.clone().into_events()), Some(answer));
    }

    #[test]
    fn deltas_of_one_part_join_and_another_kind_closes_it() {
        let start = ChatEvent::Start { id: String::new(), model: String::new() };
        let finish = ChatEvent::Finish(answer().ending);
        let text = |text: &str| ChatEvent::Text(text.to_owned());
        let events = vec![start, text("a"), text("b"), ChatEvent::Thinking("t".to_owned()), text("c"), finish];
        let parts = ChatAnswer::from_events(events).unwrap().parts;
        let thinking = AssistantPart::Thinking { text: "t".to_owned(), signature: None };
        assert_eq!(parts, [AssistantPart::Text("ab".to_owned()), thinking, AssistantPart::Text("c".to_owned())]);
    }

    #[test]
    fn without_its_finish_there_is_no_answer() {
        let mut events = answer().into_events();
        events.pop();
        assert_eq!(ChatAnswer::from_events(events), None);
    }

    #[test]
    fn every_effort_has_its_word() {
        for (effort, word) in Effort::WORDS {
            assert_eq!((effort.as_str(), Effort::from_word(word)), (word, Some(effort)));
        }
    }
}
