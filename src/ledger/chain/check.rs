//! Folding the rows of a file again, and naming where they aren't what the chains say.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use jiff::civil::Date;
use redb::{ReadTransaction, ReadableTable as _};

use crate::domain::RequestId;

use super::super::tables::NAMES;
use super::{
    CHAINS, Chain, ChainDay, Digest, Head, Heads, Link, NAMES_CHAIN, date_of, day_of, decode_chain, name_link,
};

/// Faults that are kept one by one: a file that is wrong all over is known to be wrong by then.
const FAULTS_MAX: usize = 10_000;

/// Where the rows of a ledger are not what was chained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainFault {
    /// The UTC day of the chain; absent for the names.
    pub day: Option<Date>,
    /// The entry, where it is known which.
    pub id: Option<RequestId>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The row is not the one that was booked under its id.
    Changed,
    /// The row can't be read at all.
    Unreadable,
    /// The row was not booked by this ledger: its place in the chain is another's, or behind the end.
    Added,
    /// So many rows are gone from a place on, the first being number 0; the entry that is told was booked before them.
    Missing {
        /// The number of the first.
        first: u32,
        /// How many.
        count: u32,
    },
    /// Each row agrees with itself, but together they don't come to the head.
    Head,
    /// The day has rows and no chain.
    NoChain,
    /// The day is gone as a whole, chain and rows.
    DayGone,
    /// The names of models, keys, teams and others are not those that were chained.
    Names,
    /// The chain no longer has what it had when its head was kept.
    Rewritten {
        /// How many entries, or names, it had then.
        entries: u32,
    },
    /// The chain is shorter than when its head was kept.
    Shortened {
        /// How many entries, or names, it had then.
        entries: u32,
        /// How many there are.
        found: u32,
    },
}

impl fmt::Display for ChainFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = self.day.map_or_else(|| "the list of names".to_owned(), |day| day.to_string());
        let id = self.id.map(|id| id.to_string()).unwrap_or_default();
        match self.fault {
            Fault::Changed => write!(formatter, "{id} of {chain} was changed after it was booked"),
            Fault::Unreadable => write!(formatter, "{id} of {chain} can't be read"),
            Fault::Added => write!(formatter, "{id} of {chain} was added behind the ledger's back"),
            Fault::Missing { first, count } => {
                let rows = if count == 1 { "1 entry is".to_owned() } else { format!("{count} entries are") };
                write!(formatter, "{rows} missing from {chain}, from number {first} on")?;
                if self.id.is_some() { write!(formatter, ", booked after {id}") } else { Ok(()) }
            }
            Fault::Head => write!(formatter, "the entries of {chain} don't come to the head of its chain"),
            Fault::NoChain => write!(formatter, "{chain} has entries, but its chain is missing"),
            Fault::DayGone => write!(formatter, "{chain} is gone, with all its entries"),
            Fault::Names => {
                write!(formatter, "{chain} was changed: what entries call by number may have another name now")
            }
            Fault::Rewritten { entries } => {
                write!(formatter, "{chain} was rewritten: its first {entries} no longer come to the head that was kept")
            }
            Fault::Shortened { entries, found } => {
                write!(formatter, "{chain} had {entries} when its head was kept, and has {found}")
            }
        }
    }
}

/// The proof of all chains, fed with the rows in the order of their ids.
pub(in super::super) struct ChainCheck<'a> {
    stored: BTreeMap<u32, Chain>,
    /// The day that is being folded.
    fold: Option<Fold>,
    expected: Option<&'a Heads>,
    /// The first day that is looked at.
    from: u32,
    folded: HashSet<u32>,
    heads: Heads,
    faults: Vec<ChainFault>,
}

/// The rows of one day.
struct Fold {
    day: u32,
    chain: Chain,
    expected: Option<Head>,
    /// Rows whose turn in the chain comes later than in the order of ids: as many as calls ran at a time.
    early: HashMap<u32, (RequestId, Digest)>,
    /// The number that the next row from before the chain has.
    unnumbered: u32,
    last: Option<RequestId>,
    is_faulty: bool,
    is_expected: bool,
}

