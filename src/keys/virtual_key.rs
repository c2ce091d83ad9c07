//! Virtual keys: what one is, how it is made, found and taken back.
//!
//! # Why looking one up tells nothing by its timing
//!
//! A presented key is never compared with a stored one. It is hashed with HMAC-SHA256 under the server's pepper, and the
//! hash is the place to look in a hash map. How long that takes may depend on how many bytes of the hash agree with a stored
//! one, but a caller can't choose those bytes: without the pepper, each guess lands at a place that is as good as
//! random. So a nearly right guess looks like a wrong one. The check of the form before that, and of the checksum where
//! nothing was found, know only what was presented. What is compared byte by byte with a stored secret (setup token, reset link, CSRF token, tokens
//! from the settings) is compared in constant time, as hashes.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Keys;
use super::credential::{FormError, Kind, check_checksum, last4, random_text};
use super::error::{KeyError, KeysError, checked_text};
use super::tables::{Draft, StoredKey};
use crate::domain::{BudgetScope, BudgetTerms, KeyId, Secret, Window};

/// The longest name of a key, team or owner.
const NAME_CHARS_MAX: usize = 100;
/// Revoked keys included, for entries refer to them; the directory is loaded whole into memory.
const KEYS_MAX: usize = 100_000;
/// More tags on a key than reports can group by.
const TAGS_MAX: usize = 32;
/// Patterns are tried one after the other for each call.
const MODELS_MAX: usize = 100;
const PATTERN_CHARS_MAX: usize = 200;
/// The name under which the playground books.
const RESERVED_NAME: &str = "dashboard";

/// How much a key may do in a minute and at once; `None` is as much as the server allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLimits {
    /// Calls in a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens in a minute.
    pub tokens_per_minute: Option<u64>,
    /// Calls at once.
    pub concurrent_requests: Option<u64>,
}

/// A credential that we issued: without its secret, which is shown once and not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualKey {
    /// Its id, the same after a rotation.
    pub id: KeyId,
    /// Its name, unique among the live keys.
    pub name: String,
    /// The team that its calls count for.
    pub team: Option<String>,
    /// The person to ask about it.
    pub owner: Option<String>,
    /// Tags that every call of it carries.
    pub tags: BTreeMap<String, String>,
    /// Patterns of the models that it may ask for, with `*` for any text; `None` is every model.
    pub allowed_models: Option<Vec<String>>,
    /// How much it may do.
    pub limits: KeyLimits,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it opens nothing.
    pub expires_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
    /// The last four characters of its secret, to tell keys apart.
    pub last4: String,
}

/// Whether a key opens anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyStatus {
    /// It does.
    Live,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

impl KeyStatus {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl VirtualKey {
    /// Whether the key opens anything now.
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        if self.revoked_at.is_some() {
            KeyStatus::Revoked
        } else if self.expires_at.is_some_and(|at| at <= now) {
            KeyStatus::Expired
        } else {
            KeyStatus::Live
        }
    }

    /// Whether the key may ask for a model by this name.
    pub fn allows_model(&self, model: &str) -> bool {
        self.allowed_models.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| matches(pattern, model)))
    }
}

/// A budget that is made together with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyBudget {
    /// How long before it begins again.
    pub window: Window,
    /// What it allows.
    pub terms: BudgetTerms,
}

/// What a key is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewKey {
    /// Its name: 1 to 100 characters, none of them a control character.
    pub name: String,
    /// The team that its calls count for.
    pub team: Option<String>,
    /// The person to ask about it.
    pub owner: Option<String>,
    /// Tags that every call of it carries.
    pub tags: BTreeMap<String, String>,
    /// Patterns of the models that it may ask for; `None` is every model.
    pub allowed_models: Option<Vec<String>>,
    /// How much it may do.
    pub limits: KeyLimits,
    /// From when on it opens nothing.
    pub expires_at: Option<Timestamp>,
    /// Its budgets, made in the same step, so that no key is ever without the limits it was to have.
    pub budgets: Vec<KeyBudget>,
}

