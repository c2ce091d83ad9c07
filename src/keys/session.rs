//! Sessions of the dashboard: who is logged in, for how long, and the token that proves a form is ours.
//!
//! A cookie holds 260 random bits, of which only the SHA-256 is stored. A session ends 12 hours after its last use, 7 days
//! after its beginning, at logout, or when its user gets a new password or another role. Its last use is kept in memory and written
//! by [`Keys::flush_sessions`], so that looking at a page costs no disk write; a crash makes a session end sooner, never
//! later. The CSRF token is an HMAC keyed with the cookie: whoever can't read the cookie can't know it, and nothing
//! has to be stored.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Keys;
use super::admin::user_key;
use super::credential::random_token;
use super::error::KeysError;
use super::tables::{self, StoredSession};
use super::user::{User, UserState};
use super::virtual_key::whole_ms;
use crate::domain::Secret;
use crate::store::WriteTransaction;

/// Without any use.
const IDLE_LIFE: SignedDuration = SignedDuration::from_hours(12);
/// However much it is used.
const WHOLE_LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// More browsers than a person uses: the one that was used least recently is logged out.
const SESSIONS_PER_USER_MAX: usize = 20;
const SESSIONS_MAX: usize = 1_000;

type SessionHash = [u8; 32];

/// Someone who is logged in.
#[derive(Clone, Debug)]
pub struct Session {
    /// Who.
    pub user: Arc<User>,
    /// Since when.
    pub created: Timestamp,
    /// Until when, if it isn't used again.
    pub expires_at: Timestamp,
    /// What every form of this session has to send along.
    pub csrf_token: Secret<String>,
}

impl Session {
    /// Whether a form sent this session's token; compared in constant time.
    pub fn has_csrf_token(&self, presented: &str) -> bool {
        self.csrf_token.expose().as_bytes().ct_eq(presented.as_bytes()).into()
    }
}

/// The sessions in memory.
pub(super) struct Sessions {
    by_hash: HashMap<SessionHash, Entry>,
    /// Ended in memory, and still to be deleted from the file.
    ended: Vec<SessionHash>,
}

struct Entry {
    stored: StoredSession,
    /// Whether the file has an older last use.
    is_dirty: bool,
}

impl Sessions {
    pub(super) fn loaded(sessions: HashMap<SessionHash, StoredSession>) -> Self {
        let entry = |(hash, stored)| (hash, Entry { stored, is_dirty: false });
        Self { by_hash: sessions.into_iter().map(entry).collect(), ended: Vec::new() }
    }

    fn end(&mut self, hash: &SessionHash) {
        if self.by_hash.remove(hash).is_some() {
            self.ended.push(*hash);
        }
    }

    fn end_all(&mut self, which: impl Fn(&StoredSession) -> bool) {
        let hashes: Vec<_> =
            self.by_hash.iter().filter(|(_, entry)| which(&entry.stored)).map(|(hash, _)| *hash).collect();
        for hash in hashes {
            self.end(&hash);
        }
    }

    /// Ends those used least recently until at most `max` of those in question are left.
    fn keep_at_most(&mut self, max: usize, which: impl Fn(&StoredSession) -> bool) {
        let in_question = self.by_hash.iter().filter(|(_, entry)| which(&entry.stored));
        let mut by_use: Vec<_> = in_question.map(|(hash, entry)| (entry.stored.last_seen, *hash)).collect();
        by_use.sort_unstable();
        for (_, hash) in &by_use[..by_use.len().saturating_sub(max)] {
            self.end(hash);
        }
    }
}

impl Keys {
    /// Logs a user in: a new session and the text of its cookie. The session that the browser had before ends.
    /// Blocks for the disk.
    pub fn start_session(
        &self,
        user: &str,
        previous: Option<&str>,
        now: Timestamp,
    ) -> Result<(Secret<String>, Session), KeysError> {
        let user = self.session_user(user).ok_or_else(|| KeysError::not_found("user", user))?;
        let cookie = random_token();
        let now = whole_ms(now);
        let stored = StoredSession { user: user.name.clone(), created: now, last_seen: now };
        let session = session_of(user, &stored, cookie.expose());
        let hash = session_hash(cookie.expose());
        {
            let mut sessions = self.sessions();
            previous.map(session_hash).inspect(|previous| sessions.end(previous));
            sessions.end_all(|stored| is_over(stored, now));
            sessions.keep_at_most(SESSIONS_PER_USER_MAX - 1, |stored| stored.user == session.user.name);
            sessions.keep_at_most(SESSIONS_MAX - 1, |_| true);
        }
        self.write_sessions(|transaction| tables::put_session(transaction, &hash, &stored).map_err(KeysError::from))?;
        self.sessions().by_hash.insert(hash, Entry { stored, is_dirty: false });
        Ok((cookie, session))
    }

