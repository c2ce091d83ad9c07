//! What answers mean, per dialect: usage in passing, the records of a stream, errors.

use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::domain::{Dialect, Endpoint};

use super::anthropic::{AnthropicDecoder, CountDecoder};
use super::error::ProviderError;
use super::openai::{CompletionsDecoder, EmbeddingsDecoder, OpaqueDecoder, OpenAiDecoder, ResponsesDecoder};
use super::usage::ReportedUsage;

/// One dialect's reading of answers.
pub trait Decoder: Send + Sync {
    /// Reads what a whole answer says about itself; an answer that is not of the dialect is garbage.
    fn whole(&self, provider: &str, body: &[u8]) -> Result<Whole, ProviderError>;

    /// Reads one record of a stream and notes what it says.
    fn record(&self, provider: &str, record: &[u8], progress: &mut Progress) -> Meaning;

    /// Reads an answer whose status is no success, and that may ask for a wait.
    fn error(&self, provider: &str, status: u16, retry_after: Option<Duration>, body: &[u8]) -> ProviderError;

    /// The record without what the client has not asked for; only where usage was asked for in its place.
    fn without_usage(&self, record: &Bytes) -> Option<Bytes>;
}

/// The decoder of what a path answers.
pub fn decoder(endpoint: Endpoint) -> &'static dyn Decoder {
    match endpoint {
        Endpoint::ChatCompletions => &OpenAiDecoder,
        Endpoint::Responses => &ResponsesDecoder,
        Endpoint::Completions => &CompletionsDecoder,
        Endpoint::Embeddings => &EmbeddingsDecoder,
        Endpoint::Messages => &AnthropicDecoder,
        Endpoint::CountTokens => &CountDecoder,
        Endpoint::MessageBatches => &OpaqueDecoder(&AnthropicDecoder),
        Endpoint::Images | Endpoint::Audio | Endpoint::Moderations | Endpoint::Files | Endpoint::Batches => {
            &OpaqueDecoder(&OpenAiDecoder)
        }
    }
}

/// What a whole answer says about itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whole {
    /// The usage, where it has one that can be right.
    pub usage: Option<ReportedUsage>,
    /// The model that answered, in the provider's words.
    pub model: Option<String>,
    /// Why it ended, in the provider's word.
    pub finish_reason: Option<String>,
    /// Whether the model refused in words, whatever it says of its end.
    pub has_refused: bool,
    /// Tokens of what it says, counted here; only where it has no usage.
    pub counted_output: u64,
}

/// What has come of a stream.
#[derive(Debug)]
pub struct Progress {
    pub(super) openai: super::openai::usage::UsageProgress,
    pub(super) anthropic: super::anthropic::usage::UsageProgress,
    /// Whether the end was announced: a finish reason, or the last event.
    pub finished: bool,
    /// Whether the model has refused in words, whatever it says of its end.
    pub has_refused: bool,
    /// Whether content has come.
    pub(super) began: bool,
    dialect: Dialect,
    /// Bytes of text, reasoning and tool arguments.
    pub text_bytes: u64,
    /// Records that carried any of it.
    pub content_records: u64,
}

impl Progress {
    /// A stream of which nothing has come.
    pub fn new(dialect: Dialect) -> Self {
        Self {
            openai: super::openai::usage::UsageProgress::default(),
            anthropic: super::anthropic::usage::UsageProgress::default(),
            finished: false,
            has_refused: false,
            began: false,
            dialect,
            text_bytes: 0,
            content_records: 0,
        }
    }

    /// The usage as far as it was told.
    pub fn reported(&self) -> Option<ReportedUsage> {
        match self.dialect {
            Dialect::OpenAi => self.openai.reported(),
            Dialect::Anthropic => self.anthropic.reported(),
        }
    }

    /// True once the usage of the whole answer has come.
    pub fn usage_is_final(&self) -> bool {
        match self.dialect {
            Dialect::OpenAi => self.openai.is_final(),
            Dialect::Anthropic => self.anthropic.is_final(),
        }
    }

