//! How a virtual key, a team and a user lie in their rows.
//!
//! Fields that came later have a default, so that rows of earlier versions are read as they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pepper::CredentialHash;
use super::tables::{RowError, hash_text, instant, parse_hash};
use super::team::Team;
use super::user::{Role, User, UserState};
use super::virtual_key::{KeyLimits, PreviousSecret, VirtualKey};
use crate::domain::{EndpointFamily, KeyId, Revision, Secret, TeamId};

#[derive(Serialize, Deserialize)]
pub(super) struct KeyRow {
    hash: String,
    name: String,
    team: Option<String>,
    owner: Option<String>,
    tags: BTreeMap<String, String>,
    allowed_models: Option<Vec<String>>,
    #[serde(default)]
    allowed_endpoints: Option<Vec<EndpointFamily>>,
    limits: KeyLimits,
    created_ms: i64,
    expires_at_ms: Option<i64>,
    revoked_at_ms: Option<i64>,
    last4: String,
    #[serde(default)]
    previous: Vec<PreviousRow>,
    #[serde(default)]
    revision: Revision,
}

/// A secret that still opens although a later one is there.
#[derive(Serialize, Deserialize)]
struct PreviousRow {
    hash: String,
    last4: String,
    valid_until_ms: i64,
}

/// A virtual key and the hashes that it is found by.
#[derive(Clone)]
pub(super) struct StoredKey {
    pub(super) key: Arc<VirtualKey>,
    pub(super) hash: CredentialHash,
    /// Those of the key's previous secrets, in their order.
    pub(super) previous: Vec<CredentialHash>,
}

impl StoredKey {
    pub(super) fn to_row(&self) -> KeyRow {
        let key = VirtualKey::clone(&self.key);
        let previous = self.previous.iter().zip(key.previous).map(|(hash, secret)| PreviousRow {
            hash: hash_text(hash),
            last4: secret.last4,
            valid_until_ms: secret.valid_until.as_millisecond(),
        });
        KeyRow {
            hash: hash_text(&self.hash),
            name: key.name,
            team: key.team.map(|team| team.as_str().to_owned()),
            owner: key.owner,
            tags: key.tags,
            allowed_models: key.allowed_models,
            allowed_endpoints: key.allowed_endpoints,
            limits: key.limits,
            created_ms: key.created.as_millisecond(),
            expires_at_ms: key.expires_at.map(jiff::Timestamp::as_millisecond),
            revoked_at_ms: key.revoked_at.map(jiff::Timestamp::as_millisecond),
            last4: key.last4,
            previous: previous.collect(),
            revision: key.revision,
        }
    }

    pub(super) fn from_row(id: &str, row: KeyRow) -> Result<Self, RowError> {
        let mut hashes = Vec::new();
        let mut previous = Vec::new();
        for PreviousRow { hash, last4, valid_until_ms } in row.previous {
            hashes.push(parse_hash(&hash)?);
            previous.push(PreviousSecret { last4, valid_until: instant("valid_until_ms", valid_until_ms)? });
        }
        let key = VirtualKey {
            id: KeyId::new(id).map_err(|_| RowError::Value("id"))?,
            name: row.name,
            team: row.team.map(|team| team_id(&team)).transpose()?,
            owner: row.owner,
            tags: row.tags,
            allowed_models: row.allowed_models,
            allowed_endpoints: row.allowed_endpoints,
            limits: row.limits,
            created: instant("created_ms", row.created_ms)?,
            expires_at: row.expires_at_ms.map(|at| instant("expires_at_ms", at)).transpose()?,
            revoked_at: row.revoked_at_ms.map(|at| instant("revoked_at_ms", at)).transpose()?,
            last4: row.last4,
            previous,
            revision: row.revision,
        };
        Ok(Self { key: Arc::new(key), hash: parse_hash(&row.hash)?, previous: hashes })
    }
}

fn team_id(text: &str) -> Result<TeamId, RowError> {
    TeamId::new(text).map_err(|_| RowError::Value("team"))
}

#[derive(Serialize, Deserialize)]
pub(super) struct TeamRow {
    name: String,
    created_ms: i64,
    removed_at_ms: Option<i64>,
    revision: Revision,
}

impl Team {
    pub(super) fn to_row(&self) -> TeamRow {
        TeamRow {
            name: self.name.clone(),
            created_ms: self.created.as_millisecond(),
            removed_at_ms: self.removed_at.map(jiff::Timestamp::as_millisecond),
            revision: self.revision,
        }
    }

    pub(super) fn from_row(id: &str, row: TeamRow) -> Result<Self, RowError> {
        Ok(Self {
            id: team_id(id)?,
            name: row.name,
            created: instant("created_ms", row.created_ms)?,
            removed_at: row.removed_at_ms.map(|at| instant("removed_at_ms", at)).transpose()?,
            revision: row.revision,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct UserRow {
    name: String,
    role: String,
    #[serde(default)]
    team: Option<String>,
    #[serde(default)]
    is_disabled: bool,
    #[serde(default)]
    password_hash: Option<String>,
    created_ms: i64,
}

/// A user and the hash of their password; who was invited and hasn't chosen one yet has none.
#[derive(Clone)]
pub(super) struct StoredUser {
    pub(super) user: Arc<User>,
    pub(super) password_hash: Option<Secret<String>>,
}

impl StoredUser {
    /// A user whose state goes with whether there is a password.
    pub(super) fn new(user: User, is_disabled: bool, password_hash: Option<Secret<String>>) -> Self {
        let state = match &password_hash {
            _ if is_disabled => UserState::Disabled,
            None => UserState::Invited,
            Some(_) => UserState::Active,
        };
        Self { user: Arc::new(User { state, ..user }), password_hash }
    }

    pub(super) fn to_row(&self) -> UserRow {
        UserRow {
            name: self.user.name.clone(),
            role: self.user.role.as_str().to_owned(),
            team: self.user.role.team().map(|team| team.as_str().to_owned()),
            is_disabled: self.user.state == UserState::Disabled,
            password_hash: self.password_hash.as_ref().map(|hash| hash.expose().clone()),
            created_ms: self.user.created.as_millisecond(),
        }
    }

    pub(super) fn from_row(row: UserRow) -> Result<Self, RowError> {
        let created = instant("created_ms", row.created_ms)?;
        let team = row.team.map(|team| team_id(&team)).transpose()?;
        let role = Role::new(&row.role, team).map_err(|_| RowError::Value("role"))?;
        let user = User { name: row.name, role, created, state: UserState::Active };
        Ok(Self::new(user, row.is_disabled, row.password_hash.map(Secret::new)))
    }
}
