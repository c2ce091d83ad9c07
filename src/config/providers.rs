//! Providers: from the file, or from the two well-known keys where the file names none.
//!
//! The file owns the providers. Only where it has no `[[providers]]` at all do `OPENAI_API_KEY` and `ANTHROPIC_API_KEY`,
//! from the environment or `.env`, make the providers `openai` and `anthropic`; else a key that nothing in the file
//! refers to is told of in a warning. An empty one of these variables counts as unset, as templates have them.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::defaults;
use super::names::Names;
use super::problem::{Problem, quoted};
use super::quantities::base_url;
use super::reader::{Context, Section};
use super::secrets::{Form, MASK};
use crate::domain::{ProviderKind, ProviderName, Secret};

/// One provider to call.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderConfig {
    /// Its name in routes, reports and `provider/model`.
    pub name: ProviderName,
    /// What stands behind it.
    pub kind: ProviderKind,
    /// Its keys, used in turn; never empty for OpenAI and Anthropic.
    pub api_keys: Vec<Secret<String>>,
    /// The key that opens the organization's own usage and cost reports, and no calls.
    pub admin_api_key: Option<Secret<String>>,
    /// The projects (OpenAI) or workspaces (Anthropic) of those reports that are ours; all where there are none.
    pub admin_projects: Vec<String>,
    /// Where its paths begin, without a closing slash in the path; the sandbox's never resolves.
    pub base_url: Url,
    /// Whose prices it has.
    pub catalog: String,
    /// Calls at once; more of them wait.
    pub concurrent_requests_max: u32,
    /// Repeated attempts that it may get, in percent of the calls that go there.
    pub retry_percent_max: u32,
    /// How long each part of a call may take.
    pub timeouts: Timeouts,
    /// How the built-in stand-in behaves; without meaning for other kinds.
    pub sandbox: SandboxConfig,
}

/// How long each part of a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// From the request to the first content.
    pub first_token: Duration,
    /// Between two pieces of a stream, or of a whole answer that has begun to come.
    pub idle: Duration,
    /// The whole call, from its arrival.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: defaults::TIMEOUT_CONNECT,
            first_token: defaults::TIMEOUT_FIRST_TOKEN,
            idle: defaults::TIMEOUT_IDLE,
            total: defaults::TIMEOUT_TOTAL,
        }
    }
}

/// How the built-in stand-in behaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SandboxConfig {
    /// How long it waits before it answers.
    pub latency: Duration,
    /// How long it waits between the chunks of a stream.
    pub chunk_delay: Duration,
    /// The share of calls that fail with a 500.
    pub error_rate: f64,
    /// The share of calls that are refused with a 429.
    pub rate_limit_rate: f64,
    /// The share of calls that are never answered.
    pub hang_rate: f64,
    /// A JSONL file of answers by a text of the question.
    pub script: Option<PathBuf>,
}

/// Keys that only the sandbox has.
const SANDBOX_KEYS: [&str; 6] = ["latency", "chunk_delay", "error_rate", "rate_limit_rate", "hang_rate", "script"];

/// Keys that only a company with reports of its own has.
const ADMIN_KEYS: [&str; 2] = ["admin_api_key", "admin_projects"];

/// What the two well-known variables make: name and kind, key, address, default address.
const FROM_ENVIRONMENT: [(&str, ProviderKind, &str, &str, &str); 2] = [
    ("openai", ProviderKind::OpenAi, "OPENAI_API_KEY", "OPENAI_BASE_URL", defaults::OPENAI_BASE_URL),
    ("anthropic", ProviderKind::Anthropic, "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", defaults::ANTHROPIC_BASE_URL),
];

