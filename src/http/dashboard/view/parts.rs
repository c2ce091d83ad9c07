//! Small pieces that pages are made of: badges, sentences with emphasis, tiles, notices, fields, rows of requests.

use askama::Template;
use askama::filters::HtmlSafe;

use super::super::charts::{Meter, Spark};
use super::super::format::{Count, Moment, Money};

/// The content of a card, or why there is none.
pub type Card<T> = Result<T, Notice>;

/// A place to go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What it says.
    pub label: String,
    /// Where it leads.
    pub href: String,
}

impl Link {
    /// A link.
    pub fn new(label: impl Into<String>, href: impl Into<String>) -> Self {
        Self { label: label.into(), href: href.into() }
    }
}

/// What a state means for the reader. Always with an icon or a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Just so.
    #[default]
    Neutral,
    /// Worth a look.
    Accent,
    /// All is well.
    Ok,
    /// Somebody should look.
    Warn,
    /// Something has failed.
    Bad,
}

impl Tone {
    /// The class of the tone.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Neutral => "",
            Self::Accent => "acc",
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }

    /// The symbol that goes with it.
    pub const fn icon(self) -> Option<&'static str> {
        match self {
            Self::Neutral | Self::Accent => None,
            Self::Ok => Some("check"),
            Self::Warn => Some("warn"),
            Self::Bad => Some("bad"),
        }
    }
}

/// A word with a tone.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(path = "parts/badge.html")]
pub struct Badge {
    /// The word.
    pub text: String,
    /// Its tone.
    pub tone: Tone,
    /// Its symbol.
    pub icon: Option<&'static str>,
}

/// Its template escapes every value.
impl HtmlSafe for Badge {}

impl Badge {
    /// A word with its tone's symbol.
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone, icon: tone.icon() }
    }

    /// A status code: good below 400, a caller's fault or a limit below 500, a failure from there on.
    pub fn status(code: u16) -> Self {
        let tone = match code {
            ..400 => Tone::Ok,
            400..500 => Tone::Warn,
            500.. => Tone::Bad,
        };
        Self::new(code.to_string(), tone)
    }

    /// With another symbol.
    #[must_use]
    pub fn with_icon(mut self, icon: &'static str) -> Self {
        self.icon = Some(icon);
        self
    }
}

/// How a part of a sentence is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emphasis {
    /// As it is.
    Plain,
    /// Stronger.
    Strong,
    /// Stronger, in the colour of a state.
    Toned(Tone),
    /// As code.
    Code,
    /// As a link to a place.
    Linked(String),
}

/// A part of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhrasePart {
    /// Its text, blanks included.
    pub text: String,
    /// How it is set.
    pub emphasis: Emphasis,
}

/// A sentence with emphasis. Names in it may come from anybody: every part is escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Template)]
#[template(path = "parts/phrase.html")]
pub struct Phrase {
    /// Its parts, in order.
    pub parts: Vec<PhrasePart>,
}

/// Its template escapes every value.
impl HtmlSafe for Phrase {}

impl Phrase {
    /// A sentence that begins plainly.
    pub fn new(text: impl Into<String>) -> Self {
        Self::default().text(text)
    }

    fn with(mut self, text: impl Into<String>, emphasis: Emphasis) -> Self {
        self.parts.push(PhrasePart { text: text.into(), emphasis });
        self
    }

    /// Goes on plainly.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Self {
        self.with(text, Emphasis::Plain)
    }

    /// Goes on strongly.
    #[must_use]
    pub fn strong(self, text: impl Into<String>) -> Self {
        self.with(text, Emphasis::Strong)
    }

    /// Goes on strongly, in the colour of a state.
    #[must_use]
    pub fn toned(self, text: impl Into<String>, tone: Tone) -> Self {
        self.with(text, Emphasis::Toned(tone))
    }

    /// Goes on as code.
    #[must_use]
    pub fn code(self, text: impl Into<String>) -> Self {
        self.with(text, Emphasis::Code)
    }

    /// Goes on as a link.
    #[must_use]
    pub fn link(self, text: impl Into<String>, href: impl Into<String>) -> Self {
        self.with(text, Emphasis::Linked(href.into()))
    }

    /// True where there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

