//! How keys, teams, users, tokens and budgets lie in the settings file, and the state in memory that mirrors them.
//!
//! A row is a version byte and JSON: few and small, they gain optional fields without a new version, and a person can
//! read them. Only hashes of secrets are stored. A [`Draft`] loads everything within a write transaction, and each of its
//! methods changes table and state alike; so the state that is swapped in after the commit is what the disk holds, even
//! when an earlier commit failed with an unknown outcome. The price is a pass over all rows per change: 0.23 s at ten
//! thousand keys in an unoptimised build.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::admin_token::AdminToken;
use super::error::KeysError;
use super::pepper::CredentialHash;
use super::rows::{StoredKey, StoredUser};
use super::team::Team;
use super::virtual_key::VirtualKey;
use crate::domain::{
    BudgetAction, BudgetDefinition, BudgetId, BudgetScope, BudgetTerms, KeyId, Picodollars, Revision, TeamId, Window,
};
use crate::store::{ReadableTable as _, SettingsError, TableDefinition, WriteTransaction};

type Table = TableDefinition<'static, &'static str, &'static [u8]>;

const KEYS: (&str, Table) = ("virtual_keys", TableDefinition::new("virtual_keys"));
const USERS: (&str, Table) = ("users", TableDefinition::new("users"));
const TEAMS: (&str, Table) = ("teams", TableDefinition::new("teams"));
const RESETS: (&str, Table) = ("reset_links", TableDefinition::new("reset_links"));
const TOKENS: (&str, Table) = ("admin_tokens", TableDefinition::new("admin_tokens"));
const BUDGETS: (&str, Table) = ("budgets", TableDefinition::new("budgets"));
const SESSIONS: (&str, Table) = ("sessions", TableDefinition::new("sessions"));
const PEPPER: (&str, Table) = ("pepper_check", TableDefinition::new("pepper_check"));
const COUNTERS: TableDefinition<&str, u64> = TableDefinition::new("counters");
/// The number of the budget made last: kept although the budget may be gone, because sums hang on its id.
const LAST_BUDGET: &str = "last_budget";

/// The version of every row here.
const ROW_VERSION: u8 = 1;

/// Why a stored row can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Not even a version.
    #[error("the row is empty")]
    Empty,
    /// A version that this program doesn't know.
    #[error("the row has version {0}, which this program doesn't know")]
    Version(u8),
    /// Not the fields that a row of its kind has.
    #[error("the row's fields can't be read at byte {0}")]
    Fields(usize),
    /// A field with a value that it can't have.
    #[error("the row's {0} makes no sense")]
    Value(&'static str),
}

fn encode<R: Serialize>(row: &R) -> Vec<u8> {
    let mut bytes = vec![ROW_VERSION];
    serde_json::to_writer(&mut bytes, row).expect("rows have text keys and write to memory");
    bytes
}

fn decode<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, RowError> {
    match bytes {
        [] => Err(RowError::Empty),
        // The parser's own message would repeat what the row holds.
        [ROW_VERSION, json @ ..] => serde_json::from_slice(json).map_err(|error| RowError::Fields(error.column())),
        [version, ..] => Err(RowError::Version(*version)),
    }
}

pub(super) fn instant(field: &'static str, milliseconds: i64) -> Result<Timestamp, RowError> {
    Timestamp::from_millisecond(milliseconds).map_err(|_| RowError::Value(field))
}

pub(super) fn hash_text(hash: &CredentialHash) -> String {
    STANDARD_NO_PAD.encode(hash)
}

pub(super) fn parse_hash(text: &str) -> Result<CredentialHash, RowError> {
    let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| RowError::Value("hash"))?;
    bytes.try_into().map_err(|_| RowError::Value("hash"))
}

#[derive(Serialize, Deserialize)]
struct ResetRow {
    hash: String,
    expires_at_ms: i64,
}

