//! OpenAI's wire formats, and those of the servers that speak them too.

mod usage;

pub use usage::{UsageProgress, decode_answer, decode_usage, residency_of_host};
