//! Whether what we booked is what the providers say they charged: per provider, UTC day and model, with an alarm.
//!
//! [`Reconciler`] brings readings in, by admin key or from a file, and holds them against the ledger. [`Comparison::of`]
//! is the whole of the arithmetic: money where the provider tells money, its usage at our prices where it tells usage
//! alone, tokens where there is no price. A day is told of only once it is complete: [`REPORTING_LAG`] after its end, for
//! reports fill up late. Nothing here changes an entry.

mod alarm;
mod comparison;
mod drift;
mod family;
pub mod json;
mod reconciler;
#[cfg(test)]
mod tests;

pub use comparison::{Basis, Comparison, DayLine, Line, State, Theirs, Tokens};
pub use drift::{DRIFT_MAX_PERCENT, Drift};
pub use reconciler::{Fetched, Imported, ReconcileError, Reconciler};

use std::time::Duration;

/// How long after its end a day may still grow at the provider: minutes at Anthropic, hours at OpenAI.
pub const REPORTING_LAG: Duration = Duration::from_hours(6);
/// Days that are fetched and compared unless told otherwise: corrections of a week come in by themselves.
pub const DAYS_USUAL: i64 = 7;
