//! How the ledger lies in its file: table definitions, stored types and their versions.

use std::sync::Arc;

use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::domain::{
    CacheOutcome, CostBasis, Deployment, Endpoint, EntryStatus, KeyId, Picodollars, RequestId, Residency, ServiceTier,
    TokenUsage, Window, WindowId,
};

use super::cells::{CELL_KEY_LEN, Cell, CellNames};
use super::decisions::{self, StoredDecision};
use super::names::{NONE, Names};
use super::record::{Adjustment, AdjustmentKind, Attempt, CallFacts, Entry, Rating, Scope};

/// Calls that run: request id → [`StoredEntry`].
pub(super) const PENDING: TableDefinition<u128, &[u8]> = TableDefinition::new("pending");
/// Calls that ended: request id → [`StoredEntry`], then its place in the chain of its day.
pub(super) const ENTRIES: TableDefinition<u128, &[u8]> = TableDefinition::new("entry");
/// Rollups.
pub(super) const CELLS: TableDefinition<[u8; CELL_KEY_LEN], &[u8]> = TableDefinition::new("cell");
/// Sums that budgets are held against: scope, window → [`StoredBalance`].
pub(super) const BALANCES: TableDefinition<(&str, u8, u32), &[u8]> = TableDefinition::new("balance");
/// Interned names.
pub(super) const NAMES: TableDefinition<u32, &str> = TableDefinition::new("name");
/// Facts about the file itself: `format`, `time_zone`, `instance`.
pub(super) const META: TableDefinition<&str, &str> = TableDefinition::new("meta");

/// The version of everything below; a file with a newer one is refused. 2: entries are chained.
pub(super) const FORMAT: u32 = 2;
/// The first byte of each stored value.
const VERSION: u8 = 1;
/// The first byte of entries since they are chained and keep a [`StoredRest`].
const ENTRY_VERSION: u8 = 2;

/// Why a stored value can't be read.
#[derive(Debug, thiserror::Error)]
#[error("a stored {what} can't be read: {detail}")]
pub struct DecodeError {
    what: &'static str,
    detail: String,
}

impl DecodeError {
    pub(super) fn new(what: &'static str, detail: String) -> Self {
        Self { what, detail }
    }
}

impl From<DecodeError> for redb::Error {
    fn from(error: DecodeError) -> Self {
        Self::Corrupted(error.to_string())
    }
}

pub(super) fn encode<T: Serialize>(value: &T, mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.clear();
    bytes.push(VERSION);
    postcard::to_extend(value, bytes).expect("these types always have a stored form")
}

pub(super) fn decode<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, DecodeError> {
    match bytes {
        [VERSION, rest @ ..] => {
            postcard::from_bytes(rest).map_err(|error| DecodeError { what, detail: error.to_string() })
        }
        [other, ..] => Err(DecodeError { what, detail: format!("version {other} is unknown") }),
        [] => Err(DecodeError { what, detail: "it is empty".to_owned() }),
    }
}

#[derive(Serialize, Deserialize)]
struct StoredAttempt<'a> {
    provider: u32,
    model: u32,
    status: u16,
    error: u32,
    usage: TokenUsage,
    cost: Picodollars,
    basis: CostBasis,
    started_ms: u32,
    latency_ms: u32,
    time_to_first_token_ms: Option<u32>,
    #[serde(borrow)]
    raw_usage: Option<&'a str>,
    upstream_request_id: Option<&'a str>,
}

/// One call, running or ended; names are numbers of [`NAMES`].
#[derive(Serialize, Deserialize)]
struct StoredEntry<'a> {
    key: u32,
    key_name: u32,
    team: u32,
    operation: u32,
    endpoint: Endpoint,
    requested_model: u32,
    stream: bool,
    cache: CacheOutcome,
    #[serde(borrow)]
    client_request_id: Option<&'a str>,
    tags: Vec<(&'a str, &'a str)>,
    status: EntryStatus,
    error: u32,
    http_status: u16,
    attempts: Vec<StoredAttempt<'a>>,
    reserved: Picodollars,
    latency_ms: u32,
    time_to_first_token_ms: Option<u32>,
    saved: Picodollars,
    /// Provider and model of a kept answer.
    kept_from: (u32, u32),
}

