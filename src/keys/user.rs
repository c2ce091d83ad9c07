//! Users: who can log in to the dashboard, as what, and how they come in the first time.
//!
//! A role says what may be done and, for all but admins, of which team. Whoever is let in anew gets a password from
//! an admin, or an invitation: a one-time link by which they choose their own. A change of role, team or state ends the
//! user's sessions, and reaches those of this very moment too: a session asks for its user each time.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Keys;
use super::admin::{USER_NAME_CHARS_MAX, one_time_link, user_key};
use super::edit::Edit;
use super::error::{KeysError, checked_text};
use super::password::check_password;
use super::rows::StoredUser;
use super::tables::{Draft, State};
use super::team;
use super::virtual_key::whole_ms;
use crate::domain::{Secret, TeamId};

/// How long an invitation can be used, unless told: until tomorrow at this time.
pub const INVITE_LIFE_DEFAULT: Duration = Duration::from_hours(24);
const INVITE_LIFE_MIN: Duration = Duration::from_mins(30);
const INVITE_LIFE_MAX: Duration = Duration::from_hours(7 * 24);
/// More people than one instance serves.
const USERS_MAX: usize = 10_000;

/// What a user may do in the dashboard, and of whom they see anything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything.
    Admin,
    /// Sees what is their team's, and makes, renews and takes back its keys.
    Member(TeamId),
    /// Sees what is one team's, or everybody's.
    Viewer(Option<TeamId>),
}

impl Role {
    /// Every word for a role.
    pub const WORDS: [&'static str; 3] = ["admin", "member", "viewer"];

    /// A role from its word and the team that goes with it.
    pub fn new(word: &str, team: Option<TeamId>) -> Result<Self, KeysError> {
        match (word, team) {
            ("admin", None) => Ok(Self::Admin),
            ("admin", Some(_)) => {
                Err(KeysError::invalid("team", "an admin belongs to no team: leave it out, or choose another role"))
            }
            ("member", Some(team)) => Ok(Self::Member(team)),
            ("member", None) => Err(KeysError::invalid("team", "a member needs a team: say which one")),
            ("viewer", team) => Ok(Self::Viewer(team)),
            _ => Err(KeysError::invalid("role", "choose one of admin, member, viewer")),
        }
    }

    /// The word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member(_) => "member",
            Self::Viewer(_) => "viewer",
        }
    }

    /// The team whose things alone may be seen; `None` sees everything.
    pub const fn team(&self) -> Option<&TeamId> {
        match self {
            Self::Admin => None,
            Self::Member(team) => Some(team),
            Self::Viewer(team) => team.as_ref(),
        }
    }
}

/// Whether a user can log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UserState {
    /// Not yet: they have an invitation.
    Invited,
    /// They can.
    Active,
    /// Not any more, until an admin lets them in again.
    Disabled,
}

impl UserState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

/// A person who can log in, or could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Their name, unique whatever its case.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// When they were added.
    pub created: Timestamp,
    /// Whether they can log in.
    pub state: UserState,
}

/// Whom to let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUser {
    /// Their name.
    pub name: String,
    /// The word for their role.
    pub role: String,
    /// Their team, by its id or name.
    pub team: Option<String>,
}

/// How a new user comes in the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// With a password that an admin has chosen.
    Password(Secret<String>),
    /// By a one-time link that can be used for so long.
    Invite(Duration),
}

/// What is to be changed about a user; an absent part stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserPatch {
    /// The word for their role; the team goes along where the new role can have it.
    pub role: Option<String>,
    /// Their team, by its id or name.
    pub team: Edit<String>,
    /// Whether they are kept out.
    pub is_disabled: Option<bool>,
}

/// A one-time token for a link, and when it ends.
pub type Invitation = (Secret<String>, Timestamp);

impl Keys {
    /// The users, by name.
    pub fn users(&self) -> Vec<Arc<User>> {
        self.state().users.values().map(|stored| Arc::clone(&stored.user)).collect()
    }

    /// Whether there is anybody who can log in.
    pub fn anybody_can_log_in(&self) -> bool {
        self.state().users.values().any(|stored| stored.user.state == UserState::Active)
    }

    /// A user by their name, whatever its case.
    pub fn user(&self, name: &str) -> Option<Arc<User>> {
        self.state().users.get(&user_key(name)).map(|stored| Arc::clone(&stored.user))
    }

