//! Anthropic's wire formats.

mod usage;

pub use usage::{UsageProgress, decode_answer, decode_usage};
