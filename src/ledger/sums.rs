//! Sums taken anew from the entries: for a budget that begins, for a change of time zone, and to prove the others.

use std::collections::{BTreeMap, HashMap};

use jiff::tz::TimeZone;
use redb::ReadableTable;

use crate::domain::{EntryStatus, Picodollars, RequestId, WindowId};

use super::cells::{Cell, CellKey, GRAINS, contribute};
use super::names::Names;
use super::record::{Entry, Scope};
use super::tables::{StoredBalance, cell_names, decode_entry};

/// The entries of a range of ids, in order.
pub(super) fn entries_between<'a>(
    table: &'a impl ReadableTable<u128, &'static [u8]>,
    names: &'a Names,
    from: RequestId,
    until: Option<RequestId>,
) -> Result<impl Iterator<Item = Result<Entry, redb::Error>> + 'a, redb::Error> {
    let range = match until {
        Some(until) => table.range(from.number()..until.number())?,
        None => table.range(from.number()..)?,
    };
    Ok(range.map(move |row| {
        let (id, value) = row?;
        Ok(decode_entry(id.value(), value.value(), names)?)
    }))
}

/// The first id of a window.
pub(super) fn first_id(window: WindowId, zone: &TimeZone) -> RequestId {
    RequestId::first_of(window.start(zone).map_or(0, jiff::Timestamp::as_millisecond))
}

/// What the entries of a scope come to in each window of a kind, from one of them on, up to where another begins.
pub(super) fn of_scope(
    table: &impl ReadableTable<u128, &'static [u8]>,
    names: &Names,
    zone: &TimeZone,
    scope: &Scope,
    from: WindowId,
    until: Option<WindowId>,
) -> Result<BTreeMap<u32, StoredBalance>, redb::Error> {
    let mut sums = BTreeMap::new();
    for entry in entries_between(table, names, first_id(from, zone), until.map(|window| first_id(window, zone)))? {
        let entry = entry?;
        if let Some(cost) = entry.cost_in(scope) {
            let number = from.window.at(entry.time(), zone).number;
            add(sums.entry(number).or_default(), &entry, cost);
        }
    }
    Ok(sums)
}

/// Adds what an entry costs under a scope.
pub(super) fn add(sum: &mut StoredBalance, entry: &Entry, cost: Picodollars) {
    sum.spent += cost;
    if entry.status == EntryStatus::Unknown {
        sum.unknown += cost;
    }
}

/// Adds an entry to the cells of its windows.
pub(super) fn add_to_cells(cells: &mut HashMap<CellKey, Cell>, entry: &Entry, names: &Names, zone: &TimeZone) {
    let windows = GRAINS.map(|grain| grain.at(entry.time(), zone));
    contribute(cells, entry, &cell_names(entry, names), &windows);
}
