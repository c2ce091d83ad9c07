//! Names of log fields, metrics, and what spans say.
//!
//! `gen_ai.*` follow the OpenTelemetry semantic conventions for generative AI as of version 1.38 (in development);
//! `gateway.*` are ours.

/// What a call is for: `chat`.
pub const OPERATION_NAME: &str = "gen_ai.operation.name";
/// The provider: `openai`, `anthropic`.
pub const PROVIDER_NAME: &str = "gen_ai.provider.name";
/// The model that was asked for.
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
/// Whether a stream was asked for.
pub const REQUEST_STREAM: &str = "gen_ai.request.stream";
/// Seconds from the sending of a request to the first piece of its answer.
pub const TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
/// Tokens that went in, caches included.
pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Those of them that the provider had kept.
pub const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
/// Those of them that the provider keeps from now on.
pub const CACHE_CREATION_TOKENS: &str = "gen_ai.usage.cache_creation.input_tokens";
/// Tokens that came out, reasoning included.
pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// Those of them that the model thought with.
pub const REASONING_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";
/// The host of a provider.
pub const SERVER_ADDRESS: &str = "server.address";
/// A provider's HTTP status, or ours.
pub const STATUS_CODE: &str = "http.response.status_code";
/// The method of a call.
pub const REQUEST_METHOD: &str = "http.request.method";
/// The path of a call.
pub const ROUTE: &str = "http.route";
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
/// Which attempt of its call it is, from 1.
pub const ATTEMPT: &str = "gateway.attempt";
/// Whether an attempt was made beside another that was slow.
pub const HEDGE: &str = "gateway.hedge";
/// The provider's own id of an attempt.
pub const UPSTREAM_REQUEST_ID: &str = "gateway.upstream.request.id";
/// What the response cache did.
pub const CACHE_OUTCOME: &str = "gateway.cache.outcome";
/// What a cost rests on.
pub const COST_BASIS: &str = "gateway.cost.basis";
/// The status of an entry.
pub const ENTRY_STATUS: &str = "gateway.entry.status";
/// The virtual key's name.
pub const KEY: &str = "gateway.key.name";
/// The team.
pub const TEAM: &str = "gateway.team";
/// The task that a call is for.
pub const TASK: &str = "gateway.operation";
