//! Settings: raw text in, a [`Config`] that can't be wrong out, or every problem at once.
//!
//! [`load`] walks the file, the variables and the flags in one go, as a small typed reader that notes what is wrong and
//! goes on. It reads no environment, clock or folder: all of that comes in as [`Sources`]. Of a key that is set more
//! than once the flag counts, then the environment, then the file, then `.env`. Relative paths are taken from the
//! working directory.

mod calls;
mod changes;
mod choice;
mod cron;
pub mod defaults;
mod environment;
mod given;
mod names;
mod network;
mod not_yet;
mod notices;
mod prices;
mod problem;
mod providers;
mod quantities;
mod reader;
mod restart;
mod routes;
mod secrets;
mod server;
#[cfg(test)]
mod tests;
mod typed;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use toml::de::DeTable;
use url::Url;

use crate::domain::Secret;
use problem::line_of;
use reader::{Context, Notes, Section};

pub use calls::{
    Bodies, CacheConfig, CacheScope, Durability, LedgerConfig, LogConfig, OnDisconnect, SemanticConfig, SemanticMatch,
    StreamsConfig,
};
pub use changes::changed_keys;
pub use choice::Choice;
pub use network::IpNetwork;
pub use not_yet::{PATHS as PATHS_NOT_YET, STRATEGIES as STRATEGIES_NOT_YET};
pub use notices::{AlertsConfig, TelemetryConfig};
pub use prices::{PRICE_NAMES, PriceOverride};
pub use problem::{Problem, Problems};
pub use providers::{ProviderConfig, SandboxConfig, Timeouts};
pub use routes::{HedgeAfter, HedgeConfig, Operation, RouteConfig};
pub use server::{AcmeConfig, BudgetAction, CertificateFiles, LimitsConfig, NewKeyBudget, TlsConfig};
pub use work::{
    CommandSandbox, GithubConfig, GithubCredentials, ScheduleConfig, WorkersConfig, WorkflowKind, WorkflowsConfig,
};

/// A file that the settings name, by what it should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedFile {
    /// A price list.
    Prices,
    /// Certificates of authorities, in PEM.
    Authorities,
}

/// Whether the secrets that the settings refer to have to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// They do: a server is to run with these settings.
    Needed,
    /// What can't be had is left out: a command that uses none of them runs where they aren't.
    Spared,
}

/// Everything that settings are made of, gathered by whoever may look at the world.
pub struct Sources<'a> {
    /// The file's path and text, where there is one.
    pub file: Option<(PathBuf, String)>,
    /// The file's permission bits.
    pub file_mode: Option<u32>,
    /// What `.env` holds, in its order.
    pub dotenv: Vec<(String, String)>,
    /// The files that this and the settings were read from.
    pub files: Vec<FileRead>,
    /// The process's environment.
    pub environment: Vec<(String, String)>,
    /// What flags set, by key path: `("data_dir", "/var/lib/tollgate")`.
    pub flags: Vec<(&'static str, String)>,
    /// The zone of the machine, for where none is set.
    pub system_zone: TimeZone,
    /// Why the zone of the machine is not the one that its `TZ` names, where it isn't.
    pub zone_trouble: Option<String>,
    /// Says what is wrong with a file that the settings name, if something is.
    pub check_file: &'a dyn Fn(NamedFile, &Path) -> Result<(), String>,
    /// Reads a file that a secret refers to.
    pub read_secret_file: &'a dyn Fn(&Path) -> io::Result<String>,
    /// Whether secrets have to be there.
    pub secrets: Secrets,
    /// What went wrong while gathering, to be told with the rest.
    pub problems: Vec<Problem>,
    /// What of it is worth knowing, likewise.
    pub warnings: Vec<Problem>,
}

impl Sources<'_> {
    /// The file; a nameless empty one where there is none.
    fn path_and_text(&self) -> (&Path, &str) {
        self.file.as_ref().map_or((Path::new(""), ""), |(path, text)| (path, text))
    }
}

