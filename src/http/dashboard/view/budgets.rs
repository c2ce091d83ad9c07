//! `/budgets`: what runs out when, and the keys beside it.

use askama::Template;
use askama::filters::HtmlSafe;

use super::super::charts::Meter;
use super::super::format::Money;
use super::keys::{KeyForm, KeyList};
use super::layout::Layout;
use super::parts::{Card, Field, SelectOption, Tone};

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "budgets/page.html")]
pub struct BudgetsPage {
    /// The page around it.
    pub layout: Layout,
    /// The budgets.
    pub budgets: BudgetList,
    /// The form of a new budget, in its dialog.
    pub budget_form: BudgetForm,
    /// The keys.
    pub keys: KeyList,
    /// The form of a new key, in its dialog.
    pub key_form: KeyForm,
}

/// Fills `#budget-list`.
#[derive(Clone, Debug, Template)]
#[template(path = "budgets/budget-list.html")]
pub struct BudgetList {
    /// `days end at 00:00 UTC`.
    pub note: String,
    /// The budgets, closest to their limit first.
    pub rows: Card<Vec<BudgetRow>>,
    /// True where it replaces the one on the page.
    pub is_update: bool,
    /// Whether the reader may change them.
    pub may_change: bool,
}

/// Its template escapes every value.
impl HtmlSafe for BudgetList {}

/// One budget.
#[derive(Clone, Debug)]
pub struct BudgetRow {
    /// `All of Tollgate`, or the name of its key or team.
    pub name: String,
    /// `everything · monthly`.
    pub sub: String,
    /// What was spent.
    pub spent: Money,
    /// `of $500`.
    pub limit: String,
    /// `$0.03 held for running calls`, where anything is.
    pub held: Option<String>,
    /// `$12.40 free`: what may still be spent or held.
    pub free: String,
    /// How much is used.
    pub meter: Meter,
    /// In percent.
    pub percent: String,
    /// `Stops at 100%`.
    pub at_limit: String,
    /// `Passes around 28 Nov`, `On track`.
    pub outlook: String,
    /// How the outlook is.
    pub outlook_tone: Tone,
    /// Where it is changed.
    pub href: String,
}

/// Fills `#budget-form`.
#[derive(Clone, Debug, Template)]
#[template(path = "budgets/budget-form.html")]
pub struct BudgetForm {
    /// Where it is sent: `/budgets`, or `/budgets/{id}` for one that exists.
    pub href: String,
    /// Proves that the form came from here.
    pub csrf_token: String,
    /// everything, team, key, provider, model, operation, tag.
    pub scopes: Vec<SelectOption>,
    /// The name of the team, key and so on.
    pub scope_id: Field,
    /// hour, day, week, month, total.
    pub windows: Vec<SelectOption>,
    /// Dollars.
    pub limit: Field,
    /// `block` or `alert`, or `downgrade`.
    pub action: String,
    /// The route to go on with.
    pub downgrade_to: Field,
    /// The percents at which somebody is told, as `50, 80, 100`.
    pub thresholds: Field,
    /// The revision that the form shows, for one that exists.
    pub revision: Option<String>,
    /// True for one that exists: its scope and window stay.
    pub is_edit: bool,
    /// What is wrong as a whole.
    pub error: Option<String>,
}

/// Its template escapes every value.
impl HtmlSafe for BudgetForm {}

/// `/budgets/new` and `/budgets/{id}`: the form as a page of its own.
#[derive(Clone, Debug, Template)]
#[template(path = "budgets/form-page.html")]
pub struct BudgetFormPage {
    /// The page around it.
    pub layout: Layout,
    /// What it is about.
    pub heading: String,
    /// The form.
    pub form: BudgetForm,
    /// Where to delete it, for one that exists.
    pub delete_href: Option<String>,
}