/// A one-time link by which a user may choose a new password.
#[derive(Clone)]
pub(super) struct StoredReset {
    pub(super) hash: CredentialHash,
    pub(super) expires_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct TokenRow {
    hash: String,
    created_ms: i64,
    last4: String,
}

/// An admin token and the hash that it is found by.
#[derive(Clone)]
pub(super) struct StoredToken {
    pub(super) token: Arc<AdminToken>,
    pub(super) hash: CredentialHash,
}

#[derive(Serialize, Deserialize)]
struct BudgetRow {
    scope: BudgetScope,
    window: Window,
    limit_usd: Picodollars,
    action: String,
    downgrade_to: Option<String>,
    thresholds: Vec<u8>,
    created_ms: i64,
    /// Absent in rows of versions that didn't count.
    #[serde(default)]
    revision: Revision,
}

fn budget_to_row(budget: &BudgetDefinition) -> BudgetRow {
    BudgetRow {
        scope: budget.scope.clone(),
        window: budget.window,
        limit_usd: budget.limit,
        action: budget.action.word().to_owned(),
        downgrade_to: budget.action.downgrade_to().map(str::to_owned),
        thresholds: budget.thresholds.clone(),
        created_ms: budget.created.as_millisecond(),
        revision: budget.revision,
    }
}

fn budget_from_row(id: &str, row: BudgetRow) -> Result<BudgetDefinition, RowError> {
    let id: BudgetId = id.parse().map_err(|_| RowError::Value("id"))?;
    let action = BudgetAction::new(&row.action, row.downgrade_to.as_deref()).map_err(|_| RowError::Value("action"))?;
    let terms = BudgetTerms { limit: row.limit_usd, action, thresholds: row.thresholds };
    let created = instant("created_ms", row.created_ms)?;
    let budget = BudgetDefinition::new(id, row.scope, row.window, terms, created);
    let budget = budget.map_err(|_| RowError::Value("terms"))?;
    Ok(BudgetDefinition { revision: row.revision, ..budget })
}

#[derive(Serialize, Deserialize)]
struct SessionRow {
    user: String,
    created_ms: i64,
    last_seen_ms: i64,
}

/// A session as it is stored, under the hash of its cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredSession {
    pub(super) user: String,
    pub(super) created: Timestamp,
    pub(super) last_seen: Timestamp,
}

/// What a secret opens.
#[derive(Clone)]
pub(super) struct KnownSecret {
    pub(super) key: Arc<VirtualKey>,
    /// From when on it opens nothing: absent for a key's present secret.
    pub(super) valid_until: Option<Timestamp>,
}

/// Everything that credentials are checked against, as the settings file holds it.
#[derive(Default)]
pub(super) struct State {
    pub(super) keys: BTreeMap<KeyId, StoredKey>,
    pub(super) keys_by_hash: HashMap<CredentialHash, KnownSecret>,
    /// The removed ones too.
    pub(super) teams: BTreeMap<TeamId, Arc<Team>>,
    /// By name in lower case.
    pub(super) users: BTreeMap<String, StoredUser>,
    /// By name in lower case.
    pub(super) resets: BTreeMap<String, StoredReset>,
    /// By name.
    pub(super) tokens: BTreeMap<String, StoredToken>,
    pub(super) budgets: BTreeMap<BudgetId, Arc<BudgetDefinition>>,
}

/// A change under way: the state, and the transaction in which it is being changed.
pub(super) struct Draft<'t> {
    transaction: &'t WriteTransaction,
    pub(super) state: State,
}

impl State {
    /// Lets a key be found by its secrets.
    fn learn(&mut self, stored: &StoredKey) {
        let present = KnownSecret { key: Arc::clone(&stored.key), valid_until: None };
        for (hash, secret) in stored.previous.iter().zip(&stored.key.previous) {
            let known = KnownSecret { valid_until: Some(secret.valid_until), ..present.clone() };
            self.keys_by_hash.insert(*hash, known);
        }
        self.keys_by_hash.insert(stored.hash, present);
    }
}