impl NewKey {
    /// A key with a name and no limits.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    fn check(&self, now: Timestamp) -> Result<(), KeysError> {
        checked_text("name", &self.name, NAME_CHARS_MAX)?;
        if self.name.eq_ignore_ascii_case(RESERVED_NAME) {
            return Err(KeysError::invalid("name", "the playground books under this name: choose another one"));
        }
        // An id has to mean one key, also where a name would be taken.
        if self.name.starts_with("key_") {
            return Err(KeysError::invalid("name", "ids of keys begin with key_: choose another name"));
        }
        self.team.as_ref().map(|team| checked_text("team", team, NAME_CHARS_MAX)).transpose()?;
        self.owner.as_ref().map(|owner| checked_text("owner", owner, NAME_CHARS_MAX)).transpose()?;
        if self.tags.len() > TAGS_MAX {
            return Err(KeysError::invalid("tags", format!("give at most {TAGS_MAX} tags")));
        }
        for (name, value) in &self.tags {
            checked_text("tags", name, NAME_CHARS_MAX)?;
            checked_text("tags", value, NAME_CHARS_MAX)?;
            // The header that carries tags is written `name=value,name=value`.
            if name.contains(['=', ',']) || value.contains(',') {
                return Err(KeysError::invalid("tags", "leave out commas, and = from the names"));
            }
        }
        let patterns = self.allowed_models.as_deref().unwrap_or_default();
        if patterns.len() > MODELS_MAX {
            return Err(KeysError::invalid("allowedModels", format!("give at most {MODELS_MAX} patterns")));
        }
        for pattern in patterns {
            checked_text("allowedModels", pattern, PATTERN_CHARS_MAX)?;
        }
        let KeyLimits { requests_per_minute, tokens_per_minute, concurrent_requests } = self.limits;
        if [requests_per_minute, tokens_per_minute, concurrent_requests].contains(&Some(0)) {
            return Err(KeysError::invalid("limits", "a limit of 0 lets nothing pass: leave it out for no limit"));
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return Err(KeysError::invalid("expiresAt", "this time is past: choose a later one, or leave it out"));
        }
        Ok(())
    }
}

impl Keys {
    /// Makes a key and its budgets; the secret is in this answer only. Blocks for the disk.
    pub fn create(&self, new: NewKey, now: Timestamp) -> Result<(Arc<VirtualKey>, Secret<String>), KeysError> {
        new.check(now)?;
        let secret = Kind::VirtualKey.mint();
        let hash = self.pepper.hash(secret.expose());
        let key = Arc::new(VirtualKey {
            id: KeyId::new(&format!("key_{}", random_text(16))).expect("the id is short and has no control characters"),
            name: new.name,
            team: new.team,
            owner: new.owner,
            tags: new.tags,
            allowed_models: new.allowed_models,
            limits: new.limits,
            created: whole_ms(now),
            expires_at: new.expires_at.map(whole_ms),
            revoked_at: None,
            last4: last4(&secret),
        });
        self.change(|draft| {
            if draft.state.keys.len() >= KEYS_MAX {
                return Err(KeysError::TooMany { what: "virtual keys", max: KEYS_MAX });
            }
            let is_taken =
                |stored: &StoredKey| stored.key.name == key.name && stored.key.status(now) == KeyStatus::Live;
            if draft.state.keys.values().any(is_taken) {
                return Err(KeysError::NameTaken { what: "virtual key", name: key.name.clone() });
            }
            draft.put_key(StoredKey { key: Arc::clone(&key), hash })?;
            for KeyBudget { window, terms } in new.budgets {
                super::budgets::insert(draft, BudgetScope::Key(key.id.clone()), window, terms, now)?;
            }
            Ok(())
        })?;
        Ok((key, secret))
    }

