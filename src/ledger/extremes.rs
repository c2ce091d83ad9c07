//! The dearest and the slowest calls of a range of time, and how calls failed: from one bounded look at its entries.
//!
//! No index is kept for this: it would make every booking dearer for the sake of a report a day. A look at a million
//! entries takes well under a second, for it reads of each only what it compares.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::RequestId;

use super::costs::{TimeRange, first_id_at};
use super::names::NONE;
use super::query::ROWS_A_TRANSACTION;
use super::record::Entry;
use super::tables::{ENTRIES, decode_gist};
use super::{Ledger, LedgerError};

/// Entries that one look reads at most, newest first.
const ENTRIES_MAX: u64 = 1_000_000;
/// The longest that one look may take, on a slow disk.
const LOOK_TIME_MAX: Duration = Duration::from_secs(3);
/// Rows that are read in one transaction: little is done with each, so a transaction stays as short as a search's.
const GISTS_A_TRANSACTION: usize = ROWS_A_TRANSACTION * 10;

/// What stands out among the calls of a range of time.
#[derive(Clone, Debug, Default)]
pub struct Extremes {
    /// The calls that cost most, dearest first; none that cost nothing.
    pub dearest: Vec<Entry>,
    /// The calls that took longest, slowest first.
    pub slowest: Vec<Entry>,
    /// How many calls ended with each error, most frequent first.
    pub errors: Vec<(Arc<str>, u64)>,
    /// How many calls were looked at: the last so many of the range.
    pub looked_at: u64,
    /// Whether they are all of the range.
    pub is_whole: bool,
}

/// What has been seen so far.
struct Look {
    dearest: Best<i128>,
    slowest: Best<u32>,
    errors: HashMap<u32, u64>,
    looked_at: u64,
}

/// The largest of many, each with its call.
struct Best<T> {
    heap: BinaryHeap<Reverse<(T, u128)>>,
    limit: usize,
}

impl<T: Ord + Copy> Best<T> {
    fn new(limit: usize) -> Self {
        Self { heap: BinaryHeap::with_capacity(limit + 1), limit }
    }

    fn offer(&mut self, value: T, id: u128) {
        let is_full = self.heap.len() >= self.limit;
        if is_full && self.heap.peek().is_none_or(|Reverse((least, _))| value <= *least) {
            return;
        }
        self.heap.push(Reverse((value, id)));
        if self.heap.len() > self.limit {
            self.heap.pop();
        }
    }

    fn ids(self) -> impl Iterator<Item = RequestId> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse((_, id))| RequestId::from_number(id))
    }
}

impl Ledger {
    /// What stands out in a range of time, `limit` calls of each kind. Blocking: up to a second for a million entries.
    pub fn extremes(&self, range: TimeRange, limit: usize) -> Result<Extremes, LedgerError> {
        let started = Instant::now();
        let (from, mut until) = (first_id_at(range.from), first_id_at(range.until));
        let (dearest, slowest) = (Best::new(limit), Best::new(limit));
        let mut look = Look { dearest, slowest, errors: HashMap::new(), looked_at: 0 };
        let mut is_whole = true;
        while from < until {
            if look.looked_at >= ENTRIES_MAX || started.elapsed() > LOOK_TIME_MAX {
                is_whole = false;
                break;
            }
            match self.look(from, until, &mut look)? {
                Some(next) => until = next,
                None => break,
            }
        }
        let named = |(error, count)| Some((self.names.name(error)?, count));
        let mut errors: Vec<(Arc<str>, u64)> = look.errors.into_iter().filter_map(named).collect();
        errors.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let (dearest, slowest) = (look.dearest.ids(), look.slowest.ids());
        Ok(Extremes {
            dearest: self.each_of(dearest)?,
            slowest: self.each_of(slowest)?,
            errors,
            looked_at: look.looked_at,
            is_whole,
        })
    }

    /// Looks at the newest entries of a half-open range, and tells before which one to go on.
    fn look(&self, from: RequestId, until: RequestId, look: &mut Look) -> Result<Option<RequestId>, redb::Error> {
        let reading = self.read()?;
        let entries = reading.open_table(ENTRIES)?;
        let (mut rows, mut last) = (0, None);
        for row in entries.range(from.number()..until.number())?.rev().take(GISTS_A_TRANSACTION) {
            let (id, value) = row?;
            let gist = decode_gist(value.value())?;
            rows += 1;
            last = Some(RequestId::from_number(id.value()));
            if gist.is_adjustment {
                continue;
            }
            if !gist.cost.is_zero() {
                look.dearest.offer(gist.cost.get(), id.value());
            }
            look.slowest.offer(gist.latency_ms, id.value());
            if gist.error != NONE {
                *look.errors.entry(gist.error).or_default() += 1;
            }
        }
        look.looked_at += rows as u64;
        Ok(last.filter(|_| rows == GISTS_A_TRANSACTION))
    }

    fn each_of(&self, ids: impl Iterator<Item = RequestId>) -> Result<Vec<Entry>, LedgerError> {
        let mut entries = Vec::new();
        for id in ids {
            // An entry is never taken away, so one that was seen is there.
            entries.extend(self.entry(id)?);
        }
        Ok(entries)
    }
}
