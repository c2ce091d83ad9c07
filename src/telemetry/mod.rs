//! What the process tells about itself: names, counters, logs.

pub mod logs;
mod metrics;
pub mod names;

pub use metrics::{CallRecord, Limit, Metrics, Percentiles, Totals};