    /// The session of a cookie, which is thereby used. Touches memory only.
    pub fn session(&self, cookie: &str, now: Timestamp) -> Option<Session> {
        let hash = session_hash(cookie);
        let mut sessions = self.sessions();
        let entry = sessions.by_hash.get_mut(&hash)?;
        if is_over(&entry.stored, now) {
            sessions.end(&hash);
            return None;
        }
        let now = whole_ms(now);
        if now > entry.stored.last_seen {
            entry.stored.last_seen = now;
            entry.is_dirty = true;
        }
        let stored = entry.stored.clone();
        drop(sessions);
        let user = self.session_user(&stored.user)?;
        Some(session_of(user, &stored, cookie))
    }

    /// Logs out: the cookie opens nothing from now on, even where the disk fails. Blocks for the disk.
    pub fn end_session(&self, cookie: &str) -> Result<(), KeysError> {
        self.sessions().end(&session_hash(cookie));
        self.write_sessions(|_| Ok(()))
    }

    /// Logs a user out everywhere. Blocks for the disk.
    pub fn end_sessions_of(&self, user: &str) -> Result<(), KeysError> {
        let key = user_key(user);
        self.sessions().end_all(|stored| user_key(&stored.user) == key);
        self.write_sessions(|_| Ok(()))
    }

    /// Writes what changed in memory and forgets sessions that are over: to be called every few minutes and at the
    /// stop. Blocks for the disk where there is something to write.
    pub fn flush_sessions(&self, now: Timestamp) -> Result<(), KeysError> {
        let dirty: Vec<(SessionHash, StoredSession)> = {
            let mut sessions = self.sessions();
            sessions.end_all(|stored| is_over(stored, now));
            if sessions.ended.is_empty() && !sessions.by_hash.values().any(|entry| entry.is_dirty) {
                return Ok(());
            }
            let dirty = sessions.by_hash.iter().filter(|(_, entry)| entry.is_dirty);
            dirty.map(|(hash, entry)| (*hash, entry.stored.clone())).collect()
        };
        self.write_sessions(|transaction| {
            for (hash, stored) in &dirty {
                tables::put_session(transaction, hash, stored)?;
            }
            Ok(())
        })?;
        let mut sessions = self.sessions();
        for (hash, stored) in dirty {
            if let Some(entry) = sessions.by_hash.get_mut(&hash) {
                entry.is_dirty = entry.stored != stored;
            } else {
                // It ended while it was written, and must not come back from the file.
                sessions.ended.push(hash);
            }
        }
        Ok(())
    }

    /// The token of a form that is shown before there is a session, such as the login; `nonce` lies in a cookie.
    pub fn form_token(&self, nonce: &str) -> Secret<String> {
        Secret::new(hex(&self.pepper.hash(&format!("form {nonce}"))))
    }

    /// Whether such a form sent the token that goes with its cookie; an empty cookie goes with none.
    pub fn has_form_token(&self, nonce: &str, presented: &str) -> bool {
        let is_same = bool::from(self.form_token(nonce).expose().as_bytes().ct_eq(presented.as_bytes()));
        is_same && !nonce.is_empty()
    }

    /// Deletes from the file what ended in memory, after `write` in the same transaction.
    fn write_sessions(&self, write: impl FnOnce(&WriteTransaction) -> Result<(), KeysError>) -> Result<(), KeysError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = self.sessions().ended.clone();
        self.settings.write(|transaction| {
            write(transaction)?;
            for hash in &ended {
                tables::remove_session(transaction, hash)?;
            }
            Ok::<_, KeysError>(())
        })?;
        // Later ones were added at the end; only who holds `writing` takes away.
        self.sessions().ended.drain(..ended.len());
        Ok(())
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session_user(&self, name: &str) -> Option<Arc<User>> {
        self.user(name).filter(|user| user.state == UserState::Active)
    }
}

fn session_of(user: Arc<User>, stored: &StoredSession, cookie: &str) -> Session {
    Session { user, created: stored.created, expires_at: end_of(stored), csrf_token: csrf_token(cookie) }
}

fn end_of(session: &StoredSession) -> Timestamp {
    let after = |from: Timestamp, life| from.saturating_add(life).expect("a duration of days can always be added");
    after(session.last_seen, IDLE_LIFE).min(after(session.created, WHOLE_LIFE))
}

fn is_over(session: &StoredSession, now: Timestamp) -> bool {
    end_of(session) <= now
}

pub(super) fn session_hash(cookie: &str) -> SessionHash {
    Sha256::digest(cookie.as_bytes()).into()
}

pub(super) fn csrf_token(cookie: &str) -> Secret<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(cookie.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(b"csrf token");
    Secret::new(hex(&mac.finalize().into_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a text never fails");
        text
    })
}