impl Sources<'static> {
    /// No file, no variables, no flags, UTC, and no file that a secret could refer to.
    pub fn none() -> Self {
        Self {
            file: None,
            file_mode: None,
            dotenv: Vec::new(),
            files: Vec::new(),
            environment: Vec::new(),
            flags: Vec::new(),
            system_zone: TimeZone::UTC,
            zone_trouble: None,
            check_file: &|_, _| Ok(()),
            read_secret_file: &|_| Err(io::ErrorKind::NotFound.into()),
            secrets: Secrets::Needed,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// A file of settings or variables that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRead {
    /// Where it lies.
    pub path: PathBuf,
    /// Whether nothing stands in it, comments apart.
    pub is_empty: bool,
}

impl FileRead {
    /// What is to be remembered of a file with this text.
    pub fn new(path: PathBuf, text: &str) -> Self {
        Self { path, is_empty: text.lines().map(str::trim_start).all(|line| line.is_empty() || line.starts_with('#')) }
    }
}

/// Checked settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The folder of everything that is kept.
    pub data_dir: PathBuf,
    /// The zone of budget days and months.
    pub time_zone: TimeZone,
    /// The address that people reach the server by, where it differs from `listen`.
    pub public_url: Option<Url>,
    /// The Redis that instances share.
    pub redis_url: Option<Secret<String>>,
    /// What their answers in it are sealed with; without it, with the address.
    pub redis_secret: Option<Secret<String>>,
    /// The admin token from the environment.
    pub admin_token: Option<Secret<String>>,
    /// Providers, in the order of the file; their names differ.
    pub providers: Vec<ProviderConfig>,
    /// Routes, in the order of the file; their names differ and their providers exist.
    pub routes: Vec<RouteConfig>,
    /// The route of each operation that has one of its own; the routes exist.
    pub operations: BTreeMap<Operation, String>,
    /// Own and corrected prices, in the order of the file.
    pub prices: Vec<PriceOverride>,
    /// The file that replaces the built-in price list.
    pub catalog_file: Option<PathBuf>,
    /// The response cache.
    pub cache: CacheConfig,
    /// The ledger.
    pub ledger: LedgerConfig,
    /// Streams.
    pub streams: StreamsConfig,
    /// Limits for every key.
    pub limits: LimitsConfig,
    /// Who works on queued jobs.
    pub workers: WorkersConfig,
    /// Code workflows.
    pub workflows: WorkflowsConfig,
    /// Workflows by the clock.
    pub schedules: Vec<ScheduleConfig>,
    /// Where alerts go.
    pub alerts: AlertsConfig,
    /// What is kept of calls.
    pub log: LogConfig,
    /// GitHub.
    pub github: GithubConfig,
    /// Traces and metrics.
    pub telemetry: TelemetryConfig,
    /// How connections come in and go out.
    pub tls: TlsConfig,
    /// What is worth knowing but stops nothing.
    pub warnings: Vec<Problem>,
    /// The files that were read.
    pub files: Vec<FileRead>,
    /// Every secret that the settings hold, with the path of its key.
    pub secrets: Vec<(String, Secret<String>)>,
    /// The files that some of them were read from.
    pub secret_files: BTreeSet<PathBuf>,
    /// The effective settings as TOML, secrets masked.
    masked: String,
}

impl Config {
    /// The settings of a file's text alone, without variables or flags, in UTC.
    pub fn from_toml(text: &str) -> Result<Self, Problems> {
        load(&Sources { file: Some((PathBuf::from("tollgate.toml"), text.to_owned())), ..Sources::none() })
    }

    /// The effective settings as TOML, defaults included and secrets shown as `***`.
    pub fn masked(&self) -> String {
        self.masked.clone()
    }

    /// The value of a key as it is shown, such as `"127.0.0.1:8000"`; nothing where none is set.
    pub fn shown(&self, key: &str) -> Option<String> {
        let table: toml::Table = self.masked.parse().ok()?;
        let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
        let value =
            rest.into_iter().flat_map(|rest| rest.split('.')).try_fold(table.get(first)?, |value, key| value.get(key));
        value.map(ToString::to_string)
    }

    /// The provider of a name.
    pub fn provider(&self, name: &crate::domain::ProviderName) -> Option<&ProviderConfig> {
        self.providers.iter().find(|provider| provider.name == *name)
    }

    /// The route of a name.
    pub fn route(&self, name: &str) -> Option<&RouteConfig> {
        self.routes.iter().find(|route| route.name == name)
    }
}

/// Checks everything and gives the settings, or every problem at once.
pub fn load(sources: &Sources<'_>) -> Result<Config, Problems> {
    let (path, text) = sources.path_and_text();
    let document = parse(path, text).map_err(|mut problems| {
        problems.splice(0..0, sources.problems.iter().cloned());
        Problems::new(problems)
    })?;
    let context = Context::new(sources);
    let mut root = Section::root(&context, &document);
    let config = read(&mut root);
    let shown = root.finish();
    for problem in context.variables.unknown() {
        context.problem(problem);
    }
    not_yet::warn(&context);
    let Notes { problems, warnings, secrets, secret_files } = context.into_notes();
    let problems: Vec<Problem> = sources.problems.iter().cloned().chain(problems).collect();
    if problems.is_empty() {
        let warnings = sources.warnings.iter().cloned().chain(warnings).collect();
        Ok(Config {
            warnings,
            files: sources.files.clone(),
            secrets,
            secret_files,
            masked: shown.to_string(),
            ..config
        })
    } else {
        Err(Problems::new(problems))
    }
}

