//! What is known of a model beside its name.

use serde::{Deserialize, Serialize};

use crate::domain::Capabilities;

use super::sheet::PriceSheet;

/// What a model is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Messages in, a message out.
    #[default]
    Chat,
    /// The older text completion.
    Completion,
    /// Text in, vectors out.
    Embedding,
    /// Reached by OpenAI's Responses API.
    Responses,
}

/// One model of a provider's list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFacts {
    /// The id that the list has it under.
    pub id: Box<str>,
    /// The list it stands in, such as `openai`.
    pub catalog: Box<str>,
    /// Other names of the same model, at the same price.
    pub aliases: Vec<Box<str>>,
    /// What it is for.
    pub mode: Mode,
    /// The most tokens that input and output may have together.
    pub context: Option<u64>,
    /// The most tokens that it puts out.
    pub max_output: Option<u64>,
    /// The length of an embedding's vector.
    pub dimensions: Option<u32>,
    /// The shortest prompt that its cache takes.
    pub prompt_cache_min_tokens: Option<u64>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// The API paths that it answers on; empty where the list does not say.
    pub endpoints: Vec<Box<str>>,
    /// The day on which it stops answering.
    pub retires_on: Option<jiff::civil::Date>,
    /// What it costs.
    pub prices: PriceSheet,
}
