//! Virtual keys, issued: made, found, changed, renewed and taken back.
//!
//! # Why looking one up tells nothing by its timing
//!
//! A presented key is never compared with a stored one. It is hashed with HMAC-SHA256 under the server's pepper, and the
//! hash is the place to look in a hash map. How long that takes may depend on how many bytes of the hash agree with a stored
//! one, but a caller can't choose those bytes: without the pepper, each guess lands at a place that is as good as
//! random. So a nearly right guess looks like a wrong one. The check of the form before that, and of the checksum where
//! nothing was found, know only what was presented. What is compared byte by byte with a stored secret (setup token, reset link, CSRF token, tokens
//! from the settings) is compared in constant time, as hashes.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Keys;
use super::credential::{FormError, Kind, check_checksum, last4, random_text};
use super::error::{KeyError, KeysError};
use super::expected::Expected;
use super::rows::StoredKey;
use super::tables::{Draft, KnownSecret};
use super::team;
use super::virtual_key::{KeyBudget, KeyPatch, KeyStatus, NewKey, PreviousSecret, VirtualKey, check_lists, whole_ms};
use crate::domain::{BudgetScope, KeyId, Revision, Secret, TeamId};

/// Revoked keys included, for entries refer to them; the directory is loaded whole into memory.
const KEYS_MAX: usize = 100_000;
/// The longest that an earlier secret may go on: who needs more has two programs, which want two keys.
const OVERLAP_MAX: Duration = Duration::from_hours(30 * 24);
/// Earlier secrets of one key that still open it: the oldest of more ends at once.
const PREVIOUS_MAX: usize = 5;

impl Keys {
    /// Makes a key and its budgets, and its team where there is none of that name; the secret is in this answer only.
    /// Blocks for the disk.
    pub fn create(&self, new: NewKey, now: Timestamp) -> Result<(Arc<VirtualKey>, Secret<String>), KeysError> {
        check_lists(new.allowed_models.as_deref(), new.allowed_endpoints.as_deref())?;
        new.check(now)?;
        let secret = Kind::VirtualKey.mint();
        let hash = self.pepper.hash(secret.expose());
        let id =
            KeyId::new(&format!("key_{}", random_text(16))).expect("the id is short and has no control characters");
        let key = self.change(|draft| {
            if draft.state.keys.len() >= KEYS_MAX {
                return Err(KeysError::TooMany { what: "virtual keys", max: KEYS_MAX });
            }
            let team = new.team.map(|text| team::find_or_make(draft, &text, now)).transpose()?;
            check_name_free(draft, &new.name, team.as_ref(), None, now)?;
            let key = Arc::new(VirtualKey {
                id: id.clone(),
                name: new.name,
                team,
                owner: new.owner,
                tags: new.tags,
                allowed_models: new.allowed_models,
                allowed_endpoints: new.allowed_endpoints,
                limits: new.limits,
                created: whole_ms(now),
                expires_at: new.expires_at.map(whole_ms),
                revoked_at: None,
                last4: last4(&secret),
                previous: Vec::new(),
                revision: Revision::FIRST,
            });
            draft.put_key(StoredKey { key: Arc::clone(&key), hash, previous: Vec::new() })?;
            for KeyBudget { window, terms } in new.budgets {
                super::budgets::insert(draft, BudgetScope::Key(id.clone()), window, terms, now)?;
            }
            Ok(key)
        })?;
        Ok((key, secret))
    }

