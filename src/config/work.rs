//! Work in the background: workers, code workflows, their schedules, and GitHub.

use jiff::tz::TimeZone;
use url::Url;

use super::choice::choice_type;
use super::problem::quoted;
use super::reader::Section;
use super::secrets::Form;
use super::{cron, defaults, quantities};
use crate::domain::{Picodollars, Secret};

/// Who works on queued jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkersConfig {
    /// Jobs at once.
    pub concurrency: u32,
    /// Jobs that may wait.
    pub queue_capacity: u32,
}

/// Code workflows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowsConfig {
    /// Absolute paths of the repositories that runs may work on; a `*` stands for any run of characters.
    pub repositories: Vec<String>,
    /// How a repository's own commands are fenced in.
    pub sandbox: CommandSandbox,
    /// What a run may cost unless it is told otherwise.
    pub usd_max: Picodollars,
}

choice_type!(
    /// How a repository's own commands are fenced in.
    CommandSandbox {
        /// Without network, without files but the worktree; a command that can't be fenced in isn't run.
        Strict = "strict",
        /// Not at all.
        None = "none",
    }
);

choice_type!(
    /// A code workflow.
    WorkflowKind {
        /// Finds and mends weaknesses.
        Security = "security",
        /// Finds and mends what is slow.
        Performance = "performance",
        /// Writes what is not documented.
        Documentation = "documentation",
        /// Moves code to another version or library.
        Migration = "migration",
        /// Raises dependencies.
        DependencyUpdate = "dependency-update",
    }
);

/// A workflow that runs by the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleConfig {
    /// Which.
    pub workflow: WorkflowKind,
    /// On what.
    pub repository: String,
    /// When: five fields, or a word such as `@daily`.
    pub cron: String,
    /// By whose clock.
    pub time_zone: TimeZone,
}

/// GitHub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GithubConfig {
    /// The key of webhook signatures; without one every webhook is refused.
    pub webhook_secret: Option<Secret<String>>,
    /// How to log in.
    pub credentials: Option<GithubCredentials>,
    /// Where its API is.
    pub api_url: Url,
    /// Repositories that may be worked on: `owner/name` or `owner/*`.
    pub repositories: Vec<String>,
}

/// How to log in to GitHub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GithubCredentials {
    /// As a person.
    Token(Secret<String>),
    /// As an app.
    App {
        /// The app's number.
        app_id: u64,
        /// Its private key, PEM.
        private_key: Secret<String>,
    },
}

/// Reads `[workers]`.
pub(super) fn read_workers(root: &mut Section<'_>) -> WorkersConfig {
    root.section("workers", |workers| WorkersConfig {
        concurrency: workers.whole_or("concurrency", defaults::WORKERS_CONCURRENCY, 1..=1000),
        queue_capacity: workers.whole_or("queue_capacity", defaults::WORKERS_QUEUE_CAPACITY, 1..=1_000_000),
    })
}

/// Reads `[workflows]`.
pub(super) fn read_workflows(root: &mut Section<'_>) -> WorkflowsConfig {
    root.section("workflows", |workflows| WorkflowsConfig {
        repositories: workflows.parsed_list("repositories", repository_path).unwrap_or_default(),
        sandbox: workflows.choice_or("sandbox", CommandSandbox::Strict),
        usd_max: workflows.money_or("max_usd", defaults::WORKFLOW_USD_MAX),
    })
}

fn repository_path(text: &str) -> Result<String, String> {
    let climbs = text.split('/').any(|part| part == "..");
    if !text.starts_with('/') || climbs || text.contains(char::is_control) {
        return Err(format!("{} is no absolute path without \"..\", such as \"/srv/repos/*\"", quoted(text)));
    }
    Ok(text.to_owned())
}

/// Reads `[[schedules]]`; `zone` holds where none is named.
pub(super) fn read_schedules(
    root: &mut Section<'_>,
    zone: &TimeZone,
    workflows: &WorkflowsConfig,
) -> Vec<ScheduleConfig> {
    let schedules = root.sections("schedules", |schedule| {
        let workflow = schedule.choice("workflow");
        let repository = schedule.parsed("repository", repository_path);
        let cron = schedule.parsed("cron", cron::check);
        let time_zone = schedule.parsed("time_zone", quantities::time_zone).unwrap_or_else(|| zone.clone());
        for key in ["workflow", "repository", "cron"] {
            if !schedule.is_set(key) {
                schedule.problem(format!("{key} is missing; a schedule has a workflow, a repository and a cron"));
            }
        }
        if workflows.repositories.is_empty() && schedule.is_set("repository") && !root_has_repositories(schedule) {
            schedule
                .problem_at("repository", "no repository may be worked on yet; list it in [workflows] repositories");
        }
        Some(ScheduleConfig { workflow: workflow?, repository: repository?, cron: cron?, time_zone })
    });
    schedules.into_iter().flatten().collect()
}

/// Whether the list of repositories was set at all; where its items were wrong, that has been told.
fn root_has_repositories(section: &Section<'_>) -> bool {
    section.context.first_set("workflows.repositories").is_some()
}

/// Reads `[github]`.
pub(super) fn read_github(root: &mut Section<'_>) -> GithubConfig {
    root.section("github", |github| {
        let webhook_secret = github.secret("webhook_secret", Form::Word);
        let token = github.secret("token", Form::Word);
        let app_id = github.whole("app_id", 1..=u64::from(u32::MAX));
        let private_key = github.parsed_secret("private_key", Form::Text, |text| {
            let is_key = text.starts_with("-----BEGIN") && text.contains("PRIVATE KEY-----");
            if is_key {
                Ok(text.to_owned())
            } else {
                Err("this is no private key in PEM; write \"file:/path\" of the one that GitHub gave".to_owned())
            }
        });
        match (github.is_set("token"), github.is_set("app_id"), github.is_set("private_key")) {
            (true, true, _) | (true, _, true) => {
                github.problem_at("token", "there are an app's credentials too; take one of the two out");
            }
            (_, true, false) => {
                github.problem_at("app_id", "an app needs its key; set private_key = \"file:/path\" too");
            }
            (_, false, true) => github.problem_at("private_key", "a key needs its app; set app_id too"),
            _ => {}
        }
        let app = app_id.zip(private_key).map(|(app_id, private_key)| GithubCredentials::App { app_id, private_key });
        GithubConfig {
            webhook_secret,
            credentials: token.map(GithubCredentials::Token).or(app),
            api_url: github.parsed("api_url", quantities::base_url).unwrap_or_else(|| {
                github.show("api_url", defaults::GITHUB_API_URL);
                Url::parse(defaults::GITHUB_API_URL).expect("a constant URL")
            }),
            repositories: github.parsed_list("repositories", repository_name).unwrap_or_default(),
        }
    })
}

/// Checks `owner/name`, where the name may be `*`.
fn repository_name(text: &str) -> Result<String, String> {
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            && !name.contains("..")
    };
    let is_right = text.split_once('/').is_some_and(|(owner, name)| is_name(owner) && (name == "*" || is_name(name)));
    if is_right {
        Ok(text.to_owned())
    } else {
        Err(format!("{} is not of the form owner/name or owner/*", quoted(text)))
    }
}
