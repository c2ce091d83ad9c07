//! The redb files: each has one writer thread that commits what queued meanwhile in one transaction.
//!
//! A [`Journal`] says how its commands change the tables; [`Writer`] owns the thread, the queue and the commit. A batch
//! is what arrived while the one before was being written; only what nobody waits for gathers for a while. A commit that fails has an
//! unknown outcome, so the waiters of that batch are told, and the file is reopened and its journal reloaded before
//! anything else is written. Reads go straight to the file, in short transactions.

mod journal;
mod open;
mod settings;
#[cfg(test)]
pub(crate) mod tests;

pub use journal::{CommitError, Journal, OnPanic, Place, SubmitError, Writer, WriterOptions};
pub(crate) use open::guard;
pub use open::{OpenError, OpenOptions, open};
pub use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
pub use settings::{Settings, SettingsError};
