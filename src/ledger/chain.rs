//! Each day's entries in a chain of hashes, so that a row that is changed, removed, added or moved is found and named.
//!
//! The transaction that books an entry gives it the next number of its day's chain and moves the day's head on:
//! `head = SHA-256(head ‖ SHA-256(id ‖ row))`. A row ends with its number and eight bytes of its own hash, so that a
//! row that was changed is named and not its day alone. Days are those of the entries' ids in UTC, whatever the team's
//! zone: a change of zone changes no chain. The names that rows have numbers for are in a chain of their own.
//!
//! Nothing here is secret, so whoever can write the file can make a chain that is whole again. What they can't change is
//! a head that was kept elsewhere: a chain only grows, so an older head stays provable ([`Heads`]).

mod check;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::domain::RequestId;

use super::tables::{DecodeError, ENTRIES, NAMES, decode, encode, is_chained};

pub(super) use check::ChainCheck;
pub use check::{ChainFault, Fault};

/// The chains: the day's number since 1970, or [`NAMES_CHAIN`] → [`Chain`].
pub(super) const CHAINS: TableDefinition<u32, &[u8]> = TableDefinition::new("chain");
/// The place of the chain of names among the chains of days.
pub(super) const NAMES_CHAIN: u32 = u32::MAX;

/// What a row ends with: its number in the chain, and the first bytes of its hash.
const CHECK_LEN: usize = 8;
const SEAL_LEN: usize = 4 + CHECK_LEN;
const DAY_MS: i64 = 86_400_000;
/// Chains kept in memory: calls that end now began today or yesterday, and adjustments of a month touch each day of it.
const CHAINS_CACHED_MAX: usize = 64;

/// A SHA-256; prints as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    fn check(&self) -> [u8; CHECK_LEN] {
        let mut check = [0; CHECK_LEN];
        check.copy_from_slice(&self.0[..CHECK_LEN]);
        check
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A text that is no SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no SHA-256 in 64 hexadecimal digits")]
pub struct NotADigest(String);

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let wrong = || NotADigest(text.chars().take(80).collect());
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The UTC day of a chain; written as `2026-11-22`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainDay(pub Date);

impl Serialize for ChainDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ChainDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// How far a chain had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    /// How many entries it had, or names.
    pub entries: u32,
    /// What they came to.
    pub head: Digest,
}

/// The heads of all chains of a ledger at one moment, to be kept where nobody who can write the ledger can write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Heads {
    /// The chain of names.
    #[serde(default)]
    pub names: Option<Head>,
    /// The chain of each UTC day.
    pub days: BTreeMap<ChainDay, Head>,
}

/// A chain as the file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chain {
    /// The day whose chain was the last to begin before this one, so that a day that is taken away whole is missed.
    previous: Option<u32>,
    entries: u32,
    head: [u8; 32],
}

impl Chain {
    fn begin(day: u32, previous: Option<u32>) -> Self {
        let start: &[u8] = if day == NAMES_CHAIN { b"tollgate names 1" } else { b"tollgate entries 1" };
        let head = Digest::of(&[start, &day.to_be_bytes(), &previous.unwrap_or(NAMES_CHAIN).to_be_bytes()]);
        Self { previous, entries: 0, head: head.0 }
    }

    fn advance(&mut self, link: Digest) {
        self.head = Digest::of(&[&self.head, &link.0]).0;
        self.entries = self.entries.checked_add(1).expect("no day has four thousand million entries");
    }

    fn head(&self) -> Head {
        Head { entries: self.entries, head: Digest(self.head) }
    }
}

pub(super) fn decode_chain(bytes: &[u8]) -> Result<Chain, DecodeError> {
    decode("chain", bytes)
}

/// The day of an entry's chain.
fn day_of(id: RequestId) -> u32 {
    u32::try_from(id.unix_ms() / DAY_MS).unwrap_or(NAMES_CHAIN - 1)
}

/// The first id of the chain's day that an id is in.
pub(super) fn first_of_its_day(id: RequestId) -> RequestId {
    RequestId::first_of(i64::from(day_of(id)) * DAY_MS)
}

/// The day that a chain is of.
fn date_of(day: u32) -> Date {
    let second = i64::from(day) * (DAY_MS / 1_000);
    let instant = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX);
    jiff::tz::TimeZone::UTC.to_datetime(instant).date()
}

fn name_link(number: u32, name: &str) -> Digest {
    Digest::of(&[&number.to_be_bytes(), name.as_bytes()])
}