/// What entries keep since version 2, behind the rest.
#[derive(Default, Serialize, Deserialize)]
struct StoredRest<'a> {
    /// As many as there are attempts, or none.
    ratings: Vec<Option<StoredRating>>,
    #[serde(borrow)]
    adjustment: Option<StoredAdjustment<'a>>,
    decision: Option<StoredDecision>,
}

#[derive(Serialize, Deserialize)]
struct StoredRating {
    /// [`NONE`] where the model that was asked for has answered.
    model: u32,
    tier: ServiceTier,
    residency: Residency,
    fast: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredAdjustment<'a> {
    of: u128,
    kind: AdjustmentKind,
    unix_ms: i64,
    by: &'a str,
    reason: &'a str,
}

/// Whether a row ends with its place in a chain.
pub(super) fn is_chained(row: &[u8]) -> bool {
    row.first() != Some(&VERSION)
}

/// The parts of an entry's row: what it had from the beginning, and what came later. Its seal stands behind them.
fn decode_stored(bytes: &[u8]) -> Result<(StoredEntry<'_>, StoredRest<'_>), DecodeError> {
    const WHAT: &str = "entry";
    let failed = |error: postcard::Error| DecodeError { what: WHAT, detail: error.to_string() };
    match bytes {
        [ENTRY_VERSION, rest @ ..] => {
            let (stored, rest) = postcard::take_from_bytes(rest).map_err(failed)?;
            Ok((stored, postcard::take_from_bytes(rest).map_err(failed)?.0))
        }
        _ => Ok((decode(WHAT, bytes)?, StoredRest::default())),
    }
}

fn intern(names: &Names, name: Option<&str>) -> u32 {
    name.map_or(NONE, |name| names.intern(name))
}

/// An entry in its stored form, in the place of what `bytes` had, and the numbers that its cells are found by.
pub(super) fn encode_entry(entry: &Entry, names: &Names, bytes: &mut Vec<u8>) -> CellNames {
    let facts = &entry.facts;
    let attempts: Vec<StoredAttempt> = entry
        .attempts
        .iter()
        .map(|attempt| StoredAttempt {
            provider: names.intern(attempt.deployment.provider.as_str()),
            model: names.intern(attempt.deployment.model.as_str()),
            status: attempt.status,
            error: intern(names, attempt.error.as_deref()),
            usage: attempt.usage,
            cost: attempt.cost,
            basis: attempt.basis,
            started_ms: attempt.started_ms,
            latency_ms: attempt.latency_ms,
            time_to_first_token_ms: attempt.time_to_first_token_ms,
            raw_usage: attempt.raw_usage.as_deref(),
            upstream_request_id: attempt.upstream_request_id.as_deref(),
        })
        .collect();
    let stored = StoredEntry {
        key: names.intern(facts.key.as_str()),
        key_name: names.intern(&facts.key_name),
        team: intern(names, facts.team.as_deref()),
        operation: names.intern(&facts.operation),
        endpoint: facts.endpoint,
        requested_model: names.intern(facts.requested_model.as_str()),
        stream: facts.stream,
        cache: facts.cache,
        client_request_id: facts.client_request_id.as_deref(),
        tags: facts.tags.iter().map(|(name, value)| (&**name, &**value)).collect(),
        status: entry.status,
        error: intern(names, entry.error.as_deref()),
        http_status: entry.http_status,
        attempts,
        reserved: entry.reserved,
        latency_ms: entry.latency_ms,
        time_to_first_token_ms: entry.time_to_first_token_ms,
        saved: entry.saved,
        kept_from: facts
            .kept_from
            .as_ref()
            .map_or((NONE, NONE), |kept| (names.intern(kept.provider.as_str()), names.intern(kept.model.as_str()))),
    };
    let cell_names = CellNames {
        team: stored.team,
        key: stored.key,
        operation: stored.operation,
        deployments: stored.attempts.iter().map(|attempt| (attempt.provider, attempt.model)).collect(),
        kept_from: stored.kept_from,
    };
    let ratings = entry.attempts.iter().map(|attempt| {
        attempt.rating.as_ref().map(|rating| StoredRating {
            model: intern(names, rating.model.as_ref().map(crate::domain::ModelId::as_str)),
            tier: rating.tier,
            residency: rating.residency,
            fast: rating.fast,
        })
    });
    let adjustment = entry.adjustment.as_ref().map(|adjustment| StoredAdjustment {
        of: adjustment.of.number(),
        kind: adjustment.kind,
        unix_ms: adjustment.made.as_millisecond(),
        by: &adjustment.by,
        reason: &adjustment.reason,
    });
    let decision = facts.decision.as_deref().map(|decision| decisions::stored(decision, names));
    let rest = StoredRest { ratings: ratings.collect(), adjustment, decision };
    bytes.clear();
    bytes.push(ENTRY_VERSION);
    *bytes = postcard::to_extend(&stored, std::mem::take(bytes))
        .and_then(|bytes| postcard::to_extend(&rest, bytes))
        .expect("these types always have a stored form");
    cell_names
}

