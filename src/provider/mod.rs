//! The providers: how each is called, and what its answers mean.
//!
//! A [`Provider`] knows one kind of upstream: where its paths are, which headers it wants. A [`Decoder`] knows one
//! dialect: usage, records of streams, errors. An [`Upstream`] is a provider as it is configured, with all that calls have shown of
//! it: its [`Credentials`], its [`HealthBook`]. Bytes pass through both untouched. [`Client`] is the only way out: it takes no call without the
//! proof that money is reserved for it, whatever type the application makes that proof.

pub mod anthropic;
mod authorities;
mod by_model;
mod circuit;
mod client;
mod compatible;
mod credentials;
mod decode;
mod direct;
mod errand;
mod error;
mod field;
mod health;
pub mod openai;
mod places;
mod probe;
mod resolver;
mod retry_after;
pub mod sandbox;
mod sent;
mod tls;
mod upstream;
pub mod usage;
mod words;

pub use authorities::check_authorities;
pub use circuit::{Circuit, CircuitPolicy, Health};
pub use client::{Body, Client, Response};
pub use credentials::{
    Away, Cause, Credential, CredentialStanding, CredentialState, Credentials, Refusal, Scope, Shown,
};
pub use decode::{Decoder, Meaning, Progress, Whole, decoder};
pub use errand::Errand;
pub use error::{Owed, ProviderError, Recovery, TimeLimit, Unneeded};
pub use health::{Admission, HealthBook};
pub use places::{Crowd, Place};
pub use probe::{Asked, CertificateTrouble, Lookup, Probe, Unanswered, probe};
pub use retry_after::retry_after;
pub use sent::Sent;
pub use tls::ClientSettings;
pub use upstream::{ForwardedHeaders, Opaque, Provider, Upstream, UpstreamRequest};
