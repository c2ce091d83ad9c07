//! What the writer thread of the file does: binds keys, keeps answers, forgets both.

use jiff::Timestamp;
use redb::{Database, ReadableTable as _, WriteTransaction};
use tokio::sync::oneshot;

use super::tables::{ANSWERS, CLAIMS, Claimed, EXPIRY, Slot, decode_claim, encode_answer, encode_claim};
use super::{Answered, IdempotencyError};
use crate::store::{CommitError, Journal};

/// Keys that one transaction forgets: what is to be kept waits meanwhile.
const FORGOTTEN_AT_ONCE_MAX: usize = 500;

/// Tells how many keys were changed.
pub(super) type Reply = oneshot::Sender<Result<u64, IdempotencyError>>;

pub(super) enum Command {
    /// A call is about to be made.
    Bind { slot: Slot, claimed: Claimed, reply: Reply },
    /// It was answered.
    Finish { slot: Slot, claimed: Claimed, answered: Answered, reply: Reply },
    /// The answers of these shall go.
    Delete { slots: Vec<Slot>, reply: Reply },
    /// Whatever is too old shall go.
    Sweep { now: Timestamp, reply: Reply },
}

impl Command {
    fn into_reply(self) -> Reply {
        match self {
            Self::Bind { reply, .. }
            | Self::Finish { reply, .. }
            | Self::Delete { reply, .. }
            | Self::Sweep { reply, .. } => reply,
        }
    }
}

#[derive(Default)]
pub(super) struct IdempotencyJournal {
    /// What is being written, with how many keys each changed.
    writing: Vec<(Command, u64)>,
    /// The first of them is worked on, a few keys with each transaction.
    sweeping: Vec<Sweeping>,
}

struct Sweeping {
    now: Timestamp,
    reply: Reply,
    /// How many are gone durably.
    done: u64,
    /// How many go with the transaction that is being written.
    going: u64,
}

impl Journal for IdempotencyJournal {
    type Command = Command;

    fn decide(&mut self, batch: &mut Vec<Command>) -> bool {
        for command in batch.drain(..) {
            match command {
                Command::Sweep { now, reply } => self.sweeping.push(Sweeping { now, reply, done: 0, going: 0 }),
                command => self.writing.push((command, 0)),
            }
        }
        !(self.writing.is_empty() && self.sweeping.is_empty())
    }

    fn write(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        for (command, changed) in &mut self.writing {
            *changed = match command {
                Command::Bind { slot, claimed, .. } => bind(transaction, slot, claimed)?,
                Command::Finish { slot, claimed, answered, .. } => {
                    bind(transaction, slot, claimed)?;
                    transaction.open_table(ANSWERS)?.insert(slot, encode_answer(answered).as_slice())?;
                    1
                }
                Command::Delete { slots, .. } => delete(transaction, slots)?,
                Command::Sweep { .. } => 0,
            };
        }
        if let Some(sweeping) = self.sweeping.first_mut() {
            sweeping.going = sweep(transaction, sweeping.now)?;
        }
        Ok(())
    }

    fn committed(&mut self) {
        for (command, changed) in self.writing.drain(..) {
            let _ = command.into_reply().send(Ok(changed));
        }
        let Some(sweeping) = self.sweeping.first_mut() else { return };
        let gone = std::mem::take(&mut sweeping.going);
        sweeping.done += gone;
        if gone < FORGOTTEN_AT_ONCE_MAX as u64 {
            let Sweeping { reply, done, .. } = self.sweeping.remove(0);
            let _ = reply.send(Ok(done));
        }
    }

    fn failed(&mut self, error: &CommitError) {
        let writing = self.writing.drain(..).map(|(command, _)| command.into_reply());
        let sweeping = self.sweeping.drain(..).map(|sweeping| sweeping.reply);
        for reply in writing.chain(sweeping) {
            let _ = reply.send(Err(IdempotencyError::new(&error.detail)));
        }
    }

    fn refuse(&mut self, batch: &mut Vec<Command>, error: &CommitError) {
        for command in batch.drain(..) {
            let _ = command.into_reply().send(Err(IdempotencyError::new(&error.detail)));
        }
    }

    /// Nothing is remembered of the file; but readers find its tables, and a file that can't be written is known at once.
    fn reload(&mut self, database: &Database) -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(CLAIMS)?;
        transaction.open_table(ANSWERS)?;
        transaction.open_table(EXPIRY)?;
        transaction.commit()?;
        Ok(())
    }

    fn has_more(&self) -> bool {
        !self.sweeping.is_empty()
    }

    fn is_awaited(&self) -> bool {
        true
    }
}

/// Gives a slot to a call; whatever was there is over.
fn bind(transaction: &WriteTransaction, slot: &Slot, claimed: &Claimed) -> Result<u64, redb::Error> {
    let mut claims = transaction.open_table(CLAIMS)?;
    let mut expiry = transaction.open_table(EXPIRY)?;
    let before = claims.insert(slot, encode_claim(claimed).as_slice())?;
    // One that can't be read any more leads the sweep to a slot that is another's by then, which it leaves alone.
    if let Some(before) = before.and_then(|row| decode_claim(row.value()).ok()) {
        expiry.remove((before.expiry(), *slot))?;
    }
    expiry.insert((claimed.expiry(), *slot), ())?;
    transaction.open_table(ANSWERS)?.remove(slot)?;
    Ok(1)
}

fn delete(transaction: &WriteTransaction, slots: &[Slot]) -> Result<u64, redb::Error> {
    let mut answers = transaction.open_table(ANSWERS)?;
    let gone = encode_answer(&Answered::Deleted);
    let mut deleted = 0;
    for slot in slots {
        if answers.get(slot)?.is_some_and(|row| row.value() != gone.as_slice()) {
            answers.insert(slot, gone.as_slice())?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// Forgets a few, and tells how many; fewer than [`FORGOTTEN_AT_ONCE_MAX`] are the last.
fn sweep(transaction: &WriteTransaction, now: Timestamp) -> Result<u64, redb::Error> {
    let mut expiry = transaction.open_table(EXPIRY)?;
    let mut claims = transaction.open_table(CLAIMS)?;
    let mut answers = transaction.open_table(ANSWERS)?;
    let until = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let mut over = Vec::new();
    for row in expiry.range(..=(until, [u8::MAX; 32]))?.take(FORGOTTEN_AT_ONCE_MAX) {
        over.push(row?.0.value());
    }
    for (at, slot) in &over {
        expiry.remove((*at, *slot))?;
        let is_its_own = match claims.get(slot)? {
            Some(row) => decode_claim(row.value()).map_or(true, |claimed| claimed.expiry() == *at),
            None => true,
        };
        if is_its_own {
            claims.remove(slot)?;
            answers.remove(slot)?;
        }
    }
    Ok(over.len() as u64)
}