    /// The key that a caller presents. Touches memory only: one keyed hash, one look-up.
    ///
    /// The checksum only tells why a key is not found: one that is found was copied whole.
    pub fn authenticate(&self, presented: &str, now: Timestamp) -> Result<Arc<VirtualKey>, KeyError> {
        Kind::VirtualKey.check_shape(presented)?;
        let hash = self.pepper.hash(presented);
        let found = self.state().keys_by_hash.get(&hash).cloned();
        let Some(KnownSecret { key, valid_until }) = found else {
            check_checksum(presented)?;
            return Err(KeyError::Unknown);
        };
        match key.status(now) {
            KeyStatus::Live => match valid_until.filter(|until| *until <= now) {
                Some(at) => Err(KeyError::Expired { at }),
                None => Ok(key),
            },
            KeyStatus::Expired => Err(KeyError::Expired { at: key.expires_at.unwrap_or(now) }),
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

    /// The live key of a name; none where keys of several teams have it, for then it doesn't say which.
    pub fn named(&self, name: &str, now: Timestamp) -> Option<Arc<VirtualKey>> {
        let is_it = |key: &&Arc<VirtualKey>| key.name == name && key.status(now) == KeyStatus::Live;
        let state = self.state();
        let mut found = state.keys.values().map(|stored| &stored.key).filter(is_it);
        found.next().filter(|_| found.next().is_none()).map(Arc::clone)
    }

    /// Changes a live key: calls that come after it returns find it changed. Blocks for the disk.
    pub fn change_key(
        &self,
        id: &KeyId,
        patch: KeyPatch,
        expected: &Expected,
        now: Timestamp,
    ) -> Result<Arc<VirtualKey>, KeysError> {
        self.change(|draft| {
            let stored = find_live(draft, id, now)?;
            expected.check(stored.key.revision, "virtual key")?;
            check_lists(
                patch.allowed_models.set().map(Vec::as_slice),
                patch.allowed_endpoints.set().map(Vec::as_slice),
            )?;
            let wanted = patch.applied(&stored.key);
            wanted.check(now)?;
            let team = wanted.team.map(|text| team::find_or_make(draft, &text, now)).transpose()?;
            check_name_free(draft, &wanted.name, team.as_ref(), Some(id), now)?;
            let changed = VirtualKey {
                name: wanted.name,
                team,
                owner: wanted.owner,
                tags: wanted.tags,
                allowed_models: wanted.allowed_models,
                allowed_endpoints: wanted.allowed_endpoints,
                limits: wanted.limits,
                expires_at: wanted.expires_at.map(whole_ms),
                ..VirtualKey::clone(&stored.key)
            };
            if changed == *stored.key {
                return Ok(stored.key);
            }
            let key = Arc::new(VirtualKey { revision: changed.revision.next(), ..changed });
            draft.put_key(StoredKey { key: Arc::clone(&key), ..stored })?;
            Ok(key)
        })
    }

    /// Takes a key back: it opens nothing from when this returns. Revoking it again changes nothing. Blocks for the disk.
    pub fn revoke(&self, id: &KeyId, now: Timestamp) -> Result<Arc<VirtualKey>, KeysError> {
        self.change(|draft| {
            let stored = find(draft, id)?;
            if stored.key.revoked_at.is_some() {
                return Ok(stored.key);
            }
            let key = Arc::new(VirtualKey {
                revoked_at: Some(whole_ms(now)),
                revision: stored.key.revision.next(),
                ..VirtualKey::clone(&stored.key)
            });
            draft.put_key(StoredKey { key: Arc::clone(&key), ..stored })?;
            Ok(key)
        })
    }

    /// Gives a live key a new secret. The one before goes on for the overlap; without any, it and all earlier ones open
    /// nothing from when this returns, whatever they were promised. Blocks for the disk.
    pub fn rotate(
        &self,
        id: &KeyId,
        overlap: Duration,
        now: Timestamp,
    ) -> Result<(Arc<VirtualKey>, Secret<String>), KeysError> {
        let too_long =
            || KeysError::invalid("overlap", "give at most 30 days: make a second key where both are to stay");
        if overlap > OVERLAP_MAX {
            return Err(too_long());
        }
        let overlap = SignedDuration::try_from(overlap).map_err(|_| too_long())?;
        let valid_until = whole_ms(now.checked_add(overlap).map_err(|_| too_long())?);
        let secret = Kind::VirtualKey.mint();
        let hash = self.pepper.hash(secret.expose());
        let key = self.change(|draft| {
            let stored = find_live(draft, id, now)?;
            let mut previous = Vec::new();
            if !overlap.is_zero() {
                let earlier = stored.previous.iter().copied().zip(stored.key.previous.iter().cloned());
                previous.extend(earlier.filter(|(_, secret)| now < secret.valid_until));
                previous.push((stored.hash, PreviousSecret { last4: stored.key.last4.clone(), valid_until }));
                previous.drain(..previous.len().saturating_sub(PREVIOUS_MAX));
            }
            let (hashes, previous) = previous.into_iter().unzip();
            let key = Arc::new(VirtualKey {
                last4: last4(&secret),
                previous,
                revision: stored.key.revision.next(),
                ..VirtualKey::clone(&stored.key)
            });
            draft.put_key(StoredKey { key: Arc::clone(&key), hash, previous: hashes })?;
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

fn find_live(draft: &Draft<'_>, id: &KeyId, now: Timestamp) -> Result<StoredKey, KeysError> {
    let stored = find(draft, id)?;
    if stored.key.status(now) == KeyStatus::Live { Ok(stored) } else { Err(KeysError::KeyNotLive(id.clone())) }
}

/// Live keys of one team have names of their own; those of other teams don't matter, or a refusal would tell of them.
fn check_name_free(
    draft: &Draft<'_>,
    name: &str,
    team: Option<&TeamId>,
    own: Option<&KeyId>,
    now: Timestamp,
) -> Result<(), KeysError> {
    let is_taken = |StoredKey { key, .. }: &StoredKey| {
        key.name == name && key.team.as_ref() == team && Some(&key.id) != own && key.status(now) == KeyStatus::Live
    };
    if draft.state.keys.values().any(is_taken) {
        return Err(KeysError::NameTaken { what: "virtual key", name: name.to_owned() });
    }
    Ok(())
}
