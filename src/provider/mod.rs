//! The providers: their wire formats, read and written, and the calls to them.

pub mod anthropic;
pub mod openai;
pub mod usage;