/// The numbers of an entry's key, by id and by name, without reading the rest: they come first.
pub(super) fn decode_key(bytes: &[u8]) -> Option<(u32, u32)> {
    let rest = bytes.strip_prefix(&[ENTRY_VERSION]).or_else(|| bytes.strip_prefix(&[VERSION]));
    rest.and_then(|rest| postcard::take_from_bytes(rest).ok()).map(|(key, _)| key)
}

/// As much of an entry as a look at very many of them needs.
pub(super) struct Gist {
    pub(super) cost: Picodollars,
    pub(super) latency_ms: u32,
    /// The number of its error's code; [`NONE`] where it has none.
    pub(super) error: u32,
    /// Whether it is no call, but adjusts one.
    pub(super) is_adjustment: bool,
}

/// The gist of an entry, several times as fast as the whole: no name is looked up.
pub(super) fn decode_gist(bytes: &[u8]) -> Result<Gist, DecodeError> {
    let (stored, rest) = decode_stored(bytes)?;
    let cost = stored.attempts.iter().map(|attempt| attempt.cost).sum();
    Ok(Gist { cost, latency_ms: stored.latency_ms, error: stored.error, is_adjustment: rest.adjustment.is_some() })
}

/// The numbers that the cells of an entry are found by, for an entry that the file has.
pub(super) fn cell_names(entry: &Entry, names: &Names) -> CellNames {
    let number = |name: &str| names.find(name).unwrap_or(NONE);
    let facts = &entry.facts;
    CellNames {
        team: facts.team.as_deref().map_or(NONE, number),
        key: number(facts.key.as_str()),
        operation: number(&facts.operation),
        deployments: entry
            .attempts
            .iter()
            .map(|attempt| (number(attempt.deployment.provider.as_str()), number(attempt.deployment.model.as_str())))
            .collect(),
        kept_from: facts
            .kept_from
            .as_ref()
            .map_or((NONE, NONE), |kept| (number(kept.provider.as_str()), number(kept.model.as_str()))),
    }
}

