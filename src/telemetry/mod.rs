//! What the process tells about itself: names, counters, logs, traces.

pub mod logs;
mod metrics;
pub mod names;
pub mod traces;

pub use metrics::{CallRecord, Hedging, Limit, Metrics, Naming, Percentiles, Running, Totals};
