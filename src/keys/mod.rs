//! Who may come in: virtual keys, teams, users and their sessions, admin tokens; and the budgets that bind them.
//!
//! All of it lies in the settings file and, mirrored, in memory: checking a credential never touches the disk. Memory
//! changes only after the durable write, in one swap, so what was revoked is out from when the call returns. Secrets
//! are stored as hashes and shown once. Time comes in as a value. Calls that say "Blocks for the disk" belong on a
//! blocking task.

mod admin;
mod admin_token;
mod budgets;
mod credential;
mod edit;
mod error;
mod expected;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod issue;
mod password;
mod pepper;
mod rows;
mod session;
mod tables;
mod team;
mod throttle;
mod user;
mod virtual_key;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

pub use admin::SetupToken;
pub use admin_token::{ACCEPTED_TOKEN_CHARS_MIN, AdminToken, TokenBearer};
pub use edit::Edit;
pub use error::{KeyError, KeysError, LoginError, OpenKeysError};
pub use expected::Expected;
pub use password::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, PasswordProblem, check_password};
pub use pepper::PepperError;
pub use session::Session;
pub use tables::RowError;
pub use team::Team;
pub use throttle::{Admitted, LoginThrottle, Throttled};
pub use user::{Entrance, INVITE_LIFE_DEFAULT, Invitation, NewUser, Role, User, UserPatch, UserState};
pub use virtual_key::{KeyBudget, KeyLimits, KeyPatch, KeyStatus, NewKey, PreviousSecret, VirtualKey};

use crate::domain::BudgetDefinition;
use crate::store::Settings;
use admin_token::AcceptedToken;
use password::Passwords;
use pepper::Pepper;
use session::Sessions;
use tables::{Draft, State};

/// Every credential that opens something here, and the budgets.
pub struct Keys {
    settings: Settings,
    pepper: Pepper,
    /// What the settings file holds; its guard is held for a look-up, never for a wait.
    state: RwLock<Arc<State>>,
    /// The budgets of `state`, replaced only when one of them changes.
    budgets: RwLock<Arc<[Arc<BudgetDefinition>]>>,
    sessions: Mutex<Sessions>,
    accepted: RwLock<Vec<AcceptedToken>>,
    passwords: Passwords,
    /// Held from the beginning of a write to the swap after it, so that swaps come in the order of the commits.
    writing: Mutex<()>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = Arc::clone(&self.state());
        formatter
            .debug_struct("Keys")
            .field("settings", &self.settings)
            .field("keys", &state.keys.len())
            .field("teams", &state.teams.len())
            .field("users", &state.users.len())
            .field("budgets", &state.budgets.len())
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// A mark of some secret text by which it is known again, and which only who has the pepper can test a guess against.
    pub fn mark(&self, what: &str, secret: &[u8]) -> [u8; 32] {
        // No credential has a space, so none can have the same mark.
        self.pepper.mark(&format!("mark of {what} "), secret)
    }

    /// Loads everything from the settings; `pepper` is the file of the server's own secret, made where there is none yet.
    pub fn open(settings: Settings, pepper: &Path) -> Result<Self, OpenKeysError> {
        let (pepper, state, sessions) = settings.write(|transaction| {
            let check = tables::pepper_check(transaction)?;
            let pepper = Pepper::open(pepper, check)?;
            if check.is_none() {
                tables::put_pepper_check(transaction, &pepper.check_value())?;
            }
            let mut draft = Draft::load(transaction)?;
            draft.make_named_teams()?;
            Ok::<_, OpenKeysError>((pepper, draft.state, tables::load_sessions(transaction)?))
        })?;
        Ok(Self {
            settings,
            pepper,
            budgets: RwLock::new(state.budgets.values().map(Arc::clone).collect()),
            state: RwLock::new(Arc::new(state)),
            sessions: Mutex::new(Sessions::loaded(sessions)),
            accepted: RwLock::default(),
            passwords: Passwords::new(),
            writing: Mutex::default(),
        })
    }

    fn state(&self) -> RwLockReadGuard<'_, Arc<State>> {
        // A poisoned lock guards a whole value all the same: it is only ever swapped.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is stored and then, in one swap, what is checked against. Where `change` fails, nothing changes.
    fn change<T>(&self, change: impl FnOnce(&mut Draft<'_>) -> Result<T, KeysError>) -> Result<T, KeysError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, value) = self.settings.write(|transaction| {
            let mut draft = Draft::load(transaction)?;
            let value = change(&mut draft)?;
            Ok::<_, KeysError>((draft.state, value))
        })?;
        // Budgets first: a new key must not be found before the budgets that bind it.
        if !state.budgets.values().eq(self.budgets().iter()) {
            let budgets = state.budgets.values().map(Arc::clone).collect();
            *self.budgets.write().unwrap_or_else(PoisonError::into_inner) = budgets;
        }
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
        Ok(value)
    }
}

#[cfg(test)]
mod tests;
