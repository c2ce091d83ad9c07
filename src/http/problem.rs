//! Errors of the management API: RFC 9457 problem details with a stable code.
//!
//! Here alone an error of a lower layer gets a status and a code. `detail` is for people and says what to do; programs look
//! at `code`, which never changes its meaning. What went wrong inside is logged here and not told.

use std::fmt;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::{BudgetError, IdError};
use crate::keys::{KeyError, KeysError};
use crate::ledger::LedgerError;
use crate::reconciliation::ReconcileError;
use crate::store::SettingsError;

/// The media type of problem details.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// Seconds after which something that is busy or broken is worth another try.
const RETRY_AFTER_SECONDS: &str = "5";

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $status:ident, $text:literal;)+) => {
        /// What went wrong, for programs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $code),+ }

        impl Code {
            /// Every code, in the order of their statuses.
            pub const ALL: &'static [Self] = &[$(Self::$code),+];

            /// The word for it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$code => $text),+ }
            }

            /// The status that goes with it.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$code => StatusCode::$status),+ }
            }
        }
    };
}

codes! {
    /// A query parameter is unknown, stands twice, or has a value that can't be.
    InvalidParameter = BAD_REQUEST, "invalid_parameter";
    /// The body is no JSON.
    InvalidJson = BAD_REQUEST, "invalid_json";
    /// A field of the body is missing, unknown, or has a value that can't be.
    InvalidField = BAD_REQUEST, "invalid_field";
    /// No credential came along.
    Unauthenticated = UNAUTHORIZED, "unauthenticated";
    /// The credential that came along opens nothing.
    InvalidCredential = UNAUTHORIZED, "invalid_credential";
    /// The credential is good, but not for this.
    Forbidden = FORBIDDEN, "forbidden";
    /// A browser's request without proof that it comes from our own page.
    CsrfFailed = FORBIDDEN, "csrf_failed";
    /// There is no such path, or nothing of that id.
    NotFound = NOT_FOUND, "not_found";
    /// The path is there, but not for this method.
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method_not_allowed";
    /// The body took too long to arrive.
    BodyTimeout = REQUEST_TIMEOUT, "body_timeout";
    /// A live thing has this name.
    NameTaken = CONFLICT, "name_taken";
    /// The scope and window have a budget.
    BudgetExists = CONFLICT, "budget_exists";
    /// The key is revoked or expired.
    KeyNotLive = CONFLICT, "key_not_live";
    /// As many are kept as may be.
    LimitReached = CONFLICT, "limit_reached";
    /// The response cache is off.
    CacheOff = CONFLICT, "cache_off";
    /// No provider, or not the one that was meant, has an admin key.
    NoAdminKey = CONFLICT, "no_admin_key";
    /// The cost of the entry is known, not known yet, or an adjustment itself.
    NotAdjustable = CONFLICT, "not_adjustable";
    /// No receiver of alerts is configured, or not the one that was meant.
    NoAlertChannel = CONFLICT, "no_alert_channel";
    /// The first admin is there.
    SetUpAlready = CONFLICT, "set_up_already";
    /// The team has keys, budgets or people.
    TeamInUse = CONFLICT, "team_in_use";
    /// Nobody else could let anybody in.
    LastAdmin = CONFLICT, "last_admin";
    /// Somebody else has changed it since it was read.
    ChangedMeanwhile = PRECONDITION_FAILED, "changed_meanwhile";
    /// The body is larger than any that makes sense.
    BodyTooLarge = PAYLOAD_TOO_LARGE, "body_too_large";
    /// The body is not declared to be JSON.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type";
    /// The files of settings can't be taken over as they are.
    ConfigRefused = UNPROCESSABLE_ENTITY, "config_refused";
    /// The file is not one that is known here, or something in it can't be.
    InvalidFile = UNPROCESSABLE_ENTITY, "invalid_file";
    /// Something that can't happen did.
    Internal = INTERNAL_SERVER_ERROR, "internal_error";
    /// As much is going on as the server takes.
    Busy = SERVICE_UNAVAILABLE, "busy";
    /// The ledger can't be read or written.
    LedgerUnavailable = SERVICE_UNAVAILABLE, "ledger_unavailable";
    /// The settings can't be read or written.
    SettingsUnavailable = SERVICE_UNAVAILABLE, "settings_unavailable";
    /// What is kept of calls can't be read or deleted.
    ContentUnavailable = SERVICE_UNAVAILABLE, "content_unavailable";
}

/// An answer that says no, and what to do.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    members: Map<String, Value>,
}

/// A problem as it is written.
#[derive(Serialize)]
struct Body<'a> {
    /// The code tells more than an address could.
    r#type: &'static str,
    title: &'a str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

