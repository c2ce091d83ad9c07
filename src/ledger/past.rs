//! Calls that were made and booked elsewhere, taken in at their own time, so that budgets and reports go on.
//!
//! An id stands for one such call: what is in the ledger already is left as it is, so that the same history can be handed in
//! again. Whether it is there is looked up in the transaction that books it. They are told to nobody who follows calls as
//! they are booked: a provider that answered last month is not up because of it.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::domain::{CostBasis, Deployment, EntryStatus, KeyId, Picodollars, RequestId, TokenUsage};

use super::journal::Command;
use super::record::{Attempt, CallFacts, Entry};
use super::{Ledger, LedgerError};

/// A call of the past: what other books know of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastCall {
    /// Its id, which holds its time.
    pub id: RequestId,
    /// The virtual key that stands for who paid.
    pub key: KeyId,
    /// What people called the key.
    pub key_name: Arc<str>,
    /// The team that the key belonged to.
    pub team: Option<Arc<str>>,
    /// What the call was for.
    pub operation: Arc<str>,
    /// Where it went.
    pub deployment: Deployment,
    /// Settled, failed or unknown.
    pub status: EntryStatus,
    /// What it used.
    pub usage: TokenUsage,
    /// What it cost.
    pub cost: Picodollars,
    /// What the cost rests on: never more than an estimate, since nobody here saw the usage.
    pub basis: CostBasis,
    /// Milliseconds that it took.
    pub latency_ms: u32,
    /// The other program's own id of it.
    pub foreign_id: Option<Arc<str>>,
    /// Labels.
    pub tags: Vec<(Arc<str>, Arc<str>)>,
}

/// What became of calls that were handed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenIn {
    /// Booked now.
    pub booked: u64,
    /// In the ledger before.
    pub known: u64,
    /// Of these, those that are there with another amount or key: left as they are, but worth telling.
    pub differing: u64,
}

/// Calls to take in, and whom to tell.
pub(super) struct TakeIn {
    pub(super) entries: Vec<Entry>,
    pub(super) reply: oneshot::Sender<Result<TakenIn, LedgerError>>,
}

impl Ledger {
    /// Books calls of the past that aren't booked yet; returns when the disk has them.
    pub async fn take_in(&self, calls: Vec<PastCall>) -> Result<TakenIn, LedgerError> {
        let (reply, answer) = oneshot::channel();
        let entries = calls.into_iter().map(entry).collect();
        self.writer().submit(Command::TakeIn(Box::new(TakeIn { entries, reply })))?;
        answer.await.unwrap_or_else(|_| Err(LedgerError::Unwritable { detail: "the writer has stopped".into() }))
    }
}

/// The entry of such a call: one attempt that nobody here made, so without a status.
fn entry(call: PastCall) -> Entry {
    let attempt = Attempt {
        status: 0,
        error: None,
        usage: call.usage,
        cost: call.cost,
        basis: call.basis,
        started_ms: 0,
        latency_ms: call.latency_ms,
        time_to_first_token_ms: None,
        raw_usage: None,
        upstream_request_id: None,
        rating: None,
        deployment: call.deployment,
    };
    Entry {
        facts: CallFacts {
            team: call.team,
            operation: call.operation,
            client_request_id: call.foreign_id,
            tags: call.tags,
            ..CallFacts::plain(call.id, call.key, call.key_name, attempt.deployment.model.clone())
        },
        status: call.status,
        error: None,
        http_status: 0,
        attempts: vec![attempt],
        adjustment: None,
        reserved: Picodollars::ZERO,
        latency_ms: call.latency_ms,
        time_to_first_token_ms: None,
        saved: Picodollars::ZERO,
    }
}
