//! `/welcome`: three steps to the first answer.

use askama::Template;
use askama::filters::HtmlSafe;

use super::super::format::{Moment, Money};
use super::layout::Layout;
use super::parts::Badge;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "welcome/page.html")]
pub struct WelcomePage {
    /// The page around it.
    pub layout: Layout,
    /// The running address, without a path: `http://127.0.0.1:8000`.
    pub address: String,
    /// The configured providers.
    pub providers: Vec<ProviderState>,
    /// How many virtual keys there are: `1 key: default`.
    pub keys: Option<String>,
    /// A model for snippets of the OpenAI SDKs.
    pub openai_model: String,
    /// A model for snippets of the Anthropic SDKs.
    pub anthropic_model: String,
    /// The third step's answer.
    pub first_call: FirstCall,
}

impl WelcomePage {
    /// True where a provider can be called.
    pub fn has_provider(&self) -> bool {
        self.providers.iter().any(|provider| provider.is_usable)
    }

    /// Where the reader is: 1 to 3, or 4 where all is done.
    pub fn step(&self) -> u8 {
        match (self.has_provider(), &self.keys, &self.first_call.call) {
            (true, _, Some(_)) => 4,
            (true, Some(_), None) => 3,
            (true, None, None) => 2,
            (false, ..) => 1,
        }
    }
}

/// A configured provider.
#[derive(Clone, Debug)]
pub struct ProviderState {
    /// Its name, with its state.
    pub badge: Badge,
    /// What is known: `key from the environment, 84 models`.
    pub text: String,
    /// True where it can be called.
    pub is_usable: bool,
}

/// Fills `#first-call`, and turns green by itself.
#[derive(Clone, Debug, Template)]
#[template(path = "welcome/first-call.html")]
pub struct FirstCall {
    /// The call, once it has arrived.
    pub call: Option<FirstCallFacts>,
}

/// Its template escapes every value.
impl HtmlSafe for FirstCall {}

/// What the first call was, or the last one where there are more.
#[derive(Clone, Debug)]
pub struct FirstCallFacts {
    /// `Your first call arrived.`
    pub heading: &'static str,
    /// Its own page.
    pub href: String,
    /// The model.
    pub model: String,
    /// Who answered.
    pub provider: String,
    /// How long it took.
    pub length: String,
    /// What it cost.
    pub cost: Money,
    /// When it was.
    pub time: Moment,
}