impl Fold {
    /// Takes what has its turn.
    fn advance(&mut self) {
        while let Some((id, hash)) = self.early.remove(&self.chain.entries) {
            self.link(id, hash);
        }
    }

    fn link(&mut self, id: RequestId, hash: Digest) {
        self.chain.advance(hash);
        self.last = Some(id);
        if self.expected == Some(self.chain.head()) {
            self.is_expected = true;
        }
    }
}

impl<'a> ChainCheck<'a> {
    /// Begins with the day that an id is in.
    pub(in super::super) fn begin(
        reading: &ReadTransaction,
        from: RequestId,
        expected: Option<&'a Heads>,
    ) -> Result<Self, redb::Error> {
        let mut stored = BTreeMap::new();
        for row in reading.open_table(CHAINS)?.iter()? {
            let (day, chain) = row?;
            stored.insert(day.value(), decode_chain(chain.value())?);
        }
        let (folded, heads) = (HashSet::new(), Heads::default());
        Ok(Self { stored, fold: None, expected, from: day_of(from), folded, heads, faults: Vec::new() })
    }

    fn tell(&mut self, day: u32, id: Option<RequestId>, fault: Fault) {
        if self.faults.len() < FAULTS_MAX {
            let day = (day != NAMES_CHAIN).then(|| date_of(day));
            self.faults.push(ChainFault { day, id, fault });
        }
    }

    fn expected(&self, day: u32) -> Option<Head> {
        let expected = self.expected?;
        if day == NAMES_CHAIN { expected.names } else { expected.days.get(&ChainDay(date_of(day))).copied() }
    }

    /// Takes the next row in the order of ids.
    pub(in super::super) fn take(&mut self, id: RequestId, row: &[u8]) {
        let day = day_of(id);
        if self.fold.as_ref().is_none_or(|fold| fold.day != day) {
            self.end_day();
            self.begin_day(day);
        }
        let Some(fold) = &mut self.fold else { return };
        let link = Link::read(id, row);
        let number = link.number.unwrap_or_else(|| {
            fold.unnumbered += 1;
            fold.unnumbered - 1
        });
        let entries = self.stored.get(&day).map_or(u32::MAX, |chain| chain.entries);
        let is_taken = number < fold.chain.entries || number >= entries || fold.early.contains_key(&number);
        if !link.is_own || is_taken {
            fold.is_faulty = true;
            let fault = if link.is_own { Fault::Added } else { Fault::Changed };
            self.tell(day, Some(id), fault);
        }
        let Some(fold) = &mut self.fold else { return };
        if is_taken {
            return;
        }
        if number == fold.chain.entries {
            fold.link(id, link.hash);
            fold.advance();
        } else {
            fold.early.insert(number, (id, link.hash));
        }
    }

    /// A row whose bytes mean nothing; it has been taken before.
    pub(in super::super) fn unreadable(&mut self, id: RequestId) {
        self.tell(day_of(id), Some(id), Fault::Unreadable);
    }

    fn begin_day(&mut self, day: u32) {
        let stored = self.stored.get(&day);
        let chain = Chain::begin(day, stored.and_then(|chain| chain.previous));
        let has_chain = stored.is_some();
        let expected = self.expected(day);
        self.fold = Some(Fold {
            day,
            chain,
            expected,
            early: HashMap::new(),
            unnumbered: 0,
            last: None,
            is_faulty: !has_chain,
            // Of a chain that had not begun there is nothing to expect.
            is_expected: expected.is_none_or(|head| head.entries == 0),
        });
        self.folded.insert(day);
        if !has_chain {
            self.tell(day, None, Fault::NoChain);
        }
    }