impl<'t> Draft<'t> {
    /// Loads what the file holds.
    pub(super) fn load(transaction: &'t WriteTransaction) -> Result<Self, KeysError> {
        let mut state = State::default();
        for (_, stored) in read(transaction, KEYS, StoredKey::from_row)? {
            state.learn(&stored);
            state.keys.insert(stored.key.id.clone(), stored);
        }
        for (_, team) in read(transaction, TEAMS, Team::from_row)? {
            state.teams.insert(team.id.clone(), Arc::new(team));
        }
        state.users = read(transaction, USERS, |_, row| StoredUser::from_row(row))?.into_iter().collect();
        let reset = |_: &str, row: ResetRow| {
            let expires_at = instant("expires_at_ms", row.expires_at_ms)?;
            Ok(StoredReset { hash: parse_hash(&row.hash)?, expires_at })
        };
        state.resets = read(transaction, RESETS, reset)?.into_iter().collect();
        let token = |name: &str, row: TokenRow| {
            let created = instant("created_ms", row.created_ms)?;
            let token = Arc::new(AdminToken { name: name.to_owned(), created, last4: row.last4 });
            Ok(StoredToken { token, hash: parse_hash(&row.hash)? })
        };
        state.tokens = read(transaction, TOKENS, token)?.into_iter().collect();
        for (_, budget) in read(transaction, BUDGETS, budget_from_row)? {
            state.budgets.insert(budget.id, Arc::new(budget));
        }
        Ok(Self { transaction, state })
    }

    /// Puts a key, new or changed; of its secrets, only those that it has now open it from now on.
    pub(super) fn put_key(&mut self, stored: StoredKey) -> Result<(), SettingsError> {
        put(self.transaction, KEYS.1, stored.key.id.as_str(), &encode(&stored.to_row()))?;
        if let Some(before) = self.state.keys.get(&stored.key.id) {
            for hash in before.previous.iter().chain([&before.hash]) {
                self.state.keys_by_hash.remove(hash);
            }
        }
        self.state.learn(&stored);
        self.state.keys.insert(stored.key.id.clone(), stored);
        Ok(())
    }

    /// Puts a team, new or changed.
    pub(super) fn put_team(&mut self, team: Team) -> Result<Arc<Team>, SettingsError> {
        put(self.transaction, TEAMS.1, team.id.as_str(), &encode(&team.to_row()))?;
        let team = Arc::new(team);
        self.state.teams.insert(team.id.clone(), Arc::clone(&team));
        Ok(team)
    }

    /// Makes a team of each name that keys and budgets have from before there were teams.
    pub(super) fn make_named_teams(&mut self) -> Result<(), SettingsError> {
        let of_keys =
            self.state.keys.values().filter_map(|stored| Some((stored.key.team.clone()?, stored.key.created)));
        let of_budgets = self.state.budgets.values().filter_map(|budget| match &budget.scope {
            BudgetScope::Team(name) => Some((TeamId::new(name.as_str()).ok()?, budget.created)),
            _ => None,
        });
        let mut named: BTreeMap<TeamId, Timestamp> = BTreeMap::new();
        for (id, created) in of_keys.chain(of_budgets) {
            let first = named.entry(id).or_insert(created);
            *first = created.min(*first);
        }
        let known: BTreeSet<TeamId> = self.state.teams.keys().cloned().collect();
        for (id, created) in named.into_iter().filter(|(id, _)| !known.contains(id)) {
            let name = id.as_str().to_owned();
            self.put_team(Team { id, name, created, removed_at: None, revision: Revision::FIRST })?;
        }
        Ok(())
    }

    /// Puts a user, new or changed.
    pub(super) fn put_user(&mut self, stored: StoredUser) -> Result<(), SettingsError> {
        let key = stored.user.name.to_lowercase();
        put(self.transaction, USERS.1, &key, &encode(&stored.to_row()))?;
        self.state.users.insert(key, stored);
        Ok(())
    }

    /// Takes a user away, and their reset link.
    pub(super) fn remove_user(&mut self, key: &str) -> Result<(), SettingsError> {
        self.remove_reset(key)?;
        delete(self.transaction, USERS.1, key)?;
        self.state.users.remove(key);
        Ok(())
    }

    /// Puts the one reset link of a user.
    pub(super) fn put_reset(&mut self, user: &str, reset: StoredReset) -> Result<(), SettingsError> {
        let row = ResetRow { hash: hash_text(&reset.hash), expires_at_ms: reset.expires_at.as_millisecond() };
        put(self.transaction, RESETS.1, user, &encode(&row))?;
        self.state.resets.insert(user.to_owned(), reset);
        Ok(())
    }

    /// Takes the reset link of a user away.
    pub(super) fn remove_reset(&mut self, user: &str) -> Result<(), SettingsError> {
        delete(self.transaction, RESETS.1, user)?;
        self.state.resets.remove(user);
        Ok(())
    }

