//! How revisions lie in the settings file.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Mark, Revision, Trigger};
use crate::config::Problem;
use crate::store::{ReadableTable as _, SettingsError, TableDefinition, WriteTransaction};

/// Revisions, by their numbers.
const REVISIONS: TableDefinition<u64, &[u8]> = TableDefinition::new("config_revisions");
/// The marks of what the newest one doesn't show, by the paths of the keys.
const MARKS: TableDefinition<&str, Mark> = TableDefinition::new("config_marks");
/// What a row begins with.
const ROW_VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Row {
    at_ms: i64,
    trigger: Trigger,
    settings: String,
    unshown: BTreeMap<String, u64>,
    waiting: Vec<String>,
    #[serde(default)]
    still: BTreeMap<String, String>,
    warnings: Vec<Warning>,
}

#[derive(Serialize, Deserialize)]
struct Warning {
    path: String,
    message: String,
    place: Option<String>,
}

pub(super) fn encode(revision: &Revision) -> Vec<u8> {
    let warning = |problem: &Problem| Warning {
        path: problem.path.clone(),
        message: problem.message.clone(),
        place: problem.place.clone(),
    };
    let row = Row {
        at_ms: revision.at.as_millisecond(),
        trigger: revision.trigger,
        settings: revision.settings.clone(),
        unshown: revision.unshown.clone(),
        waiting: revision.waiting.clone(),
        still: revision.still.clone(),
        warnings: revision.warnings.iter().map(warning).collect(),
    };
    let mut bytes = vec![ROW_VERSION];
    serde_json::to_writer(&mut bytes, &row).expect("texts and numbers can be written");
    bytes
}

/// A row of this version; one of another is left out, for an old revision is no reason to refuse to start.
fn decode(number: u64, bytes: &[u8]) -> Option<Revision> {
    let (&version, json) = bytes.split_first()?;
    let row: Row = (version == ROW_VERSION).then(|| serde_json::from_slice(json).ok()).flatten()?;
    let warning = |Warning { path, message, place }| Problem { path, message, place };
    Some(Revision {
        number,
        at: Timestamp::from_millisecond(row.at_ms).ok()?,
        trigger: row.trigger,
        settings: row.settings,
        unshown: row.unshown,
        waiting: row.waiting,
        still: row.still,
        warnings: row.warnings.into_iter().map(warning).collect(),
    })
}

pub(super) fn load(
    transaction: &WriteTransaction,
) -> Result<(VecDeque<Revision>, BTreeMap<String, Mark>), SettingsError> {
    let mut kept = VecDeque::new();
    for row in transaction.open_table(REVISIONS)?.iter()? {
        let (number, bytes) = row?;
        kept.extend(decode(number.value(), bytes.value()));
    }
    let mut marks = BTreeMap::new();
    for row in transaction.open_table(MARKS)?.iter()? {
        let (path, mark) = row?;
        marks.insert(path.value().to_owned(), mark.value());
    }
    Ok((kept, marks))
}

pub(super) fn write(
    transaction: &WriteTransaction,
    number: u64,
    row: &[u8],
    gone: &[u64],
    marks: &BTreeMap<String, Mark>,
) -> Result<(), SettingsError> {
    let mut revisions = transaction.open_table(REVISIONS)?;
    revisions.insert(number, row)?;
    for old in gone {
        revisions.remove(old)?;
    }
    let mut table = transaction.open_table(MARKS)?;
    table.retain(|_, _| false)?;
    for (path, mark) in marks {
        table.insert(path.as_str(), mark)?;
    }
    Ok(())
}
