//! What is told: a kind, whom or what it is about, the window that it counts in, and a sentence.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{IdError, Picodollars, WindowId};

/// The longest report: it has some lines more than an alert, and a chat message holds it.
const REPORT_CHARS_MAX: usize = 1_500;
/// The longest sentence: it has to fit into a chat message with room for what escaping adds.
const TEXT_CHARS_MAX: usize = 900;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $word:literal;)+) => {
        /// What an alert is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum AlertKind { $($(#[$doc])* #[serde(rename = $word)] $kind),+ }

        impl AlertKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The word for it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $word),+ }
            }
        }
    };
}

kinds! {
    /// A budget has passed one of its thresholds.
    BudgetThreshold = "budget_threshold";
    /// A budget will be used up before its window ends.
    BudgetForecast = "budget_forecast";
    /// A provider fails: calls to it do, one after the other, and none is answered.
    ProviderDown = "provider_down";
    /// Some of its deployments fail, and others answer.
    ProviderDegraded = "provider_degraded";
    /// It answers again.
    ProviderRecovered = "provider_recovered";
    /// A provider refuses one of our keys, or the account behind it has no money.
    CredentialDisabled = "credential_disabled";
    /// It takes the key again.
    CredentialRecovered = "credential_recovered";
    /// Calls went to a model without a price.
    UnpricedTraffic = "unpriced_traffic";
    /// Calls can't be booked, so none are made.
    LedgerTrouble = "ledger_trouble";
    /// They can be again.
    LedgerRecovered = "ledger_recovered";
    /// A call under a budget that blocks cost more than was held for it.
    LedgerUnderestimate = "ledger_underestimate";
    /// The machine's clock was set so far that it isn't believed.
    ClockWrong = "clock_wrong";
    /// A key spends a multiple of its usual.
    SuddenSpend = "sudden_spend";
    /// What a provider charged for a day is not what was booked.
    CostDrift = "cost_drift";
    /// What a day has cost.
    DailyReport = "daily_report";
    /// What a month has cost.
    MonthlyReport = "monthly_report";
    /// Somebody wants to know whether alerts arrive.
    Test = "test";
}

/// Whom or what an alert is about, in the words of the management API: `{"kind":"key","id":"key_…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertScope {
    /// The kind: those of budgets, and `credential`, `ledger` and `clock`.
    pub kind: String,
    /// Which one; none where there is only one.
    pub id: Option<String>,
}

impl AlertScope {
    /// A scope of a kind.
    pub fn new(kind: &str, id: Option<&str>) -> Self {
        Self { kind: kind.to_owned(), id: id.map(ToOwned::to_owned) }
    }
}

/// Something to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAlert {
    /// What it is about.
    pub kind: AlertKind,
    /// Whom or what.
    pub scope: AlertScope,
    /// The window that it counts in: within it the same is told once. None for what is told each time.
    pub window: Option<WindowId>,
    /// The threshold that was passed, in percent.
    pub threshold_percent: Option<u8>,
    /// What was spent.
    pub spent: Option<Picodollars>,
    /// What may be spent.
    pub limit: Option<Picodollars>,
    /// The whole of it in plain words, without markup: each channel escapes it for itself.
    pub text: String,
}

impl NewAlert {
    /// An alert without sums.
    pub fn new(kind: AlertKind, scope: AlertScope, window: Option<WindowId>, text: &str) -> Self {
        Self { kind, scope, window, threshold_percent: None, spent: None, limit: None, text: plain(text) }
    }

    /// A report of a period, which may have several lines and is told once.
    pub fn report(kind: AlertKind, window: WindowId, text: &str) -> Self {
        let lines: Vec<String> = text.lines().map(plain).collect();
        let text = lines.join("\n").chars().take(REPORT_CHARS_MAX).collect();
        let scope = AlertScope::new("everything", None);
        Self { kind, scope, window: Some(window), threshold_percent: None, spent: None, limit: None, text }
    }

