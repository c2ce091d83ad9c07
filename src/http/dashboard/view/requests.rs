//! `/requests`: the log of calls.

use askama::Template;

use super::super::charts::Chart;
use super::layout::Layout;
use super::parts::{Card, Choice, RequestRow, Select};

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "requests/page.html")]
pub struct RequestsPage {
    /// The page around it.
    pub layout: Layout,
    /// The filters in force.
    pub filters: Filters,
    /// `Requests per minute`.
    pub chart_title: String,
    /// The drawing; `None` where it would say nothing.
    pub chart: Option<Card<Chart>>,
    /// `1,157 requests`.
    pub heading: String,
    /// `$4.18 · 2.1M tokens`.
    pub summary: String,
    /// The calls, newest first.
    pub rows: Card<Vec<RequestRow>>,
    /// Where to go from here.
    pub pager: Pager,
}

/// What the list is narrowed to. All of it lives in the query.
#[derive(Clone, Debug)]
pub struct Filters {
    /// The text looked for.
    pub query: String,
    /// The ranges.
    pub ranges: Vec<Choice>,
    /// The range in force, sent on with the form.
    pub range: String,
    /// Status, model, provider, key, operation, cache.
    pub selects: Vec<Select>,
    /// True where anything but the range is set.
    pub is_narrowed: bool,
    /// The same page without filters.
    pub clear_href: String,
    /// The same view as a file.
    pub csv_href: String,
}

/// The ends of a page of the list.
#[derive(Clone, Debug, Default)]
pub struct Pager {
    /// `1 to 50 of 1,157`.
    pub text: String,
    /// The page before, if any.
    pub newer: Option<String>,
    /// The page after, if any.
    pub older: Option<String>,
}
