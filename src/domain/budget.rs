//! What a budget is: whom it binds, for how long, up to what amount, and what happens then.
//!
//! Only the definition: what was spent lies in the ledger, and whether a call may go is decided where policy is.
//! A definition is checked when it is made, so whoever holds one needs no second look.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{BudgetId, IdError, KeyId, Name};
use super::model::ProviderName;
use super::model_pattern::ModelPattern;
use super::money::Picodollars;
use super::revision::Revision;
use super::window::Window;

/// The longest name of a team, operation, tag, route or run.
const NAME_CHARS_MAX: usize = 100;

/// Why a budget can't be as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// A kind of scope that doesn't exist.
    #[error("{0:?} is no kind of scope: choose one of everything, team, key, provider, model, operation, tag, run")]
    Kind(String),
    /// A scope without the thing that it is about.
    #[error("a budget of the kind {0:?} needs an id: say which {0}")]
    IdMissing(&'static str),
    /// A scope that can't be about one thing.
    #[error("a budget of everything has no id: leave it out")]
    IdUnwanted,
    /// A tag without its value.
    #[error("{0:?} is not of the form name=value, which a budget of a tag needs as its id")]
    Tag(String),
    /// An id that is no id.
    #[error("the id of the scope can't be used")]
    Id(#[from] IdError),
    /// A limit below zero.
    #[error("a limit of {0} dollars is negative: give 0 to let nothing pass, or remove the budget")]
    LimitNegative(Picodollars),
    /// A limit beyond all sums.
    #[error("a limit of {0} dollars is larger than any amount kept here, which is {max} at most", max = Picodollars::MAX)]
    LimitTooLarge(Picodollars),
    /// A threshold that is no share of the limit.
    #[error("a threshold of {0} percent can't be met: choose whole percents from 1 to 100")]
    Threshold(u8),
    /// Thresholds out of order, or one of them twice.
    #[error("the thresholds have to rise, each once, as in 50, 80, 100")]
    ThresholdOrder,
    /// An action that doesn't exist.
    #[error("{0:?} is no action: choose one of block, alert, downgrade")]
    Action(String),
    /// A downgrade to nowhere.
    #[error("a downgrade needs the route that calls go to at the limit: name it as downgradeTo")]
    DowngradeMissing,
    /// A route beside an action that has no use for it.
    #[error("downgradeTo belongs to the action downgrade only: leave it out or change the action")]
    DowngradeUnwanted,
}

/// Whom a budget binds. In JSON: `{"kind":"team","id":"research"}`; a tag's id is `name=value`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "ScopeParts", into = "ScopeParts")]
pub enum BudgetScope {
    /// Every call.
    Everything,
    /// The calls of a team's keys.
    Team(Name),
    /// The calls of one virtual key.
    Key(KeyId),
    /// The calls that reach one provider.
    Provider(ProviderName),
    /// The calls that reach one model, or one of some models.
    Model(ModelPattern),
    /// The calls of one operation.
    Operation(Name),
    /// The calls that carry a tag with a certain value.
    Tag {
        /// The tag.
        name: Name,
        /// Its value.
        value: Name,
    },
    /// The calls of one workflow run.
    Run(Name),
}

/// A scope as it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeParts {
    kind: String,
    #[serde(default)]
    id: Option<String>,
}

impl TryFrom<ScopeParts> for BudgetScope {
    type Error = BudgetError;
    fn try_from(parts: ScopeParts) -> Result<Self, BudgetError> {
        Self::new(&parts.kind, parts.id.as_deref())
    }
}

impl From<BudgetScope> for ScopeParts {
    fn from(scope: BudgetScope) -> Self {
        Self { kind: scope.kind().to_owned(), id: scope.id() }
    }
}