/// The providers, and the names of all that the file meant, the faulty ones included: a route may name them.
pub(super) fn read(root: &mut Section<'_>) -> (Vec<ProviderConfig>, Vec<String>) {
    let context = root.context;
    let file_owns_providers = root.has_items("providers");
    let mut names = Names::new("provider");
    let providers: Vec<ProviderConfig> =
        root.sections("providers", |provider| read_provider(provider, &mut names)).into_iter().flatten().collect();
    if file_owns_providers {
        for (_, _, key, _, _) in FROM_ENVIRONMENT {
            if context.variables.get(key).is_some_and(|key| !key.trim().is_empty())
                && !context.variables.is_referenced(key)
            {
                let message = format!(
                    "not used, because the file names the providers; add one with api_key = \"env:{key}\" or unset it"
                );
                context.warning(key, message);
            }
        }
        return (providers, names.into_vec());
    }
    let providers: Vec<ProviderConfig> =
        FROM_ENVIRONMENT.into_iter().filter_map(|known| from_environment(context, known)).collect();
    if !providers.is_empty() {
        let shown: Vec<toml::Value> = providers.iter().map(|provider| toml::Value::Table(shown(provider))).collect();
        root.show("providers", shown);
    }
    // One whose address is wrong isn't among the providers, but a route that names it isn't wrong for that.
    let names = FROM_ENVIRONMENT
        .into_iter()
        .filter(|(_, _, key, _, _)| context.variables.get(key).is_some_and(|key| !key.trim().is_empty()))
        .map(|(name, ..)| name.to_owned())
        .collect();
    (providers, names)
}

fn from_environment(
    context: &Context<'_>,
    (name, kind, key_name, url_name, url_default): (&str, ProviderKind, &str, &str, &str),
) -> Option<ProviderConfig> {
    let variable = |name| context.variables.get(name).map(str::trim).filter(|text| !text.is_empty());
    let url = variable(url_name);
    let Some(key) = variable(key_name) else {
        if url.is_some() {
            context.warning(
                url_name,
                format!("not used without a key; set {key_name} too, or name the provider in the file"),
            );
        }
        return None;
    };
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        context.problem(Problem::new(
            key_name,
            "the key has spaces or characters that no header can carry; copy it again",
        ));
    }
    context.secret(format!("providers.{name}.api_key"), key);
    let base_url = base_url(url.unwrap_or(url_default));
    let base_url = base_url.map_err(|message| context.problem(Problem::new(url_name, message))).ok()?;
    if let Some(warning) = path_warning(kind, &base_url) {
        context.warning(url_name, warning);
    }
    Some(ProviderConfig {
        name: ProviderName::new(name).expect("the well-known names are names"),
        kind,
        api_keys: vec![Secret::new(key.to_owned())],
        admin_api_key: None,
        admin_projects: Vec::new(),
        base_url,
        catalog: name.to_owned(),
        concurrent_requests_max: defaults::PROVIDER_CONCURRENT_REQUESTS_MAX,
        retry_percent_max: defaults::RETRY_PERCENT_MAX,
        timeouts: Timeouts::default(),
        sandbox: SandboxConfig::default(),
    })
}

/// What [`super::Config::masked`] shows of a provider that no section was read for.
fn shown(provider: &ProviderConfig) -> toml::Table {
    let mut table = toml::Table::new();
    table.insert("name".to_owned(), provider.name.as_str().into());
    table.insert("kind".to_owned(), provider.kind.as_str().into());
    table.insert("api_key".to_owned(), MASK.into());
    table.insert("base_url".to_owned(), provider.base_url.as_str().into());
    table
}

fn read_provider(provider: &mut Section<'_>, names: &mut Names) -> Option<ProviderConfig> {
    let name = provider.parsed("name", |text| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !is_plain {
            return Err(format!(
                "{} can't be a provider's name; use letters, digits, dashes, dots and underscores",
                quoted(text)
            ));
        }
        ProviderName::new(text).map_err(|error| error.to_string())
    });
    match &name {
        None if !provider.is_set("name") => {
            provider.problem("name is missing; give the provider one, such as name = \"openai\"");
        }
        Some(name) => names.take(provider, name.as_str()),
        None => {}
    }
    let kind: Option<ProviderKind> = provider.choice("kind");
    if !provider.is_set("kind") {
        provider.problem("kind is missing; set it to openai, anthropic, openai-compatible or sandbox");
    }
    let api_keys = read_keys(provider, kind);
    let (admin_api_key, admin_projects) = read_admin(provider, kind);
    let base_url = read_base_url(provider, kind, &api_keys);
    let catalog = provider.text("catalog");
    let concurrent_requests_max = provider.whole_or(
        "concurrent_requests_max",
        defaults::PROVIDER_CONCURRENT_REQUESTS_MAX,
        1..=defaults::CONCURRENCY_MOST,
    );
    let retry_percent_max = provider.whole_or("retry_percent_max", defaults::RETRY_PERCENT_MAX, 0..=100);
    let timeouts = read_timeouts(provider);
    let sandbox = read_sandbox(provider, kind);
    let (name, kind, base_url) = (name?, kind?, base_url?);
    // A provider of one of these kinds has that company's prices, whatever it is called here; any other server's prices go by
    // its name.
    let catalog = catalog.unwrap_or_else(|| match kind {
        ProviderKind::OpenAi | ProviderKind::Anthropic | ProviderKind::Sandbox => kind.as_str().to_owned(),
        ProviderKind::OpenAiCompatible => name.to_string(),
    });
    provider.show("catalog", catalog.as_str());
    Some(ProviderConfig {
        name,
        kind,
        api_keys,
        admin_api_key,
        admin_projects,
        base_url,
        catalog,
        concurrent_requests_max,
        retry_percent_max,
        timeouts,
        sandbox,
    })
}