impl Problem {
    /// A problem with a sentence that says what to do.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), members: Map::new() }
    }

    /// The same with one more member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// A field of the body that can't be as it is.
    pub fn field(field: &str, detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidField, detail).with("field", field)
    }

    /// A query parameter that can't be as it is.
    pub fn parameter(parameter: &str, detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameter, detail).with("parameter", parameter)
    }

    /// Something that can't happen did; `what` goes to the log.
    pub fn internal(what: &dyn fmt::Display) -> Self {
        tracing::error!("a request failed for a reason of our own: {what}");
        Self::new(
            Code::Internal,
            "Tollgate failed; the log of the server has the reason. Try again, and report it if it stays",
        )
    }

    /// What is said to people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// A member beside the usual ones, where it is a text.
    pub fn member(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str)
    }

    /// What went wrong.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The answer.
    pub fn response(&self) -> HttpResponse {
        let status = self.code.status();
        let mut response = HttpResponse::build(status);
        response.content_type(PROBLEM_JSON);
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        if status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"tollgate\""));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS));
        }
        let body = Body {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code: self.code.as_str(),
            detail: &self.detail,
            members: &self.members,
        };
        response.body(serde_json::to_vec(&body).expect("texts and numbers can always be written as JSON"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.response()
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        Self::new(Code::InvalidCredential, error.to_string())
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Busy => {
                Self::new(Code::Busy, "too many calls are waiting for the ledger: try again in a few seconds")
            }
            LedgerError::Unwritable { .. } | LedgerError::Unreadable { .. } => {
                tracing::error!("a request of the management API failed: {error}");
                Self::new(
                    Code::LedgerUnavailable,
                    "the ledger can't be read or written at the moment: look at the disk and the log of the server; GET /health tells when it works again",
                )
            }
            LedgerError::TooManyAdjustments { .. } => Self::new(Code::LimitReached, error.to_string()),
            LedgerError::OverBudget { .. } | LedgerError::Turned { .. } | LedgerError::NoSuchCall { .. } => {
                Self::internal(&error)
            }
        }
    }
}

impl From<KeysError> for Problem {
    fn from(error: KeysError) -> Self {
        let detail = error.to_string();
        match error {
            KeysError::Invalid { field, problem } => Self::field(field, format!("{field}: {problem}")),
            KeysError::NameTaken { .. } => Self::new(Code::NameTaken, detail).with("field", "name"),
            KeysError::NotFound { .. } | KeysError::UnknownUser { .. } => Self::new(Code::NotFound, detail),
            KeysError::KeyNotLive(_) => Self::new(Code::KeyNotLive, detail),
            KeysError::ChangedMeanwhile { .. } => Self::new(Code::ChangedMeanwhile, detail),
            KeysError::TeamInUse { keys, budgets, people, .. } => {
                Self::new(Code::TeamInUse, detail).with("keys", keys).with("budgets", budgets).with("people", people)
            }
            KeysError::LastAdmin(_) => Self::new(Code::LastAdmin, detail),
            KeysError::BudgetExists { id, .. } => {
                Self::new(Code::BudgetExists, format!("{detail} with PUT /api/budgets/{id}"))
                    .with("budgetId", id.to_string())
            }
            KeysError::Budget(error) => error.into(),
            KeysError::Password(_) => Self::field("password", detail),
            KeysError::SetupToken | KeysError::ResetLink => Self::field("token", detail),
            KeysError::SetUpAlready => Self::new(Code::SetUpAlready, detail),
            KeysError::TooMany { .. } => Self::new(Code::LimitReached, detail),
            KeysError::Busy => Self::new(Code::Busy, detail),
            KeysError::Damaged { .. } | KeysError::Settings(_) => {
                tracing::error!("a request of the management API failed: {}", with_causes(&error));
                Self::new(Code::SettingsUnavailable, detail)
            }
        }
    }
}

impl From<SettingsError> for Problem {
    fn from(error: SettingsError) -> Self {
        tracing::error!("a request of the management API failed: {}", with_causes(&error));
        Self::new(Code::SettingsUnavailable, error.to_string())
    }
}

impl From<ReconcileError> for Problem {
    fn from(error: ReconcileError) -> Self {
        let detail = error.to_string();
        match error {
            ReconcileError::NoAdminKey | ReconcileError::NoAdminKeyOf(_) => Self::new(Code::NoAdminKey, detail),
            ReconcileError::UnknownProvider { .. } | ReconcileError::WhichProvider { .. } => {
                Self::parameter("provider", detail)
            }
            ReconcileError::Busy => Self::new(Code::Busy, detail),
            ReconcileError::File(_) => Self::new(Code::InvalidFile, detail),
            ReconcileError::Days(_) => Self::parameter("from", detail),
            ReconcileError::Settings(error) => error.into(),
            ReconcileError::Ledger(error) => error.into(),
        }
    }
}