    /// Lets someone in; the invitation's token is in this answer only. Blocks for hashing and for the disk.
    pub fn create_user(
        &self,
        new: &NewUser,
        entrance: &Entrance,
        now: Timestamp,
    ) -> Result<(Arc<User>, Option<Invitation>), KeysError> {
        let name = checked_text("name", new.name.trim(), USER_NAME_CHARS_MAX)?;
        let (password_hash, link) = match entrance {
            Entrance::Password(password) => {
                check_password(password.expose(), &name)?;
                (Some(self.passwords.hash(password.expose())?), None)
            }
            Entrance::Invite(life) => (None, Some(one_time_link(checked_life(*life)?, now))),
        };
        let user = self.change(|draft| {
            let key = user_key(&name);
            if draft.state.users.contains_key(&key) {
                return Err(KeysError::NameTaken { what: "user", name: name.clone() });
            }
            if draft.state.users.len() >= USERS_MAX {
                return Err(KeysError::TooMany { what: "users", max: USERS_MAX });
            }
            let role = role(draft, &new.role, new.team.as_deref())?;
            let user = User { name: name.clone(), role, created: whole_ms(now), state: UserState::Invited };
            let stored = StoredUser::new(user, false, password_hash);
            let user = Arc::clone(&stored.user);
            draft.put_user(stored)?;
            if let Some((_, reset)) = &link {
                draft.put_reset(&key, reset.clone())?;
            }
            Ok(user)
        })?;
        Ok((user, link.map(|(token, reset)| (token, reset.expires_at))))
    }

    /// A fresh link by which a user chooses a password, in the place of the one before. Blocks for the disk.
    pub fn invite(&self, name: &str, life: Duration, now: Timestamp) -> Result<Invitation, KeysError> {
        let (token, reset) = one_time_link(checked_life(life)?, now);
        let expires_at = reset.expires_at;
        self.change(|draft| {
            let stored = find(draft, name)?;
            if stored.user.state == UserState::Disabled {
                return Err(KeysError::invalid("name", "this user is disabled: let them in again first"));
            }
            Ok(draft.put_reset(&user_key(name), reset)?)
        })?;
        Ok((token, expires_at))
    }

    /// Changes a user's role, team or state, and ends their sessions where any of it did change. Blocks for the disk.
    pub fn change_user(&self, name: &str, patch: &UserPatch) -> Result<Arc<User>, KeysError> {
        let (user, is_changed) = self.change(|draft| {
            let before = find(draft, name)?;
            let word = patch.role.as_deref().unwrap_or(before.user.role.as_str());
            let kept = before.user.role.team().filter(|_| word != "admin").map(TeamId::as_str);
            let team = patch.team.clone().applied(kept.map(ToOwned::to_owned));
            let role = role(draft, word, team.as_deref())?;
            let is_disabled = patch.is_disabled.unwrap_or(before.user.state == UserState::Disabled);
            let user = User { role, ..User::clone(&before.user) };
            let stored = StoredUser::new(user, is_disabled, before.password_hash.clone());
            if stored.user == before.user {
                return Ok((before.user, false));
            }
            let user = Arc::clone(&stored.user);
            draft.put_user(stored)?;
            check_admin_left(&draft.state, &before.user)?;
            Ok((user, true))
        })?;
        if is_changed {
            self.end_sessions_of(name)?;
        }
        Ok(user)
    }

    /// Takes a user away, with their sessions. Blocks for the disk.
    pub fn remove_user(&self, name: &str) -> Result<Arc<User>, KeysError> {
        let user = self.change(|draft| {
            let before = find(draft, name)?;
            draft.remove_user(&user_key(name))?;
            check_admin_left(&draft.state, &before.user)?;
            Ok(before.user)
        })?;
        self.end_sessions_of(name)?;
        Ok(user)
    }
}

/// Whether a user lets others in.
pub(super) fn is_active_admin(user: &User) -> bool {
    user.role == Role::Admin && user.state == UserState::Active
}

/// Refuses a change after which nobody is left who can let anybody in.
fn check_admin_left(after: &State, before: &User) -> Result<(), KeysError> {
    let is_left = after.users.values().any(|stored| is_active_admin(&stored.user));
    if is_active_admin(before) && !is_left { Err(KeysError::LastAdmin(before.name.clone())) } else { Ok(()) }
}

fn role(draft: &Draft<'_>, word: &str, team: Option<&str>) -> Result<Role, KeysError> {
    Role::new(word, team.map(|text| team::find_existing(draft, text)).transpose()?)
}

fn find(draft: &Draft<'_>, name: &str) -> Result<StoredUser, KeysError> {
    draft.state.users.get(&user_key(name)).cloned().ok_or_else(|| KeysError::not_found("user", name))
}

fn checked_life(life: Duration) -> Result<SignedDuration, KeysError> {
    let wrong =
        || KeysError::invalid("expiresIn", "an invitation can be used for 30 minutes to 7 days: choose between");
    if !(INVITE_LIFE_MIN..=INVITE_LIFE_MAX).contains(&life) {
        return Err(wrong());
    }
    SignedDuration::try_from(life).map_err(|_| wrong())
}
