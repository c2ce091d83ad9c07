//! Who paid: names of the other program's keys and teams, and the virtual keys and teams that stand for them here.

use std::collections::HashMap;

use crate::http::api::IMPORTED_KEY_PREFIX;

use super::columns::digest;

/// What becomes of a key that no virtual key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::app) enum UnknownKeys {
    /// Nothing is booked, and the keys are listed
    Refuse,
    /// Its calls are booked under its own name; no budget of a virtual key counts them
    Keep,
}

/// A virtual key.
#[derive(Clone, Debug)]
pub(in crate::app) struct KnownKey {
    pub(in crate::app) id: String,
    pub(in crate::app) name: String,
    pub(in crate::app) team: Option<String>,
}

/// Both kinds of names, mapped.
pub(in crate::app) struct Mapping {
    keys: HashMap<String, KnownKey>,
    key_names: HashMap<String, String>,
    teams: HashMap<String, String>,
    unknown: UnknownKeys,
}

/// Whom a call is booked under.
pub(super) struct Payer {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) team: Option<String>,
    /// The name that no virtual key stands for.
    pub(super) unknown: Option<String>,
}

/// Characters that an id of a key may have.
const ID_CHARS_MAX: usize = 64;

impl Mapping {
    /// `key_names` and `teams` say what is called otherwise here.
    pub(in crate::app) fn new(
        keys: Vec<KnownKey>,
        key_names: Vec<(String, String)>,
        teams: Vec<(String, String)>,
        unknown: UnknownKeys,
    ) -> Self {
        Self {
            keys: keys.into_iter().map(|key| (key.name.clone(), key)).collect(),
            key_names: key_names.into_iter().collect(),
            teams: teams.into_iter().collect(),
            unknown,
        }
    }

    /// Names on the right side of the map that no virtual key has.
    pub(in crate::app) fn misnamed(&self) -> Vec<&str> {
        let names = self.key_names.values().map(String::as_str);
        names.filter(|name| !self.keys.contains_key(*name)).collect()
    }

    /// Whether keys without a virtual key end the import.
    pub(in crate::app) fn refuses_unknown(&self) -> bool {
        self.unknown == UnknownKeys::Refuse
    }

    /// Who pays for a call of a key and a team of the file.
    pub(super) fn payer(&self, key: &str, team: Option<&str>) -> Payer {
        let key = if key.is_empty() { "(none)" } else { key };
        let name = self.key_names.get(key).map_or(key, String::as_str);
        let team = team.map(|team| self.teams.get(team).cloned().unwrap_or_else(|| team.to_owned()));
        if let Some(known) = self.keys.get(name) {
            let team = team.or_else(|| known.team.clone());
            return Payer { id: known.id.clone(), name: known.name.clone(), team, unknown: None };
        }
        let plain = format!("{IMPORTED_KEY_PREFIX}{name}");
        let id = if plain.chars().count() <= ID_CHARS_MAX {
            plain
        } else {
            format!("{IMPORTED_KEY_PREFIX}{:032x}", digest(&[name]))
        };
        Payer { id, name: name.to_owned(), team, unknown: Some(name.to_owned()) }
    }
}
