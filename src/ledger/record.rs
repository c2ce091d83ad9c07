//! What the ledger keeps of a call: its facts, its attempts, and how it ended.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{
    Billed, BudgetId, CacheOutcome, CostBasis, Decision, Deployment, Endpoint, EntryStatus, KeyId, ModelId,
    Picodollars, ProviderName, RequestId, Residency, ServiceTier, TokenUsage, TraceParent, WindowId, fits_deployment,
};

/// What is known of a call before its first attempt, and doesn't change any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFacts {
    /// The call, and its entry.
    pub id: RequestId,
    /// The virtual key that pays.
    pub key: KeyId,
    /// What people call the key.
    pub key_name: Arc<str>,
    /// The team that the key belongs to.
    pub team: Option<Arc<str>>,
    /// What the call is for: `chat` where nothing else was said.
    pub operation: Arc<str>,
    /// The path that it came in by.
    pub endpoint: Endpoint,
    /// The model or route that the client asked for.
    pub requested_model: ModelId,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// What the response cache did.
    pub cache: CacheOutcome,
    /// Whose answer the cache gave, where it did.
    pub kept_from: Option<Deployment>,
    /// How its route chose where it goes; absent where the call named its model itself.
    pub decision: Option<Arc<Decision>>,
    /// The client's own id of the call.
    pub client_request_id: Option<Arc<str>>,
    /// The client's trace that it belongs to: told to whoever follows the entries, not kept.
    pub trace: Option<TraceParent>,
    /// The client's own labels; one that is repeated counts once.
    pub tags: Vec<(Arc<str>, Arc<str>)>,
}

impl CallFacts {
    /// A chat call of a key, of which nothing else is said.
    pub fn plain(id: RequestId, key: KeyId, key_name: Arc<str>, requested_model: ModelId) -> Self {
        Self {
            id,
            key,
            key_name,
            team: None,
            operation: "chat".into(),
            endpoint: Endpoint::ChatCompletions,
            requested_model,
            stream: false,
            cache: CacheOutcome::Bypass,
            kept_from: None,
            decision: None,
            client_request_id: None,
            trace: None,
            tags: Vec::new(),
        }
    }
}

/// One attempt, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Where it went.
    pub deployment: Deployment,
    /// The upstream's HTTP status; 0 where none came.
    pub status: u16,
    /// Why it failed, as a stable code.
    pub error: Option<Arc<str>>,
    /// What it used.
    pub usage: TokenUsage,
    /// What it cost.
    pub cost: Picodollars,
    /// What the cost rests on.
    pub basis: CostBasis,
    /// Milliseconds from the call's arrival to the start of the attempt.
    pub started_ms: u32,
    /// Milliseconds that it took.
    pub latency_ms: u32,
    /// Milliseconds from its start to the first content.
    pub time_to_first_token_ms: Option<u32>,
    /// The provider's usage object as it came.
    pub raw_usage: Option<Arc<str>>,
    /// The provider's own id of the request.
    pub upstream_request_id: Option<Arc<str>>,
    /// What decided over its price, so that it can be priced again; absent where nothing was priced, and in entries from
    /// before it was kept.
    pub rating: Option<Rating>,
}

impl Attempt {
    /// Whether nothing is known of its end, neither that it failed nor what it cost.
    pub fn is_in_flight(&self) -> bool {
        self.basis == CostBasis::Reserved && self.error.is_none()
    }

    /// Whether its call was given up after money was held for it, and before anything was sent: it has neither failed nor been
    /// answered.
    pub fn is_unsent(&self) -> bool {
        self.basis == CostBasis::Exact && self.error.is_none() && self.status == 0
    }
}

/// What decided over the price of an attempt, beside its usage and the time of its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rating {
    /// The model that answered, where it is not the one that was asked for.
    pub model: Option<ModelId>,
    /// The service tier that was billed.
    pub tier: ServiceTier,
    /// Where it was computed.
    pub residency: Residency,
    /// Whether the provider's fast mode was billed.
    pub fast: bool,
}

impl Rating {
    /// The same for the price list, at the time of the call.
    pub fn billed(&self, at: Timestamp) -> Billed {
        Billed { tier: self.tier, residency: self.residency, fast: self.fast, at }
    }
}

