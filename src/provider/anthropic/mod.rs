//! Anthropic's wire formats.

pub mod usage;
