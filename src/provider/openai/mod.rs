//! OpenAI's wire formats, and those of the servers that speak them too.

pub mod usage;
