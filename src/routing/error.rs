//! Why a name leads nowhere.

use std::sync::Arc;

use crate::domain::{Decision, Deployment};

/// Why a name leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No route, provider or model of that name.
    #[error("{}", unknown_message(model, suggestion.as_deref(), *configured))]
    UnknownModel {
        /// What was asked for.
        model: String,
        /// A name that is close to it.
        suggestion: Option<String>,
        /// Whether any provider is configured at all.
        configured: bool,
    },
    /// Nobody behind a route can take the call.
    #[error("no deployment of the route {:?} can take this call: {}", &*.0.route, missing_message(.0))]
    NoneFits(Arc<Decision>),
    /// The model `auto`, and nothing says what that is.
    #[error(
        "the model \"auto\" leads nowhere for the operation {operation:?}: name a route under [operations.chat] in tollgate.toml, or set OPENAI_API_KEY or ANTHROPIC_API_KEY"
    )]
    NoAuto {
        /// What the call is for.
        operation: String,
    },
    /// No provider has the path.
    #[error("no configured provider has {path}: add one to tollgate.toml")]
    NoProvider {
        /// The path that was asked.
        path: &'static str,
    },
    /// The model is there, but not by this path.
    #[error("{deployment} has no {path}: use {other}")]
    NotServed {
        /// Where the name leads.
        deployment: Deployment,
        /// The path that was asked.
        path: &'static str,
        /// What to do instead.
        other: &'static str,
    },
}

fn unknown_message(model: &str, suggestion: Option<&str>, configured: bool) -> String {
    match (suggestion, configured) {
        (_, false) => format!(
            "no provider is configured, so {model:?} can't be reached: set OPENAI_API_KEY or ANTHROPIC_API_KEY, or add [[providers]] to tollgate.toml"
        ),
        (Some(suggestion), true) => {
            format!("the model {model:?} is not known; did you mean {suggestion:?}? GET /v1/models lists all")
        }
        (None, true) => {
            format!(
                "the model {model:?} is not known; ask for a route, for provider/model, or for a model of GET /v1/models"
            )
        }
    }
}

fn missing_message(decision: &Decision) -> String {
    let each = decision.considered.iter().filter_map(|seen| {
        let exclusion = seen.exclusion?;
        Some(format!("{}: {exclusion}", seen.deployment))
    });
    each.collect::<Vec<_>>().join("; ")
}
