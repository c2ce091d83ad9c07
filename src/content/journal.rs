//! What the writer thread of the content file does: keeps exchanges, and erases them a few at a time.

use redb::{Database, ReadableTable as _, WriteTransaction};
use tokio::sync::oneshot;

use super::scrub::Secrets;
use super::tables::{BODIES, OWNERS, decode, encode, owners, place};
use super::{ContentError, Exchange};
use crate::domain::{Owner, RequestId};
use crate::store::{CommitError, Journal};

/// Contents that one transaction erases: the worst was 50 ms at ten times as many, and what is to be kept waits meanwhile.
const ERASED_AT_ONCE_MAX: usize = 200;

pub(super) type Reply = oneshot::Sender<Result<u64, ContentError>>;

pub(super) enum Command {
    Keep(Box<Exchange>),
    Erase { what: Erase, reply: Reply },
}

/// What is to go.
pub(super) enum Erase {
    Owner(Owner),
    Before(RequestId),
}

struct Erasing {
    what: Erase,
    reply: Reply,
    /// How many are gone durably.
    done: u64,
    /// How many go with the transaction that is being written.
    going: u64,
}

pub(super) struct ContentJournal {
    secrets: Secrets,
    kept: Vec<Exchange>,
    /// The first of them is worked on.
    erasing: Vec<Erasing>,
}

impl ContentJournal {
    pub(super) fn new(secrets: Secrets) -> Self {
        Self { secrets, kept: Vec::new(), erasing: Vec::new() }
    }
}

impl Journal for ContentJournal {
    type Command = Command;

    fn decide(&mut self, batch: &mut Vec<Command>) -> bool {
        for command in batch.drain(..) {
            match command {
                Command::Keep(mut exchange) => {
                    self.secrets.cut_out_of(exchange.request.bytes_mut());
                    self.secrets.cut_out_of(exchange.answer.bytes_mut());
                    self.kept.push(*exchange);
                }
                Command::Erase { what, reply } => self.erasing.push(Erasing { what, reply, done: 0, going: 0 }),
            }
        }
        !(self.kept.is_empty() && self.erasing.is_empty())
    }

    fn write(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        for exchange in &self.kept {
            let id = exchange.id.number();
            transaction.open_table(BODIES)?.insert(id, encode(exchange).as_slice())?;
            let mut table = transaction.open_table(OWNERS)?;
            for owner in owners(exchange) {
                let (kind, name) = place(&owner);
                table.insert((kind, name, id), ())?;
            }
        }
        if let Some(erasing) = self.erasing.first_mut() {
            erasing.going = erase(transaction, &erasing.what)?;
        }
        Ok(())
    }

    fn committed(&mut self) {
        self.kept.clear();
        let Some(erasing) = self.erasing.first_mut() else { return };
        let gone = std::mem::take(&mut erasing.going);
        erasing.done += gone;
        if gone < ERASED_AT_ONCE_MAX as u64 {
            let Erasing { reply, done, .. } = self.erasing.remove(0);
            let _ = reply.send(Ok(done));
        }
    }

    fn failed(&mut self, error: &CommitError) {
        // Nobody was promised these, and holding them would cost memory for as long as the disk is full.
        self.kept.clear();
        for erasing in self.erasing.drain(..) {
            let _ = erasing.reply.send(Err(ContentError::new(&error.detail)));
        }
    }

    fn is_awaited(&self) -> bool {
        !self.erasing.is_empty()
    }

    fn refuse(&mut self, batch: &mut Vec<Command>, error: &CommitError) {
        for command in batch.drain(..) {
            if let Command::Erase { reply, .. } = command {
                let _ = reply.send(Err(ContentError::new(&error.detail)));
            }
        }
    }

    /// Nothing is remembered of the file; but readers find its tables, and a file that can't be written is known at once.
    fn reload(&mut self, database: &Database) -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(BODIES)?;
        transaction.open_table(OWNERS)?;
        transaction.commit()?;
        Ok(())
    }

    fn has_more(&self) -> bool {
        !self.erasing.is_empty()
    }
}

/// Erases a few, and tells how many; fewer than [`ERASED_AT_ONCE_MAX`] are the last.
fn erase(transaction: &WriteTransaction, what: &Erase) -> Result<u64, redb::Error> {
    let mut bodies = transaction.open_table(BODIES)?;
    let mut index = transaction.open_table(OWNERS)?;
    let mut ids = Vec::new();
    match what {
        Erase::Owner(owner) => {
            let (kind, name) = place(owner);
            for row in index.range((kind, name, 0)..=(kind, name, u128::MAX))?.take(ERASED_AT_ONCE_MAX) {
                ids.push(row?.0.value().2);
            }
            for id in &ids {
                index.remove((kind, name, *id))?;
            }
        }
        Erase::Before(until) => {
            for row in bodies.range(..until.number())?.take(ERASED_AT_ONCE_MAX) {
                ids.push(row?.0.value());
            }
        }
    }
    for id in &ids {
        let Some(row) = bodies.remove(id)? else { continue };
        // One that can't be read any more goes all the same; what points to it leads nowhere.
        let Ok(exchange) = decode(RequestId::from_number(*id), row.value()) else { continue };
        for owner in owners(&exchange) {
            let (kind, name) = place(&owner);
            index.remove((kind, name, *id))?;
        }
    }
    Ok(ids.len() as u64)
}