/// Why an entry adjusts another: entries never change, so what one costs more or less is an entry of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// The entry that is adjusted.
    pub of: RequestId,
    /// What brought it about.
    pub kind: AdjustmentKind,
    /// When it was made: the entry itself belongs to the time of the call.
    pub made: Timestamp,
    /// Who made it.
    pub by: Arc<str>,
    /// Why, in their words.
    pub reason: Arc<str>,
}

/// What brought an adjustment about. New ones go to the end: stored rows keep the place in this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdjustmentKind {
    /// Somebody knew better.
    ByHand,
    /// The prices were wrong.
    Rerated,
}

impl AdjustmentKind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByHand => "by_hand",
            Self::Rerated => "re_rated",
        }
    }
}

/// A sum that a reservation must fit under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The budget that sets the limit.
    pub budget: BudgetId,
    /// What is summed.
    pub scope: Scope,
    /// The window in which the call was made: what counts is its kind, the number follows from the call's id.
    pub window: WindowId,
    /// What the sum may come to.
    pub limit: Picodollars,
}

/// What a sum is taken over: `everything`, or `kind:value`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Arc<str>);

impl Scope {
    /// Every call.
    pub fn everything() -> Self {
        Self("everything".into())
    }

    /// The calls whose `kind` is `value`: kinds are `key`, `team`, `provider`, `model`, `operation` and `tag` (`name=value`).
    pub fn of(kind: &str, value: &str) -> Self {
        if kind == "everything" { Self::everything() } else { Self(format!("{kind}:{value}").into()) }
    }

    /// A scope from its stored form.
    pub(super) fn stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The stored form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an attempt is charged under a scope that its call belongs to; a call may have gone to several providers.
    pub(super) fn takes_in(&self, attempt: &Attempt) -> bool {
        match self.parts() {
            ("provider", provider) => attempt.deployment.provider.as_str() == provider,
            ("model", models) => fits_deployment(models, &attempt.deployment),
            _ => true,
        }
    }

    /// The kind and the value, apart; the kind alone for `everything`.
    pub(super) fn parts(&self) -> (&str, &str) {
        self.0.split_once(':').unwrap_or((&self.0, ""))
    }
}

/// What a sum comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Booked, entries of unknown end included.
    pub spent: Picodollars,
    /// The part of `spent` whose end was never seen.
    pub unknown: Picodollars,
    /// Held back for calls that are running.
    pub held: Picodollars,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Settled, failed or unknown.
    pub status: EntryStatus,
    /// Why it failed, as a stable code.
    pub error: Option<Arc<str>>,
    /// The HTTP status that the client got; 0 where it had gone.
    pub http_status: u16,
    /// The attempt that the reservation stood for; absent where it was never made, so that nothing is owed for it.
    pub last: Option<Attempt>,
    /// Milliseconds from arrival to end.
    pub latency_ms: u32,
    /// Milliseconds from arrival to the first content.
    pub time_to_first_token_ms: Option<u32>,
    /// What a cache hit would have cost.
    pub saved: Picodollars,
}

/// One call as the ledger has it: a fact that never changes, but for calls that still run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What was known at its start.
    pub facts: CallFacts,
    /// How it stands.
    pub status: EntryStatus,
    /// Why it failed.
    pub error: Option<Arc<str>>,
    /// What the client got.
    pub http_status: u16,
    /// Every attempt in the order in which they ended; the one that answered is the last.
    pub attempts: Vec<Attempt>,
    /// Held back, where it still runs.
    pub reserved: Picodollars,
    /// Milliseconds from arrival to end.
    pub latency_ms: u32,
    /// Milliseconds from arrival to the first content.
    pub time_to_first_token_ms: Option<u32>,
    /// What a cache hit would have cost.
    pub saved: Picodollars,
    /// What it adjusts, where it is no call but an adjustment: its attempts are then those of the call, each with what
    /// it costs more or less.
    pub adjustment: Option<Adjustment>,
}

impl Entry {
    /// When the call arrived.
    pub fn time(&self) -> Timestamp {
        Timestamp::from_millisecond(self.facts.id.unix_ms()).unwrap_or_default()
    }

    /// The sum of its attempts.
    pub fn cost(&self) -> Picodollars {
        self.attempts.iter().map(|attempt| attempt.cost).sum()
    }

