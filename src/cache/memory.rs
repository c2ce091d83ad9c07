//! Kept answers in memory, bounded by their bytes and their time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use moka::Expiry;
use moka::notification::RemovalCause;
use moka::sync::Cache as Store;

use super::entry::Entry;
use super::fingerprint::Fingerprint;

/// The entries, and how many had to go.
pub(super) struct Memory {
    entries: Store<Fingerprint, Arc<Entry>>,
    evictions: Arc<AtomicU64>,
}

impl Memory {
    /// Room for so many bytes.
    pub(super) fn new(bytes_max: u64) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&evictions);
        let entries = Store::builder()
            .max_capacity(bytes_max)
            .weigher(|_: &Fingerprint, entry: &Arc<Entry>| u32::try_from(entry.weight()).unwrap_or(u32::MAX))
            .expire_after(ByTheirOwnTime)
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build();
        Self { entries, evictions }
    }

    /// The entry of a fingerprint that is still good.
    pub(super) fn get(&self, fingerprint: &Fingerprint, now: Timestamp) -> Option<Arc<Entry>> {
        let entry = self.entries.get(fingerprint)?;
        if entry.time_left(now).is_zero() {
            self.entries.invalidate(fingerprint);
            return None;
        }
        Some(entry)
    }

    pub(super) fn insert(&self, fingerprint: Fingerprint, entry: Arc<Entry>) {
        self.entries.insert(fingerprint, entry);
    }

    pub(super) fn remove_one(&self, fingerprint: &Fingerprint) {
        self.entries.invalidate(fingerprint);
    }

    /// Every entry that is still good.
    pub(super) fn iter(&self, now: Timestamp) -> impl Iterator<Item = (Fingerprint, Arc<Entry>)> {
        let all = self.entries.iter().map(|(fingerprint, entry)| (*fingerprint, entry));
        all.filter(move |(_, entry)| !entry.time_left(now).is_zero())
    }

    /// Takes out those that fit; returns how many.
    pub(super) fn remove(&self, now: Timestamp, fits: impl Fn(&Fingerprint, &Entry) -> bool) -> u64 {
        let mut removed = 0;
        for (fingerprint, entry) in self.iter(now) {
            if fits(&fingerprint, &entry) && self.entries.remove(&fingerprint).is_some() {
                removed += 1;
            }
        }
        self.entries.run_pending_tasks();
        removed
    }

    /// How many entries there are, their bytes, and how many had to go for want of room.
    pub(super) fn size(&self) -> (u64, u64, u64) {
        // Without it, the figures lag behind by whatever has not been tidied up yet.
        self.entries.run_pending_tasks();
        (self.entries.entry_count(), self.entries.weighted_size(), self.evictions.load(Ordering::Relaxed))
    }
}

/// Each entry lives as long as it says, by a clock that nobody sets; the time of day is compared beside it.
struct ByTheirOwnTime;

impl Expiry<Fingerprint, Arc<Entry>> for ByTheirOwnTime {
    fn expire_after_create(&self, _: &Fingerprint, entry: &Arc<Entry>, _: Instant) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(
        &self,
        _: &Fingerprint,
        entry: &Arc<Entry>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.ttl)
    }
}
