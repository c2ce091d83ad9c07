//! What all pages share: the shell with its navigation, and the bare page without one.

use super::super::assets;
use super::parts::Link;

/// Which colours a reader has chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// Those of the system.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    /// The choice that a cookie or a form names; anything else is the system's.
    pub fn from_word(word: Option<&str>) -> Self {
        match word {
            Some("light") => Self::Light,
            Some("dark") => Self::Dark,
            _ => Self::System,
        }
    }

    /// The word for the cookie and for `data-theme`.
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Self::System => None,
            Self::Light => Some("light"),
            Self::Dark => Some("dark"),
        }
    }

    /// What the toggle asks for without script: dark first, since most systems are light.
    pub const fn toggled(self) -> &'static str {
        match self {
            Self::System | Self::Light => "dark",
            Self::Dark => "light",
        }
    }
}

/// An entry of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The overview.
    Overview,
    /// The list of requests and each of them.
    Requests,
    /// Where the money goes.
    Costs,
    /// Answers that are kept.
    Cache,
    /// Budgets and virtual keys.
    Budgets,
    /// Teams, with their keys, budgets and people.
    Teams,
    /// Who can log in.
    People,
    /// Who is told what.
    Alerts,
    /// Days and months in words.
    Reports,
    /// The three-step guide.
    Welcome,
}

/// One line of the navigation.
#[derive(Clone, Copy, Debug)]
pub struct NavigationEntry {
    /// Which one it is.
    pub entry: Entry,
    /// Where it leads.
    pub href: &'static str,
    /// Its name.
    pub label: &'static str,
    /// The id of its symbol.
    pub icon: &'static str,
}

/// A group of the navigation.
#[derive(Clone, Copy, Debug)]
pub struct NavigationGroup {
    /// Its name.
    pub title: &'static str,
    /// Its entries.
    pub entries: &'static [NavigationEntry],
}

const fn entry(entry: Entry, href: &'static str, label: &'static str, icon: &'static str) -> NavigationEntry {
    NavigationEntry { entry, href, label, icon }
}

/// The whole navigation: a new page is one line here.
pub const NAVIGATION: &[NavigationGroup] = &[
    NavigationGroup {
        title: "Watch",
        entries: &[
            entry(Entry::Overview, "/", "Overview", "home"),
            entry(Entry::Requests, "/requests", "Requests", "list"),
            entry(Entry::Costs, "/costs", "Costs", "cost"),
            entry(Entry::Cache, "/cache", "Cache", "cache"),
        ],
    },
    NavigationGroup {
        title: "Control",
        entries: &[
            entry(Entry::Budgets, "/budgets", "Budgets & keys", "key"),
            entry(Entry::Teams, "/teams", "Teams", "team"),
        ],
    },
    NavigationGroup { title: "Work", entries: &[entry(Entry::Reports, "/reports", "Reports", "report")] },
    NavigationGroup {
        title: "System",
        entries: &[
            entry(Entry::Alerts, "/alerts", "Alerts", "bell"),
            entry(Entry::People, "/people", "People", "user"),
            entry(Entry::Welcome, "/welcome", "Get started", "plug"),
        ],
    },
];

/// Something behind an entry that needs a person.
#[derive(Clone, Debug)]
pub struct Need {
    /// Behind which entry.
    pub entry: Entry,
    /// How many there are.
    pub count: u64,
    /// In words: `1 budget is used up`.
    pub words: String,
    /// True where something is failing now.
    pub is_alert: bool,
}

/// How much of the dashboard its reader gets to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// All of it.
    Admin,
    /// All but what only admins do.
    OfAll,
    /// What is told apart by teams.
    OfTeam,
}

/// The shell of a page: everything around its content.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The page's heading, and its name in the browser.
    pub title: String,
    /// The page above it.
    pub crumb: Option<Link>,
    /// The entry that the page belongs to.
    pub current: Option<Entry>,
    /// The colours chosen.
    pub theme: Theme,
    /// Who is signed in.
    pub user: String,
    /// Goes into every form, and by header into every request of htmx.
    pub csrf_token: String,
    /// The version of the program.
    pub version: String,
    /// How long it has run: `12 d 4 h`.
    pub uptime: String,
    /// The page's own path and query, to come back to.
    pub path: String,
    /// What needs a person.
    pub needs: Vec<Need>,
    /// The event stream of the page, such as `/events?topics=request,kpi`.
    pub events: Option<&'static str>,
    /// Who reads it.
    pub reader: Reader,
}

impl Layout {
    /// The groups of the navigation.
    pub const fn navigation(&self) -> &'static [NavigationGroup] {
        NAVIGATION
    }

    /// True where the reader may open what an entry leads to.
    pub fn leads_to(&self, entry: &NavigationEntry) -> bool {
        match self.reader {
            Reader::Admin => true,
            Reader::OfAll => entry.entry != Entry::People,
            Reader::OfTeam => matches!(entry.entry, Entry::Teams | Entry::Requests | Entry::Costs),
        }
    }

    /// True where a group has anything for the reader.
    pub fn has_any(&self, group: &NavigationGroup) -> bool {
        group.entries.iter().any(|entry| self.leads_to(entry))
    }

    /// True for who sees what can't be told apart by teams.
    pub fn sees_everything(&self) -> bool {
        self.reader != Reader::OfTeam
    }

    /// True for who may change things.
    pub fn is_admin(&self) -> bool {
        self.reader == Reader::Admin
    }

    /// The address of an asset, with its version.
    pub fn asset(&self, path: &str) -> String {
        assets::url(path)
    }

    /// True for the entry that the page belongs to.
    pub fn is_current(&self, entry: &Entry) -> bool {
        self.current == Some(*entry)
    }

    /// What needs a person behind an entry.
    pub fn need(&self, entry: &Entry) -> Option<&Need> {
        self.needs.iter().find(|need| need.entry == *entry && need.count > 0)
    }
}

/// A page without navigation: signing in, setting up, errors.
#[derive(Clone, Debug, Default)]
pub struct Bare {
    /// The colours chosen.
    pub theme: Theme,
}

impl Bare {
    /// The address of an asset, with its version.
    pub fn asset(&self, path: &str) -> String {
        assets::url(path)
    }
}
