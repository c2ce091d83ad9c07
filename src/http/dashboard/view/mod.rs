//! View models: one plain struct per page or fragment, filled by a handler and rendered by a template.
//!
//! A field is display-ready or a domain value that is shown as it is; no template computes. `render` comes from
//! [`askama::Template`], which every page implements. Pages derive from one layout, fragments are the parts of pages
//! that are swapped alone, and carry the id of the element that they fill. Where a card's content could not be had, its
//! [`Card`] says why: the card fails, not the page.

mod access;
mod alerts;
mod budgets;
mod cache;
mod costs;
mod error;
mod keys;
mod layout;
mod overview;
mod parts;
mod people;
mod providers;
mod reconciliation;
mod reports;
mod request;
mod requests;
mod settings;
mod teams;
mod welcome;

pub use access::{LoginPage, ResetPage, SetupPage};
pub use alerts::{AlertRow, AlertsPage, DeliveryLine, ReceiverRow};
pub use budgets::{BudgetForm, BudgetFormPage, BudgetList, BudgetRow, BudgetsPage};
pub use cache::{CachePage, CacheRow, Invalidation, InvalidationPreview};
pub use costs::{CostRow, CostTable, CostsPage};
pub use error::ErrorPage;
pub use keys::{
    KeyCreated, KeyCreatedPage, KeyEditForm, KeyForm, KeyFormPage, KeyLimitsForm, KeyList, KeyPage, KeyRow, RevokeForm,
    RotateForm,
};
pub use layout::{Bare, Entry, Layout, NAVIGATION, Need, Reader, Theme};
pub use overview::{
    Attention, AttentionItem, BudgetLine, BudgetsCard, LiveUpdate, OverviewPage, ProviderLine, ProvidersCard, SpendCard,
};
pub use parts::{Badge, Card, Choice, Field, Kpi, Link, Notice, Phrase, RequestRow, Select, SelectOption, Tone};
pub use people::{InvitedPage, PeoplePage, PersonForm, PersonPage, PersonRow};
pub use providers::{
    CircuitLine, Explanation, FindingLine, KeyLine, LastError, PromptCaches, ProviderNow, ProviderRow, ProvidersNow,
    ProvidersPage, ReadLine, RouteCard, RouteLine, WhyForm,
};
pub use reconciliation::{ChosenDay, DayRow, ModelRow, ReconciliationPage, SourceRow};
pub use reports::{ReportLink, ReportView, ReportsPage};
pub use request::{
    AdjustForm, AdjustmentLine, CostLine, CostLines, DecisionCard, DecisionLine, Detail, KeptText, RequestPage,
    TimelineStep, UsageLine,
};
pub use requests::{Filters, Pager, RequestsPage};
pub use settings::{Comparison, DiffLine, ProblemLine, RefusedNote, RevisionRow, SettingsPage};
pub use teams::{PersonLine, TeamBudgetLine, TeamForms, TeamPage, TeamRow, TeamsPage};
pub use welcome::{FirstCall, FirstCallFacts, ProviderState, WelcomePage};

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
