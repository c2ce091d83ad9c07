//! provider.

pub mod sandbox;
