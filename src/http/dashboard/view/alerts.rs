//! `/alerts`: who is told, and what was told.

use askama::Template;

use super::super::format::Moment;
use super::layout::Layout;
use super::parts::{Badge, Card};
use super::requests::Pager;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "alerts/page.html")]
pub struct AlertsPage {
    /// The page around it.
    pub layout: Layout,
    /// Every kind of receiver.
    pub receivers: Vec<ReceiverRow>,
    /// Whether any of them is set.
    pub is_anyone_told: bool,
    /// What was raised, newest first.
    pub rows: Card<Vec<AlertRow>>,
    /// `12 alerts`.
    pub heading: String,
    /// Where to go from here.
    pub pager: Pager,
}

/// A kind of receiver.
#[derive(Clone, Debug)]
pub struct ReceiverRow {
    /// What people call it.
    pub name: &'static str,
    /// The word that a form sends for it.
    pub word: &'static str,
    /// Where it is, or how to set it.
    pub place: String,
    /// Whether it is set.
    pub is_set: bool,
    /// How its last delivery went.
    pub state: Badge,
    /// When that was.
    pub tried: Option<Moment>,
    /// Why it failed, or what should be known.
    pub note: Option<String>,
}

/// An alert and what came of it.
#[derive(Clone, Debug)]
pub struct AlertRow {
    /// Its id.
    pub id: String,
    /// When it was raised.
    pub time: Moment,
    /// What it is about.
    pub kind: Badge,
    /// What it says.
    pub text: String,
    /// One for each receiver.
    pub deliveries: Vec<DeliveryLine>,
}

/// What came of an alert at one receiver.
#[derive(Clone, Debug)]
pub struct DeliveryLine {
    /// The receiver, and how it went.
    pub badge: Badge,
    /// Why it failed, and how often it was tried.
    pub detail: Option<String>,
}
