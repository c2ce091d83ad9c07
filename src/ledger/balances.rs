//! The sums that budgets are held against, in the writer's memory: found without allocating, forgotten when their window
//! is long over.
//!
//! A sum is tracked from one window on: every later window of its kind begins at nothing by itself, because everything
//! booked since has been added. What an older window came to is known to the file alone.

use std::collections::{HashMap, HashSet};

use crate::domain::{EntryStatus, ModelPattern, Picodollars, Window, WindowId, undated};

use super::record::{Balance, Entry, Scope};
use super::tables::StoredBalance;

/// Scopes by what an entry knows of itself.
#[derive(Debug, Default)]
pub(super) struct ScopeIndex {
    scopes: Vec<Scope>,
    everything: Option<usize>,
    keys: HashMap<Box<str>, usize>,
    teams: HashMap<Box<str>, usize>,
    providers: HashMap<Box<str>, usize>,
    /// Of one model's name each.
    models: HashMap<Box<str>, usize>,
    /// Of models by other patterns.
    model_patterns: Vec<(ModelPattern, usize)>,
    operations: HashMap<Box<str>, usize>,
    /// By name, then by value.
    tags: HashMap<Box<str>, HashMap<Box<str>, usize>>,
}

impl ScopeIndex {
    /// The place of a scope; a new one gets the next.
    pub(super) fn insert(&mut self, scope: &Scope) -> usize {
        if let Some(place) = self.find(scope) {
            return place;
        }
        let place = self.scopes.len();
        self.scopes.push(scope.clone());
        let (kind, value) = scope.parts();
        match kind {
            _ if !is_indexed(kind, value) => {}
            "everything" => self.everything = Some(place),
            "tag" => {
                let (name, value) = value.split_once('=').unwrap_or((value, ""));
                self.tags.entry(name.into()).or_default().insert(value.into(), place);
            }
            "model" => match ModelPattern::new(value) {
                Ok(pattern) if !pattern.is_plain() => self.model_patterns.push((pattern, place)),
                _ => drop(self.models.insert(value.into(), place)),
            },
            _ => drop(self.map_mut(kind).map(|map| map.insert(value.into(), place))),
        }
        place
    }

    fn map_mut(&mut self, kind: &str) -> Option<&mut HashMap<Box<str>, usize>> {
        Some(match kind {
            "key" => &mut self.keys,
            "team" => &mut self.teams,
            "provider" => &mut self.providers,
            "operation" => &mut self.operations,
            _ => return None,
        })
    }

    /// The place of a scope that is known.
    pub(super) fn find(&self, scope: &Scope) -> Option<usize> {
        let (kind, value) = scope.parts();
        let known = match kind {
            _ if !is_indexed(kind, value) => None,
            "everything" => self.everything,
            "key" => self.keys.get(value).copied(),
            "team" => self.teams.get(value).copied(),
            "provider" => self.providers.get(value).copied(),
            "model" => self.models.get(value).copied().or_else(|| {
                self.model_patterns.iter().find(|(pattern, _)| pattern.as_str() == value).map(|(_, place)| *place)
            }),
            "operation" => self.operations.get(value).copied(),
            "tag" => {
                let (name, value) = value.split_once('=').unwrap_or((value, ""));
                self.tags.get(name).and_then(|values| values.get(value)).copied()
            }
            _ => None,
        };
        // What no entry can belong to is rare, and never looked for on the way of a call.
        known.or_else(|| self.scopes.iter().filter(|_| !is_indexed(kind, value)).position(|known| known == scope))
    }

    /// The scope at a place.
    pub(super) fn scope(&self, place: usize) -> &Scope {
        &self.scopes[place]
    }

