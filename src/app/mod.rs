//! app.
pub mod cli;
pub mod settings;