/// An entry from its stored form.
pub(super) fn decode_entry(id: u128, bytes: &[u8], names: &Names) -> Result<Entry, DecodeError> {
    const WHAT: &str = "entry";
    let (stored, rest) = decode_stored(bytes)?;
    let missing =
        || DecodeError { what: WHAT, detail: "it names something that is not in the list of names".to_owned() };
    let name = |number| names.name(number).ok_or_else(missing);
    let parse = |detail: crate::domain::IdError| DecodeError { what: WHAT, detail: detail.to_string() };
    let mut attempts = Vec::with_capacity(stored.attempts.len());
    let mut ratings = rest.ratings.into_iter();
    for attempt in stored.attempts {
        let rating = ratings.next().flatten().map(|rating| {
            let model = names.name(rating.model).map(|model| model.parse()).transpose().map_err(parse)?;
            Ok::<_, DecodeError>(Rating { model, tier: rating.tier, residency: rating.residency, fast: rating.fast })
        });
        attempts.push(Attempt {
            deployment: Deployment {
                provider: name(attempt.provider)?.parse().map_err(parse)?,
                model: name(attempt.model)?.parse().map_err(parse)?,
            },
            status: attempt.status,
            error: names.name(attempt.error),
            usage: attempt.usage,
            cost: attempt.cost,
            basis: attempt.basis,
            started_ms: attempt.started_ms,
            latency_ms: attempt.latency_ms,
            time_to_first_token_ms: attempt.time_to_first_token_ms,
            raw_usage: attempt.raw_usage.map(Arc::from),
            upstream_request_id: attempt.upstream_request_id.map(Arc::from),
            rating: rating.transpose()?,
        });
    }
    let kept_from = match stored.kept_from {
        (NONE, _) | (_, NONE) => None,
        (provider, model) => Some(Deployment {
            provider: name(provider)?.parse().map_err(parse)?,
            model: name(model)?.parse().map_err(parse)?,
        }),
    };
    let facts = CallFacts {
        id: RequestId::from_number(id),
        key: KeyId::new(&name(stored.key)?).map_err(parse)?,
        key_name: name(stored.key_name)?,
        team: names.name(stored.team),
        operation: name(stored.operation)?,
        endpoint: stored.endpoint,
        requested_model: name(stored.requested_model)?.parse().map_err(parse)?,
        stream: stored.stream,
        cache: stored.cache,
        kept_from,
        decision: rest.decision.map(|stored| decisions::read(stored, names)).transpose()?,
        client_request_id: stored.client_request_id.map(Arc::from),
        trace: None,
        tags: stored.tags.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
    };
    let adjustment = rest.adjustment.map(|stored| Adjustment {
        of: RequestId::from_number(stored.of),
        kind: stored.kind,
        made: jiff::Timestamp::from_millisecond(stored.unix_ms).unwrap_or_default(),
        by: stored.by.into(),
        reason: stored.reason.into(),
    });
    Ok(Entry {
        facts,
        status: stored.status,
        error: names.name(stored.error),
        http_status: stored.http_status,
        attempts,
        reserved: stored.reserved,
        latency_ms: stored.latency_ms,
        time_to_first_token_ms: stored.time_to_first_token_ms,
        saved: stored.saved,
        adjustment,
    })
}

pub(super) fn encode_cell(cell: &Cell) -> Vec<u8> {
    encode(cell, Vec::with_capacity(64))
}

pub(super) fn decode_cell(bytes: &[u8]) -> Result<Cell, DecodeError> {
    decode("rollup", bytes)
}

/// The booked part of a balance; what is held is the sum of the pending entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredBalance {
    pub(super) spent: Picodollars,
    pub(super) unknown: Picodollars,
}

pub(super) fn encode_balance(balance: StoredBalance) -> Vec<u8> {
    encode(&balance, Vec::with_capacity(32))
}

pub(super) fn decode_balance(bytes: &[u8]) -> Result<StoredBalance, DecodeError> {
    decode("balance", bytes)
}

/// The key of a balance.
pub(super) fn balance_key(scope: &Scope, window: WindowId) -> (&str, u8, u32) {
    let kind = Window::ALL.iter().position(|kind| *kind == window.window).expect("every kind is in the list of all");
    (scope.as_str(), u8::try_from(kind).expect("there are five kinds"), window.number)
}