impl BudgetScope {
    /// Every kind, widest first.
    pub const KINDS: [&'static str; 8] = ["everything", "team", "key", "provider", "model", "operation", "tag", "run"];

    /// A scope from the word for its kind and the id within the kind.
    pub fn new(kind: &str, id: Option<&str>) -> Result<Self, BudgetError> {
        let kind =
            Self::KINDS.into_iter().find(|known| *known == kind).ok_or_else(|| BudgetError::Kind(shortened(kind)))?;
        if kind == "everything" {
            return if id.is_none() { Ok(Self::Everything) } else { Err(BudgetError::IdUnwanted) };
        }
        let id = id.filter(|id| !id.is_empty()).ok_or(BudgetError::IdMissing(kind))?;
        Ok(match kind {
            "team" => Self::Team(Name::new(id, NAME_CHARS_MAX)?),
            "key" => Self::Key(KeyId::new(id)?),
            "provider" => Self::Provider(ProviderName::new(id)?),
            "model" => Self::Model(ModelPattern::new(id)?),
            // Calls have their operations in lower case, so that no spelling gets past the budget.
            "operation" => Self::Operation(Name::new(&id.to_lowercase(), NAME_CHARS_MAX)?),
            "tag" => {
                let (name, value) = id.split_once('=').ok_or_else(|| BudgetError::Tag(shortened(id)))?;
                if name.is_empty() || value.is_empty() {
                    return Err(BudgetError::Tag(shortened(id)));
                }
                Self::Tag { name: Name::new(name, NAME_CHARS_MAX)?, value: Name::new(value, NAME_CHARS_MAX)? }
            }
            _ => Self::Run(Name::new(id, NAME_CHARS_MAX)?),
        })
    }

    /// The word for the kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Team(_) => "team",
            Self::Key(_) => "key",
            Self::Provider(_) => "provider",
            Self::Model(_) => "model",
            Self::Operation(_) => "operation",
            Self::Tag { .. } => "tag",
            Self::Run(_) => "run",
        }
    }

    /// The id within the kind; none for everything.
    pub fn id(&self) -> Option<String> {
        match self {
            Self::Everything => None,
            Self::Team(name) | Self::Operation(name) | Self::Run(name) => Some(name.as_str().to_owned()),
            Self::Key(id) => Some(id.as_str().to_owned()),
            Self::Provider(name) => Some(name.as_str().to_owned()),
            Self::Model(id) => Some(id.as_str().to_owned()),
            Self::Tag { name, value } => Some(format!("{}={}", name.as_str(), value.as_str())),
        }
    }
}

impl fmt::Display for BudgetScope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id() {
            None => formatter.write_str(self.kind()),
            Some(id) => write!(formatter, "{} {id}", self.kind()),
        }
    }
}

/// What happens to a call that a budget has no room for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BudgetAction {
    /// It is refused.
    Block,
    /// It goes, and someone is told.
    Alert,
    /// It goes by another route.
    Downgrade {
        /// The route's name.
        to: Name,
    },
}

impl BudgetAction {
    /// An action from its word and, for a downgrade, its route.
    pub fn new(word: &str, downgrade_to: Option<&str>) -> Result<Self, BudgetError> {
        match (word, downgrade_to) {
            ("block", None) => Ok(Self::Block),
            ("alert", None) => Ok(Self::Alert),
            ("downgrade", Some(route)) => Ok(Self::Downgrade { to: Name::new(route, NAME_CHARS_MAX)? }),
            ("downgrade", None) => Err(BudgetError::DowngradeMissing),
            ("block" | "alert", Some(_)) => Err(BudgetError::DowngradeUnwanted),
            _ => Err(BudgetError::Action(shortened(word))),
        }
    }

    /// The word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Alert => "alert",
            Self::Downgrade { .. } => "downgrade",
        }
    }

    /// Where a downgrade leads.
    pub fn downgrade_to(&self) -> Option<&str> {
        match self {
            Self::Downgrade { to } => Some(to.as_str()),
            Self::Block | Self::Alert => None,
        }
    }
}

