//! `/api/config`: the settings that are in force, which were before, and having the files read again.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::Items;
use super::input::Params;
use crate::budget::orphans;
use crate::config;
use crate::http::guard::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::state::State;
use crate::revisions::{KEPT_MAX, Line, NotReloaded, Refused, Reloaded, Revision, Trigger, diff};

/// The query parameters of one revision.
pub(super) const REVISION_PARAMETERS: &[&str] = &["against"];

/// Something that is wrong, or worth knowing, with the settings.
#[derive(Debug, Serialize)]
struct ProblemJson {
    /// The path of the key, or the name of the variable.
    path: String,
    message: String,
    /// The file and line, where it stands in a file.
    place: Option<String>,
}

impl From<&config::Problem> for ProblemJson {
    fn from(problem: &config::Problem) -> Self {
        let config::Problem { path, message, place } = problem.clone();
        Self { path, message, place }
    }
}

fn problems(problems: &[config::Problem]) -> Vec<ProblemJson> {
    problems.iter().map(ProblemJson::from).collect()
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigJson {
    #[serde(flatten)]
    revision: RevisionJson,
    /// The file that the settings are read from, or would be; null where the program itself has them.
    file: Option<String>,
    last_refused: Option<RefusedJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RevisionJson {
    revision: u64,
    is_in_force: bool,
    /// Since when it holds, or held.
    time: String,
    trigger: Trigger,
    /// The effective settings as TOML, secrets masked.
    settings: String,
    /// What they don't show: since which revision each secret and named file is the same.
    unchanged_since: BTreeMap<String, u64>,
    waiting_for_restart: Vec<String>,
    /// What of them stays in force until then, as it is shown.
    still_in_force: BTreeMap<String, String>,
    warnings: Vec<ProblemJson>,
}

impl RevisionJson {
    fn new(revision: Revision, in_force: u64) -> Self {
        Self {
            revision: revision.number,
            is_in_force: revision.number == in_force,
            time: revision.at.to_string(),
            trigger: revision.trigger,
            warnings: problems(&revision.warnings),
            settings: revision.settings,
            unchanged_since: revision.unshown,
            waiting_for_restart: revision.waiting,
            still_in_force: revision.still,
        }
    }
}

#[derive(Debug, Serialize)]
struct RefusedJson {
    time: String,
    trigger: Trigger,
    problems: Vec<ProblemJson>,
}

impl From<Refused> for RefusedJson {
    fn from(refused: Refused) -> Self {
        Self { time: refused.at.to_string(), trigger: refused.trigger, problems: problems(&refused.problems) }
    }
}

/// A revision in the list: its settings are read one by one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedJson {
    revision: u64,
    is_in_force: bool,
    time: String,
    trigger: Trigger,
    waiting_for_restart: Vec<String>,
    warnings: Vec<ProblemJson>,
}

#[derive(Debug, Serialize)]
struct ComparedJson {
    #[serde(flatten)]
    revision: RevisionJson,
    /// What changed from another revision to this one, line by line.
    diff: Option<DiffJson>,
}

#[derive(Debug, Serialize)]
struct DiffJson {
    against: u64,
    lines: Vec<LineJson>,
}

#[derive(Debug, Serialize)]
struct LineJson {
    edit: &'static str,
    text: String,
}

/// What `/api/status` says of the settings.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConfigStateJson {
    revision: u64,
    /// Whether files that were read last were not taken over.
    is_refused: bool,
    waiting_for_restart: Vec<String>,
}

impl ConfigStateJson {
    pub(super) fn of(state: &State) -> Self {
        let in_force = state.revisions.in_force();
        let (revision, waiting_for_restart) =
            in_force.map(|revision| (revision.number, revision.waiting)).unwrap_or_default();
        Self { revision, is_refused: state.revisions.last_refused().is_some(), waiting_for_restart }
    }
}

/// `GET /api/config`.
pub(super) async fn show(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let mut revision = in_force(&state)?;
    let number = revision.number;
    // As they are now: budgets come and go without a revision.
    revision.warnings.extend(orphans(&state.keys, &state.config(), state.gateway.router().catalog()));
    Ok(HttpResponse::Ok().json(ConfigJson {
        revision: RevisionJson::new(revision, number),
        file: state.revisions.file().map(|file| file.display().to_string()),
        last_refused: state.revisions.last_refused().map(RefusedJson::from),
    }))
}

fn in_force(state: &State) -> Result<Revision, Problem> {
    // Between the first answer and the first note of a start lies an instant.
    state.revisions.in_force().ok_or_else(|| Problem::new(Code::Busy, "the server is starting: try again"))
}

/// `GET /api/config/revisions`: newest first.
pub(super) async fn list(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    let revisions = state.revisions.all();
    let newest = revisions.first().map_or(0, |revision| revision.number);
    let listed = |revision: Revision| ListedJson {
        revision: revision.number,
        is_in_force: revision.number == newest,
        time: revision.at.to_string(),
        trigger: revision.trigger,
        warnings: problems(&revision.warnings),
        waiting_for_restart: revision.waiting,
    };
    Ok(HttpResponse::Ok().json(Items { items: revisions.into_iter().map(listed).collect(), next_cursor: None }))
}

/// `GET /api/config/revisions/{id}`, compared with another one if asked.
pub(super) async fn revision(
    state: web::Data<State>,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, REVISION_PARAMETERS)?;
    let not_found = |what: &str| {
        let detail = format!(
            "there is no revision {what}: the last {KEPT_MAX} are kept, and GET /api/config/revisions lists them"
        );
        Problem::new(Code::NotFound, detail.chars().take(300).collect::<String>())
    };
    let find =
        |text: &str| text.parse().ok().and_then(|number| state.revisions.find(number)).ok_or_else(|| not_found(text));
    let revision = find(&path)?;
    let other = params.text("against").map(find).transpose()?;
    let diff = other.map(|other| DiffJson {
        against: other.number,
        lines: diff(&other.text(), &revision.text())
            .into_iter()
            .map(|Line { edit, text }| LineJson { edit: edit.as_str(), text })
            .collect(),
    });
    let newest = in_force(&state)?.number;
    Ok(HttpResponse::Ok().json(ComparedJson { revision: RevisionJson::new(revision, newest), diff }))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReloadedJson {
    revision: u64,
    /// The keys that differ from what was in force before; empty where nothing has changed.
    changed: Vec<String>,
    waiting_for_restart: Vec<String>,
    warnings: Vec<ProblemJson>,
}

/// `POST /api/config/reload`.
pub(super) async fn reload(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    Params::of(&request, &[])?;
    tracing::info!("{caller} has the settings read again");
    let Reloaded { number, changed, waiting, warnings } =
        state.reloads.ask(Trigger::Api).await.map_err(|error| refusal(&error))?;
    let warnings = problems(&warnings);
    Ok(HttpResponse::Ok().json(ReloadedJson { revision: number, changed, waiting_for_restart: waiting, warnings }))
}

/// Why nothing was taken over, with every problem.
fn refusal(error: &NotReloaded) -> Problem {
    match error {
        NotReloaded::Unavailable => Problem::new(
            Code::Busy,
            "the settings can't be read now: the server stops, or the log of the server has the reason",
        ),
        NotReloaded::Refused(found) => {
            let count = match found.len() {
                1 => "a problem was found".to_owned(),
                count => format!("{count} problems were found"),
            };
            let detail = format!("nothing was changed, for {count}: mend what `problems` says and try again");
            let found = serde_json::to_value(problems(found)).unwrap_or_default();
            Problem::new(Code::ConfigRefused, detail).with("problems", found)
        }
    }
}