    /// What an entry adds to which scopes; attempts that share a provider or model come one by one.
    pub(super) fn each(&self, entry: &Entry, mut take: impl FnMut(usize, Picodollars)) {
        if self.scopes.is_empty() {
            return;
        }
        let facts = &entry.facts;
        let cost = entry.cost();
        let whole = [
            self.everything,
            self.keys.get(facts.key.as_str()).copied(),
            facts.team.as_deref().and_then(|team| self.teams.get(team)).copied(),
            self.operations.get(&*facts.operation).copied(),
        ];
        for place in whole.into_iter().flatten() {
            take(place, cost);
        }
        if !self.tags.is_empty() {
            for (at, tag) in facts.tags.iter().enumerate() {
                let place = self.tags.get(&*tag.0).and_then(|values| values.get(&*tag.1));
                if let Some(&place) = place
                    && !facts.tags[..at].contains(tag)
                {
                    take(place, cost);
                }
            }
        }
        for attempt in &entry.attempts {
            let deployment = &attempt.deployment;
            let model = deployment.model.as_str();
            let provider = self.providers.get(deployment.provider.as_str());
            let undated = Some(undated(model)).filter(|undated| undated.len() < model.len());
            let named = [Some(model), undated].into_iter().flatten().filter_map(|name| self.models.get(name));
            let fitting = self.model_patterns.iter().filter(|(pattern, _)| pattern.fits(deployment));
            for &place in provider.into_iter().chain(named).chain(fitting.map(|(_, place)| place)) {
                take(place, attempt.cost);
            }
        }
    }
}

/// Whether entries can belong to a scope.
fn is_indexed(kind: &str, value: &str) -> bool {
    match kind {
        "everything" => value.is_empty(),
        "tag" => value.contains('='),
        _ => matches!(kind, "key" | "team" | "provider" | "model" | "operation"),
    }
}

/// The windows of one kind of one scope.
#[derive(Debug)]
struct Kept {
    /// Everything booked from this window on has been added; what came before it is not known.
    first: u32,
    /// The newest windows and those with calls that run, oldest first; never empty.
    sums: Vec<(u32, Balance)>,
}

impl Kept {
    fn position(&self, number: u32) -> Option<usize> {
        self.sums.iter().rposition(|(known, _)| *known == number)
    }

    fn newest(&self) -> u32 {
        self.sums.last().expect("it is made with one and keeps the newest").0
    }
}

/// Where a sum stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// In memory.
    Known(Balance),
    /// In the file: its window was over before.
    InFile,
    /// Nowhere: it has to be taken from the entries.
    Untracked,
}

/// All sums that are kept up to date.
#[derive(Debug, Default)]
pub(super) struct Balances {
    index: ScopeIndex,
    kept: Vec<[Option<Kept>; Window::ALL.len()]>,
    /// Sums that changed since the last commit.
    dirty: HashSet<(usize, WindowId)>,
    /// What was booked meanwhile in windows that are only in the file.
    late: HashMap<(usize, WindowId), StoredBalance>,
    /// Whether a window began since the last commit, so that older ones may be over.
    has_begun: bool,
}

impl Balances {
    /// How a sum stands; a window that has only begun stands at nothing.
    pub(super) fn standing(&self, scope: &Scope, window: WindowId) -> Standing {
        let kept = self.index.find(scope).and_then(|place| self.kept[place][window.window as usize].as_ref());
        match kept {
            None => Standing::Untracked,
            Some(kept) if window.number < kept.first => Standing::Untracked,
            Some(kept) => match kept.position(window.number) {
                Some(at) => Standing::Known(kept.sums[at].1),
                None if window.number > kept.newest() => Standing::Known(Balance::default()),
                None => Standing::InFile,
            },
        }
    }

    /// The first window of a kind that is complete.
    pub(super) fn first(&self, scope: &Scope, window: Window) -> Option<WindowId> {
        let kept = self.index.find(scope).and_then(|place| self.kept[place][window as usize].as_ref());
        kept.map(|kept| WindowId { window, number: kept.first })
    }

    /// Takes a sum in from the file or from the entries; what is older than everything before is the new first window.
    pub(super) fn adopt(&mut self, scope: &Scope, window: WindowId, balance: Balance) {
        let place = self.index.insert(scope);
        if place == self.kept.len() {
            self.kept.push(Default::default());
        }
        let number = window.number;
        let kept =
            self.kept[place][window.window as usize].get_or_insert_with(|| Kept { first: number, sums: Vec::new() });
        kept.first = kept.first.min(number);
        match kept.sums.binary_search_by_key(&number, |(known, _)| *known) {
            Ok(at) => kept.sums[at].1 = balance,
            Err(at) => kept.sums.insert(at, (number, balance)),
        }
    }