fn read_keys(provider: &mut Section<'_>, kind: Option<ProviderKind>) -> Vec<Secret<String>> {
    let one = provider.secret("api_key", Form::Word);
    let several = provider.secrets("api_keys", Form::Word);
    match (provider.is_set("api_key"), provider.is_set("api_keys"), kind) {
        (true, true, _) => {
            provider.problem_at("api_keys", "there is an api_key too; put all keys into api_keys, or take it out");
        }
        (false, false, Some(ProviderKind::OpenAi)) => {
            provider.problem("api_key is missing; set api_key = \"env:OPENAI_API_KEY\", or use kind = \"openai-compatible\" for a server without keys");
        }
        (false, false, Some(ProviderKind::Anthropic)) => {
            provider.problem("api_key is missing; set api_key = \"env:ANTHROPIC_API_KEY\"");
        }
        (false, true, _) if several.as_ref().is_some_and(Vec::is_empty) && !provider.has_items("api_keys") => {
            provider.problem_at("api_keys", "the list is empty; name at least one key, or take it out");
        }
        (one, several, Some(ProviderKind::Sandbox)) if one || several => {
            let key = if one { "api_key" } else { "api_keys" };
            provider.warning_at(key, "the sandbox needs no key; this one is not used");
        }
        _ => {}
    }
    let keys = several.unwrap_or_else(|| one.into_iter().collect());
    let is_again =
        |(place, key): (usize, &Secret<String>)| keys[..place].iter().any(|before| before.expose() == key.expose());
    if let Some(place) = keys.iter().enumerate().find_map(|(place, key)| is_again((place, key)).then_some(place)) {
        provider.warning_at(
            "api_keys",
            format!("key {} is one of those before it, and counts as one more; take it out", place + 1),
        );
    }
    keys
}

/// The key of the organization's reports, and the part of them that is meant.
fn read_admin(provider: &mut Section<'_>, kind: Option<ProviderKind>) -> (Option<Secret<String>>, Vec<String>) {
    let beginning = match kind {
        Some(ProviderKind::OpenAi) => "sk-admin-",
        Some(ProviderKind::Anthropic) => "sk-ant-admin",
        Some(ProviderKind::OpenAiCompatible | ProviderKind::Sandbox) => {
            for key in ADMIN_KEYS.into_iter().filter(|key| provider.has(key)) {
                provider.problem_at(
                    key,
                    "only a provider of kind \"openai\" or \"anthropic\" has reports of what it charged; take it out",
                );
            }
            ""
        }
        None => "",
    };
    let key = provider.secret("admin_api_key", Form::Word);
    if key.as_ref().is_some_and(|key| !key.expose().starts_with(beginning)) {
        let message = format!(
            "this doesn't look like an admin key, which begins with {beginning}; reports are refused to keys that make calls"
        );
        provider.warning_at("admin_api_key", message);
    }
    let project = |text: &str| {
        let is_id = text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        if text.is_empty() || !is_id {
            return Err(format!("{} is no id of a project or workspace, such as \"proj_abc\"", quoted(text)));
        }
        Ok(text.to_owned())
    };
    let projects = provider.list("admin_projects", |id: &String| id.as_str().into(), |given| project(given.text()?));
    if projects.is_some() && key.is_none() && !provider.is_set("admin_api_key") {
        provider.warning_at("admin_projects", "without an admin_api_key no reports are fetched; this is not used");
    }
    (key, projects.unwrap_or_default())
}