/// A data folder that settings lead to which can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    /// The folder.
    pub path: PathBuf,
    /// Whether somebody names it, as far as can be read; otherwise it is the one that is taken without.
    pub is_named: bool,
}

/// The data folder alone, whatever else is wrong: where a server may run that is to be worked on.
pub fn data_dir(sources: &Sources<'_>) -> Option<DataDir> {
    let text = sources.path_and_text().1;
    // What can be made out of a file that is no TOML will do: somebody is in the midst of writing it.
    let (document, _) = DeTable::parse_recoverable(text);
    let context = Context::new(sources);
    let mut root = Section::root(&context, document.get_ref());
    let path = server::read_data_dir(&mut root);
    let is_named = root.is_set("data_dir");
    context.into_notes().problems.is_empty().then_some(DataDir { path, is_named })
}

/// Reads a file that has prices alone, `[prices."provider/model"]` sections, or tells of every problem at once.
pub fn read_prices(path: &Path, text: &str) -> Result<Vec<PriceOverride>, Problems> {
    let document = parse(path, text).map_err(Problems::new)?;
    let sources = Sources { file: Some((path.to_owned(), text.to_owned())), ..Sources::none() };
    let context = Context::new(&sources);
    let mut root = Section::root(&context, &document);
    let prices = prices::read(&mut root, &[]);
    root.finish();
    let Notes { problems, .. } = context.into_notes();
    if problems.is_empty() { Ok(prices) } else { Err(Problems::new(problems)) }
}

/// Parses the file, or tells of each place where it is no TOML.
fn parse<'t>(path: &Path, text: &'t str) -> Result<DeTable<'t>, Vec<Problem>> {
    let shown_path = path.display();
    if text.len() > defaults::FILE_BYTES_MAX {
        let message = format!("larger than {} bytes; is this the right file?", defaults::FILE_BYTES_MAX);
        return Err(vec![Problem::new(shown_path.to_string(), message)]);
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(document.into_inner());
    }
    let problem = |error: &toml::de::Error| {
        let position = error.span().map_or(0, |span| span.start);
        let (before, line) = (text.get(..position).unwrap_or(text), line_of(text, position));
        let column = before.chars().rev().take_while(|&character| character != '\n').count() + 1;
        // The message alone: what the error prints besides shows the line, which may hold a secret.
        let mut message = String::from("not TOML: ");
        let _ = write!(message, "{}", error.message().lines().collect::<Vec<_>>().join(", "));
        let place = Some(format!("{shown_path}:{line}"));
        Problem { place, ..Problem::new(format!("{shown_path}:{line}:{column}"), message) }
    };
    Err(errors.iter().map(problem).collect())
}

/// Walks the whole file; where problems were noted, what comes out is not used.
fn read(root: &mut Section<'_>) -> Config {
    let top = server::read_top(root);
    let (providers, provider_names) = providers::read(root);
    let (routes, route_names) = routes::read(root, &provider_names);
    let workflows = work::read_workflows(root);
    Config {
        schedules: work::read_schedules(root, &top.time_zone, &workflows),
        listen: top.listen,
        data_dir: top.data_dir,
        time_zone: top.time_zone,
        public_url: top.public_url,
        redis_url: top.redis_url,
        redis_secret: top.redis_secret,
        admin_token: read_admin_token(root.context),
        operations: routes::read_operations(root, &route_names),
        prices: prices::read(root, &provider_names),
        catalog_file: prices::read_catalog(root),
        cache: calls::read_cache(root),
        ledger: calls::read_ledger(root),
        streams: calls::read_streams(root),
        limits: server::read_limits(root, &route_names),
        workers: work::read_workers(root),
        workflows,
        alerts: notices::read_alerts(root),
        log: calls::read_log(root),
        github: work::read_github(root),
        telemetry: notices::read_telemetry(root),
        tls: server::read_tls(root),
        providers,
        routes,
        warnings: Vec::new(),
        files: Vec::new(),
        secrets: Vec::new(),
        secret_files: BTreeSet::new(),
        masked: String::new(),
    }
}

fn read_admin_token(context: &Context<'_>) -> Option<Secret<String>> {
    let token = context.variables.get(environment::ADMIN_TOKEN)?.trim();
    let wrong = if token.chars().count() < defaults::ADMIN_TOKEN_CHARS_MIN {
        format!("shorter than {} characters; make one with: openssl rand -hex 32", defaults::ADMIN_TOKEN_CHARS_MIN)
    } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        "the token has spaces or characters that no header can carry; copy it again".to_owned()
    } else {
        context.secret(environment::ADMIN_TOKEN.to_owned(), token);
        return Some(Secret::new(token.to_owned()));
    };
    context.problem(Problem::new(environment::ADMIN_TOKEN, wrong));
    None
}
