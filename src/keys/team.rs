//! Teams: whom keys, budgets and people belong to.
//!
//! A team's id is the name that it was made with. It never changes and is never given again, for entries of the ledger
//! refer to it; the name that people read may be changed. A text means a team by its id first, then by its name. A team
//! that was removed stays as a row, so that nobody gets to see its history by making a team of the same name.

use std::sync::Arc;

use jiff::Timestamp;

use super::Keys;
use super::error::{KeysError, checked_text};
use super::expected::Expected;
use super::tables::{Draft, State};
use super::virtual_key::{KeyStatus, whole_ms};
use crate::domain::{BudgetScope, Name, Revision, TeamId};

/// The longest name of a team.
pub(super) const TEAM_NAME_CHARS_MAX: usize = 100;
/// Removed ones included; more than an organisation has.
const TEAMS_MAX: usize = 10_000;

/// A team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Team {
    /// Its id, the same after a change of its name.
    pub id: TeamId,
    /// Its name, unique among the teams that there are.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was removed.
    pub removed_at: Option<Timestamp>,
    /// Counts its changes.
    pub revision: Revision,
}

impl Keys {
    /// The teams that there are, by id.
    pub fn teams(&self) -> Vec<Arc<Team>> {
        self.state().teams.values().filter(|team| team.removed_at.is_none()).map(Arc::clone).collect()
    }

    /// The team that a text means: by its id, else by its name.
    pub fn team(&self, text: &str) -> Option<Arc<Team>> {
        find(&self.state(), text).map(Arc::clone)
    }

    /// The name of a team, also of one that was removed; its id where there is no such team.
    pub fn team_name(&self, id: &str) -> String {
        let state = self.state();
        let team = TeamId::new(id).ok().and_then(|id| state.teams.get(&id));
        team.map_or(id, |team| team.name.as_str()).to_owned()
    }

    /// A scope whose team is named by its id, whatever it was named by.
    pub fn resolved(&self, scope: BudgetScope) -> BudgetScope {
        match self.scope_team(&scope) {
            Some(team) => team_scope(&team.id),
            None => scope,
        }
    }

    fn scope_team(&self, scope: &BudgetScope) -> Option<Arc<Team>> {
        if let BudgetScope::Team(text) = scope { self.team(text.as_str()) } else { None }
    }

    /// Makes a team. Blocks for the disk.
    pub fn create_team(&self, name: &str, now: Timestamp) -> Result<Arc<Team>, KeysError> {
        self.change(|draft| make(draft, "name", name, now))
    }

    /// Gives a team another name; its id stays. Blocks for the disk.
    pub fn rename_team(&self, id: &TeamId, name: &str, expected: &Expected) -> Result<Arc<Team>, KeysError> {
        self.change(|draft| {
            let present = existing(draft, id)?;
            expected.check(present.revision, "team")?;
            let name = checked_text("name", name, TEAM_NAME_CHARS_MAX)?;
            if name == present.name {
                return Ok(present);
            }
            check_free(&draft.state, "name", &name, Some(id))?;
            let team = Team { name, revision: present.revision.next(), ..Team::clone(&present) };
            Ok(draft.put_team(team)?)
        })
    }

    /// Removes a team that has no live key, no budget and nobody in it. Blocks for the disk.
    pub fn remove_team(&self, id: &TeamId, expected: &Expected, now: Timestamp) -> Result<Arc<Team>, KeysError> {
        self.change(|draft| {
            let present = existing(draft, id)?;
            expected.check(present.revision, "team")?;
            let state = &draft.state;
            let is_its = |stored: &&super::rows::StoredKey| {
                stored.key.team.as_ref() == Some(id) && stored.key.status(now) == KeyStatus::Live
            };
            let keys = state.keys.values().filter(is_its).count();
            let scope = team_scope(id);
            let budgets = state.budgets.values().filter(|budget| budget.scope == scope).count();
            let people = state.users.values().filter(|stored| stored.user.role.team() == Some(id)).count();
            if keys + budgets + people > 0 {
                return Err(KeysError::TeamInUse { name: present.name.clone(), keys, budgets, people });
            }
            let removed =
                Team { removed_at: Some(whole_ms(now)), revision: present.revision.next(), ..Team::clone(&present) };
            Ok(draft.put_team(removed)?)
        })
    }
}

