//! Tollgate: one binary between a team and its AI providers.

pub mod app;
pub mod budget;
pub mod catalog;
pub mod config;
pub mod domain;
pub mod gateway;
pub mod http;
pub mod keys;
pub mod ledger;
pub mod provider;
pub mod routing;
pub mod runtime;
pub mod store;
pub mod telemetry;