    fn change(&mut self, entry: &Entry, windows: &[WindowId], mut change: impl FnMut(&mut Change<'_>, Picodollars)) {
        let Self { index, kept, dirty, late, has_begun } = self;
        index.each(entry, |place, cost| {
            for &window in windows {
                let Some(kept) = &mut kept[place][window.window as usize] else { continue };
                if window.number < kept.first {
                    continue;
                }
                let at = kept.position(window.number).or_else(|| {
                    (window.number > kept.newest()).then(|| {
                        *has_begun = true;
                        kept.sums.push((window.number, Balance::default()));
                        kept.sums.len() - 1
                    })
                });
                let balance = at.map(|at| &mut kept.sums[at].1);
                change(&mut Change { key: (place, window), balance, dirty, late }, cost);
            }
        });
    }

    /// Adds what a call that runs may cost to what is held.
    pub(super) fn hold(&mut self, entry: &Entry, windows: &[WindowId]) {
        self.change(entry, windows, |change, cost| {
            if let Some(balance) = &mut change.balance {
                balance.held += cost;
            }
        });
    }

    /// Gives back what was held for a call.
    pub(super) fn release(&mut self, entry: &Entry, windows: &[WindowId]) {
        self.change(entry, windows, |change, cost| {
            if let Some(balance) = &mut change.balance {
                balance.held = balance.held - cost;
            }
        });
    }

    /// Adds an entry that ended.
    pub(super) fn book(&mut self, entry: &Entry, windows: &[WindowId]) {
        let is_unknown = entry.status == EntryStatus::Unknown;
        self.change(entry, windows, |change, cost| {
            let unknown = if is_unknown { cost } else { Picodollars::ZERO };
            if let Some(balance) = &mut change.balance {
                balance.spent += cost;
                balance.unknown += unknown;
                change.dirty.insert(change.key);
            } else {
                let late = change.late.entry(change.key).or_default();
                late.spent += cost;
                late.unknown += unknown;
            }
        });
    }

    /// The sums to write: what they come to now.
    pub(super) fn changed(&self) -> impl Iterator<Item = (&Scope, WindowId, StoredBalance)> {
        self.dirty.iter().filter_map(|&(place, window)| {
            let kept = self.kept[place][window.window as usize].as_ref()?;
            let balance = kept.sums[kept.position(window.number)?].1;
            let stored = StoredBalance { spent: balance.spent, unknown: balance.unknown };
            Some((self.index.scope(place), window, stored))
        })
    }

    /// What is to be added to sums that are only in the file.
    pub(super) fn late(&self) -> impl Iterator<Item = (&Scope, WindowId, StoredBalance)> {
        self.late.iter().map(|(&(place, window), &sum)| (self.index.scope(place), window, sum))
    }

    /// The file has everything: forgets windows that are over and that no call runs in.
    pub(super) fn committed(&mut self) {
        self.dirty.clear();
        self.late.clear();
        if std::mem::take(&mut self.has_begun) {
            self.forget_old();
        }
    }

    /// Forgets all but the newest two windows of a kind and those that calls run in.
    pub(super) fn forget_old(&mut self) {
        for kept in self.kept.iter_mut().flatten().flatten() {
            let mut newer = kept.sums.len();
            kept.sums.retain(|(_, balance)| {
                newer -= 1;
                newer < 2 || !balance.held.is_zero()
            });
        }
    }

    /// Sums that a running call is held in, but that are only in the file.
    pub(super) fn missing(&self, entry: &Entry, windows: &[WindowId], missing: &mut HashSet<(Scope, WindowId)>) {
        self.index.each(entry, |place, _| {
            let scope = self.index.scope(place);
            for &window in windows {
                if self.standing(scope, window) == Standing::InFile {
                    missing.insert((scope.clone(), window));
                }
            }
        });
    }

    /// How many windows are in memory.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.iter().flatten().flatten().map(|kept| kept.sums.len()).sum()
    }
}

/// One sum that an entry changes.
struct Change<'a> {
    key: (usize, WindowId),
    /// Absent where the window is only in the file.
    balance: Option<&'a mut Balance>,
    dirty: &'a mut HashSet<(usize, WindowId)>,
    late: &'a mut HashMap<(usize, WindowId), StoredBalance>,
}
