//! app.
pub mod cli;
