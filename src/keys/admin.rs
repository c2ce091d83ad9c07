//! Coming in: the first admin by a one-time setup token, passwords, and one-time links to choose a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Keys;
use super::credential::random_token;
use super::error::{KeysError, LoginError, checked_text};
use super::password::{PASSWORD_CHARS_MAX, check_password};
use super::rows::StoredUser;
use super::tables::StoredReset;
use super::user::{Role, User, UserState, is_active_admin};
use super::virtual_key::whole_ms;
use crate::domain::Secret;

/// How long a one-time token or link can be used: enough to walk over to the browser.
const ONE_TIME_TOKEN_LIFE: SignedDuration = SignedDuration::from_mins(30);
pub(super) const USER_NAME_CHARS_MAX: usize = 64;

/// The right to become the first admin: made at each start without one, in memory only.
#[derive(Debug)]
pub struct SetupToken {
    hash: Secret<[u8; 32]>,
    expires_at: Timestamp,
    is_used: AtomicBool,
}

impl SetupToken {
    /// A fresh token, and its text for the link that is printed.
    pub fn new(now: Timestamp) -> (Self, Secret<String>) {
        let text = random_token();
        let hash = Secret::new(one_time_hash(text.expose()));
        (Self { hash, expires_at: in_one_life(now), is_used: AtomicBool::new(false) }, text)
    }

    /// Whether a presented text is this token, in time and not used yet. Doesn't use it up.
    pub fn is_valid(&self, presented: &str, now: Timestamp) -> bool {
        let is_same = bool::from(self.hash.expose().ct_eq(&one_time_hash(presented)));
        is_same && now < self.expires_at && !self.is_used.load(Ordering::Acquire)
    }

    /// From when on it is worth nothing.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

impl Keys {
    /// Whether there is no admin yet.
    pub fn setup_needed(&self) -> bool {
        !self.state().users.values().any(|stored| is_active_admin(&stored.user))
    }

    /// Makes the first admin and uses the token up; a refusal leaves it usable. Blocks for hashing and for the disk.
    pub fn create_first_admin(
        &self,
        setup: &SetupToken,
        presented: &str,
        name: &str,
        password: &str,
        now: Timestamp,
    ) -> Result<Arc<User>, KeysError> {
        if !self.setup_needed() {
            return Err(KeysError::SetUpAlready);
        }
        if !setup.is_valid(presented, now) {
            return Err(KeysError::SetupToken);
        }
        let name = checked_text("username", name.trim(), USER_NAME_CHARS_MAX)?;
        check_password(password, &name)?;
        let password_hash = self.passwords.hash(password)?;
        let user = User { name, role: Role::Admin, created: whole_ms(now), state: UserState::Active };
        let stored = StoredUser::new(user, false, Some(password_hash));
        let user = Arc::clone(&stored.user);
        self.change(|draft| {
            // Two who hold the link at the same moment: the second one finds the first one here.
            if draft.state.users.values().any(|stored| is_active_admin(&stored.user)) {
                return Err(KeysError::SetUpAlready);
            }
            if draft.state.users.contains_key(&user_key(&user.name)) {
                return Err(KeysError::invalid(
                    "username",
                    "someone was let in under this name already: choose another one",
                ));
            }
            draft.put_user(stored)?;
            Ok(())
        })?;
        setup.is_used.store(true, Ordering::Release);
        Ok(user)
    }

    /// The user of a name and password. Takes as long for an unknown name. Blocks for hashing.
    ///
    /// Ask [`LoginThrottle`](super::LoginThrottle) first.
    pub fn verify_password(&self, name: &str, password: &str) -> Result<Arc<User>, LoginError> {
        // Nobody has such a password, and it would make hashing dear.
        if password.chars().nth(PASSWORD_CHARS_MAX).is_some() {
            return Err(LoginError::Wrong);
        }
        let stored = self.state().users.get(&user_key(name)).cloned();
        let hash = stored.as_ref().and_then(|stored| stored.password_hash.as_ref());
        let is_right = self.passwords.verify(password, hash)?;
        // Who is disabled is refused like who isn't there: their name is nobody else's business.
        let user = stored.filter(|_| is_right).map(|stored| stored.user);
        user.filter(|user| user.state == UserState::Active).ok_or(LoginError::Wrong)
    }

    /// A one-time token for a link by which the user chooses a new password, and when it ends. Blocks for the disk.
    ///
    /// It is stored, so that it can be made while no server runs. The old password stays until the link is used.
    pub fn reset_password(&self, name: &str, now: Timestamp) -> Result<(Secret<String>, Timestamp), KeysError> {
        let (text, reset) = one_time_link(ONE_TIME_TOKEN_LIFE, now);
        let expires_at = reset.expires_at;
        self.change(|draft| {
            let key = user_key(name);
            if !draft.state.users.contains_key(&key) {
                let known = draft.state.users.values().map(|stored| stored.user.name.clone()).collect();
                return Err(KeysError::UnknownUser { name: name.chars().take(64).collect(), known });
            }
            draft.put_reset(&key, reset)?;
            Ok(())
        })?;
        Ok((text, expires_at))
    }

    /// The user whom a reset token is for, while it is valid.
    pub fn reset_link_user(&self, presented: &str, now: Timestamp) -> Option<Arc<User>> {
        let hash = one_time_hash(presented);
        let state = self.state();
        let is_it = |reset: &StoredReset| bool::from(reset.hash.ct_eq(&hash)) && now < reset.expires_at;
        let (key, _) = state.resets.iter().find(|(_, reset)| is_it(reset))?;
        let user = state.users.get(key).map(|stored| Arc::clone(&stored.user));
        user.filter(|user| user.state != UserState::Disabled)
    }

    /// Sets a new password by a reset token, which is used up, and ends the user's sessions. Blocks for hashing and for
    /// the disk.
    pub fn redeem_reset(&self, presented: &str, password: &str, now: Timestamp) -> Result<Arc<User>, KeysError> {
        let user = self.reset_link_user(presented, now).ok_or(KeysError::ResetLink)?;
        check_password(password, &user.name)?;
        let password_hash = self.passwords.hash(password)?;
        let hash = one_time_hash(presented);
        self.change(|draft| {
            let key = user_key(&user.name);
            // Used by someone else meanwhile, or replaced by a later one.
            if !draft.state.resets.get(&key).is_some_and(|reset| reset.hash.ct_eq(&hash).into()) {
                return Err(KeysError::ResetLink);
            }
            draft.remove_reset(&key)?;
            // As they are now: they may have got another role since the link was opened.
            let present = draft.state.users.get(&key).cloned().ok_or(KeysError::ResetLink)?;
            let is_disabled = present.user.state == UserState::Disabled;
            draft.put_user(StoredUser::new(User::clone(&present.user), is_disabled, Some(password_hash)))?;
            Ok(())
        })?;
        self.end_sessions_of(&user.name)?;
        Ok(user)
    }
}

/// Names are the same whatever their case and the spaces around them.
pub(super) fn user_key(name: &str) -> String {
    name.trim().to_lowercase()
}

fn one_time_hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// A token for a link, and what is kept of it.
pub(super) fn one_time_link(life: SignedDuration, now: Timestamp) -> (Secret<String>, StoredReset) {
    let text = random_token();
    let expires_at = now.saturating_add(life).expect("a duration of days can always be added");
    let reset = StoredReset { hash: one_time_hash(text.expose()), expires_at: whole_ms(expires_at) };
    (text, reset)
}

fn in_one_life(now: Timestamp) -> Timestamp {
    now.saturating_add(ONE_TIME_TOKEN_LIFE).expect("a duration of minutes can always be added")
}
