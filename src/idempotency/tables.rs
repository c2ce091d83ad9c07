//! How keys and answers lie in their file: apart, so that looking through the keys reads no answers.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use redb::TableDefinition;
use serde::{Deserialize, Serialize};

use super::{Answered, KEPT_FOR, Kept};
use crate::domain::{Deployment, Owner, RequestId};

/// Where a key lies: the hash of virtual key, path and key.
pub(super) type Slot = [u8; 32];

/// Calls that were begun: slot → [`Claimed`].
pub(super) const CLAIMS: TableDefinition<Slot, &[u8]> = TableDefinition::new("claim");
/// What they were answered: slot → [`StoredAnswer`].
pub(super) const ANSWERS: TableDefinition<Slot, &[u8]> = TableDefinition::new("answer");
/// When they are forgotten: milliseconds since 1970, slot.
pub(super) const EXPIRY: TableDefinition<(u64, Slot), ()> = TableDefinition::new("expiry");

/// The first byte of each stored value.
const VERSION: u8 = 1;

/// A call that was begun with a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Claimed {
    pub(super) digest: [u8; 32],
    call: u128,
    started_ms: i64,
    key: Option<String>,
    session: Option<String>,
    users: Vec<String>,
}

impl Claimed {
    pub(super) fn new(digest: [u8; 32], call: RequestId, now: Timestamp) -> Self {
        Self {
            digest,
            call: call.number(),
            started_ms: now.as_millisecond(),
            key: None,
            session: None,
            users: Vec::new(),
        }
    }

    pub(super) fn call(&self) -> RequestId {
        RequestId::from_number(self.call)
    }

    pub(super) fn started(&self) -> Timestamp {
        Timestamp::from_millisecond(self.started_ms).unwrap_or_default()
    }

    pub(super) fn expires(&self) -> Timestamp {
        self.started().checked_add(KEPT_FOR).unwrap_or(Timestamp::MAX)
    }

    /// The row of [`EXPIRY`].
    pub(super) fn expiry(&self) -> u64 {
        expiry(self.started(), KEPT_FOR)
    }

    /// Remembers whose contents the answer is.
    pub(super) fn own(&mut self, owners: Vec<Owner>) {
        self.users.clear();
        for owner in owners {
            match owner {
                Owner::Key(key) => self.key = Some(key.to_string()),
                Owner::Session(session) => self.session = Some(session),
                Owner::User(user) => self.users.push(user),
            }
        }
    }

    pub(super) fn is_of(&self, owner: &Owner) -> bool {
        match owner {
            Owner::Key(key) => self.key.as_deref() == Some(key.as_str()),
            Owner::Session(session) => self.session.as_ref() == Some(session),
            Owner::User(user) => self.users.contains(user),
        }
    }
}

/// The place in [`EXPIRY`] of what began then.
pub(super) fn expiry(started: Timestamp, kept_for: Duration) -> u64 {
    let kept_ms = i64::try_from(kept_for.as_millis()).unwrap_or(i64::MAX);
    u64::try_from(started.as_millisecond().saturating_add(kept_ms)).unwrap_or(0)
}

#[derive(Serialize, Deserialize)]
enum StoredAnswer {
    Kept(StoredKept),
    TooLarge,
    Deleted,
}

#[derive(Serialize, Deserialize)]
struct StoredKept {
    deployment: Option<String>,
    upstream_request_id: Option<String>,
    dropped: Vec<String>,
    estimated: bool,
    content_type: Option<String>,
    body: Vec<u8>,
}

fn wrong(detail: &str) -> redb::Error {
    redb::Error::Corrupted(format!("what is stored of an idempotency key can't be read: {detail}"))
}

fn unversioned(bytes: &[u8]) -> Result<&[u8], redb::Error> {
    match bytes {
        [VERSION, rest @ ..] => Ok(rest),
        [other, ..] => Err(wrong(&format!("version {other} is unknown"))),
        [] => Err(wrong("it is empty")),
    }
}

pub(super) fn encode_claim(claimed: &Claimed) -> Vec<u8> {
    postcard::to_extend(claimed, vec![VERSION]).expect("these types always have a stored form")
}

pub(super) fn decode_claim(bytes: &[u8]) -> Result<Claimed, redb::Error> {
    postcard::from_bytes(unversioned(bytes)?).map_err(|error| wrong(&error.to_string()))
}

pub(super) fn encode_answer(answered: &Answered) -> Vec<u8> {
    let stored = match answered {
        Answered::TooLarge => StoredAnswer::TooLarge,
        Answered::Deleted => StoredAnswer::Deleted,
        Answered::Kept(kept) => StoredAnswer::Kept(StoredKept {
            deployment: kept.deployment.as_ref().map(ToString::to_string),
            upstream_request_id: kept.upstream_request_id.as_deref().map(ToOwned::to_owned),
            dropped: kept.dropped.clone(),
            estimated: kept.estimated,
            content_type: kept.content_type.clone(),
            body: kept.body.to_vec(),
        }),
    };
    postcard::to_extend(&stored, vec![VERSION]).expect("these types always have a stored form")
}

/// The answer that a call was given.
pub(super) fn decode_answer(call: RequestId, bytes: &[u8]) -> Result<Answered, redb::Error> {
    let stored = postcard::from_bytes(unversioned(bytes)?).map_err(|error| wrong(&error.to_string()))?;
    Ok(match stored {
        StoredAnswer::TooLarge => Answered::TooLarge,
        StoredAnswer::Deleted => Answered::Deleted,
        StoredAnswer::Kept(stored) => {
            let deployment: Option<Deployment> = match stored.deployment {
                None => None,
                Some(name) => Some(name.parse().map_err(|_| wrong("its deployment has no name"))?),
            };
            Answered::Kept(Box::new(Kept {
                call,
                deployment,
                upstream_request_id: stored.upstream_request_id.map(Into::into),
                dropped: stored.dropped,
                estimated: stored.estimated,
                content_type: stored.content_type,
                body: Bytes::from(stored.body),
            }))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_row_or_an_error(bytes: Vec<u8>) {
            let _ = decode_claim(&bytes);
            let _ = decode_answer(RequestId::from_number(1), &bytes);
            let mut versioned = vec![VERSION];
            versioned.extend(bytes);
            let _ = decode_claim(&versioned);
            let _ = decode_answer(RequestId::from_number(1), &versioned);
        }
    }
}
