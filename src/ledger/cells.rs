//! Rollups: one cell per hour, day or month and combination of team, key, provider, model and operation.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::domain::{CacheOutcome, CostBasis, EntryStatus, Picodollars, TokenUsage, Window, WindowId};

use super::record::Entry;

/// The kinds of window that are rolled up.
pub(super) const GRAINS: [Window; 3] = [Window::Hour, Window::Day, Window::Month];

/// The interned names of a cell, and its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CellKey {
    pub(super) window: WindowId,
    pub(super) team: u32,
    pub(super) key: u32,
    pub(super) provider: u32,
    pub(super) model: u32,
    pub(super) operation: u32,
}

/// The width of a stored cell key.
pub(super) const CELL_KEY_LEN: usize = 25;

impl CellKey {
    /// Big-endian parts in order, so that a window's cells lie together.
    pub(super) fn to_bytes(self) -> [u8; CELL_KEY_LEN] {
        let mut bytes = [0; CELL_KEY_LEN];
        bytes[0] = grain_byte(self.window.window);
        let parts = [self.window.number, self.team, self.key, self.provider, self.model, self.operation];
        for (place, part) in bytes[1..].chunks_exact_mut(4).zip(parts) {
            place.copy_from_slice(&part.to_be_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: [u8; CELL_KEY_LEN]) -> Option<Self> {
        let window = *GRAINS.get(usize::from(bytes[0]))?;
        let mut parts = bytes[1..].chunks_exact(4).map(|part| u32::from_be_bytes([part[0], part[1], part[2], part[3]]));
        let mut next = || parts.next();
        Some(Self {
            window: WindowId { window, number: next()? },
            team: next()?,
            key: next()?,
            provider: next()?,
            model: next()?,
            operation: next()?,
        })
    }

    /// The first key of a window, and the first of the one after: a half-open range.
    pub(super) fn range(from: WindowId, to_number: u32) -> ([u8; CELL_KEY_LEN], [u8; CELL_KEY_LEN]) {
        let first = |number| {
            let window = WindowId { window: from.window, number };
            Self { window, team: 0, key: 0, provider: 0, model: 0, operation: 0 }.to_bytes()
        };
        (first(from.number), first(to_number))
    }
}

fn grain_byte(window: Window) -> u8 {
    match window {
        Window::Hour => 0,
        Window::Day => 1,
        Window::Month => 2,
        Window::Week | Window::Total => unreachable!("only the grains are rolled up"),
    }
}

/// The sums of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Calls whose last attempt belongs here.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Those of them whose end was never seen.
    pub unknown: u64,
    /// Those of them that the response cache answered.
    pub cache_hits: u64,
    /// Attempts without a price.
    pub unpriced: u64,
    /// What the attempts cost.
    pub cost: Picodollars,
    /// The part of it that belongs to calls whose end was never seen.
    pub unknown_cost: Picodollars,
    /// What cache hits saved.
    pub saved: Picodollars,
    /// Tokens of the attempts.
    pub usage: TokenUsage,
}

impl Cell {
    /// The calls that the response cache could have answered: whoever was refused or failed got nothing to compare with.
    pub fn answered(&self) -> u64 {
        self.requests.saturating_sub(self.failed).max(self.cache_hits)
    }

    /// Adds another cell's sums.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.cache_hits += other.cache_hits;
        self.unpriced += other.unpriced;
        self.cost += other.cost;
        self.unknown_cost += other.unknown_cost;
        self.saved += other.saved;
        self.usage = self.usage + other.usage;
    }
}

/// The names of an entry as the cells know them.
#[derive(Clone, Debug)]
pub(super) struct CellNames {
    pub(super) team: u32,
    pub(super) key: u32,
    pub(super) operation: u32,
    /// Provider and model of each attempt.
    pub(super) deployments: Vec<(u32, u32)>,
    /// Provider and model of an answer that the cache gave.
    pub(super) kept_from: (u32, u32),
}

/// Adds one entry to the cells of its windows; an attempt's cost goes to its own provider and model.
pub(super) fn contribute(cells: &mut HashMap<CellKey, Cell>, entry: &Entry, names: &CellNames, windows: &[WindowId]) {
    let is_unknown = entry.status == EntryStatus::Unknown;
    let mut add = |(provider, model): (u32, u32), cell: &Cell| {
        for &window in windows {
            let (team, key, operation) = (names.team, names.key, names.operation);
            cells.entry(CellKey { window, team, key, provider, model, operation }).or_default().add(cell);
        }
    };
    // The call itself counts where its last attempt went, or where the answer that the cache gave had come from; a
    // adjustment is no call, and adds its amounts alone.
    let whole = if entry.adjustment.is_some() { Cell::default() } else { whole_call(entry) };
    let mut attempts = entry.attempts.iter().zip(&names.deployments).peekable();
    if attempts.peek().is_none() && entry.adjustment.is_none() {
        add(names.kept_from, &whole);
    }
    while let Some((attempt, &deployment)) = attempts.next() {
        let mut cell = if attempts.peek().is_none() { whole } else { Cell::default() };
        cell.cost = attempt.cost;
        cell.usage = attempt.usage;
        cell.unpriced = u64::from(attempt.basis == CostBasis::Unpriced && entry.adjustment.is_none());
        if is_unknown {
            cell.unknown_cost = attempt.cost;
        }
        add(deployment, &cell);
    }
}

/// What an entry counts as, whatever its attempts came to.
fn whole_call(entry: &Entry) -> Cell {
    Cell {
        requests: 1,
        failed: u64::from(entry.status == EntryStatus::Failed || entry.error.is_some()),
        unknown: u64::from(entry.status == EntryStatus::Unknown),
        cache_hits: u64::from(matches!(entry.facts.cache, CacheOutcome::Hit | CacheOutcome::Semantic)),
        saved: entry.saved,
        ..Cell::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cell_keys_survive_storage_and_sort_by_window(grain in 0_usize..3, number in any::<u32>(), parts in any::<[u32; 5]>()) {
            let [team, key, provider, model, operation] = parts;
            let window = WindowId { window: GRAINS[grain], number };
            let cell = CellKey { window, team, key, provider, model, operation };
            prop_assert_eq!(CellKey::from_bytes(cell.to_bytes()), Some(cell));
            if number < u32::MAX {
                let (from, to) = CellKey::range(window, number + 1);
                prop_assert!(from <= cell.to_bytes() && cell.to_bytes() < to);
            }
        }
    }
}
