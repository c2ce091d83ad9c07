//! What holds where nobody said otherwise, and the bounds of what can be said, each with its reason.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::domain::Picodollars;

/// Loopback: nobody else reaches a server that has no admin yet.
pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);
/// Beside the file, so that the first try needs no rights and is easily removed.
pub const DATA_DIR: &str = "tollgate-data";

/// The address of OpenAI's API; its paths are added behind the version.
pub const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";
/// The address of Anthropic's API; its paths bring the version along.
pub const ANTHROPIC_BASE_URL: &str = "https://api.anthropic.com";
/// Stands where a provider must have an address but has none; `.invalid` never resolves.
pub const SANDBOX_BASE_URL: &str = "http://sandbox.invalid/v1";
/// More calls at once than one machine of a small team makes; a provider's own limit is met first.
pub const PROVIDER_CONCURRENT_REQUESTS_MAX: u32 = 1000;
/// What Finagle and Linkerd allow: enough for what passes by itself, too little to make an outage worse.
pub const RETRY_PERCENT_MAX: u32 = 20;
/// A dead provider must cost a caller under a second before the fallback answers.
pub const TIMEOUT_CONNECT: Duration = Duration::from_millis(800);
/// Reasoning models think for long before they say anything.
pub const TIMEOUT_FIRST_TOKEN: Duration = Duration::from_mins(1);
/// Providers send a ping at least every 15 s or so; four of them missed is a dead stream.
pub const TIMEOUT_IDLE: Duration = Duration::from_mins(1);
/// The official SDKs give up after ten minutes too.
pub const TIMEOUT_TOTAL: Duration = Duration::from_mins(10);
/// The first choice and two more: a fourth attempt has never saved a call but doubles the wait.
pub const ATTEMPTS_MAX: u32 = 3;
/// A hedge after the 95th percentile is one for each twenty calls; twice as many leave room for a slow minute, and keep a slow
/// hour from doubling the bill.
pub const HEDGE_PERCENT_MAX: u32 = 10;

/// Answers seldom age within the hour in which a developer runs a program again and again.
pub const CACHE_TTL: Duration = Duration::from_hours(1);
/// About a hundred thousand answers, and a small part of a small server's memory.
pub const CACHE_BYTES_MAX: u64 = 256 << 20;
/// A cent reads on through any ordinary answer, and stops a runaway one.
pub const DRAIN_USD_MAX: Picodollars = Picodollars::new(10_000_000_000);
/// Kept for a month where contents are kept at all; entries of the ledger stay.
pub const LOG_RETENTION: Duration = Duration::from_hours(30 * 24);

/// What a machine with 1 GiB of memory holds, at a few hundred KiB for each streaming call.
pub const CONCURRENT_REQUESTS_MAX: u32 = 1000;
/// The largest body that providers take, with room for images in base 64.
pub const BODY_BYTES_MAX: u64 = 32 << 20;

/// Enough to keep two cores busy with runs that mostly wait for models.
pub const WORKERS_CONCURRENCY: u32 = 5;
/// More waiting work than a day of five workers; beyond it a refusal is kinder than a place in the queue.
pub const WORKERS_QUEUE_CAPACITY: u32 = 1000;
/// A run is quoted before it starts, so a dollar asks before it surprises.
pub const WORKFLOW_USD_MAX: Picodollars = Picodollars::from_dollars(1);
/// Half, nearly all, all.
pub const ALERT_THRESHOLDS: [u8; 3] = [50, 80, 100];
/// The address of GitHub's API.
pub const GITHUB_API_URL: &str = "https://api.github.com";

/// Text of settings beyond which something else was named as the file.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// A file that settings name is at most this large: ten times the built-in price list.
pub const NAMED_FILE_BYTES_MAX: usize = 16 << 20;
/// A token that scripts send is guessed at; 32 characters can't be.
pub const ADMIN_TOKEN_CHARS_MIN: usize = 32;
/// No timer is shorter than a millisecond.
pub(super) const SHORTEST: Duration = Duration::from_millis(1);
/// A limit of a day on one call is none any more.
pub(super) const DAY: Duration = Duration::from_hours(24);
/// Ten years of keeping; who wants more says `"forever"`.
pub(super) const TEN_YEARS: Duration = Duration::from_hours(87_660);
/// More at once than there are ports to call from.
pub(super) const CONCURRENCY_MOST: u32 = 60_000;
/// Far beyond what one machine passes on in a minute, so a slip of the finger is found.
pub(super) const PER_MINUTE_MOST: u64 = 1_000_000_000_000;