fn read_base_url(provider: &mut Section<'_>, kind: Option<ProviderKind>, keys: &[Secret<String>]) -> Option<Url> {
    let given = provider.parsed("base_url", base_url);
    let is_set = provider.is_set("base_url");
    let default = match kind? {
        ProviderKind::OpenAi => Some(defaults::OPENAI_BASE_URL),
        ProviderKind::Anthropic => Some(defaults::ANTHROPIC_BASE_URL),
        ProviderKind::OpenAiCompatible => None,
        ProviderKind::Sandbox => {
            if is_set {
                provider.problem_at(
                    "base_url",
                    "the sandbox is built in and has no address; take it out, or use kind = \"openai-compatible\" for a server",
                );
            }
            return Some(Url::parse(defaults::SANDBOX_BASE_URL).expect("a constant URL"));
        }
    };
    if !is_set {
        let Some(default) = default else {
            provider
                .problem("base_url is missing; set it to the server's address, such as \"http://127.0.0.1:11434/v1\"");
            return None;
        };
        provider.show("base_url", default);
        return Some(Url::parse(default).expect("a constant URL"));
    }
    let given = given?;
    if let Some(warning) = path_warning(kind?, &given) {
        provider.warning_at("base_url", warning);
    }
    if given.scheme() == "http" && !keys.is_empty() && !is_near(&given) {
        provider.warning_at("base_url", "the key goes over the network unencrypted; use https://");
    }
    Some(given)
}

/// What is probably wrong with the path of an address.
fn path_warning(kind: ProviderKind, url: &Url) -> Option<&'static str> {
    let has_version = url.path().ends_with("/v1");
    match kind {
        ProviderKind::OpenAi if url.path() == "/" => Some("OpenAI's address usually ends in /v1; this one has no path"),
        ProviderKind::Anthropic if has_version => {
            Some("Anthropic's paths bring their own /v1; this address should end before it")
        }
        _ => None,
    }
}

/// Whether an address is on this machine or in a private network.
fn is_near(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback() || address.is_private() || address.is_link_local(),
        Some(url::Host::Ipv6(address)) => address.is_loopback() || address.is_unique_local(),
        // A name without a dot is one of the own network.
        Some(url::Host::Domain(name)) => {
            !name.contains('.') || name.rsplit('.').next().is_some_and(|zone| matches!(zone, "local" | "internal"))
        }
        None => false,
    }
}

fn read_timeouts(provider: &mut Section<'_>) -> Timeouts {
    let range = defaults::SHORTEST..=defaults::DAY;
    provider.section("timeouts", |timeouts| Timeouts {
        connect: timeouts.duration_or("connect", defaults::TIMEOUT_CONNECT, range.clone()),
        first_token: timeouts.duration_or("first_token", defaults::TIMEOUT_FIRST_TOKEN, range.clone()),
        idle: timeouts.duration_or("idle", defaults::TIMEOUT_IDLE, range.clone()),
        total: timeouts.duration_or("total", defaults::TIMEOUT_TOTAL, range),
    })
}

fn read_sandbox(provider: &mut Section<'_>, kind: Option<ProviderKind>) -> SandboxConfig {
    let range = Duration::ZERO..=defaults::DAY;
    let sandbox = SandboxConfig {
        latency: provider.duration("latency", range.clone()).unwrap_or_default(),
        chunk_delay: provider.duration("chunk_delay", range).unwrap_or_default(),
        error_rate: provider.fraction_or_zero("error_rate"),
        rate_limit_rate: provider.fraction_or_zero("rate_limit_rate"),
        hang_rate: provider.fraction_or_zero("hang_rate"),
        script: provider.file_path("script"),
    };
    if kind.is_some_and(|kind| kind != ProviderKind::Sandbox) {
        for key in SANDBOX_KEYS.into_iter().filter(|key| provider.has(key)) {
            provider.problem_at(key, "only a provider of kind \"sandbox\" has this; take it out");
        }
    }
    sandbox
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_addresses_are_addresses() {
        for text in [defaults::OPENAI_BASE_URL, defaults::ANTHROPIC_BASE_URL, defaults::SANDBOX_BASE_URL] {
            assert!(base_url(text).is_ok(), "{text}");
        }
    }
}
