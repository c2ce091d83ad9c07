//! Names of log fields and metrics.
//!
//! `gen_ai.*` follow the OpenTelemetry semantic conventions for generative AI as of version 1.38 (in development);
//! `gateway.*` are ours.

/// What a call is for: `chat`.
pub const OPERATION_NAME: &str = "gen_ai.operation.name";
/// The provider: `openai`, `anthropic`.
pub const PROVIDER_NAME: &str = "gen_ai.provider.name";
/// The model that was asked for.
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
/// Tokens that went in, caches included.
pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Tokens that came out, reasoning included.
pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// The stable code of a failure.
pub const ERROR_TYPE: &str = "error.type";
/// Our id of the call.
pub const REQUEST_ID: &str = "gateway.request.id";
/// How many attempts were made.
pub const ATTEMPTS: &str = "gateway.attempts";
/// What the call cost, in picodollars.
pub const COST: &str = "gateway.cost.picodollars";
/// The provider and model of an attempt.
pub const DEPLOYMENT: &str = "gateway.deployment.id";