    /// What is the same alert: kind, scope, threshold and window. None for what is told each time.
    pub(super) fn once_key(&self) -> Option<String> {
        let WindowId { window, number } = self.window?;
        let id = self.scope.id.as_deref().unwrap_or_default();
        let threshold = self.threshold_percent.unwrap_or_default();
        Some(format!("{} {window} {number} {threshold} {} {id}", self.kind.as_str(), self.scope.kind))
    }
}

/// One line of bounded length: names in it may come from anybody.
fn plain(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).map(|character| if is_visible(character) { character } else { ' ' }).collect()
}

/// Neither a control character nor one that turns the direction of what follows.
fn is_visible(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

/// The id of an alert: `alert_7`. Receivers know by it what they have got already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertId(pub u64);

impl fmt::Display for AlertId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "alert_{}", self.0)
    }
}

impl FromStr for AlertId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let number = text.strip_prefix("alert_").and_then(|number| number.parse().ok());
        number.map(Self).ok_or_else(|| IdError::NotAnId(text.chars().take(64).collect()))
    }
}

/// An alert with its number and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its id.
    pub id: AlertId,
    /// When it was raised.
    pub time: Timestamp,
    /// What it says.
    pub what: NewAlert,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Window;

    #[test]
    fn the_same_alert_is_known_by_kind_scope_threshold_and_window() {
        let window = WindowId { window: Window::Day, number: 7 };
        let alert = NewAlert {
            threshold_percent: Some(80),
            ..NewAlert::new(AlertKind::BudgetThreshold, AlertScope::new("key", Some("key_1")), Some(window), "first")
        };
        let key = alert.once_key().unwrap();
        assert_eq!(
            NewAlert { text: "second".to_owned(), spent: Some(Picodollars::ZERO), ..alert.clone() }.once_key().unwrap(),
            key
        );
        for other in [
            NewAlert { kind: AlertKind::BudgetForecast, ..alert.clone() },
            NewAlert { threshold_percent: Some(50), ..alert.clone() },
            NewAlert { scope: AlertScope::new("team", Some("key_1")), ..alert.clone() },
            NewAlert { scope: AlertScope::new("key", Some("key_2")), ..alert.clone() },
            NewAlert { window: Some(WindowId { number: 8, ..window }), ..alert.clone() },
            NewAlert { window: Some(WindowId { window: Window::Week, ..window }), ..alert.clone() },
        ] {
            assert_ne!(other.once_key().unwrap(), key, "{other:?}");
        }
        assert_eq!(NewAlert { window: None, ..alert }.once_key(), None);
    }

    #[test]
    fn a_text_is_one_line_that_fits() {
        let scope = || AlertScope::new("key", None);
        let hostile = NewAlert::new(AlertKind::Test, scope(), None, "a\nb\u{202e}c\u{0}d\u{200b}e");
        assert_eq!(hostile.text, "a b c d e");
        assert_eq!(NewAlert::new(AlertKind::Test, scope(), None, &"é".repeat(5_000)).text.chars().count(), 900);
    }

    #[test]
    fn a_report_keeps_its_lines_and_nothing_else_that_is_invisible() {
        let window = WindowId { window: Window::Day, number: 7 };
        let report = |text: &str| NewAlert::report(AlertKind::DailyReport, window, text);
        assert_eq!(report("a\tb\r\n- c\u{202e}d\n").text, "a b\n- c d");
        assert_eq!(report(&"é\n".repeat(5_000)).text.chars().count(), 1_500);
        assert_eq!(report("a").once_key(), report("b").once_key());
        assert_ne!(report("a").once_key(), NewAlert::report(AlertKind::MonthlyReport, window, "a").once_key());
    }

    #[test]
    fn every_kind_is_stored_under_its_word() {
        for kind in AlertKind::ALL {
            assert_eq!(serde_json::to_string(kind).unwrap(), format!("\"{}\"", kind.as_str()));
        }
    }
}