/// The names of the file, in the order of their numbers.
pub(super) fn read_names(table: &impl ReadableTable<u32, &'static str>) -> Result<Vec<Arc<str>>, redb::Error> {
    let mut names: Vec<Arc<str>> = Vec::new();
    for row in table.iter()? {
        let (number, name) = row?;
        names.push(name.value().into());
        if usize::try_from(number.value()) != Ok(names.len()) {
            return Err(redb::Error::Corrupted(format!("name {} is missing", names.len())));
        }
    }
    Ok(names)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An entry of one attempt, for tests.
    pub(in crate::ledger) fn entry(id: u128, cost: i128) -> Entry {
        Entry {
            facts: CallFacts {
                stream: true,
                client_request_id: Some("mine".into()),
                tags: vec![("env".into(), "test".into())],
                ..CallFacts::plain(
                    RequestId::from_number(id),
                    KeyId::new("key_1").unwrap(),
                    "ci".into(),
                    "gpt-5".parse().unwrap(),
                )
            },
            status: EntryStatus::Settled,
            error: None,
            http_status: 200,
            attempts: vec![Attempt {
                deployment: "openai/gpt-5".parse().unwrap(),
                status: 200,
                error: None,
                usage: TokenUsage { uncached_input: 10, output: 5, ..TokenUsage::default() },
                cost: Picodollars::new(cost),
                basis: CostBasis::Exact,
                started_ms: 1,
                latency_ms: 20,
                time_to_first_token_ms: Some(7),
                raw_usage: Some("{}".into()),
                upstream_request_id: None,
                rating: None,
            }],
            reserved: Picodollars::ZERO,
            latency_ms: 21,
            time_to_first_token_ms: Some(8),
            saved: Picodollars::ZERO,
            adjustment: None,
        }
    }

    /// A row as it was before entries were chained.
    pub(in crate::ledger) fn as_version_1(row: &[u8]) -> Vec<u8> {
        let (_, rest): (StoredEntry<'_>, _) = postcard::take_from_bytes(&row[1..]).unwrap();
        let mut old = row[..row.len() - rest.len()].to_vec();
        old[0] = VERSION;
        old
    }

    #[test]
    fn an_entry_of_before_the_chains_can_still_be_read() {
        let names = Names::default();
        let entry = entry(7, 155_400_000);
        let mut bytes = Vec::new();
        encode_entry(&entry, &names, &mut bytes);
        let old = as_version_1(&bytes);
        assert!(is_chained(&bytes) && !is_chained(&old));
        assert_eq!(decode_entry(7, &old, &names).unwrap(), entry);
        assert_eq!(decode_key(&old), decode_key(&bytes));
        assert_eq!(decode_gist(&old).unwrap().cost, entry.cost());
    }

    #[test]
    fn an_entry_survives_storage() {
        let names = Names::default();
        let mut entry = entry(7, 155_400_000);
        entry.attempts[0].rating = Some(Rating {
            model: Some("gpt-5-2025-08-07".parse().unwrap()),
            tier: ServiceTier::Priority,
            residency: Residency::Eu,
            fast: true,
        });
        entry.adjustment = Some(Adjustment {
            of: RequestId::from_number(3),
            kind: AdjustmentKind::ByHand,
            made: jiff::Timestamp::from_millisecond(1_795_348_800_123).unwrap(),
            by: "ada".into(),
            reason: "the invoice says so".into(),
        });
        let mut bytes = Vec::new();
        encode_entry(&entry, &names, &mut bytes);
        assert_eq!(decode_entry(7, &bytes, &names).unwrap(), entry);
        let gist = decode_gist(&bytes).unwrap();
        assert_eq!((gist.cost, gist.latency_ms, gist.error), (entry.cost(), 21, NONE));
        assert_eq!(decode_key(&bytes), Some((names.find("key_1").unwrap(), names.find("ci").unwrap())));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let names = Names::default();
            let _ = decode_entry(1, &bytes, &names);
            let _ = decode_key(&bytes);
            let _ = decode_gist(&bytes);
            let _ = decode_cell(&bytes);
            let _ = decode_balance(&bytes);
        }
    }
}
