//! `/api/imports/spend`: what was spent at another gateway, booked at its own time, so that budgets and reports go on.
//!
//! Nothing of a body is booked before every line of it has been understood, and a line that is booked already is left as
//! it is: the same history can be sent again.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::{HttpResponse, web};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::input::Lines;
use crate::domain::{
    CostBasis, Deployment, EntryStatus, KeyId, ModelId, Name, Picodollars, ProviderName, RequestId, TokenUsage,
};
use crate::http::guard::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::state::State;
use crate::keys::Keys;
use crate::ledger::{Ledger, PastCall, TakenIn};

/// Lines of one body: a batch of the ledger.
pub const PAST_LINES_MAX: usize = 1_000;
/// What the id begins with of a key that is only known from its history.
pub const IMPORTED_KEY_PREFIX: &str = "imported:";
/// What marks an entry as taken in; its value is the program that made it.
const TAG: &str = "import";
/// The dearest calls there are cost some hundreds.
const COST_MAX: Picodollars = Picodollars::from_dollars(100_000);
/// No model takes or gives as many in one call.
const TOKENS_MAX: u64 = 10_000_000_000;
/// No model was called over a gateway before.
const TIME_MIN: i64 = 1_420_070_400_000;
/// Clocks of two machines are seldom further apart.
const FUTURE_MAX: SignedDuration = SignedDuration::from_hours(24);
/// Characters of names that the ledger keeps.
const NAME_CHARS_MAX: usize = 128;

/// One call of the past, as it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PastCallJson {
    /// The id that the entry gets, which holds the time of the call; the same one is booked once.
    pub id: String,
    /// The virtual key that stands for who paid, or `imported:` and a name.
    pub key_id: String,
    /// What people called the key.
    pub key_name: String,
    /// The team that it belonged to.
    #[serde(default)]
    pub team: Option<String>,
    /// What the call was for.
    pub operation: String,
    /// Who answered.
    pub provider: String,
    /// The model that was called.
    pub model: String,
    /// `settled`, `failed` or `unknown`.
    pub status: String,
    /// Input that no cache served.
    #[serde(default)]
    pub input_tokens: u64,
    /// Input from the provider's cache.
    #[serde(default)]
    pub cache_read_tokens: u64,
    /// Input written to it.
    #[serde(default)]
    pub cache_write_tokens: u64,
    /// Output, reasoning included.
    #[serde(default)]
    pub output_tokens: u64,
    /// The part of it that was reasoning.
    #[serde(default)]
    pub reasoning_tokens: u64,
    /// What it cost.
    pub cost_usd: Picodollars,
    /// `estimated`, `reserved` or `unpriced`; nothing taken in is `exact`.
    pub cost_basis: String,
    /// Milliseconds that it took.
    #[serde(default)]
    pub latency_ms: u32,
    /// The other program's id of it.
    #[serde(default)]
    pub foreign_id: Option<String>,
    /// The program that made it.
    pub source: String,
}

impl PastCallJson {
    /// The call, where everything about it can be booked.
    pub fn checked(&self, now: Timestamp) -> Result<PastCall, String> {
        let id: RequestId = self.id.parse().map_err(|error| format!("id: {error}"))?;
        let time = Timestamp::from_millisecond(id.unix_ms()).map_err(|_| "time: beyond the calendar".to_owned())?;
        if id.unix_ms() < TIME_MIN {
            return Err(format!("time: {time} is before any call of a model"));
        }
        if time.duration_since(now) > FUTURE_MAX {
            return Err(format!("time: {time} is in the future"));
        }
        if self.cost_usd.is_negative() {
            return Err(format!("costUsd: {} is negative", self.cost_usd));
        }
        if self.cost_usd > COST_MAX {
            return Err(format!("costUsd: {} is more than one call can cost", self.cost_usd));
        }
        let tokens = [self.input_tokens, self.cache_read_tokens, self.cache_write_tokens, self.output_tokens];
        if let Some(absurd) = tokens.into_iter().find(|count| *count > TOKENS_MAX) {
            return Err(format!("tokens: {absurd} are more than one call can have"));
        }
        if self.reasoning_tokens > self.output_tokens {
            return Err("reasoningTokens: more than the output that they are a part of".to_owned());
        }
        let status = EntryStatus::from_word(&self.status).filter(|status| *status != EntryStatus::Pending);
        let status = status.ok_or_else(|| format!("status: {} is none that a call ends with", shown(&self.status)))?;
        let basis = CostBasis::from_word(&self.cost_basis).filter(|basis| *basis != CostBasis::Exact);
        let basis = basis.ok_or_else(|| "costBasis: what is taken in is estimated, reserved or unpriced".to_owned())?;
        if basis == CostBasis::Unpriced && !self.cost_usd.is_zero() {
            return Err("costBasis: what is unpriced has no cost".to_owned());
        }
        let word = |field: &str, text: &str| {
            let name = Name::new(text, NAME_CHARS_MAX).map_err(|error| format!("{field}: {error}"))?;
            Ok::<Arc<str>, String>(name.as_str().into())
        };
        let provider = ProviderName::new(&self.provider).map_err(|error| format!("provider: {error}"))?;
        let model = ModelId::new(&self.model).map_err(|error| format!("model: {error}"))?;
        Ok(PastCall {
            id,
            key: KeyId::new(&self.key_id).map_err(|error| format!("key: {error}"))?,
            key_name: word("key", &self.key_name)?,
            team: self.team.as_deref().map(|team| word("team", team)).transpose()?,
            operation: word("operation", &self.operation)?,
            deployment: Deployment { provider, model },
            status,
            usage: TokenUsage {
                uncached_input: self.input_tokens,
                cache_read: self.cache_read_tokens,
                cache_write_5m: self.cache_write_tokens,
                output: self.output_tokens,
                reasoning: self.reasoning_tokens,
                ..TokenUsage::default()
            },
            cost: self.cost_usd,
            basis,
            latency_ms: self.latency_ms,
            foreign_id: self.foreign_id.as_deref().map(|id| word("foreignId", id)).transpose()?,
            tags: vec![(TAG.into(), word("source", &self.source)?)],
        })
    }
}

fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(40).collect::<String>())
}

/// What became of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenInJson {
    /// Booked now.
    pub booked: u64,
    /// Booked before.
    pub known: u64,
    /// Of these, booked before with another amount or key; they are left as they are.
    #[serde(default)]
    pub differing: u64,
}

impl From<TakenIn> for TakenInJson {
    fn from(taken: TakenIn) -> Self {
        Self { booked: taken.booked, known: taken.known, differing: taken.differing }
    }
}

/// Books calls whose keys are known.
pub async fn book_past(
    ledger: &Ledger,
    keys: &Keys,
    rows: &[PastCallJson],
    now: Timestamp,
) -> Result<TakenInJson, PastError> {
    let mut calls = Vec::with_capacity(rows.len());
    let mut known: BTreeMap<&str, bool> = BTreeMap::new();
    for (line, row) in (1..).zip(rows) {
        let call = row.checked(now).map_err(|reason| PastError::Row { line, reason })?;
        let is_known = *known
            .entry(&row.key_id)
            .or_insert_with(|| row.key_id.starts_with(IMPORTED_KEY_PREFIX) || keys.get(&call.key).is_some());
        if !is_known {
            let reason = format!("key: there is no virtual key {}", shown(&row.key_id));
            return Err(PastError::Row { line, reason });
        }
        calls.push(call);
    }
    Ok(ledger.take_in(calls).await?.into())
}

/// Why nothing was booked.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// A line can't be booked.
    #[error("line {line}: {reason}")]
    Row {
        /// Which, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// The ledger can't book now.
    #[error(transparent)]
    Ledger(#[from] crate::ledger::LedgerError),
}

/// `POST /api/imports/spend`.
pub(super) async fn spend(state: web::Data<State>, caller: Caller, body: Lines) -> Result<HttpResponse, Problem> {
    let mut rows: Vec<PastCallJson> = Vec::new();
    for (number, written) in (1..).zip(body.0.split(|byte| *byte == b'\n')) {
        if written.trim_ascii().is_empty() {
            continue;
        }
        if rows.len() == PAST_LINES_MAX {
            let detail =
                format!("more than the {PAST_LINES_MAX} lines that are taken at once: send the rest by itself");
            return Err(Problem::new(Code::BodyTooLarge, detail));
        }
        let row = serde_json::from_slice(written)
            .map_err(|error| Problem::field("line", format!("line {number}: {error}")).with("line", number))?;
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(Problem::new(
            Code::InvalidJson,
            "the body has no call: send one a line; GET /api/openapi.json has every field",
        ));
    }
    let taken = book_past(&state.ledger, &state.keys, &rows, state.clock.now()).await.map_err(|error| match error {
        PastError::Row { line, ref reason } => {
            Problem::field("line", format!("line {line}: {reason}; nothing was booked")).with("line", line)
        }
        PastError::Ledger(error) => error.into(),
    })?;
    tracing::info!("{caller} took in {} calls of the past, {} were there", taken.booked, taken.known);
    Ok(HttpResponse::Ok().json(taken))
}