    /// The model that answers, in the provider's words.
    pub fn model(&self) -> Option<&str> {
        match self.dialect {
            Dialect::OpenAi => self.openai.model(),
            Dialect::Anthropic => self.anthropic.model(),
        }
    }

    /// Why it ended, in the provider's word.
    pub fn finish_reason(&self) -> Option<&str> {
        match self.dialect {
            Dialect::OpenAi => self.openai.finish_reason(),
            Dialect::Anthropic => self.anthropic.stop_reason(),
        }
    }

    /// Notes text of a record; the first makes it content.
    pub(super) fn text(&mut self, bytes: usize) {
        self.began = true;
        self.text_bytes += bytes as u64;
        self.content_records += 1;
    }

    /// Output tokens counted here: never fewer than records with content, since each carries at least one.
    pub fn counted_output(&self) -> u64 {
        tokens_of(self.text_bytes).max(self.content_records)
    }
}

/// What a record is to the relay.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    /// Comes before content: held back while another deployment could still answer instead.
    Prelude,
    /// Text, reasoning or tool arguments.
    Content,
    /// Comes after content: finish reasons, usage, ends of blocks.
    Other,
    /// Carries nothing but usage.
    UsageOnly,
    /// Ends the stream as it should.
    End,
    /// The provider gave up.
    Error(ProviderError),
}

/// What a whole answer says: text, reasoning, names and arguments of tools. The same as is counted of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Bytes of it, as they are written.
    pub(super) bytes: u64,
    /// Whether any of it is a refusal.
    pub(super) has_refused: bool,
}

impl Said {
    /// Takes a value in: a text without its quotes, an object or a list as it stands.
    pub(super) fn add(&mut self, value: Option<&RawValue>) {
        let json = value.map_or("null", RawValue::get);
        self.bytes += match json.strip_prefix('"') {
            Some(text) => text.len() - 1,
            None if json == "null" => 0,
            None => json.len(),
        } as u64;
    }

    /// Takes a refusal in, where it has words.
    pub(super) fn add_refusal(&mut self, value: Option<&RawValue>) {
        let before = self.bytes;
        self.add(value.filter(|value| value.get().starts_with('"')));
        self.has_refused |= self.bytes > before;
    }

    /// Tokens of it, counted here.
    pub(super) fn counted(self) -> u64 {
        tokens_of(self.bytes)
    }
}

/// About how many tokens so many bytes are: as [`crate::domain::estimate_tokens`] has it for plain text.
fn tokens_of(bytes: u64) -> u64 {
    (bytes * 2).div_ceil(7)
}

/// Whether data can be a JSON object: every record but end markers is one, and an error in a provider's own form, where a
/// firewall's is a page. Only its ends are looked at: half an object and other words are found so, and parsing every record costs
/// too much.
pub(super) fn may_be_object(data: &[u8]) -> bool {
    let data = data.trim_ascii();
    data.starts_with(b"{") && data.ends_with(b"}")
}

/// Whether a 401 or 403 is the provider's own word on a key. A 401 is, unless it is a page, as a proxy's would be: small servers
/// refuse with a bare one. A 403 only in the provider's own form: firewalls have it for everything that they don't like.
pub(super) fn is_about_the_key(status: u16, body: &[u8]) -> bool {
    match status {
        401 => !body.trim_ascii_start().starts_with(b"<"),
        _ => may_be_object(body),
    }
}

/// What a record is that can't be read.
pub(super) fn unreadable(provider: &str) -> Meaning {
    let detail = "a record of the stream is not JSON".to_owned();
    Meaning::Error(ProviderError::Garbage { provider: provider.to_owned(), detail })
}

/// A provider's words, short enough to pass on.
pub(super) fn short(message: &str) -> String {
    const MESSAGE_CHARS_MAX: usize = 2_000;
    message.chars().filter(|character| !character.is_control() || *character == '\n').take(MESSAGE_CHARS_MAX).collect()
}
