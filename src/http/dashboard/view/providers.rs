//! `/providers`: who is healthy, where calls go today, and why a call would go where it would go.

use askama::Template;

use super::super::format::{Count, Moment, Money};
use super::layout::Layout;
use super::parts::{Badge, Card, Choice, Field, Phrase, Select, Tone};
use super::request::DecisionCard;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "providers/page.html")]
pub struct ProvidersPage {
    /// The page around it.
    pub layout: Layout,
    /// How far back the figures go.
    pub ranges: Vec<Choice>,
    /// The providers, in the order of the file.
    pub rows: Card<Vec<ProviderRow>>,
    /// The lines that set a provider up, where there is none.
    pub lines: Option<&'static str>,
    /// What the figures rest on.
    pub note: String,
    /// What was just done.
    pub done: Option<Phrase>,
    /// Keys that are not ready.
    pub keys: Vec<KeyLine>,
    /// What changes by itself, as the page begins with it.
    pub now: ProvidersNow,
    /// The routes, those of the file first.
    pub routes: Card<Vec<RouteCard>>,
    /// The form that asks what would become of a call: for admins, as in the API.
    pub why: Option<WhyForm>,
    /// What would become of it.
    pub explanation: Option<Explanation>,
    /// What prompt caches served.
    pub prompt_caches: Card<PromptCaches>,
}

/// What of the page changes by itself. Alone it renders as an update of a page that is open.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(path = "providers/update.html")]
pub struct ProvidersNow {
    /// Each provider, in the order of the table.
    pub providers: Vec<ProviderNow>,
    /// Circuits that don't let every call through.
    pub circuits: Vec<CircuitLine>,
}

/// How a provider does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderNow {
    /// Its place in the table, by which an update finds it.
    pub place: usize,
    /// How it does, in a word.
    pub health: Badge,
    /// And in a sentence.
    pub words: String,
    /// `3 of 1,000`.
    pub running: String,
    /// `2 waiting`; empty where nobody waits.
    pub waiting: String,
}

/// A circuit that doesn't let every call through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitLine {
    /// `openai/gpt-5`.
    pub deployment: String,
    /// Its state.
    pub state: Badge,
    /// Until when, and what comes then.
    pub words: String,
}

/// A key that a provider refuses or limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLine {
    /// The provider.
    pub provider: String,
    /// `key 2 (…abcd)`, and where it is so, if not at the whole provider.
    pub key: String,
    /// How it does.
    pub state: Badge,
    /// Why, until when, and what comes then.
    pub words: String,
    /// Where a form puts it to use again; absent where the reader may not.
    pub enable: Option<String>,
}

/// A provider and what was made of it in the range.
#[derive(Clone, Debug)]
pub struct ProviderRow {
    /// Its name.
    pub name: String,
    /// How it does now.
    pub now: ProviderNow,
    /// Its kind and where it is.
    pub sub: String,
    /// Calls.
    pub calls: Count,
    /// The share that failed, and what that means.
    pub errors: String,
    /// Its tone.
    pub errors_tone: Tone,
    /// To the first token: `300 ms`, and the 95th percentile.
    pub first: [String; 2],
    /// To the end.
    pub total: [String; 2],
    /// What they cost.
    pub cost: Money,
    /// `2 keys`, and how many of them are ready where that is not all.
    pub keys: String,
    /// Whose prices it has.
    pub prices: String,
    /// The last failure.
    pub last_error: Option<LastError>,
}

/// A failure.
#[derive(Clone, Debug)]
pub struct LastError {
    /// `timeout_first_token`.
    pub code: String,
    /// The model that was asked.
    pub model: String,
    /// When.
    pub time: Moment,
    /// The call.
    pub href: String,
}

/// A route, and where its calls go today.
#[derive(Clone, Debug)]
pub struct RouteCard {
    /// The name that clients ask for.
    pub name: String,
    /// How it chooses, and how often it tries.
    pub sub: String,
    /// The operations that the model `auto` leads here; empty for none.
    pub operations: String,
    /// Why the first is the first.
    pub reason: Phrase,
    /// Its deployments, in today's order.
    pub deployments: Vec<RouteLine>,
}

/// A deployment of a route.
#[derive(Clone, Debug)]
pub struct RouteLine {
    /// `openai/gpt-5`.
    pub deployment: String,
    /// What is known against it, and its weight.
    pub note: String,
    /// What a typical call is expected to cost there.
    pub cost: String,
    /// Measured: to the first token, and tokens in a second.
    pub speed: String,
    /// Conversations whose last turn it has in its prompt cache.
    pub conversations: String,
    /// Its share of the route's calls.
    pub share: String,
}

/// The form that asks what would become of a call.
#[derive(Clone, Debug)]
pub struct WhyForm {
    /// Route, strategy, operation, path, key, kind of answer.
    pub selects: Vec<Select>,
    /// Its conversation.
    pub session: Field,
    /// A body to be sent.
    pub body: Field,
}

impl WhyForm {
    /// Whether something is wrong with what was sent.
    pub fn is_wrong(&self) -> bool {
        self.session.error.is_some() || self.body.error.is_some()
    }
}

/// What would become of a call.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// In a sentence.
    pub sentence: Phrase,
    /// Where it would go after failures.
    pub order: String,
    /// When a second attempt would start beside a slow first one, or why none would; empty where the route has none.
    pub hedge: String,
    /// The candidates.
    pub decision: DecisionCard,
    /// True where it would be refused.
    pub is_refusal: bool,
}

/// What prompt caches served.
#[derive(Clone, Debug)]
pub struct PromptCaches {
    /// By key and route, the dearest losses first.
    pub keys: Vec<ReadLine>,
    /// Turns whose beginning had to be read anew, newest first.
    pub findings: Vec<FindingLine>,
}

/// The reads of a key at a route.
#[derive(Clone, Debug)]
pub struct ReadLine {
    /// The key.
    pub key: String,
    /// The route or model.
    pub route: String,
    /// `12 calls`.
    pub calls: String,
    /// Tokens that were read from caches.
    pub read: Count,
    /// Tokens that were expected to be.
    pub expected: Count,
    /// What was lost.
    pub lost: Money,
}

/// A turn whose beginning had to be read anew.
#[derive(Clone, Debug)]
pub struct FindingLine {
    /// When.
    pub time: Moment,
    /// The call.
    pub href: String,
    /// The key and the deployment.
    pub title: String,
    /// What happened and what to do.
    pub text: String,
    /// What it cost.
    pub lost: String,
}