/// A row's number and hash: rows from before there were chains have neither, and are linked in the order of their ids.
struct Link {
    number: Option<u32>,
    hash: Digest,
    /// Whether the hash is the one that the row itself says.
    is_own: bool,
}

impl Link {
    fn read(id: RequestId, row: &[u8]) -> Self {
        let id = id.number().to_be_bytes();
        if !is_chained(row) {
            return Self { number: None, hash: Digest::of(&[&id, row]), is_own: true };
        }
        let sealed_len = row.len().saturating_sub(SEAL_LEN);
        let (sealed, check) = row.split_at(row.len().saturating_sub(CHECK_LEN));
        let number = sealed.get(sealed_len..).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        let hash = Digest::of(&[&id, sealed]);
        // A row that is too short to have a number is nobody's.
        Self { number: Some(number.unwrap_or(u32::MAX)), hash, is_own: hash.check() == check }
    }
}

/// The writer's chains: those that it is adding to.
#[derive(Default)]
pub(super) struct Chains {
    known: HashMap<u32, Chain>,
    changed: HashSet<u32>,
    /// The day whose chain was the last to begin.
    newest: Option<u32>,
}

impl Chains {
    /// Starts anew from what the file has.
    pub(super) fn load(table: &impl ReadableTable<u32, &'static [u8]>) -> Result<Self, redb::Error> {
        let mut days = Vec::new();
        let mut followed = HashSet::new();
        let mut chains = Self::default();
        for row in table.iter()? {
            let (day, chain) = row?;
            let (day, chain) = (day.value(), decode_chain(chain.value())?);
            if day == NAMES_CHAIN {
                chains.known.insert(day, chain);
            } else {
                days.push(day);
                followed.extend(chain.previous);
            }
        }
        chains.newest = days.into_iter().rfind(|day| !followed.contains(day));
        Ok(chains)
    }

    /// Puts an encoded entry in its day's chain: the row gets its number and its check.
    pub(super) fn seal(
        &mut self,
        id: RequestId,
        row: &mut Vec<u8>,
        table: &impl ReadableTable<u32, &'static [u8]>,
    ) -> Result<(), redb::Error> {
        let chain = self.chain(day_of(id), table)?;
        row.extend_from_slice(&chain.entries.to_be_bytes());
        let hash = Digest::of(&[&id.number().to_be_bytes(), row]);
        row.extend_from_slice(&hash.check());
        chain.advance(hash);
        Ok(())
    }

    /// Puts a new name in the chain of names.
    pub(super) fn add_name(
        &mut self,
        number: u32,
        name: &str,
        table: &impl ReadableTable<u32, &'static [u8]>,
    ) -> Result<(), redb::Error> {
        self.chain(NAMES_CHAIN, table)?.advance(name_link(number, name));
        Ok(())
    }

    /// The chain of a day, to be advanced.
    fn chain(&mut self, day: u32, table: &impl ReadableTable<u32, &'static [u8]>) -> Result<&mut Chain, redb::Error> {
        self.changed.insert(day);
        let chain = match self.known.entry(day) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let stored = table.get(day)?.map(|bytes| decode_chain(bytes.value())).transpose()?;
                let chain = stored.unwrap_or_else(|| {
                    let previous = if day == NAMES_CHAIN { None } else { self.newest.replace(day) };
                    Chain::begin(day, previous)
                });
                place.insert(chain)
            }
        };
        Ok(chain)
    }

    /// Whether a head moved on since they were written.
    pub(super) fn have_moved(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Writes the heads that moved on.
    pub(super) fn write(&mut self, table: &mut redb::Table<'_, u32, &'static [u8]>) -> Result<(), redb::Error> {
        for day in self.changed.drain() {
            table.insert(day, encode(&self.known[&day], Vec::with_capacity(48)).as_slice())?;
        }
        if self.known.len() > CHAINS_CACHED_MAX {
            self.known.retain(|day, _| *day == NAMES_CHAIN);
        }
        Ok(())
    }
}

/// Chains what a file has from before there were chains. Its rows stay as they are.
pub(super) fn take_over(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(CHAINS)?;
    let mut chains = Chains::default();
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (id, row) = row?;
        let id = RequestId::from_number(id.value());
        chains.chain(day_of(id), &table)?.advance(Link::read(id, row.value()).hash);
        if chains.known.len() > CHAINS_CACHED_MAX {
            chains.write(&mut table)?;
        }
    }
    for row in transaction.open_table(NAMES)?.iter()? {
        let (number, name) = row?;
        chains.add_name(number.value(), name.value(), &table)?;
    }
    chains.write(&mut table)
}
