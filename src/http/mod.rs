//! http.

pub mod api;
pub mod guard;
pub mod health;
pub mod openapi;
pub mod problem;
pub mod state;
