//! The providers: how each is called, and what its answers mean.
//!
//! A [`Provider`] knows one kind of upstream: where its paths are, which headers it wants. A [`Decoder`] knows one
//! dialect: usage, records of streams, errors. Bytes pass through both untouched. [`Client`] is the only way out: it takes no call without the
//! proof that money is reserved for it, whatever type the application makes that proof.

pub mod anthropic;
mod authorities;
mod client;
mod compatible;
mod credentials;
mod decode;
mod direct;
mod error;
mod field;
pub mod openai;
mod places;
mod probe;
pub mod sandbox;
mod sent;
mod tls;
mod upstream;
pub mod usage;

pub use authorities::check_authorities;
pub use client::{Body, Client, Response};
pub use credentials::{Away, Cause, Credential, CredentialStanding, CredentialState, Credentials, Refusal, Shown};
pub use decode::{Decoder, Meaning, Progress, Whole, decoder};
pub use error::{Owed, ProviderError, Recovery, TimeLimit, Unneeded, retry_after};
pub use places::{Crowd, Place};
pub use probe::{Asked, CertificateTrouble, Lookup, Probe, Unanswered, probe};
pub use sent::Sent;
pub use tls::ClientSettings;
pub use upstream::{ForwardedHeaders, Opaque, Provider, Upstream, UpstreamRequest};
