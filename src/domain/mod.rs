//! What everybody talks about: money, tokens, names, windows of time.
//!
//! No input or output, no async, nothing of the rest of the crate. Values check themselves when they are made, so a
//! wrong one can't be handed on.

mod address;
mod billing;
mod budget;
mod capabilities;
pub mod chat;
mod decimal;
mod decision;
mod glob;
mod health;
mod ids;
pub mod json;
mod model;
mod model_pattern;
mod money;
mod owner;
mod revision;
mod secret;
mod tokens;
mod trace;
mod url_text;
mod usage;
mod window;
pub mod wording;

pub use address::is_public;
pub use billing::{Billed, PriceName, Residency, ServiceTier};
pub use budget::{BudgetAction, BudgetDefinition, BudgetError, BudgetScope, BudgetTerms};
pub use capabilities::Capabilities;
pub use decimal::{Decimal, DecimalError, Rounded};
pub use decision::{CONSIDERED_MAX, Considered, Decision, Exclusion, Obstacle, Reason, Strategy};
pub use glob::fits_glob;
pub use health::ProviderHealth;
pub use ids::{BudgetId, IdError, KeyId, Name, RequestId, RequestIds, TeamId};
pub use model::{
    CacheOutcome, CostBasis, Deployment, Dialect, Endpoint, EndpointFamily, EntryStatus, ModelId, ProviderKind,
    ProviderName,
};
pub use model_pattern::{ModelPattern, fits_deployment, undated};
pub use money::{MoneyError, Multiplier, Picodollars, Price};
pub use owner::Owner;
pub use revision::Revision;
pub use secret::Secret;
pub use tokens::estimate_tokens;
pub use trace::TraceParent;
pub use url_text::url_encoded;
pub use usage::TokenUsage;
pub use window::{Window, WindowId};