    /// The weakest basis of its attempts.
    pub fn basis(&self) -> CostBasis {
        self.attempts.iter().fold(CostBasis::Exact, |basis, attempt| basis.and(attempt.basis))
    }

    /// What all attempts used.
    pub fn usage(&self) -> TokenUsage {
        self.attempts.iter().fold(TokenUsage::default(), |sum, attempt| sum + attempt.usage)
    }

    /// The deployment that answered, now or when the cache kept its answer, or was tried last.
    pub fn deployment(&self) -> Option<&Deployment> {
        self.attempts.last().map(|attempt| &attempt.deployment).or(self.facts.kept_from.as_ref())
    }

    /// Its provider.
    pub fn provider(&self) -> Option<&ProviderName> {
        self.deployment().map(|deployment| &deployment.provider)
    }

    /// Its model.
    pub fn model(&self) -> Option<&ModelId> {
        self.deployment().map(|deployment| &deployment.model)
    }

    /// What the entry adds to the sum of a scope; `None` where it doesn't belong to it.
    pub fn cost_in(&self, scope: &Scope) -> Option<Picodollars> {
        let facts = &self.facts;
        let belongs = match scope.parts() {
            ("everything", "") => true,
            ("key", key) => facts.key.as_str() == key,
            ("team", team) => facts.team.as_deref() == Some(team),
            ("operation", operation) => *facts.operation == *operation,
            ("tag", tag) => tag
                .split_once('=')
                .is_some_and(|(name, value)| facts.tags.iter().any(|(n, v)| **n == *name && **v == *value)),
            // Attempts of one call may go to several: each is charged with its own.
            ("provider", provider) => {
                return self.cost_where(|attempt| attempt.deployment.provider.as_str() == provider);
            }
            ("model", models) => return self.cost_where(|attempt| fits_deployment(models, &attempt.deployment)),
            _ => false,
        };
        belongs.then(|| self.cost())
    }

    fn cost_where(&self, belongs: impl Fn(&Attempt) -> bool) -> Option<Picodollars> {
        let costs = self.attempts.iter().filter(|attempt| belongs(attempt)).map(|attempt| attempt.cost);
        costs.fold(None, |sum, cost| Some(sum.unwrap_or_default() + cost))
    }
}

/// The code of an attempt that was given up because another of its call answered first.
pub const OVERTAKEN: &str = "cancelled";

/// A second attempt that was made beside another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hedge {
    /// Its place among the attempts.
    pub place: usize,
    /// Milliseconds that the other had run for when it began, about.
    pub after_ms: u32,
    /// Whether it answered.
    pub won: bool,
}

impl Entry {
    /// The attempt that was made beside another, where one was: only then is one cancelled, or begins before the other has
    /// ended.
    pub fn hedge(&self) -> Option<Hedge> {
        let end = |attempt: &Attempt| {
            let is_known = attempt.latency_ms > 0 || attempt.basis != CostBasis::Reserved;
            if is_known { attempt.started_ms.saturating_add(attempt.latency_ms) } else { u32::MAX }
        };
        let calls = if self.adjustment.is_none() { self.attempts.as_slice() } else { &[] };
        let (place, pair) = calls.windows(2).enumerate().find(|(_, pair)| {
            let (one, other) = (&pair[0], &pair[1]);
            let overlap = one.started_ms < end(other) && other.started_ms < end(one);
            one.started_ms != other.started_ms && (overlap || one.error.as_deref() == Some(OVERTAKEN))
        })?;
        let is_second_later = pair[1].started_ms > pair[0].started_ms;
        let place = place + usize::from(is_second_later);
        let hedge = &self.attempts[place];
        let has_begun = hedge.error.is_none() || hedge.time_to_first_token_ms.is_some();
        Some(Hedge {
            place,
            after_ms: pair[0].started_ms.abs_diff(pair[1].started_ms),
            won: is_second_later && has_begun && self.status != EntryStatus::Pending,
        })
    }
}

/// How strictly a reservation and a settlement are made durable before the call goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Acknowledge {
    /// After the disk has it.
    Durable,
    /// As soon as it is decided: a crash may lose the last moments.
    Queued,
}