/// What a budget allows and what happens at its limit: the part that can be changed later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetTerms {
    /// The most that may be spent in one window; zero lets nothing pass.
    pub limit: Picodollars,
    /// What happens at the limit.
    pub action: BudgetAction,
    /// The percentages at which someone is told, rising; may be empty.
    pub thresholds: Vec<u8>,
}

impl BudgetTerms {
    /// The thresholds of a budget that names none.
    pub const THRESHOLDS_DEFAULT: [u8; 3] = [50, 80, 100];

    /// Terms with the usual thresholds.
    pub fn new(limit: Picodollars, action: BudgetAction) -> Self {
        Self { limit, action, thresholds: Self::THRESHOLDS_DEFAULT.to_vec() }
    }

    fn check(&self) -> Result<(), BudgetError> {
        if self.limit.is_negative() {
            return Err(BudgetError::LimitNegative(self.limit));
        }
        if self.limit > Picodollars::MAX {
            return Err(BudgetError::LimitTooLarge(self.limit));
        }
        if let Some(&wrong) = self.thresholds.iter().find(|percent| !(1..=100).contains(*percent)) {
            return Err(BudgetError::Threshold(wrong));
        }
        if !self.thresholds.is_sorted_by(|before, after| before < after) {
            return Err(BudgetError::ThresholdOrder);
        }
        Ok(())
    }
}

/// A budget: at most one per scope and window. Scope and window stay as they are, for its sums hang on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetDefinition {
    /// Its id, never given to another budget.
    pub id: BudgetId,
    /// Whom it binds.
    pub scope: BudgetScope,
    /// How long before it begins again.
    pub window: Window,
    /// The most that may be spent in one window; zero lets nothing pass.
    pub limit: Picodollars,
    /// What happens at the limit.
    pub action: BudgetAction,
    /// The percentages at which someone is told, rising.
    pub thresholds: Vec<u8>,
    /// When it was made.
    pub created: Timestamp,
    /// How often its terms were set: who changes it says which ones they have seen.
    pub revision: Revision,
}

impl BudgetDefinition {
    /// Checks the terms and makes a definition.
    pub fn new(
        id: BudgetId,
        scope: BudgetScope,
        window: Window,
        terms: BudgetTerms,
        created: Timestamp,
    ) -> Result<Self, BudgetError> {
        terms.check()?;
        let BudgetTerms { limit, action, thresholds } = terms;
        Ok(Self { id, scope, window, limit, action, thresholds, created, revision: Revision::FIRST })
    }

    /// The same budget on other terms.
    pub fn with_terms(&self, terms: BudgetTerms) -> Result<Self, BudgetError> {
        let revision = self.revision.next();
        Self::new(self.id, self.scope.clone(), self.window, terms, self.created).map(|new| Self { revision, ..new })
    }

