//! A disk in memory that fails when it is told to, fills up, and loses what was not synced.

use std::io::{Error, ErrorKind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{Builder, Database, StorageBackend};

use crate::store::{OpenError, OpenOptions};

/// The disk; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
    /// Writes, syncs and changes of length so far.
    calls: u64,
    /// The first call that fails, and how many fail from there on.
    failing: (u64, u64),
    /// How large the file may grow.
    room: Option<u64>,
    is_open: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Write(offset, data) => {
                if bytes.len() < offset + data.len() {
                    bytes.resize(offset + data.len(), 0);
                }
                bytes[*offset..offset + data.len()].copy_from_slice(data);
            }
        }
    }
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// What the database is told of the file.
    pub(crate) fn options() -> OpenOptions {
        OpenOptions { path: PathBuf::from("in-memory"), name: "ledger", cache_bytes: 1 << 20 }
    }

    /// Opens the file; like a real one, only once at a time.
    pub(crate) fn open(&self) -> Result<Database, OpenError> {
        let OpenOptions { name, path, cache_bytes } = Self::options();
        if std::mem::replace(&mut self.state().is_open, true) {
            return Err(OpenError::InUse { name, path });
        }
        let opened = Builder::new().set_cache_size(cache_bytes).create_with_backend(Opened(self.clone()));
        opened.map_err(|error| {
            self.state().is_open = false;
            OpenError::Damaged { name, path, detail: error.to_string() }
        })
    }

    /// Lets calls fail: the k-th from now on, and as many as told from there.
    pub(crate) fn fail(&self, from: u64, count: u64) {
        let mut state = self.state();
        state.failing = (state.calls + from, count);
    }

    /// Sets how large the file may grow.
    pub(crate) fn set_room(&self, room: Option<u64>) {
        self.state().room = room;
    }

    /// The length of the file.
    pub(crate) fn length(&self) -> u64 {
        self.state().bytes.len() as u64
    }

    /// Writes, syncs and changes of length so far.
    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// The disk after a power cut: of what was not synced, each change is there, half there or not, as the seed says.
    pub(crate) fn after_power_cut(&self, mut seed: u64) -> Self {
        let state = self.state();
        let mut bytes = state.synced.clone();
        for change in &state.unsynced {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match (change, seed >> 61) {
                (_, 0..3) => {}
                (Change::Write(offset, data), 3) => {
                    Change::Write(*offset, data[..data.len() / 2].to_vec()).apply(&mut bytes);
                }
                _ => change.apply(&mut bytes),
            }
        }
        Self(Arc::new(Mutex::new(State { synced: bytes.clone(), bytes, ..State::default() })))
    }
}

impl State {
    /// Counts a call, and refuses it if it is its turn.
    fn count(&mut self) -> Result<(), Error> {
        self.calls += 1;
        let (from, count) = self.failing;
        if count > 0 && self.calls >= from && self.calls - from < count {
            return Err(Error::other("the disk is broken"));
        }
        Ok(())
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.bytes);
        self.unsynced.push(change);
    }
}

#[derive(Debug)]
struct Opened(Disk);

impl StorageBackend for Opened {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.0.length())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let state = self.0.state();
        let offset = usize::try_from(offset).unwrap();
        let bytes = state.bytes.get(offset..offset + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        let mut state = self.0.state();
        state.count()?;
        if state.room.is_some_and(|room| len > room && len > state.bytes.len() as u64) {
            return Err(ErrorKind::StorageFull.into());
        }
        state.change(Change::Length(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), Error> {
        let mut state = self.0.state();
        state.count()?;
        let State { synced, unsynced, .. } = &mut *state;
        unsynced.drain(..).for_each(|change| change.apply(synced));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let mut state = self.0.state();
        let offset = usize::try_from(offset).unwrap();
        let counted = state.count();
        // A write that fails may have got half of the way.
        let written = if counted.is_ok() { data } else { &data[..data.len() / 2] };
        state.change(Change::Write(offset, written.to_vec()));
        counted
    }

    fn close(&self) -> Result<(), Error> {
        self.0.state().is_open = false;
        Ok(())
    }
}
