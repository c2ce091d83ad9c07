//! Teams: the list, and one team with its budgets, keys and people.

use askama::Template;

use super::super::format::Money;
use super::keys::KeyList;
use super::layout::{Layout, Reader};
use super::parts::{Badge, Card, Field, Phrase};

/// `/teams`: the list, and the form of a new one.
#[derive(Clone, Debug, Template)]
#[template(path = "teams/page.html")]
pub struct TeamsPage {
    /// The page around it.
    pub layout: Layout,
    /// `3 teams`.
    pub summary: String,
    /// The month whose spend is shown: `November`.
    pub month: String,
    /// The teams.
    pub rows: Card<Vec<TeamRow>>,
    /// The name of a new one.
    pub name: Field,
}

/// One team in the list.
#[derive(Clone, Debug)]
pub struct TeamRow {
    /// Its name.
    pub name: String,
    /// Its id, where it differs; else empty.
    pub id: String,
    /// Its own page.
    pub href: String,
    /// Its live keys: `4 keys`.
    pub keys: String,
    /// Who is in it: `2 people`.
    pub people: String,
    /// How its tightest budget stands, or that there is none.
    pub budget: Phrase,
    /// What it spent in the month.
    pub spend: Money,
}

/// `/teams/{id}`: one team.
#[derive(Clone, Debug, Template)]
#[template(path = "teams/team-page.html")]
pub struct TeamPage {
    /// The page around it.
    pub layout: Layout,
    /// Its name.
    pub name: String,
    /// What it spent in the month, and on what.
    pub spent: Phrase,
    /// Its requests.
    pub requests_href: String,
    /// Its costs.
    pub costs_href: String,
    /// Its budgets.
    pub budgets: Card<Vec<TeamBudgetLine>>,
    /// Its keys.
    pub keys: KeyList,
    /// Who is in it.
    pub people: Vec<PersonLine>,
    /// Another name, and the end of it; for admins.
    pub forms: Option<TeamForms>,
}

/// A budget of the team.
#[derive(Clone, Debug)]
pub struct TeamBudgetLine {
    /// `month`.
    pub window: String,
    /// `$4.20 of $50`.
    pub amount: String,
    /// `8%`.
    pub percent: String,
    /// What happens at the limit, in words.
    pub action: String,
    /// How it is.
    pub state: Badge,
    /// Where it is changed; for admins.
    pub href: Option<String>,
}

/// Someone in the team.
#[derive(Clone, Debug)]
pub struct PersonLine {
    /// Their name.
    pub name: String,
    /// Their role.
    pub role: String,
    /// Whether they can log in.
    pub state: Badge,
}

/// What an admin may do to a team.
#[derive(Clone, Debug)]
pub struct TeamForms {
    /// Where another name is sent.
    pub href: String,
    /// Another name.
    pub name: Field,
    /// Which state of the team the form was made from.
    pub revision: String,
    /// What is wrong as a whole.
    pub error: Option<String>,
    /// Why it can't be removed; `None` where it can.
    pub in_use: Option<String>,
}
