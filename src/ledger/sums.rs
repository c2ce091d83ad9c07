//! Sums taken anew from the entries: for a budget that begins, for a change of time zone, and to prove the others.

use std::collections::HashMap;

use jiff::tz::TimeZone;
use redb::ReadableTable;

use crate::domain::{EntryStatus, Picodollars, RequestId, WindowId};

use super::cells::{Cell, CellKey, GRAINS, contributions};
use super::names::Names;
use super::record::{Entry, Scope};
use super::tables::{StoredBalance, decode_entry, encode_entry};

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

/// What the entries of a scope come to in a window.
pub(super) fn of_scope(
    table: &impl ReadableTable<u128, &'static [u8]>,
    names: &Names,
    zone: &TimeZone,
    scope: &Scope,
    window: WindowId,
) -> Result<StoredBalance, redb::Error> {
    let from = window.start(zone).map_or(RequestId::first_of(0), |start| RequestId::first_of(start.as_millisecond()));
    let until = window.end(zone).map(|end| RequestId::first_of(end.as_millisecond()));
    let mut sum = StoredBalance::default();
    for entry in entries_between(table, names, from, until)? {
        add(&mut sum, &entry?, scope);
    }
    Ok(sum)
}

/// Adds what an entry posts to a scope.
pub(super) fn add(sum: &mut StoredBalance, entry: &Entry, scope: &Scope) {
    let cost: Picodollars =
        entry.postings().into_iter().filter(|(posted, _)| posted == scope).map(|(_, cost)| cost).sum();
    sum.spent += cost;
    if entry.status == EntryStatus::Unknown {
        sum.unknown += cost;
    }
}

/// Adds an entry to the cells of its windows.
pub(super) fn add_to_cells(cells: &mut HashMap<CellKey, Cell>, entry: &Entry, names: &Names, zone: &TimeZone) {
    let (_, cell_names) = encode_entry(entry, names);
    let windows = GRAINS.map(|grain| grain.at(entry.time(), zone));
    for (key, cell) in contributions(entry, &cell_names, &windows) {
        cells.entry(key).or_default().add(&cell);
    }
}
