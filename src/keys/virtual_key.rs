//! Virtual keys: what one is, and what it can be made or changed to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::edit::Edit;
use super::error::{KeysError, checked_text};
use super::team::TEAM_NAME_CHARS_MAX;
use crate::domain::{BudgetTerms, EndpointFamily, KeyId, Revision, TeamId, Window, fits_glob};

/// The longest name of a key, owner or tag.
const NAME_CHARS_MAX: usize = 100;
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
    /// Its name, unique among the live keys of its team.
    pub name: String,
    /// The team that its calls count for.
    pub team: Option<TeamId>,
    /// The person to ask about it.
    pub owner: Option<String>,
    /// Tags that every call of it carries.
    pub tags: BTreeMap<String, String>,
    /// Patterns of the models that it may ask for, with `*` for any text; `None` is every model.
    pub allowed_models: Option<Vec<String>>,
    /// The endpoints that it may call; `None` is all of them.
    pub allowed_endpoints: Option<Vec<EndpointFamily>>,
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
    /// Earlier secrets that were promised to work for a while longer, the latest last; their time may be over.
    pub previous: Vec<PreviousSecret>,
    /// Counts its changes.
    pub revision: Revision,
}

/// An earlier secret of a key, while programs change over to the present one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousSecret {
    /// Its last four characters.
    pub last4: String,
    /// From when on it opens nothing.
    pub valid_until: Timestamp,
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
        self.allowed_models.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| fits_glob(pattern, model)))
    }

    /// Whether the key may call endpoints of this family.
    pub fn allows_endpoint(&self, family: EndpointFamily) -> bool {
        self.allowed_endpoints.as_ref().is_none_or(|allowed| allowed.contains(&family))
    }

    /// The earlier secrets that still open it.
    pub fn valid_previous(&self, now: Timestamp) -> impl Iterator<Item = &PreviousSecret> {
        self.previous.iter().filter(move |secret| now < secret.valid_until)
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
    /// The team that its calls count for, by its id or name; one that there isn't is made.
    pub team: Option<String>,
    /// The person to ask about it.
    pub owner: Option<String>,
    /// Tags that every call of it carries.
    pub tags: BTreeMap<String, String>,
    /// Patterns of the models that it may ask for; `None` is every model.
    pub allowed_models: Option<Vec<String>>,
    /// The endpoints that it may call; `None` is all of them.
    pub allowed_endpoints: Option<Vec<EndpointFamily>>,
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

    pub(super) fn check(&self, now: Timestamp) -> Result<(), KeysError> {
        checked_text("name", &self.name, NAME_CHARS_MAX)?;
        if self.name.eq_ignore_ascii_case(RESERVED_NAME) {
            return Err(KeysError::invalid("name", "the playground books under this name: choose another one"));
        }
        // An id has to mean one key, also where a name would be taken.
        if self.name.starts_with("key_") {
            return Err(KeysError::invalid("name", "ids of keys begin with key_: choose another name"));
        }
        self.team.as_ref().map(|team| checked_text("team", team, TEAM_NAME_CHARS_MAX)).transpose()?;
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
        let endpoints = self.allowed_endpoints.as_deref().unwrap_or_default();
        if endpoints.iter().enumerate().any(|(place, family)| endpoints[..place].contains(family)) {
            return Err(KeysError::invalid("allowedEndpoints", "an endpoint stands twice: name each once"));
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

/// Refuses lists that would make a key which can do nothing. A key that has one already keeps it until it is changed.
pub(super) fn check_lists(models: Option<&[String]>, endpoints: Option<&[EndpointFamily]>) -> Result<(), KeysError> {
    let empty = |field, what| {
        KeysError::invalid(
            field,
            format!("an empty list would let nothing pass: leave it out, or set it to null, for all {what}"),
        )
    };
    if models.is_some_and(<[_]>::is_empty) {
        return Err(empty("allowedModels", "models"));
    }
    if endpoints.is_some_and(<[_]>::is_empty) {
        return Err(empty("allowedEndpoints", "endpoints"));
    }
    Ok(())
}

/// What is to be changed about a key; what isn't named stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPatch {
    /// Its name.
    pub name: Option<String>,
    /// The team that its calls count for from now on, by its id or name; one that there isn't is made.
    pub team: Edit<String>,
    /// The person to ask about it.
    pub owner: Edit<String>,
    /// All of its tags.
    pub tags: Option<BTreeMap<String, String>>,
    /// Patterns of the models that it may ask for.
    pub allowed_models: Edit<Vec<String>>,
    /// The endpoints that it may call.
    pub allowed_endpoints: Edit<Vec<EndpointFamily>>,
    /// Calls in a minute.
    pub requests_per_minute: Edit<u64>,
    /// Tokens in a minute.
    pub tokens_per_minute: Edit<u64>,
    /// Calls at once.
    pub concurrent_requests: Edit<u64>,
    /// From when on it opens nothing.
    pub expires_at: Edit<Timestamp>,
}

impl KeyPatch {
    /// What the key would be made as, were it made with the change.
    pub(super) fn applied(self, key: &VirtualKey) -> NewKey {
        NewKey {
            name: self.name.unwrap_or_else(|| key.name.clone()),
            team: self.team.applied(key.team.as_ref().map(ToString::to_string)),
            owner: self.owner.applied(key.owner.clone()),
            tags: self.tags.unwrap_or_else(|| key.tags.clone()),
            allowed_models: self.allowed_models.applied(key.allowed_models.clone()),
            allowed_endpoints: self.allowed_endpoints.applied(key.allowed_endpoints.clone()),
            limits: KeyLimits {
                requests_per_minute: self.requests_per_minute.applied(key.limits.requests_per_minute),
                tokens_per_minute: self.tokens_per_minute.applied(key.limits.tokens_per_minute),
                concurrent_requests: self.concurrent_requests.applied(key.limits.concurrent_requests),
            },
            expires_at: self.expires_at.applied(key.expires_at),
            budgets: Vec::new(),
        }
    }
}

/// Times are stored in milliseconds, so they are cut before, not by, the way to the disk and back.
pub(super) fn whole_ms(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).expect("a time cut to milliseconds stays in range")
}