    /// Puts an admin token.
    pub(super) fn put_token(&mut self, stored: StoredToken) -> Result<(), SettingsError> {
        let StoredToken { token, hash } = &stored;
        let created_ms = token.created.as_millisecond();
        let row = TokenRow { hash: hash_text(hash), created_ms, last4: token.last4.clone() };
        put(self.transaction, TOKENS.1, &token.name, &encode(&row))?;
        self.state.tokens.insert(token.name.clone(), stored);
        Ok(())
    }

    /// Takes an admin token away.
    pub(super) fn remove_token(&mut self, name: &str) -> Result<(), SettingsError> {
        delete(self.transaction, TOKENS.1, name)?;
        self.state.tokens.remove(name);
        Ok(())
    }

    /// An id that no budget ever had.
    pub(super) fn next_budget_id(&mut self) -> Result<BudgetId, KeysError> {
        let mut counters = self.transaction.open_table(COUNTERS).map_err(SettingsError::from)?;
        let last = counters.get(LAST_BUDGET).map_err(SettingsError::from)?.map_or(0, |last| last.value());
        let next = u32::try_from(last + 1)
            .map_err(|_| KeysError::TooMany { what: "budgets made so far", max: u32::MAX as usize })?;
        counters.insert(LAST_BUDGET, u64::from(next)).map_err(SettingsError::from)?;
        Ok(BudgetId(next))
    }

    /// Puts a budget, new or changed.
    pub(super) fn put_budget(&mut self, budget: Arc<BudgetDefinition>) -> Result<(), SettingsError> {
        put(self.transaction, BUDGETS.1, &budget.id.to_string(), &encode(&budget_to_row(&budget)))?;
        self.state.budgets.insert(budget.id, budget);
        Ok(())
    }

    /// Takes a budget away.
    pub(super) fn remove_budget(&mut self, id: BudgetId) -> Result<(), SettingsError> {
        delete(self.transaction, BUDGETS.1, &id.to_string())?;
        self.state.budgets.remove(&id);
        Ok(())
    }
}

/// The sessions that the file holds.
pub(super) fn load_sessions(
    transaction: &WriteTransaction,
) -> Result<HashMap<CredentialHash, StoredSession>, KeysError> {
    let session = |hash: &str, row: SessionRow| {
        let (created, last_seen) = (instant("created_ms", row.created_ms)?, instant("last_seen_ms", row.last_seen_ms)?);
        Ok((parse_hash(hash)?, StoredSession { user: row.user, created, last_seen }))
    };
    Ok(read(transaction, SESSIONS, session)?.into_iter().map(|(_, session)| session).collect())
}

/// Puts a session, new or seen again.
pub(super) fn put_session(
    transaction: &WriteTransaction,
    hash: &CredentialHash,
    session: &StoredSession,
) -> Result<(), SettingsError> {
    let row = SessionRow {
        user: session.user.clone(),
        created_ms: session.created.as_millisecond(),
        last_seen_ms: session.last_seen.as_millisecond(),
    };
    put(transaction, SESSIONS.1, &hash_text(hash), &encode(&row))
}

/// Takes a session away.
pub(super) fn remove_session(transaction: &WriteTransaction, hash: &CredentialHash) -> Result<(), SettingsError> {
    delete(transaction, SESSIONS.1, &hash_text(hash))
}

/// The value by which the settings know their pepper.
pub(super) fn pepper_check(transaction: &WriteTransaction) -> Result<Option<CredentialHash>, KeysError> {
    let check = read(transaction, PEPPER, |_, text: String| parse_hash(&text))?;
    Ok(check.into_iter().next().map(|(_, check)| check))
}

/// Remembers the pepper that these settings go with.
pub(super) fn put_pepper_check(transaction: &WriteTransaction, check: &CredentialHash) -> Result<(), SettingsError> {
    put(transaction, PEPPER.1, "check", &encode(&hash_text(check)))
}

