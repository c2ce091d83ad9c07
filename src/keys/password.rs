//! Passwords: what one has to be like, and hashing that can't be used to exhaust the memory.
//!
//! argon2id with 19 MiB, two passes, one lane. At most two hashes run at once, and of those who wait for a turn there is a
//! bound as well; everybody else is told to come back. The calls block for tens of milliseconds.

use std::fmt;
use std::sync::{Condvar, Mutex, PoisonError};

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

use super::credential::fill_random;
use crate::domain::Secret;

/// The shortest password.
pub const PASSWORD_CHARS_MIN: usize = 10;
/// The longest password: more would only make hashing dearer.
pub const PASSWORD_CHARS_MAX: usize = 256;

/// Hashes at once: each takes 19 MiB.
const HASHES_MAX: usize = 2;
/// Callers that wait for a turn: the last of them waits about half a second.
const WAITERS_MAX: usize = 16;

/// A hash of the same cost as a real one that no password has, so that unknown users take as long as known ones.
const NOBODYS_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What is wrong with a password that someone chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordProblem {
    /// Too few characters.
    #[error("the password has {0} characters: choose one of at least {PASSWORD_CHARS_MIN}, such as four random words")]
    TooShort(usize),
    /// Too many characters.
    #[error("the password has {0} characters: choose one of at most {PASSWORD_CHARS_MAX}")]
    TooLong(usize),
    /// The password gives itself away.
    #[error("the password is the user name: choose another one")]
    IsName,
}

/// Checks a password that someone chose for a user name.
pub fn check_password(password: &str, user_name: &str) -> Result<(), PasswordProblem> {
    let chars = password.chars().count();
    if chars < PASSWORD_CHARS_MIN {
        return Err(PasswordProblem::TooShort(chars));
    }
    if chars > PASSWORD_CHARS_MAX {
        return Err(PasswordProblem::TooLong(chars));
    }
    if password.trim().to_lowercase() == user_name.trim().to_lowercase() {
        return Err(PasswordProblem::IsName);
    }
    Ok(())
}

/// Too many hash at once already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// Hashes passwords, a few at a time.
pub(super) struct Passwords {
    argon2: Argon2<'static>,
    turns: Mutex<Turns>,
    turn_freed: Condvar,
}

#[derive(Default)]
struct Turns {
    running: usize,
    waiting: usize,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Passwords").finish_non_exhaustive()
    }
}

impl Passwords {
    pub(super) fn new() -> Self {
        let params = Params::new(19 * 1024, 2, 1, None).expect("the parameters lie in argon2's range");
        Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            turns: Mutex::default(),
            turn_freed: Condvar::new(),
        }
    }

    /// The hash to store for a password.
    pub(super) fn hash(&self, password: &str) -> Result<Secret<String>, Busy> {
        let mut salt = [0; 16];
        fill_random(&mut salt);
        let salt = SaltString::encode_b64(&salt).expect("sixteen bytes are a salt of the recommended length");
        let _turn = self.turn()?;
        let hash = self.argon2.hash_password(password.as_bytes(), &salt).expect("a bounded password can be hashed");
        Ok(Secret::new(hash.to_string()))
    }

    /// Whether a password has this hash; `None` takes as long and is never true.
    pub(super) fn verify(&self, password: &str, hash: Option<&Secret<String>>) -> Result<bool, Busy> {
        let stored = hash.map_or(NOBODYS_HASH, |hash| hash.expose().as_str());
        // A hash that can't be read is no way in.
        let Ok(parsed) = PasswordHash::new(stored) else { return Ok(false) };
        let _turn = self.turn()?;
        Ok(self.argon2.verify_password(password.as_bytes(), &parsed).is_ok() && hash.is_some())
    }

    fn turn(&self) -> Result<Turn<'_>, Busy> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.running >= HASHES_MAX {
            if turns.waiting >= WAITERS_MAX {
                return Err(Busy);
            }
            turns.waiting += 1;
            while turns.running >= HASHES_MAX {
                turns = self.turn_freed.wait(turns).unwrap_or_else(PoisonError::into_inner);
            }
            turns.waiting -= 1;
        }
        turns.running += 1;
        Ok(Turn(self))
    }
}

/// The right to hash, given back when dropped.
struct Turn<'a>(&'a Passwords);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.turns.lock().unwrap_or_else(PoisonError::into_inner).running -= 1;
        self.0.turn_freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_refused_with_a_way_out() {
        assert_eq!(check_password("short", "ada"), Err(PasswordProblem::TooShort(5)));
        assert_eq!(check_password("ééééééééé", "ada"), Err(PasswordProblem::TooShort(9)), "characters, not bytes");
        assert_eq!(check_password(&"x".repeat(257), "ada"), Err(PasswordProblem::TooLong(257)));
        assert_eq!(check_password("Ada-Lovelace", "ada-lovelace"), Err(PasswordProblem::IsName));
        assert_eq!(check_password("correct horse", "ada"), Ok(()));
        assert!(PasswordProblem::TooShort(5).to_string().contains("at least 10"));
    }

    #[test]
    fn only_the_same_password_has_the_hash() {
        let passwords = Passwords::new();
        let hash = passwords.hash("correct horse").unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.expose());
        assert_ne!(passwords.hash("correct horse").unwrap(), hash, "salted");
        assert_eq!(passwords.verify("correct horse", Some(&hash)), Ok(true));
        assert_eq!(passwords.verify("Correct horse", Some(&hash)), Ok(false));
        assert_eq!(passwords.verify("correct horse", Some(&Secret::new("not a hash".to_owned()))), Ok(false));
    }

    #[test]
    fn nobodys_hash_costs_the_same_and_lets_nobody_in() {
        let nobody = PasswordHash::new(NOBODYS_HASH).unwrap();
        let passwords = Passwords::new();
        let real = passwords.hash("correct horse").unwrap();
        let real = PasswordHash::new(real.expose()).unwrap();
        assert_eq!(nobody.params, real.params);
        assert_eq!(nobody.hash.unwrap().len(), real.hash.unwrap().len());
        assert_eq!(nobody.algorithm, real.algorithm);
        assert_eq!(passwords.verify("correct horse", None), Ok(false));
    }

    #[test]
    fn two_hash_at_once_some_wait_and_the_rest_are_sent_away() {
        let passwords = Passwords::new();
        let first = passwords.turn().ok().unwrap();
        let second = passwords.turn().ok().unwrap();
        passwords.turns.lock().unwrap().waiting = WAITERS_MAX;
        assert!(passwords.turn().is_err());
        passwords.turns.lock().unwrap().waiting = 0;
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| passwords.turn().is_ok());
            drop(first);
            assert!(waiter.join().unwrap());
        });
        drop(second);
        assert_eq!(passwords.turns.lock().unwrap().running, 0);
    }
}
