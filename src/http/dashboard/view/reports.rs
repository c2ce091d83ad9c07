//! `/reports`: a day or a month in words and tables.

use askama::Template;

use super::layout::Layout;
use super::parts::{Card, Choice};
use crate::reports::{Block, Document, Span};

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "reports/page.html")]
pub struct ReportsPage {
    /// The page around it.
    pub layout: Layout,
    /// Days or months.
    pub kinds: Vec<Choice>,
    /// The kind that is shown: `daily` or `monthly`.
    pub kind: &'static str,
    /// What it is made of: `day` or `month`.
    pub unit: &'static str,
    /// The kind of field that one is chosen by: `date` or `month`.
    pub input: &'static str,
    /// The one that is shown, as it is named: `2026-11-18`.
    pub chosen: String,
    /// The last one that has begun.
    pub latest: String,
    /// The last few of the kind.
    pub list: Card<Vec<ReportLink>>,
    /// The one that is shown.
    pub report: Card<ReportView>,
}

/// A period to choose.
#[derive(Clone, Debug)]
pub struct ReportLink {
    /// `Wed 18 Nov 2026`.
    pub label: String,
    /// What was spent in it.
    pub spend: String,
    /// The exact amount.
    pub exact: String,
    /// True while it is not over.
    pub is_running: bool,
    /// Where it leads.
    pub href: String,
    /// True for the one that is shown.
    pub is_current: bool,
}

/// A report.
#[derive(Clone, Debug)]
pub struct ReportView {
    /// The same as a file.
    pub markdown_href: String,
    /// What it says.
    pub document: Document,
}
