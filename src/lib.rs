//! Tollgate: one binary between a team and its AI providers. It routes, meters and budgets every call, keeps an exact
//! ledger of what each cost, and shows it in a dashboard.
//!
//! # Layers
//!
//! A module imports from layers below its own, never from above or beside it; `tests/architecture.rs` proves it.
//!
//! - **7, [`app`]**: builds every part from the settings, runs them, stops them in order; the command line.
//! - **6, [`http`]**: the route table, both dialects' endpoints and errors, the management API, the dashboard.
//! - **5, [`reports`]**: what people read of the ledger: a day or a month in words, rows for other programs.
//!   **[`reconciliation`]**: whether what was booked is what the providers say they charged.
//!   **[`rerate`]**: what history would have cost at other prices. **[`doctor`]**: what is wrong with an installation, and what mends it.
//! - **4, [`gateway`]**: the life of a call: envelope, ceiling, attempts, relay, booking.
//! - **3, [`budget`]**: which budgets bind a call, and what about them and the calls is worth an alert. **[`routing`]**: who can take it and in which order,
//!   by what calls have shown of price, speed and prompt caches; what follows a failure, retry budgets.
//! - **2, [`ledger`]**: reserve, settle, sums, proof. **[`keys`]**: virtual keys, teams, people and roles, sessions, budget definitions.
//!   **[`content`]**: what calls said, where that is to be kept. **[`provider`]**: how each upstream is called, what its
//!   answers mean, and what they show of its credentials and its health. **[`catalog`]**: models and prices.
//!   **[`idempotency`]**: which calls were made before with the same key, and what they were answered.
//!   **[`cache`]**: which questions are the same, their answers in memory, calls that ask the same at the same time.
//!   **[`alerts`]**: told once, delivered to Slack, Discord and webhooks, with a durable outbox and the one client for such addresses.
//!   **[`revisions`]**: which settings were in force since when, what was refused, and asking for the files to be read again.
//!   **[`statements`]**: the providers' own usage and cost reports, fetched or from a file, and kept by day.
//! - **1, [`dialect`]**: chat completions, messages and responses as they stand on the wire, each to and from the one neutral
//!   form of [`domain::chat`]; only calls whose client and provider differ go through it. **[`config`]**: raw text to checked settings. **[`store`]**: the redb files. **[`runtime`]**: tracked tasks, the clock and its guard against wrong settings.
//!   **[`telemetry`]**: names, counters, logs, traces. **[`shared`]**: the Redis that instances share, asked within 50 ms or done without.
//!   **[`outbound`]**: what HTTP clients beside the way of a call have in common.
//! - **0, [`domain`]**: money, tokens, names, windows of time. No I/O, no async.
//!
//! # The way of a call
//!
//! `http::inference` authenticates and reads the body; [`gateway::Gateway::begin`] starts a task that owns the call from
//! then on. The task reads the envelope (where the model's name, the cap and the usage wish stand in the body), asks
//! [`routing::Router::plan`] for candidates (with the [`domain::Decision`] that its entry keeps), and for each attempt holds its worst case in the [`ledger`] under every
//! budget at once, durably, before [`provider::Client::send`] may run: that function takes no call without the
//! [`ledger::Hold`] of a [`ledger::Reservation`]. Bytes pass through as they came; a decoder watches them for content, usage and the end. The
//! answer is committed to a deployment with its first content, and its last piece leaves only when the call is booked
//! durably.
//!
//! Where budgets that block apply, the ledger's writer also decides how long the answer may get: a reservation brings its worst case
//! as a line in the cap on output ([`ledger::WorstCase`]), and the cap that was granted is written into the body. Who is kept
//! back by others alone waits there for them to settle. A budget that downgrades turns the call to another route's plan.
//!
//! Where its route hedges, an attempt that is slow gets a second one beside it, with a hold of its own under the same reservation;
//! what produces content first is the answer, the other ends as a part of the same entry. The reservation knows every attempt of
//! its call: status, cost and what further attempts may cost all go by one sum ([`ledger::Tally`]).
//!
//! A call with an `Idempotency-Key` that was made before is answered from [`idempotency`] first of all; otherwise the key is durable
//! before anything is sent, and the answer before its last piece leaves. An attempt waits for its place at a provider, and is given
//! the credential whose turn it is, before it holds money; what came of it is told to that credential.
//!
//! Before the attempts the [`cache`] is asked, and calls that ask the same join each other. A candidate that speaks another
//! shape than the client is sent a translation ([`dialect`]), and its answer comes back through the same; a candidate that speaks
//! the client's own gets the client's bytes.
//!
//! Whatever a call waits for, it listens to whoever it is made for: a client that leaves, or takes nothing of its stream, ends it, but
//! for what is read on for the bill; and so does the server's own end, 25 seconds after it was asked to stop. Then the call is booked
//! at what has come of it. None of that is held against a deployment.
//!
//! # The way of a setting
//!
//! [`app::settings`] gathers file, `.env` and environment; [`config::load`] checks all of it at once. `serve` and
//! `check-config` run the same code, and so does a reload: a change of a file, SIGHUP or `POST /api/config/reload` ask one task
//! after the other, which builds everything that can fail and then puts one [`gateway::InForce`] in the place of the other. A call
//! holds the one that it began with to its end.
//!
//! # Invariants
//!
//! - Money is integers of picodollars from parsing to storage; nothing is rounded before it is shown.
//! - No upstream call without a durable reservation; no complete answer without a durable entry.
//! - Booked, unknown and held money never exceeds the limit of a budget that blocks, for any number of callers.
//! - Sums equal rows: entries, balances and rollups change in one transaction of one writer thread.
//! - A call that may have cost money is never booked below what it may have cost.
//! - Whoever is of a team reads the ledger through a [`ledger::View`] of that team; what isn't told apart by teams is not for them.
//! - No secret has a `Display` or leaves by a log, an answer or a file.
//!
//! # Absent on purpose
//!
//! No ORM, no message queue, no second process: one file for money, one for settings, one for calls that may be asked for again, and one for contents only where they are wanted. No retry after the first content
//! has gone out. No price that the list doesn't have: what is unpriced says so. No answer of a cache is kept over a restart, unless instances share a Redis; that Redis is never asked about money.

pub mod alerts;
pub mod app;
pub mod budget;
pub mod cache;
pub mod catalog;
pub mod config;
pub mod content;
pub mod dialect;
pub mod doctor;
pub mod domain;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod gateway;
pub mod http;
pub mod idempotency;
pub mod keys;
pub mod ledger;
pub mod outbound;
pub mod provider;
pub mod reconciliation;
pub mod reports;
pub mod rerate;
pub mod revisions;
pub mod routing;
pub mod runtime;
pub mod shared;
pub mod statements;
pub mod store;
pub mod telemetry;
