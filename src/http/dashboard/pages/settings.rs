//! `/settings`: the settings that are in force, what was refused, and the revisions before.

use actix_web::{HttpRequest, HttpResponse, web};

use super::super::answer::{PageError, done, ok};
use super::super::form::{Fields, href};
use super::super::format::{Clock, counted};
use super::super::session::{Submission, Visitor};
use super::super::summary::Shared;
use super::super::view::{
    Comparison, DiffLine, Entry, Layout, Phrase, ProblemLine, RefusedNote, RevisionRow, Select, SelectOption,
    SettingsPage, Tone,
};
use super::{clock, layout};
use crate::budget::orphans;
use crate::config::Problem;
use crate::http::State;
use crate::revisions::{Edit, NotReloaded, Refused, Revision, Trigger, diff};

/// Lines around those that differ.
const AROUND: usize = 3;

/// `GET /settings`.
pub(in super::super) async fn show(
    visitor: Visitor,
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, PageError> {
    let layout = layout(&visitor, &shared, "Settings", Entry::Settings).await?;
    let page = page(&visitor.state, &Fields::of_query(request.query_string()), layout)?;
    Ok(ok(&page))
}

/// `POST /settings/reload`: what came of it stands on the page that follows.
pub(in super::super) async fn reload(submission: Submission) -> Result<HttpResponse, PageError> {
    let Submission { visitor, .. } = submission;
    tracing::info!("user {:?} has the settings read again", visitor.session.user.name);
    let word = match visitor.state.reloads.ask(Trigger::Api).await {
        Ok(reloaded) if reloaded.changed.is_empty() => "same",
        Ok(_) => "taken",
        // The page says why.
        Err(NotReloaded::Refused(_)) => "",
        Err(NotReloaded::Unavailable) => "away",
    };
    Ok(done(&href("/settings", &[("reloaded", word)]), visitor.is_htmx))
}

fn page(state: &State, query: &Fields, layout: Layout) -> Result<SettingsPage, PageError> {
    let clock = clock(state);
    let revisions = state.revisions.all();
    let in_force = revisions.first().ok_or_else(|| PageError::failed(&"no revision of the settings is noted"))?;
    let orphans = orphans(&state.keys, &state.config(), state.gateway.router().catalog());
    let refused = state.revisions.last_refused().map(|refused| refused_note(&refused, &clock));
    let is_refused = refused.is_some();
    let chosen = |name| query.text(name).parse::<u64>().ok().and_then(|number| find(&revisions, number));
    let compared = chosen("from").zip(chosen("to"));
    Ok(SettingsPage {
        layout,
        done: done_phrase(query.text("reloaded"), in_force).filter(|_| !is_refused),
        refused,
        waiting: in_force.waiting.iter().map(|key| (key.clone(), in_force.still.get(key).cloned())).collect(),
        warnings: in_force.warnings.iter().chain(&orphans).map(line).collect(),
        heading: format!("Revision {}", in_force.number),
        since: clock.ago(in_force.at),
        trigger: in_force.trigger.to_string(),
        file: state.revisions.file().map(|file| file.display().to_string()),
        settings: in_force.settings.clone(),
        rows: revisions.iter().map(|revision| row(revision, &revisions, &clock)).collect(),
        choices: choices(&revisions, compared),
        comparison: compared.map(|(from, to)| comparison(from, to)),
    })
}

fn find(revisions: &[Revision], number: u64) -> Option<&Revision> {
    revisions.iter().find(|revision| revision.number == number)
}

fn done_phrase(word: &str, in_force: &Revision) -> Option<(Tone, Phrase)> {
    match word {
        "same" => Some((Tone::Ok, Phrase::new("Nothing has changed since the files were read before."))),
        "taken" => {
            let number = in_force.number;
            Some((Tone::Ok, Phrase::new(format!("The files were taken over: revision {number} is in force."))))
        }
        "away" => {
            let text = "The files could not be read now. Nothing was changed; the log of the server has the reason.";
            Some((Tone::Warn, Phrase::new(text)))
        }
        _ => None,
    }
}

fn refused_note(refused: &Refused, clock: &Clock) -> RefusedNote {
    RefusedNote {
        at: clock.ago(refused.at),
        trigger: refused.trigger.to_string(),
        found: counted(refused.problems.len() as u64, "problem was found", "problems were found"),
        problems: refused.problems.iter().map(line).collect(),
    }
}

fn line(problem: &Problem) -> ProblemLine {
    let Problem { path, message, place } = problem.clone();
    // Where a file is no TOML, its place is the path.
    let place = place.filter(|place| !path.starts_with(place.as_str()));
    ProblemLine { place, path, message }
}

fn row(revision: &Revision, all: &[Revision], clock: &Clock) -> RevisionRow {
    let before = find(all, revision.number - 1);
    RevisionRow {
        number: revision.number,
        time: clock.time_or_day(revision.at),
        trigger: match revision.trigger {
            Trigger::Start => "Start",
            Trigger::File => "File changed",
            Trigger::Sighup => "SIGHUP",
            Trigger::Api => "Asked for",
        },
        is_in_force: all.first().is_some_and(|newest| newest.number == revision.number),
        note: (!revision.waiting.is_empty()).then(|| revision.waiting.join(", ")),
        changes: before.map(|before| {
            let pair = [("from", before.number.to_string()), ("to", revision.number.to_string())];
            href("/settings", &pair.each_ref().map(|(name, number)| (*name, number.as_str()))) + "#compare"
        }),
    }
}

/// From which to which; the last two unless others are chosen.
fn choices(all: &[Revision], compared: Option<(&Revision, &Revision)>) -> Vec<Select> {
    let (from, to) = compared.map_or_else(
        || (all.get(1).map_or(0, |before| before.number), all.first().map_or(0, |newest| newest.number)),
        |(from, to)| (from.number, to.number),
    );
    let select = |name: &'static str, label: &'static str, word: &str, chosen| Select {
        name,
        label,
        options: all
            .iter()
            .map(|revision| SelectOption {
                value: revision.number.to_string(),
                label: format!("{word} {}", revision.number),
                is_selected: revision.number == chosen,
            })
            .collect(),
    };
    vec![select("from", "Compare from", "From", from), select("to", "Compare to", "to", to)]
}

fn comparison(from: &Revision, to: &Revision) -> Comparison {
    let lines = diff(&from.text(), &to.text());
    let is_near = |index: usize| {
        let around = index.saturating_sub(AROUND)..lines.len().min(index + AROUND + 1);
        lines[around].iter().any(|line| line.edit != Edit::Kept)
    };
    let mut shown = Vec::new();
    let mut left_out = 0_u64;
    let skip = |left_out: &mut u64, shown: &mut Vec<DiffLine>| {
        if *left_out > 0 {
            let text = counted(std::mem::take(left_out), "line that is the same", "lines that are the same");
            shown.push(DiffLine { class: "hunk", sign: ("⋯", ""), text });
        }
    };
    for (index, line) in lines.iter().enumerate() {
        if !is_near(index) {
            left_out += 1;
            continue;
        }
        skip(&mut left_out, &mut shown);
        let (class, sign) = match line.edit {
            Edit::Kept => ("", ("", "")),
            Edit::Removed => ("del", ("−", "removed: ")),
            Edit::Added => ("add", ("+", "added: ")),
        };
        shown.push(DiffLine { class, sign, text: line.text.clone() });
    }
    if !shown.is_empty() {
        skip(&mut left_out, &mut shown);
    }
    Comparison { heading: format!("From revision {} to {}", from.number, to.number), lines: shown }
}