    /// The key that a caller presents. Touches memory only: one keyed hash, one look-up.
    ///
    /// The checksum only tells why a key is not found: one that is found was copied whole.
    pub fn authenticate(&self, presented: &str, now: Timestamp) -> Result<Arc<VirtualKey>, KeyError> {
        Kind::VirtualKey.check_shape(presented)?;
        let hash = self.pepper.hash(presented);
        let found = self.state().keys_by_hash.get(&hash).map(Arc::clone);
        let Some(key) = found else {
            check_checksum(presented)?;
            return Err(KeyError::Unknown);
        };
        match key.status(now) {
            KeyStatus::Live => Ok(key),
            KeyStatus::Expired => Err(KeyError::Expired),
            KeyStatus::Revoked => Err(KeyError::Revoked),
        }
    }

    /// Every key that was ever made, by id.
    pub fn list(&self) -> Vec<Arc<VirtualKey>> {
        self.state().keys.values().map(|stored| Arc::clone(&stored.key)).collect()
    }

    /// A key by its id.
    pub fn get(&self, id: &KeyId) -> Option<Arc<VirtualKey>> {
        self.state().keys.get(id).map(|stored| Arc::clone(&stored.key))
    }

    /// The live key of a name.
    pub fn named(&self, name: &str, now: Timestamp) -> Option<Arc<VirtualKey>> {
        let is_it = |key: &&Arc<VirtualKey>| key.name == name && key.status(now) == KeyStatus::Live;
        self.state().keys.values().map(|stored| &stored.key).find(is_it).map(Arc::clone)
    }

    /// Takes a key back: it opens nothing from when this returns. Revoking it again changes nothing. Blocks for the disk.
    pub fn revoke(&self, id: &KeyId, now: Timestamp) -> Result<Arc<VirtualKey>, KeysError> {
        self.change(|draft| {
            let stored = find(draft, id)?;
            if stored.key.revoked_at.is_some() {
                return Ok(stored.key);
            }
            let key = Arc::new(VirtualKey { revoked_at: Some(whole_ms(now)), ..VirtualKey::clone(&stored.key) });
            draft.put_key(StoredKey { key: Arc::clone(&key), hash: stored.hash })?;
            Ok(key)
        })
    }

    /// Gives a live key a new secret; the old one opens nothing from when this returns. Blocks for the disk.
    pub fn rotate(&self, id: &KeyId, now: Timestamp) -> Result<(Arc<VirtualKey>, Secret<String>), KeysError> {
        let secret = Kind::VirtualKey.mint();
        let hash = self.pepper.hash(secret.expose());
        let key = self.change(|draft| {
            let stored = find(draft, id)?;
            if stored.key.status(now) != KeyStatus::Live {
                return Err(KeysError::KeyNotLive(id.clone()));
            }
            let key = Arc::new(VirtualKey { last4: last4(&secret), ..VirtualKey::clone(&stored.key) });
            draft.put_key(StoredKey { key: Arc::clone(&key), hash })?;
            Ok(key)
        })?;
        Ok((key, secret))
    }
}

impl From<FormError> for KeyError {
    fn from(error: FormError) -> Self {
        match error {
            FormError::Shape => Self::Malformed,
            FormError::Checksum => Self::Checksum,
        }
    }
}

fn find(draft: &Draft<'_>, id: &KeyId) -> Result<StoredKey, KeysError> {
    draft.state.keys.get(id).cloned().ok_or_else(|| KeysError::not_found("virtual key", id.as_str()))
}

/// Times are stored in milliseconds, so they are cut before, not by, the way to the disk and back.
pub(super) fn whole_ms(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).expect("a time cut to milliseconds stays in range")
}

/// Whether a text is of a pattern in which `*` stands for any text. Takes at most the product of both lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut of) = (0, 0);
    // The last star, and where in the text it was met: a mismatch lets that star swallow one more byte.
    let mut star = None;
    while of < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, of));
            at += 1;
        } else if pattern.get(at) == Some(&text[of]) {
            at += 1;
            of += 1;
        } else if let Some((star_at, swallowed)) = star {
            star = Some((star_at, swallowed + 1));
            at = star_at + 1;
            of = swallowed + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}