/// The scope of a team's budgets.
pub(super) fn team_scope(id: &TeamId) -> BudgetScope {
    BudgetScope::Team(Name::new(id.as_str(), TEAM_NAME_CHARS_MAX).expect("an id of a team is such a name"))
}

fn find<'s>(state: &'s State, text: &str) -> Option<&'s Arc<Team>> {
    let by_id = TeamId::new(text).ok().and_then(|id| state.teams.get(&id));
    let mut live = state.teams.values().filter(|team| team.removed_at.is_none());
    by_id.filter(|team| team.removed_at.is_none()).or_else(|| live.find(|team| team.name == text))
}

fn existing(draft: &Draft<'_>, id: &TeamId) -> Result<Arc<Team>, KeysError> {
    let present = draft.state.teams.get(id).filter(|team| team.removed_at.is_none());
    present.map(Arc::clone).ok_or_else(|| KeysError::not_found("team", id.as_str()))
}

/// The team that a text means; it is made where there is none, so that a key or budget can be made in one step.
pub(super) fn find_or_make(draft: &mut Draft<'_>, text: &str, now: Timestamp) -> Result<TeamId, KeysError> {
    match find(&draft.state, text) {
        Some(team) => Ok(team.id.clone()),
        None => Ok(make(draft, "team", text, now)?.id.clone()),
    }
}

/// The team that a text means, which has to be there.
pub(super) fn find_existing(draft: &Draft<'_>, text: &str) -> Result<TeamId, KeysError> {
    let unknown = || {
        let text: String = text.chars().take(64).collect();
        KeysError::invalid("team", format!("there is no team {text:?}: make it first, or name one that there is"))
    };
    find(&draft.state, text).map(|team| team.id.clone()).ok_or_else(unknown)
}

fn make(draft: &mut Draft<'_>, field: &'static str, name: &str, now: Timestamp) -> Result<Arc<Team>, KeysError> {
    let name = checked_text(field, name, TEAM_NAME_CHARS_MAX)?;
    check_free(&draft.state, field, &name, None)?;
    if draft.state.teams.len() >= TEAMS_MAX {
        return Err(KeysError::TooMany { what: "teams", max: TEAMS_MAX });
    }
    let id = free_id(&draft.state, &name);
    let team = Team { id, name, created: whole_ms(now), removed_at: None, revision: Revision::FIRST };
    Ok(draft.put_team(team)?)
}

/// The name itself, or with a number where a team has or had it for its id.
fn free_id(state: &State, name: &str) -> TeamId {
    let numbered = |number: u32| {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let kept: String = name.chars().take(TEAM_NAME_CHARS_MAX - suffix.len()).collect();
        TeamId::new(&format!("{kept}{suffix}")).expect("a name that was checked, at most as long")
    };
    let free = |id: &TeamId| !state.teams.contains_key(id) && state.teams.values().all(|team| team.name != id.as_str());
    (1..=u32::MAX).map(numbered).find(free).expect("there are fewer teams than numbers")
}

/// Refuses the name of another team, and one that differs from it by the case of its letters alone: nobody means both.
fn check_free(state: &State, field: &'static str, name: &str, own: Option<&TeamId>) -> Result<(), KeysError> {
    let folded = name.to_lowercase();
    let is_like = |team: &&Arc<Team>| {
        team.removed_at.is_none()
            && Some(&team.id) != own
            && (team.name.to_lowercase() == folded || team.id.as_str().to_lowercase() == folded)
    };
    match state.teams.values().find(is_like) {
        None => Ok(()),
        Some(team) if team.name == name => Err(KeysError::NameTaken { what: "team", name: name.to_owned() }),
        Some(team) => {
            let known = if team.id.as_str() == name {
                format!("{:?}, whose id that is", team.name)
            } else {
                format!("{:?}", team.name)
            };
            Err(KeysError::invalid(field, format!("there is a team {known}: did you mean that one?")))
        }
    }
}