/// Reads every row of a table, which is made where there is none.
fn read<R: DeserializeOwned, T>(
    transaction: &WriteTransaction,
    (name, table): (&'static str, Table),
    convert: impl Fn(&str, R) -> Result<T, RowError>,
) -> Result<Vec<(String, T)>, KeysError> {
    let table = transaction.open_table(table).map_err(SettingsError::from)?;
    let mut rows = Vec::new();
    for row in table.iter().map_err(SettingsError::from)? {
        let (key, bytes) = row.map_err(SettingsError::from)?;
        let converted = decode(bytes.value()).and_then(|row| convert(key.value(), row));
        let damaged = |source| KeysError::Damaged { table: name, row: key.value().to_owned(), source };
        rows.push((key.value().to_owned(), converted.map_err(damaged)?));
    }
    Ok(rows)
}

fn put(transaction: &WriteTransaction, table: Table, key: &str, row: &[u8]) -> Result<(), SettingsError> {
    transaction.open_table(table)?.insert(key, row)?;
    Ok(())
}

fn delete(transaction: &WriteTransaction, table: Table, key: &str) -> Result<(), SettingsError> {
    transaction.open_table(table)?.remove(key)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode_as_anything(id: &str, bytes: &[u8]) {
        let _ = decode(bytes).and_then(|row| StoredKey::from_row(id, row).map(drop));
        let _ = decode(bytes).and_then(|row| StoredUser::from_row(row).map(drop));
        let _ = decode(bytes).and_then(|row| Team::from_row(id, row).map(drop));
        let _ = decode(bytes).and_then(|row| budget_from_row(id, row).map(drop));
        let _ = decode::<ResetRow>(bytes).and_then(|row| parse_hash(&row.hash));
        let _ = decode::<TokenRow>(bytes).and_then(|row| instant("created_ms", row.created_ms));
        let _ = decode::<SessionRow>(bytes).and_then(|row| instant("last_seen_ms", row.last_seen_ms));
    }

    #[test]
    fn an_empty_row_a_future_row_and_a_broken_row_are_told_apart() {
        assert_eq!(decode::<BudgetRow>(&[]).err(), Some(RowError::Empty));
        assert_eq!(decode::<BudgetRow>(&[2, b'{', b'}']).err(), Some(RowError::Version(2)));
        assert!(matches!(decode::<BudgetRow>(&[1, b'{', b'}']).err(), Some(RowError::Fields(_))));
    }

    fn budget_row(change: impl FnOnce(&mut serde_json::Value)) -> Result<BudgetDefinition, RowError> {
        let mut row = serde_json::json!({
            "scope": {"kind": "team", "id": "research"}, "window": "day", "limit_usd": "12.5", "action": "block",
            "downgrade_to": null, "thresholds": [50, 80], "created_ms": 1_700_000_000_000_i64,
        });
        change(&mut row);
        decode(&encode(&row)).and_then(|row| budget_from_row("budget_7", row))
    }

    #[test]
    fn a_stored_budget_is_checked_again_when_it_is_read() {
        assert!(budget_row(|_| ()).is_ok());
        assert_eq!(budget_row(|row| row["limit_usd"] = "-1".into()), Err(RowError::Value("terms")));
        assert_eq!(budget_row(|row| row["action"] = "explode".into()), Err(RowError::Value("action")));
        assert_eq!(budget_row(|row| row["created_ms"] = i64::MAX.into()), Err(RowError::Value("created_ms")));
        assert!(matches!(budget_row(|row| row["scope"]["kind"] = "planet".into()), Err(RowError::Fields(_))));
    }

    #[test]
    fn what_a_broken_row_holds_is_not_repeated() {
        let broken =
            decode::<super::super::rows::UserRow>(b"\x01{\"name\":7,\"password_hash\":\"canary\"}").err().unwrap();
        assert!(!broken.to_string().contains("canary") && !format!("{broken:?}").contains("canary"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_but_never_panic(id in ".{0,20}", mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            decode_as_anything(&id, &bytes);
            bytes.insert(0, ROW_VERSION);
            decode_as_anything(&id, &bytes);
        }

        #[test]
        fn a_row_with_one_byte_changed_is_read_or_refused_but_never_panics(place in 0_usize..220, byte in any::<u8>()) {
            let mut bytes = b"\x01{\"hash\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"name\":\"ci\",\"team\":null,\"owner\":null,\"tags\":{},\"allowed_models\":null,\"limits\":{\"requests_per_minute\":1,\"tokens_per_minute\":null,\"concurrent_requests\":null},\"created_ms\":1,\"expires_at_ms\":null,\"revoked_at_ms\":null,\"last4\":\"abcd\"}".to_vec();
            let place = place % bytes.len();
            bytes[place] = byte;
            decode_as_anything("key_1", &bytes);
        }
    }
}
