//! http.

pub mod dashboard;