    /// Goes over the gaps that a day has left, and compares where it came to.
    fn end_day(&mut self) {
        let Some(mut fold) = self.fold.take() else { return };
        let stored = self.stored.get(&fold.day).copied();
        let entries = stored.map_or(fold.chain.entries, |chain| chain.entries);
        let found = fold.chain.entries + u32::try_from(fold.early.len()).unwrap_or(u32::MAX);
        while stored.is_some() && fold.chain.entries < entries {
            let first = fold.chain.entries;
            let next = fold.early.keys().copied().min().unwrap_or(entries);
            self.tell(fold.day, fold.last, Fault::Missing { first, count: next - first });
            fold.is_faulty = true;
            fold.chain.entries = next;
            fold.advance();
        }
        if !fold.is_faulty && stored != Some(fold.chain) {
            self.tell(fold.day, None, Fault::Head);
        }
        if let Some(expected) = fold.expected
            && !fold.is_expected
        {
            self.unexpected(fold.day, expected, found);
        }
        self.heads.days.insert(ChainDay(date_of(fold.day)), stored.unwrap_or(fold.chain).head());
    }

    fn unexpected(&mut self, day: u32, expected: Head, found: u32) {
        let entries = expected.entries;
        let fault = if found < entries { Fault::Shortened { entries, found } } else { Fault::Rewritten { entries } };
        self.tell(day, None, fault);
    }

    /// Ends the proof with the days that had no row at all, and the names.
    pub(in super::super) fn end(mut self, reading: &ReadTransaction) -> Result<(Heads, Vec<ChainFault>), redb::Error> {
        self.end_day();
        let days: Vec<(u32, Chain)> = self.stored.iter().map(|(day, chain)| (*day, *chain)).collect();
        for (day, chain) in days.iter().filter(|(day, _)| *day != NAMES_CHAIN) {
            if *day >= self.from && !self.folded.contains(day) {
                self.begin_day(*day);
                self.end_day();
            }
            // A day that was taken away is missed by the one whose chain began after it.
            let gone = chain.previous.filter(|previous| !self.stored.contains_key(previous));
            if let Some(previous) = gone.filter(|previous| !self.folded.contains(previous)) {
                self.folded.insert(previous);
                self.tell(previous, None, Fault::DayGone);
            }
        }
        self.expected_days();
        self.names(reading)?;
        Ok((self.heads, self.faults))
    }

    /// Days that were kept, and that nothing is left of.
    fn expected_days(&mut self) {
        let known: HashSet<Date> = self.folded.iter().map(|day| date_of(*day)).collect();
        let expected = self.expected.iter().flat_map(|heads| &heads.days).map(|(day, head)| (day.0, head.entries));
        let gone: Vec<Date> =
            expected.filter(|(day, entries)| !known.contains(day) && *entries > 0).map(|(day, _)| day).collect();
        for day in gone {
            if self.faults.len() < FAULTS_MAX && day >= date_of(self.from) {
                self.faults.push(ChainFault { day: Some(day), id: None, fault: Fault::DayGone });
            }
        }
    }

    fn names(&mut self, reading: &ReadTransaction) -> Result<(), redb::Error> {
        let mut chain = Chain::begin(NAMES_CHAIN, None);
        let expected = self.expected(NAMES_CHAIN);
        let mut is_expected = expected.is_none_or(|head| head.entries == 0);
        for row in reading.open_table(NAMES)?.iter()? {
            let (number, name) = row?;
            chain.advance(name_link(number.value(), name.value()));
            is_expected |= expected == Some(chain.head());
        }
        let stored = self.stored.get(&NAMES_CHAIN).copied();
        if stored.unwrap_or(Chain::begin(NAMES_CHAIN, None)) != chain {
            self.tell(NAMES_CHAIN, None, Fault::Names);
        }
        if let Some(expected) = expected.filter(|_| !is_expected) {
            self.unexpected(NAMES_CHAIN, expected, chain.entries);
        }
        self.heads.names = Some(chain.head());
        Ok(())
    }
}
