//! Entries in an order, page by page.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;

use super::entry::Entry;
use super::fingerprint::Fingerprint;
use super::pattern::Pattern;
use crate::domain::Picodollars;

/// What stands first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// What was kept last.
    #[default]
    Newest,
    /// What has saved most, then what has answered most often.
    Saved,
    /// What has answered most often.
    Hits,
}

impl Order {
    /// Every order.
    pub const ALL: &'static [Self] = &[Self::Newest, Self::Saved, Self::Hits];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Saved => "saved",
            Self::Hits => "hits",
        }
    }

    fn rank(self, entry: &Entry) -> (i128, u64) {
        match self {
            Self::Newest => (entry.stored_at.as_nanosecond(), 0),
            Self::Saved => (entry.saved().get(), entry.hits()),
            Self::Hits => (entry.hits().into(), 0),
        }
    }
}

/// Which entries are wanted.
#[derive(Clone, Debug)]
pub struct Page {
    /// Those that fit.
    pub pattern: Pattern,
    /// In this order.
    pub order: Order,
    /// After this one.
    pub after: Option<Cursor>,
    /// At most so many.
    pub len_max: usize,
}

/// The place of an entry in an order, from which the next page goes on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    rank: (i128, u64),
    id: String,
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.rank.0, self.rank.1, self.id)
    }
}

impl FromStr for Cursor {
    /// Nothing is to be said of it but that it isn't one.
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or(());
        let rank = (part()?.parse().map_err(drop)?, part()?.parse().map_err(drop)?);
        let id = part()?.to_owned();
        if id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) { Ok(Self { rank, id }) } else { Err(()) }
    }
}

/// A page of entries.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The entries, each with its id.
    pub entries: Vec<(Fingerprint, Arc<Entry>)>,
    /// From where the next page goes on; nothing at the end.
    pub next: Option<Cursor>,
    /// How many entries fit altogether.
    pub fitting: u64,
    /// What those that fit have saved.
    pub saved: Picodollars,
}

pub(super) fn list(entries: impl Iterator<Item = (Fingerprint, Arc<Entry>)>, page: &Page, now: Timestamp) -> Listed {
    let (mut fitting, mut saved) = (0, Picodollars::ZERO);
    let mut found = Vec::new();
    for (fingerprint, entry) in entries.filter(|(fingerprint, entry)| page.pattern.fits(fingerprint, entry, now)) {
        fitting += 1;
        saved += entry.saved();
        // The rank is read once: hits are counted on while we sort.
        let place = Cursor { rank: page.order.rank(&entry), id: fingerprint.to_string() };
        if page.after.as_ref().is_none_or(|after| place < *after) {
            found.push((place, fingerprint, entry));
        }
    }
    let is_more = found.len() > page.len_max;
    if is_more {
        found.select_nth_unstable_by(page.len_max, |one, other| other.0.cmp(&one.0));
        found.truncate(page.len_max);
    }
    found.sort_unstable_by(|one, other| Reverse(&one.0).cmp(&Reverse(&other.0)));
    let next = if is_more { found.last().map(|(place, ..)| place.clone()) } else { None };
    let entries = found.into_iter().map(|(_, fingerprint, entry)| (fingerprint, entry)).collect();
    Listed { entries, next, fitting, saved }
}