impl From<BudgetError> for Problem {
    fn from(error: BudgetError) -> Self {
        let field = match &error {
            BudgetError::Kind(_)
            | BudgetError::IdMissing(_)
            | BudgetError::IdUnwanted
            | BudgetError::Tag(_)
            | BudgetError::Id(_) => "scope",
            BudgetError::LimitNegative(_) | BudgetError::LimitTooLarge(_) => "limitUsd",
            BudgetError::Threshold(_) | BudgetError::ThresholdOrder => "thresholds",
            BudgetError::Action(_) => "action",
            BudgetError::DowngradeMissing | BudgetError::DowngradeUnwanted => "downgradeTo",
        };
        let reason = match &error {
            BudgetError::Id(id) => format!("{error}: {id}"),
            _ => error.to_string(),
        };
        Self::field(field, format!("{field}: {reason}"))
    }
}

impl From<IdError> for Problem {
    fn from(error: IdError) -> Self {
        Self::new(Code::NotFound, format!("{error}: take it from a list, where each thing has its id"))
    }
}

/// An error and everything that caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{BudgetId, BudgetScope, Picodollars, Window};

    #[test]
    fn every_code_has_its_status() {
        let table: Vec<String> =
            Code::ALL.iter().map(|code| format!("{} {}", code.status().as_u16(), code.as_str())).collect();
        insta::assert_snapshot!(table.join("\n"), @r##"
        400 invalid_parameter
        400 invalid_json
        400 invalid_field
        401 unauthenticated
        401 invalid_credential
        403 forbidden
        403 csrf_failed
        404 not_found
        405 method_not_allowed
        408 body_timeout
        409 name_taken
        409 budget_exists
        409 key_not_live
        409 limit_reached
        409 cache_off
        409 no_admin_key
        409 not_adjustable
        409 no_alert_channel
        409 set_up_already
        409 team_in_use
        409 last_admin
        412 changed_meanwhile
        413 body_too_large
        415 unsupported_media_type
        422 config_refused
        422 invalid_file
        500 internal_error
        503 busy
        503 ledger_unavailable
        503 settings_unavailable
        503 content_unavailable
        "##);
    }

    fn code_of(error: impl Into<Problem>) -> &'static str {
        error.into().code().as_str()
    }

    #[test]
    fn every_error_of_the_layers_below_has_its_code() {
        let detail = || "no space left on device".into();
        assert_eq!(code_of(LedgerError::Busy), "busy");
        assert_eq!(code_of(LedgerError::Unwritable { detail: detail() }), "ledger_unavailable");
        assert_eq!(code_of(LedgerError::Unreadable { detail: detail() }), "ledger_unavailable");
        assert_eq!(code_of(KeysError::NameTaken { what: "virtual key", name: "ci".to_owned() }), "name_taken");
        assert_eq!(code_of(KeysError::TooMany { what: "budgets", max: 1 }), "limit_reached");
        assert_eq!(code_of(KeysError::Busy), "busy");
        assert_eq!(code_of(KeysError::SetUpAlready), "set_up_already");
        assert_eq!(code_of(KeysError::ChangedMeanwhile { what: "team" }), "changed_meanwhile");
        assert_eq!(code_of(KeysError::LastAdmin("Ada".to_owned())), "last_admin");
        let used = KeysError::TeamInUse { name: "research".to_owned(), keys: 2, budgets: 1, people: 0 };
        assert!(used.to_string().contains("it has 2 live keys and 1 budget - revoke"), "{used}");
        assert_eq!(code_of(used), "team_in_use");
        assert_eq!(code_of(KeyError::Unknown), "invalid_credential");
        assert_eq!(code_of(BudgetError::LimitNegative(Picodollars::ZERO)), "invalid_field");
        assert_eq!(code_of("budget".parse::<BudgetId>().unwrap_err()), "not_found");
        let exists = KeysError::BudgetExists { scope: BudgetScope::Everything, window: Window::Day, id: BudgetId(7) };
        let problem = Problem::from(exists);
        assert_eq!(problem.code().as_str(), "budget_exists");
        assert_eq!(problem.members["budgetId"], "budget_7");
    }

    #[test]
    fn what_the_disk_says_stays_in_the_log() {
        let problem = Problem::from(LedgerError::Unreadable { detail: "/var/lib/canary".into() });
        assert!(!problem.to_string().contains("canary"), "{problem}");
    }

    #[test]
    fn a_refused_credential_says_how_to_send_one_and_a_broken_server_when_to_come_back() {
        let refused = Problem::new(Code::Unauthenticated, "…").response();
        let header =
            |response: &HttpResponse, name: &str| response.headers().get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(header(&refused, "www-authenticate"), "Bearer realm=\"tollgate\"");
        assert_eq!(header(&refused, "content-type"), PROBLEM_JSON);
        let broken = Problem::new(Code::LedgerUnavailable, "…").response();
        assert_eq!(header(&broken, "retry-after"), "5");
    }
}