impl<T: Into<String>> From<T> for Phrase {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

/// What stands in a card that has nothing to show: why, and what to do.
#[derive(Clone, Debug, Template)]
#[template(path = "parts/notice.html")]
pub struct Notice {
    /// The fact.
    pub title: String,
    /// Why it is so, or what is still true.
    pub text: Phrase,
    /// The way out.
    pub action: Option<Link>,
    /// True where something failed, rather than being empty.
    pub is_failure: bool,
}

/// Its template escapes every value.
impl HtmlSafe for Notice {}

impl Notice {
    /// Nothing there, and why.
    pub fn empty(title: impl Into<String>, text: impl Into<Phrase>, action: Option<Link>) -> Self {
        Self { title: title.into(), text: text.into(), action, is_failure: false }
    }

    /// It could not be loaded; the rest of the page can be trusted.
    pub fn failed(title: impl Into<String>, text: impl Into<Phrase>, try_again: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            text: text.into(),
            action: Some(Link::new("Try again", try_again)),
            is_failure: true,
        }
    }
}

/// A tile with one number.
#[derive(Clone, Debug, Template)]
#[template(path = "parts/kpi.html")]
pub struct Kpi {
    /// Its id, by which a live update finds it: `kpi-spend`.
    pub id: String,
    /// What the number is.
    pub label: String,
    /// Beside the label: `11 days left`.
    pub aside: Option<String>,
    /// The number; without one the tile says that there is no data yet.
    pub value: Option<String>,
    /// After the number, smaller: `of $500`, `p50`.
    pub unit: Option<String>,
    /// The exact number, for the title.
    pub exact: Option<String>,
    /// How much of a limit is used.
    pub meter: Option<Meter>,
    /// The change or the context, in words.
    pub detail: Phrase,
    /// The shape of the day.
    pub spark: Option<Spark>,
    /// True for the tile with the meter, which is wider.
    pub is_wide: bool,
    /// True in a live update.
    pub is_update: bool,
}

/// Its template escapes every value.
impl HtmlSafe for Kpi {}

impl Kpi {
    /// A tile with a number and its context.
    pub fn new(id: &str, label: &str, value: Option<String>, detail: impl Into<Phrase>) -> Self {
        Self {
            id: id.to_owned(),
            label: label.to_owned(),
            aside: None,
            value,
            unit: None,
            exact: None,
            meter: None,
            detail: detail.into(),
            spark: None,
            is_wide: false,
            is_update: false,
        }
    }
}

/// One of several views, as a link.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What it says.
    pub label: String,
    /// Where it leads.
    pub href: String,
    /// True for the view that is shown.
    pub is_current: bool,
}

/// A field of a form, as it was sent.
#[derive(Clone, Debug, Default)]
pub struct Field {
    /// What was typed.
    pub value: String,
    /// What is wrong with it, and what to do.
    pub error: Option<String>,
}

/// One option of a select.
#[derive(Clone, Debug)]
pub struct SelectOption {
    /// What is sent.
    pub value: String,
    /// What is shown.
    pub label: String,
    /// True for the one that is chosen.
    pub is_selected: bool,
}

impl SelectOption {
    /// An option; chosen where its value is the current one.
    pub fn new(value: &str, label: &str, current: &str) -> Self {
        Self { value: value.to_owned(), label: label.to_owned(), is_selected: value == current }
    }
}

/// A select of a form.
#[derive(Clone, Debug)]
pub struct Select {
    /// The field's name.
    pub name: &'static str,
    /// What it is for.
    pub label: &'static str,
    /// Its options, in order.
    pub options: Vec<SelectOption>,
}

/// One call in a list. By itself it renders as a row of the live list.
#[derive(Clone, Debug, Template)]
#[template(path = "overview/request-row.html")]
pub struct RequestRow {
    /// Its id.
    pub id: String,
    /// When it began: how long ago in the live list, the clock time in the log.
    pub time: Moment,
    /// How it ended.
    pub status: Badge,
    /// The model that was asked for.
    pub model: String,
    /// Who answered; empty where nobody was asked.
    pub provider: String,
    /// The name of its virtual key.
    pub key: String,
    /// The key's team; empty for none.
    pub team: String,
    /// What kind of call it was.
    pub operation: String,
    /// Tokens in to out.
    pub tokens: String,
    /// Tokens in.
    pub input: Count,
    /// Tokens out.
    pub output: Count,
    /// How long it took.
    pub length: String,
    /// What it cost.
    pub cost: Money,
    /// What was special about it: a fallback, a cache hit.
    pub note: Option<Badge>,
    /// True for a row that has just arrived.
    pub is_fresh: bool,
}

/// Its template escapes every value.
impl HtmlSafe for RequestRow {}