    /// Its terms, to change some and keep the rest.
    pub fn terms(&self) -> BudgetTerms {
        BudgetTerms { limit: self.limit, action: self.action.clone(), thresholds: self.thresholds.clone() }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check_scope(json: &str, shown: &str) {
        let scope: BudgetScope = serde_json::from_str(json).unwrap();
        assert_eq!(scope.to_string(), shown);
        let again: BudgetScope = serde_json::from_str(&serde_json::to_string(&scope).unwrap()).unwrap();
        assert_eq!(again, scope);
    }

    #[test]
    fn every_kind_of_scope_is_read_and_written() {
        check_scope(r#"{"kind":"everything","id":null}"#, "everything");
        check_scope(r#"{"kind":"everything"}"#, "everything");
        check_scope(r#"{"kind":"team","id":"research"}"#, "team research");
        check_scope(r#"{"kind":"key","id":"key_1"}"#, "key key_1");
        check_scope(r#"{"kind":"provider","id":"openai"}"#, "provider openai");
        check_scope(r#"{"kind":"model","id":"gpt-5"}"#, "model gpt-5");
        check_scope(r#"{"kind":"operation","id":"review-code"}"#, "operation review-code");
        check_scope(r#"{"kind":"tag","id":"env=prod=eu"}"#, "tag env=prod=eu");
        check_scope(r#"{"kind":"run","id":"run_7"}"#, "run run_7");
    }

    #[test]
    fn a_scope_that_says_too_much_or_too_little_is_refused() {
        assert_eq!(BudgetScope::new("planet", None), Err(BudgetError::Kind("planet".to_owned())));
        assert_eq!(BudgetScope::new("everything", Some("x")), Err(BudgetError::IdUnwanted));
        assert_eq!(BudgetScope::new("team", None), Err(BudgetError::IdMissing("team")));
        assert_eq!(BudgetScope::new("team", Some("")), Err(BudgetError::IdMissing("team")));
        assert_eq!(BudgetScope::new("tag", Some("env")), Err(BudgetError::Tag("env".to_owned())));
        assert!(BudgetScope::new("tag", Some("=prod")).is_err());
        assert!(BudgetScope::new("tag", Some("env=")).is_err());
        assert!(matches!(BudgetScope::new("model", Some("a\nb")), Err(BudgetError::Id(_))));
        assert!(serde_json::from_str::<BudgetScope>(r#"{"kind":"everything","of":"it"}"#).is_err());
    }

    #[test]
    fn an_action_has_a_route_exactly_when_it_is_a_downgrade() {
        assert_eq!(BudgetAction::new("block", None), Ok(BudgetAction::Block));
        assert_eq!(BudgetAction::new("downgrade", Some("cheap")).unwrap().downgrade_to(), Some("cheap"));
        assert_eq!(BudgetAction::new("downgrade", None), Err(BudgetError::DowngradeMissing));
        assert_eq!(BudgetAction::new("alert", Some("cheap")), Err(BudgetError::DowngradeUnwanted));
        assert_eq!(BudgetAction::new("explode", None), Err(BudgetError::Action("explode".to_owned())));
    }

    fn with(limit: Picodollars, thresholds: &[u8]) -> Result<BudgetDefinition, BudgetError> {
        let terms = BudgetTerms { limit, action: BudgetAction::Block, thresholds: thresholds.to_vec() };
        BudgetDefinition::new(BudgetId(1), BudgetScope::Everything, Window::Day, terms, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_limit_may_be_zero_but_not_below_or_beyond_all_sums() {
        assert!(with(Picodollars::ZERO, &[]).is_ok());
        assert!(matches!(with(Picodollars::new(-1), &[]), Err(BudgetError::LimitNegative(_))));
        assert!(matches!(with(Picodollars::new(i128::MAX), &[]), Err(BudgetError::LimitTooLarge(_))));
    }

    #[test]
    fn thresholds_are_percentages_that_rise() {
        assert!(with(Picodollars::ZERO, &BudgetTerms::THRESHOLDS_DEFAULT).is_ok());
        assert_eq!(with(Picodollars::ZERO, &[0, 50]), Err(BudgetError::Threshold(0)));
        assert_eq!(with(Picodollars::ZERO, &[50, 101]), Err(BudgetError::Threshold(101)));
        assert_eq!(with(Picodollars::ZERO, &[50, 50]), Err(BudgetError::ThresholdOrder));
        assert_eq!(with(Picodollars::ZERO, &[80, 50]), Err(BudgetError::ThresholdOrder));
    }

    proptest! {
        #[test]
        fn any_scope_parses_or_is_refused_and_survives_being_written(kind in "[a-z]{0,10}", pick in 0_usize..9, id in ".{0,20}") {
            let kind = BudgetScope::KINDS.get(pick).copied().unwrap_or(&kind);
            if let Ok(scope) = BudgetScope::new(kind, Some(&id)) {
                prop_assert_eq!(BudgetScope::new(scope.kind(), scope.id().as_deref()), Ok(scope));
            }
        }
    }
}
