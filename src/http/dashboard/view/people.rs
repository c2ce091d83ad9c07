//! People: who can log in, and one of them.

use askama::Template;

use super::super::format::Moment;
use super::layout::Layout;
use super::parts::{Badge, Field, SelectOption};

/// `/people`: the list, and the form that lets someone in.
#[derive(Clone, Debug, Template)]
#[template(path = "people/page.html")]
pub struct PeoplePage {
    /// The page around it.
    pub layout: Layout,
    /// `3 people`.
    pub summary: String,
    /// Who they are.
    pub rows: Vec<PersonRow>,
    /// Whom to let in.
    pub form: PersonForm,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct PersonRow {
    /// Their name.
    pub name: String,
    /// Their own page.
    pub href: String,
    /// Their role.
    pub role: String,
    /// Whose things they see: a team's name, or `everything`.
    pub sees: String,
    /// Whether they can log in.
    pub state: Badge,
    /// When they were let in.
    pub created: Moment,
}

/// Whom to let in.
#[derive(Clone, Debug)]
pub struct PersonForm {
    /// Their name.
    pub name: Field,
    /// admin, member, viewer.
    pub roles: Vec<SelectOption>,
    /// Their team; empty for none.
    pub team: Field,
    /// Teams that there are.
    pub teams: Vec<SelectOption>,
    /// 30m, 24h, 7d.
    pub lives: Vec<SelectOption>,
    /// What is wrong as a whole.
    pub error: Option<String>,
}

/// `/people/{name}`: one of them, what they may do, and the end of it.
#[derive(Clone, Debug, Template)]
#[template(path = "people/person-page.html")]
pub struct PersonPage {
    /// The page around it.
    pub layout: Layout,
    /// Their name.
    pub name: String,
    /// Where their forms are sent.
    pub href: String,
    /// Whether they can log in.
    pub state: Badge,
    /// True where they are kept out.
    pub is_disabled: bool,
    /// True where they have no password yet.
    pub is_invited: bool,
    /// admin, member, viewer.
    pub roles: Vec<SelectOption>,
    /// Their team.
    pub team: Field,
    /// Teams that there are.
    pub teams: Vec<SelectOption>,
    /// What is wrong as a whole.
    pub error: Option<String>,
}

/// A one-time link, shown once. Send it with `Cache-Control: no-store`.
#[derive(Clone, Debug, Template)]
#[template(path = "people/invited-page.html")]
pub struct InvitedPage {
    /// The page around it.
    pub layout: Layout,
    /// For whom.
    pub name: String,
    /// The link.
    pub link: String,
    /// Until when it can be used: `in 24 h`.
    pub expires: String,
}
